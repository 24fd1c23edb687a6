//! In: what the operator wants this node to run, and a way to fetch artefacts. Out: it runs, it is on disk, and the answer
//! that says so.
//!
//! Guarantees: one set at a time; a lower generation than the one in force, a set beyond the bounds, an artefact that is
//! not what its name says change nothing. The set on disk is the one in force: of a hook that failed, what it ran before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::artefact::{Artefact, ArtefactDigest};
use api::fleet::{Applied, Desired, HOOKS_MAX, POLICIES_MAX, Refusal};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{Mutex, watch};

use super::answer::{self, Refused};
use super::engine::Engine;
use super::node::{Node, NodeGone};
use super::store::{Store, digest};
use crate::loader::{ApplyReport, InstalledHook, Outcome, PolicyName};

/// Bytes of artefacts that one change may bring, since all of them are in memory at once: two thousand times the size of
/// a usual one.
const CHANGE_MAX: usize = 128 << 20;

/// How often what waits is looked at.
const UPKEEP: Duration = Duration::from_secs(1);
/// How often it is tried to store what could not be stored.
const SAVE_AGAIN: Duration = Duration::from_secs(30);
/// Longest time that fetching a set may take.
const GATHER: Duration = Duration::from_secs(300);
/// How often a set is gathered, if others are applied meanwhile.
const GATHERINGS: usize = 3;

/// A way to get an artefact's bytes.
pub trait Fetch: Send + Sync + 'static {
    /// All bytes, at most `ARTEFACT_MAX` of them. Whether they are right is not looked at.
    fn fetch(&self, digest: ArtefactDigest) -> impl Future<Output = Result<Vec<u8>, Refused>> + Send;
}

/// The set in force, as others may know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InForce {
    /// Of the last set that was applied, 0 if there is none.
    pub generation: u64,
    /// Content address of what runs, empty if nothing was ever applied.
    pub set_digest: Vec<u8>,
    /// Hooks that do not run what the set asked.
    pub failing: usize,
    /// Changes so far, refused ones included.
    pub changes: u64,
    /// Of them, refused as a whole.
    pub refused: u64,
    /// The last change could not be written to disk.
    pub unstored: bool,
    /// Some of what runs is for pods of which nobody has told yet: what ran before this process stays until then.
    pub waits_for_pods: bool,
}

/// A set that is in force as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// The stored one, of this generation: there may have been a newer one that could not be stored.
    Stored(u64),
    /// What the operator wants.
    Desired,
}

/// Called after a set was applied without failures.
type WhenWhole = Arc<dyn Fn(Whole) + Send + Sync>;

/// What was to be stored and could not be.
type Unsaved = (Desired, Vec<Artefact>);

/// The one place where sets are applied.
pub struct Applier<N> {
    node: N,
    store: Option<Arc<Store>>,
    /// Held while a set is applied.
    turn: Mutex<Turn>,
    in_force: watch::Sender<InForce>,
    when_whole: WhenWhole,
    durations: Histogram,
}

/// What whoever has the turn may change.
#[derive(Default)]
struct Turn {
    /// The set in force is the operator's, not the stored one.
    is_desired: bool,
    /// To be stored when there is room.
    unsaved: Option<Arc<Unsaved>>,
}

impl<N: Node> Applier<N> {
    /// Goes on from what is in force already. Without a store, nothing outlives the process.
    pub fn new(
        node: N,
        store: Option<Arc<Store>>,
        in_force: InForce,
        when_whole: impl Fn(Whole) + Send + Sync + 'static,
    ) -> Self {
        let in_force = watch::Sender::new(in_force);
        let when_whole = Arc::new(when_whole);
        // From 10 ms to 80 s.
        let durations = Histogram::new(exponential_buckets(0.01, 2.0, 14));
        Applier { node, store, turn: Mutex::default(), in_force, when_whole, durations }
    }

    /// The loader.
    pub fn node(&self) -> &N {
        &self.node
    }

    /// The set in force, with every change of it.
    pub fn in_force(&self) -> watch::Receiver<InForce> {
        self.in_force.subscribe()
    }

    /// Times from a set's arrival to its being in force, seconds.
    pub fn durations(&self) -> Histogram {
        self.durations.clone()
    }

    /// Applies a set. What is missing is fetched first; then it is this set's turn, after the one that is being applied.
    pub async fn apply(&self, desired: &Desired, fetch: &impl Fetch) -> Applied {
        let begun = Instant::now();
        let answer = match self.try_apply(desired, fetch).await {
            Ok(answer) => answer,
            Err(why) => {
                self.in_force.send_modify(|state| state.refused += 1);
                tracing::warn!(generation = desired.generation, refusal = ?why.refusal, "set refused: {why}");
                answer::refused(desired, &why)
            }
        };
        self.durations.observe(begun.elapsed().as_secs_f64());
        self.in_force.send_modify(|state| state.changes += 1);
        answer
    }

    async fn try_apply(&self, desired: &Desired, fetch: &impl Fetch) -> Result<Applied, Refused> {
        for _ in 0..GATHERINGS {
            let wanted = check(desired, self.in_force.borrow().generation)?;
            let installed = self.installed().await?;
            let gathering = self.gather(&wanted, &installed, fetch);
            let late = |_| Refused::new(Refusal::Unfetched, format!("it was not fetched within {GATHER:?}"));
            let (kept, new) = tokio::time::timeout(GATHER, gathering).await.map_err(late)??;
            let mut turn = self.turn.lock().await;
            // Another set may have had its turn meanwhile.
            check(desired, self.in_force.borrow().generation)?;
            let installed = self.installed().await?;
            if kept.is_subset(&running(&installed)) {
                check_policies(&installed, &kept, &new)?;
                return self.switch(desired, kept, new, &mut turn).await;
            }
        }
        Err(Refused::new(Refusal::Unfetched, "other sets were applied while it was fetched, again and again"))
    }

    async fn installed(&self) -> Result<Vec<InstalledHook>, Refused> {
        self.node.with(|engine| engine.installed()).await.map_err(gone)
    }

    /// Puts it in force.
    async fn switch(
        &self,
        desired: &Desired,
        kept: BTreeSet<ArtefactDigest>,
        new: Vec<Artefact>,
        turn: &mut Turn,
    ) -> Result<Applied, Refused> {
        let generation = desired.generation;
        let (new, report, running, waits_for_pods) = {
            let work = move |engine: &mut dyn Engine| {
                let report = engine.apply(&kept, &new);
                mark(engine, generation);
                (new, report, running(&engine.installed()), engine.waits_for_pods())
            };
            self.node.with(work).await.map_err(gone)?
        };
        tell(desired, &report);
        let mut answer = answer::applied(desired, &report);
        let failing = report.failures().count();
        turn.is_desired = true;
        let in_force = Desired {
            generation: desired.generation,
            artefacts: running.iter().map(|digest| digest.0.to_vec()).collect(),
        };
        let set_digest = in_force.set_digest().to_vec();
        let stored = self.save(Arc::new((in_force, new)), turn).await;
        // Afterwards: should this process end in between, its successor has a set that is whole, and takes the rest.
        if failing == 0 && !waits_for_pods {
            self.is_whole(Whole::Desired).await;
        }
        self.in_force.send_modify(|state| {
            state.generation = desired.generation;
            state.set_digest = set_digest;
            state.failing = failing;
            state.unstored = stored.is_err();
            state.waits_for_pods = waits_for_pods;
        });
        if let Err(why) = stored {
            tracing::error!(
                generation = desired.generation,
                "the set is in force, but would not outlive a restart: {why}"
            );
            answer.refusal = why.refusal as i32;
            answer.refusal_text = why.text;
        }
        Ok(answer)
    }

    async fn is_whole(&self, whole: Whole) {
        let when_whole = Arc::clone(&self.when_whole);
        // It says itself what went wrong.
        let _ = tokio::task::spawn_blocking(move || when_whole(whole)).await;
    }

    /// Does again and again what waits for something outside: to be called for ever.
    pub async fn keep_up(&self) {
        let mut saved = Instant::now();
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.look_for_pods().await;
            if saved.elapsed() >= SAVE_AGAIN {
                self.save_again().await;
                saved = Instant::now();
            }
        }
    }

    /// Stores what could not be stored before.
    async fn save_again(&self) {
        let mut turn = self.turn.lock().await;
        let Some(unsaved) = turn.unsaved.take() else { return };
        let generation = unsaved.0.generation;
        match self.save(unsaved, &mut turn).await {
            Ok(()) => {
                tracing::info!(generation, "the set in force could be stored now");
                self.in_force.send_modify(|state| state.unstored = false);
            }
            Err(why) => tracing::warn!(generation, "the set in force still cannot be stored: {why}"),
        }
    }

    /// Whether pods have been told of meanwhile, so that what ran before is not needed any more.
    async fn look_for_pods(&self) {
        if !self.in_force.borrow().waits_for_pods {
            return;
        }
        let turn = self.turn.lock().await;
        let Ok(false) = self.node.with(|engine| engine.waits_for_pods()).await else { return };
        self.in_force.send_modify(|state| state.waits_for_pods = false);
        tracing::info!("this node's pods are known, and the policies for them are in force");
        let (failing, generation) = {
            let state = self.in_force.borrow();
            (state.failing, state.generation)
        };
        if failing == 0 {
            self.is_whole(if turn.is_desired { Whole::Desired } else { Whole::Stored(generation) }).await;
        }
    }

    /// What stays, and what is loaded: from disk, else from the operator.
    async fn gather(
        &self,
        wanted: &BTreeSet<ArtefactDigest>,
        installed: &[InstalledHook],
        fetch: &impl Fetch,
    ) -> Result<(BTreeSet<ArtefactDigest>, Vec<Artefact>), Refused> {
        let runs = running(installed);
        let (mut kept, mut new, mut bytes) = (BTreeSet::new(), Vec::new(), 0);
        for digest in wanted {
            // One that runs but is not on disk is fetched to be stored.
            let on_disk = self.store.as_ref().is_none_or(|store| store.has(*digest));
            if on_disk && runs.contains(digest) {
                kept.insert(*digest);
                continue;
            }
            let artefact = match self.read(*digest).await {
                Some(artefact) => artefact,
                None => verify(*digest, fetch.fetch(*digest).await?)?,
            };
            bytes += prost::Message::encoded_len(&artefact);
            if bytes > CHANGE_MAX {
                let text = format!("its new programs have more than {CHANGE_MAX} bytes together");
                return Err(Refused::new(Refusal::TooMany, text));
            }
            new.push(artefact);
        }
        Ok((kept, new))
    }

    async fn read(&self, digest: ArtefactDigest) -> Option<Artefact> {
        let store = Arc::clone(self.store.as_ref()?);
        let read = tokio::task::spawn_blocking(move || store.artefact(digest)).await.ok()?;
        read.unwrap_or_else(|error| {
            tracing::warn!("{error}; the program is fetched again");
            None
        })
    }

    /// What cannot be stored is kept, in the place of what could not be stored before.
    async fn save(&self, set: Arc<Unsaved>, turn: &mut Turn) -> Result<(), Refused> {
        turn.unsaved = None;
        let Some(store) = self.store.clone() else { return Ok(()) };
        let saving = Arc::clone(&set);
        let saved = tokio::task::spawn_blocking(move || store.save(&saving.0, &saving.1)).await;
        let why = match saved {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Refused::new(Refusal::NotStored, error),
            Err(panic) => Refused::new(Refusal::NotStored, panic),
        };
        turn.unsaved = Some(set);
        Err(why)
    }
}

fn gone(gone: NodeGone) -> Refused {
    Refused::new(Refusal::Unfetched, gone)
}

/// Tells successors; without it, they take what they have stored for the newest set.
pub fn mark(engine: &dyn Engine, generation: u64) {
    if let Err(error) = engine.mark(generation) {
        tracing::warn!(generation, "{error}");
    }
}

/// The bounds of the wire.
fn check(desired: &Desired, in_force: u64) -> Result<BTreeSet<ArtefactDigest>, Refused> {
    if desired.generation < in_force {
        let text = format!("its generation is {}, and {in_force} is in force", desired.generation);
        return Err(Refused::new(Refusal::OldGeneration, text));
    }
    if desired.artefacts.len() > HOOKS_MAX {
        let text = format!("it has {} programs, and a node holds {HOOKS_MAX}", desired.artefacts.len());
        return Err(Refused::new(Refusal::TooMany, text));
    }
    let bad = |text| Refused::new(Refusal::BadArtefact, text);
    if !desired.artefacts.is_sorted_by(|a, b| a < b) {
        return Err(bad("its digests are not in ascending order, each once"));
    }
    let digests: Option<BTreeSet<_>> = desired.artefacts.iter().map(|name| digest(name)).collect();
    digests.ok_or_else(|| bad("one of its digests does not have 32 bytes"))
}

fn verify(digest: ArtefactDigest, bytes: Vec<u8>) -> Result<Artefact, Refused> {
    let bad = |what| Refused::new(Refusal::BadArtefact, format!("the program {digest} {what}"));
    let artefact: Artefact =
        prost::Message::decode(&*bytes).map_err(|_| bad("that the operator sent does not decode"))?;
    // Of the encoding, so that bytes which decode to the same are not taken for it.
    if artefact.digest() != digest || prost::Message::encoded_len(&artefact) != bytes.len() {
        return Err(bad("that the operator sent has another digest"));
    }
    Ok(artefact)
}

fn check_policies(
    installed: &[InstalledHook],
    kept: &BTreeSet<ArtefactDigest>,
    new: &[Artefact],
) -> Result<(), Refused> {
    let staying = installed.iter().filter(|hook| kept.contains(&hook.digest));
    let mut policies: BTreeSet<PolicyName> = staying.flat_map(|hook| hook.policies.iter().cloned()).collect();
    policies.extend(new.iter().flat_map(|artefact| artefact.hooks.iter().map(PolicyName::of)));
    if policies.len() > POLICIES_MAX {
        let text = format!("it has {} policies, and a node holds {POLICIES_MAX}", policies.len());
        return Err(Refused::new(Refusal::TooMany, text));
    }
    Ok(())
}

/// Content addresses of what runs.
pub fn running(installed: &[InstalledHook]) -> BTreeSet<ArtefactDigest> {
    installed.iter().map(|hook| hook.digest).collect()
}

/// For the log.
pub fn tell(desired: &Desired, report: &ApplyReport) {
    for (hook, failure) in report.failures() {
        let policies: Vec<String> = hook.policies.iter().map(ToString::to_string).collect();
        tracing::error!(hook = %hook.hook, policies = policies.join(","), "hook failed: {failure}");
    }
    for hook in report.hooks.iter().filter(|hook| hook.outcome == Outcome::Kept) {
        tracing::warn!(hook = %hook.hook, "stays, although it is not desired any more: a policy of it failed elsewhere");
    }
    for (hook, errno) in &report.unpinned {
        tracing::warn!(program = %hook, "would not outlive the agent: {errno}");
    }
    for leftover in &report.leftovers {
        tracing::warn!("{leftover}");
    }
    tracing::info!(
        generation = desired.generation,
        hooks = report.hooks.len(),
        failing = report.failures().count(),
        "set applied"
    );
}

#[cfg(test)]
mod tests;
