//! Resolves the context of a command: the project folder, its access store, and the user who changes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use lakegate_core::project::{AuditMode, CONFIG_FILE, LogForm, Project};

use super::output::say;
use super::user::os_user;
use crate::admin::AdminService;
use crate::audit::AuditFolderSink;
use crate::project::{read_files, variables};
use crate::store::{ChangeAuthor, ChangeSink, SecretAttributes, Store, StoreLocation, export_changes};

/// The store of a project that does not name one.
const DEFAULT_STORE: &str = "sqlite:access.db";
/// The environment variable that overrides `[access] store`.
const STORE_VARIABLE: &str = "LAKEGATE_ACCESS_STORE";

/// The options that every access command has.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// The project folder
    #[arg(long, value_name = "DIR", default_value = ".", env = "LAKEGATE_PROJECT")]
    pub project: PathBuf,
    /// The access store, instead of the project's; relative to the current folder
    #[arg(long, value_name = "sqlite:PATH", env = "LAKEGATE_STORE")]
    pub store: Option<String>,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

impl StoreArgs {
    /// Opens the store as the operating system's user. Creates the store on first use.
    pub(super) async fn open(&self) -> anyhow::Result<AdminService> {
        let location = store_location(&self.project, self.store.as_deref())?;
        let store = Store::open(&location).await?;
        Ok(AdminService::new(store, ChangeAuthor::cli(&os_user()), secret_attributes(&self.project)))
    }

    /// Exports the latest changes to the audit log. Changes that the log does not accept now stay in the store and are
    /// exported with the next change or by a server.
    pub(super) async fn export(&self, desk: &AdminService) {
        let Some(sink) = change_sink(&self.project) else { return };
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
pub(super) fn secret_attributes(project: &Path) -> SecretAttributes {
    let Ok(text) = std::fs::read_to_string(project.join(CONFIG_FILE)) else { return SecretAttributes::all() };
    let Ok(settings) = text.parse::<toml::Table>() else { return SecretAttributes::all() };
    match settings.get("access").and_then(|access| access.get("secret_attributes")) {
        None => SecretAttributes::these([]),
        Some(names) => {
            names.clone().try_into::<Vec<String>>().map_or_else(|_| SecretAttributes::all(), SecretAttributes::these)
        }
    }
}

/// The location of the access store: `over`, else the environment variable, else the project's `[access] store`, else
/// `sqlite:access.db` in the project folder.
pub fn store_location(project: &Path, over: Option<&str>) -> anyhow::Result<StoreLocation> {
    if let Some(over) = over {
        return Ok(StoreLocation::parse(over, Path::new(""))?);
    }
    if let Some(store) = variables().get(STORE_VARIABLE) {
        return Ok(StoreLocation::parse(store, project)?);
    }
    let file = project.join(CONFIG_FILE);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "there is no `lakegate.toml` in `{}`; go to the project folder, name it with `--project DIR`, or name the store \
             with `--store sqlite:PATH`",
            project.display()
        ),
        Err(error) => return Err(error).with_context(|| format!("`{}` can not be read", file.display())),
    };
    let settings: toml::Table = text.parse().with_context(|| format!("`{}` is not valid TOML", file.display()))?;
    let store = match settings.get("access").and_then(|access| access.get("store")) {
        None => DEFAULT_STORE,
        Some(toml::Value::String(store)) => store,
        Some(_) => bail!("`[access] store` in `{}` must be text, for example \"{DEFAULT_STORE}\"", file.display()),
    };
    Ok(StoreLocation::parse(store, project)?)
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
