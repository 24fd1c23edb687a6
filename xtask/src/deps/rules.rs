//! Input: the dependency graph.
//! Output: one sentence for each rule that it breaks.

use anyhow::Result;

use super::graph::Graph;
use super::licence;

/// What a crate must never reach, even indirectly, and why.
const NEVER: [(&str, &[&str], &str); 8] = [
    ("crds", &["kube-client", "tokio", "hyper", "aya"], "the API types do no I/O"),
    (
        "policy-compiler",
        &["kube-client", "tokio", "hyper", "aya", "aya-obj", "bpf-programs", "agent"],
        "the compiler is a pure function",
    ),
    ("bpf-programs", &["crds", "policy-compiler", "api", "agent"], "the fixed programs know of no policy"),
    ("api", &["crds", "policy-compiler", "agent", "kube"], "the wire knows of no side of it"),
    ("operator", &["aya", "agent"], "the operator touches no kernel"),
    ("agent", &["crds", "policy-compiler", "operator"], "the privileged part is the smallest"),
    ("cli", &["operator"], "ferra runs without a cluster"),
    ("e2e", &["policy-compiler", "agent"], "tests of the whole use what users use"),
];

/// What no crate may reach, and why.
const BANNED: [(&str, &str); 4] = [
    ("openssl-sys", "needs a C library, so that one static binary could not be built; use rustls"),
    ("native-tls", "is OpenSSL here; use rustls"),
    ("chrono", "time stamps are formatted in api, without time zone tables"),
    ("libbpf-sys", "needs C libraries; aya and agent/src/kernel are there"),
];

/// Package registries begin so in cargo's source ids; git repositories and others do not.
const REGISTRY: &str = "registry+";

/// Every broken rule.
///
/// # Errors
/// cargo does not tell what a crate needs.
pub fn broken(graph: &Graph) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for member in &graph.members {
        let reach = Graph::reach(member)?;
        let rules = NEVER.iter().filter(|(name, ..)| *name == member.name);
        for (_, never, why) in rules {
            for name in never.iter().filter(|name| reach.contains(**name)) {
                found.push(format!("{} reaches {name}: {why} (cargo tree -p {0} -i {name})", member.name));
            }
        }
        for (name, why) in BANNED.iter().filter(|(name, _)| reach.contains(*name)) {
            found.push(format!("{} reaches {name}: it {why} (cargo tree -p {0} -i {name})", member.name));
        }
    }
    let mut registries: Vec<&str> = Vec::new();
    for package in graph.packages.values() {
        let named = format!("{} {}", package.name, package.version);
        match &package.licence {
            None => found.push(format!("{named} names no licence")),
            Some(text) => match licence::allowed(text) {
                Some(true) => {}
                Some(false) => found
                    .push(format!("{named}: licence {text} is not in the list of xtask/src/deps/licence.rs")),
                None => {
                    found.push(format!("{named}: licence {text:?} is no SPDX expression that we can read"))
                }
            },
        }
        match &package.source {
            Some(source) if !source.starts_with(REGISTRY) => {
                found.push(format!("{named} comes from {source}, not from the registry"))
            }
            Some(source) if !registries.contains(&source.as_str()) => registries.push(source),
            _ => {}
        }
    }
    if registries.len() > 1 {
        found.push(format!("packages come from more than one registry: {}", registries.join(", ")));
    }
    Ok(found)
}
