//! The memo of a pipeline: what an earlier request of the same caller, equal in every byte, was found to be, so that its
//! arguments are not typed and its plan is not governed again.
//!
//! The pipeline asks it like any cache, after authentication, authorisation and rate limits. It holds no rows: the response
//! comes from the response cache by its validator, or is a 304. An entry belongs to one [`Served`], so to one project and
//! one version of its tables; it is valid only for the credential that it was made for, which is another object after any
//! change of the access store, until the first of its grants ends, and for one mask key. Responses that depend on the time
//! of the request, pages and past versions have no entry.
//!
//! [`Served`]: crate::app::Served

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use chrono::{DateTime, Utc};
use lakegate_core::access::{Credential, Presented, TokenHash};
use lakegate_query::govern::PlanOutline;
use lakegate_query::plan::PlannedProject;
use moka::sync::Cache;

use crate::audit::SerializedRequest;

/// The approximate maximum memory of all entries, in bytes.
const MAX_BYTES: u64 = 32 << 20;
/// The approximate memory of an entry beside the bytes of its request.
const OVERHEAD: usize = 4_096;
/// The maximum size of a request with an entry, in bytes.
const MAX_REQUEST: usize = 4_096;
/// The time after which an unused entry is dropped.
const IDLE: Duration = Duration::from_secs(600);

/// Everything in a request that its response depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey<'a> {
    token: TokenHash,
    method: &'a Method,
    path: &'a str,
    query: Option<&'a str>,
    body: &'a [u8],
    accept: Option<&'a [u8]>,
    accept_encoding: Option<&'a [u8]>,
}

/// A [`RequestKey`] that owns its parts.
#[derive(Debug)]
struct OwnedKey {
    token: TokenHash,
    method: Method,
    path: Box<str>,
    query: Option<Box<str>>,
    body: Box<[u8]>,
    accept: Option<Box<[u8]>>,
    accept_encoding: Option<Box<[u8]>>,
}

/// The findings about a request.
pub struct MemoEntry {
    key: OwnedKey,
    credential: Arc<Credential>,
    made_at: DateTime<Utc>,
    /// When the first grant of the credential ends.
    until: Option<DateTime<Utc>>,
    mask_key: MaskKeyId,
    /// The validator of the response, under which the response cache keeps it.
    pub validator: String,
    /// The headers of the responses.
    pub headers: StoredHeaders,
    /// For the audit record and the timer.
    pub recalled: Recalled,
}

/// The reports to the audit record and the timer of the stages that the memo saves.
#[derive(Debug)]
pub struct Recalled {
    /// The record's members about the request and its caller; `None` if there is no log.
    pub record: Option<SerializedRequest>,
    /// The policy fingerprint; `None` if it depends on a secret.
    pub policy: Option<String>,
    /// The governed plan as text.
    pub outline: PlanOutline,
    /// The tables of which the caller sees every row, because of a role.
    pub unfiltered: Vec<String>,
}

/// The state of the server before a request is governed, for the entry that is made of it afterwards.
#[derive(Debug)]
pub struct MemoStart {
    now: DateTime<Utc>,
    mask_key: MaskKeyId,
}

/// The id of the mask key, which may be missing; `None` if no mask of the project needs a key.
type MaskKeyId = Option<Option<String>>;

/// The entries of one state of a project.
pub struct RequestMemo {
    entries: Cache<u64, Arc<MemoEntry>>,
    /// Keyed at random, so that nobody can construct requests that collide.
    hasher: RandomState,
}

impl<'a> RequestKey<'a> {
    /// The key of a request. `None` if its headers ask for more than the response, or if it is too long to be kept.
    pub fn new(
        token: &Presented,
        method: &'a Method,
        uri: &'a Uri,
        body: &'a [u8],
        headers: &'a HeaderMap,
    ) -> Option<Self> {
        let only = |name: HeaderName| {
            let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
            let first = values.next();
            values.next().is_none().then_some(first)
        };
        let (accept, accept_encoding) = (only(ACCEPT)?, only(ACCEPT_ENCODING)?);
        let (path, query) = (uri.path(), uri.query());
        let key = Self { token: token.hash(), method, path, query, body, accept, accept_encoding };
        (!headers.contains_key("prefer") && key.len() <= MAX_REQUEST).then_some(key)
    }

    fn len(&self) -> usize {
        let parts = [self.query.map(str::as_bytes), self.accept, self.accept_encoding];
        self.path.len() + self.body.len() + parts.into_iter().flatten().map(<[u8]>::len).sum::<usize>()
    }

    fn owned(self) -> OwnedKey {
        OwnedKey {
            token: self.token,
            method: self.method.clone(),
            path: self.path.into(),
            query: self.query.map(Box::from),
            body: self.body.into(),
            accept: self.accept.map(Box::from),
            accept_encoding: self.accept_encoding.map(Box::from),
        }
    }
}

impl OwnedKey {
    fn as_key(&self) -> RequestKey<'_> {
        RequestKey {
            token: self.token,
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            body: &self.body,
            accept: self.accept.as_deref(),
            accept_encoding: self.accept_encoding.as_deref(),
        }
    }
}

impl MemoStart {
    /// The state at this moment.
    pub fn new(project: &PlannedProject, now: DateTime<Utc>) -> Self {
        Self { now, mask_key: mask_key(project) }
    }
}

/// The id of the mask key that responses depend on.
fn mask_key(project: &PlannedProject) -> MaskKeyId {
    project.needs_mask_key().then(|| project.mask_key_id())
}

impl MemoEntry {
    fn is_valid(&self, credential: &Arc<Credential>, project: &PlannedProject, now: DateTime<Utc>) -> bool {
        Arc::ptr_eq(&self.credential, credential)
            // A clock that was put back restores grants that had ended.
            && self.made_at <= now
            && !project.has_withdrawn()
            && self.until.is_none_or(|until| now < until)
            && self.mask_key.as_ref().is_none_or(|key| project.has_mask_key(key.as_deref()))
    }
}

impl Default for RequestMemo {
    fn default() -> Self {
        let weigh =
            |_: &u64, entry: &Arc<MemoEntry>| u32::try_from(entry.key.as_key().len() + OVERHEAD).unwrap_or(u32::MAX);
        let entries = Cache::builder().max_capacity(MAX_BYTES).weigher(weigh).time_to_idle(IDLE).build();
        Self { entries, hasher: RandomState::new() }
    }
}

impl RequestMemo {
    /// The number of entries.
    pub fn count(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// Drops all entries.
    pub fn clear(&self) {
        self.entries.invalidate_all();
        self.entries.run_pending_tasks();
    }

    /// The entry of an equal request, if it is valid for this credential now.
    pub fn find(
        &self,
        key: &RequestKey<'_>,
        credential: &Arc<Credential>,
        project: &PlannedProject,
        now: DateTime<Utc>,
    ) -> Option<Arc<MemoEntry>> {
        let entry = self.entries.get(&self.hasher.hash_one(key))?;
        (entry.key.as_key() == *key && entry.is_valid(credential, project, now)).then_some(entry)
    }

    /// Adds the entry of a request that was answered from the response cache, or with a 304.
    pub fn add(
        &self,
        key: &RequestKey<'_>,
        start: MemoStart,
        credential: &Arc<Credential>,
        project: &PlannedProject,
        content: (String, StoredHeaders, Recalled),
    ) {
        let MemoStart { now, mask_key: id } = start;
        // The key may have been replaced while the request was governed.
        if id != mask_key(project) {
            return;
        }
        let (validator, headers, recalled) = content;
        let (credential, until) = (Arc::clone(credential), credential.grants_expire_at(now));
        let key_hash = self.hasher.hash_one(key);
        let key = key.owned();
        let entry = MemoEntry { key, credential, made_at: now, until, mask_key: id, validator, headers, recalled };
        self.entries.insert(key_hash, Arc::new(entry));
    }
}

impl fmt::Debug for RequestMemo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMemo").field("entries", &self.entries.entry_count()).finish_non_exhaustive()
    }
}

/// The headers of a response that do not depend on its compression: those of a 200, and those of a 304.
#[derive(Debug)]
pub struct StoredHeaders {
    ok: HeaderMap,
    not_modified: HeaderMap,
}

impl StoredHeaders {
    /// The headers of a 200 response, of which a 304 has those that do not describe a body.
    pub fn new(mut ok: HeaderMap) -> Self {
        // Room for the headers of every response, so that a copy need not grow.
        ok.reserve(12);
        let mut not_modified = ok.clone();
        not_modified.remove(CONTENT_TYPE);
        not_modified.remove(CONTENT_DISPOSITION);
        Self { ok, not_modified }
    }

    /// Adds the headers of a 304 or 200 response.
    pub fn add(&self, headers: &mut HeaderMap, is_not_modified: bool) {
        let stored = if is_not_modified { &self.not_modified } else { &self.ok };
        match headers.is_empty() {
            true => stored.clone_into(headers),
            false => headers.extend(stored.clone()),
        }
    }
}
