//! Parses the modifiers of a request: `format`, `csv_guard`, `select`, `order`, the range of rows, and `as_of`. They
//! are not arguments of the endpoint.
//!
//! Column names are not checked here; that happens when the call is governed, where this caller's columns are known.

use chrono::{DateTime, Utc};

use crate::error::{Code, Error};
use crate::project::Endpoint;
use crate::value::{Scalar, ScalarType};

/// Maximum number of names in `select` or `order`.
const MOST_NAMES: usize = 1_000;

/// Maximum number of rows of a page, because a page is held in memory until it is complete.
pub const MOST_ROWS_OF_A_PAGE: u64 = 10_000;

/// Maximum length of a cursor, in bytes. The server issues shorter ones.
const LONGEST_CURSOR: usize = 512;

/// The modifiers of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    format: Option<String>,
    select: Option<Vec<String>>,
    order: Vec<Order>,
    limit: Option<u64>,
    offset: Option<u64>,
    page_size: Option<u64>,
    cursor: Option<String>,
    csv_guard: Option<bool>,
    as_of: Option<AsOf>,
}

/// The state of the tables to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsOf {
    /// As they were at a time.
    Time(DateTime<Utc>),
    /// As they were when a table got this snapshot (Iceberg) or version (Delta).
    Snapshot(i64),
}

/// One entry of `order`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// The column.
    pub column: String,
    /// Whether to sort in descending order.
    pub descending: bool,
}

/// The requested range of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRange {
    /// Number of rows to skip.
    pub offset: u64,
    /// Maximum number of rows; `None` is no limit.
    pub limit: Option<u64>,
    /// Whether the last row is only fetched to know if another page follows, and is not returned.
    pub fetches_one_extra: bool,
}

/// The requested page: the first page of a size, or the page of a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest<'a> {
    /// The cursor that the previous page returned; `None` for the first page.
    pub cursor: Option<&'a str>,
    /// Maximum number of rows; `None` uses the size of the previous page.
    pub size: Option<u64>,
}

impl Modifiers {
    /// Consumes a pair of the query string if it is a modifier; returns whether it is.
    ///
    /// # Errors
    /// A modifier that is repeated or cannot be parsed.
    pub(super) fn take(&mut self, name: &str, text: &str) -> Result<bool, Error> {
        let came_before = match name {
            "format" => self.format.replace(text.to_owned()).is_some(),
            "select" => self.select.replace(names(name, text)?).is_some(),
            "order" => {
                let orders = names(name, text)?.iter().map(|text| order(text)).collect::<Result<Vec<_>, _>>()?;
                !std::mem::replace(&mut self.order, orders).is_empty()
            }
            "limit" => self.limit.replace(count(name, text, 0, i64::MAX as u64)?).is_some(),
            "offset" => self.offset.replace(count(name, text, 0, i64::MAX as u64)?).is_some(),
            "page_size" => self.page_size.replace(count(name, text, 1, MOST_ROWS_OF_A_PAGE)?).is_some(),
            "cursor" if text.is_empty() || text.len() > LONGEST_CURSOR => return Err(unreadable_cursor()),
            "cursor" => self.cursor.replace(text.to_owned()).is_some(),
            "as_of" => self.as_of.replace(as_of(name, text)?).is_some(),
            "csv_guard" => self.csv_guard.replace(switch(name, text)?).is_some(),
            _ => return Ok(false),
        };
        if came_before {
            let error = Error::new(Code::ArgumentDuplicate, format!("`{name}` came more than once")).parameter(name);
            return Err(Error::arguments(vec![error.hint("give it once")]));
        }
        Ok(true)
    }

    /// Refuses `as_of` for an endpoint that does not support it.
    pub(super) fn check_for(&self, endpoint: &Endpoint) -> Result<(), Error> {
        if self.as_of.is_none() || endpoint.as_of {
            return Ok(());
        }
        let error = Error::new(Code::ArgumentUnknown, "this endpoint does not tell of the past").parameter("as_of");
        Err(Error::arguments(vec![error.hint("leave `as_of` out")]))
    }

    /// Refuses modifiers that contradict each other.
    pub(super) fn check(&self) -> Result<(), Error> {
        let paged = if self.cursor.is_some() { Some("cursor") } else { self.page_size.map(|_| "page_size") };
        let by_number = if self.limit.is_some() { Some("limit") } else { self.offset.map(|_| "offset") };
        let (Some(paged), Some(by_number)) = (paged, by_number) else { return Ok(()) };
        let error = Error::new(Code::ArgumentConstraint, format!("`{by_number}` does not go with `{paged}`"));
        let hint = "go through pages with `page_size` and `cursor`, or take a part with `limit` and `offset`";
        Err(Error::arguments(vec![error.parameter(by_number).hint(hint)]))
    }

    /// The requested format name.
    pub fn format(&self) -> Option<&str> {
        self.format.as_deref()
    }

    /// Whether CSV text is escaped so that a spreadsheet does not read it as a formula. Default: true.
    pub fn csv_guard(&self) -> bool {
        self.csv_guard.unwrap_or(true)
    }

    /// The requested columns, in this order; `None` is all that the caller may see.
    pub fn select(&self) -> Option<&[String]> {
        self.select.as_deref()
    }

    /// The requested order of rows; empty keeps the order of the endpoint's query.
    pub fn order(&self) -> &[Order] {
        &self.order
    }

    /// The requested state of the tables; `None` is the newest.
    pub fn as_of(&self) -> Option<AsOf> {
        self.as_of
    }

    /// The range of rows requested with `limit` and `offset`; `None` is all of them.
    pub fn row_range(&self) -> Option<RowRange> {
        let is_given = self.limit.is_some() || self.offset.is_some();
        is_given.then(|| RowRange {
            offset: self.offset.unwrap_or_default(),
            limit: self.limit,
            fetches_one_extra: false,
        })
    }

    /// The page requested with `page_size` or `cursor`.
    pub fn page(&self) -> Option<PageRequest<'_>> {
        let cursor = self.cursor.as_deref();
        (cursor.is_some() || self.page_size.is_some()).then_some(PageRequest { cursor, size: self.page_size })
    }
}

/// The error for a cursor that was not issued by this server or one with the same access store.
pub fn unreadable_cursor() -> Error {
    let error = Error::new(Code::ArgumentConstraint, "`cursor` is not one that was given out").parameter("cursor");
    Error::arguments(vec![error.hint("follow the link of the page before, or begin anew without `cursor`")])
}

/// The error for a cursor of another request.
pub fn foreign_cursor() -> Error {
    let error = Error::new(Code::ArgumentConstraint, "`cursor` is of another request").parameter("cursor");
    Error::arguments(vec![error.hint(
        "go from page to page with the same caller, arguments, `select` and `order`, or begin anew without `cursor`",
    )])
}

fn names(modifier: &str, text: &str) -> Result<Vec<String>, Error> {
    let names = text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let repeated = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
    if names.len() > MOST_NAMES || names.iter().any(String::is_empty) || repeated {
        let detail = format!("`{modifier}` is not a list of different columns");
        let hint = match modifier {
            "order" => "write names between commas, such as `order=amount.desc,name`",
            _ => "write names between commas, such as `select=name,amount`",
        };
        let error = Error::new(Code::ArgumentType, detail).parameter(modifier).hint(hint);
        return Err(Error::arguments(vec![error]));
    }
    Ok(names)
}

/// Parses digits alone as a snapshot, and everything else as a timestamp.
fn as_of(modifier: &str, text: &str) -> Result<AsOf, Error> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(snapshot) = text.parse() {
            return Ok(AsOf::Snapshot(snapshot));
        }
    } else if let Some(Scalar::Timestamp(time)) = ScalarType::Timestamp.parse(text) {
        return Ok(AsOf::Time(time));
    }
    let error = Error::new(Code::ArgumentType, format!("`{modifier}` is neither a time nor a snapshot"));
    let hint = "write a date, a time such as `2025-01-31T12:00:00Z`, or the number of a snapshot";
    Err(Error::arguments(vec![error.parameter(modifier).hint(hint)]))
}

fn switch(modifier: &str, text: &str) -> Result<bool, Error> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => {
            let detail = format!("`{modifier}` is neither `on` nor `off`");
            Err(Error::arguments(vec![Error::new(Code::ArgumentType, detail).parameter(modifier)]))
        }
    }
}

fn order(text: &str) -> Result<Order, Error> {
    let (column, descending) = match text.strip_suffix(".desc") {
        Some(column) => (column, true),
        None => (text.strip_suffix(".asc").unwrap_or(text), false),
    };
    if column.is_empty() {
        let error = Error::new(Code::ArgumentType, "`order` names no column").parameter("order");
        return Err(Error::arguments(vec![error]));
    }
    Ok(Order { column: column.to_owned(), descending })
}

/// Parses a whole number in ASCII digits: no sign, no space, no digits of another script.
fn count(modifier: &str, text: &str, least: u64, most: u64) -> Result<u64, Error> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let code = if number.is_some() { Code::ArgumentConstraint } else { Code::ArgumentType };
        let error = Error::new(code, format!("`{modifier}` is not a whole number from {least} to {most}"));
        Error::arguments(vec![error.parameter(modifier)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pairs: &[(&str, &str)]) -> Result<Modifiers, Error> {
        let mut modifiers = Modifiers::default();
        for (name, text) in pairs {
            assert!(modifiers.take(name, text)?, "`{name}` is no modifier");
        }
        modifiers.check().map(|()| modifiers)
    }

    fn codes(pairs: &[(&str, &str)]) -> Vec<Code> {
        taken(pairs).unwrap_err().errors.into_iter().map(|error| error.code).collect()
    }

    #[test]
    fn as_of_is_a_time_or_a_snapshot() {
        let of = |text| taken(&[("as_of", text)]).map(|modifiers| modifiers.as_of().unwrap());
        let time = |text: &str| AsOf::Time(text.parse().unwrap());
        assert_eq!(of("8744736658442914487").unwrap(), AsOf::Snapshot(8_744_736_658_442_914_487));
        assert_eq!(of("0").unwrap(), AsOf::Snapshot(0));
        assert_eq!(of("2025-01-31").unwrap(), time("2025-01-31T00:00:00Z"));
        assert_eq!(of("2025-01-31T12:00:00.25+01:00").unwrap(), time("2025-01-31T11:00:00.25Z"));
        for bad in ["", "-1", "+1", "99999999999999999999", "yesterday", "2025-13-01", "1 ", "٣"] {
            assert_eq!(codes(&[("as_of", bad)]), [Code::ArgumentType], "{bad}");
        }
        assert_eq!(codes(&[("as_of", "1"), ("as_of", "1")]), [Code::ArgumentDuplicate]);
    }

    #[test]
    fn a_part_of_the_rows_is_named_by_limit_and_offset() {
        let row_range = |pairs| taken(pairs).unwrap().row_range();
        assert_eq!(row_range(&[]), None);
        assert_eq!(
            row_range(&[("limit", "10")]),
            Some(RowRange { offset: 0, limit: Some(10), fetches_one_extra: false })
        );
        assert_eq!(row_range(&[("offset", "0")]), Some(RowRange { offset: 0, limit: None, fetches_one_extra: false }));
        assert_eq!(
            row_range(&[("limit", "0"), ("offset", "7")]),
            Some(RowRange { offset: 7, limit: Some(0), fetches_one_extra: false })
        );
    }

    #[test]
    fn a_page_is_named_by_its_size_or_a_cursor() {
        let modifiers = taken(&[("page_size", "100")]).unwrap();
        assert_eq!(modifiers.page(), Some(PageRequest { cursor: None, size: Some(100) }));
        let modifiers = taken(&[("cursor", "abc")]).unwrap();
        assert_eq!(modifiers.page(), Some(PageRequest { cursor: Some("abc"), size: None }));
        assert_eq!(modifiers.row_range(), None);
    }

    #[test]
    fn what_is_no_number_in_range_is_refused() {
        for text in ["", "-1", "+1", " 1", "1 ", "1.0", "1e3", "٣", "0x10", "NaN", "99999999999999999999", "1;2"] {
            assert_eq!(codes(&[("limit", text)]), [Code::ArgumentType], "{text:?}");
        }
        for text in ["0", "10001", "9223372036854775808"] {
            assert_eq!(codes(&[("page_size", text)]), [Code::ArgumentConstraint], "{text:?}");
        }
        assert_eq!(codes(&[("cursor", "")]), [Code::ArgumentConstraint]);
        assert_eq!(codes(&[("cursor", &"a".repeat(513))]), [Code::ArgumentConstraint]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert_eq!(codes(&[("limit", "1"), ("limit", "1")]), [Code::ArgumentDuplicate]);
        assert_eq!(codes(&[("limit", "1"), ("page_size", "1")]), [Code::ArgumentConstraint]);
        assert_eq!(codes(&[("offset", "1"), ("cursor", "abc")]), [Code::ArgumentConstraint]);
        assert!(taken(&[("page_size", "1"), ("cursor", "abc")]).is_ok());
    }
}
