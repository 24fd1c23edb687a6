//! In: the stored set. Out: it runs, before anybody is called.

use std::collections::BTreeSet;

use api::fleet::Desired;

use super::applier::{InForce, mark, running, tell};
use super::engine::Engine;
use super::store::Store;

/// What became of the stored set.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The set in force.
    pub in_force: InForce,
    /// A set was stored, and all of it runs, for all that it is for.
    pub is_whole: bool,
}

/// Loads it.
pub fn load(store: &Store, engine: &mut dyn Engine) -> Loaded {
    let stored = store.load();
    for damage in &stored.damage {
        tracing::error!("{damage}");
    }
    let Some(desired) = stored.desired else {
        tracing::info!("no stored set: nothing is loaded until the operator sends one");
        return Loaded::default();
    };
    let report = engine.apply(&BTreeSet::new(), &stored.artefacts);
    mark(engine, desired.generation);
    drop(stored.artefacts);
    tell(&desired, &report);
    let failing = report.failures().count() + stored.damage.len();
    let artefacts = running(&engine.installed()).iter().map(|digest| digest.0.to_vec()).collect();
    let in_force = Desired { generation: desired.generation, artefacts };
    let in_force = InForce {
        generation: desired.generation,
        set_digest: in_force.set_digest().to_vec(),
        failing,
        waits_for_pods: engine.waits_for_pods(),
        ..InForce::default()
    };
    if in_force.waits_for_pods {
        tracing::warn!(
            "the stored set is for pods of which nobody has told yet: what a predecessor left stays until then"
        );
    }
    let is_whole = failing == 0 && !in_force.waits_for_pods;
    Loaded { in_force, is_whole }
}
