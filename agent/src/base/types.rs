//! In: the kernel's BTF, and the object of the fixed programs. Out: the same types by the same ids, but of those that the
//! object cannot mean only that they are there.
//!
//! Relocating looks through all of the kernel's types for each type of the object, by name, and keeps all their members.
//! Ten structures of ten thousand matter; without the others, that takes a small part of the time and the memory.

use std::collections::HashSet;

use crate::kernel::btf::{Kind, Sections, types};

/// Separates the name of a structure from which version of it is meant (libbpf's "flavours").
const FLAVOUR: &[u8] = b"___";
/// An integer without name, of no size.
const NOTHING: [u32; 4] = [0, (Kind::INT.0 as u32) << 24, 0, 0];

/// Leaves out what `object` cannot mean.
///
/// # Errors
/// What is wrong with the BTF.
pub fn thin(btf: &[u8], object: &[u8]) -> Result<Vec<u8>, &'static str> {
    let sections = Sections::of(btf)?;
    let meant = names(object);
    // At once: what grows step by step leaves holes in the heap.
    let mut kept = Vec::with_capacity(btf.len());
    for found in types(&sections) {
        let found = found?;
        let name = || found.name(&sections).unwrap_or_default();
        let is_meant = || name().is_empty() || meant.contains(name());
        if found.kind.is_chain() || found.kind.is_composite() && is_meant() {
            kept.extend_from_slice(found.bytes);
        } else {
            kept.extend(NOTHING.map(u32::to_ne_bytes).as_flattened());
        }
    }
    Ok(sections.with_types(&kept))
}

/// All that can be a name in an object file: what lies between zeros.
fn names(object: &[u8]) -> HashSet<&[u8]> {
    let texts = object.split(|byte| *byte == 0).filter(|text| !text.is_empty() && text.len() < 256);
    texts
        .flat_map(|text| {
            let plain = text.windows(FLAVOUR.len()).position(|window| window == FLAVOUR);
            [Some(text), plain.and_then(|end| text.get(..end))]
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::Names;
    use crate::kernel::btf::fixture::Types;

    #[test]
    fn ids_stay_and_what_is_not_meant_goes() {
        let btf = Types::default()
            .add("kept", Kind::STRUCT, &[("a", 2), ("b", 2)])
            .add("int", Kind::INT, &[])
            .add("dropped", Kind::STRUCT, &[("a", 2)])
            .add("", Kind::UNION, &[("a", 2)])
            .add("function", Kind::FUNC, &[])
            .add("btf_trace_x", Kind::TYPEDEF, &[])
            .add("typedef", Kind::TYPEDEF, &[])
            .add("both", Kind::UNION, &[("a", 2)])
            .bytes();
        let thin = thin(&btf, b"\x7fELF\0kept\0other\0both___old\0").unwrap();
        assert!(thin.len() < btf.len());
        let (old, new) = (Sections::of(&btf).unwrap(), Sections::of(&thin).unwrap());
        let list = |sections| types(sections).map(|found| found.unwrap().bytes.to_vec()).collect::<Vec<_>>();
        let (old, new) = (list(&old), list(&new));
        assert_eq!(old.len(), new.len());
        let same: Vec<bool> = old.iter().zip(&new).map(|(old, new)| old == new).collect();
        assert_eq!(same, [true, true, false, true, false, true, true, true]);
        let names = Names::read(&thin).unwrap();
        assert_eq!((names.typedef("btf_trace_x"), names.function("function")), (Some(6), None));
    }

    #[test]
    fn every_cut_is_an_error_and_not_a_panic() {
        let btf = Types::default().add("kept", Kind::STRUCT, &[("a", 1)]).bytes();
        for len in 0..btf.len() {
            assert!(thin(&btf[..len], b"").is_err(), "{len}");
        }
    }
}
