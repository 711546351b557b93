//! `lakegate test`: each expectation, both when it holds and when it fails, with the reported reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value as Json, json};

use crate::support::binary::{Project, Ran};

const CONFIG: &str = r#"
[lake]
location = "lake"
[tables.sale]
location = "sale.csv"
row_filter = "client_id IN (principal('client_id'))"
unfiltered_for = ["operator"]
[tables.sale.columns.buyer]
tags = ["pii"]
[tables.product]
location = "product.csv"
shared = true
[tags.pii]
mask = "redact"
"#;

/// Client 1 has three sales, client 2 has two.
const SALES: &str =
    "id,client_id,product,price,buyer\n1,1,pen,2.5,Ada\n2,1,ink,9,Bob\n3,1,cap,,Cy\n4,2,pen,7,Dee\n5,2,ink,1,Eve\n";

const ENDPOINT: &str = r#"/*---
summary = "Sales"
[params.least]
type = "integer"
default = 0
[params.most]
type = "integer"
default = 100
---*/
SELECT id, client_id, product, price, buyer FROM sale WHERE id >= $least AND id <= $most ORDER BY id"#;

/// Principals and grants of most tests.
pub(crate) const ACCESS: &str = r#"
[principals.one]
roles = ["client"]
[principals.one.attributes]
client_id = 1
[principals.boss]
roles = ["operator"]
[[grants]]
role = "client"
endpoint = "sales"
columns = ["id", "client_id", "price", "buyer"]
[[grants]]
role = "operator"
endpoint = "*"
unmask = ["tag:pii"]
"#;

/// A project with an endpoint for sales and one for products.
pub(crate) fn project() -> Project {
    let project = Project::new();
    project.write("lakegate.toml", CONFIG);
    project.write("lake/sale.csv", SALES);
    project.write("lake/product.csv", "name\npen\nink\n");
    project.write("endpoints/sales.sql", ENDPOINT);
    project.write(
        "endpoints/products.sql",
        "/*---\nsummary = \"Products\"\n---*/\nSELECT name FROM product ORDER BY name",
    );
    project
}

/// A test that calls `sales` as a principal.
pub(crate) fn call(name: &str, who: &str, expect: &str) -> String {
    format!("[[tests]]\nname = \"{name}\"\nas = \"{who}\"\nendpoint = \"sales\"\n[tests.expect]\n{expect}\n")
}

/// Runs `lakegate test --json`.
pub(crate) fn run_json(project: &Project, arguments: &[&str]) -> (Option<i32>, Json) {
    let Ran { code, stdout, stderr } = project.run(&[&["test", "--json"], arguments].concat());
    (code, serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout} {stderr}")))
}

/// Runs one test per expectation. Returns the failures of each test as `key | expected | came`.
fn failures(project: &Project, cases: &[(&str, &str)]) -> Vec<Vec<String>> {
    let tests = cases.iter().enumerate().map(|(at, (who, expect))| call(&format!("test {at}"), who, expect));
    project.write("tests/a.toml", format!("{ACCESS}{}", tests.collect::<String>()));
    let (_, ran) = run_json(project, &[]);
    let of = |test: &Json| {
        let failures = test["failures"].as_array().unwrap().iter();
        let text = |failure: &Json, key: &str| failure[key].as_str().unwrap().to_owned();
        let told = failures.map(|failure| {
            format!("{} | {} | {}", text(failure, "expectation"), text(failure, "expected"), text(failure, "came"))
        });
        told.collect::<Vec<_>>()
    };
    ran["tests"].as_array().unwrap_or_else(|| panic!("{ran}")).iter().map(of).collect()
}

#[test]
fn every_expectation_can_hold() {
    let project = project();
    let cases = [
        ("one", "status = 200"),
        ("one", "rows = 3\ncolumns = [\"id\", \"client_id\", \"price\", \"buyer\"]\nabsent = [\"product\"]"),
        ("one", "min_rows = 3\nmax_rows = 3\nmasked = [\"buyer\"]\nunmasked = [\"id\", \"price\"]"),
        ("one", "only_rows_where = \"client_id = 1 AND (price > 0 OR price IS NULL)\""),
        ("one", "values = [{ id = 1, price = 2.5 }, { id = 2.0, price = 9 }, { id = 3 }]"),
        ("one", "contains = [{ id = 3, client_id = 1 }, { price = 9 }]"),
        ("boss", "rows = 5\nunmasked = [\"buyer\"]\ncontains = [{ buyer = \"Eve\", client_id = 2 }]"),
    ];
    let failed = failures(&project, &cases);
    assert!(failed.iter().all(Vec::is_empty), "{failed:#?}");
}

#[test]
fn every_expectation_can_fail_and_says_what_came() {
    let project = project();
    let cases = [
        ("one", "status = 403", vec!["status | 403 | status 200 with 3 rows"]),
        ("one", "code = \"access_not_granted\"", vec!["code | access_not_granted | status 200 with 3 rows"]),
        ("one", "detail_contains = \"x\"", vec!["detail_contains | a refusal | status 200 with 3 rows"]),
        ("one", "rows = 4", vec!["rows | 4 | 3"]),
        ("one", "min_rows = 4", vec!["min_rows | at least 4 | 3"]),
        ("one", "max_rows = 2", vec!["max_rows | at most 2 | 3"]),
        (
            "one",
            "columns = [\"client_id\", \"id\", \"price\", \"buyer\"]",
            vec!["columns | `client_id`, `id`, `price`, `buyer` | `id`, `client_id`, `price`, `buyer`"],
        ),
        ("one", "absent = [\"product\", \"price\"]", vec!["absent | none of `product`, `price` | `price`"]),
        (
            "one",
            "masked = [\"price\", \"product\"]",
            vec![
                "masked | column `price` | made of nothing that is masked for this principal",
                "masked | column `product` | no such column, but `id`, `client_id`, `price`, `buyer`",
            ],
        ),
        ("one", "unmasked = [\"buyer\"]", vec!["unmasked | column `buyer` | made of masked `sale.buyer`"]),
        (
            "boss",
            "masked = [\"buyer\"]",
            vec!["masked | column `buyer` | made of nothing that is masked for this principal"],
        ),
        (
            "one",
            "only_rows_where = \"price > 1\"",
            vec![
                "only_rows_where | price > 1 | row 3 of 3: {\"id\":3,\"client_id\":1,\"price\":null,\"buyer\":\"[redacted]\"}",
            ],
        ),
        (
            "boss",
            "only_rows_where = \"client_id = 1\"\nrows = 5",
            vec![
                "only_rows_where | client_id = 1 | row 4 of 5: {\"id\":4,\"client_id\":2,\"product\":\"pen\",\"price\":7.0,\"buyer\":\"Dee\"}",
            ],
        ),
        ("one", "values = [{ id = 1 }, { id = 9 }]", vec!["values | row 2: {\"id\":9} | {\"id\":2}"]),
        ("one", "values = [{ id = 1 }]", vec!["values | 1 row | 3 rows, beyond them {\"id\":2}, {\"id\":3}"]),
        ("one", "values = [{ id = \"1\" }]", vec!["values | row 1: {\"id\":\"1\"} | {\"id\":1}"]),
        (
            "boss",
            "contains = [{ id = 1, price = 3 }]",
            vec![
                "contains | {\"id\":1,\"price\":3} | none such among 5 rows: {\"id\":1,\"price\":2.5}, {\"id\":2,\"price\":9.0}, \
                 {\"id\":3,\"price\":null}, …",
            ],
        ),
    ];
    let failed = failures(&project, &cases.iter().map(|(who, expect, _)| (*who, *expect)).collect::<Vec<_>>());
    for ((_, expect, wanted), came) in cases.iter().zip(failed) {
        assert_eq!(came, *wanted, "{expect}");
    }
}

#[test]
fn refusals_are_expected_by_status_code_and_words() {
    let project = project();
    let test = |name: &str, endpoint: &str, arguments: &str, expect: &str| {
        format!(
            "[[tests]]\nname = \"{name}\"\nas = \"one\"\nendpoint = \"{endpoint}\"\narguments = {{ {arguments} }}\n[tests.expect]\n{expect}\n"
        )
    };
    let tests = [
        test(
            "not granted",
            "products",
            "",
            "status = 403\ncode = \"access_not_granted\"\ndetail_contains = \"products\"",
        ),
        test("not there", "nothing", "", "status = 404"),
        test("wrong", "sales", "least = \"a\"", "status = 400\ndetail_contains = \"least\""),
        test("wrong status", "products", "", "status = 404"),
        test("wrong code", "products", "", "code = \"argument_not_granted\""),
        test("wrong words", "products", "", "status = 403\ndetail_contains = \"sales\""),
        test("rows of a refusal", "products", "", "rows = 1"),
    ];
    project.write("tests/a.toml", format!("{ACCESS}{}", tests.concat()));
    let (code, ran) = run_json(&project, &[]);
    let told = "status 403, access_not_granted: endpoint `products` is not granted to this caller; ask the operator for a grant";
    let outcomes = ran["tests"].as_array().unwrap();
    let failures = outcomes.iter().map(|test| test["failures"].as_array().unwrap().clone()).collect::<Vec<_>>();
    assert!(failures[..3].iter().all(Vec::is_empty), "{failures:#?}");
    let wanted = [("status", "404"), ("code", "argument_not_granted"), ("detail_contains", "sales"), ("status", "200")];
    for ((expectation, expected), failures) in wanted.iter().zip(&failures[3..]) {
        assert_eq!(*failures, [json!({ "expectation": expectation, "expected": expected, "came": told })]);
    }
    assert_eq!(code, Some(1));
    assert_eq!((&ran["ok"], &ran["passed"], &ran["failed"]), (&json!(false), &json!(3), &json!(4)));
    let mut first = outcomes[0].clone();
    first["line"] = json!(0);
    assert_eq!(
        first,
        json!({
            "file": "tests/a.toml", "line": 0, "name": "not granted", "as": "one", "endpoint": "products", "passed": true,
            "status": 403, "code": "access_not_granted", "rows": null, "failures": [],
        })
    );
}

#[test]
fn a_predicate_over_no_rows_proves_nothing() {
    let project = project();
    let nobody = "[principals.nobody]\nroles = [\"client\"]\n[principals.nobody.attributes]\nclient_id = 77\n";
    let tests = [
        call("empty", "nobody", "only_rows_where = \"id > 0\""),
        call("may be empty", "nobody", "only_rows_where = \"id > 0\"\nmin_rows = 0"),
        call("is empty", "nobody", "values = []"),
    ];
    project.write("tests/a.toml", format!("{ACCESS}{nobody}{}", tests.concat()));
    let (_, ran) = run_json(&project, &[]);
    let passed = ran["tests"].as_array().unwrap().iter().map(|test| test["passed"].clone()).collect::<Vec<_>>();
    assert_eq!(passed, [false, true, true], "{ran:#}");
}

#[test]
fn a_predicate_that_can_not_be_asked_fails_with_its_place() {
    let project = project();
    let cases = [
        ("product = 'pen'", "there is no column `product`"),
        ("id >", "not valid SQL"),
        ("id IN (SELECT id FROM sale)", "not at tables"),
        ("id = $least", "`$least` cannot stand there"),
        ("random() > 2", "function `random` cannot be called there"),
        ("now() > '2020-01-01'", "cannot be called there"),
        ("id + 1", "must be true or false"),
        ("count(*) > 0", ""),
        ("1 / (id - 2) >= 0", "cannot be evaluated on a row"),
    ];
    let expects = cases.map(|(predicate, _)| format!("only_rows_where = \"{predicate}\""));
    let expects = expects.iter().map(|expect| ("one", expect.as_str())).collect::<Vec<_>>();
    for ((predicate, wanted), came) in cases.iter().zip(failures(&project, &expects)) {
        assert!(
            came.len() == 1 && came[0].contains(wanted) && came[0].contains("tests/a.toml:"),
            "{predicate}: {came:#?}"
        );
    }
}

#[test]
fn arguments_and_modifiers_are_those_of_a_call() {
    let project = project();
    project.write(
        "tests/a.toml",
        format!(
            "{ACCESS}[[tests]]\nname = \"t\"\nas = \"one\"\nendpoint = \"sales\"\narguments = {{ least = 2, most = 3 }}\n\
             select = \"id\"\norder = \"id.desc\"\n[tests.expect]\nvalues = [{{ id = 3 }}, {{ id = 2 }}]\ncolumns = [\"id\"]\n"
        ),
    );
    let said = project.ok(&["test"]);
    assert_eq!(said, "ok      tests/a.toml: t\n1 test: 1 passed, 0 failed\n");
}

#[test]
fn values_are_cut_and_rows_are_few() {
    let project = project();
    let long = "x".repeat(500);
    let sales = (1..=9).map(|id| format!("{id},1,{long},1,a\n")).collect::<String>();
    project.write("lake/sale.csv", format!("id,client_id,product,price,buyer\n{sales}"));
    project
        .write("tests/a.toml", format!("{ACCESS}{}", call("t", "boss", "contains = [{ id = 77, product = \"p\" }]")));
    let ran = project.run(&["test"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains(&format!("{}…", "x".repeat(200))), "{}", ran.stdout);
    assert!(!ran.stdout.contains(&"x".repeat(201)), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("\"id\":").count(), 4, "{}", ran.stdout);
}

#[test]
fn the_grants_that_admit_the_arguments_decide_about_masks() {
    let project = project();
    let access = "[principals.p]\nroles = [\"client\"]\nattributes = { client_id = 1 }\n\
        [[grants]]\nrole = \"client\"\nendpoint = \"sales\"\n\
        [[grants]]\nrole = \"client\"\nendpoint = \"sales\"\nunmask = [\"sale.buyer\"]\nparameters = { most = { max = 1 } }\n";
    let wide = call("wide", "p", "masked = [\"buyer\"]");
    let narrow = "[[tests]]\nname = \"narrow\"\nas = \"p\"\nendpoint = \"sales\"\narguments = { most = 1 }\n\
        expect = { unmasked = [\"buyer\"], values = [{ buyer = \"Ada\" }] }\n";
    project.write("tests/a.toml", format!("{access}{wide}{narrow}"));
    project.ok(&["test"]);
}

#[test]
fn what_is_run_is_chosen_by_file_and_by_name() {
    let project = project();
    project.write(
        "tests/a.toml",
        format!("{ACCESS}{}{}", call("first one", "one", "rows = 3"), call("second", "one", "rows = 9")),
    );
    project.write("tests/b.toml", format!("{ACCESS}{}", call("first two", "one", "rows = 3")));
    project.write("tests/.hidden.toml", "no TOML");
    project.write("tests/notes.md", "no TOML");
    assert!(project.run(&["test"]).stdout.ends_with("3 tests: 2 passed, 1 failed\n"));
    let said = project.ok(&["test", "--filter", "first"]);
    assert_eq!(said, "ok      tests/a.toml: first one\nok      tests/b.toml: first two\n2 tests: 2 passed, 0 failed\n");
    project.ok(&["test", "tests/b.toml"]);
    assert!(project.fails(&["test", "--filter", "third"]).contains("no test has `third` in its name"));
    assert!(project.fails(&["test", "tests/c.toml"]).contains("cannot be read"));
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = project.command(&["test", "tests/b.toml", "--project"]);
    let ran = Ran::of(command.arg(project.path()).current_dir(elsewhere.path()).output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn without_principals_of_its_own_a_file_uses_the_store() {
    let project = project();
    project.write("tests/a.toml", call("t", "acme", "rows = 3"));
    assert!(project.fails(&["test"]).contains("there is no access store at"));
    assert!(!project.path().join("access.db").exists());
    project.ok(&["principal", "add", "acme", "--attribute", "client_id=1", "--role", "client"]);
    project.ok(&["grant", "add", "--role", "client", "--endpoint", "sales"]);
    project.ok(&["test"]);
    // A file with its own principals does not use the access store.
    project.write("tests/a.toml", format!("[principals.acme]\n{}", call("t", "acme", "status = 403")));
    project.ok(&["test"]);
}
