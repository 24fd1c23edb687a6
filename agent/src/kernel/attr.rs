//! In: fields of one bpf(2) command by their offsets in `union bpf_attr`. Out: the system call.
//!
//! Offsets are ABI (include/uapi/linux/bpf.h): fields are only ever added behind. The size that is passed ends at the
//! last field that was set, so that older kernels, which refuse sizes they do not know, see a command that they do.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd};

use super::Errno;

/// Commands of bpf(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgTestRun = 10,
    ObjectInfo = 15,
    RawTracepointOpen = 17,
    MapUpdateBatch = 26,
    LinkCreate = 28,
}

/// Bytes of the longest command used here (program load, up to `attach_btf_id`).
const CAPACITY: usize = 120;

/// One command's argument. Holds the borrows of the buffers whose addresses it contains.
#[repr(C, align(8))]
pub struct Attr<'a> {
    bytes: [u8; CAPACITY],
    len: usize,
    buffers: PhantomData<&'a mut [u8]>,
}

impl<'a> Attr<'a> {
    pub fn new() -> Attr<'a> {
        Attr { bytes: [0; CAPACITY], len: 0, buffers: PhantomData }
    }

    /// Sets a 32-bit field.
    pub fn u32(self, offset: usize, value: u32) -> Self {
        self.put(offset, &value.to_ne_bytes())
    }

    /// Sets a 64-bit field.
    pub fn u64(self, offset: usize, value: u64) -> Self {
        self.put(offset, &value.to_ne_bytes())
    }

    /// Sets the address of a buffer that the kernel reads.
    pub fn input(self, offset: usize, buffer: &'a [u8]) -> Self {
        self.u64(offset, buffer.as_ptr() as u64)
    }

    /// Sets the address of a buffer that the kernel writes.
    pub fn output(self, offset: usize, buffer: &'a mut [u8]) -> Self {
        self.u64(offset, buffer.as_mut_ptr() as u64)
    }

    /// Sets an object name: 16 bytes with a closing zero, other characters than the kernel allows become `_`.
    pub fn name(self, offset: usize, name: &str) -> Self {
        let mut field = [0; 16];
        for (to, from) in field.iter_mut().take(15).zip(name.bytes()) {
            *to = if from.is_ascii_alphanumeric() || from == b'.' { from } else { b'_' };
        }
        self.put(offset, &field)
    }

    /// Reads a 32-bit field back, after the call.
    pub fn read_u32(&self, offset: usize) -> u32 {
        let field = self.bytes.get(offset..).and_then(|rest| rest.first_chunk::<4>());
        field.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    fn put(mut self, offset: usize, field: &[u8]) -> Self {
        let end = offset + field.len();
        debug_assert!(end <= CAPACITY);
        if let Some(place) = self.bytes.get_mut(offset..end) {
            place.copy_from_slice(field);
            self.len = self.len.max(end);
        }
        self
    }

    /// Runs the command.
    ///
    /// # Safety
    /// For each buffer, the kernel must touch no more bytes than the buffer has: the size fields of this command, and
    /// the sizes of the map that it names, agree with the buffers set.
    pub unsafe fn call(&mut self, command: Command) -> Result<i32, Errno> {
        // The kernel rounds nothing: a size between two fields would cut the last.
        let size = self.len.next_multiple_of(8).min(CAPACITY);
        // SAFETY: `bytes` is valid for `size` bytes; the buffers in it are borrowed by `self` and large enough (caller).
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, self.bytes.as_mut_ptr(), size) };
        if result < 0 { Err(Errno::last()) } else { Ok(i32::try_from(result).unwrap_or(0)) }
    }

    /// Runs a command that opens an object.
    ///
    /// # Safety
    /// As [`Attr::call`]; and `command` gives a new file descriptor.
    pub unsafe fn open(&mut self, command: Command) -> Result<OwnedFd, Errno> {
        // SAFETY: the caller keeps the rules of `call`.
        let fd = unsafe { self.call(command) }?;
        // SAFETY: the kernel has just opened `fd` for us, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_ends_at_the_last_field() {
        let attr = Attr::new().u32(4, 7).u32(16, 9);
        assert_eq!((attr.len, attr.read_u32(4), attr.read_u32(8)), (20, 7, 0));
    }

    #[test]
    fn a_name_is_cut_and_cleaned() {
        let attr = Attr::new().name(0, "security_file_permission");
        assert_eq!(attr.bytes.get(..17), Some(&b"security_file_p\0\0"[..]));
        let attr = Attr::new().name(0, "raw/sys-enter");
        assert_eq!(attr.bytes.get(..14), Some(&b"raw_sys_enter\0"[..]));
    }
}
