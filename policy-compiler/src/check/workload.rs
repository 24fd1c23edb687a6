//! In: pod, container, host and node selectors, of a policy or of a selector's `matchWorkloads`. Out: conditions on
//! workloads and nodes.

use crds::TracingPolicySpec;
use crds::manifest::PolicyKind;
use crds::workload::{LabelOperator, LabelSelector, WorkloadSelector};

use super::path::FieldPath;
use super::problems::{Problems, quoted, suggest};
use crate::diagnostic::Code;
use crate::typed::{Filter, FilterTest, LabelIs, LabelTest, PodTest, PolicyKey, WorkloadTest};

/// Keys of `containerSelector`.
const CONTAINER_KEYS: [&str; 2] = ["name", "repo"];
/// Most conditions of one selector, and most values of one condition: bounds what the agent evaluates for each
/// container.
const CONDITIONS_LIMIT: usize = 64;
/// Longest label key: a DNS name of 253 characters, a slash, and a name of 63.
const KEY_LIMIT: usize = 317;
/// Longest text that a value is compared with: names of images are longer than values of labels.
const VALUE_LIMIT: usize = 1024;

/// The three selectors, from wherever they are.
struct Selectors<'a> {
    host: Option<&'a LabelSelector>,
    pods: Option<&'a LabelSelector>,
    container: Option<&'a LabelSelector>,
}

/// The condition of the whole policy; a namespaced one applies to the pods of its namespace only.
pub(super) fn check_policy(
    kind: PolicyKind,
    key: &PolicyKey,
    spec: &TracingPolicySpec,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<WorkloadTest> {
    let selectors = Selectors {
        host: spec.host_selector.as_ref(),
        pods: spec.pod_selector.as_ref(),
        container: spec.container_selector.as_ref(),
    };
    if kind == PolicyKind::Namespaced && selectors.host.is_some() {
        let message = "a namespaced policy never applies to the host";
        let help = "remove it, or use kind TracingPolicy";
        problems.error_help(Code::Conflict, &path.key("hostSelector"), message, help);
    }
    let (host, mut pods) = check(&selectors, path, problems);
    if kind == PolicyKind::Namespaced {
        // Without a namespace the policy is refused already.
        pods.get_or_insert_default().namespace.clone_from(&key.namespace);
    }
    WorkloadTest::new(host, pods)
}

/// `matchWorkloads`.
pub(super) fn check_filter(
    selector: Option<&WorkloadSelector>,
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Filter> {
    let Some(selector) = selector else { return Vec::new() };
    let selectors = Selectors {
        host: selector.host_selector.as_ref(),
        pods: selector.pod_selector.as_ref(),
        container: selector.container_selector.as_ref(),
    };
    if selectors.host.or(selectors.pods).or(selectors.container).is_none() {
        problems.warn(
            path,
            "without a selector the filter is ignored",
            "add a selector or remove the filter",
        );
    }
    let (host, pods) = check(&selectors, path, problems);
    let test = WorkloadTest::new(host, pods).map(FilterTest::Workloads);
    test.map(|test| Filter { path: path.to_string(), test }).into_iter().collect()
}

/// `nodeSelector`.
pub(super) fn check_nodes(
    selector: Option<&LabelSelector>,
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<LabelTest> {
    selector.map_or_else(Vec::new, |selector| check_labels(selector, path, &[], problems))
}

/// A container selector alone is about the containers of all pods.
fn check(selectors: &Selectors<'_>, path: &FieldPath, problems: &mut Problems) -> (bool, Option<PodTest>) {
    if let Some(host) = selectors.host
        && *host != LabelSelector::default()
    {
        let message = "processes of the host have no labels";
        problems.error_help(Code::Conflict, &path.key("hostSelector"), message, "write `hostSelector: {}`");
    }
    let mut labels = |selector: Option<&LabelSelector>, key: &str, keys: &[&str]| {
        selector.map(|selector| check_labels(selector, &path.key(key), keys, problems))
    };
    let pods = labels(selectors.pods, "podSelector", &[]);
    let container = labels(selectors.container, "containerSelector", &CONTAINER_KEYS);
    let any = pods.is_some() || container.is_some();
    let test = PodTest {
        namespace: None,
        labels: pods.unwrap_or_default(),
        container: container.unwrap_or_default(),
    };
    (selectors.host.is_some(), any.then_some(test))
}

/// The conditions of a selector, in an order of their own; `keys` are the possible keys, none: all.
fn check_labels(
    selector: &LabelSelector,
    path: &FieldPath,
    keys: &[&str],
    problems: &mut Problems,
) -> Vec<LabelTest> {
    let mut tests = Vec::new();
    let labels = path.key("matchLabels");
    for (key, value) in &selector.match_labels {
        let path = labels.key(key);
        check_key(key, &path, keys, problems);
        check_value(&value.0, &path, problems);
        tests.push(LabelTest { key: key.clone(), is: LabelIs::In(vec![value.0.clone()]) });
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let path = path.key("matchExpressions").item(index);
        check_key(&requirement.key, &path.key("key"), keys, problems);
        let values = check_values(requirement.operator, &requirement.values, &path, problems);
        let is = match requirement.operator {
            LabelOperator::In => LabelIs::In(values),
            LabelOperator::NotIn => LabelIs::NotIn(values),
            LabelOperator::Exists => LabelIs::Present,
            LabelOperator::DoesNotExist => LabelIs::Absent,
        };
        tests.push(LabelTest { key: requirement.key.clone(), is });
    }
    if tests.len() > CONDITIONS_LIMIT {
        let message = format!("{} conditions, at most {CONDITIONS_LIMIT} are possible", tests.len());
        problems.error(Code::OutOfRange, path, message);
    }
    tests.sort_unstable();
    tests.dedup();
    tests
}

fn check_key(key: &str, path: &FieldPath, keys: &[&str], problems: &mut Problems) {
    if !keys.is_empty() && !keys.contains(&key) {
        let message = format!("containers have no {}", quoted(key));
        problems.error_help(Code::UnknownValue, path, message, suggest(key, keys));
    } else if key.is_empty() || key.len() > KEY_LIMIT {
        let message = format!("{} is not the name of a label", quoted(key));
        problems.error(Code::OutOfRange, path, message);
    }
}

fn check_value(value: &str, path: &FieldPath, problems: &mut Problems) {
    if value.len() > VALUE_LIMIT {
        let message = format!("{} bytes, at most {VALUE_LIMIT} can be compared", value.len());
        problems.error(Code::OutOfRange, path, message);
    }
}

fn check_values(
    operator: LabelOperator,
    values: &[String],
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<String> {
    let path = path.key("values");
    let listed = matches!(operator, LabelOperator::In | LabelOperator::NotIn);
    if listed && values.is_empty() {
        problems.error(Code::MissingField, &path, format!("`{operator}` needs at least one value"));
    }
    if !listed && !values.is_empty() {
        let help = "remove the values, or use `In` or `NotIn`";
        problems.error_help(Code::Conflict, &path, format!("`{operator}` takes no values"), help);
    }
    if values.len() > CONDITIONS_LIMIT {
        let message = format!("{} values, at most {CONDITIONS_LIMIT} are possible", values.len());
        problems.error(Code::OutOfRange, &path, message);
    }
    for (index, value) in values.iter().enumerate() {
        check_value(value, &path.item(index), problems);
    }
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    values
}
