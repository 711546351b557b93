//! Translates a predicate into conditions on single columns that are cheap to compare with min/max statistics.
//!
//! The conditions find blocks without any matching row, and blocks whose rows all match. A conjunct that cannot be
//! translated is left out; then no block counts as fully matching. The scan evaluates the predicate on all other rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal};
use datafusion::physical_expr::utils::split_conjunction;

use super::zone::{Key, Learnt, Zone};

/// Conditions that every matching row satisfies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    conditions: Vec<Bound>,
    /// Whether the conditions are the whole predicate, so that each row that satisfies them matches.
    is_whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    /// The index of the column in the table.
    column: usize,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    AtLeast(Key),
    Above(Key),
    AtMost(Key),
    Below(Key),
    /// Equal to one of these values, in ascending order.
    OneOf(Vec<Key>),
    /// No row matches.
    Never,
}

impl Bounds {
    /// Translates a predicate over these columns of a table.
    pub(crate) fn of(predicate: &Arc<dyn PhysicalExpr>, schema: &Schema, columns: &[usize]) -> Self {
        let (mut conditions, mut is_whole) = (Vec::new(), true);
        for conjunct in split_conjunction(predicate) {
            match bound(conjunct, schema, columns) {
                _ if is_true(conjunct) => {}
                Some(bound) => conditions.push(bound),
                None => is_whole = false,
            }
        }
        Self { conditions, is_whole }
    }

    /// Whether rows with these statistics may match.
    pub(super) fn may_hold<'z>(&self, zone: impl Fn(usize) -> &'z Zone) -> bool {
        self.conditions.iter().all(|bound| bound.condition.may_hold(zone(bound.column)))
    }

    /// Whether all rows match, by observed statistics only, because a wrong footer must not expose a row.
    pub(super) fn all_hold<'z>(&self, learnt: impl Fn(usize) -> Option<&'z Learnt>) -> bool {
        let holds = |bound: &Bound| learnt(bound.column).is_some_and(|learnt| bound.condition.all_hold(learnt));
        self.is_whole && self.conditions.iter().all(holds)
    }
}

fn is_true(conjunct: &Arc<dyn PhysicalExpr>) -> bool {
    let literal = conjunct.downcast_ref::<Literal>();
    literal.is_some_and(|literal| matches!(literal.value(), ScalarValue::Boolean(Some(true))))
}

impl Condition {
    fn may_hold(&self, zone: &Zone) -> bool {
        match (self, zone) {
            (Self::Never, _) => false,
            (_, Zone::Unknown) => true,
            // NULL satisfies no comparison.
            (_, Zone::Null) => false,
            (Self::AtLeast(key), Zone::Between(_, greatest)) => greatest >= key,
            (Self::Above(key), Zone::Between(_, greatest)) => greatest > key,
            (Self::AtMost(key), Zone::Between(least, _)) => least <= key,
            (Self::Below(key), Zone::Between(least, _)) => least < key,
            (Self::OneOf(keys), Zone::Between(least, greatest)) => {
                let first = keys.partition_point(|key| key < least);
                keys.get(first).is_some_and(|key| key <= greatest)
            }
        }
    }

    fn all_hold(&self, learnt: &Learnt) -> bool {
        let Zone::Between(least, greatest) = &learnt.zone else { return false };
        // NULL satisfies no comparison.
        !learnt.has_nulls
            && match self {
                Self::AtLeast(key) => least >= key,
                Self::Above(key) => least > key,
                Self::AtMost(key) => greatest <= key,
                Self::Below(key) => greatest < key,
                Self::OneOf(keys) => least == greatest && keys.binary_search(least).is_ok(),
                Self::Never => false,
            }
    }
}

fn bound(conjunct: &Arc<dyn PhysicalExpr>, schema: &Schema, columns: &[usize]) -> Option<Bound> {
    if conjunct.is::<Literal>() {
        // A predicate that is NULL or false matches no row.
        return (!is_true(conjunct)).then_some(Bound { column: 0, condition: Condition::Never });
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
        (Operator::Lt, Some(key)) => Condition::Below(key?),
        (Operator::LtEq, Some(key)) => Condition::AtMost(key?),
        (Operator::Gt, Some(key)) => Condition::Above(key?),
        (Operator::GtEq, Some(key)) => Condition::AtLeast(key?),
        _ => return None,
    };
    Some(Bound { column, condition })
}

/// The key of a value in a column. The outer `None` means that the value is NULL, the inner one that it has no key.
#[allow(clippy::option_option)]
fn key(value: &ScalarValue, place: usize, schema: &Schema) -> Option<Option<Key>> {
    if value.is_null() {
        return None;
    }
    let is_of_column = schema.fields().get(place).is_some_and(|field| *field.data_type() == value.data_type());
    Some(Key::of(value).filter(|_| is_of_column))
}

/// Returns a comparison of a column with a value, with the column on the left.
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

/// Returns the column and the values of `x = a`, `x = a OR x = b …` and `x IN (a, b …)`.
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
    use std::cell::Cell;

    use super::*;
    use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::physical_expr::expressions::{binary, col, in_list, lit};
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

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

    /// Whether rows with `a` between `least` and `greatest` may match.
    fn wanted(predicate: &Arc<dyn PhysicalExpr>, least: i64, greatest: i64) -> bool {
        let zones = [Zone::Unknown, Zone::Between(Key::Number(least), Key::Number(greatest))];
        // The predicate's first column is the second column of the table.
        Bounds::of(predicate, &schema(), &[1, 0]).may_hold(|column| &zones[column])
    }

    #[test]
    fn ranges_and_equal_values_skip_what_can_not_hold_them() {
        let range = and(
            compare("a", Operator::GtEq, number(10)),
            Operator::And,
            binary(lit(number(20)), Operator::Gt, col("a", &schema()).unwrap(), &schema()).unwrap(),
        );
        assert!(wanted(&range, 19, 30) && wanted(&range, 0, 10) && wanted(&range, 12, 13));
        assert!(!wanted(&range, 20, 30) && !wanted(&range, 0, 9));
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

    /// If statistics show that no row or every row of a block matches, this is true of each row.
    #[test]
    fn what_is_said_of_all_rows_holds_for_each() {
        let leaf = (any::<bool>(), 0..7_usize, prop::option::of(-4..4_i64)).prop_map(|(of_text, operator, value)| {
            let (column, value) = match of_text {
                true => ("b", ScalarValue::Utf8View(value.map(|value| format!("{value:+}")))),
                false => ("a", ScalarValue::Int64(value)),
            };
            let operators = [Operator::Eq, Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq, Operator::NotEq];
            match operators.get(operator) {
                Some(operator) => compare(column, *operator, value),
                None => lit(value.is_null() || value == ScalarValue::Int64(Some(1))),
            }
        });
        let predicate = leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                3 => (inner.clone(), inner.clone()).prop_map(|(left, right)| and(left, Operator::And, right)),
                1 => (inner.clone(), inner).prop_map(|(left, right)| and(left, Operator::Or, right)),
            ]
        });
        let rows = prop::collection::vec((prop::option::weighted(0.95, -1..2_i64), 0..2_i64), 1..4);
        let mut runner = TestRunner::new(Config { cases: 10_000, failure_persistence: None, ..Config::default() });
        let (all, none) = (Cell::new(0), Cell::new(0));
        let ran = runner.run(&(predicate, rows), |(predicate, rows)| {
            let numbers: ArrayRef = Arc::new(rows.iter().map(|(number, _)| *number).collect::<Int64Array>());
            let texts = rows.iter().map(|(_, text)| Some(format!("{text:+}"))).collect::<StringViewArray>();
            let arrays = vec![numbers, Arc::new(texts) as ArrayRef];
            let learnt = arrays.iter().map(Learnt::of).collect::<Vec<_>>();
            let batch = RecordBatch::try_new(Arc::new(schema()), arrays).unwrap();
            let mask = predicate.evaluate(&batch).unwrap().into_array(rows.len()).unwrap();
            let wanted = mask.as_boolean().iter().filter(|wanted| *wanted == Some(true)).count();
            let bounds = Bounds::of(&predicate, &schema(), &[0, 1]);
            if !bounds.may_hold(|column| &learnt[column].zone) {
                none.set(none.get() + 1);
                prop_assert_eq!(wanted, 0, "{} of {:?}", predicate, rows);
            }
            if bounds.all_hold(|column| Some(&learnt[column])) {
                all.set(all.get() + 1);
                prop_assert_eq!(wanted, rows.len(), "{} of {:?}", predicate, rows);
            }
            Ok(())
        });
        ran.unwrap();
        assert!(all.get() > 100 && none.get() > 100, "{} and {}", all.get(), none.get());
    }

    #[test]
    fn nothing_is_said_of_all_where_it_was_not_looked_at_them() {
        let range = compare("a", Operator::GtEq, number(0));
        let bounds = Bounds::of(&range, &schema(), &[0, 1]);
        let of = |values: Vec<Option<i64>>| Learnt::of(&(Arc::new(Int64Array::from(values)) as ArrayRef));
        let (all, with_null) = (of(vec![Some(0), Some(5)]), of(vec![Some(0), None]));
        assert!(bounds.all_hold(|_| Some(&all)));
        assert!(!bounds.all_hold(|_| Some(&with_null)));
        assert!(!bounds.all_hold(|_| None));
        // A scan without a predicate does not call this.
        assert!(!Bounds::default().all_hold(|_| None));
    }
}
