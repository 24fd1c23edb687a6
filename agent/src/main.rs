//! In: the command line. Out: the agent of a node, until a signal; or one of its smaller services.

use std::process::ExitCode;

use agent::daemon::config::{Cli, Command};
use agent::daemon::{self, logging};

fn main() -> ExitCode {
    let Cli { config, command } = Cli::of_process();
    logging::begin(config.log_level, config.log_format);
    let done = match command {
        None => daemon::run(&config).map_err(|error| error.to_string()),
        Some(Command::Cleanup) => daemon::cleanup(&config)
            .map(|programs| tracing::info!(programs, "nothing of this product is left in the kernel"))
            .map_err(|error| error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
