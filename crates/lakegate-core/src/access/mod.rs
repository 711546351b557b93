//! Authentication and authorisation: principals, tokens, grants, and the decision whether a call is allowed.
//!
//! Pure: the access store supplies records, and random bytes and the time are arguments. The chain is [`Presented`] →
//! [`Credential`] (looked up by the store) → [`Principal`] ([`authenticate`]) → [`Authorized`] ([`authorize`]); only
//! these functions make the last two. An administrator is an [`Admin`] ([`authenticate_admin`]) instead.

mod admin;
mod assertion;
pub mod attribute;
mod authorize;
mod claims;
mod grant;
mod granted_access;
pub mod import;
mod jwt;
pub mod name;
mod principal;
mod scope;
mod strict_json;
mod terms;
mod token;

#[cfg(test)]
mod guard_tests;

pub use admin::{Admin, authenticate_admin};
pub use assertion::{Assertion, VerifiedAssertion};
pub use authorize::{Authorized, Reason, Refusal, authorize};
pub use claims::ClaimsError;
pub use grant::{Effect, EndpointPattern, Grant, Grantee};
pub use granted_access::GrantedAccess;
pub use jwt::{Claims, Jwt, JwtError, MAX_JWT_BYTES, Presented, PresentedJwt};
pub use principal::{Credential, Principal, PrincipalRecord, Proof, authenticate};
pub use scope::Scope;
pub use strict_json::StrictJson;
pub use terms::{Distance, DistanceTerm, ParameterTerm, Terms, TermsError, Unmask};
pub use token::{NewToken, PresentedToken, TokenError, TokenHash, TokenRecord, TokenState, looks_like_token};
