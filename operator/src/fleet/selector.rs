//! In: a policy's `nodeSelector` and the labels of a node. Out: whether the policy is for that node.

use std::collections::BTreeMap;

use crds::workload::{LabelOperator, LabelRequirement, LabelSelector};

/// Whether a selector selects a node, by the rules of Kubernetes: all conditions must hold, `NotIn` holds for nodes
/// without the label, and a selector without conditions selects all.
///
/// `labels` is `None` for a node that the API server has not told of yet: only policies for all nodes are for it, so that
/// `NotIn` and `DoesNotExist` do not bring a policy to a node that it is not for.
pub fn selects(selector: Option<&LabelSelector>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let Some(selector) = selector else { return true };
    let Some(labels) = labels else {
        return selector.match_labels.is_empty() && selector.match_expressions.is_empty();
    };
    selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(&value.0))
        && selector.match_expressions.iter().all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &LabelRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let listed = || value.is_some_and(|value| requirement.values.contains(value));
    match requirement.operator {
        LabelOperator::In => listed(),
        LabelOperator::NotIn => !listed(),
        LabelOperator::Exists => value.is_some(),
        LabelOperator::DoesNotExist => value.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crds::workload::LabelValue;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expression(operator: LabelOperator, values: &[&str]) -> LabelSelector {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let requirement = LabelRequirement { key: "zone".to_owned(), operator, values };
        LabelSelector { match_expressions: vec![requirement], ..LabelSelector::default() }
    }

    #[test]
    fn each_operator_does_as_in_kubernetes() {
        let (a, c, none) = (labels(&[("zone", "a")]), labels(&[("zone", "c")]), labels(&[]));
        let table = [
            (LabelOperator::In, &["a", "b"][..], [true, false, false]),
            (LabelOperator::NotIn, &["a", "b"][..], [false, true, true]),
            (LabelOperator::Exists, &[][..], [true, true, false]),
            (LabelOperator::DoesNotExist, &[][..], [false, false, true]),
        ];
        for (operator, values, expected) in table {
            let selector = expression(operator, values);
            let found = [&a, &c, &none].map(|labels| selects(Some(&selector), Some(labels)));
            assert_eq!(found, expected, "{operator:?}");
            assert!(!selects(Some(&selector), None), "{operator:?} of an unknown node");
        }
    }

    #[test]
    fn conditions_are_joined_and_none_select_all() {
        let mut selector = expression(LabelOperator::Exists, &[]);
        selector.match_labels.insert("role".to_owned(), LabelValue("db".to_owned()));
        assert!(selects(Some(&selector), Some(&labels(&[("zone", "a"), ("role", "db")]))));
        assert!(!selects(Some(&selector), Some(&labels(&[("zone", "a"), ("role", "web")]))));
        assert!(!selects(Some(&selector), Some(&labels(&[("role", "db")]))));
        for labels in [None, Some(&labels(&[]))] {
            assert!(selects(None, labels));
            assert!(selects(Some(&LabelSelector::default()), labels));
        }
    }
}
