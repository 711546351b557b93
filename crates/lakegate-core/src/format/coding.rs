//! Chooses the compression of a response: the content coding that `Accept-Encoding` prefers.

use std::cmp::Reverse;

use super::Format;
use super::quality_values::{self, QualityItem};
use crate::error::{Code, Error};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Zstandard.
    Zstd,
    /// Brotli.
    Brotli,
    /// gzip.
    Gzip,
}

/// The compression of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compression {
    /// The coding.
    pub coding: Coding,
    /// Whether tiny responses are compressed too, because the caller refuses uncompressed ones.
    pub always: bool,
}

impl Coding {
    /// All codings. Of equally preferred ones the first is used: the one that costs the least for what it saves.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The name in `Accept-Encoding` and `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn is_named(self, name: &str) -> bool {
        name == self.name() || (self == Self::Gzip && name == "x-gzip")
    }
}

/// Chooses by the fields of `Accept-Encoding`. A format with its own compression is not compressed again, unless the
/// caller refuses an uncoded response.
///
/// # Errors
/// [`Code::RequestFormatUnknown`] if the caller refuses every coding and also an uncoded response.
pub fn choose<'a>(format: Format, fields: impl IntoIterator<Item = &'a str>) -> Result<Option<Compression>, Error> {
    let items = quality_values::items(fields);
    let any = quality(&items, |name| name == "*");
    // `identity` is acceptable unless it is excluded, but it is only preferred if it is named.
    let mentioned = quality(&items, |name| name == "identity").or(any.filter(|quality| *quality == 0));
    let always = mentioned == Some(0);
    if format.is_compressed() && !always {
        return Ok(None);
    }
    let rated = Coding::ALL.map(|coding| (coding, quality(&items, |name| coding.is_named(name)).or(any).unwrap_or(0)));
    let best = rated.into_iter().filter(|(_, quality)| *quality > 0).min_by_key(|(_, quality)| Reverse(*quality));
    match best {
        Some((_, quality)) if mentioned.is_some_and(|identity| identity > quality) => Ok(None),
        Some((coding, _)) => Ok(Some(Compression { coding, always })),
        None if always => {
            let names = Coding::ALL.map(|coding| format!("`{}`", coding.name())).join(", ");
            let detail = format!("the answer can be compressed with {names}, or with nothing");
            Err(Error::new(Code::RequestFormatUnknown, detail).hint("name one of them in `Accept-Encoding`"))
        }
        None => Ok(None),
    }
}

/// The quality value of the first item with such a name.
fn quality(items: &[QualityItem], is_meant: impl Fn(&str) -> bool) -> Option<u16> {
    items.iter().find(|item| is_meant(&item.value)).map(|item| item.quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(fields: &str) -> Option<String> {
        let compression = choose(Format::Json, [fields]).ok()?;
        Some(compression.map_or("-".to_owned(), |compression| {
            format!("{}{}", compression.coding.name(), if compression.always { "!" } else { "" })
        }))
    }

    #[test]
    fn the_coding_that_is_liked_best_is_taken() {
        for (fields, coding) in [
            ("", "-"),
            ("identity", "-"),
            ("gzip", "gzip"),
            ("GZIP", "gzip"),
            ("x-gzip", "gzip"),
            ("br", "br"),
            ("deflate", "-"),
            ("deflate, gzip, br, zstd", "zstd"),
            ("gzip, deflate, br", "br"),
            ("gzip;q=1.0, br;q=0.5", "gzip"),
            ("gzip;q=0.5", "gzip"),
            ("gzip;q=0.5, identity", "-"),
            ("gzip;q=0.5, identity;q=0.5", "gzip"),
            ("gzip;q=0", "-"),
            ("*", "zstd"),
            ("zstd;q=0, *", "br"),
            ("*;q=0, identity;q=0.1", "-"),
            ("*;q=0, gzip", "gzip!"),
            ("identity;q=0, gzip;q=0.2", "gzip!"),
            ("identity;q=0, *", "zstd!"),
            ("*;q=0.1, gzip;q=0.05", "zstd"),
        ] {
            assert_eq!(chosen(fields).as_deref(), Some(coding), "{fields}");
        }
    }

    #[test]
    fn nothing_is_made_where_nothing_is_accepted() {
        for fields in ["identity;q=0", "*;q=0", "deflate, identity;q=0", "gzip;q=0, identity;q=0"] {
            assert_eq!(chosen(fields), None, "{fields}");
        }
    }

    #[test]
    fn what_is_compressed_in_itself_is_not_compressed_again() {
        for format in [Format::Parquet, Format::Xlsx] {
            assert_eq!(choose(format, ["gzip, br, zstd"]).unwrap(), None);
            let refused = choose(format, ["gzip, identity;q=0"]).unwrap();
            assert_eq!(refused, Some(Compression { coding: Coding::Gzip, always: true }));
        }
        assert!(choose(Format::Arrow, ["gzip"]).unwrap().is_some());
    }
}
