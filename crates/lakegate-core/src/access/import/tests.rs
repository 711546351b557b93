//! Access-control tables in every shape that they take over time.

use proptest::prelude::*;

use super::*;
use crate::value::Scalar;

const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const C: &str = "cccccccc-0000-4000-8000-000000000003";

fn row(number: usize, client: Option<i64>, key: Option<&str>, endpoints: &[&str]) -> ImportRow {
    let endpoints = endpoints.iter().map(|name| (*name).to_owned()).collect();
    ImportRow { row: number, client, key: key.map(str::to_owned), endpoints }
}

fn hash(key: &str) -> TokenHash {
    PresentedToken::parse(key).unwrap().hash()
}

fn clients(plan: &ImportPlan) -> Vec<(i64, Vec<TokenHash>)> {
    plan.clients.iter().map(|client| (client.client_id, client.keys.iter().copied().collect())).collect()
}

#[test]
fn each_client_gets_its_key_and_endpoints() {
    let plan =
        plan(&[row(1, Some(2), Some(B), &["y"]), row(2, Some(1), Some(A), &["x", "y"]), row(3, Some(3), Some(C), &[])]);
    assert_eq!(clients(&plan), [(1, vec![hash(A)]), (2, vec![hash(B)]), (3, vec![hash(C)])]);
    assert_eq!(plan.clients[0].principal(), "client-1");
    assert_eq!(plan.clients[0].endpoints.iter().collect::<Vec<_>>(), ["x", "y"]);
    assert!(plan.clients[2].endpoints.is_empty());
    assert!(plan.conflicts.is_empty() && plan.without_key.is_empty());
}

#[test]
fn a_key_of_two_clients_is_nobodys() {
    let plan =
        plan(&[row(1, Some(1), Some(A), &["x"]), row(2, Some(2), Some(A), &["x"]), row(3, Some(3), Some(C), &["x"])]);
    assert_eq!(clients(&plan), [(1, vec![]), (2, vec![]), (3, vec![hash(C)])]);
    assert_eq!(plan.conflicts, [Conflict::SharedKey { key: hash(A), clients: vec![1, 2], in_force: None }]);
    let message = plan.conflicts[0].to_string();
    assert!(message.contains("(1, 2)") && !message.contains(&A[..9]), "{message}");
    assert!(plan.without_key.is_empty(), "they have a key in the table, and its conflict is reported");
}

#[test]
fn a_key_of_a_client_and_of_a_row_without_one_is_nobodys() {
    let plan = plan(&[row(1, Some(1), Some(A), &["x"]), row(2, None, Some(A), &["x"])]);
    assert_eq!(clients(&plan), [(1, vec![])]);
    assert_eq!(plan.conflicts.len(), 2);
    assert_eq!(plan.conflicts[0], Conflict::NoClient { row: 2 });
    assert_eq!(plan.conflicts[1].kind(), "shared_key");
}

#[test]
fn missing_keys_are_no_shared_key() {
    let plan = plan(&[row(1, Some(1), None, &["x"]), row(2, Some(2), None, &["x"])]);
    assert_eq!(clients(&plan), [(1, vec![]), (2, vec![])]);
    assert_eq!((plan.conflicts.len(), plan.without_key), (0, vec![1, 2]));
}

#[test]
fn two_rows_of_one_client() {
    // A duplicate row counts once.
    let twice = plan(&[row(1, Some(1), Some(A), &["x"]), row(2, Some(1), Some(A), &["x"])]);
    assert_eq!(clients(&twice), [(1, vec![hash(A)])]);
    assert!(twice.conflicts.is_empty());
    // Two keys with the same endpoints are two tokens.
    let two =
        plan(&[row(1, Some(1), Some(A), &["x"]), row(2, Some(1), Some(B), &["x"]), row(3, Some(1), None, &["x"])]);
    assert_eq!(clients(&two), [(1, vec![hash(A), hash(B)])]);
    assert!(two.conflicts.is_empty() && two.without_key.is_empty());
    // Two keys with different endpoints would each get the endpoints of the other.
    let differing =
        plan(&[row(1, Some(1), Some(A), &["x"]), row(2, Some(1), Some(B), &["y"]), row(3, Some(3), Some(C), &[])]);
    assert_eq!(clients(&differing), [(3, vec![hash(C)])]);
    assert_eq!(differing.conflicts, [Conflict::DifferingRows { client: 1, rows: vec![1, 2] }]);
}

#[test]
fn a_key_that_can_not_be_a_token_is_refused() {
    let plan = plan(&[row(1, Some(1), Some("short"), &[]), row(2, Some(2), Some("with a space"), &[])]);
    assert_eq!(clients(&plan), [(1, vec![]), (2, vec![])]);
    assert_eq!(plan.conflicts.iter().map(Conflict::kind).collect::<Vec<_>>(), ["unusable_key"; 2]);
    assert!(!format!("{plan:?} {}", plan.conflicts[0]).contains("short\""));
}

fn text(text: &str) -> Option<Scalar> {
    Some(Scalar::String(text.to_owned()))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn cells_of_both_formats_are_read() {
    let columns = names(&["x", "y", "ID", "enterprisekey"]);
    let cells = [
        vec![Some(Scalar::Boolean(true)), None, Some(Scalar::Integer(1)), text(A)],
        vec![text("TRUE"), text("f"), text("2"), text("")],
        vec![text("0"), text("1"), text("3.0"), None],
        vec![text(""), text("t"), Some(Scalar::Number(4.0)), None],
        vec![None, None, text("x5"), None],
        vec![None, None, Some(Scalar::Number(1.5)), None],
    ];
    let rows = table(&columns, &cells, &[]).unwrap();
    assert_eq!(
        rows,
        [
            row(1, Some(1), Some(A), &["x"]),
            row(2, Some(2), None, &["x"]),
            row(3, Some(3), None, &["y"]),
            row(4, Some(4), None, &["y"]),
            row(5, None, None, &[]),
            row(6, None, None, &[]),
        ]
    );
    assert!(!format!("{rows:?}").contains(A));
}

#[test]
fn a_table_that_is_something_else_is_refused() {
    let error = |columns: &[&str], cells: &[Vec<Option<Scalar>>], ignore: &[&str]| {
        table(&names(columns), cells, &names(ignore)).unwrap_err().to_string()
    };
    assert_eq!(error(&["id", "x"], &[], &[]), "there is no column `enterpriseKey`; the table has `id`, `x`");
    assert!(error(&["enterpriseKey", "x"], &[], &[]).contains("`id`"));
    assert!(error(&["id", "enterpriseKey"], &[], &[]).contains("no endpoint column"));
    assert!(error(&["id", "Id", "enterpriseKey", "x"], &[], &[]).contains("two columns"));
    assert!(error(&["id", "enterpriseKey", "x", "x"], &[], &[]).contains("two columns"));
    assert!(error(&["id", "enterpriseKey", "a b"], &[], &[]).contains("--ignore-column"));
    assert!(error(&["id", "enterpriseKey", "x"], &[], &["z"]).contains("`z`"));
    assert!(error(&["id", "enterpriseKey", "x"], &[], &["id"]).contains("`id`"));

    let cells = [vec![Some(Scalar::Integer(1)), text(A), text("secret"), None]];
    let columns = ["id", "enterpriseKey", "name", "x"];
    let message = error(&columns, &cells, &[]);
    assert!(message.contains("`name`") && message.contains("row 1") && !message.contains("secret"), "{message}");
    assert!(table(&names(&columns), &cells, &names(&["name"])).is_ok());
    let cells = [vec![Some(Scalar::Integer(1)), Some(Scalar::Integer(1)), None, None]];
    assert!(error(&columns, &cells, &[]).contains("not text"));
}

fn any_row() -> impl Strategy<Value = (Option<i64>, Option<&'static str>, bool, bool)> {
    let client = prop_oneof![4 => (0i64..4).prop_map(Some), 1 => Just(None)];
    let key = prop_oneof![4 => prop_oneof![Just(A), Just(B), Just(C), Just("short")].prop_map(Some), 1 => Just(None)];
    (client, key, any::<bool>(), any::<bool>())
}

proptest! {
    /// Over all small tables: no key gets more access than its rows of the table had.
    #[test]
    fn no_key_opens_more_than_it_did(rows in proptest::collection::vec(any_row(), 0..10)) {
        let rows: Vec<ImportRow> = rows
            .into_iter()
            .enumerate()
            .map(|(at, (client, key, x, y))| {
                let endpoints: Vec<&str> = [(x, "x"), (y, "y")].into_iter().filter_map(|(on, name)| on.then_some(name)).collect();
                row(at + 1, client, key, &endpoints)
            })
            .collect();
        let plan = plan(&rows);
        let mut seen = BTreeSet::new();
        for client in &plan.clients {
            for key in &client.keys {
                prop_assert!(seen.insert(*key), "one key, one client");
                let of_key: Vec<&ImportRow> = rows.iter().filter(|row| row.key.as_deref().is_some_and(|text| text != "short" && hash(text) == *key)).collect();
                prop_assert!(!of_key.is_empty());
                for row in of_key {
                    prop_assert_eq!(row.client, Some(client.client_id));
                    prop_assert_eq!(&row.endpoints, &client.endpoints);
                }
            }
        }
        // Nothing is dropped silently: every client is planned or in a conflict.
        for row in &rows {
            if let Some(id) = row.client {
                let planned = plan.clients.iter().any(|client| client.client_id == id);
                prop_assert!(planned || plan.conflicts.iter().any(|conflict| conflict.clients().contains(&id)));
            }
        }
    }
}
