//! In: `examples/policies/*.yaml`. Out: each compiles for the kernels with trampolines, alone and all together, and
//! its programs load.

use std::path::Path;

use api::artefact::Flavour;
use policy_compiler::check::check_yaml;
use policy_compiler::typed::TypedPolicy;
use policy_compiler::{Kernel, compile};

use crate::node::Node;
use crate::places::surroundings;
use crate::profile::Variant;

fn examples() -> Vec<TypedPolicy> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        check_yaml(&text).into_iter().map(move |checked| {
            checked.policy.unwrap_or_else(|| panic!("{}: {:?}", path.display(), checked.diagnostics))
        })
    };
    paths.into_iter().flat_map(read).collect()
}

fn loads(policies: &[TypedPolicy], kernel: &Kernel) {
    let compiled = compile(policies, kernel);
    let problems: Vec<_> = compiled.diagnostics.values().flatten().filter(|p| p.is_error()).collect();
    assert!(problems.is_empty(), "on {}: {problems:?}", kernel.release());
    assert!(!compiled.artefacts.is_empty());
    if let Err(trap) = Node::new(&compiled.artefacts, surroundings(Flavour::Fentry)) {
        panic!("on {}: {trap}", kernel.release());
    }
}

#[test]
fn examples_compile_and_load() {
    let examples = examples();
    assert!(!examples.is_empty());
    for variant in [Variant::Trampolines6, Variant::Trampolines7] {
        let kernel = Kernel::new(variant.profile()).expect("the fixture is BTF");
        examples.iter().for_each(|example| loads(std::slice::from_ref(example), &kernel));
        loads(&examples, &kernel);
    }
}

#[test]
fn the_same_policies_give_the_same_artefacts_in_any_order() {
    let kernel = Kernel::new(Variant::Trampolines6.profile()).expect("the fixture is BTF");
    let mut policies = examples();
    let digests = |policies: &[TypedPolicy]| -> Vec<_> {
        compile(policies, &kernel).artefacts.iter().map(api::artefact::Artefact::digest).collect()
    };
    let first = digests(&policies);
    policies.reverse();
    assert_eq!(digests(&policies), first);
    assert_eq!(digests(&policies), first);
}
