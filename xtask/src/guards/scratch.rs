//! The copy of the checkout that guards are removed from.
//!
//! Only what differs is written: cargo goes by modification times, and what was not touched is not built again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A copy of a checkout's files.
pub(crate) struct Scratch {
    root: PathBuf,
    folder: PathBuf,
    files: BTreeSet<String>,
}

impl Scratch {
    /// The copy of the checkout at `root`, made or brought up to date.
    pub(crate) fn of(root: &Path) -> Result<Self> {
        // What is new and not yet committed counts; what is ignored does not.
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("can not start `git`")?;
        ensure!(listed.status.success(), "`git ls-files` failed; the guards are checked in a git checkout");
        let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
        // A file that was deleted and not committed is still in the index.
        let files = names.split('\0').filter(|name| !name.is_empty() && root.join(name).is_file()).map(str::to_owned);
        let scratch =
            Self { root: root.to_owned(), folder: root.join("target/guards/checkout"), files: files.collect() };
        scratch.restore()?;
        Ok(scratch)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes every file what it is in the checkout, and removes others.
    pub(crate) fn restore(&self) -> Result<()> {
        for name in &self.files {
            let (from, to) = (self.root.join(name), self.folder.join(name));
            let wanted = fs::read(&from).with_context(|| format!("can not read `{name}`"))?;
            if fs::read(&to).ok().as_ref() != Some(&wanted) {
                if let Some(folder) = to.parent() {
                    fs::create_dir_all(folder)?;
                }
                // With its permissions: one file is a program.
                fs::copy(&from, &to).with_context(|| format!("can not write `{}`", to.display()))?;
                // A copy can keep the time of the original, and cargo would not see that it is new.
                fs::File::options().append(true).open(&to)?.set_modified(std::time::SystemTime::now())?;
            }
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
            } else if !self.files.contains(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Replaces text that stands in a file exactly once.
    pub(crate) fn replace(&self, file: &str, find: &str, replace: &str) -> Result<()> {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("can not read `{file}`"))?;
        let count = text.matches(find).count();
        ensure!(count == 1, "the text of the guard stands {count} times in {file}; mend xtask/guards.toml");
        fs::write(&path, text.replacen(find, replace, 1))?;
        Ok(())
    }
}
