//! In: resolved hooks. Out: programs with their entries laid into banks.

use super::tests::{Collector, order};
use super::{BANK_BITS, Bank, Entry, NO_BANK, Program, Role};
use crate::diagnostic::Diagnostic;
use crate::kernel::Kernel;
use crate::resolve::{Point, ResolvedArg, ResolvedHook};
use api::artefact::Attach;
use std::collections::BTreeMap;

/// Groups hooks by attach point and plans each group's program. `hooks` is in the order of policies.
///
/// # Errors
/// Problems that only a kernel shows (a namespace kind it lacks), each with the index of its hook's policy path.
pub fn plan<'a>(hooks: Vec<ResolvedHook<'a>>, kernel: &Kernel) -> Result<Vec<Program<'a>>, Vec<Diagnostic>> {
    let mut groups: BTreeMap<Attach, Vec<(ResolvedHook<'a>, Point, Role)>> = BTreeMap::new();
    for hook in hooks {
        let both = hook.entry.is_some() && hook.exit.is_some();
        let (at_entry, at_exit) =
            if both { (Role::EnforceOnly, Role::PostOnly) } else { (Role::Full, Role::Full) };
        let points =
            [(hook.entry.clone(), at_entry), (hook.exit.clone(), at_exit), (hook.save.clone(), Role::Save)];
        for (point, role) in points {
            let Some(point) = point else { continue };
            groups.entry(point.attach.clone()).or_default().push((hook.clone(), point, role));
        }
    }
    let mut problems = Vec::new();
    let mut programs = Vec::new();
    for (attach, members) in groups {
        programs.push(build(attach, members, kernel, &mut problems));
    }
    if problems.is_empty() { Ok(programs) } else { Err(problems) }
}

fn build<'a>(
    attach: Attach,
    members: Vec<(ResolvedHook<'a>, Point, Role)>,
    kernel: &Kernel,
    problems: &mut Vec<Diagnostic>,
) -> Program<'a> {
    let mut program =
        Program { attach, args: Vec::new(), entries: Vec::new(), banks: Vec::new(), sets: Vec::new() };
    let mut used = BANK_BITS;
    for (hook, point, role) in members {
        if role == Role::Save {
            program.entries.push(Entry {
                hook,
                role,
                args: Vec::new(),
                ret: None,
                bank: NO_BANK,
                first_bit: 0,
            });
            continue;
        }
        let bits = hook.hook.selectors.len().max(1);
        if used + bits > BANK_BITS {
            program.banks.push(Bank::default());
            used = 0;
        }
        let args = point.args.iter().map(|arg| intern(&mut program.args, *arg)).collect();
        let ret = point.ret.map(|ret| intern(&mut program.args, ret));
        let bank = program.banks.len() - 1;
        program.entries.push(Entry { hook, role, args, ret, bank, first_bit: used });
        used += bits;
    }
    let Program { args, entries, banks, sets, .. } = &mut program;
    for (index, bank) in banks.iter_mut().enumerate() {
        let mut collector = Collector { kernel, args, sets, bank, problems };
        for entry in entries.iter().filter(|entry| entry.bank == index) {
            collector.entry(entry);
        }
        bank.tests.sort_by_key(|test| order(&test.test));
    }
    program
}

fn intern(args: &mut Vec<ResolvedArg>, arg: ResolvedArg) -> usize {
    args.iter().position(|known| *known == arg).unwrap_or_else(|| {
        args.push(arg);
        args.len() - 1
    })
}
