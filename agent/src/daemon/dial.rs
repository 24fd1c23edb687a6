//! In: the operator's address, the files that prove who it is and who we are. Out: a connection, or why there is none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::fleet::fleet_client::FleetClient;
use api::fleet::{MESSAGE_MAX, SERVER_NAME};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// A connection is asked for a sign of life this often; one that gives none for as long again is dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A token is read again for a call that begins so long after the last reading: the kubelet replaces it long before it
/// ends, and a connection may last longer than a token.
const REREAD: Duration = Duration::from_secs(60);

/// Where the operator is, and with what to call it.
#[derive(Debug, Clone)]
pub struct Operator {
    /// `HOST:PORT`.
    pub address: String,
    /// Proof of its identity and ours.
    pub credentials: Credentials,
}

/// Proof of identity.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Files, read again and again, since both are replaced from time to time.
    Files {
        /// Certificates of those who may have signed the operator's, PEM.
        ca: PathBuf,
        /// The ServiceAccount token.
        token: PathBuf,
    },
    /// The same values always.
    Fixed {
        /// As above.
        ca: Arc<str>,
        /// As above.
        token: Arc<str>,
    },
}

/// There is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The operator has not published it yet.
    #[error(
        "{} is not there yet: waiting for the operator to publish its certificate (ConfigMap ferragon-ca)", .0.display()
    )]
    NoCa(PathBuf),
    /// A file.
    #[error("{} could not be read: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// How it failed.
        error: std::io::Error,
    },
    /// Not a header's value.
    #[error("the token holds characters that a token cannot have")]
    Token,
    /// The address.
    #[error("`{address}` is not an address of an operator (HOST:PORT): {error}")]
    Address {
        /// As given.
        address: String,
        /// What is wrong.
        error: String,
    },
    /// Network or TLS.
    #[error("the operator at {address} could not be reached: {error}")]
    Connect {
        /// As given.
        address: String,
        /// All that is known.
        error: String,
    },
}

/// The operator's service, with our token in each call.
pub type Client = FleetClient<InterceptedService<Channel, Bearer>>;

/// Puts the token into calls: of a file, what it says now. Clones share what was read.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// Where to read it again; `None`: it never changes.
    file: Option<PathBuf>,
    read: Arc<Mutex<(Instant, MetadataValue<Ascii>)>>,
}

impl Bearer {
    fn new(file: Option<PathBuf>, token: &str, now: Instant) -> Result<Bearer, DialError> {
        Ok(Bearer { file, read: Arc::new(Mutex::new((now, header(token)?))) })
    }

    /// The header of a call that begins now. A token that cannot be read again may still be good: the operator knows.
    fn header(&self, now: Instant) -> MetadataValue<Ascii> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file
            && now.saturating_duration_since(read.0) >= REREAD
        {
            // Some hundred bytes from memory: not worth a thread.
            let again = std::fs::read_to_string(file).map_err(|error| error.to_string());
            match again.and_then(|token| header(&token).map_err(|error| error.to_string())) {
                Ok(token) => *read = (now, token),
                Err(error) => tracing::warn!("{} could not be read again: {error}", file.display()),
            }
        }
        read.1.clone()
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.header(Instant::now()));
        Ok(request)
    }
}

fn header(token: &str) -> Result<MetadataValue<Ascii>, DialError> {
    let header = format!("Bearer {}", token.trim()).parse();
    let mut header: MetadataValue<Ascii> = header.map_err(|_| DialError::Token)?;
    header.set_sensitive(true);
    Ok(header)
}

impl Operator {
    /// Connects.
    ///
    /// # Errors
    /// A file is missing, or the network or TLS does not let us.
    pub async fn dial(&self) -> Result<Client, DialError> {
        let (ca, token) = self.credentials.read().await?;
        let bearer = Bearer::new(self.credentials.token_file(), &token, Instant::now())?;
        let bad = |error: tonic::transport::Error| DialError::Address {
            address: self.address.clone(),
            error: chain(&error),
        };
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name(SERVER_NAME);
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).map_err(bad)?;
        let endpoint = endpoint.tls_config(tls).map_err(bad)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        // Name, connection and TLS together.
        let failed = |error| DialError::Connect { address: self.address.clone(), error };
        let channel = tokio::time::timeout(2 * CONNECT, endpoint.connect()).await;
        let channel = channel.map_err(|_| failed("no answer".to_owned()))?;
        let channel = channel.map_err(|error| failed(chain(&error)))?;
        let client = FleetClient::with_interceptor(channel, bearer);
        Ok(client.max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX))
    }
}

impl Credentials {
    fn token_file(&self) -> Option<PathBuf> {
        match self {
            Credentials::Fixed { .. } => None,
            Credentials::Files { token, .. } => Some(token.clone()),
        }
    }

    async fn read(&self) -> Result<(String, String), DialError> {
        match self {
            Credentials::Fixed { ca, token } => Ok((ca.to_string(), token.to_string())),
            Credentials::Files { ca, token } => {
                let text = |path: &PathBuf| tokio::fs::read_to_string(path.clone());
                let failed = |path: &PathBuf, error| DialError::File { path: path.clone(), error };
                let authority = text(ca).await.map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => DialError::NoCa(ca.clone()),
                    _ => failed(ca, error),
                })?;
                Ok((authority, text(token).await.map_err(|error| failed(token, error))?))
            }
        }
    }
}

/// An error with all that is behind it.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text += ": ";
            text += &said;
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_outlives_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let (file, begun) = (folder.path().join("token"), Instant::now());
        std::fs::write(&file, "second\n").unwrap();
        let bearer = Bearer::new(Some(file.clone()), "first", begun).unwrap();
        let at = |seconds| bearer.header(begun + Duration::from_secs(seconds));
        assert_eq!(at(59), "Bearer first");
        assert_eq!(at(60), "Bearer second");
        for unreadable in [Some("two\nlines"), None] {
            match unreadable {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            assert_eq!(at(200), "Bearer second", "the last that was good");
        }
        assert!(at(300).is_sensitive());
        assert_eq!(Bearer::new(None, "fixed", begun).unwrap().header(begun + 2 * REREAD), "Bearer fixed");
    }
}
