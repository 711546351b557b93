//! Tests masks in plans: no clause of a query reads a raw value, not even of a nested field, and a plan that lost a
//! mask is refused.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use lakegate_core::access::{Terms, Unmask};
use lakegate_core::limits::Limits;
use tempfile::TempDir;

use super::inject::{Injection, schemas_of};
use super::masking::{InForce, stand_in_key};
use super::{MaskKey, barrier::Barrier, mask, taint, testing, verify};
use crate::plan::PlannedProject;

const CONFIG: &str = r#"
[lake]
location = "."
[tables.sale]
location = "sale"
row_filter = "tenant = principal('tenant')"
unfiltered_for = ["operator"]
[tables.sale.columns.phone]
mask = { kind = "partial", suffix = 2 }
[tables.sale.columns.note]
mask = "redact"
tags = ["text"]
[tables.sale.columns.person]
mask = "hash"
tags = ["person"]
[tables.sale.columns."buyer.cid"]
mask = "null"
[tables.person]
location = "person"
shared = true
[tables.person.columns.id]
mask = "hash"
[tables.person.columns.name]
tags = ["person", "text"]
[tables.linked]
location = "person"
row_filter = "id IN (SELECT person FROM sale WHERE note LIKE 'secret%')"
[tags.person]
mask = "null"
[tags.text]
[masking]
key = "env:UNUSED"
"#;

/// Every value of a masked column contains this, so that a leak is found wherever it appears.
const RAW: &str = "secret";

fn write_lake(folder: &Path) {
    let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let tenant = text(&["a", "a", "a", "b", "b"]);
    let phone = text(&["secret-100", "secret-200", "secret-300", "secret-400", "x"]);
    let note = text(&["secret one", "secret two", "12", "secret three", "secret"]);
    let person = text(&["secret-p1", "secret-p2", "secret-p1", "secret-p3", "secret-p1"]);
    let cid = text(&["secret-c1", "secret-c2", "secret-c3", "secret-c4", "secret-c5"]);
    let city = text(&["rome", "oslo", "rome", "bonn", "bonn"]);
    let fields = Fields::from(vec![Field::new("cid", DataType::Utf8, true), Field::new("city", DataType::Utf8, true)]);
    let buyer = Arc::new(StructArray::new(fields.clone(), vec![cid, city], None)) as ArrayRef;
    let id = Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5])) as ArrayRef;
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("tenant", DataType::Utf8, true),
        Field::new("phone", DataType::Utf8, false),
        Field::new("note", DataType::Utf8, true),
        Field::new("person", DataType::Utf8, true),
        Field::new("buyer", DataType::Struct(fields), true),
    ]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![id, tenant, phone, note, person, buyer]).unwrap();
    testing::write_parquet(&folder.join("sale.parquet"), &schema, &testing::one_by_one(&[rows]));
    let schema =
        Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new("name", DataType::Utf8, true)]));
    let columns =
        vec![text(&["secret-p1", "secret-p2", "secret-p3"]), text(&["secret ann", "secret bob", "secret eve"])];
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    testing::write_parquet(&folder.join("person.parquet"), &schema, &testing::one_by_one(&[rows]));
}

/// A query, and its rows for a caller of tenant a.
const QUERIES: &[(&str, &[&str])] = &[
    (
        "SELECT id, phone, note FROM sale ORDER BY id",
        &["1|****00|[redacted]", "2|****00|[redacted]", "3|****00|[redacted]"],
    ),
    ("SELECT id FROM sale WHERE phone = 'secret-100'", &[]),
    ("SELECT id FROM sale WHERE phone LIKE 'secret%' OR note LIKE 'secret%'", &[]),
    ("SELECT id FROM sale WHERE phone = '****00' ORDER BY id", &["1", "2", "3"]),
    ("SELECT id FROM sale WHERE phone > 'secret-1'", &[]),
    ("SELECT id FROM sale WHERE phone IN ('secret-100', 'secret-200')", &[]),
    ("SELECT id FROM sale WHERE CAST(note AS VARCHAR) <> '[redacted]'", &[]),
    ("SELECT id FROM sale WHERE TRY_CAST(note AS BIGINT) = 12", &[]),
    ("SELECT count(DISTINCT phone) AS n, min(note) AS a, max(phone) AS b FROM sale", &["1|[redacted]|****00"]),
    ("SELECT phone, count(*) AS n FROM sale GROUP BY phone", &["****00|3"]),
    ("SELECT id FROM sale ORDER BY note DESC, id LIMIT 1", &["1"]),
    (
        "SELECT id, row_number() OVER (PARTITION BY note ORDER BY phone, id) AS n FROM sale ORDER BY id",
        &["1|1", "2|2", "3|3"],
    ),
    ("SELECT count(*) AS n FROM (SELECT person FROM sale GROUP BY person) AS people", &["1"]),
    (
        "SELECT buyer['cid'] AS cid, buyer['city'] AS city FROM sale ORDER BY id",
        &["NULL|rome", "NULL|oslo", "NULL|rome"],
    ),
    ("SELECT id FROM sale WHERE buyer['cid'] IS NOT NULL OR buyer['cid'] = 'secret-c1'", &[]),
    ("SELECT s.buyer['cid'] AS cid FROM (SELECT buyer FROM sale WHERE id = 1) AS s", &["NULL"]),
    ("SELECT s.id FROM sale AS s JOIN person AS p ON p.id = s.person ORDER BY s.id", &[]),
    ("SELECT s.id FROM sale AS s WHERE EXISTS (SELECT 1 FROM person AS p WHERE p.id = s.person)", &[]),
    ("SELECT s.id FROM sale AS s WHERE s.person IN (SELECT id FROM person)", &[]),
    ("SELECT (SELECT max(p.name) FROM person AS p) AS name FROM sale WHERE id = 1", &["NULL"]),
    ("WITH s AS (SELECT note AS n FROM sale) SELECT n FROM s UNION SELECT name FROM person", &["[redacted]", "NULL"]),
    ("SELECT phone FROM sale INTERSECT SELECT 'secret-100'", &[]),
    ("SELECT phone FROM sale EXCEPT SELECT '****00'", &[]),
    (
        "SELECT a.id FROM sale AS a JOIN sale AS b ON a.phone = b.phone AND a.id < b.id ORDER BY a.id, b.id",
        &["1", "1", "2"],
    ),
    ("SELECT id FROM sale WHERE id IN (SELECT max(id) FROM sale GROUP BY note)", &["3"]),
    ("SELECT CASE WHEN note = 'secret one' THEN 'hit' ELSE 'miss' END AS guess FROM sale WHERE id = 1", &["miss"]),
    ("SELECT id FROM sale WHERE substr(phone, 1, 6) = 'secret' OR strpos(note, 'one') > 0", &[]),
    // A row filter reads raw values: this table's filter reads a column that is masked everywhere else.
    ("SELECT count(*) AS n FROM linked", &["2"]),
    // This also holds if the query reads the same table under its masks.
    ("SELECT count(*) AS n, max(s.note) AS note FROM linked CROSS JOIN sale AS s WHERE s.id = 1", &["2|[redacted]"]),
    // A shared table has masks, too.
    ("SELECT name FROM person ORDER BY name", &["NULL", "NULL", "NULL"]),
];

async fn project() -> (TempDir, PlannedProject) {
    let folder = tempfile::tempdir().unwrap();
    write_lake(folder.path());
    let names = (0..QUERIES.len()).map(|at| format!("q{at}")).collect::<Vec<_>>();
    let endpoints = names.iter().zip(QUERIES).map(|(name, (sql, _))| (name.as_str(), *sql)).collect::<Vec<_>>();
    let project = testing::project(folder.path(), CONFIG, &endpoints).await;
    project.set_mask_key(MaskKey::new("0123456789 0123456789 0123456789").unwrap());
    (folder, project)
}

#[tokio::test]
async fn no_clause_of_a_query_sees_a_raw_value() {
    let who = testing::principal("tenant:string=a");
    let (_folder, from_files) = project().await;
    let (_other, from_memory) = project().await;
    from_memory.keep_hot(1 << 28).await.unwrap();
    for project in [&from_files, &from_memory] {
        for (at, (sql, wanted)) in QUERIES.iter().enumerate() {
            let plan = testing::governed(project, &who, &format!("q{at}"), "{}").unwrap();
            let shown = plan.display();
            let mut rows = testing::rows(plan).await.unwrap();
            assert!(!rows.iter().any(|row| row.contains(RAW)), "{sql}: {rows:?}");
            let mut wanted = wanted.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
            if !sql.contains("ORDER BY") {
                rows.sort();
                wanted.sort();
            }
            assert_eq!(rows, wanted, "{sql}\n{shown}");
        }
    }
}

#[tokio::test]
async fn a_grant_lifts_masks_by_column_and_by_tag() {
    let (_folder, project) = project().await;
    let who = testing::principal("tenant:string=a");
    let rows = async |sql: usize, unmask: &[&str]| {
        let unmask = unmask.iter().map(|text| Unmask::parse(text).unwrap()).collect();
        let terms = Terms { unmask, ..Terms::default() };
        let plan = testing::governed_with(&project, &who, &format!("q{sql}"), "{}", terms).unwrap();
        testing::rows(plan).await.unwrap()
    };
    assert_eq!(rows(0, &["sale.phone"]).await[0], "1|secret-100|[redacted]");
    assert_eq!(rows(0, &["tag:text"]).await[0], "1|****00|secret one");
    assert_eq!(rows(0, &["tag:person", "person.phone", "sale.phon"]).await[0], "1|****00|[redacted]");
    assert_eq!(rows(13, &["sale.buyer"]).await[0], "NULL|rome", "a part of a column is named with it");
    assert_eq!(rows(13, &["sale.buyer.cid"]).await[0], "secret-c1|rome");
    // A hash can be joined if no stricter mask covers it. Here, the tag's NULL does.
    assert_eq!(rows(16, &["tag:person"]).await, Vec::<String>::new(), "one side is raw, the other a pseudonym");
    assert_eq!(rows(16, &["sale.person", "person.id"]).await, ["1", "2", "3"]);
    // `name` has two tags, and one of them has a mask.
    assert_eq!(rows(19, &["tag:text"]).await, ["NULL"]);
    assert_eq!(rows(19, &["tag:person"]).await, ["secret eve"]);
}

#[tokio::test]
async fn callers_with_other_masks_or_keys_have_other_plans_and_fingerprints() {
    let (_folder, project) = project().await;
    let governed = |who: &str, terms: Terms| {
        testing::governed_with(&project, &testing::principal(who), "q0", "{}", terms).unwrap()
    };
    let unmask = |text: &str| Terms { unmask: BTreeSet::from([Unmask::parse(text).unwrap()]), ..Terms::default() };
    let mut fingerprints = BTreeSet::new();
    for (who, terms) in [
        ("tenant:string=a", Terms::default()),
        ("tenant:string=b", Terms::default()),
        ("tenant:string=a", unmask("sale.phone")),
        ("tenant:string=a", unmask("tag:text")),
        ("tenant:string=a", Terms { columns: Some(BTreeSet::from(["id".to_owned()])), ..Terms::default() }),
        ("tenant:string=a", Terms { limits: Limits { max_rows: Some(7), ..Limits::default() }, ..Terms::default() }),
        ("tenant:string=a role=operator", Terms::default()),
    ] {
        let plan = governed(who, terms.clone());
        assert_eq!(plan.fingerprint(), governed(who, terms).fingerprint());
        assert!(fingerprints.insert(plan.fingerprint().to_owned()));
    }
    let count = fingerprints.len();
    project.set_mask_key(MaskKey::new("another key of thirty-two characters").unwrap());
    assert!(fingerprints.insert(governed("tenant:string=a", Terms::default()).fingerprint().to_owned()));
    assert_eq!(fingerprints.len(), count + 1);
    // Lifting a mask that does not exist changes nothing.
    let nothing = governed("tenant:string=a", unmask("tag:none")).fingerprint().to_owned();
    assert!(!fingerprints.insert(nothing));
}

#[tokio::test]
async fn the_key_of_hashes_is_in_no_text() {
    let (_folder, project) = project().await;
    let secret = "a-very-secret-key-for-this-one-test";
    project.set_mask_key(MaskKey::new(secret).unwrap());
    let terms = Terms { unmask: BTreeSet::from([Unmask::parse("tag:person").unwrap()]), ..Terms::default() };
    let plan = testing::governed_with(&project, &testing::principal("tenant:string=a"), "q16", "{}", terms).unwrap();
    let physical = testing::physical(&plan).await;
    let physical = datafusion::physical_plan::displayable(physical.as_ref()).indent(true).to_string();
    let shown = format!("{plan:?} {} {} {physical} {project:?}", plan.display(), plan.display_without_values());
    assert!(shown.contains("mask_hash") && !shown.contains(secret));
}

/// Tests the second check alone, on plans whose mask was removed by hand.
#[tokio::test]
async fn a_plan_that_lost_a_mask_is_refused() {
    let (_folder, project) = project().await;
    let none = BTreeSet::new();
    let unmasked = BTreeSet::new();
    let key = stand_in_key();
    for (at, (sql, _)) in QUERIES.iter().enumerate() {
        let endpoint = project.find(&format!("q{at}")).unwrap();
        let schemas = schemas_of(endpoint.plan()).unwrap();
        let masks = InForce::new(project.masking(), &schemas, &unmasked, Some(&key)).unwrap();
        let injection = Injection { policies: project.policies(), unfiltered: &none, masks: &masks };
        let governed = injection.govern(endpoint.plan().clone()).unwrap();
        verify::injected(&governed, &injection).unwrap();
        taint::check(&project.session().optimize(&governed).unwrap(), &injection).unwrap();
        let has_masks = schemas.keys().any(|table| masks.of(table).is_some());
        if !has_masks {
            continue;
        }
        assert!(verify::injected(endpoint.plan(), &injection).is_err(), "{sql}: nothing put in");
        // Without the projection of masks above a barrier.
        let bare = governed.clone().transform_up_with_subqueries(|node| {
            let inner = match &node {
                LogicalPlan::Projection(projection) if Barrier::of(&projection.input).is_some() => {
                    Some(LogicalPlan::clone(&projection.input))
                }
                _ => None,
            };
            Ok(inner.map_or_else(|| Transformed::no(node), Transformed::yes))
        });
        assert!(verify::injected(&bare.unwrap().data, &injection).is_err(), "{sql}: no masks");
        // Another mask, the mask of another column, and no mask, on one column.
        for change in [
            |_: Expr| lit("x"),
            |expr: Expr| match expr {
                Expr::ScalarFunction(call) => call.args[0].clone(),
                other => other,
            },
        ] {
            let changed = governed.clone().transform_up_with_subqueries(|node| {
                let LogicalPlan::Projection(projection) = &node else { return Ok(Transformed::no(node)) };
                if Barrier::of(&projection.input).is_none() {
                    return Ok(Transformed::no(node));
                }
                let exprs = projection.expr.iter().cloned().map(|expr| match expr {
                    Expr::Alias(alias) if mask::of(&alias.expr).is_some() => {
                        change(*alias.expr).alias_qualified(alias.relation, alias.name)
                    }
                    other => other,
                });
                let plan = LogicalPlanBuilder::from(LogicalPlan::clone(&projection.input)).project(exprs)?.build()?;
                Ok(Transformed::yes(plan))
            });
            assert!(verify::injected(&changed.unwrap().data, &injection).is_err(), "{sql}");
        }
    }
}

#[tokio::test]
async fn an_optimised_plan_in_which_something_looks_at_a_raw_column_is_refused() {
    let (_folder, project) = project().await;
    let (none, unmasked, key) = (BTreeSet::new(), BTreeSet::new(), stand_in_key());
    let endpoint = project.find("q0").unwrap();
    let masks = InForce::new(project.masking(), &schemas_of(endpoint.plan()).unwrap(), &unmasked, Some(&key)).unwrap();
    let injection = Injection { policies: project.policies(), unfiltered: &none, masks: &masks };
    let governed = injection.govern(endpoint.plan().clone()).unwrap();
    let mut barrier = None;
    governed
        .apply_with_subqueries(|node| {
            if Barrier::of(node).is_some() {
                barrier = Some(node.clone());
            }
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })
        .unwrap();
    let raw = || LogicalPlanBuilder::from(barrier.clone().unwrap());
    let phone = || col("sale.phone");
    let own_mask = |column: &str| {
        let own = Arc::clone(&masks.of("sale").unwrap()[column]);
        mask::expr("sale", column, own, phone())
    };
    type Made = datafusion::common::Result<LogicalPlan>;
    let refused: Vec<(&str, Made)> = vec![
        ("the raw column in the answer", raw().build()),
        ("by another name", raw().project([phone().alias("x")]).unwrap().build()),
        ("in a filter", raw().filter(phone().eq(lit("x"))).unwrap().project([col("sale.id")]).unwrap().build()),
        ("in an order", raw().sort([phone().sort(true, false)]).unwrap().project([col("sale.id")]).unwrap().build()),
        ("in a group", raw().aggregate([phone()], Vec::<Expr>::new()).unwrap().build()),
        ("in an expression", raw().project([phone().is_null()]).unwrap().build()),
        ("under the mask of another column", raw().project([own_mask("note")]).unwrap().build()),
        ("among distinct rows", raw().distinct().unwrap().project([col("sale.id")]).unwrap().build()),
        (
            "through a union",
            raw()
                .project([phone()])
                .unwrap()
                .union(raw().project([phone()]).unwrap().build().unwrap())
                .unwrap()
                .build(),
        ),
        (
            "as a key of a join",
            raw()
                .alias("l")
                .unwrap()
                .join(
                    raw().alias("r").unwrap().build().unwrap(),
                    datafusion::common::JoinType::Inner,
                    (vec!["l.phone"], vec!["r.phone"]),
                    None,
                )
                .unwrap()
                .project([col("l.id")])
                .unwrap()
                .build(),
        ),
    ];
    for (what, plan) in refused {
        let plan = plan.unwrap();
        assert!(taint::check(&plan, &injection).is_err(), "{what}\n{}", plan.display_indent());
    }
    let fine: Vec<(&str, Made)> = vec![
        ("its own mask", raw().project([own_mask("phone"), col("sale.id")]).unwrap().build()),
        (
            "its own mask in a filter",
            raw().filter(own_mask("phone").eq(lit("x"))).unwrap().project([col("sale.id")]).unwrap().build(),
        ),
        (
            "handed on and left",
            raw().project([phone(), col("sale.id")]).unwrap().project([col("sale.id")]).unwrap().build(),
        ),
    ];
    for (what, plan) in fine {
        let plan = plan.unwrap();
        taint::check(&plan, &injection).unwrap_or_else(|error| panic!("{what}: {error}\n{}", plan.display_indent()));
    }
}

#[tokio::test]
async fn masks_that_do_not_fit_are_faults_of_the_project() {
    let folder = tempfile::tempdir().unwrap();
    write_lake(folder.path());
    let table = |columns: &str| {
        format!("[lake]\nlocation = \".\"\n[tables.sale]\nlocation = \"sale\"\nshared = true\n{columns}")
    };
    for (columns, fault) in [
        ("[tables.sale.columns.fone]\nmask = \"null\"", "table `sale` has no column `fone`; known: `id`"),
        ("[tables.sale.columns.id]\nmask = \"redact\"", "redact"),
        ("[tables.sale.columns.buyer]\nmask = \"redact\"", "redact"),
        ("[tables.sale.columns.\"buyer.sid\"]\nmask = \"null\"", "sid"),
        ("[tables.sale.columns.\"phone.x\"]\nmask = \"null\"", "phone"),
        ("[tables.sale.columns.\"buyer.sid\"]\ntags = [\"t\"]\n[tags.t]", "sid"),
    ] {
        let faults = testing::try_project(folder.path(), &table(columns), &[("q", "SELECT id FROM sale")]).await;
        let faults = faults.map(drop).unwrap_err().join("\n");
        assert!(faults.contains(fault) && faults.starts_with("lakegate.toml:6:"), "{columns}: {faults}");
    }
    // A tag's mask is replaced by `null` on a type that does not support it.
    let tagged = table("[tables.sale.columns.id]\ntags = [\"t\"]\n[tags.t]\nmask = \"redact\"");
    let project =
        testing::project(folder.path(), &tagged, &[("q", "SELECT count(id) AS n, count(*) AS m FROM sale")]).await;
    let plan = testing::governed(&project, &testing::principal(""), "q", "{}").unwrap();
    assert_eq!(testing::rows(plan).await.unwrap(), ["0|5"]);
}

/// The rows of a shared table are not secret, but the values of a masked column are: no statistics of the column's file
/// pass the barrier.
#[tokio::test]
async fn statistics_of_a_masked_column_stay_below_the_barrier() {
    let folder = tempfile::tempdir().unwrap();
    write_lake(folder.path());
    let project = testing::project(folder.path(), CONFIG, &[("names", "SELECT name FROM person")]).await;
    project.set_mask_key(MaskKey::new("0123456789 0123456789 0123456789").unwrap());
    for in_memory in [false, true] {
        if in_memory {
            project.keep_hot(1 << 28).await.unwrap();
        }
        let plan = testing::governed(&project, &testing::principal(""), "names", "{}").unwrap();
        let mut node = testing::physical(&plan).await;
        while node.name() != "BarrierExec" {
            node = Arc::clone(node.children()[0]);
        }
        let told = |node: &dyn ExecutionPlan| StatisticsContext::new().compute(node, &StatisticsArgs::new()).unwrap();
        let (below, above) = (told(node.children()[0].as_ref()), told(node.as_ref()));
        assert_eq!(below.num_rows, Precision::Exact(3), "the scan knows, or this shows nothing");
        assert!(below.column_statistics.iter().any(|column| column.null_count != Precision::Absent));
        assert_eq!(above.num_rows, Precision::Inexact(100));
        assert_eq!(above.total_byte_size, Precision::Absent);
        for column in &above.column_statistics {
            assert_eq!((&column.min_value, &column.max_value), (&Precision::Absent, &Precision::Absent));
            assert_eq!((column.null_count, column.distinct_count), (Precision::Absent, Precision::Absent));
        }
    }
}
