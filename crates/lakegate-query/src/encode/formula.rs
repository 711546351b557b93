//! The formula guard: detects text that a spreadsheet would run as a formula, so that it can be shown as text.

/// Characters that start a formula. Spreadsheets in some languages treat the full-width ones as equal.
const SIGNS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Whether a spreadsheet might run the text as a formula. Leading spaces and invisible characters are ignored.
pub(super) fn is_formula(text: &str) -> bool {
    // Fast path for most texts.
    if text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return false;
    }
    if text.starts_with(['\t', '\r', '\n']) {
        return true;
    }
    let unseen =
        |each: char| each.is_whitespace() || each.is_control() || matches!(each, '\u{200b}'..='\u{200f}' | '\u{feff}');
    text.trim_start_matches(unseen).starts_with(SIGNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_seen_whatever_stands_before_them() {
        for text in
            ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "\n", "  =1", "\u{a0}=1", "\u{feff}=1", "\0=1", "＝1", " \t-x"]
        {
            assert!(is_formula(text), "{text:?}");
        }
        for text in ["", "a", "'=1", "1-1", "a=b", "(=1)", " a", "{}", "é=1"] {
            assert!(!is_formula(text), "{text:?}");
        }
    }
}
