//! Broken projects, and the findings of `check`. The projects are data files, `check/*.case`, in the format of
//! `check/README.md`; cases that need links, corrupt files or the binary are here.

use std::path::{Path, PathBuf};

use lakegate::project::{self, ProjectError};
use serde_json::json;
use tempfile::TempDir;

use crate::support::app::write_files;
use crate::support::binary;

const LAKE: &str = "[lake]\nlocation = \"lake/\"\n";
const NOTE: &str = "[tables.note]\nlocation = \"note.csv\"\n";
const FILTER: &str = "tenant = principal('tenant')";
const REST: &str = "[tables.line]
location = \"line.csv\"
row_filter = \"note_id IN (SELECT id FROM note)\"
[tables.city]
location = \"city.csv\"
shared = true
";
const FRONT_MATTER: &str = "/*---\nsummary = \"s\"\n---*/\n";
/// Files that each case has, unless it overrides them.
const FILES: &[(&str, &str)] = &[
    ("lake/note.csv", "id,tenant,text,salary,day,at\n1,A,x,1.5,2022-10-01,2022-10-01T08:00:00\n"),
    ("lake/line.csv", "id,note_id,text\n1,1,x\n"),
    ("lake/city.csv", "id,name\n1,Bogota\n"),
    ("endpoints/e.sql", "/*---\nsummary = \"s\"\n---*/\nSELECT id FROM note"),
];

/// One project of a case file.
struct Case {
    name: String,
    files: Vec<(String, String)>,
    findings: String,
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases = Vec::<Case>::new();
    let mut into_findings = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            cases.push(Case { name: name.to_owned(), files: Vec::new(), findings: String::new() });
            into_findings = false;
        } else if let Some(case) = cases.last_mut() {
            if let Some(path) = line.strip_prefix("@ ") {
                case.files.push((path.to_owned(), String::new()));
                into_findings = false;
            } else if line == "=" {
                into_findings = true;
            } else if into_findings {
                if !line.is_empty() {
                    case.findings += &format!("{line}\n");
                }
            } else if let Some((_, content)) = case.files.last_mut() {
                *content += &format!("{line}\n");
            }
        }
    }
    cases
}

fn written(cases: &[Case]) -> String {
    let case_text = |case: &Case| {
        let files = case.files.iter().map(|(path, content)| format!("@ {path}\n{content}")).collect::<String>();
        format!("## {}\n{files}=\n{}", case.name, case.findings)
    };
    cases.iter().map(case_text).collect::<Vec<_>>().join("\n")
}

#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
fn folder_of(case: &Case) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = |filter: &str| format!("{LAKE}{NOTE}row_filter = \"{filter}\"\n{REST}");
    write_files(folder.path(), FILES);
    write_files(folder.path(), &[("lakegate.toml", &config(FILTER))]);
    for (path, content) in &case.files {
        let (path, content) = match path.as_str() {
            "sql" => ("endpoints/e.sql", format!("{FRONT_MATTER}{content}")),
            "endpoint" => ("endpoints/e.sql", content.clone()),
            "filter" => ("lakegate.toml", config(content.trim_end())),
            "tables" => ("lakegate.toml", format!("{LAKE}{content}")),
            "note" => ("lakegate.toml", format!("{LAKE}{NOTE}{content}{REST}")),
            "config" => ("lakegate.toml", content.clone()),
            other => (other, content.clone()),
        };
        write_files(folder.path(), &[(path, &content)]);
    }
    folder
}

async fn findings(folder: &Path) -> String {
    match project::load(folder, None).await {
        Ok(_) => "none\n".to_owned(),
        Err(ProjectError::Faulty(findings)) => findings.iter().map(|finding| format!("{finding}\n")).collect(),
        Err(other) => format!("not checked: {other}\n"),
    }
}

#[tokio::test]
async fn every_fault_has_its_place_what_is_wrong_and_what_to_do() {
    let update = std::env::var_os("LAKEGATE_UPDATE_CASES").is_some();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/check");
    let mut wrong = String::new();
    let mut paths = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "case"));
    paths.sort();
    assert!(paths.len() > 5, "the cases are gone");
    for path in paths {
        let mut cases = parse(&std::fs::read_to_string(&path).unwrap());
        for case in &mut cases {
            let got = findings(folder_of(case).path()).await;
            if got != case.findings {
                wrong += &format!("{} | {}\nexpected:\n{}got:\n{got}\n", path.display(), case.name, case.findings);
                case.findings = got;
            }
        }
        if update {
            std::fs::write(&path, written(&cases)).unwrap();
        }
    }
    assert!(update || wrong.is_empty(), "LAKEGATE_UPDATE_CASES=1 rewrites what is expected\n{wrong}");
}

fn default_project() -> TempDir {
    folder_of(&Case { name: String::new(), files: Vec::new(), findings: String::new() })
}

async fn check(prepare: impl FnOnce(&Path)) -> String {
    let folder = default_project();
    prepare(folder.path());
    let found = findings(folder.path()).await;
    let place = folder.path().display().to_string();
    assert!(!found.contains(&place), "no finding names a place of the machine: {found}");
    found
}

#[tokio::test]
async fn a_link_out_of_the_lake_is_refused_and_one_within_is_followed() {
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("note.csv"), "id,tenant\n1,A\n").unwrap();
        let found = check(|folder| {
            std::fs::remove_file(folder.join("lake/note.csv")).unwrap();
            std::os::unix::fs::symlink(outside.path().join("note.csv"), folder.join("lake/note.csv")).unwrap();
        })
        .await;
        insta::assert_snapshot!(found, @"lakegate.toml:4:12: table `note`: `note.csv` leads out of the lake; a table's files, and what links among them point to, lie below the lake's location");
        let found = check(|folder| {
            std::fs::remove_file(folder.join("lake/note.csv")).unwrap();
            std::os::unix::fs::symlink(outside.path(), folder.join("lake/note")).unwrap();
            let config = format!("{LAKE}[tables.note]\nlocation = \"note/\"\nrow_filter = \"{FILTER}\"\n{REST}");
            write_files(folder, &[("lakegate.toml", &config)]);
        })
        .await;
        insta::assert_snapshot!(found, @"lakegate.toml:4:12: table `note`: `note/note.csv` leads out of the lake; a table's files, and what links among them point to, lie below the lake's location");
        let found = check(|folder| {
            std::fs::rename(folder.join("lake/note.csv"), folder.join("lake/old.csv")).unwrap();
            std::os::unix::fs::symlink("old.csv", folder.join("lake/note.csv")).unwrap();
        })
        .await;
        assert_eq!(found, "none\n");
    }
}

#[tokio::test]
async fn a_corrupt_parquet_file_is_named() {
    let config = format!("{LAKE}[tables.note]\nlocation = \"note/\"\nrow_filter = \"{FILTER}\"\n{REST}");
    let corrupt: &[&[u8]] =
        &[b"this is no Parquet file at all", b"PAR1", b"PAR1\xff\xff\xff\xff\xff\xff\xff\x7fPAR1", &[0; 4096]];
    for bytes in corrupt {
        let found = check(|folder| {
            write_files(folder, &[("lakegate.toml", &config), ("lake/note/readme.txt", "")]);
            std::fs::write(folder.join("lake/note/b.parquet"), bytes).unwrap();
        })
        .await;
        assert!(found.starts_with("lakegate.toml:4:12: table `note`: "), "{found}");
        assert!(found.contains("cannot be read as parquet"), "{found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}

#[test]
fn check_says_the_same_in_json_and_by_its_exit_code() {
    let project = binary::Project::new();
    let good = default_project();
    for name in ["lakegate.toml", "endpoints/e.sql", "lake/note.csv", "lake/line.csv", "lake/city.csv"] {
        project.write(name, std::fs::read(good.path().join(name)).unwrap());
    }
    assert_eq!(project.ok(&["check"]), "the project is good: 1 endpoints over 3 tables\n");
    assert_eq!(project.json(&["check"]), json!({ "ok": true, "endpoints": 1, "tables": 3, "findings": [] }));

    project.write("endpoints/e.sql", format!("{FRONT_MATTER}SELECT id, twn FROM note"));
    project.write("endpoints/f.sql", format!("{FRONT_MATTER}SELECT id FROM nte"));
    let ran = project.run(&["check"]);
    assert_eq!(ran.code, Some(1));
    insta::assert_snapshot!(ran.stdout, @"
    endpoints/e.sql:4:12: there is no column `twn`; known: `id`, `tenant`, `text`, `salary`, `day`, `at`
    endpoints/f.sql:4:16: there is no table `nte`; did you mean `note`?
    ");
    assert_eq!(ran.stderr, "2 faults to mend\n");
    let ran = project.run(&["check", "--json"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""));
    let report = serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(report["findings"].as_array().unwrap().len(), 2);
    assert_eq!(
        report["findings"][1],
        json!({ "path": "endpoints/f.sql", "line": 4, "column": 16, "message": "there is no table `nte`", "help": "did you mean `note`?" })
    );
    // Faults that are not findings go to stderr, and also fail.
    let elsewhere = project.run(&["check", "--project", "nowhere"]);
    assert_eq!((elsewhere.code, elsewhere.stdout.as_str()), (Some(1), ""));
    assert!(elsewhere.stderr.contains("lakegate init"), "{}", elsewhere.stderr);
}
