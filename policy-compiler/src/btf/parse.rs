//! In: raw bytes. Out: a [`Btf`] whose every type lies inside the type section and names a valid string.

use super::{Btf, BtfError, Kind, TypeId};

const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_type`.
const TYPE_LEN: usize = 12;
/// `BTF_MAX_TYPE` and `BTF_MAX_NAME_OFFSET`, include/uapi/linux/btf.h: real kernels have some 150,000 types.
const MAX_TYPES: usize = 0x000f_ffff;
const MAX_STRINGS: usize = 0x00ff_ffff;

impl Kind {
    pub(super) fn from_bits(bits: u32) -> Option<Kind> {
        use Kind::*;
        const ALL: [Kind; 20] = [
            Void, Int, Ptr, Array, Struct, Union, Enum, Fwd, Typedef, Volatile, Const, Restrict, Func,
            FuncProto, Var, DataSec, Float, DeclTag, TypeTag, Enum64,
        ];
        ALL.get(bits as usize).copied()
    }

    /// Bytes that follow `struct btf_type` for `vlen` members.
    fn trailer(self, vlen: usize) -> usize {
        match self {
            Kind::Int | Kind::Var | Kind::DeclTag => 4,
            Kind::Array => 12,
            Kind::Struct | Kind::Union | Kind::DataSec | Kind::Enum64 => 12 * vlen,
            Kind::Enum | Kind::FuncProto => 8 * vlen,
            _ => 0,
        }
    }
}

impl Btf {
    /// Checks the structure of `bytes` and builds the indices.
    ///
    /// # Errors
    /// The first malformed place. Only little-endian BTF of version 1 is read.
    pub fn parse(bytes: Vec<u8>) -> Result<Btf, BtfError> {
        let header = |what| BtfError { offset: 0, what };
        let word = |at: usize| read_u32(&bytes, at).map(|v| v as usize).ok_or(header("the header is cut"));
        let magic = bytes.get(..2).map(|m| u16::from_le_bytes([m[0], m[1]]));
        if magic != Some(MAGIC) {
            return Err(header("the magic number is missing"));
        }
        let (hdr_len, type_off, type_len) = (word(4)?, word(8)?, word(12)?);
        let (str_off, str_len) = (word(16)?, word(20)?);
        let section = |off: usize, len: usize| {
            let start = hdr_len.checked_add(off)?;
            let end = start.checked_add(len)?;
            (end <= bytes.len()).then_some((start, end))
        };
        let (type_start, type_end) = section(type_off, type_len).ok_or(header("the type section is cut"))?;
        let (str_start, _) = section(str_off, str_len).ok_or(header("the string section is cut"))?;
        if str_len > MAX_STRINGS {
            return Err(header("the string section is larger than 16 MiB"));
        }
        let mut btf = Btf { bytes, types: vec![0], strings: (str_start, str_len), names: Vec::new() };
        btf.index(type_start, type_end)?;
        Ok(btf)
    }

    fn index(&mut self, start: usize, end: usize) -> Result<(), BtfError> {
        let mut at = start;
        while at < end {
            let fail = |what| BtfError { offset: at - start, what };
            let info = read_u32(&self.bytes, at + 4).ok_or(fail("a type is cut"))?;
            let kind = Kind::from_bits((info >> 24) & 0x1f).ok_or(fail("unknown kind of type"))?;
            let len = TYPE_LEN + kind.trailer((info & 0xffff) as usize);
            if at + len > end {
                return Err(fail("a type is cut"));
            }
            if self.types.len() > MAX_TYPES {
                return Err(fail("more than a million types"));
            }
            self.types.push(u32::try_from(at).map_err(|_| fail("larger than 4 GiB"))?);
            at += len;
        }
        self.index_names();
        Ok(())
    }

    /// Sorted by kind and name, not by a hash of it: that a million names have the same hash can be arranged.
    fn index_names(&mut self) {
        let ids = (1..self.types.len() as u32).map(TypeId);
        let mut names: Vec<(Kind, &str, TypeId)> = ids
            .map(|id| (self.kind(id), self.name(id), id))
            .filter(|(kind, name, _)| {
                let named =
                    matches!(kind, Kind::Struct | Kind::Union | Kind::Func | Kind::Typedef | Kind::Enum);
                named && !name.is_empty()
            })
            .collect();
        names.sort_unstable();
        self.names = names.into_iter().map(|(_, _, id)| id).collect();
    }
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}
