//! In: the fleet. Out: the ConfigMap of all nodes that `ferra get nodes` reads.

use std::time::Duration;

use crds::fleet::{CONFIG_MAP, FleetData, FleetNode, NODES_KEY, OMITTED_KEY, decode, encode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;
use tracing::warn;

use crate::FIELD_MANAGER;
use crate::model::Fleet;
use crate::patience::within;

/// Between two writes: the list may have 800 KiB.
const INTERVAL: Duration = Duration::from_secs(10);

/// Writes the ConfigMap.
pub(super) struct FleetMap {
    config_maps: Api<ConfigMap>,
    written: Option<FleetData>,
    /// Nodes in the list of the leader before; `None` until that was looked at.
    before: Option<usize>,
    due: Instant,
}

impl FleetMap {
    /// In the operator's namespace.
    pub(super) fn new(client: kube::Client, namespace: &str) -> FleetMap {
        FleetMap {
            config_maps: Api::namespaced(client, namespace),
            written: None,
            before: None,
            due: Instant::now(),
        }
    }

    /// Writes if something changed and it is due; tells when to come again if it is not. A leader that does not know all
    /// of its agents yet (`warm` is false) leaves a longer list as it is.
    pub(super) async fn update(&mut self, (data, nodes): (FleetData, usize), warm: bool) -> Option<Instant> {
        let now = Instant::now();
        if self.written.as_ref() == Some(&data) {
            return None;
        }
        if now < self.due {
            return Some(self.due);
        }
        self.due = now + INTERVAL;
        if !warm {
            match self.stored().await {
                Ok(before) if nodes < before => return Some(self.due),
                Ok(_) => {}
                Err(error) => {
                    warn!(%error, config_map = CONFIG_MAP, "the list of nodes is not known; tried again soon");
                    return Some(self.due);
                }
            }
        }
        let omitted = (data.omitted > 0).then(|| data.omitted.to_string());
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "labels": {"app.kubernetes.io/part-of": "ferragon"}},
            "data": match omitted {
                None => json!({NODES_KEY: data.nodes}),
                Some(omitted) => json!({NODES_KEY: data.nodes, OMITTED_KEY: omitted}),
            },
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match within(self.config_maps.patch_metadata(CONFIG_MAP, &params, &Patch::Apply(map))).await {
            Ok(_) => {
                self.written = Some(data);
                None
            }
            Err(error) => {
                warn!(%error, config_map = CONFIG_MAP, "the list of nodes is old; tried again soon");
                Some(self.due)
            }
        }
    }

    /// How many nodes the list had when this leader began.
    async fn stored(&mut self) -> Result<usize, kube::Error> {
        if let Some(before) = self.before {
            return Ok(before);
        }
        let map = within(self.config_maps.get_opt(CONFIG_MAP)).await?;
        let data = map.and_then(|map| map.data).unwrap_or_default();
        let listed = data.get(NODES_KEY).and_then(|nodes| decode(nodes).ok()).unwrap_or_default().len();
        let omitted = data.get(OMITTED_KEY).and_then(|omitted| omitted.parse::<usize>().ok()).unwrap_or(0);
        Ok(*self.before.insert(listed.saturating_add(omitted)))
    }
}

/// The ConfigMap's content, and of how many nodes it tells.
pub(super) fn data(fleet: &Fleet) -> (FleetData, usize) {
    let nodes: Vec<FleetNode> = fleet
        .nodes
        .iter()
        .map(|(name, state)| FleetNode {
            node: name.to_string(),
            kernel: state.release.clone(),
            agent_version: state.agent_version.clone(),
            generation: state.applied_generation,
            desired_generation: state.desired_generation,
            connected: state.connected,
            failing_hooks: state.failing_hooks.clone(),
        })
        .collect();
    (encode(&nodes), nodes.len())
}
