//! In: the kubeconfig, or the pod's ServiceAccount. Out: policies and nodes as the cluster tells them.

pub mod view;

use std::error::Error;
use std::future::Future;

use crds::fleet::{self, FleetNode};
use crds::{TracingPolicy, TracingPolicyNamespaced};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Config};

/// A connection to the API server.
pub struct Cluster {
    client: Client,
    url: String,
}

/// Which policies to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Cluster-wide ones and those of the namespace that the kubeconfig is set to.
    Usual,
    /// Those of one namespace.
    Namespace(String),
    /// All.
    All,
}

/// Runs a command that asks the cluster.
///
/// # Errors
/// The command's, or that there is no runtime for it.
pub fn block_on<T>(command: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime for the connection cannot be started: {error}"))?
        .block_on(command)
}

impl Cluster {
    /// Connects as kubectl does: $KUBECONFIG, else ~/.kube/config, else the ServiceAccount of this pod.
    ///
    /// # Errors
    /// There is no configuration, or it cannot be used.
    pub async fn connect() -> Result<Cluster, String> {
        let config = Config::infer().await.map_err(|error| {
            format!(
                "no cluster is configured: set $KUBECONFIG, or run in a pod with a ServiceAccount ({})",
                chain(&error)
            )
        })?;
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| {
            format!("the configuration of cluster {url} cannot be used: {}", chain(&error))
        })?;
        Ok(Cluster { client, url })
    }

    /// The policies, cluster-wide ones first.
    ///
    /// # Errors
    /// The API server does not tell.
    pub async fn policies(&self, scope: &Scope) -> Result<Vec<DynamicObject>, String> {
        let namespaced = match scope {
            Scope::Usual => self.namespaced(Some(self.client.default_namespace())),
            Scope::Namespace(namespace) => self.namespaced(Some(namespace)),
            Scope::All => self.namespaced(None),
        };
        let mut found = match scope {
            Scope::Namespace(_) => Vec::new(),
            Scope::Usual | Scope::All => self.list(&self.cluster_wide(), "tracingpolicies").await?,
        };
        found.extend(self.list(&namespaced, "tracingpoliciesnamespaced").await?);
        Ok(found)
    }

    /// One policy: cluster-wide, or of a namespace.
    ///
    /// # Errors
    /// There is none of that name, or the API server does not tell.
    pub async fn policy(&self, name: &str, namespace: Option<&str>) -> Result<DynamicObject, String> {
        let (api, what) = match namespace {
            None => (self.cluster_wide(), "tracingpolicies"),
            Some(namespace) => (self.namespaced(Some(namespace)), "tracingpoliciesnamespaced"),
        };
        match api.get_opt(name).await {
            Ok(Some(policy)) => Ok(policy),
            Ok(None) => Err(match namespace {
                None => format!(
                    "there is no cluster-wide policy {name:?}: add -n NAMESPACE for one of a namespace"
                ),
                Some(namespace) => format!("there is no policy {name:?} in namespace {namespace:?}"),
            }),
            Err(error) => Err(self.failed(what, &error)),
        }
    }

    /// The nodes of the fleet, and how many more there are.
    ///
    /// # Errors
    /// The operator has not told, or the API server does not.
    pub async fn nodes(&self, operator_namespace: &str) -> Result<(Vec<FleetNode>, usize), String> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), operator_namespace);
        let found = api.get_opt(fleet::CONFIG_MAP).await;
        let map = found.map_err(|error| self.failed("configmaps", &error))?.ok_or_else(|| {
            format!(
                "there is no ConfigMap {} in namespace {operator_namespace:?}: is the operator there? See \
                 --operator-namespace",
                fleet::CONFIG_MAP
            )
        })?;
        let data = map.data.unwrap_or_default();
        let nodes = data.get(fleet::NODES_KEY).map_or("[]", String::as_str);
        let nodes = fleet::decode(nodes).map_err(|error| {
            format!("{} of ConfigMap {} is not a list of nodes: {error}", fleet::NODES_KEY, fleet::CONFIG_MAP)
        })?;
        let omitted = data.get(fleet::OMITTED_KEY).and_then(|count| count.parse().ok()).unwrap_or(0);
        Ok((nodes, omitted))
    }

    fn cluster_wide(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<TracingPolicy>(&()))
    }

    fn namespaced(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<TracingPolicyNamespaced>(&());
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Undecoded, so that one object of a wrong shape does not hide the others.
    async fn list(&self, api: &Api<DynamicObject>, what: &str) -> Result<Vec<DynamicObject>, String> {
        let list = api.list(&ListParams::default()).await.map_err(|error| self.failed(what, &error))?;
        let types = list.types;
        let typed = |mut object: DynamicObject| {
            // Items of a list do not say what they are.
            if object.types.is_none() {
                object.types = Some(kube::core::TypeMeta {
                    api_version: types.api_version.clone(),
                    kind: types.kind.trim_end_matches("List").to_owned(),
                });
            }
            object
        };
        Ok(list.items.into_iter().map(typed).collect())
    }

    fn failed(&self, what: &str, error: &kube::Error) -> String {
        match error {
            kube::Error::Api(status) if status.code == 404 => {
                format!("the cluster {} has no {what}: is Ferragon installed there?", self.url)
            }
            kube::Error::Api(status) => {
                format!("the cluster {} refuses to show {what}: {}", self.url, status.message)
            }
            error => format!("the cluster {} does not answer: {}", self.url, chain(error)),
        }
    }
}

/// An error with its causes, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |&error| error.source()) {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
