//! Finds a table's newest metadata file in an Iceberg REST catalog. The catalog's configuration and token are cached;
//! the table is loaded on each call.

use std::sync::Arc;
use std::time::Duration;

use lakegate_core::project::{CatalogEntry, RestCatalog};
use moka::future::Cache;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::super::{Lake, TableFault};
use super::{Found, away, body, client, is_in_trouble, no_table, not_understood, read_secret, refused, restricted};

/// Cache lifetime of a token and a configuration. Catalog tokens usually live for about an hour.
const KEPT: Duration = Duration::from_secs(300);

/// Cached catalog sessions, by the catalog's name and settings.
#[derive(Debug)]
pub(crate) struct Sessions(Cache<String, Arc<Session>>);

#[derive(Debug)]
struct Session {
    token: Option<Token>,
    prefix: Option<String>,
    scan_planning_mode: Option<String>,
}

/// A token that `Debug` does not print.
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(100).time_to_live(KEPT).build())
    }
}

#[derive(Deserialize)]
struct Configuration {
    #[serde(default)]
    defaults: Settings,
    #[serde(default)]
    overrides: Settings,
}

/// The catalog settings that lakegate obeys: the URL prefix and the scan planning mode. It ignores others, because it
/// reads files from the lake, with the lake's credentials.
#[derive(Default, Deserialize)]
struct Settings {
    prefix: Option<String>,
    #[serde(rename = "scan-planning-mode")]
    scan_planning_mode: Option<String>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Loaded {
    metadata_location: Option<String>,
    #[serde(default)]
    config: Settings,
    /// The restrictions on lakegate's identity for this table.
    #[serde(default)]
    read_restrictions: Value,
}

pub(super) async fn find(lake: &Lake, entry: &CatalogEntry, catalog: &RestCatalog) -> Result<Found, TableFault> {
    let key = format!("{:?}", entry.catalog);
    let mut response = load(lake, entry, catalog, &key).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        // The catalog may have revoked the token before it expired.
        lake.catalogs.0.invalidate(&key).await;
        response = load(lake, entry, catalog, &key).await?;
    }
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(no_table(entry)),
        StatusCode::UNAUTHORIZED => return Err(refused(entry)),
        // The catalog accepts the token but refuses this table, so lakegate's right to the table was revoked.
        StatusCode::FORBIDDEN => return Err(refused(entry).withdrawn()),
        status if is_in_trouble(status) => return Err(away(entry, "cannot answer now")),
        _ => return Err(not_understood(entry)),
    }
    let loaded = serde_json::from_slice::<Loaded>(&body(entry, response).await?).map_err(|_| not_understood(entry))?;
    let of_catalog = lake.catalogs.0.get(&key).await.and_then(|session| session.scan_planning_mode.clone());
    let mode = loaded.config.scan_planning_mode.or(of_catalog);
    if let Some(mode) = mode.filter(|mode| mode != "client") {
        return Err(restricted(entry, &format!("it plans scans itself (`scan-planning-mode` is `{mode}`)")));
    }
    let location = loaded.metadata_location.ok_or_else(|| not_understood(entry))?;
    Ok(Found { location, restrictions: loaded.read_restrictions })
}

async fn load(lake: &Lake, entry: &CatalogEntry, catalog: &RestCatalog, key: &str) -> Result<Response, TableFault> {
    let session = match lake.catalogs.0.get(key).await {
        Some(session) => session,
        None => {
            let session = Arc::new(begin(lake, entry, catalog).await?);
            lake.catalogs.0.insert(key.to_owned(), Arc::clone(&session)).await;
            session
        }
    };
    // The REST specification separates namespace parts with U+001F, which no name contains.
    let namespace = entry.namespace.join("\u{1f}");
    let prefix = session.prefix.as_deref().unwrap_or_default().split('/').filter(|part| !part.is_empty());
    let parts = ["v1"].into_iter().chain(prefix).chain(["namespaces", &namespace, "tables", &entry.table]);
    let url = url(entry, &catalog.uri, parts)?;
    send(entry, with_token(client()?.get(url), session.token.as_ref())).await
}

/// Obtains a token, if the catalog needs one, and fetches the catalog's configuration.
async fn begin(lake: &Lake, entry: &CatalogEntry, catalog: &RestCatalog) -> Result<Session, TableFault> {
    let token = match (&catalog.token, &catalog.credential) {
        (Some(token), _) => Some(Token(read_secret(lake, entry, token)?)),
        (None, Some(credential)) => Some(exchanged(entry, catalog, &read_secret(lake, entry, credential)?).await?),
        (None, None) => None,
    };
    let mut url = url(entry, &catalog.uri, ["v1", "config"])?;
    if let Some(warehouse) = &catalog.warehouse {
        url.query_pairs_mut().append_pair("warehouse", warehouse);
    }
    let response = send(entry, with_token(client()?.get(url), token.as_ref())).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(refused(entry)),
        status if is_in_trouble(status) => return Err(away(entry, "cannot answer now")),
        _ => return Err(not_understood(entry)),
    }
    let configuration = serde_json::from_slice::<Configuration>(&body(entry, response).await?);
    let configuration = configuration.map_err(|_| not_understood(entry))?;
    let Configuration { defaults, overrides } = configuration;
    Ok(Session {
        token,
        prefix: overrides.prefix.or(defaults.prefix),
        scan_planning_mode: overrides.scan_planning_mode.or(defaults.scan_planning_mode),
    })
}

/// Exchanges a client id and secret for an OAuth2 token.
async fn exchanged(entry: &CatalogEntry, catalog: &RestCatalog, credential: &str) -> Result<Token, TableFault> {
    let (id, secret) = credential.split_once(':').unwrap_or(("", credential));
    let url = match &catalog.oauth2_uri {
        Some(uri) => Url::parse(uri).map_err(|_| not_understood(entry))?,
        None => url(entry, &catalog.uri, ["v1", "oauth", "tokens"])?,
    };
    let form = form(id, secret, catalog.scope.as_deref().unwrap_or("catalog"));
    let request = client()?.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
    let response = send(entry, request).await?;
    match response.status() {
        StatusCode::OK => {}
        status if is_in_trouble(status) => return Err(away(entry, "cannot answer now")),
        _ => return Err(refused(entry)),
    }
    let granted =
        serde_json::from_slice::<Granted>(&body(entry, response).await?).map_err(|_| not_understood(entry))?;
    Ok(Token(granted.access_token))
}

fn form(id: &str, secret: &str, scope: &str) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !id.is_empty() {
        form.append_pair("client_id", id);
    }
    form.append_pair("client_secret", secret).append_pair("scope", scope).finish()
}

fn url<'p>(entry: &CatalogEntry, base: &str, parts: impl IntoIterator<Item = &'p str>) -> Result<Url, TableFault> {
    let mut url = Url::parse(base).map_err(|_| not_understood(entry))?;
    url.path_segments_mut().map_err(|()| not_understood(entry))?.pop_if_empty().extend(parts);
    Ok(url)
}

fn with_token(request: RequestBuilder, token: Option<&Token>) -> RequestBuilder {
    match token {
        Some(Token(token)) => request.bearer_auth(token),
        None => request,
    }
}

async fn send(entry: &CatalogEntry, request: RequestBuilder) -> Result<Response, TableFault> {
    // The error's text would contain the URL, which only the operator may see.
    request.send().await.map_err(|error| away(entry, "does not answer").source(error.without_url()))
}
