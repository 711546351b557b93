//! Opens an object store from a location and the `[lake]` settings, with retries, timeouts and credentials.
//!
//! `location` finds a table's files in a store, and `pinned` chooses the version of a file to read.

mod contact;
mod credentials;
mod said;

use std::path::Path as FilePath;
use std::sync::Arc;

use datafusion::object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use datafusion::object_store::azure::MicrosoftAzureBuilder;
use datafusion::object_store::gcp::GoogleCloudStorageBuilder;
use datafusion::object_store::path::Path;
use datafusion::object_store::prefix::PrefixStore;
use datafusion::object_store::{
    BackoffConfig, ClientOptions, Error as StoreError, ObjectStore, Result as StoreResult, RetryConfig,
};
use lakegate_core::project::{LakeStore, location_fault};
use url::Url;

pub(super) use contact::Contact;
pub(super) use credentials::read as secret;
pub(crate) use said::of_the_store;
pub(super) use said::{is_away, is_passing, without_secrets};

use super::LakeError;
use credentials::Credentials;

/// An object store limited to a prefix, and a fingerprint of it.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    /// The whole bucket, and the URL of the prefix in it, for code that writes tables.
    pub(super) whole: (Arc<dyn ObjectStore>, Url),
    /// Fingerprint of the location and of the credentials and settings used to read it.
    pub(super) place: [u8; 32],
}

/// The bucket and prefix of a location.
struct Place<'a> {
    bucket: &'a str,
    prefix: &'a str,
}

/// Whether a location is in an object store rather than on the local disk.
pub(super) fn is_remote(location: &str) -> bool {
    location.contains("://")
}

/// Opens a store. Sends no request to it yet.
///
/// # Errors
/// When the location is invalid, credentials are missing, or a setting makes no sense.
pub(super) fn open(project: &FilePath, location: &str, settings: &LakeStore) -> Result<Opened, LakeError> {
    if let Some(fault) = location_fault(location) {
        return Err(LakeError::Location(fault));
    }
    let (scheme, rest) = location.split_once("://").ok_or(LakeError::Location("is no place in a store"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let place = Place { bucket, prefix: prefix.trim_end_matches('/') };
    let credentials = Credentials::read(project, settings)?;
    let opened = match scheme {
        "s3" => s3(&place, settings, &credentials),
        "gs" => gs(&place, settings, &credentials),
        _ => az(&place, settings, &credentials),
    };
    let wrong = |error: StoreError| LakeError::Store(location.to_owned(), without_secrets(error));
    let store = opened.map_err(wrong)?;
    let url = Url::parse(location).map_err(|_| LakeError::Location("is no place in a store"))?;
    let whole = (Arc::clone(&store), url);
    let store = match place.prefix {
        "" => store,
        prefix => {
            let prefix = Path::parse(prefix).map_err(|_| LakeError::Location("is no place in a store"))?;
            Arc::new(PrefixStore::new(store, prefix))
        }
    };
    Ok(Opened { store, whole, place: credentials.stand_for(location, settings) })
}

fn s3(place: &Place<'_>, settings: &LakeStore, credentials: &Credentials) -> StoreResult<Arc<dyn ObjectStore>> {
    // Credentials from the project are not mixed with those of the environment, because a stale session token may be
    // set there.
    let mut builder = match credentials.access_key.is_some() {
        true => from_environment_without_credentials(),
        false => AmazonS3Builder::from_env(),
    };
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some((id, secret)) = &credentials.access_key {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    }
    if let Some(token) = &credentials.session_token {
        builder = builder.with_token(token);
    }
    let has_endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some();
    // A wildcard certificate covers one label of a host name, and a bucket with dots has several.
    let path_style = settings.path_style.unwrap_or(has_endpoint || place.bucket.contains('.'));
    let store = builder
        .with_bucket_name(place.bucket)
        .with_virtual_hosted_style_request(!path_style)
        .with_skip_signature(settings.anonymous)
        .with_retry(retry(settings))
        .with_client_options(client(settings))
        .build()?;
    Ok(Arc::new(store))
}

fn from_environment_without_credentials() -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new();
    for (variable, key) in [
        ("AWS_DEFAULT_REGION", AmazonS3ConfigKey::Region),
        ("AWS_REGION", AmazonS3ConfigKey::Region),
        ("AWS_ENDPOINT_URL", AmazonS3ConfigKey::Endpoint),
        ("AWS_ENDPOINT_URL_S3", AmazonS3ConfigKey::Endpoint),
    ] {
        if let Ok(value) = std::env::var(variable) {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

fn gs(place: &Place<'_>, settings: &LakeStore, credentials: &Credentials) -> StoreResult<Arc<dyn ObjectStore>> {
    let mut builder = match &credentials.service_account {
        Some(key) => GoogleCloudStorageBuilder::new().with_service_account_key(key),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let store = builder
        .with_bucket_name(place.bucket)
        .with_skip_signature(settings.anonymous)
        .with_retry(retry(settings))
        .with_client_options(client(settings))
        .build()?;
    Ok(Arc::new(store))
}

fn az(place: &Place<'_>, settings: &LakeStore, credentials: &Credentials) -> StoreResult<Arc<dyn ObjectStore>> {
    let mut builder = match &credentials.account_key {
        Some(key) => MicrosoftAzureBuilder::new().with_access_key(key),
        None => MicrosoftAzureBuilder::from_env(),
    };
    if let Some(account) = &settings.account {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let store = builder
        .with_container_name(place.bucket)
        .with_skip_signature(settings.anonymous)
        .with_retry(retry(settings))
        .with_client_options(client(settings))
        .build()?;
    Ok(Arc::new(store))
}

fn client(settings: &LakeStore) -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(settings.connect_timeout)
        .with_timeout(settings.timeout)
        .with_allow_http(settings.allow_http)
}

fn retry(settings: &LakeStore) -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: std::time::Duration::from_millis(50),
        max_backoff: std::time::Duration::from_secs(2),
        base: 2.0,
    };
    let max_retries = if settings.retry.is_zero() { 0 } else { 8 };
    RetryConfig { backoff, max_retries, retry_timeout: settings.retry }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_s3(settings: &LakeStore) -> Result<Opened, LakeError> {
        open(FilePath::new("."), "s3://bucket/lake", settings)
    }

    #[test]
    fn a_place_is_told_from_others_by_its_credentials_too() {
        let folder = tempfile::tempdir().unwrap();
        let with = |secret: &str| {
            std::fs::write(folder.path().join("id"), "me\n").unwrap();
            std::fs::write(folder.path().join("secret"), secret).unwrap();
            let location = |name: &str| Some(lakegate_core::project::SecretLocation::File(name.to_owned()));
            let settings = LakeStore {
                access_key_id: location("id"),
                secret_access_key: location("secret"),
                ..LakeStore::default()
            };
            open(folder.path(), "s3://bucket/lake", &settings).unwrap().place
        };
        assert_eq!(with("a"), with("a\n"));
        assert_ne!(with("a"), with("b"));
    }

    #[test]
    fn a_missing_secret_is_named_by_its_place() {
        let location = lakegate_core::project::SecretLocation::Env("NOT_THERE_AT_ALL".to_owned());
        let settings = LakeStore {
            access_key_id: Some(location.clone()),
            secret_access_key: Some(location),
            ..LakeStore::default()
        };
        let error = open_s3(&settings).err().unwrap().to_string();
        assert!(error.contains("`access_key_id`") && error.contains("`NOT_THERE_AT_ALL`"), "{error}");
    }
}
