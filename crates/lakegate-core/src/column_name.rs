//! Parses column names as policies write them: in `columns` of a table, in the columns that a grant unmasks, and in
//! denials.
//!
//! Text without quotes is ambiguous: `buyer.email` may be a column of that name, or the field `email` of the struct
//! `buyer`. Quotes decide: `"buyer.email"` is one column, and `buyer["email"]` is a field. The ambiguity is resolved
//! where the table's columns are known. This module has the syntax, and the comparison of denials, which needs no
//! table.

/// The path that a text with quotes names: the column, then the names of nested fields.
///
/// A part is bare or in double quotes, with a double quote doubled. A field follows a dot, or is in brackets with
/// quotes of either kind: `buyer["email"]`, `buyer['email']`, `"a.b".c`. Returns `None` if the text has no quotes,
/// because its dots may belong to names, or if it does not follow this syntax.
pub fn quoted_path(text: &str) -> Option<Vec<String>> {
    let mut path = Vec::new();
    let mut has_quotes = false;
    let mut rest = text;
    loop {
        rest = match rest.strip_prefix('"') {
            Some(after) => {
                has_quotes = true;
                let (name, after) = until_quote(after, '"')?;
                path.push(name);
                after
            }
            None => {
                let end = rest.find(['.', '"', '[']).unwrap_or(rest.len());
                path.push(rest[..end].to_owned());
                &rest[end..]
            }
        };
        while let Some(after) = rest.strip_prefix('[') {
            has_quotes = true;
            let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            let (name, after) = until_quote(&after[1..], quote)?;
            path.push(name);
            rest = after.strip_prefix(']')?;
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    (has_quotes && path.iter().all(|name| !name.is_empty())).then_some(path)
}

/// Returns the name before the closing quote, and the rest of the text. A quote within the name is doubled.
fn until_quote(text: &str, quote: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find(quote)?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(quote) {
            Some(after) => {
                name.push(quote);
                rest = after;
            }
            None => return Some((name, rest)),
        }
    }
}

/// Writes a path as text that is unambiguous for every table: `email`, `"buyer.email"`, `buyer["email"]`.
pub fn written(path: &[String]) -> String {
    let Some((column, fields)) = path.split_first() else { return String::new() };
    let is_plain = !column.is_empty() && column.chars().all(|each| each.is_alphanumeric() || "_- ".contains(each));
    let column = if is_plain { column.clone() } else { in_quotes(column) };
    fields.iter().fold(column, |text, field| format!("{text}[{}]", in_quotes(field)))
}

/// A name in double quotes.
pub fn in_quotes(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a denial that names a column by this text covers the column or field at `path`: the column itself, a part of
/// it, or the whole that contains it. Ignores case, and tries every reading of dots in a text without quotes, because a
/// denial that fails to match would show the column.
pub fn covers(denied: &str, path: &[String]) -> bool {
    let fold = |name: &String| name.to_lowercase();
    let path = path.iter().map(fold).collect::<Vec<_>>();
    if let Some(exact) = quoted_path(denied) {
        let exact = exact.iter().map(fold).collect::<Vec<_>>();
        if exact.iter().zip(&path).all(|(denied, name)| denied == name) {
            return true;
        }
    }
    // Compare the text itself too, because a name may contain quotes and dots.
    let (denied, path) = (denied.to_lowercase(), path.join("."));
    let is_part = |whole: &str, part: &str| part.strip_prefix(whole).is_some_and(|rest| rest.starts_with('.'));
    denied == path || is_part(&denied, &path) || is_part(&path, &denied)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn quotes_say_where_a_name_ends() {
        for (text, expected) in [
            (r#""buyer.email""#, "buyer.email"),
            (r#"buyer["email"]"#, "buyer/email"),
            ("buyer['email']", "buyer/email"),
            (r#""buyer"."email""#, "buyer/email"),
            (r#"buyer."e.mail""#, "buyer/e.mail"),
            (r#""a.b".c["d.e"]['f']"#, "a.b/c/d.e/f"),
            (r#"a b["c d"]"#, "a b/c d"),
            (r#""a""b""#, "a\"b"),
            ("a['it''s']", "a/it's"),
            (r#""""x""""#, "\"x\""),
        ] {
            assert_eq!(quoted_path(text), Some(path(expected)), "{text}");
        }
        for text in [
            "email",
            "buyer.email",
            "a..b",
            "",
            "\"a",
            "a\"b\"",
            "a[b]",
            "a[\"b\"",
            "a[\"b\"]c",
            "\"\"",
            "\"a\".",
            "a[\"\"]",
        ] {
            assert_eq!(quoted_path(text), None, "{text}");
        }
    }

    #[test]
    fn a_denial_covers_what_it_may_mean() {
        let covers = |denied: &str, at: &str| covers(denied, &path(at));
        for at in ["buyer", "buyer/email", "buyer.email", "Buyer.Email", "buyer/email/host"] {
            assert!(covers("buyer.email", at), "{at}");
        }
        assert!(covers("\"buyer.email\"", "buyer.email") && !covers("\"buyer.email\"", "buyer/emails"));
        assert!(covers("buyer[\"email\"]", "buyer") && covers("buyer[\"email\"]", "BUYER/email/host"));
        assert!(!covers("buyer[\"email\"]", "buyer.email") && !covers("buyer[\"email\"]", "buyer/phone"));
        assert!(!covers("buyer.email", "buyers") && !covers("buyer.email", "buyer.emails"));
        assert!(covers("\"x\"", "\"x\"") && covers("\"x\"", "x"));
    }

    proptest! {
        #[test]
        fn a_path_reads_back(path in proptest::collection::vec("[a-b.\"'\\[\\] é]{1,4}", 1..4)) {
            let text = written(&path);
            prop_assert_eq!(quoted_path(&text).unwrap_or_else(|| vec![text.clone()]), path.clone());
            prop_assert!(covers(&text, &path));
        }

        #[test]
        fn any_text_is_read_or_not(text in any::<String>(), other in any::<String>()) {
            let _ = (quoted_path(&text), covers(&text, &[other]));
        }
    }
}
