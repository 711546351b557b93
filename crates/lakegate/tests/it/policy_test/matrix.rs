//! `lakegate test --matrix`: the access of each role or principal, and detection of wider access than was saved.

use serde_json::{Value as Json, json};

use crate::policy_test::expectations::{ACCESS, call, project, run_json};
use crate::support::binary::Project;

/// The changes since the matrix was saved, as widened and narrowed access. Checks the exit code.
fn changes(project: &Project) -> (Vec<String>, Vec<String>) {
    let (code, said) = run_json(project, &["--matrix"]);
    let list = |key: &str| {
        let changes = said["comparison"][key].as_array().unwrap_or_else(|| panic!("{said:#}")).iter();
        let text = |change: &Json, key: &str| change[key].as_str().unwrap_or("-").to_owned();
        let told = changes
            .map(|each| format!("{}/{}: {}", text(each, "subject"), text(each, "endpoint"), text(each, "change")));
        told.collect::<Vec<_>>()
    };
    let (widened, narrowed) = (list("widened"), list("narrowed"));
    assert_eq!(code, Some(i32::from(!widened.is_empty())), "{said:#}");
    (widened, narrowed)
}

/// Saves the matrix with one grant, and compares it with the matrix of another grant.
fn of_grants(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let project = project();
    let grant = |terms: &str| format!("[[grants]]\nrole = \"client\"\nendpoint = \"sales\"\n{terms}\n");
    project.write("tests/a.toml", grant(before));
    project.ok(&["test", "--matrix", "--save"]);
    project.write("tests/a.toml", grant(after));
    changes(&project)
}

#[test]
fn the_matrix_tells_who_may_what() {
    let project = project();
    project.write("tests/a.toml", ACCESS);
    let said = project.ok(&["test", "--matrix"]);
    let lines =
        said.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect::<Vec<_>>());
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            vec!["ROLE", "products", "sales"],
            vec!["client", "no", "own rows, 4 of 5 columns, 1 masked"],
            vec!["operator", "shared rows", "all rows"],
        ]
    );
    project.write("endpoints/a.sql", "/*---\nsummary = \"s\"\n---*/\nSELECT 1 AS a");
    project.write("endpoints/b.sql", "/*---\nsummary = \"s\"\n---*/\nSELECT 1 AS a");
    let said = project.ok(&["test", "--matrix", "--by", "principal"]);
    assert!(said.starts_with("PRINCIPAL") && said.contains("ENDPOINT"), "{said}");
    assert_eq!(said.lines().count(), 1 + 2 * 4, "{said}");
}

#[test]
fn what_is_saved_is_sorted_and_can_be_reviewed() {
    let project = project();
    project.write("tests/a.toml", ACCESS);
    let (code, said) = run_json(&project, &["--matrix", "--save"]);
    assert_eq!((code, &said["saved"], &said["by"]), (Some(0), &json!(true), &json!("role")));
    let saved: Json =
        serde_json::from_str(&std::fs::read_to_string(project.path().join("tests/matrix.json")).unwrap()).unwrap();
    assert_eq!(
        saved,
        json!({
            "by": "role",
            "subjects": {
                "client": { "sales": {
                    "columns": ["buyer", "client_id", "id", "price"],
                    "masked": { "buyer": ["sale.buyer: redact"] },
                    "rows": { "sale": "filtered: client_id IN (principal('client_id'))" },
                } },
                "operator": {
                    "products": { "columns": ["name"], "rows": { "product": "shared" } },
                    "sales": {
                        "columns": ["buyer", "client_id", "id", "price", "product"],
                        "rows": { "sale": "unfiltered" },
                    },
                },
            },
        })
    );
    assert_eq!(changes(&project), (vec![], vec![]));
}

#[test]
fn a_missing_file_is_no_failure_and_says_what_to_do() {
    let project = project();
    project.write("tests/a.toml", ACCESS);
    let ran = project.run(&["test", "--matrix"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("nothing is saved to compare with; `--save`"), "{ran:?}");
}

#[test]
fn new_subjects_and_endpoints_are_wider() {
    let project = project();
    project.write("tests/a.toml", ACCESS);
    project.ok(&["test", "--matrix", "--save"]);
    let more = "[[grants]]\nrole = \"guest\"\nendpoint = \"products\"\n[[grants]]\nrole = \"client\"\nendpoint = \"products\"\n";
    project.write("tests/b.toml", format!("{more}[principals.x]\nroles = [\"idle\"]\n"));
    let (widened, narrowed) = changes(&project);
    assert_eq!(widened, ["client/products: may call it now", "guest/-: is new, and may call `products`"]);
    assert_eq!(narrowed, ["idle/-: is new, and may call nothing"]);
    let ran = project.run(&["test", "--matrix"]);
    assert!(ran.stdout.contains("WIDER   client at products: may call it now\n"), "{}", ran.stdout);
    assert!(ran.stderr.contains("access is wider than saved"), "{}", ran.stderr);
    // Saving accepts the wider access.
    project.ok(&["test", "--matrix", "--save"]);
    assert_eq!(changes(&project), (vec![], vec![]));
    std::fs::remove_file(project.path().join("tests/b.toml")).unwrap();
    let (widened, narrowed) = changes(&project);
    assert_eq!(widened, Vec::<String>::new());
    assert_eq!(
        narrowed,
        [
            "client/products: may not call it any more",
            "guest/-: is not there any more",
            "idle/-: is not there any more"
        ]
    );
    let ran = project.run(&["test", "--matrix"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("`lakegate test --matrix --save` keeps it so"), "{ran:?}");
}

#[test]
fn terms_of_grants_become_wider_and_narrower() {
    let one = |text: &str| vec![format!("client/sales: {text}")];
    for (narrow, wide, widened, narrowed) in [
        (
            "columns = [\"id\"]",
            "columns = [\"id\", \"price\"]",
            "new column `price`",
            "column `price` is not given any more",
        ),
        ("max_rows = 10", "", "the cap of 10 rows is gone", "the cap is 10 rows now"),
        ("max_rows = 10", "max_rows = 11", "the cap is 11 rows, and was 10", "the cap is 10 rows now"),
        (
            "",
            "unmask = [\"tag:pii\"]",
            "column `buyer` is not masked any more; it was masked by sale.buyer: redact",
            "column `buyer` is masked by sale.buyer: redact now",
        ),
        (
            "parameters = { most = { max = 9 } }",
            "",
            "the rules for arguments are gone",
            "there are rules for arguments now",
        ),
        (
            "parameters = { most = { max = 9 } }",
            "parameters = { most = { max = 10 } }",
            "a grant with {\"parameters\":{\"most\":{\"max\":\"10\"}}} gives more than was saved, or cannot be shown not to",
            "the rules for arguments are narrower",
        ),
        (
            "spans = [{ from = \"least\", to = \"most\", at_most = \"7\" }]",
            "spans = [{ from = \"least\", to = \"most\", at_most = \"8\" }]",
            "a grant with {\"spans\":[{\"from\":\"least\",\"to\":\"most\",\"at_most\":\"8\"}]} gives more than was saved, or \
             cannot be shown not to",
            "the rules for arguments are narrower",
        ),
        (
            "parameters = { most = { fixed = 1 } }",
            "parameters = { most = { one_of = [1, 2] } }",
            "a grant with {\"parameters\":{\"most\":{\"one_of\":[\"1\",\"2\"]}}} gives more than was saved, or cannot be shown \
             not to",
            "the rules for arguments are narrower",
        ),
    ] {
        assert_eq!(of_grants(narrow, wide), (one(widened), vec![]), "{narrow} to {wide}");
        assert_eq!(of_grants(wide, narrow), (vec![], one(narrowed)), "{wide} to {narrow}");
    }
}

#[test]
fn a_rule_that_is_only_another_one_is_wider() {
    let (widened, _) = of_grants("parameters = { most = { max = 9 } }", "parameters = { least = { min = 1 } }");
    assert_eq!(widened.len(), 1);
}

/// A grant without rules must not hide that another grant gives more for some arguments.
#[test]
fn a_rule_that_guards_a_column_is_not_hidden_by_a_grant_without_rules() {
    let plain = "[[grants]]\nrole = \"client\"\nendpoint = \"sales\"\ncolumns = [\"id\"]\n";
    let guarded = |max: u32| {
        format!(
            "{plain}[[grants]]\nrole = \"client\"\nendpoint = \"sales\"\ncolumns = [\"id\", \"price\"]\n\
             parameters = {{ most = {{ max = {max} }} }}\n"
        )
    };
    let project = project();
    project.write("tests/a.toml", guarded(2));
    project.ok(&["test", "--matrix", "--save"]);
    project.write("tests/a.toml", guarded(3));
    assert_eq!(changes(&project).0.len(), 1);
    project.write("tests/a.toml", guarded(1));
    assert_eq!(changes(&project).0, Vec::<String>::new());
}

/// A role with denials only has no access anyway, but a principal may have it together with another role.
#[test]
fn a_denial_that_is_gone_or_weaker_is_wider() {
    let whole = "[[grants]]\nrole = \"contractor\"\nendpoint = \"sales\"\neffect = \"deny\"\n";
    let everywhere = whole.replace("\"sales\"", "\"*\"");
    let columns = |columns: &str| format!("{whole}columns = [{columns}]\n");
    let (one, two) = (columns("\"price\""), columns("\"price\", \"id\""));
    let split = format!("{one}{}", columns("\"id\""));
    for (strong, weak, gone) in [
        (whole, "", "the denial of the endpoint is gone or weaker"),
        (whole, &two, "the denial of the endpoint is gone or weaker"),
        (&two, &one, "the denial of columns `id`, `price` is gone or weaker"),
    ] {
        let project = project();
        project.write("tests/a.toml", format!("{ACCESS}{strong}"));
        project.ok(&["test", "--matrix", "--save"]);
        project.write("tests/a.toml", format!("{ACCESS}{weak}"));
        assert_eq!(changes(&project).0, [format!("role contractor/sales: {gone}")], "{strong}");
        project.ok(&["test", "--matrix", "--save"]);
        project.write("tests/a.toml", format!("{ACCESS}{strong}"));
        let (widened, narrowed) = changes(&project);
        assert_eq!((widened.len(), narrowed.is_empty()), (0, false), "{strong}: {widened:#?}");
    }
    for (before, after) in [(whole, everywhere.as_str()), (&two, &split), (&two, whole)] {
        let project = project();
        project.write("tests/a.toml", format!("{ACCESS}{before}"));
        project.ok(&["test", "--matrix", "--save"]);
        project.write("tests/a.toml", format!("{ACCESS}{after}"));
        assert_eq!(changes(&project).0, Vec::<String>::new(), "{before} to {after}");
    }
}

#[test]
fn policies_become_wider_and_narrower() {
    let filter = "row_filter = \"client_id IN (principal('client_id'))\"\nunfiltered_for = [\"operator\"]";
    let mask = "[tags.pii]\nmask = \"redact\"";
    let group = ("summary = \"Sales\"", "summary = \"Sales\"\nmin_group_size = 3\nsubject = \"sale.buyer\"");
    let grouped = "/*---\nsummary = \"Sales\"\n---*/\nSELECT product, count(*) AS n FROM sale GROUP BY product";
    for (narrow, wide, file, wanted) in [
        (
            filter,
            "shared = true",
            "lakegate.toml",
            "every row of `sale` is seen (shared); it was filtered: client_id IN (principal('client_id'))",
        ),
        (
            filter,
            "row_filter = \"client_id IN (principal('client_id'))\"\nunfiltered_for = [\"client\"]",
            "lakegate.toml",
            "every row of `sale` is seen (unfiltered); it was filtered: client_id IN (principal('client_id'))",
        ),
        (
            filter,
            "row_filter = \"client_id >= principal('client_id')\"",
            "lakegate.toml",
            "the filter of `sale` is another one; filtered: client_id >= principal('client_id'); it was filtered: client_id IN \
             (principal('client_id'))",
        ),
        (
            mask,
            "[tags.pii]\nmask = { kind = \"partial\", prefix = 3 }",
            "lakegate.toml",
            "column `buyer` is masked by sale.buyer: partial(prefix 3, suffix 0) now; it was masked by sale.buyer: redact",
        ),
        (
            mask,
            "[tags.pii]",
            "lakegate.toml",
            "column `buyer` is not masked any more; it was masked by sale.buyer: redact",
        ),
        (group.1, group.0, "endpoints/sales.sql", "groups of fewer than 3 subjects are shown"),
        (
            group.1,
            "summary = \"Sales\"\nmin_group_size = 2\nsubject = \"sale.buyer\"",
            "endpoints/sales.sql",
            "groups of 2 subjects are shown, and had to have 3",
        ),
    ] {
        let project = project();
        project.write("tests/a.toml", "[[grants]]\nrole = \"client\"\nendpoint = \"sales\"\n");
        if file.starts_with("endpoints") {
            project.write(file, grouped.replace(group.0, narrow));
        }
        project.ok(&["test", "--matrix", "--save"]);
        let text = std::fs::read_to_string(project.path().join(file)).unwrap();
        assert!(text.contains(narrow), "{narrow}");
        project.write(file, text.replace(narrow, wide));
        let (widened, _) = changes(&project);
        assert_eq!(
            widened.iter().filter(|line| **line == format!("client/sales: {wanted}")).count(),
            1,
            "{widened:#?}"
        );
        // The reverse change narrows the access. For a changed filter or mask, the direction is unknown.
        project.ok(&["test", "--matrix", "--save"]);
        project.write(file, text);
        let (widened, narrowed) = changes(&project);
        let is_unknown = wanted.contains("another one") || wanted.contains("partial");
        let mine = |lines: &[String]| lines.iter().any(|line| line.starts_with("client/sales"));
        assert_eq!(
            (mine(&widened), mine(&narrowed)),
            (is_unknown, !is_unknown),
            "{wanted}: {widened:#?} {narrowed:#?}"
        );
    }
}

#[test]
fn principals_have_a_matrix_of_their_own() {
    let project = project();
    let own = "[[grants]]\nprincipal = \"two\"\nendpoint = \"sales\"\n[principals.two]\n";
    project.write("tests/a.toml", format!("{ACCESS}{own}"));
    let said = project.ok(&["test", "--matrix", "--by", "principal", "--save"]);
    assert!(said.contains("own rows, 1 masked, refused: no client_id"), "{said}");
    // The saved matrix determines whether lines are roles or principals.
    assert!(project.ok(&["test", "--matrix"]).starts_with("PRINCIPAL"));
    assert!(project.fails(&["test", "--matrix", "--by", "role"]).contains("`tests/matrix.json` is by principal"));
    project.write("tests/a.toml", format!("{ACCESS}{own}attributes = {{ client_id = 2 }}\n"));
    let (widened, _) = changes(&project);
    assert_eq!(widened, ["two/sales: calls are no longer refused for lack of attribute `client_id`"]);
    project.ok(&["test", "--matrix", "--by", "role", "--save"]);
    project.write("tests/b.toml", "[principals.two]\nroles = [\"client\"]\n");
    let ran = project.run(&["test", "--matrix"]);
    assert!(ran.code == Some(1) && ran.stdout.contains("tests/b.toml:1:1: principal `two` has other roles"), "{ran:?}");
}

#[test]
fn without_access_in_files_the_matrix_is_that_of_the_store() {
    let project = project();
    assert!(project.fails(&["test", "--matrix"]).contains("there is no access store at"));
    project.ok(&["principal", "add", "acme", "--attribute", "client_id=1", "--role", "client"]);
    project.ok(&["grant", "add", "--role", "client", "--endpoint", "sales"]);
    project.ok(&["test", "--matrix", "--save"]);
    project.ok(&["grant", "add", "--role", "client", "--endpoint", "products"]);
    assert_eq!(changes(&project).0, ["client/products: may call it now"]);
    let said = project.json(&["grant", "list"]);
    let id = said.as_array().unwrap().iter().find(|grant| grant["endpoint"] == "products").unwrap()["id"].clone();
    project.ok(&["grant", "revoke", id.as_str().unwrap()]);
    assert_eq!(changes(&project).0, Vec::<String>::new());
}

#[test]
fn tests_compare_the_matrix_when_there_is_one() {
    let project = project();
    project.write("tests/a.toml", format!("{ACCESS}{}", call("t", "one", "rows = 3")));
    let (code, said) = run_json(&project, &[]);
    assert_eq!((code, &said["matrix"]), (Some(0), &Json::Null));
    project.ok(&["test", "--matrix", "--save"]);
    assert!(project.ok(&["test"]).ends_with("1 test: 1 passed, 0 failed; access is not wider than saved\n"));
    project.write("tests/b.toml", "[[grants]]\nrole = \"guest\"\nendpoint = \"products\"\n");
    let (code, said) = run_json(&project, &[]);
    assert_eq!((code, &said["failed"], &said["ok"]), (Some(1), &json!(0), &json!(false)));
    let wider = json!({ "subject": "guest", "change": "is new, and may call `products`" });
    assert_eq!(said["matrix"]["widened"], json!([wider]));
    // A selection of tests skips the matrix.
    project.ok(&["test", "--filter", "t"]);
    project.ok(&["test", "tests/a.toml"]);
}

#[test]
fn a_file_that_can_not_be_compared_is_a_failure() {
    let project = project();
    project.write("tests/a.toml", format!("{ACCESS}{}", call("t", "one", "rows = 3")));
    for text in ["{", "{\"by\":\"role\"}", "{\"by\":\"role\",\"subjects\":{},\"more\":1}", "[]"] {
        project.write("tests/matrix.json", text);
        for arguments in [&["test"][..], &["test", "--matrix"]] {
            assert!(project.fails(arguments).contains("is no matrix that this version has saved"), "{text}");
        }
    }
    project.ok(&["test", "--matrix", "--save"]);
    project.ok(&["test"]);
}
