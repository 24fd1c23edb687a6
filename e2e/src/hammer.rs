//! Input: an operation, and how long or how often.
//! Output: how often each outcome was seen, as `ok=N EPERM=N …` on one line.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use crate::errno;
use crate::operation::Operation;

/// How many operations between two looks for the file that ends it: looking is a system call that policies may see.
const BETWEEN_LOOKS: u32 = 50;

/// Until a file exists. Both `ok` and the failures are counted, so that a gap in enforcement of one call is seen.
pub fn until(file: &str, operation: Operation) -> Result<ExitCode, String> {
    let mut outcomes = BTreeMap::new();
    while !Path::new(file).exists() {
        for _ in 0..BETWEEN_LOOKS {
            once(&operation, &mut outcomes);
        }
    }
    Ok(print(&outcomes))
}

/// A number of times.
pub fn repeat(count: &str, operation: Operation) -> Result<ExitCode, String> {
    let count: u64 = count.parse().map_err(|_| format!("{count}: not a number"))?;
    let mut outcomes = BTreeMap::new();
    for _ in 0..count {
        once(&operation, &mut outcomes);
    }
    Ok(print(&outcomes))
}

fn once(operation: &Operation, outcomes: &mut BTreeMap<String, u64>) {
    let outcome = operation.run().map_or_else(|error| errno::name(&error), |()| "ok".to_owned());
    *outcomes.entry(outcome).or_default() += 1;
}

fn print(outcomes: &BTreeMap<String, u64>) -> ExitCode {
    let words: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{outcome}={count}")).collect();
    println!("{}", words.join(" "));
    ExitCode::SUCCESS
}
