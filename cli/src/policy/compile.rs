//! In: policy files. Out: a directory with one file per program, its listing, and an index.

use super::directory::{self, Content};
use super::judge::{File, Judged};
use super::machine::Machine;
use super::{Failure, Input, UNUSABLE, check, output};
use api::artefact::{Artefact, Flavour};
use policy_compiler::emit::listing::listing;
use policy_compiler::typed::Mode;
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const INDEX: &str = "index.json";

/// `ferra policy compile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// Directory for the programs; made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (machine, judged) = args.input.judge()?;
    check::notes(&machine);
    eprint!("{}", check::text(&judged));
    let totals = judged.totals();
    if totals.unreadable > 0 {
        return Err(Failure {
            code: UNUSABLE,
            message: "nothing written: not every file can be read".to_owned(),
        });
    }
    if totals.refused > 0 {
        return Err(Failure::refused("nothing written: fix the policies above"));
    }
    let contents = contents(&machine, &judged);
    let old = old_files(&args.output);
    directory::write(&args.output, &contents).map_err(|error| Failure::refused(error.to_string()))?;
    for (path, error) in directory::remove_old(&args.output, &old, &contents) {
        eprintln!(
            "ferra: {}: of an earlier run, not in the index, and cannot be removed: {error}",
            path.display()
        );
    }
    let programs = judged.compiled.artefacts.len();
    output::print(&format!(
        "{programs} programs for kernel {} in {}\n",
        machine.kernel.release(),
        args.output.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Programs and listings, and last the index, so that it never names what is not there.
fn contents(machine: &Machine, judged: &Judged) -> Vec<Content> {
    let mut contents = Vec::new();
    let mut entries = Vec::new();
    let mut taken = BTreeSet::new();
    for artefact in &judged.compiled.artefacts {
        let mut stem = stem(artefact);
        if !taken.insert(stem.clone()) {
            stem = format!("{stem}-{:.12}", artefact.digest().to_string());
            taken.insert(stem.clone());
        }
        let (file, text) = (format!("{stem}.artefact"), format!("{stem}.txt"));
        entries.push(entry(artefact, &file, &text));
        contents.push(Content { name: file, bytes: artefact.encode_to_vec() });
        contents.push(Content { name: text, bytes: listing(artefact).into_bytes() });
    }
    let index = json!({
        "kernel": machine.kernel.release(),
        "assumed": machine.assumed,
        "notes": machine.notes,
        "policies": judged.files.iter().flat_map(policies).collect::<Vec<_>>(),
        "artefacts": entries,
    });
    contents.push(Content { name: INDEX.to_owned(), bytes: format!("{index:#}\n").into_bytes() });
    contents
}

fn policies(file: &File) -> Vec<Value> {
    let entry = |document: &super::judge::Document| {
        let policy = document.policy.as_ref()?;
        Some(json!({
            "name": policy.key.name,
            "namespace": policy.key.namespace,
            "file": file.name,
            "line": document.line,
            "mode": match policy.mode {
                Mode::Enforce => "enforce",
                Mode::Monitor => "monitor",
            },
        }))
    };
    file.documents().iter().filter_map(entry).collect()
}

fn entry(artefact: &Artefact, file: &str, text: &str) -> Value {
    let hooks = artefact.hooks.iter().map(|hook| {
        let namespace = Some(&hook.policy_namespace).filter(|namespace| !namespace.is_empty());
        json!({ "policy": hook.policy_name, "namespace": namespace, "path": hook.path })
    });
    json!({
        "file": file,
        "listing": text,
        "sha256": artefact.digest().to_string(),
        "flavour": slug(artefact.attach.flavour()),
        "target": artefact.attach.target,
        "syscall": artefact.attach.syscall,
        "instructions": artefact.insns.len() / 8,
        "maps": artefact.maps.len(),
        "hooks": hooks.collect::<Vec<_>>(),
    })
}

/// `FLAVOUR-TARGET`, with the number of a system call where one target has many programs.
fn stem(artefact: &Artefact) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' };
    let target: String = artefact.attach.target.chars().map(plain).collect();
    let number = artefact.attach.syscall.map(|number| format!("-{number}")).unwrap_or_default();
    format!("{}-{target}{number}", slug(artefact.attach.flavour()))
}

fn slug(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Lsm => "lsm",
        other => other.describe(),
    }
}

/// The files that the index of an earlier run names; none if there is no such index.
fn old_files(directory: &Path) -> BTreeSet<String> {
    let index = std::fs::read(directory.join(INDEX)).unwrap_or_default();
    let index: Value = serde_json::from_slice(&index).unwrap_or_default();
    let artefacts = index.get("artefacts").and_then(Value::as_array).into_iter().flatten();
    let names = artefacts.flat_map(|artefact| [artefact.get("file"), artefact.get("listing")]);
    names.flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
