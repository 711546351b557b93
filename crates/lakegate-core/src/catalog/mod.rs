//! Turns the arguments of a request into typed, checked arguments: a [`Call`].
//!
//! Plans and rows are handled in `lakegate_query`.

mod admission;
mod arguments;
mod caller_schema;
mod caller_schema_markdown;
#[cfg(test)]
mod caller_schema_tests;
mod json_schema;
mod modifiers;
mod raw;

pub use arguments::{Arguments, Call, RuleCheck, call, limits};
pub use caller_schema::{Bounds, CallerSchema, GrantSchema, Narrowing, caller_schema};
pub use caller_schema_markdown::{parameter_description, terms_description};
pub use json_schema::{ArgumentLocation, body_example, body_schema, example, schema};
pub use modifiers::{
    AsOf, MOST_ROWS_OF_A_PAGE, Modifiers, Order, PageRequest, RowRange, foreign_cursor, unreadable_cursor,
};
pub use raw::{RawArgument, RawArguments, refuse_token, token_in_url};
