//! Reads an object store's credentials from the environment variables or files that the project names. Without them,
//! the cloud's default credential chain applies.
//!
//! They appear in no message and in no `Debug` output.

use std::fmt;
use std::path::Path;

use lakegate_core::project::{LakeStore, SecretLocation};

use super::LakeError;
use crate::govern::fingerprint::Fingerprint;

/// Maximum size of a secret file, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// The credentials that the project configures; `None` for each that it does not.
#[derive(Default)]
pub(super) struct Credentials {
    /// Key id and secret.
    pub(super) access_key: Option<(String, String)>,
    pub(super) session_token: Option<String>,
    pub(super) service_account: Option<String>,
    pub(super) account_key: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    pub(super) fn read(project: &Path, settings: &LakeStore) -> Result<Self, LakeError> {
        let mut found = [const { None }; 5];
        for (value, (key, location)) in found.iter_mut().zip(settings.secrets()) {
            if let Some(location) = location {
                let read = read(project, location);
                *value = Some(read.map_err(|fault| LakeError::Credentials(format!("`{key}` of [lake] {fault}")))?);
            }
        }
        let [access_key_id, secret_access_key, session_token, service_account, account_key] = found;
        Ok(Self { access_key: access_key_id.zip(secret_access_key), session_token, service_account, account_key })
    }

    /// A fingerprint of a store at `location` that is read with these credentials and settings.
    pub(super) fn stand_for(&self, location: &str, settings: &LakeStore) -> [u8; 32] {
        let mut place = Fingerprint::new("lakegate lake v1");
        place.text(location.trim_end_matches('/'));
        place.text(format_args!("{settings:?}"));
        let (id, secret) = self.access_key.as_ref().map(|(id, secret)| (id, secret)).unzip();
        for value in [id, secret, self.session_token.as_ref(), self.service_account.as_ref(), self.account_key.as_ref()]
        {
            place.part(value.map_or(&[], |value| value.as_bytes()));
        }
        place.bytes()
    }
}

/// Reads a secret and trims white space, such as the line end that editors add. The error is the end of a sentence that
/// begins with the secret's name.
pub(in crate::lake) fn read(project: &Path, location: &SecretLocation) -> Result<String, String> {
    let text = match location {
        SecretLocation::Env(name) => std::env::var(name)
            .map_err(|_| format!("is to be in the environment as `{name}`, and is not there; set it"))?,
        SecretLocation::File(file) => {
            let unreadable = |error: std::io::Error| format!("cannot be read from `{file}`: {}", error.kind());
            let path = project.join(file);
            if std::fs::metadata(&path).map_err(unreadable)?.len() > MAX_SECRET_BYTES {
                return Err(format!("in `{file}` is too large for a secret"));
            }
            std::fs::read_to_string(&path).map_err(unreadable)?
        }
    };
    match text.trim() {
        "" => Err(format!("is empty in `{location}`")),
        text => Ok(text.to_owned()),
    }
}
