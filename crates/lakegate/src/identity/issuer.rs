//! Keeps the keys of an issuer: loads them at the start and periodically in the background, and rejects keys that are
//! too old.
//!
//! Requests never trigger a load, so a caller that sends tokens with unknown keys cannot cause fetches.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use lakegate_core::error::{Code, Error};
use lakegate_core::project::Issuer;

use super::keys::{KeySet, KeySetError};
use super::source::{KeySource, SourceError};

/// The pause after the first failure. It doubles with each further one, up to the issuer's `refresh_seconds`.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);

/// An issuer with its keys.
#[derive(Debug)]
pub(super) struct IssuerKeys {
    pub(super) config: Issuer,
    source: Result<KeySource, SourceError>,
    loaded: RwLock<Option<LoadedKeys>>,
    /// Held while loading, so that a slow response never replaces a later one.
    loading: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
struct LoadedKeys {
    keys: Arc<KeySet>,
    bytes: Arc<[u8]>,
    /// When the load started.
    at: Instant,
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Source(SourceError),
    #[error(transparent)]
    Set(KeySetError),
    #[error("{0}")]
    Location(String),
}

impl IssuerKeys {
    pub(super) fn new(config: Issuer, folder: &Path) -> Self {
        let source = KeySource::new(&config.jwks, folder);
        Self { config, source, loaded: RwLock::new(None), loading: tokio::sync::Mutex::new(()) }
    }

    /// The keys, if they are loaded and not too old.
    pub(super) fn keys(&self) -> Result<Arc<KeySet>, Error> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = match loaded {
            Some(loaded) if loaded.at.elapsed() <= self.config.max_stale => return Ok(loaded.keys),
            Some(_) => "were not loaded for longer than `max_stale_seconds`",
            None => "were not loaded yet",
        };
        Err(Error::new(Code::AccessIssuerUnavailable, "the token cannot be verified now")
            .hint("try again in a moment")
            .source(format!("the keys of issuer `{}` {reason}", self.config.name)))
    }

    /// Loads the keys once. After a failure the previous keys stay, and age.
    pub(super) async fn load(&self) -> bool {
        let _alone = self.loading.lock().await;
        let at = Instant::now();
        let taken = match self.fetch().await {
            Ok(bytes) => self.replace(bytes.into(), at).map_err(LoadError::Set),
            Err(error) => Err(error),
        };
        taken.inspect_err(|error| self.warn(error)).is_ok()
    }

    async fn fetch(&self) -> Result<Vec<u8>, LoadError> {
        match &self.source {
            Ok(source) => source.load().await.map_err(LoadError::Source),
            Err(error) => Err(LoadError::Location(error.to_string())),
        }
    }

    /// Replaces the key set. If the bytes are unchanged, the set stays the same, and verified signatures remain valid.
    fn replace(&self, bytes: Arc<[u8]>, at: Instant) -> Result<(), KeySetError> {
        let before = self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone();
        let loaded = match before {
            Some(before) if before.bytes == bytes => LoadedKeys { at, ..before },
            _ => {
                let keys = Arc::new(KeySet::parse(&bytes, self.config.algorithm)?);
                let (issuer, fit, unfit) = (&self.config.name, keys.len(), keys.unfit);
                if fit == 0 {
                    tracing::warn!(issuer, unfit, "the issuer has no key that fits; nobody of it is let in");
                } else {
                    tracing::info!(issuer, keys = fit, unfit, "keys of the issuer loaded");
                }
                LoadedKeys { keys, bytes, at }
            }
        };
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
        Ok(())
    }

    fn warn(&self, error: &LoadError) {
        let (issuer, cause) = (&self.config.name, error as &(dyn std::error::Error + 'static));
        match self.keys() {
            Ok(_) => tracing::warn!(issuer, cause, "the issuer's keys cannot be loaded; the old ones count for now"),
            Err(_) => tracing::error!(issuer, cause, "the issuer's keys cannot be loaded; nobody of it is let in"),
        }
    }

    /// Reloads the keys forever. `good` is whether the initial load succeeded.
    pub(super) async fn keep_fresh(self: Arc<Self>, mut good: bool) {
        let mut failures = 0;
        loop {
            failures = if good { 0 } else { failures + 1 };
            tokio::time::sleep(jittered(pause(self.config.refresh, failures))).await;
            good = self.load().await;
        }
    }
}

/// The pause after this many failures in a row.
fn pause(refresh: Duration, failures: u32) -> Duration {
    match failures {
        0 => refresh,
        _ => FIRST_RETRY_DELAY.saturating_mul(1 << (failures - 1).min(20)).min(refresh),
    }
}

/// Shortens the pause randomly by up to a fifth, so that servers that started together do not fetch together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without random bytes there is no jitter, but keys are still loaded.
    let _ = getrandom::fill(&mut random);
    pause.mul_f64(1.0 - f64::from(random[0]) / 255.0 / 5.0)
}
