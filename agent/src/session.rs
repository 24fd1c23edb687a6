//! In: desired artefacts, and the kernel's records. Out: events for whoever asked, and counters.
//!
//! One session owns everything that this process has in the kernel; closing (or dropping) it takes it all out.

mod placing;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::artefact::{Artefact, ArtefactDigest, EventKind};
use api::event::{Body, Event, Hook, HookEvent, Subject};
use bpf_programs::layout::RecordKind;

use crate::base::{Base, BaseError, BaseOptions, Losses};
use crate::decode::{DecodeErrors, DecodedHook, decode_hook};
use crate::kernel::{Errno, Linux};
use crate::loader::sets::ProcFs;
use crate::loader::{
    ApplyReport, BaseObjects, FromBaseError, HookKey, InstalledHook, Leftover, Loader, MemoryReport,
    PolicyCounts, Schemas,
};
use crate::pins::{PinDirectory, PinError};
use crate::process::{CacheCounters, ImageKey, ProcessCache, ScanError};

use placing::Placing;

/// Decoded hooks kept by program id: the ids of programs that were replaced are not asked for much longer. At about
/// 1 KiB each, 1 MiB.
const KNOWN_PROGRAMS: usize = 1024;

/// How often lost ends of processes are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// A session could not begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The fixed programs.
    #[error("the programs that follow processes could not be loaded: {0}")]
    Base(#[from] BaseError),
    /// The processes that run already.
    #[error("the running processes could not be read: {0}")]
    Scan(#[from] ScanError),
    /// Their maps are not shared with the policies' programs.
    #[error("the process programs' maps cannot be shared with the policies' programs: {0}")]
    Share(#[from] FromBaseError),
    /// The kernel's limits.
    #[error("the number of CPUs could not be read: {0}")]
    Kernel(Errno),
}

/// What the session saw and could not do, since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Events given out.
    pub events: u64,
    /// Hook records that could not be decoded.
    pub undecodable: u64,
    /// Of the process cache.
    pub cache: CacheCounters,
    /// Lost by the fixed programs.
    pub losses: Losses,
    /// How often a change of the node's workloads could not be put in force at once.
    pub misplaced: u64,
}

/// Programs in the kernel with their reader.
pub struct Session {
    base: Base,
    loader: Option<Loader>,
    intake: Intake,
    looked: Instant,
    lost_ends: u64,
    placing: Placing,
}

/// What turns records into events.
struct Intake {
    cache: ProcessCache,
    hooks: Hooks,
    events: u64,
    errors: DecodeErrors,
}

impl Session {
    /// Loads the fixed programs and takes in the processes that run already; the result has one event for each.
    pub fn start(node: &str, options: &BaseOptions) -> Result<(Session, Vec<Event>), SessionError> {
        Session::start_to_stay(node, options, None)
    }

    /// As [`Session::start`]; with `pins`, all programs stay attached beyond this process, see [`Session::leave`].
    pub fn start_to_stay(
        node: &str,
        options: &BaseOptions,
        pins: Option<PinDirectory>,
    ) -> Result<(Session, Vec<Event>), SessionError> {
        let kernel = Linux::new().map_err(SessionError::Kernel)?;
        let mut base = Base::load_to_stay(options, pins.as_ref())?;
        let mut cache = ProcessCache::new(node);
        let running = cache.scan(&mut base)?;
        let objects = BaseObjects::of(&base, &kernel)?;
        let mut loader = Loader::new(kernel, objects, ProcFs::at("/proc"));
        if let Some(pins) = pins {
            loader.pin_to(pins);
        }
        let hooks = Hooks::new(loader.schemas());
        let events = running.len() as u64;
        let intake = Intake { cache, hooks, events, errors: DecodeErrors::default() };
        let (looked, placing) = (Instant::now(), Placing::default());
        let mut session = Session { base, loader: Some(loader), intake, looked, lost_ends: 0, placing };
        session.place_workloads(Instant::now());
        Ok((session, running))
    }

    /// Makes the kernel run this set, make before break. See [`Loader::apply`].
    pub fn apply(&mut self, desired: &[Artefact]) -> ApplyReport {
        self.apply_beside(&BTreeSet::new(), desired)
    }

    /// The same, of a set of which `kept` runs already. See [`Loader::apply_beside`].
    pub fn apply_beside(&mut self, kept: &BTreeSet<ArtefactDigest>, new: &[Artefact]) -> ApplyReport {
        self.loader.as_mut().map(|loader| loader.apply_beside(kept, new)).unwrap_or_default()
    }

    /// Hooks that have a program.
    pub fn installed(&self) -> Vec<InstalledHook> {
        self.loader.as_ref().map(Loader::installed).unwrap_or_default()
    }

    /// What ends with this process although it was to stay: programs and why.
    pub fn unpinned(&self) -> Vec<(String, String)> {
        let fixed = self.base.unpinned().iter().map(|(program, why)| (program.to_string(), why.clone()));
        let hooks = self.loader.as_ref().map(Loader::unpinned).unwrap_or_default();
        fixed.chain(hooks.into_iter().map(|(hook, errno)| (hook.to_string(), errno.to_string()))).collect()
    }

    /// Tells successors which set runs. See [`Loader::mark`].
    ///
    /// # Errors
    /// It cannot be told.
    pub fn mark(&self, generation: u64) -> Result<(), PinError> {
        self.loader.as_ref().map_or(Ok(()), |loader| loader.mark(generation))
    }

    /// Ends without detaching what is pinned: it goes on enforcing and counting, and nobody reads its events.
    pub fn leave(mut self) {
        if let Some(loader) = self.loader.take() {
            loader.leave();
        }
    }

    /// Waits for records, at most `timeout`, and gives up to `limit` events to `each`; returns how many.
    ///
    /// # Errors
    /// The ring buffer cannot be waited for.
    pub fn poll(
        &mut self,
        timeout: Duration,
        limit: usize,
        mut each: impl FnMut(&Event),
    ) -> Result<usize, SessionError> {
        self.forget_lost_ends()?;
        let now = Instant::now();
        self.place_workloads(now);
        let timeout = timeout.min(self.intake.cache.pods().due(now));
        let Session { base, intake, .. } = self;
        let mut records = base.reader().drain(limit, |record| intake.record(record, &mut each));
        if records == 0 && base.reader().wait(timeout)? {
            records = base.reader().drain(limit, |record| intake.record(record, &mut each));
        }
        // An exec in a cgroup that was not known is what tells of it.
        self.place_workloads(Instant::now());
        Ok(records)
    }

    /// Processes of whose end a record was lost would stay in the cache for ever.
    fn forget_lost_ends(&mut self) -> Result<(), SessionError> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        let lost = self.base.losses()?.ends();
        if lost != self.lost_ends {
            self.lost_ends = lost;
            self.intake.cache.reconcile(&self.base)?;
        }
        Ok(())
    }

    /// Counts by policy since it was first loaded.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn policy_counts(&self) -> Result<Vec<PolicyCounts>, Errno> {
        self.loader.as_ref().map_or_else(|| Ok(Vec::new()), Loader::counters)
    }

    /// Calls that no program of their hook looked at. See [`Loader::missed`].
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn missed_calls(&self) -> Result<BTreeMap<HookKey, u64>, Errno> {
        self.loader.as_ref().map_or_else(|| Ok(BTreeMap::new()), Loader::missed)
    }

    /// Kernel memory of the policies' programs.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn memory(&self) -> Result<MemoryReport, Errno> {
        self.loader.as_ref().map_or_else(|| Ok(MemoryReport::default()), Loader::memory)
    }

    /// Counts of the session.
    ///
    /// # Errors
    /// The loss counters cannot be read.
    pub fn totals(&self) -> Result<Totals, SessionError> {
        let losses = self.base.losses()?;
        let Intake { events, cache, errors, .. } = &self.intake;
        Ok(Totals {
            events: *events,
            undecodable: errors.total(),
            cache: cache.counters(),
            losses,
            misplaced: self.placing.failures(),
        })
    }

    /// Detaches the policies' programs, and says what resisted; records already written can still be polled.
    pub fn detach_policies(&mut self) -> Vec<Leftover> {
        self.loader.take().map(Loader::close).unwrap_or_default()
    }
}

impl Intake {
    fn record(&mut self, record: &[u8], each: &mut impl FnMut(&Event)) {
        let event = match record.first_chunk::<2>().map(|kind| u16::from_ne_bytes(*kind)) {
            Some(kind) if kind == RecordKind::Hook as u16 => self.hook(record),
            _ => self.cache.handle_record(record),
        };
        if let Some(event) = event {
            self.events += 1;
            each(&event);
        }
    }

    fn hook(&mut self, record: &[u8]) -> Option<Event> {
        match decode_hook(record, |program, hook| self.hooks.find(program, hook)) {
            Ok(decoded) => Some(enrich(decoded, &mut self.cache)),
            Err(error) => {
                self.errors.count(&error);
                None
            }
        }
    }
}

fn enrich(decoded: DecodedHook, cache: &mut ProcessCache) -> Event {
    let key = ImageKey { tgid: decoded.tgid, start: decoded.process_start.unwrap_or(0) };
    let known = cache.find_at(key, decoded.time);
    let kind = decoded.hook.event;
    let event = HookEvent {
        process: Subject { process: known.process, tid: decoded.tid, refcnt: known.refcnt },
        parent: known.parent,
        ancestors: Vec::new(),
        hook: decoded.hook,
        args: decoded.args,
        ret: decoded.ret,
        action: decoded.action,
        return_action: decoded.return_action,
    };
    let body = match kind {
        EventKind::Tracepoint => Body::Tracepoint(event),
        EventKind::Lsm => Body::Lsm(event),
        EventKind::Kprobe | EventKind::Unspecified => Body::Kprobe(event),
    };
    Event { body, node_name: Arc::clone(cache.node()), time: cache.clock().at(decoded.time) }
}

/// Hooks by program id, read from the loader's schemas when first asked for.
struct Hooks {
    schemas: Schemas,
    known: HashMap<u32, Vec<Arc<Hook>>>,
    order: VecDeque<u32>,
}

impl Hooks {
    fn new(schemas: Schemas) -> Hooks {
        Hooks { schemas, known: HashMap::new(), order: VecDeque::new() }
    }

    fn find(&mut self, program: u32, hook: u16) -> Option<&Arc<Hook>> {
        if !self.known.contains_key(&program) {
            let schema = self.schemas.get(program)?;
            let hooks: Result<Vec<_>, _> =
                schema.entries.iter().map(|entry| Hook::from_schema(entry).map(Arc::new)).collect();
            if self.order.len() >= KNOWN_PROGRAMS {
                self.order.pop_front().map(|oldest| self.known.remove(&oldest));
            }
            self.order.push_back(program);
            self.known.insert(program, hooks.ok()?);
        }
        self.known.get(&program)?.get(usize::from(hook))
    }
}
