//! Who calls: an API token is looked up in the access store, a JWT is verified with the keys of its issuer.
//!
//! A JWT is held against the rules of RFC 8725. The issuer is found by `iss` and the key by `kid`, each a lookup in a map of
//! what the project and the key set name; the algorithm is the project's. Good signatures are remembered together with the
//! key set that they were verified with; times, grants and whether the principal is disabled are asked at each request.

mod issuer;
mod keys;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use lakegate_core::access::{Asserted, Credential, Presented, PresentedJwt, Principal, Proof, TokenHash};
use lakegate_core::error::{Code, Error};
use lakegate_core::project::Issuer;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::task::JoinSet;

use self::issuer::IssuerKeys;
use crate::store::Access;

/// The most JWTs whose good signature is remembered. Bad ones are not remembered at all, so they push out none.
const MOST_VERIFIED: u64 = 50_000;

/// How long a JWT that nobody presents stays in memory.
const IDLE: Duration = Duration::from_secs(600);

/// What tells who calls. Dropping it ends the refreshing of keys.
pub struct Identity {
    access: Access,
    /// By `iss`.
    issuers: HashMap<String, Arc<IssuerKeys>>,
    verified: Cache<TokenHash, Verified>,
    _refreshing: JoinSet<()>,
}

/// A JWT whose signature was good.
#[derive(Clone)]
struct Verified {
    issuer: Arc<IssuerKeys>,
    /// The key set that it was verified with.
    generation: u64,
    asserted: Arc<Asserted>,
}

impl Identity {
    /// Loads the keys of all issuers, each once, and keeps them fresh from then on. An issuer whose keys can not be had is
    /// logged, and refuses everybody until they can.
    pub async fn start(issuers: &BTreeMap<String, Issuer>, folder: &Path, access: Access) -> Self {
        let issuers =
            issuers.values().map(|config| Arc::new(IssuerKeys::new(config.clone(), folder))).collect::<Vec<_>>();
        let loaded = join_all(issuers.iter().map(|issuer| issuer.load())).await;
        let mut refreshing = JoinSet::new();
        for (issuer, good) in issuers.iter().zip(loaded) {
            refreshing.spawn(Arc::clone(issuer).keep_fresh(good));
        }
        let verified = Cache::builder()
            .max_capacity(MOST_VERIFIED)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(IDLE)
            .build();
        let issuers = issuers.into_iter().map(|issuer| (issuer.config.issuer.clone(), issuer)).collect();
        Self { access, issuers, verified, _refreshing: refreshing }
    }

    /// The principal behind what was presented, authenticated now, and its grants.
    ///
    /// # Errors
    /// 401 when it stands for nobody, with the reason for the log alone; 503 when that can not be decided now.
    pub async fn authenticate(
        &self,
        presented: &Presented,
        now: DateTime<Utc>,
    ) -> Result<(Principal, Arc<Credential>), Error> {
        match presented {
            Presented::Token(token) => self.access.authenticate(token, now).await,
            Presented::Jwt(jwt) => {
                let asserted = self.verify(jwt)?;
                self.access.authenticate_assertion(&asserted, now).await
            }
        }
    }

    /// All that is known about what was presented, also when it is expired or revoked; a JWT's signature is good.
    ///
    /// # Errors
    /// As for [`Identity::authenticate`], without the time.
    pub async fn credential(&self, presented: &Presented) -> Result<Arc<Credential>, Error> {
        match presented {
            Presented::Token(token) => self.access.credential(token).await,
            Presented::Jwt(jwt) => self.access.asserted_credential(&*self.verify(jwt)?).await,
        }
    }

    /// How often what is known of callers has changed; see [`Access::generation`].
    pub fn generation(&self) -> u64 {
        self.access.generation()
    }

    /// Whether what was presented stands for the same as at that generation: nothing has changed in the store, and a JWT's
    /// signature is good. Whether its time is over is another question.
    pub fn is_unchanged_since(&self, presented: &Presented, generation: u64) -> bool {
        let is_signed = match presented {
            Presented::Token(_) => true,
            Presented::Jwt(jwt) => self.verify(jwt).is_ok(),
        };
        is_signed && self.access.is_unchanged_since(generation)
    }

    /// Notes the use of a token of the store.
    pub fn note_use(&self, credential: &Credential, now: DateTime<Utc>) {
        if let Proof::Token(token) = &credential.proof {
            self.access.note_use(&token.id, now);
        }
    }

    /// Loads the keys of all issuers now. Changes what is loaded anyway a little later, and nothing else.
    pub async fn refresh(&self) {
        join_all(self.issuers.values().map(|issuer| issuer.load())).await;
    }

    fn verify(&self, presented: &PresentedJwt) -> Result<Arc<Asserted>, Error> {
        let hash = presented.hash();
        if let Some(known) = self.verified.get(&hash)
            && known.issuer.keys()?.generation == known.generation
        {
            return Ok(known.asserted);
        }
        let jwt = presented.read().map_err(|error| refused(None, error))?;
        let issuer = jwt.unverified_issuer().and_then(|issuer| self.issuers.get(issuer));
        let Some(issuer) = issuer.map(Arc::clone) else {
            return Err(refused(None, "the JWT's `iss` is no issuer of the project"));
        };
        let name = Some(issuer.config.name.as_str());
        let kid = jwt.key_id(issuer.config.algorithm).map_err(|error| refused(name, error))?;
        let keys = issuer.keys()?;
        let Some(key) = keys.find(kid) else {
            return Err(refused(name, "the JWT's `kid` names no key of the issuer that fits"));
        };
        let claims = jwt
            .verified(|message, signature| keys.is_signed(key, message, signature))
            .map_err(|error| refused(name, error))?;
        let asserted = Asserted::of(&claims, &issuer.config).map_err(|error| refused(name, error))?;
        let asserted = Arc::new(asserted);
        let generation = keys.generation;
        self.verified.insert(hash, Verified { issuer, generation, asserted: Arc::clone(&asserted) });
        Ok(asserted)
    }
}

/// One answer for everything that is wrong with a JWT: whoever tries tokens learns nothing from it.
fn refused(issuer: Option<&str>, reason: impl fmt::Display) -> Error {
    let reason = match issuer {
        Some(issuer) => format!("issuer `{issuer}`: {reason}"),
        None => reason.to_string(),
    };
    Error::new(Code::AccessTokenUnknown, "the token is not known")
        .hint("check that the whole token was sent")
        .source(reason)
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("issuers", &self.issuers.len()).finish_non_exhaustive()
    }
}
