//! Tests of parsing test files, and of the findings for invalid ones.

use serde_json::json;

use super::*;
use crate::access::{Effect, EndpointPattern, Grantee};
use crate::error::Code;

fn read(text: &str) -> (PolicyTestFile, Vec<String>) {
    let (file, findings) = PolicyTestFile::read("tests/a.toml", text);
    (file, findings.iter().map(ToString::to_string).collect())
}

/// The findings for a test with this expectation.
fn faults_of(expect: &str) -> Vec<String> {
    let (_, findings) =
        read(&format!("[[tests]]\nname = \"t\"\nas = \"p\"\nendpoint = \"e\"\n[tests.expect]\n{expect}"));
    findings
}

#[test]
fn everything_can_be_said() {
    let (file, findings) = read(
        r#"
[principals.partner-1]
roles = ["partner"]
[principals.partner-1.attributes]
client_id = 4562
ratio = 0.5
is_new = true
city = "Wien"
day = 2022-01-01
ids = [1, 2]
since = { type = "date", value = "2022-01-01" }
none = { type = "integer[]", value = [] }

[[grants]]
role = "partner"
endpoint = "orders"
columns = ["id"]
unmask = ["tag:address", "trackcode.drop_point"]
max_rows = 1000
spans = [{ from = "start", to = "end", at_most = "31d" }]
[grants.parameters.city]
one_of = ["a", 1]
[grants.parameters.day]
min = 2022-01-01

[[grants]]
principal = "partner-1"
endpoint = "*"
effect = "deny"
columns = ["price"]

[[tests]]
name = "all"
as = "partner-1"
endpoint = "orders"
arguments = { start = "2022-10-01", day = 2022-10-02, n = 1, list = [1.5, true] }
select = "id"
order = "id.desc"
[tests.expect]
status = 200
min_rows = 1
max_rows = 20
columns = ["id"]
absent = ["price"]
masked = ["a"]
unmasked = ["id"]
only_rows_where = "id > 0"
values = [{ id = 1 }, { id = 2.5 }]
contains = [{ id = 1, at = 2022-10-01T00:00:00 }]

[[tests]]
name = "refused"
as = "partner-1"
endpoint = "orders"
[tests.expect]
status = 403
code = "access_not_granted"
detail_contains = "granted"
"#,
    );
    assert_eq!(findings, Vec::<String>::new());
    let access = file.access.unwrap();
    let partner = &access.principals["partner-1"];
    let attributes = partner.attributes.iter().map(|(name, value)| (name.as_str(), value.value_type().name()));
    let wanted = [
        ("city", "string"),
        ("client_id", "integer"),
        ("day", "date"),
        ("ids", "integer[]"),
        ("is_new", "boolean"),
        ("none", "integer[]"),
        ("ratio", "number"),
        ("since", "date"),
    ];
    assert_eq!(attributes.collect::<Vec<_>>(), wanted.map(|(name, value)| (name, value.to_owned())));
    assert!(partner.roles.contains("partner"));
    let [allow, deny] = &access.grants[..] else { panic!("{:?}", access.grants) };
    assert_eq!((&allow.to, allow.effect), (&Grantee::Role("partner".to_owned()), Effect::Allow));
    assert_eq!(
        serde_json::to_value(&allow.terms).unwrap(),
        json!({
            "columns": ["id"],
            "unmask": ["trackcode.drop_point", "tag:address"],
            "parameters": { "city": { "one_of": ["a", "1"] }, "day": { "min": "2022-01-01" } },
            "spans": [{ "from": "start", "to": "end", "at_most": "31d" }],
            "max_rows": 1000,
        })
    );
    assert_eq!((&deny.endpoint, deny.effect), (&EndpointPattern::All, Effect::Deny));
    assert_eq!(allow.id, "tests/a.toml:14:1");

    let [all, refused] = &file.tests[..] else { panic!("{:?}", file.tests) };
    let arguments = json!({ "start": "2022-10-01", "day": "2022-10-02", "n": 1, "list": [1.5, true] });
    assert_eq!(Json::Object(all.arguments.clone()), arguments);
    assert_eq!((all.select.as_deref(), all.order.as_deref()), (Some("id"), Some("id.desc")));
    assert!(all.expect.is_answer() && !refused.expect.is_answer());
    assert_eq!(refused.expect.code, Some(Code::AccessNotGranted));
    assert_eq!(all.expect.contains[0]["at"], "2022-10-01T00:00:00");
    assert_eq!(all.name.position.to_string(), "tests/a.toml:33:8");
}

#[test]
fn a_file_without_principals_and_grants_uses_the_store() {
    let (file, findings) = read("[[tests]]\nname = \"t\"\nas = \"p\"\nendpoint = \"e\"\nexpect = { status = 200 }\n");
    assert_eq!(findings, Vec::<String>::new());
    assert!(file.access.is_none() && file.tests[0].expect.is_answer());
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    let (_, findings) = read(
        "[[tests]]\nname = \"t\"\nas = \"p\"\nendpont = \"e\"\n[tests.expect]\nstaus = 200\nrows = 1\n[[grant]]\nrole = \"r\"\n",
    );
    assert_eq!(
        findings,
        [
            "tests/a.toml:1:1: [[tests]] has no `endpoint`; add it, such as `endpoint = \"orders\"`",
            "tests/a.toml:4:1: unknown key `endpont` in [[tests]]; did you mean `endpoint`?",
            "tests/a.toml:6:1: unknown key `staus` in [tests.expect]; did you mean `status`?",
            "tests/a.toml:8:3: unknown key `grant` in the file; did you mean `grants`?",
        ]
    );
}

#[test]
fn expectations_that_can_never_hold_are_refused() {
    for (expect, wanted) in [
        ("", "expects nothing proves nothing"),
        ("status = 403\nrows = 1", "a refusal has no rows"),
        ("code = \"access_not_granted\"\nabsent = [\"a\"]", "a refusal has no rows"),
        ("status = 200\ncode = \"access_not_granted\"", "status 200 has no `code`"),
        ("rows = 1\nmin_rows = 1", "`rows` is the exact number"),
        ("min_rows = 2\nmax_rows = 1", "`min_rows` is more than `max_rows`"),
        ("masked = [\"a\"]\nunmasked = [\"a\"]", "contrary things are expected of column `a`"),
        ("masked = [\"a\"]\nabsent = [\"a\"]", "contrary things are expected of column `a`"),
        ("contains = [{}]", "names no column"),
        ("contains = []", "names no column"),
        ("columns = []", "`columns` names no column"),
        ("status = 99", "must be a whole number from 200 to 599"),
        ("code = \"access_not_grnated\"", "did you mean `access_not_granted`?"),
        ("rows = -1", "must be a whole number"),
    ] {
        let faults = faults_of(expect);
        assert!(faults.len() == 1 && faults[0].contains(wanted), "{expect}: {faults:#?}");
    }
    assert_eq!(faults_of("values = []"), Vec::<String>::new());
}

#[test]
fn tests_lack_nothing_and_have_names_of_their_own() {
    let (_, findings) =
        read("[[tests]]\nname = \"t\"\n[[tests]]\nname = \" \"\nas = \"p\"\nendpoint = \"e\"\nexpect = { rows = 1 }\n");
    let wanted = ["has no `as`", "has no `endpoint`", "expects nothing", "empty name"];
    assert!(wanted.iter().all(|text| findings.iter().any(|finding| finding.contains(text))), "{findings:#?}");
    let one = "[[tests]]\nname = \"t\"\nas = \"p\"\nendpoint = \"e\"\nexpect = { rows = 1 }\n";
    let (_, findings) = read(&format!("{one}{one}"));
    assert_eq!(findings, ["tests/a.toml:7:8: there are two tests `t`; say in the name what only this one proves"]);
}

#[test]
fn principals_and_grants_that_make_no_sense_are_refused() {
    for (text, wanted) in [
        ("[principals.\"a b\"]", "contains ' '"),
        ("[principals.a]\nroles = [\"1\"]", "starts with '1'"),
        ("[principals.a]\nrole = [\"r\"]", "unknown key `role` in [principals.a]; did you mean `roles`?"),
        ("[principals.a.attributes]\nids = []", "the empty list `ids`"),
        ("[principals.a.attributes]\nids = [1, \"a\"]", "of several types"),
        ("[principals.a.attributes]\nat = 07:00:00", "no value that an attribute can have"),
        ("[principals.a.attributes]\nn = nan", "no number that JSON has"),
        (
            "[principals.a.attributes]\nn = { type = \"int\", value = 1 }",
            "there is no type `int`; did you mean `integer`?",
        ),
        ("[principals.a.attributes]\nn = { type = \"integer\", value = \"1\" }", "attribute `n` is not a whole number"),
        ("[principals.a.attributes]\nn = { value = 1 }", "needs a `type` and a `value`"),
        ("[[grants]]\nendpoint = \"e\"", "to a role or to a principal"),
        ("[[grants]]\nrole = \"r\"\nprincipal = \"a\"\nendpoint = \"e\"", "to a role or to a principal"),
        ("[[grants]]\nrole = \"r\"", "[[grants]] has no `endpoint`"),
        ("[[grants]]\nrole = \"r\"\nendpoint = \"e\"\neffect = \"denny\"", "did you mean `deny`?"),
        ("[[grants]]\nrole = \"r\"\nendpoint = \"e\"\ncolumns = []", "a grant of no columns"),
        ("[[grants]]\nrole = \"r\"\nendpoint = \"e\"\neffect = \"deny\"\nmax_rows = 1", "a denial takes away"),
        ("[[grants]]\nrole = \"r\"\nendpoint = \"e\"\nunmask = [\"pii\"]", "write `table.column`"),
        (
            "[[grants]]\nrole = \"r\"\nendpoint = \"e\"\nspans = [{ from = \"a\", to = \"b\", at_most = \"1y\" }]",
            "`1y` is no distance",
        ),
        ("[[grants]]\nprincipal = \"b\"\nendpoint = \"e\"\n[principals.a]", "to principal `b`, which the file has not"),
    ] {
        let (_, faults) = read(text);
        assert!(faults.len() == 1 && faults[0].contains(wanted), "{text}: {faults:#?}");
    }
}

#[test]
fn what_is_not_toml_is_said_once() {
    let (_, findings) = read("[[tests]\nname = 1");
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding.contains("not valid TOML")), "{findings:#?}");
}
