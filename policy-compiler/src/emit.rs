//! In: `lower`, which calls the assembler with symbolic labels, maps and source paths. Out: instruction bytes,
//! relocations and the source map of an artefact.

mod asm;
mod finish;
pub mod listing;

pub use crate::lower::Helper;
pub use asm::{Alu, Asm, Cond, FP, Insn, Label, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Reg, Size};
pub use finish::{EmitError, Finished};
