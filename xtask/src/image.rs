//! Input: this workspace.
//! Output: container images of operator and agent, as docker-archive tars, made from static binaries without Docker.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cluster::image::{Content, Image, ImageFile};
use crate::{build, workspace};

/// Where the chart looks for images unless told otherwise.
pub const REGISTRY: &str = "docker.io/ferragon";

#[derive(clap::Args)]
pub struct Args {
    /// Where the archives are written; default: images, below the target folder
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Tag of both images; default: the version of the workspace
    #[arg(long)]
    tag: Option<String>,
    /// Build without optimisation: faster to build, slower to run
    #[arg(long)]
    debug: bool,
}

/// Runs `cargo xtask image`.
pub fn run(args: &Args) -> Result<ExitCode> {
    let tag = args.tag.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    let folder = args.output.clone().unwrap_or_else(folder);
    for path in make(&folder, tag, args.debug)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Where images are written by default.
pub fn folder() -> PathBuf {
    workspace::target_dir().join("images")
}

/// Builds the binaries and writes both images; gives their paths, the operator's first.
pub fn make(folder: &std::path::Path, tag: &str, debug: bool) -> Result<Vec<PathBuf>> {
    let built = build::products(debug)?;
    let path = |name: &str| {
        let found = built.iter().find(|(built, _)| built == name);
        found.map(|(_, path)| path.clone()).with_context(|| format!("cargo did not make {name}"))
    };
    let (operator, agent) = (vec![path("ferragon-operator")?], vec![path("ferragon")?, path("ferra")?]);
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let operator = image("ferragon-operator", tag, operator, "65532:65532")?;
    let agent = image("ferragon", tag, agent, "0:0")?;
    let mut written = Vec::new();
    for image in [operator, agent] {
        let name = image.name.rsplit('/').next().unwrap_or_default().replace(':', "-");
        let path = folder.join(format!("{name}.tar"));
        fs::write(&path, image.archive()?).with_context(|| format!("writing {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// Programs in /usr/bin, the first of which is run; nothing else but what programs expect of every system.
fn image(name: &str, tag: &str, programs: Vec<PathBuf>, user: &str) -> Result<Image> {
    let mut files = vec![
        ImageFile { path: "/tmp".into(), content: Content::Folder { mode: 0o1777 } },
        text("/etc/passwd", "root:x:0:0:root:/:/\nferragon:x:65532:65532:ferragon:/:/\n"),
        text("/etc/group", "root:x:0:\nferragon:x:65532:\n"),
    ];
    let mut entrypoint = Vec::new();
    for program in programs {
        let bytes = fs::read(&program).with_context(|| format!("reading {}", program.display()))?;
        let file = program.file_name().context("a program without a name")?.to_string_lossy().into_owned();
        let path = format!("/usr/bin/{file}");
        if entrypoint.is_empty() {
            entrypoint.push(path.clone());
        }
        files.push(ImageFile { path, content: Content::File { bytes, mode: 0o755 } });
    }
    let labels = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), name.to_owned()),
        ("org.opencontainers.image.version".to_owned(), tag.to_owned()),
        ("org.opencontainers.image.licenses".to_owned(), env!("CARGO_PKG_LICENSE").to_owned()),
    ]);
    Ok(Image {
        name: format!("{REGISTRY}/{name}:{tag}"),
        files,
        entrypoint,
        env: vec!["PATH=/usr/bin".into()],
        user: user.to_owned(),
        labels,
    })
}

fn text(path: &str, text: &str) -> ImageFile {
    ImageFile { path: path.into(), content: Content::File { bytes: text.into(), mode: 0o644 } }
}
