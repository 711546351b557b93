//! The sample lakes, kept below `target/bench` from one run to the next, and the project over each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::server::Demo;

/// A lake that is there, with a project as `lakegate demo` makes it.
pub(crate) struct Lake {
    /// What is kept for this scale: the project, and the contenders' copies.
    pub(crate) folder: PathBuf,
    pub(crate) project: PathBuf,
    pub(crate) operator_token: String,
    /// Which sample it is, as the demo wrote it down: who keeps a copy compares.
    pub(crate) marker: String,
}

impl Lake {
    /// Makes what is missing. The demo replaces a lake of an older layout by itself; the project is new in every run, so
    /// that no run sees principals and records of the one before.
    pub(crate) fn make(binary: &Path, root: &Path, scale: u32, fresh: bool) -> Result<Self> {
        let folder = kept(root).join(format!("scale-{scale}"));
        let project = folder.join("project");
        if fresh && folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("can not remove `{}`", folder.display()))?;
        }
        fs::create_dir_all(&project).with_context(|| format!("can not make `{}`", project.display()))?;
        for entry in fs::read_dir(&project)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if path.ends_with("lake") {
                continue;
            }
            let removed = if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("can not remove `{}`", path.display()))?;
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

/// Where everything is that the next run need not make again.
pub(crate) fn kept(root: &Path) -> PathBuf {
    root.join("target/bench")
}
