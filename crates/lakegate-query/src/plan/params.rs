//! Assigns the exact type to every placeholder of an endpoint's plan, or reports why a declared type does not fit.
//!
//! Values are bound later as literals of exactly these types, so that no column is cast to match an argument.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::expr::{InList, Placeholder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::tokenizer::Span;
use lakegate_core::project::{Endpoint, Finding, Param, suggestion};
use lakegate_core::value::ScalarType;
use std::sync::Arc;

use super::place::Place;
use super::sql::Syntax;
use crate::govern::literal;

/// Findings for placeholders that no parameter declares, and for parameters that neither the query nor a rule uses.
pub(crate) fn check_names(endpoint: &Endpoint, query: &Syntax, rules: &[Syntax], place: &Place<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, span) in &query.placeholders {
        findings.extend(undeclared(endpoint, name, *span, place));
    }
    let used = |param: &Param| {
        let mut names = query.placeholders.iter().chain(rules.iter().flat_map(|rule| &rule.placeholders));
        names.any(|(name, _)| *name == param.name)
    };
    for param in endpoint.params.iter().filter(|param| !used(param)) {
        let message = format!("parameter `{}` is not used", param.name);
        findings.push(
            Finding::new(param.position.clone(), message)
                .help(format!("use `${}` in the query, or remove it", param.name)),
        );
    }
    findings
}

/// The finding for a placeholder; `None` if a parameter declares it.
pub(crate) fn undeclared(endpoint: &Endpoint, name: &str, span: Span, place: &Place<'_>) -> Option<Finding> {
    if endpoint.declared_params.iter().any(|declared| declared == name) {
        return None;
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        let finding = place.finding(span, "a placeholder has a name here");
        return Some(finding.help("write `$name`, and declare it: `[params.name]` with a `type`"));
    }
    let help = match suggestion(name, endpoint.declared_params.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `${near}`? Otherwise declare it: `[params.{name}]` with a `type`"),
        None => format!("declare it: `[params.{name}]` with a `type`"),
    };
    Some(place.finding(span, format!("`${name}` is not a declared parameter")).help(help))
}

/// The plan with typed placeholders.
pub(crate) fn typed(plan: LogicalPlan, endpoint: &Endpoint) -> Result<LogicalPlan, Vec<Finding>> {
    let mut faults = BTreeMap::new();
    let outcome = plan.transform_up_with_subqueries(|node| {
        let mut schema = node.schema().as_ref().clone();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        node.map_expressions(|expr| {
            misplaced_lists(&expr, endpoint, &mut faults)?;
            // The planner infers types for filters and projections only, so those in joins and nested expressions have
            // none yet.
            let (expr, has_placeholder) = expr.infer_placeholder_types(&schema)?;
            if !has_placeholder {
                return Ok(Transformed::no(expr));
            }
            expr.transform_up(|inner| match inner {
                Expr::Placeholder(placeholder) => {
                    Ok(Transformed::yes(typed_placeholder(placeholder, endpoint, &mut faults)))
                }
                other => Ok(Transformed::no(other)),
            })
        })?
        .map_data(LogicalPlan::recompute_schema)
    });
    match outcome {
        Ok(typed) if faults.is_empty() => Ok(typed.data),
        Ok(_) => Err(faults.into_values().collect()),
        Err(error) => Err(vec![Place::File(endpoint).error(&error)]),
    }
}

/// The id of a parameter's placeholder.
pub(crate) fn placeholder_id(param: &str) -> String {
    format!("${param}")
}

fn param_of<'a>(placeholder: &Placeholder, endpoint: &'a Endpoint) -> Option<&'a Param> {
    endpoint.param(placeholder.id.strip_prefix('$')?)
}

fn typed_placeholder(placeholder: Placeholder, endpoint: &Endpoint, faults: &mut BTreeMap<String, Finding>) -> Expr {
    // The syntax check has already reported it.
    let Some(param) = param_of(&placeholder, endpoint) else { return Expr::Placeholder(placeholder) };
    let scalar = param.value_type.scalar;
    let natural = literal::natural_type(scalar);
    let data_type = match placeholder.field.as_ref().map(|field| field.data_type()) {
        None | Some(DataType::Null) => natural,
        // In `creation > $start - INTERVAL '1 day'`, the planner takes `$start` for an interval.
        Some(DataType::Interval(_)) => natural,
        Some(inferred) if literal::can_bind(scalar, inferred) => inferred.clone(),
        Some(inferred) => {
            let list = if param.value_type.list { "[]" } else { "" };
            let declared = param.value_type.name();
            let met = column_type_name(inferred);
            let message = format!("parameter `{}` is declared `{declared}` and meets values of type {met}", param.name);
            let help = match literal::declared_type(inferred) {
                Some(better) => format!("declare it `{}{list}`, or cast it in the query", better.name()),
                None => "cast it, or the column, in the query".to_owned(),
            };
            faults.insert(param.name.clone(), Finding::new(param.position.clone(), message).help(help));
            natural
        }
    };
    let field = Arc::new(Field::new("", data_type, true));
    Expr::Placeholder(Placeholder::new_with_field(placeholder.id, Some(field)))
}

/// Reports a list parameter anywhere but in `IN ($list)` or under `IS NULL` and `IS NOT NULL`.
fn misplaced_lists(
    expr: &Expr,
    endpoint: &Endpoint,
    faults: &mut BTreeMap<String, Finding>,
) -> Result<(), DataFusionError> {
    let is_list = |expr: &Expr| match expr {
        Expr::Placeholder(placeholder) => param_of(placeholder, endpoint).filter(|param| param.value_type.list),
        _ => None,
    };
    expr.apply(|inner| {
        if let Expr::InList(InList { expr, list, .. }) = inner {
            // The left side and the other items of the list may be any expressions, so check them, too.
            expr.apply(|column| report_list(is_list(column), faults))?;
            for item in list.iter().filter(|item| is_list(item).is_none()) {
                item.apply(|part| report_list(is_list(part), faults))?;
            }
            return Ok(TreeNodeRecursion::Jump);
        }
        match inner {
            Expr::IsNull(asked) | Expr::IsNotNull(asked) if is_list(asked).is_some() => Ok(TreeNodeRecursion::Jump),
            _ => report_list(is_list(inner), faults),
        }
    })?;
    Ok(())
}

fn report_list(param: Option<&Param>, faults: &mut BTreeMap<String, Finding>) -> Result<TreeNodeRecursion> {
    if let Some(param) = param {
        let message = format!("list parameter `{}` stands outside `IN (…)`", param.name);
        let finding =
            Finding::new(param.position.clone(), message).help(format!("write `column IN (${})`", param.name));
        faults.insert(param.name.clone(), finding);
    }
    Ok(TreeNodeRecursion::Continue)
}

/// The name of a column type, as parameters and documents name it.
pub(crate) fn column_type_name(data_type: &DataType) -> String {
    match literal::declared_type(data_type) {
        // A column of 16 bytes can be compared with a UUID, but its values need not be UUIDs.
        Some(scalar) if scalar != ScalarType::Uuid => scalar.name().to_owned(),
        _ => match data_type {
            DataType::List(item) | DataType::LargeList(item) => format!("{}[]", column_type_name(item.data_type())),
            DataType::Struct(_) => "object".to_owned(),
            other => other.to_string().to_lowercase(),
        },
    }
}
