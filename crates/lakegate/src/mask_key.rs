//! Loads the secret key of `hash` masks from the environment or a file, and reloads the file when it is replaced.
//!
//! No message contains the key. Messages name only its location, and the id of a key that is in use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use lakegate_core::project::{CONFIG_FILE, Finding, Masking, Position, SecretLocation};
use lakegate_query::govern::MaskKey;
use lakegate_query::plan::PlannedProject;

use crate::app::App;
use crate::reload::Watched;

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
            let unreadable = |error: std::io::Error| format!("cannot be read from `{file}`: {error}");
            let path = folder.join(file);
            if std::fs::metadata(&path).map_err(unreadable)?.len() > MAX_KEY_BYTES {
                return Err(format!("in `{file}` is larger than {MAX_KEY_BYTES} bytes"));
            }
            std::fs::read_to_string(&path).map_err(unreadable)?
        }
    };
    MaskKey::new(&text).map_err(|error| format!("is not good: {error}"))
}

/// The key file of the project that a server serves.
pub(crate) struct KeyFile {
    app: Arc<App>,
    /// The project of the last check, and the state of its key file then.
    known: Mutex<(Weak<PlannedProject>, Option<(SystemTime, u64)>)>,
}

impl KeyFile {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app, known: Mutex::default() }
    }
}

impl Watched for KeyFile {
    fn every(&self) -> Duration {
        POLL_INTERVAL
    }

    /// Uses a new key if the file was replaced. A missing or unusable file is logged, and the previous key stays in use.
    fn check(&self) {
        let project = Arc::clone(&self.app.served().project);
        let Some(location @ SecretLocation::File(file)) = &project.project().config.masking.key else { return };
        if !project.needs_mask_key() {
            return;
        }
        let found = file_stamp(&self.app.folder().join(file));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The first check of a project reads the file again, because it may have been replaced while the project was
        // loaded.
        let (before, state) = std::mem::replace(&mut *known, (Arc::downgrade(&project), found));
        if found == state && (found.is_none() || before.ptr_eq(&Arc::downgrade(&project))) {
            return;
        }
        match read(location, self.app.folder()) {
            Ok(key) if project.mask_key_id().is_some_and(|known| known == key.id()) => {}
            Ok(key) => {
                tracing::info!(key = key.id(), "the key of masks was replaced");
                project.set_mask_key(key);
            }
            Err(fault) => tracing::error!("the new key of masks {fault}; the one before stays"),
        }
    }
}

/// The modification time and size of the file, which reveal a replacement.
fn file_stamp(path: &PathBuf) -> Option<(SystemTime, u64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}
