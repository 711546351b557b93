//! Reports the effect of governance on a call for operators: row filters, masks, columns and the plan.
//!
//! Returns no value of an attribute or argument, because the operator has these values and knows which of them are
//! secret.

use std::collections::BTreeSet;

use lakegate_core::access::{GrantedAccess, Principal};
use lakegate_core::project::{MaskSpec, RowPolicy};

use super::reach;
use crate::plan::{OutputColumn, PlannedEndpoint, PlannedProject};

/// The part of a table behind an endpoint that a caller sees.
#[derive(Clone, Debug)]
pub struct TableView {
    /// The table.
    pub table: String,
    /// Its visible rows.
    pub rows: Rows,
    /// Its masked columns.
    pub masks: Vec<MaskView>,
    /// The restrictions of its catalog, for every caller; `None` if there are none.
    pub catalog: Option<CatalogView>,
}

/// The restrictions that a table's catalog puts on every reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogView {
    /// The predicate that a row must satisfy; `None` if there is none.
    pub rows: Option<String>,
    /// The restricted columns with their actions, as the standard names them.
    pub columns: Vec<(String, &'static str)>,
}

/// The rows of a table that a caller sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All rows, like every caller.
    Shared,
    /// All rows, because of these roles of the caller.
    Unfiltered(Vec<String>),
    /// The rows for which the filter is true.
    Filtered {
        /// The filter, as the project writes it.
        filter: String,
        /// The attributes that it names.
        attributes: BTreeSet<String>,
        /// Those that the caller lacks. With any, the caller cannot call the endpoint.
        missing: BTreeSet<String>,
    },
}

/// A mask on a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskView {
    /// The column of the table.
    pub of: String,
    /// The column, or a field of it, as the project writes it.
    pub column: String,
    /// The mask's specification.
    pub mask: MaskSpec,
    /// The tag that the mask comes from; `None` for the column's own mask.
    pub tag: Option<String>,
    /// Whether a grant unmasks it for this caller.
    pub unmasked: bool,
}

/// A column of an endpoint as a caller sees it.
#[derive(Clone, Debug)]
pub struct ColumnView {
    /// The column.
    pub column: OutputColumn,
    /// Whether a grant shows it.
    pub shown: bool,
    /// Masked columns of the lake (`table.column`) from which its values are computed.
    pub masked: BTreeSet<String>,
}

/// The tables behind an endpoint as a caller sees them: those that its query reads, and those that their filters read.
pub fn tables(
    project: &PlannedProject,
    endpoint: &PlannedEndpoint,
    who: &Principal,
    granted_access: &GrantedAccess,
) -> Vec<TableView> {
    let (unfiltered, _) = reach(project, endpoint, who);
    let config = &project.project().config;
    let mut seen = BTreeSet::new();
    let mut waiting = endpoint.tables().iter().rev().map(String::as_str).collect::<Vec<_>>();
    let mut views = Vec::new();
    let unmasked = project.masking().unmasked(granted_access, endpoint.tables());
    while let Some(name) = waiting.pop() {
        let Some(table) = config.tables.get(name).filter(|_| seen.insert(name)) else { continue };
        let rows = match (&table.policy, project.policies().filter(name)) {
            (RowPolicy::Filtered { unfiltered_for, .. }, _) if unfiltered.contains(name) => {
                Rows::Unfiltered(unfiltered_for.iter().filter(|role| who.has_role(role)).cloned().collect())
            }
            (RowPolicy::Filtered { filter, .. }, Some(compiled)) => {
                waiting.extend(compiled.reads.iter().map(String::as_str));
                let attributes = compiled.attributes.clone();
                let missing = attributes.iter().filter(|attribute| who.attribute(attribute).is_none()).cloned();
                Rows::Filtered { filter: filter.clone(), missing: missing.collect(), attributes }
            }
            _ => Rows::Shared,
        };
        // A table that only a filter reads is read raw there, and its values are in no response.
        let own = BTreeSet::from([name.to_owned()]);
        let is_read = endpoint.tables().contains(name);
        let none = BTreeSet::new();
        let all = project.masking().kept(&none, &own).filter(|_| is_read);
        let masks = all.map(|(id, mask)| MaskView {
            of: project.masking().column_of(&id).unwrap_or_default().to_owned(),
            unmasked: unmasked.contains(&id),
            column: id.column,
            mask: mask.clone(),
            tag: id.tag,
        });
        let columns = project.masking().demanded(name).map(|(column, action)| (column.to_owned(), action.name()));
        let columns = columns.collect::<Vec<_>>();
        let filter = project.policies().ceiling(name).map(|filter| filter.human_display().to_string());
        let catalog = (filter.is_some() || !columns.is_empty()).then_some(CatalogView { rows: filter, columns });
        views.push(TableView { table: name.to_owned(), rows, masks: masks.collect(), catalog });
    }
    views
}

/// The columns of an endpoint as a caller sees them.
pub fn columns(
    project: &PlannedProject,
    endpoint: &PlannedEndpoint,
    granted_access: &GrantedAccess,
) -> Vec<ColumnView> {
    let unmasked = project.masking().unmasked(granted_access, endpoint.tables());
    let masked = project.masking().kept(&unmasked, endpoint.tables()).map(|(id, _)| {
        let column = project.masking().column_of(&id).unwrap_or_default().to_owned();
        (id.table, column)
    });
    let demanded = endpoint
        .tables()
        .iter()
        .flat_map(|table| project.masking().demanded(table).map(|(column, _)| (table.clone(), column.to_owned())));
    let masked = masked.chain(demanded).collect::<BTreeSet<_>>();
    let of = |(column, sources): (OutputColumn, &BTreeSet<(String, String)>)| ColumnView {
        shown: granted_access.shows(&column.name),
        column,
        masked: sources.intersection(&masked).map(|(table, column)| format!("{table}.{column}")).collect(),
    };
    endpoint.columns().into_iter().zip(endpoint.sources()).map(of).collect()
}
