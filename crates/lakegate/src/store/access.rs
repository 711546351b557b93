//! The server's side of the access store: looks tokens up with a memory in front, and refuses when in doubt.
//!
//! What is remembered belongs to a *generation*: the count of changes that this process knows of, read before the store
//! was. A change makes a new generation, so an answer that was read before a change and arrives after it is never used.
//! A change by another process is noticed by [`super::background`] within a fraction of a second. Should it notice
//! nothing because the store does not answer, memory older than [`MAX_AGE`] does not count and callers are refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use lakegate_core::access::{
    Admin, Asserted, Credential, PresentedToken, Principal, TokenHash, authenticate, authenticate_admin,
};
use lakegate_core::error::{Code, Error};
use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::background::Background;
use super::change_log::ChangeSink;
use super::error::StoreError;
use super::last_use::LastUse;
use super::open::Store;
use crate::seal::Seal;

/// How long an answer counts after the moment at which it was last known to be what the store says.
const MAX_AGE: Duration = Duration::from_secs(4);
/// How long a lookup may take. Together with [`MAX_AGE`] within the 5 s that a revocation may take at worst.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// The most tokens remembered.
const MOST_KNOWN: u64 = 100_000;
/// The most unknown tokens remembered. They are kept apart: a flood of them must not push out a known one.
const MOST_UNKNOWN: u64 = 20_000;
/// The most JWTs of which the grants are remembered; apart from tokens, which they must not push out.
const MOST_ASSERTED: u64 = 50_000;
/// How long a token that nobody presents stays in memory.
const IDLE: Duration = Duration::from_secs(600);

/// The access of a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    store: Store,
    known: Cache<Key, Known>,
    unknown: Cache<Key, Millis>,
    asserted: Cache<Key, Known>,
    /// When the store last confirmed that the current generation is what it holds.
    confirmed_at: AtomicU64,
    last_use: LastUse,
    seal: Seal,
}

/// A generation and a token.
type Key = (u64, TokenHash);

#[derive(Clone, Debug)]
struct Known {
    credential: Arc<Credential>,
    read_at: Millis,
}

/// Milliseconds of this process's life.
pub(super) type Millis = u64;

/// A lookup that gave no credential.
#[derive(Debug, thiserror::Error)]
enum Miss {
    #[error("no such token")]
    Unknown,
    #[error("the access store could not be read")]
    Store(#[source] StoreError),
}

impl Access {
    /// Starts on an open store. Shut the background down at the end: it writes what is still to be written.
    pub async fn start(store: Store) -> Result<(Self, Background), StoreError> {
        Self::start_with(store, None).await
    }

    /// The same, and exports changes of the store, whoever made them, to a sink.
    pub async fn start_with(store: Store, sink: Option<Arc<dyn ChangeSink>>) -> Result<(Self, Background), StoreError> {
        let now = now_millis();
        let version = store.access_version().await?;
        let seal = Seal::new(store.server_key().await?);
        let lru = EvictionPolicy::lru();
        let inner = Arc::new(Inner {
            store,
            known: Cache::builder().max_capacity(MOST_KNOWN).eviction_policy(lru.clone()).time_to_idle(IDLE).build(),
            unknown: Cache::builder()
                .max_capacity(MOST_UNKNOWN)
                .eviction_policy(lru.clone())
                .time_to_idle(IDLE)
                .build(),
            asserted: Cache::builder().max_capacity(MOST_ASSERTED).eviction_policy(lru).time_to_idle(IDLE).build(),
            confirmed_at: AtomicU64::new(now),
            last_use: LastUse::default(),
            seal,
        });
        let background = Background::start(Arc::clone(&inner), version, sink);
        Ok((Self { inner }, background))
    }

    /// What callers carry for the servers over this store is made and opened with it.
    pub fn seal(&self) -> &Seal {
        &self.inner.seal
    }

    /// The principal behind a token, authenticated now, and all that the store knows about it. Notes the token's use.
    pub async fn authenticate(
        &self,
        token: &PresentedToken,
        now: DateTime<Utc>,
    ) -> Result<(Principal, Arc<Credential>), Error> {
        let credential = self.credential(token).await?;
        let principal = authenticate(&credential, now)?;
        self.inner.last_use.note(principal.token_id(), now);
        Ok((principal, credential))
    }

    /// The administrator behind an admin token, authenticated now. Notes the token's use.
    pub async fn authenticate_admin(&self, token: &PresentedToken, now: DateTime<Utc>) -> Result<Admin, Error> {
        let credential = self.credential(token).await?;
        let admin = authenticate_admin(&credential, now)?;
        self.inner.last_use.note(admin.token_id(), now);
        Ok(admin)
    }

    /// The principal that an issuer vouches for, authenticated now, with the grants to its name and its roles.
    pub async fn authenticate_assertion(
        &self,
        asserted: &Asserted,
        now: DateTime<Utc>,
    ) -> Result<(Principal, Arc<Credential>), Error> {
        let credential = self.asserted_credential(asserted).await?;
        Ok((authenticate(&credential, now)?, credential))
    }

    /// What an issuer says, with the grants to the name and its roles; also when its time is over.
    pub async fn asserted_credential(&self, asserted: &Asserted) -> Result<Arc<Credential>, Error> {
        let inner = &self.inner;
        let key = (inner.store.changes(), asserted.hash());
        if inner.asserted.get(&key).await.is_some_and(|known| !inner.is_fresh(known.read_at)) {
            inner.asserted.invalidate(&key).await;
        }
        match inner.asserted.try_get_with(key, inner.read_asserted(asserted)).await {
            Ok(known) if inner.is_fresh(known.read_at) => Ok(known.credential),
            Ok(_) => Err(StoreError::Slow.into()),
            Err(miss) => Err(Error::from(StoreError::Slow).source(miss)),
        }
    }

    /// All that the store knows about a token; also one that is expired or revoked.
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
        // Callers with the same token wait for one read.
        match inner.known.try_get_with(key, inner.read(token.hash())).await {
            Ok(known) if inner.is_fresh(known.read_at) => Ok(known.credential),
            Ok(_) => Err(StoreError::Slow.into()),
            Err(miss) => match &*miss {
                Miss::Unknown => Err(unknown_token()),
                Miss::Store(_) => Err(Error::from(StoreError::Slow).source(miss)),
            },
        }
    }

    /// How often the store has changed, as far as it is known here. Read it before a credential: one that was read later is
    /// as it was then, as long as [`Access::is_unchanged_since`] says so.
    pub fn generation(&self) -> u64 {
        self.inner.store.changes()
    }

    /// Whether nothing in the store has changed since then, as far as it is known here, and that is known lately enough.
    pub fn is_unchanged_since(&self, generation: u64) -> bool {
        self.generation() == generation && self.inner.is_fresh(0)
    }

    /// Notes that a token was used, of which it is known that it is taken.
    pub fn note_use(&self, token_id: &str, now: DateTime<Utc>) {
        self.inner.last_use.note(token_id, now);
    }

    /// Whether decisions can be made now: the store has answered lately.
    pub fn ready(&self) -> Result<(), Error> {
        if self.inner.is_fresh(0) { Ok(()) } else { Err(StoreError::Slow.into()) }
    }

    /// The store, for changes; what they turn is turned at once here and within a moment in other processes.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }
}

impl Inner {
    async fn read(&self, hash: TokenHash) -> Result<Known, Miss> {
        let read_at = now_millis();
        let generation = self.store.changes();
        let answer = tokio::time::timeout(READ_TIMEOUT, self.store.credential(hash)).await;
        match answer {
            Ok(Ok(Some(credential))) => Ok(Known { credential: Arc::new(credential), read_at }),
            Ok(Ok(None)) => {
                self.unknown.insert((generation, hash), read_at).await;
                Err(Miss::Unknown)
            }
            Ok(Err(error)) => Err(Miss::Store(error)),
            Err(_) => Err(Miss::Store(StoreError::Slow)),
        }
    }

    async fn read_asserted(&self, asserted: &Asserted) -> Result<Known, Miss> {
        let read_at = now_millis();
        match tokio::time::timeout(READ_TIMEOUT, self.store.asserted_credential(asserted)).await {
            Ok(Ok(credential)) => Ok(Known { credential: Arc::new(credential), read_at }),
            Ok(Err(error)) => Err(Miss::Store(error)),
            Err(_) => Err(Miss::Store(StoreError::Slow)),
        }
    }

    /// Whether an answer of the current generation, read then, is known to have been true within [`MAX_AGE`].
    fn is_fresh(&self, read_at: Millis) -> bool {
        let true_at = read_at.max(self.confirmed_at.load(Ordering::Acquire));
        now_millis().saturating_sub(true_at) <= MAX_AGE.as_millis() as u64
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Everything remembered was true at this moment.
    pub(super) fn confirm(&self, at: Millis) {
        self.confirmed_at.fetch_max(at, Ordering::AcqRel);
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.store.count_change();
        // The new generation alone would do; this makes room at once.
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
