//! Authenticates administrators: principals that present an admin token.
//!
//! An [`Admin`] is proof that such a token was looked up and accepted; only [`authenticate_admin`] makes one. An admin
//! is not a [`super::Principal`], so it cannot call endpoints, and a principal cannot administer.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::principal::{Credential, PrincipalRecord, check_active};
use crate::error::{Code, Error};

/// An authenticated administrator. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    record: Arc<PrincipalRecord>,
    token_id: Arc<str>,
}

/// Authenticates an admin token.
///
/// # Errors
/// The token is expired or revoked, its principal is disabled, or it is not an admin token.
pub fn authenticate_admin(credential: &Credential, now: DateTime<Utc>) -> Result<Admin, Error> {
    check_active(credential, now)?;
    if !credential.proof.is_admin() {
        return Err(Error::new(Code::AccessNotAdmin, "the token is not for administration")
            .hint("make one with `lakegate token issue PRINCIPAL --admin`"));
    }
    Ok(Admin { record: Arc::clone(&credential.principal), token_id: credential.proof.token_id().into() })
}

impl Admin {
    /// The name of the principal.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The id of the token that was presented; not secret.
    pub fn token_id(&self) -> &str {
        &self.token_id
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("name", &self.name()).field("token_id", &self.token_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::principal::authenticate;
    use super::super::token::TokenRecord;
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn credential(admin: bool) -> Credential {
        with_token(admin, |_| ())
    }

    fn with_token(admin: bool, change: impl FnOnce(&mut TokenRecord)) -> Credential {
        let mut token = TokenRecord::new("t1", at(0));
        token.admin = admin;
        change(&mut token);
        Credential {
            proof: token.into(),
            principal: Arc::new(PrincipalRecord::new("p1", "alice", at(0))),
            grants: Arc::new([]),
        }
    }

    #[test]
    fn a_token_is_for_one_of_both() {
        let admin = authenticate_admin(&credential(true), at(1)).unwrap();
        assert_eq!((admin.name(), admin.token_id()), ("alice", "t1"));
        assert_eq!(authenticate(&credential(true), at(1)).unwrap_err().code, Code::AccessAdminToken);
        assert!(authenticate(&credential(false), at(1)).is_ok());
        assert_eq!(authenticate_admin(&credential(false), at(1)).unwrap_err().code, Code::AccessNotAdmin);
    }

    #[test]
    fn an_admin_token_ends_as_any_other() {
        let code = |credential: &Credential| authenticate_admin(credential, at(10)).unwrap_err().code;
        let expired = with_token(true, |token| token.expires_at = Some(at(10)));
        assert_eq!(code(&expired), Code::AccessTokenExpired);
        let revoked = with_token(true, |token| token.revoked_at = Some(at(5)));
        assert_eq!(code(&revoked), Code::AccessTokenRevoked);
        let mut disabled = credential(true);
        Arc::make_mut(&mut disabled.principal).disabled_at = Some(at(5));
        assert_eq!(code(&disabled), Code::AccessPrincipalDisabled);
    }
}
