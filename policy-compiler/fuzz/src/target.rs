//! In: something that makes inputs and judges them. Out: the verdict on as many of them as there is time for.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::watch::Watch;

/// What is fed with inputs.
pub trait Target {
    /// What it is fed with.
    type Input;

    /// The next input; what came of those before may decide which.
    fn next(&mut self) -> Self::Input;

    /// An input as a file.
    fn bytes(&self, input: &Self::Input) -> Vec<u8>;

    /// An input from a file.
    ///
    /// # Errors
    /// It cannot be judged.
    fn read(&mut self, bytes: &[u8]) -> Result<Self::Input>;

    /// Feeds it.
    ///
    /// # Errors
    /// What was done wrong.
    fn judge(&mut self, input: Self::Input) -> Result<(), String>;

    /// What was done so far.
    fn told(&self) -> String;

    /// Whether some input went all the way: mutations that nothing gets through would test nothing.
    fn reached(&self) -> bool;
}

/// Judges inputs until `limit` is over; one that fails is in the file at `path`.
///
/// # Errors
/// The file cannot be written, or no input went all the way.
pub fn run(target: &mut impl Target, limit: Duration, path: &Path) -> Result<ExitCode> {
    let watch = Watch::start(path)?;
    let started = Instant::now();
    let mut reported = started;
    while started.elapsed() < limit {
        let input = target.next();
        watch.turn(&target.bytes(&input))?;
        if let Err(reason) = target.judge(input) {
            return Ok(fail(&reason, path));
        }
        if reported.elapsed() > Duration::from_secs(10) {
            eprintln!("fuzz: {} s, {}", started.elapsed().as_secs(), target.told());
            reported = Instant::now();
        }
    }
    watch.end();
    ensure!(
        target.reached(),
        "no mutation went all the way: they are too coarse to test much ({})",
        target.told()
    );
    println!("fuzz: {}, no failure", target.told());
    Ok(ExitCode::SUCCESS)
}

/// Says why an input fails, and how to see it again.
pub fn fail(reason: &str, path: &Path) -> ExitCode {
    eprintln!("fuzz: {reason}\nfuzz: repeat with `cargo xtask fuzz --input {}`", path.display());
    ExitCode::FAILURE
}
