//! Input: Debian suites of which this host may use none itself.
//! Output: their package lists and packages, through apt with folders of its own: the host's apt is only asked for
//! its mirror, and apt checks signatures and checksums.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Signs all suites of Debian; of package debian-archive-keyring.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Names the mirror where the host's apt does not.
const MIRROR_VARIABLE: &str = "FERRAGON_DEBIAN_MIRROR";

/// Which of Debian's archives a suite is in.
#[derive(Clone, Copy)]
pub enum Archive {
    Main,
    Security,
}

/// One suite, such as `bookworm-security`.
pub struct Suite {
    pub name: &'static str,
    pub archive: Archive,
}

/// A package and the version that is the newest in its suites.
pub struct Package {
    pub name: String,
    pub version: String,
}

/// apt on some suites, with all state in one folder.
pub struct Apt {
    config: PathBuf,
}

impl Apt {
    /// Reads the package lists of the suites anew. State is kept in `dir`.
    pub fn update(dir: &Path, suites: &[Suite]) -> Result<Self> {
        let mut sources = String::new();
        for suite in suites {
            let mirror = mirror(suite.archive)?;
            sources.push_str(&format!("deb [signed-by={KEYRING}] {mirror} {} main\n", suite.name));
        }
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(folder)).with_context(|| format!("creating {}", dir.display()))?;
        }
        let shown = dir.display();
        let config = format!(
            "Dir::State \"{shown}\";\nDir::State::lists \"{shown}/lists\";\nDir::State::status \"/dev/null\";\n\
             Dir::Cache \"{shown}/cache\";\nDir::Etc::sourcelist \"{shown}/sources.list\";\n\
             Dir::Etc::sourceparts \"-\";\nDir::Etc::preferencesparts \"-\";\nAPT::Architecture \"amd64\";\n\
             APT::Sandbox::User \"root\";\nAPT::Update::Error-Mode \"any\";\nAcquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\nAcquire::Retries \"2\";\n\
             Acquire::http::Timeout \"15\";\nAcquire::https::Timeout \"15\";\n"
        );
        fs::write(dir.join("sources.list"), sources).with_context(|| format!("writing into {shown}"))?;
        fs::write(dir.join("apt.conf"), config).with_context(|| format!("writing into {shown}"))?;
        let apt = Apt { config: dir.join("apt.conf") };
        apt.run("apt-get", ["-q", "update"], dir)?;
        Ok(apt)
    }

    /// Names of all packages that start with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let list = self.run("apt-cache", ["pkgnames", prefix], Path::new("/"))?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// The newest versions of packages.
    pub fn show<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Package>> {
        let arguments = ["show", "--no-all-versions"].into_iter().chain(names);
        let records = self.run("apt-cache", arguments, Path::new("/"))?;
        Ok(records.split("\n\n").filter_map(Package::parse).collect())
    }

    /// Downloads a package; gives the file's path. The caller removes it.
    pub fn download(&self, package: &Package, to: &Path) -> Result<PathBuf> {
        let deb = |dir: &Path| -> Result<Option<PathBuf>> {
            let found = fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path()));
            Ok(found.into_iter().find(|path| path.extension() == Some(OsStr::new("deb"))))
        };
        let wanted = format!("{}={}", package.name, package.version);
        self.run("apt-get", ["-q", "download", &wanted], to)?;
        deb(to)?.with_context(|| {
            format!("apt-get download {wanted} succeeded but left no .deb in {}", to.display())
        })
    }

    fn run<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a str>,
        dir: &Path,
    ) -> Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).env("APT_CONFIG", &self.config).env("LC_ALL", "C").current_dir(dir);
        let output =
            command.output().with_context(|| format!("starting {program}; is this a Debian host?"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("{command:?} failed ({}): {}", output.status, text.trim().replace('\n', "; "));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Package {
    fn parse(record: &str) -> Option<Self> {
        let field = |name| {
            record.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        Some(Package { name: field("Package:")?, version: field("Version:")? })
    }
}

/// Where the host's own apt gets Debian from.
pub fn mirror(archive: Archive) -> Result<String> {
    if let Ok(mirror) = std::env::var(MIRROR_VARIABLE) {
        let mirror = mirror.trim_end_matches('/');
        return Ok(match archive {
            Archive::Main => mirror.to_owned(),
            Archive::Security => format!("{mirror}-security"),
        });
    }
    let label = match archive {
        Archive::Main => "Debian",
        Archive::Security => "Debian-Security",
    };
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"])
        .output()
        .context("asking apt for its mirror; is this a Debian host?")?;
    let targets = String::from_utf8_lossy(&targets.stdout).into_owned();
    let found = targets.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(' '));
    found.map(str::to_owned).with_context(|| {
        format!(
            "apt knows no mirror of {label} here: run `apt-get update`, or set {MIRROR_VARIABLE} to the address of a \
             Debian mirror (its security archive is taken to be beside it, with -security added)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::Package;

    #[test]
    fn a_record_gives_name_and_version() {
        let package = Package::parse("Package: linux-image-x\nSource: y (9)\nVersion: 6.1.192-2\n").unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("linux-image-x", "6.1.192-2"));
        assert!(Package::parse("").is_none());
    }
}
