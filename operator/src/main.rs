//! In: the command line and the cluster. Out: a running operator.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use operator::admission::Judge;
use operator::certs::{CertStore, Folder, Keeper};
use operator::config::{Config, LogFormat};
use operator::http::probes::{self, Health};
use operator::http::{self, Bounds};
use operator::leading::Leading;
use operator::lease::{Candidate, Labels, Role, Times};
use operator::metrics::Metrics;
use operator::model::{AgentNodes, Fleet};
use operator::patience::CALL;
use operator::watch::Watched;
use operator::{FIELD_MANAGER, drain};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// Whatever ended the program, for people; it has no caller that could tell errors apart.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// For everything to end after it was asked to: the kubelet waits 20 seconds.
const FAREWELL: Duration = Duration::from_secs(15);
/// Between two tries to get the first certificate.
const RETRY: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    if let Err(error) = log(&config) {
        eprintln!("ferragon-operator: {error}");
        return ExitCode::FAILURE;
    }
    let done = match config.command {
        Some(command) => drain_fleet(&config, command.timeout()).await,
        None => run(config).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}

fn log(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(&config.log_level)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    }
}

async fn client() -> Result<kube::Client, Failure> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(CALL / 3);
    config.write_timeout = Some(CALL);
    Ok(kube::Client::try_from(config)?)
}

async fn drain_fleet(config: &Config, timeout: Duration) -> Result<(), Failure> {
    Ok(drain::ask(client().await?, &config.namespace, timeout).await?)
}

async fn run(config: Config) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let client = client().await?;
    let metrics = Metrics::default();
    let watched = Watched::start(&client, &metrics, &tasks, &stop);
    let certs = CertStore::new();
    let (role_out, role) = watch::channel(Role::Standby);
    let (serving_out, serving) = watch::channel(false);
    let (fleet, fleet_seen) = watch::channel(Arc::<Fleet>::default());

    let health = Health {
        watched: watched.clone(),
        certs: certs.clone(),
        role: role.clone(),
        serving,
        metrics: metrics.clone(),
    };
    let listener = http::bind(config.http_address).await?;
    tasks.spawn(http::serve(listener, None, probes::router(health), Bounds::PROBES, stop.clone()));
    let listener = http::bind(config.webhook_address).await?;
    let agent_nodes = AgentNodes(config.agent_node_selector.iter().cloned().collect());
    let judge = Judge::new(
        fleet_seen,
        watched.nodes.clone(),
        agent_nodes.clone(),
        config.refuse_partly_compatible,
        metrics.clone(),
    );
    let tls = certs.server_config(&[b"http/1.1"])?;
    tasks.spawn(http::serve(listener, Some(tls), judge.router(), Bounds::WEBHOOK, stop.clone()));

    signals(&tasks, &stop)?;
    let mut ended = Ok(());
    if stop.run_until_cancelled(certificates(&config, &client, &certs, &tasks, &stop)).await.is_some() {
        let labels = match &config.pod {
            Some(pod) => Some(step_back(&client, &config.namespace, pod).await),
            None => None,
        };
        let replica = config.pod.clone().unwrap_or_else(|| format!("{FIELD_MANAGER}-{}", std::process::id()));
        let candidate =
            Candidate::new(client.clone(), &config.namespace, &replica, Times::default(), metrics.clone());
        let leading = Leading {
            client,
            kernel_bytes: config.kernel_bytes(),
            namespace: config.namespace,
            replica,
            labels,
            watched,
            certs,
            fleet,
            fleet_address: config.fleet_address,
            agent_service_account: config.agent_service_account,
            agent_nodes,
            metrics,
            serving: serving_out,
        };
        ended = lead(leading, candidate, role_out, role, &stop).await;
    }
    stop.cancel();
    tasks.close();
    if tokio::time::timeout(FAREWELL, tasks.wait()).await.is_err() {
        warn!("some work did not end in time");
    }
    info!("ended");
    ended
}

/// Takes part in the election and leads, until told to stop; lets go of the Lease when nothing is written any more.
async fn lead(
    leading: Leading,
    candidate: Candidate,
    role_out: watch::Sender<Role>,
    role: watch::Receiver<Role>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let quiet = CancellationToken::new();
    let leads = async {
        let led = leading.run(role, stop.clone()).await;
        quiet.cancel();
        // A leader that cannot serve is none.
        stop.cancel();
        led
    };
    let election = candidate.run(role_out, stop.clone(), quiet.cancelled());
    let (led, ()) = tokio::join!(leads, election);
    Ok(led?)
}

/// The first certificate; goes on to look after it.
async fn certificates(
    config: &Config,
    client: &kube::Client,
    certs: &Arc<CertStore>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    match &config.certificates {
        Some(path) => {
            let mut folder = Folder::new(path.clone(), certs.clone());
            while let Err(error) = folder.ensure().await {
                warn!(%error, "no certificate yet; tried again soon");
                tokio::time::sleep(RETRY).await;
            }
            tasks.spawn(folder.run(stop.clone()));
        }
        None => {
            let mut keeper = Keeper::new(client.clone(), &config.namespace, certs.clone());
            while let Err(error) = keeper.ensure().await {
                warn!(%error, "no certificate yet; tried again soon");
                tokio::time::sleep(RETRY).await;
            }
            tasks.spawn(keeper.run(stop.clone()));
        }
    }
}

/// This pod is not the leader now, whatever its label says.
async fn step_back(client: &kube::Client, namespace: &str, pod: &str) -> Labels {
    let labels = Labels::new(client.clone(), namespace, pod);
    if let Err(error) = labels.step_back().await {
        warn!(%error, pod, "a label of an earlier time may still be there");
    }
    labels
}

/// SIGTERM and SIGINT stop everything.
fn signals(tasks: &TaskTracker, stop: &CancellationToken) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
            () = stop.cancelled() => {}
        }
        stop.cancel();
    });
    Ok(())
}
