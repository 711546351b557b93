//! Runs `cases/govern/*.case`: queries, callers, and the governed plans and rows they get. The README beside them
//! describes the format. Every case also runs over Parquet, and over a lake of only the caller's rows without any
//! policy.

use std::fmt::Write;

use lakegate_core::access::Principal;
use lakegate_core::error::Error;

use super::inject::Injection;
use super::masking::InForce;
use super::{reach, testing};
use crate::plan::PlannedProject;

/// One query of a case file.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) caller: String,
    pub(crate) arguments: String,
    pub(crate) sql: String,
    pub(crate) expected: String,
}

impl Case {
    /// The title as the name of an endpoint.
    pub(crate) fn name(&self) -> String {
        let name = self.title.to_lowercase().replace(|each: char| !each.is_ascii_alphanumeric(), "_");
        format!("e_{name}")
    }
}

pub(crate) fn parse(text: &str) -> Vec<Case> {
    let mut cases = Vec::<Case>::new();
    let mut into_expected = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            cases.push(Case { title: title.to_owned(), arguments: "{}".to_owned(), ..Case::default() });
            into_expected = false;
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if line == "=" {
            into_expected = true;
        } else if into_expected {
            writeln!(case.expected, "{line}").unwrap();
        } else if let Some(caller) = line.strip_prefix("as: ") {
            case.caller = caller.to_owned();
        } else if let Some(arguments) = line.strip_prefix("with: ") {
            case.arguments = arguments.to_owned();
        } else {
            writeln!(case.sql, "{line}").unwrap();
        }
    }
    for case in &mut cases {
        case.expected = format!("{}\n", case.expected.trim_end());
    }
    cases
}

fn written(cases: &[Case]) -> String {
    let text = |case: &Case| {
        let with = if case.arguments == "{}" { String::new() } else { format!("with: {}\n", case.arguments) };
        format!("## {}\nas: {}\n{with}{}=\n{}", case.title, case.caller, case.sql, case.expected)
    };
    cases.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// All cases, by file.
pub(crate) fn all() -> Vec<(std::path::PathBuf, Vec<Case>)> {
    let entries = std::fs::read_dir(testing::cases_folder()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), parse(&std::fs::read_to_string(path).unwrap()))).collect()
}

pub(crate) async fn project_of(
    cases: &[(std::path::PathBuf, Vec<Case>)],
    lake: &std::path::Path,
    config: &str,
) -> PlannedProject {
    let endpoints = cases.iter().flat_map(|(_, cases)| cases).map(|case| (case.name(), case.sql.as_str()));
    let endpoints = endpoints.collect::<Vec<_>>();
    let endpoints = endpoints.iter().map(|(name, sql)| (name.as_str(), *sql)).collect::<Vec<_>>();
    testing::project(lake, config, &endpoints).await
}

async fn rows_of(project: &PlannedProject, who: &Principal, case: &Case) -> Result<Vec<String>, Error> {
    let plan = testing::governed(project, who, &case.name(), &case.arguments)?;
    let mut rows = testing::rows(plan).await?;
    if !case.sql.contains("ORDER BY") {
        rows.sort();
    }
    Ok(rows)
}

fn refused(error: &Error) -> String {
    format!("{error}{}\n", error.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default())
}

/// The outcome of a case: the injected plan, the optimised and bound plan, and the rows; or the refusal.
async fn outcome(project: &PlannedProject, who: &Principal, case: &Case) -> String {
    let plan = match testing::governed(project, who, &case.name(), &case.arguments) {
        Ok(plan) => plan,
        Err(error) => return format!("refused: {}", refused(&error)),
    };
    let endpoint = project.find(&case.name()).unwrap();
    let (unfiltered, _) = reach(project, endpoint, who);
    let injection = Injection { policies: project.policies(), unfiltered: &unfiltered, masks: &InForce::default() };
    let injected = injection.govern(endpoint.plan().clone()).unwrap().display_indent().to_string();
    let optimised = plan.display();
    let rows = match rows_of(project, who, case).await {
        Ok(rows) => rows.iter().map(|row| format!("{row}\n")).collect(),
        Err(error) => format!("failed: {}", refused(&error)),
    };
    numbered_anew(&format!("governed:\n{injected}\noptimised:\n{optimised}\nrows:\n{rows}"))
}

/// Renumbers the optimiser's names from 1. The optimiser counts them over all plans of a session.
fn numbered_anew(text: &str) -> String {
    let mut seen = Vec::new();
    let mut parts = text.split("__");
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let name = part.find(|each: char| !each.is_alphanumeric() && each != '_').map_or(part, |end| &part[..end]);
        let kind = name.trim_end_matches(|each: char| each.is_ascii_digit());
        if !seen.contains(&name) {
            seen.push(name);
        }
        let number = seen.iter().position(|other| *other == name).map_or(0, |at| at + 1);
        numbered += &format!("__{kind}{number}{}", &part[name.len()..]);
    }
    numbered
}

#[tokio::test]
async fn every_case_gives_its_plans_and_rows() {
    let update = std::env::var_os("LAKEGATE_UPDATE_CASES").is_some();
    let mut files = all();
    let project = project_of(&files, &testing::cases_folder().join("lake"), &testing::config()).await;
    let mut wrong = String::new();
    for (path, cases) in &mut files {
        for case in cases.iter_mut() {
            let got = outcome(&project, &testing::principal(&case.caller), case).await;
            if got.trim_end() != case.expected.trim_end() {
                write!(wrong, "{} | {}\nexpected:\n{}got:\n{got}\n", path.display(), case.title, case.expected)
                    .unwrap();
                case.expected = format!("{}\n", got.trim_end());
            }
        }
        if update {
            std::fs::write(&*path, written(cases)).unwrap();
        }
    }
    assert!(update || wrong.is_empty(), "LAKEGATE_UPDATE_CASES=1 rewrites what is expected\n{wrong}");
}

/// The rows do not depend on the file format, and are those of a lake that holds nothing else.
#[tokio::test]
async fn every_case_gives_the_rows_of_a_lake_of_the_callers_own_rows() {
    let files = all();
    let csv = testing::cases_folder().join("lake");
    let parquet = testing::parquet_lake(&csv).await;
    let over_csv = project_of(&files, &csv, &testing::config()).await;
    let over_parquet = project_of(&files, parquet.path(), &testing::config()).await;
    let over_memory = project_of(&files, parquet.path(), &testing::config()).await;
    let in_memory = over_memory.keep_hot(1 << 28).await.unwrap();
    assert_eq!(in_memory.len(), testing::TABLES.len());
    for case in files.iter().flat_map(|(_, cases)| cases) {
        let who = testing::principal(&case.caller);
        let governed = rows_of(&over_csv, &who, case).await.map_err(|error| error.to_string());
        let got = rows_of(&over_parquet, &who, case).await.map_err(|error| error.to_string());
        assert_eq!(got, governed, "{}: over Parquet", case.title);
        let got = rows_of(&over_memory, &who, case).await.map_err(|error| error.to_string());
        assert_eq!(got, governed, "{}: from memory", case.title);
        let Ok(governed) = governed else { continue };
        let own = testing::own_lake(parquet.path(), &who).await;
        let endpoint = (case.name(), case.sql.as_str());
        let free = testing::project(own.path(), &testing::ungoverned_config(), &[(&endpoint.0, endpoint.1)]).await;
        let wanted = rows_of(&free, &testing::principal(""), case).await.unwrap();
        assert_eq!(governed, wanted, "{}: not what the caller's own rows give", case.title);
    }
}
