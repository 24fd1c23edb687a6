//! In: made-up watch events. Out: what is published of them.

use super::*;
use policy_compiler::diagnostic::Diagnostic;
use serde_json::{Value, json};

fn object(kind: PolicyKind, name: &str, generation: i64, spec: Value) -> DynamicObject {
    let mut object = DynamicObject::new(name, &resource(kind)).data(json!({"spec": spec}));
    object.metadata.namespace = (kind == PolicyKind::Namespaced).then(|| "n".to_owned());
    object.metadata.uid = Some(format!("uid-{name}"));
    object.metadata.generation = Some(generation);
    object
}

fn good() -> Value {
    json!({"kprobes": [{"call": "tcp_connect", "syscall": false}]})
}

struct Seen {
    policies: watch::Receiver<Policies>,
    statuses: watch::Receiver<StoredStatuses>,
    synced: watch::Receiver<bool>,
    events: tokio::sync::mpsc::UnboundedSender<(PolicyKind, Result<Event<DynamicObject>, watcher::Error>)>,
}

impl Seen {
    fn start() -> Seen {
        Seen::with(version::read)
    }

    fn with(check: Check) -> Seen {
        let (policies_out, policies) = watch::channel(Policies::default());
        let (statuses_out, statuses) = watch::channel(StoredStatuses::default());
        let (synced_out, synced) = watch::channel(false);
        let (events, mut incoming) = tokio::sync::mpsc::unbounded_channel();
        let out = Out { policies: policies_out, statuses: statuses_out, synced: synced_out };
        tokio::spawn(async move {
            let stream = futures::stream::poll_fn(move |context| incoming.poll_recv(context));
            take_in(stream, &Metrics::default(), check, out).await;
        });
        Seen { policies, statuses, synced, events }
    }

    fn send(&self, kind: PolicyKind, event: Event<DynamicObject>) {
        self.events.send((kind, Ok(event))).unwrap();
    }

    fn lists(&self, kind: PolicyKind, objects: &[DynamicObject]) {
        self.send(kind, Event::Init);
        objects.iter().for_each(|object| self.send(kind, Event::InitApply(object.clone())));
        self.send(kind, Event::InitDone);
    }

    async fn policies(&mut self) -> Policies {
        let wait = self.policies.changed();
        tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.expect("a change").unwrap();
        self.policies.borrow_and_update().clone()
    }
}

fn names(policies: &Policies) -> Vec<String> {
    policies.keys().map(ToString::to_string).collect()
}

#[tokio::test]
async fn nothing_is_published_before_both_kinds_are_complete() {
    let mut seen = Seen::start();
    seen.lists(PolicyKind::Cluster, &[object(PolicyKind::Cluster, "p", 1, good())]);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!*seen.synced.borrow() && seen.policies.borrow().is_empty());
    seen.lists(PolicyKind::Namespaced, &[object(PolicyKind::Namespaced, "p", 1, good())]);
    assert_eq!(names(&seen.policies().await), ["p", "n/p"]);
    seen.synced.wait_for(|synced| *synced).await.unwrap();
}

#[tokio::test]
async fn an_undecodable_object_stops_nothing_and_is_deleted_by_its_metadata() {
    let mut seen = Seen::start();
    let odd = object(PolicyKind::Cluster, "odd", 1, json!(["not", "a", "policy"]));
    seen.lists(PolicyKind::Cluster, &[odd.clone(), object(PolicyKind::Cluster, "p", 1, good())]);
    seen.lists(PolicyKind::Namespaced, &[]);
    let policies = seen.policies().await;
    assert_eq!(names(&policies), ["odd", "p"]);
    let of = |name: &str| policies[&PolicyKey { namespace: None, name: name.to_owned() }].clone();
    assert!(of("odd").policy.is_none() && of("odd").diagnostics.iter().any(Diagnostic::is_error));
    assert!(of("p").policy.is_some());
    seen.send(PolicyKind::Cluster, Event::Delete(odd));
    assert_eq!(names(&seen.policies().await), ["p"]);
}

#[tokio::test]
async fn a_status_write_is_no_change_of_the_policy() {
    let mut seen = Seen::start();
    let mut policy = object(PolicyKind::Cluster, "p", 1, good());
    seen.lists(PolicyKind::Cluster, std::slice::from_ref(&policy));
    seen.lists(PolicyKind::Namespaced, &[]);
    let before = seen.policies().await;
    policy.data["status"] = json!({"hooks": 1});
    seen.send(PolicyKind::Cluster, Event::Apply(policy.clone()));
    let hooks =
        |statuses: &StoredStatuses| statuses.values().next().and_then(|stored| stored.status.clone()?.hooks);
    seen.statuses.wait_for(|statuses| hooks(statuses) == Some(1)).await.unwrap();
    assert!(!seen.policies.has_changed().unwrap());
    // A resync brings the same.
    seen.lists(PolicyKind::Cluster, std::slice::from_ref(&policy));
    // Another object of the same name is another version, and so is another mode.
    policy.metadata.uid = Some("other".to_owned());
    seen.send(PolicyKind::Cluster, Event::Apply(policy.clone()));
    let after = seen.policies().await;
    assert_eq!(names(&before), names(&after));
    assert_eq!(after.values().next().unwrap().uid, "other");
    policy.metadata.annotations = Some([(version::MODE_ANNOTATION.to_owned(), "monitor".to_owned())].into());
    seen.send(PolicyKind::Cluster, Event::Apply(policy));
    let monitored = seen.policies().await;
    assert_ne!(monitored.values().next().unwrap().digest, after.values().next().unwrap().digest);
}

#[tokio::test]
async fn a_check_that_breaks_off_is_an_error_of_its_policy() {
    let mut seen = Seen::with(|kind, key, object| {
        assert_ne!(key.name, "bad", "a defect");
        version::read(kind, key, object)
    });
    let objects = ["bad", "p"].map(|name| object(PolicyKind::Cluster, name, 3, good()));
    seen.lists(PolicyKind::Cluster, &objects);
    seen.lists(PolicyKind::Namespaced, &[]);
    let policies = seen.policies().await;
    assert_eq!(names(&policies), ["bad", "p"]);
    let of = |name: &str| policies[&PolicyKey { namespace: None, name: name.to_owned() }].clone();
    assert!(of("p").policy.is_some());
    let bad = of("bad");
    assert_eq!((bad.policy.is_none(), bad.generation, bad.uid.as_str()), (true, 3, "uid-bad"));
    assert!(bad.diagnostics[0].is_error() && bad.diagnostics[0].message.contains("please report it"));
}
