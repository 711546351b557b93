//! The server's view of the access store: looks up tokens through a cache, and refuses if it is not sure.
//!
//! Cache entries belong to a *generation*: the number of changes that this process knows of, read before the store is
//! read. A change starts a new generation, so an answer that was read before a change and arrives after it is never
//! used. [`super::background`] notices a change by another process within a fraction of a second. If it cannot, because
//! the store does not respond, entries older than [`MAX_AGE`] are invalid and callers are refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use lakegate_core::access::{
    Admin, Credential, PresentedToken, Principal, TokenHash, VerifiedAssertion, authenticate, authenticate_admin,
};
use lakegate_core::error::{Code, Error};
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::background::Background;
use super::change_log::ChangeSink;
use super::error::StoreError;
use super::last_use::LastUse;
use super::open::Store;
use crate::signer::Signer;

/// The time that a cache entry stays valid after the store last confirmed it.
const MAX_AGE: Duration = Duration::from_secs(4);
/// The timeout of a lookup. Together with [`MAX_AGE`] it is below the 5 s within which a revocation must take effect.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of cached tokens.
const MAX_KNOWN: u64 = 100_000;
/// The maximum number of cached unknown tokens. They have their own cache, so that a flood of them cannot evict known
/// ones.
const MAX_UNKNOWN: u64 = 20_000;
/// The maximum number of JWTs with cached grants. They have their own cache, so that they cannot evict tokens.
const MAX_ASSERTED: u64 = 50_000;
/// The time after which an unused token leaves the cache.
const MAX_IDLE: Duration = Duration::from_secs(600);

/// The access of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    inner: Arc<AccessInner>,
}

#[derive(Debug)]
pub(super) struct AccessInner {
    store: Store,
    known: Cache<CacheKey, CachedCredential>,
    unknown: Cache<CacheKey, Millis>,
    asserted: Cache<CacheKey, CachedCredential>,
    /// When the store last confirmed the current generation.
    confirmed_at: AtomicU64,
    last_use: LastUse,
    signer: Signer,
}

/// The generation and the token hash.
type CacheKey = (u64, TokenHash);

#[derive(Clone, Debug)]
struct CachedCredential {
    credential: Arc<Credential>,
    read_at: Millis,
}

/// Milliseconds since the process started.
pub(super) type Millis = u64;

/// A lookup without a credential.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("no such token")]
    Unknown,
    #[error("the access store could not be read")]
    Store(#[source] StoreError),
}

impl Access {
    /// Starts on an open store. Call [`Background::shutdown`] at the end, because it writes what is pending.
    pub async fn start(store: Store) -> Result<(Self, Background), StoreError> {
        Self::start_with(store, None).await
    }

    /// Starts on an open store, and exports all changes of the store, whichever process made them, to a sink.
    pub async fn start_with(store: Store, sink: Option<Arc<dyn ChangeSink>>) -> Result<(Self, Background), StoreError> {
        let now = now_millis();
        let version = store.access_version().await?;
        let signer = Signer::new(store.server_key().await?);
        let lru = EvictionPolicy::lru();
        let inner = Arc::new(AccessInner {
            store,
            known: Cache::builder().max_capacity(MAX_KNOWN).eviction_policy(lru.clone()).time_to_idle(MAX_IDLE).build(),
            unknown: Cache::builder()
                .max_capacity(MAX_UNKNOWN)
                .eviction_policy(lru.clone())
                .time_to_idle(MAX_IDLE)
                .build(),
            asserted: Cache::builder().max_capacity(MAX_ASSERTED).eviction_policy(lru).time_to_idle(MAX_IDLE).build(),
            confirmed_at: AtomicU64::new(now),
            last_use: LastUse::default(),
            signer,
        });
        let background = Background::start(Arc::clone(&inner), version, sink);
        Ok((Self { inner }, background))
    }

    /// Signs and verifies values that callers carry between servers of this store, such as cursors.
    pub fn signer(&self) -> &Signer {
        &self.inner.signer
    }

    /// Authenticates a token: returns its principal, and all that the store knows about the token. Records the use.
    pub async fn authenticate(
        &self,
        token: &PresentedToken,
        now: DateTime<Utc>,
    ) -> Result<(Principal, Arc<Credential>), Error> {
        let credential = self.credential(token).await?;
        let principal = authenticate(&credential, now)?;
        self.inner.last_use.record(principal.token_id(), now);
        Ok((principal, credential))
    }

    /// Authenticates an admin token. Records the use.
    pub async fn authenticate_admin(&self, token: &PresentedToken, now: DateTime<Utc>) -> Result<Admin, Error> {
        let credential = self.credential(token).await?;
        let admin = authenticate_admin(&credential, now)?;
        self.inner.last_use.record(admin.token_id(), now);
        Ok(admin)
    }

    /// Authenticates a principal that an issuer vouches for, with the grants to its name and its roles.
    pub async fn authenticate_assertion(
        &self,
        asserted: &VerifiedAssertion,
        now: DateTime<Utc>,
    ) -> Result<(Principal, Arc<Credential>), Error> {
        let credential = self.asserted_credential(asserted).await?;
        Ok((authenticate(&credential, now)?, credential))
    }

    /// The claims of an issuer, with the grants to the name and its roles. Expired claims are included.
    pub async fn asserted_credential(&self, asserted: &VerifiedAssertion) -> Result<Arc<Credential>, Error> {
        let inner = &self.inner;
        let key = (inner.store.changes(), asserted.hash());
        if inner.asserted.get(&key).await.is_some_and(|known| !inner.is_fresh(known.read_at)) {
            inner.asserted.invalidate(&key).await;
        }
        match inner.asserted.try_get_with(key, inner.read_asserted(asserted)).await {
            Ok(known) if inner.is_fresh(known.read_at) => Ok(known.credential),
            Ok(_) => Err(StoreError::Slow.into()),
            Err(error) => Err(Error::from(StoreError::Slow).source(error)),
        }
    }

    /// All that the store knows about a token. Expired and revoked tokens are included.
    pub async fn credential(&self, token: &PresentedToken) -> Result<Arc<Credential>, Error> {
        let inner = &self.inner;
        let key = (inner.store.changes(), token.hash());
        if let Some(known) = inner.known.get(&key).await {
            if inner.is_fresh(known.read_at) {
                return Ok(known.credential);
            }
            inner.known.invalidate(&key).await;
        }
        if inner.unknown.get(&key).await.is_some_and(|read_at| inner.is_fresh(read_at)) {
            return Err(unknown_token());
        }
        // Callers with the same token share one read (single flight).
        match inner.known.try_get_with(key, inner.read(token.hash())).await {
            Ok(known) if inner.is_fresh(known.read_at) => Ok(known.credential),
            Ok(_) => Err(StoreError::Slow.into()),
            Err(error) => match &*error {
                LookupError::Unknown => Err(unknown_token()),
                LookupError::Store(_) => Err(Error::from(StoreError::Slow).source(error)),
            },
        }
    }

    /// Whether access can be decided now: fails if the store has not responded recently.
    pub fn ready(&self) -> Result<(), Error> {
        if self.inner.is_fresh(0) { Ok(()) } else { Err(StoreError::Slow.into()) }
    }

    /// The store, for changes. They take effect here immediately, and in other processes within moments.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }
}

impl AccessInner {
    async fn read(&self, hash: TokenHash) -> Result<CachedCredential, LookupError> {
        let read_at = now_millis();
        let generation = self.store.changes();
        let answer = tokio::time::timeout(READ_TIMEOUT, self.store.credential(hash)).await;
        match answer {
            Ok(Ok(Some(credential))) => Ok(CachedCredential { credential: Arc::new(credential), read_at }),
            Ok(Ok(None)) => {
                self.unknown.insert((generation, hash), read_at).await;
                Err(LookupError::Unknown)
            }
            Ok(Err(error)) => Err(LookupError::Store(error)),
            Err(_) => Err(LookupError::Store(StoreError::Slow)),
        }
    }

    async fn read_asserted(&self, asserted: &VerifiedAssertion) -> Result<CachedCredential, LookupError> {
        let read_at = now_millis();
        match tokio::time::timeout(READ_TIMEOUT, self.store.asserted_credential(asserted)).await {
            Ok(Ok(credential)) => Ok(CachedCredential { credential: Arc::new(credential), read_at }),
            Ok(Err(error)) => Err(LookupError::Store(error)),
            Err(_) => Err(LookupError::Store(StoreError::Slow)),
        }
    }

    /// Whether an answer of the current generation, read at `read_at`, was confirmed within [`MAX_AGE`].
    fn is_fresh(&self, read_at: Millis) -> bool {
        let true_at = read_at.max(self.confirmed_at.load(Ordering::Acquire));
        now_millis().saturating_sub(true_at) <= MAX_AGE.as_millis() as u64
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Records that the current generation was valid at this moment.
    pub(super) fn confirm(&self, at: Millis) {
        self.confirmed_at.fetch_max(at, Ordering::AcqRel);
    }

    /// Drops all cache entries.
    pub(super) fn invalidate_all(&self) {
        self.store.count_change();
        // The new generation would suffice, but this frees the memory immediately.
        self.known.invalidate_all();
        self.unknown.invalidate_all();
        self.asserted.invalidate_all();
    }

    pub(super) async fn write_last_use(&self) -> Result<(), StoreError> {
        self.last_use.flush(&self.store).await
    }
}

fn unknown_token() -> Error {
    Error::new(Code::AccessTokenUnknown, "the token is not known").hint("check that the whole token was sent")
}

pub(super) fn now_millis() -> Millis {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_millis() as u64
}
