//! In: a filter on the calling process. Out: whether it passes.
//!
//! A process that is not in the table of processes has no binary and no ancestors: positive filters on them fail,
//! negated ones pass. Its own pid is known all the same. A parent that is not in the table passes every filter
//! on it. An executable's path with more components than are followed is equal to no value and begins with none.

use crate::typed::{
    BinaryTest, CapabilitySet, CapabilityTest, NamespaceKind, NamespaceTest, NamespaceValue, PidTest, TextOp,
};

use super::argument::text_passes;
use super::call::{Namespaces, Process};

/// Bytes of an executable's path that are compared.
const BINARY_LIMIT: usize = 255;
/// Bytes of its end that `Postfix` compares.
const BINARY_TAIL: usize = 127;

pub(super) fn pid_passes(test: &PidTest, process: &Process) -> bool {
    pid_listed(test, process).is_some_and(|listed| listed != test.not)
}

/// `None`: cannot be told, so neither `In` nor `NotIn` passes.
fn pid_listed(test: &PidTest, process: &Process) -> Option<bool> {
    // Ids in namespaces are read from the tasks themselves.
    if !process.known && test.follow_forks && !test.namespace_pid {
        return Some(false);
    }
    let own = if test.namespace_pid { process.ns_pid } else { process.tgid };
    if test.namespace_pid && test.follow_forks && own == 0 {
        return None;
    }
    let listed = |pid: u32| test.values.contains(&pid);
    let pid_of = |ancestor: &super::call::Ancestor| {
        if test.namespace_pid { ancestor.ns_pid } else { ancestor.tgid }
    };
    Some(listed(own) || (test.follow_forks && process.ancestors.iter().map(pid_of).any(listed)))
}

pub(super) fn binary_passes(test: &BinaryTest, process: &Process) -> bool {
    if !process.known {
        return test.not;
    }
    let mut listed = binary_listed(test, &process.binary);
    if test.follow_children {
        let of_ancestors = process.ancestors.iter().flat_map(|a| a.earlier.iter().chain([&a.binary]));
        listed |= process.earlier.iter().chain(of_ancestors).any(|binary| binary_listed(test, binary));
    }
    listed != test.not
}

pub(super) fn parent_binary_passes(test: &BinaryTest, process: &Process) -> bool {
    match process.ancestors.first() {
        Some(parent) if process.known => binary_listed(test, &parent.binary) != test.not,
        _ => true,
    }
}

fn binary_listed(test: &BinaryTest, binary: &[u8]) -> bool {
    let head = binary.get(..BINARY_LIMIT).unwrap_or(binary);
    let compared = match test.op {
        TextOp::Equal | TextOp::Prefix => head,
        TextOp::Postfix => head.get(head.len().saturating_sub(BINARY_TAIL)..).unwrap_or(head),
    };
    test.values.iter().any(|value| text_passes(test.op, compared, value))
}

pub(super) fn namespace_passes(test: &NamespaceTest, process: &Process, host: &Namespaces) -> bool {
    let own = process.namespaces.get(test.kind);
    let listed = test.values.iter().any(|value| match value {
        NamespaceValue::Host => own == host.get(test.kind),
        NamespaceValue::Inode(inode) => own == *inode,
    });
    listed != test.not
}

pub(super) fn capabilities_pass(test: &CapabilityTest, process: &Process, host: &Namespaces) -> bool {
    let user = NamespaceKind::User;
    if test.namespace_only && process.namespaces.get(user) == host.get(user) {
        return false;
    }
    let set = match test.set {
        CapabilitySet::Effective => process.capabilities.effective,
        CapabilitySet::Inheritable => process.capabilities.inheritable,
        CapabilitySet::Permitted => process.capabilities.permitted,
    };
    (set & test.mask != 0) != test.not
}
