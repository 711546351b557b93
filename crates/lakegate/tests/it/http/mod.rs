//! Routes, parameters, arguments, rows, pages, refusals and the generated documentation.

pub(crate) mod answers;
mod arguments;
mod bounds;
mod clock;
mod docs_page;
mod openapi;
mod pages;
mod parameters;
pub(crate) mod refusals;
pub(crate) mod requests;
mod revocation;
mod texts;
