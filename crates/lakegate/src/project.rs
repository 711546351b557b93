//! Loads a project folder: reads its files, checks them, and plans the endpoints over a lake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lakegate_core::project::ingest::RECIPE_ENDING;
use lakegate_core::project::{CONFIG_FILE, Config, Finding, Position, Project, ProjectFiles, VARIABLE_PREFIX};
use lakegate_query::engine::{self, Resources};
use lakegate_query::lake::{Lake, LakeError};
use lakegate_query::plan::{PlannedProject, without_panic};

use crate::mask_key;

/// The maximum size of a project file, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;
/// The project's folder for ingest recipes.
pub(crate) const RECIPES_FOLDER: &str = "tables";

/// Why a project cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The folder has no project.
    #[error("there is no `{CONFIG_FILE}` in `{}`; make a project with `lakegate init`, or name its folder with `--project`", .0.display())]
    Missing(PathBuf),
    /// A file or folder is unreadable.
    #[error("`{}` cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// The project has faults.
    #[error("{}", listed(.0))]
    Faulty(Vec<Finding>),
    /// The lake cannot be opened.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The files of a table cannot be listed.
    #[error("the files of table `{0}` cannot be listed")]
    Unlisted(String, #[source] Box<lakegate_core::error::Error>),
    /// Tables are served in their previous state, because the current one is unreadable.
    #[error("{}", listed(.0))]
    StaleTables(Vec<Finding>),
    /// A file of the lake is unreadable.
    #[error("the tables cannot be read")]
    UnreadableTables(#[source] lakegate_core::error::Error),
    /// The audit log cannot be written.
    #[error("the audit log in `{}` cannot be written; mend that, name another folder with `audit_folder` in [server], or switch it off with `audit = \"off\"`", .0.display())]
    Audit(PathBuf, #[source] std::io::Error),
    /// The engine cannot be started.
    #[error("the engine cannot be started; is the folder `spill_folder` of [limits] there, and can it be written?")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn listed(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the text of a project's files.
///
/// # Errors
/// If there is no project, or one of its files is unreadable.
pub fn read_files(folder: &Path) -> Result<ProjectFiles, ProjectError> {
    let config_path = folder.join(CONFIG_FILE);
    if !config_path.is_file() {
        return Err(ProjectError::Missing(folder.to_owned()));
    }
    let config = read_text(&config_path)?;
    let endpoints = texts(folder, "endpoints", ".sql")?;
    let recipes = texts(folder, RECIPES_FOLDER, RECIPE_ENDING)?;
    Ok(ProjectFiles { config, endpoints, recipes, variables: variables() })
}

/// The text of the files in a project folder with this name suffix, keyed by their paths in the project.
fn texts(project: &Path, folder: &str, ending: &str) -> Result<BTreeMap<String, String>, ProjectError> {
    let mut found = BTreeMap::new();
    let path = project.join(folder);
    if !path.is_dir() {
        return Ok(found);
    }
    let unreadable = |error| ProjectError::Unreadable(path.clone(), error);
    for entry in std::fs::read_dir(&path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Editors leave hidden files beside edited ones.
        if name.ends_with(ending) && !name.starts_with('.') {
            found.insert(format!("{folder}/{name}"), read_text(&path)?);
        }
    }
    Ok(found)
}

/// The environment variables with lakegate's prefix.
pub fn variables() -> BTreeMap<String, String> {
    let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
    let all = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    all.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)).collect()
}

/// Plans the same project over the current tables of the lake.
///
/// # Errors
/// If a table is no longer readable, or no longer fits the queries and policies.
pub async fn refreshed(before: &PlannedProject, folder: &Path) -> Result<PlannedProject, ProjectError> {
    let (project, lake) = (Arc::clone(before.project()), Arc::clone(before.lake()));
    let loading = PlannedProject::load(project, Vec::new(), lake, before.runtime(), Some(before));
    let planned = without_panic(loading).await.map_err(ProjectError::Faulty)?;
    // An unreadable key is no reason to serve old rows; the key's own watch reports it.
    if mask_key::set(&planned, folder).is_err() {
        planned.keep_mask_key_of(before);
    }
    Ok(planned)
}

pub(crate) fn read_text(path: &Path) -> Result<String, ProjectError> {
    let unreadable = |error| ProjectError::Unreadable(path.to_owned(), error);
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(unreadable(std::io::Error::other("it is larger than a project file may be, 1 MiB")));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// Opens the lake of a project, or the one at `lake` if given: a folder relative to the current one, or a store URL,
/// which is opened with the project's store settings.
///
/// # Errors
/// As for [`Lake::open`].
pub(crate) fn open_lake(folder: &Path, config: &Config, lake: Option<&str>) -> Result<Lake, LakeError> {
    let store = &config.lake_store;
    match lake {
        Some(location) if !location.contains("://") => Lake::open(Path::new(""), location, store),
        Some(location) => Lake::open(folder, location, store),
        None => Lake::open(folder, &config.lake_location, store),
    }
}

/// Reads, checks and plans a project over its lake, or over `lake` if given (relative to the current folder).
///
/// # Errors
/// All faults of the project at once.
pub async fn load(folder: &Path, lake: Option<&str>) -> Result<PlannedProject, ProjectError> {
    let planned = load_any(folder, lake, None).await?;
    match planned.away().is_nothing() {
        true => Ok(planned),
        false => Err(ProjectError::Faulty(planned.away().findings())),
    }
}

/// Loads a project for a server, possibly to replace a served one, whose knowledge of the same lake is reused. An
/// unreadable table does not keep the others from being served; loading fails only if no table is readable. An edited
/// project does not replace one that serves a table which is broken now.
///
/// # Errors
/// As for [`load`].
pub async fn load_after(
    folder: &Path,
    lake: Option<&str>,
    before: Option<&PlannedProject>,
) -> Result<PlannedProject, ProjectError> {
    let planned = load_any(folder, lake, before).await?;
    let broken = match before {
        Some(before) => planned.newly_broken(before),
        None if planned.tables().is_empty() => planned.away().broken().map(|(_, reason)| reason.clone()).collect(),
        None => Vec::new(),
    };
    if broken.is_empty() { Ok(planned) } else { Err(ProjectError::Faulty(broken)) }
}

/// Reads, checks and plans a project, even if some tables are unreadable.
async fn load_any(
    folder: &Path,
    lake: Option<&str>,
    before: Option<&PlannedProject>,
) -> Result<PlannedProject, ProjectError> {
    let files = read_files(folder)?;
    let (project, mut findings) = Project::read(&files);
    if project.endpoints.is_empty() && findings.is_empty() {
        let finding = Finding::new(Position::start("endpoints/"), "there are no endpoints");
        findings.push(finding.help("write a query into a file such as `endpoints/orders.sql`"));
    }
    let lake = match open_lake(folder, &project.config, lake) {
        Ok(lake) => lake,
        // Report the faults of the files rather than a lake error that they may have caused.
        Err(_) if !findings.is_empty() => return Err(ProjectError::Faulty(findings)),
        Err(error) => return Err(error.into()),
    };
    let limits = &project.config.limits;
    let resources = Resources {
        memory_bytes: project.config.server.memory_limit_bytes,
        spill_bytes: limits.spill_bytes(),
        spill_folder: limits.spill_folder.as_ref().map(|path| folder.join(path)),
    };
    let before = before.filter(|before| before.lake().is_at_the_place_of(&lake));
    let (lake, runtime) = match before {
        Some(before) => (Arc::clone(before.lake()), before.runtime()),
        None => {
            let runtime = engine::runtime(&resources);
            (Arc::new(lake), runtime.map_err(|error| ProjectError::Engine(error.into()))?)
        }
    };
    let loading = PlannedProject::load(project, findings, lake, runtime, before);
    let planned = without_panic(loading).await.map_err(ProjectError::Faulty)?;
    mask_key::set(&planned, folder).map_err(|finding| ProjectError::Faulty(vec![finding]))?;
    Ok(planned)
}
