//! In: Leases as others leave them. Out: whether this replica takes them, and when.

use super::*;

fn candidate(identity: &str) -> Candidate {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let client = kube::Client::try_from(config).unwrap();
    Candidate::new(client, "ferragon", identity, Times::default(), Metrics::default())
}

fn held(holder: &str, renewed: i64) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
        lease_transitions: Some(4),
        ..LeaseSpec::default()
    }
}

#[tokio::test]
async fn another_replicas_lease_is_taken_when_it_was_not_renewed_for_its_duration() {
    let mut candidate = candidate("a");
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(candidate.step(false, None, start), Step::Create);
    // However old the time in it is: clocks differ.
    let spec = held("b", 0);
    assert_eq!(candidate.step(true, Some(&spec), start), Step::Wait);
    assert_eq!(candidate.step(true, Some(&spec), after(14)), Step::Wait);
    let renewed = held("b", 1);
    assert_eq!(candidate.step(true, Some(&renewed), after(14)), Step::Wait);
    assert_eq!(candidate.step(true, Some(&renewed), after(28)), Step::Wait);
    assert_eq!(candidate.step(true, Some(&held("c", 1)), after(29)), Step::Wait, "another holder");
    assert_eq!(candidate.step(true, Some(&held("c", 1)), after(44)), Step::Hold);
}

#[tokio::test]
async fn a_lease_that_is_free_or_ours_is_held() {
    let mut candidate = candidate("a");
    let now = Instant::now();
    assert_eq!(candidate.step(true, Some(&held("a", 0)), now), Step::Hold);
    assert_eq!(candidate.step(true, Some(&held("", 0)), now), Step::Hold);
    assert_eq!(candidate.step(true, None, now), Step::Hold);
    let taken = candidate.spec(Some(&held("b", 0)));
    assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("a"), Some(5)));
    assert_eq!(candidate.spec(Some(&held("a", 0))).lease_transitions, Some(4));
}

#[tokio::test]
async fn an_absurd_duration_does_not_keep_it_forever() {
    let mut candidate = candidate("a");
    let spec = LeaseSpec { lease_duration_seconds: Some(i32::MAX), ..held("b", 0) };
    let start = Instant::now();
    assert_eq!(candidate.step(true, Some(&spec), start), Step::Wait);
    assert_eq!(candidate.step(true, Some(&spec), start + Duration::from_secs(60)), Step::Hold);
}

#[test]
fn draining_ends_by_itself() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut lease = Lease::default();
    assert!(!drains(&lease, at(0)));
    lease.metadata.annotations = Some([(DRAIN_UNTIL.to_owned(), at(100).to_string())].into());
    assert!(drains(&lease, at(99)) && !drains(&lease, at(100)));
    lease.metadata.annotations = Some([(DRAIN_UNTIL.to_owned(), "soon".to_owned())].into());
    assert!(!drains(&lease, at(0)));
}
