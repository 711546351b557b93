//! From what a caller sent to typed, checked arguments: a [`Call`].
//!
//! Plans and rows are not this module's business: see `lakegate_query`.

mod admission;
mod arguments;
mod modifiers;
mod raw;

pub use arguments::{Arguments, Call, RuleCheck, call};
pub use modifiers::{MOST_ROWS_OF_A_PAGE, Modifiers, Order, PageRequest, Window, foreign_cursor, unreadable_cursor};
pub use raw::{RawArgument, RawArguments, refuse_token, token_in_url};
