//! Tests the shapes of callers and arguments: the key by which a template is cached, and that no value ever changes a
//! plan's form.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use lakegate_core::error::Code;
use proptest::prelude::*;

use super::testing;
use crate::plan::PlannedProject;

const SQL: &str = "/*---
summary = \"s\"
[params.n]
type = \"integer\"
[params.x]
type = \"number\"
[params.text]
type = \"string\"
[params.day]
type = \"timestamp\"
[params.ids]
type = \"integer[]\"
[params.flag]
type = \"boolean\"
[params.maybe]
type = \"string\"
required = false
---*/
SELECT t.id, $text AS said, $n + t.id AS moved, count(*) AS c
FROM trackcode AS t JOIN \"order\" AS o ON o.trackcode_id = t.id AND o.id <> $n
WHERE t.price >= $x AND t.creation < $day AND t.id IN ($ids, $n) AND t.note <> $text AND ($maybe IS NULL OR t.note = $maybe)
  AND ($flag OR EXISTS (SELECT 1 FROM city WHERE city.id = t.city_id AND city.name LIKE $text))
GROUP BY t.id, $n + t.id HAVING count(*) > $n";

async fn project(config: &str, sql: &str) -> PlannedProject {
    testing::project(&testing::cases_folder().join("lake"), config, &[("e", sql)]).await
}

/// Nodes and schemas, without expressions.
fn form(plan: &LogicalPlan) -> String {
    let mut form = String::new();
    plan.apply_with_subqueries(|node| {
        let name = node.display().to_string().split([':', ' ']).next().unwrap_or_default().to_owned();
        form += &format!("{name} {:?}\n", node.schema().fields());
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    form
}

/// The form without the numbers in the optimiser's names.
fn bare(form: &str) -> String {
    form.chars().filter(|each| !each.is_ascii_digit()).collect()
}

#[derive(Clone, Debug)]
struct Arguments {
    n: i64,
    x: f64,
    text: String,
    micros: i64,
    ids: Vec<i64>,
    flag: bool,
    maybe: String,
}

impl Arguments {
    fn json(&self) -> String {
        let day = chrono::DateTime::from_timestamp_micros(self.micros).unwrap();
        let day = day.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        serde_json::json!({
            "n": self.n, "x": self.x, "text": self.text, "day": day, "ids": self.ids, "flag": self.flag, "maybe": self.maybe,
        })
        .to_string()
    }
}

fn arguments() -> impl Strategy<Value = Arguments> {
    let text =
        || prop_oneof!["[^\0]{0,12}", Just("x' OR '1'='1".to_owned()), Just("$n".to_owned()), Just("NULL".to_owned())];
    // Lists of three and four items have one shape.
    let ids = proptest::collection::vec(any::<i64>(), 3..=4);
    let x = any::<f64>().prop_filter("JSON has no other numbers", |x| x.is_finite());
    (any::<i64>(), x, text(), -60_000_000_000_000_000_i64..=200_000_000_000_000_000, ids, any::<bool>(), text())
        .prop_map(|(n, x, text, micros, ids, flag, maybe)| Arguments { n, x, text, micros, ids, flag, maybe })
}

#[test]
fn no_argument_changes_the_form_of_a_plan() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let project = runtime.block_on(project(&testing::config(), SQL));
    let who = testing::principal("client_id=1");
    let plain = r#"{"n": 1, "x": 1.5, "text": "a", "day": "2022-10-01", "ids": [1, 2, 3], "flag": true, "maybe": "b"}"#;
    let expected = testing::governed(&project, &who, "e", plain).unwrap();
    let expected = bare(&form(&expected.plan().unwrap()));
    proptest!(ProptestConfig::with_cases(200), |(arguments in arguments())| {
        match testing::governed(&project, &who, "e", &arguments.json()) {
            Ok(plan) => {
                prop_assert_eq!(bare(&form(&plan.plan().unwrap())), expected.clone());
                prop_assert!(!plan.display().contains("$n +") || plan.display().contains("Int64("));
            }
            // A value that does not fit into a column's type is refused and not converted.
            Err(error) => prop_assert!(error.code == Code::ArgumentsInvalid, "{}", error),
        }
    });
}

#[tokio::test]
async fn every_attribute_gives_the_form_of_its_shape() {
    let sql = "SELECT e.id FROM event e JOIN trackcode t ON t.id <> e.id";
    let project = project(&testing::config(), sql).await;
    let forms = |callers: &[&str]| {
        let form_of = |caller: &&str| {
            bare(&form(&testing::governed(&project, &testing::principal(caller), "e", "{}").unwrap().plan().unwrap()))
        };
        callers.iter().map(form_of).collect::<BTreeSet<_>>()
    };
    assert_eq!(forms(&["client_id=1", "client_id=0", "client_id=-9223372036854775808"]).len(), 1);
    assert_eq!(forms(&["client_id:integer[]=1,2,3", "client_id:integer[]=7,7,7,7"]).len(), 1);
}

#[tokio::test]
async fn schemas_of_the_answer_do_not_depend_on_the_shape() {
    let sql = "/*---\nsummary = \"s\"\n[params.n]\ntype = \"integer\"\nrequired = false\n---*/\n\
               SELECT id, $n AS n, coalesce($n, id) AS m, price FROM trackcode WHERE $n IS NULL OR id > $n";
    let project = project(&testing::config(), sql).await;
    for caller in ["client_id=1", "client_id:integer[]=", "client_id:integer[]=1,2,3", "role=operator"] {
        for arguments in ["{}", r#"{"n": 3}"#] {
            let plan = testing::governed(&project, &testing::principal(caller), "e", arguments).unwrap();
            let physical = testing::physical(&plan).await;
            for (declared, got) in plan.schema().fields().iter().zip(physical.schema().fields()) {
                let (declared, got) = ((declared.name(), declared.data_type()), (got.name(), got.data_type()));
                assert_eq!(declared, got, "{caller} {arguments}");
            }
        }
    }
}

/// An empty list removes only its own side of an `OR`.
#[tokio::test]
async fn an_empty_list_empties_its_side_of_a_policy_alone() {
    let policy = "client_id IN (principal('client_id'))";
    let either = "client_id IN (principal('client_id')) OR city_id IN (principal('city'))";
    let config = testing::config().replace(policy, either);
    let project = project(&config, "SELECT id FROM trackcode ORDER BY id").await;
    let cases = [
        ("client_id=2 city:integer[]=", vec!["105", "106"]),
        ("client_id:integer[]= city=3", vec!["106"]),
        ("client_id:integer[]= city:integer[]=2,2", vec!["102", "107"]),
        ("client_id:integer[]= city:integer[]=", vec![]),
        ("client_id=3 city=3", vec!["106", "107"]),
    ];
    for (caller, expected) in cases {
        let plan = testing::governed(&project, &testing::principal(caller), "e", "{}")
            .unwrap_or_else(|error| panic!("{caller}: {error:?}"));
        assert_eq!(testing::rows(plan).await.unwrap(), expected, "{caller}");
    }
}

/// A policy with `NOT IN` over an empty list would let every row through, but a caller with an empty list must see
/// nothing.
#[tokio::test]
async fn an_empty_list_lets_nothing_through_a_policy_with_not_in() {
    let config =
        testing::config().replace("client_id IN (principal('client_id'))", "client_id NOT IN (principal('client_id'))");
    let project = project(&config, "SELECT id FROM trackcode ORDER BY id").await;
    for (caller, expected) in [("client_id:integer[]=", vec![]), ("client_id:integer[]=1,2", vec!["107"])] {
        let plan = testing::governed(&project, &testing::principal(caller), "e", "{}").unwrap();
        assert_eq!(testing::rows(plan).await.unwrap(), expected, "{caller}");
    }
}

/// The name of a common table expression in a filter does not hide a table from governance.
#[tokio::test]
async fn a_filter_is_governed_through_a_common_table_expression_of_the_same_name() {
    let through = "trackcode_id IN (WITH trackcode AS (SELECT id FROM trackcode) SELECT id FROM trackcode)";
    let config = testing::config().replace("trackcode_id IN (SELECT id FROM trackcode)", through);
    let project = project(&config, "SELECT id FROM \"order\" ORDER BY id").await;
    let plan = testing::governed(&project, &testing::principal("client_id=1"), "e", "{}").unwrap();
    assert_eq!(testing::rows(plan).await.unwrap(), ["201", "202", "203"]);
    let refused = testing::governed(&project, &testing::principal(""), "e", "{}").unwrap_err();
    assert_eq!(refused.code, Code::AccessAttributeMissing);
}

/// Callers choose which arguments they omit, and each choice has its own plan.
#[tokio::test]
async fn plans_of_many_shapes_are_kept_up_to_a_bound() {
    let names = (0..8).map(|at| format!("p{at}")).collect::<Vec<_>>();
    let params = names.iter().map(|name| format!("[params.{name}]\ntype = \"integer\"\nrequired = false\n"));
    let conditions = names.iter().map(|name| format!("(${name} IS NULL OR t.id <> ${name} AND o.id + 1 <> ${name})"));
    let sql = format!(
        "/*---\nsummary = \"s\"\n{}---*/\nSELECT t.*, o.id AS o FROM trackcode t JOIN \"order\" o ON o.trackcode_id = t.id WHERE {}",
        params.collect::<String>(),
        conditions.collect::<Vec<_>>().join(" AND ")
    );
    let project = project(&testing::config(), &sql).await;
    let who = testing::principal("client_id=1");
    for choice in 0..256 {
        let given = names.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1);
        let arguments = given.map(|(_, name)| (name.clone(), 1.into())).collect::<serde_json::Map<_, _>>();
        testing::governed(&project, &who, "e", &serde_json::Value::Object(arguments).to_string()).unwrap();
    }
    let (bytes, count) = project.find("e").unwrap().templates().kept();
    assert!(bytes <= 32 << 20 && count < 256 && count > 16, "{count} plans of {bytes} bytes");
}
