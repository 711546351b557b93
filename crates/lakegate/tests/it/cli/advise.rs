//! `lakegate advise`: it finds the right columns in unknown projects, and repeats its answer on each run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use lakegate::sample::{Sample, write_lake, write_project};
use serde_json::Value;

use crate::support::binary::Project;

/// A model with a letter prefix on each column, and a chain of policies.
const CHAIN: &str = r#"
[lake]
location = "lake"
[tables.customer]
location = "customer.csv"
row_filter = "c_custkey IN (principal('customer'))"
[tables.orders]
location = "orders.csv"
row_filter = "o_custkey IN (SELECT c_custkey FROM customer)"
[tables.lineitem]
location = "lineitem.csv"
row_filter = "EXISTS (SELECT 1 FROM orders WHERE o_orderkey = l_orderkey)"
[tables.part]
location = "part.csv"
shared = true
"#;

fn advised(project: &Project) -> Vec<Value> {
    project.json(&["advise"]).as_array().unwrap().clone()
}

fn columns(advice: &[Value]) -> String {
    let line = |table: &Value| {
        let by = table["cluster_by"].as_array().unwrap().iter().map(|column| column.as_str().unwrap().to_owned());
        format!("{}: {}", table["table"].as_str().unwrap(), by.collect::<Vec<_>>().join(", "))
    };
    advice.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn sample(scale: f64) -> Project {
    let project = Project::new();
    std::fs::remove_file(project.path().join("lakegate.toml")).unwrap();
    write_project(project.path()).unwrap();
    write_lake(&Sample::new(3, scale).unwrap(), &project.path().join("lake"), |_, _| {}).unwrap();
    project
}

#[test]
fn the_sample_is_laid_out_by_client_and_time_and_orders_like_their_trackcodes() {
    let project = sample(0.02);
    let advice = advised(&project);
    insta::assert_snapshot!(columns(&advice), @r"
    city: id
    client: id
    country: 
    order: trackcode.client_id, trackcode.creation, trackcode_id
    product_size: 
    route: id
    service: id
    trackcode: client_id, creation
    ");
    assert_eq!(advice, advised(&project), "the same files get the same advice");
    let only = project.json(&["advise", "order"]);
    assert_eq!(only.as_array().unwrap().len(), 1);
    assert!(project.fails(&["advise", "oder"]).contains("did you mean `order`?"));
}

#[test]
fn a_chain_of_policies_is_followed_to_the_key_and_ranges_come_after_it() {
    let project = Project::new();
    project.write("lakegate.toml", CHAIN);
    project.write("lake/customer.csv", "c_custkey,c_name\n1,a\n2,b\n");
    project
        .write("lake/orders.csv", "o_orderkey,o_custkey,o_orderdate\n1,1,1995-01-01\n2,2,1995-01-02\n3,2,1995-01-03\n");
    project.write(
        "lake/lineitem.csv",
        "l_orderkey,l_partkey,l_shipdate\n1,1,1995-02-01\n1,2,1995-02-01\n3,1,1995-02-09\n",
    );
    project.write("lake/part.csv", "p_partkey,p_brand\n1,x\n2,y\n");
    project.write(
        "endpoints/shipped.sql",
        "/*---\nsummary = \"s\"\n[params.from]\ntype = \"date\"\n[params.brand]\ntype = \"string\"\n---*/
         WITH lines AS (SELECT l.l_orderkey AS o, l.l_partkey AS p, l.l_shipdate AS day FROM lineitem AS l)
         SELECT x.o_orderdate, part.p_brand FROM orders AS x JOIN lines ON lines.o = x.o_orderkey JOIN part ON p = p_partkey
         WHERE day >= $from AND part.p_brand = $brand",
    );
    project.write(
        "endpoints/ordered.sql",
        "/*---\nsummary = \"s\"\n[params.from]\ntype = \"date\"\n[params.to]\ntype = \"date\"\n---*/
         SELECT count(*) AS n FROM orders WHERE o_orderdate BETWEEN $from AND $to",
    );
    insta::assert_snapshot!(columns(&advised(&project)), @r"
    customer: c_custkey
    lineitem: orders.o_custkey, orders.o_orderdate, l_orderkey, l_shipdate
    orders: o_custkey, o_orderdate
    part: p_brand
    ");
}

#[test]
fn what_a_typical_request_reads_is_told_and_what_lies_well_is_left_alone() {
    let project = sample(0.6);
    let advice = advised(&project);
    let of = |name: &str| advice.iter().find(|table| table["table"] == name).unwrap().clone();
    let trackcode = of("trackcode");
    assert_eq!(trackcode["reads"]["request"], "the rows of one `client_id`");
    assert!(trackcode["reads"]["now"].as_f64().unwrap() <= 2.0, "{trackcode}");
    assert_eq!(trackcode["reads"]["skips"], true);
    assert!(!trackcode["to_do"].to_string().contains("lay it out"), "{trackcode}");
    let order = of("order");
    assert_eq!(order["reads"]["skips"], false);
    assert_eq!(order["reads"]["now"].as_f64(), order["reads"]["now_of"].as_f64());
    assert!(order["to_do"].to_string().contains("carry `client_id` of `trackcode`"), "{order}");
}
