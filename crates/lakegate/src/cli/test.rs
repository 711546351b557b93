//! `lakegate test`: runs the tests of a project's policies, and compares the access matrix with the saved one.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use lakegate_core::project::{Finding, PolicyTestFile};
use lakegate_query::engine::Embedded;
use lakegate_query::plan::PlannedProject;
use serde_json::{Value as Json, json};

use super::matrix::{self, MatrixArgs};
use super::options::{LakeOption, StoreArgs};
use super::output::{escaped, print, say};
use crate::clock;
use crate::policy_test::matrix as model;
use crate::policy_test::{self, TestAccess, TestOutcome};
use crate::project::ProjectError;
use crate::store::Store;

pub(super) const HELP: &str = "\
Without FILE, runs the tests of all `tests/*.toml` in the project, and compares the access matrix with `tests/matrix.json` if
that file exists. A test calls an endpoint as a principal and states the expected result. The file declares its principals
and grants; a file without any uses the access store.

With --matrix, prints the maximum access of every role (or principal) to every endpoint. --save stores the matrix; from then
on, wider access is a failure, and narrower access is a note.

Exit codes: 0 all tests pass, 1 a test fails or access is wider.

Examples:
  lakegate test
  lakegate test tests/partners.toml --filter masked
  lakegate test --matrix
  lakegate test --matrix --by principal --save";

/// The arguments of `lakegate test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Test files, instead of all in `tests/`
    #[arg(value_name = "FILE", conflicts_with = "matrix")]
    files: Vec<PathBuf>,
    /// Run only tests with this text in their name
    #[arg(long, value_name = "TEXT", conflicts_with = "matrix")]
    filter: Option<String>,
    #[command(flatten)]
    matrix: MatrixArgs,
    #[command(flatten)]
    lake: LakeOption,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: TestArgs) -> anyhow::Result<ExitCode> {
    let ran = if args.matrix.matrix { run_matrix(&args).await } else { run_tests(&args).await };
    match ran {
        Err(error) => match error.downcast_ref::<ProjectError>() {
            Some(ProjectError::Faulty(findings)) => faulty(findings, args.store.output.json),
            _ => Err(error),
        },
        done => done,
    }
}

/// Reports every fault of the test files.
fn faulty(findings: &[Finding], as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        print(json!({ "ok": false, "findings": findings.iter().map(super::check::finding_json).collect::<Json>() }))?;
    } else {
        for finding in findings {
            print(finding)?;
        }
        let count = findings.len();
        say(format_args!("{} to mend", if count == 1 { "1 fault".to_owned() } else { format!("{count} faults") }));
    }
    Ok(ExitCode::FAILURE)
}

/// The principals and grants of the access store. Does not create a missing store.
async fn stored(args: &StoreArgs) -> anyhow::Result<TestAccess> {
    let location = args.location()?;
    if !location.path().is_file() {
        bail!(
            "there is no access store at `{location}`, and the tests declare no principals and grants of their own; \
             declare them in the files, or name the store with `--store sqlite:PATH`"
        );
    }
    Ok(TestAccess::from_store(&Store::open(&location).await?).await?)
}

/// The principals and grants of the matrix: those that the files declare, else those of the access store.
async fn world(args: &StoreArgs, files: &[PolicyTestFile]) -> anyhow::Result<TestAccess> {
    match TestAccess::from_files(files).map_err(ProjectError::Faulty)? {
        Some(world) => Ok(world),
        None => stored(args).await,
    }
}

async fn run_matrix(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let folder = &args.store.project.folder;
    let files = policy_test::read(folder, &[])?;
    let project = args.store.project.load(&args.lake).await?;
    check(&project, &files, None)?;
    let world = world(&args.store, &files).await?;
    matrix::run(&args.matrix, &args.store, &project, &world)
}

fn check(project: &PlannedProject, files: &[PolicyTestFile], stored: Option<&TestAccess>) -> Result<(), ProjectError> {
    let findings = policy_test::faults(project, files, stored);
    if findings.is_empty() { Ok(()) } else { Err(ProjectError::Faulty(findings)) }
}

async fn run_tests(args: &TestArgs) -> anyhow::Result<ExitCode> {
    let folder = &args.store.project.folder;
    let mut files = policy_test::read(folder, &args.files)?;
    let is_whole = args.files.is_empty() && args.filter.is_none();
    let saved = if is_whole { model::load(folder)? } else { None };
    if files.iter().all(|file| file.tests.is_empty()) && saved.is_none() {
        let place = if args.files.is_empty() {
            format!("`{}`", folder.join(policy_test::TESTS_FOLDER).display())
        } else {
            "the files".to_owned()
        };
        bail!(
            "there are no tests in {place}; write `tests/NAME.toml` with `[[tests]]`, or save who may what with \
             `lakegate test --matrix --save`"
        );
    }
    let all_files = files.clone();
    if let Some(text) = &args.filter {
        for file in &mut files {
            file.tests.retain(|test| test.name.text.contains(text.as_str()));
        }
        if files.iter().all(|file| file.tests.is_empty()) {
            bail!("no test has `{text}` in its name; names are compared letter by letter");
        }
    }
    let project = args.store.project.load(&args.lake).await?;
    let needs_store = files.iter().any(|file| file.access.is_none() && !file.tests.is_empty());
    let store = if needs_store { Some(stored(&args.store).await?) } else { None };
    check(&project, &all_files, store.as_ref())?;
    let now = clock::now();
    let outcomes = policy_test::run(&project, &Embedded, policy_test::tests(files, store), now).await;
    let comparison = match &saved {
        Some(saved) => {
            let current = model::compute(&project, saved.by, &world(&args.store, &all_files).await?, now);
            Some(model::compare(&project, saved, &current))
        }
        None => None,
    };

    let failed = outcomes.iter().filter(|outcome| !outcome.failures.is_empty()).count();
    let widened = comparison.as_ref().map_or(0, |comparison| comparison.widened.len());
    let is_good = failed == 0 && widened == 0;
    if args.store.output.json {
        print(json!({
            "ok": is_good,
            "passed": outcomes.len() - failed,
            "failed": failed,
            "tests": outcomes.iter().map(outcome_json).collect::<Json>(),
            "matrix": comparison,
        }))?;
    } else {
        for outcome in &outcomes {
            print_outcome(outcome)?;
        }
        if let Some(comparison) = &comparison {
            matrix::print_comparison(comparison)?;
        }
        let count = outcomes.len();
        let tests = if count == 1 { "1 test".to_owned() } else { format!("{count} tests") };
        let matrix = match &comparison {
            None => "",
            Some(_) if widened == 0 => "; access is not wider than saved",
            Some(_) => "; access is wider than saved",
        };
        print(format_args!("{tests}: {} passed, {failed} failed{matrix}", count - failed))?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_outcome(outcome: &TestOutcome) -> anyhow::Result<()> {
    let name = &outcome.test.test.name;
    if outcome.failures.is_empty() {
        return print(format_args!("ok      {}: {}", outcome.test.file, escaped(&name.text)));
    }
    print(format_args!("FAILED  {}: {}", name.position, escaped(&name.text)))?;
    for failure in &outcome.failures {
        let (expected, came) = (escaped(&failure.expected), escaped(&failure.came));
        print(format_args!("          {}: expected {expected}", failure.expectation))?;
        print(format_args!("          {}  came     {came}", " ".repeat(failure.expectation.len())))?;
    }
    Ok(())
}

fn outcome_json(outcome: &TestOutcome) -> Json {
    let test = &outcome.test.test;
    json!({
        "file": outcome.test.file,
        "line": test.name.position.line,
        "name": test.name.text,
        "as": test.principal.text,
        "endpoint": test.endpoint.text,
        "passed": outcome.failures.is_empty(),
        "status": outcome.status,
        "code": outcome.code,
        "rows": outcome.rows,
        "failures": outcome.failures,
    })
}
