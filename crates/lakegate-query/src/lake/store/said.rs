//! Classifies object store errors as temporary or permanent, and removes secrets from their text.

use std::error::Error as StdError;
use std::io;

use datafusion::common::DataFusionError;
use datafusion::object_store::Error as StoreError;

/// The text of an error's cause without URL query strings, because these contain signatures and tokens.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// Whether a store is unavailable and may recover soon: it did not answer, or answered that it cannot serve the request
/// now.
pub(crate) fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Generic { .. } | StoreError::JoinError { .. })
}

/// Whether a retry may succeed: the store is unavailable, or a file was replaced or removed. An unreadable file in a
/// local folder does not count as unavailable.
pub(crate) fn is_passing(error: &DataFusionError, is_remote: bool) -> bool {
    match of_the_store(error) {
        Some(StoreError::Precondition { .. } | StoreError::NotFound { .. }) => true,
        Some(error) => is_remote && is_away(error),
        None => false,
    }
}

/// The store's error in the error chain of `error`, if there is one.
pub(crate) fn of_the_store(error: &DataFusionError) -> Option<&StoreError> {
    let mut next = Some(error as &(dyn StdError + 'static));
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return Some(error);
        }
        // The `source` of an `io::Error` is the source of the error it wraps and skips that error itself.
        let within = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = within.map(|within| within as &(dyn StdError + 'static)).or_else(|| cause.source());
    }
    None
}

/// Replaces the error's cause with a text that is safe to log.
pub(crate) fn without_secrets(error: StoreError) -> StoreError {
    let said = |source: Box<dyn StdError + Send + Sync>| -> Box<dyn StdError + Send + Sync> {
        Box::new(Said(without_queries(&source.to_string())))
    };
    match error {
        StoreError::Generic { store, source } => StoreError::Generic { store, source: said(source) },
        StoreError::NotFound { path, source } => StoreError::NotFound { path, source: said(source) },
        StoreError::Precondition { path, source } => StoreError::Precondition { path, source: said(source) },
        StoreError::PermissionDenied { path, source } => StoreError::PermissionDenied { path, source: said(source) },
        StoreError::Unauthenticated { path, source } => StoreError::Unauthenticated { path, source: said(source) },
        other => other,
    }
}

/// The text on one line, without the query strings of URLs. Stops after the word that exceeds 400 bytes, to fit a log
/// line.
fn without_queries(text: &str) -> String {
    let mut said = String::new();
    for word in text.split_whitespace() {
        let plain = match word.split_once("://") {
            Some((_, rest)) if rest.contains('?') => word.split_once('?').map_or(word, |(plain, _)| plain),
            _ => word,
        };
        if !said.is_empty() {
            said.push(' ');
        }
        said.push_str(plain);
        if said.len() > 400 {
            break;
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_found_behind_an_unpacker() {
        let away = StoreError::Generic { store: "s3", source: "gone".into() };
        let error = DataFusionError::IoError(io::Error::other(DataFusionError::from(away)));
        assert!(of_the_store(&error).is_some() && is_passing(&error, true) && !is_passing(&error, false));
        assert!(of_the_store(&DataFusionError::IoError(io::Error::other("corrupt"))).is_none());
    }

    #[test]
    fn signatures_in_addresses_are_not_said() {
        let said = "Error performing GET https://a.blob.example/c/x?sv=1&sig=SECRET in 2ms - Server returned 503\n<x/>";
        let error = StoreError::Generic { store: "az", source: said.into() };
        let text = without_secrets(error).to_string();
        assert!(text.contains("https://a.blob.example/c/x in 2ms") && !text.contains("SECRET"), "{text}");
    }
}
