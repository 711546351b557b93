//! Column grants: a column that a grant does not show appears in no row, documentation, modifier or error.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate_core::access::{Effect, Grantee};
use serde_json::{Value as Json, json};

use crate::support::app::TestApp;
use crate::support::eventually::eventually_async;

const CONFIG: &str = r#"
[lake]
location = "lake"
[tables.sale]
location = "sale.csv"
row_filter = "client_id IN (principal('client_id'))"
"#;

const SALES: &str =
    "id,client_id,product,price,secret\n1,1,pen,2,alpha\n2,1,ink,9,beta\n3,1,cap,5,gamma\n4,2,pen,7,delta\n";

fn endpoint(columns: &str) -> String {
    format!("/*---\nsummary = \"Sales\"\n---*/\nSELECT {columns} FROM sale ORDER BY id")
}

async fn app(columns: &str) -> TestApp {
    TestApp::project(&[
        ("lakegate.toml", CONFIG),
        ("lake/sale.csv", SALES),
        ("endpoints/sales.sql", &endpoint(columns)),
        ("endpoints/others.sql", "/*---\nsummary = \"Others\"\n---*/\nSELECT DISTINCT product AS name FROM sale"),
    ])
    .await
}

/// The columns that `GET /api` lists for the endpoint; `None` when the endpoint is not listed.
async fn listed(app: &TestApp, token: &str) -> Option<Vec<String>> {
    let listed = app.get(token, "/api").await.json();
    let endpoint = listed["endpoints"].as_array()?.iter().find(|endpoint| endpoint["name"] == "sales")?.clone();
    Some(endpoint["columns"].as_array()?.iter().map(|column| column["name"].as_str().unwrap().to_owned()).collect())
}

#[tokio::test]
async fn a_grant_shows_the_columns_that_it_lists_and_nothing_of_others() {
    let app = app("id, product, price, secret").await;
    let narrow = app.admit_with("narrow", "sales", &[json!({ "columns": ["id", "price"] })]).await;
    let answer = app.get(&narrow, "/api/sales").await;
    assert_eq!(answer.text(), r#"[{"id":1,"price":2},{"id":2,"price":9},{"id":3,"price":5}]"#);
    assert_eq!(listed(&app, &narrow).await.unwrap(), ["id", "price"]);
    assert!(!app.get(&narrow, "/api").await.text().contains("secret"));

    // A hidden column and a missing one are refused with the same message.
    for modifier in ["select", "order"] {
        let refusal = async |name: &str| {
            let answer = app.get(&narrow, &format!("/api/sales?{modifier}={name}")).await;
            assert_eq!(answer.problem(), (400, "arguments_invalid".to_owned()));
            let mut problem = answer.json();
            problem["request_id"] = Json::Null;
            problem.to_string().replace(name, "NAME")
        };
        let (hidden, missing) = (refusal("secret").await, refusal("sucret").await);
        assert_eq!(hidden, missing);
        assert!(hidden.contains("known: `id`, `price`"), "{hidden}");
    }
    let whole = app.admit_with("whole", "sales", &[json!({})]).await;
    assert_eq!(
        app.get(&whole, "/api/sales").await.rows()[0],
        json!({ "id": 1, "product": "pen", "price": 2, "secret": "alpha" })
    );
}

#[tokio::test]
async fn select_and_order_choose_among_the_shown_columns() {
    let app = app("id, product, price, secret").await;
    let token = app.admit_with("narrow", "sales", &[json!({ "columns": ["id", "product", "price"] })]).await;
    for (query, wanted) in [
        ("select=price,id", r#"[{"price":2,"id":1},{"price":9,"id":2},{"price":5,"id":3}]"#),
        ("select=id&order=price.desc", r#"[{"id":2},{"id":3},{"id":1}]"#),
        ("select=product&order=product.asc", r#"[{"product":"cap"},{"product":"ink"},{"product":"pen"}]"#),
        ("order=product,price&select=id", r#"[{"id":3},{"id":2},{"id":1}]"#),
    ] {
        assert_eq!(app.get(&token, &format!("/api/sales?{query}")).await.text(), wanted, "{query}");
        assert_eq!(app.post(&token, &format!("/api/sales?{query}"), &json!({})).await.text(), wanted, "{query}");
    }
    for query in [
        "select=",
        "select=,",
        "select=id,",
        "select=id,id",
        "select=*",
        "select=ID",
        "select=id&select=id",
        "order=",
        "order=.desc",
        "order=id.up",
        "order=id%20desc",
        "order=1",
        "select=id;--",
        "select=%22id%22",
        "select=id%20AS%20x",
        "order=price.desc&order=id",
        "select=price)%20FROM%20sale--",
    ] {
        let answer = app.get(&token, &format!("/api/sales?{query}")).await;
        assert_eq!(answer.problem(), (400, "arguments_invalid".to_owned()), "{query}: {}", answer.text());
        assert!(!answer.text().contains("secret"), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn grants_add_up_and_a_denial_wins() {
    let app = app("id, product, price, secret").await;
    let both = app.admit_with("both", "sales", &[json!({ "columns": ["id"] })]).await;
    app.add_terms(Effect::Allow, Grantee::Role("client".to_owned()), "sales", &json!({ "columns": ["price", "gone"] }))
        .await;
    assert_eq!(listed(&app, &both).await.unwrap(), ["id", "price"]);
    app.add_terms(Effect::Allow, Grantee::Role("client".to_owned()), "*", &json!({})).await;
    assert_eq!(listed(&app, &both).await.unwrap(), ["id", "product", "price", "secret"]);
    app.add_terms(Effect::Deny, Grantee::Principal("both".to_owned()), "*", &json!({ "columns": ["secret", "price"] }))
        .await;
    assert_eq!(listed(&app, &both).await.unwrap(), ["id", "product"]);
    assert_eq!(app.get(&both, "/api/sales").await.rows()[0], json!({ "id": 1, "product": "pen" }));
    assert_eq!(app.get(&both, "/api/sales?select=secret").await.status, 400);
    app.add_terms(Effect::Deny, Grantee::Role("client".to_owned()), "sales", &json!({})).await;
    assert_eq!(listed(&app, &both).await, None);
    assert_eq!(app.get(&both, "/api/sales").await.problem(), (403, "access_not_granted".to_owned()));
    assert_eq!(app.get(&both, "/api/others").await.status, 200);
}

#[tokio::test]
async fn a_grant_of_columns_that_are_not_there_gives_nothing() {
    let app = app("id, product, price, secret").await;
    let token = app.admit_with("old", "sales", &[json!({ "columns": ["renamed_since"] })]).await;
    assert_eq!(listed(&app, &token).await, None);
    let answer = app.get(&token, "/api/sales").await;
    assert_eq!(answer.problem(), (403, "access_not_granted".to_owned()));
    for column in ["id", "product", "price", "secret", "renamed_since"] {
        assert!(!answer.text().contains(&format!("`{column}`")), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_new_column_is_not_visible_to_a_grant_with_a_list() {
    for (columns, wanted) in [("id, price", vec!["id", "price"]), ("*", vec!["id", "price"])] {
        let app = app(columns).await;
        let token = app.admit_with("listed", "sales", &[json!({ "columns": ["id", "price"] })]).await;
        assert_eq!(listed(&app, &token).await.unwrap(), wanted);
        assert_eq!(app.get(&token, "/api/sales").await.rows()[0], json!({ "id": 1, "price": 2 }));
    }
}

#[tokio::test]
async fn the_command_line_gives_and_takes_columns() {
    let app = app("id, product, price, secret").await;
    let token = app.admit_with("acme", "others", &[json!({})]).await;
    let run = |arguments: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lakegate"));
        let ran = command.args(arguments.split(' ')).arg("--project").arg(app.folder.path()).output().unwrap();
        (ran.status.success(), String::from_utf8(ran.stdout).unwrap() + &String::from_utf8(ran.stderr).unwrap())
    };
    let (done, said) = run("grant add --principal acme --endpoint sales --column id --column secret --max-rows 100");
    assert!(done && said.contains("may call endpoint `sales` with columns=id,secret rows<=100"), "{said}");
    let (done, said) = run("grant deny --role client --endpoint * --column secret");
    assert!(done && said.contains("columns=secret"), "{said}");
    let mut answer = app.get(&token, "/api/sales").await;
    eventually_async("the changes of the other process take effect", async || {
        answer = app.get(&token, "/api/sales").await;
        answer.status == 200 && !answer.text().contains("secret")
    })
    .await;
    assert_eq!(answer.rows()[0], json!({ "id": 1 }));
    let (done, said) = run("grant list");
    assert!(done && said.contains("columns=id,secret rows<=100") && said.contains("denied columns=secret"), "{said}");
    for wrong in [
        "grant add --principal acme --endpoint sales --unmask pii",
        "grant add --principal acme --endpoint sales --fix a",
        "grant add --principal acme --endpoint sales --max-span a..b=x",
        "grant add --principal acme --endpoint sales --fix a=1 --fix a=2",
        "grant add --principal acme --endpoint sales --fix a=1 --fix-attribute a=client_id",
        "grant add --principal acme --endpoint sales --max-rows 0",
        "grant deny --principal acme --endpoint sales --max-rows 1",
    ] {
        assert!(!run(wrong).0, "{wrong}");
    }
}
