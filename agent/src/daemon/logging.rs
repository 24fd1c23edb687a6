//! In: what all parts have to say. Out: the log, on standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::config::{LogFormat, LogLevel};

/// Begins the log. Libraries are heard from `warn` on, unless everything is asked for.
pub fn begin(level: LogLevel, format: LogFormat) {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = if own == LevelFilter::TRACE { own } else { own.min(LevelFilter::WARN) };
    let filter = EnvFilter::default().add_directive(others.into());
    let filter = ["agent", "ferragon"].iter().fold(filter, |filter, part| {
        // Both are well-formed.
        match format!("{part}={own}").parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        }
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that was begun before, as in a test, goes on.
    let _ = match format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
