//! Resolves the context of a command: the project folder, its access store, and the user who changes it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use lakegate_core::project::{self, AuditMode, CONFIG_FILE, LogForm, Project};

use super::options::StoreArgs;
use super::output::say;
use super::user::os_user;
use crate::admin::AdminService;
use crate::audit::AuditFolderSink;
use crate::project::{ProjectError, read_files, variables};
use crate::store::{ChangeAuthor, ChangeSink, SecretAttributes, Store, StoreLocation, export_changes};

/// The environment variable that overrides `[access] store`.
const STORE_VARIABLE: &str = "LAKEGATE_ACCESS_STORE";

impl StoreArgs {
    /// The location of the access store.
    pub(super) fn location(&self) -> anyhow::Result<StoreLocation> {
        store_location(&self.project.folder, self.store.location.as_deref())
    }

    /// Opens the store as the operating system's user. Creates the store on first use.
    pub(super) async fn open(&self) -> anyhow::Result<AdminService> {
        let store = Store::open(&self.location()?).await?;
        Ok(AdminService::new(store, ChangeAuthor::cli(&os_user()), secret_attributes(&self.project.folder)))
    }

    /// Exports the latest changes to the audit log. Changes that the log does not accept now stay in the store and are
    /// exported with the next change or by a server.
    pub(super) async fn export(&self, desk: &AdminService) {
        let Some(sink) = change_sink(&self.project.folder) else { return };
        if let Err(error) = export_changes(desk.store(), &*sink).await {
            say(format_args!("note: the change is made; {:#}", anyhow::Error::new(error)));
        }
    }
}

/// The audit log as a sink for changes; `None` if the project keeps no audit log.
pub(super) fn change_sink(project: &Path) -> Option<Arc<dyn ChangeSink>> {
    let (read, _) = Project::read(&read_files(project).ok()?);
    let audit = read.config.server.audit;
    (audit.mode != AuditMode::Off).then(|| Arc::new(AuditFolderSink(project.join(audit.folder))) as Arc<dyn ChangeSink>)
}

/// The log format that the project sets; the default if the project is unreadable.
pub(super) fn log_form(project: &Path) -> LogForm {
    read_files(project).map(|files| Project::read(&files).0.config.observe.log).unwrap_or_default()
}

/// The attributes whose values no list of changes shows: `[access] secret_attributes` of the project. All attributes,
/// if that setting is unreadable.
pub(super) fn secret_attributes(folder: &Path) -> SecretAttributes {
    let Ok(text) = std::fs::read_to_string(folder.join(CONFIG_FILE)) else { return SecretAttributes::all() };
    project::secret_attributes(&text).map_or_else(|_| SecretAttributes::all(), SecretAttributes::these)
}

/// The location of the access store: `over`, else the environment variable, else the project's `[access] store`, else
/// `sqlite:access.db` in the project folder.
pub fn store_location(folder: &Path, over: Option<&str>) -> anyhow::Result<StoreLocation> {
    if let Some(over) = over {
        return Ok(StoreLocation::parse(over, Path::new(""))?);
    }
    if let Some(store) = variables().get(STORE_VARIABLE) {
        return Ok(StoreLocation::parse(store, folder)?);
    }
    let file = folder.join(CONFIG_FILE);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no `lakegate.toml` in `{}`; go to the project folder, name it with `--project DIR`, or name the store \
             with `--store sqlite:PATH`",
            folder.display()
        ),
        Err(error) => return Err(error).with_context(|| format!("`{}` cannot be read", file.display())),
    };
    let store = project::access_store(&text).map_err(ProjectError::Faulty)?;
    Ok(StoreLocation::parse(&store, folder)?)
}

/// The names of the project's endpoints; `None` if it has no such folder.
pub(super) fn endpoint_names(project: &Path) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(project.join("endpoints")).ok()? {
        let path = entry.ok()?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            names.push(path.file_stem()?.to_str()?.to_owned());
        }
    }
    Some(names)
}
