//! In: flags and the environment. Out: [`Config`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Compiles policies for every kernel of the fleet, brings them to the nodes, and says what became of them.
#[derive(Debug, Clone, Parser)]
#[command(name = "ferragon-operator", version)]
pub struct Config {
    /// What to do instead of running the operator.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Namespace of the operator's own objects.
    #[arg(long, env = "POD_NAMESPACE", default_value = "ferragon", global = true)]
    pub namespace: String,
    /// Name of this pod. Without it nobody is labelled as the leader.
    #[arg(long, env = "POD_NAME")]
    pub pod: Option<String>,
    /// Where agents dial (gRPC with TLS).
    #[arg(long, default_value = "[::]:9443")]
    pub fleet_address: SocketAddr,
    /// Where the API server asks about policies (HTTPS).
    #[arg(long, default_value = "[::]:9444")]
    pub webhook_address: SocketAddr,
    /// Where health and metrics are (HTTP).
    #[arg(long, default_value = "[::]:9090")]
    pub http_address: SocketAddr,
    /// ServiceAccount of the agents.
    #[arg(long, default_value = "ferragon-agent")]
    pub agent_service_account: String,
    /// Labels of the nodes that have agents, `key=value` each, as in the nodeSelector of their DaemonSet; policies are for no
    /// other nodes.
    #[arg(long, value_delimiter = ',', value_parser = label)]
    pub agent_node_selector: Vec<(String, String)>,
    /// Folder with tls.crt, tls.key and ca.crt that something else fills, such as cert-manager. Without it the operator
    /// makes and renews its own.
    #[arg(long)]
    pub certificates: Option<PathBuf>,
    /// Refuse a policy that some kernel of the fleet cannot run, instead of warning.
    #[arg(long)]
    pub refuse_partly_compatible: bool,
    /// For the profiles of all kernels of the fleet, encoded, in MiB: a distribution's kernel has 5 to 9 MB, and takes about
    /// twice of that in memory. Nodes with further kernels are refused.
    #[arg(long, default_value = "112", value_parser = clap::value_parser!(u32).range(16..=4096))]
    pub kernel_profiles_mib: u32,
    /// What is logged: error, warn, info, debug, trace, or by part as in `info,operator::status=debug`.
    #[arg(long, default_value = "info", global = true)]
    pub log_level: String,
    /// How it is logged.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true)]
    pub log_format: LogFormat,
}

impl Config {
    /// [`Config::kernel_profiles_mib`] in bytes.
    pub fn kernel_bytes(&self) -> usize {
        usize::try_from(u64::from(self.kernel_profiles_mib) << 20).unwrap_or(usize::MAX)
    }
}

/// Something else than running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Takes every policy off every node, and waits until the nodes have done so. For the time before uninstalling: after
    /// ten minutes a running operator goes on as usual.
    Drain {
        /// How long to wait, in seconds.
        #[arg(long, default_value = "60")]
        timeout: u64,
    },
}

impl Command {
    /// How long to wait.
    pub fn timeout(self) -> Duration {
        let Command::Drain { timeout } = self;
        Duration::from_secs(timeout)
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object per line.
    Json,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is not of the form key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Limits;

    #[test]
    fn flags_are_as_the_chart_gives_them() {
        use clap::CommandFactory;
        Config::command().debug_assert();
        let parse = |flags: &[&str]| {
            Config::try_parse_from(["ferragon-operator"].iter().chain(flags).copied()).unwrap()
        };
        let config = parse(&[
            "--log-level=debug",
            "--log-format=json",
            "--refuse-partly-compatible",
            "--certificates=/etc/ferragon/tls",
            "--namespace=n",
            "--agent-node-selector=kubernetes.io/os=linux,pool=",
            "--kernel-profiles-mib=200",
        ]);
        assert_eq!(
            (config.kernel_bytes(), parse(&[]).kernel_bytes()),
            (200 << 20, Limits::default().kernel_bytes)
        );
        let labels = [("kubernetes.io/os", "linux"), ("pool", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(config.agent_node_selector, labels);
        assert_eq!(config.log_format, LogFormat::Json);
        assert!(config.refuse_partly_compatible && config.certificates.is_some() && config.command.is_none());
        assert_eq!(parse(&["drain", "--namespace=n"]).command, Some(Command::Drain { timeout: 60 }));
    }
}
