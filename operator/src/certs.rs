//! In: the Secret with the operator's own authority, or a folder that something else fills. Out: the certificate that
//! the fleet's and the webhook's listeners show, and the authorities by which others know it.
//!
//! Both listeners ask [`CertStore`] at each handshake, so a renewed certificate needs no restart.

mod folder;
mod issue;
mod keeper;
mod publish;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use folder::Folder;
pub use issue::{IssueError, Material, Names, renew};
pub use keeper::{Keeper, SECRET};
pub use publish::{CONFIG_MAP, Publisher, WEBHOOK};

/// How often the Secret, the folder and what was published are looked at.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// The certificate in use, and the authorities that vouch for it.
#[derive(Debug, Default)]
pub struct CertStore {
    current: RwLock<Option<Arc<CertifiedKey>>>,
    authorities: tokio::sync::watch::Sender<Option<Arc<str>>>,
}

/// A certificate that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// Not PEM, or none in it.
    #[error("reading {what}: {problem}; it must be PEM")]
    Pem {
        /// `tls.crt` or `tls.key`.
        what: &'static str,
        /// What the parser says.
        problem: String,
    },
    /// A key that is not of this certificate, or of an unknown kind.
    #[error("using tls.crt with tls.key: {0}")]
    Unusable(#[from] rustls::Error),
}

impl CertStore {
    /// An empty store; handshakes fail until it is filled.
    pub fn new() -> Arc<CertStore> {
        Arc::default()
    }

    /// From now on shows this certificate.
    ///
    /// # Errors
    /// It cannot be served; the one before stays.
    pub fn set(&self, certificate_pem: &str, key_pem: &str, authorities_pem: &str) -> Result<(), CertError> {
        let key = certified(certificate_pem, key_pem)?;
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(key));
        self.authorities.send_if_modified(|current| {
            let changed = current.as_deref() != Some(authorities_pem);
            if changed {
                *current = Some(authorities_pem.into());
            }
            changed
        });
        Ok(())
    }

    /// Whether there is a certificate.
    pub fn is_filled(&self) -> bool {
        self.certificate().is_some()
    }

    /// PEM of the authorities that clients should trust; several while one replaces another.
    pub fn authorities(&self) -> tokio::sync::watch::Receiver<Option<Arc<str>>> {
        self.authorities.subscribe()
    }

    /// For a listener: shows whatever certificate is in the store at each handshake. No client certificates.
    ///
    /// # Errors
    /// None occurs: ring has all protocol versions that are asked for.
    pub fn server_config(self: &Arc<Self>, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn certificate(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for CertStore {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate()
    }
}

fn certified(certificate_pem: &str, key_pem: &str) -> Result<CertifiedKey, CertError> {
    let pem = |what, problem: &dyn std::fmt::Display| CertError::Pem { what, problem: problem.to_string() };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|problem| pem("tls.crt", &problem))?;
    if chain.is_empty() {
        return Err(pem("tls.crt", &"no certificate"));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|problem| pem("tls.key", &problem))?;
    Ok(CertifiedKey::from_der(chain, key, &ring::default_provider())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material(day: i64) -> Material {
        let now = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(day);
        renew(None, &Names::of_service("ferragon"), now).unwrap().unwrap()
    }

    #[test]
    fn what_cannot_be_served_leaves_what_was() {
        let store = CertStore::new();
        assert!(!store.is_filled() && store.authorities().borrow().is_none());
        let (one, other) = (material(0), material(1));
        store.set(&one.certificate, &one.key, "a").unwrap();
        let before = store.certificate().unwrap();
        assert!(matches!(store.set(&one.certificate, &other.key, "b"), Err(CertError::Unusable(_))));
        assert!(matches!(store.set("x", &one.key, "b"), Err(CertError::Pem { what: "tls.crt", .. })));
        assert!(matches!(store.set(&one.certificate, "x", "b"), Err(CertError::Pem { what: "tls.key", .. })));
        assert!(Arc::ptr_eq(&before, &store.certificate().unwrap()));
        assert_eq!(store.authorities().borrow().as_deref(), Some("a"));
        store.set(&other.certificate, &other.key, "b").unwrap();
        assert!(!Arc::ptr_eq(&before, &store.certificate().unwrap()));
        assert_eq!(store.authorities().borrow().as_deref(), Some("b"));
    }
}
