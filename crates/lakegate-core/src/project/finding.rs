//! Findings of `lakegate check`: one fault of a project file, its position, and what to do.
//!
//! [`crate::error`] has the errors that callers of the API see.

use std::fmt;

/// A position in a project file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The path relative to the project folder, or the name of an environment variable.
    pub path: String,
    /// The line, from 1; 0 if the source has no lines, like a variable.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// One fault: position, message and help.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The position.
    pub position: Position,
    /// The fault: lower case, no full stop.
    pub message: String,
    /// The next step, if the message does not imply it.
    pub help: Option<String>,
}

impl Position {
    /// The start of a file.
    pub fn start(path: &str) -> Self {
        Self { path: path.to_owned(), line: 1, column: 1 }
    }

    /// An environment variable, or another source without lines.
    pub fn without_line(name: &str) -> Self {
        Self { path: name.to_owned(), line: 0, column: 0 }
    }

    /// Position of a byte in a file's text.
    pub fn at_byte(path: &str, text: &str, byte: usize) -> Self {
        let mut end = byte.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl Finding {
    /// Creates a finding without help.
    pub fn new(position: Position, message: impl Into<String>) -> Self {
        Self { position, message: message.into(), help: None }
    }

    /// Sets the help: what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return f.write_str(&self.path);
        }
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// The known word nearest to what was written; `None` if none is near. A word is near by edit distance, or if one
/// begins with the other.
pub fn suggestion<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let near = |word: &&str| {
        let distance = strsim::damerau_levenshtein(&written.to_lowercase(), &word.to_lowercase());
        let letters = word.chars().count();
        (distance <= (letters / 3).max(1) && distance < letters).then_some(distance)
    };
    let nearest = known.clone().into_iter().filter_map(|word| Some((near(&word)?, word))).min_by_key(|(far, _)| *far);
    let begins_alike = |word: &&str| {
        let (short, long) = if word.len() < written.len() { (*word, written) } else { (written, *word) };
        short.len() >= 3 && long.starts_with(short)
    };
    nearest.map(|(_, word)| word).or_else(|| known.into_iter().find(begins_alike))
}

/// "did you mean …", or the list of known words.
pub fn suggest_or_list<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(word) = suggestion(written, known.clone()) {
        return format!("did you mean `{word}`?");
    }
    let list = known.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>();
    if list.is_empty() { "there are none".to_owned() } else { format!("known: {}", list.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_lines_and_characters() {
        let text = "ä = 1\nñ = 2";
        assert_eq!(Position::at_byte("p", text, text.find('2').unwrap()).to_string(), "p:2:5");
        assert_eq!(Position::at_byte("p", text, 1).to_string(), "p:1:1");
        assert_eq!(Position::at_byte("p", text, 999).to_string(), "p:2:6");
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(suggestion("row_fliter", ["row_filter", "shared"]), Some("row_filter"));
        assert_eq!(suggestion("timeout", ["listen", "timeout_seconds"]), Some("timeout_seconds"));
        assert_eq!(suggestion("minimum", ["max", "min"]), Some("min"));
        assert_eq!(suggestion("zzz", ["row_filter", "shared"]), None);
    }
}
