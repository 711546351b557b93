//! Finds and reads policy test files.

use std::path::{Path, PathBuf};

use lakegate_core::project::{Finding, PolicyTestFile};

use crate::project::{ProjectError, read_text};

/// The project's folder for tests.
pub const TESTS_FOLDER: &str = "tests";

/// Reads the named files, or all `*.toml` files in the project's `tests/` if none is named.
///
/// # Errors
/// If a file is unreadable; otherwise all faults of all files at once.
pub fn read(project: &Path, named: &[PathBuf]) -> Result<Vec<PolicyTestFile>, ProjectError> {
    let paths = match named {
        [] => in_folder(project)?,
        named => named.iter().map(|path| (shown(path), found(project, path))).collect(),
    };
    let mut files = Vec::new();
    let mut findings: Vec<Finding> = Vec::new();
    for (shown, path) in paths {
        let (file, faults) = PolicyTestFile::read(&shown, &read_text(&path)?);
        findings.extend(faults);
        files.push(file);
    }
    if findings.is_empty() { Ok(files) } else { Err(ProjectError::Faulty(findings)) }
}

/// The files of the folder by name, each with the path that messages show.
fn in_folder(project: &Path) -> Result<Vec<(String, PathBuf)>, ProjectError> {
    let folder = project.join(TESTS_FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let unreadable = |error| ProjectError::Unreadable(folder.clone(), error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Editors leave hidden files beside edited ones.
        if path.extension().is_some_and(|extension| extension == "toml") && !name.starts_with('.') {
            paths.push((format!("{TESTS_FOLDER}/{name}"), path));
        }
    }
    paths.sort();
    Ok(paths)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The path relative to the current folder or, as in messages, relative to the project.
fn found(project: &Path, path: &Path) -> PathBuf {
    let below = project.join(path);
    if !path.exists() && below.exists() { below } else { path.to_owned() }
}
