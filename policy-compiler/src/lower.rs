//! In: a [`Program`] of `plan`. Out: calls to the assembler.
//!
//! Shape of every program: leave at once if another program is active for this hook; per bank, clear candidate
//! bits test by test, cheapest first, and stop when none is left; then per hook entry run the lowest bit's actions
//! and write its event. Registers: r6 context, r7 scratch slot or 0, r8 object or cursor, r9 candidate mask.
//!
//! Assumes: arguments fit the kernel's types (`resolve`). Guarantees: each path releases the scratch slot.

mod access;
mod actions;
mod frame;
mod integers;
mod maps;
mod overlap;
mod path;
mod prefilter;
mod process;
mod program;
mod rates;
mod record;
mod saved;
mod scratch;
mod sockets;
mod text;
mod text_values;

pub use frame::Helper;
pub use program::lower;
pub(crate) use record::record_order;

use crate::diagnostic::{Code, Diagnostic};
use crate::emit::{Asm, Label};
use crate::kernel::Kernel;
use crate::plan::Program;
use api::artefact::MapSpec;

/// State while one program is emitted.
pub(crate) struct Lower<'a> {
    pub asm: Asm,
    pub kernel: &'a Kernel,
    pub program: &'a Program<'a>,
    pub maps: Vec<MapSpec>,
    /// Function that renders a path, if any argument needs it.
    pub path_function: Label,
    pub path_used: bool,
    /// Text arguments (indices into `program.args`) in the order of their scratch regions.
    pub texts: Vec<usize>,
    /// Releases what is held and returns the frame's return value.
    pub done: Label,
}

/// Why a program cannot be emitted.
pub(crate) type Lowered<T> = Result<T, Diagnostic>;

impl Lower<'_> {
    /// Byte offset of a kernel structure's member.
    pub(crate) fn offset(&self, structure: &str, path: &str) -> Lowered<i16> {
        let offset = self.kernel.offset(structure, path).and_then(|offset| i16::try_from(offset).ok());
        offset.ok_or_else(|| {
            let at =
                self.program.entries.first().map(|entry| entry.hook.hook.path.clone()).unwrap_or_default();
            let message = format!("kernel {}: BTF has no `{structure}.{path}`", self.kernel.release());
            Diagnostic::error(Code::KernelFeature, at, message)
        })
    }
}
