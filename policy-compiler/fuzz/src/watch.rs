//! In: inputs, one at a time. Out: each in a file for as long as it is judged, so that it is there even if this process
//! dies of it; and an end of the process if that takes too long.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Seconds of this process for one input. Inputs take milliseconds without optimisation; the rest is room for
/// whatever is rare. They are not seconds of a clock, so that a busy machine is no failure.
const SLOWEST: u64 = 10;

/// Bytes of addresses that this process may have: twenty times what it takes. Reading a kernel profile takes 100 MB at
/// most (`api::profile`), and the corpora are bounded where they are made.
const MEMORY: u64 = 1 << 30;

/// Where the input is that is judged, and since when.
pub struct Watch {
    path: PathBuf,
    /// Second of this process in which the present input's turn began.
    since: Arc<AtomicU64>,
}

impl Watch {
    /// Begins to watch this process; `path` is for the input.
    ///
    /// # Errors
    /// The limit on memory cannot be set.
    pub fn start(path: &Path) -> Result<Watch> {
        let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
        setrlimit(Resource::As, limit).context("limiting the memory of the fuzzer")?;
        let watch = Watch { path: path.to_owned(), since: Arc::new(AtomicU64::new(seconds())) };
        let (since, shown) = (Arc::clone(&watch.since), watch.path.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_secs(1));
                if seconds().saturating_sub(since.load(Ordering::Relaxed)) > SLOWEST {
                    eprintln!("fuzz: one input takes more than {SLOWEST} s: {}", shown.display());
                    exit(1);
                }
            }
        });
        Ok(watch)
    }

    /// The next input's turn.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn turn(&self, input: &[u8]) -> Result<()> {
        self.since.store(seconds(), Ordering::Relaxed);
        fs::write(&self.path, input).with_context(|| format!("writing {}", self.path.display()))
    }

    /// No input has failed.
    pub fn end(self) {
        // If it stays, it is an input that does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// Seconds that this process has run on a CPU.
fn seconds() -> u64 {
    u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0)
}
