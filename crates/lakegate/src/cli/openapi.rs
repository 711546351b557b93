//! `lakegate endpoints --openapi --as PRINCIPAL`: prints the OpenAPI document that a principal's own token would get.

use std::process::ExitCode;

use super::context::store_location;
use super::options::{ProjectArgs, StoreOption};
use super::output::print;
use crate::store::Store;
use crate::{clock, http, impersonation};

/// Prints the document of a principal.
pub(super) async fn run(project: &ProjectArgs, store: &StoreOption, name: &str) -> anyhow::Result<ExitCode> {
    let planned = project.load().await?;
    let store = Store::open(&store_location(&project.project.folder, store.location.as_deref())?).await?;
    let (record, grants) = (store.principal(name).await?, store.grants_of(name).await?);
    let now = clock::now();
    let (principal, grants) = impersonation::impersonate(record, grants, now)?;
    print(serde_json::to_string_pretty(&http::openapi(&planned, &principal, &grants, now))?)?;
    Ok(ExitCode::SUCCESS)
}
