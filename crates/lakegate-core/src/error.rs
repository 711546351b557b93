//! Every error that a caller can get: its stable code, its kind, and two messages, one for the caller and one for the
//! log.
//!
//! [`CODES`] lists all codes. The HTTP server maps each [`Kind`] to a status.

use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroU32;

/// A cause that is logged and never sent to a caller.
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// The class of an error, from which the HTTP server chooses the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request cannot be parsed, or its arguments are not the declared ones.
    Invalid,
    /// The caller is not authenticated.
    Unauthenticated,
    /// The caller is authenticated but not allowed.
    Forbidden,
    /// No such endpoint or path.
    NotFound,
    /// The path exists but does not support this method.
    MethodNotAllowed,
    /// The server produces none of the formats that the caller accepts.
    NotAcceptable,
    /// The change conflicts with something that exists.
    Conflict,
    /// It existed and no longer does.
    Gone,
    /// The request body is too large.
    TooLarge,
    /// The URL is too long.
    UrlTooLong,
    /// The headers are too large.
    HeadersTooLarge,
    /// The body's media type is not supported.
    UnsupportedMediaType,
    /// Well formed, but refused by a rule or a limit.
    Refused,
    /// The caller exceeds a rate or concurrency limit.
    RateLimited,
    /// Something that the response needs is unavailable for now.
    Unavailable,
    /// The time limit expired.
    TimedOut,
    /// A fault of the project, the data or lakegate.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $kind:ident, $title:literal;)*) => {
        /// A stable error name, never changed or reused for another error.
        ///
        /// The first word is the stage of the request. Every code has a section in `docs/errors.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        /// All codes, in the order of the stages.
        pub const CODES: &[Code] = &[$(Code::$variant,)*];

        impl Code {
            /// The stable name, as callers see it.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The kind, from which the HTTP server chooses a status.
            pub fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind,)* }
            }

            /// A short sentence, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// No route serves the path.
    RequestPathUnknown, "request_path_unknown", NotFound, "There is nothing at this path";
    /// The route does not support the method.
    RequestMethodNotAllowed, "request_method_not_allowed", MethodNotAllowed, "This path does not take this method";
    /// The body is not a JSON object.
    RequestBodyMalformed, "request_body_malformed", Invalid, "The body is not a JSON object";
    /// The body exceeds the size limit.
    RequestBodyTooLarge, "request_body_too_large", TooLarge, "The body is too large";
    /// The URL exceeds the size limit.
    RequestUrlTooLong, "request_url_too_long", UrlTooLong, "The URL is too long";
    /// The headers exceed the size limit.
    RequestHeadersTooLarge, "request_headers_too_large", HeadersTooLarge, "The headers are too large";
    /// A plain HTTP request on a TLS port.
    RequestNotEncrypted, "request_not_encrypted", Invalid, "This port takes encrypted connections only";
    /// The body's media type is not JSON.
    RequestMediaType, "request_media_type", UnsupportedMediaType, "The body must be JSON";
    /// The query string is not valid percent-encoded UTF-8.
    RequestQueryMalformed, "request_query_malformed", Invalid, "The query string is malformed";
    /// A token in the URL, where logs and proxies see it.
    RequestTokenInUrl, "request_token_in_url", Invalid, "A token must not be in the URL";
    /// The caller accepts no format that the server produces.
    RequestFormatUnknown, "request_format_unknown", NotAcceptable, "None of the accepted formats can be made";

    /// The request has no token.
    AccessTokenMissing, "access_token_missing", Unauthenticated, "A token is needed";
    /// Two headers carry different tokens.
    AccessTokenConflict, "access_token_conflict", Invalid, "Several different tokens came";
    /// The token belongs to no principal.
    AccessTokenUnknown, "access_token_unknown", Unauthenticated, "The token is not known";
    /// The token has expired.
    AccessTokenExpired, "access_token_expired", Unauthenticated, "The token has expired";
    /// The token was revoked.
    AccessTokenRevoked, "access_token_revoked", Unauthenticated, "The token was revoked";
    /// The token's principal is disabled.
    AccessPrincipalDisabled, "access_principal_disabled", Unauthenticated, "The principal is disabled";
    /// No grant covers the endpoint.
    AccessNotGranted, "access_not_granted", Forbidden, "The endpoint is not granted";
    /// Every grant that covers the endpoint has expired.
    AccessGrantExpired, "access_grant_expired", Forbidden, "The grant has expired";
    /// The token's scope excludes the endpoint.
    AccessOutOfScope, "access_out_of_scope", Forbidden, "The token is not for this endpoint";
    /// An admin token was used to call an endpoint.
    AccessAdminToken, "access_admin_token", Forbidden, "An admin token calls no endpoint";
    /// The admin API got a token that is not an admin token.
    AccessNotAdmin, "access_not_admin", Forbidden, "The token is not for administration";
    /// A policy needs an attribute that the principal does not have.
    AccessAttributeMissing, "access_attribute_missing", Forbidden, "The principal lacks an attribute that a policy needs";
    /// A policy needs an attribute of another type than the principal has.
    AccessAttributeMismatch, "access_attribute_mismatch", Forbidden, "An attribute of the principal has the wrong type for a policy";
    /// The principal exceeds its rate limit.
    AccessRateExceeded, "access_rate_exceeded", RateLimited, "Too many requests";
    /// The keys of the token's issuer are unavailable.
    AccessIssuerUnavailable, "access_issuer_unavailable", Unavailable, "The token cannot be verified now";
    /// The access store is unavailable.
    AccessStoreUnavailable, "access_store_unavailable", Unavailable, "Access cannot be decided now";

    /// No endpoint of this name.
    EndpointUnknown, "endpoint_unknown", NotFound, "There is no such endpoint";

    /// The arguments as a whole; `errors` has one entry for each fault.
    ArgumentsInvalid, "arguments_invalid", Invalid, "The arguments are not valid";
    /// An argument that no parameter takes.
    ArgumentUnknown, "argument_unknown", Invalid, "There is no such parameter";
    /// A required parameter without an argument.
    ArgumentMissing, "argument_missing", Invalid, "A parameter is missing";
    /// A parameter given more than once.
    ArgumentDuplicate, "argument_duplicate", Invalid, "A parameter came more than once";
    /// An argument that is not of the declared type.
    ArgumentType, "argument_type", Invalid, "An argument has the wrong type";
    /// An argument outside `enum`, `min`, `max`, `pattern` or `max_length`.
    ArgumentConstraint, "argument_constraint", Invalid, "An argument is outside what the parameter allows";
    /// No grant of the caller admits the arguments; `errors` has one entry for each.
    ArgumentNotGranted, "argument_not_granted", Refused, "The grant does not allow these arguments";
    /// The arguments break a rule of the endpoint.
    RuleViolated, "rule_violated", Refused, "The arguments break a rule of the endpoint";

    /// The data never had the requested state.
    AsOfUnknown, "as_of_unknown", Refused, "The data has no such state";
    /// The files of the requested state no longer exist.
    AsOfGone, "as_of_gone", Gone, "That state of the data is no longer kept";
    /// Row filters and masks could not be applied to the plan; nothing was run.
    GovernRefused, "govern_refused", Internal, "The query cannot be governed";
    /// The query failed on data that the caller may see, or in the engine.
    EngineFailed, "engine_failed", Internal, "The query failed";
    /// A number, date or time in the query is outside the range of its type.
    NumberOutOfRange, "number_out_of_range", Refused, "A number is out of range";
    /// The query cannot be computed for a value that it reads.
    EngineValueRefused, "engine_value_refused", Refused, "A value cannot be computed";
    /// The query exceeded its time limit.
    EngineTimedOut, "engine_timed_out", TimedOut, "The query took too long";
    /// The query exceeded its memory limit.
    EngineMemoryExceeded, "engine_memory_exceeded", Refused, "The query needs too much memory";
    /// The principal's share of the queue is full.
    EnginePrincipalBusy, "engine_principal_busy", RateLimited, "Too many queries of this caller wait";
    /// The server runs or queues as many requests as it allows.
    EngineOverloaded, "engine_overloaded", Unavailable, "The server is busy";
    /// The cursor belongs to a version of the data that is no longer served.
    ResultGone, "result_gone", Gone, "The pages cannot be continued";
    /// The result exceeds the row or byte limit.
    ResultTooLarge, "result_too_large", Refused, "The answer is larger than is allowed";
    /// The query would read more than is allowed.
    ScanTooLarge, "scan_too_large", Refused, "The query would read more than is allowed";
    /// The audit record could not be made durable; the server sends no response without it.
    AuditUnavailable, "audit_unavailable", Unavailable, "The audit log cannot be written";
    /// Files of the lake are unavailable.
    LakeUnavailable, "lake_unavailable", Unavailable, "The lake cannot be read now";
    /// A body or query string that the admin path does not accept.
    AdminRequestMalformed, "admin_request_malformed", Invalid, "The request is not what this path takes";
    /// A request to the admin API from a web page of another origin.
    AdminOriginRefused, "admin_origin_refused", Forbidden, "The admin API is not for web pages";
    /// No such principal, token or grant.
    AdminUnknown, "admin_unknown", NotFound, "There is no such principal, token or grant";
    /// The principal or grant exists already.
    AdminExists, "admin_exists", Conflict, "There is such a principal or grant already";
    /// The change needs an active token, and this one was revoked or rotated.
    AdminTokenEnded, "admin_token_ended", Conflict, "The token was revoked or rotated already";
    /// A change that makes no sense.
    AdminRefused, "admin_refused", Refused, "The change makes no sense";

    /// The server is not ready; `errors` has one entry for each reason.
    HealthNotReady, "health_not_ready", Unavailable, "The server is not ready";
    /// The server is shutting down.
    HealthDraining, "health_draining", Unavailable, "The server is about to stop";

    /// A fault of lakegate.
    Internal, "internal", Internal, "Something went wrong";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error: the code and messages for the caller, and the cause for the log.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// For the caller: what is wrong. Never SQL, a path of the lake, or a value that is not the caller's own.
    pub detail: String,
    /// The parameter at fault, if there is one.
    pub parameter: Option<String>,
    /// For the caller: what to do.
    pub hint: Option<String>,
    /// The single faults, if there are several.
    pub errors: Vec<Error>,
    /// Seconds after which the same request may succeed; `None` if unknown.
    pub retry_after: Option<NonZeroU32>,
    /// For the log only.
    pub source: Option<Cause>,
}

impl Error {
    /// Creates an error with a code and a sentence for the caller.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            parameter: None,
            hint: None,
            errors: Vec::new(),
            retry_after: None,
            source: None,
        }
    }

    /// Sets the number of seconds after which to retry; 0 becomes 1.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN));
        self
    }

    /// Seconds after which to retry; `None` if unknown.
    pub fn retry_seconds(&self) -> Option<u64> {
        self.retry_after.map(|seconds| seconds.get().into())
    }

    /// Sets the parameter at fault.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>) -> Self {
        self.parameter = Some(name.into());
        self
    }

    /// Sets the hint: what the caller should do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the cause for the log.
    #[must_use]
    pub fn source(mut self, source: impl Into<Cause>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A copy of the error for each request that waited for the same work; the original becomes the cause.
    pub fn shared(error: std::sync::Arc<Error>) -> Self {
        let errors =
            error.errors.iter().map(|each| Self { retry_after: each.retry_after, ..each.without_causes() }).collect();
        Self { errors, retry_after: error.retry_after, ..error.without_causes() }.source(error)
    }

    fn without_causes(&self) -> Self {
        let copy = Self::new(self.code, &self.detail);
        Self { parameter: self.parameter.clone(), hint: self.hint.clone(), ..copy }
    }

    /// One error for several wrong arguments. A single one is listed too, so that callers always read the same shape.
    pub fn arguments(errors: Vec<Error>) -> Self {
        let detail = errors.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>().join("; ");
        Self { errors, ..Self::new(Code::ArgumentsInvalid, detail) }
    }
}
