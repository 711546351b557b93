//! Errors for values that cannot be computed: a number out of range, a text too long, an argument not accepted.
//!
//! A fault is an external error inside DataFusion's, so the error chain shows it whatever operators wrap it.

use std::error::Error as StdError;

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;

/// The reason why a value does not exist. Callers see the text, which may name a column but nothing else of the query.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ValueFault {
    /// A number, a date or a time outside the range of its type.
    #[error("{0}")]
    OutOfRange(String),
    /// A value, or a batch of values, that would take too much memory; in bytes.
    #[error("function `{function}` would make {bytes} bytes, and at most {most} are allowed")]
    TooLarge { function: String, bytes: usize, most: usize },
    /// An interval with hours was added to a date.
    #[error(
        "a date cannot be moved by hours, minutes or seconds; cast it first: `CAST(day AS TIMESTAMP) + INTERVAL '9 hours'`"
    )]
    HoursOfDate,
    /// A function failed.
    #[error("function `{function}` failed: {reason}")]
    Failed { function: String, reason: String },
}

impl From<ValueFault> for DataFusionError {
    fn from(fault: ValueFault) -> Self {
        Self::External(Box::new(fault))
    }
}

/// The fault in an error chain; `None` if there is none.
pub(crate) fn fault_of(error: &DataFusionError) -> Option<&ValueFault> {
    let mut next = Some(error as &(dyn StdError + 'static));
    while let Some(cause) = next {
        if let Some(fault) = cause.downcast_ref::<ValueFault>() {
            return Some(fault);
        }
        next = cause.source();
    }
    None
}

/// Whether an error of DataFusion reports a number out of range, by its kind or its text.
pub(crate) fn number_fault(error: &DataFusionError) -> bool {
    let is_of_range = |text: &str| {
        let text = text.to_lowercase();
        [
            "overflow",
            "out of range",
            "too large to store",
            "too small to store",
            "can't cast value",
            "out of bounds",
            "exceeds the representable",
        ]
        .iter()
        .any(|part| text.contains(part))
    };
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ArithmeticOverflow(_) => true,
            ArrowError::CastError(text)
            | ArrowError::ComputeError(text)
            | ArrowError::ParseError(text)
            | ArrowError::InvalidArgumentError(text) => is_of_range(text),
            _ => false,
        },
        DataFusionError::Execution(text) => is_of_range(text),
        _ => false,
    }
}

/// The fault for a number out of range, with the column that it is computed from, if that is known.
pub(super) fn out_of_range(column: Option<&str>) -> ValueFault {
    ValueFault::OutOfRange(match column {
        Some(column) => format!("a number that is computed from column `{column}` is out of the range of its type"),
        None => "a number of the query is out of the range of its type".to_owned(),
    })
}
