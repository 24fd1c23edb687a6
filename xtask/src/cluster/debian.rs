//! Input: names of Debian packages, the cluster's binaries.
//! Output: the root file system of all nodes, an ext4 image in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use e2e::{Binaries, Program, cache};

use crate::vm::apt::{Archive, KEYRING, mirror};
use crate::vm::{run_quietly, size_mib};

/// What the nodes run, whatever this host is.
const SUITE: &str = "trixie";

/// Beyond the smallest Debian: what kubelet, containerd and kube-proxy call, and how we reach the node.
const PACKAGES: &str =
    "busybox-static,conntrack,dropbear-bin,iproute2,iptables,kmod,mount,procps,runc,util-linux";

/// For container images and what pods write.
const FREE_MIB: u64 = 4096;

/// Folders of no use in a node.
const LEFT_OUT: [&str; 5] =
    ["usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists"];

/// The root disk's image. Made at the first use, in about two minutes; the binaries have been built before.
pub fn root_image(binaries: &Binaries) -> Result<PathBuf> {
    let recipe = include_bytes!("debian.rs");
    let built = binaries.folder.as_os_str().as_encoded_bytes();
    let digest = cache::digest([&recipe[..], built]);
    let make = |folder: &Path| make_image(binaries, folder).context("making the nodes' root image");
    Ok(cache::keep("root", &digest, make)?.join("root.ext4"))
}

fn make_image(binaries: &Binaries, folder: &Path) -> Result<()> {
    let debian = debian()?;
    eprintln!("cluster: making the nodes' root image …");
    let work = tempfile::tempdir_in(folder).context("creating a folder in the cache")?;
    let root = work.path().join("root");
    run_quietly(Command::new("cp").arg("-a").arg(debian).arg(&root))?;
    install(binaries, &root)?;
    let size = size_mib(&root)? * 5 / 4 + FREE_MIB;
    let image = folder.join("root.ext4");
    run_quietly(Command::new("mkfs.ext4").args(["-q", "-d"]).arg(&root).arg(&image).arg(format!("{size}M")))
}

/// Puts the binaries where their users look for them.
fn install(binaries: &Binaries, root: &Path) -> Result<()> {
    let copy = |from: PathBuf, to: PathBuf| -> Result<()> {
        fs::copy(&from, &to)
            .map(drop)
            .with_context(|| format!("copying {} to {}", from.display(), to.display()))
    };
    let plugins = root.join("opt/cni/bin");
    fs::create_dir_all(&plugins).with_context(|| format!("creating {}", plugins.display()))?;
    for program in [Program::CniBridge, Program::CniLoopback, Program::CniHostLocal] {
        copy(binaries.path(program), plugins.join(program.name()))?;
    }
    let programs = root.join("usr/bin");
    for program in [Program::Containerd, Program::Shim, Program::Ctr, Program::Kubelet] {
        copy(binaries.path(program), programs.join(program.name()))?;
    }
    for folder in ["etc/node", "usr/lib/modules"] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("creating /{folder} of the node"))?;
    }
    // The same program under another name.
    std::os::unix::fs::symlink(Program::Kubelet.name(), programs.join(Program::Proxy.name()))
        .context("naming kube-proxy")
}

/// A small Debian, as a folder.
pub fn debian() -> Result<PathBuf> {
    let digest = cache::digest([SUITE.as_bytes(), PACKAGES.as_bytes(), LEFT_OUT.concat().as_bytes()]);
    let make = |folder: &Path| {
        eprintln!("cluster: installing Debian {SUITE} for the nodes, once (about a minute) …");
        if !rustix::process::geteuid().is_root() {
            bail!("debootstrap must run as root: sudo cargo xtask cluster …");
        }
        let root = folder.join("root");
        let mut bootstrap = Command::new("debootstrap");
        bootstrap.args([
            "--variant=minbase",
            &format!("--keyring={KEYRING}"),
            &format!("--include={PACKAGES}"),
        ]);
        bootstrap.arg(SUITE).arg(&root).arg(mirror(Archive::Main)?);
        run_quietly(&mut bootstrap).context("installing Debian for the nodes")?;
        for name in LEFT_OUT {
            fs::remove_dir_all(root.join(name)).with_context(|| format!("removing /{name} of the node"))?;
        }
        Ok(())
    };
    Ok(cache::keep("debian", &digest, make)?.join("root"))
}
