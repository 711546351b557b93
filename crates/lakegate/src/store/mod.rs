//! The access store: principals, tokens and grants in a SQLite file, which is created on first use.
//!
//! Every change is one transaction that also records its author. Access is not decided here: `lakegate_core::access`
//! decides it from what the store returns. [`Store`] reads and [`StoreWriter`] writes; [`Access`] is the server's cached
//! view.

mod access;
mod background;
mod cells;
mod change_log;
mod error;
mod file_identity;
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
mod writer;

pub use self::access::Access;
pub use self::background::Background;
pub use self::change_log::{ChangeRecord, ChangeSink, ExportError, SinkError, export_changes};
pub use self::error::StoreError;
pub use self::grants::{GrantListing, GrantRequest, Granting};
pub use self::import::{IMPORTED_LABEL, ImportOutcome};
pub use self::location::StoreLocation;
pub use self::open::Store;
pub use self::principals::{NewPrincipal, PrincipalChange};
pub use self::random::new_token;
pub use self::tokens::{Expiry, Rotation, TokenListing, TokenRequest};
pub use self::writer::{ChangeAuthor, SecretAttributes, StoreWriter};
