//! In: the wish that nothing stays in the kernels, as an annotation of the Lease. Out: no policy on any node, and the
//! answer in another annotation.
//!
//! `ferragon-operator drain` asks and waits; the leader hands on an empty set of policies while it is asked to, and
//! answers when every node that has an agent says that it runs the empty set. A node whose agent is silent may enforce
//! for ever, so it is waited for; a leader that has just begun waits for those that it does not know yet. The wish ends
//! by itself, so that an uninstallation that was given up leaves no cluster unwatched, and a new installation begins as
//! usual.

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

use crate::lease::{DRAIN_UNTIL, DRAINED, LEASE, NOT_DRAINED, Role};
use crate::model::{AgentNodes, Fleet, Nodes, Policies};
use crate::patience::within;
use crate::status::text::Some5;
use crate::status::writer::WARM_UP;

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
    #[error("no operator answered within {} s; is an operator running? {SURRENDER}", .0.as_secs())]
    Unanswered(Duration),
    /// Some nodes did not do so.
    #[error(
        "not taken off within {} s on {left}; the policies are in force again. Bring the agents of these nodes back and \
         uninstall again. {SURRENDER}",
        .after.as_secs()
    )]
    Late {
        /// How long it was waited for.
        after: Duration,
        /// The first nodes by name, and how many more.
        left: String,
    },
}

/// What is left to do if it does not work.
const SURRENDER: &str = "`helm uninstall --no-hooks` uninstalls all the same, and leaves the programs in the kernels of \
                         those nodes until they are restarted.";

/// Asks for it and waits.
///
/// # Errors
/// The API server refuses, or it takes too long; then the wish is withdrawn.
pub async fn ask(client: kube::Client, namespace: &str, timeout: Duration) -> Result<(), DrainError> {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let until = Timestamp::now() + HOLDS;
    let wish = until.to_string();
    match annotate(&leases, &[(DRAIN_UNTIL, Some(&wish)), (NOT_DRAINED, None)]).await {
        Ok(()) => info!(%until, "asked the leader to take all policies off all nodes"),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            info!("no operator has ever led here; there is nothing to do");
            return Ok(());
        }
        Err(source) => return Err(DrainError::Api { doing: "asking by", source }),
    }
    let deadline = Instant::now() + timeout;
    let mut left = None;
    while Instant::now() < deadline {
        tokio::time::sleep(INTERVAL).await;
        match within(leases.get_opt(LEASE)).await {
            Ok(lease) if annotation(lease.as_ref(), DRAINED).as_deref() == Some(&wish) => {
                info!("no policy is on any node");
                let until = (Timestamp::now() + HOLDS_ON).to_string();
                if let Err(error) = annotate(&leases, &[(DRAIN_UNTIL, Some(&until))]).await {
                    warn!(%error, "the wish could not be shortened: an installation within ten minutes waits for its end");
                }
                return Ok(());
            }
            Ok(lease) => {
                let now = annotation(lease.as_ref(), NOT_DRAINED);
                if now != left {
                    info!(nodes = now.as_deref().unwrap_or("none"), "waiting for nodes");
                    left = now;
                }
            }
            Err(error) => warn!(%error, "looking at the Lease; tried again"),
        }
    }
    if let Err(error) = annotate(&leases, &[(DRAIN_UNTIL, None)]).await {
        warn!(%error, "the wish could not be withdrawn: the nodes get their policies back only at {until}");
    }
    Err(match left {
        Some(left) => DrainError::Late { after: timeout, left },
        None => DrainError::Unanswered(timeout),
    })
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

/// What the leader answers by.
pub struct Known {
    /// Whether it is asked.
    pub role: watch::Receiver<Role>,
    /// What the nodes say.
    pub fleet: watch::Receiver<Arc<Fleet>>,
    /// All nodes.
    pub nodes: watch::Receiver<Nodes>,
    /// Which of them have agents.
    pub agents: AgentNodes,
}

/// The leader's side: answers when all nodes run the empty set, and until then says which do not. Begins with the
/// leader's term, and ends with the role.
pub async fn answer(client: kube::Client, namespace: &str, mut known: Known) {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let started = Instant::now();
    loop {
        if known.role.wait_for(|role| *role == Role::Draining).await.is_err() {
            return;
        }
        // The role changed a moment ago: the fleet is to have heard of it first.
        tokio::time::sleep(INTERVAL).await;
        let warm = started.elapsed() >= WARM_UP;
        let left = not_drained(&known.fleet.borrow(), &known.nodes.borrow(), &known.agents, warm);
        if let Err(error) = tell(&leases, left).await {
            warn!(%error, "the answer to the wish for an empty fleet could not be written; tried again");
        }
    }
}

async fn tell(leases: &Api<Lease>, left: Option<String>) -> Result<(), kube::Error> {
    let lease = within(leases.get_opt(LEASE)).await?;
    let Some(wish) = annotation(lease.as_ref(), DRAIN_UNTIL) else { return Ok(()) };
    if let Some(left) = left {
        if annotation(lease.as_ref(), NOT_DRAINED).as_ref() != Some(&left) {
            annotate(leases, &[(NOT_DRAINED, Some(&left))]).await?;
        }
    } else if annotation(lease.as_ref(), DRAINED).as_ref() != Some(&wish) {
        annotate(leases, &[(DRAINED, Some(&wish)), (NOT_DRAINED, None)]).await?;
    }
    Ok(())
}

/// The nodes that may still run a program; `None` if there is none. Until the leader is `warm`, these are also all that
/// should have an agent and have not called yet.
fn not_drained(fleet: &Fleet, nodes: &Nodes, agents: &AgentNodes, warm: bool) -> Option<String> {
    let mut left = Some5::default();
    let known = fleet.nodes.iter().filter(|(name, state)| {
        let exists = state.connected || nodes.contains_key(*name);
        exists && !(state.connected && state.runs_nothing)
    });
    let unknown = nodes
        .iter()
        .filter(|(name, labels)| !warm && agents.include(labels) && !fleet.nodes.contains_key(*name));
    let mut names: Vec<&str> =
        known.map(|(name, _)| &**name).chain(unknown.map(|(name, _)| &**name)).collect();
    names.sort_unstable();
    names.into_iter().for_each(|name| left.push(name));
    (left.count > 0).then(|| left.names())
}

fn annotation(lease: Option<&Lease>, name: &str) -> Option<String> {
    lease?.metadata.annotations.as_ref()?.get(name).cloned()
}

/// `None` takes an annotation away.
async fn annotate(leases: &Api<Lease>, values: &[(&str, Option<&str>)]) -> Result<(), kube::Error> {
    let annotations: serde_json::Map<_, _> =
        values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let patch = json!({"metadata": {"annotations": annotations}});
    within(leases.patch_metadata(LEASE, &PatchParams::default(), &Patch::Merge(patch))).await.map(|_| ())
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

    fn state(connected: bool, runs_nothing: bool) -> Arc<crate::model::NodeState> {
        Arc::new(crate::model::NodeState {
            kernel: None,
            release: String::new(),
            agent_version: String::new(),
            connected,
            desired_generation: 7,
            applied_generation: 7,
            runs_nothing,
            policies: Arc::default(),
            failing_hooks: Vec::new(),
        })
    }

    #[test]
    fn a_fleet_is_drained_when_every_agent_says_so() {
        let labels = |os: &str| [("kubernetes.io/os".to_owned(), os.to_owned())].into();
        let agents = AgentNodes(labels("linux"));
        let nodes: Nodes = Arc::new(
            [("a".into(), labels("linux")), ("b".into(), labels("linux")), ("w".into(), labels("windows"))]
                .into(),
        );
        let left = |states: &[(&str, bool, bool)], warm| {
            let states =
                states.iter().map(|(name, connected, empty)| ((*name).into(), state(*connected, *empty)));
            not_drained(&Fleet { nodes: states.collect(), ..Fleet::default() }, &nodes, &agents, warm)
        };
        // A leader that has just begun knows nobody: that says nothing.
        assert_eq!(left(&[], false).as_deref(), Some("a, b"));
        assert_eq!(left(&[("a", true, true)], false).as_deref(), Some("b"));
        assert_eq!(left(&[("a", true, true), ("b", true, true)], false), None);
        assert_eq!(left(&[("a", true, true)], true), None);
        // Not answered, refused or left over; and silent, whatever it ran.
        assert_eq!(left(&[("a", true, false), ("b", true, true)], true).as_deref(), Some("a"));
        assert_eq!(left(&[("a", false, true), ("b", false, false)], true).as_deref(), Some("a, b"));
        // A node that was deleted is nobody's.
        assert_eq!(left(&[("gone", false, false)], true), None);
    }
}
