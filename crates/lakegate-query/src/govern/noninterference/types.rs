//! The types of expressions in generated queries.

use super::world::Kind;

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Plain(Kind),
    /// The result of a division. It is compared and returned but not used in arithmetic, because sums of it depend on
    /// the order.
    Quotient,
}

pub(super) use Type::{Plain, Quotient};

pub(super) const KEY: Type = Plain(Kind::Key);
pub(super) const INT: Type = Plain(Kind::Int);
pub(super) const TEXT: Type = Plain(Kind::Text);
pub(super) const BOOL: Type = Plain(Kind::Bool);
pub(super) const DATE: Type = Plain(Kind::Date);
pub(super) const TIME: Type = Plain(Kind::Time);
pub(super) const DEC: Type = Plain(Kind::Dec);
pub(super) const FLOAT: Type = Plain(Kind::Float);
pub(super) const TEXTS: Type = Plain(Kind::Texts);
pub(super) const BUYER: Type = Plain(Kind::Buyer);

/// Types whose values can be compared, sorted and grouped.
pub(super) const SCALAR: [Type; 8] = [INT, TEXT, KEY, DATE, TIME, DEC, FLOAT, BOOL];

/// A NULL of this type.
pub(super) fn null(kind: Type) -> &'static str {
    match kind {
        KEY | INT => "CAST(NULL AS BIGINT)",
        TEXT => "CAST(NULL AS VARCHAR)",
        BOOL => "CAST(NULL AS BOOLEAN)",
        DATE => "CAST(NULL AS DATE)",
        TIME => "CAST(NULL AS TIMESTAMP)",
        DEC => "CAST(NULL AS DECIMAL(10, 2))",
        _ => "CAST(NULL AS DOUBLE)",
    }
}
