//! Reads a text file once from end to end, to infer its columns and their types, count its rows and find faults.
//!
//! Scans use the same row reader, so nothing that passes here fails there.

use std::sync::Arc;

use datafusion::object_store::{ObjectMeta, ObjectStore};

use super::Layout;
use super::declared::{Declared, Skipped};
use super::fault::{TextFault, Unread};
use super::guess::Guess;
use super::rows::{Row, Rows};
use super::shape::Shapes;
use lakegate_core::project::OnError;

/// The result of reading a file once.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The columns of a CSV file, in the order of the file.
    pub(super) columns: Vec<(String, Guess)>,
    /// The members of the objects of an NDJSON file.
    pub(super) shapes: Shapes,
    pub(super) rows: u64,
    /// Size of their text, in bytes.
    pub(super) bytes: usize,
    pub(super) skipped: Skipped,
    pub(super) is_empty: bool,
}

/// Reads a file once.
pub(super) async fn look(store: &Arc<dyn ObjectStore>, object: &ObjectMeta, layout: &Layout) -> Result<Looked, Unread> {
    look_at(Rows::open(store, object, layout).await?, layout).await
}

/// Reads all rows once.
pub(super) async fn look_at(mut rows: Rows, layout: &Layout) -> Result<Looked, Unread> {
    let columns = rows.columns().map(<[String]>::to_vec);
    let mut declared = Declared::new(&layout.text, columns.as_deref(), |_| true);
    let is_declared = |name: &str| layout.text.types.iter().any(|(declared, _)| declared == name);
    let mut looked = Looked::default();
    let names = columns.unwrap_or_default();
    let open = names.iter().map(|name| !is_declared(name)).collect::<Vec<_>>();
    looked.columns = names.into_iter().map(|name| (name, Guess::default())).collect();
    while rows.advance().await? {
        let line = rows.line();
        let Some((row, _)) = declared.take(&rows)? else { continue };
        looked.rows += 1;
        looked.bytes = looked.bytes.saturating_add(rows.bytes());
        match row {
            Row::Cells(cells) => {
                let open = open.iter().enumerate().filter(|(_, is_open)| **is_open);
                open.for_each(|(at, _)| looked.columns[at].1.see(cells.get(at)));
            }
            Row::Members(members) => looked.shapes.see(&members, line, is_declared)?,
        }
    }
    looked.skipped = declared.skipped;
    looked.is_empty = rows.is_empty();
    if looked.is_empty {
        if layout.text.on_error != OnError::Reject {
            let what = "it is empty, as an upload that broke off is; remove it, upload it again, or say \
                        `on_error = \"reject\"`";
            return Err(TextFault::new(what).into());
        }
        looked.skipped.files += 1;
    }
    Ok(looked)
}
