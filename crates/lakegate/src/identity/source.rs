//! Loads key sets from a file of the project, or from a URL with strict limits.
//!
//! It reads only locations that the project names, never anything that a caller sends.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lakegate_core::project::{KeyLocation, is_loopback_url};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

/// The timeout of a fetch, from name resolution to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum size of a key set, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// The location of a key set.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    File(PathBuf),
    Url(Box<Url>),
}

/// Why a key set cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("it is not a URL that can be fetched")]
    Url,
    #[error("the file cannot be read")]
    File(#[source] std::io::Error),
    #[error("it is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("it cannot be fetched")]
    Fetch(#[source] reqwest::Error),
    #[error("the server answers {0}; redirects are not followed")]
    Status(u16),
}

impl KeySource {
    pub(super) fn new(location: &KeyLocation, folder: &Path) -> Result<Self, SourceError> {
        match location {
            KeyLocation::File(path) => Ok(Self::File(folder.join(path))),
            KeyLocation::Url(text) => {
                let url = Url::parse(text).map_err(|_| SourceError::Url)?;
                // The project check has seen the text; this checks the parsed URL that is fetched.
                let fine = url.scheme() == "https" || url.scheme() == "http" && is_loopback_url(url.as_str());
                if fine { Ok(Self::Url(Box::new(url))) } else { Err(SourceError::Url) }
            }
        }
    }

    /// Loads the current bytes.
    pub(super) async fn load(&self) -> Result<Vec<u8>, SourceError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.unwrap_or_else(|error| Err(SourceError::File(std::io::Error::other(error))))
            }
            Self::Url(url) => fetch(url).await,
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, SourceError> {
    let file = std::fs::File::open(path).map_err(SourceError::File)?;
    if !file.metadata().map_err(SourceError::File)?.is_file() {
        return Err(SourceError::File(std::io::Error::other("it is not a file")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(SourceError::File)?;
    if bytes.len() > MAX_BYTES { Err(SourceError::TooLarge) } else { Ok(bytes) }
}

async fn fetch(url: &Url) -> Result<Vec<u8>, SourceError> {
    let encrypted = url.scheme() == "https";
    // A new client for each fetch, because fetches are minutes apart and the system's trust store may have changed.
    let mut client = Client::builder().timeout(FETCH_TIMEOUT).redirect(Policy::none()).https_only(encrypted);
    if !encrypted {
        // A loopback address needs no proxy and no certificates.
        client = client.no_proxy().tls_certs_only([]);
    }
    let client = client.build().map_err(SourceError::Fetch)?;
    let mut response =
        client.get(url.clone()).header("accept", "application/json").send().await.map_err(SourceError::Fetch)?;
    if response.status().as_u16() != 200 {
        return Err(SourceError::Status(response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(SourceError::Fetch)? {
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(SourceError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
