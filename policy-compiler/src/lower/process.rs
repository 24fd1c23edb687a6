//! In: tests on the current process. Out: jumps to `hit` if they hold; falling through means they do not.

use super::frame::{Helper, slot};
use super::{Lower, Lowered};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R2, R3, R4, R8, Size};
use crate::plan::Test;
use crate::typed::{CapabilitySet, NamespaceKind};
use api::artefact::{RelocKind, SharedMap};

/// Ancestors that are looked at for process ids in namespaces, as in the reference.
const ANCESTORS: u32 = 9;

/// Offsets in `struct process`, `bpf-programs/c/records.h`.
pub(super) mod process_field {
    pub const START: i16 = 0;
    pub const PARENT_START: i16 = 8;
    pub const OWN: i16 = 24;
    pub const PARENT: i16 = 56;
    pub const INHERITED: i16 = 88;
}

impl Lower<'_> {
    /// Process slot = the current process's entry in the map, or 0.
    pub(super) fn find_process(&mut self) {
        self.asm.source("look the process up");
        self.asm.call(Helper::PidTgid);
        self.asm.alu(Alu::Rsh, R0, 32);
        self.asm.store(Size::W, FP, slot::KEY, R0);
        self.lookup(SharedMap::Processes);
        self.asm.store(Size::D, FP, slot::PROCESS, R0);
    }

    pub(super) fn process_test(&mut self, test: &Test, hit: Label, unread: Label) -> Lowered<()> {
        match test {
            Test::HostPid(values) => {
                self.asm.load(Size::W, R1, FP, slot::PID_TGID + 4);
                self.any_of(values, hit);
            }
            Test::NamespacePid { values, ancestors } => {
                self.namespace_pids(values, *ancestors, hit, unread)?
            }
            Test::ProcessSet { set, parent, inherited } => self.process_set(*set, *parent, *inherited, hit),
            Test::Namespace { kind, inodes } => {
                self.namespace(*kind, unread)?;
                self.any_of(inodes, hit);
            }
            Test::Capabilities { set, namespace_only, mask } => {
                self.capabilities(*set, *namespace_only, *mask, hit, unread)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn any_of(&mut self, values: &[u32], hit: Label) {
        for value in values {
            self.asm.jump32_if(Cond::Eq, R1, *value as i32, hit);
        }
    }

    /// Jumps to `skip` if the parent is not known: filters on it pass then, negated or not.
    pub(super) fn pass_without_parent(&mut self, skip: Label) {
        self.asm.load(Size::D, R1, FP, slot::PROCESS);
        self.asm.jump_if(Cond::Eq, R1, 0, skip);
        self.asm.load(Size::D, R1, R1, process_field::PARENT_START);
        self.asm.jump_if(Cond::Eq, R1, 0, skip);
    }

    /// A process that is not in the map is in no set.
    fn process_set(&mut self, set: usize, parent: bool, inherited: bool, hit: Label) {
        let unknown = self.asm.label();
        self.asm.load(Size::D, R1, FP, slot::PROCESS);
        self.asm.jump_if(Cond::Eq, R1, 0, unknown);
        self.asm.alu_reloc(Alu::Add, R1, RelocKind::ProcessSetOffset, set as u32);
        self.asm.mov_reloc64(R2, RelocKind::ProcessSetMask, set as u32);
        let field = if parent { process_field::PARENT } else { process_field::OWN };
        self.asm.load(Size::D, R3, R1, field);
        if inherited {
            self.asm.load(Size::D, R4, R1, process_field::INHERITED);
            self.asm.alu_reg(Alu::Or, R3, R4);
        }
        self.asm.jump_if_reg(Cond::Set, R3, R2, hit);
        self.asm.bind(unknown);
    }

    /// The ids of the current process, and of its ancestors if asked, each in its own innermost pid namespace. With
    /// ancestors, a process whose own id is not known is neither among the values nor not.
    fn namespace_pids(&mut self, values: &[u32], ancestors: bool, hit: Label, unread: Label) -> Lowered<()> {
        let miss = self.asm.label();
        self.current_task(R8);
        self.asm.store(Size::D, FP, slot::OBJECT, R8);
        for generation in 0..=if ancestors { ANCESTORS } else { 0 } {
            if generation > 0 {
                self.asm.load(Size::D, R8, FP, slot::OBJECT);
                self.chase(R8, &[("task_struct", "real_parent")], false)?;
                self.asm.store(Size::D, FP, slot::OBJECT, R8);
                self.asm.jump_if(Cond::Eq, R8, 0, miss);
            }
            self.namespace_pid()?;
            if ancestors && generation == 0 {
                self.asm.jump_if(Cond::Eq, R1, 0, unread);
            }
            self.any_of(values, hit);
        }
        self.asm.bind(miss);
        Ok(())
    }

    /// r1 = the id of the task in r8, of its thread group, in its innermost pid namespace.
    fn namespace_pid(&mut self) -> Lowered<()> {
        self.chase(R8, &[("task_struct", "group_leader"), ("task_struct", "thread_pid")], false)?;
        let level = self.offset("pid", "level")?;
        let numbers = self.offset("pid", "numbers")?;
        let nr = self.offset("upid", "nr")?;
        self.load(Size::W, R1, R8, level, false);
        self.asm.alu(Alu::Mul, R1, self.upid_size()?);
        self.asm.alu_reg(Alu::Add, R1, R8);
        self.load(Size::W, R1, R1, numbers + nr, false);
        Ok(())
    }

    fn upid_size(&self) -> Lowered<i32> {
        let end = self.offset("upid", "ns")?;
        // struct upid { int nr; struct pid_namespace *ns; } in every kernel from 4.x on.
        Ok(i32::from(end) + 8)
    }

    /// r1 = inode of a namespace of the current task. Kernels without the kind leave the test unread.
    fn namespace(&mut self, kind: NamespaceKind, unread: Label) -> Lowered<()> {
        let proxy = |member| vec![("task_struct", "nsproxy"), ("nsproxy", member)];
        let (steps, structure) = match kind {
            NamespaceKind::Uts => (proxy("uts_ns"), "uts_namespace"),
            NamespaceKind::Ipc => (proxy("ipc_ns"), "ipc_namespace"),
            NamespaceKind::Mnt => (proxy("mnt_ns"), "mnt_namespace"),
            NamespaceKind::PidForChildren => (proxy("pid_ns_for_children"), "pid_namespace"),
            NamespaceKind::Net => (proxy("net_ns"), "net"),
            NamespaceKind::Time => (proxy("time_ns"), "time_namespace"),
            NamespaceKind::TimeForChildren => (proxy("time_ns_for_children"), "time_namespace"),
            NamespaceKind::Cgroup => (proxy("cgroup_ns"), "cgroup_namespace"),
            NamespaceKind::User => (vec![("task_struct", "cred"), ("cred", "user_ns")], "user_namespace"),
            NamespaceKind::Pid => {
                self.active_pid_namespace()?;
                (Vec::new(), "pid_namespace")
            }
        };
        if !steps.is_empty() {
            self.current_task(R8);
            self.chase(R8, &steps, false)?;
        }
        self.asm.jump_if(Cond::Eq, R8, 0, unread);
        let inum = self.offset(structure, "ns.inum")?;
        self.load(Size::W, R1, R8, inum, false);
        Ok(())
    }

    /// r8 = the pid namespace of the current task (which `setns` does not change).
    fn active_pid_namespace(&mut self) -> Lowered<()> {
        self.current_task(R8);
        self.chase(R8, &[("task_struct", "thread_pid")], false)?;
        let level = self.offset("pid", "level")?;
        let numbers = self.offset("pid", "numbers")?;
        let ns = self.offset("upid", "ns")?;
        self.load(Size::W, R1, R8, level, false);
        self.asm.alu(Alu::Mul, R1, self.upid_size()?);
        self.asm.alu_reg(Alu::Add, R1, R8);
        self.load(Size::D, R8, R1, numbers + ns, false);
        Ok(())
    }

    fn capabilities(
        &mut self,
        set: CapabilitySet,
        namespace_only: bool,
        mask: u64,
        hit: Label,
        unread: Label,
    ) -> Lowered<()> {
        self.current_task(R8);
        self.chase(R8, &[("task_struct", "cred")], false)?;
        if namespace_only {
            let user_ns = self.offset("cred", "user_ns")?;
            let inum = self.offset("user_namespace", "ns.inum")?;
            self.load(Size::D, R1, R8, user_ns, false);
            self.load(Size::W, R1, R1, inum, false);
            let host = self.kernel.host_namespace(NamespaceKind::User as usize).unwrap_or(0);
            self.asm.jump32_if(Cond::Eq, R1, host as i32, unread);
        }
        let member = match set {
            CapabilitySet::Effective => "cap_effective",
            CapabilitySet::Inheritable => "cap_inheritable",
            CapabilitySet::Permitted => "cap_permitted",
        };
        let off = self.offset("cred", member)?;
        self.load(Size::D, R1, R8, off, false);
        self.asm.mov_imm(R2, mask);
        self.asm.jump_if_reg(Cond::Set, R1, R2, hit);
        Ok(())
    }

    /// r0 = start of the current process image, 0 if it is not in the map.
    pub(super) fn process_start(&mut self, known: bool) {
        let unknown = self.asm.label();
        if known {
            self.asm.load(Size::D, R0, FP, slot::PROCESS);
        } else {
            self.asm.load(Size::W, R1, FP, slot::PID_TGID + 4);
            self.asm.store(Size::W, FP, slot::KEY, R1);
            self.lookup(SharedMap::Processes);
        }
        self.asm.jump_if(Cond::Eq, R0, 0, unknown);
        self.asm.load(Size::D, R0, R0, process_field::START);
        self.asm.bind(unknown);
    }
}
