//! Where a command works: the project folder and its access store.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::store::{Store, StoreLocation};

/// The store of a project that does not name one.
const DEFAULT_STORE: &str = "sqlite:access.db";

/// The options that every command about access has.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// The project folder
    #[arg(long, value_name = "DIR", default_value = ".", env = "LAKEGATE_PROJECT")]
    pub project: PathBuf,
    /// The access store, instead of the one that the project names; relative to the current folder
    #[arg(long, value_name = "sqlite:PATH", env = "LAKEGATE_STORE")]
    pub store: Option<String>,
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

impl StoreArgs {
    /// Opens the store; makes it on first use.
    pub(super) async fn open(&self) -> anyhow::Result<Store> {
        let location = store_location(&self.project, self.store.as_deref())?;
        Ok(Store::open(&location).await?)
    }
}

/// Where the access store is: what `over` says, else what the project's `[access] store` says, else `sqlite:access.db`
/// in the project folder.
pub fn store_location(project: &Path, over: Option<&str>) -> anyhow::Result<StoreLocation> {
    if let Some(over) = over {
        return Ok(StoreLocation::parse(over, Path::new(""))?);
    }
    let file = project.join("lakegate.toml");
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

/// The names of the project's endpoints, or `None` where there is no such folder.
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
