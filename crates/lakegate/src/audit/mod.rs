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

pub use file::{CURRENT_FILE, LogFile, append_changes, rotated_files};
pub use log::{AuditLoad, AuditLog};
pub use record::{AuditChange, Outcome, SerializedRequest};
pub use request::{AuditStart, RequestAudit};
pub use search::{Search, SearchResult};
pub use sink::AuditFolderSink;
