//! In: the Secret [`SECRET`], which all replicas share. Out: the same, made or renewed where it must be, and its
//! content in the [`CertStore`].
//!
//! Replicas may do this at the same time: a Secret is created only if there is none, and replaced only in the version
//! that was read; who comes second takes what the first wrote. A deleted Secret is written again as it was, because
//! agents know its authority.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::issue::{IssueError, Material, Names, Pair, renew};
use super::{CertError, CertStore, INTERVAL};
use crate::patience::within;

/// Name of the Secret.
pub const SECRET: &str = "ferragon-operator-ca";
/// Rounds of reading and writing until another replica's change is left to the next interval.
const TRIES: usize = 5;

/// Keeps the Secret and the store in step.
pub struct Keeper {
    secrets: Api<Secret>,
    names: Names,
    store: Arc<CertStore>,
    material: Option<Material>,
}

/// The Secret could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The API server.
    #[error("{doing} Secret {SECRET}: {source}; the operator's Role must allow it")]
    Api {
        /// Reading, creating or replacing.
        doing: &'static str,
        /// What it said.
        source: kube::Error,
    },
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// What the Secret holds cannot be served.
    #[error("Secret {SECRET}: {0}")]
    Unusable(#[from] CertError),
    /// Others changed it all the time.
    #[error("Secret {SECRET} changed {TRIES} times while it was being renewed")]
    Contended,
}

impl Keeper {
    /// For the Secret in `namespace`.
    pub fn new(client: kube::Client, namespace: &str, store: Arc<CertStore>) -> Keeper {
        let secrets = Api::namespaced(client, namespace);
        Keeper { secrets, names: Names::of_service(namespace), store, material: None }
    }

    /// Reads the Secret, makes or renews what must be, and puts it into the store.
    ///
    /// # Errors
    /// The API server refuses; the store keeps what it has.
    pub async fn ensure(&mut self) -> Result<(), KeepError> {
        for _ in 0..TRIES {
            let api = |doing| move |source| KeepError::Api { doing, source };
            let secret = within(self.secrets.get_opt(SECRET)).await.map_err(api("reading"))?;
            let stored = match &secret {
                Some(secret) => decode(secret),
                None => self.material.clone(),
            };
            let renewed = renew(stored.as_ref(), &self.names, OffsetDateTime::now_utc())?;
            let written = match (secret, renewed) {
                (None, renewed) => self.create(renewed.or(stored)).await.map_err(api("creating"))?,
                (Some(secret), Some(renewed)) => {
                    self.replace(secret, renewed).await.map_err(api("replacing"))?
                }
                (Some(_), None) => stored,
            };
            if let Some(material) = written {
                self.store.set(&material.certificate, &material.key, &material.authorities())?;
                self.material = Some(material);
                return Ok(());
            }
        }
        Err(KeepError::Contended)
    }

    /// Does so now and then until the token is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            if let Err(error) = self.ensure().await {
                warn!(%error, "the certificate stays as it is");
            }
        }
    }

    /// `None`: another replica was first.
    async fn create(&self, material: Option<Material>) -> Result<Option<Material>, kube::Error> {
        let Some(material) = material else { return Ok(None) };
        let mut secret = Secret { type_: Some("Opaque".to_owned()), ..Secret::default() };
        secret.metadata.name = Some(SECRET.to_owned());
        secret.data = Some(encode(&material));
        match within(self.secrets.create(&PostParams::default(), &secret)).await {
            Ok(_) => info!(secret = SECRET, "created the operator's certificate and its authority"),
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(material))
    }

    /// `None`: another replica was first.
    async fn replace(&self, mut secret: Secret, material: Material) -> Result<Option<Material>, kube::Error> {
        secret.data = Some(encode(&material));
        secret.string_data = None;
        match within(self.secrets.replace(SECRET, &PostParams::default(), &secret)).await {
            Ok(_) => info!(secret = SECRET, "renewed the operator's certificate"),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(material))
    }
}

fn encode(material: &Material) -> BTreeMap<String, ByteString> {
    let next = material.next.as_ref();
    [
        ("ca.crt", Some(&material.authority.certificate)),
        ("ca.key", Some(&material.authority.key)),
        ("next-ca.crt", next.map(|next| &next.certificate)),
        ("next-ca.key", next.map(|next| &next.key)),
        ("previous-ca.crt", material.previous.as_ref()),
        ("tls.crt", Some(&material.certificate)),
        ("tls.key", Some(&material.key)),
    ]
    .into_iter()
    .filter_map(|(name, pem)| Some((name.to_owned(), ByteString(pem?.clone().into_bytes()))))
    .collect()
}

/// `None` if there is no authority in it.
fn decode(secret: &Secret) -> Option<Material> {
    let data = secret.data.as_ref()?;
    let text = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
    let pair = |certificate, key| Some(Pair { certificate: text(certificate)?, key: text(key)? });
    Some(Material {
        authority: pair("ca.crt", "ca.key")?,
        next: pair("next-ca.crt", "next-ca.key"),
        previous: text("previous-ca.crt"),
        certificate: text("tls.crt").unwrap_or_default(),
        key: text("tls.key").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let mut material = renew(None, &Names::of_service("n"), now).unwrap().unwrap();
        for next in [None, Some(material.authority.clone())] {
            material.previous = next.as_ref().map(|next| next.certificate.clone());
            material.next = next;
            let secret = Secret { data: Some(encode(&material)), ..Secret::default() };
            assert_eq!(decode(&secret), Some(material.clone()));
        }
        assert_eq!(decode(&Secret::default()), None);
        let alone = Secret { data: Some(BTreeMap::new()), ..Secret::default() };
        assert_eq!(decode(&alone), None);
    }
}
