//! In: attempts to accept a connection. Out: the connection, however long it takes: a failure, such as too many open files,
//! is told once and tried again after a pause.

use std::io;
use std::time::Duration;

/// Trying again at once would only be busy.
const PAUSE: Duration = Duration::from_millis(100);

/// The next connection. `who`, such as "a client", could not be accepted if it fails.
pub(crate) async fn accept<S, F: Future<Output = io::Result<S>>>(
    who: &str,
    mut next: impl FnMut() -> F,
) -> S {
    let mut said = false;
    loop {
        match next().await {
            Ok(stream) => return stream,
            Err(error) => {
                if !said {
                    tracing::warn!("{who} could not be accepted, it is tried again: {error}");
                }
                said = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_to_accept_is_no_reason_to_be_busy() {
        let begun = std::time::Instant::now();
        let mut tried = 0;
        let next = || {
            tried += 1;
            let failed = io::Error::from_raw_os_error(libc::EMFILE);
            std::future::ready(if tried < 5 { Err(failed) } else { Ok(tried) })
        };
        assert_eq!(accept("a client", next).await, 5);
        assert!(begun.elapsed() >= 4 * PAUSE);
    }
}
