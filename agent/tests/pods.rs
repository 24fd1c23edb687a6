//! In: cgroups as a kubelet makes them, pods as an API server tells of them, a program that tests one process bit. Out:
//! whose calls it counts, and the pods of events. Needs root.

mod alone;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::base::BaseOptions;
use agent::kernel::insn::{
    INSN_SIZE, add_imm, atomic_add64, call, exit, insn, jeq_imm, jne_imm, load_map, load32, mov, mov_imm,
};
use agent::pods::{Container, ContainerLabels, Pod, PodChange, PodLabels, PodUid, hierarchy};
use agent::session::Session;
use alone::alone;
use api::artefact::{
    Artefact, Attach, EventKind, Flavour, HookSchema, LabelOp, LabelTest, PodSet, ProcessSet, Reloc,
    RelocKind, SetOp, SharedMap, WorkloadSet,
};
use api::event::{self, Event};

/// What the processes of the tests call when they are told to; a shell's `umask` makes it.
const CALLED: i32 = libc::SYS_umask as i32;
const GET_CURRENT_PID_TGID: i32 = 14;
/// Offset of `own` in `struct process`.
const OWN: i16 = 24;

/// Counts calls of the processes in `set` as matches of `policy`.
fn counting(policy: &str, set: WorkloadSet) -> Artefact {
    let mut insns: Vec<[u8; INSN_SIZE]> = Vec::new();
    let mut relocs = Vec::new();
    let mut reloc = |insns: &Vec<_>, kind: RelocKind, index: u32| {
        relocs.push(Reloc { insn: insns.len() as u32, kind: kind as i32, index });
    };
    // Tests that hold jump over these.
    let leave = [mov_imm(0, 0), exit()];
    insns.push(mov(6, 1));
    reloc(&insns, RelocKind::ActiveSlot, 0);
    insns.extend([insn(0x62, 10, 0, -4, 0), mov(2, 10), add_imm(2, -4)]);
    reloc(&insns, RelocKind::SharedMap, SharedMap::Active as u32);
    insns.extend(load_map(1, 0));
    insns.extend([call(1), jne_imm(0, 0, 2)]);
    insns.extend(leave);
    insns.push(load32(1, 0, 0));
    reloc(&insns, RelocKind::ProgramId, 0);
    insns.push(jeq_imm(1, 0, 2));
    insns.extend(leave);
    insns.extend([insn(0x79, 1, 6, 8, 0), jeq_imm(1, CALLED, 2)]);
    insns.extend(leave);
    // The process of the caller.
    insns.extend([call(GET_CURRENT_PID_TGID), insn(0x77, 0, 0, 0, 32), insn(0x63, 10, 0, -4, 0)]);
    insns.extend([mov(2, 10), add_imm(2, -4)]);
    reloc(&insns, RelocKind::SharedMap, SharedMap::Processes as u32);
    insns.extend(load_map(1, 0));
    insns.extend([call(1), jne_imm(0, 0, 2)]);
    insns.extend(leave);
    // Its bit.
    reloc(&insns, RelocKind::ProcessSetOffset, 0);
    insns.push(add_imm(0, 0));
    reloc(&insns, RelocKind::ProcessSetMask, 0);
    insns.extend([insn(0x18, 1, 0, 0, 0), insn(0, 0, 0, 0, 0)]);
    insns.extend([insn(0x79, 2, 0, OWN, 0), insn(0x4d, 2, 1, 2, 0)]);
    insns.extend(leave);
    reloc(&insns, RelocKind::PolicyCounters, 0);
    insns.extend([insn(0x62, 10, 0, -4, 0), mov(2, 10), add_imm(2, -4)]);
    reloc(&insns, RelocKind::SharedMap, SharedMap::PolicyCounters as u32);
    insns.extend(load_map(1, 0));
    insns.extend([call(1), jeq_imm(0, 0, 2), mov_imm(1, 1), atomic_add64(0, 0, 1), mov_imm(0, 0), exit()]);
    let process_set =
        ProcessSet { op: SetOp::Workloads as i32, workloads: Some(set), ..ProcessSet::default() };
    Artefact {
        attach: Attach {
            flavour: Flavour::RawTp as i32,
            target: "sys_enter".into(),
            btf_id: 0,
            syscall: None,
        },
        insns: insns.concat(),
        relocs,
        hooks: vec![HookSchema {
            policy_name: policy.into(),
            event: EventKind::Kprobe as i32,
            ..HookSchema::default()
        }],
        process_sets: vec![process_set],
        ..Artefact::default()
    }
}

/// Pods with this label, perhaps only their containers of this name.
fn of_app(app: &str, container: Option<&str>) -> WorkloadSet {
    let is = |key: &str, value: &str| LabelTest {
        key: key.into(),
        op: LabelOp::In as i32,
        values: vec![value.into()],
    };
    let container = container.map(|name| is("name", name)).into_iter().collect();
    let pods = PodSet { namespace: "default".into(), labels: vec![is("app", app)], container };
    WorkloadSet { host: false, pods: Some(pods) }
}

const HOST: WorkloadSet = WorkloadSet { host: true, pods: None };

/// Where this machine has its unified hierarchy, even if that is beside others.
fn mount() -> PathBuf {
    hierarchy().unwrap_or_else(|| "/sys/fs/cgroup/unified".into())
}

/// A pod with one container, with cgroups as the kubelet makes them; gone with the value.
struct Made {
    uid: String,
    container: String,
    folder: PathBuf,
}

impl Made {
    /// Its number must be its own.
    fn new(number: u32) -> Made {
        let uid = format!("{:08x}-0000-0000-0000-{number:012}", std::process::id());
        let folder = mount().join("kubepods").join(format!("pod{uid}"));
        Made { container: format!("{number:08x}{:056x}", std::process::id()), uid, folder }
    }

    fn make(&self) {
        fs::create_dir_all(self.folder()).expect("these tests make cgroups: run them as root");
    }

    fn folder(&self) -> PathBuf {
        self.folder.join(&self.container)
    }

    /// As the API has it, before or after its container has been reported.
    fn pod(&self, app: &str, reported: bool) -> PodChange {
        let labels: BTreeMap<String, String> = [("app".to_owned(), app.to_owned())].into();
        let shown = event::Container {
            id: format!("test://{}", self.container),
            name: "main".into(),
            ..Default::default()
        };
        let container = Container {
            shown,
            labels: Arc::new(ContainerLabels { name: "main".into(), repo: "busybox".into() }),
        };
        let containers = reported.then(|| (self.container.clone(), container)).into_iter().collect();
        PodChange::Applied(Box::new(Pod {
            uid: PodUid(self.uid.as_str().into()),
            shown: event::Pod { namespace: "default".into(), name: "xwing".into(), ..Default::default() },
            labels: Arc::new(PodLabels { namespace: "default".into(), labels }),
            containers,
            has_ended: false,
        }))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Empty once the processes in them are reaped.
        for folder in [self.folder(), self.folder.clone(), mount().join("kubepods")] {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A shell that makes the call when it is told to.
struct Actor {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Actor {
    /// In a cgroup, by `exec` in it, as runtimes start containers; or where this test is.
    fn start(cgroup: Option<&Path>) -> Actor {
        let enter = match cgroup {
            Some(cgroup) => format!("echo $$ >{}/cgroup.procs && ", cgroup.display()),
            None => String::new(),
        };
        let body = "while read -r order; do umask >/dev/null; echo done; done";
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("{enter}exec /bin/sh -c '{body}'"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut actor = Actor { child, orders, answers };
        actor.act();
        actor
    }

    fn act(&mut self) {
        writeln!(self.orders, "go").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }

    fn end(mut self) {
        drop(self.orders);
        self.child.wait().unwrap();
    }
}

struct Watched {
    session: Session,
    events: Vec<Event>,
}

impl Watched {
    fn start(sets: Vec<(&str, WorkloadSet)>) -> Watched {
        let (mut session, _) = Session::start("n", &BaseOptions::default())
            .expect("these tests load BPF programs: run them as root");
        assert!(session.watch_pods_in(mount()));
        let mut watched = Watched { session, events: Vec::new() };
        watched.apply(sets);
        watched
    }

    fn apply(&mut self, sets: Vec<(&str, WorkloadSet)>) {
        let artefacts: Vec<Artefact> = sets.into_iter().map(|(policy, set)| counting(policy, set)).collect();
        let report = self.session.apply(&artefacts);
        assert_eq!(report.failures().count(), 0, "{report:?}");
    }

    /// Whether a call of `actor` is counted.
    fn counts(&self, policy: &str, actor: &mut Actor) -> bool {
        let count = || {
            let counts = self.session.policy_counts().unwrap();
            counts.iter().find(|count| count.policy.name == policy).map_or(0, |count| count.values[0])
        };
        let before = count();
        actor.act();
        count() > before
    }

    fn poll_until(&mut self, what: &str, done: impl Fn(&Watched) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            assert!(Instant::now() < deadline, "not within 20 s: {what}");
            let Watched { session, events } = self;
            session.poll(Duration::from_millis(20), 4096, |event| events.push(event.clone())).unwrap();
        }
    }
}

#[test]
fn a_policy_for_a_pod_applies_to_all_its_processes_while_its_labels_match() {
    let _alone = alone();
    let pod = Made::new(1);
    pod.make();
    let (mut before, mut host) = (Actor::start(Some(&pod.folder())), Actor::start(None));
    let mut watched = Watched::start(Vec::new());
    watched.session.pods_changed([pod.pod("web", false)]);
    watched.apply(vec![("web", of_app("web", None))]);
    assert!(watched.counts("web", &mut before), "a process that ran before the policy");
    assert!(!watched.counts("web", &mut host));
    let mut after = Actor::start(Some(&pod.folder()));
    assert!(watched.counts("web", &mut after), "a process that starts later");
    let nested = pod.folder().join("nested");
    fs::create_dir(&nested).unwrap();
    let mut inner = Actor::start(Some(&nested));
    assert!(watched.counts("web", &mut inner), "a process in a cgroup of the container's own making");

    watched.session.pods_changed([pod.pod("db", false)]);
    for actor in [&mut before, &mut after, &mut inner, &mut host] {
        assert!(!watched.counts("web", actor), "the label has changed");
    }
    watched.session.pods_changed([pod.pod("web", false)]);
    for actor in [&mut before, &mut after, &mut inner] {
        assert!(watched.counts("web", actor), "the label is back");
    }
    [before, after, inner, host].into_iter().for_each(Actor::end);
    fs::remove_dir(nested).unwrap();
}

#[test]
fn a_container_selector_holds_once_the_container_is_reported() {
    let _alone = alone();
    let pod = Made::new(2);
    pod.make();
    let mut watched = Watched::start(vec![("main", of_app("web", Some("main")))]);
    watched.session.pods_changed([pod.pod("web", false)]);
    let mut actor = Actor::start(Some(&pod.folder()));
    assert!(!watched.counts("main", &mut actor));
    watched.session.pods_changed([pod.pod("web", true)]);
    assert!(watched.counts("main", &mut actor));
    actor.end();
}

#[test]
fn a_pod_is_met_by_its_first_exec_and_is_never_the_host() {
    let _alone = alone();
    let (told, untold) = (Made::new(3), Made::new(4));
    let mut watched = Watched::start(vec![("host", HOST)]);
    watched.session.pods_changed([told.pod("web", false)]);
    [&told, &untold].into_iter().for_each(Made::make);
    watched.poll_until("the awaited cgroup", |watched| {
        let id = fs::metadata(told.folder()).unwrap().ino();
        watched.session.pods().place(agent::pods::CgroupId(id)).is_some()
    });
    let mut stranger = Actor::start(Some(&untold.folder()));
    let mut host = Actor::start(None);
    assert!(watched.counts("host", &mut host));
    assert!(!watched.counts("host", &mut stranger), "of a pod that nobody has told of");
    [stranger, host].into_iter().for_each(Actor::end);
    watched.apply(vec![("web", of_app("web", None))]);
    let mut first = Actor::start(Some(&told.folder()));
    assert!(watched.counts("web", &mut first), "from the first exec on");
    first.end();
}

#[test]
fn events_have_the_pod_as_soon_as_it_is_known() {
    let _alone = alone();
    let (known, late) = (Made::new(5), Made::new(6));
    [&known, &late].into_iter().for_each(Made::make);
    let mut watched = Watched::start(Vec::new());
    watched.session.pods_changed([known.pod("web", true)]);
    let actors = [Actor::start(Some(&known.folder())), Actor::start(Some(&late.folder()))];
    let pids = actors.each_ref().map(|actor| actor.child.id());
    let of = |watched: &Watched, pid: u32| -> Vec<(event::EventType, Option<event::Pod>)> {
        let own = watched.events.iter().filter(|event| event.subject().process.pid == pid);
        own.map(|event| (event.kind(), event.subject().process.pod.as_deref().cloned())).collect()
    };
    // The first exec is the host's shell, the second is in the cgroup.
    watched.poll_until("both execs", |watched| pids.iter().all(|pid| of(watched, *pid).len() >= 2));
    let (_, pod) = of(&watched, pids[0])[1].clone();
    let pod = pod.expect("known at exec");
    assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("default", "xwing"));
    assert_eq!(pod.container.map(|container| container.name).as_deref(), Some("main"));
    if hierarchy().is_some() {
        assert_eq!(of(&watched, pids[0])[0].1, None, "the host's shell");
    }
    assert_eq!(of(&watched, pids[1])[1].1, None, "nobody has told of it yet");
    watched.session.pods_changed([late.pod("web", true)]);
    actors.into_iter().for_each(Actor::end);
    watched.poll_until("both exits", |watched| pids.iter().all(|pid| of(watched, *pid).len() >= 3));
    let (kind, pod) = of(&watched, pids[1])[2].clone();
    assert_eq!(kind, event::EventType::ProcessExit);
    assert_eq!(pod.map(|pod| pod.name).as_deref(), Some("xwing"), "known by its exit");
}
