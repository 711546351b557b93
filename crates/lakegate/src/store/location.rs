//! The location of the access store: `sqlite:PATH`, as text and as a path.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::StoreError;

/// The location of the access store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    path: PathBuf,
}

impl StoreLocation {
    /// Parses `sqlite:PATH`. A relative path starts at `base`.
    pub fn parse(text: &str, base: &Path) -> Result<Self, StoreError> {
        let unusable = |problem: &str| StoreError::Location { text: shown(text), problem: problem.to_owned() };
        let Some(path) = text.strip_prefix("sqlite:") else {
            return Err(unusable(if text.starts_with("postgres") {
                "names PostgreSQL, which cannot be a store yet; use `sqlite:PATH`"
            } else {
                "is not of the form `sqlite:PATH`, for example `sqlite:access.db`"
            }));
        };
        // `sqlite:///var/access.db` is the same as `sqlite:/var/access.db`.
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.ends_with('/') {
            return Err(unusable("names no file; use for example `sqlite:access.db`"));
        }
        if path.starts_with(':') || path.contains('?') {
            return Err(unusable("is not a plain path; the store is a file, for example `sqlite:access.db`"));
        }
        Ok(Self { path: base.join(path) })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.path.display())
    }
}

/// Hides the part of a URL between `//` and `@`, which may hold a password.
fn shown(text: &str) -> String {
    match (text.find("//"), text.rfind('@')) {
        (Some(start), Some(end)) if start < end => format!("{}…{}", &text[..start + 2], &text[end..]),
        _ => text.to_owned(),
    }
}
