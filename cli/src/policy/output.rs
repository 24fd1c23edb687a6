//! In: finished text. Out: standard output.

use super::Failure;
use std::io::{ErrorKind, Write};

/// Writes all of it; a reader that went away has seen enough.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::refused(format!("the result cannot be written to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
