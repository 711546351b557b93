//! The scope of a token: what of its principal's access it carries. A scope only narrows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::name::{NameError, NameKind};

/// What a token may be used for, within what its principal may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// The endpoints by exact name; `None` is all that the principal may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<BTreeSet<String>>,
    /// Whether every mask stays on, whatever the grants lift.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

impl Scope {
    /// Whether it narrows nothing.
    pub fn is_whole(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the endpoint of this name is within it.
    pub fn covers(&self, endpoint: &str) -> bool {
        self.endpoints.as_ref().is_none_or(|endpoints| endpoints.contains(endpoint))
    }

    /// Takes it, or says what is wrong with a name.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn check(&self) -> Result<(), NameError> {
        self.endpoints.iter().flatten().try_for_each(|endpoint| NameKind::Endpoint.check(endpoint))
    }
}
