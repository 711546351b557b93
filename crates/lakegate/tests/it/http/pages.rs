//! Parts of a result: `limit` and `offset`, pages with cursors, and the total row count.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value as Json, json};

use crate::support::app::{Answer, NOTHING_IN_MEMORY, TestApp};

const CONFIG: &str = r#"
[lake]
location = "lake"
[tables.sale]
location = "sale.csv"
row_filter = "client_id IN (principal('client_id'))"
"#;

/// Rows of two clients. Many rows are equal in the column by which the endpoints order.
fn sales() -> String {
    let mut text = "id,client_id,product,price\n".to_owned();
    for id in 0..200 {
        writeln!(text, "{id},{},product {},{}", 1 + id % 2, id % 3, (id * 7) % 5).unwrap();
    }
    text
}

async fn app(more_config: &str) -> TestApp {
    let endpoint = |query: &str| format!("/*---\nsummary = \"s\"\n---*/\n{query}");
    TestApp::project(&[
        ("lakegate.toml", &format!("{CONFIG}{more_config}")),
        ("lake/sale.csv", &sales()),
        // Ordered by a hidden column, unordered, with its own limit, ordered by an expression, and grouped.
        ("endpoints/by_hidden.sql", &endpoint("SELECT id, product FROM sale ORDER BY price DESC")),
        ("endpoints/unordered.sql", &endpoint("SELECT id, product, price FROM sale")),
        ("endpoints/limited.sql", &endpoint("SELECT id, price FROM sale ORDER BY price LIMIT 30")),
        ("endpoints/by_expression.sql", &endpoint("SELECT product AS p, id FROM sale ORDER BY length(product), price * 2")),
        ("endpoints/groups.sql", &endpoint("SELECT product, count(*) AS n FROM sale GROUP BY product")),
        ("endpoints/nested.sql", &endpoint("SELECT struct(price, product) AS s, make_array(price) AS l FROM sale ORDER BY product")),
        ("endpoints/parts.sql", "/*---\nsummary = \"s\"\n[params.least]\ntype = \"integer\"\n---*/\nSELECT id FROM sale WHERE price >= $least"),
    ])
    .await
}

const ENDPOINTS: [&str; 6] = ["by_hidden", "unordered", "limited", "by_expression", "groups", "nested"];

/// The query string of the next page. Asserts that both headers agree.
fn next(answer: &Answer) -> Option<String> {
    let cursor = answer.headers.get("lakegate-next-cursor").map(|cursor| cursor.to_str().unwrap());
    let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
    assert_eq!(cursor.is_some(), link.is_some());
    let query = link?.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?.to_owned();
    assert!(query.ends_with(&format!("cursor={}", cursor.unwrap())), "{query}");
    Some(query)
}

/// All pages, one after another.
async fn pages(app: &TestApp, token: &str, path: &str, query: &str) -> Vec<Vec<Json>> {
    let mut answer = app.get(token, &format!("{path}{query}")).await;
    let mut pages = vec![answer.rows()];
    while let Some(query) = next(&answer) {
        answer = app.get(token, &format!("{path}{query}")).await;
        pages.push(answer.rows());
    }
    pages
}

fn sorted(mut rows: Vec<Json>) -> Vec<String> {
    let mut rows = rows.drain(..).map(|row| row.to_string()).collect::<Vec<_>>();
    rows.sort();
    rows
}

#[tokio::test]
async fn pages_have_every_row_once_in_the_order_of_the_endpoint() {
    for config in ["", NOTHING_IN_MEMORY] {
        let app = app(config).await;
        let token = app.admit_with("acme", "*", &[json!({})]).await;
        for endpoint in ENDPOINTS {
            let path = format!("/api/{endpoint}");
            let whole = app.get(&token, &path).await.rows();
            for size in [1, 7, 29, 30, 99, 100, 101, 10_000] {
                if size == 1 && whole.len() > 40 {
                    continue;
                }
                let pages = pages(&app, &token, &path, &format!("?page_size={size}")).await;
                assert_eq!(pages.len(), whole.len().div_ceil(size).max(1), "{endpoint} in pages of {size}");
                let (last, full) = pages.split_last().unwrap();
                assert!(full.iter().all(|page| page.len() == size) && last.len() <= size, "{endpoint}");
                let all = pages.concat();
                if endpoint == "limited" {
                    // Ties make it undefined which rows are among the first thirty, but thirty rows are returned.
                    assert_eq!(sorted(all.clone()).len(), 30);
                    let prices = |rows: &[Json]| rows.iter().map(|row| row["price"].clone()).collect::<Vec<_>>();
                    assert_eq!(prices(&all), prices(&whole));
                } else {
                    assert_eq!(sorted(all), sorted(whole.clone()), "{endpoint} in pages of {size}");
                }
            }
        }
        let prices = |id: &Json| (id.as_i64().unwrap() * 7) % 5;
        let all = pages(&app, &token, "/api/by_hidden", "?page_size=9").await.concat();
        let prices = all.iter().map(|row| prices(&row["id"])).collect::<Vec<_>>();
        assert!(prices.is_sorted_by(|one, other| one >= other), "{prices:?}");
    }
}

#[tokio::test]
async fn pages_keep_what_was_selected_and_ordered() {
    let app = app("").await;
    let token = app.admit_with("acme", "*", &[json!({ "columns": ["id", "price"] })]).await;
    let pages = pages(&app, &token, "/api/unordered", "?order=price.desc&select=id&page_size=40").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [40, 40, 20]);
    let rows = pages.concat();
    assert!(rows.iter().all(|row| row.as_object().unwrap().keys().eq(["id"])));
    let prices = rows.iter().map(|row| (row["id"].as_i64().unwrap() * 7) % 5).collect::<Vec<_>>();
    assert!(prices.is_sorted_by(|one, other| one >= other), "{prices:?}");
}

#[tokio::test]
async fn limit_and_offset_are_parts_of_one_order() {
    let app = app("").await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let get = async |query: &str| app.get(&token, &format!("/api/by_hidden?{query}")).await.rows();
    let whole = get("offset=0").await;
    assert_eq!(whole.len(), 100);
    for (offset, limit) in [(0, 0), (0, 1), (0, 13), (13, 13), (50, 50), (99, 5), (100, 5), (5_000, 5)] {
        let part = get(&format!("limit={limit}&offset={offset}")).await;
        let end = (offset + limit).min(100);
        assert_eq!(part, whole[offset.min(100)..end], "{limit} from {offset}");
    }
    assert_eq!(get("limit=9223372036854775807&offset=98").await, whole[98..]);
    assert_eq!(get("offset=9223372036854775807").await, Vec::<Json>::new());
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_request_only() {
    let app = app("").await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let first = app.get(&token, "/api/parts?least=1&page_size=10").await;
    let cursor = first.headers["lakegate-next-cursor"].to_str().unwrap().to_owned();
    let get = async |token: &str, query: &str| app.get(token, &format!("/api/{query}&cursor={cursor}")).await;
    assert_eq!(get(&token, "parts?least=1").await.rows().len(), 10);
    assert_eq!(get(&token, "parts?least=1&page_size=3").await.rows().len(), 3);
    for query in ["parts?least=2", "parts?least=1&order=id.desc", "unordered?", "parts?least=1&limit=5"] {
        assert_eq!(get(&token, query).await.problem(), (400, "arguments_invalid".to_owned()), "{query}");
    }
    // A cursor is not valid for another caller.
    app.add_principal(
        "other",
        "client",
        &[("client_id", lakegate_core::value::Value::Scalar(lakegate_core::value::Scalar::Integer(2)))],
    )
    .await;
    app.add_terms(
        lakegate_core::access::Effect::Allow,
        lakegate_core::access::Grantee::Principal("other".into()),
        "*",
        &json!({}),
    )
    .await;
    let other = app.token("other", None).await;
    let refused = get(&other, "parts?least=1").await;
    assert_eq!(refused.problem(), (400, "arguments_invalid".to_owned()));
    assert!(refused.text().contains("of another request"), "{}", refused.text());

    // A modified cursor is refused, whichever byte changed.
    for at in [0, 5, 20, 40, cursor.len() - 1] {
        let mut broken = cursor.clone().into_bytes();
        broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
        let broken = String::from_utf8(broken).unwrap();
        let answer = app.get(&token, &format!("/api/parts?least=1&cursor={broken}")).await;
        assert_eq!(answer.problem(), (400, "arguments_invalid".to_owned()), "{broken}");
    }
    for broken in ["x", "%00", "AAAA", &format!("{cursor}AAAA"), &cursor[..40]] {
        let answer = app.get(&token, &format!("/api/parts?least=1&cursor={broken}")).await;
        assert_eq!(answer.problem(), (400, "arguments_invalid".to_owned()), "{broken}");
    }
}

#[tokio::test]
async fn the_next_page_is_gone_when_the_data_has_changed() {
    for config in ["", NOTHING_IN_MEMORY] {
        let app = app(config).await;
        let token = app.admit_with("acme", "*", &[json!({})]).await;
        let first = app.get(&token, "/api/unordered?page_size=10").await;
        let query = next(&first).unwrap();
        assert_eq!(app.get(&token, &format!("/api/unordered{query}")).await.status, 200);
        std::fs::write(app.folder.path().join("lake/sale.csv"), sales() + "9000,1,product 9,9\n").unwrap();
        lakegate::reload::refresh(&app.app).await.unwrap();
        let gone = app.get(&token, &format!("/api/unordered{query}")).await;
        assert_eq!(gone.problem(), (410, "result_gone".to_owned()));
        assert_eq!(pages(&app, &token, "/api/unordered", "?page_size=10").await.concat().len(), 101);
    }
}

#[tokio::test]
async fn the_number_of_all_rows_is_that_of_the_callers_own() {
    let app = app("").await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let total = async |path: &str, preference: &str| {
        let request =
            Request::get(path).header("authorization", format!("Bearer {token}")).header("prefer", preference);
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        let rows = answer.rows().len();
        let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (rows, header("lakegate-total"), header("preference-applied"))
    };
    let counted = |rows, total: &str| (rows, Some(total.to_owned()), Some("count=exact".to_owned()));
    assert_eq!(total("/api/unordered", "count=exact").await, counted(100, "100"));
    assert_eq!(total("/api/unordered?limit=3&offset=98", "count=exact").await, counted(2, "100"));
    assert_eq!(
        total("/api/unordered?page_size=7&select=id", "respond-async, Count=\"exact\"; x=1").await,
        counted(7, "100")
    );
    assert_eq!(total("/api/limited?limit=1", "count=exact").await, counted(1, "30"));
    assert_eq!(total("/api/groups", "count=exact").await, counted(3, "3"));
    assert_eq!(total("/api/parts?least=9", "count=exact").await, counted(0, "0"));
    assert_eq!(total("/api/unordered?limit=1", "count=planned").await, (1, None, None));
}

#[tokio::test]
async fn a_cap_of_rows_holds_for_each_page() {
    let app = app("").await;
    let token = app.admit_with("acme", "*", &[json!({ "max_rows": 10 })]).await;
    assert_eq!(app.get(&token, "/api/unordered").await.problem(), (422, "result_too_large".to_owned()));
    assert_eq!(pages(&app, &token, "/api/unordered", "?page_size=10").await.concat().len(), 100);
    assert_eq!(app.get(&token, "/api/unordered?page_size=11").await.problem(), (422, "result_too_large".to_owned()));
    assert_eq!(app.get(&token, "/api/unordered?limit=10").await.rows().len(), 10);
    assert_eq!(app.get(&token, "/api/unordered?limit=11").await.problem(), (422, "result_too_large".to_owned()));
}

#[tokio::test]
async fn a_body_goes_with_pages_too() {
    let app = app("").await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let first = app.post(&token, "/api/parts?page_size=30", &json!({ "least": 2 })).await;
    assert_eq!(first.rows().len(), 30);
    let query = next(&first).unwrap();
    assert_eq!(query.split("&cursor=").next().unwrap(), "?page_size=30");
    assert_eq!(app.post(&token, &format!("/api/parts{query}"), &json!({ "least": 2 })).await.rows().len(), 30);
}

/// Both run the query with a limit of ten rows.
#[tokio::test]
async fn a_page_is_not_taken_for_a_part_that_is_one_row_longer() {
    let app = app("").await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    for _ in 0..2 {
        let page = app.get(&token, "/api/unordered?page_size=9").await;
        let part = app.get(&token, "/api/unordered?limit=10").await;
        assert_eq!((page.rows().len(), part.rows().len()), (9, 10));
        assert!(next(&page).is_some() && next(&part).is_none());
        assert_ne!(page.headers["etag"], part.headers["etag"]);
    }
}

#[tokio::test]
async fn pages_of_an_endpoint_with_the_time_are_of_one_moment() {
    let app = TestApp::project(&[
        ("lakegate.toml", CONFIG),
        ("lake/sale.csv", &sales()),
        ("endpoints/timed.sql", "/*---\nsummary = \"s\"\n---*/\nSELECT id, now() AS at FROM sale"),
    ])
    .await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let rows = pages(&app, &token, "/api/timed", "?page_size=30").await.concat();
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|row| row["at"] == rows[0]["at"]), "{rows:?}");
}

#[tokio::test]
async fn who_has_the_answer_and_asks_for_the_number_is_told_it() {
    let app = app("").await;
    let token = app.admit_with("acme", "*", &[json!({})]).await;
    let first = app.get(&token, "/api/unordered?limit=1").await;
    let request = Request::get("/api/unordered?limit=1").header("token", &token).header("prefer", "count=exact");
    let request = request.header("if-none-match", first.headers["etag"].clone());
    let answer = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.headers["lakegate-total"].to_str().unwrap()), (200, "100"));
}
