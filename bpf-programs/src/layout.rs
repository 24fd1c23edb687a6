//! In: `c/records.h`, which this mirrors. Out: typed views of records and map values for the agent.
//!
//! Both sides assert the sizes, and `tests/layout.rs` compares every member's offset with what the C compiler makes of
//! it.

use std::mem::size_of;

mod records;

pub use records::*;

/// A structure of `records.h`: made of integers only, without padding, so that any bytes are a valid value.
///
/// # Safety
/// Implementors are `repr(C)`, all their bytes belong to integer members, and none is a pointer.
pub unsafe trait Plain: Copy {}

// SAFETY: integers have no invalid bytes and no padding.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: an array has no padding between its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// The value at the start of `bytes`, and the bytes after it; `None` if there are too few.
pub fn take<T: Plain>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: `head` has the size of T, the read needs no alignment, and any bytes are a valid T (Plain).
    let value = unsafe { head.as_ptr().cast::<T>().read_unaligned() };
    Some((value, rest))
}

/// The bytes of `value`, as the kernel reads them.
pub fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: a Plain value has no padding, so all its bytes are initialised; the slice borrows it.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_bytes_give_nothing() {
        let record = RecordHeader { kind: 3, flags: 1, len: 48, time: 7 };
        let bytes = bytes_of(&record);
        assert_eq!(bytes.len(), 16);
        assert!(take::<RecordHeader>(&bytes[..15]).is_none());
        let (read, rest) = take::<RecordHeader>(bytes).unwrap();
        assert_eq!((read.kind, read.flags, read.len, read.time), (3, 1, 48, 7));
        assert!(rest.is_empty());
    }

    #[test]
    fn record_kinds_round_trip() {
        for kind in RecordKind::ALL {
            assert_eq!(RecordKind::from_number(kind as u16), Some(kind));
        }
        assert_eq!(RecordKind::from_number(0), None);
        assert_eq!(RecordKind::from_number(6), None);
    }
}
