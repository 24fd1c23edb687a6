//! Input: `workload …`, from the benchmark's script in a VM whose clock counts instructions.
//! Output: instructions per operation, or what a running `ferra` has used, as one number on a line.

mod workload {
    pub mod agent;
    pub mod operations;
}

use std::process::ExitCode;
use workload::{agent, operations};

const USAGE: &str = "\
workload run OPERATION COUNT        instructions of one operation: COUNT of them, three times, the median
workload nothing                    what `exec` executes
workload cpu PID                    instructions that the process's threads have run
workload event PID LINES-FILE COUNT instructions of that process per line that COUNT matching reads add to the file
workload programs PID               instructions that the process's eBPF programs have run, if the kernel counts them
workload memory PID                 bytes of the kernel's memory behind its eBPF programs and maps: total programs maps
workload rss PID                    its resident memory in KiB: now and at most";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["nothing"] => return ExitCode::SUCCESS,
        ["run", operation, count] => {
            number(count).and_then(|count| operations::measure(operation, count)).map(|it| it.to_string())
        }
        ["cpu", pid] => agent::cpu(pid).map(|it| it.to_string()),
        ["event", pid, file, count] => {
            number(count).and_then(|count| agent::per_event(pid, file, count)).map(|it| it.to_string())
        }
        ["programs", pid] => agent::program_time(pid).map(|it| it.to_string()),
        ["memory", pid] => agent::kernel_memory(pid).map(|it| it.to_string()),
        ["rss", pid] => agent::resident(pid),
        _ => Err("no such command".to_owned()),
    };
    match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("workload: {problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn number(word: &str) -> Result<u32, String> {
    match word.parse() {
        Ok(0) | Err(_) => Err(format!("{word}: not a number from 1")),
        Ok(number) => Ok(number),
    }
}
