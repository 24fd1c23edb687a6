//! In: what the operator knows of the nodes. Out: the ConfigMap [`CONFIG_MAP`] in the operator's namespace, which
//! `ferra get nodes` reads.
//!
//! Nodes are no objects of ours, and the status of a policy names only the first that fail: this is the one place
//! that lists them all.

use serde::{Deserialize, Serialize};

/// Name of the ConfigMap.
pub const CONFIG_MAP: &str = "ferragon-fleet";
/// Its key that holds the JSON of a list of [`FleetNode`], ascending by name.
pub const NODES_KEY: &str = "nodes.json";
/// Its key that holds, in decimal, how many nodes did not fit; absent if all did.
pub const OMITTED_KEY: &str = "omitted";
/// Bytes of the list: a ConfigMap may have 1 MiB; 4,900 nodes of usual names take 165 bytes each.
pub const NODES_MAX: usize = 800 * 1024;
/// Failing hooks listed of one node.
pub const FAILING_HOOKS: usize = 5;
/// Bytes of one failing hook's text.
pub const FAILING_HOOK_MAX: usize = 256;

/// A node of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetNode {
    /// Name of the node.
    pub node: String,
    /// `uname -r`; empty until the agent said it.
    #[serde(default)]
    pub kernel: String,
    /// Version of its agent; empty until the agent said it.
    #[serde(default)]
    pub agent_version: String,
    /// Generation of the set that its agent last answered.
    #[serde(default)]
    pub generation: u64,
    /// Generation of the set that it was last sent.
    #[serde(default)]
    pub desired_generation: u64,
    /// Whether its agent is connected.
    #[serde(default)]
    pub connected: bool,
    /// What does not run there as it was asked, and why: the first policies that it refused, hooks that it could not take
    /// away, or the whole set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing_hooks: Vec<String>,
}

/// The values of the ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetData {
    /// Value of [`NODES_KEY`]; at most [`NODES_MAX`] bytes.
    pub nodes: String,
    /// Nodes that did not fit: the value of [`OMITTED_KEY`] if it is not 0.
    pub omitted: usize,
}

/// Writes the list, within its bounds: the texts of failing hooks are cut, and nodes at the end left out.
///
/// Equal input gives equal bytes, so that an unchanged fleet needs no write.
pub fn encode<'a>(nodes: impl IntoIterator<Item = &'a FleetNode>) -> FleetData {
    let mut list = "[".to_owned();
    let mut omitted = 0;
    for node in nodes {
        let text = serde_json::to_string(&bounded(node)).unwrap_or_default();
        // The comma or bracket before it, and the bracket at the end.
        if omitted > 0 || text.is_empty() || list.len() + text.len() + 2 > NODES_MAX {
            omitted += 1;
            continue;
        }
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&text);
    }
    list.push(']');
    FleetData { nodes: list, omitted }
}

fn bounded(node: &FleetNode) -> FleetNode {
    let cut = |text: &String| {
        let end = (0..=FAILING_HOOK_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        if text.len() <= FAILING_HOOK_MAX {
            text.clone()
        } else {
            text.get(..end).unwrap_or_default().to_owned()
        }
    };
    let failing_hooks = node.failing_hooks.iter().take(FAILING_HOOKS).map(cut).collect();
    FleetNode { failing_hooks, ..node.clone() }
}

/// Reads the list.
///
/// # Errors
/// It is not the JSON of a list of nodes.
pub fn decode(nodes: &str) -> Result<Vec<FleetNode>, serde_json::Error> {
    serde_json::from_str(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> FleetNode {
        FleetNode {
            node: name.to_owned(),
            kernel: "6.12.48+deb13-amd64".to_owned(),
            agent_version: "0.1.0".to_owned(),
            generation: 1_795_469_099_000,
            desired_generation: 1_795_469_099_000,
            connected: true,
            failing_hooks: vec![],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let failing = FleetNode { failing_hooks: vec!["kprobe f: no".to_owned()], ..node("b") };
        let nodes = [node("a"), failing];
        let data = encode(&nodes);
        assert_eq!(decode(&data.nodes).unwrap(), nodes);
        assert_eq!(data.omitted, 0);
        assert_eq!(encode(&[]).nodes, "[]");
        assert!(decode("{}").is_err());
    }

    #[test]
    fn the_names_are_those_that_readers_know() {
        assert_eq!(
            encode(&[node("a")]).nodes,
            concat!(
                r#"[{"node":"a","kernel":"6.12.48+deb13-amd64","agentVersion":"0.1.0","generation":1795469099000,"#,
                r#""desiredGeneration":1795469099000,"connected":true}]"#
            )
        );
    }

    #[test]
    fn thousands_of_nodes_fit() {
        let nodes: Vec<_> = (0..4_800).map(|at| node(&format!("worker-{at:04}"))).collect();
        assert_eq!(encode(&nodes).omitted, 0);
    }

    #[test]
    fn the_size_is_bounded_and_says_what_is_missing() {
        let hooks: Vec<_> = (0..9).map(|_| "é".repeat(1_000)).collect();
        let nodes: Vec<_> = (0..2_000)
            .map(|at| FleetNode { failing_hooks: hooks.clone(), ..node(&format!("{at:04}")) })
            .collect();
        let data = encode(&nodes);
        assert!(data.nodes.len() <= NODES_MAX, "{}", data.nodes.len());
        let read = decode(&data.nodes).unwrap();
        assert_eq!(read.len() + data.omitted, 2_000);
        assert!(data.omitted > 0);
        assert_eq!(read[0].failing_hooks.len(), FAILING_HOOKS);
        assert_eq!(read[0].failing_hooks[0], "é".repeat(FAILING_HOOK_MAX / 2));
        // No hole in the middle.
        assert!(read.iter().zip(&nodes).all(|(read, node)| read.node == node.node));
    }
}
