//! Who calls and what they may: principals, tokens, grants and the decision.
//!
//! Pure: records come from the access store, random bytes and the time come in as arguments. The chain is
//! [`PresentedToken`] → [`Credential`] (looked up by the store) → [`Principal`] ([`authenticate`]) → [`Authorized`]
//! ([`authorize`]); the last two can be made nowhere else. Who administers is an [`Admin`] ([`authenticate_admin`]) instead.

mod admin;
mod allowance;
pub mod attribute;
mod authorize;
mod grant;
pub mod import;
pub mod name;
mod principal;
mod scope;
mod terms;
mod token;

#[cfg(test)]
mod guard_tests;

pub use admin::{Admin, authenticate_admin};
pub use allowance::Allowance;
pub use authorize::{Authorized, Reason, Refusal, authorize};
pub use grant::{Effect, EndpointPattern, Grant, Grantee};
pub use principal::{Credential, Principal, PrincipalRecord, authenticate};
pub use scope::Scope;
pub use terms::{Distance, ParameterTerm, SpanTerm, Terms, TermsError, Unmask};
pub use token::{NewToken, PresentedToken, TokenError, TokenHash, TokenRecord, TokenState, looks_like_token};
