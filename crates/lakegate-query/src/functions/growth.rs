//! Bounds the size of a function's result from its arguments, before anything is allocated.
//!
//! A result is refused if one value, or all values of a batch together, would exceed a limit. A large result within the
//! limits reserves memory of the query while it is computed. Functions with results about as large as their arguments
//! are not listed.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::date_steps;
use super::fault::ValueFault;
use super::memory::reserve;

/// The maximum size of one value, in bytes.
pub(super) const MOST_OF_VALUE: usize = 16 << 20;
/// The maximum size of a batch of values, in bytes, in addition to twice the size of the arguments.
pub(super) const MOST_OF_BATCH: usize = 64 << 20;
/// The maximum size of a result that is computed without a reservation, in bytes.
const SMALL: usize = 1 << 20;
/// The maximum steps for a batch, for functions whose work is the product of the sizes of their arguments.
const MOST_STEPS: usize = 1 << 29;
/// Nanoseconds of a day, and of the shortest month.
const NANOS_OF_DAY: f64 = 86_400e9;
const NANOS_OF_MONTH: f64 = 28.0 * NANOS_OF_DAY;

/// How the result of a function grows with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Growth {
    /// The first argument, repeated as often as the second specifies.
    Repeat,
    /// As many characters as the second argument specifies.
    Pad,
    /// All arguments together.
    Concat,
    /// The first argument, with each occurrence of the second replaced by the third.
    Replace,
    /// A replacement by a regular expression; the number of matches is not known in advance.
    Pattern,
    /// Up to four bytes for each byte of the first argument.
    Translate,
    /// The first argument in the format of the second.
    Format,
    /// The first argument, split at the second.
    Split,
    /// The items of the first argument, joined by the second.
    Join,
    /// A list that repeats the first argument as often as the second specifies.
    RepeatItem,
    /// The first argument, resized to as many items as the second specifies.
    Resize,
    /// A series from the first argument to the second in steps of the third.
    Series,
    /// A small result, but as many steps as the product of the sizes of both arguments in bytes.
    Distance,
}

impl Growth {
    /// The growth of a function; `None` if its result is about as large as its arguments.
    pub(super) fn of(function: &str) -> Option<Self> {
        Some(match function {
            "repeat" => Self::Repeat,
            "lpad" | "rpad" => Self::Pad,
            "concat" | "concat_ws" => Self::Concat,
            "replace" => Self::Replace,
            "regexp_replace" => Self::Pattern,
            "translate" => Self::Translate,
            "to_char" => Self::Format,
            "string_to_array" => Self::Split,
            "array_to_string" => Self::Join,
            "array_repeat" => Self::RepeatItem,
            "array_resize" => Self::Resize,
            "range" | "generate_series" => Self::Series,
            "levenshtein" => Self::Distance,
            _ => return None,
        })
    }

    /// Calls a function after it has checked that the result is not too large.
    pub(super) fn run(
        self,
        function: &str,
        mut args: ScalarFunctionArgs,
        call: &dyn Fn(ScalarFunctionArgs) -> Result<ColumnarValue>,
    ) -> Result<ColumnarValue> {
        if let (Self::Series, [from, _, step]) = (self, args.args.as_slice()) {
            date_steps::check(from, step)?;
        }
        if let (Self::Pad, Some(length)) = (self, args.args.get_mut(1)) {
            *length = at_least_zero(length);
        }
        let are_scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if are_scalars { 1 } else { args.number_rows };
        let input = args.args.iter().map(bytes_of).fold(0, usize::saturating_add);
        // A concatenation is as large as its arguments, with scalars repeated for each row.
        let in_rows = args.args.iter().map(|arg| match arg {
            ColumnarValue::Array(array) => array.get_array_memory_size(),
            ColumnarValue::Scalar(scalar) => scalar.size().saturating_mul(rows),
        });
        if self == Self::Concat && !are_scalars && in_rows.fold(0, usize::saturating_add) <= 4 * SMALL {
            return call(args);
        }
        let too_large = |bytes: usize, most: usize| -> Result<ColumnarValue> {
            Err(ValueFault::TooLarge { function: function.to_owned(), bytes, most }.into())
        };
        let bounds = (0..rows).map(|row| self.bound(&args.args, row)).collect::<Vec<_>>();
        let total = bounds.iter().copied().fold(0, usize::saturating_add);
        if self == Self::Distance {
            return if total > MOST_STEPS { too_large(total, MOST_STEPS) } else { call(args) };
        }
        if total <= SMALL {
            return call(args);
        }
        let largest = bounds.iter().copied().max().unwrap_or_default();
        let most = MOST_OF_BATCH.saturating_add(input.saturating_mul(2));
        // The bound for a regular expression is far too high, so compute in pieces and add up their actual sizes.
        if self == Self::Pattern {
            if largest > MOST_OF_BATCH {
                return too_large(largest, MOST_OF_BATCH);
            }
            return in_pieces(&bounds, args, call, &|bytes| bytes <= most).unwrap_or_else(|| too_large(total, most));
        }
        if largest > MOST_OF_VALUE.max(input.saturating_mul(2)) {
            return too_large(largest, MOST_OF_VALUE);
        }
        if total > most {
            return too_large(total, most);
        }
        let _reserved = reserve(total)?;
        call(args)
    }

    /// An upper bound of the bytes of a row's value or, for [`Self::Distance`], of the steps.
    fn bound(self, args: &[ColumnarValue], row: usize) -> usize {
        let arg = |at: usize| args.get(at).map(|value| Arg { value, row });
        let length = |at: usize| arg(at).map_or(0, |arg| arg.length());
        let count = |at: usize| arg(at).map_or(0, |arg| arg.count());
        match self {
            Self::Repeat => length(0).saturating_mul(count(1)),
            // DataFusion reserves four bytes for each character.
            Self::Pad => count(1).saturating_mul(4),
            Self::Concat => (0..args.len()).map(length).fold(0, usize::saturating_add).saturating_add(
                // The first argument of `concat_ws` is inserted between all others.
                length(0).saturating_mul(args.len().saturating_sub(2)),
            ),
            Self::Replace => {
                let found = arg(0).zip(arg(1)).map_or(0, |(text, part)| text.found(&part));
                length(0).saturating_add(found.saturating_mul(length(2)))
            }
            Self::Pattern => {
                // Each match may insert the whole text once for each group that the replacement names.
                let groups = arg(2).map_or(0, |arg| arg.found_text("\\").saturating_add(arg.found_text("$")));
                let places = length(0).saturating_add(1);
                length(0).saturating_mul(groups.saturating_add(1)).saturating_add(places.saturating_mul(length(2)))
            }
            Self::Translate => length(0).saturating_mul(4),
            Self::Format => length(1).saturating_add(1).saturating_mul(64),
            Self::Split => {
                let found = arg(0).zip(arg(1)).map_or(0, |(text, part)| text.found(&part)).max(1);
                length(0).saturating_add(found.saturating_add(1).saturating_mul(24))
            }
            Self::Join => {
                let (items, bytes) = arg(0).map_or((0, 0), |arg| arg.items());
                let between = length(1).saturating_add(length(2));
                bytes.saturating_mul(4).saturating_add(items.saturating_mul(between.saturating_add(8)))
            }
            Self::RepeatItem => count(1).saturating_mul(arg(0).map_or(0, |arg| arg.bytes().max(1))),
            Self::Resize => {
                let (items, bytes) = arg(0).map_or((0, 0), |arg| arg.items());
                let of_item = (bytes / items.max(1)).max(arg(2).map_or(0, |arg| arg.bytes())).max(8);
                bytes.saturating_add(count(1).saturating_mul(of_item))
            }
            Self::Series => series(args, row),
            Self::Distance => length(0).saturating_mul(length(1)),
        }
    }
}

/// Computes the values in pieces of rows; `None` if their size exceeds what `is_allowed` accepts.
fn in_pieces(
    bounds: &[usize],
    args: ScalarFunctionArgs,
    call: &dyn Fn(ScalarFunctionArgs) -> Result<ColumnarValue>,
    is_allowed: &dyn Fn(usize) -> bool,
) -> Option<Result<ColumnarValue>> {
    if args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
        return is_allowed(bounds.iter().sum()).then(|| call(args));
    }
    let (mut made, mut bytes, mut from) = (Vec::<ArrayRef>::new(), 0_usize, 0);
    while from < bounds.len() {
        let (mut to, mut piece) = (from + 1, bounds[from]);
        while to < bounds.len() && piece.saturating_add(bounds[to]) <= 8 * SMALL {
            piece += bounds[to];
            to += 1;
        }
        let _reserved = match reserve(piece.min(MOST_OF_BATCH)) {
            Ok(reserved) => reserved,
            Err(error) => return Some(Err(error)),
        };
        let slice = |arg: &ColumnarValue| match arg {
            ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, to - from)),
            scalar @ ColumnarValue::Scalar(_) => scalar.clone(),
        };
        let some = ScalarFunctionArgs {
            args: args.args.iter().map(slice).collect(),
            arg_fields: args.arg_fields.clone(),
            number_rows: to - from,
            return_field: Arc::clone(&args.return_field),
            config_options: Arc::clone(&args.config_options),
        };
        match call(some).and_then(|value| value.into_array(to - from)) {
            Ok(array) => {
                bytes = bytes.saturating_add(array.get_array_memory_size());
                made.push(array);
            }
            Err(error) => return Some(Err(error)),
        }
        if !is_allowed(bytes) {
            return None;
        }
        from = to;
    }
    let arrays = made.iter().map(AsRef::as_ref).collect::<Vec<_>>();
    Some(concat(&arrays).map(ColumnarValue::Array).map_err(Into::into))
}

/// Replaces negative lengths by 0, which they mean, because DataFusion would allocate as for very large ones.
fn at_least_zero(numbers: &ColumnarValue) -> ColumnarValue {
    match numbers {
        ColumnarValue::Array(array) => match array.as_primitive_opt::<Int64Type>() {
            Some(array) => {
                ColumnarValue::Array(Arc::new(array.unary::<_, Int64Type>(|number| number.max(0))) as ArrayRef)
            }
            None => numbers.clone(),
        },
        ColumnarValue::Scalar(_) => numbers.clone(),
    }
}

fn bytes_of(value: &ColumnarValue) -> usize {
    match value {
        ColumnarValue::Array(array) => array.get_array_memory_size(),
        ColumnarValue::Scalar(scalar) => scalar.size(),
    }
}

/// An argument in one row.
struct Arg<'a> {
    value: &'a ColumnarValue,
    row: usize,
}

impl Arg<'_> {
    /// Calls `read` with the text; `None` if the argument is not a text or is NULL.
    fn with_text<T>(&self, read: impl FnOnce(&str) -> T) -> Option<T> {
        match self.value {
            ColumnarValue::Scalar(scalar) => scalar.try_as_str().flatten().map(read),
            ColumnarValue::Array(array) if array.is_null(self.row) => None,
            ColumnarValue::Array(array) => match array.data_type() {
                DataType::Utf8 => Some(read(array.as_string::<i32>().value(self.row))),
                DataType::LargeUtf8 => Some(read(array.as_string::<i64>().value(self.row))),
                DataType::Utf8View => Some(read(array.as_string_view().value(self.row))),
                _ => None,
            },
        }
    }

    /// The bytes of a text; for other types an upper bound of their size as text.
    fn length(&self) -> usize {
        self.with_text(str::len).unwrap_or_else(|| match self.value.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => 0,
            data_type if data_type.is_primitive() => 80,
            _ => self.bytes().saturating_mul(4),
        })
    }

    fn found(&self, part: &Self) -> usize {
        part.with_text(|part| self.found_text(part)).unwrap_or_default()
    }

    /// The number of occurrences of a part; the empty text occurs around each character.
    fn found_text(&self, part: &str) -> usize {
        self.with_text(|text| if part.is_empty() { text.chars().count() + 1 } else { text.matches(part).count() })
            .unwrap_or_default()
    }

    /// The argument as a number, at least 0.
    fn count(&self) -> usize {
        self.number().map_or(0, |number| usize::try_from(number.max(0)).unwrap_or(usize::MAX))
    }

    fn number(&self) -> Option<i64> {
        let value = match self.value {
            ColumnarValue::Scalar(scalar) => scalar.clone(),
            ColumnarValue::Array(array) if *array.data_type() == DataType::Int64 => {
                let array = array.as_primitive::<Int64Type>();
                return array.is_valid(self.row).then(|| array.value(self.row));
            }
            ColumnarValue::Array(array) => ScalarValue::try_from_array(array, self.row).ok()?,
        };
        match value {
            ScalarValue::Date32(days) => days.map(i64::from),
            // A number that does not fit exceeds every limit.
            ScalarValue::UInt64(Some(number)) => Some(i64::try_from(number).unwrap_or(i64::MAX)),
            value => match value.cast_to(&DataType::Int64).ok()? {
                ScalarValue::Int64(number) => number,
                _ => None,
            },
        }
    }

    /// The approximate size of the value, in bytes.
    fn bytes(&self) -> usize {
        match self.value {
            ColumnarValue::Scalar(scalar) => scalar.size(),
            ColumnarValue::Array(array) => match array.data_type() {
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                    self.with_text(str::len).unwrap_or_default() + 16
                }
                data_type => match data_type.primitive_width() {
                    Some(width) => width,
                    None => self.items().1.max(16),
                },
            },
        }
    }

    /// The number of items of a list, and their approximate size in bytes.
    fn items(&self) -> (usize, usize) {
        let array = match self.value {
            ColumnarValue::Scalar(scalar) => match scalar.to_array() {
                Ok(array) => array,
                Err(_) => return (usize::MAX, usize::MAX),
            },
            ColumnarValue::Array(array) => Arc::clone(array),
        };
        let row = if matches!(self.value, ColumnarValue::Scalar(_)) { 0 } else { self.row };
        let (items, of_all) = match array.data_type() {
            DataType::List(_) => (array.as_list::<i32>().value_length(row) as usize, array.as_list::<i32>().values()),
            DataType::LargeList(_) => {
                (array.as_list::<i64>().value_length(row) as usize, array.as_list::<i64>().values())
            }
            DataType::FixedSizeList(_, size) => (*size as usize, array.as_fixed_size_list().values()),
            _ => return (1, array.get_array_memory_size() / array.len().max(1)),
        };
        let of_item = of_all.get_array_memory_size() / of_all.len().max(1);
        (items, items.saturating_mul(of_item.max(1)))
    }
}

/// The size of a series, in bytes.
fn series(args: &[ColumnarValue], row: usize) -> usize {
    let arg = |at: usize| args.get(at).map(|value| Arg { value, row });
    let step = arg(2);
    let is_of_time = args.first().is_some_and(|value| value.data_type().is_temporal());
    let (from, to) = match args.len() {
        1 => (Some(0), arg(0).and_then(|arg| arg.number())),
        _ => (arg(0).and_then(|arg| arg.number()), arg(1).and_then(|arg| arg.number())),
    };
    // If a bound is NULL or not a number, there is no series.
    let (Some(from), Some(to)) = (from, to) else { return 0 };
    let span = (to as f64 - from as f64).abs();
    let (span, step) = if is_of_time {
        let unit = match args.first().map(ColumnarValue::data_type) {
            Some(DataType::Date32) => NANOS_OF_DAY,
            Some(DataType::Date64) => 1e6,
            Some(DataType::Timestamp(unit, _)) => match unit {
                datafusion::arrow::datatypes::TimeUnit::Second => 1e9,
                datafusion::arrow::datatypes::TimeUnit::Millisecond => 1e6,
                datafusion::arrow::datatypes::TimeUnit::Microsecond => 1e3,
                datafusion::arrow::datatypes::TimeUnit::Nanosecond => 1.0,
            },
            _ => 1.0,
        };
        (span * unit, step.map_or(NANOS_OF_DAY, |step| nanos(&step)))
    } else {
        (span, step.and_then(|step| step.number()).unwrap_or(1).unsigned_abs() as f64)
    };
    // The function itself reports a step of zero.
    let items = span / step.max(1.0) + 2.0;
    (items * 16.0) as usize
}

/// An interval in nanoseconds, estimated low.
fn nanos(step: &Arg<'_>) -> f64 {
    let value = match step.value {
        ColumnarValue::Scalar(scalar) => Ok(scalar.clone()),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(array, step.row),
    };
    match value {
        Ok(ScalarValue::IntervalMonthDayNano(Some(step))) => {
            let months = f64::from(step.months) * NANOS_OF_MONTH;
            (months + f64::from(step.days) * NANOS_OF_DAY + step.nanoseconds as f64).abs()
        }
        _ => 1.0,
    }
}
