//! `GET /api`: lists the endpoints that this caller may call, with their parameters and columns.

use std::sync::Arc;

use axum::Json;
use axum::extract::Extension;
use axum::http::HeaderMap;
use lakegate_core::project::Param;
use lakegate_core::value::Scalar;
use serde_json::{Map, Value, json};

use super::callable_endpoints::{CallableEndpoint, callable_endpoints};
use super::problem::Failure;
use crate::context::RequestContext;
use crate::pipeline::{self, Caller};
use crate::token;

/// Lists the endpoints for the caller of this token.
pub(super) async fn endpoints(
    Extension(context): Extension<Arc<RequestContext>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Failure> {
    let token = token::presented(&headers)?;
    let Caller { principal, credential, now } = pipeline::authenticate(&context, &context.served, &token).await?;
    let endpoints = callable_endpoints(&context.served.project, &principal, &credential.grants, now);
    Ok(Json(json!({ "endpoints": endpoints.iter().map(described).collect::<Vec<_>>() })))
}

/// Describes an endpoint to this caller, without the columns that none of its grants shows.
fn described(callable: &CallableEndpoint<'_>) -> Value {
    let endpoint = callable.planned.endpoint();
    let columns = callable
        .columns
        .iter()
        .map(|column| json!({ "name": column.name, "type": column.type_name, "nullable": column.nullable }));
    let mut described = Map::new();
    described.insert("name".into(), endpoint.name.clone().into());
    described.insert("path".into(), format!("/api/{}", endpoint.name).into());
    described.insert("summary".into(), endpoint.summary.clone().into());
    put(&mut described, "description", endpoint.description.clone());
    described.insert("parameters".into(), endpoint.params.iter().map(parameter).collect());
    described.insert("rules".into(), endpoint.rules.iter().map(|rule| Value::from(rule.message.clone())).collect());
    described.insert("columns".into(), columns.collect());
    described.into()
}

fn parameter(param: &Param) -> Value {
    let mut described = Map::new();
    described.insert("name".into(), param.name.clone().into());
    described.insert("type".into(), param.value_type.name().into());
    described.insert("required".into(), param.required.into());
    put(&mut described, "description", param.description.clone());
    put(&mut described, "default", param.default.as_ref().map(|value| value.to_json()));
    if !param.allowed.is_empty() {
        described.insert("enum".into(), param.allowed.iter().map(Scalar::to_json).collect());
    }
    put(&mut described, "min", param.min.as_ref().map(Scalar::to_json));
    put(&mut described, "max", param.max.as_ref().map(Scalar::to_json));
    put(&mut described, "pattern", param.pattern.as_ref().map(|pattern| pattern.text.clone()));
    put(&mut described, "example", param.example.as_ref().map(|value| value.to_json()));
    described.into()
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value.into());
    }
}
