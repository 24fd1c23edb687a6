//! In: what the user wants to see, events from the agent's socket. Out: lines on standard output until stopped.

mod request;
mod stream;

use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use api::tetragon::{GetEventsRequest, SOCKET};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::{Color, Format, Output};
use request::Wanted;
use stream::{Address, Failure};

/// How long to wait before looking whether the agent is back.
const RETRY: Duration = Duration::from_secs(1);

/// `ferra getevents`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How events are printed.
    #[arg(short, long, value_enum, default_value = "json")]
    output: Format,
    /// Colours in compact output.
    #[arg(long, value_enum, default_value = "auto")]
    color: Color,
    /// Start compact lines with the time.
    #[arg(long)]
    timestamps: bool,
    #[command(flatten)]
    wanted: Wanted,
    /// The agent's socket.
    #[arg(long, value_name = "unix:///PATH", default_value_t = format!("unix://{SOCKET}"))]
    server_address: String,
    /// End when the agent ends, with an error, in place of waiting for it to come back.
    #[arg(long)]
    no_reconnect: bool,
}

/// Shows events until a signal, a closed output or an error.
pub fn run(args: &Args) -> ExitCode {
    match watch(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ferra: {message}");
            ExitCode::FAILURE
        }
    }
}

fn watch(args: &Args) -> Result<(), String> {
    let request = args.wanted.request().map_err(|error| error.to_string())?;
    let address = Address::parse(&args.server_address)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime for the connection cannot be started: {error}"))?;
    let mut output = Output::new(args.output, args.color, args.timestamps);
    let ended = runtime.block_on(async {
        let stop = stop().map_err(|error| format!("signal handlers cannot be set: {error}"))?;
        tokio::select! {
            () = stop => Ok(()),
            ended = follow(&address, &request, !args.no_reconnect, &mut output) => ended,
        }
    });
    ended.and(written(output.flush()))
}

/// Shows events, from one agent after the other.
async fn follow(
    address: &Address,
    request: &GetEventsRequest,
    reconnect: bool,
    output: &mut Output,
) -> Result<(), String> {
    let mut connected_before = false;
    let mut told = false;
    loop {
        let failure = match address.subscribe(request).await {
            Ok(events) => {
                if told {
                    eprintln!(
                        "ferra: the agent is back: events go on; what happened in between is not shown"
                    );
                }
                (connected_before, told) = (true, false);
                stream::show(events, output).await
            }
            Err(failure) => failure,
        };
        match failure {
            Failure::Output(error) => return written(Err(error)),
            failure if !reconnect || !connected_before || failure.is_final() => {
                return Err(failure.to_string());
            }
            failure if !told => {
                eprintln!("ferra: {failure}: waiting for the agent to come back");
                told = true;
            }
            _ => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A reader that went away ends the program as it ends any filter: quietly.
fn written(result: io::Result<()>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("events cannot be written to standard output: {error}")),
    }
}

/// Ends at the first signal that asks to stop.
fn stop() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
