//! Input: files and what to run.
//! Output: a container image as a docker-archive tar, made without Docker; the same bytes for the same input.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::tar::{Archive, Kind};

/// One image of one layer.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// With registry and tag, as pods name it: `docker.io/library/busybox:1`.
    pub name: String,
    /// What is in it. Folders above a file are made (root's, 0755).
    pub files: Vec<ImageFile>,
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// `UID` or `UID:GID`; empty: root.
    pub user: String,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// A file of an image.
#[derive(Clone, Debug)]
pub struct ImageFile {
    /// Absolute.
    pub path: String,
    /// What it is.
    pub content: Content,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub enum Content {
    /// A file of root with its permission bits.
    File { bytes: Vec<u8>, mode: u32 },
    /// A folder with its permission bits, such as 0o1777 for /tmp.
    Folder { mode: u32 },
    /// A symbolic link to this.
    Symlink(String),
}

/// The archive of some images, which `docker load` and `ctr images import` read.
///
/// # Errors
/// A name has no registry or tag, a path is relative or there twice, or a name is too long for tar.
pub fn archive(images: &[Image]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let mut manifest = Vec::new();
    let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for image in images {
        let tell = || format!("making image {}", image.name);
        image.check_name().with_context(tell)?;
        let layer = image.layer().with_context(tell)?;
        let layer_digest = hex(&layer);
        let config = image.config(&layer_digest);
        let (config_name, layer_name) = (format!("{}.json", hex(&config)), format!("{layer_digest}.tar"));
        manifest.push(json!({"Config": config_name, "RepoTags": [image.name], "Layers": [layer_name]}));
        parts.extend([(config_name, config), (layer_name, layer)]);
    }
    archive.entry("manifest.json", Kind::File, 0o644, json!(manifest).to_string().as_bytes())?;
    for (name, bytes) in parts {
        archive.entry(&name, Kind::File, 0o644, &bytes)?;
    }
    Ok(archive.finish())
}

impl Image {
    /// The archive of this image alone; see [`archive`].
    ///
    /// # Errors
    /// See there.
    pub fn archive(&self) -> Result<Vec<u8>> {
        archive(std::slice::from_ref(self))
    }

    /// A name that containerd takes as it is, as kubelets ask for it.
    fn check_name(&self) -> Result<()> {
        let repository = self.name.rsplit_once(':').map(|(repository, _)| repository);
        if !repository.is_some_and(|name| name.contains('/') && !name.ends_with(':')) {
            bail!("name {:?}: give registry, name and tag, such as docker.io/library/busybox:1", self.name);
        }
        Ok(())
    }

    /// What a runtime needs to know, as JSON.
    fn config(&self, layer_digest: &str) -> Vec<u8> {
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": self.user, "Env": self.env, "Entrypoint": self.entrypoint, "Labels": self.labels,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        });
        config.to_string().into_bytes()
    }

    /// The files, sorted, each after the folders above it.
    fn layer(&self) -> Result<Vec<u8>> {
        let mut files: BTreeMap<&str, &Content> = BTreeMap::new();
        for file in &self.files {
            let path = file.path.strip_prefix('/').filter(|path| path.split('/').all(is_name));
            let path = path.with_context(|| format!("{:?} is not an absolute path of a file", file.path))?;
            if files.insert(path, &file.content).is_some() {
                bail!("{} is there twice", file.path);
            }
        }
        let parents: BTreeSet<&str> = files.keys().flat_map(|path| above(path)).collect();
        let plain = Content::Folder { mode: 0o755 };
        for parent in parents {
            files.entry(parent).or_insert(&plain);
        }
        let mut archive = Archive::default();
        for (path, content) in files {
            match content {
                Content::File { bytes, mode } => archive.entry(path, Kind::File, *mode, bytes)?,
                Content::Folder { mode } => archive.entry(&format!("{path}/"), Kind::Folder, *mode, &[])?,
                Content::Symlink(to) => archive.symlink(path, to)?,
            }
        }
        Ok(archive.finish())
    }
}

fn is_name(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}

/// `a`, `a/b` of `a/b/c`.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Content, Image, ImageFile, archive};

    fn image(files: &[&str]) -> Image {
        let file = |path: &&str| ImageFile {
            path: (*path).to_owned(),
            content: Content::File { bytes: b"x".to_vec(), mode: 0o755 },
        };
        Image {
            name: "docker.io/a/b:1".into(),
            files: files.iter().map(file).collect(),
            entrypoint: vec!["/usr/bin/b".into()],
            ..Image::default()
        }
    }

    fn tar(dir: &std::path::Path, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("tar").args(arguments).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    #[test]
    fn the_archive_names_its_parts_by_digest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("i.tar"), image(&["/usr/bin/b", "/a"]).archive().unwrap()).unwrap();
        tar(dir.path(), &["-xf", "i.tar"]);
        let read = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(dir.path().join(name)).unwrap()).unwrap()
        };
        let manifest = &read("manifest.json")[0];
        let config = read(manifest["Config"].as_str().unwrap());
        let layer = manifest["Layers"][0].as_str().unwrap();
        assert_eq!(manifest["RepoTags"][0], "docker.io/a/b:1");
        assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/b");
        let digest = Command::new("sha256sum").arg(dir.path().join(layer)).output().unwrap().stdout;
        let digest = String::from_utf8(digest).unwrap()[..64].to_owned();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{digest}"));
        let listed = String::from_utf8(tar(dir.path(), &["-tf", layer])).unwrap();
        assert_eq!(listed, "a\nusr/\nusr/bin/\nusr/bin/b\n");
    }

    #[test]
    fn images_that_share_a_layer_share_it_in_the_archive() {
        let dir = tempfile::tempdir().unwrap();
        let mut other = image(&["/a"]);
        other.name = "docker.io/a/c:2".into();
        other.entrypoint = vec!["/c".into()];
        std::fs::write(dir.path().join("i.tar"), archive(&[image(&["/a"]), other]).unwrap()).unwrap();
        let listed = String::from_utf8(tar(dir.path(), &["-tf", "i.tar"])).unwrap();
        let ends = |end| listed.lines().filter(|name| name.ends_with(end)).count();
        assert_eq!((listed.lines().count(), ends(".tar"), ends(".json")), (4, 1, 3), "{listed}");
    }

    #[test]
    fn order_of_files_makes_no_difference_but_content_does() {
        let [one, two] = [["/a", "/b"], ["/b", "/a"]].map(|files| image(&files).archive().unwrap());
        assert_eq!(one, two);
        assert_ne!(one, image(&["/a", "/c"]).archive().unwrap());
    }

    #[test]
    fn names_that_containerd_would_complete_are_refused() {
        for name in ["b:1", "docker.io/a/b", "localhost:5000/b", ""] {
            let mut image = image(&[]);
            image.name = name.into();
            assert!(image.archive().is_err(), "{name}");
        }
    }

    #[test]
    fn paths_are_absolute_plain_and_given_once() {
        for files in [&["a"][..], &["/a/../b"], &["/"], &["/a", "/a"], &["/a//b"]] {
            assert!(image(files).archive().is_err(), "{files:?}");
        }
    }
}
