//! In: the bytes of the kernel's BTF. Out: ids of functions and typedefs by name, which trial programs attach to.
//!
//! The compiler has the full reader; the agent needs to look up a dozen names, once.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;

/// Ids of functions and typedefs.
#[derive(Debug, Default)]
pub struct Names<'a> {
    functions: HashMap<&'a [u8], u32>,
    typedefs: HashMap<&'a [u8], u32>,
}

impl<'a> Names<'a> {
    /// Walks all types once.
    pub fn read(btf: &'a [u8]) -> Result<Names<'a>, &'static str> {
        let header = btf.first_chunk::<24>().ok_or("it is shorter than its header")?;
        if u16::from_ne_bytes([header[0], header[1]]) != MAGIC {
            return Err("it does not start with the magic number");
        }
        let word = |at: usize| read_u32(btf, at).map(|word| word as usize).ok_or("its header is cut off");
        let (header_len, type_off, type_len) = (word(4)?, word(8)?, word(12)?);
        let (str_off, str_len) = (word(16)?, word(20)?);
        let section = |off: usize, len: usize| {
            let start = header_len.checked_add(off)?;
            btf.get(start..start.checked_add(len)?)
        };
        let types = section(type_off, type_len).ok_or("its types are cut off")?;
        let strings = section(str_off, str_len).ok_or("its strings are cut off")?;
        let mut names = Names::default();
        names.walk(types, strings).ok_or("a type is cut off or of an unknown kind")?;
        Ok(names)
    }

    fn walk(&mut self, types: &'a [u8], strings: &'a [u8]) -> Option<()> {
        let (mut at, mut id) = (0, 1);
        while at < types.len() {
            let name_off = read_u32(types, at)? as usize;
            let info = read_u32(types, at.checked_add(4)?)?;
            let kind = info >> 24 & 0x1f;
            match kind {
                KIND_FUNC => drop(self.functions.insert(string(strings, name_off)?, id)),
                KIND_TYPEDEF => drop(self.typedefs.insert(string(strings, name_off)?, id)),
                _ => {}
            }
            at = at.checked_add(12)?.checked_add(trailer(kind, (info & 0xffff) as usize)?)?;
            id += 1;
        }
        Some(())
    }

    /// Id of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions.get(name.as_bytes()).copied()
    }

    /// Id of a typedef.
    pub fn typedef(&self, name: &str) -> Option<u32> {
        self.typedefs.get(name.as_bytes()).copied()
    }
}

/// Bytes behind a type's common 12, by `enum` BTF_KIND_* of include/uapi/linux/btf.h.
fn trailer(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        // pointer, forward, typedef, volatile, const, restrict, function, float, type tag
        2 | 7..=12 | 16 | 18 => 0,
        // integer, variable, declaration tag
        1 | 14 | 17 => 4,
        // array
        3 => 12,
        // struct, union, data section, 64-bit enum
        4 | 5 | 15 | 19 => members.checked_mul(12)?,
        // enum, function prototype
        6 | 13 => members.checked_mul(8)?,
        _ => return None,
    })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

fn string(strings: &[u8], at: usize) -> Option<&[u8]> {
    strings.get(at..)?.split(|byte| *byte == 0).next()
}

#[cfg(test)]
pub mod fixture {
    //! In: names. Out: a BTF that holds just them.

    use super::*;

    /// Functions first, then typedefs; ids count from 1.
    pub fn btf(functions: &[&str], typedefs: &[&str]) -> Vec<u8> {
        let mut types = Vec::new();
        let mut strings = vec![0];
        let kinds = functions
            .iter()
            .map(|name| (name, KIND_FUNC))
            .chain(typedefs.iter().map(|name| (name, KIND_TYPEDEF)));
        for (name, kind) in kinds {
            types.extend([strings.len() as u32, kind << 24, 0].map(u32::to_ne_bytes).concat());
            strings.extend(name.bytes().chain([0]));
        }
        let lens =
            [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32].map(u32::to_ne_bytes);
        [&MAGIC.to_ne_bytes()[..], &[1, 0], &lens.concat(), &types, &strings].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_kind() {
        let btf = fixture::btf(&["security_syslog", "x"], &["x", "btf_trace_sys_enter"]);
        let names = Names::read(&btf).unwrap();
        assert_eq!((names.function("security_syslog"), names.function("x")), (Some(1), Some(2)));
        assert_eq!((names.typedef("x"), names.typedef("btf_trace_sys_enter")), (Some(3), Some(4)));
        assert_eq!(names.function("btf_trace_sys_enter"), None);
    }

    #[test]
    fn every_cut_is_an_error_and_not_a_panic() {
        let btf = fixture::btf(&["security_syslog"], &["x"]);
        for len in 0..btf.len() {
            assert!(Names::read(&btf[..len]).is_err(), "{len}");
        }
        let mut unknown = btf.clone();
        unknown[24 + 7] = 31;
        assert!(Names::read(&unknown).is_err());
    }
}
