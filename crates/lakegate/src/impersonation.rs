//! Impersonation for `explain` and `test`: evaluates a principal's access for a user who has the project and its access
//! store at hand.
//!
//! No token is presented or created. The impersonated principal exists only in this process.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lakegate_core::access::{Credential, Grant, Principal, PrincipalRecord, TokenRecord, authenticate};
use lakegate_core::error::Error;

/// The principal of a record, as if it had just presented one of its tokens.
///
/// # Errors
/// If the principal is disabled.
pub fn impersonate(
    record: PrincipalRecord,
    grants: Vec<Grant>,
    now: DateTime<Utc>,
) -> Result<(Principal, Arc<[Grant]>), Error> {
    let grants: Arc<[Grant]> = grants.into();
    let token = TokenRecord::new("assumed", now);
    let credential = Credential { proof: token.into(), principal: Arc::new(record), grants: Arc::clone(&grants) };
    Ok((authenticate(&credential, now)?, grants))
}
