//! The audit log: one record for every request and every administrative change, in files of one JSON object a line.
//!
//! A [`Trail`] goes with a request and gathers what is to be recorded; it writes its record when the request ends, however
//! it ends. [`AuditLog`] takes records and hands them to one thread, which writes many of them at once. This is not the
//! server's own log, which is for operators who look for a fault and may lose lines.

mod at_once;
mod file;
mod log;
pub mod read;
mod record;
mod search;
mod sink;
mod trail;
mod values;
mod writer;

pub use at_once::Answer;
pub use file::{CURRENT, LogFile, append_changes, put_aside};
pub use log::{AuditLog, Load};
pub use record::{ChangeRecord, Outcome};
pub use search::{Found, Search};
pub use sink::ChangeFolder;
pub use trail::{Findings, Opening, Trail};
