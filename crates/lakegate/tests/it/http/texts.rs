//! Parameters that naive code might splice into SQL text: lists and strings. They are always bound as values.

use lakegate_core::value::{Scalar, ScalarType, Value};
use serde_json::json;

use crate::http::parameters::{app, query, wrong};
use crate::support::app::{Answer, TestApp};

#[tokio::test]
async fn lists_come_repeated_or_as_an_array() {
    let (app, token) = app().await;
    let numbers = |answer: Answer| answer.rows().iter().map(|row| row["n"].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers(app.get(&token, "/api/lists").await), [1, 2]);
    for (pairs, body, wanted) in [
        (&[("numbers", "2")][..], json!({ "numbers": [2] }), &[2][..]),
        (&[("numbers", "2"), ("numbers", "1"), ("numbers", "2")], json!({ "numbers": [2, 1, 2] }), &[1, 2]),
        (&[("texts", "b"), ("texts", "a' OR '1'='1")], json!({ "texts": ["b", "a' OR '1'='1"] }), &[2]),
        (&[("days", "2022-10-01")], json!({ "days": ["2022-10-01"] }), &[1]),
    ] {
        assert_eq!(numbers(app.get(&token, &query("/api/lists", pairs)).await), wanted, "{pairs:?}");
        assert_eq!(numbers(app.post(&token, "/api/lists", &body).await), wanted, "{body}");
    }
    assert_eq!(numbers(app.post(&token, "/api/lists", &json!({ "numbers": [] })).await), [0_i64; 0]);
    for (pairs, code) in [
        (&[("numbers", "1,2")][..], "argument_type"),
        (&[("numbers", "[1,2]")], "argument_type"),
        (&[("numbers", "1"), ("numbers", "x")], "argument_type"),
        (&[("numbers", "0")], "argument_constraint"),
        (&[("numbers", "1"); 5], "argument_constraint"),
    ] {
        let got = app.get(&token, &query("/api/lists", pairs)).await;
        assert_eq!(wrong(&got), ("numbers".to_owned(), code.to_owned()), "{pairs:?}");
    }
    for (value, code) in [
        (json!(1), "argument_type"),
        (json!("1"), "argument_type"),
        (json!([1, "2"]), "argument_type"),
        (json!([1, null]), "argument_type"),
        (json!([[1]]), "argument_type"),
        (json!({ "0": 1 }), "argument_type"),
        (json!([1, 2, 3, 4, 5]), "argument_constraint"),
    ] {
        let got = app.post(&token, "/api/lists", &json!({ "numbers": value })).await;
        assert_eq!(wrong(&got), ("numbers".to_owned(), code.to_owned()), "{value}");
    }
    let both = app.post(&token, "/api/lists?numbers=1", &json!({ "numbers": [2] })).await;
    assert_eq!(wrong(&both), ("numbers".to_owned(), "argument_duplicate".to_owned()));
}

/// A text is only a value, whatever it contains: it comes back unchanged, from the query string and from JSON.
#[tokio::test]
async fn sql_in_a_text_is_text() {
    let (app, token) = app().await;
    let long = "é".repeat(10_000);
    for text in [
        "'",
        "''",
        "' OR '1'='1",
        "'; DROP TABLE one; --",
        "\" OR \"\"=\"",
        "/* x */ -- y",
        "$1 $text ? :a @b",
        "%27 %00 + &=#",
        "\\' \\n \\u0027",
        "a\nb\r\tc\u{1b}",
        "\u{ff07} \u{2019} \u{202e}abc",
        "🦀 e\u{301}",
        "NULL",
        "<script>alert(1)</script>",
        "=1+1",
        "",
        &long,
    ] {
        let got = app.get(&token, &query("/api/free", &[("text", text)])).await.rows();
        assert_eq!(got[0]["text"], *text);
        assert_eq!(got[0]["length"], text.chars().count());
        assert_eq!(app.post(&token, "/api/free", &json!({ "text": text })).await.rows(), got);
    }
    let over = "é".repeat(10_001);
    let got = app.post(&token, "/api/free", &json!({ "text": over })).await;
    assert_eq!(wrong(&got), ("text".to_owned(), "argument_constraint".to_owned()));
    let nul = app.post(&token, "/api/free", &json!({ "text": "a\0b" })).await;
    assert_eq!(wrong(&nul), ("text".to_owned(), "argument_constraint".to_owned()));
}

/// An empty list, as an argument or as an attribute in a policy, is valid and matches no rows.
#[tokio::test]
async fn an_empty_list_gives_no_rows() {
    let config = "[lake]\nlocation = \"lake/\"\n[tables.note]\nlocation = \"note.csv\"\nrow_filter = \"tenant IN (principal('tenant'))\"\n";
    let sql = "/*---\nsummary = \"Notes\"\n[params.ids]\ntype = \"integer[]\"\n---*/\nSELECT id FROM note WHERE id IN ($ids)\n";
    let lake = "id,tenant\n1,1\n2,2\n";
    let app =
        TestApp::project(&[("lakegate.toml", config), ("lake/note.csv", lake), ("endpoints/notes.sql", sql)]).await;
    let tenants = |ids: &[i64]| Value::List(ScalarType::Integer, ids.iter().copied().map(Scalar::Integer).collect());
    let nobody = app.admit("nobody", "client", &[("tenant", tenants(&[]))]).await;
    let somebody = app.admit("somebody", "client", &[("tenant", tenants(&[2]))]).await;
    for (token, ids, wanted) in
        [(&nobody, json!([1, 2]), 0), (&nobody, json!([]), 0), (&somebody, json!([]), 0), (&somebody, json!([1, 2]), 1)]
    {
        let got = app.post(token, "/api/notes", &json!({ "ids": ids })).await;
        assert_eq!(got.rows().len(), wanted, "{ids}");
    }
}
