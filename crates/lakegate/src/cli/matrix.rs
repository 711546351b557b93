//! `lakegate test --matrix`: prints the access matrix, saves it, and reports changes since it was saved.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use lakegate_query::plan::PlannedProject;
use serde_json::json;

use super::options::StoreArgs;
use super::output::{print, print_table, say, table};
use crate::clock;
use crate::policy_test::TestAccess;
use crate::policy_test::matrix::{Comparison, Matrix, SubjectKind, compare, compute, load, save};

/// With more endpoints than this, each line has one subject and one endpoint.
const MOST_ENDPOINTS_ABREAST: usize = 3;

/// The options of the access matrix.
#[derive(Args, Debug)]
pub(super) struct MatrixArgs {
    /// Print the access matrix, which shows the access of every subject
    #[arg(long)]
    pub(super) matrix: bool,
    /// Show these subjects; without it, those of the saved matrix, or roles
    #[arg(long, value_enum, value_name = "WHAT", requires = "matrix")]
    by: Option<SubjectKind>,
    /// Save the matrix as the expected one
    #[arg(long, requires = "matrix")]
    save: bool,
}

pub(super) fn run(
    args: &MatrixArgs,
    store: &StoreArgs,
    project: &PlannedProject,
    world: &TestAccess,
) -> anyhow::Result<ExitCode> {
    // With `--save`, an unreadable file does not matter, because it is replaced.
    let saved = match load(&store.project.folder) {
        Err(_) if args.save => None,
        loaded => loaded?,
    };
    let by = args.by.or(saved.as_ref().map(|saved| saved.by)).unwrap_or(SubjectKind::Role);
    let current = compute(project, by, world, clock::now());
    let comparison = match &saved {
        Some(saved) if saved.by == by => Some(compare(project, saved, &current)),
        Some(_) if !args.save => {
            let other = if by == SubjectKind::Role { "principal" } else { "role" };
            bail!(
                "`tests/matrix.json` is by {other}; compare with `--by {other}`, or write it anew with `--save` and \
                 review what changes"
            );
        }
        _ => None,
    };
    let is_good = args.save || comparison.as_ref().is_none_or(|comparison| comparison.widened.is_empty());
    if args.save {
        save(&store.project.folder, &current)?;
    }
    if store.output.json {
        print(json!({
            "ok": is_good,
            "by": current.by,
            "subjects": current.subjects,
            "denials": current.denials,
            "saved": args.save || saved.is_some(),
            "comparison": comparison,
        }))?;
    } else {
        print_matrix(project, &current)?;
        if let Some(comparison) = &comparison {
            print_comparison(comparison)?;
        }
        match (args.save, &saved) {
            (true, _) => say("saved as `tests/matrix.json`; keep it in version control"),
            (false, None) => say(
                "note: nothing is saved to compare with; `--save` writes `tests/matrix.json`, and wider access is a \
                 failure from then on",
            ),
            (false, Some(_)) => {}
        }
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints each difference on a line, and what to do about them.
pub(super) fn print_comparison(comparison: &Comparison) -> anyhow::Result<()> {
    for change in &comparison.widened {
        print(format_args!("WIDER   {change}"))?;
    }
    for change in &comparison.narrowed {
        print(format_args!("note    {change}"))?;
    }
    if !comparison.widened.is_empty() {
        say("access is wider than saved; if that is right, `lakegate test --matrix --save` and review the difference");
    } else if !comparison.narrowed.is_empty() {
        say("access is narrower than saved; `lakegate test --matrix --save` keeps it so");
    }
    Ok(())
}

fn print_matrix(project: &PlannedProject, matrix: &Matrix) -> anyhow::Result<()> {
    let endpoints = project.endpoints().collect::<Vec<_>>();
    let subject = if matrix.by == SubjectKind::Role { "ROLE" } else { "PRINCIPAL" };
    let cell = |name: &str, at: usize| {
        let endpoint = endpoints[at];
        let cell = matrix.cell(name, &endpoint.endpoint().name);
        cell.map_or_else(|| "no".to_owned(), |cell| cell.summary(endpoint.columns().len()))
    };
    let names = || matrix.subjects.keys();
    let nothing = "there is no role and no principal";
    if matrix.subjects.is_empty() || endpoints.len() > MOST_ENDPOINTS_ABREAST {
        let rows = names().flat_map(|name| (0..endpoints.len()).map(move |at| (name, at)));
        let rows = rows.map(|(name, at)| vec![name.clone(), endpoints[at].endpoint().name.clone(), cell(name, at)]);
        return print_table(&[subject, "ENDPOINT", "ACCESS"], rows.collect(), nothing);
    }
    let header = std::iter::once(subject).chain(endpoints.iter().map(|planned| planned.endpoint().name.as_str()));
    let header = header.collect::<Vec<_>>();
    let rows = names().map(|name| {
        std::iter::once(name.clone()).chain((0..endpoints.len()).map(|at| cell(name, at))).collect::<Vec<_>>()
    });
    for line in table(&header, rows).lines() {
        print(line.trim_end())?;
    }
    Ok(())
}
