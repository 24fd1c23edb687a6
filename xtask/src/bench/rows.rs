//! Input: nothing.
//! Output: the benchmark's rows: what is done with which policies loaded, what is aimed at, what the peer needs.

use super::policies::Set;

/// Something whose cost is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Figure {
    /// Instructions that the policies (and the base programs) add to an operation of the workload.
    Added { operation: &'static str, count: u32 },
    /// Instructions inside the programs per operation, by the kernel's own count. Leaves out what it costs to call
    /// them and to wake ferra, but is exact where operations themselves vary by more than the programs add.
    Inside { operation: &'static str, count: u32 },
    /// Instructions of ferra per JSON line, kernel and user space.
    Event { count: u32 },
    /// Events lost while all the set's operations ran.
    Lost,
    /// Instructions of ferra from its start until all policies are in force.
    Start,
    /// The same, less those without policies, by policy.
    Load,
    /// Kilobytes of kernel memory of all programs and maps.
    KernelMemory,
    /// Kilobytes of the policies' own programs and maps, by policy, as ferra tells.
    PolicyMemory,
    /// Kilobytes resident in the end.
    Resident,
}

/// A line of the table.
#[derive(Clone, Copy)]
pub struct Row {
    /// What the command line selects it by.
    pub name: &'static str,
    pub title: &'static str,
    pub set: Set,
    pub figure: Figure,
    /// At most.
    pub target: Option<u64>,
    /// Of the peer, by the same method.
    pub peer: Option<u64>,
}

const fn added(operation: &'static str, count: u32) -> Figure {
    Figure::Added { operation, count }
}

const fn inside(operation: &'static str, count: u32) -> Figure {
    Figure::Inside { operation, count }
}

const fn row(
    name: &'static str,
    title: &'static str,
    set: Set,
    figure: Figure,
    target: Option<u64>,
    peer: Option<u64>,
) -> Row {
    Row { name, title, set, figure, target, peer }
}

/// All rows. Targets and the peer's figures are those of the first issue and of the design's table, for 6.12.
#[rustfmt::skip] // a table
pub const ROWS: [Row; 32] = [
    row("read", "read, not below the prefix", Set::File(1), added("read-other", 4000), Some(700), Some(13_359)),
    row("read-mount", "read, not below the prefix, another mount", Set::File(1), added("read-mount", 4000), None, None),
    row("read-match", "read, matching (kernel side)", Set::File(1), added("read-match", 4000), Some(3_000), Some(13_085)),
    row("read-10", "read, 10 policies, none matching", Set::File(10), added("read-other", 4000), None, Some(131_000)),
    row("read-50", "read, 50 policies, none matching", Set::File(50), added("read-other", 4000), Some(1_500), Some(652_500)),
    row("read-50-mount", "read, 50 policies, none matching, another mount", Set::File(50), added("read-mount", 4000), None, None),
    row("read-50-match", "read, 50 policies, one matching (kernel side)", Set::File(50), added("read-match", 4000), None, None),
    row("write", "write, rejected by the fd filter", Set::WriteFd, added("write", 4000), Some(300), Some(3_400)),
    row("getpid", "getpid, raw_syscalls filtered by number", Set::RawSyscalls, added("getpid", 8000), Some(250), Some(4_794)),
    row("connect", "connect, egress filter not matching", Set::Connect, added("connect", 1000), Some(400), Some(6_600)),
    row("connect-in", "the same, inside the programs", Set::Connect, inside("connect", 1000), None, None),
    row("connect-match", "connect, matching (kernel side)", Set::ConnectMatching, added("connect", 1000), Some(3_000), Some(19_039)),
    row("connect-match-in", "the same, inside the programs", Set::ConnectMatching, inside("connect", 1000), None, None),
    row("fork", "fork and exit, no policy", Set::Base, added("fork", 300), Some(5_000), Some(15_543)),
    row("fork-in", "the same, inside the programs", Set::Base, inside("fork", 300), None, None),
    row("exec", "spawn of a static program, no policy", Set::Base, added("exec-static", 200), Some(10_000), Some(20_618)),
    row("exec-in", "the same, inside the programs", Set::Base, inside("exec-static", 200), None, None),
    row("exec-file", "spawn of a static program, file policy", Set::File(1), added("exec-static", 200), None, None),
    row("exec-file-in", "the same, inside the programs", Set::File(1), inside("exec-static", 200), None, None),
    row("getpid-base", "getpid, no policy", Set::Base, added("getpid", 8000), Some(0), None),
    row("read-base", "read, no policy", Set::Base, added("read-other", 4000), Some(0), None),
    row("event", "ferra, per JSON event", Set::File(1), Figure::Event { count: 4000 }, Some(15_000), Some(170_000)),
    row("lost", "events lost, matching reads in a tight loop", Set::File(1), Figure::Lost, Some(0), None),
    row("start", "ferra, start to ready, no policy (million)", Set::Base, Figure::Start, Some(500), Some(6_900)),
    row("load", "ferra, load one file policy (million)", Set::File(1), Figure::Load, Some(200), Some(7_000)),
    row("load-50", "ferra, load 50 file policies, each (million)", Set::File(50), Figure::Load, Some(200), None),
    row("memory", "kernel memory, no policy (KiB)", Set::Base, Figure::KernelMemory, Some(4_096), Some(33_200)),
    row("memory-1", "kernel memory, one file policy (KiB)", Set::File(1), Figure::PolicyMemory, Some(64), Some(580)),
    row("memory-50", "kernel memory, 50 file policies, each (KiB)", Set::File(50), Figure::PolicyMemory, Some(64), Some(580)),
    row("rss", "resident memory, no policy (KiB)", Set::Base, Figure::Resident, Some(20_480), Some(97_000)),
    row("rss-10", "resident memory, 10 file policies (KiB)", Set::File(10), Figure::Resident, Some(30_000), None),
    row("rss-50", "resident memory, 50 file policies (KiB)", Set::File(50), Figure::Resident, None, None),
];
