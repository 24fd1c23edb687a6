//! Input: what the guests' runners print: marker lines, and between them what cases print.
//! Output: one line for each case as it ends; the text of those that failed; the totals.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::vm::Kernel;

/// Results of all VMs.
pub struct Report {
    total: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl Report {
    /// `total`: how many results there will be, for the progress shown.
    pub fn new(total: usize) -> Self {
        Report { total, counts: Mutex::default() }
    }

    /// Passed and failed so far.
    pub fn totals(&self) -> (usize, usize) {
        let counts = self.lock();
        (counts.passed, counts.failed)
    }

    /// A VM ended before any case ran, and is tried again.
    pub fn booted_again(&self, kernel: Kernel, trouble: &str) {
        let _whole = self.lock();
        println!("e2e: {}: booting again: {trouble}", kernel.series());
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One case ended on one kernel. `text` is shown if it failed.
    fn result(&self, kernel: Kernel, case: &str, passed: bool, seconds: f32, text: &str) {
        // Held while printing, so that two VMs' results do not mix.
        let mut counts = self.lock();
        *(if passed { &mut counts.passed } else { &mut counts.failed }) += 1;
        let number = counts.passed + counts.failed;
        let word = if passed { "PASS" } else { "FAIL" };
        println!("e2e: {number}/{} {word} {:<5} {case} ({seconds:.1} s)", self.total, kernel.series());
        if !passed {
            for line in text.lines().filter(|line| !line.is_empty()) {
                println!("     | {line}");
            }
        }
    }
}

/// Follows one VM's output.
pub struct Follower<'a> {
    report: &'a Report,
    kernel: Kernel,
    line: Vec<u8>,
    /// The case that runs, since when, and what it printed.
    running: Option<(String, Instant, String)>,
    /// Cases that ended, or during which the VM did.
    pub done: Vec<String>,
}

impl<'a> Follower<'a> {
    pub fn new(report: &'a Report, kernel: Kernel) -> Self {
        Follower { report, kernel, line: Vec::new(), running: None, done: Vec::new() }
    }

    /// The VM is gone: the case that ran, if any, has failed because of `trouble`. Gives whether one ran.
    pub fn vm_ended(&mut self, trouble: &str) -> bool {
        let Some((name, since, text)) = self.running.take() else { return false };
        let text = format!("{text}{}\n{trouble}", String::from_utf8_lossy(&self.line));
        self.report.result(self.kernel, &name, false, since.elapsed().as_secs_f32(), &text);
        self.done.push(name);
        true
    }

    /// A case that could not be run at all.
    pub fn not_run(&self, case: &str, trouble: &str) {
        self.report.result(self.kernel, case, false, 0.0, trouble);
    }

    fn take_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), &mut self.running) {
            (["@case", "start", name], running) => {
                *running = Some(((*name).to_owned(), Instant::now(), String::new()))
            }
            (["@case", "end", ended, status], Some((name, since, text))) if ended == name => {
                self.report.result(self.kernel, name, *status == "0", since.elapsed().as_secs_f32(), text);
                self.done.push(name.clone());
                self.running = None;
            }
            (_, Some((_, _, text))) => {
                text.push_str(&line);
                text.push('\n');
            }
            (_, None) => println!("e2e: {}: {line}", self.kernel.series()),
        }
    }
}

impl Write for Follower<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            match byte {
                b'\n' => self.take_line(),
                byte => self.line.push(*byte),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Follower, Kernel, Report};

    #[test]
    fn cases_that_end_and_one_that_takes_the_vm_with_it() {
        let report = Report::new(3);
        let mut follower = Follower::new(&report, Kernel::V6_12);
        follower.write_all(b"@case start a\nhello\n\n@case end a 0\n@case start b\n@case end a 0\n").unwrap();
        follower.write_all(b"\n@case end b 1\n@case start c\nx").unwrap();
        assert_eq!(follower.done, ["a", "b"]);
        assert!(follower.vm_ended("panic"));
        assert!(!follower.vm_ended("panic"));
        assert_eq!(report.totals(), (1, 2));
    }
}
