//! In: a hook. Out: whether a program that does nothing loads, attaches and detaches there; nothing of it stays.

use api::artefact::Flavour;

use super::insn::{INSN_SIZE, exit, mov_imm};
use super::{AttachPoint, Kernel, ProgramSpec};

/// One instruction.
pub type Insn = [u8; INSN_SIZE];

/// Returns 0 at once, which changes nothing even where the return value counts.
pub const IGNORE: [Insn; 2] = [mov_imm(0, 0), exit()];

/// The program, if the kernel takes it.
pub fn load<K: Kernel>(kernel: &K, flavour: Flavour, btf_id: u32, insns: &[Insn]) -> Option<K::Program> {
    let insns = insns.concat();
    kernel.program_load(&ProgramSpec { flavour, btf_id, insns: &insns, name: "trial" }).ok()
}

/// Loads [`IGNORE`], attaches and detaches it. `target` as in [`AttachPoint::target`].
pub fn attach_and_detach(kernel: &impl Kernel, flavour: Flavour, btf_id: u32, target: &str) -> bool {
    let Some(program) = load(kernel, flavour, btf_id, &IGNORE) else {
        return false;
    };
    match kernel.attach(&program, &AttachPoint { flavour, target }) {
        // A failure to detach leaves nothing behind either: the link is gone with its descriptor.
        Ok(link) => kernel.detach(link).is_ok(),
        Err(_) => false,
    }
}
