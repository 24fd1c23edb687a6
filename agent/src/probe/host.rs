//! In: small pseudo files. Out: the plain facts of a profile.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{ProbeError, ProbeNote};
use crate::kernel::Errno;

/// In the order of `KernelProfile::host_namespaces`.
const NAMESPACES: [&str; 10] =
    ["uts", "ipc", "mnt", "pid", "pid_for_children", "net", "time", "time_for_children", "cgroup", "user"];

pub fn release(proc: &Path) -> Result<String, ProbeError> {
    Ok(read(&proc.join("sys/kernel/osrelease"))?.trim().to_owned())
}

/// One more than the last possible CPU.
pub fn possible_cpus(sys: &Path) -> Result<u32, ProbeError> {
    let path = sys.join("devices/system/cpu/possible");
    let text = read(&path)?;
    let last = text.trim().rsplit(['-', ',']).next().and_then(|cpu| cpu.parse::<u32>().ok());
    last.and_then(|cpu| cpu.checked_add(1)).ok_or(ProbeError::Unreadable { path, errno: Errno::EINVAL })
}

/// Active security modules, in order.
pub fn lsms(sys: &Path) -> Result<Vec<String>, ProbeNote> {
    let path = sys.join("kernel/security/lsm");
    let text = fs::read_to_string(&path).map_err(|_| ProbeNote::NoLsmList(path))?;
    Ok(text.trim().split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Whether the kernel says that it is locked down to `confidentiality`; `None` if it says nothing.
pub fn confidential(sys: &Path) -> Option<bool> {
    let text = fs::read_to_string(sys.join("kernel/security/lockdown")).ok()?;
    Some(text.contains("[confidentiality]"))
}

/// Inodes of the host's namespaces: those of process 1, else the agent's own. 0 where the kernel has none.
pub fn namespaces(proc: &Path, notes: &mut Vec<ProbeNote>) -> Vec<u32> {
    let mut hidden = None;
    let inodes = NAMESPACES
        .iter()
        .map(|name| match inode(proc, "1", name) {
            Ok(inode) => inode,
            Err(errno) => {
                hidden = Some(errno);
                inode(proc, "self", name).unwrap_or(0)
            }
        })
        .collect();
    notes.extend(hidden.map(ProbeNote::OwnNamespaces));
    inodes
}

fn inode(proc: &Path, process: &str, namespace: &str) -> Result<u32, Errno> {
    match fs::metadata(proc.join(process).join("ns").join(namespace)) {
        Ok(metadata) => Ok(u32::try_from(metadata.ino()).unwrap_or(0)),
        // This kernel was built without that kind.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> Result<String, ProbeError> {
    fs::read_to_string(path)
        .map_err(|error| ProbeError::Unreadable { path: path.to_owned(), errno: error.into() })
}
