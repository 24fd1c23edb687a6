//! In: prefix and equality tests on a path. Out: a quick "none of them" without rendering the path.
//!
//! Most files that a busy hook sees are below directories that no policy names. If the file is in the mount of the
//! process's root, following `d_parent` to the root and comparing the topmost name with those of all values says so
//! in a few instructions per component. Everything else (other mounts, long names, deep trees) goes the slow way.

use super::frame::slot;
use super::{Lower, Lowered};
use crate::emit::{Alu, Cond, FP, Label, R0, R1, R2, R3, R4, R5, R8, Size};
use crate::plan::{Test, TestUse};
use crate::typed::{ArgType, TextOp};
use std::collections::BTreeSet;

/// Components that are followed; deeper paths are rendered.
const DEPTH: usize = 12;
/// Bytes of the topmost name that are compared.
const NAME_BYTES: usize = 8;

/// What the topmost name of a path must look like for one value to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Top {
    /// First bytes, little-endian, zero-padded.
    bytes: u64,
    /// How many of them count.
    count: usize,
    /// Length of the whole name, if the value fixes it.
    len: Option<usize>,
}

/// `None` if the value says nothing of the topmost name.
fn top_of(value: &[u8], op: TextOp) -> Option<Top> {
    let rest = value.strip_prefix(b"/")?;
    let (name, complete) = match rest.iter().position(|byte| *byte == b'/') {
        Some(end) => (rest.get(..end)?, true),
        None => (rest, op == TextOp::Equal),
    };
    // The name of an unlinked file lacks the suffix of its text.
    if name.is_empty() || (complete && name.len() > 31) || name.ends_with(b" (deleted)") {
        return None;
    }
    let count = name.len().min(NAME_BYTES);
    let bytes = name.iter().take(count).rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Some(Top { bytes, count, len: complete.then_some(name.len()) })
}

impl Lower<'_> {
    /// Clears the selectors whose positive tests cannot hold; jumps to `resolved` if that settles all tests.
    pub(super) fn prefilter(&mut self, text: usize, tests: &[&TestUse], resolved: Label) -> Lowered<()> {
        let arg = self.texts.get(text).and_then(|arg| self.program.args.get(*arg)).copied();
        let Some(arg) = arg.filter(|arg| {
            arg.typed && matches!(arg.ty, ArgType::File | ArgType::Path | ArgType::LinuxBinprm)
        }) else {
            return Ok(());
        };
        let mut tops = BTreeSet::new();
        let mut settled = 0u64;
        let mut others = false;
        for test in tests {
            let Test::Text { op, values, .. } = &test.test else { continue };
            let found: Option<Vec<Top>> = match op {
                TextOp::Postfix => None,
                _ => values.iter().map(|value| top_of(value, *op)).collect(),
            };
            match found {
                Some(found) => {
                    tops.extend(found);
                    settled |= test.holds;
                }
                None => others = true,
            }
        }
        if settled == 0 {
            return Ok(());
        }
        let slow = self.asm.label();
        self.asm.source("topmost directory");
        self.top_name(arg, slow)?;
        for top in &tops {
            self.compare_top(*top, slow);
        }
        self.clear(settled);
        if !others {
            self.asm.jump(resolved);
        }
        self.asm.bind(slow);
        Ok(())
    }

    /// r3 = length, r4 = first bytes of the topmost name of the path.
    fn top_name(&mut self, arg: crate::resolve::ResolvedArg, slow: Label) -> Lowered<()> {
        self.dentry_and_mount(arg, slow)?;
        let fs = self.offset("task_struct", "fs")?;
        let (root_mount, root_dentry) =
            (self.offset("fs_struct", "root.mnt")?, self.offset("fs_struct", "root.dentry")?);
        let typed = self.current_task(R8);
        self.load(Size::D, R8, R8, fs, typed);
        self.load(Size::D, R1, R8, root_mount, typed);
        self.asm.load(Size::D, R2, FP, slot::OBJECT2);
        self.asm.jump_if_reg(Cond::Ne, R1, R2, slow);
        self.load(Size::D, R5, R8, root_dentry, typed);
        self.asm.load(Size::D, R1, FP, slot::OBJECT);
        self.asm.jump_if_reg(Cond::Eq, R1, R5, slow);
        let parent = self.offset("dentry", "d_parent")?;
        let at_root = self.asm.label();
        for _ in 0..DEPTH {
            self.asm.mov(R0, R1);
            self.asm.load(Size::D, R1, R0, parent);
            self.asm.jump_if_reg(Cond::Eq, R1, R5, at_root);
            self.asm.jump_if_reg(Cond::Eq, R1, R0, slow);
        }
        self.asm.jump(slow);
        self.asm.bind(at_root);
        self.inline_name(slow)
    }

    /// Names up to 31 bytes lie in the dentry itself.
    fn inline_name(&mut self, slow: Label) -> Lowered<()> {
        let name = self.offset("dentry", "d_name|__d_name.name")?;
        let len = self.offset("dentry", "d_name|__d_name.len")?;
        let inline = self.offset("dentry", "d_iname|d_shortname")?;
        self.asm.load(Size::D, R1, R0, name);
        self.asm.mov(R2, R0);
        self.asm.alu(Alu::Add, R2, i32::from(inline));
        self.asm.jump_if_reg(Cond::Ne, R1, R2, slow);
        self.asm.load(Size::W, R3, R0, len);
        self.asm.load(Size::D, R4, R0, inline);
        Ok(())
    }

    fn compare_top(&mut self, top: Top, slow: Label) {
        let other = self.asm.label();
        match top.len {
            Some(len) => self.asm.jump_if(Cond::Ne, R3, len as i32, other),
            None => self.asm.jump_if(Cond::Lt, R3, top.count as i32, other),
        }
        let mask = u64::MAX >> (64 - 8 * top.count);
        self.asm.mov(R1, R4);
        self.asm.and_imm(R1, mask, R2);
        self.asm.jump_if_imm(Cond::Eq, R1, top.bytes, R2, slow);
        self.asm.bind(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tops_say_no_more_than_the_value_does() {
        let top = |value: &str, op| top_of(value.as_bytes(), op).map(|top| (top.count, top.len));
        assert_eq!(top("/etc/", TextOp::Prefix), Some((3, Some(3))));
        assert_eq!(top("/etc", TextOp::Prefix), Some((3, None)));
        assert_eq!(top("/etc", TextOp::Equal), Some((3, Some(3))));
        assert_eq!(top("/usr-local-share/x", TextOp::Equal), Some((8, Some(15))));
        assert_eq!(top("etc", TextOp::Prefix), None);
        assert_eq!(top("/", TextOp::Prefix), None);
        assert_eq!(top("/x (deleted)", TextOp::Equal), None);
    }
}
