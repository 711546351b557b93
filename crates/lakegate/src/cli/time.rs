//! Times as an operator writes them: `2027-01-01`, RFC 3339, `90d`.

use anyhow::{Context, bail};
use chrono::{DateTime, Duration, Utc};
use clap::Args;
use lakegate_core::value::{Scalar, ScalarType};

/// When something ends.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ExpiryArgs {
    /// When it ends: `2027-01-01` (midnight UTC) or RFC 3339. Without this it does not
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "expires_in")]
    expires: Option<DateTime<Utc>>,
    /// After how long it ends: `45s`, `30m`, `24h`, `90d` or `2w`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,
}

impl ExpiryArgs {
    /// The end, if there is to be one.
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

pub(super) fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    match ScalarType::Timestamp.parse(text) {
        Some(Scalar::Timestamp(time)) => Ok(time),
        _ => Err(format!("not {}", ScalarType::Timestamp.expectation())),
    }
}

pub(super) fn duration(text: &str) -> anyhow::Result<Duration> {
    let what = "write a whole number and a unit: `45s`, `30m`, `24h`, `90d` or `2w`";
    if text == "0" {
        return Ok(Duration::zero());
    }
    let unit = text.chars().next_back().context(what)?;
    let number = &text[..text.len() - unit.len_utf8()];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        bail!(what);
    }
    let number: i64 = number.parse().context(what)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => bail!(what),
    };
    number.checked_mul(seconds).and_then(Duration::try_seconds).context("that is too long")
}
