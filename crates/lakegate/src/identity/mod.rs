//! Authenticates callers: looks up API tokens in the access store, and verifies JWTs with the keys of their issuers.
//!
//! JWTs follow RFC 8725. The issuer is found by `iss` and the key by `kid`, each in a map built from the project and
//! the key set; the project sets the algorithm. Valid signatures are cached together with their key set. Times, grants
//! and disabled principals are checked at each request.

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
use lakegate_core::access::{Credential, Presented, PresentedJwt, Principal, TokenHash, VerifiedAssertion};
use lakegate_core::error::{Code, Error};
use lakegate_core::project::Issuer;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::task::JoinSet;

use self::issuer::IssuerKeys;
use crate::store::Access;

/// The maximum number of JWTs whose valid signature is cached. Invalid ones are not cached, so they evict nothing.
const MAX_VERIFIED: u64 = 50_000;

/// The time after which an unused JWT leaves the cache.
const MAX_IDLE: Duration = Duration::from_secs(600);

/// Authenticates callers. Dropping it stops the key refresh.
pub struct Identity {
    access: Access,
    /// Keyed by `iss`.
    issuers: HashMap<String, Arc<IssuerKeys>>,
    verified: Cache<TokenHash, VerifiedJwt>,
    _refreshing: JoinSet<()>,
}

/// A JWT with a valid signature.
#[derive(Clone)]
struct VerifiedJwt {
    issuer: Arc<IssuerKeys>,
    /// The generation of the key set that verified it.
    generation: u64,
    asserted: Arc<VerifiedAssertion>,
}

impl Identity {
    /// Loads the keys of all issuers once, and keeps them fresh from then on. If keys cannot be loaded, that is logged,
    /// and callers of that issuer are refused until they can.
    pub async fn start(issuers: &BTreeMap<String, Issuer>, folder: &Path, access: Access) -> Self {
        let issuers =
            issuers.values().map(|config| Arc::new(IssuerKeys::new(config.clone(), folder))).collect::<Vec<_>>();
        let loaded = join_all(issuers.iter().map(|issuer| issuer.load())).await;
        let mut refreshing = JoinSet::new();
        for (issuer, good) in issuers.iter().zip(loaded) {
            refreshing.spawn(Arc::clone(issuer).keep_fresh(good));
        }
        let verified = Cache::builder()
            .max_capacity(MAX_VERIFIED)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(MAX_IDLE)
            .build();
        let issuers = issuers.into_iter().map(|issuer| (issuer.config.issuer.clone(), issuer)).collect();
        Self { access, issuers, verified, _refreshing: refreshing }
    }

    /// Authenticates the presented token. Returns the principal and its grants.
    ///
    /// # Errors
    /// 401 if the token is invalid, with the reason only for the log; 503 if that cannot be decided now.
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

    /// All that is known about the presented token, even if it is expired or revoked. A JWT must have a valid
    /// signature.
    ///
    /// # Errors
    /// As for [`Identity::authenticate`], except for expiry.
    pub async fn credential(&self, presented: &Presented) -> Result<Arc<Credential>, Error> {
        match presented {
            Presented::Token(token) => self.access.credential(token).await,
            Presented::Jwt(jwt) => self.access.asserted_credential(&*self.verify(jwt)?).await,
        }
    }

    /// Loads the keys of all issuers now, instead of at the next refresh.
    pub async fn refresh(&self) {
        join_all(self.issuers.values().map(|issuer| issuer.load())).await;
    }

    fn verify(&self, presented: &PresentedJwt) -> Result<Arc<VerifiedAssertion>, Error> {
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
        let asserted = VerifiedAssertion::from_claims(&claims, &issuer.config).map_err(|error| refused(name, error))?;
        let asserted = Arc::new(asserted);
        let generation = keys.generation;
        self.verified.insert(hash, VerifiedJwt { issuer, generation, asserted: Arc::clone(&asserted) });
        Ok(asserted)
    }
}

/// The one error for every fault of a JWT, so that a caller who tries tokens learns nothing.
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
