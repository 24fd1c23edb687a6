//! In: `tls.crt`, `tls.key` and `ca.crt` in a folder that something else fills, such as cert-manager by a mounted
//! Secret. Out: the same in the [`CertStore`], again after each change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{CertError, CertStore, INTERVAL};

/// Bytes of one file; chains are a few KiB.
const FILE_MAX: u64 = 1 << 20;

/// Keeps the folder and the store in step.
pub struct Folder {
    path: PathBuf,
    store: Arc<CertStore>,
    read: Option<[String; 3]>,
}

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read.
    #[error("reading {}: {source}; `--certificates` needs tls.crt, tls.key and ca.crt there", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it cannot be served.
    #[error("certificates in {}: {source}", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: CertError,
    },
}

impl Folder {
    /// For the files in `path`.
    pub fn new(path: PathBuf, store: Arc<CertStore>) -> Folder {
        Folder { path, store, read: None }
    }

    /// Reads the files and puts them into the store if they changed.
    ///
    /// # Errors
    /// A file is missing or wrong; the store keeps what it has.
    pub async fn ensure(&mut self) -> Result<(), FolderError> {
        let files = [
            read(&self.path.join("tls.crt")).await?,
            read(&self.path.join("tls.key")).await?,
            read(&self.path.join("ca.crt")).await?,
        ];
        if self.read.as_ref() == Some(&files) {
            return Ok(());
        }
        let [certificate, key, authorities] = &files;
        self.store
            .set(certificate, key, authorities)
            .map_err(|source| FolderError::Unusable { path: self.path.clone(), source })?;
        info!(folder = %self.path.display(), "took the certificate");
        self.read = Some(files);
        Ok(())
    }

    /// Does so now and then until the token is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            // While the kubelet exchanges the files, they may not fit each other for a moment.
            if let Err(error) = self.ensure().await {
                warn!(%error, "the certificate stays as it is");
            }
        }
    }
}

async fn read(path: &Path) -> Result<String, FolderError> {
    use tokio::io::AsyncReadExt;
    let error = |source| FolderError::File { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(error)?;
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).await.map_err(error)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::{Names, renew};
    use super::*;

    #[tokio::test]
    async fn changed_files_are_taken_and_wrong_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let store = CertStore::new();
        let mut watched = Folder::new(folder.path().to_owned(), store.clone());
        assert!(matches!(watched.ensure().await, Err(FolderError::File { .. })));
        let make =
            || renew(None, &Names::of_service("n"), time::OffsetDateTime::UNIX_EPOCH).unwrap().unwrap();
        for _ in 0..2 {
            let made = make();
            write("tls.crt", &made.certificate);
            write("ca.crt", &made.authorities());
            if store.is_filled() {
                assert!(matches!(watched.ensure().await, Err(FolderError::Unusable { .. })));
            }
            write("tls.key", &made.key);
            watched.ensure().await.unwrap();
            assert_eq!(store.authorities().borrow().as_deref(), Some(made.authorities().as_str()));
        }
    }
}
