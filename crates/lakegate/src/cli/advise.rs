//! `lakegate advise`: recommends how to lay out the tables of a project in their files.

use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lakegate_core::project::suggest_or_list;
use lakegate_query::layout::{Reads, TableAdvice, advise};

use super::options::ProjectArgs;
use super::output::{print, print_json, print_table, say};

pub(super) const HELP: &str = "\
Reads the policies, the endpoints and the footers of the tables' files, and recommends for each table the columns to sort by
and why, the size of its row groups, and bloom filters; estimates what a typical caller's request reads now and after.
Changes nothing; `lakegate optimize TABLE` applies the recommendation.

Examples:
  lakegate advise
  lakegate advise trackcode --json";

/// The arguments of `lakegate advise`.
#[derive(Args, Debug)]
pub struct AdviseArgs {
    /// Advise on one table instead of all
    #[arg(value_name = "TABLE")]
    table: Option<String>,
    #[command(flatten)]
    project: ProjectArgs,
}

pub(super) async fn run(args: AdviseArgs) -> anyhow::Result<ExitCode> {
    let planned = args.project.load().await?;
    if let Some(table) = &args.table
        && planned.tables().iter().all(|known| known.name() != table)
    {
        let known = planned.tables().iter().map(|table| table.name()).collect::<Vec<_>>();
        anyhow::bail!("there is no table `{table}`; {}", suggest_or_list(table, known.iter().copied()));
    }
    let bar = ProgressBar::new(planned.tables().len() as u64);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}")?);
    let advice = advise(&planned, args.table.as_deref(), &|table, at, _| {
        bar.set_message(table.to_owned());
        bar.set_position(at - 1);
    })
    .await?;
    bar.finish_and_clear();
    if args.project.output.json {
        print_json(&advice)?;
        return Ok(ExitCode::SUCCESS);
    }
    print_words(&advice)?;
    Ok(ExitCode::SUCCESS)
}

fn print_words(advice: &[TableAdvice]) -> anyhow::Result<()> {
    let rows = advice.iter().map(|table| {
        let by = table.cluster_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        vec![
            table.table.clone(),
            table.files.to_string(),
            table.rows.map(|rows| rows.to_string()).unwrap_or_default(),
            table.row_groups.to_string(),
            by,
            table.reads.as_ref().map(now).unwrap_or_default(),
            table.reads.as_ref().map(after).unwrap_or_default(),
        ]
    });
    let header = ["TABLE", "FILES", "ROWS", "GROUPS", "LAY OUT BY", "READS NOW", "AFTER"];
    print_table(&header, rows.collect(), "there are no tables")?;
    for table in advice.iter().filter(|table| !table.to_do.is_empty()) {
        print(format_args!("\n{}", table.table))?;
        for reason in &table.reasons {
            print(format_args!("  {reason}"))?;
        }
        if let Some(reads) = &table.reads {
            print(format_args!("  a typical request: {}", reads.request))?;
        }
        for to_do in &table.to_do {
            print(format_args!("  - {to_do}"))?;
        }
    }
    if advice.iter().all(|table| table.to_do.is_empty()) {
        say("all tables lie well");
    }
    Ok(())
}

/// Reads with the current layout, as in `72 of 78`.
pub(super) fn now(reads: &Reads) -> String {
    format!("{} of {}", reads.now, reads.now_of)
}

/// Reads with the advised layout, as in `1.3 of 480`.
fn after(reads: &Reads) -> String {
    let held = if reads.skips { "" } else { ", held by" };
    format!("{} of {}{held}", reads.after, reads.after_of)
}
