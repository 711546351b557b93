//! Raw arguments: text from a query string, and JSON from a body, not interpreted yet.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use super::modifiers::Modifiers;
use crate::access::looks_like_token;
use crate::error::{Code, Error};
use crate::project::name::TOKEN_PARAMETERS;

/// One raw argument.
#[derive(Clone, Debug, PartialEq)]
pub enum RawArgument {
    /// From a query string.
    Text(String),
    /// From a JSON body.
    Json(Json),
}

/// Names and arguments in the order of the request; a name may be repeated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawArguments {
    pub(super) entries: Vec<(String, RawArgument)>,
    pub(super) modifiers: Modifiers,
}

impl RawArguments {
    /// Adds the pairs of a decoded query string, including the modifiers. An unsupported modifier counts as an argument
    /// that no parameter takes, and is reported with all others.
    ///
    /// # Errors
    /// [`Code::RequestTokenInUrl`] if a name or a value is a token; a modifier that cannot be parsed.
    pub fn add_query(&mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Result<(), Error> {
        for (name, text) in pairs {
            refuse_token(&name, &text)?;
            if !self.modifiers.take(&name, &text)? {
                self.entries.push((name, RawArgument::Text(text)));
            }
        }
        Ok(())
    }

    /// The modifiers of the request.
    pub fn modifiers(&self) -> &Modifiers {
        &self.modifiers
    }

    /// The names of all arguments, valid or not.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Adds the members of a JSON object. An empty body counts as an empty object.
    pub fn add_json(&mut self, body: &[u8]) -> Result<(), Error> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let Members(members) = serde_json::from_slice(body).map_err(|error| {
            // Unlike the body itself, a position in it is safe to repeat.
            let detail = format!("the body is not a JSON object (line {}, column {})", error.line(), error.column());
            Error::new(Code::RequestBodyMalformed, detail)
                .hint("send an object with one member a parameter, such as `{\"start_datetime\": \"2022-10-01\"}`")
                .source(error)
        })?;
        self.entries.extend(members.into_iter().map(|(name, value)| (name, RawArgument::Json(value))));
        Ok(())
    }
}

/// Refuses a pair of a query string that contains a token or is named like one.
///
/// # Errors
/// [`Code::RequestTokenInUrl`].
pub fn refuse_token(name: &str, text: &str) -> Result<(), Error> {
    let is_named = TOKEN_PARAMETERS.iter().any(|token| name.eq_ignore_ascii_case(token));
    if is_named || looks_like_token(name) || looks_like_token(text) { Err(token_in_url()) } else { Ok(()) }
}

/// The error for a token in a URL.
pub fn token_in_url() -> Error {
    Error::new(Code::RequestTokenInUrl, "a token must not be in the URL, where logs keep it")
        .hint("send the token in the `Authorization: Bearer` header, and replace a token that was in a URL")
}

/// A JSON object that keeps duplicate members, so that they are refused instead of silently overwritten.
struct Members(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod number_tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_in_a_body_is_the_number_that_was_written(digits in 1_000_000_000_000_000_u64.., exponent in -30_i32..30) {
            let text = format!("{digits}e{exponent}");
            let mut raw = RawArguments::default();
            raw.add_json(format!("{{\"x\": {text}}}").as_bytes()).unwrap();
            let RawArgument::Json(Json::Number(number)) = &raw.entries[0].1 else { panic!("{raw:?}") };
            prop_assert_eq!(number.as_f64(), text.parse().ok());
        }
    }
}
