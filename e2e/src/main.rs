//! Input: `probe OPERATION …`, from a test case in a VM.
//! Output: the operation done, its outcome as one word on stdout (`ok` or the errno's name); or events matched.

mod condition;
mod errno;
mod events;
mod hammer;
mod operation;

use std::process::ExitCode;

use operation::Operation;

const USAGE: &str = "\
probe OPERATION                          do it once; prints ok (exit 0) or the errno's name (exit 1)
probe hammer UNTIL-FILE OPERATION        do it until the file exists; prints how often each outcome was seen
probe repeat COUNT OPERATION             do it that often; prints the same
probe listen ADDRESS:PORT                accept TCP connections for ever; prints ready
probe count EVENTS-FILE CONDITION…       prints how many JSON lines meet all conditions
probe lines EVENTS-FILE CONDITION…       prints those lines

OPERATION: read FILE | write FILE TEXT | write-fd FD TEXT | truncate FILE | connect ADDRESS:PORT | setuid UID | getpid
           load-module   (an empty one, which fails with ENOEXEC)
           exec PROGRAM ARGUMENT… | long-exec BYTES   (exec replaces the probe: it prints only a failure)
CONDITION: PATH | PATH=TEXT | PATH!=TEXT | PATH^=START | PATH$=END | PATH*=PART
           PATH: keys separated by dots, elements as [0], or [*] for any of them, such as process_kprobe.args[0].int_arg";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["hammer", until, operation @ ..] => {
            Operation::parse(operation).and_then(|it| hammer::until(until, it))
        }
        ["repeat", count, operation @ ..] => {
            Operation::parse(operation).and_then(|it| hammer::repeat(count, it))
        }
        ["listen", address] => operation::listen(address),
        ["count", file, conditions @ ..] => events::matching(file, conditions).map(|lines| {
            println!("{}", lines.len());
            ExitCode::SUCCESS
        }),
        ["lines", file, conditions @ ..] => events::matching(file, conditions).map(|lines| {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }),
        operation => Operation::parse(operation).map(|operation| match operation.run() {
            Ok(()) => {
                println!("ok");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("{}", errno::name(&error));
                ExitCode::FAILURE
            }
        }),
    };
    done.unwrap_or_else(|problem| {
        eprintln!("probe: {problem}\n{USAGE}");
        ExitCode::from(2)
    })
}
