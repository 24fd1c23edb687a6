//! In: pods and a made-up hierarchy. Out: places of workloads, and pods of containers.

use super::*;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn uid(number: usize) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

fn a_pod(number: usize, app: &str, container: Option<&str>) -> Pod {
    let labels: BTreeMap<String, String> = [("app".to_owned(), app.to_owned())].into();
    let container = container.map(|id| {
        let shown =
            event::Container { id: format!("containerd://{id}"), name: "main".into(), ..Default::default() };
        let labels = ContainerLabels { name: "main".into(), repo: "nginx".into() };
        (id.to_owned(), Container { shown, labels: Arc::new(labels) })
    });
    Pod {
        uid: PodUid(uid(number).as_str().into()),
        shown: event::Pod {
            namespace: "default".into(),
            name: format!("pod-{number}"),
            ..Default::default()
        },
        labels: Arc::new(PodLabels { namespace: "default".into(), labels }),
        containers: container.into_iter().collect(),
        has_ended: false,
    }
}

fn applied(pod: Pod) -> PodChange {
    PodChange::Applied(Box::new(pod))
}

fn make(root: &Path, path: &str) -> CgroupId {
    let path = root.join(path);
    fs::create_dir_all(&path).unwrap();
    CgroupId(fs::metadata(path).unwrap().ino())
}

struct Node {
    root: tempfile::TempDir,
    pods: Pods,
    now: Instant,
}

impl Node {
    fn new() -> Node {
        let root = tempfile::tempdir().unwrap();
        let mut pods = Pods::new(Some(root.path().to_owned()));
        pods.expect();
        Node { root, pods, now: Instant::now() }
    }

    fn apply(&mut self, change: PodChange) {
        self.pods.apply(change, self.now);
    }

    fn look(&mut self) -> BTreeMap<CgroupId, Option<Workload>> {
        let changes = self.pods.look(self.now).into_iter();
        changes.map(|(cgroup, place)| (cgroup, place.map(|place| place.workload))).collect()
    }
}

#[test]
fn each_change_is_told_once() {
    let mut node = Node::new();
    let all = make(node.root.path(), "kubepods");
    let pod = make(node.root.path(), &format!("kubepods/burstable/pod{}", uid(1)));
    let first = node.look();
    assert_eq!(first.values().filter(|workload| **workload == Some(Workload::Host)).count(), 1);
    assert_eq!((&first[&all], &first[&pod]), (&Some(Workload::UnknownPod), &Some(Workload::UnknownPod)));
    assert_eq!(node.look(), BTreeMap::new());

    node.apply(applied(a_pod(1, "web", None)));
    let known = node.look();
    assert_eq!(known.keys().collect::<Vec<_>>(), [&pod]);
    assert!(matches!(&known[&pod], Some(Workload::Pod { container: None, .. })));

    let container =
        make(node.root.path(), &format!("kubepods/burstable/pod{}/cri-containerd-{CONTAINER}.scope", uid(1)));
    assert!(matches!(&node.look()[&container], Some(Workload::Pod { container: None, .. })));
    node.apply(applied(a_pod(1, "web", Some(CONTAINER))));
    let named = node.look();
    assert_eq!(named.keys().collect::<Vec<_>>(), [&container]);
    assert!(matches!(&named[&container], Some(Workload::Pod { container: Some(_), .. })));

    node.apply(applied(a_pod(1, "db", Some(CONTAINER))));
    assert_eq!(node.look().len(), 2, "a label of the pod is the container's, too");
    node.apply(PodChange::Deleted(PodUid(uid(1).as_str().into())));
    assert_eq!(node.look(), BTreeMap::new(), "processes of a deleted pod are its until they are gone");
    fs::remove_dir_all(node.root.path().join("kubepods/burstable")).unwrap();
    assert_eq!(node.look(), BTreeMap::from([(pod, None), (container, None)]));
}

#[test]
fn the_pod_of_a_container_is_known_before_its_status_and_after_its_end() {
    let mut node = Node::new();
    make(node.root.path(), &format!("kubepods/pod{}/{CONTAINER}", uid(1)));
    node.look();
    assert_eq!(node.pods.of_container(&CONTAINER[..31]), None);
    node.apply(applied(a_pod(1, "web", None)));
    let version = node.pods.version();
    node.look();
    let pod = node.pods.of_container(&CONTAINER[..31]).expect("by its cgroup");
    assert_eq!((pod.name.as_str(), pod.container.is_some()), ("pod-1", false));
    assert!(node.pods.version() > version);
    node.apply(applied(a_pod(1, "web", Some(CONTAINER))));
    let pod = node.pods.of_container(&CONTAINER[..31]).expect("by its status");
    assert_eq!(pod.container.as_ref().map(|container| container.name.as_str()), Some("main"));
    node.apply(applied(a_pod(1, "web", None)));
    let pod = node.pods.of_container(CONTAINER).expect("kept");
    assert!(pod.container.is_some(), "a container that has left the status is shown as it was");
    node.apply(PodChange::Listed(vec![a_pod(2, "web", None)]));
    assert!(node.pods.of_container(CONTAINER).is_some());
    assert_eq!(node.pods.len(), 1);
    for number in 3..=2 + DELETED {
        node.apply(applied(a_pod(number, "web", None)));
        node.apply(PodChange::Deleted(PodUid(uid(number).as_str().into())));
    }
    assert_eq!(node.pods.of_container(CONTAINER), None, "the oldest deleted pod makes room");
}

#[test]
fn pods_and_containers_are_bounded() {
    let mut node = Node::new();
    node.apply(PodChange::Listed((0..PODS + 5).map(|number| a_pod(number, "web", None)).collect()));
    assert_eq!(node.pods.len(), PODS);
    let id = |number: usize| format!("{number:031}{}", "0".repeat(33));
    for number in 0..=CONTAINERS {
        node.apply(applied(a_pod(0, "web", Some(&id(number)))));
    }
    assert_eq!(node.pods.of_container(&id(0)), None);
    assert!(node.pods.of_container(&id(1)).is_some());
}

#[test]
fn a_look_is_due_when_something_may_have_changed() {
    let mut node = Node::new();
    assert!(node.pods.due(node.now).is_zero());
    node.look();
    assert_eq!(node.pods.due(node.now), LATEST);
    node.pods.exec_in(CgroupId(77), "init.scope", node.now);
    assert_eq!(node.pods.due(node.now), LATEST, "not the name of a container");
    node.pods.exec_in(CgroupId(77), CONTAINER, node.now);
    assert_eq!(node.pods.due(node.now), SOONEST);
    node.look();
    node.pods.exec_in(CgroupId(77), CONTAINER, node.now);
    assert_eq!(node.pods.due(node.now), LATEST, "a container that is no pod's asks once");
    node.apply(applied(a_pod(1, "web", None)));
    node.look();
    assert_eq!(node.pods.due(node.now), WAITING, "its cgroup is awaited");
    assert_eq!(node.pods.due(node.now + PATIENCE), Duration::ZERO);
    make(node.root.path(), &format!("kubepods/pod{}", uid(1)));
    node.look();
    assert_eq!(node.pods.due(node.now), LATEST);
}

#[test]
fn without_a_hierarchy_there_are_no_places() {
    let mut pods = Pods::new(None);
    pods.expect();
    pods.apply(applied(a_pod(1, "web", Some(CONTAINER))), Instant::now());
    assert!(pods.look(Instant::now()).is_empty() && !pods.has_hierarchy());
    assert!(pods.of_container(CONTAINER).is_some(), "events have their pod all the same");
}

/// Such as when too many files are open.
#[test]
fn a_pod_whose_cgroup_cannot_be_read_is_not_gone() {
    let mut node = Node::new();
    let pod = make(node.root.path(), &format!("kubepods/pod{}", uid(1)));
    node.apply(applied(a_pod(1, "web", None)));
    node.pods.look(node.now);
    let before = node.pods.place(pod).cloned();
    assert!(before.is_some());
    let (all, away) = (node.root.path().join("kubepods"), node.root.path().join("away"));
    fs::rename(&all, &away).unwrap();
    // Cannot be listed, and is no folder that has gone.
    std::os::unix::fs::symlink("kubepods", &all).unwrap();
    node.pods.hierarchy = Some(all.clone());
    assert_eq!(node.pods.look(node.now), []);
    assert_eq!((node.pods.place(pod).cloned(), node.pods.due(node.now)), (before, WAITING));
    // It can be read again, and the pod has gone.
    node.pods.hierarchy = Some(node.root.path().to_owned());
    fs::remove_file(&all).unwrap();
    assert!(node.pods.look(node.now).contains(&(pod, None)));
    // What could not be put in force is tried again soon, too.
    node.pods.waits_until = None;
    node.pods.try_again();
    assert_eq!(node.pods.due(node.now), WAITING);
    node.pods.look(node.now);
    assert!(node.pods.due(node.now) > WAITING);
}

#[test]
fn a_container_that_starts_over_and_over_does_not_push_out_its_sidecar() {
    let mut node = Node::new();
    let id = |number: usize| format!("{number:064x}").chars().rev().collect::<String>();
    let mut pod = a_pod(1, "web", Some(&id(1)));
    let (sidecar, container) = pod.containers.pop_first().unwrap();
    for restart in 0..3 * CONTAINERS {
        let crashed = (id(1000 + restart), container.clone());
        pod.containers = [(sidecar.clone(), container.clone()), crashed].into();
        node.apply(applied(pod.clone()));
        let known = |id: &str| node.pods.of_container(id).is_some();
        assert!(known(&sidecar) && known(&id(1000 + restart)), "{restart}");
    }
    assert!(node.pods.of_container(&id(1000)).is_none());
}

#[test]
fn the_first_exec_in_a_container_finds_its_pod() {
    let mut node = Node::new();
    node.look();
    node.apply(applied(a_pod(1, "web", None)));
    let cgroup = make(node.root.path(), &format!("kubepods/pod{}/{CONTAINER}", uid(1)));
    node.pods.exec_in(cgroup, CONTAINER, node.now);
    assert_eq!(node.pods.container_in(cgroup), None, "the last look was just now");
    assert_eq!(node.pods.due(node.now), SOONEST);
    let other = make(node.root.path(), &format!("kubepods/pod{}/{}", uid(1), CONTAINER.replace('0', "9")));
    node.now += SOONEST;
    node.pods.exec_in(other, &CONTAINER.replace('0', "9"), node.now);
    assert_eq!(node.pods.container_in(cgroup), Some(&CONTAINER[..31]));
    assert!(node.pods.of_container(node.pods.container_in(other).unwrap()).is_some());
    // Those who are to put it in force are told at once; until then there are no more looks than otherwise.
    let third = make(node.root.path(), &format!("kubepods/pod{}/{}", uid(1), CONTAINER.replace('0', "8")));
    node.pods.exec_in(third, &CONTAINER.replace('0', "8"), node.now);
    assert_eq!(node.pods.container_in(third), None);
    assert!(node.pods.due(node.now).is_zero());
    let told = node.look();
    assert!([cgroup, other, third].iter().all(|cgroup| told.contains_key(cgroup)));
    assert_eq!(node.look(), BTreeMap::new());
}
