//! In: the authorities in the [`CertStore`](super::CertStore). Out: the same in ConfigMap [`CONFIG_MAP`], which agents
//! mount, and in the webhook's `caBundle`, by which the API server knows the operator. The leader does this.

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::INTERVAL;
use crate::FIELD_MANAGER;
use crate::patience::within;

/// The ConfigMap that agents mount.
pub const CONFIG_MAP: &str = "ferragon-ca";
/// The webhook's configuration.
pub const WEBHOOK: &str = "ferragon";
/// Who has this annotation gets its `caBundle` from cert-manager.
const INJECTED: &str = "cert-manager.io/inject-ca-from";

/// Keeps both in step with the store.
pub struct Publisher {
    config_maps: Api<ConfigMap>,
    webhooks: Api<ValidatingWebhookConfiguration>,
    authorities: tokio::sync::watch::Receiver<Option<Arc<str>>>,
}

impl Publisher {
    /// For the operator in `namespace`.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        authorities: tokio::sync::watch::Receiver<Option<Arc<str>>>,
    ) -> Publisher {
        let config_maps = Api::namespaced(client.clone(), namespace);
        Publisher { config_maps, webhooks: Api::all(client), authorities }
    }

    /// Publishes now, after each change, and now and then in case that someone undid it, until the token is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let authorities = self.authorities.borrow_and_update().clone();
            if let Some(authorities) = authorities {
                let published =
                    async { (self.agents(&authorities).await, self.api_server(&authorities).await) };
                let Some((agents, api_server)) = stop.run_until_cancelled(published).await else { return };
                if let Err(error) = agents {
                    warn!(%error, config_map = CONFIG_MAP, "agents cannot be told of the authority; tried again soon");
                }
                if let Err(error) = api_server {
                    warn!(%error, webhook = WEBHOOK, "the API server cannot be told of the authority; tried again soon");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.authorities.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn agents(&self, authorities: &str) -> Result<(), kube::Error> {
        let current = within(self.config_maps.get_opt(CONFIG_MAP)).await?;
        let current = current.as_ref().and_then(|map| map.data.as_ref()?.get("ca.crt"));
        if current.is_some_and(|current| current == authorities) {
            return Ok(());
        }
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "labels": {"app.kubernetes.io/part-of": "ferragon"}},
            "data": {"ca.crt": authorities},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        within(self.config_maps.patch(CONFIG_MAP, &params, &Patch::Apply(map))).await?;
        info!(config_map = CONFIG_MAP, "published the authority for agents");
        Ok(())
    }

    /// Without a webhook's configuration there is nothing to do: it can be switched off.
    async fn api_server(&self, authorities: &str) -> Result<(), kube::Error> {
        let Some(current) = within(self.webhooks.get_opt(WEBHOOK)).await? else { return Ok(()) };
        let annotations = current.metadata.annotations.unwrap_or_default();
        let webhooks = current.webhooks.unwrap_or_default();
        let bundle = ByteString(authorities.as_bytes().to_vec());
        let told = webhooks.iter().all(|webhook| webhook.client_config.ca_bundle.as_ref() == Some(&bundle));
        if told || annotations.contains_key(INJECTED) {
            return Ok(());
        }
        let hooks: Vec<_> = webhooks
            .iter()
            .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": &bundle}}))
            .collect();
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            // Of this object, not of one that takes its place meanwhile.
            "metadata": {"name": WEBHOOK, "uid": current.metadata.uid},
            "webhooks": hooks,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        within(self.webhooks.patch(WEBHOOK, &params, &Patch::Apply(configuration))).await?;
        info!(webhook = WEBHOOK, "told the API server of the authority");
        Ok(())
    }
}
