//! Finds columns in a Parquet footer whose values cannot be returned unchanged, which is a fault of the file.

use datafusion::parquet::basic::{ConvertedType, LogicalType};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::file::statistics::Statistics;
use datafusion::parquet::schema::types::{ColumnDescriptor, Type};

/// The fault of the first such column; `None` when all columns are fine.
pub(super) fn fault(footer: &ParquetMetaData) -> Option<String> {
    let schema = footer.file_metadata().schema_descr();
    if let Some(name) = named_twice(schema.root_schema(), "") {
        return Some(format!("it has two columns `{name}`; give one of them another name"));
    }
    schema.columns().iter().enumerate().find_map(|(leaf, column)| {
        let name = column.path().string();
        if is_interval(column) && column.path().parts().len() > 1 {
            return Some(format!("`{name}` is an INTERVAL inside of another column, which is not read; leave it out"));
        }
        let precision = decimal_precision(column)?;
        let statistics = footer.row_groups().iter().filter_map(|group| group.column(leaf).statistics());
        let mut bounds = statistics.flat_map(bounds);
        let is_too_long = bounds.any(|bound| bound.unsigned_abs() >= 10_u128.pow(precision));
        is_too_long.then(|| format!("column `{name}` has decimals of more digits than the {precision} of its type"))
    })
}

/// Whether the column's type is INTERVAL.
pub(super) fn is_interval(column: &ColumnDescriptor) -> bool {
    column.converted_type() == ConvertedType::INTERVAL
}

/// The dotted name of the first field whose name its group has twice.
fn named_twice(group: &Type, above: &str) -> Option<String> {
    let fields = group.get_fields();
    fields.iter().enumerate().find_map(|(at, field)| {
        let name = if above.is_empty() { field.name().to_owned() } else { format!("{above}.{}", field.name()) };
        let is_again = fields[..at].iter().any(|before| before.name() == field.name());
        if is_again {
            return Some(name);
        }
        if field.is_group() { named_twice(field, &name) } else { None }
    })
}

/// The decimal's precision, when a 128-bit value can have more digits; `None` for other types.
fn decimal_precision(column: &ColumnDescriptor) -> Option<u32> {
    let is_decimal = matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_)))
        || column.converted_type() == ConvertedType::DECIMAL;
    u32::try_from(column.type_precision()).ok().filter(|precision| is_decimal && *precision <= 38)
}

fn bounds(statistics: &Statistics) -> Vec<i128> {
    match statistics {
        Statistics::Int32(of) => {
            [of.min_opt(), of.max_opt()].into_iter().flatten().map(|bound| (*bound).into()).collect()
        }
        Statistics::Int64(of) => {
            [of.min_opt(), of.max_opt()].into_iter().flatten().map(|bound| (*bound).into()).collect()
        }
        _ => {
            let bytes = [statistics.min_bytes_opt(), statistics.max_bytes_opt()];
            bytes.into_iter().flatten().filter_map(of_bytes).collect()
        }
    }
}

/// Decodes a big-endian two's complement number; `None` when it is empty or has more than 16 bytes.
fn of_bytes(bytes: &[u8]) -> Option<i128> {
    let sign = if *bytes.first()? >= 0x80 { 0xff } else { 0 };
    let mut whole = [sign; 16];
    let from = whole.len().checked_sub(bytes.len())?;
    whole[from..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(whole))
}
