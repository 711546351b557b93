//! The project file that `discover` extends: finds its lake, and appends sections to its text.

use std::io::Write;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use lakegate_core::discover::{Declared, declared, new_project_text};
use lakegate_core::project::{CONFIG_FILE, Project, ProjectFiles};
use lakegate_query::lake::Lake;

use crate::project::{MAX_FILE_BYTES, variables};

/// A project file, existing or new.
pub(super) struct ProjectFile {
    path: PathBuf,
    /// The text of the file; empty if the file does not exist.
    pub(super) text: String,
    /// The `[lake]` section to add before the tables; empty if the file has one.
    pub(super) head: String,
    /// The tables that the file declares.
    pub(super) tables: Vec<Declared>,
    /// The folder of the lake to search.
    pub(super) folder: String,
    /// The lake that all locations are relative to.
    pub(super) lake: Lake,
    /// The location of that lake, as the project writes it.
    pub(super) lake_location: String,
}

impl ProjectFile {
    /// Reads the file and opens its lake; the lake at `location`, if the file names none.
    pub(super) fn open(project: &Path, location: Option<&str>) -> anyhow::Result<Self> {
        let path = project.join(CONFIG_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("`{}` cannot be read", path.display())),
        };
        let (lake, tables) = declared(&text).map_err(anyhow::Error::msg)?;
        let (head, lake_location, folder) = match (lake, location) {
            (Some(lake), None) => (String::new(), lake, String::new()),
            (Some(lake), Some(location)) => {
                let folder = folder_within(project, &lake, location)?;
                (String::new(), lake, folder)
            }
            (None, Some(location)) => {
                let lake = seen_from(project, location)?;
                (new_project_text(&lake), lake, String::new())
            }
            (None, None) => {
                bail!("there is no lake in `{}`; say where the files are: `lakegate discover LOCATION`", path.display())
            }
        };
        // `check` reports other faults of the file; the store's settings are usable despite them.
        let files = ProjectFiles { config: text.clone(), variables: variables(), ..ProjectFiles::default() };
        let store = Project::read(&files).0.config.lake_store;
        let lake = match location {
            // The project folder may not exist yet, so a path cannot start there.
            Some(location) if !head.is_empty() => Lake::open(Path::new(""), location, &store)?,
            _ => Lake::open(project, &lake_location, &store)?,
        };
        Ok(Self { path, text, head, tables, folder, lake, lake_location })
    }

    /// The file's text with `sections` appended; existing text is unchanged.
    ///
    /// # Errors
    /// If the result is not a valid project file, or exceeds the maximum size.
    pub(super) fn extended(&self, sections: &str) -> anyhow::Result<String> {
        let mut text = self.text.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if !text.is_empty() && !self.head.is_empty() {
            text.push('\n');
        }
        text += &self.head;
        text += sections;
        declared(&text).map_err(|_| {
            anyhow::anyhow!(
                "`{}` cannot be added to as it is written; take the sections from `lakegate discover --dry-run` into it",
                self.path.display()
            )
        })?;
        if text.len() as u64 > MAX_FILE_BYTES {
            bail!(
                "the project file would be larger than 1 MiB; look into a part of the lake: `lakegate discover LOCATION`"
            );
        }
        Ok(text)
    }

    /// Why `section` cannot be added after `sections`, and what to do; `None` if it can.
    pub(super) fn cannot_take(&self, sections: &str, section: &str) -> Option<(&'static str, &'static str)> {
        let bytes = self.text.len() + self.head.len() + sections.len() + section.len() + 2;
        if bytes as u64 > MAX_FILE_BYTES {
            return Some((
                "the project file would be larger than 1 MiB with it, and it is not written",
                "declare it by hand, or look into a part of the lake: `lakegate discover LOCATION`",
            ));
        }
        declared(section)
            .err()
            .map(|_| ("its names cannot be written into a project file", "rename its folders, or declare it by hand"))
    }

    /// Replaces the file atomically.
    pub(super) fn write(&self, text: &str) -> anyhow::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = || format!("`{}` cannot be written", self.path.display());
        std::fs::create_dir_all(folder).with_context(failed)?;
        // An editor may have changed the file while the lake was read.
        let now = std::fs::read_to_string(&self.path).unwrap_or_default();
        if now != self.text {
            bail!("`{}` was changed meanwhile, and is left as it is; run it again", self.path.display());
        }
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
        file.write_all(text.as_bytes()).with_context(failed)?;
        if let Ok(metadata) = std::fs::metadata(&self.path) {
            file.as_file().set_permissions(metadata.permissions()).with_context(failed)?;
        } else {
            readable(file.as_file()).with_context(failed)?;
        }
        file.as_file().sync_all().with_context(failed)?;
        file.persist(&self.path).with_context(failed)?;
        Ok(())
    }
}

/// Makes the file readable for all users, because another user may serve the project.
#[cfg(unix)]
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

fn is_url(location: &str) -> bool {
    location.contains("://") && !location.starts_with("file://")
}

/// The folder within the project's lake that `location` names.
fn folder_within(project: &Path, lake: &str, location: &str) -> anyhow::Result<String> {
    let elsewhere = || {
        anyhow::anyhow!(
            "`{location}` is not in the project's lake, which is at `{lake}`; name a folder of it, or another project with `--into`"
        )
    };
    if is_url(lake) || is_url(location) {
        let (lake, location) = (lake.trim_end_matches('/'), location.trim_end_matches('/'));
        let folder = location.strip_prefix(lake).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        return Ok(folder.ok_or_else(elsewhere)?.trim_start_matches('/').to_owned());
    }
    let root = canonical(&project.join(lake.trim_start_matches("file://")), lake)?;
    let asked = canonical(Path::new(location.trim_start_matches("file://")), location)?;
    let folder = asked.strip_prefix(&root).map_err(|_| elsewhere())?;
    let parts = folder.components().filter_map(|part| part.as_os_str().to_str());
    Ok(parts.collect::<Vec<_>>().join("/"))
}

fn canonical(path: &Path, name: &str) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| format!("there is no lake at `{name}`"))
}

/// Rewrites a location of the current folder for a project file, where paths are relative to the project.
fn seen_from(project: &Path, location: &str) -> anyhow::Result<String> {
    if is_url(location) {
        return Ok(location.to_owned());
    }
    let location = location.trim_start_matches("file://");
    let lake = canonical(Path::new(location), location)?;
    let from = std::path::absolute(project).context("the project's folder has no path")?;
    let from = from.canonicalize().unwrap_or(from);
    let (from, to) = (from.components().collect::<Vec<_>>(), lake.components().collect::<Vec<_>>());
    let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    // If only the root is common, an absolute path is clearer than a relative one.
    if common < 2 || from[common..].iter().any(|part| !matches!(part, Component::Normal(_))) {
        return Ok(lake.to_string_lossy().into_owned());
    }
    let up = from[common..].iter().map(|_| "..".to_owned());
    let down = to[common..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts = up.chain(down).collect::<Vec<_>>();
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") + "/" })
}
