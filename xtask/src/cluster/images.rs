//! Input: programs of this host, container images in files.
//! Output: the images that every node has from its start, and images put into running nodes.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use e2e::Program;

use super::debian;
use super::image::{self, Content, Image, ImageFile};
use super::state::State;

/// The archive of the images that every node has: the first process of pods, and busybox for tests.
pub fn base() -> Result<Vec<u8>> {
    image::archive(&[pause()?, busybox()?])
}

fn pause() -> Result<Image> {
    let path = e2e::binaries()?.path(Program::Pause);
    Ok(Image {
        // containerd.toml names it.
        name: "docker.io/ferragon/pause:1".into(),
        files: vec![program("/pause", &path)?],
        entrypoint: vec!["/pause".into()],
        user: "65535:65535".into(),
        ..Image::default()
    })
}

/// The nodes' busybox: this host's, linked statically too, crashes where it looks up a name if it is of Debian 12.
fn busybox() -> Result<Image> {
    let path = debian::debian()?.join("usr/bin/busybox");
    let mut files = vec![program("/bin/busybox", &path)?];
    files.push(ImageFile { path: "/tmp".into(), content: Content::Folder { mode: 0o1777 } });
    for (path, text) in [("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("/etc/group", "root:x:0:\n")] {
        files.push(ImageFile {
            path: path.into(),
            content: Content::File { bytes: text.into(), mode: 0o644 },
        });
    }
    let list = Command::new(path).arg("--list").output().context("running the nodes' busybox")?;
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|applet| *applet != "busybox") {
        files.push(ImageFile {
            path: format!("/bin/{applet}"),
            content: Content::Symlink("/bin/busybox".into()),
        });
    }
    Ok(Image {
        name: "docker.io/library/busybox:1".into(),
        files,
        entrypoint: vec!["/bin/sh".into()],
        env: vec!["PATH=/bin".into()],
        ..Image::default()
    })
}

fn program(path: &str, from: &Path) -> Result<ImageFile> {
    let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    Ok(ImageFile { path: path.into(), content: Content::File { bytes, mode: 0o755 } })
}

/// Imports an archive into containerd of every node, all at the same time.
pub fn load(state: &State, tar: &Path) -> Result<()> {
    let nodes = state.nodes()?;
    if nodes.is_empty() {
        bail!("no cluster is up: cargo xtask cluster up");
    }
    let import = ["timeout", "300", "ctr", "-n", "k8s.io", "images", "import", "-"].map(str::to_owned);
    let mut started: Vec<(String, Child)> = Vec::new();
    for node in &nodes {
        let archive = File::open(tar).with_context(|| format!("reading {}", tar.display()))?;
        let mut command = node.command(state, &import);
        command.stdin(archive).stdout(Stdio::piped()).stderr(Stdio::piped());
        started.push((node.name(), command.spawn().context("starting dbclient")?));
    }
    for (node, child) in started {
        let output = child.wait_with_output().with_context(|| format!("waiting for {node}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            bail!("{node} does not take {} ({}): {}", tar.display(), output.status, said.trim());
        }
    }
    Ok(())
}
