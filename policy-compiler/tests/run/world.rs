//! In: a kernel's types and a description of files, sockets and a process. Out: memory in which a program finds
//! them as it would in a kernel, and the values that the reference evaluator is told.
//!
//! Offsets come from the same BTF that the program was compiled for; nothing else is shared with the compiler.
//! Between objects lies noise, so that a program that reads too far or relies on zeroes gives wrong answers.

pub mod argument;
pub mod context;
pub mod files;
pub mod network;
pub mod process;

use std::collections::BTreeMap;

use policy_compiler::btf::{Btf, Kind as TypeKind};

use crate::vm::Vm;
use crate::vm::memory::Kind;

/// Address of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

const ARENA: u64 = 0xffff_8880_0010_0000;
/// Objects of an exact size, where reading too far must fail: they are this far apart.
const EXACT_SPACING: u64 = 0x1_0000;
const EXACT_KERNEL: u64 = 0xffff_9990_0000_0000;
const EXACT_USER: u64 = 0x7fff_0000_0000;
/// Pointers that lead nowhere, in each half.
pub const BAD_KERNEL: u64 = 0xffff_a000_dead_0000;
pub const BAD_USER: u64 = 0x0000_5555_dead_0000;

/// A kernel's memory under construction.
#[derive(Clone)]
pub struct World<'k> {
    btf: &'k Btf,
    arena: Vec<u8>,
    exact: Vec<(u64, Kind, Vec<u8>)>,
    noise: u32,
    /// What bpf_d_path gives, by address of the `struct path`.
    pub paths: BTreeMap<u64, Vec<u8>>,
    pub files: files::FileTree,
    /// The current system call came through the 32-bit entry.
    pub compat: bool,
}

impl<'k> World<'k> {
    pub fn new(btf: &'k Btf) -> Self {
        let mut world = Self {
            btf,
            arena: Vec::new(),
            exact: Vec::new(),
            noise: 0x1234_5678,
            paths: BTreeMap::new(),
            files: files::FileTree::default(),
            compat: false,
        };
        world.pad(64);
        world.plant_root();
        world
    }

    fn pad(&mut self, bytes: usize) {
        for _ in 0..bytes {
            // A linear congruential generator: any noise will do.
            self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            self.arena.push((self.noise >> 24) as u8);
        }
    }

    /// Places bytes in the arena, with noise before the next object.
    pub fn place(&mut self, bytes: &[u8]) -> Address {
        let at = ARENA + self.arena.len() as u64;
        self.arena.extend_from_slice(bytes);
        self.pad(16 + bytes.len().wrapping_neg() % 8);
        Address(at)
    }

    /// Places a zeroed structure.
    pub fn object(&mut self, structure: &str) -> Address {
        self.place(&vec![0; self.size_of(structure)])
    }

    /// Bytes of a structure of the fixture kernel.
    pub fn size_of(&self, structure: &str) -> usize {
        let size = self.btf.find(TypeKind::Struct, structure).and_then(|id| self.btf.size(id));
        size.unwrap_or_else(|| panic!("the fixture kernel has no struct {structure}")) as usize
    }

    /// Offset and size of a member of the fixture kernel.
    pub fn field(&self, structure: &str, member: &str) -> (u64, usize) {
        let id = self.btf.find(TypeKind::Struct, structure);
        let found = id.and_then(|id| self.btf.member(id, member));
        let found = found.unwrap_or_else(|| panic!("the fixture kernel has no {structure}.{member}"));
        let size = self.btf.size(found.ty).unwrap_or_else(|| panic!("{structure}.{member} has no size"));
        (u64::from(found.offset), size as usize)
    }

    /// Address of a member.
    pub fn member(&self, object: Address, structure: &str, member: &str) -> Address {
        Address(object.0 + self.field(structure, member).0)
    }

    /// Sets a member, as wide as its type.
    pub fn set(&mut self, object: Address, structure: &str, member: &str, value: u64) {
        let (offset, size) = self.field(structure, member);
        self.write(Address(object.0 + offset), &value.to_le_bytes()[..size]);
    }

    /// Sets a member's bytes.
    pub fn set_bytes(&mut self, object: Address, structure: &str, member: &str, bytes: &[u8]) {
        let (offset, size) = self.field(structure, member);
        assert!(bytes.len() <= size, "{structure}.{member} has {size} bytes");
        self.write(Address(object.0 + offset), bytes);
    }

    /// Overwrites bytes of the arena.
    pub fn write(&mut self, at: Address, bytes: &[u8]) {
        let start = (at.0 - ARENA) as usize;
        self.arena[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Places bytes with nothing readable behind them.
    pub fn exact(&mut self, bytes: &[u8], user: bool) -> Address {
        let (base, kind) = if user { (EXACT_USER, Kind::User) } else { (EXACT_KERNEL, Kind::Kernel) };
        let at = base + EXACT_SPACING * (self.exact.len() as u64 + 1);
        self.exact.push((at, kind, bytes.to_vec()));
        Address(at)
    }

    /// Moves everything into a machine.
    pub fn settle(mut self, vm: &mut Vm) {
        // Room for reads of a fixed size near the end.
        self.pad(8192);
        vm.memory.add(ARENA, Kind::Kernel, self.arena);
        for (at, kind, bytes) in self.exact.into_iter().filter(|(_, _, bytes)| !bytes.is_empty()) {
            vm.memory.add(at, kind, bytes);
        }
        vm.around.paths = self.paths;
    }
}
