//! `lakegate endpoints --openapi --as PRINCIPAL`: prints the OpenAPI document that a principal's own token would get.

use std::process::ExitCode;

use super::context::store_location;
use super::output::print;
use crate::store::Store;
use crate::{clock, http, impersonation, project};

/// Prints the document of a principal.
pub(super) async fn run(
    folder: &std::path::Path,
    lake: Option<&str>,
    store: Option<&str>,
    name: &str,
) -> anyhow::Result<ExitCode> {
    let planned = project::load(folder, lake).await?;
    let store = Store::open(&store_location(folder, store)?).await?;
    let (record, grants) = (store.principal(name).await?, store.grants_of(name).await?);
    let now = clock::now();
    let (principal, grants) = impersonation::impersonate(record, grants, now)?;
    print(serde_json::to_string_pretty(&http::openapi(&planned, &principal, &grants, now))?)?;
    Ok(ExitCode::SUCCESS)
}
