//! Turns the arguments of a request into typed, checked arguments: a [`Call`].
//!
//! Plans and rows are handled in `lakegate_query`.

mod admission;
mod arguments;
mod json_schema;
mod modifiers;
mod offer;
#[cfg(test)]
mod offer_tests;
mod offer_words;
mod raw;

pub use arguments::{Arguments, Call, RuleCheck, call, limits};
pub use json_schema::{Place, body_example, body_schema, example, schema};
pub use modifiers::{
    AsOf, MOST_ROWS_OF_A_PAGE, Modifiers, Order, PageRequest, Window, foreign_cursor, unreadable_cursor,
};
pub use offer::{Bounds, GrantOffer, Narrowing, Offer, offer};
pub use offer_words::{parameter_words, terms_words};
pub use raw::{RawArgument, RawArguments, refuse_token, token_in_url};
