//! In: a moment. Out: it is long enough ago that calls which had begun before have left the programs attached then.
//!
//! Two things keep a call at old programs: being between them on a CPU, which a grace period of RCU ends; and, on
//! preemptible kernels, having been preempted there, in a trampoline, which only a grace period of RCU tasks does (each
//! task has given up its CPU by itself, or has been in user space). No system call asks for the latter, but the kernel
//! waits for one when the last program leaves a trampoline (`ftrace_shutdown`, kernel/trace/ftrace.c, if built with
//! CONFIG_PREEMPTION), before the descriptor of its link is closed. So one is attached and detached, where nobody passes.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use api::artefact::Flavour;
use rustix::thread::{MembarrierCommand, membarrier};

use super::Kernel;
use super::btf::{Names, VMLINUX};
use super::trivial::attach_and_detach;

/// Instead of a grace period of RCU, where none can be asked for: they last some 10 ms.
const GRACE: Duration = Duration::from_millis(200);

/// Called by nothing but tests of the kernel's BPF (net/bpf/test_run.c, Linux 5.5).
const FUNCTION: &str = "bpf_fentry_test1";

/// Waits for both.
pub fn wait(kernel: &impl Kernel) {
    // `synchronize_rcu`, kernel/sched/membarrier.c. Refused on hosts with `nohz_full`: there, time has to do.
    if membarrier(MembarrierCommand::Global).is_err() {
        std::thread::sleep(GRACE);
    }
    // A kernel that does not take the program has no trampolines either.
    if let Some(function) = function() {
        attach_and_detach(kernel, Flavour::Fentry, function, "");
    }
}

fn function() -> Option<u32> {
    static FOUND: OnceLock<Option<u32>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let btf = fs::read(VMLINUX).ok()?;
        Names::read(&btf).ok()?.function(FUNCTION)
    })
}
