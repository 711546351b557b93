//! Decides which expressions are leakproof: they return a value for every row, never an error, and always the same
//! value.
//!
//! Only leakproof expressions may be below a barrier: in policies, and in what is pushed down for pruning.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

use super::barrier::Barrier;
use super::one_of;
use crate::functions::{failing_cast, is_exact_comparison, is_one_form, never_fails, operator_of};
use crate::plan::column_type_name;

/// The reason why an expression is not leakproof, as a message; `None` if it is. Does not check subqueries, whose plans
/// are checked instead.
pub(crate) fn fault(expr: &Expr, schema: &DFSchema) -> Option<String> {
    let mut fault = None;
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|node| {
        fault = node_fault(node, schema);
        Ok(if fault.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    fault
}

/// Whether evaluating an expression over rows of this schema can fail.
pub(crate) fn can_fail(expr: &Expr, schema: &DFSchema) -> bool {
    fault(expr, schema).is_some()
}

fn node_fault(expr: &Expr, schema: &DFSchema) -> Option<String> {
    match expr {
        Expr::Column(_)
        | Expr::OuterReferenceColumn(..)
        | Expr::Literal(..)
        | Expr::Placeholder(_)
        | Expr::Alias(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Case(_)
        | Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::TryCast(_) => None,
        Expr::BinaryExpr(BinaryExpr { op, .. }) if is_total_operator(*op) => None,
        Expr::BinaryExpr(BinaryExpr { op, .. }) => Some(format!("the operator `{op}` can fail")),
        Expr::Like(like) if matches!(*like.pattern, Expr::Literal(..)) && like.escape_char.is_none() => None,
        Expr::Like(_) => Some("`LIKE` takes a fixed pattern here".to_owned()),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema).ok();
            let to = cast.field.data_type();
            let total = from.as_ref().is_some_and(|from| is_total_cast(from, to));
            (!total).then(|| match from {
                Some(from) if from.is_integer() && *to == DataType::Float64 => {
                    "whole numbers of 64 bits are compared as numbers with a fraction, where two of them may be one"
                        .to_owned()
                }
                Some(from) => format!("the cast from {} to {} can fail", column_type_name(&from), column_type_name(to)),
                None => format!("the cast to {} can fail", column_type_name(to)),
            })
        }
        Expr::ScalarFunction(function)
            if never_fails(function.name()) || one_of::is_one_of(&function.func) || is_one_form(&function.func) =>
        {
            None
        }
        Expr::ScalarFunction(function) if let Some(to) = failing_cast(&function.func) => {
            Some(format!("the cast to {} can fail", column_type_name(to)))
        }
        Expr::ScalarFunction(function) if operator_of(&function.func).is_some() => {
            Some(format!("the operator `{}` can fail", function.name()))
        }
        Expr::ScalarFunction(function) if is_exact_comparison(&function.func) => Some(
            "whole numbers of 64 bits are compared as numbers with a fraction, where two of them may be one".to_owned(),
        ),
        Expr::ScalarFunction(function) => Some(format!("the function `{}` can fail or change", function.name())),
        Expr::ScalarSubquery(_) => Some("a subquery used as a value can give several".to_owned()),
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => Some("aggregates can fail".to_owned()),
        other => Some(format!("`{}` is not known to be safe", other.variant_name())),
    }
}

fn is_total_operator(op: Operator) -> bool {
    use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
    matches!(op, And | Eq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | Lt | LtEq | NotEq | Or)
}

fn is_total_cast(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Dictionary, Float32, Float64, Timestamp};
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    // Seconds, milliseconds, microseconds, nanoseconds. A cast to a coarser unit divides; a cast to a finer one may
    // overflow.
    let fineness = |unit: &TimeUnit| *unit as u8;
    match (from, to) {
        _ if from == to => true,
        (DataType::Null, _) => true,
        (Dictionary(_, value), to) => is_total_cast(value, to),
        (from, to) if is_text(from) && is_text(to) => true,
        (from, to) if from.is_integer() && to.is_integer() => integer_fits(from, to),
        // A double is exact for integers up to 53 bits. Two greater ones may become equal, and a filter would match
        // both.
        (from, Float64) if from.is_integer() => from.primitive_width().is_some_and(|bytes| bytes <= 4),
        (Float32, Float64) => true,
        // Dates within 290,000 years of 1970 fit into microseconds, but not into nanoseconds.
        (Date32, Timestamp(TimeUnit::Second | TimeUnit::Millisecond, None)) => true,
        (Timestamp(from, None), Timestamp(to, None)) => fineness(from) >= fineness(to),
        _ => false,
    }
}

/// Whether every value of one integer type fits into the other.
fn integer_fits(from: &DataType, to: &DataType) -> bool {
    let bits = |kind: &DataType| kind.primitive_width().unwrap_or(16) * 8;
    match (from.is_unsigned_integer(), to.is_unsigned_integer()) {
        (true, true) | (false, false) => bits(from) <= bits(to),
        (true, false) => bits(from) < bits(to),
        (false, true) => false,
    }
}

/// Whether a query's predicate may be evaluated on hidden rows. Allowed are comparisons of a plain column with values
/// of the same type: they cast nothing and cannot fail, and they reveal only which files and pages to skip.
pub(crate) fn is_leak_proof(expr: &Expr, schema: &DFSchema) -> bool {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(_));
    let is_value = |expr: &Expr| matches!(expr, Expr::Literal(..) | Expr::Placeholder(_));
    let same_type = |one: &Expr, other: &Expr| match (one.get_type(schema), other.get_type(schema)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => {
            is_leak_proof(left, schema) && is_leak_proof(right, schema)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_total_operator(*op) => {
            let sides = (is_column(left) && is_value(right)) || (is_value(left) && is_column(right));
            sides && same_type(left, right)
        }
        Expr::Not(inner) => is_leak_proof(inner, schema),
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => is_column(inner),
        Expr::Between(between) => {
            is_column(&between.expr)
                && [&between.low, &between.high].iter().all(|bound| is_value(bound) && same_type(&between.expr, bound))
        }
        Expr::InList(InList { expr, list, .. }) => {
            is_column(expr) && list.iter().all(|item| is_value(item) && same_type(expr, item))
        }
        Expr::ScalarFunction(_) => one_of::parts(expr).is_some_and(|(column, list)| {
            let types = (column.get_type(schema), list.get_type(schema));
            let is_of_column = matches!(&types, (Ok(column), Ok(list)) if one_of::item_type(list) == Some(column));
            is_column(column) && is_value(list) && is_of_column
        }),
        _ => false,
    }
}

/// The reason why a plan below a barrier is not leakproof; `None` if all its expressions and nodes are.
pub(crate) fn plan_fault(plan: &LogicalPlan) -> Option<String> {
    let mut found = None;
    let walked = plan.apply_with_subqueries(|node| {
        found = shape_fault(node).or_else(|| expressions_fault(node));
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found.or_else(|| walked.err().map(|error| error.to_string()))
}

fn shape_fault(node: &LogicalPlan) -> Option<String> {
    match node {
        LogicalPlan::Filter(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::EmptyRelation(_) => None,
        // `DISTINCT` after optimisation.
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.is_empty() => None,
        other if Barrier::of(other).is_some() => None,
        other => Some(format!("`{}` cannot be part of a row filter", node_name(other))),
    }
}

fn node_name(node: &LogicalPlan) -> String {
    node.display().to_string().split([':', ' ']).next().unwrap_or_default().to_owned()
}

fn expressions_fault(node: &LogicalPlan) -> Option<String> {
    let mut schema = DFSchema::clone(node.schema());
    for input in node.inputs() {
        schema.merge(input.schema());
    }
    if let LogicalPlan::TableScan(scan) = node
        && let Ok(source) = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())
    {
        schema.merge(&source);
    }
    let mut found = None;
    let _ = node.apply_expressions(|expr| {
        found = fault(expr, &schema);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    /// A comparison of two types becomes a cast of one side, which may fail on a hidden row.
    #[test]
    fn only_comparisons_of_one_type_go_below_the_barrier() {
        let schema =
            Schema::new(vec![Field::new("note", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]);
        let schema = DFSchema::try_from(schema).unwrap();
        let goes = |expr: Expr| is_leak_proof(&expr, &schema);
        let view = || lit(ScalarValue::Utf8View(Some("5".to_owned())));
        assert!(goes(col("note").gt(lit("5"))) && goes(col("n").lt_eq(lit(5_i64))) && goes(lit(5_i64).eq(col("n"))));
        assert!(goes(col("n").between(lit(1_i64), lit(2_i64))) && goes(col("n").in_list(vec![lit(1_i64)], true)));
        assert!(
            !goes(col("note").gt(lit(5_i64))) && !goes(lit(5_i64).eq(col("note"))) && !goes(col("note").eq(view()))
        );
        assert!(!goes(col("n").lt(lit(5_i32))) && !goes(col("n").lt(lit(5.0))));
        assert!(
            !goes(col("n").between(lit(1_i64), lit(2_i32)))
                && !goes(col("note").in_list(vec![lit("a"), view()], false))
        );
        assert!(!goes(col("n").eq(lit(1_i64)).or(col("note").eq(lit(1_i64)))));
        let set = |column: &str, item: DataType| one_of::one_of(col(column), "$list".to_owned(), &item);
        assert!(goes(set("n", DataType::Int64)) && goes(Expr::Not(Box::new(set("note", DataType::Utf8)))));
        assert!(!goes(set("n", DataType::Int32)) && !goes(set("note", DataType::Utf8View)));
        assert!(!goes((col("n") + lit(1_i64)).eq(lit(2_i64))) && !goes(col("n").eq(col("n"))));
    }
}
