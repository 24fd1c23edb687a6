//! In: the fleet's nodes. Out: their table.

use crds::fleet::FleetNode;

use crate::table::{NOTHING, columns, or_nothing};

/// One line for each node.
pub fn table(nodes: &[FleetNode], wide: bool) -> String {
    if nodes.is_empty() {
        return "no nodes: no agent has called the operator yet\n".to_owned();
    }
    let mut head = vec!["NODE", "STATE", "KERNEL", "AGENT", "GENERATION", "FAILING"];
    if wide {
        head.extend(["DESIRED", "HOOKS"]);
    }
    let row = |node: &FleetNode| {
        let mut row = vec![
            node.node.clone(),
            state(node).to_owned(),
            or_nothing(Some(&node.kernel)),
            or_nothing(Some(&node.agent_version)),
            node.generation.to_string(),
            node.failing_hooks.len().to_string(),
        ];
        if wide {
            let hooks = node.failing_hooks.join("; ");
            row.extend([node.desired_generation.to_string(), or_nothing(Some(hooks))]);
        }
        row
    };
    columns(&head, &nodes.iter().map(row).collect::<Vec<_>>())
}

fn state(node: &FleetNode) -> &'static str {
    match node {
        node if !node.connected => "Disconnected",
        node if !node.failing_hooks.is_empty() => "Failing",
        node if node.generation != node.desired_generation => "Pending",
        node if node.kernel.is_empty() => NOTHING,
        _ => "Current",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> FleetNode {
        FleetNode {
            node: name.into(),
            kernel: "6.1.0-40-amd64".into(),
            agent_version: "0.1.0".into(),
            generation: 7,
            desired_generation: 7,
            connected: true,
            failing_hooks: vec![],
        }
    }

    fn nodes() -> Vec<FleetNode> {
        let hooks = vec!["kprobe/no_such: not found".into(), "lsm/file_open: EPERM".into()];
        vec![
            node("a"),
            FleetNode { desired_generation: 8, ..node("b-is-pending") },
            FleetNode { failing_hooks: hooks, ..node("c") },
            FleetNode { connected: false, ..node("d") },
            FleetNode { node: "e".into(), ..FleetNode::default() },
        ]
    }

    #[test]
    fn states_are_told() {
        assert_eq!(
            table(&nodes(), false),
            "\
NODE           STATE          KERNEL           AGENT   GENERATION   FAILING
a              Current        6.1.0-40-amd64   0.1.0   7            0
b-is-pending   Pending        6.1.0-40-amd64   0.1.0   7            0
c              Failing        6.1.0-40-amd64   0.1.0   7            2
d              Disconnected   6.1.0-40-amd64   0.1.0   7            0
e              Disconnected   -                -       0            0
"
        );
    }

    #[test]
    fn wide_names_the_hooks() {
        let text = table(&nodes()[1..3], true);
        assert_eq!(
            text,
            "\
NODE           STATE     KERNEL           AGENT   GENERATION   FAILING   DESIRED   HOOKS
b-is-pending   Pending   6.1.0-40-amd64   0.1.0   7            0         8         -
c              Failing   6.1.0-40-amd64   0.1.0   7            2         7         kprobe/no_such: not found; lsm/file_open: EPERM
"
        );
    }

    #[test]
    fn no_nodes_is_said() {
        assert!(table(&[], false).contains("no nodes"));
    }
}
