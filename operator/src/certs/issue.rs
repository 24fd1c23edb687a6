//! In: what the Secret holds, and the time. Out: what it should hold. A function of these two; no I/O.
//!
//! An authority is replaced with overlap, so that no client meets a certificate of an authority that it has not been
//! told of: the next one is published [`OVERLAP`] before it signs anything, and the one before stays published as long
//! as it is valid.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Life of an authority.
const AUTHORITY_LIFE: Duration = Duration::days(3652);
/// Life of a serving certificate.
const SERVING_LIFE: Duration = Duration::days(365);
/// How long the next authority is published before it signs. The kubelet brings a changed ConfigMap to a pod within
/// two minutes; a week covers nodes that are down over a holiday.
const OVERLAP: Duration = Duration::days(7);
/// Clocks of nodes may be this far behind.
const SKEW: Duration = Duration::hours(1);

/// What the Secret holds, each in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// The authority that signed `certificate`.
    pub authority: Pair,
    /// The authority that will follow it.
    pub next: Option<Pair>,
    /// Certificate of the authority that it followed, while valid.
    pub previous: Option<String>,
    /// The serving certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Material {
    /// What clients should trust, in PEM.
    pub fn authorities(&self) -> String {
        let next = self.next.as_ref().map(|next| next.certificate.as_str());
        let all = [Some(self.authority.certificate.as_str()), next, self.previous.as_deref()];
        all.into_iter().flatten().map(|pem| format!("{}\n", pem.trim_end())).collect()
    }
}

/// The names that the serving certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// Those of the operator's Service in a namespace, and the one that agents ask for.
    pub fn of_service(namespace: &str) -> Names {
        let service = api::fleet::SERVER_NAME;
        let mut names = vec![
            service.to_owned(),
            format!("{service}.{namespace}"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
        ];
        names.sort();
        Names(names)
    }
}

/// A certificate that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making a certificate of the operator: {0}")]
pub struct IssueError(#[from] rcgen::Error);

/// What should be stored in place of `stored`; `None` if it is good as it is. What does not parse is made anew.
///
/// # Errors
/// The cryptographic library failed.
pub fn renew(
    stored: Option<&Material>,
    names: &Names,
    now: OffsetDateTime,
) -> Result<Option<Material>, IssueError> {
    let Some((stored, life)) = stored.and_then(|stored| Some((stored, usable(stored, now)?))) else {
        let authority = new_authority(now)?;
        let serving = new_serving(&authority, names, now)?;
        return Ok(Some(Material {
            authority,
            next: None,
            previous: None,
            certificate: serving.certificate,
            key: serving.key,
        }));
    };
    let mut wanted = stored.clone();
    if wanted.previous.as_ref().is_some_and(|pem| Life::of(pem).is_none_or(|life| life.end <= now)) {
        wanted.previous = None;
    }
    let next = wanted.next.as_ref().and_then(|next| Life::of(&next.certificate));
    match next {
        None if life.is_old(now) => wanted.next = Some(new_authority(now)?),
        Some(next) if next.start + SKEW + OVERLAP <= now => {
            if let Some(next) = wanted.next.take() {
                let before = std::mem::replace(&mut wanted.authority, next);
                wanted.previous = Some(before.certificate);
            }
        }
        _ => {}
    }
    let replaced = wanted.authority != stored.authority;
    let serving = Life::of(&wanted.certificate);
    if replaced || serving.is_none_or(|life| life.is_old(now)) || !serves(&wanted, names) {
        let serving = new_serving(&wanted.authority, names, now)?;
        (wanted.certificate, wanted.key) = (serving.certificate, serving.key);
    }
    Ok((wanted != *stored).then_some(wanted))
}

/// Life of the authority, if it can sign now.
fn usable(stored: &Material, now: OffsetDateTime) -> Option<Life> {
    let life = Life::of(&stored.authority.certificate).filter(|life| now < life.end)?;
    let key = KeyPair::from_pem(&stored.authority.key).ok()?;
    let der = der(&stored.authority.certificate)?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    (parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()).then_some(life)
}

/// Whether the serving certificate is signed by the authority, belongs to its key and has exactly these names.
fn serves(material: &Material, names: &Names) -> bool {
    let (Some(der), Some(signer)) = (der(&material.certificate), der(&material.authority.certificate)) else {
        return false;
    };
    let (Ok((_, parsed)), Ok((_, signer))) =
        (X509Certificate::from_der(&der), X509Certificate::from_der(&signer))
    else {
        return false;
    };
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return false };
    let Ok(key) = KeyPair::from_pem(&material.key) else { return false };
    let mut found: Vec<&str> = alternatives
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    parsed.issuer().as_raw() == signer.subject().as_raw()
        && parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
        && found == names.0
}

/// When a certificate is valid.
struct Life {
    start: OffsetDateTime,
    end: OffsetDateTime,
}

impl Life {
    fn of(pem: &str) -> Option<Life> {
        let der = der(pem)?;
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let validity = parsed.validity();
        Some(Life { start: validity.not_before.to_datetime(), end: validity.not_after.to_datetime() })
    }

    /// Whether two thirds are over, or it is not valid yet.
    fn is_old(&self, now: OffsetDateTime) -> bool {
        now < self.start || now >= self.start + (self.end - self.start) * 2 / 3
    }
}

fn der(pem: &str) -> Option<Vec<u8>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|der| der.to_vec())
}

fn new_authority(now: OffsetDateTime) -> Result<Pair, IssueError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.not_before = now - SKEW;
    params.not_after = now + AUTHORITY_LIFE;
    // A name of its own: clients that trust two authorities must be able to tell which one signed.
    let name = format!("Ferragon authority of {} {}", now.date(), suffix(&key));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// The end of a public key, in hexadecimal.
fn suffix(key: &KeyPair) -> String {
    key.public_key_raw().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn new_serving(authority: &Pair, names: &Names, now: OffsetDateTime) -> Result<Pair, IssueError> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.0.clone())?;
    params.not_before = now - SKEW;
    params.not_after = now + SERVING_LIFE;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, api::fleet::SERVER_NAME);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

#[cfg(test)]
mod tests;
