//! Splits the names of columns and files into words.

/// Splits a name into lower-case words: `o_custKey` is `o`, `cust`, `key`.
pub(super) fn split(name: &str) -> Vec<String> {
    let mut words = Vec::<String>::new();
    let (mut word, mut before) = (String::new(), ' ');
    for character in name.chars() {
        let begins = character.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit());
        if (!character.is_alphanumeric() || begins) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
        before = character;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The approximate singular of an English plural, to compare names of tables with names of keys.
pub(super) fn singular(word: &str) -> String {
    match word {
        _ if word.len() < 4 || word.ends_with("ss") || word.ends_with("us") => word.to_owned(),
        _ if word.ends_with("ies") => format!("{}y", &word[..word.len() - 3]),
        _ if ["sses", "xes", "ches", "shes"].iter().any(|end| word.ends_with(end)) => word[..word.len() - 2].to_owned(),
        _ => word.strip_suffix('s').unwrap_or(word).to_owned(),
    }
}

/// Words that a key's name ends or begins with.
pub(super) const KEY_WORDS: &[&str] = &["id", "key", "code", "no", "nr", "num", "number", "uuid", "guid", "ref"];

/// The words that name what a key identifies: those before `id` for `trackcode_id`, `o_custkey` and `clientId`, and
/// those after it for `id_cliente`. `None` if the name is not a key's; empty for a bare `id`.
pub(super) fn key_of(name: &str) -> Option<Vec<String>> {
    let mut words = without_prefix(split(name));
    if words.last().is_some_and(|last| KEY_WORDS.contains(&last.as_str())) {
        words.pop();
        return Some(words);
    }
    if words.len() > 1 && matches!(words[0].as_str(), "id" | "uuid" | "guid") {
        words.remove(0);
        return Some(words);
    }
    let last = words.pop()?;
    let stem = ["key", "uuid", "guid", "id"].iter().find_map(|end| last.strip_suffix(end));
    words.push(stem.filter(|stem| stem.len() >= 3)?.to_owned());
    Some(words)
}

/// Removes the one or two letters for the table that some models prefix to each column: `l_orderkey`.
fn without_prefix(mut words: Vec<String>) -> Vec<String> {
    if words.len() > 1 && words[0].len() <= 2 && !KEY_WORDS.contains(&words[0].as_str()) {
        words.remove(0);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_at_underscores_hyphens_and_capitals() {
        assert_eq!(split("o_custKey"), ["o", "cust", "key"]);
        assert_eq!(split("Customer-ID 2"), ["customer", "id", "2"]);
    }

    #[test]
    fn keys_are_told_by_their_names() {
        let key = |name| key_of(name).map(|words| words.join(" "));
        assert_eq!(key("trackcode_id").as_deref(), Some("trackcode"));
        assert_eq!(key("o_custkey").as_deref(), Some("cust"));
        assert_eq!(key("clientId").as_deref(), Some("client"));
        assert_eq!(key("id_cliente").as_deref(), Some("cliente"));
        assert_eq!(key("id").as_deref(), Some(""));
        assert_eq!(key("paid"), None);
        assert_eq!(key("creation"), None);
    }

    #[test]
    fn plurals_meet_their_singulars() {
        let cases = [("orders", "order"), ("cities", "city"), ("boxes", "box"), ("address", "address"), ("bus", "bus")];
        for (plural, one) in cases {
            assert_eq!(singular(plural), one);
        }
    }
}
