//! In: a number of nodes. Out: a table: how long a change takes to reach all of them, and what it costs the operator.
//!
//! One process is the operator's fleet server, started anew for the reconnect storm; this one is all the agents, over
//! loopback, gRPC and TLS as in a cluster. Both share the machine, so the agents' half of the work counts too.

mod agents;
#[path = "../../tests/distribute/api.rs"]
mod api;
mod operator;
mod process;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::operator::certs::{Names, renew};
use anyhow::{Context, Result, ensure};

use agents::Agents;
use process::{Measured, Operator};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// After a change; news of its progress is written within less.
const SETTLED: Duration = Duration::from_secs(10);
/// Policies, one hook each.
const POLICIES: usize = 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    process::raise_open_files()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match arguments.first().map(String::as_str) {
        Some("operator") => runtime.block_on(operator::run(arguments.get(1..).unwrap_or_default())),
        Some(nodes) => runtime.block_on(measure(nodes.parse().context("the number of nodes")?)),
        None => runtime.block_on(measure(5000)),
    }
}

async fn measure(nodes: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    write_certificates(folder.path())?;
    let mut operator = Operator::start(folder.path(), nodes, 0)?;
    let port = operator.port;
    let agents = Agents::new(port, fs::read_to_string(folder.path().join("ca.crt"))?);
    println!("{nodes} nodes, {POLICIES} policies, {} bytes of kernel profile", agents.profile.len());
    println!("{:<34} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "last ACK", "published", "CPU", "RSS", "peak RSS");

    // One node brings the kernel, and has everything compiled.
    let started = Instant::now();
    agents::spawn(&agents, 0..1);
    agents.all_have_acked(1, started, started + PATIENCE).await?;
    operator.last = operator.measure()?;
    let with_one = operator.last.rss_kib;
    let started = Instant::now();
    agents::spawn(&agents, 1..nodes);
    row("all nodes join", &mut operator, &agents, nodes, started).await?;
    // Every policy has become ready, which is one Event each.
    tokio::time::sleep(SETTLED).await;
    operator.last = operator.measure()?;
    for change in 1..=3 {
        let before = operator.asked().await?.change;
        let started = Instant::now();
        operator.change(change)?;
        row(&format!("change of one policy ({change})"), &mut operator, &agents, nodes, started).await?;
        written(&mut operator, before).await?;
    }
    let before = operator.measure()?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let after = operator.measure()?;
    print("20 s with counters only", None, None, after.since(before));
    let asked = operator.asked().await?;
    println!("{} writes of what was counted, and {} TokenReviews until here", asked.counters, asked.reviews);
    println!("memory per node: {} KiB", after.rss_kib.saturating_sub(with_one) / nodes as u64);

    operator.kill().await?;
    agents.forget();
    let mut operator = Operator::start(folder.path(), nodes, port)?;
    let started = Instant::now();
    row("operator restarted: all are back", &mut operator, &agents, nodes, started).await?;
    written(&mut operator, 0).await?;
    let before = operator.asked().await?.change;
    let started = Instant::now();
    operator.change(4)?;
    row("change of one policy (4)", &mut operator, &agents, nodes, started).await?;
    written(&mut operator, before).await?;
    let peak = operator.measure()?.peak_kib;
    operator.kill().await?;
    ensure!(peak <= 300 << 10, "the operator took {} MiB, more than 300", peak >> 10);
    Ok(())
}

/// Waits until the status is written, and tells how many writes that took. What is counted is written all the time, and is
/// not part of the change.
async fn written(operator: &mut Operator, before: u64) -> Result<()> {
    tokio::time::sleep(SETTLED).await;
    let writes = operator.asked().await?.change - before;
    println!("    {writes} writes to the API server for it, until {} s after it", SETTLED.as_secs());
    ensure!(writes <= 20, "a change has cost {writes} writes");
    Ok(())
}

async fn row(
    what: &str,
    operator: &mut Operator,
    agents: &Arc<Agents>,
    nodes: usize,
    started: Instant,
) -> Result<()> {
    let before = operator.last;
    let acked =
        agents.all_have_acked(nodes, started, started + PATIENCE).await.with_context(|| what.to_owned())?;
    let published = operator.programmed(started + PATIENCE).await.with_context(|| what.to_owned())?;
    let now = operator.measure()?;
    let took = (acked - started, published - started);
    print(what, Some(took.0), Some(took.1), now.since(before));
    operator.last = now;
    ensure!(took.0 <= Duration::from_secs(60), "{what}: {:?} to the last ACK", took.0);
    Ok(())
}

fn print(what: &str, acked: Option<Duration>, published: Option<Duration>, cost: Measured) {
    let seconds =
        |time: Option<Duration>| time.map_or(String::new(), |time| format!("{:.2} s", time.as_secs_f64()));
    println!(
        "{what:<34} {:>9} {:>9} {:>9} {:>5} MiB {:>5} MiB",
        seconds(acked),
        seconds(published),
        seconds(Some(cost.cpu)),
        cost.rss_kib >> 10,
        cost.peak_kib >> 10,
    );
}

fn write_certificates(folder: &Path) -> Result<()> {
    let names = Names::of_service("ferragon");
    let material = renew(None, &names, time::OffsetDateTime::now_utc())?.context("a certificate")?;
    fs::write(folder.join("ca.crt"), material.authorities())?;
    fs::write(folder.join("tls.crt"), &material.certificate)?;
    fs::write(folder.join("tls.key"), &material.key)?;
    Ok(())
}
