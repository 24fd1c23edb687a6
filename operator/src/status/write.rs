//! In: the status that one policy should have. Out: one write of it, and what became of it.

use crds::manifest::{GROUP, PolicyKind, VERSION};
use crds::status::TracingPolicyStatus;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{DynamicObject, Status};
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

use crate::FIELD_MANAGER;
use crate::metrics::Written;
use crate::model::PolicyVersion;
use crate::patience::within;
use crate::watch::resource;

/// Fields of a status that it can be without.
const OPTIONAL: [&str; 7] = ["mode", "hooks", "nodes", "kernels", "failingNodes", "matches", "enforced"];

/// One policy in the API server.
struct Target<'a> {
    api: Api<DynamicObject>,
    kind: PolicyKind,
    version: &'a PolicyVersion,
}

/// Writes a status.
pub(super) async fn write(
    client: &kube::Client,
    version: &PolicyVersion,
    status: &TracingPolicyStatus,
) -> Written {
    let (kind, api) = match &version.key.namespace {
        None => (PolicyKind::Cluster, Api::all_with(client.clone(), &resource(PolicyKind::Cluster))),
        Some(namespace) => {
            let kind = PolicyKind::Namespaced;
            (kind, Api::namespaced_with(client.clone(), namespace, &resource(kind)))
        }
    };
    let target = Target { api, kind, version };
    let policy = &version.key;
    match target.apply(status).await {
        Ok(_) => {
            debug!(%policy, "wrote the status");
            Written::Ok
        }
        Err(kube::Error::Api(answer)) if answer.code == 404 && target.exists().await => {
            let problem =
                "the definition of its kind has no subresource `status`; apply the chart's definitions";
            warn!(%policy, problem, "the status could not be written; tried again soon");
            Written::Failed
        }
        // Deleted, or deleted and made again; the watch will tell.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Written::Gone,
        Err(error) => {
            warn!(%error, %policy, "the status could not be written; tried again soon");
            Written::Failed
        }
    }
}

impl Target<'_> {
    /// By server-side apply; what another way of writing has left behind is taken away.
    async fn apply(&self, status: &TracingPolicyStatus) -> Result<DynamicObject, kube::Error> {
        let status = serde_json::to_value(status).unwrap_or_default();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let name = &self.version.key.name;
        let applied = within(self.api.patch_status(name, &params, &Patch::Apply(self.object(&status)))).await;
        let rest = match &applied {
            Err(kube::Error::Api(answer)) if self.undecodable(answer) => {
                let mut whole = status;
                for field in OPTIONAL {
                    // What is null is taken away.
                    whole[field] = whole.get(field).cloned().unwrap_or(Value::Null);
                }
                whole
            }
            Ok(stored) => match leftovers(stored, &status) {
                Some(leftovers) => leftovers,
                None => return applied,
            },
            Err(_) => return applied,
        };
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        within(self.api.patch_status(name, &params, &Patch::Merge(self.object(&rest)))).await
    }

    /// Server-side apply works only on objects whose shape fits the definition: one that was stored under another
    /// definition gets its status by a merge. No other failure is a reason: the fields would belong to another manager.
    fn undecodable(&self, answer: &Status) -> bool {
        answer.code == 500 && self.version.policy.is_none() && answer.message.contains("typed")
    }

    async fn exists(&self) -> bool {
        let found = within(self.api.get_metadata_opt(&self.version.key.name)).await;
        found.is_ok_and(|found| found.is_some_and(|it| it.metadata.uid.as_deref() == Some(&self.version.uid)))
    }

    fn object(&self, status: &Value) -> Value {
        let PolicyVersion { key, uid, .. } = self.version;
        let mut metadata = json!({"name": key.name, "uid": uid});
        if let Some(namespace) = &key.namespace {
            metadata["namespace"] = json!(namespace);
        }
        let version = format!("{GROUP}/{VERSION}");
        json!({"apiVersion": version, "kind": self.kind.as_str(), "metadata": metadata, "status": status})
    }
}

/// What a merge takes away of the stored status: what it has and should not have.
fn leftovers(stored: &DynamicObject, status: &Value) -> Option<Value> {
    let has = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    let stored = stored.data.get("status")?;
    let over = OPTIONAL.iter().filter(|field| has(stored.get(**field)) && !has(status.get(**field)));
    let over: Map<String, Value> = over.map(|field| ((*field).to_owned(), Value::Null)).collect();
    (!over.is_empty()).then_some(Value::Object(over))
}
