//! Rules of grants: fixed values, narrower ranges, spans, row caps. A violation is a 422 with the allowed values.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate_core::access::{Effect, Grantee};
use lakegate_core::value::{Scalar, ScalarType, Value};
use serde_json::{Value as Json, json};

use crate::support::app::{TestApp, by};

const CONFIG: &str = r#"
[lake]
location = "lake"
[tables.sale]
location = "sale.csv"
shared = true
"#;

const ENDPOINT: &str = r#"/*---
summary = "Sales"
[params.from]
type = "date"
default = "2000-01-01"
[params.to]
type = "date"
required = false
[params.city]
type = "string"
required = false
max_length = 10
[params.client]
type = "integer"
required = false
[params.clients]
type = "integer[]"
required = false
---*/
SELECT id, day, city, client FROM sale
WHERE day >= $from AND ($to IS NULL OR day <= $to) AND ($city IS NULL OR city = $city)
  AND ($client IS NULL OR client = $client) AND ($clients IS NULL OR client IN ($clients))
ORDER BY id"#;

const SALES: &str =
    "id,day,city,client\n1,2022-01-01,rome,1\n2,2022-01-15,bonn,1\n3,2022-02-01,rome,2\n4,2022-03-01,oslo,3\n";

async fn app() -> TestApp {
    let files = [("lakegate.toml", CONFIG), ("lake/sale.csv", SALES), ("endpoints/sales.sql", ENDPOINT)];
    TestApp::project(&files).await
}

/// The ids in the response, or the error code with parameters and details.
async fn ids(app: &TestApp, token: &str, arguments: &Json) -> Result<Vec<i64>, String> {
    let answer = app.post(token, "/api/sales", arguments).await;
    if answer.status == 200 {
        return Ok(answer.rows().iter().map(|row| row["id"].as_i64().unwrap()).collect());
    }
    let (status, code) = answer.problem();
    let problem = answer.json();
    let faults = problem["errors"].as_array().cloned().unwrap_or_default();
    let faults = faults
        .iter()
        .map(|fault| format!(" {}: {}", fault["parameter"].as_str().unwrap(), fault["detail"].as_str().unwrap()));
    Err(format!("{status} {code}{}", faults.collect::<Vec<_>>().join(";")))
}

fn refused(faults: &str) -> Result<Vec<i64>, String> {
    Err(format!("422 argument_not_granted {faults}"))
}

#[tokio::test]
async fn a_fixed_parameter_is_filled_in_and_no_other_value_is_taken() {
    let app = app().await;
    let token = app.admit_with("a", "sales", &[json!({ "parameters": { "city": { "fixed": "rome" } } })]).await;
    assert_eq!(ids(&app, &token, &json!({})).await, Ok(vec![1, 3]));
    assert_eq!(ids(&app, &token, &json!({ "city": "rome" })).await, Ok(vec![1, 3]));
    assert_eq!(ids(&app, &token, &json!({ "city": null })).await, Ok(vec![1, 3]));
    for other in ["oslo", "Rome", "rome ", "", "*", "%", "NULL"] {
        let wanted = refused("city: parameter `city` must be `rome`, or left out");
        assert_eq!(ids(&app, &token, &json!({ "city": other })).await, wanted, "{other:?}");
    }
    // An invalid argument is still a 400, and reveals nothing about the grant.
    let wrong = ids(&app, &token, &json!({ "city": "much too long a name" })).await.unwrap_err();
    assert!(wrong.starts_with("400 arguments_invalid") && !wrong.contains("rome"), "{wrong}");
    // A rule whose value is invalid for the parameter admits nothing.
    let token = app.admit_with("b", "sales", &[json!({ "parameters": { "client": { "fixed": "one" } } })]).await;
    assert!(ids(&app, &token, &json!({})).await.unwrap_err().contains("does not fit"));
    let token =
        app.admit_with("c", "sales", &[json!({ "parameters": { "city": { "fixed": "much too long a name" } } })]).await;
    assert!(ids(&app, &token, &json!({})).await.unwrap_err().contains("does not fit"));
}

#[tokio::test]
async fn a_parameter_fixed_to_an_attribute_is_the_callers_own_value() {
    let app = app().await;
    let rule = |name: &str| json!({ "parameters": { name: { "attribute": "client_id" } } });
    let one = app.admit_with("one", "sales", &[rule("client")]).await;
    assert_eq!(ids(&app, &one, &json!({})).await, Ok(vec![1, 2]));
    assert_eq!(ids(&app, &one, &json!({ "client": 1 })).await, Ok(vec![1, 2]));
    let wanted = refused("client: parameter `client` must be a value of the caller's attribute `client_id`");
    assert_eq!(ids(&app, &one, &json!({ "client": 2 })).await, wanted);

    let many = Value::List(ScalarType::Integer, vec![Scalar::Integer(2), Scalar::Integer(3)]);
    app.add_principal("many", "client", &[("client_id", many)]).await;
    let to = || Grantee::Principal("many".to_owned());
    app.add_terms(Effect::Allow, to(), "sales", &rule("clients")).await;
    let many = app.token("many", None).await;
    assert_eq!(ids(&app, &many, &json!({})).await, Ok(vec![3, 4]));
    assert_eq!(ids(&app, &many, &json!({ "clients": [3] })).await, Ok(vec![4]));
    assert!(ids(&app, &many, &json!({ "clients": [3, 1] })).await.is_err());
    assert!(ids(&app, &many, &json!({ "clients": [] })).await.is_err(), "an empty list could mean anything");

    app.add_principal("none", "client", &[]).await;
    app.add_terms(Effect::Allow, Grantee::Principal("none".to_owned()), "sales", &rule("client")).await;
    let none = app.token("none", None).await;
    for arguments in [json!({}), json!({ "client": 1 })] {
        assert!(ids(&app, &none, &arguments).await.unwrap_err().contains("which this caller does not have"));
    }
    let text = [("client_id", Value::Scalar(Scalar::String("1".to_owned())))];
    app.add_principal("text", "client", &text).await;
    app.add_terms(Effect::Allow, Grantee::Principal("text".to_owned()), "sales", &rule("client")).await;
    let text = app.token("text", None).await;
    assert!(ids(&app, &text, &json!({ "client": 1 })).await.is_err());
}

#[tokio::test]
async fn a_narrowed_parameter_must_be_given_and_lie_within() {
    let app = app().await;
    let terms = json!({ "parameters": {
        "from": { "min": "2022-01-10" }, "city": { "one_of": ["rome", "bonn"] }, "clients": { "max": "2" },
    } });
    let token = app.admit_with("a", "sales", &[terms]).await;
    let with = |from: Json, city: Json, clients: Json| json!({ "from": from, "city": city, "clients": clients });
    assert_eq!(ids(&app, &token, &with(json!("2022-01-10"), json!("rome"), json!([1, 2]))).await, Ok(vec![3]));
    for (arguments, fault) in [
        (with(json!("2022-01-09"), json!("rome"), json!([1])), "from: parameter `from` must be at least `2022-01-10`"),
        // The rule applies to the default value too.
        (with(Json::Null, json!("rome"), json!([1])), "from: parameter `from` must be at least `2022-01-10`"),
        (with(json!("2022-02-01"), json!("oslo"), json!([1])), "city: parameter `city` must be one of `rome`, `bonn`"),
        (
            with(json!("2022-02-01"), Json::Null, json!([1])),
            "city: parameter `city` must be given: one of `rome`, `bonn`",
        ),
        (with(json!("2022-02-01"), json!("rome"), json!([1, 3])), "clients: parameter `clients` must be at most `2`"),
        (
            with(json!("2022-02-01"), json!("rome"), Json::Null),
            "clients: parameter `clients` must be given: at most `2`",
        ),
    ] {
        assert_eq!(ids(&app, &token, &arguments).await, refused(fault), "{arguments}");
    }
}

#[tokio::test]
async fn a_span_bounds_the_distance_of_two_arguments() {
    let app = app().await;
    let terms = json!({ "spans": [{ "from": "from", "to": "to", "at_most": "31d" }] });
    let token = app.admit_with("a", "sales", &[terms]).await;
    assert_eq!(ids(&app, &token, &json!({ "from": "2022-01-01", "to": "2022-02-01" })).await, Ok(vec![1, 2, 3]));
    let wanted = refused("to: `to` must be at most 31d after `from`");
    assert_eq!(ids(&app, &token, &json!({ "from": "2022-01-01", "to": "2022-02-02" })).await, wanted);
    assert_eq!(ids(&app, &token, &json!({ "to": "2022-02-02" })).await, wanted, "the default counts");
    let open = refused("to: `from` and `to` must be given, at most 31d apart");
    assert_eq!(ids(&app, &token, &json!({ "from": "2022-01-01" })).await, open);
    // Nobody can satisfy a rule about an unknown parameter. In a grant for all endpoints, it concerns other endpoints.
    let typo = json!({ "spans": [{ "from": "start", "to": "to", "at_most": "31d" }] });
    let token = app.admit_with("b", "sales", std::slice::from_ref(&typo)).await;
    assert!(ids(&app, &token, &json!({})).await.unwrap_err().contains("`start`, which is no parameter"));
    let token = app.admit_with("c", "*", &[typo]).await;
    assert_eq!(ids(&app, &token, &json!({})).await, Ok(vec![1, 2, 3, 4]));
}

#[tokio::test]
async fn nothing_of_one_grant_is_had_with_arguments_that_only_another_allows() {
    let app = app().await;
    let month = json!({ "columns": ["id", "city"], "spans": [{ "from": "from", "to": "to", "at_most": "31d" }], "max_rows": 2 });
    let rome = json!({ "columns": ["id", "client"], "parameters": { "city": { "fixed": "rome" } } });
    let token = app.admit_with("a", "sales", &[month, rome]).await;
    let columns = async |arguments: Json| {
        let answer = app.post(&token, "/api/sales", &arguments).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.rows()[0].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(columns(json!({ "from": "2022-01-01", "to": "2022-01-20" })).await, ["id", "city"]);
    assert_eq!(columns(json!({ "city": "rome" })).await, ["id", "client"]);
    let both = json!({ "from": "2022-01-01", "to": "2022-01-20", "city": "rome" });
    assert_eq!(columns(both).await, ["id", "city", "client"]);
    // No grant admits these arguments. The error is from the grant that comes closest, and no query runs.
    let refusal = ids(&app, &token, &json!({ "from": "2022-01-01", "to": "2022-12-31", "city": "oslo" })).await;
    assert!(refusal.unwrap_err().starts_with("422 argument_not_granted"));
    // `select` may use only columns that these arguments unlock.
    let select = async |query: &str, arguments: Json| {
        app.post(&token, &format!("/api/sales?select={query}"), &arguments).await.status
    };
    assert_eq!(select("client", json!({ "city": "rome" })).await, 200);
    assert_eq!(select("client", json!({ "from": "2022-01-01", "to": "2022-01-20" })).await, 400);
}

#[tokio::test]
async fn an_answer_over_the_row_cap_is_refused_whole() {
    let app = app().await;
    let token = app.admit_with("a", "sales", &[json!({ "max_rows": 3 })]).await;
    assert_eq!(ids(&app, &token, &json!({ "from": "2022-01-02" })).await, Ok(vec![2, 3, 4]));
    let answer = app.post(&token, "/api/sales", &json!({})).await;
    assert_eq!(answer.problem(), (422, "result_too_large".to_owned()));
    assert!(answer.text().contains("more than 3 rows") && !answer.text().contains("rome"), "{}", answer.text());
    // The larger of two caps applies; a grant without a cap removes the limit.
    app.add_terms(Effect::Allow, Grantee::Role("client".to_owned()), "sales", &json!({ "max_rows": 4 })).await;
    assert_eq!(ids(&app, &token, &json!({})).await.unwrap().len(), 4);
}

#[tokio::test]
async fn scopes_of_tokens_only_narrow() {
    use lakegate::clock;
    use lakegate::store::{TokenRequest, new_token};
    use lakegate_core::access::Scope;

    let app = app().await;
    app.admit_with("a", "sales", &[json!({})]).await;
    let scoped = async |endpoints: &[&str]| {
        let token = new_token().unwrap();
        let endpoints = Some(endpoints.iter().map(|name| (*name).to_owned()).collect());
        let request = TokenRequest { scope: Scope { endpoints, masked: false }, ..TokenRequest::default() };
        by(&app.store).issue_token("a", &token, request, clock::now()).await.unwrap();
        token.text().to_owned()
    };
    assert_eq!(ids(&app, &scoped(&["sales", "more"]).await, &json!({})).await.unwrap().len(), 4);
    for outside in [&["more"][..], &[]] {
        let token = scoped(outside).await;
        assert_eq!(ids(&app, &token, &json!({})).await, Err("403 access_out_of_scope".to_owned()));
        assert_eq!(app.get(&token, "/api").await.json(), json!({ "endpoints": [] }));
    }
    // A scope with an endpoint that the principal may not call adds no right.
    app.add_principal("b", "other", &[]).await;
    let token = new_token().unwrap();
    let endpoints = Some(std::collections::BTreeSet::from(["sales".to_owned()]));
    let request = TokenRequest { scope: Scope { endpoints, masked: false }, ..TokenRequest::default() };
    by(&app.store).issue_token("b", &token, request, clock::now()).await.unwrap();
    assert_eq!(ids(&app, token.text(), &json!({})).await, Err("403 access_not_granted".to_owned()));
}
