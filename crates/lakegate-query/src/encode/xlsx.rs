//! Encodes an Excel workbook with one sheet, for people. It is the only format that is not streamed, because the file
//! is built at the end.
//!
//! Rows are kept in an unnamed temporary file until the workbook is assembled. Excel limits the rows of a sheet and the
//! characters of a cell. Numbers of more than fifteen digits are written as text, because Excel would round them.

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::arrow::record_batch::RecordBatch;
use lakegate_core::error::{Code, Error};
use lakegate_core::format::Format;
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format as Style, Worksheet, XlsxError};

use super::cells::{self, Cells, Kind};
use super::{Encoder, plain, unwritable, unwritable_as, values};

/// Maximum number of columns in a sheet.
const MOST_COLUMNS: usize = 16_384;

/// Significant digits of a number in Excel.
const DIGITS: usize = 15;

/// Days from Excel's epoch to 1970-01-01.
const DAYS_BEFORE_1970: f64 = 25_569.0;

/// Days where Excel agrees with the calendar: from March 1900, because Excel has a leap day in 1900, to 9999.
const DAYS_OF_EXCEL: std::ops::Range<f64> = 61.0..2_958_466.0;

/// The workbook under construction.
pub(super) struct Workbook {
    workbook: rust_xlsxwriter::Workbook,
    rows: u32,
    most_rows: u32,
    date: Style,
    time: Style,
}

impl Workbook {
    pub(super) fn new(schema: &Schema, most_rows: u32) -> Result<Self, Error> {
        let columns = schema.fields().len();
        if columns > MOST_COLUMNS {
            let detail = format!("the answer has {columns} columns, and a workbook at most {MOST_COLUMNS}");
            return Err(
                Error::new(Code::ResultTooLarge, detail).hint("name fewer with `select`, or take another format")
            );
        }
        let mut workbook = rust_xlsxwriter::Workbook::new();
        // A fixed date, so that equal rows produce an identical file.
        let made = ExcelDateTime::from_ymd(2000, 1, 1).map_err(failed)?;
        workbook.set_properties(&DocProperties::new().set_creation_datetime(&made));
        let sheet = workbook.add_worksheet_with_constant_memory().map_err(failed)?;
        sheet.set_freeze_panes(1, 0).map_err(failed)?;
        let bold = Style::new().set_bold();
        for (column, field) in schema.fields().iter().enumerate() {
            sheet.write_string_with_format(0, column as u16, field.name(), &bold).map_err(failed)?;
        }
        let date = Style::new().set_num_format("yyyy-mm-dd");
        let time = Style::new().set_num_format("yyyy-mm-dd hh:mm:ss.000");
        Ok(Self { workbook, rows: 0, most_rows, date, time })
    }
}

impl Encoder for Workbook {
    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, Error> {
        let first = self.rows + 1;
        let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
        self.rows = self.rows.saturating_add(rows);
        if self.rows > self.most_rows {
            return Err(too_many_rows(self.most_rows));
        }
        let batch = plain::batch(batch).map_err(unwritable_as(Format::Xlsx))?;
        let (fields, options) = (cells::fields(&batch), values::options());
        let columns = fields.iter().zip(batch.columns()).map(|(field, array)| Cells::new(field, array, &options));
        let mut columns = columns.collect::<Result<Vec<_>, _>>().map_err(unwritable_as(Format::Xlsx))?;
        let mut scratch = Vec::new();
        let sheet = self.workbook.worksheet_from_index(0).map_err(failed)?;
        // Write row by row, because a finished row cannot be changed.
        for row in 0..batch.num_rows() {
            for (column, cells) in columns.iter_mut().enumerate() {
                if !cells.is_null(row) {
                    let place = (first + row as u32, column as u16);
                    write(sheet, place, cells, row, &mut scratch, (&self.date, &self.time))?;
                }
            }
        }
        Ok(Bytes::new())
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        Ok(self.workbook.save_to_buffer().map_err(failed)?.into())
    }

    fn is_slow_to_finish(&self) -> bool {
        true
    }
}

fn write(
    sheet: &mut Worksheet,
    (at, column): (u32, u16),
    cells: &mut Cells<'_>,
    row: usize,
    scratch: &mut Vec<u8>,
    (date, time): (&Style, &Style),
) -> Result<(), Error> {
    if let Some(text) = cells.text(row) {
        return sheet.write_string(at, column, text).map(drop).map_err(failed);
    }
    if let Some(day) = day(cells.array(), row).filter(|day| is_shown(*day)) {
        let style = if *cells.array().data_type() == DataType::Date32 { date } else { time };
        return sheet.write_number_with_format(at, column, day, style).map(drop).map_err(failed);
    }
    if !cells.write(row, scratch) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(scratch);
    let written = match cells.kind {
        Kind::Boolean => sheet.write_boolean(at, column, text == "true"),
        Kind::Number => match text.parse::<f64>() {
            Ok(number) if number.is_finite() && (is_float(cells.array()) || digits(&text) <= DIGITS) => {
                sheet.write_number(at, column, number)
            }
            _ => sheet.write_string(at, column, text),
        },
        Kind::Text | Kind::Written | Kind::Nested => sheet.write_string(at, column, text),
    };
    written.map(drop).map_err(failed)
}

fn is_float(array: &ArrayRef) -> bool {
    array.data_type().is_floating()
}

/// The number of significant digits.
fn digits(number: &str) -> usize {
    let digits = number.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
    digits.iter().skip_while(|digit| **digit == b'0').count()
}

/// A date or a timestamp as Excel's day number. `None` for other zones than UTC: they stay text, with offsets.
fn day(array: &ArrayRef, row: usize) -> Option<f64> {
    const SECONDS: f64 = 86_400.0;
    let since_1970 = match array.data_type() {
        DataType::Date32 => f64::from(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(unit, zone) if zone.as_deref().is_none_or(is_utc) => match unit {
            TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row) as f64 / SECONDS,
            TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row) as f64 / SECONDS / 1e3,
            TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row) as f64 / SECONDS / 1e6,
            TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row) as f64 / SECONDS / 1e9,
        },
        _ => return None,
    };
    Some(since_1970 + DAYS_BEFORE_1970)
}

/// Whether Excel can show the day, even after a reader has rounded it to milliseconds, as all readers do.
fn is_shown(day: f64) -> bool {
    const MILLISECOND: f64 = 1.0 / 86_400_000.0;
    // Rounding differs between readers, so keep more than half a millisecond from the end.
    DAYS_OF_EXCEL.contains(&day) && day + 0.6 * MILLISECOND < DAYS_OF_EXCEL.end
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Etc/UTC" | "Z" | "+00:00")
}

fn too_many_rows(most: u32) -> Error {
    Error::new(Code::ResultTooLarge, format!("the answer has more than {most} rows, which is the most of a workbook"))
        .hint("ask for less, for example for a shorter range, or take `format=csv`")
}

fn failed(error: XlsxError) -> Error {
    match error {
        XlsxError::MaxStringLengthExceeded => {
            Error::new(Code::ResultTooLarge, "a text of the answer is longer than the 32767 characters of a cell")
                .hint("leave the column out with `select`, or take `format=csv`")
        }
        other => unwritable(Format::Xlsx, other),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use lakegate_core::format::Representation;
    use lakegate_core::project::Formats;

    use super::super::testing::{answer, every_type};
    use super::*;

    fn numbers(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn more_rows_than_may_be_are_refused_before_a_byte_is_given() {
        let formats = Formats { xlsx_max_rows: 5 };
        let plain = Representation::plain(Format::Xlsx);
        let mut encoder = super::super::encoder(&plain, &numbers(0).schema(), &formats).unwrap();
        assert!(encoder.write(&numbers(3)).unwrap().is_empty());
        assert!(encoder.write(&numbers(2)).unwrap().is_empty());
        let error = encoder.write(&numbers(1)).unwrap_err();
        assert_eq!(error.code, Code::ResultTooLarge);
        assert!(error.detail.contains("more than 5 rows") && error.hint.unwrap().contains("csv"));
    }

    #[test]
    fn a_text_that_no_cell_takes_is_refused() {
        let column: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(32_768)]));
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        let mut workbook = Workbook::new(&batch.schema(), 10).unwrap();
        assert_eq!(workbook.write(&batch).unwrap_err().code, Code::ResultTooLarge);
    }

    #[test]
    fn equal_rows_are_equal_files() {
        let batch = every_type();
        let file = answer(Format::Xlsx, std::slice::from_ref(&batch));
        assert!(file.starts_with(b"PK"));
        assert_eq!(file, answer(Format::Xlsx, &[batch]));
    }

    #[test]
    fn a_date_that_no_workbook_has_is_text() {
        let day_of = |text: &str| {
            let time = text.parse::<chrono::NaiveDateTime>().unwrap().and_utc();
            let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![time.timestamp_micros()]));
            day(&array, 0).filter(|day| is_shown(*day))
        };
        assert_eq!(day_of("1900-03-01T00:00:00"), Some(61.0));
        assert_eq!(day_of("2022-10-01T12:00:00"), Some(44_835.5));
        assert_eq!(day_of("9999-12-31T00:00:00"), Some(2_958_465.0));
        assert!(day_of("9999-12-31T23:59:59.999").is_some());
        for outside in [
            "9999-12-31T23:59:59.999500",
            "9999-12-31T23:59:59.999900",
            "9999-12-31T23:59:59.999999",
            "+10000-01-01T00:00:00",
            "1900-02-28T23:59:59.999999",
            "1899-12-31T00:00:00",
            "0001-01-01T00:00:00",
        ] {
            assert_eq!(day_of(outside), None, "{outside}");
        }
    }

    #[test]
    fn digits_that_count_are_counted() {
        for (number, count) in
            [("0", 0), ("-120", 3), ("0.0012", 2), ("999999999999999", 15), ("12345678901234567", 17)]
        {
            assert_eq!(digits(number), count, "{number}");
        }
    }
}
