//! Loads the certificate of a listener, and replaces it while the server runs.
//!
//! Uses rustls with TLS 1.2 and 1.3, and offers HTTP/2 and HTTP/1.1. An unusable new certificate is logged, and the
//! previous one stays in use.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use lakegate_core::project::Tls;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::reload::Watched;

/// The maximum size of a certificate or key file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a certificate cannot be used. The error names files and holds none of their content.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("`{}` cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file has no certificate.
    #[error("`{}` has no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// The file has no private key.
    #[error("`{}` has no private key in PEM", .0.display())]
    NoKey(PathBuf),
    /// The certificate or the key is unusable, or they do not belong together.
    #[error("the certificate in `{}` cannot be used with the key in `{}`", .0.display(), .1.display())]
    Unusable(PathBuf, PathBuf, #[source] rustls::Error),
}

/// The current certificate of a listener.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    refresh: Duration,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
    /// A digest of the files at the last check, usable or not.
    seen: Mutex<u64>,
}

/// The certificate that each handshake resolves to.
struct Current(ArcSwap<CertifiedKey>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificates {
    /// Reads the files. Relative paths start at `folder`.
    ///
    /// # Errors
    /// If the files cannot be used.
    pub fn load(tls: &Tls, folder: &Path) -> Result<Arc<Self>, CertificateError> {
        let (certificate, key) = (folder.join(&tls.certificate), folder.join(&tls.key));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let files = CertificateFiles::read(&certificate, &key)?;
        let current = Arc::new(Current(ArcSwap::from_pointee(files.certified(&provider)?)));
        let unusable = |error| CertificateError::Unusable(certificate.clone(), key.clone(), error);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (refresh, seen) = (tls.refresh, Mutex::new(files.digest()));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Arc::new(Self { certificate, key, refresh, provider, current, acceptor, seen }))
    }

    /// The acceptor for TLS handshakes.
    pub(super) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Loads the files if they have changed, and logs the result. New handshakes use the new certificate; open
    /// connections are not affected.
    pub fn reload(&self) {
        let files = match CertificateFiles::read(&self.certificate, &self.key) {
            Ok(files) => files,
            Err(error) => {
                // An unreadable file is logged once, until something changes.
                if self.is_new(0) {
                    log_failed_reload(error);
                }
                return;
            }
        };
        if !self.is_new(files.digest()) {
            return;
        }
        match files.certified(&self.provider) {
            Ok(certified) => {
                self.current.0.store(Arc::new(certified));
                tracing::info!(certificate = %self.certificate.display(), "the certificate was replaced");
            }
            Err(error) => log_failed_reload(error),
        }
    }

    fn is_new(&self, digest: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, digest) != digest
    }
}

impl Watched for Certificates {
    fn every(&self) -> Duration {
        self.refresh
    }

    fn check(&self) {
        self.reload();
    }
}

fn log_failed_reload(error: CertificateError) {
    tracing::error!("the new certificate is not taken, the one before stays: {:#}", anyhow::Error::new(error));
}

/// The content of the certificate and key files.
struct CertificateFiles<'p> {
    paths: [&'p Path; 2],
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl<'p> CertificateFiles<'p> {
    fn read(certificate_path: &'p Path, key_path: &'p Path) -> Result<Self, CertificateError> {
        let read = |path: &Path| {
            let unreadable = |error| CertificateError::Unreadable(path.to_owned(), error);
            if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
                return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
            }
            std::fs::read(path).map_err(unreadable)
        };
        let (certificate, key) = (read(certificate_path)?, read(key_path)?);
        Ok(Self { paths: [certificate_path, key_path], certificate, key })
    }

    fn digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        (&self.certificate, &self.key).hash(&mut digest);
        digest.finish()
    }

    /// Parses the certificate chain and the key, and checks that they belong together.
    fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
        let [certificate, key] = self.paths.map(Path::to_owned);
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| CertificateError::NoCertificate(certificate.clone()))?;
        let secret = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| CertificateError::NoKey(key.clone()))?;
        CertifiedKey::from_der(chain, secret, provider)
            .map_err(|error| CertificateError::Unusable(certificate, key, error))
    }
}
