//! In: images that start and end. Out: the image for a key.
//!
//! Bounded: at most [`CAPACITY`] images, with texts as [`Texts`] bounds them; one that ended goes [`KEPT_AFTER_END`] later,
//! or earlier when space is short.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use api::event::{ExecId, Process, ProcessFlags, ProcessInfo};

use super::texts::Texts;
use super::{BootClock, ImageKey, procfs};
use crate::pods::{CgroupId, Pods};

/// Images kept at most. An image with short texts takes about 500 bytes: 32 MiB.
const CAPACITY: usize = 65_536;

/// How long an image is kept after its end, nanoseconds: events that come late still find it.
const KEPT_AFTER_END: u64 = 30_000_000_000;

/// How long after its end was told a process may still do something (closing its files, most of all), nanoseconds. Its
/// id is not used again so soon.
const ON_ITS_WAY_OUT: u64 = 1_000_000_000;

/// One process image.
pub(super) struct Image {
    state: State,
    /// The parent; for an exec without a fork, the image before.
    pub(super) parent: Option<Arc<Process>>,
    /// Boot time of its end.
    ended: Option<u64>,
    /// Whether its pod may be told by the id of its container.
    pub(super) belongs: Belongs,
    /// Version of the pods that were last asked for its own.
    pods: u64,
}

/// Where the pod of an image is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// The place of its cgroup shows that its container is the one that is shown.
    Shown,
    /// This cgroup will, if it is a container's.
    If(CgroupId),
}

enum State {
    Made(Arc<Process>),
    /// Forked, and not asked for since: most of these exec at once, so that nothing is made of them.
    Forked(Forked),
}

/// What a fork tells.
pub(super) struct Forked {
    /// Whose image it has, if that is known.
    pub(super) origin: Option<Arc<Process>>,
    pub(super) in_init_tree: bool,
    pub(super) kernel_thread: bool,
}

impl Image {
    pub(super) fn new(process: Arc<Process>, parent: Option<Arc<Process>>, belongs: Belongs) -> Image {
        Image { state: State::Made(process), parent, ended: None, belongs, pods: 0 }
    }

    /// An image that a fork made.
    pub(super) fn forked(forked: Forked, parent: Option<Arc<Process>>, belongs: Belongs) -> Image {
        Image { state: State::Forked(forked), parent, ended: None, belongs, pods: 0 }
    }

    /// The process, made now if this is the first time that it is asked for, with its pod if that is known by now.
    pub(super) fn process(
        &mut self,
        node: &str,
        clock: &BootClock,
        pods: &Pods,
        key: ImageKey,
    ) -> Arc<Process> {
        let mut made = match &self.state {
            State::Made(process) => process.clone(),
            State::Forked(forked) => {
                let made = Arc::new(forked.process(self.parent.as_deref(), node, clock, key));
                self.state = State::Made(made.clone());
                made
            }
        };
        if self.pods != pods.version() {
            self.pods = pods.version();
            if let Belongs::If(cgroup) = self.belongs
                && pods.container_in(cgroup) == Some(&made.docker)
            {
                self.belongs = Belongs::Shown;
            }
            if self.belongs != Belongs::Shown {
                return made;
            }
            if let Some(better) = with_pod(&made, pods) {
                made = better;
                self.state = State::Made(made.clone());
            }
            // What is known of this container is known of the parent in it.
            if let Some(parent) = &mut self.parent
                && parent.docker == made.docker
                && let Some(better) = with_pod(parent, pods)
            {
                *parent = better;
            }
        }
        made
    }
}

/// The same process, if more is known of its pod by now.
fn with_pod(process: &Arc<Process>, pods: &Pods) -> Option<Arc<Process>> {
    let is_complete = process.pod.as_ref().is_some_and(|pod| pod.container.is_some());
    if is_complete || process.docker.is_empty() {
        return None;
    }
    let pod = pods.of_container(&process.docker).filter(|pod| process.pod.as_ref() != Some(pod))?;
    Some(Arc::new(process.with(|info| info.pod = Some(pod))))
}

impl Forked {
    fn process(&self, parent: Option<&Process>, node: &str, clock: &BootClock, key: ImageKey) -> Process {
        let Some(origin) = &self.origin else { return unknown(node, clock, key) };
        origin.with(|info| {
            info.exec_id = ExecId::new(node, key.start, key.tgid);
            info.pid = key.tgid;
            info.flags = ProcessFlags::CLONE;
            if self.in_init_tree {
                info.flags |= ProcessFlags::IN_INIT_TREE;
            }
            info.start_time = Some(clock.at(key.start));
            info.parent_exec_id = parent.map(|parent| parent.exec_id.clone()).unwrap_or_default();
            info.in_init_tree = Some(self.in_init_tree);
            // A kernel thread gets its name after its fork.
            if self.kernel_thread
                && let Some(name) = procfs::name(key.tgid)
            {
                info.binary = format!("[{name}]").into();
            }
        })
    }
}

/// A process of which only its ids are known.
pub(super) fn unknown(node: &str, clock: &BootClock, key: ImageKey) -> Process {
    let known_start = key.start != 0;
    Process::new(ProcessInfo {
        exec_id: if known_start { ExecId::new(node, key.start, key.tgid) } else { ExecId::default() },
        pid: key.tgid,
        start_time: known_start.then(|| clock.at(key.start)),
        flags: ProcessFlags::UNKNOWN,
        ..ProcessInfo::default()
    })
}

/// All images.
pub(super) struct Images {
    by_key: HashMap<ImageKey, Image>,
    /// Start of the newest image of a process.
    newest: HashMap<u32, u64>,
    /// Images that ended, by the boot time of their end.
    ended: VecDeque<(u64, ImageKey)>,
    texts: Texts,
    capacity: usize,
    evicted: u64,
}

impl Images {
    pub(super) fn new() -> Images {
        Images::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Images {
        Images {
            by_key: HashMap::new(),
            newest: HashMap::new(),
            ended: VecDeque::new(),
            texts: Texts::new(),
            capacity,
            evicted: 0,
        }
    }

    pub(super) fn get(&mut self, key: ImageKey) -> Option<&mut Image> {
        self.by_key.get_mut(&key)
    }

    /// Whether an image is there and has not ended.
    pub(super) fn runs(&self, key: ImageKey) -> bool {
        self.by_key.get(&key).is_some_and(|image| image.ended.is_none())
    }

    /// Keeps an image of which all is known, with the beginnings of its texts alone if there is no room for more.
    pub(super) fn keep(
        &mut self,
        key: ImageKey,
        process: Arc<Process>,
        parent: Option<Arc<Process>>,
        belongs: Belongs,
    ) {
        if self.texts.is_due() && !self.texts.look() {
            while let Some((_, key)) = self.ended.pop_front() {
                self.remove(key);
            }
            self.texts.look();
        }
        let process = self.texts.keep(process);
        self.insert(key, Image::new(process, parent, belongs));
    }

    /// Keeps an image.
    pub(super) fn insert(&mut self, key: ImageKey, image: Image) {
        if self.by_key.len() >= self.capacity && !self.by_key.contains_key(&key) {
            self.make_room();
        }
        self.by_key.insert(key, image);
        self.newest.insert(key.tgid, key.start);
    }

    fn remove(&mut self, key: ImageKey) -> bool {
        if self.newest.get(&key.tgid) == Some(&key.start) {
            self.newest.remove(&key.tgid);
        }
        self.by_key.remove(&key).is_some()
    }

    /// The image of a process that the kernel side did not know at boot time `now`: what it does on its way out, after
    /// its end was told, or what one does for which there was no room.
    pub(super) fn newest(&self, tgid: u32, now: u64) -> Option<ImageKey> {
        let key = ImageKey { tgid, start: *self.newest.get(&tgid)? };
        let ended = self.by_key.get(&key)?.ended;
        ended.is_none_or(|end| now <= end.saturating_add(ON_ITS_WAY_OUT)).then_some(key)
    }

    fn make_room(&mut self) {
        while let Some((_, key)) = self.ended.pop_front() {
            if self.remove(key) {
                return;
            }
        }
        // None has ended: exit records were lost, or more processes run than are kept. Any may go.
        let any = self.by_key.keys().next().copied();
        if any.is_some_and(|key| self.remove(key)) {
            self.evicted += 1;
        }
    }

    /// An image ended at boot time `now`.
    pub(super) fn end(&mut self, key: ImageKey, now: u64) {
        if let Some(image) = self.by_key.get_mut(&key)
            && image.ended.is_none()
        {
            image.ended = Some(now);
            self.ended.push_back((now, key));
        }
    }

    /// Forgets images that ended long enough before boot time `now`.
    pub(super) fn age(&mut self, now: u64) {
        while let Some((end, key)) = self.ended.front().copied()
            && end.saturating_add(KEPT_AFTER_END) < now
        {
            self.ended.pop_front();
            self.remove(key);
        }
    }

    /// Images that have not ended, as far as records told.
    pub(super) fn running(&self) -> Vec<ImageKey> {
        self.by_key.iter().filter(|(_, image)| image.ended.is_none()).map(|(key, _)| *key).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn cut(&self) -> u64 {
        self.texts.cut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tgid: u32) -> ImageKey {
        ImageKey { tgid, start: 100 }
    }

    fn image() -> Image {
        Image::forked(
            Forked { origin: None, in_init_tree: false, kernel_thread: false },
            None,
            Belongs::Shown,
        )
    }

    #[test]
    fn an_ended_image_stays_for_thirty_seconds() {
        let mut images = Images::new();
        images.insert(key(1), image());
        images.end(key(1), 5);
        images.end(key(1), 6);
        images.age(5 + KEPT_AFTER_END);
        assert!(images.get(key(1)).is_some());
        images.age(6 + KEPT_AFTER_END);
        assert!(images.get(key(1)).is_none());
        assert_eq!((images.len(), images.ended.len(), images.evicted()), (0, 0, 0));
        assert!(images.newest.is_empty());
    }

    #[test]
    fn a_full_cache_forgets_the_longest_ended_first() {
        let mut images = Images::with_capacity(2);
        images.insert(key(1), image());
        images.insert(key(2), image());
        images.end(key(2), 5);
        images.insert(key(3), image());
        assert!(images.get(key(1)).is_some() && images.get(key(2)).is_none() && images.get(key(3)).is_some());
        assert_eq!(images.evicted(), 0);
        images.insert(key(4), image());
        assert_eq!((images.len(), images.evicted()), (2, 1));
        images.insert(key(4), image());
        assert_eq!((images.len(), images.evicted()), (2, 1));
    }

    #[test]
    fn a_fork_is_its_origin_under_another_name() {
        let clock = BootClock::new();
        let origin = Arc::new(Process::new(ProcessInfo {
            exec_id: ExecId::new("n", 7, 1),
            pid: 1,
            binary: "/bin/sh".into(),
            flags: ProcessFlags::EXECVE,
            ..ProcessInfo::default()
        }));
        let forked = Forked { origin: Some(origin.clone()), in_init_tree: false, kernel_thread: false };
        let mut image = Image::forked(forked, Some(origin.clone()), Belongs::Shown);
        let pods = Pods::default();
        let forked = image.process("n", &clock, &pods, key(2));
        assert_eq!((forked.pid, forked.binary.as_str(), forked.flags), (2, "/bin/sh", ProcessFlags::CLONE));
        assert_eq!(forked.exec_id, ExecId::new("n", 100, 2));
        assert_eq!(forked.parent_exec_id, origin.exec_id);
        assert!(Arc::ptr_eq(&forked, &image.process("n", &clock, &pods, key(2))));
    }
}
