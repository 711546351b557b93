//! Requests that were answered before, word for word: what was found out of them, so that the same request of the same
//! caller is answered again without its arguments being read and its plan being governed once more.
//!
//! Nothing here answers a request by itself. The caller is authenticated anew each time, rates are counted, and the answer
//! is taken from where answers are kept, under the policy fingerprint. What is remembered belongs to one [`Served`] and is
//! forgotten with it, so it is about one project and one state of its tables; it counts for the very credential that it was
//! found out for, which is another one after any change of the access store; as long as no grant of it ends; and for one key
//! of masks. What depends on the time of the request, on a page or on the past is not remembered.
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

/// The most memory that is taken, in bytes, about.
const MOST_BYTES: u64 = 32 << 20;
/// What a request takes beside its own bytes, about.
const OVERHEAD: usize = 4_096;
/// A longer request is not remembered.
const LONGEST: usize = 4_096;
/// How long a request that nobody makes again stays in memory.
const IDLE: Duration = Duration::from_secs(600);

/// All that an answer depends on of what a caller sends.
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

/// The same, kept.
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

/// What was found out of a request.
pub struct Remembered {
    asked: Asked,
    made_at: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    mask_key: MaskKeyId,
    /// What it was.
    pub found: Found,
}

/// The moment before a request is governed, for a [`Remembered`] that is made of it.
#[derive(Debug)]
pub struct Before {
    now: DateTime<Utc>,
    mask_key: MaskKeyId,
}

/// The requests of one state of a project.
pub struct Repeated {
    requests: Cache<u64, Arc<Remembered>>,
    /// With a key of its own: nobody can make requests that meet in one place.
    hasher: RandomState,
}

impl<'a> Asking<'a> {
    /// What came. `None` where the headers ask for something else beside the answer, or it is too long to be kept.
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
    /// This moment.
    pub fn govern(project: &PlannedProject, now: DateTime<Utc>) -> Self {
        Self { now, mask_key: mask_key(project) }
    }
}

/// The id of the key of masks, which may not be there; nothing where no mask of the project needs it.
type MaskKeyId = Option<Option<String>>;

/// The key of masks that answers depend on.
fn mask_key(project: &PlannedProject) -> MaskKeyId {
    project.needs_mask_key().then(|| project.mask_key_id())
}

impl Remembered {
    /// Whether it counts for somebody who asks the same now.
    pub fn counts_for(&self, credential: &Arc<Credential>, project: &PlannedProject, now: DateTime<Utc>) -> bool {
        Arc::ptr_eq(&self.found.credential, credential) && self.counts_at(project, now)
    }

    /// Whether what was presented is taken now, and stands for the same as then. It looks nothing up.
    pub fn stands(&self, served: &Served, presented: &Presented, now: DateTime<Utc>) -> bool {
        served.identity.is_unchanged_since(presented, self.found.generation)
            && self.found.credential.is_taken(now)
            && self.counts_at(&served.project, now)
    }

    fn counts_at(&self, project: &PlannedProject, now: DateTime<Utc>) -> bool {
        // A clock that was put back brings grants back that had ended.
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
    /// How many requests are remembered.
    pub fn count(&self) -> u64 {
        self.requests.run_pending_tasks();
        self.requests.entry_count()
    }

    fn place(&self, asking: &Asking<'_>) -> u64 {
        self.hasher.hash_one(asking)
    }

    /// What was found out of the same request. Whether it counts now is another question.
    pub fn find(&self, asking: &Asking<'_>) -> Option<Arc<Remembered>> {
        let found = self.requests.get(&self.place(asking))?;
        (found.asked.as_asking() == *asking).then_some(found)
    }

    /// Remembers what was found out of a request that was answered from what is kept.
    pub fn remember(&self, asking: &Asking<'_>, project: &PlannedProject, before: Before, found: Found) {
        let Before { now, mask_key: key } = before;
        // The key may have been replaced while the request was governed.
        if key != mask_key(project) {
            return;
        }
        let until = found.credential.decides_until(now);
        let remembered = Remembered { asked: asking.kept(), made_at: now, until, mask_key: key, found };
        self.requests.insert(self.place(asking), Arc::new(remembered));
    }
}

/// What is remembered of a request, see [`Remembered`].
pub struct Found {
    /// Whom it was found out for.
    pub credential: Arc<Credential>,
    /// How often the access store had changed before that credential was read.
    pub generation: u64,
    /// The call, with its limits and rates.
    pub call: Call,
    /// Whether a rate or a number a day applies to it.
    pub is_limited: bool,
    /// What the record and the watch are told.
    pub findings: Findings,
    /// The validator of its answer, under which the answer is kept.
    pub validator: String,
    /// The heads of the answers to it.
    pub heads: Heads,
    /// The counters of its endpoint.
    pub series: Arc<Series>,
    /// What the log says of it, where that can be put together before.
    pub said: Option<Said>,
}

impl fmt::Debug for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeated").field("requests", &self.requests.entry_count()).finish_non_exhaustive()
    }
}
