//! Comparisons of timestamps in microseconds. DataFusion casts both sides to nanoseconds, which end in 2262. If both
//! sides are whole microseconds, they are compared in microseconds.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, cast, lit};

/// The sides of a comparison in microseconds; `None` to keep the comparison as it is.
pub(super) fn in_microseconds<const N: usize>(sides: [&Expr; N], schema: &DFSchema) -> Result<Option<[Expr; N]>> {
    let is_coarser = |side: &&Expr| match side {
        Expr::Cast(Cast { expr, .. }) => {
            let of = expr.get_type(schema);
            of.is_ok_and(|of| {
                matches!(of, DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond | TimeUnit::Second, _))
            })
        }
        _ => false,
    };
    if !sides.iter().any(is_coarser) {
        return Ok(None);
    }
    let sides = sides.map(|side| in_micros(side, schema));
    if sides.iter().any(Option::is_none) {
        return Ok(None);
    }
    Ok(Some(sides.map(Option::unwrap_or_default)))
}

/// Converts a side from nanoseconds to microseconds; `None` if it may be more precise than that.
fn in_micros(side: &Expr, schema: &DFSchema) -> Option<Expr> {
    match side {
        Expr::Cast(Cast { expr, field }) => {
            let DataType::Timestamp(TimeUnit::Nanosecond, zone) = field.data_type() else { return None };
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            match expr.get_type(schema).ok()? {
                of if of == micros => Some(expr.as_ref().clone()),
                DataType::Timestamp(TimeUnit::Nanosecond, _) => None,
                DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
                    Some(cast(expr.as_ref().clone(), micros))
                }
                of if of.is_string() => match expr.as_ref() {
                    Expr::Literal(value, _) => {
                        let text = value.try_as_str()??;
                        let digits = text
                            .split_once('.')
                            .map_or(0, |(_, fraction)| fraction.bytes().take_while(u8::is_ascii_digit).count());
                        (digits <= 6).then(|| cast(expr.as_ref().clone(), micros))
                    }
                    _ => None,
                },
                _ => None,
            }
        }
        // The time of the request has microseconds.
        Expr::ScalarFunction(call) if call.name() == "now" => {
            let DataType::Timestamp(_, zone) = side.get_type(schema).ok()? else { return None };
            Some(cast(side.clone(), DataType::Timestamp(TimeUnit::Microsecond, zone)))
        }
        Expr::Literal(ScalarValue::TimestampNanosecond(time, zone), _) => {
            let micros = match time {
                Some(time) if time % 1_000 != 0 => return None,
                time => time.map(|time| time / 1_000),
            };
            Some(lit(ScalarValue::TimestampMicrosecond(micros, zone.clone())))
        }
        _ => None,
    }
}
