//! Reads the current rows of a table whose files have deleted rows. It reads as a server does, but without policies.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use lakegate_core::project::Table;

use super::IngestError;
use crate::lake::{Lake, LakeTable};
use crate::plan::bare_session;
use crate::publish::{PublishError, RowStream, adapted};

/// Rows of the table, with these columns.
pub(super) async fn rows(lake: &Lake, table: &Table, schema: &SchemaRef) -> Result<RowStream, IngestError> {
    let failed = || PublishError::store("read the table");
    let session = bare_session(lake, Arc::new(RuntimeEnv::default())).map_err(failed())?;
    let opened = LakeTable::open(lake, table, &session, None).await;
    let opened = opened.map_err(|fault| {
        IngestError::unfit(fault.message, fault.help.unwrap_or_else(|| "run this again".to_owned()))
    })?;
    let plan = opened.scan(&session, None, &[], None).await.map_err(failed())?;
    let rows = execute_stream(plan, session.task_ctx()).map_err(failed())?;
    let schema = SchemaRef::clone(schema);
    let fitted = rows.map(move |batch| {
        adapted(&batch.map_err(failed())?, &schema)
            .map_err(|fault| PublishError::refused(fault, "give the table's column a wider type"))
    });
    Ok(fitted.boxed())
}
