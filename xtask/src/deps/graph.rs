//! Input: `cargo metadata`.
//! Output: the workspace's crates with what they import, and all packages of the build with licence and source.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::workspace;

/// A crate of the workspace.
pub struct Member {
    pub name: String,
    /// Names of direct dependencies, tests' own left out, sorted.
    pub imports: Vec<String>,
}

/// A package of the build.
pub struct Package {
    pub name: String,
    pub version: String,
    /// SPDX expression.
    pub licence: Option<String>,
    /// None for the workspace's own.
    pub source: Option<String>,
    /// Ids of what it links or builds with, tests' own left out.
    needs: Vec<String>,
}

/// All packages that are built for Linux.
pub struct Graph {
    /// As listed in Cargo.toml.
    pub members: Vec<Member>,
    /// By cargo's package id.
    pub packages: BTreeMap<String, Package>,
}

impl Graph {
    /// Asks cargo, without changing Cargo.lock.
    pub fn of_workspace() -> Result<Self> {
        let platform = ["--filter-platform", "x86_64-unknown-linux-gnu"];
        let mut cargo = workspace::cargo();
        cargo.args(["metadata", "--format-version", "1", "--locked"]).args(platform);
        let output = cargo.output().context("starting cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata's JSON")?;
        Self::parse(&metadata).context("cargo metadata's JSON is not of the known form")
    }

    fn parse(metadata: &Value) -> Option<Self> {
        let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let mut needs = BTreeMap::new();
        for node in metadata.get("resolve")?.get("nodes")?.as_array()? {
            let linked = node.get("deps")?.as_array()?.iter().filter(|dependency| is_linked(dependency));
            needs
                .insert(text(node, "id")?, linked.filter_map(|dependency| text(dependency, "pkg")).collect());
        }
        let mut packages = BTreeMap::new();
        for package in metadata.get("packages")?.as_array()? {
            let id = text(package, "id")?;
            // Without a node, it is for other platforms only.
            let Some(needs) = needs.remove(&id) else { continue };
            let (name, version) = (text(package, "name")?, text(package, "version")?);
            let (licence, source) = (text(package, "license"), text(package, "source"));
            packages.insert(id, Package { name, version, licence, source, needs });
        }
        let mut members = Vec::new();
        for id in metadata.get("workspace_members")?.as_array()? {
            let package = packages.get(id.as_str()?)?;
            let mut imports: Vec<_> =
                package.needs.iter().filter_map(|id| Some(packages.get(id)?.name.clone())).collect();
            imports.sort();
            members.push(Member { name: package.name.clone(), imports });
        }
        Some(Graph { members, packages })
    }

    /// Names of all packages that a member needs, directly or not, when it is built alone: features that only other
    /// members ask for do not count.
    pub fn reach(member: &Member) -> Result<BTreeSet<String>> {
        let mut cargo = workspace::cargo();
        cargo.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
        cargo.args(["--target", "x86_64-unknown-linux-gnu", "--package", &member.name]);
        let output = cargo.output().context("starting cargo tree")?;
        if !output.status.success() {
            bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(names(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Names of packages that are built in more than one version.
    pub fn duplicates(&self) -> Vec<String> {
        let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
        for package in self.packages.values() {
            *versions.entry(&package.name).or_default() += 1;
        }
        versions.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.to_owned()).collect()
    }
}

/// The names of `cargo tree`'s packages, one per line, all but the first, which is the member itself.
fn names(tree: &str) -> BTreeSet<String> {
    tree.lines().skip(1).filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

/// Whether a dependency is more than for tests.
fn is_linked(dependency: &Value) -> bool {
    let kinds = dependency.get("dep_kinds").and_then(Value::as_array);
    kinds
        .is_some_and(|kinds| kinds.iter().any(|kind| kind.get("kind").and_then(Value::as_str) != Some("dev")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Graph, names};

    #[test]
    fn the_member_itself_is_not_among_what_it_reaches() {
        let tree = "app v1.0.0 (/app)\nleft v1.0.0\ndeep v1.0.0 (proc-macro)\nleft v1.0.0 (*)\n";
        assert_eq!(names(tree).into_iter().collect::<Vec<_>>(), ["deep", "left"]);
    }

    #[test]
    fn tests_own_dependencies_do_not_count() {
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT", "source": null});
        let need = |name: &str, kind: Option<&str>| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "workspace_members": ["app"],
            "packages": [package("app"), package("left"), package("deep"), package("dev"), package("windows")],
            "resolve": {"nodes": [
                {"id": "app", "deps": [need("left", None), need("dev", Some("dev"))]},
                {"id": "left", "deps": [need("deep", Some("build"))]},
                {"id": "deep", "deps": []},
                {"id": "dev", "deps": []},
            ]},
        });
        let graph = Graph::parse(&metadata).unwrap();
        assert_eq!(graph.members[0].imports, ["left"]);
        assert!(!graph.packages.contains_key("windows"));
    }
}
