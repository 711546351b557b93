//! Administration of principals, tokens and grants: the operations, their requests and their answers.
//!
//! The command line and the HTTP API both use [`AdminService`], with the same request and answer types. Each reads its own
//! input and formats its own output.

mod answers;
mod parse;
mod requests;
mod service;

pub use answers::{
    EndpointAnswer, GrantAnswer, IssuedAnswer, PrincipalAnswer, PrincipalDetailsAnswer, TokenAnswer, grant_state, time,
};
pub use parse::{parse_duration, parse_time};
pub use requests::{AddGrant, AddPrincipal, ChangePrincipal, IssueToken, Nothing, RotateToken};
pub use service::{AdminService, ChangesFilter, GrantFilter, PrincipalDetails, PrincipalFilter, TokenFilter};
