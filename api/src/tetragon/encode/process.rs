//! In: processes. Out: their messages.

use super::timestamp;
use crate::event;
use crate::names::{CAPABILITIES, NameTable, SECURE_BITS};
use crate::tetragon::process::{
    Capabilities, Container, EnvVar, Image, Namespace, Namespaces, Pod, Process, ProcessCredentials,
    SecurityContext, UserNamespace, UserRecord,
};

/// The process that an event is about.
pub(super) fn subject(subject: &event::Subject) -> Process {
    process(&subject.process, subject.refcnt, subject.tid)
}

/// A process, `refcnt` and `tid` being those of this event.
pub(super) fn process(process: &event::Process, refcnt: u32, tid: u32) -> Process {
    // Of an unknown process only what the kernel's record says is shown, and that is no thread of a process.
    let known = !process.flags.contains(event::ProcessFlags::UNKNOWN);
    let words: Vec<_> = process.flags.words().collect();
    Process {
        exec_id: process.exec_id.0.to_string(),
        pid: Some(process.pid),
        uid: process.uid,
        cwd: (&process.cwd).into(),
        binary: (&process.binary).into(),
        arguments: (&process.arguments).into(),
        flags: words.join(" "),
        start_time: process.start_time.map(timestamp),
        auid: process.auid,
        pod: process.pod.as_deref().map(pod),
        docker: process.docker.clone(),
        parent_exec_id: process.parent_exec_id.0.to_string(),
        refcnt,
        cap: process.cap.as_ref().map(capabilities),
        ns: process.ns.as_deref().map(namespaces),
        tid: known.then_some(tid),
        process_credentials: process.credentials.as_deref().map(credentials),
        user: (!process.user.is_empty()).then(|| UserRecord { name: process.user.clone() }),
        in_init_tree: process.in_init_tree,
        environment_variables: process.environment.iter().map(variable).collect(),
    }
}

fn variable(variable: &event::EnvVar) -> EnvVar {
    EnvVar { key: variable.key.clone(), value: variable.value.clone() }
}

fn pod(pod: &event::Pod) -> Pod {
    Pod {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        container: pod.container.as_ref().map(container),
        pod_labels: pod.labels.clone(),
        workload: pod.workload.clone(),
        workload_kind: pod.workload_kind.clone(),
        pod_annotations: pod.annotations.clone(),
    }
}

fn container(container: &event::Container) -> Container {
    Container {
        id: container.id.clone(),
        name: container.name.clone(),
        image: container.image.as_ref().map(|image| Image { id: image.id.clone(), name: image.name.clone() }),
        start_time: container.start_time.map(timestamp),
        pid: container.pid,
        maybe_exec_probe: container.maybe_exec_probe,
        security_context: container.privileged.then_some(SecurityContext { privileged: true }),
    }
}

/// Credentials, of a process or of an argument.
pub(super) fn credentials(credentials: &event::Credentials) -> ProcessCredentials {
    // Each as its value.
    let securebits = bits(u64::from(credentials.securebits), &SECURE_BITS).map(|bit| 1 << bit).collect();
    ProcessCredentials {
        uid: Some(credentials.uid),
        gid: Some(credentials.gid),
        euid: Some(credentials.euid),
        egid: Some(credentials.egid),
        suid: Some(credentials.suid),
        sgid: Some(credentials.sgid),
        fsuid: Some(credentials.fsuid),
        fsgid: Some(credentials.fsgid),
        securebits,
        caps: credentials.caps.as_ref().map(capabilities),
        user_ns: credentials.user_ns.map(|user_ns| UserNamespace {
            level: Some(user_ns.level),
            uid: Some(user_ns.uid),
            gid: Some(user_ns.gid),
            ns: namespace(user_ns.ns),
        }),
    }
}

fn capabilities(caps: &event::Capabilities) -> Capabilities {
    let list = |set| bits(set, &CAPABILITIES).collect();
    Capabilities {
        permitted: list(caps.permitted),
        effective: list(caps.effective),
        inheritable: list(caps.inheritable),
    }
}

/// Numbers of the bits that are set. Bits without a name are left out: no kernel sets them.
fn bits(set: u64, names: &'static NameTable) -> impl Iterator<Item = i32> {
    names.entries().map(|(bit, _)| bit as i32).filter(move |bit| set >> bit & 1 != 0)
}

fn namespaces(ns: &event::Namespaces) -> Namespaces {
    Namespaces {
        uts: namespace(ns.uts),
        ipc: namespace(ns.ipc),
        mnt: namespace(ns.mnt),
        pid: namespace(ns.pid),
        pid_for_children: namespace(ns.pid_for_children),
        net: namespace(ns.net),
        time: namespace(ns.time),
        time_for_children: namespace(ns.time_for_children),
        cgroup: namespace(ns.cgroup),
        user: namespace(ns.user),
    }
}

/// `None` for kinds that the kernel does not have.
fn namespace(namespace: event::Namespace) -> Option<Namespace> {
    let event::Namespace { inum, is_host } = namespace;
    (inum != 0).then_some(Namespace { inum, is_host })
}
