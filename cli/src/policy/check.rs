//! In: policy files. Out: everything that is wrong with them, as text or as JSON, on standard output.

use super::judge::{Document, File, Judged, Totals};
use super::machine::Machine;
use super::{Failure, Input, UNUSABLE, output};
use policy_compiler::diagnostic::Severity;
use serde_json::{Value, json};
use std::process::ExitCode;

/// `ferra policy check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// How problems are shown.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A line for each problem, and one that sums up.
    Text,
    /// One object.
    Json,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (machine, judged) = args.input.judge()?;
    let shown = match args.output {
        Format::Json => format!("{:#}\n", object(&machine, &judged)),
        Format::Text => {
            notes(&machine);
            text(&judged) + &summary(&machine, judged.totals())
        }
    };
    output::print(&shown)?;
    let totals = judged.totals();
    Ok(match (totals.unreadable, totals.refused) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(UNUSABLE),
    })
}

/// Shows what must be known of the kernel that policies are judged for.
pub(super) fn notes(machine: &Machine) {
    machine.notes.iter().for_each(|note| eprintln!("ferra: note: {note}"));
}

/// All problems of all files, one after the other.
pub(super) fn text(judged: &Judged) -> String {
    let mut out = String::new();
    for file in &judged.files {
        match &file.documents {
            Err(why) => out.push_str(&format!("{}: cannot be read: {why}\n", file.name)),
            Ok(documents) => documents.iter().for_each(|document| problems(file, document, &mut out)),
        }
    }
    out
}

fn problems(file: &File, document: &Document, out: &mut String) {
    let policy = document.key.as_ref().map(|key| format!(" policy {key}:")).unwrap_or_default();
    for problem in &document.diagnostics {
        out.push_str(&format!("{}:{}:{policy} {problem}\n", file.name, document.line));
    }
}

fn summary(machine: &Machine, totals: Totals) -> String {
    let mut parts = vec![format!("{} accepted", totals.accepted), format!("{} refused", totals.refused)];
    if totals.warnings > 0 {
        parts.push(count(totals.warnings, "warning"));
    }
    if totals.unreadable > 0 {
        parts.push(format!("{} unreadable", count(totals.unreadable, "file")));
    }
    let all = count_policies(totals.accepted + totals.refused);
    format!("{all}, kernel {}: {}\n", machine.kernel.release(), parts.join(", "))
}

fn count_policies(number: usize) -> String {
    if number == 1 { "1 policy".to_owned() } else { format!("{number} policies") }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn object(machine: &Machine, judged: &Judged) -> Value {
    json!({
        "kernel": machine.kernel.release(),
        "assumed": machine.assumed,
        "notes": machine.notes,
        "files": judged.files.iter().map(file_object).collect::<Vec<_>>(),
    })
}

fn file_object(file: &File) -> Value {
    let documents: Vec<Value> = file.documents().iter().map(document_object).collect();
    match &file.documents {
        Ok(_) => json!({ "file": file.name, "documents": documents }),
        Err(why) => json!({ "file": file.name, "error": why, "documents": documents }),
    }
}

fn document_object(document: &Document) -> Value {
    let diagnostics: Vec<Value> = document
        .diagnostics
        .iter()
        .map(|problem| {
            json!({
                "code": problem.code.as_str(),
                "severity": match problem.severity {
                    Severity::Warning => "warning",
                    Severity::Error => "error",
                },
                "path": problem.path,
                "message": problem.message,
                "help": problem.help,
            })
        })
        .collect();
    json!({
        "line": document.line,
        "kind": document.kind,
        "name": document.key.as_ref().map(|key| &key.name),
        "namespace": document.key.as_ref().and_then(|key| key.namespace.as_ref()),
        "accepted": document.accepted(),
        "diagnostics": diagnostics,
    })
}
