//! The OpenAPI components that are the same for every caller: problem and list schemas, headers, and security schemes.

use serde_json::{Map, Value, json};

use super::problems;

/// The schemas that belong to no endpoint. Their names begin with a capital letter, unlike those of endpoints.
pub(super) fn schemas() -> Map<String, Value> {
    let codes = problems::codes().map(|code| Value::from(code.name())).collect::<Vec<_>>();
    let parts = problems::nested_codes().map(|code| Value::from(code.name())).collect::<Vec<_>>();
    let schemas = json!({
        "Problem": {
            "type": "object",
            "description": "Why a request is refused (RFC 9457). Programs read `code`, people `detail`.",
            "properties": {
                "type": { "type": "string", "format": "uri", "description": "`urn:lakegate:problem:` and the code" },
                "title": { "type": "string", "description": "The same for every occurrence of the code" },
                "status": { "type": "integer" },
                "code": { "$ref": "#/components/schemas/Code" },
                "detail": { "type": "string", "description": "What is wrong with this request" },
                "parameter": { "type": "string", "description": "The parameter, where one is to blame" },
                "hint": { "type": "string", "description": "What to do" },
                "errors": {
                    "type": "array",
                    "description": "The single faults, where there are several",
                    "items": { "$ref": "#/components/schemas/Fault" },
                },
                "request_id": {
                    "type": "string",
                    "format": "uuid",
                    "description": "The operator finds the rest in the log under this id",
                },
            },
            "required": ["type", "title", "status", "code", "detail", "request_id"],
        },
        "Fault": {
            "type": "object",
            "description": "One wrong argument",
            "properties": {
                "parameter": { "type": "string" },
                "code": { "type": "string", "enum": parts },
                "detail": { "type": "string" },
                "hint": { "type": "string" },
            },
            "required": ["code", "detail"],
        },
        "Code": {
            "type": "string",
            "description": "What went wrong. A code is never renamed. Each answer lists those that it may have; \
                `request_path_unknown` and `request_method_not_allowed` are for requests that are not in this document.",
            "enum": codes,
        },
        "Endpoints": {
            "type": "object",
            "properties": {
                "endpoints": { "type": "array", "items": { "$ref": "#/components/schemas/Endpoint" } },
            },
            "required": ["endpoints"],
            "additionalProperties": false,
        },
        "Endpoint": {
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "path": { "type": "string" },
                "summary": { "type": "string" },
                "description": { "type": "string" },
                "parameters": { "type": "array", "items": { "$ref": "#/components/schemas/Parameter" } },
                "rules": { "type": "array", "items": { "type": "string" } },
                "columns": { "type": "array", "items": { "$ref": "#/components/schemas/Column" } },
            },
            "required": ["name", "path", "summary", "parameters", "rules", "columns"],
            "additionalProperties": false,
        },
        "Parameter": {
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "type": { "type": "string" },
                "required": { "type": "boolean" },
                "description": { "type": "string" },
                "default": {},
                "enum": { "type": "array" },
                "min": { "type": ["number", "string"] },
                "max": { "type": ["number", "string"] },
                "pattern": { "type": "string" },
                "example": {},
            },
            "required": ["name", "type", "required"],
            "additionalProperties": false,
        },
        "Column": {
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "type": { "type": "string" },
                "nullable": { "type": "boolean" },
            },
            "required": ["name", "type", "nullable"],
            "additionalProperties": false,
        },
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

/// The response headers.
pub(super) fn headers() -> Value {
    json!({
        "x-request-id": {
            "description": "Names the request in the server's log",
            "required": true,
            "schema": { "type": "string", "format": "uuid" },
        },
        "ETag": {
            "description": "Stands for the answer. There is none where the answer depends on the time.",
            "schema": { "type": "string" },
        },
        "Lakegate-Data-Version": {
            "description": "Names the state of the data. Answers with the same name are of the same state.",
            "schema": { "type": "string" },
        },
        "Lakegate-As-Of": {
            "description": "What to put into `as_of` to get the same state of the data: a snapshot or a time",
            "schema": { "type": "string" },
        },
        "Link": { "description": "The next page of the answer, if there is one", "schema": { "type": "string" } },
        "Lakegate-Next-Cursor": {
            "description": "The `cursor` of the next page, if there is one",
            "schema": { "type": "string" },
        },
        "Lakegate-Total": {
            "description": "The number of all rows, if `Prefer` asked for it",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Preference-Applied": { "description": "What of `Prefer` was done", "schema": { "type": "string" } },
        "Lakegate-Truncated": {
            "description": "`true` where the answer has fewer rows than there are, because it may have so many",
            "schema": { "const": "true" },
        },
        "RateLimit": {
            "description": "How many requests are left, where they are counted",
            "schema": { "type": "string" },
        },
        "RateLimit-Policy": {
            "description": "How many requests may be made, where they are counted",
            "schema": { "type": "string" },
        },
        "WWW-Authenticate": { "required": true, "schema": { "type": "string" } },
        "Retry-After": {
            "description": "Seconds to wait before the next try",
            "required": true,
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

/// The security requirement: one of the three token headers.
pub(super) fn security() -> Value {
    json!([{ "bearer": [] }, { "x_api_key": [] }, { "token": [] }])
}

/// The headers that can carry a token.
pub(super) fn security_schemes() -> Value {
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "A token or a JWT" },
        "x_api_key": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same, as a key" },
        "token": { "type": "apiKey", "in": "header", "name": "token", "description": "The same, for older clients" },
    })
}
