//! Chooses the format of a response: the one in `?format=`, else the one that `Accept` prefers, else JSON.

use std::cmp::Reverse;

use super::Format;
use super::quality_values::{self, QualityItem};
use crate::error::{Code, Error};

/// Chooses by the name in `?format=`, if present, else by the fields of `Accept`.
///
/// Among formats of equal quality value, the more specific range wins, and then the one listed first, so `text/csv,
/// */*` selects CSV.
///
/// # Errors
/// [`Code::RequestFormatUnknown`] if there is no such format, or none is acceptable.
pub fn choose<'a>(name: Option<&str>, accept: impl IntoIterator<Item = &'a str>) -> Result<Format, Error> {
    if let Some(name) = name {
        return Format::named(name).ok_or_else(unknown);
    }
    let fields = accept.into_iter().collect::<Vec<_>>();
    // Without the header, or with empty fields only, the caller has no preference.
    if fields.iter().all(|field| field.trim().is_empty()) {
        return Ok(Format::Json);
    }
    let ranges = quality_values::items(fields);
    let acceptable = Format::ALL.into_iter().filter_map(|format| Some((preference(format, &ranges)?, format)));
    // Of equals, `min_by_key` returns the first in the list of formats.
    acceptable.min_by_key(|(preference, _)| Reverse(*preference)).map(|(_, format)| format).ok_or_else(unknown)
}

/// The preference for a format: quality value, specificity, position. `None` if it is not acceptable.
type Preference = (u16, Specificity, Reverse<usize>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Anything,
    Kind,
    Named,
    NamedWithParameters,
}

/// The most specific matching range decides, whatever the others are.
fn preference(format: Format, ranges: &[QualityItem]) -> Option<Preference> {
    let fitting = ranges.iter().enumerate().filter_map(|(at, range)| Some((specificity(format, range)?, at, range)));
    let (specificity, at, range) = fitting.max_by_key(|(specificity, at, _)| (*specificity, Reverse(*at)))?;
    (range.quality > 0).then_some((range.quality, specificity, Reverse(at)))
}

/// The specificity with which a range names a format; `None` if it does not.
fn specificity(format: Format, range: &QualityItem) -> Option<Specificity> {
    if matches!(range.value.as_str(), "*/*" | "*") {
        return Some(Specificity::Anything);
    }
    if let Some(kind) = range.value.strip_suffix("/*") {
        let of_kind = format.media_type().split_once('/').is_some_and(|(format, _)| format == kind);
        return of_kind.then_some(Specificity::Kind);
    }
    if !format.media_types().contains(&range.value.as_str()) {
        return None;
    }
    // Other parameters do not restrict what the server sends.
    let contradicts = |(name, value): &(String, String)| match name.as_str() {
        "header" => value != "present",
        "charset" => value != "utf-8" && value != "utf8",
        _ => false,
    };
    match range.parameters.as_slice() {
        [] => Some(Specificity::Named),
        parameters if parameters.iter().any(contradicts) => None,
        _ => Some(Specificity::NamedWithParameters),
    }
}

fn unknown() -> Error {
    let named = Format::ALL.map(|format| format!("`{}` (`{}`)", format.name(), format.media_type()));
    Error::new(Code::RequestFormatUnknown, format!("the answer can be made as {}", named.join(", ")))
        .hint("name one of them with `format=`, or its media type in `Accept`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &[&str]) -> Option<Format> {
        choose(None, accept.iter().copied()).ok()
    }

    #[test]
    fn what_is_liked_best_is_taken() {
        for (accept, format) in [
            ("", Format::Json),
            (" ", Format::Json),
            ("*/*", Format::Json),
            ("*", Format::Json),
            ("application/*", Format::Json),
            ("text/*", Format::Csv),
            ("text/csv", Format::Csv),
            ("Text/CSV; header=present", Format::Csv),
            ("text/csv;charset=UTF-8", Format::Csv),
            ("application/json; charset=utf-8", Format::Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", Format::Json),
            ("application/json, text/plain, */*", Format::Json),
            ("text/csv, */*", Format::Csv),
            ("*/*, text/csv", Format::Csv),
            ("text/csv;q=0.9, */*", Format::Json),
            ("application/json;q=0.5, text/csv;q=0.6", Format::Csv),
            ("text/csv, application/json", Format::Csv),
            ("application/json, text/csv", Format::Json),
            ("application/json;q=0, */*", Format::Ndjson),
            ("application/*;q=0, */*", Format::Csv),
            ("application/ndjson", Format::Ndjson),
            ("application/x-ndjson", Format::Ndjson),
            ("application/vnd.apache.arrow.stream", Format::Arrow),
            ("application/vnd.apache.parquet", Format::Parquet),
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", Format::Xlsx),
            ("text/html;q=x, text/csv;q=0.1", Format::Csv),
        ] {
            assert_eq!(chosen(&[accept]), Some(format), "{accept}");
        }
        assert_eq!(chosen(&[]), Some(Format::Json));
        assert_eq!(chosen(&["text/html", "text/csv;q=0.1"]), Some(Format::Csv));
    }

    #[test]
    fn what_can_not_be_made_is_refused_with_what_can() {
        for accept in [
            "text/html",
            "application/json;q=0",
            "application/json;q=0.000, image/*",
            "*/*;q=0",
            "json",
            "text/csv;header=absent",
            "application/json;charset=utf-16",
            "application/json;q=2",
            "application/vnd.apache.arrow.file",
        ] {
            assert_eq!(chosen(&[accept]), None, "{accept}");
        }
        let error = choose(None, ["text/html"]).unwrap_err();
        assert_eq!(error.code, Code::RequestFormatUnknown);
        for format in Format::ALL {
            assert!(error.detail.contains(format.name()) && error.detail.contains(format.media_type()));
        }
    }

    #[test]
    fn a_name_wins_and_is_exact() {
        assert_eq!(choose(Some("csv"), ["application/json"]).unwrap(), Format::Csv);
        for name in ["", "CSV", "csv ", "text/csv", "../json", "json\0"] {
            assert!(choose(Some(name), ["application/json"]).is_err(), "{name}");
        }
    }
}
