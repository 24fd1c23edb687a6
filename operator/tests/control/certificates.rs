//! In: replicas that begin at the same time. Out: one certificate and one authority, which everybody is told of.

use std::sync::Arc;

use operator::certs::{CertStore, Keeper, SECRET};

use crate::plane::{NAMESPACE, Plane};
use crate::process::Replica;

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_replicas_that_race_are_one() {
    let plane = Plane::start();
    let client = plane.client().await;
    let stores: Vec<Arc<CertStore>> = (0..8).map(|_| CertStore::new()).collect();
    let mut keepers: Vec<Keeper> =
        stores.iter().map(|store| Keeper::new(client.clone(), NAMESPACE, store.clone())).collect();
    let all = futures::future::join_all(keepers.iter_mut().map(Keeper::ensure)).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let authorities: Vec<_> =
        stores.iter().map(|store| store.authorities().borrow().clone().unwrap()).collect();
    assert!(authorities.iter().all(|it| *it == authorities[0]));

    // Deleted by someone: it is written again as it was, because agents know its authority.
    let secret = ["secret", SECRET, "-n", NAMESPACE];
    let before = plane.get(&secret);
    plane.kubectl(&[&["delete"], &secret[..]].concat()).unwrap();
    keepers[3].ensure().await.unwrap();
    assert_eq!(plane.get(&secret)["data"], before["data"]);
    // Spoilt by someone: only what is bad is made anew.
    plane
        .kubectl(
            &[&["patch"], &secret[..], &["--type=merge", "-p", r#"{"data":{"tls.crt":"eA=="}}"#]].concat(),
        )
        .unwrap();
    keepers[5].ensure().await.unwrap();
    let after = plane.get(&secret);
    assert_eq!(after["data"]["ca.crt"], before["data"]["ca.crt"]);
    assert_ne!(after["data"]["tls.crt"], before["data"]["tls.crt"]);
    assert_eq!(stores[5].authorities().borrow().clone().unwrap(), authorities[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_authority_is_published_for_agents() {
    let plane = Plane::start();
    let a = Replica::start(&plane, "a");
    a.answers("/readyz", 200, 30).await;
    let map = ["configmap", "ferragon-ca", "-n", NAMESPACE];
    let published = plane.wait(&map, 20, |it| it["data"]["ca.crt"].is_string()).await;
    let authority = published["data"]["ca.crt"].as_str().unwrap();
    assert!(authority.contains("BEGIN CERTIFICATE"), "{authority}");
    assert_eq!(a.answers("/healthz", 200, 5).await, "ok\n");
    assert!(a.answers("/metrics", 200, 5).await.contains("ferragon_operator_leader"));
}
