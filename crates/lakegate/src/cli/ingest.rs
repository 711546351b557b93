//! `lakegate ingest`: loads files into a table, by recipes of the project or by options.

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lakegate_core::project::ingest::{
    ColumnType, IngestMode, RECIPE_ENDING, Recipe, RecipeColumn, RejectLimit, SourceFormat, named, parse_delimiter,
};
use lakegate_core::project::{FileFormat, Project, TableFormat as Declared};
use lakegate_query::ingest::{Progress, Report, Summary, Target, ingest};
use lakegate_query::publish::TableFormat;
use serde_json::{Value as Json, json};

use super::options::{DryRunOption, ProjectArgs};
use super::output::{escaped, print, say};
use crate::project::{ProjectError, RECIPES_FOLDER, open_lake, read_files, read_text};

pub(super) const HELP: &str = "\
A recipe is a file `tables/NAME.ingest.toml` of the project that names the files, their format, and how to map their
columns. RECIPE is its path or its NAME. Without a recipe, --table and --from do the same for one run.

Detects whatever is not set: format, compression, encoding, delimiter, and the type of each column from all of its values.
A run adds all rows or none: one that fails or is killed does not change the table. A row that cannot be read is rejected
with file, line, column and reason; a single rejected row fails the run, unless --max-rejects allows it.

Exit codes: 0 all rows were added, 1 failed and nothing changed, 3 added, except for rejected rows within --max-rejects.

Examples:
  lakegate ingest client
  lakegate ingest tables/*.ingest.toml --rejects rejects.ndjson
  lakegate ingest --table order --from exports/order_*.csv.gz --dry-run
  lakegate ingest --table client --from client.csv --mode upsert --key id --max-rejects 1%
  lakegate ingest --table route --from route.csv --encoding utf-16 --rename routeCode=code --type code=string --drop note";

/// The arguments of `lakegate ingest`.
#[derive(Args, Debug)]
pub struct IngestArgs {
    /// Recipes to run in this order: paths, or names of `tables/NAME.ingest.toml`
    #[arg(value_name = "RECIPE", required_unless_present = "table", conflicts_with_all = ["table", "from"])]
    recipes: Vec<String>,
    /// Load into this table, without a recipe
    #[arg(long, value_name = "TABLE", requires = "from")]
    table: Option<String>,
    /// Read these files or globs, relative to the current folder
    #[arg(long, value_name = "FILES", num_args = 1.., requires = "table")]
    from: Vec<String>,
    /// Add the rows by append, replace or upsert
    #[arg(long, value_name = "MODE", requires = "table")]
    mode: Option<String>,
    /// Match rows on these columns for upsert
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', requires = "table")]
    key: Vec<String>,
    /// Create a new table in this format: parquet, delta or iceberg
    #[arg(long, value_name = "FORMAT", requires = "table")]
    into: Option<String>,
    /// Read the files in this format: csv, ndjson or parquet
    #[arg(long, value_name = "FORMAT", requires = "table")]
    format: Option<String>,
    /// Decode text files from this encoding
    #[arg(long, value_name = "LABEL", requires = "table")]
    encoding: Option<String>,
    /// Use this delimiter for CSV files
    #[arg(long, value_name = "CHARACTER", requires = "table")]
    delimiter: Option<String>,
    /// Read this word as NULL, in addition to the empty cell
    #[arg(long = "null", value_name = "WORD", requires = "table")]
    nulls: Vec<String>,
    /// Set the type of a column
    #[arg(long = "type", value_name = "COLUMN=TYPE", requires = "table")]
    types: Vec<String>,
    /// Rename a column of the files
    #[arg(long = "rename", value_name = "OLD=NEW", requires = "table")]
    renames: Vec<String>,
    /// Leave out a column of the files
    #[arg(long, value_name = "COLUMN", requires = "table")]
    drop: Vec<String>,
    /// Add columns that the table does not have
    #[arg(long)]
    new_columns: bool,
    /// Allow this many rejected rows: a number, or a share such as 1%
    #[arg(long, value_name = "N|P%")]
    max_rejects: Option<String>,
    /// Write each rejected row to this file: NDJSON, or CSV by the file's name
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    change: DryRunOption,
    #[command(flatten)]
    project: ProjectArgs,
}

pub(super) async fn run(args: IngestArgs) -> anyhow::Result<ExitCode> {
    let folder = &args.project.project.folder;
    let project = read_project(folder)?;
    let jobs = jobs(&args)?;
    let lake = Arc::new(open_lake(folder, &project.config, args.project.lake.location.as_deref())?);
    // Report every fault that can be known before changing anything.
    let place = lake.place()?;
    let mut targets = Vec::new();
    for (recipe, _) in &jobs {
        let table = project.config.table(&recipe.table);
        let table = table.map_err(|help| anyhow!("the project has no table `{}`; {help}", recipe.table))?;
        if matches!(table.format, Some(FileFormat::Csv | FileFormat::NdJson)) {
            bail!(
                "table `{}` is of text files, which are not written; ingest into a table of another format",
                table.name
            );
        }
        let said = match &table.table_format {
            Some(Declared::Delta) => Some(TableFormat::Delta),
            Some(Declared::Iceberg { entry: None }) => Some(TableFormat::Iceberg),
            Some(Declared::Iceberg { entry: Some(_) }) => bail!(
                "table `{}` is kept by a catalog, and is not written here; write it with the tool that made it",
                table.name
            ),
            None => None,
        };
        let asked = recipe.into.as_deref().and_then(|name| named(&TableFormat::NAMES, name).ok());
        if let (Some(said), Some(asked)) = (said, asked)
            && said != asked
        {
            bail!(
                "table `{}` is a {} table in the project, and the recipe makes a {} table of it; say the same",
                table.name,
                said.name(),
                asked.name()
            );
        }
        let reader = Some((Arc::clone(&lake), Box::new(table.clone())));
        let (place, location) = (place.clone(), table.location.clone());
        targets.push(Target { place, location, format: said.or(asked), reader });
    }
    if let Some(path) = &args.rejects {
        File::create(path).with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let mut code = ExitCode::SUCCESS;
    for ((recipe, base), target) in jobs.iter().zip(&targets) {
        let bar = Bar::new(&recipe.table)?;
        let report = report(args.rejects.as_deref())?;
        let (done, report) =
            Box::pin(ingest(recipe, base, target, args.change.dry_run, report, Arc::clone(&bar) as Arc<dyn Progress>))
                .await;
        bar.0.finish_and_clear();
        let rejected = report.rejected();
        let samples = report.samples().to_vec();
        report.finish().context("the report of rejected rows cannot be written")?;
        for reject in &samples {
            let column = reject.column.as_ref().map(|column| format!(" column `{column}`:")).unwrap_or_default();
            let value = reject.value.as_ref().map(|value| format!(": `{value}`")).unwrap_or_default();
            say(escaped(&format!("{}:{}:{column} {}{value}", reject.file, reject.line, reject.why)));
        }
        if rejected > samples.len() as u64 {
            let more = rejected - samples.len() as u64;
            let where_to = if args.rejects.is_none() { "; `--rejects FILE` writes them all down" } else { "" };
            say(format_args!("and {more} more{where_to}"));
        }
        let summary = done.with_context(|| format!("nothing is ingested into `{}`", recipe.table))?;
        if args.project.output.json {
            print(told(recipe, &summary, args.change.dry_run))?;
        } else {
            print(sentence(recipe, &summary, args.change.dry_run))?;
        }
        if summary.rejected > 0 {
            code = ExitCode::from(3);
        }
    }
    Ok(code)
}

/// Reads the project file without endpoints and recipes. Endpoints may be faulty, because ingesting can be what fixes
/// them.
fn read_project(folder: &Path) -> anyhow::Result<Project> {
    let mut files = read_files(folder)?;
    files.endpoints.clear();
    files.recipes.clear();
    let (project, findings) = Project::read(&files);
    if findings.is_empty() { Ok(project) } else { Err(ProjectError::Faulty(findings).into()) }
}

/// The recipes, each with the folder that its paths are relative to.
fn jobs(args: &IngestArgs) -> anyhow::Result<Vec<(Recipe, PathBuf)>> {
    let mut jobs = Vec::new();
    let mut findings = Vec::new();
    let folder = &args.project.project.folder;
    for name in &args.recipes {
        let path = recipe_path(folder, name)?;
        let shown = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        let (recipe, faults) = Recipe::read(&shown, &read_text(&path)?);
        findings.extend(faults);
        jobs.push((recipe, folder.clone()));
    }
    if !findings.is_empty() {
        return Err(ProjectError::Faulty(findings).into());
    }
    if let Some(table) = &args.table {
        jobs.push((of_options(args, table)?, PathBuf::new()));
    }
    for (recipe, _) in &mut jobs {
        recipe.new_columns |= args.new_columns;
        if let Some(text) = &args.max_rejects {
            let limit = RejectLimit::parse(text);
            recipe.max_rejects = limit.ok_or_else(|| {
                anyhow!("`{text}` is not a number of rows; write a number such as `10`, or a share such as `1%`")
            })?;
        }
    }
    Ok(jobs)
}

/// The file of a recipe: a path relative to the current folder or to the project, or the name of a recipe.
fn recipe_path(project: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let candidates =
        [PathBuf::from(name), project.join(name), project.join(RECIPES_FOLDER).join(format!("{name}{RECIPE_ENDING}"))];
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        anyhow!(
            "there is no recipe `{name}`; write it as `{RECIPES_FOLDER}/{name}{RECIPE_ENDING}`, or use `--table` and `--from`"
        )
    })
}

fn of_options(args: &IngestArgs, table: &str) -> anyhow::Result<Recipe> {
    let mut recipe = Recipe::for_table(table);
    let unknown = |what: &str, text: &str, help: String| anyhow!("`{text}` is not a {what}; {help}");
    recipe.from.clone_from(&args.from);
    if let Some(mode) = &args.mode {
        recipe.mode = named(&IngestMode::NAMES, mode).map_err(|help| unknown("mode", mode, help))?;
    }
    recipe.key.clone_from(&args.key);
    match (recipe.mode, recipe.key.is_empty()) {
        (IngestMode::Upsert, true) => bail!("`--mode upsert` needs `--key` with the columns that tell rows apart"),
        (IngestMode::Append | IngestMode::Replace, false) => bail!("`--key` has a meaning with `--mode upsert` only"),
        _ => {}
    }
    if let Some(into) = &args.into {
        named(&TableFormat::NAMES, into).map_err(|help| unknown("table format", into, help))?;
        recipe.into = Some(into.clone());
    }
    if let Some(format) = &args.format {
        let found = named(&SourceFormat::NAMES, format).map_err(|help| unknown("format of files", format, help))?;
        recipe.source = Some(found);
    }
    recipe.text.encoding.clone_from(&args.encoding);
    if let Some(delimiter) = &args.delimiter {
        let found = parse_delimiter(delimiter);
        let help = "write one character such as `;`, or `\\t` for a tab".to_owned();
        recipe.text.delimiter = Some(found.ok_or_else(|| unknown("delimiter", delimiter, help))?);
    }
    recipe.text.nulls.clone_from(&args.nulls);
    recipe.drop.clone_from(&args.drop);
    for rename in &args.renames {
        let (old, new) = pair(rename, "--rename OLD=NEW")?;
        recipe.columns.push(RecipeColumn { from: Some(old.to_owned()), ..RecipeColumn::new(new) });
    }
    for typed in &args.types {
        let (column, kind) = pair(typed, "--type COLUMN=TYPE")?;
        let help =
            "use `string`, `integer`, `number`, `boolean`, `date`, `timestamp`, or a list such as `list<integer>`";
        let kind = ColumnType::parse(kind).ok_or_else(|| unknown("type of a column", kind, help.to_owned()))?;
        let at = recipe.columns.iter().position(|known| known.name == column).unwrap_or_else(|| {
            recipe.columns.push(RecipeColumn::new(column));
            recipe.columns.len() - 1
        });
        recipe.columns[at].kind = Some(kind);
    }
    Ok(recipe)
}

fn pair<'a>(text: &'a str, form: &str) -> anyhow::Result<(&'a str, &'a str)> {
    text.split_once('=').ok_or_else(|| anyhow!("`{text}` has no `=`; write it like `{form}`"))
}

fn report(path: Option<&Path>) -> anyhow::Result<Report> {
    let Some(path) = path else { return Ok(Report::default()) };
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let file = OpenOptions::new().append(true).open(path);
    let file = file.with_context(|| format!("`{}` cannot be written", path.display()))?;
    Ok(Report::to(Box::new(BufWriter::new(file)), is_csv))
}

fn sentence(recipe: &Recipe, summary: &Summary, dry_run: bool) -> String {
    let rows = |count: u64| if count == 1 { "1 row".to_owned() } else { format!("{count} rows") };
    let verb = if dry_run { "would be ingested" } else { "ingested" };
    let mut text = format!("{} {verb} into `{}` from ", rows(summary.ingested), recipe.table);
    text += &if summary.files == 1 { "1 file".to_owned() } else { format!("{} files", summary.files) };
    if summary.updated > 0 {
        text += &format!(", in the place of {}", rows(summary.updated));
    }
    if summary.superseded > 0 {
        text += &format!("; {} gave way to later ones of the same key", rows(summary.superseded));
    }
    if summary.rejected > 0 {
        text += &format!("; {} rejected", rows(summary.rejected));
    }
    if let Some(version) = &summary.version {
        text += &format!("; {} version {version}", summary.format.name());
    }
    text
}

fn told(recipe: &Recipe, summary: &Summary, dry_run: bool) -> Json {
    let columns = summary.columns.iter().map(|(name, kind)| json!({ "name": name, "type": kind }));
    json!({
        "table": recipe.table,
        "format": summary.format.name(),
        "files": summary.files,
        "read": summary.read,
        "ingested": summary.ingested,
        "rejected": summary.rejected,
        "superseded": summary.superseded,
        "updated": summary.updated,
        "columns": columns.collect::<Json>(),
        "dry_run": dry_run,
        "published": summary.published,
        "version": summary.version,
    })
}

/// A progress bar, shown on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(table: &str) -> anyhow::Result<Arc<Self>> {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{prefix}: {msg} {wide_bar} {bytes}/{total_bytes} {eta}")?;
        bar.set_style(style);
        bar.set_prefix(table.to_owned());
        Ok(Arc::new(Self(bar)))
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, bytes: u64) {
        self.0.set_message(what.to_owned());
        self.0.set_position(0);
        self.0.set_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}
