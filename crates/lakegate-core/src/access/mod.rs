//! Who calls and what they may: principals, tokens, grants and the decision.
//!
//! Pure: records come from the access store, random bytes and the time come in as arguments. The chain is
//! [`PresentedToken`] → [`Credential`] (looked up by the store) → [`Principal`] ([`authenticate`]) → [`Authorized`]
//! ([`authorize`]); the last two can be made nowhere else.

pub mod attribute;
mod authorize;
mod grant;
pub mod import;
pub mod name;
mod principal;
mod token;

pub use authorize::{Authorized, Reason, Refusal, authorize};
pub use grant::{EndpointPattern, Grant, Grantee};
pub use principal::{Credential, Principal, PrincipalRecord, authenticate};
pub use token::{NewToken, PresentedToken, TokenError, TokenHash, TokenRecord, TokenState, looks_like_token};
