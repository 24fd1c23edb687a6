//! In: `/proc/self/fdinfo/FD` of a BPF object. Out: numbers that only that file tells on every kernel.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::Errno;

/// Kernel memory of a map or program, bytes. Kernels from 6.4 count what a map really uses; older ones estimate.
pub fn memlock(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    field(&text, "memlock").ok_or(Errno::ENOENT)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name)?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "pos:\t0\nxmemlock:\t1\nmemlock:\t4096\n";
        assert_eq!(field(text, "memlock"), Some(4096));
        assert_eq!(field(text, "lock"), None);
        assert_eq!(field("memlock:\tmany\n", "memlock"), None);
    }
}
