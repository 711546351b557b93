//! Loads the secret key of `hash` masks from the environment or a file, and reloads the file when it is replaced.
//!
//! No message contains the key. Messages name only its location, and the id of a key that is in use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lakegate_core::project::{CONFIG_FILE, Finding, Masking, Position, SecretLocation};
use lakegate_query::govern::MaskKey;
use lakegate_query::plan::PlannedProject;
use tokio_util::task::AbortOnDropHandle;

/// The maximum size of a key file, in bytes.
const MAX_KEY_BYTES: u64 = 4_096;
/// The interval at which the file is checked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Sets the key of a planned project, if a mask needs it.
///
/// # Errors
/// If the project names no key, or the named one is missing or unusable.
pub fn set(project: &PlannedProject, folder: &Path) -> Result<(), Finding> {
    if !project.needs_mask_key() {
        return Ok(());
    }
    let Masking { key, position } = &project.project().config.masking;
    let position = || position.clone().unwrap_or_else(|| Position::start(CONFIG_FILE));
    let Some(location) = key else {
        return Err(Finding::new(position(), "`hash` masks need a key").help("add `[masking]` with `key`"));
    };
    match read(location, folder) {
        Ok(key) => {
            project.set_mask_key(key);
            Ok(())
        }
        Err(fault) => {
            let help = match location {
                SecretLocation::Env(name) => {
                    format!("set `{name}` to a secret, such as `openssl rand -base64 32` prints")
                }
                SecretLocation::File(file) => format!("make one with `openssl rand -base64 32 > {file}`"),
            };
            Err(Finding::new(position(), format!("the key of `hash` masks {fault}")).help(help))
        }
    }
}

/// Reads the key. The error is the end of a sentence.
fn read(location: &SecretLocation, folder: &Path) -> Result<MaskKey, String> {
    let text = match location {
        SecretLocation::Env(name) => std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => format!("is to be in the environment as `{name}`, and is not there"),
            std::env::VarError::NotUnicode(_) => format!("in the environment as `{name}` is not text"),
        })?,
        SecretLocation::File(file) => {
            let unreadable = |error: std::io::Error| format!("can not be read from `{file}`: {error}");
            let path = folder.join(file);
            if std::fs::metadata(&path).map_err(unreadable)?.len() > MAX_KEY_BYTES {
                return Err(format!("in `{file}` is larger than {MAX_KEY_BYTES} bytes"));
            }
            std::fs::read_to_string(&path).map_err(unreadable)?
        }
    };
    MaskKey::new(&text).map_err(|error| format!("is not good: {error}"))
}

/// Watches the key file, if the key is in a file, and uses a new key when the file is replaced. A missing or unusable
/// file is logged, and the previous key stays in use. Dropping the handle stops the watch.
pub fn watch(project: Arc<PlannedProject>, folder: &Path) -> Option<AbortOnDropHandle<()>> {
    let location = project.project().config.masking.key.clone()?;
    let SecretLocation::File(file) = &location else { return None };
    if !project.needs_mask_key() {
        return None;
    }
    let (folder, path) = (folder.to_owned(), folder.join(file));
    let task = async move {
        // The first check reads the file again, because it may have been replaced while the project was loaded.
        let mut known = None;
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let found = file_stamp(&path);
            if found == known {
                continue;
            }
            known = found;
            match read(&location, &folder) {
                Ok(key) if project.mask_key_id().is_some_and(|known| known == key.id()) => {}
                Ok(key) => {
                    tracing::info!(key = key.id(), "the key of masks was replaced");
                    project.set_mask_key(key);
                }
                Err(fault) => tracing::error!("the new key of masks {fault}; the one before stays"),
            }
        }
    };
    Some(AbortOnDropHandle::new(tokio::spawn(task)))
}

/// The modification time and size of the file, which reveal a replacement.
fn file_stamp(path: &PathBuf) -> Option<(SystemTime, u64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}
