//! The logistics sample: generates a deterministic lake of any size, and the project that serves it.
//!
//! The same seed and scale produce the same rows on every machine and in every version: randomness comes from the raw
//! words of ChaCha8, arithmetic is in integers, and nothing depends on the order of a hash map. Serving is done
//! elsewhere.

pub mod generate;
pub mod lake;
pub mod model;
pub mod project;

mod calendar;
mod columns;
mod dimension;
mod random;
mod text;

pub use generate::{Sample, Shipments};
pub use lake::{is_written, write_lake, write_rows};
pub use project::{write_project, write_starter};

use std::io;
use std::path::PathBuf;

use lakegate_query::lake::write::WriteError;

/// Why a sample could not be generated or written.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The scale is out of range.
    #[error("the scale must be a number above 0 and at most {max}, not {scale}")]
    Scale {
        /// The requested scale.
        scale: f64,
        /// The maximum scale.
        max: f64,
    },
    /// A file that is not part of the sample already exists.
    #[error("`{}` is there already; nothing was written", path.display())]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// Another process is writing the same lake.
    #[error("another process is writing `{}`", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A file system error.
    #[error("cannot write `{}`", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A table could not be written.
    #[error("cannot write the table `{table}`")]
    Table {
        /// The table.
        table: &'static str,
        /// The cause.
        source: WriteError,
    },
}
