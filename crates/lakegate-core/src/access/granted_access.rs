//! The combined effect of several grants: columns, unmasking and limits. Only [`super::Authorized`], and code that has
//! one, can build it.

use std::collections::BTreeSet;

use super::grant::Grant;
use super::terms::Unmask;
use crate::column_name::covers;
use crate::limits::Limits;

/// The access of a caller to an endpoint, for arguments that the grants admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedAccess {
    /// The ids of the grants, closest first.
    grants: Vec<String>,
    /// The allowed columns; `None` allows all.
    allowed_columns: Option<BTreeSet<String>>,
    /// The denied columns.
    pub(super) denied_columns: BTreeSet<String>,
    /// The unmasked columns and tags.
    pub(super) unmask: BTreeSet<Unmask>,
    /// Columns and tags that stay masked even if `unmask` has them.
    pub(super) denied_unmask: BTreeSet<Unmask>,
    /// The combined limits; `None` before the first grant.
    limits: Option<Limits>,
}

impl GrantedAccess {
    pub(super) fn none() -> Self {
        Self {
            grants: Vec::new(),
            allowed_columns: Some(BTreeSet::new()),
            denied_columns: BTreeSet::new(),
            unmask: BTreeSet::new(),
            denied_unmask: BTreeSet::new(),
            limits: None,
        }
    }

    /// Adds a grant: the union of columns and of unmasking, and the wider of each limit.
    pub(super) fn add(&mut self, grant: &Grant) {
        self.grants.push(grant.id.clone());
        self.allowed_columns = match (self.allowed_columns.take(), &grant.terms.columns) {
            (Some(allowed), Some(columns)) => Some(allowed.into_iter().chain(columns.iter().cloned()).collect()),
            _ => None,
        };
        self.unmask.extend(grant.terms.unmask.iter().cloned());
        self.limits = Some(match self.limits.take() {
            Some(limits) => limits.wider(&grant.terms.limits),
            None => grant.terms.limits.clone(),
        });
    }

    /// The ids of the grants, closest first.
    pub fn grants(&self) -> &[String] {
        &self.grants
    }

    /// Whether the output column of this name is allowed. A grant must name it exactly; a denial covers every possible
    /// reading of its text.
    pub fn shows(&self, column: &str) -> bool {
        let path = [column.to_owned()];
        let is_denied = || self.denied_columns.iter().any(|denied| covers(denied, &path));
        self.allowed_columns.as_ref().is_none_or(|allowed| allowed.contains(column)) && !is_denied()
    }

    /// Whether every column of the endpoint is allowed, including later ones.
    pub fn shows_all(&self) -> bool {
        self.allowed_columns.is_none() && self.denied_columns.is_empty()
    }

    /// Whether the grants remove a mask from a table's column, or of a nested field, given its path and its tags.
    ///
    /// A grant that unmasks a tag removes the mask of that tag. The column's own mask is removed by a grant that names
    /// the column, or that unmasks all of its tags. `tag` is the tag that brings the mask, or `None` for the column's
    /// own mask. `means` returns whether a text names this column and no other of the table, because a text that could
    /// name two columns must unmask nothing.
    pub fn is_unmasked(
        &self,
        table: &str,
        path: &[String],
        tags: &BTreeSet<String>,
        tag: Option<&str>,
        means: impl Fn(&str) -> bool,
    ) -> bool {
        let named = self.unmask.iter().any(|unmask| match unmask {
            Unmask::Column { table: of, column } => of == table && means(column),
            Unmask::Tag(_) => false,
        });
        let of_tag = |tag: &str| self.unmask.contains(&Unmask::Tag(tag.to_owned()));
        let denied = self.denied_unmask.iter().any(|never| match never {
            Unmask::Tag(never) => tags.iter().any(|tag| tag.eq_ignore_ascii_case(never)),
            Unmask::Column { table: of, column: never } => of.eq_ignore_ascii_case(table) && covers(never, path),
        });
        let unmasked = named
            || match tag {
                Some(tag) => of_tag(tag),
                None => !tags.is_empty() && tags.iter().all(|tag| of_tag(tag)),
            };
        unmasked && !denied
    }

    /// The unmasked columns and tags.
    pub fn unmask(&self) -> &BTreeSet<Unmask> {
        &self.unmask
    }

    /// The combined limits of the grants; empty without a grant, because then there is no result to limit.
    pub fn limits(&self) -> Limits {
        self.limits.clone().unwrap_or_default()
    }
}
