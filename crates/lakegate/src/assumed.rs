//! Principals that somebody with the project and its access store at hand looks at the world as, for `explain` and `test`.
//!
//! No token is presented and none is made: what is assumed lives only in the process that assumes it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use lakegate_core::access::{Credential, Grant, Principal, PrincipalRecord, TokenRecord, authenticate};
use lakegate_core::error::Error;

/// The principal of a record, as if one of its own tokens had been presented now.
///
/// # Errors
/// When the principal is disabled.
pub fn principal(
    record: PrincipalRecord,
    grants: Vec<Grant>,
    now: DateTime<Utc>,
) -> Result<(Principal, Arc<[Grant]>), Error> {
    let grants: Arc<[Grant]> = grants.into();
    let token = TokenRecord::new("assumed", now);
    let credential = Credential { proof: token.into(), principal: Arc::new(record), grants: Arc::clone(&grants) };
    Ok((authenticate(&credential, now)?, grants))
}
