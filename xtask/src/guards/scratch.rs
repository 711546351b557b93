//! The copy of the checkout, where guards are removed.
//!
//! Only files that differ are written, because cargo uses modification times and does not rebuild untouched files.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A copy of a checkout's files, in their state when it was made.
pub(crate) struct Scratch {
    folder: PathBuf,
    files: BTreeMap<String, File>,
}

struct File {
    content: Vec<u8>,
    permissions: Permissions,
}

impl Scratch {
    /// Creates or updates the copy of the checkout at `root`.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        // Includes new files that are not committed, but no ignored ones.
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("cannot start `git`")?;
        ensure!(listed.status.success(), "`git ls-files` failed; the guards are checked in a git checkout");
        let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
        let mut files = BTreeMap::new();
        // The index still lists files that were deleted without a commit.
        for name in names.split('\0').filter(|name| !name.is_empty() && root.join(name).is_file()) {
            let path = root.join(name);
            let content = fs::read(&path).with_context(|| format!("cannot read `{name}`"))?;
            files.insert(name.to_owned(), File { content, permissions: fs::metadata(&path)?.permissions() });
        }
        let scratch = Self { folder: root.join("target/guards/checkout"), files };
        scratch.restore()?;
        Ok(scratch)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Resets each file to its content in the checkout, and removes all other files.
    pub(crate) fn restore(&self) -> Result<()> {
        for (name, file) in &self.files {
            let path = self.folder.join(name);
            if fs::read(&path).ok().as_ref() != Some(&file.content) {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                fs::write(&path, &file.content).with_context(|| format!("cannot write `{}`", path.display()))?;
            }
            // One of the files is executable.
            fs::set_permissions(&path, file.permissions.clone())?;
        }
        self.remove_others(&self.folder, "")
    }

    fn remove_others(&self, folder: &Path, prefix: &str) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                if name != "target" {
                    self.remove_others(&entry.path(), &format!("{name}/"))?;
                }
            } else if !self.files.contains_key(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Replaces text that must occur exactly once in a file.
    pub(crate) fn replace(&self, file: &str, find: &str, replace: &str) -> Result<()> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read `{file}`"))?;
        let count = text.matches(find).count();
        ensure!(count == 1, "the text of the guard stands {count} times in {file}; mend xtask/guards.toml");
        fs::write(&path, text.replacen(find, replace, 1))?;
        Ok(())
    }
}
