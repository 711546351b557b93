//! What a caller is told when a query fails: a code and a sentence, never what the engine said.

use datafusion::common::DataFusionError;
use lakegate_core::error::{Code, Error};

/// The error for a caller; the engine's own goes to the log as its source.
pub(crate) fn failure(error: DataFusionError) -> Error {
    let told = match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            Error::new(Code::EngineMemoryExceeded, "the query needs more memory than it may have")
                .hint("ask for less, for example for a shorter range")
        }
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
            Error::new(Code::LakeUnavailable, "files of the lake can not be read now").hint("try again later")
        }
        _ => Error::new(Code::EngineFailed, "the query failed; the operator finds the reason under the request id"),
    };
    told.source(error)
}

/// The error for a query that ran out of time.
pub(crate) fn timed_out() -> Error {
    Error::new(Code::EngineTimedOut, "the query did not end within its time limit")
        .hint("ask for less, for example for a shorter range")
}

/// The error for an answer that is longer than the grant allows.
pub(crate) fn too_many_rows(most: u64) -> Error {
    let row = if most == 1 { "row" } else { "rows" };
    Error::new(
        Code::ResultTooLarge,
        format!("the answer has more than {most} {row}, which is the most that is granted"),
    )
    .hint("ask for less, for example for a shorter range")
}
