//! `tests/matrix.json`: the matrix that was reviewed and saved.

use std::io;
use std::path::{Path, PathBuf};

use super::Matrix;
use crate::policy_test::FOLDER;

/// The file, in the folder of tests.
pub const FILE: &str = "matrix.json";

/// Why the file can not be used.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// It can not be read.
    #[error("`{}` can not be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// It is something else.
    #[error("`{}` is no matrix that this version has saved; write it anew with `lakegate test --matrix --save`, and review what changes", .0.display())]
    Malformed(PathBuf, #[source] serde_json::Error),
    /// It can not be written.
    #[error("`{}` can not be written", .0.display())]
    Unwritable(PathBuf, #[source] io::Error),
}

fn path(project: &Path) -> PathBuf {
    project.join(FOLDER).join(FILE)
}

/// The saved matrix of the project in this folder; `None` when there is none.
///
/// # Errors
/// When there is one that can not be used: what can not be compared proves nothing.
pub fn load(project: &Path) -> Result<Option<Matrix>, SavedError> {
    let path = path(project);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| SavedError::Malformed(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SavedError::Unreadable(path, error)),
    }
}

/// Writes the matrix, in a form that is the same for the same matrix. Gives the path.
///
/// # Errors
/// When the file can not be written.
pub fn save(project: &Path, matrix: &Matrix) -> Result<PathBuf, SavedError> {
    let path = path(project);
    let unwritable = |error| SavedError::Unwritable(path.clone(), error);
    let text = serde_json::to_string_pretty(matrix).map_err(|error| unwritable(error.into()))?;
    std::fs::create_dir_all(project.join(FOLDER)).map_err(unwritable)?;
    std::fs::write(&path, text + "\n").map_err(unwritable)?;
    Ok(path)
}
