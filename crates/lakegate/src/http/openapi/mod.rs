//! `GET /api/openapi.json`: builds an OpenAPI 3.1 document of exactly what this caller may call.
//!
//! The document describes what the caller's grants allow and require, and nothing of how the project separates callers:
//! no SQL, table, row filter, mask or attribute. It is built as plain JSON, because it needs all of JSON Schema
//! (`const`, type arrays, 64-bit integers), which typed OpenAPI libraries do not cover. It is not cached: it depends on
//! all grants of its caller and on the time, and takes less time to build than a query takes to run.

mod components;
mod operation;
mod problems;
mod row_schema;

use std::sync::Arc;

use axum::extract::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use lakegate_core::access::{Grant, Principal};
use lakegate_query::plan::PlannedProject;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::callable_endpoints::callable_endpoints;
use super::problem::Failure;
use crate::context::RequestContext;
use crate::pipeline::{self, Caller, conditional};
use crate::token;

/// Returns the document for the caller of this token.
pub(super) async fn document(
    Extension(context): Extension<Arc<RequestContext>>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let token = token::presented(&headers)?;
    let Caller { principal, credential, now } = pipeline::authenticate(&context, &context.served, &token).await?;
    let document = openapi(&context.served.project, &principal, &credential.grants, now).to_string();
    let validator = format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&document)));
    let mut response = match conditional::has_already(&method, &headers, &validator) {
        true => conditional::not_modified(),
        false => ([(CONTENT_TYPE, "application/json")], document).into_response(),
    };
    conditional::add_validator(response.headers_mut(), &validator);
    Ok(response)
}

/// The OpenAPI document of what a principal with these grants may call now.
pub fn openapi(project: &PlannedProject, principal: &Principal, grants: &[Grant], now: DateTime<Utc>) -> Value {
    let endpoints = callable_endpoints(project, principal, grants, now);
    let mut schemas = components::schemas();
    let mut paths = Map::from_iter([operation::list()]);
    for endpoint in &endpoints {
        paths.extend([operation::path(endpoint, &mut schemas)]);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lakegate",
            "version": "",
            "description": INTRODUCTION,
        },
        "servers": [{ "url": "/" }],
        "security": components::security(),
        "tags": [{ "name": operation::TAG, "description": "What this token may call" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems::responses(),
            "headers": components::headers(),
            "securitySchemes": components::security_schemes(),
        },
    });
    // The version is a digest of the document, so that it changes with the content and does not reveal the server's
    // version.
    let version = Sha256::digest(document.to_string());
    document["info"]["version"] = HEXLOWER.encode(&version[..6]).into();
    document
}

const INTRODUCTION: &str = "\
The endpoints that this token may call, with the parameters and columns that its grants give. \
Another token gets another document.

Every refusal is a problem document with a stable `code`. Values are taken exactly: nothing is trimmed, no case is folded, \
and an argument that no parameter takes is refused. All faults come in one answer.";
