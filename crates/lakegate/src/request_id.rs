//! Request ids: UUIDs of version 7, which sort by time.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use uuid::fmt::Hyphenated;
use uuid::{NoContext, Timestamp, Uuid};

/// The id of a request, in its response and in the log. It never comes from the caller, who could forge another's.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestId {
    time: DateTime<Utc>,
    text: Text,
}

impl RequestId {
    /// A new id for a request that arrived at `time`. Ids sort by time.
    pub fn new(time: DateTime<Utc>) -> Self {
        let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
        let id = Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, time.timestamp_subsec_nanos()));
        let mut text = Text::default();
        id.hyphenated().encode_lower(&mut text.0);
        Self { time, text }
    }

    /// When the request arrived.
    pub fn time(&self) -> DateTime<Utc> {
        self.time
    }

    /// The id as text: hexadecimal digits and hyphens.
    pub fn text(&self) -> &str {
        // ASCII is always UTF-8.
        std::str::from_utf8(&self.text.0).unwrap_or_default()
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

/// The hyphenated form of an id.
#[derive(Clone, Copy, Debug)]
struct Text([u8; Hyphenated::LENGTH]);

impl Default for Text {
    fn default() -> Self {
        Self([b'0'; Hyphenated::LENGTH])
    }
}
