//! Converts Parquet columns to the table's types: text is parsed as in CSV, and other values must convert without loss.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, new_null_array};
use datafusion::arrow::compute::kernels::cmp::not_distinct;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::build::Column;
use super::plan::Planned;
use super::rejects::shortened;
use super::text::Cell;

/// Why a value was rejected, and the value.
pub(super) type Fault = (String, Option<String>);

/// The converted column, and the faults by row index. A row with a fault is NULL in the column.
pub(super) fn column(
    source: &ArrayRef,
    planned: &Planned,
    wanted: &DataType,
) -> Result<(ArrayRef, Vec<(usize, Fault)>), String> {
    let text = as_text(source)?;
    if let Some(text) = text {
        let mut builder = Column::new(planned.reading.kind, planned.reading.is_list);
        let mut faults = Vec::new();
        for (at, cell) in text.as_string::<i32>().iter().enumerate() {
            match planned.reading.read(cell.map_or(Cell::Missing, Cell::Text)) {
                Ok(value) => builder.push(value),
                Err(why) => {
                    faults.push((at, (why, cell.map(shortened))));
                    builder.push(None);
                }
            }
        }
        return Ok((fitted(&builder.finish(), wanted)?, faults));
    }
    if source.data_type() == wanted {
        return Ok((Arc::clone(source), Vec::new()));
    }
    let gentle = CastOptions { safe: true, ..CastOptions::default() };
    let unfit = || format!("{} does not become {wanted}", source.data_type());
    let cast = cast_with_options(source, wanted, &gentle).map_err(|_| unfit())?;
    // Cast back and compare: a value that differs lost information.
    let back = cast_with_options(&cast, source.data_type(), &gentle).map_err(|_| unfit())?;
    let shown = ArrayFormatter::try_new(source, &FormatOptions::default()).map_err(|_| unfit())?;
    let same = match wanted.is_nested() {
        true => (0..source.len()).map(|at| source.slice(at, 1).to_data() == back.slice(at, 1).to_data()).collect(),
        false => {
            not_distinct(source, &back).map_err(|_| unfit())?.iter().map(|same| same == Some(true)).collect::<Vec<_>>()
        }
    };
    let faults = same.iter().enumerate().filter(|(_, same)| !**same).map(|(at, _)| {
        (at, ("it does not fit the type of the column".to_owned(), Some(shortened(&shown.value(at).to_string()))))
    });
    Ok((cast, faults.collect()))
}

/// The column as text, if it is a text column.
fn as_text(source: &ArrayRef) -> Result<Option<ArrayRef>, String> {
    let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_text = match source.data_type() {
        DataType::Dictionary(_, values) => is_text(values),
        other => is_text(other),
    };
    if !is_text {
        return Ok(None);
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(source, &DataType::Utf8, &strict).map(Some).map_err(|error| error.to_string())
}

/// Narrows a built column to its final type. Parsing has checked the range.
pub(super) fn fitted(built: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    if built.is_empty() {
        return Ok(new_null_array(wanted, 0));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(built, wanted, &strict).map_err(|error| error.to_string())
}
