//! Values that a query cannot have: too large a number, too long a text, an argument that a function does not take.
//!
//! A fault is an external error within the engine's, so that it is found again whatever operators wrapped around it.

use std::error::Error as StdError;

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;

/// Why there is no such value. The text is for callers: it may name a column, and nothing else of the query.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ValueFault {
    /// A number, a date or a time beyond what its type holds.
    #[error("{0}")]
    OutOfRange(String),
    /// A value or a batch of values that would take too much memory; in bytes.
    #[error("function `{function}` would make {bytes} bytes, and at most {most} are allowed")]
    TooLarge { function: String, bytes: usize, most: usize },
    /// A date was moved by hours.
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

/// The fault within an error; `None` where it is another error.
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

/// Whether an error of the engine is a number that does not fit, as far as its kind or text says.
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

/// The caller's words for a number out of range, with the column that it is computed from where one is known.
pub(super) fn out_of_range(column: Option<&str>) -> ValueFault {
    ValueFault::OutOfRange(match column {
        Some(column) => format!("a number that is computed from column `{column}` is out of the range of its type"),
        None => "a number of the query is out of the range of its type".to_owned(),
    })
}
