//! In: the cgroup of a new image. Out: the first 31 characters of its container's id; nothing on the host.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::pods::hierarchy;

/// Characters of a container id that are shown.
const SHOWN: usize = 31;

/// Characters of a whole container id.
const WHOLE: usize = 64;

/// Cgroups remembered at most, 100 bytes each: 800 KiB. A node has some hundred containers; when this many cgroups
/// have come and gone, all are forgotten and looked up again.
const REMEMBERED: usize = 8192;

/// Containers by cgroup.
pub(super) struct Containers {
    by_cgroup: HashMap<u64, String>,
    /// All controllers are in the cgroup2 hierarchy mounted here, so that a cgroup's id there tells its container.
    unified: Option<PathBuf>,
}

impl Containers {
    pub(super) fn new() -> Containers {
        Containers { by_cgroup: HashMap::new(), unified: hierarchy() }
    }

    /// The container of an image that started in the cgroup `id`, whose last component is `name`.
    pub(super) fn of_exec(&mut self, id: u64, name: &[u8], tgid: u32) -> String {
        let name = String::from_utf8_lossy(name);
        if let Some(container) = id_in_name(&name) {
            return container.to_string();
        }
        let Some(unified) = &self.unified else { return of_process(tgid).unwrap_or_default() };
        if let Some(container) = self.by_cgroup.get(&id) {
            return container.clone();
        }
        // A nested cgroup: its container's name is further up. A process that is gone tells nothing, nor does one that
        // has moved on, as those do which become containers; the next one in this cgroup is asked again.
        let Some(container) = of_process_in(tgid, unified, id) else { return String::new() };
        if self.by_cgroup.len() >= REMEMBERED {
            self.by_cgroup.clear();
        }
        self.by_cgroup.insert(id, container.clone());
        container
    }
}

/// The container of a running process; empty on the host, `None` if the process is gone.
pub(super) fn of_process(tgid: u32) -> Option<String> {
    let cgroups = fs::read_to_string(format!("/proc/{tgid}/cgroup")).ok()?;
    Some(in_cgroup_file(&cgroups).unwrap_or_default().to_string())
}

/// The same, if the process still is in the cgroup `id`.
fn of_process_in(tgid: u32, unified: &Path, id: u64) -> Option<String> {
    let cgroups = fs::read_to_string(format!("/proc/{tgid}/cgroup")).ok()?;
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let now = fs::metadata(unified.join(path)).ok()?.ino();
    (now == id).then(|| in_cgroup_file(&cgroups).unwrap_or_default().to_string())
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
