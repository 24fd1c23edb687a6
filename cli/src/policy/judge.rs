//! In: the texts of policy files, then a kernel. Out: per document what is wrong with it, and what all that is right
//! compiles to.

use super::files::Text;
use policy_compiler::check::check_yaml;
use policy_compiler::diagnostic::{Code, Diagnostic, Severity};
use policy_compiler::typed::{PolicyKey, TypedPolicy};
use policy_compiler::{Compiled, Kernel, compile};
use std::collections::BTreeMap;

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    /// Line at which it begins, from 1.
    pub line: usize,
    /// Kind, if known.
    pub kind: Option<String>,
    /// Identity, if known.
    pub key: Option<PolicyKey>,
    /// The checked policy.
    pub policy: Option<TypedPolicy>,
    /// Problems of all stages.
    pub diagnostics: Vec<Diagnostic>,
}

/// One file.
#[derive(Debug)]
pub struct File {
    /// Name for messages.
    pub name: String,
    /// Its documents, or why it cannot be read.
    pub documents: Result<Vec<Document>, String>,
}

/// Everything that was given.
#[derive(Debug)]
pub struct Judged {
    /// In the order of the command line.
    pub files: Vec<File>,
    /// Programs of the accepted policies.
    pub compiled: Compiled,
}

/// How many there are of each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Documents without an error.
    pub accepted: usize,
    /// Documents with one.
    pub refused: usize,
    /// Warnings.
    pub warnings: usize,
    /// Files that cannot be read.
    pub unreadable: usize,
}

impl Document {
    /// Whether it has no error.
    pub fn accepted(&self) -> bool {
        self.policy.is_some() && !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

impl File {
    /// Its documents; none if it cannot be read.
    pub fn documents(&self) -> &[Document] {
        self.documents.as_deref().unwrap_or_default()
    }
}

impl Judged {
    /// Checks each text by itself.
    pub fn check(texts: &[Text]) -> Judged {
        let file = |text: &Text| File {
            name: text.name.clone(),
            documents: text.text.as_ref().map(|text| documents(text)).map_err(Clone::clone),
        };
        let mut judged = Judged { files: texts.iter().map(file).collect(), compiled: Compiled::default() };
        judged.refuse_duplicates();
        judged
    }

    /// Two policies of one name would be one policy in the cluster.
    fn refuse_duplicates(&mut self) {
        let mut owners: BTreeMap<PolicyKey, String> = BTreeMap::new();
        for file in &mut self.files {
            for document in file.documents.iter_mut().flatten() {
                let Some(key) = document.key.clone() else { continue };
                match owners.get(&key) {
                    None => {
                        owners.insert(key, format!("{}:{}", file.name, document.line));
                    }
                    Some(owner) => {
                        let message = format!("policy {key} is already defined at {owner}");
                        let problem = Diagnostic::error(Code::Conflict, "metadata.name", message)
                            .with_help("give each policy its own name");
                        document.diagnostics.push(problem);
                    }
                }
            }
        }
    }

    /// Policies that are right as far as known.
    pub fn policies(&self) -> Vec<&TypedPolicy> {
        let documents = self.files.iter().flat_map(File::documents);
        documents
            .filter(|document| document.accepted())
            .filter_map(|document| document.policy.as_ref())
            .collect()
    }

    /// Compiles them, and adds to their documents what is wrong with them on this kernel.
    pub fn compile(&mut self, kernel: &Kernel) {
        let policies: Vec<TypedPolicy> = self.policies().into_iter().cloned().collect();
        self.compiled = compile(&policies, kernel);
        for document in self.files.iter_mut().flat_map(|file| file.documents.iter_mut().flatten()) {
            let Some(key) = document.key.as_ref().filter(|_| document.accepted()) else { continue };
            document.diagnostics.extend(self.compiled.diagnostics.get(key).into_iter().flatten().cloned());
        }
    }

    /// Counts.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for file in &self.files {
            totals.unreadable += usize::from(file.documents.is_err());
            for document in file.documents() {
                let count = if document.accepted() { &mut totals.accepted } else { &mut totals.refused };
                *count += 1;
                let warnings = document.diagnostics.iter().filter(|d| d.severity == Severity::Warning);
                totals.warnings += warnings.count();
            }
        }
        totals
    }
}

fn documents(text: &str) -> Vec<Document> {
    let checked = check_yaml(text).into_iter();
    checked
        .map(|checked| Document {
            line: checked.line,
            kind: checked.kind.map(|kind| kind.to_string()),
            key: checked.key,
            policy: checked.policy,
            diagnostics: checked.diagnostics,
        })
        .collect()
}
