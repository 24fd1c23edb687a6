//! Input: the process id of a running `ferra`, through /proc.
//! Output: what it has used: instructions, the kernel's memory, its own memory.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::operations;

/// Longest wait for the last event of a burst.
const PATIENCE: Duration = Duration::from_secs(60);

/// CPU time of all threads, in nanoseconds: instructions where QEMU counts them.
pub fn cpu(pid: &str) -> Result<u64, String> {
    let tasks = Path::new("/proc").join(pid).join("task");
    let failed = |error| format!("{}: {error}", tasks.display());
    let mut sum = 0;
    for task in fs::read_dir(&tasks).map_err(failed)? {
        let path = task.map_err(failed)?.path().join("schedstat");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let ran: Option<u64> = text.split_whitespace().next().and_then(|word| word.parse().ok());
        sum += ran.ok_or_else(|| format!("{}: no run time in {text:?}", path.display()))?;
    }
    Ok(sum)
}

/// Instructions per line that a burst of matching reads adds to `file`.
pub fn per_event(pid: &str, file: &str, reads: u32) -> Result<u64, String> {
    let failed = |error: io::Error| format!("{file}: {error}");
    let before = (cpu(pid)?, lines(file).map_err(failed)?);
    operations::matching_reads(reads).map_err(|error| format!("reading: {error}"))?;
    let started = Instant::now();
    let wanted = before.1 + u64::from(reads);
    loop {
        let now = lines(file).map_err(failed)?;
        if now >= wanted {
            return Ok((cpu(pid)? - before.0) / (now - before.1));
        }
        if started.elapsed() > PATIENCE {
            return Err(format!("{reads} reads gave {} events within {PATIENCE:?}", now - before.1));
        }
        sleep(Duration::from_millis(20));
    }
}

fn lines(file: &str) -> io::Result<u64> {
    let mut file = fs::File::open(file)?;
    let mut bytes = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(lines),
            read => lines += bytes.iter().take(read).filter(|byte| **byte == b'\n').count() as u64,
        }
    }
}

/// Bytes as the kernel accounts them.
#[derive(Default)]
pub struct KernelMemory {
    programs: u64,
    maps: u64,
}

impl fmt::Display for KernelMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.programs + self.maps, self.programs, self.maps)
    }
}

/// Of all eBPF objects that the process has open, each once.
pub fn kernel_memory(pid: &str) -> Result<KernelMemory, String> {
    let mut objects = BTreeMap::new();
    for text in descriptors(pid)? {
        let Some(bytes) = field(&text, "memlock:") else { continue };
        if let Some(id) = field(&text, "map_id:") {
            objects.insert((false, id), bytes);
        } else if let Some(id) = field(&text, "prog_id:") {
            objects.insert((true, id), bytes);
        }
    }
    let mut memory = KernelMemory::default();
    for ((program, _), bytes) in objects {
        *(if program { &mut memory.programs } else { &mut memory.maps }) += bytes;
    }
    Ok(memory)
}

/// Nanoseconds that all eBPF programs which the process has open have run since the kernel was told to count
/// (`kernel.bpf_stats_enabled`): instructions where QEMU counts them.
pub fn program_time(pid: &str) -> Result<u64, String> {
    let mut spent = BTreeMap::new();
    for text in descriptors(pid)? {
        // Links name their program, too.
        if let (Some(id), Some(time)) = (field(&text, "prog_id:"), field(&text, "run_time_ns:")) {
            spent.insert(id, time);
        }
    }
    Ok(spent.values().sum())
}

/// What the kernel tells of each open file of a process.
fn descriptors(pid: &str) -> Result<Vec<String>, String> {
    let folder: PathBuf = Path::new("/proc").join(pid).join("fdinfo");
    let failed = |error| format!("{}: {error}", folder.display());
    let mut texts = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        // One may be closed meanwhile.
        texts.extend(fs::read_to_string(entry.map_err(failed)?.path()));
    }
    Ok(texts)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// `VmRSS VmHWM` in KiB.
pub fn resident(pid: &str) -> Result<String, String> {
    let path = Path::new("/proc").join(pid).join("status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
    match (field("VmRSS:"), field("VmHWM:")) {
        (Some(now), Some(most)) => Ok(format!("{now} {most}")),
        _ => Err(format!("{}: no VmRSS and VmHWM", path.display())),
    }
}
