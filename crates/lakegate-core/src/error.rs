//! Every error that a caller can get: its stable code, its kind, and the two messages (one for the caller, one for the log).
//!
//! One table, [`CODES`], lists all codes. HTTP statuses are not here: the edge chooses them from [`Kind`].

use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroU32;

/// A cause that goes to the log and never to a caller.
pub type Source = Box<dyn StdError + Send + Sync + 'static>;

/// The small closed set from which the edge chooses a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is not understandable, or its arguments are not the declared ones.
    Invalid,
    /// It is not known who calls.
    Unauthenticated,
    /// It is known who calls, and they may not.
    Forbidden,
    /// There is no such endpoint or path.
    NotFound,
    /// The path exists and does not take this method.
    MethodNotAllowed,
    /// None of the formats that the caller accepts can be made.
    NotAcceptable,
    /// It contradicts what is there already.
    Conflict,
    /// It was there, and is no more.
    Gone,
    /// The request body is too large.
    TooLarge,
    /// The URL is too long.
    UrlTooLong,
    /// The headers are too large.
    HeadersTooLarge,
    /// The body's media type is not taken.
    UnsupportedMediaType,
    /// Well formed, and refused by a rule or a limit.
    Refused,
    /// More was asked than the caller may ask now.
    RateLimited,
    /// Something that the answer needs is away for now.
    Unavailable,
    /// The time limit ran out.
    TimedOut,
    /// A fault of the project, the data or lakegate.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $kind:ident, $title:literal;)*) => {
        /// What went wrong, as a name that is never changed or used again for something else.
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

            /// The kind, from which the edge chooses a status.
            pub fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind,)* }
            }

            /// A short sentence that is the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// A path that no route serves.
    RequestPathUnknown, "request_path_unknown", NotFound, "There is nothing at this path";
    /// A route that does not take the method.
    RequestMethodNotAllowed, "request_method_not_allowed", MethodNotAllowed, "This path does not take this method";
    /// A body that is not a JSON object.
    RequestBodyMalformed, "request_body_malformed", Invalid, "The body is not a JSON object";
    /// A body over the size limit.
    RequestBodyTooLarge, "request_body_too_large", TooLarge, "The body is too large";
    /// A URL over the size limit.
    RequestUrlTooLong, "request_url_too_long", UrlTooLong, "The URL is too long";
    /// Headers over the size limit.
    RequestHeadersTooLarge, "request_headers_too_large", HeadersTooLarge, "The headers are too large";
    /// Plain HTTP where TLS is spoken.
    RequestNotEncrypted, "request_not_encrypted", Invalid, "This port takes encrypted connections only";
    /// A body whose media type is not JSON.
    RequestMediaType, "request_media_type", UnsupportedMediaType, "The body must be JSON";
    /// A query string that is not valid percent-encoded UTF-8.
    RequestQueryMalformed, "request_query_malformed", Invalid, "The query string is malformed";
    /// A token in the URL, where logs and proxies see it.
    RequestTokenInUrl, "request_token_in_url", Invalid, "A token must not be in the URL";
    /// No format that the caller accepts.
    RequestFormatUnknown, "request_format_unknown", NotAcceptable, "None of the accepted formats can be made";

    /// No token came.
    AccessTokenMissing, "access_token_missing", Unauthenticated, "A token is needed";
    /// Two headers with different tokens.
    AccessTokenConflict, "access_token_conflict", Invalid, "Several different tokens came";
    /// A token that stands for nobody.
    AccessTokenUnknown, "access_token_unknown", Unauthenticated, "The token is not known";
    /// A token past its expiry.
    AccessTokenExpired, "access_token_expired", Unauthenticated, "The token has expired";
    /// A token that was revoked.
    AccessTokenRevoked, "access_token_revoked", Unauthenticated, "The token was revoked";
    /// The principal behind the token is disabled.
    AccessPrincipalDisabled, "access_principal_disabled", Unauthenticated, "The principal is disabled";
    /// No grant for the endpoint.
    AccessNotGranted, "access_not_granted", Forbidden, "The endpoint is not granted";
    /// The only grants for the endpoint have expired.
    AccessGrantExpired, "access_grant_expired", Forbidden, "The grant has expired";
    /// The token's scope leaves the endpoint out.
    AccessOutOfScope, "access_out_of_scope", Forbidden, "The token is not for this endpoint";
    /// An admin token where endpoints are called.
    AccessAdminToken, "access_admin_token", Forbidden, "An admin token calls no endpoint";
    /// A token that is not for administration, where only such are taken.
    AccessNotAdmin, "access_not_admin", Forbidden, "The token is not for administration";
    /// A policy needs an attribute that the principal does not have.
    AccessAttributeMissing, "access_attribute_missing", Forbidden, "The principal lacks an attribute that a policy needs";
    /// A policy needs an attribute of another type than the principal has.
    AccessAttributeMismatch, "access_attribute_mismatch", Forbidden, "An attribute of the principal has the wrong type for a policy";
    /// More requests than the principal may make.
    AccessRateExceeded, "access_rate_exceeded", RateLimited, "Too many requests";
    /// The keys of the token's issuer are not known now.
    AccessIssuerUnavailable, "access_issuer_unavailable", Unavailable, "The token can not be verified now";
    /// The access store does not answer.
    AccessStoreUnavailable, "access_store_unavailable", Unavailable, "Access can not be decided now";

    /// No endpoint of this name.
    EndpointUnknown, "endpoint_unknown", NotFound, "There is no such endpoint";

    /// The arguments as a whole; `errors` names each.
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
    /// Arguments that no grant of the caller admits; `errors` names each.
    ArgumentNotGranted, "argument_not_granted", Refused, "The grant does not allow these arguments";
    /// A rule of the endpoint that these arguments break.
    RuleViolated, "rule_violated", Refused, "The arguments break a rule of the endpoint";

    /// A state of the data that there never was.
    AsOfUnknown, "as_of_unknown", Refused, "The data has no such state";
    /// A state of the data whose files are no longer there.
    AsOfGone, "as_of_gone", Gone, "That state of the data is no longer kept";
    /// The plan could not be governed; nothing was run.
    GovernRefused, "govern_refused", Internal, "The query can not be governed";
    /// The query failed on data that the caller may see, or in the engine.
    EngineFailed, "engine_failed", Internal, "The query failed";
    /// A number, a date or a time of the query is beyond what its type holds.
    NumberOutOfRange, "number_out_of_range", Refused, "A number is out of range";
    /// The query cannot be computed for a value that it meets.
    EngineValueRefused, "engine_value_refused", Refused, "A value cannot be computed";
    /// The query took longer than its limit.
    EngineTimedOut, "engine_timed_out", TimedOut, "The query took too long";
    /// The query needed more memory than its limit.
    EngineMemoryExceeded, "engine_memory_exceeded", Refused, "The query needs too much memory";
    /// As many queries of the principal wait as may.
    EnginePrincipalBusy, "engine_principal_busy", RateLimited, "Too many queries of this caller wait";
    /// More requests run than the server takes.
    EngineOverloaded, "engine_overloaded", Unavailable, "The server is busy";
    /// A cursor of a version of the data that is no longer served.
    ResultGone, "result_gone", Gone, "The pages can not be continued";
    /// More rows or bytes than are allowed.
    ResultTooLarge, "result_too_large", Refused, "The answer is larger than is allowed";
    /// The query would read more than is allowed.
    ScanTooLarge, "scan_too_large", Refused, "The query would read more than is allowed";
    /// The audit record could not be made durable, and the server answers nothing without it.
    AuditUnavailable, "audit_unavailable", Unavailable, "The audit log can not be written";
    /// Files of the lake can not be read now.
    LakeUnavailable, "lake_unavailable", Unavailable, "The lake can not be read now";
    /// A body or a query string that an admin path does not take.
    AdminRequestMalformed, "admin_request_malformed", Invalid, "The request is not what this path takes";
    /// A request of the admin API that a web page of another site made.
    AdminOriginRefused, "admin_origin_refused", Forbidden, "The admin API is not for web pages";
    /// A principal, token or grant that is not there.
    AdminUnknown, "admin_unknown", NotFound, "There is no such principal, token or grant";
    /// A principal or grant that is there already.
    AdminExists, "admin_exists", Conflict, "There is such a principal or grant already";
    /// A token that was revoked or rotated, where a living one is needed.
    AdminTokenEnded, "admin_token_ended", Conflict, "The token was revoked or rotated already";
    /// A change that makes no sense.
    AdminRefused, "admin_refused", Refused, "The change makes no sense";

    /// The server is not ready; `errors` names each reason.
    HealthNotReady, "health_not_ready", Unavailable, "The server is not ready";
    /// The server was told to stop.
    HealthDraining, "health_draining", Unavailable, "The server is about to stop";

    /// A fault of lakegate.
    Internal, "internal", Internal, "Something went wrong";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a caller is told, and beside it what only the log is told.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// For the caller: what is wrong here. Never SQL, a path of the lake, or a value that is not the caller's own.
    pub detail: String,
    /// The parameter, where one is to blame.
    pub parameter: Option<String>,
    /// For the caller: what to do.
    pub hint: Option<String>,
    /// The single faults, where there are several.
    pub errors: Vec<Error>,
    /// In how many seconds the same request may be answered.
    pub retry_after: Option<NonZeroU32>,
    /// For the log alone.
    pub source: Option<Source>,
}

impl Error {
    /// An error with a code and a sentence for the caller.
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

    /// Says in how many seconds it is worth trying again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(NonZeroU32::new(u32::try_from(seconds).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN));
        self
    }

    /// In how many seconds it is worth trying again, where that is known.
    pub fn retry_seconds(&self) -> Option<u64> {
        self.retry_after.map(|seconds| seconds.get().into())
    }

    /// Names the parameter that is to blame.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>) -> Self {
        self.parameter = Some(name.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error for one of several who wait for the same thing.
    pub fn shared(error: std::sync::Arc<Error>) -> Self {
        let errors = error.errors.iter().map(|each| Self { retry_after: each.retry_after, ..each.told() }).collect();
        Self { errors, retry_after: error.retry_after, ..error.told() }.source(error)
    }

    fn told(&self) -> Self {
        let told = Self::new(self.code, &self.detail);
        Self { parameter: self.parameter.clone(), hint: self.hint.clone(), ..told }
    }

    /// One error for several wrong arguments; a single one is still listed, so that callers read one shape.
    pub fn arguments(errors: Vec<Error>) -> Self {
        let detail = errors.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>().join("; ");
        Self { errors, ..Self::new(Code::ArgumentsInvalid, detail) }
    }
}
