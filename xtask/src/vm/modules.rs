//! Input: a kernel series.
//! Output: the modules of its kernel image, in the cache: a disk for `/usr/lib/modules`, and what an initramfs needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use e2e::cache;

use super::apt::Package;
use super::kernel::{Kernel, package_of, unpack};

/// Drivers without which the root disk is not found; those that they need come with them.
const DRIVERS: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// Free space on the disk of modules, which is never written: as small as mkfs.ext4 accepts.
const SLACK_MIB: u64 = 16;

/// A kernel's modules.
pub struct Modules {
    folder: PathBuf,
}

impl Modules {
    /// Those of the newest image; downloads its package again if the cache has them not.
    pub fn of(kernel: Kernel) -> Result<Self> {
        let image = kernel.image()?;
        let package = modules_package(package_of(&image)?);
        let (name, version) = (package.name.as_bytes(), package.version.as_bytes());
        let recipe = include_bytes!("modules.rs");
        let digest = cache::digest([name, version, recipe]);
        let kind = format!("modules-{}", kernel.series());
        let make = |folder: &Path| {
            let what = format!("getting the modules of kernel {}", kernel.series());
            eprintln!("cluster: {what} …");
            make(kernel, &package, folder).context(what)
        };
        Ok(Modules { folder: cache::keep(&kind, &digest, make)? })
    }

    /// An ext4 image with the folder RELEASE.
    pub fn disk(&self) -> PathBuf {
        self.folder.join("modules.ext4")
    }

    /// Drivers, not compressed, for insmod in the order of their names.
    pub fn drivers(&self) -> PathBuf {
        self.folder.join("drivers")
    }
}

/// Since the image is in `linux-binary-…`, modules are in a package beside it.
fn modules_package(image: Package) -> Package {
    match image.name.strip_prefix("linux-binary-") {
        Some(release) => Package { name: format!("linux-modules-{release}"), version: image.version },
        None => image,
    }
}

fn make(kernel: Kernel, package: &Package, folder: &Path) -> Result<()> {
    let work = tempfile::tempdir_in(folder).context("creating a folder in the cache")?;
    let unpacked = unpack(&kernel.apt()?, package, work.path())?;
    let trees = ["usr/lib/modules", "lib/modules"].map(|tree| unpacked.join(tree));
    let tree = trees.iter().find(|tree| tree.is_dir()).context("the package has no modules")?;
    // depmod looks below lib/modules.
    let base = work.path().join("base");
    fs::create_dir_all(base.join("lib")).context("sorting modules")?;
    let modules = base.join("lib/modules");
    fs::rename(tree, &modules).context("sorting modules")?;
    let release = fs::read_dir(&modules)?.next().context("the package has no modules")??.file_name();
    let release = release.to_string_lossy().into_owned();
    // An emulated CPU decompresses slowly.
    run(Command::new("find").arg(&modules).args(["-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"]))?;
    run(Command::new("depmod").arg("-b").arg(&base).arg(&release))?;
    let list =
        fs::read_to_string(modules.join(&release).join("modules.dep")).context("reading modules.dep")?;
    let drivers = folder.join("drivers");
    fs::create_dir(&drivers).context("copying drivers")?;
    for (number, path) in in_order(&list, &DRIVERS).iter().enumerate() {
        let to = drivers.join(format!("{number:02}-{}.ko", stem(path)));
        fs::copy(modules.join(&release).join(path), to).with_context(|| format!("copying {path}"))?;
    }
    let size = size_mib(&modules)? * 5 / 4 + SLACK_MIB;
    let disk = folder.join("modules.ext4");
    run(Command::new("mkfs.ext4")
        .args(["-q", "-O", "^has_journal", "-d"])
        .arg(&modules)
        .arg(&disk)
        .arg(format!("{size}M")))
}

/// Paths of modules and of those they need, each after what it needs. Modules that are built in are not in the list.
fn in_order(list: &str, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for name in names {
        let line = list.lines().filter_map(|line| line.split_once(':'));
        let Some((path, needs)) = line.into_iter().find(|(path, _)| stem(path) == *name) else { continue };
        // depmod lists the nearest first: the last needs nothing.
        for path in needs.split_whitespace().rev().chain([path]) {
            if seen.insert(path) {
                found.push(path.to_owned());
            }
        }
    }
    found
}

/// The module's name, with underscores as the kernel has it.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// Space that a folder takes.
pub fn size_mib(folder: &Path) -> Result<u64> {
    let output =
        Command::new("du").args(["-sm", "--apparent-size"]).arg(folder).output().context("starting du")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let size = text.split_whitespace().next().and_then(|size| size.parse().ok());
    size.with_context(|| format!("du -sm {} said {text:?}", folder.display()))
}

/// Runs a command that is expected to succeed; what it says is shown only if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {program} (make setup installs it)"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let end: Vec<&str> = text.trim().lines().rev().take(10).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        bail!("{command:?} failed ({}): {}", output.status, end.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{in_order, modules_package, stem};
    use crate::vm::apt::Package;

    const LIST: &str = "kernel/drivers/virtio/virtio.ko:\n\
                        kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko\n\
                        kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n";

    #[test]
    fn a_driver_comes_after_what_it_needs_and_once() {
        let order = in_order(LIST, &["virtio_ring", "virtio_blk", "virtio_pci"]);
        let names: Vec<_> = order.iter().map(|path| stem(path)).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_blk"]);
    }

    #[test]
    fn modules_of_a_newer_kernel_have_their_own_package() {
        let package = |name: &str| modules_package(Package { name: name.into(), version: "1".into() }).name;
        assert_eq!(package("linux-binary-7.3.4+deb13-cloud-amd64"), "linux-modules-7.3.4+deb13-cloud-amd64");
        assert_eq!(package("linux-image-6.1.0-56-cloud-amd64"), "linux-image-6.1.0-56-cloud-amd64");
    }
}
