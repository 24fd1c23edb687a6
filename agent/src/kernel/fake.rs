//! In: calls of [`Kernel`] in tests. Out: objects in memory, a journal of what happened, failures on demand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::artefact::Flavour;

use super::insn::{INSN_SIZE, LD_IMM64};
use super::spec::{AttachError, AttachPoint, AttachStep, MapShape, MapType, ProgramMemory, ProgramSpec};
use super::{Errno, Kernel, Rejection};

/// A kernel for tests. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    state: Arc<Mutex<State>>,
}

/// Calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Kernel::map_create`].
    MapCreate,
    /// [`Kernel::map_update`].
    MapUpdate,
    /// [`Kernel::map_lookup`].
    MapLookup,
    /// [`Kernel::program_load`].
    ProgramLoad,
    /// [`Kernel::attach`].
    Attach,
    /// [`Kernel::detach`].
    Detach,
    /// [`Kernel::test_run`].
    TestRun,
    /// [`Kernel::pin`].
    Pin,
}

/// What happened, in order. Objects go by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A program was loaded.
    Loaded(i32),
    /// This program was attached to this target.
    Attached(i32, String),
    /// A map with this name had an entry set.
    Updated(&'static str, Vec<u8>, Vec<u8>),
    /// This program was detached.
    Detached(i32),
    /// A program was run with these arguments.
    Ran(i32, Vec<u64>),
    /// Calls that had begun were waited for.
    Waited,
}

#[derive(Debug, Default)]
struct State {
    last_number: i32,
    live: BTreeSet<i32>,
    maps: BTreeMap<i32, Contents>,
    programs: BTreeMap<i32, Vec<u8>>,
    attached: BTreeSet<i32>,
    failures: Vec<(Call, u32, Errno)>,
    unloadable: BTreeSet<Flavour>,
    missed: BTreeMap<i32, u64>,
    unattachable: BTreeSet<Flavour>,
    rejected_insns: Vec<[u8; INSN_SIZE]>,
    lsm_is_never_called: bool,
    answers: VecDeque<u32>,
    journal: Vec<Happening>,
    /// Programs that stay attached while the file is there.
    pins: BTreeMap<PathBuf, i32>,
    /// Maps that keep their contents.
    pinned_maps: BTreeMap<PathBuf, i32>,
    forgetful: bool,
}

#[derive(Debug)]
struct Contents {
    shape: MapShape,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A map, program or link of a [`FakeKernel`].
#[derive(Debug)]
pub struct FakeObject {
    kernel: FakeKernel,
    number: i32,
    /// Of a link: the number of its program.
    program: Option<i32>,
}

impl FakeObject {
    /// Its number, never used twice.
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl Drop for FakeObject {
    fn drop(&mut self) {
        let mut state = self.kernel.state();
        state.live.remove(&self.number);
        if !state.pinned_maps.values().any(|number| *number == self.number) {
            state.maps.remove(&self.number);
        }
        if let Some(program) = self.program {
            state.attached.remove(&program);
        }
    }
}

impl FakeKernel {
    /// An empty kernel on which everything works.
    pub fn new() -> FakeKernel {
        FakeKernel::default()
    }

    /// One that keeps neither instructions nor map entries nor a journal: for thousands of them at once. Failures on
    /// demand work all the same.
    pub fn forgetful() -> FakeKernel {
        let kernel = FakeKernel::default();
        kernel.state().forgetful = true;
        kernel
    }

    /// Makes the `nth` next call of this kind (1: the next) fail, once.
    pub fn fail(&self, call: Call, nth: u32, errno: Errno) {
        self.state().failures.push((call, nth, errno));
    }

    /// Whether a failure that was asked for has not come to pass yet.
    pub fn has_pending_failure(&self) -> bool {
        !self.state().failures.is_empty()
    }

    /// Makes every load of this flavour fail with EPERM.
    pub fn refuse_to_load(&self, flavour: Flavour) {
        self.state().unloadable.insert(flavour);
    }

    /// Makes every attachment of this flavour fail with ENOENT.
    pub fn refuse_to_attach(&self, flavour: Flavour) {
        self.state().unattachable.insert(flavour);
    }

    /// Adds calls that the kernel skipped to every program attached now.
    pub fn skip_calls(&self, calls: u64) {
        let mut state = self.state();
        for program in state.attached.clone() {
            *state.missed.entry(program).or_default() += calls;
        }
    }

    /// Makes the verifier reject every program with this instruction.
    pub fn reject_insn(&self, insn: [u8; INSN_SIZE]) {
        self.state().rejected_insns.push(insn);
    }

    /// LSM programs attach but are never called, as on a kernel whose `lsm=` lacks `bpf`.
    pub fn never_call_lsm(&self) {
        self.state().lsm_is_never_called = true;
    }

    /// What the next test runs return; further ones return 1.
    pub fn answer_test_runs(&self, answers: impl IntoIterator<Item = u32>) {
        self.state().answers.extend(answers);
    }

    /// Objects that are alive.
    pub fn live(&self) -> usize {
        self.state().live.len()
    }

    /// Programs that are attached, by a link that is alive or by a pin that is there.
    pub fn attached(&self) -> Vec<i32> {
        let state = self.state();
        let pinned = state.pins.iter().filter(|(path, _)| path.exists()).map(|(_, program)| *program);
        state.attached.iter().copied().chain(pinned).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Instructions that a program was loaded with.
    pub fn insns(&self, program: i32) -> Vec<u8> {
        self.state().programs.get(&program).cloned().unwrap_or_default()
    }

    /// The value in the live map of this name; zeros for array entries never set.
    pub fn value(&self, map: &str, key: &[u8]) -> Option<Vec<u8>> {
        self.state().maps.values().find(|contents| contents.shape.name == map)?.get(key)
    }

    /// Puts an entry into the live map of this name, as a program of the kernel does: it is no happening.
    pub fn put(&self, map: &str, key: &[u8], value: &[u8]) {
        let mut state = self.state();
        if let Some(contents) = state.maps.values_mut().find(|contents| contents.shape.name == map) {
            contents.entries.insert(key.to_vec(), value.to_vec());
        }
    }

    /// All entries that were set in the live map of this name.
    pub fn entries(&self, map: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let state = self.state();
        let contents = state.maps.values().find(|contents| contents.shape.name == map);
        contents.map(|contents| contents.entries.clone()).unwrap_or_default()
    }

    /// Takes the journal.
    pub fn take_journal(&self) -> Vec<Happening> {
        std::mem::take(&mut self.state().journal)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has failed already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, state: &mut State, program: Option<i32>) -> FakeObject {
        state.last_number += 1;
        state.live.insert(state.last_number);
        FakeObject { kernel: self.clone(), number: state.last_number, program }
    }
}

impl State {
    fn record(&mut self, happening: Happening) {
        if !self.forgetful {
            self.journal.push(happening);
        }
    }

    fn may_fail(&mut self, call: Call) -> Result<(), Errno> {
        let mut failed = None;
        self.failures.retain_mut(|(which, left, errno)| {
            if *which == call {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    failed = Some(*errno);
                    return false;
                }
            }
            true
        });
        failed.map_or(Ok(()), Err)
    }

    /// An LSM program of the probe writes 1 to the array that it refers to.
    fn call_lsm(&mut self, program: i32) {
        let insns = self.programs.get(&program).cloned().unwrap_or_default();
        for insn in insns.chunks_exact(INSN_SIZE) {
            if let [LD_IMM64, regs, _, _, a, b, c, d] = *insn
                && regs >> 4 == 2
                && let Some(map) = self.maps.get_mut(&i32::from_le_bytes([a, b, c, d]))
            {
                map.entries.insert(vec![0; 4], 1u32.to_le_bytes().to_vec());
            }
        }
    }
}

impl Contents {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let zeros = || vec![0; self.shape.value_size as usize];
        let stored = self.entries.get(key).cloned();
        if self.is_array() {
            Some(stored.unwrap_or_else(zeros)).filter(|_| self.in_bounds(key))
        } else {
            stored
        }
    }

    fn is_array(&self) -> bool {
        matches!(self.shape.kind, MapType::Array | MapType::PerCpuArray)
    }

    fn in_bounds(&self, key: &[u8]) -> bool {
        key.first_chunk().is_some_and(|key| u32::from_le_bytes(*key) < self.shape.max_entries)
    }
}

impl Kernel for FakeKernel {
    type Map = FakeObject;
    type Program = FakeObject;
    type Link = FakeObject;

    fn map_create(&self, shape: &MapShape) -> Result<FakeObject, Errno> {
        let mut state = self.state();
        state.may_fail(Call::MapCreate)?;
        if shape.max_entries == 0 || shape.key_size == 0 || shape.value_size == 0 {
            return Err(Errno::EINVAL);
        }
        let object = self.object(&mut state, None);
        state.maps.insert(object.number, Contents { shape: *shape, entries: BTreeMap::new() });
        Ok(object)
    }

    fn map_number(&self, map: &FakeObject) -> i32 {
        map.number
    }

    fn map_update(&self, map: &FakeObject, key: &[u8], value: &[u8]) -> Result<(), Errno> {
        let mut state = self.state();
        state.may_fail(Call::MapUpdate)?;
        let forgetful = state.forgetful;
        let contents = state.maps.get_mut(&map.number).ok_or(Errno(libc::EBADF))?;
        if key.len() != contents.shape.key_size as usize || value.len() != contents.shape.value_size as usize
        {
            return Err(Errno::EINVAL);
        }
        let is_full = contents.entries.len() >= contents.shape.max_entries as usize;
        if contents.is_array() && !contents.in_bounds(key) {
            return Err(Errno(libc::E2BIG));
        }
        if is_full && !contents.entries.contains_key(key) {
            return Err(Errno::ENOSPC);
        }
        let name = contents.shape.name;
        if forgetful {
            return Ok(());
        }
        contents.entries.insert(key.to_vec(), value.to_vec());
        state.record(Happening::Updated(name, key.to_vec(), value.to_vec()));
        Ok(())
    }

    fn map_zero(&self, map: &FakeObject, key: &[u8]) -> Result<(), Errno> {
        let size = self.state().maps.get(&map.number).ok_or(Errno(libc::EBADF))?.shape.value_size;
        self.map_update(map, key, &vec![0; size as usize])
    }

    fn map_lookup(&self, map: &FakeObject, key: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
        let mut state = self.state();
        state.may_fail(Call::MapLookup)?;
        let contents = state.maps.get(&map.number).ok_or(Errno(libc::EBADF))?;
        Ok(contents.get(key))
    }

    fn map_delete(&self, map: &FakeObject, key: &[u8]) -> Result<bool, Errno> {
        let mut state = self.state();
        let contents = state.maps.get_mut(&map.number).ok_or(Errno(libc::EBADF))?;
        Ok(contents.entries.remove(key).is_some())
    }

    fn map_memory(&self, map: &FakeObject) -> Result<u64, Errno> {
        let state = self.state();
        let shape = state.maps.get(&map.number).ok_or(Errno(libc::EBADF))?.shape;
        Ok(u64::from(shape.max_entries) * u64::from(shape.key_size + shape.value_size))
    }

    fn program_load(&self, spec: &ProgramSpec<'_>) -> Result<FakeObject, Rejection> {
        let mut state = self.state();
        let refuse = |errno| Rejection { errno, log: String::new(), insn: None };
        if state.unloadable.contains(&spec.flavour) {
            return Err(refuse(Errno::EPERM));
        }
        state.may_fail(Call::ProgramLoad).map_err(|errno| Rejection {
            errno,
            log: "0: (b7) r0 = 0\nnot today".into(),
            insn: Some(0),
        })?;
        for (insn, index) in spec.insns.chunks_exact(INSN_SIZE).zip(0u32..) {
            if state.rejected_insns.iter().any(|rejected| rejected == insn) {
                let log = format!("{index}: (00) rejected\nnot in this kernel");
                return Err(Rejection { errno: Errno::EINVAL, log, insn: Some(index) });
            }
        }
        let object = self.object(&mut state, None);
        if !state.forgetful {
            state.programs.insert(object.number, spec.insns.to_vec());
        }
        state.record(Happening::Loaded(object.number));
        Ok(object)
    }

    fn program_memory(&self, program: &FakeObject) -> Result<ProgramMemory, Errno> {
        let length = self.insns(program.number).len() as u64;
        Ok(ProgramMemory { program: 4096, jited: length })
    }

    fn program_missed(&self, program: &FakeObject) -> Result<u64, Errno> {
        Ok(self.state().missed.get(&program.number).copied().unwrap_or(0))
    }

    fn test_run(&self, program: &FakeObject, args: &[u64]) -> Result<u32, Errno> {
        let mut state = self.state();
        state.may_fail(Call::TestRun)?;
        state.record(Happening::Ran(program.number, args.to_vec()));
        Ok(state.answers.pop_front().unwrap_or(1))
    }

    fn await_calls(&self) {
        self.state().record(Happening::Waited);
    }

    fn attach(&self, program: &FakeObject, point: &AttachPoint<'_>) -> Result<FakeObject, AttachError> {
        let mut state = self.state();
        let refuse = |errno| AttachError { step: AttachStep::Link, errno };
        state.may_fail(Call::Attach).map_err(refuse)?;
        if state.unattachable.contains(&point.flavour) {
            return Err(refuse(Errno::ENOENT));
        }
        if !state.attached.insert(program.number) {
            return Err(refuse(Errno(libc::EBUSY)));
        }
        state.record(Happening::Attached(program.number, point.target.to_owned()));
        if point.flavour == Flavour::Lsm && !state.lsm_is_never_called {
            state.call_lsm(program.number);
        }
        Ok(self.object(&mut state, Some(program.number)))
    }

    fn pin(&self, link: &FakeObject, path: &Path) -> Result<(), Errno> {
        let mut state = self.state();
        state.may_fail(Call::Pin)?;
        let program = link.program.ok_or(Errno::EINVAL)?;
        std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        state.pins.insert(path.to_owned(), program);
        Ok(())
    }

    fn pin_map(&self, map: &FakeObject, path: &Path) -> Result<(), Errno> {
        let mut state = self.state();
        state.may_fail(Call::Pin)?;
        std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        state.pinned_maps.insert(path.to_owned(), map.number);
        Ok(())
    }

    fn open_map(&self, path: &Path) -> Result<FakeObject, Errno> {
        let mut state = self.state();
        let number = *state.pinned_maps.get(path).filter(|_| path.exists()).ok_or(Errno::ENOENT)?;
        state.live.insert(number);
        Ok(FakeObject { kernel: self.clone(), number, program: None })
    }

    fn detach(&self, link: FakeObject) -> Result<(), Errno> {
        let result = {
            let mut state = self.state();
            if let Some(program) = link.program {
                state.record(Happening::Detached(program));
            }
            state.may_fail(Call::Detach)
        };
        drop(link);
        result
    }
}
