//! The audit log: one record for every request and every administrative change, as NDJSON files.
//!
//! A [`RequestAudit`] accompanies a request and collects what its record will hold; it writes the record when the request
//! ends, however it ends. [`AuditLog`] queues records for one thread, which writes them in batches. This is not the
//! server log, which is for operators who look for faults and may lose lines.

mod file;
mod log;
pub mod read;
mod record;
mod request;
mod search;
mod sink;
mod values;
mod writer;

pub use file::{CURRENT, LogFile, append_changes, put_aside};
pub use log::{AuditLog, Load};
pub use record::{ChangeRecord, Outcome, SerializedRequest};
pub use request::{AuditStart, RequestAudit};
pub use search::{Found, Search};
pub use sink::ChangeFolder;
