//! In: policy files and the running kernel. Out: events on standard output until stopped; states and counters on
//! standard error.

mod policies;
mod report;
pub mod sources;

use crate::kernel::{self, Host};
use crate::output::{Color, Format, Output};
use agent::base::BaseOptions;
use agent::kernel::give_back_memory;
use agent::session::Session;
use api::filter::Filter;
use policies::Policies;
use sources::Sources;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Files are looked at this often.
const WATCH: Duration = Duration::from_millis(500);
/// Longest wait for records: how soon a signal or a changed file is seen.
const WAIT: Duration = Duration::from_millis(200);
/// Records handled before files and signals are looked at again.
const BATCH: usize = 4096;

/// `ferra run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Policy file, or directory whose *.yaml and *.yml files are policies; changes take effect while running.
    #[arg(long = "policy", value_name = "FILE_OR_DIR", num_args = 1..)]
    policies: Vec<PathBuf>,
    /// How events are printed.
    #[arg(short, long, value_enum, default_value = "json")]
    output: Format,
    /// Colours in compact output.
    #[arg(long, value_enum, default_value = "auto")]
    color: Color,
    /// Start compact lines with the time.
    #[arg(long)]
    timestamps: bool,
    /// Only events of these policies.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    policy_names: Vec<String>,
    /// Only events of these types, e.g. PROCESS_EXEC.
    #[arg(short, long, value_name = "TYPE", value_delimiter = ',')]
    event_types: Vec<String>,
    /// Only events of processes whose binary matches one of these regular expressions.
    #[arg(long, value_name = "REGEX", value_delimiter = ',')]
    process: Vec<String>,
    /// Name of this node in events; default: $NODE_NAME, else the host name.
    #[arg(long)]
    node_name: Option<String>,
    /// Mechanisms not to use although this kernel has them, for kernels on which one does harm.
    #[arg(long, value_name = "MECHANISM", value_enum, value_delimiter = ',')]
    without: Vec<kernel::Mechanism>,
    /// Size of the event buffer in MiB: a power of two.
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024))]
    buffer: u32,
}

/// Runs until a signal, a closed output or an error.
pub fn run(args: Args) -> ExitCode {
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ferra: {message}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> Result<(), String> {
    let filter =
        Filter::parse(&args.event_types, &args.policy_names, &args.process).map_err(|e| e.to_string())?;
    let stop = stop_signals().map_err(|error| format!("signal handlers cannot be set: {error}"))?;
    let mut sources = Sources::new(args.policies.clone());
    let mut policies = Policies::default();
    policies.update(sources.changes());
    policies.report_problems();
    // A directory may fill up later; a file that was named is wanted now.
    let named_files = args.policies.iter().all(|path| !path.is_dir());
    if named_files && policies.any_refused() {
        return Err("not started: fix the policies above".to_owned());
    }
    let (mut host, notes) = Host::probe(&kernel::tracepoints_of(policies.wanted()), &args.without)?;
    notes.iter().for_each(|note| eprintln!("ferra: note: {note}"));
    give_back_memory();
    let node = args.node_name.clone().unwrap_or_else(node_name);
    let options = BaseOptions { ring_bytes: args.buffer << 20, ..BaseOptions::default() };
    let (mut session, running) = Session::start(&node, &options).map_err(|error| error.to_string())?;
    let mut output = Output::new(args.output, args.color, args.timestamps);
    running.iter().filter(|event| filter.accepts(event)).for_each(|event| output.event(event));
    apply(&mut host, &mut policies, &mut session)?;
    if named_files && policies.any_refused() {
        return Err("not started: fix the policies above".to_owned());
    }
    eprintln!("ferra: ready: {}", policies.summary(&session));
    let ended = watch(&stop, &filter, &mut sources, &mut policies, &mut host, &mut session, &mut output);
    report::policies(&session);
    let leftovers = session.detach_policies();
    // What was written before the programs left.
    while session.poll(Duration::ZERO, BATCH, |event| emit(&filter, &mut output, event)).unwrap_or(0) > 0 {}
    let flushed = output.flush();
    report::counters(&session);
    leftovers.iter().for_each(|leftover| eprintln!("ferra: {leftover}"));
    ended?;
    written(flushed)
}

fn watch(
    stop: &AtomicBool,
    filter: &Filter,
    sources: &mut Sources,
    policies: &mut Policies,
    host: &mut Host,
    session: &mut Session,
    output: &mut Output,
) -> Result<(), String> {
    let mut looked = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        session.poll(WAIT, BATCH, |event| emit(filter, output, event)).map_err(|error| error.to_string())?;
        if let Err(error) = output.flush() {
            return written(Err(error));
        }
        if looked.elapsed() >= WATCH {
            looked = Instant::now();
            let changes = sources.changes();
            if !changes.is_empty() {
                policies.update(changes);
                policies.report_problems();
                match apply(host, policies, session) {
                    Ok(()) => eprintln!("ferra: updated: {}", policies.summary(session)),
                    Err(why) => eprintln!("ferra: policies stay as they are: {why}"),
                }
            }
        }
    }
    Ok(())
}

/// Compiles and loads; what that needs of memory is given back, and is most of what this program ever takes.
fn apply(host: &mut Host, policies: &mut Policies, session: &mut Session) -> Result<(), String> {
    policies.apply(&mut host.kernel()?, session);
    give_back_memory();
    Ok(())
}

fn emit(filter: &Filter, output: &mut Output, event: &api::event::Event) {
    if filter.accepts(event) {
        output.event(event);
    }
}

/// A reader that went away ends the program as it ends any filter: quietly.
fn written(result: io::Result<()>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| format!("events cannot be written to standard output: {error}")),
    }
}

fn stop_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn node_name() -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    std::env::var("NODE_NAME").ok().or_else(|| host().ok()).unwrap_or_else(|| "localhost".to_owned())
}
