//! The OpenAPI operations of one endpoint: its parameters, request body and responses.

use lakegate_core::catalog::{
    ArgumentLocation, CallerSchema, MOST_ROWS_OF_A_PAGE, body_example, body_schema, caller_schema, example,
    parameter_description, schema, terms_description,
};
use lakegate_core::format::Format;
use lakegate_core::limits::Limit;
use lakegate_core::project::OnMaxRows;
use lakegate_query::plan::OutputColumn;
use serde_json::{Map, Value, json};

use super::super::callable_endpoints::CallableEndpoint;
use super::problems::{self, OperationKind};
use super::row_schema;

/// The tag of endpoints.
pub(super) const TAG: &str = "endpoints";

/// The path and operation of `GET /api`.
pub(super) fn list() -> (String, Value) {
    let answer = json!({
        "description": "The endpoints",
        "headers": headers(&["x-request-id", "RateLimit", "RateLimit-Policy"]),
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Endpoints" } } },
    });
    let operation = json!({
        "operationId": "list_endpoints",
        "tags": [TAG],
        "summary": "The endpoints that this token may call",
        "responses": responses(answer, OperationKind::List),
    });
    ("/api".to_owned(), json!({ "get": operation }))
}

/// The path of an endpoint and its operations. Adds the schemas of its arguments and rows to `schemas`.
pub(super) fn path(callable: &CallableEndpoint<'_>, schemas: &mut Map<String, Value>) -> (String, Value) {
    let endpoint = callable.planned.endpoint();
    let caller_schema = caller_schema(&callable.authorized, endpoint);
    let (arguments_name, row_name) = (format!("{}_arguments", endpoint.name), format!("{}_row", endpoint.name));
    schemas.insert(arguments_name.clone(), body_schema(&caller_schema));
    schemas.insert(row_name.clone(), row_schema::row(&callable.columns));
    let description = description(callable, &caller_schema);
    let mut rows = json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{row_name}") } });
    if let Some(most) = callable.limits.value(Limit::MaxRows) {
        rows["maxItems"] = most.into();
    }
    let mut answer = json!({
        "description": "The rows",
        "headers": headers(&[
            "x-request-id",
            "Lakegate-Data-Version",
            "Link",
            "Lakegate-Next-Cursor",
            "Lakegate-Total",
            "Lakegate-Truncated",
            "Preference-Applied",
            "RateLimit",
            "RateLimit-Policy",
        ]),
        "content": content(&rows),
    });
    if endpoint.as_of {
        answer["headers"]["Lakegate-As-Of"] = reference("Lakegate-As-Of");
    }
    let operation = |method: &str| {
        Map::from_iter([
            ("operationId".to_owned(), json!(format!("{method}_{}", endpoint.name))),
            ("tags".to_owned(), json!([TAG])),
            ("summary".to_owned(), json!(endpoint.summary)),
            ("description".to_owned(), json!(description)),
        ])
    };
    let mut modifiers = modifiers(&callable.columns);
    modifiers.extend(endpoint.as_of.then(as_of));
    let mut get = operation("get");
    let parameters = (0..endpoint.params.len()).map(|at| parameter(&caller_schema, at)).chain(modifiers.clone());
    get.insert("parameters".to_owned(), parameters.chain([if_none_match()]).collect());
    let mut of_get = answer.clone();
    of_get["headers"]["ETag"] = reference("ETag");
    let mut of_get = responses(of_get, OperationKind::Query);
    of_get["304"] = json!({ "$ref": "#/components/responses/NotModified" });
    get.insert("responses".to_owned(), of_get);
    let mut post = operation("post");
    post.insert("parameters".to_owned(), modifiers.into());
    let mut content = json!({ "schema": { "$ref": format!("#/components/schemas/{arguments_name}") } });
    if let Some(example) = body_example(&caller_schema) {
        content["example"] = example;
    }
    let is_needed = (0..endpoint.params.len()).any(|at| !caller_schema.is_omittable(at));
    post.insert("requestBody".to_owned(), json!({ "required": is_needed, "content": { "application/json": content } }));
    post.insert("responses".to_owned(), responses(answer, OperationKind::Body));
    (format!("/api/{}", endpoint.name), json!({ "get": get, "post": post }))
}

fn description(callable: &CallableEndpoint<'_>, caller_schema: &CallerSchema<'_>) -> String {
    let endpoint = callable.planned.endpoint();
    let mut paragraphs = endpoint.description.iter().map(|text| text.trim().to_owned()).collect::<Vec<_>>();
    if !endpoint.rules.is_empty() {
        let rules = endpoint.rules.iter().map(|rule| format!("- {}", rule.message.trim())).collect::<Vec<_>>();
        paragraphs.push(format!("The arguments must keep to rules:\n\n{}", rules.join("\n")));
    }
    paragraphs.extend(terms_description(caller_schema));
    if callable.authorized.grants().len() > 1
        && !callable.authorized.grants().iter().all(|grant| grant.terms.is_empty())
    {
        paragraphs.push(
            "Which columns and how many rows there are depends on the grants that the arguments meet.".to_owned(),
        );
    }
    if let Some(most) = callable.limits.value(Limit::MaxRows) {
        paragraphs.push(match callable.limits.on_max_rows() {
            OnMaxRows::Refuse => format!("An answer of more than {most} rows is refused."),
            OnMaxRows::Truncate => {
                format!("An answer ends after {most} rows; if there are more, it has the header `Lakegate-Truncated`.")
            }
        });
    }
    paragraphs.join("\n\n")
}

/// A query parameter for an argument.
fn parameter(caller_schema: &CallerSchema<'_>, at: usize) -> Value {
    let param = &caller_schema.endpoint().params[at];
    let mut described = Map::new();
    described.insert("name".to_owned(), param.name.clone().into());
    described.insert("in".to_owned(), "query".into());
    described.insert("required".to_owned(), (!caller_schema.is_omittable(at)).into());
    if let Some(words) = parameter_description(caller_schema, at) {
        described.insert("description".to_owned(), words.into());
    }
    if param.value_type.list {
        described.insert("style".to_owned(), "form".into());
        described.insert("explode".to_owned(), true.into());
    }
    described.insert("schema".to_owned(), schema(caller_schema, at, ArgumentLocation::Query));
    // A query string cannot express an empty list.
    if let Some(example) = example(caller_schema, at).filter(|example| *example != json!([])) {
        described.insert("example".to_owned(), example);
    }
    described.into()
}

/// The query parameters that control the form of the response.
fn modifiers(columns: &[OutputColumn]) -> Vec<Value> {
    // A comma separates names, so a name that contains one cannot be selected.
    let names = columns.iter().map(|column| column.name.as_str()).filter(|name| !name.contains(','));
    let selectable = names.clone().map(Value::from).collect::<Vec<_>>();
    let ordered = names.flat_map(|name| {
        let plain = match name.ends_with(".desc") || name.ends_with(".asc") {
            true => format!("{name}.asc"),
            false => name.to_owned(),
        };
        [Value::from(plain), format!("{name}.desc").into()]
    });
    let list = |name: &str, words: &str, of: Vec<Value>| {
        json!({
            "name": name,
            "in": "query",
            "description": words,
            "style": "form",
            "explode": false,
            "schema": { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "type": "string", "enum": of } },
        })
    };
    let mut modifiers = Vec::new();
    if !selectable.is_empty() {
        modifiers.push(list("select", "Columns of the answer, in the order in which they are to come.", selectable));
        let words = "Columns to sort the rows by; `.desc` has the greatest first.";
        modifiers.push(list("order", words, ordered.collect()));
    }
    let count = |name: &str, words: &str, least: u64, most: u64| {
        let schema = json!({ "type": "integer", "format": "int64", "minimum": least, "maximum": most });
        json!({ "name": name, "in": "query", "description": words, "schema": schema })
    };
    let most = i64::MAX as u64;
    modifiers.push(count("limit", "The most rows. Not beside `page_size` or `cursor`.", 0, most));
    modifiers.push(count("offset", "How many rows are left out. Not beside `page_size` or `cursor`.", 0, most));
    let words = "The most rows of a page. The header `Link` leads to the next one.";
    modifiers.push(count("page_size", words, 1, MOST_ROWS_OF_A_PAGE));
    modifiers.push(json!({
        "name": "cursor",
        "in": "query",
        "description": "Which page, as `Lakegate-Next-Cursor` of the page before says. Nothing else is taken.",
        "schema": { "type": "string", "minLength": 1 },
    }));
    modifiers.push(json!({
        "name": "Prefer",
        "in": "header",
        "description": "`count=exact` asks for the number of all rows, in `Lakegate-Total`.",
        "schema": { "type": "string" },
    }));
    modifiers.push(json!({
        "name": "format",
        "in": "query",
        "description": "The format of the answer. Without it `Accept` decides.",
        "schema": { "type": "string", "enum": Format::ALL.map(Format::name) },
    }));
    modifiers.push(json!({
        "name": "csv_guard",
        "in": "query",
        "description": "`off` leaves text in CSV as it is. Otherwise what a spreadsheet would take for a formula is made text.",
        "schema": { "type": "string", "enum": ["on", "off"] },
    }));
    modifiers
}

/// The `as_of` parameter, for endpoints with time travel.
fn as_of() -> Value {
    json!({
        "name": "as_of",
        "in": "query",
        "description": "The state of the data that the answer is to be of: a date, a time in RFC 3339, or the number of a \
            snapshot. Without it, the newest.",
        "schema": { "type": "string", "minLength": 1 },
    })
}

fn responses(answer: Value, group: OperationKind) -> Value {
    Map::from_iter(std::iter::once(("200".to_owned(), answer)).chain(problems::references(group))).into()
}

/// The media types of a response. Only JSON gets a schema, because JSON Schema describes no other format.
fn content(rows: &Value) -> Value {
    let of = |format: Format| {
        let described = if format == Format::Json { json!({ "schema": rows }) } else { json!({}) };
        (format.media_type().to_owned(), described)
    };
    Format::ALL.into_iter().map(of).collect::<Map<_, _>>().into()
}

/// The `If-None-Match` header, for conditional requests.
fn if_none_match() -> Value {
    json!({
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` of an answer that is there already. If nothing has changed, 304 says so without rows.",
        "schema": { "type": "string" },
    })
}

fn headers(names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), reference(name))).collect::<Map<_, _>>().into()
}

fn reference(header: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{header}") })
}
