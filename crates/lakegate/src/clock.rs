//! The one place that reads the time. Everything else takes it as an argument.

use std::time::SystemTime;

use chrono::{DateTime, Utc};

/// The time now.
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}
