//! Decides whether a principal may call an endpoint, and records which grant decided.
//!
//! Pure: principal, grants and time are arguments. A call without a grant is refused. The caller of this module checks
//! that the endpoint exists; which rows and columns it may see is decided elsewhere.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};

use super::grant::{Effect, EndpointPattern, Grant, Grantee};
use super::granted_access::GrantedAccess;
use super::principal::Principal;
use super::terms::Unmask;
use crate::error::{Code, Error};
use crate::limits::Limits;

/// A principal that may call an endpoint, and the grants that allow it. Only [`authorize`] makes one.
#[derive(Clone, Debug)]
pub struct Authorized {
    principal: Principal,
    endpoint: String,
    /// The grants that allow the call, closest first; never empty.
    grants: Vec<Grant>,
    denied_columns: BTreeSet<String>,
    denied_unmask: BTreeSet<Unmask>,
    reason: Arc<Reason>,
}

/// The refusal of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    reason: Reason,
}

/// The reason for a decision; its `Display` is a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This grant allows the call.
    Granted {
        /// The grant's id.
        grant: String,
        /// The grantee.
        to: Grantee,
        /// The endpoints that the grant covers.
        endpoint: EndpointPattern,
        /// The expiry; `None` never expires.
        expires_at: Option<DateTime<Utc>>,
    },
    /// No grant covers this principal and this endpoint.
    NotGranted {
        /// The endpoint.
        endpoint: String,
    },
    /// Every applicable grant has expired.
    Expired {
        /// The endpoint.
        endpoint: String,
        /// The id of the grant that expired last.
        grant: String,
        /// Its expiry.
        expired_at: DateTime<Utc>,
    },
    /// A denial covers the endpoint and overrides grants.
    Denied {
        /// The endpoint.
        endpoint: String,
        /// The id of the denial.
        grant: String,
        /// The grantee of the denial.
        to: Grantee,
    },
    /// The token's scope excludes the endpoint.
    OutOfScope {
        /// The endpoint.
        endpoint: String,
    },
}

/// Finds the grants that let `who` call the endpoint at `now`.
///
/// `grants` may include grants to others; they are ignored. A denial of the endpoint overrides every grant. The grants
/// that allow the call are ordered by closeness, and the closest is the reason: a grant to the principal precedes one
/// to a role, a grant for the endpoint precedes one for all endpoints, and then the grant that lasts longest precedes.
/// Their combined effect depends on the arguments, see [`crate::catalog::call`].
pub fn authorize(who: &Principal, endpoint: &str, grants: &[Grant], now: DateTime<Utc>) -> Result<Authorized, Refusal> {
    let refuse = |reason| Err(Refusal { reason });
    let name = || endpoint.to_owned();
    if !who.scope().covers(endpoint) {
        return refuse(Reason::OutOfScope { endpoint: name() });
    }
    let applicable = || grants.iter().filter(|grant| grant.to.covers(who) && grant.endpoint.covers(endpoint));
    let in_force = |effect| applicable().filter(move |grant| grant.effect == effect && !grant.has_expired(now));

    let mut denied_columns = BTreeSet::new();
    let mut denied_unmask = BTreeSet::new();
    for denial in in_force(Effect::Deny) {
        if denial.terms.is_empty() {
            let (grant, to) = (denial.id.clone(), denial.to.clone());
            return refuse(Reason::Denied { endpoint: name(), grant, to });
        }
        denied_columns.extend(denial.terms.columns.iter().flatten().cloned());
        denied_unmask.extend(denial.terms.unmask.iter().cloned());
    }
    let mut allowing = in_force(Effect::Allow).cloned().collect::<Vec<_>>();
    allowing.sort_by(|a, b| closeness(b).cmp(&closeness(a)));
    if let Some(closest) = allowing.first() {
        let reason = Reason::Granted {
            grant: closest.id.clone(),
            to: closest.to.clone(),
            endpoint: closest.endpoint.clone(),
            expires_at: closest.expires_at,
        };
        let principal = who.clone();
        let reason = Arc::new(reason);
        return Ok(Authorized { principal, endpoint: name(), grants: allowing, denied_columns, denied_unmask, reason });
    }
    let allowing = applicable().filter(|grant| grant.effect == Effect::Allow);
    let last = allowing.filter_map(|grant| Some((grant.expires_at?, &grant.id))).max();
    refuse(match last {
        Some((expired_at, grant)) => Reason::Expired { endpoint: name(), grant: grant.clone(), expired_at },
        None => Reason::NotGranted { endpoint: name() },
    })
}

/// Orders applicable grants. Ties in the order that [`authorize`] documents are broken by the earlier creation time and
/// then by the id, so that the same grants always lead to the same decision.
fn closeness(grant: &Grant) -> impl Ord + '_ {
    let to_principal = matches!(grant.to, Grantee::Principal(_));
    let named = matches!(grant.endpoint, EndpointPattern::Named(_));
    let lasts = grant.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
    (to_principal, named, lasts, Reverse(grant.created_at), &grant.id)
}

impl Authorized {
    /// The caller.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The name of the endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The grants that allow the call, closest first. A grant applies only to arguments that meet its terms.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Combines the given grants, minus what denials and the token's scope exclude.
    pub fn granted_access<'g>(&self, grants: impl IntoIterator<Item = &'g Grant>) -> GrantedAccess {
        let mut granted_access = GrantedAccess::none();
        granted_access.denied_columns.clone_from(&self.denied_columns);
        for grant in grants {
            granted_access.add(grant);
        }
        match self.principal.scope().masked {
            true => granted_access.unmask.clear(),
            false => granted_access.unmask.retain(|unmask| !self.denied_unmask.contains(unmask)),
        }
        granted_access.denied_unmask.clone_from(&self.denied_unmask);
        granted_access
    }

    /// The limits that apply before the arguments are known: the widest of any grant.
    pub fn limits(&self) -> Limits {
        let mut limits = self.grants.iter().map(|grant| &grant.terms.limits);
        let first = limits.next().cloned().unwrap_or_default();
        limits.fold(first, |all, limits| all.wider(limits))
    }

    /// The reason for the decision.
    pub fn reason(&self) -> &Arc<Reason> {
        &self.reason
    }
}

impl Refusal {
    /// The reason for the decision.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The error code for this refusal.
    pub fn code(&self) -> Code {
        match self.reason {
            Reason::Expired { .. } => Code::AccessGrantExpired,
            Reason::OutOfScope { .. } => Code::AccessOutOfScope,
            Reason::Granted { .. } | Reason::NotGranted { .. } | Reason::Denied { .. } => Code::AccessNotGranted,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let detail = match &refusal.reason {
            Reason::Expired { endpoint, expired_at, .. } => {
                format!("the grant for endpoint `{endpoint}` expired at {}", shown(*expired_at))
            }
            Reason::OutOfScope { endpoint } => format!("endpoint `{endpoint}` is outside the scope of this token"),
            // Report a denial like a missing grant: only the operator may know of it.
            Reason::Granted { .. } | Reason::NotGranted { .. } | Reason::Denied { .. } => {
                format!("endpoint `{}` is not granted to this caller", refusal.reason.endpoint())
            }
        };
        let hint = match refusal.reason {
            Reason::OutOfScope { .. } => "ask the operator for a token with a wider scope",
            _ => "ask the operator for a grant",
        };
        Error::new(refusal.code(), detail).hint(hint).source(refusal)
    }
}

impl Reason {
    fn endpoint(&self) -> &str {
        match self {
            Reason::Granted { endpoint, .. } => endpoint.as_str(),
            Reason::NotGranted { endpoint }
            | Reason::Expired { endpoint, .. }
            | Reason::Denied { endpoint, .. }
            | Reason::OutOfScope { endpoint } => endpoint,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Granted { grant, to, endpoint, expires_at: None } => {
                write!(f, "grant `{grant}` lets {to} call {endpoint}")
            }
            Reason::Granted { grant, to, endpoint, expires_at: Some(expiry) } => {
                write!(f, "grant `{grant}` lets {to} call {endpoint} until {}", shown(*expiry))
            }
            Reason::NotGranted { endpoint } => {
                write!(f, "no grant lets the principal or one of its roles call endpoint `{endpoint}`")
            }
            Reason::Denied { endpoint, grant, to } => {
                write!(f, "denial `{grant}` takes endpoint `{endpoint}` away from {to}")
            }
            Reason::OutOfScope { endpoint } => write!(f, "the scope of the token leaves endpoint `{endpoint}` out"),
            Reason::Expired { endpoint, grant, expired_at } => {
                write!(f, "the last grant for endpoint `{endpoint}`, `{grant}`, expired at {}", shown(*expired_at))
            }
        }
    }
}

fn shown(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::access::{Credential, PrincipalRecord, TokenRecord, authenticate};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn principal(name: &str, roles: &[&str]) -> Principal {
        let record = roles.iter().fold(PrincipalRecord::new("p", name, at(0)), |record, role| record.with_role(*role));
        let proof = TokenRecord::new("t", at(0)).into();
        authenticate(&Credential { proof, principal: Arc::new(record), grants: Arc::new([]) }, at(0)).unwrap()
    }

    fn grant(id: &str, to: Grantee, endpoint: &str, expires_at: Option<i64>) -> Grant {
        let mut grant = Grant::new(id, to, EndpointPattern::from_text(endpoint), at(0));
        grant.expires_at = expires_at.map(at);
        grant
    }

    fn to(name: &str) -> Grantee {
        Grantee::Principal(name.to_owned())
    }

    fn role(name: &str) -> Grantee {
        Grantee::Role(name.to_owned())
    }

    /// The id of the grant that decided, or the code of the refusal.
    fn decide(who: &Principal, endpoint: &str, grants: &[Grant], now: i64) -> Result<String, Code> {
        authorize(who, endpoint, grants, at(now)).map(|yes| yes.grants()[0].id.clone()).map_err(|no| no.code())
    }

    #[test]
    fn no_grant_means_no() {
        assert_eq!(decide(&principal("a", &[]), "orders", &[], 1), Err(Code::AccessNotGranted));
    }

    #[test]
    fn only_grants_of_the_caller_count() {
        let grants = [
            grant("other", to("b"), "*", None),
            grant("other_role", role("operator"), "*", None),
            // A role and a principal of the same name are different grantees.
            grant("role_named_like_a", role("a"), "*", None),
            grant("principal_named_like_role", to("client"), "*", None),
            grant("other_endpoint", to("a"), "orders2", None),
            grant("case", to("A"), "orders", None),
        ];
        assert_eq!(decide(&principal("a", &["client"]), "orders", &grants, 1), Err(Code::AccessNotGranted));
    }

    #[test]
    fn a_star_is_every_endpoint_and_an_endpoint_named_star_is_none() {
        let grants = [grant("all", role("client"), "*", None)];
        assert_eq!(decide(&principal("a", &["client"]), "orders", &grants, 1), Ok("all".to_owned()));
        let named = [Grant::new("n", to("a"), EndpointPattern::Named("*".to_owned()), at(0))];
        assert_eq!(decide(&principal("a", &[]), "orders", &named, 1), Err(Code::AccessNotGranted));
    }

    #[test]
    fn the_closest_grant_decides() {
        let who = principal("a", &["client"]);
        let mut grants = vec![grant("role_all", role("client"), "*", None)];
        assert_eq!(decide(&who, "orders", &grants, 1), Ok("role_all".to_owned()));
        grants.push(grant("role_named", role("client"), "orders", Some(50)));
        assert_eq!(decide(&who, "orders", &grants, 1), Ok("role_named".to_owned()));
        grants.push(grant("own_all", to("a"), "*", Some(10)));
        assert_eq!(decide(&who, "orders", &grants, 1), Ok("own_all".to_owned()));
        grants.push(grant("own_named", to("a"), "orders", Some(5)));
        assert_eq!(decide(&who, "orders", &grants, 1), Ok("own_named".to_owned()));
        // As grants expire, the next closest decides.
        assert_eq!(decide(&who, "orders", &grants, 5), Ok("own_all".to_owned()));
        assert_eq!(decide(&who, "orders", &grants, 10), Ok("role_named".to_owned()));
        assert_eq!(decide(&who, "orders", &grants, 50), Ok("role_all".to_owned()));
    }

    #[test]
    fn only_expired_grants_say_so() {
        let grants = [grant("old", to("a"), "orders", Some(5)), grant("older", to("a"), "*", Some(3))];
        let who = principal("a", &[]);
        assert_eq!(decide(&who, "orders", &grants, 4), Ok("old".to_owned()));
        let refusal = authorize(&who, "orders", &grants, at(5)).unwrap_err();
        assert_eq!(refusal.code(), Code::AccessGrantExpired);
        assert_eq!(refusal.to_string(), "the last grant for endpoint `orders`, `old`, expired at 1970-01-01T00:00:05Z");
        let error = Error::from(refusal);
        assert_eq!(error.detail, "the grant for endpoint `orders` expired at 1970-01-01T00:00:05Z");
        // Another principal's expired grant does not change the code.
        assert_eq!(decide(&principal("b", &[]), "orders", &grants, 9), Err(Code::AccessNotGranted));
    }

    #[test]
    fn the_decision_says_why() {
        let grants = [grant("g1", role("client"), "*", Some(60))];
        let authorized = authorize(&principal("a", &["client"]), "orders", &grants, at(1)).unwrap();
        assert_eq!((authorized.principal().name(), authorized.endpoint()), ("a", "orders"));
        assert_eq!(
            authorized.reason().to_string(),
            "grant `g1` lets role `client` call every endpoint until 1970-01-01T00:01:00Z"
        );
        let error = Error::from(authorize(&principal("a", &[]), "orders", &grants, at(1)).unwrap_err());
        assert_eq!(error.to_string(), "access_not_granted: endpoint `orders` is not granted to this caller");
    }

    fn any_grant() -> impl Strategy<Value = Grant> {
        let grantee = prop_oneof![
            prop_oneof![Just("a"), Just("b")].prop_map(to),
            prop_oneof![Just("a"), Just("r"), Just("s")].prop_map(role),
        ];
        let endpoint = prop_oneof![Just("*"), Just("x"), Just("y")];
        ("[a-z]{4}", grantee, endpoint, proptest::option::of(0i64..20))
            .prop_map(|(id, to, endpoint, expires)| grant(&id, to, endpoint, expires))
    }

    proptest! {
        /// Compares the decision with its definition, over all mixes of grants. The order of the grants does not
        /// matter.
        #[test]
        fn allowed_exactly_when_some_live_grant_covers(
            mut grants in proptest::collection::vec(any_grant(), 0..8),
            has_role: bool,
            now in 0i64..20,
        ) {
            let who = principal("a", if has_role { &["r"] } else { &[] });
            let covers = |grant: &&Grant| {
                let grantee = match &grant.to {
                    Grantee::Principal(name) => name == "a",
                    Grantee::Role(role) => has_role && role == "r",
                };
                grantee && matches!(grant.endpoint.as_str(), "*" | "x")
            };
            let live = grants.iter().filter(covers).any(|grant| grant.expires_at.is_none_or(|expiry| expiry > at(now)));
            let any = grants.iter().any(|grant| covers(&grant));
            let decision = decide(&who, "x", &grants, now);
            match &decision {
                Ok(_) => prop_assert!(live),
                Err(Code::AccessGrantExpired) => prop_assert!(!live && any),
                Err(code) => prop_assert!(*code == Code::AccessNotGranted && !any),
            }
            grants.reverse();
            prop_assert_eq!(decide(&who, "x", &grants, now), decision);
        }
    }
}
