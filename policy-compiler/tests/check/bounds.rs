//! In: inputs made to be slow or large. Out: whether `check` stays bounded, and whether both entry points agree.

use std::fs;
use std::time::{Duration, Instant};

use crds::TracingPolicy;
use crds::manifest::PolicyKind;
use policy_compiler::check::{INPUT_LIMIT, check_spec, check_yaml};
use policy_compiler::typed::PolicyKey;

use super::{folder, yaml_files};

const HEAD: &str = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n";

/// As many copies of `line` as fit a quarter of the input limit; that is where anything quadratic shows.
fn filled(head: &str, line: &str) -> String {
    let mut text = format!("{HEAD}{head}");
    while text.len() + line.len() <= INPUT_LIMIT / 4 {
        text.push_str(line);
    }
    text
}

#[test]
fn large_inputs_take_seconds_at_most() {
    let unique: String = (0..20_000).map(|number| format!("  k{number}: 1\n")).collect();
    let cases = [
        filled("  kprobes:\n", "  - {cal: f}\n"),
        filled("  kprobes:\n", "  - {call: f, selectors: [1]}\n"),
        filled("  kprobes:\n  - call: f\n    args:\n", "    - {index: 0, type: int}\n"),
        filled(
            "  kprobes:\n  - call: sys_f\n    args: [{index: 0, type: int}]\n    selectors:\n    - matchArgs:\n",
            "      - {index: 1, operator: Equal}\n",
        ),
        filled("  options:\n", "  - {name: policy-mod, value: x}\n"),
        filled("  kprobes: [{call: sys_f, tags: [\n", "\"\\u001b\",\n") + "]}]\n",
        format!("{HEAD}{unique}"),
        "---\nx\n".repeat(100_000),
    ];
    for case in cases {
        let started = Instant::now();
        let checked = check_yaml(&case);
        // Without optimisation and on a busy machine; quadratic work would take minutes.
        assert!(started.elapsed() < Duration::from_secs(20), "{}", &case[..200]);
        for document in &checked {
            assert!(document.policy.is_none());
            assert!(document.diagnostics.len() <= 501);
            let shown: usize = document.diagnostics.iter().map(|found| found.to_string().len()).sum();
            assert!(shown < 1_000_000, "{shown} bytes of diagnostics");
            assert!(document.diagnostics.iter().all(|found| !found.to_string().contains('\u{1b}')));
        }
    }
}

#[test]
fn a_set_may_have_many_values() {
    let values: Vec<String> = (0..40_000).map(|number| format!("\"{}\"", number * 3)).collect();
    let text = format!(
        "{HEAD}  tracepoints:\n  - subsystem: raw_syscalls\n    event: sys_enter\n    args: [{{index: 4, type: \
         syscall64}}]\n    selectors: [{{matchArgs: [{{index: 4, operator: InMap, values: [{}]}}]}}]\n",
        values.join(", ")
    );
    let checked = check_yaml(&text).remove(0);
    assert!(checked.policy.is_some(), "{:?}", checked.diagnostics.first());
}

#[test]
fn deserialised_policies_are_judged_like_text() {
    for path in yaml_files(&folder("../examples/policies")) {
        let text = fs::read_to_string(&path).unwrap();
        let object: TracingPolicy = serde_yaml::from_str(&text).unwrap();
        let key = PolicyKey { namespace: None, name: object.metadata.name.clone().unwrap() };
        let from_object = check_spec(PolicyKind::Cluster, key, &object.spec);
        let from_text = check_yaml(&text).remove(0);
        assert_eq!(from_object.policy, from_text.policy, "{}", path.display());
        assert_eq!(from_object.diagnostics, from_text.diagnostics, "{}", path.display());
    }
}
