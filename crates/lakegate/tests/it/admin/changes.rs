//! Each change of the access store leaves one row with its actor, through every interface, and without secrets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate::store::{ChangeRecord, Store, StoreLocation};
use serde_json::{Value as Json, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row};

use crate::admin::api::FILES;
use crate::support::app::TestApp;
use crate::support::binary::Project;

/// A change without its time.
fn said(change: &ChangeRecord) -> (&str, &str, &Json) {
    (&change.actor, &change.action, &change.detail)
}

async fn newest_first(store: &Store) -> Vec<ChangeRecord> {
    store.change_log(1_000, None).await.unwrap()
}

#[tokio::test]
async fn each_request_of_the_api_leaves_one_row_by_its_admin() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    let actor = format!("admin:alice:{}", admin.split('_').nth(1).unwrap());
    let mut rows = newest_first(&app.store).await.len();

    let mut id = (String::new(), String::new());
    let steps: &[(&str, &str, Json, Option<&str>)] = &[
        (
            "POST",
            "/admin/principals",
            json!({ "name": "acme", "attributes": { "pin": 1234, "client_id": 7 } }),
            Some("principal.add"),
        ),
        (
            "PATCH",
            "/admin/principals/acme",
            json!({ "attributes": { "pin": 9876, "client_id": 8 } }),
            Some("principal.change"),
        ),
        ("PATCH", "/admin/principals/acme", json!({ "attributes": { "pin": 9876, "client_id": 8 } }), None),
        ("POST", "/admin/principals/acme/disable", Json::Null, Some("principal.disable")),
        ("POST", "/admin/principals/acme/disable", Json::Null, None),
        ("POST", "/admin/principals/acme/enable", Json::Null, Some("principal.enable")),
        ("POST", "/admin/principals/acme/enable", Json::Null, None),
        ("POST", "/admin/tokens", json!({ "principal": "acme", "label": "one" }), Some("token.issue")),
        ("POST", "/admin/tokens/TOKEN/rotate", json!({ "grace": "1h" }), Some("token.rotate")),
        ("POST", "/admin/tokens/TOKEN/revoke", Json::Null, Some("token.revoke")),
        ("POST", "/admin/tokens/TOKEN/revoke", Json::Null, None),
        ("POST", "/admin/grants", json!({ "principal": "acme", "endpoint": "cities" }), Some("grant.add")),
        ("POST", "/admin/grants", json!({ "principal": "acme", "endpoint": "cities" }), None),
        ("POST", "/admin/grants/GRANT/revoke", Json::Null, Some("grant.revoke")),
        ("POST", "/admin/grants/GRANT/revoke", Json::Null, None),
        ("GET", "/admin/principals/acme", Json::Null, None),
        ("GET", "/admin/tokens", Json::Null, None),
        ("GET", "/admin/changes", Json::Null, None),
    ];
    let mut secrets = vec!["1234".to_owned(), "9876".to_owned()];
    for (method, path, body, action) in steps {
        let path = path.replace("TOKEN", &id.0).replace("GRANT", &id.1);
        let answer = app.admin(&admin, method, &path, body.clone()).await;
        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
        let answer = answer.json();
        if let Some(text) = answer.get("token").and_then(Json::as_str) {
            secrets.push(text.rsplit('_').next().unwrap().to_owned());
            id.0 = answer["id"].as_str().unwrap().to_owned();
        }
        if path.starts_with("/admin/grants") {
            id.1 = answer["id"].as_str().unwrap().to_owned();
        }
        let changes = newest_first(&app.store).await;
        assert_eq!(changes.len(), rows + usize::from(action.is_some()), "{method} {path}");
        rows = changes.len();
        if let Some(action) = action {
            assert_eq!((changes[0].actor.as_str(), changes[0].action.as_str()), (actor.as_str(), *action));
        }
    }
    let changes = newest_first(&app.store).await;
    let change = changes.iter().find(|change| change.action == "principal.change").unwrap();
    assert_eq!(
        change.detail,
        json!({
            "principal": "acme",
            "before": { "attributes": { "client_id": 7, "pin": "***" } },
            "after": { "attributes": { "client_id": 8, "pin": "***" } },
        })
    );
    let rotation = changes.iter().find(|change| change.action == "token.rotate").unwrap();
    assert_eq!(rotation.detail["successor"]["token"], json!(id.0));
    assert_eq!(rotation.detail["before"]["expires_at"], Json::Null);
    assert!(rotation.detail["after"]["expires_at"].is_string() && rotation.detail["after"]["revoked_at"].is_null());

    // The table contains no secret: no attribute value, no token, no token hash.
    let path = app.folder.path().join("access.db");
    let mut raw = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    for row in sqlx::query("SELECT hex(hash) AS hash FROM tokens").fetch_all(&mut raw).await.unwrap() {
        secrets.push(row.get::<String, _>("hash").to_ascii_lowercase());
    }
    let details: Vec<String> = sqlx::query_scalar("SELECT detail FROM changes").fetch_all(&mut raw).await.unwrap();
    for detail in details {
        assert!(!secrets.iter().any(|secret| detail.to_ascii_lowercase().contains(secret)), "{detail}");
    }
}

#[tokio::test]
async fn each_command_leaves_one_row_by_its_user() {
    let project = Project::new();
    project.write("lakegate.toml", "[access]\nstore = \"sqlite:access.db\"\nsecret_attributes = [\"pin\"]\n");
    let store = Store::open(&StoreLocation::parse("sqlite:access.db", project.path()).unwrap()).await.unwrap();
    let mut rows = 0;
    let mut id = String::new();
    let steps: &[(&[&str], Option<&str>)] = &[
        (&["principal", "add", "acme", "--attribute", "pin=1234", "--role", "client"], Some("principal.add")),
        (&["principal", "set", "acme", "--attribute", "pin=9876", "--remove-role", "client"], Some("principal.change")),
        (&["principal", "disable", "acme"], Some("principal.disable")),
        (&["principal", "disable", "acme"], None),
        (&["principal", "enable", "acme"], Some("principal.enable")),
        (&["token", "issue", "acme"], Some("token.issue")),
        (&["token", "rotate", "ID"], Some("token.rotate")),
        (&["token", "revoke", "ID"], Some("token.revoke")),
        (&["token", "revoke", "ID"], None),
        (&["grant", "add", "--principal", "acme", "--endpoint", "*"], Some("grant.add")),
        (&["grant", "add", "--principal", "acme", "--endpoint", "*"], None),
        (&["grant", "revoke", "ID"], Some("grant.revoke")),
        (&["grant", "deny", "--role", "client", "--endpoint", "*"], Some("grant.add")),
        (&["principal", "show", "acme"], None),
    ];
    let mut actors = Vec::new();
    for (arguments, action) in steps {
        let arguments: Vec<String> =
            arguments.iter().map(|word| if *word == "ID" { id.clone() } else { (*word).to_owned() }).collect();
        let answer = project.json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        id = answer["id"].as_str().unwrap_or_default().to_owned();
        let changes = newest_first(&store).await;
        assert_eq!(changes.len(), rows + usize::from(action.is_some()), "{arguments:?}");
        rows = changes.len();
        if let Some(action) = action {
            assert_eq!(changes[0].action, *action);
            actors.push(changes[0].actor.clone());
        }
    }
    actors.dedup();
    assert_eq!(actors.len(), 1, "{actors:?}");
    assert!(actors[0].strip_prefix("cli:").is_some_and(|user| !user.is_empty()), "{actors:?}");
    let changes = newest_first(&store).await;
    assert_eq!(
        changes[changes.len() - 2].detail,
        json!({
            "principal": "acme",
            "before": { "attributes": { "pin": "***" }, "roles": ["client"] },
            "after": { "attributes": { "pin": "***" }, "roles": [] },
        })
    );
}

/// Without a project, the secret attributes are unknown, so every attribute is masked.
#[tokio::test]
async fn without_a_project_no_attribute_is_written_down() {
    let project = Project::new();
    std::fs::remove_file(project.path().join("lakegate.toml")).unwrap();
    project.ok(&["principal", "add", "acme", "--attribute", "client_id=7", "--store", "sqlite:other.db"]);
    let store = Store::open(&StoreLocation::parse("sqlite:other.db", project.path()).unwrap()).await.unwrap();
    let changes = newest_first(&store).await;
    assert_eq!(said(&changes[0]).2["after"]["attributes"], json!({ "client_id": "***" }));
}

#[tokio::test]
async fn an_import_is_one_change_that_names_what_was_added() {
    let project = Project::new();
    project.write(
        "table.csv",
        "id,enterpriseKey,orders,cities\n1,secret-key-one,true,false\n2,secret-key-two,true,true\n",
    );
    project.ok(&["access", "import", "table.csv", "--dry-run"]);
    let store = Store::open(&StoreLocation::parse("sqlite:access.db", project.path()).unwrap()).await.unwrap();
    assert_eq!(newest_first(&store).await.len(), 0);
    project.ok(&["access", "import", "table.csv"]);
    project.ok(&["access", "import", "table.csv"]);
    let changes = newest_first(&store).await;
    assert_eq!(changes.len(), 1);
    let (actor, action, detail) = said(&changes[0]);
    assert!(actor.starts_with("cli:") && action == "access.import");
    assert_eq!(
        (&detail["principals_added"], &detail["tokens_added"], &detail["grants_added"]),
        (&json!(2), &json!(2), &json!(3))
    );
    assert_eq!(detail["added"]["client-2"]["endpoints"], json!(["cities", "orders"]));
    assert!(!detail.to_string().contains("secret-key"), "{detail}");
}
