//! In: policies as their authors write them. Out: the same checked, for tests that are about what comes after.

use policy_compiler::check::check_yaml;
use policy_compiler::typed::TypedPolicy;

/// All policies of a text; none may have an error.
pub fn policies(text: &str) -> Vec<TypedPolicy> {
    let checked = check_yaml(text).into_iter();
    checked
        .map(|checked| checked.policy.unwrap_or_else(|| panic!("{:?}\n{text}", checked.diagnostics)))
        .collect()
}

/// A policy with one hook on security_file_permission, whose selectors are these lines.
pub fn on_files(name: &str, selectors: &str) -> String {
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  kprobes:\n  \
         - call: security_file_permission\n    syscall: false\n    args:\n    - {{index: 0, type: file}}\n    \
         - {{index: 1, type: int}}\n    selectors:\n{selectors}---\n"
    )
}
