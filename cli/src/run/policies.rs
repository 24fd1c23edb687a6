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
use policy_compiler::{Compiled, Kernel, compile_beside};
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
        let mut compiled = self.choose(kernel);
        // Each round leaves out at least one file's new version, so there are at most as many as files.
        for _ in 0..=self.files.len() {
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
            let at_fault =
                |file: &File| file.good.iter().any(|policy| failed.contains(&policy.key.to_string()));
            if !self.revert(at_fault) {
                break;
            }
            self.report_problems();
            compiled = self.choose(kernel);
        }
        for file in self.files.values_mut() {
            file.loaded.clone_from(&file.good);
        }
    }

    /// Settles which version of each file is good, and compiles those.
    fn choose(&mut self, kernel: &Kernel) -> Compiled {
        let wanted: Vec<TypedPolicy> = self.wanted().cloned().collect();
        let compiled = self.compile(&wanted, kernel);
        self.settle(&compiled);
        loop {
            let set: Vec<TypedPolicy> = self.files.values().flat_map(|file| &file.good).cloned().collect();
            let compiled = self.compile(&set, kernel);
            // An older version that comes back may need the room that another file's new version was given.
            let (missing, news) = self.left_out(&compiled);
            self.tell(news);
            if missing.is_empty() || !self.revert(|file| file.good.iter().any(|it| missing.contains(&it.key)))
            {
                self.report_problems();
                return compiled;
            }
        }
    }

    /// Compiles policies so that those that are loaded do not give way to others.
    fn compile(&self, policies: &[TypedPolicy], kernel: &Kernel) -> Compiled {
        let loaded: Vec<&TypedPolicy> = self.files.values().flat_map(|file| &file.loaded).collect();
        compile_beside(policies, kernel, |policy| loaded.contains(&policy))
    }

    /// Good policies that the compiler refused, and what is to be said of them.
    fn left_out(&self, compiled: &Compiled) -> (BTreeSet<PolicyKey>, Vec<(PathBuf, String)>) {
        let accepted: BTreeSet<&PolicyKey> = compiled.accepted.iter().collect();
        let (mut missing, mut news) = (BTreeSet::new(), Vec::new());
        for (path, file) in &self.files {
            for policy in file.good.iter().filter(|policy| !accepted.contains(&policy.key)) {
                let found = compiled.diagnostics.get(&policy.key).map(Vec::as_slice).unwrap_or_default();
                let messages = messages(path, Some(&policy.key), found);
                news.extend(messages.into_iter().map(|message| (path.clone(), message)));
                if file.good == file.loaded {
                    let message = format!("{}: policy {} does not run any more", path.display(), policy.key);
                    news.push((path.clone(), message));
                }
                missing.insert(policy.key.clone());
            }
        }
        (missing, news)
    }

    fn tell(&mut self, news: Vec<(PathBuf, String)>) {
        for (path, message) in news {
            if let Some(file) = self.files.get_mut(&path) {
                file.refused = true;
                file.news.push(message);
            }
        }
    }

    /// Files at fault whose new version is not loaded yet go back to what was loaded before, whole, so that no policy
    /// runs with only some of its hooks. False: there is none.
    fn revert(&mut self, at_fault: impl Fn(&File) -> bool) -> bool {
        let mut reverted = false;
        for (path, file) in &mut self.files {
            if at_fault(file) && file.good != file.loaded {
                file.news.push(format!("{}: not loaded{}", path.display(), kept(&file.loaded)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use api::artefact::Flavour;
    use api::profile::KernelProfile;

    fn kernel() -> Kernel {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy-compiler/fixtures/kernel-6.btf");
        let btf = std::fs::read(path).expect("the fixture is there");
        let flavours = vec![Flavour::Fentry as i32];
        Kernel::new(KernelProfile { btf, flavours, ..KernelProfile::default() }).expect("BTF")
    }

    /// A file with a policy that reads two of the texts; a program has room for four.
    fn file(name: &str, texts: [u32; 2]) -> (PathBuf, Change) {
        let text = format!(
            "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {{name: {name}}}\nspec:\n  kprobes:\n  - \
             call: fixture_strings\n    syscall: false\n    args:\n    - {{index: {}, type: string}}\n    - {{index: {}, \
             type: string}}\n",
            texts[0], texts[1]
        );
        (PathBuf::from(format!("{name}.yaml")), Change::Text(text))
    }

    /// Takes changes in as if the kernel took all programs; gives the policies that run.
    fn step(policies: &mut Policies, changes: Vec<(PathBuf, Change)>) -> Vec<String> {
        policies.update(changes);
        let compiled = policies.choose(&kernel());
        for file in policies.files.values_mut() {
            file.loaded.clone_from(&file.good);
        }
        compiled.accepted.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_new_policy_that_does_not_fit_is_refused_and_the_running_ones_stay() {
        let mut policies = Policies::default();
        assert_eq!(step(&mut policies, vec![file("m", [0, 1]), file("z", [2, 3])]), ["m", "z"]);
        assert!(!policies.any_refused());
        assert_eq!(step(&mut policies, vec![file("a", [4, 0])]), ["m", "z"]);
        assert!(policies.files[Path::new("a.yaml")].refused && !policies.files[Path::new("z.yaml")].refused);
    }

    #[test]
    fn an_edit_that_does_not_fit_keeps_its_old_version_before_a_new_file() {
        let mut policies = Policies::default();
        step(&mut policies, vec![file("m", [0, 1]), file("z", [2, 3])]);
        // The edit of `z` makes room for `a`, but is refused for another reason.
        let broken = file("z", [0, 9]);
        assert_eq!(step(&mut policies, vec![broken, file("a", [4, 0])]), ["m", "z"]);
        let z = &policies.files[Path::new("z.yaml")];
        assert_eq!(z.good[0].hooks[0].args[0].index, 2, "the last good version is in force");
        assert!(z.refused && policies.files[Path::new("a.yaml")].refused);
    }

    #[test]
    fn a_running_policy_that_the_compiler_drops_is_told() {
        let mut policies = Policies::default();
        step(&mut policies, vec![file("m", [0, 1])]);
        let (missing, news) = policies.left_out(&Compiled::default());
        assert_eq!(missing.len(), 1);
        assert!(news[0].1.contains("policy m does not run any more"), "{news:?}");
    }
}
