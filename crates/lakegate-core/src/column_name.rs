//! Names of columns as policies write them: in `columns` of a table, in the masks that a grant lifts, and in denials.
//!
//! A text without quotes may name a column (`buyer.email`) or lead to a field (`email` of the struct `buyer`). Quotes say
//! which: `"buyer.email"` is one column, and `buyer["email"]` is a field. Which of the two a table has is found where its
//! columns are known; here are the syntax, and the comparison of denials, which holds without a table.

/// The path that a text with quotes names: the column, and below it the names of fields.
///
/// A part is bare, or stands in double quotes, in which a double quote is doubled. A field follows a dot, or stands in
/// brackets and quotes of either kind: `buyer["email"]`, `buyer['email']`, `"a.b".c`. `None` for a text without quotes,
/// whose dots may belong to names, and for one that does not follow this syntax.
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

/// The name before the closing quote, and what follows it. A quote within the name is doubled.
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

/// A path as a text that means nothing else, whatever columns the table has: `email`, `"buyer.email"`, `buyer["email"]`.
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

/// Whether a denial that names a column by this text covers a column or field: itself, a part of it, or the whole that it
/// is a part of. Letters are compared in any case, and dots in a text without quotes in every way that they can be read,
/// because a denial that misses what it meant would show it.
pub fn covers(denied: &str, path: &[String]) -> bool {
    let fold = |name: &String| name.to_lowercase();
    let path = path.iter().map(fold).collect::<Vec<_>>();
    if let Some(exact) = quoted_path(denied) {
        let exact = exact.iter().map(fold).collect::<Vec<_>>();
        if exact.iter().zip(&path).all(|(denied, name)| denied == name) {
            return true;
        }
    }
    // A name may have quotes and dots in it, so the text itself is compared as well.
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
