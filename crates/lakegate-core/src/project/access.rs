//! Reads `[access]` of `lakegate.toml`: the access store, and the attributes of principals whose values stay hidden.

use std::collections::BTreeSet;

use super::audit;
use super::config::CONFIG_FILE;
use super::finding::Finding;
use super::reader::{Section, TomlSource};

/// The access store of a project that names none.
const DEFAULT_STORE: &str = "sqlite:access.db";

/// `[access]`.
pub(super) struct AccessSection {
    pub(super) store: String,
    pub(super) secret_attributes: BTreeSet<String>,
}

impl Default for AccessSection {
    fn default() -> Self {
        Self { store: DEFAULT_STORE.to_owned(), secret_attributes: BTreeSet::new() }
    }
}

/// The access store that a project's text names, or the default. Ignores environment variables, and faults in other
/// keys, so that commands on the access store work while the project has faults.
///
/// # Errors
/// If the text is not TOML, or `store` is not a string.
pub fn access_store(text: &str) -> Result<String, Vec<Finding>> {
    let store = read_key(text, |access| access.string("store"))?;
    Ok(store.map_or_else(|| DEFAULT_STORE.to_owned(), |store| store.value))
}

/// The attributes whose values a project's text hides. Ignores faults in other keys.
///
/// # Errors
/// If the text is not TOML, or `secret_attributes` is not a list of attribute names.
pub fn secret_attributes(text: &str) -> Result<BTreeSet<String>, Vec<Finding>> {
    Ok(read_key(text, |access| Some(audit::read_secret_attributes(access)))?.unwrap_or_default())
}

/// Reads one key of `[access]`, without environment variables; `None` if there is no such section or key.
fn read_key<T>(text: &str, read: impl FnOnce(&mut Section<'_, '_>) -> Option<T>) -> Result<Option<T>, Vec<Finding>> {
    let (source, table) = TomlSource::new(CONFIG_FILE, text, 0..text.len());
    let access = Section::root(&source, table.get_ref()).policy_section("access");
    let value = access.and_then(|mut access| read(&mut access));
    let findings = source.into_findings();
    if findings.is_empty() { Ok(value) } else { Err(findings) }
}

pub(super) fn read(mut section: Section<'_, '_>) -> AccessSection {
    let secret_attributes = audit::read_secret_attributes(&mut section);
    let store = section.string("store");
    if let Some(store) = &store
        && !store.value.starts_with("sqlite:")
    {
        section.source().report(
            &store.span,
            format!("`{}` is not an access store", store.value),
            Some("write `sqlite:` and a path, such as `sqlite:access.db`".into()),
        );
    }
    section.finish();
    AccessSection { store: store.map_or_else(|| DEFAULT_STORE.to_owned(), |store| store.value), secret_attributes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_read_from_a_text_with_other_faults() {
        let text = "[access]\nstore = \"sqlite:a.db\"\nsecret_attributes = 1\nnonsense = 1\n[lake]\nlocation = 1\n";
        assert_eq!(access_store(text).unwrap(), "sqlite:a.db");
        assert_eq!(access_store("").unwrap(), DEFAULT_STORE);
        assert_eq!(access_store("[access]\n").unwrap(), DEFAULT_STORE);
        let fault = |text| access_store(text).unwrap_err()[0].to_string();
        assert_eq!(fault("[access]\nstore = 1"), "lakegate.toml:2:9: `store` in [access] must be a string, not `1`");
        assert!(fault("[access").contains("not valid TOML"));
    }

    #[test]
    fn secret_attributes_are_read_or_unknown() {
        let read = |text| secret_attributes(text).map(|names| names.into_iter().collect::<Vec<_>>());
        assert_eq!(read("[access]\nsecret_attributes = [\"pin\"]\nstore = 1").unwrap(), ["pin"]);
        assert_eq!(read("[access]\nstore = \"sqlite:a.db\"").unwrap(), Vec::<String>::new());
        for wrong in ["[access]\nsecret_attributes = 1", "[access]\nsecret_attributes = [1]", "[access"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
