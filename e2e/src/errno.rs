//! Input: an error of a system call.
//! Output: the errno's name, as in errno(3).

use std::io;

use rustix::io::Errno;

/// The errors that tests provoke.
const NAMES: [(Errno, &str); 16] = [
    (Errno::PERM, "EPERM"),
    (Errno::NOENT, "ENOENT"),
    (Errno::IO, "EIO"),
    (Errno::TOOBIG, "E2BIG"),
    (Errno::NOEXEC, "ENOEXEC"),
    (Errno::BADF, "EBADF"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::ACCESS, "EACCES"),
    (Errno::ISDIR, "EISDIR"),
    (Errno::INVAL, "EINVAL"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::PIPE, "EPIPE"),
    (Errno::CONNREFUSED, "ECONNREFUSED"),
    (Errno::NETUNREACH, "ENETUNREACH"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
];

/// One word for an error: the name, or the number of one that has no name here.
pub fn name(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else { return format!("{:?}", error.kind()) };
    let known = NAMES.iter().find(|(errno, _)| errno.raw_os_error() == number);
    known.map_or_else(|| format!("errno {number}"), |(_, name)| (*name).to_owned())
}
