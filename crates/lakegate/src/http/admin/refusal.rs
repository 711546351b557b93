//! Turns errors of the access store into problem responses of the admin API.

use lakegate_core::access::looks_like_token;
use lakegate_core::error::{Code, Error};

use crate::store::StoreError;

/// The problem for an error of the store. Only the admin API reports such details; the endpoint API does not.
pub(super) fn refusal(error: StoreError) -> Error {
    let refused = match error {
        StoreError::Missing { what, name } => {
            let hint = format!("`GET /admin/{what}s` lists what is there");
            Error::new(Code::AdminUnknown, format!("there is no {what} `{name}`")).hint(hint)
        }
        StoreError::PrincipalExists { name } => {
            let hint = format!("change it with `PATCH /admin/principals/{name}`");
            Error::new(Code::AdminExists, format!("principal `{name}` exists already")).hint(hint)
        }
        StoreError::GrantExists { id, .. } => {
            let detail = format!("grant `{id}` for the same, with another expiry, is in force already");
            Error::new(Code::AdminExists, detail).hint(format!("end it first with `POST /admin/grants/{id}/revoke`"))
        }
        StoreError::TokenRevoked { id, .. } => Error::new(Code::AdminTokenEnded, format!("token `{id}` is revoked"))
            .hint("make a new one with `POST /admin/tokens`"),
        StoreError::TokenRotated { id, successor } => {
            let detail = format!("token `{id}` was rotated already, to `{successor}`");
            Error::new(Code::AdminTokenEnded, detail).hint("rotate that one")
        }
        StoreError::Name(_) | StoreError::Terms(_) | StoreError::ExpiryInThePast(_) | StoreError::Refused(_) => {
            Error::new(Code::AdminRefused, error.to_string())
        }
        other => return other.into(),
    };
    // A problem repeats the name that the caller sent, and the log keeps it; a whole token in its place must not leak
    // so.
    if looks_like_token(&refused.detail) {
        return Error::new(refused.code, "the request holds a token where a name or an id belongs");
    }
    refused
}
