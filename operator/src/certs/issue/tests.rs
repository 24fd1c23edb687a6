//! In: points of time over 20 years. Out: whether every client can verify what is shown, at each of them.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;

fn at(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap() + Duration::days(days)
}

fn names() -> Names {
    Names::of_service("ferragon")
}

/// Whether a client that trusts `authorities` accepts `material` for this name.
fn verifies(authorities: &str, material: &Material, name: &str, now: OffsetDateTime) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let certificate = CertificateDer::from_pem_slice(material.certificate.as_bytes()).unwrap();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&certificate, &[], &name, &[], now).is_ok()
}

#[test]
fn a_new_one_serves_its_names_and_no_other() {
    let made = renew(None, &names(), at(0)).unwrap().unwrap();
    for name in [
        "ferragon-operator",
        "ferragon-operator.ferragon.svc",
        "ferragon-operator.ferragon.svc.cluster.local",
    ] {
        assert!(verifies(&made.authorities(), &made, name, at(0)), "{name}");
    }
    assert!(!verifies(&made.authorities(), &made, "ferragon-operator.other.svc", at(0)));
    assert_eq!(renew(Some(&made), &names(), at(1)).unwrap(), None);
    let elsewhere = renew(Some(&made), &Names::of_service("other"), at(1)).unwrap().unwrap();
    assert_eq!(elsewhere.authority, made.authority);
    assert!(verifies(&made.authorities(), &elsewhere, "ferragon-operator.other.svc", at(1)));
}

#[test]
fn every_client_verifies_it_for_twenty_years() {
    let mut stored = renew(None, &names(), at(0)).unwrap().unwrap();
    let (mut authorities, mut serving) = (1, 1);
    // What a client saw five days ago: a node that was down, or a slow ConfigMap.
    let mut seen = vec![stored.authorities()];
    for day in 1..7300 {
        if let Some(renewed) = renew(Some(&stored), &names(), at(day)).unwrap() {
            authorities += usize::from(renewed.authority != stored.authority);
            serving += usize::from(renewed.certificate != stored.certificate);
            stored = renewed;
        }
        seen.push(stored.authorities());
        let old = &seen[seen.len().saturating_sub(6)];
        for client in [old, &stored.authorities()] {
            assert!(verifies(client, &stored, "ferragon-operator", at(day)), "day {day}");
        }
    }
    assert_eq!(authorities, 3);
    // One per 244 days, and one per authority.
    assert!((30..34).contains(&serving), "{serving}");
    assert!(stored.authorities().matches("BEGIN CERTIFICATE").count() <= 3);
}

#[test]
fn what_does_not_fit_is_made_anew() {
    let made = renew(None, &names(), at(0)).unwrap().unwrap();
    let other = renew(None, &names(), at(0)).unwrap().unwrap();
    let spoilt = |spoil: &dyn Fn(&mut Material)| {
        let mut stored = made.clone();
        spoil(&mut stored);
        renew(Some(&stored), &names(), at(1)).unwrap().unwrap()
    };
    // The authority cannot sign: all is new.
    for new in [
        spoilt(&|stored| stored.authority.key = other.authority.key.clone()),
        spoilt(&|stored| stored.authority.certificate = "x".to_owned()),
    ] {
        assert_ne!(new.authority, made.authority);
        assert!(verifies(&new.authorities(), &new, "ferragon-operator", at(1)));
    }
    // Only the serving certificate is bad: clients need not learn anything.
    for new in [
        spoilt(&|stored| stored.certificate = other.certificate.clone()),
        spoilt(&|stored| stored.certificate = String::new()),
        spoilt(&|stored| stored.key = other.key.clone()),
    ] {
        assert_eq!(new.authority, made.authority);
        assert!(verifies(&made.authorities(), &new, "ferragon-operator", at(1)));
    }
    // Expired altogether, such as of a cluster that was off for 11 years.
    let new = renew(Some(&made), &names(), at(4000)).unwrap().unwrap();
    assert!(verifies(&new.authorities(), &new, "ferragon-operator", at(4000)));
}
