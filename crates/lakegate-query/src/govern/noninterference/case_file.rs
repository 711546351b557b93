//! Reads and writes self-contained case files: the project, every row and whether the caller sees it, the masks in
//! force for the caller, and the query. The README beside them describes the format.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::check::{Plain, Question, Setting, View};
use super::world::{Caller, Kind, Row};

#[derive(Clone, Debug)]
pub(super) struct CaseFile {
    pub(super) title: String,
    pub(super) setting: Setting,
    pub(super) question: Question,
}

pub(super) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases/noninterference")
}

/// All files, by name.
pub(super) fn all() -> Vec<(String, CaseFile)> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths = entries.filter(|path| path.extension().is_some_and(|end| end == "case")).collect::<Vec<_>>();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let case = parse(&std::fs::read_to_string(&path).unwrap());
        (name, case)
    };
    paths.into_iter().map(read).collect()
}

impl CaseFile {
    pub(super) fn written(&self) -> String {
        let Setting { config, tables, views } = &self.setting;
        let view = &views[0];
        let fallible = self.question.fallible.iter().map(|(table, column)| format!("{table}.{column}"));
        let mut text = format!("# {}\n", self.title);
        write!(text, "caller: {}\narguments: {}\n", view.caller.json(), self.question.arguments).unwrap();
        write!(text, "ordered: {}\nfails by: {}\n", self.question.is_ordered, json!(fallible.collect::<Vec<_>>()))
            .unwrap();
        write!(text, "== lakegate.toml\n{}\n== lake\n", config.trim()).unwrap();
        for ((table, visible), masks) in tables.iter().zip(&view.visible).zip(&view.masks) {
            let columns = table.columns.iter().map(|(name, kind)| format!("{name} {}", kind.name()));
            writeln!(text, "table {} {} {}", table.name, table.group, table.files).unwrap();
            writeln!(text, "columns {}", columns.collect::<Vec<_>>().join(", ")).unwrap();
            for (column, mask) in masks {
                writeln!(text, "mask {column} {mask}").unwrap();
            }
            for (row, sees) in table.rows.iter().zip(visible) {
                writeln!(text, "{} {}", if *sees { '+' } else { '-' }, Json::Array(row.clone())).unwrap();
            }
        }
        write!(text, "== query\n{}\n", self.question.sql.trim_end()).unwrap();
        text
    }
}

/// Parses the output of [`CaseFile::written`].
pub(super) fn parse(text: &str) -> CaseFile {
    let mut sections = text.split("== ");
    let head = sections.next().unwrap();
    let section = |name: &str| {
        let mut named = text.split("\n== ").filter_map(|part| part.strip_prefix(name)?.strip_prefix('\n'));
        named.next().unwrap_or_else(|| panic!("no section {name}")).to_owned()
    };
    let line =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    let json = |name: &str| serde_json::from_str::<Json>(line(name)).unwrap();
    let dotted = |name: &Json| {
        let (table, column) = name.as_str().unwrap().split_once('.').unwrap();
        (table.to_owned(), column.to_owned())
    };
    let fallible = json("fails by: ").as_array().unwrap().iter().map(dotted).collect::<BTreeSet<_>>();
    let mut tables = Vec::<Plain>::new();
    let (mut visible, mut masks) = (Vec::<Vec<bool>>::new(), Vec::<Vec<(String, String)>>::new());
    for line in section("lake").lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "table" => {
                let words = rest.split(' ').collect::<Vec<_>>();
                let (group, files) = (words[1].parse().unwrap(), words[2].parse().unwrap());
                tables.push(Plain { name: words[0].to_owned(), columns: Vec::new(), rows: Vec::new(), group, files });
                visible.push(Vec::new());
                masks.push(Vec::new());
            }
            "columns" => {
                let column = |column: &str| {
                    let (name, kind) = column.split_once(' ').unwrap();
                    (name.to_owned(), Kind::ALL.iter().find(|(name, _)| *name == kind).unwrap().1)
                };
                tables.last_mut().unwrap().columns = rest.split(", ").map(column).collect();
            }
            "mask" => {
                let (column, mask) = rest.split_once(' ').unwrap();
                masks.last_mut().unwrap().push((column.to_owned(), mask.to_owned()));
            }
            "+" | "-" => {
                let row: Row = serde_json::from_str::<Json>(rest).unwrap().as_array().unwrap().clone();
                tables.last_mut().unwrap().rows.push(row);
                visible.last_mut().unwrap().push(word == "+");
            }
            other => panic!("{other} in the lake"),
        }
    }
    let seen = |(table, visible): (&Plain, &Vec<bool>)| {
        table.rows.iter().zip(visible).filter(|(_, sees)| **sees).map(|(row, _)| row.clone()).collect::<Vec<_>>()
    };
    // The changed lake has only the rows that the caller sees.
    let changed = tables.iter().zip(&visible).map(seen).collect();
    let view = View { caller: Caller::from_json(&json("caller: ")), visible, masks, changed };
    CaseFile {
        title: line("# ").to_owned(),
        setting: Setting { config: section("lakegate.toml"), tables, views: vec![view] },
        question: Question {
            sql: section("query"),
            arguments: json("arguments: "),
            is_ordered: line("ordered: ") == "true",
            fallible,
        },
    }
}
