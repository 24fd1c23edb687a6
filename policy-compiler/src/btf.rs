//! In: the bytes of a kernel's BTF. Out: `resolve`, which looks up functions, prototypes and member offsets.
//!
//! Assumes nothing of the bytes: they may come from a hostile node. Every offset and id is checked at the first
//! pass ([`Btf::parse`]); later look-ups bound their recursion. Format: kernel `include/uapi/linux/btf.h`.

mod lookup;
mod parse;

pub use lookup::Member;

use std::fmt;

/// Id of a type in one BTF; 0 is `void`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

/// `void`.
pub const VOID: TypeId = TypeId(0);

/// Why bytes are not BTF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtfError {
    /// Byte offset in the type section, or 0 for the header.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid BTF: {} at byte {} of the type section", self.what, self.offset)
    }
}

impl std::error::Error for BtfError {}

/// `BTF_KIND_*`, the ones that kernels have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// `void`, and forward compatibility.
    Void = 0,
    /// Integer.
    Int = 1,
    /// Pointer.
    Ptr = 2,
    /// Array.
    Array = 3,
    /// `struct`.
    Struct = 4,
    /// `union`.
    Union = 5,
    /// `enum`.
    Enum = 6,
    /// Forward declaration.
    Fwd = 7,
    /// `typedef`.
    Typedef = 8,
    /// `volatile`.
    Volatile = 9,
    /// `const`.
    Const = 10,
    /// `restrict`.
    Restrict = 11,
    /// Function.
    Func = 12,
    /// Prototype.
    FuncProto = 13,
    /// Variable.
    Var = 14,
    /// Section.
    DataSec = 15,
    /// Floating point.
    Float = 16,
    /// Declaration tag.
    DeclTag = 17,
    /// Type tag.
    TypeTag = 18,
    /// 64-bit `enum`.
    Enum64 = 19,
}

/// A parsed BTF. Holds the raw bytes and two indices: about 1.2 times the size of the input.
pub struct Btf {
    bytes: Vec<u8>,
    /// Byte offset of each type in `bytes`; index 0 (void) is unused.
    types: Vec<u32>,
    /// Start of the string section in `bytes`, and its length.
    strings: (usize, usize),
    /// Structs, unions, functions, typedefs and enums that have names, sorted by kind, name and id.
    names: Vec<TypeId>,
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btf").field("types", &self.types.len()).finish_non_exhaustive()
    }
}
