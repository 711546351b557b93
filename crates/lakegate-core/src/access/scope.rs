//! The scope of a token: the part of its principal's access that the token carries. A scope only narrows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::name::{NameError, NameKind};

/// The uses of a token, within the access of its principal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// The endpoints by exact name; `None` is all that the principal may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<BTreeSet<String>>,
    /// Whether every mask stays on, even if the grants unmask the column.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

impl Scope {
    /// Whether it narrows nothing.
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it includes the endpoint of this name.
    pub fn covers(&self, endpoint: &str) -> bool {
        self.endpoints.as_ref().is_none_or(|endpoints| endpoints.contains(endpoint))
    }

    /// Checks the endpoint names.
    ///
    /// # Errors
    /// The first invalid name.
    pub fn check(&self) -> Result<(), NameError> {
        self.endpoints.iter().flatten().try_for_each(|endpoint| NameKind::Endpoint.check(endpoint))
    }
}
