//! In: the cgroup of a new image. Out: the first 31 characters of its container's id, nothing on the host; and whether
//! its place shows that it is a pod's.
//!
//! Names alone show nothing: whoever has a part of the hierarchy delegated to him may name his cgroups like another's.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::pods::{hierarchy, is_below_all_pods};

/// Characters of a container id that are shown.
const SHOWN: usize = 31;

/// Characters of a whole container id.
const WHOLE: usize = 64;

/// Cgroups remembered at most, 100 bytes each: 800 KiB. A node has some hundred containers; when this many cgroups
/// have come and gone, all are forgotten and looked up again.
const REMEMBERED: usize = 8192;

/// The container of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Container {
    /// What is shown of its id; empty on the host.
    pub(super) id: String,
    pub(super) place: Where,
}

/// Where a container's cgroup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Where {
    /// Not known: the process has gone, or the host has no unified hierarchy.
    #[default]
    Unknown,
    /// Below that of all pods.
    Pods,
    /// Elsewhere.
    Elsewhere,
}

/// Containers by cgroup.
pub(super) struct Containers {
    by_cgroup: HashMap<u64, Container>,
    /// All controllers are in the cgroup2 hierarchy mounted here, so that a cgroup's id there tells its container.
    unified: Option<PathBuf>,
}

impl Containers {
    pub(super) fn new() -> Containers {
        Containers { by_cgroup: HashMap::new(), unified: hierarchy() }
    }

    /// The container of an image that started in the cgroup `id`, whose last component is `name`.
    pub(super) fn of_exec(&mut self, id: u64, name: &[u8], tgid: u32) -> Container {
        let name = String::from_utf8_lossy(name);
        let named = id_in_name(&name).map(str::to_owned);
        let Some(unified) = &self.unified else {
            let id = named.or_else(|| in_cgroup_file(&cgroups(tgid)?).map(str::to_owned));
            return Container { id: id.unwrap_or_default(), place: Where::Unknown };
        };
        if let Some(container) = self.by_cgroup.get(&id) {
            return container.clone();
        }
        // A process that is gone tells nothing, nor does one that has moved on, as those do which become containers; the
        // next one in this cgroup is asked again. In a nested cgroup, its container's name is further up.
        let Some(container) = cgroups(tgid).and_then(|cgroups| in_unified(&cgroups, unified, id)) else {
            return Container { id: named.unwrap_or_default(), place: Where::Unknown };
        };
        if self.by_cgroup.len() >= REMEMBERED {
            self.by_cgroup.clear();
        }
        self.by_cgroup.insert(id, container.clone());
        container
    }

    /// The container of a process that runs.
    pub(super) fn of_process(&self, tgid: u32) -> Container {
        let cgroups = cgroups(tgid).unwrap_or_default();
        let id = in_cgroup_file(&cgroups).unwrap_or_default().to_owned();
        let place = match unified_path(&cgroups) {
            Some(path) if self.unified.is_some() => place(path),
            _ => Where::Unknown,
        };
        Container { id, place }
    }
}

fn cgroups(tgid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{tgid}/cgroup")).ok()
}

/// The container in `/proc/PID/cgroup`, if the process still is in the cgroup `id`.
fn in_unified(cgroups: &str, unified: &Path, id: u64) -> Option<Container> {
    let path = unified_path(cgroups)?;
    let now = fs::metadata(unified.join(path)).ok()?.ino();
    let container = in_cgroup_file(cgroups).unwrap_or_default().to_owned();
    (now == id).then(|| Container { id: container, place: place(path) })
}

fn unified_path(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::/"))
}

fn place(path: &str) -> Where {
    if is_below_all_pods(path) { Where::Pods } else { Where::Elsewhere }
}

/// The container in `/proc/PID/cgroup`: of any hierarchy, the last component of the path that names one.
fn in_cgroup_file(text: &str) -> Option<&str> {
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.rsplit('/')).find_map(id_in_name)
}

/// The container id in the name of a cgroup, as the runtimes write it: `ID`, `docker-ID.scope`,
/// `cri-containerd-ID.scope`, `…slice:cri-containerd:ID`, `libpod-ID`.
fn id_in_name(name: &str) -> Option<&str> {
    if name.ends_with(".service") {
        return None;
    }
    let after_colon = name.rsplit(':').next()?;
    let id = after_colon.rsplit('-').next()?;
    let shown = id.get(..SHOWN)?;
    (id.len() >= WHOLE && shown.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const PART: &str = "0123456789abcdef0123456789abcde";

    #[test]
    fn runtimes_names_are_read() {
        for name in [
            ID.to_string(),
            format!("docker-{ID}.scope"),
            format!("cri-containerd-{ID}.scope"),
            format!("crio-{ID}"),
            format!("kubepods-burstable-pod12_34.slice:cri-containerd:{ID}"),
            format!("libpod-{ID}.scope"),
        ] {
            assert_eq!(id_in_name(&name), Some(PART), "{name}");
        }
    }

    /// A user with a cgroup of his own gives it the name of another's container.
    #[test]
    fn a_name_is_believed_below_all_pods_alone() {
        let root = tempfile::tempdir().unwrap();
        for (path, expected) in [
            (format!("kubepods/poda/{ID}"), Where::Pods),
            (format!("user.slice/kubepods/poda/{ID}"), Where::Elsewhere),
            (format!("machine.slice/libpod-{ID}.scope/nested"), Where::Elsewhere),
        ] {
            fs::create_dir_all(root.path().join(&path)).unwrap();
            let id = fs::metadata(root.path().join(&path)).unwrap().ino();
            let found = in_unified(&format!("0::/{path}\n"), root.path(), id);
            assert_eq!(found, Some(Container { id: PART.to_owned(), place: expected }), "{path}");
            assert_eq!(in_unified(&format!("0::/{path}\n"), root.path(), id + 1), None, "it has moved on");
        }
    }

    #[test]
    fn host_cgroups_are_none() {
        for name in [
            "",
            "system.slice",
            "session-3.scope",
            "kubepods-besteffort-pod0b2f4c1e_1111_2222_3333_444455556666.slice",
            &format!("docker-{ID}.service"),
            &ID[..63],
            "ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää",
        ] {
            assert_eq!(id_in_name(name), None, "{name}");
        }
    }

    #[test]
    fn nested_cgroups_belong_to_their_container() {
        let podman = format!("0::/machine.slice/libpod-{ID}.scope/container\n");
        assert_eq!(in_cgroup_file(&podman), Some(PART));
        let hybrid = format!("4:memory:/docker/{ID}\n1:cpu:/\n0::/\n");
        assert_eq!(in_cgroup_file(&hybrid), Some(PART));
        assert_eq!(in_cgroup_file("0::/system.slice/ssh.service\n"), None);
        assert_eq!(in_cgroup_file("nonsense"), None);
    }
}
