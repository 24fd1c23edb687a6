//! In: policy files. Out: what they hook, test and do, in words, on standard output.

use super::judge::{Document, Judged};
use super::machine::Machine;
use super::workloads::{labels, workloads};
use super::wrap::labelled;
use super::{Failure, Input, UNUSABLE, check, hooked, output, words};
use api::artefact::Attach;
use policy_compiler::Kernel;
use policy_compiler::emit::listing::listing;
use policy_compiler::plan::{Program, Test, plan};
use policy_compiler::resolve::{ResolvedHook, resolve};
use policy_compiler::typed::{Action, Mode, Selector, TypedHook, TypedPolicy};
use std::process::ExitCode;

/// Columns of labels in front of text.
const COLUMN: usize = 16;

/// `ferra policy explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// Show the instructions of each program, with the policy fields that they come from.
    #[arg(long)]
    instructions: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (machine, judged) = args.input.judge()?;
    check::notes(&machine);
    eprint!("{}", check::text(&judged));
    output::print(&explain(&machine, &judged, args.instructions))?;
    let totals = judged.totals();
    Ok(match (totals.unreadable, totals.refused) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::FAILURE,
        _ => ExitCode::from(UNUSABLE),
    })
}

fn explain(machine: &Machine, judged: &Judged, instructions: bool) -> String {
    let mut out = String::new();
    let kernel = &machine.kernel;
    let mut hooks = Vec::new();
    for file in &judged.files {
        for document in file.documents().iter().filter(|document| document.accepted()) {
            let Some(policy) = &document.policy else { continue };
            let mut resolved = resolve(policy, kernel, &mut Vec::new()).unwrap_or_default();
            describe_policy(&mut out, &file.name, document, policy, &resolved, kernel);
            hooks.append(&mut resolved);
        }
    }
    hooks.sort_by(|a, b| a.policy.key.cmp(&b.policy.key));
    let programs = plan(hooks, kernel).unwrap_or_default();
    for program in &programs {
        let artefact = judged.compiled.artefacts.iter().find(|artefact| artefact.attach == program.attach);
        describe_program(&mut out, program, artefact.map(|artefact| artefact.insns.len() / 8));
        if let Some(artefact) = artefact.filter(|_| instructions) {
            out.push('\n');
            out.push_str(&listing(artefact));
        }
    }
    out
}

fn describe_policy(
    out: &mut String,
    file: &str,
    document: &Document,
    policy: &TypedPolicy,
    resolved: &[ResolvedHook<'_>],
    kernel: &Kernel,
) {
    let mode = match policy.mode {
        Mode::Enforce => "enforce mode",
        Mode::Monitor => "monitor mode: enforcement is withheld and counted",
    };
    let title = format!("Policy {}", policy.key);
    labelled(out, 0, &title, 0, &format!("({mode}), {file}:{}", document.line));
    if let Some(test) = &policy.workloads {
        labelled(out, 2, "applies to", COLUMN, &workloads(test));
    }
    if !policy.nodes.is_empty() {
        labelled(out, 2, "on nodes with", COLUMN, &labels(&policy.nodes));
    }
    for hook in &policy.hooks {
        out.push('\n');
        labelled(out, 2, &hook.path, 0, &hooked::point(&hook.point));
        match resolved.iter().find(|found| std::ptr::eq(found.hook, hook)) {
            Some(found) => describe_hook(out, found, policy.mode, kernel),
            None => labelled(
                out,
                4,
                "skipped",
                COLUMN,
                "this kernel does not have it, and the policy allows that",
            ),
        }
    }
    out.push('\n');
}

fn describe_hook(out: &mut String, resolved: &ResolvedHook<'_>, mode: Mode, kernel: &Kernel) {
    let hook = resolved.hook;
    let points = [(&resolved.entry, "entry"), (&resolved.exit, "return")];
    let both = resolved.entry.is_some() && resolved.exit.is_some();
    for (point, when) in points.into_iter().filter_map(|(point, when)| Some((point.as_ref()?, when))) {
        let work = match (both, when) {
            (true, "entry") => " Enforces.",
            (true, _) => " Posts the events.",
            _ => "",
        };
        let why = hooked::why(hook, &point.attach, kernel);
        labelled(
            out,
            4,
            &format!("at {when}"),
            COLUMN,
            &format!("{}, because: {why}.{work}", hooked::place(&point.attach)),
        );
    }
    let event = event(resolved, hook);
    labelled(out, 4, "event", COLUMN, &event);
    if hook.selectors.is_empty() {
        labelled(out, 4, "every call", COLUMN, "post an event (there are no selectors)");
    }
    for (index, selector) in hook.selectors.iter().enumerate() {
        describe_selector(out, hook, index, selector, mode);
    }
    if hook.selectors.len() > 1 {
        labelled(
            out,
            4,
            "",
            COLUMN,
            "Selectors are tried in this order; the first that matches is the only one that acts.",
        );
    }
}

fn event(resolved: &ResolvedHook<'_>, hook: &TypedHook) -> String {
    use api::artefact::EventKind;
    let kind = match resolved.event {
        EventKind::Kprobe => "process_kprobe",
        EventKind::Tracepoint => "process_tracepoint",
        EventKind::Lsm => "process_lsm",
        EventKind::Unspecified => "none",
    };
    let mut parts = vec![kind.to_owned()];
    parts.extend(hook.message.as_ref().map(|message| format!("message \"{message}\"")));
    if !hook.tags.is_empty() {
        parts.push(format!("tags {}", hook.tags.join(", ")));
    }
    parts.extend(hook.args.iter().map(words::argument));
    if let Some(ret) = &hook.ret {
        parts.push(format!("the return value ({})", words::type_name(ret.ty)));
    }
    parts.join("; ")
}

fn describe_selector(out: &mut String, hook: &TypedHook, index: usize, selector: &Selector, mode: Mode) {
    let label = selector.label.as_ref().map(|label| format!(" \"{label}\"")).unwrap_or_default();
    labelled(out, 4, &format!("selector {index}{label}"), 0, "");
    let mut lead = "if";
    for filter in &selector.filters {
        labelled(out, 6, lead, COLUMN, &words::filter(filter, hook));
        lead = "and";
    }
    if selector.filters.is_empty() {
        labelled(out, 6, "always", COLUMN, "");
    }
    effects(out, "then", &selector.actions, mode, selector.return_actions.is_empty());
    if hook.ret.is_some() && !(selector.return_filters.is_empty() && selector.return_actions.is_empty()) {
        let mut lead = "at return, if";
        for filter in &selector.return_filters {
            labelled(out, 6, lead, COLUMN + 6, &words::return_filter(filter, hook));
            lead = "and";
        }
        effects(out, "then", &selector.return_actions, mode, true);
    }
}

/// Actions in order. Enforcing ones post as well, unless told not to.
fn effects(out: &mut String, lead: &str, actions: &[Action], mode: Mode, ends: bool) {
    let mut lead = lead;
    for action in actions {
        labelled(out, 6, lead, COLUMN, &words::action(*action, mode));
        lead = "and";
    }
    let told = actions.iter().any(|action| matches!(action, Action::Post { .. } | Action::NoPost));
    if ends && !told && !actions.is_empty() {
        labelled(out, 6, "and", COLUMN, &words::action(Action::Post { rate_limit: None }, mode));
    }
}

fn describe_program(out: &mut String, program: &Program<'_>, instructions: Option<usize>) {
    let size = instructions.map(|count| format!(": {count} instructions")).unwrap_or_default();
    labelled(out, 0, "Program", 0, &format!("{}{size}", title(&program.attach)));
    for entry in &program.entries {
        let hook = &entry.hook;
        labelled(out, 4, "runs", COLUMN, &format!("{} {}", hook.policy.key, hook.hook.path));
    }
    let mut number = 0;
    for used in program.banks.iter().flat_map(|bank| &bank.tests) {
        number += 1;
        let asked = used.asked().count_ones();
        let shared = if asked > 1 { format!(", for {asked} selectors at once") } else { String::new() };
        labelled(
            out,
            4,
            &format!("test {number}"),
            COLUMN,
            &format!("{}{shared}: {}", cost(&used.test), used.source),
        );
    }
    if number == 0 {
        labelled(out, 4, "no test", COLUMN, "every call matches");
    }
    out.push('\n');
}

fn title(attach: &Attach) -> String {
    hooked::place(attach)
}

/// What a test costs; tests run from the cheapest to the dearest, and stop when no selector is left.
fn cost(test: &Test) -> &'static str {
    match test {
        Test::HostPid(_) | Test::Int { .. } => "compares a number",
        Test::CapabilitiesGained { .. } => "compares two capability sets",
        Test::ProcessSet { .. } => "looks up one bit that was decided when the process started",
        Test::Capabilities { .. } => "reads the credentials of the process",
        Test::NamespacePid { .. } | Test::Namespace { .. } => "reads the namespaces of the process",
        Test::FileType { .. } => "reads the file's inode",
        Test::SockField { .. } | Test::Port { .. } | Test::Addr { .. } => "reads the socket or packet",
        Test::Text { .. } => "reads and compares text, the dearest test",
    }
}
