//! In: path-like arguments. Out: their dentry and mount, their mode, and the function that renders path text.
//!
//! The text is what `d_path` gives for the current process: relative to its root, mounts crossed, ` (deleted)` for
//! unlinked files. It is written from the end of its region towards the start, component by component, all by
//! probe reads, so one function serves every flavour. Member names moved in 7.x (`__f_path`, `__d_name`).

use super::frame::{Helper, scratch, slot};
use super::{Lower, Lowered};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R2, R3, R6, R7, R8, R9, Size};
use crate::resolve::ResolvedArg;
use crate::typed::{ArgType, IntType};

/// Components before the walk gives up and flags the text as cut. The verifier follows each iteration on its own, at
/// about 100 of its million instructions, and loading a program takes time in proportion.
const MAX_COMPONENTS: i32 = 128;
/// Where the walk keeps its position: behind the region's zeros. From memory, the verifier knows nothing of it, so
/// that what it has learned of one iteration does not tell the next one apart.
const POSITION: i16 = (scratch::REGION - 8) as i16;

/// Stack of the path function.
mod frame {
    /// `struct path` of the process's root: mount, dentry.
    pub const ROOT_MOUNT: i16 = -16;
    pub const ROOT_DENTRY: i16 = -8;
    pub const MOUNT_ROOT: i16 = -24;
    pub const COUNT: i16 = -32;
    /// Parent mount and mountpoint.
    pub const PARENT_MOUNT: i16 = -48;
    pub const MOUNTPOINT: i16 = -40;
    /// `d_parent`, then `d_name`.
    pub const PARENT: i16 = -72;
    pub const NAME: i16 = -64;
    /// Target of single reads.
    pub const VALUE: i16 = -80;
}

impl ArgType {
    /// Rendered from a dentry.
    pub(super) fn is_path(self) -> bool {
        matches!(self, ArgType::File | ArgType::Fd | ArgType::Path | ArgType::Dentry | ArgType::LinuxBinprm)
    }

    /// Rendered into a scratch region.
    pub(super) fn is_text(self) -> bool {
        self.is_path() || matches!(self, ArgType::String | ArgType::CharBuf | ArgType::Filename)
    }
}

impl Lower<'_> {
    /// OBJECT = dentry, OBJECT2 = vfsmount (0: within its mount only). Clobbers r8.
    pub(super) fn dentry_and_mount(&mut self, arg: ResolvedArg, unread: Label) -> Lowered<()> {
        let mut typed = arg.typed;
        let (structure, member) = match arg.ty {
            ArgType::Path => ("path", ""),
            ArgType::Dentry => ("dentry", ""),
            _ => ("file", "f_path|__f_path."),
        };
        match arg.ty {
            ArgType::Fd => {
                self.file_of_descriptor(arg, unread)?;
                typed = false;
            }
            ArgType::LinuxBinprm => {
                self.fetch(R8, arg.fetch);
                self.asm.jump_if(Cond::Eq, R8, 0, unread);
                self.chase(R8, &[("linux_binprm", "file")], typed)?;
            }
            _ => self.fetch(R8, arg.fetch),
        }
        self.asm.jump_if(Cond::Eq, R8, 0, unread);
        if arg.ty == ArgType::Dentry {
            self.asm.store(Size::D, FP, slot::OBJECT, R8);
            self.asm.store_imm(Size::D, FP, slot::OBJECT2, 0);
            return Ok(());
        }
        let mount = self.offset(structure, &format!("{member}mnt"))?;
        let dentry = self.offset(structure, &format!("{member}dentry"))?;
        self.load(Size::D, R1, R8, mount, typed);
        self.jump_if_unread(typed, unread);
        self.asm.store(Size::D, FP, slot::OBJECT2, R1);
        self.load(Size::D, R1, R8, dentry, typed);
        self.asm.store(Size::D, FP, slot::OBJECT, R1);
        self.asm.jump_if(Cond::Eq, R1, 0, unread);
        Ok(())
    }

    /// r8 = `struct file *` of a descriptor of the current task.
    fn file_of_descriptor(&mut self, arg: ResolvedArg, unread: Label) -> Lowered<()> {
        self.fetch_int(R1, arg.fetch, IntType::S32);
        self.asm.jump_if(Cond::Slt, R1, 0, unread);
        self.asm.store(Size::D, FP, slot::OBJECT, R1);
        self.current_task(R8);
        self.chase(R8, &[("task_struct", "files"), ("files_struct", "fdt")], false)?;
        self.asm.jump_if(Cond::Eq, R8, 0, unread);
        let max = self.offset("fdtable", "max_fds")?;
        let array = self.offset("fdtable", "fd")?;
        self.load(Size::W, R1, R8, max, false);
        self.asm.load(Size::D, R2, FP, slot::OBJECT);
        self.asm.jump_if_reg(Cond::Ge, R2, R1, unread);
        self.load(Size::D, R1, R8, array, false);
        self.asm.load(Size::D, R2, FP, slot::OBJECT);
        self.asm.alu(Alu::Lsh, R2, 3);
        self.asm.alu_reg(Alu::Add, R1, R2);
        self.load(Size::D, R8, R1, 0, false);
        Ok(())
    }

    /// r1 = `i_mode` of the dentry in r8. By probe reads always: the verifier takes `d_inode` of a dentry that a LSM hook
    /// passes for never NULL, drops the test and loads without a net, and a dentry that is about to be made has none
    /// (a panic, seen on 6.12 in path_mkdir; kernel/bpf/verifier.c, BTF_TYPE_SAFE_TRUSTED).
    pub(super) fn mode_of_dentry(&mut self, unread: Label) -> Lowered<()> {
        let inode = self.offset("dentry", "d_inode")?;
        let mode = self.offset("inode", "i_mode")?;
        self.load(Size::D, R8, R8, inode, false);
        self.asm.jump_if(Cond::Eq, R8, 0, unread);
        self.load(Size::H, R1, R8, mode, false);
        Ok(())
    }

    /// r0 = start of the rendered text in its region, with bit 32 set if it is cut. Arguments: r1 region, r2 dentry,
    /// r3 mount or 0.
    pub(super) fn path_function(&mut self) -> Lowered<()> {
        let [head, cross, done, cut, fail] = std::array::from_fn(|_| self.asm.label());
        self.asm.source("render a path");
        self.asm.bind(self.path_function);
        self.asm.mov(R6, R1);
        // Through memory, so that typed pointers become numbers, which the walk computes with.
        for (reg, from) in [(R7, R2), (R8, R3)] {
            self.asm.store(Size::D, R6, POSITION, from);
            self.asm.load(Size::D, reg, R6, POSITION);
        }
        self.path_start(fail)?;
        self.asm.bind(head);
        self.path_limits(cut);
        // One branch for both halves of the root: each branch is one more state per iteration for the verifier.
        self.asm.load(Size::D, R1, FP, frame::ROOT_DENTRY);
        self.asm.alu_reg(Alu::Xor, R1, R7);
        self.asm.load(Size::D, R2, FP, frame::ROOT_MOUNT);
        self.asm.alu_reg(Alu::Xor, R2, R8);
        self.asm.alu_reg(Alu::Or, R1, R2);
        self.asm.jump_if(Cond::Eq, R1, 0, done);
        self.asm.load(Size::D, R1, FP, frame::MOUNT_ROOT);
        self.asm.jump_if_reg(Cond::Eq, R7, R1, cross);
        self.path_component(head, done, cut)?;
        self.asm.bind(cross);
        self.path_cross(done, cut)?;
        self.asm.jump(head);
        self.path_end(done, cut, fail);
        Ok(())
    }

    /// Root, mount root, and the suffix of unlinked files. r9 = end of the region.
    fn path_start(&mut self, fail: Label) -> Lowered<()> {
        let (fs, root) = (self.offset("task_struct", "fs")?, self.offset("fs_struct", "root")?);
        let hashed = self.asm.label();
        self.asm.store_imm(Size::D, FP, frame::COUNT, 0);
        self.asm.call(Helper::CurrentTask);
        self.asm.mov_imm(R9, scratch::TEXT_MAX as u64);
        self.asm.mov(R3, R0);
        self.path_read(frame::VALUE, 8, fs);
        self.asm.load(Size::D, R3, FP, frame::VALUE);
        self.path_read(frame::ROOT_MOUNT, 16, root);
        self.asm.jump_if(Cond::Ne, R0, 0, fail);
        self.path_mount_root()?;
        let pprev = self.offset("dentry", "d_hash.pprev")?;
        let parent = self.offset("dentry", "d_parent")?;
        self.asm.mov(R3, R7);
        self.path_read(frame::VALUE, 8, pprev);
        self.asm.jump_if(Cond::Ne, R0, 0, fail);
        self.asm.load(Size::D, R1, FP, frame::VALUE);
        self.asm.jump_if(Cond::Ne, R1, 0, hashed);
        // Roots are unhashed, too.
        self.asm.mov(R3, R7);
        self.path_read(frame::VALUE, 8, parent);
        self.asm.load(Size::D, R1, FP, frame::VALUE);
        self.asm.jump_if_reg(Cond::Eq, R1, R7, hashed);
        let suffix = b" (deleted)";
        self.asm.mov_imm(R1, u64::from_le_bytes(*b" (delete"));
        self.asm.store(Size::D, R6, (scratch::TEXT_MAX - suffix.len() as i32) as i16, R1);
        self.asm.store_imm(Size::H, R6, scratch::TEXT_MAX as i16 - 2, i32::from(u16::from_le_bytes(*b"d)")));
        self.asm.alu(Alu::Sub, R9, suffix.len() as i32);
        self.asm.bind(hashed);
        self.asm.store(Size::D, R6, POSITION, R9);
        Ok(())
    }

    /// Reads `len` bytes at r3 + `off` into this frame.
    fn path_read(&mut self, at: i16, len: i32, off: i16) {
        self.read_kernel(FP, at, len, off);
    }

    fn path_mount_root(&mut self) -> Lowered<()> {
        let none = self.asm.label();
        let root = self.offset("vfsmount", "mnt_root")?;
        self.asm.store_imm(Size::D, FP, frame::MOUNT_ROOT, 0);
        self.asm.jump_if(Cond::Eq, R8, 0, none);
        self.asm.mov(R3, R8);
        self.path_read(frame::MOUNT_ROOT, 8, root);
        self.asm.bind(none);
        Ok(())
    }

    fn path_limits(&mut self, cut: Label) {
        self.asm.load(Size::D, R1, FP, frame::COUNT);
        self.asm.jump_if(Cond::Ge, R1, MAX_COMPONENTS, cut);
        self.asm.alu(Alu::Add, R1, 1);
        self.asm.store(Size::D, FP, frame::COUNT, R1);
        // At most 4,096 in truth; the mask tells the verifier enough, without a branch.
        self.asm.load(Size::D, R9, R6, POSITION);
        self.asm.alu(Alu::And, R9, 2 * scratch::TEXT_MAX - 1);
    }

    /// Prepends the name of r7; r7 = its parent.
    fn path_component(&mut self, head: Label, done: Label, cut: Label) -> Lowered<()> {
        let orphan = self.asm.label();
        let (parent, name) = (self.offset("dentry", "d_parent")?, self.offset("dentry", "d_name|__d_name")?);
        let (len, ptr) = (self.offset("qstr", "len")?, self.offset("qstr", "name")?);
        if name == parent + 8 {
            self.asm.mov(R3, R7);
            self.path_read(frame::PARENT, 24, parent);
        } else {
            self.asm.mov(R3, R7);
            self.path_read(frame::NAME, 16, name);
            self.asm.mov(R3, R7);
            self.path_read(frame::PARENT, 8, parent);
        }
        // The rest of the way is not known.
        self.asm.jump_if(Cond::Ne, R0, 0, cut);
        self.asm.load(Size::W, R2, FP, frame::NAME + len);
        self.asm.load(Size::D, R1, FP, frame::PARENT);
        self.asm.jump_if_reg(Cond::Eq, R1, R7, orphan);
        self.path_name(ptr, cut);
        self.asm.load(Size::D, R7, FP, frame::PARENT);
        self.asm.jump(head);
        // The root of a file system that is mounted nowhere on the way, called "/", or an anonymous file.
        self.asm.bind(orphan);
        self.asm.jump_if(Cond::Le, R2, 1, done);
        self.path_name(ptr, cut);
        self.asm.jump(done);
        Ok(())
    }

    /// Writes `/` and a name of r2 bytes before what is there.
    fn path_name(&mut self, ptr: i16, cut: Label) {
        // NAME_MAX is 255.
        self.asm.alu(Alu::And, R2, 255);
        self.asm.mov(R1, R9);
        self.asm.alu_reg(Alu::Sub, R1, R2);
        self.asm.alu(Alu::Sub, R1, 1);
        self.asm.jump_if(Cond::Slt, R1, 0, cut);
        self.asm.store(Size::D, R6, POSITION, R1);
        self.asm.alu_reg(Alu::Add, R1, R6);
        self.asm.store_imm(Size::B, R1, 0, i32::from(b'/'));
        self.asm.alu(Alu::Add, R1, 1);
        self.asm.load(Size::D, R3, FP, frame::NAME + ptr);
        self.asm.call(Helper::ReadKernel);
    }

    /// From the root of a mount to the place where it is mounted.
    fn path_cross(&mut self, done: Label, cut: Label) -> Lowered<()> {
        let vfsmount = self.offset("mount", "mnt")?;
        let (parent, point) = (self.offset("mount", "mnt_parent")?, self.offset("mount", "mnt_mountpoint")?);
        self.asm.mov(R3, R8);
        if point == parent + 8 {
            self.path_read(frame::PARENT_MOUNT, 16, parent - vfsmount);
        } else {
            self.path_read(frame::PARENT_MOUNT, 8, parent - vfsmount);
            self.asm.mov(R3, R8);
            self.path_read(frame::MOUNTPOINT, 8, point - vfsmount);
        }
        // Mounts have a parent always; zero is what could not be read.
        self.asm.load(Size::D, R1, FP, frame::PARENT_MOUNT);
        self.asm.jump_if(Cond::Eq, R1, 0, cut);
        self.asm.alu(Alu::Add, R1, i32::from(vfsmount));
        // The topmost mount is its own parent.
        self.asm.jump_if_reg(Cond::Eq, R1, R8, done);
        self.asm.mov(R8, R1);
        self.asm.load(Size::D, R7, FP, frame::MOUNTPOINT);
        self.path_mount_root()
    }

    fn path_end(&mut self, done: Label, cut: Label, fail: Label) {
        let some = self.asm.label();
        self.asm.bind(done);
        self.asm.load(Size::D, R0, R6, POSITION);
        self.asm.jump_if(Cond::Lt, R0, scratch::TEXT_MAX, some);
        self.asm.store_imm(Size::B, R6, (scratch::TEXT_MAX - 1) as i16, i32::from(b'/'));
        self.asm.mov_imm(R0, (scratch::TEXT_MAX - 1) as u64);
        self.asm.bind(some);
        self.asm.exit();
        self.asm.bind(cut);
        self.asm.load(Size::D, R1, R6, POSITION);
        self.asm.mov_imm(R0, 1 << 32);
        self.asm.alu_reg(Alu::Or, R0, R1);
        self.asm.exit();
        self.asm.bind(fail);
        // Beyond any region: the caller takes it for unreadable.
        self.asm.mov_imm(R0, (2 * scratch::TEXT_MAX) as u64);
        self.asm.exit();
    }
}
