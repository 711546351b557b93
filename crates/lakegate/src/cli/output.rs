//! Prints the output of commands: tables and JSON on stdout, messages on stderr.

use std::fmt;
use std::io::{self, Write};

use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use lakegate_core::access::{Effect, Grant, Grantee, Terms, TokenRecord};
use lakegate_core::limits::Limit;
use lakegate_core::value::Value;
use serde::Serialize;
use serde_json::Value as Json;

use crate::admin::grant_state;
use crate::store::{GrantListing, SecretAttributes};

pub(super) use crate::admin::time;

/// Prints a line on stdout.
pub(super) fn print(line: impl fmt::Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Prints a line of JSON on stdout.
pub(super) fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    print(serde_json::to_string(answer)?)
}

/// Prints a line on stderr. A closed stderr is not an error.
pub(super) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Whether the error is a closed stdout.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A table in text form.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| escaped(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints a table, or the message `nothing` if it has no rows.
pub(super) fn print_table(header: &[&str], rows: Vec<Vec<String>>, nothing: &str) -> anyhow::Result<()> {
    if rows.is_empty() {
        say(nothing);
        return Ok(());
    }
    for line in table(header, rows).lines() {
        print(line.trim_end())?;
    }
    Ok(())
}

/// Escapes control characters, so that a terminal does not interpret them.
pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let control = character.is_control();
            control.then(|| character.escape_default()).into_iter().flatten().chain((!control).then_some(character))
        })
        .collect()
}

/// A time as text; empty if `None`.
pub(super) fn optional_time(moment: Option<DateTime<Utc>>) -> String {
    moment.map(time).unwrap_or_default()
}

/// An expiry, worded for a sentence.
pub(super) fn until(expires_at: Option<DateTime<Utc>>) -> String {
    expires_at.map_or_else(|| "without an expiry".to_owned(), |expiry| format!("until {}", time(expiry)))
}

/// A value as text, without quotes around strings.
pub(super) fn value(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An attribute as text, as in `client_id = 4562 (integer)`.
pub(super) fn attribute(name: &str, value: &Value, secret: &SecretAttributes) -> String {
    let text = self::value(&secret.listed(name, value));
    escaped(&format!("{name} = {text} ({})", value.value_type().name()))
}

/// The header of [`token_row`].
pub(super) const TOKEN_HEADER: [&str; 8] =
    ["ID", "PRINCIPAL", "LABEL", "FOR", "STATE", "CREATED", "EXPIRES", "LAST USED"];

/// A token as a table row.
pub(super) fn token_row(token: &TokenRecord, principal: &str, now: DateTime<Utc>) -> Vec<String> {
    vec![
        token.id.clone(),
        principal.to_owned(),
        token.label.clone().unwrap_or_default(),
        purpose(token),
        token.state(now).name().to_owned(),
        time(token.created_at),
        optional_time(token.expires_at),
        optional_time(token.last_used_at),
    ]
}

/// The purpose of a token, in a few words.
fn purpose(token: &TokenRecord) -> String {
    if token.admin {
        return "administration".to_owned();
    }
    let endpoints = match &token.scope.endpoints {
        None => "everything".to_owned(),
        Some(names) => names.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    if token.scope.masked { format!("{endpoints}; masked") } else { endpoints }
}

/// The header of [`grant_row`].
pub(super) const GRANT_HEADER: [&str; 7] = ["ID", "TO", "ENDPOINT", "TERMS", "STATE", "CREATED", "EXPIRES"];

/// A grant as a table row.
pub(super) fn grant_row(listing: &GrantListing, now: DateTime<Utc>) -> Vec<String> {
    let to = match &listing.grant.to {
        Grantee::Principal(name) => format!("principal {name}"),
        Grantee::Role(name) => format!("role {name}"),
    };
    vec![
        listing.grant.id.clone(),
        to,
        listing.grant.endpoint.as_str().to_owned(),
        terms(&listing.grant),
        grant_state(&listing.grant, listing.revoked_at, now).to_owned(),
        time(listing.grant.created_at),
        optional_time(listing.grant.expires_at),
    ]
}

/// The terms of a grant in one line; empty for a grant of the whole endpoint.
pub(super) fn terms(grant: &Grant) -> String {
    terms_text(grant.effect == Effect::Deny, &grant.terms)
}

/// Terms in one line.
pub(super) fn terms_text(denied: bool, terms: &Terms) -> String {
    let Terms { columns, unmask, parameters, distance_limits, limits } = terms;
    let mut parts = Vec::new();
    if denied {
        parts.push("denied".to_owned());
    }
    let listed = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(",");
    parts.extend(columns.iter().map(|columns| format!("columns={}", listed(&mut columns.iter().cloned()))));
    if !unmask.is_empty() {
        parts.push(format!("unmask={}", listed(&mut unmask.iter().map(ToString::to_string))));
    }
    for (name, term) in parameters {
        parts.extend(term.fixed.iter().map(|value| format!("{name}={value}")));
        parts.extend(term.attribute.iter().map(|attribute| format!("{name}=principal('{attribute}')")));
        if !term.one_of.is_empty() {
            parts.push(format!("{name} in {}", term.one_of.join("|")));
        }
        parts.extend(term.min.iter().map(|min| format!("{name}>={min}")));
        parts.extend(term.max.iter().map(|max| format!("{name}<={max}")));
    }
    parts.extend(distance_limits.iter().map(|term| format!("{}..{}<={}", term.from, term.to, term.at_most)));
    parts.extend(limits.iter().map(|(limit, bound)| match limit {
        Limit::MaxRows => format!("rows<={bound}"),
        other => format!("{}={bound}", other.name()),
    }));
    parts.join(" ")
}
