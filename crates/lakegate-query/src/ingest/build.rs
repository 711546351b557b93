//! Builds record batch columns from parsed values.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use lakegate_core::project::ingest::PlainKind;

use super::values::Value;

/// A column builder, with the widest type of its kind.
pub(super) enum Column {
    Plain(Plain),
    List(ListBuilder<Box<dyn ArrayBuilder>>, PlainKind),
}

pub(super) enum Plain {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Column {
    pub(super) fn new(kind: PlainKind, is_list: bool) -> Self {
        if is_list { Self::List(ListBuilder::new(boxed(kind)), kind) } else { Self::Plain(Plain::new(kind)) }
    }

    pub(super) fn push(&mut self, value: Option<Value>) {
        match self {
            Self::Plain(plain) => plain.push(value),
            Self::List(list, kind) => match value {
                Some(Value::List(items)) => {
                    let values = list.values();
                    for item in items {
                        push_boxed(values, *kind, item);
                    }
                    list.append(true);
                }
                _ => list.append(false),
            },
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Plain(plain) => plain.finish(),
            Self::List(list, _) => Arc::new(list.finish()),
        }
    }
}

impl Plain {
    fn new(kind: PlainKind) -> Self {
        match kind {
            PlainKind::String => Self::Text(StringBuilder::new()),
            PlainKind::Integer => Self::Integer(Int64Builder::new()),
            PlainKind::Number => Self::Number(Float64Builder::new()),
            PlainKind::Boolean => Self::Boolean(BooleanBuilder::new()),
            PlainKind::Date => Self::Date(Date32Builder::new()),
            PlainKind::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
        }
    }

    /// Values of another kind cannot occur, because a `Reading` returns only its column's kind.
    fn push(&mut self, value: Option<Value>) {
        match (self, value) {
            (Self::Text(builder), value) => builder.append_option(text(value)),
            (Self::Integer(builder), value) => builder.append_option(integer(value)),
            (Self::Number(builder), value) => builder.append_option(number(value)),
            (Self::Boolean(builder), value) => builder.append_option(boolean(value)),
            (Self::Date(builder), value) => builder.append_option(date(value)),
            (Self::Timestamp(builder), value) => builder.append_option(timestamp(value)),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Number(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}

fn boxed(kind: PlainKind) -> Box<dyn ArrayBuilder> {
    match kind {
        PlainKind::String => Box::new(StringBuilder::new()),
        PlainKind::Integer => Box::new(Int64Builder::new()),
        PlainKind::Number => Box::new(Float64Builder::new()),
        PlainKind::Boolean => Box::new(BooleanBuilder::new()),
        PlainKind::Date => Box::new(Date32Builder::new()),
        PlainKind::Timestamp => Box::new(TimestampMicrosecondBuilder::new()),
    }
}

fn push_boxed(builder: &mut Box<dyn ArrayBuilder>, kind: PlainKind, item: Option<Value>) {
    let any = builder.as_any_mut();
    // `boxed` created the builder for this kind, so the downcast succeeds.
    macro_rules! append {
        ($builder:ty, $value:expr) => {
            if let Some(builder) = any.downcast_mut::<$builder>() {
                builder.append_option($value);
            }
        };
    }
    match kind {
        PlainKind::String => append!(StringBuilder, text(item)),
        PlainKind::Integer => append!(Int64Builder, integer(item)),
        PlainKind::Number => append!(Float64Builder, number(item)),
        PlainKind::Boolean => append!(BooleanBuilder, boolean(item)),
        PlainKind::Date => append!(Date32Builder, date(item)),
        PlainKind::Timestamp => append!(TimestampMicrosecondBuilder, timestamp(item)),
    }
}

fn text(value: Option<Value>) -> Option<String> {
    if let Some(Value::Text(text)) = value { Some(text) } else { None }
}

fn integer(value: Option<Value>) -> Option<i64> {
    if let Some(Value::Integer(integer)) = value { Some(integer) } else { None }
}

fn number(value: Option<Value>) -> Option<f64> {
    if let Some(Value::Number(number)) = value { Some(number) } else { None }
}

fn boolean(value: Option<Value>) -> Option<bool> {
    if let Some(Value::Boolean(boolean)) = value { Some(boolean) } else { None }
}

fn date(value: Option<Value>) -> Option<i32> {
    if let Some(Value::Date(days)) = value { Some(days) } else { None }
}

fn timestamp(value: Option<Value>) -> Option<i64> {
    if let Some(Value::Timestamp(micros)) = value { Some(micros) } else { None }
}
