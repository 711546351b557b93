//! Validates names of principals, roles, attributes, endpoints and tags.
//!
//! Names are compared byte by byte, so few characters are allowed: ASCII, no spaces, and nothing that needs quoting.

/// The kinds of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// `client-4562`, `billing@example.com`.
    Principal,
    /// `client`, `operator`.
    Role,
    /// `client_id`, as used in `principal('client_id')`.
    Attribute,
    /// `count_orders_by_range`: the name in the file and in the path.
    Endpoint,
    /// `pii`: a tag of columns.
    Tag,
}

/// A name that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} name {} {problem}; {}", .kind.noun(), shown(.name), .kind.rule())]
pub struct NameError {
    /// The kind of name.
    pub kind: NameKind,
    /// The name as given.
    pub name: String,
    problem: String,
}

impl NameKind {
    /// Checks the name against the rules of its kind.
    pub fn check(self, name: &str) -> Result<(), NameError> {
        let problem = match name.chars().next() {
            None => "is empty".to_owned(),
            Some(_) if name.len() > self.longest() => {
                format!("is {} bytes long, which is more than {}", name.len(), self.longest())
            }
            Some(first) if !self.may_start(first) => format!("starts with {first:?}"),
            Some(_) => match name.chars().find(|character| !self.may_contain(*character)) {
                Some(other) => format!("contains {other:?}"),
                None => return Ok(()),
            },
        };
        Err(NameError { kind: self, name: name.to_owned(), problem })
    }

    fn noun(self) -> &'static str {
        match self {
            NameKind::Principal => "principal",
            NameKind::Role => "role",
            NameKind::Attribute => "attribute",
            NameKind::Endpoint => "endpoint",
            NameKind::Tag => "tag",
        }
    }

    fn longest(self) -> usize {
        match self {
            NameKind::Attribute => 63,
            NameKind::Role | NameKind::Principal | NameKind::Endpoint | NameKind::Tag => 128,
        }
    }

    fn may_start(self, character: char) -> bool {
        match self {
            NameKind::Principal => character.is_ascii_alphanumeric(),
            NameKind::Role | NameKind::Tag => character.is_ascii_alphabetic(),
            NameKind::Attribute | NameKind::Endpoint => character.is_ascii_alphabetic() || character == '_',
        }
    }

    fn may_contain(self, character: char) -> bool {
        character.is_ascii_alphanumeric()
            || match self {
                NameKind::Principal => matches!(character, '-' | '_' | '.' | '@' | ':' | '+' | '|'),
                NameKind::Role | NameKind::Tag => matches!(character, '-' | '_' | '.' | ':'),
                NameKind::Attribute => character == '_',
                NameKind::Endpoint => matches!(character, '-' | '_'),
            }
    }

    fn rule(self) -> &'static str {
        match self {
            NameKind::Principal => "use letters, digits and `-_.@:+|`, starting with a letter or digit",
            NameKind::Role | NameKind::Tag => "use letters, digits and `-_.:`, starting with a letter",
            NameKind::Attribute => "use letters, digits and `_`, starting with a letter or `_`",
            NameKind::Endpoint => "use letters, digits, `_` and `-`, starting with a letter or `_`",
        }
    }
}

/// The name for a message: escaped, and truncated if it is long.
fn shown(name: &str) -> String {
    let cut: String = name.chars().take(40).collect();
    let dots = if cut.len() < name.len() { "…" } else { "" };
    format!("`{}{dots}`", cut.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for (kind, name) in [
            (NameKind::Principal, "client-4562"),
            (NameKind::Principal, "ops+eu@example.com"),
            (NameKind::Principal, "acme:auth0|5f7c8ec7c33c6c004bbafe82"),
            (NameKind::Principal, "7"),
            (NameKind::Role, "operator"),
            (NameKind::Role, "eu:client"),
            (NameKind::Attribute, "client_id"),
            (NameKind::Attribute, "_x9"),
            (NameKind::Endpoint, "count_orders_by_range"),
            (NameKind::Endpoint, "orders-v2"),
        ] {
            assert_eq!(kind.check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn other_names_do_not() {
        for (kind, name) in [
            (NameKind::Principal, ""),
            (NameKind::Principal, " a"),
            (NameKind::Principal, "a b"),
            (NameKind::Principal, "-a"),
            (NameKind::Principal, "ä"),
            (NameKind::Principal, "a\0"),
            (NameKind::Principal, "a/b"),
            (NameKind::Role, "1st"),
            (NameKind::Role, "*"),
            (NameKind::Attribute, "client-id"),
            (NameKind::Attribute, "client.id"),
            (NameKind::Endpoint, "*"),
            (NameKind::Endpoint, "../x"),
            (NameKind::Endpoint, "a.sql"),
        ] {
            assert!(kind.check(name).is_err(), "{name:?}");
        }
        assert!(NameKind::Principal.check(&"a".repeat(128)).is_ok());
        assert!(NameKind::Principal.check(&"a".repeat(129)).is_err());
    }

    #[test]
    fn the_message_says_what_and_how() {
        let error = NameKind::Role.check("two words").unwrap_err();
        assert_eq!(
            error.to_string(),
            "role name `two words` contains ' '; use letters, digits and `-_.:`, starting with a letter"
        );
        let error = NameKind::Attribute.check(&"é\n".repeat(90)).unwrap_err();
        assert!(error.to_string().chars().count() < 220, "{error}");
        assert!(!error.to_string().contains('\n'));
    }
}
