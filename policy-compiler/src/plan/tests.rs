//! In: the filters of each selector. Out: the tests of a bank, each distinct one once, with the selectors that need
//! it.

use super::{Bank, Entry, Role, Test, TestUse, workloads};
use crate::check::merge;
use crate::diagnostic::{Code, Diagnostic};
use crate::kernel::Kernel;
use crate::resolve::ResolvedArg;
use crate::typed::{
    ArgTest, ArgType, BinaryTest, Filter, FilterTest, IntTest, IntType, NamespaceTest, NamespaceValue,
    PidTest, TextOp, WorkloadTest,
};
use api::artefact::{ProcessSet, SetOp};

pub(super) struct Collector<'c> {
    pub kernel: &'c Kernel,
    pub args: &'c [ResolvedArg],
    pub sets: &'c mut Vec<ProcessSet>,
    pub bank: &'c mut Bank,
    pub problems: &'c mut Vec<Diagnostic>,
}

/// Rank by cost: register, process bit, pointer chase, socket, text.
pub(super) fn order(test: &Test) -> (u8, usize) {
    match test {
        Test::HostPid(_) => (0, 0),
        Test::Int { arg, .. } => (1, *arg),
        Test::CapabilitiesGained { new, .. } => (2, *new),
        Test::ProcessSet { .. } => (3, 0),
        Test::Capabilities { .. } => (4, 0),
        Test::NamespacePid { .. } => (5, 0),
        Test::Namespace { .. } => (6, 0),
        Test::FileType { arg, .. } => (7, *arg),
        Test::SockField { arg, .. } => (8, *arg),
        Test::Port { arg, .. } => (8, *arg),
        Test::Addr { arg, .. } => (8, *arg),
        Test::Text { arg, .. } => (9, *arg),
    }
}

impl Collector<'_> {
    pub(super) fn entry(&mut self, entry: &Entry<'_>) {
        self.bank.mask |= entry.mask();
        let policy = entry.hook.policy;
        for (bit, selector) in entry.selectors() {
            if let Some(workloads) = &policy.workloads {
                let test = self.workloads(workloads);
                self.add(test, bit, false, format!("{}: spec", policy.key));
            }
            let Some(selector) = selector else { continue };
            for filter in &selector.filters {
                self.filter(entry, bit, filter, &entry.args);
            }
            if entry.role == Role::EnforceOnly {
                continue;
            }
            let ret: Vec<usize> = entry.ret.into_iter().collect();
            for filter in &selector.return_filters {
                self.filter(entry, bit, filter, &ret);
            }
        }
    }

    fn filter(&mut self, entry: &Entry<'_>, bit: usize, filter: &Filter, args: &[usize]) {
        let (test, not) = match &filter.test {
            FilterTest::Arg { arg, test } => {
                let Some(arg) = args.get(*arg).copied() else { return };
                arg_test(arg, self.args.get(arg).map(|arg| arg.ty), test)
            }
            FilterTest::CapabilitiesGained { old, new } => {
                let (Some(old), Some(new)) = (args.get(*old).copied(), args.get(*new).copied()) else {
                    return;
                };
                (Test::CapabilitiesGained { old, new }, false)
            }
            FilterTest::Pids(pids) => (self.pids(pids), pids.not),
            FilterTest::Binary(binary) => (self.binary(binary, false), binary.not),
            FilterTest::ParentBinary(binary) => (self.binary(binary, true), binary.not),
            FilterTest::Namespace(namespace) => match self.namespace(namespace, &filter.path) {
                Some(test) => (test, namespace.not),
                None => return,
            },
            FilterTest::Capabilities(caps) => {
                let test = Test::Capabilities {
                    set: caps.set,
                    namespace_only: caps.namespace_only,
                    mask: caps.mask,
                };
                (test, caps.not)
            }
            FilterTest::Workloads(workloads) => (self.workloads(workloads), false),
        };
        let source = format!("{}: {}", entry.hook.policy.key, filter.path);
        self.add(test, bit, not, source);
    }

    fn add(&mut self, test: Test, bit: usize, not: bool, source: String) {
        let at = self.bank.tests.iter().position(|known| known.test == test).unwrap_or_else(|| {
            self.bank.tests.push(TestUse { test, holds: 0, fails: 0, source });
            self.bank.tests.len() - 1
        });
        if let Some(found) = self.bank.tests.get_mut(at) {
            let side = if not { &mut found.fails } else { &mut found.holds };
            *side |= 1 << bit;
        }
    }

    fn set(&mut self, set: ProcessSet) -> usize {
        self.sets.iter().position(|known| *known == set).unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        })
    }

    fn binary(&mut self, test: &BinaryTest, parent: bool) -> Test {
        let op = match test.op {
            TextOp::Equal => SetOp::Equal,
            TextOp::Prefix => SetOp::Prefix,
            TextOp::Postfix => SetOp::Postfix,
        };
        let set = ProcessSet { op: op as i32, paths: test.values.clone(), ..ProcessSet::default() };
        let set = self.set(set);
        Test::ProcessSet { set, parent, inherited: test.follow_children && !parent }
    }

    fn pids(&mut self, test: &PidTest) -> Test {
        match (test.namespace_pid, test.follow_forks) {
            (false, false) => Test::HostPid(test.values.clone()),
            (true, ancestors) => Test::NamespacePid { values: test.values.clone(), ancestors },
            (false, true) => {
                let pids = test.values.clone();
                let set = ProcessSet { op: SetOp::Pid as i32, pids, ..ProcessSet::default() };
                Test::ProcessSet { set: self.set(set), parent: false, inherited: true }
            }
        }
    }

    fn workloads(&mut self, test: &WorkloadTest) -> Test {
        let set = ProcessSet {
            op: SetOp::Workloads as i32,
            workloads: Some(workloads::set(test)),
            ..ProcessSet::default()
        };
        Test::ProcessSet { set: self.set(set), parent: false, inherited: false }
    }

    fn namespace(&mut self, test: &NamespaceTest, path: &str) -> Option<Test> {
        let host = self.kernel.host_namespace(test.kind as usize);
        let mut inodes = Vec::new();
        for value in &test.values {
            match (value, host) {
                (NamespaceValue::Inode(inode), _) => inodes.push(*inode),
                (NamespaceValue::Host, Some(host)) => inodes.push(host),
                (NamespaceValue::Host, None) => {
                    let message =
                        format!("kernel {} has no {:?} namespaces", self.kernel.release(), test.kind);
                    self.problems.push(Diagnostic::error(Code::KernelFeature, path, message));
                    return None;
                }
            }
        }
        inodes.sort_unstable();
        inodes.dedup();
        Some(Test::Namespace { kind: test.kind, inodes })
    }
}

fn arg_test(arg: usize, ty: Option<ArgType>, test: &ArgTest) -> (Test, bool) {
    match test {
        ArgTest::Int { not, test } => {
            let ty = comparison_type(ty);
            (Test::Int { arg, ty, test: in_order(ty, test) }, *not)
        }
        ArgTest::Text { not, op, values } => (Test::Text { arg, op: *op, values: values.clone() }, *not),
        ArgTest::FileType { not, modes } => (Test::FileType { arg, modes: modes.clone() }, *not),
        ArgTest::Addr { not, side, nets } => (Test::Addr { arg, side: *side, nets: nets.clone() }, *not),
        ArgTest::Port { not, side, ranges } => {
            (Test::Port { arg, side: *side, ranges: ranges.clone() }, *not)
        }
        ArgTest::SockField { field, ranges } => {
            (Test::SockField { arg, field: *field, ranges: ranges.clone() }, false)
        }
    }
}

/// Ranges in the order of the type; `check` does not know that of an `auto` field.
fn in_order(ty: IntType, test: &IntTest) -> IntTest {
    match test {
        IntTest::In(ranges) => IntTest::In(merge(ty, ranges.clone())),
        other => other.clone(),
    }
}

fn comparison_type(ty: Option<ArgType>) -> IntType {
    match ty {
        Some(ArgType::Int(int)) => int,
        Some(ArgType::Capability | ArgType::Fd) => IntType::S32,
        _ => IntType::U64,
    }
}
