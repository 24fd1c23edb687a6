//! In: the fixed programs on the kernel that runs the tests; needs root. Out: the events of the processes that a test
//! starts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use agent::base::{Base, BaseOptions};
use agent::process::ProcessCache;
use api::event::{Body, Event, Process, ProcessExec, ProcessExit};

/// Node name of the tests.
pub const NODE: &str = "test-node";

/// How long an event may take: emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// The programs with the cache that reads them.
pub struct Watch {
    pub base: Base,
    pub cache: ProcessCache,
    /// Of processes that ran before.
    pub scanned: Vec<Event>,
    by_pid: HashMap<u32, Vec<Body>>,
}

/// One watch for the tests of a file, which take turns with it.
static SHARED: LazyLock<Mutex<Watch>> = LazyLock::new(|| Mutex::new(Watch::start(&BaseOptions::default())));

/// The shared watch.
pub fn watch() -> MutexGuard<'static, Watch> {
    // A test that failed while it held the watch has left nothing half done in it.
    SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What a process did.
#[derive(Debug)]
pub struct Story {
    pub execs: Vec<ProcessExec>,
    pub exits: Vec<ProcessExit>,
}

impl Story {
    /// The exec event of the only exec.
    pub fn exec(&self) -> &Process {
        assert_eq!(self.execs.len(), 1, "one exec event: {self:#?}");
        &self.execs[0].process.process
    }

    /// The exit event.
    pub fn exit(&self) -> &ProcessExit {
        assert_eq!(self.exits.len(), 1, "one exit event: {self:#?}");
        &self.exits[0]
    }
}

impl Watch {
    pub fn start(options: &BaseOptions) -> Watch {
        let mut base = match Base::load(options) {
            Ok(base) => base,
            Err(error) => panic!("these tests need root and a kernel with BTF: {error}"),
        };
        let mut cache = ProcessCache::new(NODE);
        let scanned = cache.scan(&mut base).expect("/proc is readable");
        Watch { base, cache, scanned, by_pid: HashMap::new() }
    }

    /// Reads what there is.
    pub fn drain(&mut self) {
        let Watch { base, cache, by_pid, .. } = self;
        base.reader().drain(usize::MAX, |record| {
            if let Some(event) = cache.handle_record(record) {
                by_pid.entry(event.subject().process.pid).or_default().push(event.body);
            }
        });
    }

    /// Waits for the process to end, and for the event of it.
    pub fn follow(&mut self, mut child: Child) -> (Story, ExitStatus) {
        let pid = child.id();
        let deadline = Instant::now() + PATIENCE;
        let ended = |events: &Vec<Body>| events.iter().any(|event| matches!(event, Body::Exit(_)));
        while !self.by_pid.get(&pid).is_some_and(ended) {
            assert!(Instant::now() < deadline, "no exit event of {pid}: {:#?}", self.by_pid.get(&pid));
            self.base.reader().wait(Duration::from_millis(20)).unwrap();
            self.drain();
        }
        let status = child.wait().unwrap();
        // Time for a second event that should not be.
        std::thread::sleep(Duration::from_millis(20));
        self.drain();
        (self.story(pid), status)
    }

    /// Waits until the process has made this many execs in all. That a process runs its new program does not tell: the
    /// tracepoint comes later.
    pub fn await_execs(&mut self, pid: u32, count: usize) {
        self.await_events(pid, |events| execs(events).count() >= count);
    }

    /// Waits until the process has executed `binary`.
    pub fn await_binary(&mut self, pid: u32, binary: &str) {
        self.await_events(pid, |events| execs(events).any(|exec| exec.process.process.binary == binary));
    }

    fn await_events(&mut self, pid: u32, are_enough: impl Fn(&[Body]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.by_pid.get(&pid).is_some_and(|events| are_enough(events)) {
            assert!(Instant::now() < deadline, "not enough of {pid}: {:#?}", self.by_pid.get(&pid));
            self.base.reader().wait(Duration::from_millis(20)).unwrap();
            self.drain();
        }
    }

    /// The events of a process so far.
    pub fn story(&mut self, pid: u32) -> Story {
        let mut story = Story { execs: Vec::new(), exits: Vec::new() };
        for event in self.by_pid.remove(&pid).unwrap_or_default() {
            match event {
                Body::Exec(exec) => story.execs.push(exec),
                Body::Exit(exit) => story.exits.push(exit),
                other => panic!("no policy is loaded: {other:?}"),
            }
        }
        story
    }

    /// The events of children that `parent` had.
    pub fn children(&self, parent: u32) -> Vec<u32> {
        let is_child = |event: &Body| match event {
            Body::Exec(exec) => exec.parent.as_ref().is_some_and(|process| process.pid == parent),
            Body::Exit(exit) => exit.parent.as_ref().is_some_and(|process| process.pid == parent),
            _ => false,
        };
        let of_parent =
            self.by_pid.iter().filter(|(pid, events)| **pid != parent && events.iter().any(is_child));
        of_parent.map(|(pid, _)| *pid).collect()
    }

    /// Starts a command and follows it.
    pub fn run(&mut self, command: &mut Command) -> (Story, ExitStatus) {
        self.drain();
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        self.follow(child)
    }
}

fn execs(events: &[Body]) -> impl Iterator<Item = &ProcessExec> {
    events.iter().filter_map(|event| match event {
        Body::Exec(exec) => Some(exec),
        _ => None,
    })
}

/// A shell that runs `script`, in which `$H` is the helper and `$D` is `folder`.
pub fn shell(script: &str, folder: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).env("H", helper()).env("D", folder).current_dir(folder);
    command
}

/// The helper program, compiled now, or the one that FERRAGON_TEST_HELPER names (where there is no compiler).
pub fn helper() -> &'static Path {
    static HELPER: LazyLock<PathBuf> = LazyLock::new(|| {
        if let Some(path) = std::env::var_os("FERRAGON_TEST_HELPER") {
            return path.into();
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/base_support/helper.c");
        let out =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("base-helper-{}", env!("CARGO_CRATE_NAME")));
        let status = Command::new("cc")
            .args(["-static", "-O1", "-Wall", "-pthread", "-o"])
            .arg(&out)
            .arg(source)
            .status();
        assert!(
            status.as_ref().is_ok_and(ExitStatus::success),
            "these tests need cc and libc.a (Debian: gcc, libc6-dev): {status:?}"
        );
        out
    });
    &HELPER
}

/// A folder of the test's own, with its name free of symbolic links.
pub fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

/// The flag words of a process.
pub fn words(process: &Process) -> String {
    process.flags.words().collect::<Vec<_>>().join(" ")
}
