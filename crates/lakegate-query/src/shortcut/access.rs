//! Recognises subplans that scan one table, and describes each as a table scan spec: columns, predicate and parent.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, NullEquality};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Filter, Join, JoinType, LogicalPlan, Operator, Projection, TableScan};

use crate::govern::{barrier_of, is_leak_proof, names_masked, one_of};
use crate::hot::HotTable;
use crate::lake::lake_table;

/// Table scan spec: a subplan that reads one table.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) table: Arc<HotTable>,
    /// The table indices of its output columns or, if [`Self::made`] is set, of the columns that those expressions
    /// read.
    pub(super) columns: Vec<usize>,
    /// The output schema, under the names that the plan above uses.
    pub(super) schema: DFSchemaRef,
    /// Conditions that hold for every row, the policy's among them, over the table's own columns.
    pub(super) filters: Vec<Expr>,
    /// The parent table in which each row needs a match.
    pub(super) parent: Option<Parent>,
    /// The output expressions over the table's columns; `None` if the output is plain columns.
    pub(super) made: Option<Vec<Expr>>,
    /// Columns that are masked above the barrier. No condition may refer to them below it.
    pub(super) masked: BTreeSet<String>,
    pub(super) is_behind_barrier: bool,
}

/// A condition on a parent table: `column` of the row equals `key` of some row of `of`.
#[derive(Clone, Debug)]
pub(super) struct Parent {
    pub(super) column: usize,
    pub(super) of: Box<Access>,
    pub(super) key: usize,
}

impl Access {
    /// The scan spec of a plan; `None` if the plan does more than scan one table.
    pub(super) fn of(plan: &LogicalPlan) -> Option<Self> {
        match plan {
            LogicalPlan::TableScan(scan) => Self::scan(scan),
            LogicalPlan::SubqueryAlias(alias) => {
                Some(Self { schema: Arc::clone(&alias.schema), ..Self::of(&alias.input)? })
            }
            LogicalPlan::Projection(projection) => Self::of(&projection.input)?.project(projection),
            LogicalPlan::Filter(filter) => {
                let (access, rest) = Self::of(&filter.input)?.filter(filter)?;
                rest.is_empty().then_some(access)
            }
            LogicalPlan::Join(join) => Self::under_parent(join),
            LogicalPlan::Extension(_) => {
                let (input, masked) = barrier_of(plan)?;
                let access = Self::of(input).filter(|access| !access.is_behind_barrier && access.made.is_none())?;
                Some(Self { masked: masked.clone(), is_behind_barrier: true, ..access })
            }
            _ => None,
        }
    }

    fn scan(scan: &TableScan) -> Option<Self> {
        let provider = source_as_provider(&scan.source).ok()?;
        let any: &dyn Any = provider.as_ref();
        let table = lake_table(any)?.hot().filter(|hot| hot.fits())?;
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return None;
        }
        let columns = match &scan.projection {
            Some(columns) => columns.clone(),
            None => (0..table.schema().fields().len()).collect(),
        };
        Some(Self {
            table: Arc::clone(table),
            columns,
            schema: Arc::clone(&scan.projected_schema),
            filters: Vec::new(),
            parent: None,
            made: None,
            masked: BTreeSet::new(),
            is_behind_barrier: false,
        })
    }

    /// The table column behind an output column; `None` if the output is computed.
    pub(super) fn place(&self, at: usize) -> Option<usize> {
        match &self.made {
            None => self.columns.get(at).copied(),
            Some(made) => match made.get(at)? {
                Expr::Column(column) => self.table.schema().index_of(&column.name).ok(),
                _ => None,
            },
        }
    }

    /// The table column behind a column that the plan above names.
    pub(super) fn place_of(&self, column: &Column) -> Option<usize> {
        self.place(self.schema.maybe_index_of_column(column)?)
    }

    /// Rewrites an expression over the output into one over the table; `None` if it reads computed columns.
    fn in_table(&self, expr: &Expr) -> Option<Expr> {
        let mut is_plain = true;
        let inner = expr.clone().transform_up(|inner| match &inner {
            Expr::Column(column) => match self.place_of(column) {
                Some(place) => {
                    let name = self.table.schema().field(place).name();
                    Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name.clone()))))
                }
                None => {
                    is_plain = false;
                    Ok(Transformed::no(inner))
                }
            },
            Expr::ScalarSubquery(_)
            | Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::AggregateFunction(_)
            | Expr::WindowFunction(_) => {
                is_plain = false;
                Ok(Transformed::no(inner))
            }
            _ => Ok(Transformed::no(inner)),
        });
        inner.ok().map(|inner| inner.data).filter(|_| is_plain)
    }

    /// Pushes a filter down to the policy as far as that is allowed. Also returns the conjuncts that must stay above.
    pub(super) fn filter(mut self, filter: &Filter) -> Option<(Self, Vec<Expr>)> {
        let mut rest = Vec::new();
        for conjunct in split_conjunction(&filter.predicate) {
            // From above the barrier, only leakproof conjuncts that name no masked column may move below it.
            let may_go = !self.is_behind_barrier || is_leak_proof(conjunct, filter.input.schema());
            let may_be_said = |conjunct: &Expr| !self.is_behind_barrier || !names_masked(conjunct, &self.masked);
            match self.in_table(conjunct).filter(|conjunct| may_go && may_be_said(conjunct)) {
                Some(conjunct) => self.filters.push(conjunct),
                None => rest.push(conjunct.clone()),
            }
        }
        Some((self, rest))
    }

    fn project(self, projection: &Projection) -> Option<Self> {
        let schema = Arc::clone(&projection.schema);
        let exprs = projection.expr.iter().map(|expr| expr.clone().unalias());
        let plain = exprs.clone().map(|expr| match &expr {
            Expr::Column(column) => self.schema.maybe_index_of_column(column),
            _ => None,
        });
        if let Some(places) = plain.collect::<Option<Vec<_>>>() {
            let (columns, made) = match self.made {
                None => (places.iter().map(|at| self.columns[*at]).collect(), None),
                Some(made) => {
                    let made = places.iter().map(|at| made[*at].clone()).collect::<Vec<_>>();
                    (columns_of(&made, &self.table)?, Some(made))
                }
            };
            return Some(Self { columns, made, schema, ..self });
        }
        if self.made.is_some() {
            return None;
        }
        let made = exprs.map(|expr| self.in_table(&expr)).collect::<Option<Vec<_>>>()?;
        Some(Self { columns: columns_of(&made, &self.table)?, made: Some(made), schema, ..self })
    }

    /// Recognises the semi-join that a policy through a parent produces.
    fn under_parent(join: &Join) -> Option<Self> {
        let is_plain = join.join_type == JoinType::LeftSemi
            && join.filter.is_none()
            && join.null_equality == NullEquality::NullEqualsNothing;
        // Above a barrier, a semi-join is part of the query and is treated like any other join.
        let may_have_parent =
            |access: &Self| !access.is_behind_barrier && access.parent.is_none() && access.made.is_none();
        let access = Self::of(&join.left).filter(|access| is_plain && may_have_parent(access))?;
        let [(Expr::Column(child), Expr::Column(parent))] = join.on.as_slice() else { return None };
        let of = Self::of(&join.right).filter(|of| of.made.is_none())?;
        let (column, key) = (access.place_of(child)?, of.place_of(parent)?);
        let is_of_one_type =
            access.table.schema().field(column).data_type() == of.table.schema().field(key).data_type();
        // A parent behind its own barrier is itself governed, so the join sees only its visible rows.
        let parent = Parent { column, of: Box::new(of), key };
        is_of_one_type.then_some(Self { parent: Some(parent), schema: Arc::clone(&join.schema), ..access })
    }

    /// The columns that the filters read, in ascending order.
    pub(super) fn filter_columns(&self) -> Option<Vec<usize>> {
        columns_of(&self.filters, &self.table)
    }
}

/// The table columns that the expressions read, in ascending order.
fn columns_of(exprs: &[Expr], table: &HotTable) -> Option<Vec<usize>> {
    let mut columns = BTreeSet::new();
    for expr in exprs {
        for column in expr.column_refs() {
            columns.insert(table.schema().index_of(&column.name).ok()?);
        }
    }
    Some(columns.into_iter().collect())
}

/// Whether a plan contains a table scan that is restricted by equality with a parameter, or by a parent.
pub(super) fn is_selective(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply(|node| {
        found |= Access::of(node)
            .is_some_and(|access| access.parent.is_some() || access.filters.iter().any(compares_with_value));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.is_ok() && found
}

fn compares_with_value(filter: &Expr) -> bool {
    let is_value = |expr: &Expr| matches!(expr, Expr::Placeholder(_));
    let mut found = false;
    let walked = filter.apply(|inner| {
        found |= match inner {
            Expr::BinaryExpr(binary) => {
                binary.op == Operator::Eq && (is_value(&binary.right) || is_value(&binary.left))
            }
            inner => one_of::parts(inner).is_some_and(|(_, list)| is_value(list)),
        };
        Ok(match inner {
            _ if found => TreeNodeRecursion::Stop,
            // A negated condition keeps most rows.
            Expr::Not(_) => TreeNodeRecursion::Jump,
            _ => TreeNodeRecursion::Continue,
        })
    });
    walked.is_ok() && found
}

/// The schema of some columns of a table, without qualifiers.
pub(super) fn schema_of(table: &HotTable, columns: &[usize]) -> datafusion::common::Result<DFSchema> {
    DFSchema::try_from(table.schema().project(columns)?)
}
