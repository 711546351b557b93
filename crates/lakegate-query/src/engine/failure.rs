//! Maps errors of DataFusion to errors for callers: a code and a sentence, but never DataFusion's text.

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::object_store::Error as StoreError;
use lakegate_core::error::{Code, Error};

use super::pool::{is_of_all, is_over};
use crate::functions::{ValueFault, fault_of, number_fault};
use crate::lake::{is_text_fault, of_the_store, unread};

/// The error for a caller. DataFusion's error becomes its source, which only goes to the log.
pub(crate) fn failure(error: DataFusionError) -> Error {
    let told = match error.find_root() {
        DataFusionError::ResourcesExhausted(text) if is_of_all(text) => {
            Error::new(Code::EngineOverloaded, "other queries have the memory that this one needs")
                .hint("try again in a moment")
        }
        DataFusionError::ResourcesExhausted(_) => out_of_memory(),
        DataFusionError::ArrowError(error, _) if is_out_of_disk(error) => out_of_memory(),
        // The texts of one batch exceed two gigabytes.
        DataFusionError::ArrowError(error, _) if matches!(error.as_ref(), ArrowError::OffsetOverflowError(_)) => {
            out_of_memory()
        }
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
            unreadable()
        }
        // Reported by our own functions and operators.
        _ if fault_of(&error).is_some() => refused_value(fault_of(&error)),
        // For example, a file was replaced after it was listed, or is broken in a part that was not read before.
        _ if of_the_store(&error).is_some() || unread(&error).is_some() || is_text_fault(&error) => unreadable(),
        _ if number_fault(&error) => number_out_of_range("a number of the query is out of the range of its type"),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::DivideByZero => {
                Error::new(Code::EngineValueRefused, "the query divides by zero").hint("ask for rows without a zero")
            }
            // Reported by casts and kernels about a value.
            ArrowError::CastError(_) | ArrowError::ParseError(_) | ArrowError::ComputeError(_) => refused_value(None),
            // Bytes that are not valid text, or a key of another type than the keys of a map.
            ArrowError::InvalidArgumentError(text)
                if text.contains("UTF-8") || text.starts_with("Invalid comparison operation") =>
            {
                refused_value(None)
            }
            _ => failed(),
        },
        DataFusionError::Execution(text) if is_over(text) => return timed_out().source(error),
        // Values that DataFusion rejects only at run time, such as a percentile above 1 or an invalid pattern.
        DataFusionError::Plan(_) | DataFusionError::NotImplemented(_) | DataFusionError::Execution(_) => {
            refused_value(None)
        }
        _ => failed(),
    };
    told.source(error)
}

fn failed() -> Error {
    Error::new(Code::EngineFailed, "the query failed; the operator finds the reason under the request id")
}

fn number_out_of_range(detail: &str) -> Error {
    Error::new(Code::NumberOutOfRange, detail).hint("ask for less, or for smaller numbers")
}

/// The error for a value that cannot be computed. It does not name functions, because they belong to the query's text.
fn refused_value(fault: Option<&ValueFault>) -> Error {
    match fault {
        Some(ValueFault::OutOfRange(detail)) => number_out_of_range(detail),
        Some(ValueFault::TooLarge { .. }) => {
            Error::new(Code::EngineMemoryExceeded, "a value of the query would be larger than is allowed")
                .hint("ask for shorter texts or lists, or for fewer rows")
        }
        Some(ValueFault::HoursOfDate | ValueFault::Failed { .. }) | None => {
            Error::new(Code::EngineValueRefused, "the query cannot be computed for one of the values that it meets")
                .hint("check the arguments; the operator finds the reason under the request id")
        }
    }
}

/// Whether a query failed because a file was replaced or deleted after it was listed, so a stale-file retry can help.
pub fn met_another_file(error: &Error) -> bool {
    let source = error.source.as_ref().and_then(|source| source.downcast_ref::<DataFusionError>());
    let said = source.and_then(of_the_store);
    matches!(said, Some(StoreError::Precondition { .. } | StoreError::NotFound { .. }))
}

fn unreadable() -> Error {
    Error::new(Code::LakeUnavailable, "files of the lake cannot be read now").hint("try again later")
}

fn out_of_memory() -> Error {
    Error::new(Code::EngineMemoryExceeded, "the query needs more memory than it may have")
        .hint("ask for less, for example for a shorter range")
}

/// Whether queries have used all the disk space that they may use. DataFusion reports this as an I/O error.
fn is_out_of_disk(error: &ArrowError) -> bool {
    matches!(error, ArrowError::IoError(text, _) if text.starts_with("The used disk space during the spilling process"))
}

/// The error for a query that exceeded its time limit.
pub(crate) fn timed_out() -> Error {
    Error::new(Code::EngineTimedOut, "the query did not end within its time limit")
        .hint("ask for less, for example for a shorter range")
}

/// The error for a query whose task panicked.
pub(super) fn panicked() -> Error {
    failed().source("the query's task ended before its rows did; what it panicked with was said before")
}

/// The error for a response with too many bytes.
pub(crate) fn too_many_bytes(most: u64) -> Error {
    let most = most >> 20;
    Error::new(Code::ResultTooLarge, format!("the answer is larger than {most} MB, which is the most that is allowed"))
        .hint("ask for less, for example for a shorter range")
}

/// The error for a response with too many rows.
pub(crate) fn too_many_rows(most: u64) -> Error {
    let row = if most == 1 { "row" } else { "rows" };
    Error::new(
        Code::ResultTooLarge,
        format!("the answer has more than {most} {row}, which is the most that is allowed"),
    )
    .hint("ask for less, for example for a shorter range")
}
