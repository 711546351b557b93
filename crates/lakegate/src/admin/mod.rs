//! Administration: what can be asked and changed about principals, tokens and grants, by whom, and what the answers say.
//!
//! The command line and the HTTP API both go through [`Desk`], take what is asked from the same types and answer with the
//! same ones. How either reads its input or prints is its own business.

mod answers;
mod desk;
mod expiry;
mod requests;

pub use answers::{
    EndpointAnswer, GrantAnswer, IssuedAnswer, PrincipalAnswer, PrincipalDetailsAnswer, TokenAnswer, grant_state, time,
};
pub use desk::{ChangesFilter, Desk, GrantFilter, PrincipalDetails, PrincipalFilter, TokenFilter};
pub use expiry::{duration, moment};
pub use requests::{AddGrant, AddPrincipal, ChangePrincipal, IssueToken, Nothing, RotateToken};
