//! What a predicate says about single columns, in a form that is quick to compare with zones.
//!
//! It only helps to skip: whoever scans still applies the predicate to every row. What is not understood is left out.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal};
use datafusion::physical_expr::utils::split_conjunction;

use super::zone::{Key, Zone};

/// Conditions that all hold for a row that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds(Vec<Bound>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    /// By the place in the table.
    column: usize,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    AtLeast(Key),
    AtMost(Key),
    /// One of these, ascending.
    OneOf(Vec<Key>),
    /// No row.
    Never,
}

impl Bounds {
    /// What a predicate over these columns of a table says.
    pub(crate) fn of(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema, columns: &[usize]) -> Self {
        let conjuncts = split_conjunction(predicate).into_iter();
        Self(conjuncts.filter_map(|conjunct| bound(conjunct, schema, columns)).collect())
    }

    /// Whether rows with these zones may be wanted.
    pub(super) fn may_hold<'z>(&self, zone: impl Fn(usize) -> &'z Zone) -> bool {
        self.0.iter().all(|bound| bound.condition.may_hold(zone(bound.column)))
    }
}

impl Condition {
    fn may_hold(&self, zone: &Zone) -> bool {
        match (self, zone) {
            (Self::Never, _) => false,
            (_, Zone::Unknown) => true,
            // NULL fulfils no comparison.
            (_, Zone::Null) => false,
            (Self::AtLeast(key), Zone::Between(_, greatest)) => comparable(key, greatest) && greatest >= key,
            (Self::AtMost(key), Zone::Between(least, _)) => comparable(key, least) && least <= key,
            (Self::OneOf(keys), Zone::Between(least, greatest)) => {
                let first = keys.partition_point(|key| key < least);
                keys.get(first).is_some_and(|key| key <= greatest)
            }
        }
    }
}

/// Keys of one column are of one kind; two kinds would be a mistake, which must not lose rows.
fn comparable(one: &Key, other: &Key) -> bool {
    debug_assert_eq!(std::mem::discriminant(one), std::mem::discriminant(other));
    true
}

fn bound(conjunct: &Arc<dyn PhysicalExpr>, schema: &Schema, columns: &[usize]) -> Option<Bound> {
    if let Some(literal) = conjunct.downcast_ref::<Literal>() {
        let is_true = matches!(literal.value(), ScalarValue::Boolean(Some(true)));
        // NULL and false are no reason to look at any row.
        return (!is_true).then_some(Bound { column: 0, condition: Condition::Never });
    }
    if let Some((place, values)) = one_of(conjunct) {
        let mut keys = values.iter().filter_map(|value| key(value, place, schema)).collect::<Option<Vec<_>>>()?;
        keys.sort_unstable();
        keys.dedup();
        let condition = if keys.is_empty() { Condition::Never } else { Condition::OneOf(keys) };
        return Some(Bound { column: *columns.get(place)?, condition });
    }
    let (place, operator, value) = comparison(conjunct)?;
    let column = *columns.get(place)?;
    let condition = match (operator, key(value, place, schema)) {
        (Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq, None) => Condition::Never,
        (Operator::Lt | Operator::LtEq, Some(key)) => Condition::AtMost(key?),
        (Operator::Gt | Operator::GtEq, Some(key)) => Condition::AtLeast(key?),
        _ => return None,
    };
    Some(Bound { column, condition })
}

/// The key of a value for a column of its type. The outer `None` is NULL, the inner one says that there is no key.
#[allow(clippy::option_option)]
fn key(value: &ScalarValue, place: usize, schema: &Schema) -> Option<Option<Key>> {
    if value.is_null() {
        return None;
    }
    let is_of_column = schema.fields().get(place).is_some_and(|field| *field.data_type() == value.data_type());
    Some(Key::of(value).filter(|_| is_of_column))
}

/// A comparison of a column with a value, the column first.
fn comparison(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, Operator, &ScalarValue)> {
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    let column = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Column>().map(Column::index);
    let (left, right) = (binary.left(), binary.right());
    match (column(left), right.downcast_ref::<Literal>(), column(right), left.downcast_ref::<Literal>()) {
        (Some(place), Some(literal), _, _) => Some((place, *binary.op(), literal.value())),
        (_, _, Some(place), Some(literal)) => Some((place, binary.op().swap()?, literal.value())),
        _ => None,
    }
}

/// The column and the values of `x = a`, `x = a OR x = b …` and `x IN (a, b …)`.
fn one_of(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, Vec<&ScalarValue>)> {
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let place = list.expr().downcast_ref::<Column>()?.index();
        let values = list.list().iter().map(|item| Some(item.downcast_ref::<Literal>()?.value()));
        return if list.negated() { None } else { Some((place, values.collect::<Option<_>>()?)) };
    }
    let binary = expr.downcast_ref::<BinaryExpr>()?;
    match binary.op() {
        Operator::Eq => comparison(expr).map(|(place, _, value)| (place, vec![value])),
        Operator::Or => {
            let (place, mut values) = one_of(binary.left())?;
            let (other, more) = one_of(binary.right())?;
            values.extend(more);
            (place == other).then_some((place, values))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::physical_expr::expressions::{binary, col, in_list, lit};

    fn schema() -> Schema {
        Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8View, true)])
    }

    fn compare(column: &str, operator: Operator, value: ScalarValue) -> Arc<dyn PhysicalExpr> {
        binary(col(column, &schema()).unwrap(), operator, lit(value), &schema()).unwrap()
    }

    fn number(value: i64) -> ScalarValue {
        ScalarValue::Int64(Some(value))
    }

    fn and(left: Arc<dyn PhysicalExpr>, operator: Operator, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        binary(left, operator, right, &schema()).unwrap()
    }

    /// Whether rows whose `a` is within these bounds may be wanted.
    fn wanted(predicate: &Arc<dyn PhysicalExpr>, least: i64, greatest: i64) -> bool {
        let zones = [Zone::Unknown, Zone::Between(Key::Number(least), Key::Number(greatest))];
        // The predicate's first column is the table's second.
        Bounds::of(predicate, &schema(), &[1, 0]).may_hold(|column| &zones[column])
    }

    #[test]
    fn ranges_and_equal_values_skip_what_can_not_hold_them() {
        let range = and(
            compare("a", Operator::GtEq, number(10)),
            Operator::And,
            binary(lit(number(20)), Operator::Gt, col("a", &schema()).unwrap(), &schema()).unwrap(),
        );
        assert!(wanted(&range, 20, 30) && wanted(&range, 0, 10) && wanted(&range, 12, 13));
        assert!(!wanted(&range, 21, 30) && !wanted(&range, 0, 9));
        let either = and(compare("a", Operator::Eq, number(5)), Operator::Or, compare("a", Operator::Eq, number(50)));
        assert!(wanted(&either, 5, 9) && wanted(&either, 40, 60));
        assert!(!wanted(&either, 6, 49));
        let list =
            in_list(col("a", &schema()).unwrap(), vec![lit(number(1)), lit(number(3))], &false, &schema()).unwrap();
        assert!(wanted(&list, 3, 3) && !wanted(&list, 2, 2));
    }

    #[test]
    fn what_is_not_understood_skips_nothing() {
        let other = [
            compare("a", Operator::NotEq, number(1)),
            and(
                compare("a", Operator::Eq, number(1)),
                Operator::Or,
                compare("b", Operator::Eq, ScalarValue::Utf8View(Some("x".into()))),
            ),
            in_list(col("a", &schema()).unwrap(), vec![lit(number(1))], &true, &schema()).unwrap(),
            lit(true),
        ];
        for predicate in other {
            assert!(wanted(&predicate, 100, 200), "{predicate}");
        }
    }

    #[test]
    fn null_and_false_want_nothing() {
        assert!(!wanted(&lit(ScalarValue::Boolean(None)), 0, 9));
        assert!(!wanted(&lit(false), 0, 9));
        assert!(!wanted(&compare("a", Operator::Lt, ScalarValue::Int64(None)), 0, 9));
        assert!(!wanted(&compare("a", Operator::Eq, ScalarValue::Int64(None)), 0, 9));
        let nulls = [Zone::Unknown, Zone::Null];
        let equal = compare("a", Operator::Eq, number(1));
        assert!(!Bounds::of(&equal, &schema(), &[1, 0]).may_hold(|column| &nulls[column]));
    }
}
