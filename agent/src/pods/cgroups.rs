//! In: the unified cgroup hierarchy. Out: the directories of pods and containers in it, with their ids.
//!
//! Where the kubelet puts them, by driver and class of service:
//! `/kubepods[/burstable|/besteffort]/podUID/ID` or
//! `/kubepods.slice[/kubepods-burstable.slice|…]/kubepods-[burstable-]podUID.slice/RUNTIME-ID.scope`; on nodes that are
//! containers all that below `/kubelet` or `/kubelet.slice`.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use bpf_programs::layout::CGROUPS;

use super::name;
use super::{CgroupId, PodUid};

/// A directory that says something of the processes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Path.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The root of the hierarchy.
    Root,
    /// Has all pods.
    AllPods,
    /// A pod's.
    Pod(PodUid),
    /// A container's.
    Container(PodUid, String),
}

impl Found {
    /// The pod and id of a container.
    pub fn container(&self) -> Option<(&PodUid, &str)> {
        match &self.kind {
            Kind::Container(uid, id) => Some((uid, id)),
            _ => None,
        }
    }

    /// The pod of a pod's own directory.
    pub fn pod(&self) -> Option<&PodUid> {
        match &self.kind {
            Kind::Pod(uid) => Some(uid),
            _ => None,
        }
    }
}

/// Where the unified hierarchy is mounted: all controllers are in it. On hosts where pods are in version 1 hierarchies
/// there is none, even if an empty unified one is mounted beside.
pub fn hierarchy() -> Option<PathBuf> {
    // That of process 1 is the whole one, also for an agent in a container that is shown a part as if it were all.
    let mounts = ["/proc/1/root/sys/fs/cgroup", "/sys/fs/cgroup"];
    mounts.into_iter().map(PathBuf::from).find(|root| root.join("cgroup.controllers").exists())
}

/// All of them, at most as many as the kernel's table has room for. With `pods`, not the root alone.
///
/// # Errors
/// Not all that are there could be read, such as because too many files are open.
pub fn find(hierarchy: &Path, pods: bool) -> io::Result<BTreeMap<CgroupId, Found>> {
    let mut found = BTreeMap::new();
    let root = fs::metadata(hierarchy)?;
    found.insert(CgroupId(root.ino()), Found { path: hierarchy.to_owned(), kind: Kind::Root });
    if !pods {
        return Ok(found);
    }
    for (name, entry) in folders(hierarchy)? {
        if name::is_all_pods(&name) {
            in_all_pods(&entry, &mut found)?;
        } else if name::is_kubelet(&name) {
            for (_, entry) in folders(&entry.path())?.iter().filter(|(name, _)| name::is_all_pods(name)) {
                in_all_pods(entry, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn in_all_pods(entry: &DirEntry, found: &mut BTreeMap<CgroupId, Found>) -> io::Result<()> {
    add(entry, Kind::AllPods, found);
    for (name, entry) in folders(&entry.path())? {
        if let Some(uid) = name::pod_uid(&name) {
            in_pod(&entry, uid, found)?;
            continue;
        }
        // A class of service.
        for (name, entry) in folders(&entry.path())? {
            if let Some(uid) = name::pod_uid(&name) {
                in_pod(&entry, uid, found)?;
            }
        }
    }
    Ok(())
}

fn in_pod(entry: &DirEntry, uid: PodUid, found: &mut BTreeMap<CgroupId, Found>) -> io::Result<()> {
    add(entry, Kind::Pod(uid.clone()), found);
    for (name, entry) in folders(&entry.path())? {
        if let Some(id) = name::container_id(&name) {
            add(&entry, Kind::Container(uid.clone(), id.to_owned()), found);
        }
    }
    Ok(())
}

fn add(entry: &DirEntry, kind: Kind, found: &mut BTreeMap<CgroupId, Found>) {
    if found.len() < CGROUPS {
        // In this file system the inode number that a directory lists is the cgroup's id.
        found.insert(CgroupId(entry.ino()), Found { path: entry.path(), kind });
    }
}

/// None in one that is gone.
fn folders(path: &Path) -> io::Result<Vec<(String, DirEntry)>> {
    match list(path) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(Vec::new()),
        listed => listed,
    }
}

fn list(path: &Path) -> io::Result<Vec<(String, DirEntry)>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // The kind comes with the list.
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            folders.push((name, entry));
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b2f4c1e-1111-2222-3333-444455556666";
    const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn pods_of_both_drivers_and_of_nested_nodes_are_found() {
        let root = tempfile::tempdir().unwrap();
        let systemd = UID.replace('-', "_");
        let pods = [
            format!("kubepods/burstable/pod{UID}"),
            format!("kubepods/pod{UID}"),
            format!("kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{systemd}.slice"),
            format!("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{systemd}.slice"),
        ];
        for pod in &pods {
            let pod = root.path().join(pod);
            fs::create_dir_all(pod.join(format!("cri-containerd-{CONTAINER}.scope/nested"))).unwrap();
        }
        fs::create_dir_all(root.path().join(format!("system.slice/pod{UID}"))).unwrap();
        fs::write(root.path().join("kubepods/cgroup.procs"), "").unwrap();
        let found = find(root.path(), true).unwrap();
        let of = |kind: Kind| found.values().filter(|found| found.kind == kind).count();
        let uid = PodUid(UID.into());
        assert_eq!((of(Kind::Root), of(Kind::AllPods), of(Kind::Pod(uid.clone()))), (1, 3, 4));
        assert_eq!(of(Kind::Container(uid, CONTAINER.to_owned())), 4);
        assert_eq!(found.len(), 12);
        for (id, found) in &found {
            assert_eq!(fs::metadata(&found.path).unwrap().ino(), id.0);
        }
        assert_eq!(find(root.path(), false).unwrap().len(), 1);
        assert!(find(Path::new("/nowhere"), true).is_err());
    }

    #[test]
    fn what_cannot_be_listed_is_not_gone() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(folders(&root.path().join("gone")).unwrap().len(), 0);
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(folders(&file).unwrap_err().raw_os_error(), Some(libc::ENOTDIR));
    }
}
