//! Input: a kernel series.
//! Output: the newest point release's image, from the cache; the package lists are asked once a day.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::apt::{Apt, Archive, Package, Suite};
use crate::workspace;

/// How long the choice of a point release holds.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// How long after a failure the mirror is left alone, if there is an image to use.
const RETRY: Duration = Duration::from_secs(3600);

/// The kernels that Ferragon is tested on: stock Debian, the "cloud" build, which boots without modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kernel {
    #[value(name = "5.10")]
    V5_10,
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    #[value(name = "6.18")]
    V6_18,
    #[value(name = "7")]
    V7,
}

impl Kernel {
    /// All of them, oldest first.
    pub const ALL: [Kernel; 5] = [Kernel::V5_10, Kernel::V6_1, Kernel::V6_12, Kernel::V6_18, Kernel::V7];

    /// As on the command line: the beginning of the kernel's version.
    pub fn series(self) -> &'static str {
        match self {
            Kernel::V5_10 => "5.10",
            Kernel::V6_1 => "6.1",
            Kernel::V6_12 => "6.12",
            Kernel::V6_18 => "6.18",
            Kernel::V7 => "7",
        }
    }

    /// The Debian suites that carry the series.
    fn suites(self) -> Vec<Suite> {
        let stable = |name, security| {
            vec![Suite { name, archive: Archive::Main }, Suite { name: security, archive: Archive::Security }]
        };
        match self {
            Kernel::V5_10 => stable("bullseye", "bullseye-security"),
            Kernel::V6_1 => stable("bookworm", "bookworm-security"),
            Kernel::V6_12 => stable("trixie", "trixie-security"),
            Kernel::V6_18 | Kernel::V7 => vec![Suite { name: "trixie-backports", archive: Archive::Main }],
        }
    }

    /// The path of the newest image. May download; says so on stderr.
    pub fn image(self) -> Result<PathBuf> {
        let dir = workspace::cache_dir()?.join("kernels").join(self.series());
        let make = || format!("creating {}", dir.display());
        fs::create_dir_all(&dir).with_context(make)?;
        // One at a time: VMs are started in parallel.
        let lock = File::create(dir.join("lock")).with_context(make)?;
        lock.lock().with_context(|| format!("locking {}", dir.display()))?;
        let cache = Cache { dir };
        let cached = cache.current();
        match cached {
            Some(image) if cache.holds() => Ok(image),
            cached => match (self.newest(&cache), cached) {
                (Ok(image), _) => Ok(image),
                (Err(error), Some(image)) => {
                    let name = image.file_name().unwrap_or_default().display();
                    eprintln!(
                        "vm: could not look for a newer {} kernel, using {name}: {error:#}",
                        self.series()
                    );
                    cache.keep_for(RETRY)?;
                    Ok(image)
                }
                (Err(error), None) => Err(error.context(format!("getting a {} kernel", self.series()))),
            },
        }
    }

    /// apt on the suites of the series, with the package lists of now.
    pub fn apt(self) -> Result<Apt> {
        let dir = workspace::cache_dir()?.join("kernels").join(self.series());
        Apt::update(&dir.join("apt"), &self.suites())
    }

    /// Finds the newest point release and puts it into the cache unless it is there.
    fn newest(self, cache: &Cache) -> Result<PathBuf> {
        eprintln!("vm: looking for the newest {} kernel …", self.series());
        let apt = self.apt()?;
        let names = apt.names("linux-")?;
        let images: Vec<&str> = self.images(&names);
        if images.is_empty() {
            let suites: Vec<_> = self.suites().iter().map(|suite| suite.name).collect();
            bail!("no cloud kernel {} in {}; give one with --image", self.series(), suites.join(" or "));
        }
        let package = apt.show(images)?.into_iter().max_by_key(|package| order(&package.version));
        let package =
            package.context("apt-cache show told nothing about the kernels that apt-cache pkgnames named")?;
        let image = cache.dir.join(format!("vmlinuz-{}_{}", package.name, package.version));
        if !image.is_file() {
            eprintln!("vm: fetching {} {} …", package.name, package.version);
            fetch(&apt, &package, &image)?;
        }
        cache.select(&image)?;
        Ok(image)
    }

    /// The packages with an image of this series. Newer kernels have it in `linux-binary-…`, and `linux-image-…` is
    /// then an empty package that needs it.
    fn images<'a>(self, names: &'a [String]) -> Vec<&'a str> {
        let release = |name: &'a String, prefix: &str| self.release(name, prefix);
        let binaries: Vec<&str> = names.iter().filter_map(|name| release(name, "linux-binary-")).collect();
        let chosen = |name: &&'a String| match release(name, "linux-image-") {
            Some(image) => !binaries.contains(&image),
            None => release(name, "linux-binary-").is_some(),
        };
        names.iter().filter(chosen).map(String::as_str).collect()
    }

    /// The kernel release in a package's name, if it is a cloud kernel of this series.
    fn release<'a>(self, package: &'a str, prefix: &str) -> Option<&'a str> {
        let release = package.strip_prefix(prefix)?;
        let number = release.strip_prefix(self.series())?.strip_prefix('.')?;
        let cloud =
            number.starts_with(|first: char| first.is_ascii_digit()) && number.ends_with("-cloud-amd64");
        cloud.then_some(release)
    }
}

/// Takes the image out of a package. The name appears only when the file is complete.
fn fetch(apt: &Apt, package: &Package, image: &Path) -> Result<()> {
    let dir = image.parent().context("the image has no folder")?;
    let work =
        tempfile::tempdir_in(dir).with_context(|| format!("creating a folder in {}", dir.display()))?;
    let unpacked = unpack(apt, package, work.path())?;
    let found = find_image(&unpacked)?.with_context(|| format!("no vmlinuz in package {}", package.name))?;
    fs::rename(&found, image).with_context(|| format!("moving {} to {}", found.display(), image.display()))
}

/// Downloads a package and unpacks it in a folder below `work`.
pub fn unpack(apt: &Apt, package: &Package, work: &Path) -> Result<PathBuf> {
    let deb = apt.download(package, work)?;
    let unpacked = work.join("unpacked");
    let status =
        Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked).status().context("starting dpkg-deb")?;
    if !status.success() {
        bail!("dpkg-deb -x {} failed ({status})", deb.display());
    }
    Ok(unpacked)
}

/// The package that an image in the cache came from: `vmlinuz-NAME_VERSION`.
pub fn package_of(image: &Path) -> Result<Package> {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let parts = name.strip_prefix("vmlinuz-").and_then(|name| name.split_once('_'));
    let (name, version) = parts.with_context(|| format!("{} names no package", image.display()))?;
    Ok(Package { name: name.to_owned(), version: version.to_owned() })
}

/// `boot/vmlinuz-RELEASE` or `usr/lib/modules/RELEASE/vmlinuz`.
fn find_image(unpacked: &Path) -> Result<Option<PathBuf>> {
    for folder in ["boot", "usr/lib/modules", "lib/modules"] {
        let Ok(entries) = fs::read_dir(unpacked.join(folder)) else { continue };
        for entry in entries {
            let path = entry.context("reading the unpacked kernel")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("vmlinuz-") {
                return Ok(Some(path));
            }
            if path.join("vmlinuz").is_file() {
                return Ok(Some(path.join("vmlinuz")));
            }
        }
    }
    Ok(None)
}

/// Sorts Debian versions of one series: the numbers in it, in turn; what follows `~` only marks a rebuild.
fn order(version: &str) -> Vec<u64> {
    let version = version.split('~').next().unwrap_or_default();
    version
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// One series' folder: images, the name of the one to use, and until when that holds.
struct Cache {
    dir: PathBuf,
}

impl Cache {
    fn current(&self) -> Option<PathBuf> {
        let name = fs::read_to_string(self.dir.join("current")).ok()?;
        let image = self.dir.join(name.trim());
        image.is_file().then_some(image)
    }

    fn holds(&self) -> bool {
        let until = fs::read_to_string(self.dir.join("until")).ok().and_then(|text| text.trim().parse().ok());
        // A time far ahead would be of a clock that was wrong.
        until.is_some_and(|until: u64| (now()..now() + FRESH.as_secs() + 1).contains(&until))
    }

    fn keep_for(&self, time: Duration) -> Result<()> {
        let until = now() + time.as_secs();
        fs::write(self.dir.join("until"), until.to_string())
            .with_context(|| format!("writing {}", self.dir.display()))
    }

    /// Makes an image the one to use, and removes the older ones.
    fn select(&self, image: &Path) -> Result<()> {
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let tell = || format!("writing {}", self.dir.display());
        fs::write(self.dir.join("current"), name.as_bytes()).with_context(tell)?;
        self.keep_for(FRESH)?;
        for entry in fs::read_dir(&self.dir).with_context(tell)?.flatten() {
            let other = entry.file_name().to_string_lossy().into_owned();
            if other.starts_with("vmlinuz-") && other != name {
                fs::remove_file(entry.path()).with_context(tell)?;
            }
        }
        Ok(())
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{Kernel, order};

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn point_releases_are_compared_as_numbers() {
        assert!(order("6.12.117-1") > order("6.12.99-2"));
        assert!(order("7.2.13-1~bpo13+1") < order("7.3.4-1~bpo13+1"));
        assert!(order("5.10.262-1") < order("5.10.262-2"));
    }

    #[test]
    fn a_series_is_not_the_start_of_another_number() {
        let list = names(&[
            "linux-image-6.12.117+deb13-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-cloud-amd64",
        ]);
        assert_eq!(Kernel::V6_1.images(&list), ["linux-image-6.1.0-56-cloud-amd64"]);
    }

    #[test]
    fn the_empty_image_package_gives_way_to_the_binary() {
        let list = names(&[
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
            "linux-image-7.1.1+deb13-cloud-amd64",
        ]);
        let found = Kernel::V7.images(&list);
        assert_eq!(found, ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-image-7.1.1+deb13-cloud-amd64"]);
    }
}
