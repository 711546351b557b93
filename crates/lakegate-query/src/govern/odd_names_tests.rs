//! Tests column names with dots, brackets, quotes and ambiguous twins: the column that a policy names is masked,
//! filtered or granted, and no other.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use lakegate_core::access::{Terms, Unmask};
use lakegate_core::catalog::RawArguments;
use lakegate_core::column_name::written;
use tempfile::TempDir;

use super::testing;
use crate::plan::PlannedProject;

const HEAD: &str = "[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\n";

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn write(folder: &Path, columns: Vec<(&str, ArrayRef)>) {
    let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let rows = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    testing::write_parquet(&folder.join("t.parquet"), &schema, &testing::one_by_one(&[rows]));
}

/// A column `buyer.email` beside a struct `buyer` with a field `email`.
fn twins() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let fields = Fields::from(vec![Field::new("email", DataType::Utf8, true)]);
    let buyer = Arc::new(StructArray::new(fields, vec![text(&["in-1", "in-2"])], None)) as ArrayRef;
    write(folder.path(), vec![("id", text(&["1", "2"])), ("buyer.email", text(&["top-1", "top-2"])), ("buyer", buyer)]);
    folder
}

const ALL: (&str, &str) = ("all", "SELECT * FROM t ORDER BY id");

async fn all(project: &PlannedProject, terms: Terms) -> Vec<String> {
    let who = testing::principal("tenant:string=a");
    testing::rows(testing::governed_with(project, &who, "all", "{}", terms).unwrap()).await.unwrap()
}

fn unmask(names: &[&str]) -> Terms {
    Terms { unmask: names.iter().map(|name| Unmask::parse(name).unwrap()).collect(), ..Terms::default() }
}

#[tokio::test]
async fn a_mask_whose_name_may_mean_a_column_and_a_field_is_refused_with_both_ways_to_write_it() {
    let folder = twins();
    let config = format!("{HEAD}shared = true\n[tables.t.columns.\"buyer.email\"]\nmask = \"redact\"\n");
    let faults = testing::try_project(folder.path(), &config, &[ALL]).await.unwrap_err();
    assert_eq!(
        faults,
        ["lakegate.toml:6:19: `buyer.email` may mean more than one column of table `t`; write one of \
             `[tables.t.columns.'buyer[\"email\"]']`, `[tables.t.columns.'\"buyer.email\"']`"]
    );
    for (name, row) in
        [("'\"buyer.email\"'", "1|[redacted]|{email: in-1}"), ("'buyer[\"email\"]'", "1|top-1|{email: [redacted]}")]
    {
        let config = format!("{HEAD}shared = true\n[tables.t.columns.{name}]\nmask = \"redact\"\n");
        let project = testing::project(folder.path(), &config, &[ALL]).await;
        assert_eq!(all(&project, Terms::default()).await[0], row);
        project.keep_hot(1 << 28).await.unwrap();
        assert_eq!(all(&project, Terms::default()).await[0], row);
    }
}

#[tokio::test]
async fn a_grant_whose_name_may_mean_two_lifts_no_mask() {
    let folder = twins();
    let config = format!(
        "{HEAD}shared = true\n[tables.t.columns.'\"buyer.email\"']\nmask = \"redact\"\n\
         [tables.t.columns.'buyer[\"email\"]']\nmask = \"redact\"\n"
    );
    let project = testing::project(folder.path(), &config, &[ALL]).await;
    let masked = "1|[redacted]|{email: [redacted]}";
    assert_eq!(all(&project, unmask(&["t.buyer.email"])).await[0], masked);
    assert_eq!(all(&project, unmask(&["t.\"buyer.email\""])).await[0], "1|top-1|{email: [redacted]}");
    for field in ["t.buyer[\"email\"]", "t.buyer['email']", "t.\"buyer\".email"] {
        assert_eq!(all(&project, unmask(&[field])).await[0], "1|[redacted]|{email: in-1}", "{field}");
    }

    // Before there was another column of that name, the same grant removed the only mask.
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), vec![("id", text(&["1"])), ("buyer.email", text(&["top-1"]))]);
    let config = format!("{HEAD}shared = true\n[tables.t.columns.\"buyer.email\"]\nmask = \"redact\"\n");
    let project = testing::project(folder.path(), &config, &[ALL]).await;
    assert_eq!(all(&project, Terms::default()).await, ["1|[redacted]"]);
    for name in ["t.buyer.email", "t.\"buyer.email\""] {
        assert_eq!(all(&project, unmask(&[name])).await, ["1|top-1"], "{name}");
    }
    for name in ["t.buyer[\"email\"]", "t.Buyer.Email", "T.buyer.email", "t.buyer"] {
        assert_eq!(all(&project, unmask(&[name])).await, ["1|[redacted]"], "{name}");
    }
}

#[tokio::test]
async fn a_row_filter_whose_name_may_mean_two_is_refused_and_each_can_be_written() {
    let folder = twins();
    let config = |filter: &str| format!("{HEAD}row_filter = '''{filter} = principal('tenant')'''\n");
    for name in ["buyer.email", "t.buyer.email"] {
        let faults = testing::try_project(folder.path(), &config(name), &[ALL]).await.unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("write `\"buyer\"['email']` or `\"buyer.email\"`"), "{faults:?}");
    }
    for (name, tenant, row) in [
        ("\"buyer.email\"", "top-2", "2|top-2|{email: in-2}"),
        ("t.\"buyer.email\"", "top-2", "2|top-2|{email: in-2}"),
        ("\"buyer\"['email']", "in-1", "1|top-1|{email: in-1}"),
        ("\"buyer\".\"email\"", "in-1", "1|top-1|{email: in-1}"),
    ] {
        let project = testing::project(folder.path(), &config(name), &[ALL]).await;
        let who = testing::principal(&format!("tenant:string={tenant}"));
        for _cold_then_warm in 0..2 {
            let plan = testing::governed(&project, &who, "all", "{}").unwrap();
            assert_eq!(testing::rows(plan).await.unwrap(), [row], "{name}");
            project.keep_hot(1 << 28).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_subject_of_small_groups_means_one_column() {
    let folder = twins();
    let config = format!("{HEAD}shared = true\n");
    let sql = |subject: &str| {
        format!(
            "/*---\nsummary = \"s\"\nmin_group_size = 2\nsubject = '{subject}'\n---*/\nSELECT id, count(*) AS n FROM t GROUP BY id"
        )
    };
    for (subject, is_refused) in [("buyer.email", true), ("t.buyer.email", true), ("t.\"buyer.email\"", false)] {
        let sql = sql(subject);
        let loaded = testing::try_project(folder.path(), &config, &[("all", &sql)]).await;
        match loaded {
            Ok(_) => assert!(!is_refused, "{subject}"),
            Err(faults) => assert!(is_refused && faults[0].contains("more than one column"), "{subject}: {faults:?}"),
        }
    }
}

#[tokio::test]
async fn a_denial_takes_away_all_that_its_name_may_mean() {
    let folder = twins();
    let project = testing::project(folder.path(), &format!("{HEAD}shared = true\n"), &[ALL]).await;
    let only = |names: &[&str]| {
        let columns = names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        Terms { columns: Some(columns), ..Terms::default() }
    };
    assert_eq!(all(&project, only(&["buyer.email"])).await, ["top-1", "top-2"]);
    assert_eq!(all(&project, only(&["id", "buyer"])).await[0], "1|{email: in-1}");
}

#[tokio::test]
async fn whatever_a_column_is_called_its_mask_and_its_filter_are_on_it_alone() {
    let names = [
        "a.b",
        "a",
        "A",
        "a[b]",
        "a['b']",
        "a[\"b\"]",
        "\"a\"",
        "a\"b",
        "a b",
        "t.a",
        "t",
        "*",
        ".",
        "a.",
        "'a'",
        "é.Ü",
        "a,b",
        "$1",
        "a.desc",
        "__lakegate_subjects",
    ];
    let folder = tempfile::tempdir().unwrap();
    let values = (0..names.len()).map(|at| [format!("x{at}"), format!("y{at}")]).collect::<Vec<_>>();
    let columns = names.iter().zip(&values).map(|(name, [one, two])| (*name, text(&[one, two])));
    write(folder.path(), columns.collect());
    let sql = ("all", "SELECT * FROM t ORDER BY \"a b\"");
    for (at, name) in names.iter().enumerate() {
        // `a` and `A` differ only in case, so they must be quoted.
        let key = match name.eq_ignore_ascii_case("a") {
            true => format!("\"{name}\""),
            false => written(&[(*name).to_owned()]),
        };
        // Another column is named `"a"`, including its quotes, so these names are ambiguous and refused.
        let key = if key == "\"a\"" || key == "\"A\"" { continue } else { key };
        let filter = format!("\"{}\" = principal('tenant')", name.replace('"', "\"\""));
        let json = |text: &str| serde_json::Value::from(text).to_string();
        let config =
            format!("{HEAD}row_filter = {}\n[tables.t.columns.{}]\nmask = \"redact\"\n", json(&filter), json(&key));
        let project = testing::project(folder.path(), &config, &[sql]).await;
        let who = testing::principal(&format!("tenant:string=y{at}"));
        let wanted =
            (0..names.len()).map(|other| if other == at { "[redacted]".to_owned() } else { format!("y{other}") });
        let wanted = wanted.collect::<Vec<_>>().join("|");
        for _cold_then_warm in 0..2 {
            let plan = testing::governed(&project, &who, "all", "{}").unwrap();
            assert_eq!(testing::rows(plan).await.unwrap(), std::slice::from_ref(&wanted), "{name}");
            project.keep_hot(1 << 28).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_order_that_may_mean_two_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), vec![("id", text(&["1", "2", "3"])), ("id.desc", text(&["b", "c", "a"]))]);
    let endpoints = [("both", "SELECT * FROM t"), ("one", "SELECT \"id.desc\" FROM t"), ("plain", "SELECT id FROM t")];
    let project = testing::project(folder.path(), &format!("{HEAD}shared = true\n"), &endpoints).await;
    let ordered = async |endpoint: &str, order: &str| {
        let mut raw = RawArguments::default();
        raw.add_query([("order".to_owned(), order.to_owned())]).unwrap();
        let plan = testing::governed_call(&project, &testing::principal(""), endpoint, raw, Terms::default())?;
        testing::rows(plan).await
    };
    assert!(ordered("both", "id.desc").await.is_err());
    assert_eq!(ordered("both", "id.desc.asc").await.unwrap(), ["3|a", "1|b", "2|c"]);
    assert_eq!(ordered("both", "id.desc.desc").await.unwrap(), ["2|c", "1|b", "3|a"]);
    assert_eq!(ordered("one", "id.desc").await.unwrap(), ["a", "b", "c"]);
    assert_eq!(ordered("plain", "id.desc").await.unwrap(), ["3", "2", "1"]);
}
