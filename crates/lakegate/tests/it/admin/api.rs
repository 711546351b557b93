//! The admin API does what the commands do: tests each route, its response, and the state afterwards.

use lakegate_core::access::{EndpointPattern, Grantee};
use serde_json::{Value as Json, json};

use crate::support::app::{Answer, TestApp};

/// A project with a shared table and two endpoints for it.
pub(crate) const FILES: &[(&str, &str)] = &[
    ("lakegate.toml", "[lake]\nlocation = \"lake/\"\n\n[tables.city]\nlocation = \"city.csv\"\nshared = true\n"),
    ("lake/city.csv", "id,name\n1,Berlin\n2,Paris\n"),
    ("endpoints/cities.sql", "/*---\nsummary = \"Cities\"\n---*/\nSELECT id, name FROM city ORDER BY id\n"),
    (
        "endpoints/inside.sql",
        "/*---\nsummary = \"Not for all\"\nhidden = true\n\n[params.id]\ntype = \"integer\"\nrequired = true\n---*/\nSELECT name FROM city WHERE id = $id\n",
    ),
];

/// Asserts a successful response with this status, and returns its body.
#[track_caller]
fn good(answer: Answer, status: u16) -> Json {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "private, no-store");
    assert!(answer.headers.contains_key("x-request-id"));
    answer.json()
}

#[tokio::test]
async fn principals_are_added_shown_changed_disabled_and_enabled() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    let new = json!({
        "name": "acme",
        "attributes": { "client_id": 4562, "code": "007", "since": "2022-10-01", "ids": [] },
        "attribute_types": { "since": "date", "ids": "integer[]" },
        "roles": ["client"],
    });
    let added = good(app.admin(&admin, "POST", "/admin/principals", new).await, 201);
    assert_eq!(added["name"], "acme");
    assert_eq!(added["attributes"], json!({ "client_id": 4562, "code": "007", "ids": [], "since": "2022-10-01" }));
    assert_eq!(
        added["attribute_types"],
        json!({ "client_id": "integer", "code": "string", "ids": "integer[]", "since": "date" })
    );
    assert_eq!((&added["roles"], &added["disabled_at"]), (&json!(["client"]), &Json::Null));

    let shown = good(app.admin(&admin, "GET", "/admin/principals/acme", Json::Null).await, 200);
    assert_eq!(
        (&shown["attributes"], &shown["tokens"], &shown["grants"]),
        (&added["attributes"], &json!([]), &json!([]))
    );

    let change = json!({ "attributes": { "client_id": 1 }, "remove_attributes": ["code"], "add_roles": ["eu"] });
    let changed = good(app.admin(&admin, "PATCH", "/admin/principals/acme", change).await, 200);
    assert_eq!(changed["attributes"], json!({ "client_id": 1, "ids": [], "since": "2022-10-01" }));
    assert_eq!(changed["roles"], json!(["client", "eu"]));

    let disabled = good(app.admin(&admin, "POST", "/admin/principals/acme/disable", Json::Null).await, 200);
    assert!(disabled["disabled_at"].is_string());
    let enabled = good(app.admin(&admin, "POST", "/admin/principals/acme/enable", json!({})).await, 200);
    assert_eq!(enabled["disabled_at"], Json::Null);

    let names = |json: Json| json.as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(good(app.admin(&admin, "GET", "/admin/principals", Json::Null).await, 200)), ["acme", "alice"]);
    let filtered = app.admin(&admin, "GET", "/admin/principals?role=eu", Json::Null).await;
    assert_eq!(names(good(filtered, 200)), ["acme"]);
}

#[tokio::test]
async fn a_token_is_issued_once_used_rotated_and_revoked() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    app.add_principal("acme", "client", &[]).await;
    app.grant(Grantee::Principal("acme".to_owned()), EndpointPattern::All, None).await;

    let request =
        json!({ "principal": "acme", "label": "nightly", "expires_in": "90d", "scope": { "endpoints": ["cities"] } });
    let issued = good(app.admin(&admin, "POST", "/admin/tokens", request).await, 201);
    let text = issued["token"].as_str().unwrap().to_owned();
    assert_eq!((&issued["state"], &issued["label"]), (&json!("active"), &json!("nightly")));
    assert_eq!(issued["scope"], json!({ "endpoints": ["cities"] }));
    assert!(issued["expires_at"].is_string() && issued["admin"] == false);
    assert_eq!(app.get(&text, "/api/cities").await.rows().len(), 2);
    assert_eq!(app.get(&text, "/api/inside?id=1").await.problem().0, 404);

    let listed = good(app.admin(&admin, "GET", "/admin/tokens?principal=acme", Json::Null).await, 200);
    assert_eq!(listed[0]["id"], issued["id"]);
    assert!(listed[0].get("token").is_none() && !listed.to_string().contains(text.rsplit('_').next().unwrap()));

    let path = format!("/admin/tokens/{}/rotate", issued["id"].as_str().unwrap());
    let rotated = good(app.admin(&admin, "POST", &path, json!({ "grace": "1h" })).await, 201);
    let successor = rotated["token"].as_str().unwrap().to_owned();
    assert_eq!((&rotated["label"], &rotated["scope"]), (&issued["label"], &issued["scope"]));
    for token in [&text, &successor] {
        assert_eq!(app.get(token, "/api/cities").await.status, 200);
    }

    let path = format!("/admin/tokens/{}/revoke", rotated["id"].as_str().unwrap());
    for _ in 0..2 {
        let revoked = good(app.admin(&admin, "POST", &path, Json::Null).await, 200);
        assert_eq!(revoked["state"], "revoked");
        assert_eq!(app.get(&successor, "/api/cities").await.problem(), (401, "access_token_revoked".to_owned()));
    }
    let active = good(app.admin(&admin, "GET", "/admin/tokens?principal=acme&active=true", Json::Null).await, 200);
    assert_eq!(active.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn grants_are_added_shown_listed_and_revoked() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    app.add_principal("acme", "client", &[]).await;
    let token = app.token("acme", None).await;
    assert_eq!(app.get(&token, "/api/cities").await.problem().0, 403);

    let new = json!({ "role": "client", "endpoint": "cities", "terms": { "columns": ["id", "name"] } });
    let added = good(app.admin(&admin, "POST", "/admin/grants", new.clone()).await, 201);
    assert_eq!(
        (&added["role"], &added["principal"], &added["effect"]),
        (&json!("client"), &Json::Null, &json!("allow"))
    );
    assert_eq!((&added["terms"], &added["state"]), (&new["terms"], &json!("active")));
    assert_eq!(app.get(&token, "/api/cities").await.rows().len(), 2);
    // Repeating the request changes nothing, and the status shows it.
    assert_eq!(good(app.admin(&admin, "POST", "/admin/grants", new).await, 200), added);

    let denial = json!({ "principal": "acme", "endpoint": "*", "effect": "deny", "expires_at": "2999-01-01" });
    let denied = good(app.admin(&admin, "POST", "/admin/grants", denial).await, 201);
    assert_eq!((&denied["effect"], &denied["expires_at"]), (&json!("deny"), &json!("2999-01-01T00:00:00Z")));
    assert_eq!(app.get(&token, "/api/cities").await.problem().0, 403);

    let path = format!("/admin/grants/{}", denied["id"].as_str().unwrap());
    assert_eq!(good(app.admin(&admin, "GET", &path, Json::Null).await, 200), denied);
    let revoked = good(app.admin(&admin, "POST", &format!("{path}/revoke"), Json::Null).await, 200);
    assert_eq!(revoked["state"], "revoked");
    assert_eq!(app.get(&token, "/api/cities").await.status, 200);

    let ids = |json: Json| json.as_array().unwrap().iter().map(|one| one["id"].clone()).collect::<Vec<_>>();
    for (query, expected) in [
        ("", vec![&added]),
        ("?all=true", vec![&denied, &added]),
        ("?role=client", vec![&added]),
        ("?principal=acme", vec![]),
        ("?principal=acme&all=true", vec![&denied]),
        ("?endpoint=*&all=true", vec![&denied]),
    ] {
        let found = good(app.admin(&admin, "GET", &format!("/admin/grants{query}"), Json::Null).await, 200);
        let expected: Vec<Json> = expected.into_iter().map(|grant| grant["id"].clone()).collect();
        assert_eq!(ids(found), expected, "{query}");
    }
}

#[tokio::test]
async fn endpoints_are_listed_also_hidden_ones() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    let endpoints = good(app.admin(&admin, "GET", "/admin/endpoints", Json::Null).await, 200);
    assert_eq!(
        endpoints,
        json!([
            {
                "name": "cities", "summary": "Cities", "hidden": false, "parameters": [],
                "columns": [{ "name": "id", "type": "integer" }, { "name": "name", "type": "string" }],
            },
            {
                "name": "inside", "summary": "Not for all", "hidden": true,
                "parameters": [{ "name": "id", "type": "integer", "required": true }],
                "columns": [{ "name": "name", "type": "string" }],
            },
        ])
    );
}

#[tokio::test]
async fn changes_are_listed_page_by_page_with_who_made_them() {
    let app = TestApp::project(FILES).await;
    let admin = app.admin_token("alice").await;
    for name in ["a", "b", "c"] {
        good(app.admin(&admin, "POST", "/admin/principals", json!({ "name": name })).await, 201);
    }
    let page = good(app.admin(&admin, "GET", "/admin/changes?limit=2", Json::Null).await, 200);
    let names = |page: &Json| {
        page.as_array().unwrap().iter().map(|change| change["detail"]["principal"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["c", "b"]);
    let actor = format!("admin:alice:{}", admin.split('_').nth(1).unwrap());
    assert_eq!((&page[0]["actor"], &page[0]["action"]), (&json!(actor), &json!("principal.add")));
    assert_eq!(page[0]["detail"], json!({ "principal": "c", "after": { "attributes": {}, "roles": [] } }));
    assert!(page[0]["at"].as_str().unwrap().ends_with('Z'));
    let next = format!("/admin/changes?before={}", page[1]["id"]);
    let page = good(app.admin(&admin, "GET", &next, Json::Null).await, 200);
    // The principal and the token of the test itself.
    assert_eq!(names(&page), ["a", "alice", "alice"]);
    assert_eq!(page[1]["actor"], "cli:test");
}
