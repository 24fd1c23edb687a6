//! In: the command line, the environment, a folder with one file for each option. Out: the agent's configuration.
//!
//! The command line counts before `FERRAGON_<OPTION>`, and that before a file named as the option is in `--config-dir`
//! (as a ConfigMap is mounted). Files that are no option are left alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use api::artefact::Flavour;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// The agent of a node: loads what the operator sends, reports what it sees.
#[derive(Debug, Parser)]
#[command(name = "ferragon", version, args_override_self = true)]
pub struct Cli {
    /// How it runs.
    #[command(flatten)]
    pub config: Config,
    /// What else it can do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the agent can do beside its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Remove everything of this product that outlives the agent from the kernel, and end: for uninstalling.
    Cleanup,
}

/// How the agent runs.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Folder with one file for each option, named as the option is.
    #[arg(long, value_name = "DIR", env = "FERRAGON_CONFIG_DIR")]
    pub config_dir: Option<PathBuf>,
    /// The operator. Without one, the node runs what is stored.
    #[arg(long, value_name = "HOST:PORT", default_value = "", env = "FERRAGON_OPERATOR")]
    pub operator: String,
    /// Certificates of those who may have signed the operator's, PEM; waited for if it is not there.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/ferragon/ca/ca.crt",
        env = "FERRAGON_OPERATOR_CA"
    )]
    pub operator_ca: PathBuf,
    /// ServiceAccount token for the operator.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/var/run/secrets/ferragon/token",
        env = "FERRAGON_OPERATOR_TOKEN"
    )]
    pub operator_token: PathBuf,
    /// Name of this node in events; else $NODE_NAME, else the host's name.
    #[arg(long, value_name = "NAME", env = "FERRAGON_NODE_NAME")]
    pub node_name: Option<String>,
    /// What must outlive a restart of the host.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ferragon", env = "FERRAGON_STATE_DIR")]
    pub state_dir: PathBuf,
    /// What must outlive a restart of the agent; on a BPF file system.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/ferragon", env = "FERRAGON_PIN_DIR")]
    pub pin_dir: PathBuf,
    /// The host's processes.
    #[arg(long, value_name = "DIR", default_value = "/proc", env = "FERRAGON_PROCFS")]
    pub procfs: PathBuf,
    /// Size of the event buffer in MiB: a power of two.
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1024), env = "FERRAGON_BUFFER")]
    pub buffer: u32,
    /// Where those who read events connect: `unix:///PATH`; empty: nowhere.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "unix:///var/run/ferragon/ferragon.sock",
        env = "FERRAGON_SERVER_ADDRESS"
    )]
    pub server_address: String,
    /// Where /healthz, /readyz and /metrics are served; empty: nowhere.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:9091",
        env = "FERRAGON_HEALTH_ADDRESS"
    )]
    pub health_address: String,
    /// Mechanisms not to use although this kernel has them, for kernels on which one does harm.
    #[arg(long, value_name = "MECHANISM", value_enum, value_delimiter = ',', env = "FERRAGON_WITHOUT")]
    pub without: Vec<Mechanism>,
    /// Whether to follow the pods of this node: policies for pods need it, and so do events that name them. Default:
    /// whether this is a pod itself.
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, default_value_t = is_in_pod(), env = "FERRAGON_PODS")]
    pub pods: bool,
    /// Least important messages that are logged.
    #[arg(long, value_enum, default_value = "info", env = "FERRAGON_LOG_LEVEL")]
    pub log_level: LogLevel,
    /// Form of the log, on standard error.
    #[arg(long, value_enum, default_value = "text", env = "FERRAGON_LOG_FORMAT")]
    pub log_format: LogFormat,
}

impl Config {
    /// Name of this node.
    pub fn node(&self) -> String {
        let host = || std::fs::read_to_string(self.procfs.join("sys/kernel/hostname"));
        let own = self.node_name.clone().or_else(|| std::env::var("NODE_NAME").ok());
        let own = own.or_else(|| host().ok().map(|name| name.trim().to_owned()));
        own.unwrap_or_else(|| "localhost".to_owned())
    }
}

/// Every container of a pod has this variable.
fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// A way to attach programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mechanism {
    /// Trampoline at function entry.
    Fentry,
    /// Trampoline at function return.
    Fexit,
    /// Trampoline that can replace a function's body; Override on functions needs it.
    FmodRet,
    /// BPF LSM.
    Lsm,
    /// Breakpoint at function entry.
    Kprobe,
    /// Breakpoint at function return.
    Kretprobe,
    /// Raw tracepoint with types.
    TpBtf,
}

impl Mechanism {
    /// As artefacts have it.
    pub fn flavour(self) -> Flavour {
        match self {
            Mechanism::Fentry => Flavour::Fentry,
            Mechanism::Fexit => Flavour::Fexit,
            Mechanism::FmodRet => Flavour::FmodRet,
            Mechanism::Lsm => Flavour::Lsm,
            Mechanism::Kprobe => Flavour::Kprobe,
            Mechanism::Kretprobe => Flavour::Kretprobe,
            Mechanism::TpBtf => Flavour::TpBtf,
        }
    }
}

/// Importance of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What went wrong and needs somebody.
    Error,
    /// What went wrong.
    Warn,
    /// What happens.
    Info,
    /// What happens in detail.
    Debug,
    /// Everything.
    Trace,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Cli {
    /// Of a process. Ends it where clap does: for `--help`, and for mistakes.
    pub fn of_process() -> Cli {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        Cli::read(&arguments, |variable| std::env::var_os(variable).is_some())
            .unwrap_or_else(|error| error.exit())
    }

    /// Of these arguments, the environment, and the files in `--config-dir`.
    fn read(arguments: &[OsString], is_set: impl Fn(&str) -> bool) -> Result<Cli, clap::Error> {
        let first = Cli::try_parse_from(arguments)?;
        let Some(folder) = &first.config.config_dir else { return Ok(first) };
        let Some((program, rest)) = arguments.split_first() else { return Ok(first) };
        let files = from_files(folder, is_set)?;
        let all = std::iter::once(program.clone()).chain(files).chain(rest.iter().cloned());
        Cli::from_arg_matches(&Cli::command().try_get_matches_from(all)?)
    }
}

/// The files of a folder as arguments, without those that the environment has a say about.
fn from_files(folder: &Path, is_set: impl Fn(&str) -> bool) -> Result<Vec<OsString>, clap::Error> {
    let failed = |error: std::io::Error| {
        let text = format!("--config-dir {}: {error}", folder.display());
        Cli::command().error(clap::error::ErrorKind::Io, text)
    };
    let command = Cli::command();
    let mut arguments = Vec::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    for path in paths.iter().filter(|path| path.is_file()) {
        let Some(key) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let option = command.get_arguments().find(|option| option.get_long() == Some(key));
        let Some(option) = option.filter(|_| key != "config-dir") else { continue };
        let variable = option.get_env().and_then(|variable| variable.to_str());
        if variable.is_some_and(&is_set) {
            continue;
        }
        let value = std::fs::read_to_string(path).map_err(failed)?;
        arguments.push(format!("--{key}={}", value.trim()).into());
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str], set: &[&str]) -> Result<Config, clap::Error> {
        let arguments: Vec<OsString> = std::iter::once(&"ferragon").chain(words).map(Into::into).collect();
        Cli::read(&arguments, |variable| set.contains(&variable)).map(|cli| cli.config)
    }

    #[test]
    fn files_count_least_and_need_not_be_options() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("operator", "from-file:9443\n");
        write("log-level", "debug");
        write("without", "lsm,kprobe");
        write("buffer", "16");
        write("somebody-elses", "x");
        // As ConfigMaps are mounted.
        std::fs::create_dir(folder.path().join("..data")).unwrap();
        let dir = folder.path().to_str().unwrap();
        let config = read(&["--config-dir", dir, "--log-level", "warn"], &["FERRAGON_BUFFER"]).unwrap();
        assert_eq!((config.operator.as_str(), config.log_level), ("from-file:9443", LogLevel::Warn));
        assert_eq!(config.without, [Mechanism::Lsm, Mechanism::Kprobe]);
        assert_eq!(config.buffer, 8, "the environment's say");
    }

    #[test]
    fn a_wrong_file_is_an_error_that_names_the_option() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("buffer"), "many").unwrap();
        let error = read(&["--config-dir", folder.path().to_str().unwrap()], &[]).unwrap_err().to_string();
        assert!(error.contains("--buffer") && error.contains("many"), "{error}");
        let error = read(&["--config-dir", "/does/not/exist"], &[]).unwrap_err().to_string();
        assert!(error.contains("/does/not/exist"), "{error}");
    }

    #[test]
    fn a_command_may_follow() {
        let arguments = ["ferragon", "--pin-dir", "/x", "cleanup"].map(OsString::from);
        let cli = Cli::read(&arguments, |_| false).unwrap();
        assert_eq!((cli.command, cli.config.pin_dir), (Some(Command::Cleanup), PathBuf::from("/x")));
    }
}
