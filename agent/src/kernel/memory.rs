//! In: the end of a phase that needed much memory, such as reading all of the kernel's types.
//! Out: that memory back to the system.
#![allow(unsafe_code)]

/// Gives free pages back. The allocator of the C library keeps what lies between allocations in use: after a start,
/// that is about 20 MB of types parsed once.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks, and touches only memory that nobody has allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
