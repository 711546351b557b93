//! `lakegate optimize`: rewrites tables with a better layout, while a server reads them.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lakegate_core::project::suggest_or_list;
use lakegate_query::layout::{ClusterColumn, Reads, Rewrite, TableAdvice, advise, can_rewrite, rewrite};
use lakegate_query::plan::PlannedProject;
use serde::Serialize;

use super::advise::now;
use super::options::{DryRunOption, ProjectArgs};
use super::output::{print_json, print_table, say};

pub(super) const HELP: &str = "\
Sorts the rows of a table by the columns that `lakegate advise` recommends, or by the given ones, and writes them to few
files with row groups, page indexes and bloom filters that suit its requests. Sorting uses at most `memory_limit_mb` and
spills the rest to disk.

Reads the new files back, and replaces the table atomically if they have the same rows; a server keeps reading. A run that
fails or is killed does not change the table. A table that changes meanwhile is left as it is.

A column `parent.column` belongs to the table that the row filter refers to: the rows are sorted in its order, and no column
is added.

Examples:
  lakegate optimize trackcode
  lakegate optimize order --cluster-by trackcode.client_id,trackcode.creation
  lakegate optimize --all --dry-run";

/// The arguments of `lakegate optimize`.
#[derive(Args, Debug)]
pub struct OptimizeArgs {
    /// The tables
    #[arg(value_name = "TABLE", required_unless_present = "all")]
    tables: Vec<String>,
    /// Optimize all tables for which `lakegate advise` recommends something
    #[arg(long, conflicts_with = "tables")]
    all: bool,
    /// Sort by these columns instead of the advised ones
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', conflicts_with = "all")]
    cluster_by: Vec<String>,
    /// Write this many rows per row group, instead of the advised number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    row_group_rows: Option<u64>,
    /// Write bloom filters for these columns, in addition to the advised ones
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', conflicts_with = "all")]
    bloom: Vec<String>,
    #[command(flatten)]
    change: DryRunOption,
    #[command(flatten)]
    project: ProjectArgs,
}

/// The result for one table.
#[derive(Serialize)]
struct Outcome {
    table: String,
    cluster_by: Vec<String>,
    row_group_rows: u64,
    bloom_filters: Vec<String>,
    /// `done`, `dry_run` or `failed`.
    state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The new Delta or Iceberg version.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    before: Figures,
    /// The layout after the rewrite.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Figures>,
}

/// The layout of a table.
#[derive(Serialize)]
struct Figures {
    files: usize,
    bytes: u64,
    rows: Option<u64>,
    row_groups: usize,
    reads: Option<Reads>,
}

impl Figures {
    fn of(advice: &TableAdvice) -> Self {
        let TableAdvice { files, bytes, rows, row_groups, reads, .. } = advice;
        Self { files: *files, bytes: *bytes, rows: *rows, row_groups: *row_groups, reads: reads.clone() }
    }
}

pub(super) async fn run(args: OptimizeArgs) -> anyhow::Result<ExitCode> {
    let mut planned = args.project.load().await?;
    let known = planned.tables().iter().map(|table| table.name()).collect::<Vec<_>>();
    if let Some(unknown) = args.tables.iter().find(|table| !known.contains(&table.as_str())) {
        bail!("there is no table `{unknown}`; {}", suggest_or_list(unknown, known.iter().copied()));
    }
    let mut advice = advise(&planned, None, &|_, _, _| {}).await?;
    advice.retain(|table| match args.all {
        true => table.is_for_optimize() && can_rewrite(&planned, &table.table).is_ok(),
        false => args.tables.contains(&table.table),
    });
    if advice.is_empty() {
        say("all tables lie well");
    }
    let mut outcomes = Vec::new();
    for table in &advice {
        let asked = asked(&args, table);
        let (state, error, version) = match args.change.dry_run {
            true => ("dry_run", can_rewrite(&planned, &table.table).err().map(anyhow::Error::from), None),
            false => match one(&planned, &asked).await {
                Ok(version) => ("done", None, version),
                Err(error) => ("failed", Some(error), None),
            },
        };
        let after = match state {
            "done" => {
                // Load the project again, to see the table as its readers do.
                planned = args.project.load().await?;
                let after = advise(&planned, Some(&table.table), &|_, _, _| {}).await?;
                after.first().map(Figures::of)
            }
            _ => None,
        };
        if let Some(error) = &error {
            say(format_args!("error: table `{}`: {error:#}", table.table));
        }
        outcomes.push(Outcome {
            table: table.table.clone(),
            cluster_by: asked.by.iter().map(ToString::to_string).collect(),
            row_group_rows: asked.row_group_rows,
            bloom_filters: asked.bloom_filters,
            state: if error.is_some() { "failed" } else { state },
            error: error.map(|error| format!("{error:#}")),
            version,
            before: Figures::of(table),
            after,
        });
    }
    if args.project.output.json {
        print_json(&outcomes)?;
    } else {
        print_words(&outcomes)?;
    }
    let has_failed = outcomes.iter().any(|outcome| outcome.state == "failed");
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn asked(args: &OptimizeArgs, advice: &TableAdvice) -> Rewrite {
    let by = match args.cluster_by.as_slice() {
        [] => advice.cluster_by.clone(),
        given => given.iter().map(|column| ClusterColumn::parse(column)).collect(),
    };
    let mut bloom_filters = advice.bloom_filters.clone();
    bloom_filters.extend(args.bloom.iter().filter(|column| !advice.bloom_filters.contains(column)).cloned());
    Rewrite {
        table: advice.table.clone(),
        by,
        row_group_rows: args.row_group_rows.unwrap_or(advice.row_group_rows),
        bloom_filters,
    }
}

async fn one(planned: &PlannedProject, asked: &Rewrite) -> anyhow::Result<Option<String>> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{prefix} {wide_bar} {human_pos}/{human_len} {msg} {eta}")?);
    bar.set_prefix(asked.table.clone());
    let published = rewrite(planned, asked, &|what, done, all| {
        bar.set_message(what);
        bar.set_length(all.unwrap_or(done));
        bar.set_position(done);
    })
    .await;
    bar.finish_and_clear();
    Ok(published?.version)
}

fn print_words(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let rows = outcomes.iter().map(|outcome| {
        let Outcome { before, after, .. } = outcome;
        let change = |figure: &dyn Fn(&Figures) -> String| match after {
            Some(after) => format!("{} -> {}", figure(before), figure(after)),
            None => figure(before),
        };
        vec![
            outcome.table.clone(),
            outcome.cluster_by.join(", "),
            change(&|figures| figures.files.to_string()),
            change(&|figures| format!("{:.1}", figures.bytes as f64 / f64::from(1 << 20))),
            change(&|figures| figures.row_groups.to_string()),
            change(&|figures| figures.reads.as_ref().map_or_else(|| "all".to_owned(), now)),
            outcome.state.replace('_', " "),
        ]
    });
    let header = ["TABLE", "BY", "FILES", "MB", "GROUPS", "A REQUEST READS", "STATE"];
    print_table(&header, rows.collect(), "nothing to do")
}
