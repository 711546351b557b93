//! Prepares a caller's text for audit records: truncates names, keeps allowed values, and removes secrets.

use std::collections::BTreeSet;

use lakegate_core::access::{PrincipalRecord, looks_like_token};
use lakegate_core::catalog::Call;
use lakegate_core::value::Value;
use serde_json::{Map, Value as Json};

use super::record::RequestMembers;

/// Replaces a secret value.
const SECRET_MASK: &str = "***";
/// Replaces text that contains a token or a secret.
const HIDDEN: &str = "(hidden)";
/// The maximum length of a name, in characters.
pub(super) const MAX_NAME_CHARS: usize = 64;
/// The maximum number of names.
pub(super) const MAX_NAMES: usize = 50;
/// The maximum length of a path, in characters.
pub(super) const MAX_PATH_CHARS: usize = 256;
/// The maximum length of a value, in characters.
const MAX_VALUE_CHARS: usize = 1_000;
/// The maximum number of items in a list.
const MAX_LIST_ITEMS: usize = 100;
/// The minimum length of a secret to search for, because shorter ones match other texts by chance.
const MIN_SECRET_LEN: usize = 4;

/// Truncates text to `most` characters, and marks that with `…`.
pub(super) fn truncate(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The secret attribute values, which no recorded text may contain.
pub(super) fn secrets_of<'a>(
    principal: &'a PrincipalRecord,
    secret_attributes: &'a BTreeSet<String>,
) -> impl Iterator<Item = String> + 'a {
    let secret = principal.attributes.iter().filter(|(name, _)| secret_attributes.contains(*name));
    secret.flat_map(|(_, value)| value.scalars().iter().map(ToString::to_string))
}

/// The typed arguments of a call. Masks arguments of secret parameters, those that a grant takes from a secret
/// attribute, and those equal to the value of one.
pub(super) fn arguments(call: &Call, secret_attributes: &BTreeSet<String>, secrets: &[String]) -> Map<String, Json> {
    let mut arguments = Map::new();
    for (param, value) in call.endpoint().params.iter().zip(call.arguments().values()) {
        let Some(value) = value else { continue };
        let from_secret = call.authorized().grants().iter().any(|grant| {
            let term = grant.terms.parameters.get(&param.name);
            term.and_then(|term| term.attribute.as_ref()).is_some_and(|name| secret_attributes.contains(name))
        });
        let is_secret = || value.scalars().iter().any(|scalar| secrets.contains(&scalar.to_string()));
        let recorded = if param.secret || from_secret || is_secret() { SECRET_MASK.into() } else { recorded(value) };
        arguments.insert(param.name.clone(), recorded);
    }
    arguments
}

fn recorded(value: &Value) -> Json {
    let short = |json: Json| match json {
        Json::String(text) => truncate(&text, MAX_VALUE_CHARS).into(),
        other => other,
    };
    match value {
        Value::Scalar(scalar) => short(scalar.to_json()),
        Value::List(_, scalars) => {
            let mut items =
                scalars.iter().take(MAX_LIST_ITEMS).map(|scalar| short(scalar.to_json())).collect::<Vec<_>>();
            if let Some(more) = scalars.len().checked_sub(MAX_LIST_ITEMS).filter(|more| *more > 0) {
                items.push(format!("… {more} more").into());
            }
            items.into()
        }
    }
}

/// Removes every text in which a caller could have put a token or a secret.
pub(super) fn redact(record: &mut RequestMembers, secrets: &[String]) {
    let hide = |text: &mut String| {
        let holds = |secret: &String| secret.len() >= MIN_SECRET_LEN && text.contains(secret.as_str());
        if looks_like_token(text) || secrets.iter().any(|secret| secret == text || holds(secret)) {
            HIDDEN.clone_into(text);
        }
    };
    hide(&mut record.path);
    record.endpoint.iter_mut().for_each(hide);
    record.argument_names.iter_mut().for_each(hide);
    for value in record.arguments.iter_mut().flat_map(|arguments| arguments.values_mut()) {
        match value {
            Json::String(text) => hide(text),
            Json::Array(items) => items.iter_mut().for_each(|item| {
                if let Json::String(text) = item {
                    hide(text);
                }
            }),
            _ => {}
        }
    }
}
