//! In: C with CO-RE in `c/`, compiled by the build script. Out: the object for the agent to load, and the layout
//! of its records and map values for whoever reads or writes them.

#![allow(unsafe_code)] // only `layout`: reading structures from bytes

pub mod layout;

/// The alignment that an ELF parser wants of its input.
#[repr(C, align(64))]
struct Aligned<Bytes: ?Sized>(Bytes);

static BASE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/base.bpf.o")));

/// The programs that follow the life cycle of processes: an ELF object with BTF, aligned to 64 bytes.
pub static BASE_OBJECT: &[u8] = &BASE.0;
