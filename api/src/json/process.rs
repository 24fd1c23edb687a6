//! In: processes. Out: their JSON, made once per process and then copied.

use super::object::Object;
use crate::event::{
    Capabilities, Container, Credentials, EnvVar, Fragment, Namespace, Namespaces, Pod, Process,
    ProcessFlags, ProcessInfo, UserNamespace,
};
use crate::names::{CAPABILITIES, SECURE_BITS};
use crate::number::push_decimal;

/// Appends a process, `refcnt` and `tid` being those of this event.
pub(super) fn write(process: &Process, refcnt: u32, tid: u32, out: &mut String) {
    let fragment = process.fragment(encode);
    let (head, middle, tail) = fragment.parts();
    out.push_str(head);
    if refcnt != 0 {
        out.push_str(",\"refcnt\":");
        push_decimal(out, u64::from(refcnt));
    }
    out.push_str(middle);
    // Of an unknown process only what the kernel's record says is shown, and that is no thread of a process.
    if !process.flags.contains(ProcessFlags::UNKNOWN) {
        out.push_str(",\"tid\":");
        push_decimal(out, u64::from(tid));
    }
    out.push_str(tail);
}

fn encode(info: &ProcessInfo) -> Fragment {
    let mut text = String::with_capacity(512);
    let mut to = Object::open(&mut text);
    to.string("exec_id", &info.exec_id.0);
    // Always there, so that what is put in later can start with a comma.
    to.wrapped("pid", info.pid);
    if let Some(uid) = info.uid {
        to.wrapped("uid", uid);
    }
    to.string("cwd", &info.cwd);
    to.string("binary", &info.binary);
    to.string("arguments", &info.arguments);
    if info.flags != ProcessFlags::default() {
        to.built_string("flags", |out| push_words(out, info.flags.words()));
    }
    if let Some(time) = info.start_time {
        to.time("start_time", time);
    }
    if let Some(auid) = info.auid {
        to.wrapped("auid", auid);
    }
    if let Some(pod) = &info.pod {
        write_pod(pod, to.object("pod"));
    }
    to.string("docker", &info.docker);
    to.string("parent_exec_id", &info.parent_exec_id.0);
    let refcnt_at = to.buffer().len();
    if let Some(cap) = &info.cap {
        write_capabilities(cap, to.object("cap"));
    }
    if let Some(ns) = &info.ns {
        write_namespaces(ns, to.object("ns"));
    }
    let tid_at = to.buffer().len();
    if let Some(credentials) = &info.credentials {
        write_credentials(credentials, to.object("process_credentials"));
    }
    if !info.user.is_empty() {
        let mut user = to.object("user");
        user.string("name", &info.user);
        user.close();
    }
    if let Some(in_init_tree) = info.in_init_tree {
        to.boolean("in_init_tree", in_init_tree);
    }
    write_environment(&info.environment, &mut to);
    to.close();
    Fragment::new(text, refcnt_at, tid_at)
}

fn push_words<'a>(out: &mut String, words: impl Iterator<Item = &'a str>) {
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

fn write_environment(variables: &[EnvVar], to: &mut Object) {
    if variables.is_empty() {
        return;
    }
    let mut list = to.array("environment_variables");
    for variable in variables {
        let mut entry = Object::open(list.element());
        entry.string("Key", &variable.key);
        entry.string("Value", &variable.value);
        entry.close();
    }
    list.close();
}

fn write_pod(pod: &Pod, mut to: Object) {
    to.string("namespace", &pod.namespace);
    to.string("name", &pod.name);
    to.string("uid", &pod.uid);
    if let Some(container) = &pod.container {
        write_container(container, to.object("container"));
    }
    write_map("pod_labels", &pod.labels, &mut to);
    to.string("workload", &pod.workload);
    to.string("workload_kind", &pod.workload_kind);
    write_map("pod_annotations", &pod.annotations, &mut to);
    to.close();
}

fn write_container(container: &Container, mut to: Object) {
    to.string("id", &container.id);
    to.string("name", &container.name);
    if let Some(image) = &container.image {
        let mut image_to = to.object("image");
        image_to.string("id", &image.id);
        image_to.string("name", &image.name);
        image_to.close();
    }
    if let Some(time) = container.start_time {
        to.time("start_time", time);
    }
    if let Some(pid) = container.pid {
        to.wrapped("pid", pid);
    }
    to.flag("maybe_exec_probe", container.maybe_exec_probe);
    if container.privileged {
        let mut context = to.object("security_context");
        context.flag("privileged", true);
        context.close();
    }
    to.close();
}

fn write_map(key: &'static str, map: &std::collections::BTreeMap<String, String>, to: &mut Object) {
    if map.is_empty() {
        return;
    }
    let mut entries = to.object(key);
    for (name, value) in map {
        entries.entry(name, value);
    }
    entries.close();
}

/// Writes credentials, of a process or of an argument.
pub(super) fn write_credentials(credentials: &Credentials, mut to: Object) {
    to.wrapped("uid", credentials.uid);
    to.wrapped("gid", credentials.gid);
    to.wrapped("euid", credentials.euid);
    to.wrapped("egid", credentials.egid);
    to.wrapped("suid", credentials.suid);
    to.wrapped("sgid", credentials.sgid);
    to.wrapped("fsuid", credentials.fsuid);
    to.wrapped("fsgid", credentials.fsgid);
    to.strings("securebits", bits(u64::from(credentials.securebits), &SECURE_BITS));
    if let Some(caps) = &credentials.caps {
        write_capabilities(caps, to.object("caps"));
    }
    if let Some(user_ns) = &credentials.user_ns {
        write_user_namespace(user_ns, to.object("user_ns"));
    }
    to.close();
}

fn write_capabilities(caps: &Capabilities, mut to: Object) {
    to.strings("permitted", bits(caps.permitted, &CAPABILITIES));
    to.strings("effective", bits(caps.effective, &CAPABILITIES));
    to.strings("inheritable", bits(caps.inheritable, &CAPABILITIES));
    to.close();
}

/// Names of the bits that are set. Bits without a name are left out: no kernel sets them.
fn bits(set: u64, names: &'static crate::names::NameTable) -> impl Iterator<Item = &'static str> {
    names.entries().filter(move |(bit, _)| set & (1 << bit) != 0).map(|(_, name)| name)
}

fn write_user_namespace(user_ns: &UserNamespace, mut to: Object) {
    to.signed("level", user_ns.level);
    to.wrapped("uid", user_ns.uid);
    to.wrapped("gid", user_ns.gid);
    write_namespace("ns", user_ns.ns, &mut to);
    to.close();
}

fn write_namespaces(ns: &Namespaces, mut to: Object) {
    for (key, namespace) in [
        ("uts", ns.uts),
        ("ipc", ns.ipc),
        ("mnt", ns.mnt),
        ("pid", ns.pid),
        ("pid_for_children", ns.pid_for_children),
        ("net", ns.net),
        ("time", ns.time),
        ("time_for_children", ns.time_for_children),
        ("cgroup", ns.cgroup),
        ("user", ns.user),
    ] {
        write_namespace(key, namespace, &mut to);
    }
    to.close();
}

fn write_namespace(key: &'static str, namespace: Namespace, to: &mut Object) {
    // Kinds that the kernel does not have have no inode.
    if namespace.inum == 0 {
        return;
    }
    let mut entry = to.object(key);
    entry.number("inum", namespace.inum);
    entry.flag("is_host", namespace.is_host);
    entry.close();
}
