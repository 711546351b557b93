//! Runs queries on a governed lake and on the copies whose results must be equal, and reports the differences.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use lakegate_core::access::{Principal, PrincipalRecord, Terms, Unmask};
use lakegate_core::value::{Scalar, ScalarType, Value};
use serde_json::Value as Json;

use super::super::mask::MaskKey;
use super::super::testing;
use super::copy::{self, KEY};
use super::generate::HOSTILE_NUMBER;
use super::world::{Caller, Kind, Row};
use crate::plan::PlannedProject;

/// A table as it is written to files.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    pub(super) name: String,
    pub(super) columns: Vec<(String, Kind)>,
    pub(super) rows: Vec<Row>,
    pub(super) group: usize,
    pub(super) files: usize,
}

/// A lake under a project's policies, and the views of its callers.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) config: String,
    pub(super) tables: Vec<Plain>,
    pub(super) views: Vec<View>,
}

/// The view of one caller.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) caller: Caller,
    /// For each table, whether each row is visible.
    pub(super) visible: Vec<Vec<bool>>,
    /// For each table, the masks in force for the caller.
    pub(super) masks: Vec<Vec<(String, String)>>,
    /// The rows of each table in another lake that looks the same to the caller.
    pub(super) changed: Vec<Vec<Row>>,
}

#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) sql: String,
    pub(super) arguments: Json,
    pub(super) is_ordered: bool,
    pub(super) fallible: BTreeSet<(String, String)>,
}

/// The outcome of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Rows(Vec<String>),
    /// The error code.
    Failed(String),
    Panicked(String),
}

/// A difference between two outcomes.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    pub(super) view: usize,
    pub(super) question: usize,
    pub(super) text: String,
}

/// Counts of outcomes, and the differences.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) differences: Vec<Difference>,
    /// Pairs of a caller and a query whose results were compared.
    pub(super) cases: usize,
    /// Results that were compared with the expected one.
    pub(super) comparisons: usize,
    pub(super) nonempty: usize,
    /// Cases in which an ungoverned query over the whole lake has another result.
    pub(super) governed: usize,
    /// Cases in which the ungoverned query over the whole lake fails, but the expected result is different.
    pub(super) would_fail: usize,
    /// Cases that failed on the caller's own rows on both sides.
    pub(super) failed: usize,
    /// Comparisons in which exactly one side failed, as it may on these rows.
    pub(super) either: usize,
    /// Cases that have a prepared plan over resident tables.
    pub(super) shortcuts: usize,
    /// Questions that are not valid endpoints even without policies, with the reason for each.
    pub(super) refused: BTreeMap<usize, String>,
    /// Questions that are not valid endpoints because of policies or masks.
    pub(super) refused_when_governed: BTreeMap<usize, String>,
    /// Why the project did not load.
    pub(super) no_project: Option<String>,
}

impl Setting {
    pub(super) fn rows(&self) -> Vec<Vec<Row>> {
        self.tables.iter().map(|table| table.rows.clone()).collect()
    }

    fn ungoverned(&self) -> String {
        let table = |table: &Plain| format!("[tables.{0}]\nlocation = \"{0}\"\nshared = true\n", table.name);
        format!("[lake]\nlocation = \".\"\n{}", self.tables.iter().map(table).collect::<String>())
    }
}

impl View {
    /// Whether a query can fail on a row that the caller sees.
    fn may_fail(&self, setting: &Setting, question: &Question) -> bool {
        question.fallible.iter().any(|(table, column)| {
            let at = setting.tables.iter().position(|plain| plain.name == *table).unwrap();
            let plain = &setting.tables[at];
            let place = plain.columns.iter().position(|(name, _)| name == column).unwrap();
            let fails = |value: &Json| match value {
                Json::String(text) => text.parse::<i64>().is_err(),
                Json::Number(number) => number.as_i64() == Some(HOSTILE_NUMBER),
                _ => false,
            };
            match self.masks[at].iter().find(|(masked, _)| masked == column) {
                // Masked numbers are NULL or multiples of another number.
                Some((_, mask)) => plain.columns[place].1 == Kind::Text && mask != "\"null\"",
                None => plain.rows.iter().zip(&self.visible[at]).any(|(row, sees)| *sees && fails(&row[place])),
            }
        })
    }
}

pub(super) fn principal(caller: &Caller) -> Principal {
    let texts = caller.ts.iter().cloned().map(Scalar::String).collect();
    let numbers = caller.ns.iter().copied().map(Scalar::Integer).collect();
    let mut record = PrincipalRecord::new("p", "caller", chrono::DateTime::UNIX_EPOCH)
        .with_attribute("t", Value::Scalar(Scalar::String(caller.t.clone())))
        .with_attribute("ts", Value::List(ScalarType::String, texts))
        .with_attribute("ns", Value::List(ScalarType::Integer, numbers));
    if caller.is_auditor {
        record = record.with_role("auditor");
    }
    testing::authenticated(record)
}

fn terms(caller: &Caller) -> Terms {
    let unmask = |text: &String| Unmask::try_from(text.clone()).unwrap();
    Terms { unmask: caller.unmask.iter().map(unmask).collect(), ..Terms::default() }
}

/// A project with all valid questions, and the findings about the others.
async fn load(
    lake: &std::path::Path,
    config: &str,
    questions: &[Question],
    skip: &BTreeSet<usize>,
) -> Result<(PlannedProject, BTreeMap<usize, String>), String> {
    let mut refused = BTreeMap::<usize, String>::new();
    loop {
        let names = (0..questions.len()).filter(|at| !refused.contains_key(at) && !skip.contains(at));
        let endpoints = names.map(|at| (format!("q{at}"), questions[at].sql.as_str())).collect::<Vec<_>>();
        let endpoints = endpoints.iter().map(|(name, sql)| (name.as_str(), *sql)).collect::<Vec<_>>();
        let tried = AssertUnwindSafe(testing::try_project(lake, config, &endpoints)).catch_unwind().await;
        let findings = match tried {
            Ok(Ok(project)) => {
                project.set_mask_key(MaskKey::new(KEY).unwrap());
                return Ok((project, refused));
            }
            Ok(Err(findings)) => findings,
            Err(_) => return Err("panicked while it was loaded".to_owned()),
        };
        let of_endpoint = |finding: &String| {
            let (number, _) = finding.strip_prefix("endpoints/q")?.split_once(".sql")?;
            Some((number.parse::<usize>().ok()?, finding.clone()))
        };
        let found = findings.iter().filter_map(of_endpoint).collect::<BTreeMap<_, _>>();
        if found.is_empty() {
            return Err(findings.join("\n"));
        }
        refused.extend(found);
    }
}

async fn ask(project: &PlannedProject, who: &Principal, terms: &Terms, at: usize, question: &Question) -> Outcome {
    let asked = async {
        let arguments = question.arguments.to_string();
        let plan = testing::governed_with(project, who, &format!("q{at}"), &arguments, terms.clone())?;
        testing::rows(plan).await
    };
    match AssertUnwindSafe(asked).catch_unwind().await {
        Ok(Ok(mut rows)) => {
            if !question.is_ordered {
                rows.sort();
            }
            Outcome::Rows(rows)
        }
        Ok(Err(error)) => Outcome::Failed(error.code.name().to_owned()),
        Err(panic) => Outcome::Panicked(panic.downcast_ref::<String>().cloned().unwrap_or_default()),
    }
}

async fn has_shortcut(
    project: &PlannedProject,
    who: &Principal,
    terms: &Terms,
    at: usize,
    question: &Question,
) -> bool {
    let arguments = question.arguments.to_string();
    match testing::governed_with(project, who, &format!("q{at}"), &arguments, terms.clone()) {
        Ok(plan) => plan.display_shortcut().await.is_some(),
        Err(_) => false,
    }
}

/// Compares an outcome with the expected one.
fn compare(got: &Outcome, wanted: &Outcome, may_fail: bool) -> Result<(), String> {
    match (got, wanted) {
        _ if got == wanted && !matches!(got, Outcome::Panicked(_)) => Ok(()),
        (Outcome::Rows(_), Outcome::Failed(_)) | (Outcome::Failed(_), Outcome::Rows(_)) if may_fail => Ok(()),
        _ => Err(format!("got {got:?}\nwanted {wanted:?}")),
    }
}

/// Runs all questions for all callers.
pub(super) async fn check(setting: &Setting, questions: &[Question]) -> Report {
    let mut report = Report::default();
    let whole = copy::lake(&setting.tables, &setting.rows());
    let loaded = load(whole.path(), &setting.ungoverned(), questions, &BTreeSet::new()).await;
    let (ungoverned, refused) = match loaded {
        Ok(loaded) => loaded,
        Err(reason) => {
            report.no_project = Some(format!("without policies: {reason}"));
            return report;
        }
    };
    let mut skip = refused.keys().copied().collect::<BTreeSet<_>>();
    report.refused = refused;
    let (governed, refused) = match load(whole.path(), &setting.config, questions, &skip).await {
        Ok(loaded) => loaded,
        Err(reason) => {
            report.no_project = Some(format!("with policies: {reason}\n{}", setting.config));
            return report;
        }
    };
    skip.extend(refused.keys().copied());
    report.refused_when_governed = refused;
    let nobody = principal(&Caller::default());
    let mut everything = BTreeMap::new();
    let asked = (0..questions.len()).filter(|at| !skip.contains(at)).collect::<Vec<_>>();
    for at in &asked {
        everything.insert(*at, ask(&ungoverned, &nobody, &Terms::default(), *at, &questions[*at]).await);
    }
    let mut right = BTreeMap::new();
    for (number, view) in setting.views.iter().enumerate() {
        let (who, terms) = (principal(&view.caller), terms(&view.caller));
        let own = copy::own_lake(&setting.tables, &view.visible, &view.masks);
        let (own, not_there) = match load(own.path(), &setting.ungoverned(), questions, &skip).await {
            Ok((own, refused)) => (own, refused),
            Err(reason) => {
                report.no_project = Some(format!("of the caller's own rows: {reason}"));
                return report;
            }
        };
        let changed = copy::lake(&setting.tables, &view.changed);
        let (changed, refused) = match load(changed.path(), &setting.config, questions, &skip).await {
            Ok(loaded) => loaded,
            Err(reason) => {
                report.no_project = Some(format!("with other foreign rows: {reason}"));
                return report;
            }
        };
        for (at, reason) in not_there.iter().chain(&refused) {
            let text = format!("is an endpoint over one lake, and not over another: {reason}");
            report.differences.push(Difference { view: number, question: *at, text });
        }
        for at in asked.iter().filter(|at| !not_there.contains_key(at) && !refused.contains_key(at)) {
            let question = &questions[*at];
            let may_fail = view.may_fail(setting, question);
            let wanted = ask(&own, &nobody, &Terms::default(), *at, question).await;
            report.cases += 1;
            match &wanted {
                Outcome::Rows(rows) => report.nonempty += usize::from(!rows.is_empty()),
                _ if may_fail => report.failed += 1,
                other => {
                    let text = format!("fails on the caller's own rows without a reason: {other:?}");
                    report.differences.push(Difference { view: number, question: *at, text });
                }
            }
            if wanted != everything[at] {
                report.governed += 1;
                report.would_fail += usize::from(matches!(everything[at], Outcome::Failed(_)));
            }
            for (project, place) in [(&governed, "from files"), (&changed, "with other foreign rows")] {
                let got = ask(project, &who, &terms, *at, question).await;
                compared(&mut report, number, *at, place, &got, &wanted, may_fail);
            }
            right.insert((number, *at), (wanted, may_fail));
        }
    }
    governed.keep_hot(1 << 28).await.unwrap();
    for (number, view) in setting.views.iter().enumerate() {
        let (who, terms) = (principal(&view.caller), terms(&view.caller));
        for at in &asked {
            let Some((wanted, may_fail)) = right.get(&(number, *at)) else { continue };
            let got = ask(&governed, &who, &terms, *at, &questions[*at]).await;
            report.shortcuts += usize::from(has_shortcut(&governed, &who, &terms, *at, &questions[*at]).await);
            compared(&mut report, number, *at, "from memory", &got, wanted, *may_fail);
        }
    }
    report
}

fn compared(
    report: &mut Report,
    view: usize,
    question: usize,
    place: &str,
    got: &Outcome,
    wanted: &Outcome,
    may_fail: bool,
) {
    report.comparisons += 1;
    report.either += usize::from(got != wanted);
    if let Err(text) = compare(got, wanted, may_fail) {
        report.differences.push(Difference { view, question, text: format!("{place}: {text}") });
    }
}
