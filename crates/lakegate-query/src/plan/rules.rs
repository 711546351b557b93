//! Compiles an endpoint's rules: predicates over its parameters, evaluated on one row that holds the arguments.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ColumnarValue;
use datafusion::sql::sqlparser::ast::{self, Expr as SqlExpr, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::Span;
use lakegate_core::catalog::{Arguments, RuleCheck};
use lakegate_core::error::{Code, Error};
use lakegate_core::project::{Endpoint, Finding};
use lakegate_core::value::Value;
use std::ops::ControlFlow;

use super::place::Place;
use super::sql::{self, Syntax};
use super::{functions, params};
use crate::functions::exact;
use crate::govern::literal;

/// The compiled rules of an endpoint.
#[derive(Debug)]
pub(crate) struct CompiledRules {
    schema: SchemaRef,
    /// The position among the arguments of each column of `schema`, which has all parameters but lists.
    places: Vec<usize>,
    checks: Vec<Arc<dyn PhysicalExpr>>,
}

/// Gives a rule the same arithmetic as a query.
fn exact_rule(rule: Expr, schema: &DFSchema) -> Result<Expr> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let coerced = ExprSimplifier::new(context).coerce(rule, schema)?;
    exact(coerced, schema).map(|exact| exact.data)
}

impl CompiledRules {
    /// Compiles the rules. Also returns their syntax, for the check of unused parameters, and findings.
    pub(crate) fn compile(endpoint: &Endpoint, session: &SessionState) -> (Self, Vec<Syntax>, Vec<Finding>) {
        let scalars = || endpoint.params.iter().enumerate().filter(|(_, param)| !param.value_type.list);
        let fields =
            scalars().map(|(_, param)| Field::new(&param.name, literal::natural_type(param.value_type.scalar), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let places = scalars().map(|(place, _)| place).collect();
        let mut rules = Self { schema, places, checks: Vec::new() };
        let mut syntaxes = Vec::new();
        let mut findings = Vec::new();
        for rule in &endpoint.rules {
            let place = Place::String(&rule.position);
            match sql::parse_predicate(&rule.check, &place) {
                Ok((expr, syntax)) => {
                    match rules.compile_one(expr, &syntax, endpoint, session, &place) {
                        Ok(check) => rules.checks.push(check),
                        Err(finding) => findings.extend(finding),
                    }
                    syntaxes.push(syntax);
                }
                Err(faults) => findings.extend(faults),
            }
        }
        (rules, syntaxes, findings)
    }

    fn compile_one(
        &self,
        mut expr: SqlExpr,
        syntax: &Syntax,
        endpoint: &Endpoint,
        session: &SessionState,
        place: &Place<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>, Option<Finding>> {
        for (name, span) in &syntax.placeholders {
            match endpoint.param(name) {
                Some(param) if param.value_type.list => {
                    return Err(Some(
                        place
                            .finding(*span, format!("a rule cannot look at the list `${name}`"))
                            .help("use `max_items`, `enum` or `pattern` on the parameter"),
                    ));
                }
                Some(_) => {}
                // Its declaration has an error that is already reported, so the rule cannot be checked.
                None => return Err(params::undeclared(endpoint, name, *span, place)),
            }
        }
        if let Some((_, span)) = syntax.tables.first() {
            return Err(Some(place.finding(*span, "a rule looks at parameters only, not at tables")));
        }
        if let Some((name, span)) = syntax.columns.first() {
            let finding = place.finding(*span, format!("`{name}` is not a parameter: a rule looks at parameters only"));
            return Err(Some(finding.help(match endpoint.declared_params.contains(name) {
                true => format!("write `${name}`"),
                false => "write parameters with a dollar sign, such as `$start <= $end`".to_owned(),
            })));
        }
        let _ = VisitMut::visit(&mut expr, &mut PlaceholdersToColumns);
        let schema = DFSchema::try_from(Arc::clone(&self.schema)).map_err(|error| Some(place.error(&error)))?;
        let planned = session
            .create_logical_expr_from_sql_expr(
                datafusion::sql::sqlparser::ast::ExprWithAlias { expr, alias: None },
                &schema,
            )
            .map_err(|error| Some(rule_fault(place, &error)))?;
        if let Some(name) = functions::refused_in(&planned).first() {
            let span =
                syntax.functions.iter().find(|(called, _)| called == name).map_or(Span::empty(), |(_, span)| *span);
            let finding = place.finding(span, format!("function `{name}` cannot be called in a rule"));
            return Err(Some(finding.help("a rule gives the same answer for the same arguments")));
        }
        let planned = exact_rule(planned, &schema).map_err(|error| Some(rule_fault(place, &error)))?;
        let planned =
            session.create_physical_expr(planned, &schema).map_err(|error| Some(rule_fault(place, &error)))?;
        match planned.data_type(&self.schema) {
            Ok(DataType::Boolean) => Ok(planned),
            _ => Err(Some(
                place
                    .finding(Span::empty(), "a rule's `check` must be true or false")
                    .help("write a comparison, such as `$start <= $end`"),
            )),
        }
    }

    fn evaluate(&self, arguments: &Arguments) -> Result<Vec<usize>> {
        let columns = self.places.iter().zip(self.schema.fields());
        let columns = columns
            .map(|(place, field)| {
                let literal = match arguments.values().get(*place) {
                    Some(Some(Value::Scalar(scalar))) => literal::literal(scalar, field.data_type()),
                    _ => None,
                };
                literal.map_or_else(|| ScalarValue::try_from(field.data_type()), Ok)?.to_array()
            })
            .collect::<Result<Vec<_>>>()?;
        let row = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        let mut violated = Vec::new();
        for (at, check) in self.checks.iter().enumerate() {
            let outcome = match check.evaluate(&row)? {
                ColumnarValue::Scalar(scalar) => scalar,
                ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
            };
            if outcome == ScalarValue::Boolean(Some(false)) {
                violated.push(at);
            }
        }
        Ok(violated)
    }
}

impl RuleCheck for CompiledRules {
    fn violated(&self, arguments: &Arguments) -> Result<Vec<usize>, Error> {
        if self.checks.is_empty() {
            return Ok(Vec::new());
        }
        self.evaluate(arguments).map_err(|error| {
            Error::new(Code::RuleViolated, "a rule of the endpoint cannot be evaluated for these arguments")
                .source(error)
        })
    }
}

fn rule_fault(place: &Place<'_>, error: &DataFusionError) -> Finding {
    let finding = place.error(error);
    if finding.message.ends_with("cannot stand there") {
        return Finding {
            help: Some("a rule compares parameters with each other and with fixed values".to_owned()),
            ..finding
        };
    }
    finding
}

/// Replaces `$name` with the column `name` of the row of arguments.
struct PlaceholdersToColumns;

impl VisitorMut for PlaceholdersToColumns {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        if let SqlExpr::Value(value) = expr
            && let ast::Value::Placeholder(name) = &value.value
        {
            *expr = SqlExpr::Identifier(ast::Ident::with_quote('"', name.trim_start_matches('$')));
        }
        ControlFlow::Continue(())
    }
}
