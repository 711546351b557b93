//! Parameters of each type and constraint, in `GET` and `POST`: accepted values, refused values, and the errors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate_core::error::CODES;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};

use crate::http::refusals::refused;
use crate::support::app::{Answer, TestApp};

const CONFIG: &str = "[lake]\nlocation = \"lake/\"\n[tables.one]\nlocation = \"one.csv\"\nshared = true\n";

const ONE: &str = "n,text,day,at,price\n1,a,2022-10-01,2022-10-01T08:30:00.123456789,0.1\n2,b,2022-10-02,2022-10-02T00:00:00.000000001,0.30000000000000004\n3,,,,\n";

const ECHO: &str = r#"/*---
summary = "What came"
[params.text]
type = "string"
pattern = "[a-zé]+|x y"
max_length = 5
required = false
[params.color]
type = "string"
enum = ["red", "Grün"]
default = "red"
[params.whole]
type = "integer"
min = -5
max = 9007199254740993
required = false
[params.real]
type = "number"
min = -0.5
max = 1e300
required = false
[params.flag]
type = "boolean"
required = false
[params.day]
type = "date"
min = 2000-01-01
required = false
[params.at]
type = "timestamp"
max = "2030-01-01T00:00:00Z"
required = false
[params.id]
type = "uuid"
required = false
---*/
SELECT $text AS text, $color AS color, $whole AS whole, $real AS real, $flag AS flag, $day AS day, $at AS at, $id AS id
FROM one WHERE n = 1
"#;

const LISTS: &str = r#"/*---
summary = "Rows that are in every list"
[params.numbers]
type = "integer[]"
default = [1, 2, 3]
max_items = 4
min = 1
[params.texts]
type = "string[]"
default = ["a", "b"]
[params.days]
type = "date[]"
default = [2022-10-01, 2022-10-02]
---*/
SELECT n FROM one WHERE n IN ($numbers) AND text IN ($texts) AND day IN ($days) ORDER BY n
"#;

const FREE: &str = r#"/*---
summary = "A text of any kind"
[params.text]
type = "string"
---*/
SELECT $text AS text, length($text) AS length FROM one WHERE n = 1
"#;

/// CSV timestamps have nanosecond precision in the lake, so their range is smaller than that of an argument.
const RANGE: &str = r#"/*---
summary = "Rows in a range of time, and of price"
[params.from]
type = "timestamp"
[params.to]
type = "timestamp"
[params.price]
type = "number"
required = false
[params.n]
type = "integer"
required = false
---*/
SELECT n FROM one WHERE at BETWEEN $from AND $to AND ($price IS NULL OR price = $price) AND ($n IS NULL OR n = $n) ORDER BY n
"#;

pub(crate) async fn app() -> (TestApp, String) {
    let app = TestApp::project(&[
        ("lakegate.toml", CONFIG),
        ("lake/one.csv", ONE),
        ("endpoints/echo.sql", ECHO),
        ("endpoints/lists.sql", LISTS),
        ("endpoints/free.sql", FREE),
        ("endpoints/range.sql", RANGE),
    ])
    .await;
    let token = app.admit("anybody", "client", &[]).await;
    (app, token)
}

pub(crate) fn query(path: &str, pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// Name and code of the single invalid argument in an error.
pub(crate) fn wrong(answer: &Answer) -> (String, String) {
    assert_eq!(refused(answer), (400, "arguments_invalid".to_owned()), "{}", answer.text());
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), 1, "{}", answer.text());
    let text = |key: &str| errors[0][key].as_str().unwrap().to_owned();
    assert!(CODES.iter().any(|code| code.name() == text("code")));
    (text("parameter"), text("code"))
}

#[tokio::test]
async fn values_are_taken_exactly() {
    let (app, token) = app().await;
    let uuid = "0199a7c2-5d0e-7c41-9f0a-0d4f6f3b8a11";
    for (name, in_query, in_json, back) in [
        ("text", "é", json!("é"), json!("é")),
        ("text", "x y", json!("x y"), json!("x y")),
        ("color", "Grün", json!("Grün"), json!("Grün")),
        ("whole", "-5", json!(-5), json!(-5)),
        ("whole", "-0", json!(0), json!(0)),
        ("whole", "9007199254740993", json!(9007199254740993_i64), json!(9007199254740993_i64)),
        ("real", "-0.5", json!(-0.5), json!(-0.5)),
        ("real", "1e2", json!(100), json!(100.0)),
        ("real", "0.30000000000000004", json!(0.30000000000000004), json!(0.30000000000000004)),
        ("flag", "true", json!(true), json!(true)),
        ("flag", "false", json!(false), json!(false)),
        ("day", "2024-02-29", json!("2024-02-29"), json!("2024-02-29")),
        ("at", "2022-10-01T08:30:00.5+05:30", json!("2022-10-01T08:30:00.5+05:30"), json!("2022-10-01T03:00:00.500")),
        ("id", uuid, json!(uuid.to_uppercase()), json!(uuid)),
    ] {
        let got = app.get(&token, &query("/api/echo", &[(name, in_query)])).await.rows();
        let posted = app.post(&token, "/api/echo", &json!({ name: in_json })).await.rows();
        assert_eq!(got, posted, "{name} {in_query}");
        let value = &got[0][name];
        let same = match (value.as_str(), back.as_str()) {
            // The encoder decides on the time zone and trailing zeros.
            (Some(got), Some(back)) if name == "at" => got.starts_with(back),
            _ => *value == back || value.as_f64().is_some_and(|got| Some(got) == back.as_f64() && name == "real"),
        };
        assert!(same, "{name} {in_query}: {value} is not {back}");
    }
    let nothing = app.get(&token, "/api/echo").await.rows();
    assert_eq!(nothing[0]["color"], "red");
    for name in ["text", "whole", "real", "flag", "day", "at", "id"] {
        assert_eq!(nothing[0][name], Json::Null, "{name}");
    }
}

#[tokio::test]
async fn other_values_are_refused_by_name() {
    let (app, token) = app().await;
    let (kind, bound) = ("argument_type", "argument_constraint");
    for (name, value, code) in [
        ("text", "", bound),
        ("text", "A", bound),
        ("text", "abcdef", bound),
        ("text", "a\n", bound),
        ("text", "x y\0", bound),
        ("text", "a|b", bound),
        ("color", "Red", bound),
        ("color", "red ", bound),
        ("color", "gru\u{308}n", bound),
        ("whole", "-6", bound),
        ("whole", "9007199254740994", bound),
        ("whole", "9223372036854775808", kind),
        ("whole", "-9223372036854775809", kind),
        ("whole", "5.0", kind),
        ("whole", "5abc", kind),
        ("whole", " 5", kind),
        ("whole", "5 ", kind),
        ("whole", "+5", kind),
        ("whole", "0x5", kind),
        ("whole", "1e2", kind),
        ("whole", "1_0", kind),
        ("whole", "٥", kind),
        ("whole", "", kind),
        ("whole", "-", kind),
        ("whole", "1; DROP TABLE one", kind),
        ("real", "-0.51", bound),
        ("real", "1e301", bound),
        ("real", "1e999", kind),
        ("real", "NaN", kind),
        ("real", "inf", kind),
        ("real", " 1", kind),
        ("real", "1\n", kind),
        ("real", ".5", kind),
        ("real", "1,5", kind),
        ("flag", "True", kind),
        ("flag", "1", kind),
        ("flag", "yes", kind),
        ("flag", "", kind),
        ("day", "1999-12-31", bound),
        ("day", "2022-02-30", kind),
        ("day", "2022-10-01T00:00:00Z", kind),
        ("day", "2022-10-1", kind),
        ("at", "2030-01-01T00:00:00.000001Z", bound),
        ("at", "2022-10-01T08:30", kind),
        ("at", "2022-10-01T08:30:00.1234567Z", kind),
        ("id", "0199a7c25d0e7c419f0a0d4f6f3b8a11", kind),
        ("id", "{0199a7c2-5d0e-7c41-9f0a-0d4f6f3b8a1}", kind),
        ("id", "0199a7c2-5d0e-7c41-9f0a-0d4f6f3b8a1g", kind),
    ] {
        let got = app.get(&token, &query("/api/echo", &[(name, value)])).await;
        assert_eq!(wrong(&got), (name.to_owned(), code.to_owned()), "{name} = {value:?}");
    }
    for (name, value, code) in [
        ("text", json!(5), kind),
        ("text", json!(["a"]), kind),
        ("text", json!({}), kind),
        ("color", json!(true), kind),
        ("whole", json!("5"), kind),
        ("whole", json!(5.0), kind),
        ("whole", json!(5.5), kind),
        ("whole", json!(1e30), kind),
        ("whole", json!(u64::MAX), kind),
        ("whole", json!(true), kind),
        ("whole", json!([5]), kind),
        ("real", json!("5"), kind),
        ("real", json!("NaN"), kind),
        ("flag", json!("true"), kind),
        ("flag", json!(1), kind),
        ("flag", json!(0), kind),
        ("day", json!(20221001), kind),
        ("at", json!(1664582400), kind),
        ("id", json!(0), kind),
    ] {
        let got = app.post(&token, "/api/echo", &json!({ name: value })).await;
        assert_eq!(wrong(&got), (name.to_owned(), code.to_owned()), "{name} = {value}");
    }
}

/// An argument may exceed the range of the column's type. The caller gets an error; nothing is clamped.
#[tokio::test]
async fn arguments_beyond_the_columns_type_are_told() {
    let (app, token) = app().await;
    let numbers = |answer: Answer| answer.rows().iter().map(|row| row["n"].as_i64().unwrap()).collect::<Vec<_>>();
    let range = |from: &str, to: &str| json!({ "from": from, "to": to });
    for (from, to, wanted) in [
        ("2022-10-01", "2022-10-03", &[1, 2][..]),
        ("1678-01-01", "2262-01-01", &[1, 2]),
        // Between two microseconds, because the bound is exact.
        ("2022-10-01T08:30:00.123456Z", "2022-10-01T08:30:00.123457Z", &[1]),
        ("2022-10-01T08:30:00.123457Z", "2022-10-01T08:30:00.123458Z", &[]),
    ] {
        assert_eq!(numbers(app.post(&token, "/api/range", &range(from, to)).await), wanted, "{from}..{to}");
    }
    for (from, to, parameter) in [
        ("0000-01-01", "2022-10-03", "from"),
        ("2022-10-01", "9999-12-31T23:59:59.999999Z", "to"),
        ("1677-01-01", "2262-01-01", "from"),
    ] {
        let got = app.post(&token, "/api/range", &range(from, to)).await;
        assert_eq!(wrong(&got), (parameter.to_owned(), "argument_constraint".to_owned()), "{from}..{to}");
    }
    let wide = "/api/range?from=2000-01-01&to=2100-01-01";
    assert_eq!(numbers(app.get(&token, &format!("{wide}&price=0.30000000000000004")).await), [2]);
    for n in ["9223372036854775807", "-9223372036854775808"] {
        assert_eq!(numbers(app.get(&token, &format!("{wide}&n={n}")).await), [0_i64; 0]);
    }
}
