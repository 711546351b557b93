//! The formula guard: text that a spreadsheet would run is made text that it shows.

/// What makes a spreadsheet take a cell for a formula; the wide ones are taken for the others in some languages.
const SIGNS: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Whether a spreadsheet might take the text for a formula. Spaces and what can not be seen before it do not help.
pub(super) fn is_formula(text: &str) -> bool {
    // What most texts begin with.
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
