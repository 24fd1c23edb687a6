//! In: the wish that nothing stays in the kernels, as an annotation of the Lease. Out: no policy on any node, and the
//! answer in another annotation.
//!
//! `ferragon-operator drain` asks and waits; the leader hands on an empty set of policies while it is asked to, and
//! answers when every connected node runs it. The wish ends by itself, so that an uninstallation that was given up leaves
//! no cluster unwatched, and a new installation begins as usual.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::lease::{DRAIN_UNTIL, DRAINED, LEASE, Role};
use crate::model::{Fleet, Policies};

/// How long the wish holds.
const HOLDS: SignedDuration = SignedDuration::from_mins(10);
/// How long it still holds once it has come true: what uninstalls takes the operator away meanwhile, and an installation
/// that follows at once is not kept waiting for long.
const HOLDS_ON: SignedDuration = SignedDuration::from_secs(60);
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Not drained.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The API server.
    #[error("{doing} Lease {LEASE}: {source}")]
    Api {
        /// Asking or looking.
        doing: &'static str,
        /// What it said.
        source: kube::Error,
    },
    /// Nobody answered.
    #[error("not every node took its policies off within {} s; is an operator running?", .0.as_secs())]
    Late(Duration),
}

/// Asks for it and waits.
///
/// # Errors
/// The API server refuses, or it takes too long.
pub async fn ask(client: kube::Client, namespace: &str, timeout: Duration) -> Result<(), DrainError> {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let until = Timestamp::now() + HOLDS;
    let wish = until.to_string();
    match annotate(&leases, DRAIN_UNTIL, &wish).await {
        Ok(()) => info!(%until, "asked the leader to take all policies off all nodes"),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            info!("no operator has ever led here; there is nothing to do");
            return Ok(());
        }
        Err(source) => return Err(DrainError::Api { doing: "asking by", source }),
    }
    let deadline = Instant::now() + timeout;
    while Instant::now() < deadline {
        tokio::time::sleep(INTERVAL).await;
        match leases.get_opt(LEASE).await {
            Ok(lease) if annotation(lease.as_ref(), DRAINED).as_deref() == Some(&wish) => {
                info!("no policy is on any node");
                let until = Timestamp::now() + HOLDS_ON;
                if let Err(error) = annotate(&leases, DRAIN_UNTIL, &until.to_string()).await {
                    warn!(%error, "the wish could not be shortened: an installation within ten minutes waits for its end");
                }
                return Ok(());
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "looking at the Lease; tried again"),
        }
    }
    Err(DrainError::Late(timeout))
}

/// The leader's side: all policies, or none while draining. Ends with either input.
pub async fn gate(
    mut policies: watch::Receiver<Policies>,
    mut role: watch::Receiver<Role>,
    out: watch::Sender<Policies>,
) {
    loop {
        let draining = *role.borrow_and_update() == Role::Draining;
        let all = policies.borrow_and_update().clone();
        let wanted = if draining { Policies::default() } else { all };
        out.send_if_modified(|current| {
            let same = Arc::ptr_eq(current, &wanted) || (current.is_empty() && wanted.is_empty());
            if !same {
                *current = wanted;
            }
            !same
        });
        let ended = tokio::select! {
            changed = policies.changed() => changed.is_err(),
            changed = role.changed() => changed.is_err(),
        };
        if ended {
            return;
        }
    }
}

/// The leader's side: answers when all nodes run the empty set. Ends with either input.
pub async fn answer(
    client: kube::Client,
    namespace: &str,
    mut role: watch::Receiver<Role>,
    mut fleet: watch::Receiver<Arc<Fleet>>,
) {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    loop {
        if role.wait_for(|role| *role == Role::Draining).await.is_err() {
            return;
        }
        // The role changed a moment ago: the fleet is to have heard of it first.
        tokio::time::sleep(INTERVAL).await;
        if fleet.wait_for(|fleet| is_empty(fleet)).await.is_err() {
            return;
        }
        let answered = async {
            let lease = leases.get_opt(LEASE).await?;
            match annotation(lease.as_ref(), DRAIN_UNTIL) {
                Some(wish) if annotation(lease.as_ref(), DRAINED).as_ref() != Some(&wish) => {
                    annotate(&leases, DRAINED, &wish).await
                }
                _ => Ok(()),
            }
        };
        if let Err(error) = answered.await {
            warn!(%error, "the answer to the wish for an empty fleet could not be written; tried again");
        }
    }
}

/// Whether every connected node has answered to the empty set.
fn is_empty(fleet: &Fleet) -> bool {
    fleet
        .nodes
        .values()
        .filter(|node| node.connected)
        .all(|node| node.policies.is_empty() && node.applied_generation == node.desired_generation)
}

fn annotation(lease: Option<&Lease>, name: &str) -> Option<String> {
    lease?.metadata.annotations.as_ref()?.get(name).cloned()
}

async fn annotate(leases: &Api<Lease>, name: &str, value: &str) -> Result<(), kube::Error> {
    let patch = json!({"metadata": {"annotations": {name: value}}});
    leases.patch_metadata(LEASE, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy_compiler::typed::PolicyKey;

    fn one() -> Policies {
        let object = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {}})).unwrap();
        let key = PolicyKey { namespace: None, name: "p".to_owned() };
        let version = crate::watch::version::read(crds::manifest::PolicyKind::Cluster, key.clone(), &object);
        Arc::new([(key, Arc::new(version))].into())
    }

    #[tokio::test]
    async fn policies_pass_unless_the_fleet_is_to_be_empty() {
        let (policies_in, policies) = watch::channel(one());
        let (role_in, role) = watch::channel(Role::Leader);
        let (out, mut seen) = watch::channel(Policies::default());
        let gate = tokio::spawn(gate(policies, role, out));
        seen.wait_for(|policies| policies.len() == 1).await.unwrap();
        role_in.send_replace(Role::Draining);
        seen.wait_for(|policies| policies.is_empty()).await.unwrap();
        policies_in.send_replace(one());
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!seen.has_changed().unwrap());
        role_in.send_replace(Role::Leader);
        seen.wait_for(|policies| policies.len() == 1).await.unwrap();
        drop(policies_in);
        gate.await.unwrap();
    }
}
