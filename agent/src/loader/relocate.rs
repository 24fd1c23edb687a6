//! In: an artefact's instructions, and what only the agent knows. Out: instructions that can be loaded.

use api::artefact::{Artefact, Reloc, RelocKind, SharedMap};

use super::sets::ProcessBit;
use crate::kernel::insn::{INSN_SIZE, LD_IMM64};

/// What the places are filled with. Slices go by the artefact's indices.
#[derive(Debug)]
pub struct Values<'a> {
    /// Numbers of the shared maps that the artefact refers to.
    pub shared: &'a [(SharedMap, i32)],
    /// Numbers of the private maps.
    pub private: &'a [i32],
    /// Id of the program.
    pub program: u32,
    /// Of the hook, in the map `active`.
    pub slot: u32,
    /// Of each hook entry's policy, in the map `policy_counters`.
    pub policies: &'a [u32],
    /// Of each process set.
    pub bits: &'a [ProcessBit],
}

/// The shared maps that an artefact refers to, each once.
pub fn shared_maps(artefact: &Artefact) -> Result<Vec<SharedMap>, &'static str> {
    let mut maps = Vec::new();
    for reloc in artefact.relocs.iter().filter(|reloc| reloc.kind == RelocKind::SharedMap as i32) {
        let map = shared_map(reloc)?;
        if !maps.contains(&map) {
            maps.push(map);
        }
    }
    Ok(maps)
}

fn shared_map(reloc: &Reloc) -> Result<SharedMap, &'static str> {
    let map = i32::try_from(reloc.index).ok().and_then(|index| SharedMap::try_from(index).ok());
    map.filter(|map| *map != SharedMap::Unspecified).ok_or("it refers to a shared map that does not exist")
}

/// Fills all places.
pub fn relocate(artefact: &Artefact, values: &Values<'_>) -> Result<Vec<u8>, &'static str> {
    let mut insns = artefact.insns.clone();
    for reloc in &artefact.relocs {
        fill(&mut insns, reloc, values)?;
    }
    Ok(insns)
}

fn fill(insns: &mut [u8], reloc: &Reloc, values: &Values<'_>) -> Result<(), &'static str> {
    const NOTHING: &str = "it refers to something that it does not have";
    let index = reloc.index as usize;
    let bit = || values.bits.get(index).ok_or(NOTHING);
    match RelocKind::try_from(reloc.kind).unwrap_or(RelocKind::Unspecified) {
        RelocKind::Unspecified => Err("it has a relocation of an unknown kind"),
        RelocKind::SharedMap => {
            let wanted = shared_map(reloc)?;
            let (_, number) = values.shared.iter().find(|(map, _)| *map == wanted).ok_or(NOTHING)?;
            map_load(insns, reloc.insn, *number)
        }
        RelocKind::PrivateMap => map_load(insns, reloc.insn, *values.private.get(index).ok_or(NOTHING)?),
        RelocKind::ProgramId => immediate(insns, reloc.insn, values.program),
        RelocKind::ActiveSlot => immediate(insns, reloc.insn, values.slot),
        RelocKind::PolicyCounters => {
            immediate(insns, reloc.insn, *values.policies.get(index).ok_or(NOTHING)?)
        }
        RelocKind::ProcessSetOffset => immediate(insns, reloc.insn, bit()?.word_offset()),
        RelocKind::ProcessSetMask => wide_immediate(insns, reloc.insn, bit()?.mask()),
    }
}

fn slot(insns: &mut [u8], index: u32) -> Result<&mut [u8; INSN_SIZE], &'static str> {
    let start = (index as usize).checked_mul(INSN_SIZE);
    let insn = start.and_then(|start| insns.get_mut(start..)).and_then(|rest| rest.first_chunk_mut());
    insn.ok_or("a relocation lies outside of its instructions")
}

fn immediate(insns: &mut [u8], index: u32, value: u32) -> Result<(), &'static str> {
    let [_, _, _, _, imm @ ..] = slot(insns, index)?;
    *imm = value.to_le_bytes();
    Ok(())
}

fn wide_immediate(insns: &mut [u8], index: u32, value: u64) -> Result<(), &'static str> {
    let [code, ..] = slot(insns, index)?;
    if *code != LD_IMM64 {
        return Err("a wide relocation is not on a two-slot load");
    }
    let next = index.checked_add(1).ok_or("a relocation lies outside of its instructions")?;
    immediate(insns, next, (value >> 32) as u32)?;
    immediate(insns, index, value as u32)
}

fn map_load(insns: &mut [u8], index: u32, number: i32) -> Result<(), &'static str> {
    // BPF_PSEUDO_MAP_FD or BPF_PSEUDO_MAP_VALUE, in the upper half: anything else would load a plain number.
    match slot(insns, index)? {
        [LD_IMM64, registers, _, _, imm @ ..] if matches!(*registers >> 4, 1 | 2) => {
            *imm = number.to_le_bytes();
            Ok(())
        }
        _ => Err("a map relocation is not on a two-slot load of a map"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::insn::{add_imm, exit, insn, load_map, mov_imm};
    use api::artefact::{Attach, Flavour};

    fn artefact(insns: &[[u8; INSN_SIZE]], relocs: &[(u32, RelocKind, u32)]) -> Artefact {
        Artefact {
            attach: Attach { flavour: Flavour::RawTp as i32, target: "x".into(), btf_id: 0, syscall: None },
            insns: insns.concat(),
            relocs: relocs
                .iter()
                .map(|(insn, kind, index)| Reloc { insn: *insn, kind: *kind as i32, index: *index })
                .collect(),
            ..Artefact::default()
        }
    }

    fn filled(insns: &[[u8; INSN_SIZE]], relocs: &[(u32, RelocKind, u32)]) -> Result<Vec<u8>, &'static str> {
        let values = Values {
            shared: &[(SharedMap::Active, 31)],
            private: &[40, 41],
            program: 7,
            slot: 3,
            policies: &[5],
            bits: &[ProcessBit::new(130)],
        };
        relocate(&artefact(insns, relocs), &values)
    }

    #[test]
    fn each_kind_fills_its_place() {
        let [wide, wide_end] = [insn(LD_IMM64, 2, 0, 0, 0), insn(0, 0, 0, 0, 0)];
        let [a, b] = load_map(1, 0);
        let insns =
            [a, b, a, b, mov_imm(1, 0), mov_imm(1, 0), mov_imm(1, 0), add_imm(1, 0), wide, wide_end, exit()];
        let relocs = [
            (0, RelocKind::SharedMap, SharedMap::Active as u32),
            (2, RelocKind::PrivateMap, 1),
            (4, RelocKind::ProgramId, 0),
            (5, RelocKind::ActiveSlot, 0),
            (6, RelocKind::PolicyCounters, 0),
            (7, RelocKind::ProcessSetOffset, 0),
            (8, RelocKind::ProcessSetMask, 0),
        ];
        let [a31, _] = load_map(1, 31);
        let [a41, _] = load_map(1, 41);
        let wide = insn(LD_IMM64, 2, 0, 0, 1 << 2);
        let expected = [
            a31,
            b,
            a41,
            b,
            mov_imm(1, 7),
            mov_imm(1, 3),
            mov_imm(1, 5),
            add_imm(1, 16),
            wide,
            wide_end,
            exit(),
        ];
        assert_eq!(filled(&insns, &relocs), Ok(expected.concat()));
    }

    #[test]
    fn a_place_that_cannot_be_filled_is_an_error() {
        let [a, b] = load_map(1, 0);
        for (insns, reloc) in [
            (&[mov_imm(0, 0)][..], (0, RelocKind::SharedMap, SharedMap::Active as u32)),
            (&[a, b], (0, RelocKind::SharedMap, SharedMap::Events as u32)),
            (&[a, b], (0, RelocKind::SharedMap, 99)),
            (&[a, b], (0, RelocKind::PrivateMap, 2)),
            (&[a, b], (2, RelocKind::ProgramId, 0)),
            (&[a, b], (u32::MAX, RelocKind::ProgramId, 0)),
            (&[a, b], (0, RelocKind::PolicyCounters, 1)),
            (&[a, b], (0, RelocKind::ProcessSetOffset, 1)),
            (&[mov_imm(0, 0)], (0, RelocKind::ProcessSetMask, 0)),
            (&[a], (0, RelocKind::ProcessSetMask, 0)),
            (&[a, b], (0, RelocKind::Unspecified, 0)),
        ] {
            assert!(filled(insns, &[reloc]).is_err(), "{reloc:?}");
        }
    }
}
