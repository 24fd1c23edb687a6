//! In: the result of a command. Out: its text on standard output, or its message on standard error; the exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Ends a command that has its whole text or failed.
pub fn end(result: Result<String, String>) -> ExitCode {
    let written = result.and_then(|text| match io::stdout().lock().write_all(text.as_bytes()) {
        // Who reads no further wants no further text.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("standard output cannot be written: {error}")),
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ferra: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
