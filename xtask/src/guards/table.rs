//! Prints the results as a Markdown table.

use super::build::Outcome;
use super::list::Guard;

/// A guard, and the result without it.
pub(crate) struct Row<'a> {
    pub(crate) guard: &'a Guard,
    pub(crate) outcome: Outcome,
}

/// The table, with a line feed at its end.
pub(crate) fn markdown(rows: &[Row<'_>]) -> String {
    let mut text = "| guard | without it, | what fails |\n| --- | --- | --- |\n".to_owned();
    for Row { guard, outcome } in rows {
        let outcome = match outcome {
            Outcome::Killed(test) => format!("{} ({})", test, guard.binary),
            Outcome::Survived => "**nothing**".to_owned(),
            Outcome::DoesNotCompile(_) => "**not run: does not compile**".to_owned(),
        };
        text.push_str(&format!("| {} | {} | {outcome} |\n", guard.name, guard.holds.replace('|', "\\|")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guards::build::Binary;

    #[test]
    fn a_row_says_which_test_failed() {
        let guard = Guard {
            name: "door".into(),
            holds: "anybody comes in".into(),
            file: String::new(),
            find: String::new(),
            replace: String::new(),
            binary: Binary::It,
            tests: Vec::new(),
        };
        let rows = [Row { guard: &guard, outcome: Outcome::Killed("`a::b`".into()) }];
        assert!(markdown(&rows).ends_with("| door | anybody comes in | `a::b` (it) |\n"));
    }
}
