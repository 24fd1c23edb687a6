//! Input: the command line of `cargo xtask …`, what CI and people run.
//! Output: one subcommand run, each in its own file; its exit status is ours.

mod bench;
mod build;
mod cluster;
mod crds;
mod demo;
mod demo_host;
mod deps;
mod e2e;
mod fixtures;
mod fuzz;
mod image;
mod size;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// What CI and people run.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
enum Task {
    /// Build static binaries, which run in a VM or on any host without installing anything
    Build(build::Args),
    /// Boot a stock Debian kernel in QEMU, run one command in it, exit with its status
    Vm(vm::Args),
    /// Get the newest point release of every kernel that `vm` boots
    Kernels,
    /// Write crds/generated, or with --check compare it with the types
    Crds(crds::Args),
    /// Mutate policies and kernel profiles and see that the compiler never panics, hangs or contradicts itself
    Fuzz(fuzz::Args),
    /// Write policy-compiler/fixtures/*.btf, or with --check compare them with kernel.c
    Fixtures(fixtures::Args),
    /// Show who imports what; with --check compare it with xtask/deps.golden, and check licences and sources
    Deps(deps::Args),
    /// A real Kubernetes with nodes in VMs: up, down, kubectl, helm, load-image, node, test
    Cluster(cluster::Args),
    /// Container images of operator and agent, made from static binaries without Docker
    Image(image::Args),
    /// The cases in e2e/cases, on real kernels in VMs
    E2e(e2e::Args),
    /// Instructions per operation with and without policies, in a VM that counts them
    Bench(bench::Args),
    /// The size of the static release build, against its limit
    Size(size::Args),
    /// The walk-through on a real Kubernetes with nodes in VMs: helm install, kubectl apply, events, printed live
    Demo(demo::Args),
    /// The walk-through on one host: ferra with the example policies in a disposable VM, printed live
    DemoHost(demo_host::Args),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Build(args) => build::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Kernels => vm::fetch_kernels(),
        Task::Crds(args) => crds::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Fixtures(args) => fixtures::run(&args),
        Task::Deps(args) => deps::run(&args),
        Task::Cluster(args) => cluster::run(&args),
        Task::Image(args) => image::run(&args),
        Task::E2e(args) => e2e::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Size(args) => size::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::DemoHost(args) => demo_host::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
