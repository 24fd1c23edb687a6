//! In: a [`Process`] as the evaluator knows it, its root and its open files. Out: the current `task_struct` and
//! what hangs on it.

use policy_compiler::reference::Process;

use super::files::Place;
use super::{Address, World};

/// What the task has beside what the evaluator is told.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    pub process: Process,
    pub root: Place,
    /// Files by descriptor.
    pub files: Vec<Option<Address>>,
}

impl World<'_> {
    /// Places the current task.
    pub fn task(&mut self, spec: &TaskSpec) -> Address {
        let process = &spec.process;
        let task = self.object("task_struct");
        let leader = if process.tid == process.tgid { task } else { self.object("task_struct") };
        for (each, pid) in [(leader, process.tgid), (task, process.tid)] {
            self.set(each, "task_struct", "tgid", u64::from(process.tgid));
            self.set(each, "task_struct", "pid", u64::from(pid));
            self.set(each, "task_struct", "group_leader", leader.0);
        }
        // TS_COMPAT, beside another bit.
        self.set(task, "task_struct", "thread_info.status", if self.compat { 3 } else { 1 });
        let fs = self.object("fs_struct");
        self.set_path(fs, "fs_struct", "root", spec.root);
        self.set_path(fs, "fs_struct", "pwd", spec.root);
        self.set(task, "task_struct", "fs", fs.0);
        self.fd_table(task, &spec.files);
        self.ancestors(leader, task, process);
        let user_ns = self.credentials(task, process);
        self.namespaces(task, leader, process, user_ns);
        task
    }

    /// The tasks above, as far as they are known; the topmost has no parent.
    fn ancestors(&mut self, leader: Address, task: Address, process: &Process) {
        let mut below = vec![leader, task];
        for ancestor in &process.ancestors {
            let parent = self.object("task_struct");
            self.set(parent, "task_struct", "tgid", u64::from(ancestor.tgid));
            self.set(parent, "task_struct", "pid", u64::from(ancestor.tgid));
            self.set(parent, "task_struct", "group_leader", parent.0);
            let pid = self.pid(ancestor.ns_pid, ancestor.tgid, process.namespaces.0[3]);
            self.set(parent, "task_struct", "thread_pid", pid.0);
            for child in below.drain(..) {
                self.set(child, "task_struct", "real_parent", parent.0);
            }
            below.push(parent);
        }
    }

    fn fd_table(&mut self, task: Address, files: &[Option<Address>]) {
        let pointers: Vec<u8> =
            files.iter().flat_map(|file| file.map_or(0, |file| file.0).to_le_bytes()).collect();
        let array = self.place(&pointers);
        let table = self.object("fdtable");
        self.set(table, "fdtable", "max_fds", files.len() as u64);
        self.set(table, "fdtable", "fd", array.0);
        let owner = self.object("files_struct");
        self.set(owner, "files_struct", "fdt", table.0);
        self.set(task, "task_struct", "files", owner.0);
    }

    fn credentials(&mut self, task: Address, process: &Process) -> Address {
        let user_ns = self.object("user_namespace");
        self.set(user_ns, "user_namespace", "ns.inum", u64::from(process.namespaces.0[9]));
        let cred = self.cred_object(&process.capabilities, user_ns);
        self.set(task, "task_struct", "cred", cred.0);
        self.set(task, "task_struct", "real_cred", cred.0);
        user_ns
    }

    /// Places a `struct cred`.
    pub fn cred_object(
        &mut self,
        sets: &policy_compiler::reference::Capabilities,
        user_ns: Address,
    ) -> Address {
        let cred = self.object("cred");
        for (id, member) in (1..).zip(["uid", "gid", "euid", "egid", "suid", "sgid", "fsuid", "fsgid"]) {
            self.set(cred, "cred", member, 1000 + id);
        }
        self.set_bytes(cred, "cred", "cap_effective", &sets.effective.to_le_bytes());
        self.set_bytes(cred, "cred", "cap_inheritable", &sets.inheritable.to_le_bytes());
        self.set_bytes(cred, "cred", "cap_permitted", &sets.permitted.to_le_bytes());
        self.set(cred, "cred", "securebits", 0x15);
        self.set(cred, "cred", "user_ns", user_ns.0);
        cred
    }

    fn namespaces(&mut self, task: Address, leader: Address, process: &Process, user_ns: Address) {
        let inodes = process.namespaces.0;
        let proxy = self.object("nsproxy");
        let kinds = [
            ("uts_namespace", "uts_ns", 0),
            ("ipc_namespace", "ipc_ns", 1),
            ("mnt_namespace", "mnt_ns", 2),
            ("pid_namespace", "pid_ns_for_children", 4),
            ("net", "net_ns", 5),
            ("time_namespace", "time_ns", 6),
            ("time_namespace", "time_ns_for_children", 7),
            ("cgroup_namespace", "cgroup_ns", 8),
        ];
        for (structure, member, kind) in kinds {
            let namespace = self.object(structure);
            self.set(namespace, structure, "ns.inum", u64::from(inodes[kind]));
            self.set(namespace, structure, "user_ns", user_ns.0);
            self.set(proxy, "nsproxy", member, namespace.0);
        }
        self.set(task, "task_struct", "nsproxy", proxy.0);
        // The pid of a thread in a nested namespace differs from its group's; in the initial one it is the tid.
        let own = self.pid(process.ns_pid, process.tgid, inodes[3]);
        let thread = if leader == task { own } else { self.pid(process.ns_pid + 1, process.tid, inodes[3]) };
        self.set(leader, "task_struct", "thread_pid", own.0);
        self.set(task, "task_struct", "thread_pid", thread.0);
        let signal = self.object("signal_struct");
        let (pids, _) = self.field("signal_struct", "pids");
        // PIDTYPE_TGID is the second.
        self.write(Address(signal.0 + pids + 8), &own.0.to_le_bytes());
        self.set(task, "task_struct", "signal", signal.0);
        self.set(leader, "task_struct", "signal", signal.0);
    }

    /// A `struct pid` with two levels: the initial namespace and a nested one.
    fn pid(&mut self, nested: u32, host: u32, inode: u32) -> Address {
        let namespace = self.object("pid_namespace");
        self.set(namespace, "pid_namespace", "level", 1);
        self.set(namespace, "pid_namespace", "ns.inum", u64::from(inode));
        let (numbers, size) = self.field("pid", "numbers");
        // `numbers` is declared with one element and has level + 1.
        let pid = self.place(&vec![0; numbers as usize + 2 * size]);
        self.set(pid, "pid", "level", 1);
        let (nr, ns) = (self.field("upid", "nr").0, self.field("upid", "ns").0);
        let first = pid.0 + numbers;
        let second = first + size as u64;
        self.write(Address(first + nr), &host.to_le_bytes());
        self.write(Address(second + nr), &nested.to_le_bytes());
        self.write(Address(second + ns), &namespace.0.to_le_bytes());
        pid
    }
}
