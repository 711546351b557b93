//! The response memo: remembers requests word for word with their findings, so that a repeated request of the same
//! caller needs no argument parsing and no governance.
//!
//! The memo does not answer requests by itself. Each time the caller is authenticated again, rates are counted, and the
//! body comes from the result cache under the policy fingerprint. A memo belongs to one [`Served`] and is dropped with
//! it, so it covers one project and one version of its tables. An entry is valid only for the very credential that it
//! was made for, which is replaced at any change of the access store; only until one of its grants expires; and only
//! for one mask key. Requests that depend on the time, a page or an old table version are not remembered.
//!
//! [`Served`]: crate::app::Served

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, ACCEPT_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use chrono::{DateTime, Utc};
use lakegate_core::access::{Credential, Presented, TokenHash};
use lakegate_core::catalog::Call;
use lakegate_query::plan::PlannedProject;
use moka::sync::Cache;

use crate::app::Served;
use crate::audit::Findings;
use crate::http::Heads;
use crate::observe::{Said, Series};

/// The approximate maximum memory, in bytes.
const MOST_BYTES: u64 = 32 << 20;
/// The approximate size of an entry beside the request's own bytes.
const OVERHEAD: usize = 4_096;
/// The maximum size of a remembered request, in bytes.
const LONGEST: usize = 4_096;
/// The time after which an unused entry is dropped.
const IDLE: Duration = Duration::from_secs(600);

/// The request key: every part of a request that its response depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asking<'a> {
    token: TokenHash,
    method: &'a Method,
    path: &'a str,
    query: Option<&'a str>,
    body: &'a [u8],
    accept: Option<&'a [u8]>,
    accept_encoding: Option<&'a [u8]>,
}

/// An owned request key.
#[derive(Debug)]
struct Asked {
    token: TokenHash,
    method: Method,
    path: Box<str>,
    query: Option<Box<str>>,
    body: Box<[u8]>,
    accept: Option<Box<[u8]>>,
    accept_encoding: Option<Box<[u8]>>,
}

/// A remembered request.
pub struct Remembered {
    asked: Asked,
    made_at: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    mask_key: MaskKeyId,
    /// Its findings.
    pub found: Found,
}

/// The time and mask key before a request is governed, for its memo entry.
#[derive(Debug)]
pub struct Before {
    now: DateTime<Utc>,
    mask_key: MaskKeyId,
}

/// The response memo of one project state.
pub struct Repeated {
    requests: Cache<u64, Arc<Remembered>>,
    /// Has a random key, so that nobody can craft requests with colliding hashes.
    hasher: RandomState,
}

impl<'a> Asking<'a> {
    /// The key of a request. `None` if the headers ask for something else than the plain response, or if the request is
    /// too long.
    pub fn of(
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
        let asking = Self { token: token.hash(), method, path, query, body, accept, accept_encoding };
        (!headers.contains_key("prefer") && asking.len() <= LONGEST).then_some(asking)
    }

    fn len(&self) -> usize {
        let parts = [self.query.map(str::as_bytes), self.accept, self.accept_encoding];
        self.path.len() + self.body.len() + parts.into_iter().flatten().map(<[u8]>::len).sum::<usize>()
    }

    fn kept(&self) -> Asked {
        Asked {
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

impl Asked {
    fn as_asking(&self) -> Asking<'_> {
        Asking {
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

impl Before {
    /// Captures this moment.
    pub fn govern(project: &PlannedProject, now: DateTime<Utc>) -> Self {
        Self { now, mask_key: mask_key(project) }
    }
}

/// The id of the mask key. The outer `None` means that no mask needs a key, the inner one that the key is missing.
type MaskKeyId = Option<Option<String>>;

/// The mask key that responses depend on.
fn mask_key(project: &PlannedProject) -> MaskKeyId {
    project.needs_mask_key().then(|| project.mask_key_id())
}

impl Remembered {
    /// Whether the entry is valid for this credential now.
    pub fn counts_for(&self, credential: &Arc<Credential>, project: &PlannedProject, now: DateTime<Utc>) -> bool {
        Arc::ptr_eq(&self.found.credential, credential) && self.counts_at(project, now)
    }

    /// Whether the presented token is valid now and still means the same, without any lookup.
    pub fn stands(&self, served: &Served, presented: &Presented, now: DateTime<Utc>) -> bool {
        served.identity.is_unchanged_since(presented, self.found.generation)
            && self.found.credential.is_accepted(now)
            && self.counts_at(&served.project, now)
    }

    fn counts_at(&self, project: &PlannedProject, now: DateTime<Utc>) -> bool {
        // If the clock was set back, expired grants are valid again.
        self.made_at <= now
            && !project.has_withdrawn()
            && self.until.is_none_or(|until| now < until)
            && self.mask_key.as_ref().is_none_or(|key| project.has_mask_key(key.as_deref()))
    }
}

impl Default for Repeated {
    fn default() -> Self {
        let weigh = |_: &u64, remembered: &Arc<Remembered>| {
            u32::try_from(remembered.asked.as_asking().len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        let requests = Cache::builder().max_capacity(MOST_BYTES).weigher(weigh).time_to_idle(IDLE).build();
        Self { requests, hasher: RandomState::new() }
    }
}

impl Repeated {
    /// The number of remembered requests.
    pub fn count(&self) -> u64 {
        self.requests.run_pending_tasks();
        self.requests.entry_count()
    }

    fn place(&self, asking: &Asking<'_>) -> u64 {
        self.hasher.hash_one(asking)
    }

    /// The entry of the same request. The caller must check that it is still valid.
    pub fn find(&self, asking: &Asking<'_>) -> Option<Arc<Remembered>> {
        let found = self.requests.get(&self.place(asking))?;
        (found.asked.as_asking() == *asking).then_some(found)
    }

    /// Remembers a request that was answered from the result cache.
    pub fn remember(&self, asking: &Asking<'_>, project: &PlannedProject, before: Before, found: Found) {
        let Before { now, mask_key: key } = before;
        // The key may have been replaced while the request was governed.
        if key != mask_key(project) {
            return;
        }
        let until = found.credential.grants_expire_at(now);
        let remembered = Remembered { asked: asking.kept(), made_at: now, until, mask_key: key, found };
        self.requests.insert(self.place(asking), Arc::new(remembered));
    }
}

/// The findings of a request, see [`Remembered`].
pub struct Found {
    /// The credential that they are valid for.
    pub credential: Arc<Credential>,
    /// The generation of the access store before that credential was read.
    pub generation: u64,
    /// The call, with its limits and rates.
    pub call: Call,
    /// Whether a rate limit or daily quota applies.
    pub is_limited: bool,
    /// The fields for the audit record and the request timer.
    pub findings: Findings,
    /// The validator of the response, which is its key in the result cache.
    pub validator: String,
    /// The stored response headers.
    pub heads: Heads,
    /// The counters of the endpoint.
    pub series: Arc<Series>,
    /// The log fields, if they can be formatted in advance.
    pub said: Option<Said>,
}

impl fmt::Debug for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeated").field("requests", &self.requests.entry_count()).finish_non_exhaustive()
    }
}
