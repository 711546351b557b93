//! Writes changes of the access store to the project's audit log, durably, before they count as exported.

use std::path::PathBuf;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::append_changes;
use super::record::AuditChange;
use crate::store::{self, ChangeSink, SinkError};

/// The folder of an audit log as a sink for changes. Any process may write to it.
#[derive(Clone, Debug)]
pub struct AuditFolderSink(pub PathBuf);

impl ChangeSink for AuditFolderSink {
    fn append<'a>(&'a self, changes: &'a [store::ChangeRecord]) -> BoxFuture<'a, Result<(), SinkError>> {
        let folder = self.0.clone();
        let records = changes.iter().map(|change| AuditChange {
            time: change.at,
            id: change.id.to_string(),
            actor: change.actor.clone(),
            action: change.action.clone(),
            detail: change.detail.clone(),
        });
        let records = records.collect::<Vec<_>>();
        async move {
            let written = tokio::task::spawn_blocking(move || append_changes(&folder, &records)).await;
            written.map_err(SinkError::from)?.map_err(SinkError::from)
        }
        .boxed()
    }
}
