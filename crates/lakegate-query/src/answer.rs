//! Holds a whole result for policy tests: its columns, its rows as JSON, and the first row that violates a predicate.
//!
//! Not for serving: responses to callers are streamed.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::ExprWithAlias;
use datafusion::sql::sqlparser::tokenizer::Span;
use lakegate_core::error::Error;
use lakegate_core::project::{Finding, Position};

use crate::encode::{Encoder, JsonArray};
use crate::engine::BatchStream;
use crate::plan::PlannedProject;
use crate::plan::place::Place;
use crate::plan::{functions, sql};

/// All rows of a result.
#[derive(Debug)]
pub struct Answer {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Answer {
    /// Reads a stream to its end.
    ///
    /// # Errors
    /// If the query fails, its time is over, or there are too many rows.
    pub async fn collect(mut stream: BatchStream) -> Result<Self, Error> {
        let schema = Arc::clone(stream.schema());
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().await? {
            batches.push(batch);
        }
        Ok(Self { schema, batches })
    }

    /// The names of the columns, in their order.
    pub fn columns(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// At most `most` rows from index `from` on, as a JSON array of records.
    ///
    /// # Errors
    /// If JSON cannot represent a value.
    pub fn json(&self, from: usize, most: usize) -> Result<Bytes, Error> {
        let mut encoder = JsonArray::new();
        let mut bytes = Vec::new();
        let (mut skip, mut left) = (from, most);
        for batch in &self.batches {
            let start = skip.min(batch.num_rows());
            let rows = (batch.num_rows() - start).min(left);
            if rows > 0 {
                bytes.extend_from_slice(&encoder.write(&batch.slice(start, rows))?);
            }
            skip -= start;
            left -= rows;
        }
        bytes.extend_from_slice(&encoder.finish()?);
        Ok(bytes.into())
    }

    /// The index of the first row for which the predicate is false or NULL; `None` if there is none.
    ///
    /// # Errors
    /// If the predicate is invalid over the columns of the result, or fails for a row.
    pub fn first_row_outside(
        &self,
        project: &PlannedProject,
        predicate: &str,
        position: &Position,
    ) -> Result<Option<usize>, Finding> {
        let place = Place::String(position);
        let check = self.compile(project, predicate, &place)?;
        let mut before = 0;
        for batch in &self.batches {
            let truths = check.evaluate(batch).and_then(|truths| truths.into_array(batch.num_rows()));
            let truths = truths.map_err(|error| failed(&place, &error))?;
            let truths = truths.as_boolean();
            let outside = (0..batch.num_rows()).find(|row| truths.is_null(*row) || !truths.value(*row));
            if let Some(row) = outside {
                return Ok(Some(before + row));
            }
            before += batch.num_rows();
        }
        Ok(None)
    }

    fn compile(
        &self,
        project: &PlannedProject,
        predicate: &str,
        place: &Place<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>, Finding> {
        let at = |span: Span, message: String, help: &str| place.finding(span, message).help(help);
        let (expr, syntax) = sql::parse_predicate(predicate, place).map_err(|mut faults| faults.swap_remove(0))?;
        if let Some((name, span)) = syntax.placeholders.first() {
            let message = format!("`${name}` cannot stand there");
            return Err(at(*span, message, "compare columns of the answer with fixed values"));
        }
        if let Some((_, span)) = syntax.tables.first() {
            let message = "the predicate looks at the answer only, not at tables".to_owned();
            return Err(at(*span, message, "compare columns of the answer with fixed values"));
        }
        let session = project.session();
        let schema = DFSchema::try_from(Arc::clone(&self.schema)).map_err(|error| place.error(&error))?;
        let planned = session
            .create_logical_expr_from_sql_expr(ExprWithAlias { expr, alias: None }, &schema)
            .map_err(|error| place.error(&error))?;
        if let Some(name) = functions::refused_in(&planned).first() {
            let called = syntax.functions.iter().find(|(called, _)| called == name);
            let span = called.map_or(Span::empty(), |(_, span)| *span);
            let message = format!("function `{name}` cannot be called there");
            return Err(at(span, message, "use functions that give the same answer for the same rows"));
        }
        let planned = session.create_physical_expr(planned, &schema).map_err(|error| place.error(&error))?;
        match planned.data_type(&self.schema) {
            Ok(DataType::Boolean) => Ok(planned),
            _ => Err(at(
                Span::empty(),
                "the predicate must be true or false for a row".to_owned(),
                "write a comparison, such as `amount > 0`",
            )),
        }
    }
}

fn failed(place: &Place<'_>, error: &DataFusionError) -> Finding {
    let finding = place.error(error);
    let message = format!("the predicate cannot be evaluated on a row: {}", finding.message);
    Finding { message, ..finding }
}
