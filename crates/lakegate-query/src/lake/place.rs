//! Resolves the absolute URIs in a table's own metadata to paths in the lake, and refuses URIs outside it.
//!
//! The author of such metadata must not be able to make the server read anything else.

use datafusion::object_store::path::Path;

use super::{Lake, TableFault, location};

/// The path in the lake for a URI from a table's metadata.
pub(super) fn below(lake: &Lake, uri: &str) -> Result<Path, TableFault> {
    let relative = match (&lake.root, &lake.uri) {
        (Some(root), _) => root.to_str().and_then(|root| below_prefix(file_path(uri)?, root)),
        (None, Some(lake)) => below_prefix(&with_usual_scheme(uri), &with_usual_scheme(lake)),
        (None, None) => None,
    };
    relative_below(lake, &relative.ok_or_else(|| outside(uri))?)
}

/// The path of a `file:` URI or of a plain path; `None` for other schemes.
fn file_path(uri: &str) -> Option<&str> {
    match uri.split_once(':') {
        Some(("file", rest)) => match rest.strip_prefix("//") {
            Some(rest) => Some(rest.strip_prefix("localhost").unwrap_or(rest)),
            None => Some(rest),
        },
        Some((_, rest)) if rest.starts_with("//") => None,
        _ => Some(uri),
    }
}

/// Writers use several names for one scheme.
fn with_usual_scheme(uri: &str) -> String {
    for (other, usual) in [("s3a://", "s3://"), ("s3n://", "s3://"), ("gcs://", "gs://")] {
        if let Some(rest) = uri.strip_prefix(other) {
            return format!("{usual}{rest}");
        }
    }
    // Azure writers put the account after the container; the project configures the lake's account.
    if let Some(rest) =
        ["abfss://", "abfs://", "wasbs://", "wasb://"].iter().find_map(|scheme| uri.strip_prefix(scheme))
        && let Some((container, rest)) = rest.split_once('@')
    {
        let path = rest.split_once('/').map_or("", |(_, path)| path);
        return format!("az://{container}/{path}");
    }
    uri.to_owned()
}

fn below_prefix(place: &str, prefix: &str) -> Option<String> {
    let rest = place.strip_prefix(prefix.trim_end_matches('/'))?;
    rest.strip_prefix('/').map(str::to_owned)
}

/// Checks a path relative to the lake: it has no `..`, and no symlink leads out.
pub(super) fn relative_below(lake: &Lake, path: &str) -> Result<Path, TableFault> {
    if path.split('/').any(|segment| segment == ".." || segment == ".") {
        return Err(outside(path));
    }
    let joined = path.split('/').filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/");
    let path =
        Path::parse(&joined).map_err(|_| TableFault::new("a file of the table has a name that is not a path"))?;
    location::refuse_outside(lake, &path)?;
    Ok(path)
}

/// The error names only the last segment, because the rest may be a path of the machine.
fn outside(uri: &str) -> TableFault {
    let name = uri.rsplit('/').next().unwrap_or_default();
    TableFault::new(format!("the table names a file outside the lake, `…/{name}`"))
        .help("a table's metadata and data lie below `location` in [lake]; a table that was moved names its old place")
}
