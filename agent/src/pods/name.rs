//! In: names of cgroup directories. Out: which pods and containers the kubelet and the runtimes made them for.

use super::PodUid;

/// Characters of a container id.
const ID: usize = 64;

/// The pod of a directory: `podUID`, or `kubepods-burstable-podUID.slice` with `_` for each `-` of the uid.
pub fn pod_uid(name: &str) -> Option<PodUid> {
    let (uid, systemd) = match name.strip_suffix(".slice") {
        Some(slice) => (slice.rsplit_once("-pod")?.1, true),
        None => (name.strip_prefix("pod")?, false),
    };
    let uid = if systemd { uid.replace('_', "-") } else { uid.to_owned() };
    // A UUID, or for pods from files a hash without dashes.
    let is_uid =
        (32..=64).contains(&uid.len()) && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then(|| PodUid(uid.into()))
}

/// The whole id of the container of a directory: `ID`, `cri-containerd-ID.scope`, `crio-ID.scope`, `docker-ID.scope`,
/// `…slice:cri-containerd:ID`. That of CRI-O's monitor has the id, too, and is no container.
pub fn container_id(name: &str) -> Option<&str> {
    if name.ends_with(".service") || name.starts_with("crio-conmon-") {
        return None;
    }
    let id = name.strip_suffix(".scope").unwrap_or(name).rsplit([':', '-']).next()?;
    (id.len() == ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Whether all pods are below this directory.
pub fn is_all_pods(name: &str) -> bool {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    name == "kubepods" || name.ends_with("-kubepods")
}

/// Whether the directory of all pods may be in this one: nodes that are containers themselves.
pub fn is_kubelet(name: &str) -> bool {
    name.strip_suffix(".slice").unwrap_or(name) == "kubelet"
}

/// Whether a path from the root of the hierarchy is below the directory of all pods: its place counts, as anybody to
/// whom a part of the hierarchy is delegated may give any names there.
pub fn is_below_all_pods(path: &str) -> bool {
    let mut names = path.split('/').filter(|name| !name.is_empty());
    let first = names.next().unwrap_or_default();
    let all = if is_kubelet(first) { names.next().unwrap_or_default() } else { first };
    is_all_pods(all) && names.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0b2f4c1e-1111-2222-3333-444455556666";
    const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn pods_are_named_by_both_drivers() {
        let systemd = UID.replace('-', "_");
        let hash = "0123456789abcdef0123456789abcdef";
        for (name, uid) in [
            (format!("pod{UID}"), UID),
            (format!("kubepods-pod{systemd}.slice"), UID),
            (format!("kubepods-besteffort-pod{systemd}.slice"), UID),
            (format!("kubelet-kubepods-burstable-pod{systemd}.slice"), UID),
            (format!("kubepods-burstable-pod{hash}.slice"), hash),
            (format!("pod{hash}"), hash),
        ] {
            assert_eq!(pod_uid(&name), Some(PodUid(uid.into())), "{name}");
        }
        for name in
            ["kubepods-burstable.slice", "kubepods.slice", "pod", "podman", "burstable", "a-pod1.slice"]
        {
            assert_eq!(pod_uid(name), None, "{name}");
        }
    }

    #[test]
    fn containers_are_named_by_the_runtimes() {
        for name in [
            CONTAINER.to_owned(),
            format!("cri-containerd-{CONTAINER}.scope"),
            format!("crio-{CONTAINER}.scope"),
            format!("crio-{CONTAINER}"),
            format!("kubepods-burstable-pod12_34.slice:cri-containerd:{CONTAINER}"),
        ] {
            assert_eq!(container_id(&name), Some(CONTAINER), "{name}");
        }
        for name in [
            format!("crio-conmon-{CONTAINER}.scope"),
            format!("docker-{CONTAINER}.service"),
            CONTAINER[1..].to_owned(),
            "init.scope".to_owned(),
        ] {
            assert_eq!(container_id(&name), None, "{name}");
        }
    }

    #[test]
    fn the_directory_of_all_pods_has_a_name_of_its_own() {
        for name in ["kubepods", "kubepods.slice", "kubelet-kubepods.slice"] {
            assert!(is_all_pods(name), "{name}");
        }
        assert!(!is_all_pods("kubepods-burstable.slice") && !is_all_pods("user.slice"));
        assert!(
            is_below_all_pods("/kubepods/pod1/x")
                && is_below_all_pods("kubelet.slice/kubelet-kubepods.slice/x")
        );
        for path in
            ["", "/", "/kubepods", "/user.slice/kubepods/pod1/x", "/kubelet/pod1/x", "/../kubepods/pod1"]
        {
            assert!(!is_below_all_pods(path), "{path}");
        }
        assert!(is_kubelet("kubelet") && is_kubelet("kubelet.slice") && !is_kubelet("kubelet.service"));
    }
}
