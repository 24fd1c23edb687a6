//! In: a pod as the API has it. Out: what this agent keeps of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::event::{self, Image, Timestamp};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::owner::{Owner, workload};
use super::{CONTAINERS, Container, ContainerLabels, Pod, PodLabels, PodUid};

/// Of a pod from a file, the kubelet's own uid, by which its cgroup is named.
const MIRRORED: &str = "kubernetes.io/config.mirror";
/// Label with the hash in the name of a Deployment's ReplicaSet.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// What is kept; `None` for an object without a name, namespace or uid, which the API server never hands out.
pub fn pod(object: &core::Pod) -> Option<Pod> {
    let meta = &object.metadata;
    let (name, namespace, uid) = (meta.name.clone()?, meta.namespace.clone()?, meta.uid.clone()?);
    let labels = meta.labels.clone().unwrap_or_default();
    let owner = workload(&name, controller(meta), labels.get(TEMPLATE_HASH).map(String::as_str));
    let mirrored = meta.annotations.as_ref().and_then(|annotations| annotations.get(MIRRORED));
    let in_cgroup = mirrored.unwrap_or(&uid).as_str().into();
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    let shown = event::Pod {
        namespace: namespace.clone(),
        name,
        uid,
        container: None,
        labels: labels.clone(),
        workload: owner.name,
        workload_kind: owner.kind,
        annotations: BTreeMap::new(),
    };
    Some(Pod {
        uid: PodUid(in_cgroup),
        shown,
        labels: Arc::new(PodLabels { namespace, labels }),
        containers: containers(object),
        has_ended: matches!(phase, Some("Succeeded" | "Failed")),
    })
}

fn controller(meta: &ObjectMeta) -> Option<Owner> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    // The kubelet's own pods are owned by their node.
    (owner.kind != "Node").then(|| Owner { name: owner.name.clone(), kind: owner.kind.clone() })
}

fn containers(object: &core::Pod) -> BTreeMap<String, Container> {
    let Some(status) = &object.status else { return BTreeMap::new() };
    let all =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    all.into_iter()
        .flatten()
        .flatten()
        .filter_map(|status| container(object, status))
        .take(CONTAINERS)
        .collect()
}

fn container(object: &core::Pod, status: &core::ContainerStatus) -> Option<(String, Container)> {
    let whole = status.container_id.as_deref().filter(|id| !id.is_empty())?;
    let (_, id) = whole.split_once("://")?;
    let running = status.state.as_ref().and_then(|state| state.running.as_ref());
    let start_time = running.and_then(|running| running.started_at.as_ref()).and_then(timestamp);
    let (image, privileged) = specified(object, &status.name);
    let image = image.filter(|image| !image.is_empty()).unwrap_or(&status.image);
    let shown = event::Container {
        id: whole.to_owned(),
        name: status.name.clone(),
        image: Some(Image { id: status.image_id.clone(), name: status.image.clone() }),
        start_time,
        pid: None,
        maybe_exec_probe: false,
        privileged,
    };
    let labels = ContainerLabels { name: status.name.clone(), repo: repository(image).to_owned() };
    Some((id.to_owned(), Container { shown, labels: Arc::new(labels) }))
}

/// Image and privilege of a container in the pod's specification.
fn specified<'a>(object: &'a core::Pod, name: &str) -> (Option<&'a str>, bool) {
    let Some(spec) = &object.spec else { return (None, false) };
    let is_privileged = |context: &Option<core::SecurityContext>| {
        context.as_ref().is_some_and(|context| context.privileged == Some(true))
    };
    let plain = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let plain = plain.map(|one| (&one.name, &one.image, is_privileged(&one.security_context)));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|one| (&one.name, &one.image, is_privileged(&one.security_context)));
    let found = plain.chain(ephemeral).find(|(known, ..)| *known == name);
    found.map_or((None, false), |(_, image, privileged)| (image.as_deref(), privileged))
}

/// An image's name without digest and tag. A colon before the last slash is that of a registry's port.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

fn timestamp(time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> Option<Timestamp> {
    u64::try_from(time.0.as_nanosecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_as_the_api_has_it() {
        let object: core::Pod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "web-1", "namespace": "default", "uid": "u-1",
                "labels": {"app": "web", "pod-template-hash": "abc"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "r", "controller": true}],
            },
            "spec": {"containers": [{"name": "main", "image": "reg:5000/team/nginx:1@sha256:1", "securityContext": {"privileged": true}}]},
            "status": {
                "phase": "Running",
                "containerStatuses": [
                    {"name": "main", "containerID": "containerd://aa", "image": "reg:5000/team/nginx:1", "imageID": "reg:5000/team/nginx@sha256:1", "ready": true, "restartCount": 0, "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}}},
                    {"name": "waits", "image": "x", "imageID": "", "ready": false, "restartCount": 0},
                ],
                "initContainerStatuses": [{"name": "init", "containerID": "containerd://bb", "image": "busybox:2", "imageID": "i", "ready": true, "restartCount": 0}],
            },
        }))
        .unwrap();
        let pod = pod(&object).unwrap();
        assert_eq!(*pod.uid.0, *"u-1");
        assert_eq!((pod.shown.workload.as_str(), pod.shown.workload_kind.as_str()), ("web", "Deployment"));
        assert_eq!((pod.labels.namespace.as_str(), pod.labels.labels["app"].as_str()), ("default", "web"));
        assert_eq!(pod.containers.keys().collect::<Vec<_>>(), ["aa", "bb"]);
        let main = &pod.containers["aa"];
        assert_eq!((main.labels.name.as_str(), main.labels.repo.as_str()), ("main", "reg:5000/team/nginx"));
        assert_eq!(main.shown.start_time, Some(Timestamp(2_000_000_000)));
        assert!(main.shown.privileged && !pod.containers["bb"].shown.privileged && !pod.has_ended);
        assert_eq!(pod.containers["bb"].labels.repo, "busybox");
        assert_eq!(super::pod(&core::Pod::default()), None);
    }

    #[test]
    fn a_pod_from_a_file_is_found_by_the_kubelets_uid() {
        let object: core::Pod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "etcd-n1", "namespace": "kube-system", "uid": "u-1",
                "annotations": {"kubernetes.io/config.mirror": "hash"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n", "controller": true}],
            },
            "status": {"phase": "Failed"},
        }))
        .unwrap();
        let pod = pod(&object).unwrap();
        assert_eq!((&*pod.uid.0, pod.shown.uid.as_str()), ("hash", "u-1"));
        assert_eq!((pod.shown.workload.as_str(), pod.shown.workload_kind.as_str()), ("etcd-n1", "Pod"));
        assert!(pod.has_ended);
    }

    #[test]
    fn repositories_have_neither_tag_nor_digest() {
        for (image, repo) in [
            ("nginx", "nginx"),
            ("nginx:1.2", "nginx"),
            ("localhost:5000/nginx", "localhost:5000/nginx"),
            ("localhost:5000/a/nginx:1@sha256:00", "localhost:5000/a/nginx"),
            ("docker.io/library/nginx@sha256:00", "docker.io/library/nginx"),
        ] {
            assert_eq!(repository(image), repo, "{image}");
        }
    }
}
