//! In: changed files. Out: the set of policies that the kernel should run, and messages about those it does not.
//!
//! A file that does not check, or whose policies do not compile for this kernel, leaves its last good version in
//! force and says so.

use super::sources::Change;
use crate::kernel::{more_formats, tracepoints_of};
use agent::session::Session;
use policy_compiler::check::check_yaml;
use policy_compiler::diagnostic::{Code, Diagnostic};
use policy_compiler::typed::{PolicyKey, TypedPolicy};
use policy_compiler::{Compiled, Kernel, compile};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    /// Last version that checked without an error.
    wanted: Vec<TypedPolicy>,
    /// Last version that compiled.
    good: Vec<TypedPolicy>,
    /// Last version whose programs the kernel took.
    loaded: Vec<TypedPolicy>,
    /// Messages not yet shown.
    news: Vec<String>,
    refused: bool,
}

/// The policies of all files.
#[derive(Debug, Default)]
pub struct Policies {
    files: BTreeMap<PathBuf, File>,
    accepted: usize,
    hooks: usize,
    failing: usize,
}

impl Policies {
    /// Takes changes in.
    pub fn update(&mut self, changes: Vec<(PathBuf, Change)>) {
        for (path, change) in changes {
            match change {
                Change::Removed => {
                    self.files.remove(&path);
                }
                Change::Unreadable(error) => {
                    let file = self.files.entry(path.clone()).or_default();
                    file.refused = true;
                    file.news.push(format!(
                        "{}: cannot be read: {error}{}",
                        path.display(),
                        kept(&file.good)
                    ));
                }
                Change::Text(text) => self.files.entry(path.clone()).or_default().read(&path, &text),
            }
        }
        self.refuse_duplicates();
    }

    /// Two files with one policy: the later one's is refused.
    fn refuse_duplicates(&mut self) {
        let mut owners: BTreeMap<PolicyKey, PathBuf> = BTreeMap::new();
        for (path, file) in &mut self.files {
            let File { wanted, news, refused, .. } = file;
            wanted.retain(|policy| match owners.get(&policy.key) {
                None => {
                    owners.insert(policy.key.clone(), path.clone());
                    true
                }
                Some(owner) => {
                    *refused = true;
                    let message = format!(
                        "{}: policy {} is already defined in {}",
                        path.display(),
                        policy.key,
                        owner.display()
                    );
                    news.push(message);
                    false
                }
            });
        }
    }

    /// Shows what was found since the last call.
    pub fn report_problems(&mut self) {
        for file in self.files.values_mut() {
            file.news.drain(..).for_each(|message| eprintln!("{message}"));
        }
    }

    /// Whether a file was refused at its last change.
    pub fn any_refused(&self) -> bool {
        self.files.values().any(|file| file.refused)
    }

    /// What the files ask for.
    pub fn wanted(&self) -> impl Iterator<Item = &TypedPolicy> {
        self.files.values().flat_map(|file| &file.wanted)
    }

    /// Compiles and loads. Policies that this kernel refuses fall back to their last good version.
    pub fn apply(&mut self, kernel: &mut Kernel, session: &mut Session) {
        kernel.add_tracepoints(more_formats(&tracepoints_of(self.wanted())));
        let wanted: Vec<TypedPolicy> = self.wanted().cloned().collect();
        let compiled = compile(&wanted, kernel);
        self.settle(&compiled);
        self.report_problems();
        // Each round leaves out at least one file's new version, so there are at most as many as files.
        for _ in 0..=self.files.len() {
            let set: Vec<TypedPolicy> = self.files.values().flat_map(|file| &file.good).cloned().collect();
            let compiled = compile(&set, kernel);
            let report = session.apply(&compiled.artefacts);
            report.leftovers.iter().for_each(|leftover| eprintln!("ferra: {leftover}"));
            self.accepted = compiled.accepted.len();
            self.hooks = compiled.artefacts.len();
            self.failing = report.failures().count();
            let failed: BTreeSet<String> =
                report.failures().flat_map(|(hook, _)| &hook.policies).map(ToString::to_string).collect();
            for (hook, failure) in report.failures() {
                let names: Vec<String> = hook.policies.iter().map(ToString::to_string).collect();
                eprintln!("ferra: {} (policies {}): {failure}", hook.hook, names.join(", "));
            }
            if !self.revert(&failed) {
                break;
            }
        }
        for file in self.files.values_mut() {
            file.loaded.clone_from(&file.good);
        }
    }

    /// The kernel refused a program with these policies: files whose new version is among them go back to what was
    /// loaded before, whole, so that no policy runs with only some of its hooks. False: there is none.
    fn revert(&mut self, failed: &BTreeSet<String>) -> bool {
        let mut reverted = false;
        for (path, file) in &mut self.files {
            let at_fault = file.good.iter().any(|policy| failed.contains(&policy.key.to_string()));
            if at_fault && file.good != file.loaded {
                eprintln!("{}: not loaded{}", path.display(), kept(&file.loaded));
                file.good.clone_from(&file.loaded);
                file.refused = true;
                reverted = true;
            }
        }
        reverted
    }

    /// Marks versions that compiled as good.
    fn settle(&mut self, compiled: &Compiled) {
        let accepted: BTreeSet<&PolicyKey> = compiled.accepted.iter().collect();
        for (path, file) in &mut self.files {
            if file.good == file.wanted {
                continue;
            }
            for policy in &file.wanted {
                if let Some(found) = compiled.diagnostics.get(&policy.key) {
                    file.news.extend(messages(path, Some(&policy.key), found));
                }
            }
            if file.wanted.iter().all(|policy| accepted.contains(&policy.key)) {
                file.good.clone_from(&file.wanted);
            } else {
                file.news.push(format!("{}: not loaded{}", path.display(), kept(&file.good)));
                file.wanted.clone_from(&file.good);
                file.refused = true;
            }
        }
    }

    /// One line for the log.
    pub fn summary(&self, session: &Session) -> String {
        let memory = session
            .memory()
            .map_or(0, |memory| memory.hooks.iter().map(agent::loader::HookMemory::total).sum());
        let failing =
            if self.failing > 0 { format!(", {} hooks failing", self.failing) } else { String::new() };
        format!(
            "{} policies on {} hooks{failing}, {} KiB of kernel memory",
            self.accepted,
            self.hooks,
            memory / 1024
        )
    }
}

impl File {
    fn read(&mut self, path: &Path, text: &str) {
        let checked = check_yaml(text);
        for document in &checked {
            self.news.extend(messages(path, document.key.as_ref(), &document.diagnostics));
        }
        let policies: Vec<&TypedPolicy> =
            checked.iter().filter_map(|document| document.policy.as_ref()).collect();
        let pods = policies.iter().filter(|policy| policy.needs_pods());
        let pods: Vec<String> = pods.map(|policy| without_kubernetes(path, policy)).collect();
        let elsewhere = policies.iter().filter(|policy| !policy.nodes.is_empty());
        self.news.extend(elsewhere.map(|policy| on_this_node(path, policy)));
        self.refused = !pods.is_empty() || policies.len() < checked.len();
        self.news.extend(pods);
        if self.refused {
            self.news.push(format!("{}: not loaded{}", path.display(), kept(&self.good)));
        } else {
            self.wanted = checked.into_iter().filter_map(|document| document.policy).collect();
        }
    }
}

/// No pods are known here, so that the policy would apply to nothing.
fn without_kubernetes(path: &Path, policy: &TypedPolicy) -> String {
    let message = "the policy applies to pods, and this host has none as it is no node of Kubernetes";
    let help = "install the operator for policies of pods; for containers of this host select processes by \
                `matchNamespaces`";
    let problem = Diagnostic::error(Code::Unsupported, "spec.podSelector", message).with_help(help);
    messages(path, Some(&policy.key), &[problem]).concat()
}

fn on_this_node(path: &Path, policy: &TypedPolicy) -> String {
    let message = "nodeSelector is ignored, as this host is no node of Kubernetes: the policy runs here";
    messages(path, Some(&policy.key), &[Diagnostic::warning(Code::Suspicious, "spec.nodeSelector", message)])
        .concat()
}

fn kept(good: &[TypedPolicy]) -> &'static str {
    if good.is_empty() { "" } else { "; the last good version stays in force" }
}

fn messages(path: &Path, key: Option<&PolicyKey>, found: &[Diagnostic]) -> Vec<String> {
    let policy = key.map(|key| format!(" policy {key}:")).unwrap_or_default();
    found.iter().map(|problem| format!("{}:{policy} {problem}", path.display())).collect()
}
