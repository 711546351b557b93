//! The options that set an expiry.

use anyhow::Context;
use chrono::{DateTime, Duration, Utc};
use clap::Args;

use crate::admin::{parse_duration, parse_time};

/// The expiry of a token or grant.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ExpiryArgs {
    /// Expire at this time: `2027-01-01` (midnight UTC) or RFC 3339; without it, never
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "expires_in")]
    expires: Option<DateTime<Utc>>,
    /// Expire after this duration: `45s`, `30m`, `24h`, `90d` or `2w`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    expires_in: Option<Duration>,
}

impl ExpiryArgs {
    /// The time of expiry; `None` if there is none.
    pub(super) fn at(&self, now: DateTime<Utc>) -> anyhow::Result<Option<DateTime<Utc>>> {
        match (self.expires, self.expires_in) {
            (Some(expiry), _) => Ok(Some(expiry)),
            (None, Some(duration)) => {
                Ok(Some(now.checked_add_signed(duration).context("that is too far in the future")?))
            }
            (None, None) => Ok(None),
        }
    }
}
