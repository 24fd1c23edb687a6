//! In: errno of a failed system call. Out: one value that shows its name and its meaning.

/// An errno as the kernel gave it, always positive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// Operation not permitted.
    pub const EPERM: Errno = Errno(libc::EPERM);
    /// No such entry.
    pub const ENOENT: Errno = Errno(libc::ENOENT);
    /// Invalid argument.
    pub const EINVAL: Errno = Errno(libc::EINVAL);
    /// No space: a map is full, or a log buffer too small.
    pub const ENOSPC: Errno = Errno(libc::ENOSPC);
    /// Not enough memory.
    pub const ENOMEM: Errno = Errno(libc::ENOMEM);
    /// Not supported, as user space knows it.
    pub const EOPNOTSUPP: Errno = Errno(libc::EOPNOTSUPP);
    /// The kernel's own "not supported", which has no name in user space.
    pub const ENOTSUPP: Errno = Errno(524);

    /// Of the system call that just failed in this thread.
    pub fn last() -> Errno {
        std::io::Error::last_os_error().into()
    }

    /// The symbolic name, if it is one that bpf(2) or perf_event_open(2) are known to give.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::E2BIG => "E2BIG",
            libc::EBADF => "EBADF",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::ENODEV => "ENODEV",
            libc::EINVAL => "EINVAL",
            libc::EMFILE => "EMFILE",
            libc::ENOSPC => "ENOSPC",
            libc::ENOSYS => "ENOSYS",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
            524 => "ENOTSUPP",
            _ => return None,
        })
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Errno {
        // An error without a number was made in this process, so only by a wrong argument.
        Errno(error.raw_os_error().unwrap_or(libc::EINVAL))
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let meaning = text.split(" (os error").next().unwrap_or(&text);
        match self.name() {
            Some(name) if self.0 == 524 => write!(f, "{name} (not supported by this kernel)"),
            Some(name) => write!(f, "{name} ({meaning})"),
            None => write!(f, "errno {} ({meaning})", self.0),
        }
    }
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_meaning_are_shown() {
        assert_eq!(Errno::EPERM.to_string(), "EPERM (Operation not permitted)");
        assert_eq!(Errno::ENOTSUPP.to_string(), "ENOTSUPP (not supported by this kernel)");
        assert_eq!(Errno(libc::EXDEV).to_string(), "errno 18 (Invalid cross-device link)");
    }
}
