//! In: one record at a time. Out: its event, if it is one that users see; the cache brought up to date.

use std::sync::Arc;
use std::time::Instant;

use api::event::{Body, Event, ExecId, Process, ProcessExec, ProcessExit, Subject};
use bpf_programs::layout::{
    EXEC_INLINE_ARGS, EXIT_KERNEL_THREAD, ExecDataRecord, ExitRecord, FORK_IN_INIT_TREE, FORK_KERNEL_THREAD,
    ForkRecord, RecordHeader, RecordKind, take,
};

use super::container::{Container, Where};
use super::exec::Exec;
use super::images::{Belongs, Forked, Image};
use super::{ImageKey, Known, ProcessCache};
use crate::pods::CgroupId;

/// How often the wall clock is looked at, nanoseconds: somebody may have set it.
const CLOCK_PERIOD: u64 = 60_000_000_000;

impl ProcessCache {
    /// Takes in a record of the life cycle and gives its event: of an exec or an exit, none for the others. Hook
    /// records are not for the cache: see [`ProcessCache::find`].
    pub fn handle_record(&mut self, bytes: &[u8]) -> Option<Event> {
        let Some((header, _)) = take::<RecordHeader>(bytes) else {
            self.counters.malformed += 1;
            return None;
        };
        self.keep_up(header.time);
        let taken = match RecordKind::from_number(header.kind) {
            Some(RecordKind::Exec) => Exec::parse(bytes).map(|exec| Some(self.exec(&exec))),
            Some(RecordKind::ExecData) => self.exec_data(bytes).map(|()| None),
            Some(RecordKind::Fork) => take(bytes).map(|(record, _)| self.fork(&record)).map(|()| None),
            Some(RecordKind::Exit) => take(bytes).map(|(record, _)| self.exit(&record)),
            Some(RecordKind::Hook) | None => None,
        };
        taken.unwrap_or_else(|| {
            self.counters.malformed += 1;
            None
        })
    }

    /// What time brings, at boot time `now`.
    fn keep_up(&mut self, now: u64) {
        self.newest = self.newest.max(now);
        self.images.age(self.newest);
        if self.newest >= self.clock_due {
            self.clock.refresh();
            self.clock_due = self.newest.saturating_add(CLOCK_PERIOD);
        }
    }

    fn exec_data(&mut self, bytes: &[u8]) -> Option<()> {
        let (record, text) = take::<ExecDataRecord>(bytes)?;
        let piece = text.get(..usize::try_from(record.len).ok()?)?;
        self.pending.add(ImageKey { tgid: record.tgid, start: record.header.time }, record.offset, piece);
        Some(())
    }

    fn exec(&mut self, exec: &Exec<'_>) -> Event {
        let record = &exec.record;
        let key = ImageKey { tgid: record.tgid, start: record.header.time };
        let time = self.clock.at(key.start);
        let more = self.pending.take(key, EXEC_INLINE_ARGS);
        let (parent, parent_exec_id) = self.parent_of_exec(exec);
        let mut info = exec.describe(more);
        info.exec_id = ExecId::new(&self.node, key.start, key.tgid);
        info.parent_exec_id = parent_exec_id;
        info.start_time = Some(time);
        let (docker, belongs) = self.container_of_exec(exec);
        info.pod = (belongs == Belongs::Shown).then(|| self.pods.of_container(&docker)).flatten();
        info.docker = docker;
        let process = Arc::new(Process::new(info));
        self.images.end(ImageKey { tgid: record.tgid, start: record.previous_start }, key.start);
        self.images.keep(key, process.clone(), parent.clone(), belongs);
        let process = Subject { process, tid: record.tgid, refcnt: 0 };
        self.event(Body::Exec(ProcessExec { process, parent, ancestors: Vec::new() }), key.start)
    }

    fn container_of_exec(&mut self, exec: &Exec<'_>) -> (String, Belongs) {
        let cgroup = CgroupId(exec.record.cgroup_id);
        self.pods.exec_in(cgroup, &String::from_utf8_lossy(exec.cgroup), Instant::now());
        if let Some(id) = self.pods.container_in(cgroup) {
            return (id.to_owned(), Belongs::Shown);
        }
        let container = self.containers.of_exec(cgroup.0, exec.cgroup, exec.record.tgid);
        self.believe(container, cgroup)
    }

    /// What of a container's name is shown, and whether it tells the pod.
    pub(super) fn believe(&self, container: Container, cgroup: CgroupId) -> (String, Belongs) {
        let Container { id, place } = container;
        match place {
            Where::Pods => (id, Belongs::Shown),
            // There is no telling, and no policy for pods either.
            Where::Unknown if !self.pods.has_hierarchy() => (id, Belongs::Shown),
            Where::Unknown => (id, Belongs::If(cgroup)),
            // It is not the pod's whose name it has.
            Where::Elsewhere if self.pods.of_container(&id).is_some() => (String::new(), Belongs::If(cgroup)),
            Where::Elsewhere => (id, Belongs::If(cgroup)),
        }
    }

    /// The parent of a new image: the process that forked it, or the image that it replaces without a fork.
    fn parent_of_exec(&mut self, exec: &Exec<'_>) -> (Option<Arc<Process>>, ExecId) {
        let record = &exec.record;
        let previous = ImageKey { tgid: record.tgid, start: record.previous_start };
        let parent = ImageKey { tgid: record.parent_tgid, start: record.parent_start };
        if !exec.forked() && !exec.missed() {
            return self.identified(previous);
        }
        match self.images.get(previous) {
            Some(Image { parent: Some(parent), .. }) => (Some(parent.clone()), parent.exec_id.clone()),
            _ => self.identified(parent),
        }
    }

    /// A process with its id: as far as the cache and the key know it; of pid 0 if they do not at all.
    fn identified(&mut self, key: ImageKey) -> (Option<Arc<Process>>, ExecId) {
        let process = match self.known(key) {
            Some(process) => process,
            None if key.start == 0 => self.kernel.clone(),
            None => return (None, ExecId::new(&self.node, key.start, key.tgid)),
        };
        let id = process.exec_id.clone();
        (Some(process), id)
    }

    fn fork(&mut self, record: &ForkRecord) {
        let origin = ImageKey { tgid: record.origin_tgid, start: record.origin_start };
        let parent = ImageKey { tgid: record.parent_tgid, start: record.parent_start };
        let origin_process = self.known(origin);
        let parent_process = if parent == origin { origin_process.clone() } else { self.known(parent) };
        let key = ImageKey { tgid: record.tgid, start: record.header.time };
        let of_origin = self.images.get(self.with_start(origin)).map(|image| image.belongs);
        let belongs = of_origin.unwrap_or(Belongs::If(CgroupId(0)));
        let forked = Forked {
            origin: origin_process,
            in_init_tree: record.header.flags & FORK_IN_INIT_TREE != 0,
            kernel_thread: record.header.flags & FORK_KERNEL_THREAD != 0,
        };
        self.images.insert(key, Image::forked(forked, parent_process, belongs));
    }

    pub(super) fn known(&mut self, key: ImageKey) -> Option<Arc<Process>> {
        let key = self.with_start(key);
        let image = self.images.get(key)?;
        Some(image.process(&self.node, &self.clock, &self.pods, key))
    }

    /// The key with the start that the scan found, if the kernel side did not know one and that image still runs.
    fn with_start(&self, key: ImageKey) -> ImageKey {
        if key.start != 0 {
            return key;
        }
        let scanned = self.scanned.get(&key.tgid).map(|start| ImageKey { start: *start, ..key });
        scanned.filter(|scanned| self.images.runs(*scanned)).unwrap_or(key)
    }

    fn exit(&mut self, record: &ExitRecord) -> Option<Event> {
        let key = ImageKey { tgid: record.tgid, start: record.start };
        if record.header.flags & EXIT_KERNEL_THREAD != 0 {
            self.images.end(key, record.header.time);
            return None;
        }
        let Known { process, parent, .. } = self.find(key);
        self.images.end(key, record.header.time);
        let exit = ProcessExit {
            process: Subject { process, tid: record.tgid, refcnt: 0 },
            parent,
            ancestors: Vec::new(),
            signal: record.code & 0x7f,
            status: record.code >> 8 & 0xff,
            time: self.clock.at(record.header.time),
        };
        Some(self.event(Body::Exit(exit), record.header.time))
    }

    pub(super) fn event(&self, body: Body, boot: u64) -> Event {
        Event { body, node_name: self.node.clone(), time: self.clock.at(boot) }
    }
}

#[cfg(test)]
mod tests;
