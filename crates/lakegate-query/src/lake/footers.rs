//! Reads and checks the footer of every Parquet file of a table before the table is served.
//!
//! `parquet` does the reading.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::parquet::file::metadata::ParquetMetaData;

use super::cached_footer;
use super::columns::{Unreadable, guarded};
use super::values;

/// Reads a file's footer through the metadata cache and checks it.
pub(super) async fn check(
    session: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    is_remote: bool,
    object: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>, Unreadable> {
    let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
    let footer = async { Ok(cached_footer(cache.as_ref(), store.as_ref(), object).await?) };
    let footer = guarded(is_remote, footer).await.map_err(|error| error.of(object))?;
    match values::fault(&footer) {
        None => Ok(footer),
        Some(fault) => Err(Unreadable::from(fault).of(object)),
    }
}
