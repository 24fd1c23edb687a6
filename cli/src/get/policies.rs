//! In: policies with their status. Out: their table, or the objects as people want to read them.

use kube::core::DynamicObject;
use serde_json::{Value, json};

use crate::cluster::view::PolicyView;
use crate::table::{NOTHING, age, columns, or_nothing};

/// One line for each policy; `now` in seconds since 1970.
pub fn table(policies: &[PolicyView], wide: bool, now: i64) -> String {
    if policies.is_empty() {
        return "no policies\n".to_owned();
    }
    let mut head = vec!["NAMESPACE", "NAME", "MODE", "READY", "NODES", "HOOKS"];
    if wide {
        head.extend(["MATCHES", "ENFORCED", "MESSAGE"]);
    }
    head.push("AGE");
    let row = |policy: &PolicyView| {
        let status = &policy.status;
        let mut row = vec![
            or_nothing(Some(&policy.namespace)),
            policy.name.clone(),
            or_nothing(status.mode.as_ref()),
            or_nothing(policy.ready().map(|ready| ready.status)),
            or_nothing(status.nodes.as_ref().map(|nodes| &nodes.summary)),
            or_nothing(status.hooks),
        ];
        if wide {
            let message = policy.unreadable.as_ref().or_else(|| policy.ready().map(|ready| &ready.message));
            row.extend([or_nothing(status.matches), or_nothing(status.enforced), or_nothing(message)]);
        }
        row.push(policy.created.map_or(NOTHING.to_owned(), |created| age(now - created)));
        row
    };
    columns(&head, &policies.iter().map(row).collect::<Vec<_>>())
}

/// A list as kubectl gives it.
pub fn list(objects: &[DynamicObject]) -> Value {
    let items: Vec<_> = objects.iter().map(tidy).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// Without the bookkeeping of field managers, which nobody reads.
pub fn tidy(object: &DynamicObject) -> DynamicObject {
    let mut object = object.clone();
    object.metadata.managed_fields = None;
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: i64 = 1_795_469_100;

    fn view(object: Value) -> PolicyView {
        PolicyView::of(&serde_json::from_value(object).unwrap())
    }

    fn policies() -> Vec<PolicyView> {
        vec![
            view(json!({
                "apiVersion": "cilium.io/v1alpha1",
                "kind": "TracingPolicy",
                "metadata": {"name": "file-monitor", "generation": 2, "creationTimestamp": "2026-11-23T21:25:00Z"},
                "spec": {},
                "status": {
                    "observedGeneration": 2,
                    "mode": "enforce",
                    "hooks": 4,
                    "nodes": {"desired": 50, "programmed": 48, "failed": 2, "summary": "48/50"},
                    "conditions": [
                        {"type": "Accepted", "status": "True", "reason": "Valid", "message": "",
                         "lastTransitionTime": "2026-11-23T21:25:01Z"},
                        {"type": "Ready", "status": "False", "reason": "NodeFailed",
                         "message": "2 of 50 nodes could not load it", "lastTransitionTime": "2026-11-23T21:25:01Z"}
                    ],
                    "matches": 12345,
                    "enforced": 0
                }
            })),
            // Not looked at yet.
            view(json!({
                "kind": "TracingPolicyNamespaced",
                "metadata": {"namespace": "team-a", "name": "new", "creationTimestamp": "2026-11-23T21:25:55Z"}
            })),
            // Written by something else.
            view(json!({
                "kind": "TracingPolicyNamespaced",
                "metadata": {"namespace": "team-a", "name": "odd"},
                "status": {"hooks": "many"}
            })),
        ]
    }

    #[test]
    fn the_table_says_what_kubectl_says() {
        assert_eq!(
            table(&policies(), false, MADE + 60),
            "\
NAMESPACE   NAME           MODE      READY   NODES   HOOKS   AGE
-           file-monitor   enforce   False   48/50   4       60s
team-a      new            -         -       -       -       5s
team-a      odd            -         -       -       -       -
"
        );
    }

    #[test]
    fn wide_adds_counters_and_the_message() {
        let text = table(&policies(), true, MADE + 86_400 * 3);
        let lines: Vec<_> = text.lines().collect();
        let head =
            "NAMESPACE   NAME           MODE      READY   NODES   HOOKS   MATCHES   ENFORCED   MESSAGE ";
        assert!(lines[0].starts_with(head) && lines[0].ends_with(" AGE"), "{text}");
        assert!(
            lines[1].contains("48/50   4       12345     0          2 of 50 nodes could not load it"),
            "{text}"
        );
        assert!(lines[1].ends_with("3d"));
        assert!(lines[3].contains("its status cannot be read: "), "{text}");
    }

    #[test]
    fn objects_are_given_whole_but_for_the_managers() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "cilium.io/v1alpha1", "kind": "TracingPolicy",
            "metadata": {"name": "p", "managedFields": [{"manager": "kubectl"}]},
            "spec": {"kprobes": [{"call": "f"}]}
        }))
        .unwrap();
        let list = list(&[object]);
        assert_eq!(list["items"][0]["spec"]["kprobes"][0]["call"], "f");
        assert_eq!(list["items"][0]["kind"], "TracingPolicy");
        assert!(list["items"][0]["metadata"].get("managedFields").is_none());
    }

    #[test]
    fn no_policies_is_said() {
        assert_eq!(table(&[], true, 0), "no policies\n");
    }
}
