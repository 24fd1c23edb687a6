//! Input: the name of an operation and how often to do it.
//! Output: CPU time per operation in nanoseconds, which are instructions where QEMU counts them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Odd, so that there is a median.
const ROUNDS: usize = 3;

/// Bytes of one read or write.
const BYTES: usize = 64;

/// Below the prefix that the benchmark's policies watch.
const MATCHING: &str = "/etc/bench-file";

/// Where the CPU time of this process and its children is added up.
const GROUP: &str = "/sys/fs/cgroup/workload";

/// One operation with what it needs.
enum Operation {
    /// pread(2) of an open file.
    Read(File),
    /// write(2) to /dev/null.
    Write(File),
    Getpid,
    /// connect(2) to a listener of our own, with the accept and both closes.
    Connect(TcpListener, SocketAddr),
    /// A subshell: fork, exit, wait.
    Fork,
    /// spawn (vfork), exec, exit, wait of a program.
    Exec(&'static str, &'static [&'static str]),
}

impl Operation {
    fn new(name: &str) -> io::Result<Option<Self>> {
        Ok(Some(match name {
            "read-other" => Operation::Read(File::open("/usr/share/bench/file")?),
            "read-mount" => Operation::Read(File::open("/tmp/bench-file")?),
            "read-match" => Operation::Read(File::open(MATCHING)?),
            "write" => Operation::Write(File::options().write(true).open("/dev/null")?),
            "getpid" => Operation::Getpid,
            "connect" => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let address = listener.local_addr()?;
                Operation::Connect(listener, address)
            }
            "fork" => Operation::Fork,
            "exec-static" => Operation::Exec("/usr/bin/workload", &["nothing"]),
            _ => return Ok(None),
        }))
    }

    fn has_children(&self) -> bool {
        matches!(self, Operation::Fork | Operation::Exec(..))
    }

    /// CPU time of `count` operations.
    fn round(&self, count: u32) -> io::Result<Duration> {
        if let Operation::Fork = self {
            return forks(count);
        }
        let clock = if self.has_children() { family_time } else { own_time };
        let before = clock()?;
        for _ in 0..count {
            self.once()?;
        }
        Ok(clock()?.saturating_sub(before))
    }

    fn once(&self) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        match self {
            Operation::Read(file) => file.read_at(&mut bytes, 0).map(drop),
            Operation::Write(file) => (&*file).write(&bytes).map(drop),
            Operation::Getpid => {
                let _pid = rustix::process::getpid();
                Ok(())
            }
            Operation::Connect(listener, address) => {
                let near = TcpStream::connect(address)?;
                let (mut far, _) = listener.accept()?;
                // The far end closes last, so that the near one's port is free at once.
                drop(near);
                far.read(&mut bytes).map(drop)
            }
            Operation::Exec(program, arguments) => {
                let status = Command::new(program).args(*arguments).stdin(Stdio::null()).status()?;
                if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program}: {status}"))) }
            }
            Operation::Fork => Ok(()),
        }
    }
}

/// A shell that forks `count` times, less the same shell that does not.
fn forks(count: u32) -> io::Result<Duration> {
    let shell = |body: &str| -> io::Result<Duration> {
        let script = format!("i=0; while [ $i -lt {count} ]; do {body}; i=$((i+1)); done");
        let before = family_time()?;
        let status = Command::new("/usr/bin/busybox").args(["sh", "-c", &script]).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("the shell that forks: {status}")));
        }
        Ok(family_time()?.saturating_sub(before))
    };
    let without = shell(":")?;
    Ok(shell("(:)")?.saturating_sub(without))
}

/// CPU time of this process.
fn own_time() -> io::Result<Duration> {
    let own = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(own.tv_sec.unsigned_abs(), u32::try_from(own.tv_nsec).map_err(io::Error::other)?))
}

/// CPU time of this process and of all its children since [`account`]. The kernel brings the figure up to date when
/// a task leaves the CPU.
fn family_time() -> io::Result<Duration> {
    rustix::thread::sched_yield();
    let text = fs::read_to_string(Path::new(GROUP).join("cpu.stat"))?;
    let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
    used.map(Duration::from_micros)
        .ok_or_else(|| io::Error::other(format!("{GROUP}/cpu.stat: no usage_usec")))
}

/// Moves this process into a group of its own: what is used there is its children's and its own.
fn account() -> io::Result<()> {
    fs::create_dir_all(GROUP)?;
    fs::write(Path::new(GROUP).join("cgroup.procs"), "0")
}

/// Instructions of one operation.
pub fn measure(name: &str, count: u32) -> Result<u64, String> {
    let failed = |error| format!("{name}: {error}");
    let operation = Operation::new(name).map_err(failed)?.ok_or_else(|| format!("no operation {name}"))?;
    if operation.has_children() {
        account().map_err(failed)?;
    }
    // Caches, page tables and the like.
    operation.round(count.div_ceil(4)).map_err(failed)?;
    let mut rounds = [0u64; ROUNDS];
    for round in &mut rounds {
        let spent = operation.round(count).map_err(failed)?.as_nanos() / u128::from(count);
        *round = u64::try_from(spent).map_err(|error| format!("{name}: {error}"))?;
    }
    rounds.sort_unstable();
    Ok(rounds[ROUNDS / 2])
}

/// `count` reads of a file that the policies match.
pub fn matching_reads(count: u32) -> io::Result<()> {
    let file = File::open(MATCHING)?;
    (0..count).try_for_each(|_| file.read_at(&mut [0; BYTES], 0).map(drop))
}
