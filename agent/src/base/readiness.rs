//! In: what is asked of the kernel. Out: an error now, where it is cheap to explain, rather than a bare errno later.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::system::uname;

use super::{BaseError, BaseOptions};

/// Makes ready for loading: checks sizes, lifts the limit that kernels before 5.11 charge maps to.
pub(super) fn check(options: &BaseOptions) -> Result<(), BaseError> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    if !options.ring_bytes.is_power_of_two() || options.ring_bytes < page {
        return Err(BaseError::RingSize { bytes: options.ring_bytes, page });
    }
    // A failure is no reason to stop: newer kernels do not look at the limit, older ones then refuse the maps,
    // which is reported.
    let _ = lift_memlock();
    Ok(())
}

/// Whether a task can be preempted inside of a tracepoint's program: from Linux 7.0 on, if the kernel is preemptible, which
/// many can be made at boot.
pub(super) fn tracepoints_are_preemptible() -> bool {
    preemptible_in(&uname().release().to_string_lossy())
}

/// A release that is none of Linux's is taken for a new one.
fn preemptible_in(release: &str) -> bool {
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.is_none_or(|major| major >= 7)
}

fn lift_memlock() -> io::Result<()> {
    let unlimited = Rlimit { current: None, maximum: None };
    if getrlimit(Resource::Memlock) == unlimited {
        return Ok(());
    }
    Ok(setrlimit(Resource::Memlock, unlimited)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracepoints_are_preemptible_from_7_0_on() {
        for (release, expected) in [
            ("5.10.0-41-amd64", false),
            ("6.19.3", false),
            ("7.0.1-rt2", true),
            ("10.1.0", true),
            ("next", true),
        ] {
            assert_eq!(preemptible_in(release), expected, "{release}");
        }
    }

    #[test]
    fn ring_sizes_are_checked_before_the_kernel_is_asked() {
        for ring_bytes in [0, 1, 4095, 12_288] {
            let options = BaseOptions { ring_bytes, ..BaseOptions::default() };
            assert!(matches!(check(&options), Err(BaseError::RingSize { bytes, .. }) if bytes == ring_bytes));
        }
        assert!(check(&BaseOptions::default()).is_ok());
    }
}
