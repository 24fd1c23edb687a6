//! In: what the user asks about. Out: a table, or the objects themselves.

mod nodes;
mod policies;

use std::process::ExitCode;

use serde::Serialize;

use crate::cluster::{Cluster, Scope, block_on, view::PolicyView};
use crate::text;

/// `ferra get`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Policies with their state on all nodes.
    #[command(visible_alias = "policy")]
    Policies(PoliciesArgs),
    /// Nodes with their kernels, agents and failing hooks.
    #[command(visible_alias = "node")]
    Nodes(NodesArgs),
}

/// `ferra get policies`.
#[derive(Debug, clap::Args)]
pub struct PoliciesArgs {
    /// Only this policy; of a namespace with -n.
    name: Option<String>,
    /// Policies of this namespace; without it, cluster-wide ones and those of the kubeconfig's namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Policies of all namespaces, and cluster-wide ones.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "name"])]
    all_namespaces: bool,
    /// How they are shown.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// `ferra get nodes`.
#[derive(Debug, clap::Args)]
pub struct NodesArgs {
    /// Namespace of the operator.
    #[arg(short = 'n', long, default_value = "ferragon", alias = "namespace")]
    operator_namespace: String,
    /// How they are shown.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One line each.
    Table,
    /// The same with more columns.
    Wide,
    /// The objects.
    Json,
    /// The objects.
    Yaml,
}

/// Shows what was asked for.
pub fn run(command: &Command) -> ExitCode {
    text::end(match command {
        Command::Policies(args) => block_on(show_policies(args)),
        Command::Nodes(args) => block_on(show_nodes(args)),
    })
}

async fn show_policies(args: &PoliciesArgs) -> Result<String, String> {
    let cluster = Cluster::connect().await?;
    let objects = match &args.name {
        Some(name) => vec![cluster.policy(name, args.namespace.as_deref()).await?],
        None => {
            let scope = match &args.namespace {
                _ if args.all_namespaces => Scope::All,
                Some(namespace) => Scope::Namespace(namespace.clone()),
                None => Scope::Usual,
            };
            cluster.policies(&scope).await?
        }
    };
    let views = || objects.iter().map(PolicyView::of).collect::<Vec<_>>();
    match (args.output, args.name.is_some()) {
        (Format::Table, _) => Ok(policies::table(&views(), false, text::now())),
        (Format::Wide, _) => Ok(policies::table(&views(), true, text::now())),
        (format, true) => {
            objects.first().map_or(Ok(String::new()), |object| raw(&policies::tidy(object), format))
        }
        (format, false) => raw(&policies::list(&objects), format),
    }
}

async fn show_nodes(args: &NodesArgs) -> Result<String, String> {
    let (nodes, omitted) = Cluster::connect().await?.nodes(&args.operator_namespace).await?;
    if omitted > 0 {
        eprintln!("ferra: {omitted} more nodes are not listed: the operator's list is full");
    }
    match args.output {
        Format::Table => Ok(nodes::table(&nodes, false)),
        Format::Wide => Ok(nodes::table(&nodes, true)),
        format => raw(&nodes, format),
    }
}

fn raw(value: &impl Serialize, format: Format) -> Result<String, String> {
    match format {
        Format::Yaml => serde_yaml::to_string(value).map_err(|error| error.to_string()),
        _ => serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string()),
    }
}
