//! In: raw bytes. Out: a [`Btf`] whose every type lies inside the type section and names a valid string.

use super::{Btf, BtfError, Kind, TypeId};

const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_type`.
const TYPE_LEN: usize = 12;

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

/// FNV-1a: short names, no need for resistance since a look-up also compares the name.
pub(super) fn name_hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
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
            let id = self.types.len() as u32;
            self.types.push(u32::try_from(at).map_err(|_| fail("larger than 4 GiB"))?);
            if matches!(kind, Kind::Struct | Kind::Union | Kind::Func | Kind::Typedef | Kind::Enum) {
                let name = self.name(TypeId(id));
                if !name.is_empty() {
                    self.names.push((name_hash(name.as_bytes()), id));
                }
            }
            at += len;
        }
        self.names.sort_unstable();
        Ok(())
    }
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}
