//! The sample lakes, which are kept below `target/bench` between runs, and a project over each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::server::Demo;

/// An existing lake, with a project as `lakegate demo` creates it.
pub(crate) struct Lake {
    /// The folder of this scale: the project, and the copies of the other contenders.
    pub(crate) folder: PathBuf,
    pub(crate) project: PathBuf,
    pub(crate) operator_token: String,
    /// The demo's marker, which identifies the sample. A contender compares it with the marker of its copy.
    pub(crate) marker: String,
}

impl Lake {
    /// Creates what is missing. The demo itself replaces a lake with an older layout. The project is new in each run,
    /// so that no run sees principals and records of an earlier one.
    pub(crate) fn make(binary: &Path, root: &Path, scale: u32, fresh: bool) -> Result<Self> {
        let folder = kept(root).join(format!("scale-{scale}"));
        let project = folder.join("project");
        if fresh && folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
        }
        fs::create_dir_all(&project).with_context(|| format!("cannot make `{}`", project.display()))?;
        for entry in fs::read_dir(&project)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if path.ends_with("lake") {
                continue;
            }
            let removed = if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
        let demo = Demo::make(binary, &project, scale)?;
        let marker =
            fs::read_to_string(project.join("lake/sample.json")).context("the lake does not say what it is")?;
        Ok(Self { folder, project, operator_token: demo.operator_token, marker })
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.project.join("lake")
    }
}

/// The folder for everything that later runs can reuse.
pub(crate) fn kept(root: &Path) -> PathBuf {
    root.join("target/bench")
}
