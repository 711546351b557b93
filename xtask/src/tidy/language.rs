//! Checks that comments and pages are written in plain technical English, as far as a program can tell: no words that nobody
//! uses, no sentence that opens with a pronoun in the place of a noun, no doc comment that only points at another one.

use std::sync::LazyLock;

use regex::Regex;

use super::tree::{File, Finding, Tree};

/// Words with a plain form.
const WORDS: &[(&str, &str)] =
    &[("can not", "cannot"), ("anew", "again"), ("whoever", "the noun, such as `a caller that`")];

/// Openings that stand for a noun.
const HEADLESS: &str = r"^(Who|What|Whose|Whoever|Of which|So many)\b";

/// A run of comment lines, or a paragraph of a page.
struct Paragraph {
    line: usize,
    text: String,
    /// Whether it documents an item.
    is_doc: bool,
}

/// Comments and pages use plain words.
pub(crate) fn words(tree: &Tree) -> Vec<Finding> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
        let words = WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>().join("|");
        Regex::new(&format!(r"(?i)\b({words})\b")).expect("the words are plain text")
    });
    let check = |paragraph: &Paragraph| {
        let found = PATTERN.find(&paragraph.text)?.as_str().to_lowercase();
        let plain = WORDS.iter().find(|(word, _)| *word == found).map_or("", |(_, plain)| *plain);
        Some(format!("`{found}`: write {plain}"))
    };
    findings(tree, check)
}

/// No sentence of a comment or a page opens with a headless clause. Questions may.
pub(crate) fn headless(tree: &Tree) -> Vec<Finding> {
    static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new(HEADLESS).expect("the pattern is a constant"));
    let check = |paragraph: &Paragraph| {
        let sentence = sentences(&paragraph.text).find(|text| PATTERN.is_match(text) && !text.ends_with('?'))?;
        Some(format!("name the subject of the sentence: `{}`", start_of(sentence)))
    };
    findings(tree, check)
}

/// A doc comment says what the item is, and not only that it is the same as another.
pub(crate) fn the_same(tree: &Tree) -> Vec<Finding> {
    let check = |paragraph: &Paragraph| {
        let is_reference = paragraph.is_doc && paragraph.text.starts_with("The same");
        (is_reference && sentences(&paragraph.text).count() == 1 && paragraph.text.len() < 80)
            .then(|| format!("say what it is: `{}`", start_of(&paragraph.text)))
    };
    findings(tree, check)
}

fn findings(tree: &Tree, check: impl Fn(&Paragraph) -> Option<String>) -> Vec<Finding> {
    let of_file = |file: &File| {
        let paragraphs = if file.path.ends_with(".rs") { comments(file) } else { prose(file) };
        let found = paragraphs.iter().filter_map(|paragraph| Some((paragraph.line, check(paragraph)?)));
        found.map(|(line, message)| Finding::new(&file.path, line, message)).collect::<Vec<_>>()
    };
    tree.rust().chain(tree.markdown()).flat_map(of_file).collect()
}

/// The runs of comment lines of a Rust file.
fn comments(file: &File) -> Vec<Paragraph> {
    let mut paragraphs = Vec::<Paragraph>::new();
    let mut is_open = false;
    for (line, number) in file.text.lines().zip(1..) {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            is_open = false;
            continue;
        };
        let text = comment.trim_start_matches(['/', '!']).trim();
        let is_doc = comment.starts_with(['/', '!']);
        add_line(&mut paragraphs, &mut is_open, number, text, is_doc);
    }
    paragraphs
}

/// The paragraphs and list items of a page, without code, headings and tables.
fn prose(file: &File) -> Vec<Paragraph> {
    let mut paragraphs = Vec::<Paragraph>::new();
    let (mut is_open, mut is_code) = (false, false);
    for (line, number) in file.text.lines().zip(1..) {
        let text = line.trim();
        if text.starts_with("```") {
            is_code = !is_code;
        }
        if is_code || text.starts_with(['`', '#', '|', '<']) {
            is_open &= text.starts_with('`') && !text.starts_with("```");
            if !is_open {
                continue;
            }
        }
        is_open &= !text.starts_with(['-', '*']);
        add_line(&mut paragraphs, &mut is_open, number, text.trim_start_matches(['-', '*', ' ']), false);
    }
    paragraphs
}

fn add_line(paragraphs: &mut Vec<Paragraph>, is_open: &mut bool, line: usize, text: &str, is_doc: bool) {
    match paragraphs.last_mut().filter(|_| *is_open && !text.is_empty()) {
        Some(paragraph) => {
            paragraph.text.push(' ');
            paragraph.text.push_str(text);
        }
        None if !text.is_empty() => paragraphs.push(Paragraph { line, text: text.to_owned(), is_doc }),
        None => {}
    }
    *is_open = !text.is_empty();
}

/// The sentences of a paragraph: a full stop, a space and a capital letter separate them.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    static END: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[.!?]\s+").expect("the pattern is a constant"));
    let mut begin = 0;
    let mut ends = END.find_iter(text).map(|end| (end.start() + 1, end.end())).collect::<Vec<_>>();
    ends.push((text.len(), text.len()));
    ends.into_iter().map(move |(end, next)| {
        let sentence = &text[begin..end];
        begin = next;
        sentence
    })
}

fn start_of(sentence: &str) -> String {
    sentence.split(' ').take(8).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> usize {
        rule(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn odd_words_are_found_in_comments_and_pages_only() {
        assert_eq!(count(words, "a.rs", "//! It can not\n//! be.\nlet a = \"can not\";\n"), 1);
        assert_eq!(count(words, "a.rs", "// cannot, a new one\n"), 0);
        assert_eq!(count(words, "a.md", "Read it anew.\n\n```\ncan not\n```\n"), 1);
    }

    #[test]
    fn a_headless_sentence_is_found_wherever_it_stands() {
        assert_eq!(count(headless, "a.rs", "/// Bytes. Who asks,\n/// gets them.\n"), 1);
        assert_eq!(count(headless, "a.rs", "// What it takes, in bytes.\n"), 1);
        assert_eq!(count(headless, "a.rs", "/// The caller who asks. What now?\n"), 0);
        assert_eq!(count(headless, "a.md", "# What is public\n\n| Who |\n\nA page.\n- Whoever calls\n"), 1);
    }

    #[test]
    fn a_doc_comment_says_what_the_item_is() {
        assert_eq!(count(the_same, "a.rs", "/// The same, kept.\nstruct A;\n"), 1);
        assert_eq!(count(the_same, "a.rs", "/// The same seed gives the same rows. So tests repeat.\nstruct A;\n"), 0);
    }
}
