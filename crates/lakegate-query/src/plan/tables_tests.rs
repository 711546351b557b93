//! Tests what a project takes over from the one before, and what it releases.

use std::path::Path;
use std::sync::Arc;

use lakegate_core::project::{LakeStore, Project, ProjectFiles};

use super::PlannedProject;
use crate::govern::testing::{self, HOT_BYTES, after, endpoint_file, governed, principal, put};
use crate::lake::Lake;

const PARENT: &str =
    "[lake]\nlocation = \".\"\n[tables.parent]\nlocation = \"parent\"\nrow_filter = \"tenant = principal('t')\"\n";
const CHILD: &str = "[tables.child]\nlocation = \"child\"\nrow_filter = \"parent IN (SELECT id FROM parent)\"\n[tables.city]\nlocation = \"city\"\nshared = true\n";
const ENDPOINTS: [(&str, &str); 3] = [
    ("children", "SELECT id FROM child"),
    ("joined", "SELECT c.id FROM parent p JOIN child c ON c.parent = p.id"),
    ("cities", "SELECT id FROM city"),
];

fn config() -> String {
    format!("{PARENT}{CHILD}")
}

async fn project(lake: &Path) -> PlannedProject {
    put(lake, "parent", &[("id", &[1, 2]), ("tenant", &[0, 1])]);
    put(lake, "child", &[("id", &[11, 12]), ("parent", &[1, 2])]);
    put(lake, "city", &[("id", &[5])]);
    let project = testing::project(lake, &config(), &ENDPOINTS).await;
    project.keep_hot(HOT_BYTES).await.unwrap();
    project.warm().await;
    project
}

async fn rows(project: &PlannedProject, endpoint: &str) -> Vec<String> {
    let plan = governed(project, &principal("t:integer=0"), endpoint, "{}").unwrap();
    assert!(plan.display_shortcut().await.is_some(), "{endpoint}");
    testing::rows(plan).await.unwrap()
}

/// The endpoints whose plan was taken over.
fn taken_over(before: &PlannedProject, after: &PlannedProject) -> Vec<&'static str> {
    let is_same = |name: &str| std::ptr::eq(before.find(name).unwrap(), after.find(name).unwrap());
    ENDPOINTS.iter().map(|(name, _)| *name).filter(|name| is_same(name)).collect()
}

fn is_same_table(one: &PlannedProject, other: &PlannedProject, name: &str) -> bool {
    let table =
        |project: &PlannedProject| Arc::clone(project.tables().iter().find(|table| table.name() == name).unwrap());
    Arc::ptr_eq(&table(one), &table(other))
}

#[tokio::test]
async fn what_does_not_read_a_replaced_table_is_taken_over_as_it_is() {
    let lake = tempfile::tempdir().unwrap();
    let first = project(lake.path()).await;
    for (name, _) in ENDPOINTS {
        rows(&first, name).await;
    }
    let kept = first.hot_bytes();
    put(lake.path(), "city", &[("id", &[6])]);
    let second = after(&first, Arc::clone(first.project())).await;
    assert_eq!(taken_over(&first, &second), ["children", "joined"]);
    assert!(is_same_table(&first, &second, "parent") && is_same_table(&first, &second, "child"));
    assert!(!is_same_table(&first, &second, "city"));
    assert_eq!(rows(&second, "cities").await, ["6"]);
    assert_eq!(rows(&second, "children").await, ["11"]);
    assert_eq!(rows(&first, "cities").await, ["5"], "a request ends with the tables that it began with");
    drop(first);
    assert_eq!(second.hot_bytes(), kept, "what was kept of the table before is let go");
}

/// A child's row filter reads the parent, so a plan over the child alone depends on the parent, too.
#[tokio::test]
async fn a_plan_whose_row_filter_reads_a_replaced_table_is_made_anew() {
    let lake = tempfile::tempdir().unwrap();
    let first = project(lake.path()).await;
    assert_eq!(rows(&first, "children").await, ["11"]);
    put(lake.path(), "parent", &[("id", &[1, 2]), ("tenant", &[1, 0])]);
    let second = after(&first, Arc::clone(first.project())).await;
    assert_eq!(taken_over(&first, &second), ["cities"]);
    assert!(is_same_table(&first, &second, "child") && !is_same_table(&first, &second, "parent"));
    for name in ["children", "joined"] {
        assert_eq!(rows(&second, name).await, ["12"], "{name}");
    }
}

#[tokio::test]
async fn plans_of_a_project_that_was_edited_are_made_anew_and_its_tables_are_not() {
    let lake = tempfile::tempdir().unwrap();
    let first = project(lake.path()).await;
    let kept = first.hot_bytes();
    let read = |config: String| {
        let file = |(name, sql): &(&str, &str)| (format!("endpoints/{name}.sql"), endpoint_file(sql));
        let endpoints = ENDPOINTS.iter().map(file).collect();
        let (project, findings) = Project::read(&ProjectFiles { config, endpoints, ..ProjectFiles::default() });
        assert!(findings.is_empty(), "{findings:?}");
        Arc::new(project)
    };
    let edited = after(&first, read(config().replace("tenant = p", "tenant <> p"))).await;
    assert_eq!(taken_over(&first, &edited), [""; 0]);
    for table in ["parent", "child", "city"] {
        assert!(is_same_table(&first, &edited, table), "{table}");
    }
    for name in ["children", "joined"] {
        assert_eq!(rows(&edited, name).await, ["12"], "{name}");
        assert_eq!(rows(&first, name).await, ["11"], "{name}");
    }
    // A table with other cache settings is a new table, which takes over the cached blocks.
    let pinned = config().replace("location = \"child\"", "location = \"child\"\nhot = \"pinned\"");
    let pinned = after(&edited, read(pinned)).await;
    assert!(!is_same_table(&edited, &pinned, "child") && is_same_table(&edited, &pinned, "parent"));
    assert!(pinned.hot_bytes() >= kept);
    let off = config().replace("location = \"child\"", "location = \"child\"\nhot = \"off\"");
    let off = after(&pinned, read(off)).await;
    let plan = governed(&off, &principal("t:integer=0"), "children", "{}").unwrap();
    assert_eq!(plan.display_shortcut().await, None);
    assert_eq!(testing::rows(plan).await.unwrap(), ["11"]);
}

/// A request to a new version does not wait for an index that the version before had.
#[tokio::test]
async fn a_new_version_has_the_indexes_of_the_one_before() {
    let lake = tempfile::tempdir().unwrap();
    let first = project(lake.path()).await;
    rows(&first, "joined").await;
    put(lake.path(), "child", &[("id", &[11, 12, 13]), ("parent", &[1, 2, 1])]);
    let load = PlannedProject::load(
        Arc::clone(first.project()),
        Vec::new(),
        Arc::clone(first.lake()),
        first.runtime(),
        Some(&first),
    );
    let second = Box::pin(load).await.unwrap_or_else(|findings| panic!("{findings:?}"));
    second.keep_hot(HOT_BYTES).await.unwrap();
    let indexed = |project: &PlannedProject| {
        let hot = project.tables().iter().map(|table| (table.name().to_owned(), table.hot().unwrap().indexed()));
        hot.collect::<Vec<_>>()
    };
    assert!(indexed(&first).iter().any(|(table, columns)| table == "child" && !columns.is_empty()));
    assert!(indexed(&second).iter().all(|(table, columns)| table != "child" || columns.is_empty()));
    second.index_as_before().await;
    assert_eq!(indexed(&second), indexed(&first));
}

/// A version that is no longer served is dropped, though other tables of it are still served.
#[tokio::test]
async fn tables_that_were_replaced_are_let_go() {
    let lake = tempfile::tempdir().unwrap();
    let mut project = project(lake.path()).await;
    let mut gone = Vec::new();
    for round in 0..3 {
        let city = project.tables().iter().find(|table| table.name() == "city").unwrap();
        gone.push(Arc::downgrade(city));
        for (name, _) in ENDPOINTS {
            rows(&project, name).await;
        }
        put(lake.path(), "city", &[("id", &[round])]);
        project = after(&project, Arc::clone(project.project())).await;
    }
    assert_eq!(gone.iter().filter(|table| table.upgrade().is_some()).count(), 0);
}

async fn load(lake: &Path, config: &str, endpoints: &[(&str, &str)]) -> Result<PlannedProject, Vec<String>> {
    let file = |(name, sql): &(&str, &str)| (format!("endpoints/{name}.sql"), endpoint_file(sql));
    let endpoints = endpoints.iter().map(file).collect();
    let (project, findings) =
        Project::read(&ProjectFiles { config: config.to_owned(), endpoints, ..ProjectFiles::default() });
    let lake = Arc::new(Lake::open(lake, ".", &LakeStore::default()).unwrap());
    let loaded = Box::pin(PlannedProject::load(project, findings, lake, Arc::default(), None)).await;
    loaded.map_err(|findings| findings.iter().map(ToString::to_string).collect())
}

/// An endpoint that reads a broken table, even only in a row filter, waits for it. Others are served.
#[tokio::test]
async fn a_broken_table_is_away_with_what_reads_it() {
    let lake = tempfile::tempdir().unwrap();
    put(lake.path(), "child", &[("id", &[11, 12]), ("parent", &[1, 2])]);
    put(lake.path(), "city", &[("id", &[5])]);
    std::fs::write(lake.path().join("parent.parquet"), "PAR1 and nothing that is known").unwrap();
    let project = load(lake.path(), &config(), &ENDPOINTS).await.unwrap();
    let broken = project.away().broken().map(|(name, reason)| (name, reason.message.clone())).collect::<Vec<_>>();
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].0 == "parent" && broken[0].1.contains("`parent.parquet`"), "{broken:?}");
    assert!(project.find("children").is_none() && project.away().endpoint("children").is_some());
    assert!(project.find("joined").is_none() && project.find("cities").is_some());
    assert_eq!(project.changed_tables().await.0.into_iter().collect::<Vec<_>>(), [""; 0]);
    project.keep_hot(HOT_BYTES).await.unwrap();
    assert_eq!(rows(&project, "cities").await, ["5"]);

    put(lake.path(), "parent", &[("id", &[1, 2]), ("tenant", &[0, 1])]);
    assert_eq!(project.changed_tables().await.0.into_iter().collect::<Vec<_>>(), ["parent"]);
    let mended = after(&project, Arc::clone(project.project())).await;
    assert!(mended.away().is_nothing());
    assert_eq!(rows(&mended, "children").await, ["11"]);
    assert!(is_same_table(&project, &mended, "city") && !mended.newly_broken(&project).iter().any(|_| true));
}

/// An error of the project is reported although a table cannot be read, and prevents a start.
#[tokio::test]
async fn faults_of_a_project_are_told_whatever_is_wrong_with_a_table() {
    let lake = tempfile::tempdir().unwrap();
    put(lake.path(), "parent", &[("id", &[1]), ("tenant", &[0])]);
    put(lake.path(), "child", &[("id", &[11]), ("parent", &[1])]);
    std::fs::write(lake.path().join("city.parquet"), "PAR1 and nothing that is known").unwrap();
    for (config, endpoints) in [
        (config().replace("tenant = p", "tennant = p"), ENDPOINTS.to_vec()),
        (config(), vec![("children", "SELECT idd FROM child")]),
        (config(), vec![("children", "SELECT id FROM chil")]),
    ] {
        let faults = load(lake.path(), &config, &endpoints).await.unwrap_err();
        assert!(faults.len() >= 2 && faults.iter().any(|fault| fault.contains("table `city`")), "{faults:?}");
        assert!(faults.iter().any(|fault| fault.contains("there is no")), "{faults:?}");
    }
}
