//! Tenant keys in text files: two different keys stay different, even if they look like one number.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate_core::value::{Scalar, Value};
use serde_json::json;

use crate::support::app::{NOTHING_IN_MEMORY, TestApp, write_files};

const CONFIG: &str = "[lake]\nlocation = \"lake\"\n[tables.visit]\nlocation = \"visit\"\n\
                      row_filter = \"tenant = principal('tenant')\"\n";
const VISITS: &str = "/*---\nsummary = \"s\"\n---*/\nSELECT what FROM visit ORDER BY what";

async fn app(files: &[(&str, &str)]) -> TestApp {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{CONFIG}{NOTHING_IN_MEMORY}");
    write_files(folder.path(), &[("lakegate.toml", &config), ("endpoints/visits.sql", VISITS)]);
    write_files(folder.path(), files);
    TestApp::serve(folder).await
}

/// The rows that a caller with this tenant sees.
async fn seen(app: &TestApp, name: &str, tenant: Scalar) -> Result<Vec<String>, u16> {
    app.add_principal(name, "client", &[("tenant", Value::Scalar(tenant))]).await;
    app.add_terms(
        lakegate_core::access::Effect::Allow,
        lakegate_core::access::Grantee::Principal(name.to_owned()),
        "*",
        &json!({}),
    )
    .await;
    let answer = app.get(&app.token(name, None).await, "/api/visits").await;
    match answer.status {
        200 => Ok(answer.rows().iter().map(|row| row["what"].as_str().unwrap().to_owned()).collect()),
        status => Err(status),
    }
}

#[tokio::test]
async fn codes_that_look_like_numbers_are_text() {
    for (text, keys) in [
        ("tenant,what\n7,of 7\n007,of 007\n", ["7", "007"]),
        ("tenant,what\n100,of 100\n1E2,of 1E2\n", ["100", "1E2"]),
        (
            "tenant,what\n9007199254740992,of 9007199254740992\n9007199254740993,of 9007199254740993\n1.5,x\n",
            ["9007199254740992", "9007199254740993"],
        ),
    ] {
        let app = app(&[("lake/visit/a.csv", text)]).await;
        for key in keys {
            assert_eq!(seen(&app, key, Scalar::String(key.to_owned())).await, Ok(vec![format!("of {key}")]), "{key}");
        }
    }
    // Also when the keys are in different files.
    let app =
        app(&[("lake/visit/a.csv", "tenant,what\n7,of 7\n"), ("lake/visit/b.csv", "tenant,what\n007,of 007\n")]).await;
    for key in ["7", "007"] {
        assert_eq!(seen(&app, key, Scalar::String(key.to_owned())).await, Ok(vec![format!("of {key}")]), "{key}");
    }
}

/// A new file that would turn the large keys of a served table into doubles is refused.
#[tokio::test]
async fn large_keys_do_not_become_one_when_a_fraction_comes() {
    let (one, other) = (9_007_199_254_740_992_i64, 9_007_199_254_740_993_i64);
    for (extension, before, fraction) in [
        ("csv", format!("tenant,what\n{one},of one\n{other},of other\n"), "tenant,what\n1.0,new\n"),
        (
            "ndjson",
            format!("{{\"tenant\":{one},\"what\":\"of one\"}}\n{{\"tenant\":{other},\"what\":\"of other\"}}\n"),
            "{\"tenant\":1.0,\"what\":\"new\"}\n",
        ),
    ] {
        let app = app(&[(&format!("lake/visit/a.{extension}"), &before)]).await;
        assert_eq!(seen(&app, "one", Scalar::Integer(one)).await, Ok(vec!["of one".to_owned()]));
        write_files(app.folder.path(), &[(&format!("lake/visit/b.{extension}"), fraction)]);
        let _ = lakegate::reload::refresh(&app.app).await;
        let after = seen(&app, "again", Scalar::Integer(one)).await;
        assert!(after.as_ref().map_or(true, |rows| *rows == ["of one"]), "{extension}: {after:?}");
    }
}

/// A row filter never compares 64-bit integers as doubles, because two of them may round to one double.
#[tokio::test]
async fn keys_of_a_parent_are_not_compared_as_doubles() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[lake]\nlocation = \"lake\"\n[tables.parent]\nlocation = \"parent.csv\"\n\
                  row_filter = \"tenant = principal('tenant')\"\n[tables.child]\nlocation = \"child.csv\"\n\
                  row_filter = \"parent_id IN (SELECT id FROM parent)\"\n";
    write_files(
        folder.path(),
        &[
            ("lakegate.toml", config),
            ("endpoints/children.sql", "/*---\nsummary = \"s\"\n---*/\nSELECT what FROM child"),
            ("lake/parent.csv", "id,tenant\n9007199254740992,1\n9007199254740993,2\n"),
            ("lake/child.csv", "parent_id,what\n1.5,x\n"),
        ],
    );
    let error = lakegate::project::load(folder.path(), None).await.unwrap_err().to_string();
    assert!(error.contains("two of them may be one"), "{error}");
}
