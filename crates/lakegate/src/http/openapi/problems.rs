//! The problem responses of each kind of operation, derived from the one list of error codes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lakegate_core::error::{CODES, Code};
use serde_json::{Map, Value, json};

use super::super::problem::status_of;

/// Operations that can return the same codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OperationKind {
    /// An endpoint with arguments in the query string.
    Query,
    /// An endpoint with arguments in the body.
    Body,
    /// An operation that describes endpoints.
    List,
}

impl OperationKind {
    const ALL: [OperationKind; 3] = [OperationKind::Query, OperationKind::Body, OperationKind::List];

    fn suffix(self) -> &'static str {
        match self {
            OperationKind::Query => "",
            OperationKind::Body => "Body",
            OperationKind::List => "List",
        }
    }

    /// Whether an operation of this group can return this code. Endpoints can return any code that is not listed here.
    fn can_return(self, code: Code) -> bool {
        match code {
            Code::RequestPathUnknown | Code::RequestMethodNotAllowed => false,
            code if is_for_operators(code) || is_nested(code) => false,
            Code::RequestBodyMalformed | Code::RequestBodyTooLarge | Code::RequestMediaType => {
                self == OperationKind::Body
            }
            _ if self != OperationKind::List => true,
            Code::AuditUnavailable | Code::Internal => true,
            Code::RequestQueryMalformed
            | Code::RequestFormatUnknown
            | Code::AccessNotGranted
            | Code::AccessGrantExpired
            | Code::AccessOutOfScope
            | Code::AccessAttributeMissing
            | Code::AccessAttributeMismatch => false,
            other => ["request_", "access_"].iter().any(|stage| other.name().starts_with(stage)),
        }
    }
}

/// Whether only operators get this code: from the admin API, which has its own listener, or from `/health`.
fn is_for_operators(code: Code) -> bool {
    code == Code::AccessNotAdmin || ["admin_", "health_"].iter().any(|stage| code.name().starts_with(stage))
}

/// Whether the code appears only inside `errors`, under a code for all of them.
fn is_nested(code: Code) -> bool {
    matches!(
        code,
        Code::ArgumentUnknown
            | Code::ArgumentMissing
            | Code::ArgumentDuplicate
            | Code::ArgumentType
            | Code::ArgumentConstraint
    )
}

/// The codes that callers of endpoints can get, ordered by stage.
pub(super) fn codes() -> impl Iterator<Item = Code> {
    CODES.iter().copied().filter(|code| !is_for_operators(*code))
}

/// The codes that appear inside `errors`.
pub(super) fn nested_codes() -> impl Iterator<Item = Code> {
    CODES.iter().copied().filter(|code| is_nested(*code) || *code == Code::ArgumentNotGranted)
}

fn by_status(group: OperationKind) -> BTreeMap<u16, Vec<Code>> {
    let mut statuses = BTreeMap::<_, Vec<_>>::new();
    for code in CODES.iter().copied().filter(|code| group.can_return(*code)) {
        statuses.entry(status_of(code)).or_default().push(code);
    }
    statuses
}

/// The component name for a status: that of the first group with the same codes.
fn name(group: OperationKind, status: u16, codes: &[Code]) -> String {
    let same =
        OperationKind::ALL.into_iter().find(|other| by_status(*other).get(&status).is_some_and(|same| same == codes));
    format!("Problem{status}{}", same.unwrap_or(group).suffix())
}

/// References to the problem responses of an operation, by status.
pub(super) fn references(group: OperationKind) -> impl Iterator<Item = (String, Value)> {
    static REFERENCES: LazyLock<[Vec<(String, Value)>; OperationKind::ALL.len()]> =
        LazyLock::new(|| OperationKind::ALL.map(build_references));
    REFERENCES[group as usize].iter().cloned()
}

fn build_references(group: OperationKind) -> Vec<(String, Value)> {
    let reference = |(status, codes): (u16, Vec<Code>)| {
        let reference = format!("#/components/responses/{}", name(group, status, &codes));
        (status.to_string(), json!({ "$ref": reference }))
    };
    by_status(group).into_iter().map(reference).collect()
}

/// All problem responses that [`references`] refers to, and the 304 response.
pub(super) fn responses() -> Map<String, Value> {
    static RESPONSES: LazyLock<Map<String, Value>> = LazyLock::new(|| {
        let not_modified = json!({
            "description": "The answer is the one that the caller has",
            "headers": {
                "x-request-id": { "$ref": "#/components/headers/x-request-id" },
                "ETag": { "$ref": "#/components/headers/ETag" },
            },
        });
        let mut responses = Map::from_iter([("NotModified".to_owned(), not_modified)]);
        for group in OperationKind::ALL {
            for (status, codes) in by_status(group) {
                responses.insert(name(group, status, &codes), response(status, &codes));
            }
        }
        responses
    });
    RESPONSES.clone()
}

fn response(status: u16, codes: &[Code]) -> Value {
    let descriptions = codes.iter().map(|code| format!("- `{}`: {}", code.name(), code.title())).collect::<Vec<_>>();
    let names = codes.iter().map(|code| code.name()).collect::<Vec<_>>();
    let header = |name: &str| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    let mut headers = Map::from_iter([header("x-request-id")]);
    let others: &[&str] = match status {
        401 => &["WWW-Authenticate"],
        429 => &["Retry-After", "RateLimit", "RateLimit-Policy"],
        503 => &["Retry-After"],
        _ => &[],
    };
    headers.extend(others.iter().map(|name| header(name)));
    json!({
        "description": descriptions.join("\n"),
        "headers": headers,
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [{ "$ref": "#/components/schemas/Problem" }],
                    "properties": { "status": { "const": status }, "code": { "enum": names } },
                },
                "example": codes.first().map(|code| example(status, *code)),
            },
        },
    })
}

fn example(status: u16, code: Code) -> Value {
    json!({
        "type": format!("urn:lakegate:problem:{}", code.name()),
        "title": code.title(),
        "status": status,
        "code": code.name(),
        "detail": "what is wrong with this request",
        "request_id": "0199a7c2-5d0e-7c41-9f0a-0d4f6f3b8a11",
    })
}
