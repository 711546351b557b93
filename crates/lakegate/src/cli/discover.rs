//! `lakegate discover`: finds the tables of a lake and adds them to a project, where somebody decides on their
//! policies.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lakegate_core::discover::{
    Declared, FoundTable, Suggestion, Suggestions, is_same_location, suggest, suggest_mask, table_text,
};
use lakegate_query::discover::{Discovery, LeftOut, Search, discover};
use serde_json::{Value, json};

use super::discover_file::ProjectFile;
use super::options::{DryRunOption, OutputOption};
use super::output::{escaped, print, print_table, say};

pub(super) const HELP: &str = "\
Searches the lake for tables: files, folders of files, hive partitions, Delta and Iceberg. Appends each to `lakegate.toml`
with a suggested row filter and the reasons for it. You decide: `lakegate check` refuses each table until you write its row
filter, or `shared = true`. Existing declarations do not change, so you can run it again after files were added: it adds
only new tables, and reports tables without files.

Reports files that cannot be served as they are, such as CSV in UTF-16, with what a recipe of `lakegate ingest` needs.

Examples:
  lakegate discover lake/
  lakegate discover s3://bucket/exports --into shop
  lakegate discover --dry-run";

/// The maximum number of skipped paths that the text output lists.
const MOST_LISTED: usize = 20;

/// The arguments of `lakegate discover`.
#[derive(Args, Debug)]
pub struct DiscoverArgs {
    /// The lake, or a folder of the project's lake; without it, the project's lake
    #[arg(value_name = "LOCATION")]
    location: Option<String>,
    /// Add the tables to the project in this folder; its `lakegate.toml` is created if missing
    #[arg(long, value_name = "DIR", default_value = ".", env = "LAKEGATE_PROJECT")]
    into: PathBuf,
    #[command(flatten)]
    change: DryRunOption,
    /// Stop after this many files
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    most_files: usize,
    #[command(flatten)]
    output: OutputOption,
}

/// The discovered tables, compared with those of the project.
struct Compared {
    found: Discovery,
    suggestions: Suggestions,
    /// Indexes in `found` of tables that the project does not have.
    new: Vec<usize>,
    /// Indexes of new tables that cannot be written into the project file.
    unwritten: Vec<usize>,
    /// Tables of the project that have no files any more.
    gone: Vec<Declared>,
}

pub(super) async fn run(args: DiscoverArgs) -> anyhow::Result<ExitCode> {
    let project = ProjectFile::open(&args.into, args.location.as_deref())?;
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {human_pos} {msg} {elapsed}")?);
    let search = Search {
        folder: project.folder.clone(),
        most_files: args.most_files.max(1),
        taken: project.tables.iter().map(|table| table.name.clone()).collect(),
        known: project.tables.iter().map(|table| (table.location.clone(), table.name.clone())).collect(),
    };
    let found = discover(&project.lake, &search, &|what, done, all| {
        bar.set_message(all.map_or_else(|| what.to_owned(), |all| format!("of {all} {what}")));
        bar.set_position(done);
    })
    .await?;
    bar.finish_and_clear();

    let mut compared = compared(found, &project);
    let mut sections = String::new();
    for at in std::mem::take(&mut compared.new) {
        let table = &compared.found.tables[at];
        let section = table_text(table, suggestions_of(&compared.suggestions, table));
        match project.cannot_take(&sections, &section) {
            None => {
                sections += &section;
                compared.new.push(at);
            }
            // A table that cannot be written does not keep the others from being written.
            Some((reason, help)) => {
                let (path, reason, help) = (table.location.clone(), reason.to_owned(), Some(help.to_owned()));
                compared.found.left_out.push(LeftOut { path, reason, help });
                compared.unwritten.push(at);
            }
        }
    }
    let writes = !sections.is_empty() && !args.change.dry_run;
    let text = project.extended(&sections)?;
    if writes {
        project.write(&text)?;
    }
    if args.output.json {
        print(as_json(&compared, &project, writes))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.change.dry_run && !sections.is_empty() {
        print(format!("{}{sections}", project.head).trim_end())?;
    }
    tell(&compared, args.change.dry_run)?;
    Ok(ExitCode::SUCCESS)
}

fn compared(found: Discovery, project: &ProjectFile) -> Compared {
    let is_known =
        |table: &FoundTable| project.tables.iter().any(|known| is_same_location(&known.location, &table.location));
    let new = (0..found.tables.len()).filter(|at| !is_known(&found.tables[*at])).collect();
    let is_there = |known: &Declared| {
        let tables = found.tables.iter().any(|table| is_same_location(&known.location, &table.location));
        tables || found.left_out.iter().any(|left| is_same_location(&known.location, &left.path))
    };
    let was_looked_for = |known: &&Declared| {
        let place = known.location.trim_start_matches("./");
        !(found.is_cut || found.is_incomplete)
            && (project.folder.is_empty() || place.starts_with(&format!("{}/", project.folder)))
    };
    let gone = project.tables.iter().filter(was_looked_for).filter(|known| !is_there(known)).cloned().collect();
    let suggestions = suggest(&found.tables);
    Compared { found, suggestions, new, unwritten: Vec::new(), gone }
}

impl Compared {
    /// Whether a table is already in the project, is added now, or cannot be added.
    fn state(&self, at: usize) -> &'static str {
        match (self.new.contains(&at), self.unwritten.contains(&at)) {
            (true, _) => "new",
            (false, true) => "left_out",
            (false, false) => "known",
        }
    }
}

fn suggestions_of<'a>(all: &'a Suggestions, table: &FoundTable) -> &'a [Suggestion] {
    all.get(&table.name).map(Vec::as_slice).unwrap_or_default()
}

fn as_json(compared: &Compared, project: &ProjectFile, written: bool) -> Value {
    let Compared { found, suggestions, gone, .. } = compared;
    let tables = found.tables.iter().enumerate().map(|(at, table)| {
        let columns = table.columns.iter().map(|column| json!({ "name": column.name, "type": column.type_name }));
        let partitions = table.partitions.iter().map(|(name, scalar)| json!({ "name": name, "type": scalar.name() }));
        let keys = suggestions_of(suggestions, table).iter().map(|suggestion| {
            json!({
                "column": suggestion.column,
                "row_filter": suggestion.row_filter,
                "reasons": suggestion.reasons,
            })
        });
        let masks = table.columns.iter().filter_map(|column| {
            let idea = suggest_mask(&table.name, &column.name, column.kind)?;
            Some(json!({ "column": column.name, "mask": idea.mask.trim_matches('"'), "reason": idea.reason }))
        });
        json!({
            "name": table.name,
            "location": table.location,
            "format": table.format,
            "state": compared.state(at),
            "files": table.files,
            "bytes": table.bytes,
            "rows": table.rows,
            "columns": columns.collect::<Value>(),
            "partitions": partitions.collect::<Value>(),
            "keys": keys.collect::<Value>(),
            "masks": masks.collect::<Value>(),
            "notes": table.notes,
        })
    });
    let left_out =
        found.left_out.iter().map(|left| json!({ "path": left.path, "reason": left.reason, "help": left.help }));
    json!({
        "lake": project.lake_location,
        "files": found.files,
        "is_cut": found.is_cut,
        "written": written,
        "tables": tables.collect::<Value>(),
        "left_out": left_out.collect::<Value>(),
        "gone": gone.iter().map(|table| json!({ "name": table.name, "location": table.location })).collect::<Value>(),
    })
}

fn tell(compared: &Compared, is_dry: bool) -> anyhow::Result<()> {
    let Compared { found, suggestions, new, gone, .. } = compared;
    let rows = found.tables.iter().enumerate().map(|(at, table)| {
        vec![
            table.name.clone(),
            table.location.clone(),
            table.format.clone(),
            if table.files == 0 { String::new() } else { table.files.to_string() },
            table.rows.map(|rows| rows.to_string()).unwrap_or_default(),
            suggestions_of(suggestions, table).first().map(|first| first.column.clone()).unwrap_or_default(),
            compared.state(at).to_owned(),
        ]
    });
    if !is_dry {
        let header = ["TABLE", "LOCATION", "FORMAT", "FILES", "ROWS", "KEY", "STATE"];
        print_table(&header, rows.collect(), "there are no tables there")?;
    }
    for LeftOut { path, reason, help } in found.left_out.iter().take(MOST_LISTED) {
        let help = help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        say(escaped(&format!("left out: {path}: {reason}{help}")));
    }
    if found.left_out.len() > MOST_LISTED {
        say(format_args!("left out: {} more; `--json` has them all", found.left_out.len() - MOST_LISTED));
    }
    for table in gone {
        say(escaped(&format!("gone: table `{}`: there is nothing at `{}` any more", table.name, table.location)));
    }
    if found.is_cut {
        say(format_args!(
            "stopped after {} files; look into a folder of the lake, or raise `--most-files`",
            found.files
        ));
    }
    match new.len() {
        0 => say("nothing is new"),
        count if is_dry => say(format_args!("{count} new; nothing was written")),
        count => say(format_args!(
            "{count} new in `lakegate.toml`; now decide who sees their rows: `lakegate check` names each table that waits for it"
        )),
    }
    Ok(())
}
