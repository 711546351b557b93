//! Loads and saves `tests/matrix.json`, the reviewed access matrix.

use std::io;
use std::path::{Path, PathBuf};

use super::Matrix;
use crate::policy_test::TESTS_FOLDER;

/// The name of the file, in the folder of tests.
pub const MATRIX_FILE: &str = "matrix.json";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// The file is unreadable.
    #[error("`{}` cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file is not a matrix of this version.
    #[error("`{}` is no matrix that this version has saved; write it anew with `lakegate test --matrix --save`, and review what changes", .0.display())]
    Malformed(PathBuf, #[source] serde_json::Error),
    /// The file cannot be written.
    #[error("`{}` cannot be written", .0.display())]
    Unwritable(PathBuf, #[source] io::Error),
}

fn path(project: &Path) -> PathBuf {
    project.join(TESTS_FOLDER).join(MATRIX_FILE)
}

/// The saved matrix of the project in this folder; `None` if there is none.
///
/// # Errors
/// If the file exists but is unusable, because a matrix that cannot be compared proves nothing.
pub fn load(project: &Path) -> Result<Option<Matrix>, SavedError> {
    let path = path(project);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| SavedError::Malformed(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SavedError::Unreadable(path, error)),
    }
}

/// Writes the matrix in a deterministic form. Returns the path.
///
/// # Errors
/// If the file cannot be written.
pub fn save(project: &Path, matrix: &Matrix) -> Result<PathBuf, SavedError> {
    let path = path(project);
    let unwritable = |error| SavedError::Unwritable(path.clone(), error);
    let text = serde_json::to_string_pretty(matrix).map_err(|error| unwritable(error.into()))?;
    std::fs::create_dir_all(project.join(TESTS_FOLDER)).map_err(unwritable)?;
    std::fs::write(&path, text + "\n").map_err(unwritable)?;
    Ok(path)
}
