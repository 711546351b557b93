//! The access store: principals, tokens and grants, kept in a SQLite file that is made on first use.
//!
//! Every change is one transaction, and leaves a row that says who made it. What is allowed is not decided here: `lakegate_core::access` decides on what this
//! hands out. [`Store`] reads, [`Changes`] writes; [`Access`] is the server's side of it, with a memory in front.

mod access;
mod background;
mod cells;
mod change_log;
mod changes;
mod error;
mod freshness;
mod grants;
mod import;
mod last_use;
mod location;
mod lookup;
mod open;
mod principals;
mod random;
mod server_key;
mod tokens;

pub use self::access::Access;
pub use self::background::Background;
pub use self::change_log::{ChangeRecord, ChangeSink, ExportError, SinkError, export_changes};
pub use self::changes::{Actor, Changes, SecretAttributes};
pub use self::error::StoreError;
pub use self::grants::{GrantListing, GrantRequest, Granting};
pub use self::import::{IMPORTED_LABEL, ImportOutcome};
pub use self::location::StoreLocation;
pub use self::open::Store;
pub use self::principals::{NewPrincipal, PrincipalChange};
pub use self::random::new_token;
pub use self::tokens::{Expiry, Rotation, TokenListing, TokenRequest};
