//! In: messages of processes. Out: processes.

use std::sync::Arc;

use super::{UnknownPart, timestamp};
use crate::event;
use crate::tetragon::process::{
    Capabilities, Container, Namespace, Namespaces, Pod, Process, ProcessCredentials, UserNamespace,
};

/// The process that an event is about.
pub(super) fn subject(message: Option<Process>) -> Result<event::Subject, UnknownPart> {
    let message = message.ok_or_else(|| UnknownPart::new("process", ""))?;
    let (tid, refcnt) = (message.tid, message.refcnt);
    let process = process(message)?;
    Ok(event::Subject { tid: tid.unwrap_or(process.pid), refcnt, process: Arc::new(process) })
}

/// A process.
pub(super) fn process(message: Process) -> Result<event::Process, UnknownPart> {
    let pid = message.pid.ok_or_else(|| UnknownPart::new("process id", ""))?;
    Ok(event::Process::new(event::ProcessInfo {
        exec_id: event::ExecId(message.exec_id.into()),
        pid,
        uid: message.uid,
        cwd: message.cwd.into(),
        binary: message.binary.into(),
        arguments: message.arguments.into(),
        flags: flags(&message.flags),
        start_time: message.start_time.map(timestamp),
        auid: message.auid,
        pod: message.pod.map(|message| Arc::new(pod(message))),
        docker: message.docker,
        parent_exec_id: event::ExecId(message.parent_exec_id.into()),
        cap: message.cap.map(|message| capabilities(&message)),
        ns: message.ns.map(|message| Box::new(namespaces(&message))),
        credentials: message.process_credentials.map(|message| Box::new(credentials(&message))),
        user: message.user.map(|user| user.name).unwrap_or_default(),
        in_init_tree: message.in_init_tree,
        environment: message
            .environment_variables
            .into_iter()
            .map(|variable| event::EnvVar { key: variable.key, value: variable.value })
            .collect(),
    }))
}

/// Words that are not known are left out: they say how the agent came to know something.
fn flags(words: &str) -> event::ProcessFlags {
    let known = words.split(' ').filter_map(event::ProcessFlags::from_word);
    known.fold(event::ProcessFlags::default(), |all, flag| all | flag)
}

fn pod(message: Pod) -> event::Pod {
    event::Pod {
        namespace: message.namespace,
        name: message.name,
        uid: message.uid,
        container: message.container.map(container),
        labels: message.pod_labels,
        workload: message.workload,
        workload_kind: message.workload_kind,
        annotations: message.pod_annotations,
    }
}

fn container(message: Container) -> event::Container {
    event::Container {
        id: message.id,
        name: message.name,
        image: message.image.map(|image| event::Image { id: image.id, name: image.name }),
        start_time: message.start_time.map(timestamp),
        pid: message.pid,
        maybe_exec_probe: message.maybe_exec_probe,
        privileged: message.security_context.is_some_and(|context| context.privileged),
    }
}

/// Credentials, of a process or of an argument.
pub(super) fn credentials(message: &ProcessCredentials) -> event::Credentials {
    event::Credentials {
        uid: message.uid.unwrap_or(0),
        gid: message.gid.unwrap_or(0),
        euid: message.euid.unwrap_or(0),
        egid: message.egid.unwrap_or(0),
        suid: message.suid.unwrap_or(0),
        sgid: message.sgid.unwrap_or(0),
        fsuid: message.fsuid.unwrap_or(0),
        fsgid: message.fsgid.unwrap_or(0),
        // Each as its value; negative ones are nonsense.
        securebits: message.securebits.iter().fold(0, |all, bit| all | u32::try_from(*bit).unwrap_or(0)),
        caps: message.caps.as_ref().map(capabilities),
        user_ns: message.user_ns.as_ref().map(user_namespace),
    }
}

fn user_namespace(message: &UserNamespace) -> event::UserNamespace {
    event::UserNamespace {
        level: message.level.unwrap_or(0),
        uid: message.uid.unwrap_or(0),
        gid: message.gid.unwrap_or(0),
        ns: namespace(message.ns),
    }
}

fn capabilities(message: &Capabilities) -> event::Capabilities {
    event::Capabilities {
        permitted: set(&message.permitted),
        effective: set(&message.effective),
        inheritable: set(&message.inheritable),
    }
}

/// Bits by their numbers; numbers that no set has room for are nonsense.
fn set(numbers: &[i32]) -> u64 {
    let bit = |number: &i32| u32::try_from(*number).ok().and_then(|number| 1_u64.checked_shl(number));
    numbers.iter().filter_map(bit).fold(0, |all, bit| all | bit)
}

fn namespaces(message: &Namespaces) -> event::Namespaces {
    event::Namespaces {
        uts: namespace(message.uts),
        ipc: namespace(message.ipc),
        mnt: namespace(message.mnt),
        pid: namespace(message.pid),
        pid_for_children: namespace(message.pid_for_children),
        net: namespace(message.net),
        time: namespace(message.time),
        time_for_children: namespace(message.time_for_children),
        cgroup: namespace(message.cgroup),
        user: namespace(message.user),
    }
}

fn namespace(message: Option<Namespace>) -> event::Namespace {
    let Namespace { inum, is_host } = message.unwrap_or_default();
    event::Namespace { inum, is_host }
}
