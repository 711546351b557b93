//! Parses `[catalogs.NAME]` of `lakegate.toml`, and the table format of a table: Delta or Iceberg, and its catalog.
//!
//! Reads no other files and contacts no catalog. Stores the locations of secrets, never the secrets.

use std::collections::BTreeMap;

use super::column::SecretLocation;
use super::finding::suggest_or_list;
use super::issuer::is_loopback_url;
use super::reader::{Section, SpannedValue};

/// A table format, whose metadata lists a table's files and its deleted rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// A Delta table, in the folder that contains `_delta_log`.
    Delta,
    /// An Iceberg table: its folder, its metadata file, or an entry of a catalog.
    Iceberg {
        /// The catalog entry that names the newest metadata file; `None` for a folder or a metadata file.
        entry: Option<Box<CatalogEntry>>,
    },
}

/// A table in a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The catalog.
    pub catalog: Catalog,
    /// The namespace, from the outermost.
    pub namespace: Vec<String>,
    /// The table's name in the catalog.
    pub table: String,
}

/// `[catalogs.NAME]`: a catalog that knows the newest metadata file of Iceberg tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    /// Its name in the project.
    pub name: String,
    /// Its kind and connection settings.
    pub kind: CatalogKind,
}

/// A kind of catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// An Iceberg REST catalog.
    Rest(RestCatalog),
    /// A database with the table `iceberg_tables`.
    Sql {
        /// `sqlite:PATH`, relative to the project folder, or the location of a secret that holds `postgres://…`.
        database: SqlDatabase,
        /// The catalog's name in the database; `None` is any, if only one has the table.
        catalog_name: Option<String>,
    },
    /// AWS Glue.
    Glue {
        /// The region.
        region: String,
        /// The account id, if it is not the caller's own.
        account: Option<String>,
        /// An endpoint that replaces Amazon's.
        endpoint: Option<String>,
    },
}

/// The connection settings of a REST catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestCatalog {
    /// The base URL, without `/v1`.
    pub uri: String,
    /// The warehouse, if the catalog has several.
    pub warehouse: Option<String>,
    /// The location of a bearer token.
    pub token: Option<SecretLocation>,
    /// The location of `client_id:client_secret`, which is exchanged for a token.
    pub credential: Option<SecretLocation>,
    /// The token endpoint, if it is not the catalog itself.
    pub oauth2_uri: Option<String>,
    /// The requested scope of the token.
    pub scope: Option<String>,
}

/// The database of a SQL catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlDatabase {
    /// A SQLite file; a relative path starts at the project folder.
    Sqlite(String),
    /// A database URL without a password.
    Url(String),
    /// The location of a secret that holds the URL.
    Secret(SecretLocation),
}

pub(super) fn read_all(section: Section<'_, '_>) -> BTreeMap<String, Catalog> {
    section
        .named_sections()
        .into_iter()
        .filter_map(|(name, section)| read(name, section))
        .map(|c| (c.name.clone(), c))
        .collect()
}

fn read(name: SpannedValue<String>, mut section: Section<'_, '_>) -> Option<Catalog> {
    let source = section.source();
    let kind_help = || Some("use `rest`, `sql` or `glue`".to_owned());
    let is_given = section.has("type");
    let kind = section.string("type");
    if !is_given {
        source.report(&name.span, format!("catalog `{}` has no `type`", name.value), kind_help());
    }
    let kind = match kind.as_ref().map(|kind| kind.value.as_str()) {
        Some("rest") => read_rest(&name, &mut section),
        Some("sql") => read_sql(&name, &mut section),
        Some("glue") => read_glue(&name, &mut section),
        Some(other) => {
            if let Some(kind) = &kind {
                source.report(&kind.span, format!("`{other}` is not a type of catalog"), kind_help());
            }
            return None;
        }
        None => return None,
    };
    section.finish();
    Some(Catalog { name: name.value, kind: kind? })
}

fn read_rest(name: &SpannedValue<String>, section: &mut Section<'_, '_>) -> Option<CatalogKind> {
    require(name, section, "uri", "`uri = \"https://catalog.example.com\"`");
    let uri = section.string("uri").and_then(|uri| http_url(section, uri));
    let oauth2_uri = section.string("oauth2_uri").and_then(|uri| http_url(section, uri));
    let warehouse = section.string("warehouse").map(|warehouse| warehouse.value);
    let scope = section.string("scope").map(|scope| scope.value);
    let token = section.string("token").and_then(|text| secret(section, "token", &text));
    let credential = section.string("credential").and_then(|text| secret(section, "credential", &text));
    Some(CatalogKind::Rest(RestCatalog { uri: uri?, warehouse, token, credential, oauth2_uri, scope }))
}

fn read_sql(name: &SpannedValue<String>, section: &mut Section<'_, '_>) -> Option<CatalogKind> {
    let source = section.source();
    require(name, section, "uri", "`uri = \"sqlite:catalog.db\"` or `uri = \"env:CATALOG_URL\"`");
    let uri = section.string("uri");
    let catalog_name = section.string("catalog_name").map(|name| name.value);
    let uri = uri?;
    let database = if let Some(secret) = SecretLocation::parse(&uri.value) {
        SqlDatabase::Secret(secret)
    } else if let Some(path) = uri.value.strip_prefix("sqlite:") {
        SqlDatabase::Sqlite(path.strip_prefix("///").map_or(path.to_owned(), |path| format!("/{path}")))
    } else if uri.value.starts_with("postgres://") || uri.value.starts_with("postgresql://") {
        if has_password(&uri.value) {
            // Do not repeat the text: it contains the password.
            source.report(
                &uri.span,
                "`uri` holds a password",
                Some(
                    "write `env:` and the name of an environment variable that holds the URL, or `file:` and a path"
                        .into(),
                ),
            );
            return None;
        }
        SqlDatabase::Url(uri.value)
    } else {
        source.report(
            &uri.span,
            "`uri` is not a database of a catalog",
            Some(
                "write `sqlite:` and a path, `postgres://…`, or `env:` and the name of a variable that holds it".into(),
            ),
        );
        return None;
    };
    Some(CatalogKind::Sql { database, catalog_name })
}

fn read_glue(name: &SpannedValue<String>, section: &mut Section<'_, '_>) -> Option<CatalogKind> {
    require(name, section, "region", "`region = \"eu-central-1\"`");
    let region = section.string("region");
    let account = section.string("account").map(|account| account.value);
    let endpoint = section.string("endpoint").and_then(|uri| http_url(section, uri));
    Some(CatalogKind::Glue { region: region?.value, account, endpoint })
}

/// Reports a missing key.
fn require(name: &SpannedValue<String>, section: &Section<'_, '_>, key: &'static str, help: &str) {
    if !section.has(key) {
        let message = format!("catalog `{}` has no `{key}`", name.value);
        section.source().report(&name.span, message, Some(format!("write {help}")));
    }
}

/// A URL that tokens may be sent to.
fn http_url(section: &Section<'_, '_>, uri: SpannedValue<String>) -> Option<String> {
    let text = uri.value.trim_end_matches('/').to_owned();
    if has_password(&text) {
        section.source().report(
            &uri.span,
            "a URL here holds no user and password",
            Some("use `token` or `credential`, which say where the secret is".into()),
        );
        return None;
    }
    if text.starts_with("https://") || is_loopback_url(&text) {
        return Some(text);
    }
    section.source().report(
        &uri.span,
        format!("`{text}` is not a URL that a catalog may have"),
        Some("use `https:`; `http:` only on this machine".into()),
    );
    None
}

fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) || url.contains("password=")
}

fn secret(section: &Section<'_, '_>, key: &str, text: &SpannedValue<String>) -> Option<SecretLocation> {
    let location = SecretLocation::parse(&text.value);
    if location.is_none() {
        // Do not repeat the text: it may be the secret itself.
        section.source().report(
            &text.span,
            format!("`{key}` must say where the secret is, not what it is"),
            Some("write `env:` and the name of an environment variable, or `file:` and a path".into()),
        );
    }
    location
}

/// Reads the catalog entry of a table, and reports keys that conflict.
pub(super) fn read_entry(
    table: &mut Section<'_, '_>,
    is_iceberg: bool,
    catalogs: &BTreeMap<String, Catalog>,
) -> Result<Option<Box<CatalogEntry>>, ()> {
    let source = table.source();
    let (catalog, entry) = (table.string("catalog"), table.string("table"));
    let Some(catalog) = catalog else {
        if let Some(entry) = entry {
            source.report(
                &entry.span,
                "`table` names an entry of a catalog, and there is no `catalog`",
                Some("add `catalog`".into()),
            );
            return Err(());
        }
        return Ok(None);
    };
    if !is_iceberg {
        source.report(
            &catalog.span,
            "only Iceberg tables are in a catalog",
            Some("write `format = \"iceberg\"`".into()),
        );
        return Err(());
    }
    let Some(known) = catalogs.get(&catalog.value) else {
        let help = match catalogs.is_empty() {
            true => format!("declare it: `[catalogs.{}]`", catalog.value),
            false => suggest_or_list(&catalog.value, catalogs.keys().map(String::as_str)),
        };
        source.report(&catalog.span, format!("there is no catalog `{}`", catalog.value), Some(help));
        return Err(());
    };
    let help = || Some("write `table = \"namespace.name\"`".to_owned());
    let Some(entry) = entry else {
        source.report(&catalog.span, "a table in a catalog needs `table`", help());
        return Err(());
    };
    let mut parts = entry.value.split('.').map(str::to_owned).collect::<Vec<_>>();
    let name = parts.pop().unwrap_or_default();
    if parts.is_empty() || name.is_empty() || parts.iter().any(String::is_empty) {
        source.report(&entry.span, format!("`{}` is not a namespace and a name", entry.value), help());
        return Err(());
    }
    Ok(Some(Box::new(CatalogEntry { catalog: known.clone(), namespace: parts, table: name })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::config;

    fn read(text: &str) -> (config::Config, Vec<String>) {
        let text = format!("[lake]\nlocation = \".\"\n{text}");
        let (config, findings) = config::read(&text, &BTreeMap::new());
        (config, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_table_is_in_a_catalog_that_is_declared() {
        let (config, findings) = read(
            "[catalogs.main]\ntype = \"rest\"\nuri = \"https://c.example/\"\ntoken = \"env:T\"\n\
             [tables.t]\nformat = \"iceberg\"\ncatalog = \"main\"\ntable = \"a.b.t\"\nshared = true\n",
        );
        assert_eq!(findings, Vec::<String>::new());
        let Some(TableFormat::Iceberg { entry: Some(entry) }) = &config.tables["t"].table_format else { panic!() };
        assert_eq!((entry.namespace.join("/"), entry.table.as_str()), ("a/b".to_owned(), "t"));
        let (_, findings) =
            read("[tables.t]\nformat = \"iceberg\"\ncatalog = \"main\"\ntable = \"a.t\"\nshared = true\n");
        assert!(findings[0].contains("there is no catalog `main`"), "{findings:?}");
        let (_, findings) = read(
            "[catalogs.main]\ntype = \"glue\"\nregion = \"r\"\n\
             [tables.t]\nformat = \"delta\"\nlocation = \"t\"\ncatalog = \"main\"\ntable = \"a.t\"\nshared = true\n",
        );
        assert!(findings[0].contains("only Iceberg tables are in a catalog"), "{findings:?}");
    }

    #[test]
    fn a_secret_in_the_file_is_a_fault_that_does_not_repeat_it() {
        for line in [
            "type = \"rest\"\nuri = \"https://c\"\ntoken = \"hush\"",
            "type = \"rest\"\nuri = \"https://c\"\ncredential = \"hush:hush\"",
            "type = \"rest\"\nuri = \"https://u:hush@c\"",
            "type = \"sql\"\nuri = \"postgres://u:hush@h/d\"",
            "type = \"sql\"\nuri = \"mysql://u:hush@h/d\"",
        ] {
            let (config, findings) = read(&format!("[catalogs.c]\n{line}\n"));
            assert_eq!(findings.len(), 1, "{line}: {findings:?}");
            assert!(!findings[0].contains("hush"), "{findings:?}");
            assert!(!format!("{config:?}").contains("hush"));
        }
    }

    #[test]
    fn a_token_is_not_sent_over_plain_http() {
        let (_, findings) = read("[catalogs.c]\ntype = \"rest\"\nuri = \"http://c.example\"\n");
        assert!(findings[0].contains("is not a URL that a catalog may have"), "{findings:?}");
        let (_, findings) = read("[catalogs.c]\ntype = \"rest\"\nuri = \"http://127.0.0.1:8181\"\n");
        assert_eq!(findings, Vec::<String>::new());
    }
}
