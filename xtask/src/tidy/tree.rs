//! The text files of a checkout, read once for all rules, and the findings of a rule.
//!
//! It does not use git, so that it also works in an unpacked archive.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders without files of the project.
const SKIPPED_FOLDERS: &[&str] = &["target", ".git", "node_modules", ".venv"];

/// Extensions of text files; all other files are skipped.
const EXTENSIONS: &[&str] = &["rs", "md", "toml", "sql", "sh", "py", "js", "css", "html", "yml", "yaml", "snap", "new"];

/// All text files, ordered by path.
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
}

/// One text file. The path is relative to the root, with `/`.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A violation of a rule, at one place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
    pub(crate) warning: bool,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = Vec::new();
        read_folder(root, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    pub(crate) fn markdown(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".md"))
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() }).collect();
        Self { files }
    }
}

impl File {
    /// Whether the whole file is a test.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }

    /// The lines before the test module at the end of the file, with their numbers from 1.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut lines = self.text.lines().zip(1..).peekable();
        std::iter::from_fn(move || {
            let (line, number) = lines.next()?;
            let next = lines.peek().map_or("", |(next, _)| *next);
            let tests_begin = line == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{');
            (!tests_begin).then_some((number, line))
        })
        .fuse()
    }

    /// The lines of [`File::product_lines`] without comments. A `//` in a string ends the line too.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.product_lines().map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into(), warning: false }
    }

    pub(crate) fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::new(path, line, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning: " } else { "" };
        write!(f, "{}:{}: {kind}{}", self.path, self.line, self.message)
    }
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<File>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let file_type = entry.file_type()?;
        if file_type.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                read_folder(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if file_type.is_file() && is_text(&path) {
            // A file that is not UTF-8 is binary data under a text file's name, so no rule applies.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push(File { path, text });
            }
        }
    }
    Ok(())
}

fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.starts_with(".ci/") || name.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_module_is_no_product_line() {
        let tree = Tree::of(&[("a.rs", "//! a\nfn a() {} // b\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n")]);
        let lines: Vec<_> = tree.files[0].code_lines().collect();
        assert_eq!(lines, [(1, ""), (2, "fn a() {} ")]);
    }

    #[test]
    fn a_test_only_module_line_does_not_end_the_product() {
        let tree = Tree::of(&[("a.rs", "#[cfg(test)]\nmod fixture;\nfn a() {}\n")]);
        assert_eq!(tree.files[0].product_lines().count(), 3);
    }
}
