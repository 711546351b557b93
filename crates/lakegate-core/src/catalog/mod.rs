//! From what a caller sent to typed, checked arguments: a [`Call`].
//!
//! Plans and rows are not this module's business: see `lakegate_query`.

mod admission;
mod arguments;
mod modifiers;
mod raw;

pub use arguments::{Arguments, Call, RuleCheck, call};
pub use modifiers::{Modifiers, Order};
pub use raw::{RawArgument, RawArguments};
