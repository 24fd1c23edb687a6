//! In: the bytes of the kernel's BTF. Out: its types one after the other; ids of functions and typedefs by name, which trial
//! programs attach to.
//!
//! The compiler has the full reader; the agent needs to look up a dozen names, once.

use std::collections::HashMap;

/// Where the running kernel shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Up to the end of where the strings are; what may follow is not for us.
const HEADER: usize = 24;

/// `BTF_KIND_*` of include/uapi/linux/btf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    /// An integer.
    pub const INT: Kind = Kind(1);
    /// A name for another type.
    pub const TYPEDEF: Kind = Kind(8);
    /// A function.
    pub const FUNC: Kind = Kind(12);
    /// A structure.
    #[cfg(test)]
    pub const STRUCT: Kind = Kind(4);
    /// A union.
    #[cfg(test)]
    pub const UNION: Kind = Kind(5);

    /// Structures, unions, enumerations, and what is declared to be one.
    pub fn is_composite(self) -> bool {
        matches!(self.0, 4..=7 | 19)
    }

    /// Integers, floats, and what leads from one type to another: pointers, arrays, typedefs, qualifiers, type tags.
    pub fn is_chain(self) -> bool {
        matches!(self.0, 1..=3 | 8..=11 | 16 | 18)
    }

    /// Bytes behind a type's common 12; `None` for kinds that are not known.
    fn trailer(self, members: usize) -> Option<usize> {
        Some(match self.0 {
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
}

/// The two parts of a BTF.
#[derive(Debug, Clone, Copy)]
pub struct Sections<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Sections<'a> {
    /// Finds them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(btf: &'a [u8]) -> Result<Sections<'a>, &'static str> {
        let header = btf.first_chunk::<HEADER>().ok_or("it is shorter than its header")?;
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
        Ok(Sections { types, strings })
    }

    /// A BTF with these strings and other types.
    pub fn with_types(&self, types: &[u8]) -> Vec<u8> {
        // Lengths were 32-bit numbers in the header, and types only get fewer bytes.
        let [types_len, strings_len] = [types.len(), self.strings.len()].map(|len| len as u32);
        let words = [HEADER as u32, 0, types_len, types_len, strings_len].map(u32::to_ne_bytes);
        [&MAGIC.to_ne_bytes()[..], &[1, 0], words.as_flattened(), types, self.strings].concat()
    }
}

/// One type.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a> {
    /// What it is.
    pub kind: Kind,
    /// All of it.
    pub bytes: &'a [u8],
    name: usize,
}

impl<'a> Type<'a> {
    /// Its name; empty if it has none. `None` if that lies outside.
    pub fn name(&self, sections: &Sections<'a>) -> Option<&'a [u8]> {
        sections.strings.get(self.name..)?.split(|byte| *byte == 0).next()
    }

    /// The next one, and what follows.
    fn split(types: &'a [u8]) -> Option<(Type<'a>, &'a [u8])> {
        let name = read_u32(types, 0)? as usize;
        let info = read_u32(types, 4)?;
        let kind = Kind((info >> 24 & 0x1f) as u8);
        let len = kind.trailer((info & 0xffff) as usize)?.checked_add(12)?;
        let (bytes, rest) = types.split_at_checked(len)?;
        Some((Type { kind, bytes, name }, rest))
    }
}

/// All types; the first has the id 1.
pub fn types<'a>(sections: &Sections<'a>) -> impl Iterator<Item = Result<Type<'a>, &'static str>> {
    let mut rest = sections.types;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = Type::split(std::mem::take(&mut rest));
        Some(match next {
            Some((found, behind)) => {
                rest = behind;
                Ok(found)
            }
            None => Err("a type is cut off or of an unknown kind"),
        })
    })
}

/// Ids of functions and typedefs.
#[derive(Debug, Default)]
pub struct Names<'a> {
    functions: HashMap<&'a [u8], u32>,
    typedefs: HashMap<&'a [u8], u32>,
}

impl<'a> Names<'a> {
    /// Walks all types once.
    pub fn read(btf: &'a [u8]) -> Result<Names<'a>, &'static str> {
        let sections = Sections::of(btf)?;
        let mut names = Names::default();
        for (id, found) in (1..).zip(types(&sections)) {
            let found = found?;
            let map = match found.kind {
                Kind::FUNC => &mut names.functions,
                Kind::TYPEDEF => &mut names.typedefs,
                _ => continue,
            };
            map.insert(found.name(&sections).ok_or("a name lies outside of its strings")?, id);
        }
        Ok(names)
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

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
pub mod fixture {
    //! In: names. Out: a BTF that holds just them.

    use super::*;

    /// Types in the making.
    #[derive(Default)]
    pub struct Types {
        types: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Types {
        /// Adds a type; the first has the id 1. Members are names and types.
        pub fn add(mut self, name: &str, kind: Kind, members: &[(&str, u32)]) -> Types {
            let head = [self.string(name), u32::from(kind.0) << 24 | members.len() as u32, 0];
            let mut words = head.to_vec();
            for (name, ty) in members {
                words.extend([self.string(name), *ty, 0]);
            }
            if kind == Kind::INT {
                words.push(0);
            }
            self.types.extend(words.into_iter().flat_map(u32::to_ne_bytes));
            self
        }

        fn string(&mut self, text: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if text.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend(text.bytes().chain([0]));
            at
        }

        /// The whole.
        pub fn bytes(self) -> Vec<u8> {
            Sections { types: &[], strings: &self.strings }.with_types(&self.types)
        }
    }

    /// Functions first, then typedefs; ids count from 1.
    pub fn btf(functions: &[&str], typedefs: &[&str]) -> Vec<u8> {
        let of = |names: &[&str], types: Types, kind| {
            names.iter().fold(types, |types, name| types.add(name, kind, &[]))
        };
        of(typedefs, of(functions, Types::default(), Kind::FUNC), Kind::TYPEDEF).bytes()
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
