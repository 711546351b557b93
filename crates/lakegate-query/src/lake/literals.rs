//! Numbers of CSV files that are rather codes: `007` is not `7`, and `1E2` is not `100`, when they are keys. The engine takes
//! for a number whatever looks like one; here the text itself is looked at, once a version.
//!
//! A column is text when a leading zero, a plus or an exponent of a whole number is in it, or a number that a double does not
//! hold exactly, so that no two values become one. A row filter over it would show the rows of the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::catalog::Session;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use super::Lake;
use super::version::TableVersion;

/// From here on a double does not hold every whole number.
const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;

/// The version with columns of codes as text.
pub(super) async fn with_codes_as_text(
    version: TableVersion,
    lake: &Lake,
    session: &dyn Session,
) -> Result<TableVersion> {
    let fields = version.schema.file_schema().fields();
    let numbers = fields.iter().enumerate().filter(|(_, field)| is_number(field.data_type())).map(|(at, _)| at);
    let numbers = numbers.collect::<Vec<_>>();
    if numbers.is_empty() {
        return Ok(version);
    }
    let as_text = version.clone().with_text(&numbers.iter().copied().collect());
    let unknown = Statistics::new_unknown(as_text.schema.table_schema());
    let plan = as_text.scan(lake.url(), session, Some(&numbers), None, unknown).await?;
    let mut rows = execute_stream(plan, session.task_ctx())?;
    let mut codes = BTreeSet::new();
    while let Some(batch) = rows.next().await.transpose()? {
        for (column, at) in batch.columns().iter().zip(&numbers) {
            let is_double = *fields[*at].data_type() == DataType::Float64;
            if !codes.contains(at) && has_codes(column, is_double)? {
                codes.insert(*at);
            }
        }
    }
    Ok(if codes.is_empty() { version } else { version.with_text(&codes) })
}

/// The name of a column of doubles that holds a number which may have been another whole one in the text.
pub(super) fn inexact(batch: &RecordBatch) -> Option<String> {
    let fields = batch.schema();
    let found = batch.columns().iter().zip(fields.fields()).find(|(column, _)| holds_inexact(column));
    found.map(|(_, field)| field.name().clone())
}

fn holds_inexact(array: &ArrayRef) -> bool {
    match array.data_type() {
        DataType::Float64 => {
            let is_inexact = |number: f64| number.is_finite() && number.abs() >= FIRST_INEXACT;
            array.as_primitive::<Float64Type>().iter().flatten().any(is_inexact)
        }
        DataType::Struct(_) => array.as_struct().columns().iter().any(holds_inexact),
        DataType::List(_) => holds_inexact(array.as_list::<i32>().values()),
        _ => false,
    }
}

fn is_number(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::Float64)
}

fn has_codes(column: &ArrayRef, is_double: bool) -> Result<bool> {
    let text = cast(column, &DataType::Utf8)?;
    Ok(text.as_string::<i32>().iter().flatten().any(|text| is_code(text, is_double)))
}

/// Whether a text that can be read as a number is better not read as one.
fn is_code(text: &str, is_double: bool) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut first = digits.bytes();
    let leads_with_zero = first.next() == Some(b'0') && first.next().is_some_and(|next| next.is_ascii_digit());
    let is_power = digits.contains(['e', 'E']) && !digits.contains('.');
    let is_inexact = is_double && text.parse::<f64>().is_ok_and(|number| number.abs() >= FIRST_INEXACT);
    leads_with_zero || is_power || is_inexact || text.starts_with('+')
}

impl TableVersion {
    /// The same files with these of their columns as text.
    fn with_text(self, columns: &BTreeSet<usize>) -> Self {
        let fields =
            self.schema.file_schema().fields().iter().enumerate().map(|(at, field)| match columns.contains(&at) {
                true => Arc::new(Field::new(field.name(), DataType::Utf8View, field.is_nullable())),
                false => Arc::clone(field),
            });
        let file_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let partitions = self.schema.table_partition_cols().clone();
        let schema = TableSchema::builder(file_schema).with_table_partition_cols(partitions).build();
        Self { schema, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_two_keys_is_a_code() {
        for code in ["007", "-01", "00", "1E2", "1e2", "+7", "00.5"] {
            assert!(is_code(code, true) && is_code(code, false), "{code}");
        }
        for number in ["0", "7", "-7", "0.5", "-0.25", "100", "1.5e-5", "2.0E10", ""] {
            assert!(!is_code(number, true) && !is_code(number, false), "{number}");
        }
        assert!(is_code("9007199254740993", true) && is_code("-9007199254740992", true));
        assert!(!is_code("9007199254740993", false) && !is_code("9007199254740991", true));
    }
}
