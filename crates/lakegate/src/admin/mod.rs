//! Administration of principals, tokens and grants: the operations, their requests and their answers.
//!
//! The command line and the HTTP API both use [`Desk`], with the same request and answer types. Each reads its own
//! input and formats its own output.

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
