//! Writes events to the log: one line for each request when it ends, and one more for a slow query.
//!
//! Field names are dotted and end in their unit. Outside text is only ever a field, never part of a message, and
//! [`super::output`] ensures that no text starts a second line.

use std::error::Error as StdError;

use super::event::{Event, RequestEnd};
use super::ms;
use super::request_line;
use super::stage::Stage;
use crate::audit::Outcome;
use crate::error_chain::display_chain;

pub(super) fn notice(event: &Event<'_>) {
    match event {
        Event::RequestEnded(ended) => {
            request(ended);
            slow(ended);
        }
        Event::AllRowsSeen { request_id, principal, endpoint, tables } => tracing::info!(
            request.id = request_id,
            principal.name = principal,
            endpoint.name = endpoint,
            tables = tables.join(", "),
            "all rows are seen by a role"
        ),
        // The code that reloads the project logs its faults.
        Event::Reloaded(_)
        | Event::QueryQueued
        | Event::QueryDequeued
        | Event::QueryStarted
        | Event::QueryFinished
        | Event::CacheLookedUp(_) => {}
    }
}

/// Logs a request.
fn request(ended: &RequestEnd<'_>) {
    // Formatting costs time, even if the log is off.
    if !tracing::enabled!(tracing::Level::ERROR) {
        return;
    }
    if tracing::enabled!(tracing::Level::INFO) && request_line::try_write(ended) {
        return;
    }
    macro_rules! line {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                request.id = ended.request_id,
                request.method = ended.method,
                request.path = ended.path,
                endpoint.name = ended.endpoint.map(|endpoint| endpoint.name()),
                response.status = ended.status,
                response.rows = ended.rows,
                response.bytes = ended.bytes,
                duration_ms = ms(ended.duration),
                error.code = ended.code.map(|code| code.name()),
                error.detail = ended.error.map(|error| error.detail.as_str()),
                error.cause =
                    ended.error.map(|error| display_chain(StdError::source(error))).filter(|cause| !cause.is_empty()),
                trace.id = ended.trace.map(|trace| trace.id()),
                $message
            )
        };
    }
    match ended.outcome {
        Outcome::Answered => line!(info, "answered"),
        Outcome::Refused => line!(info, "refused"),
        Outcome::Failed => line!(error, "failed"),
        Outcome::Cut => line!(error, "cut"),
        Outcome::Cancelled => line!(info, "cancelled"),
    }
}

/// Logs a slow query.
fn slow(ended: &RequestEnd<'_>) {
    let Some(slow) = &ended.slow else { return };
    let took = |stage| ended.stages.times(stage).map(|times| ms(times.busy));
    tracing::warn!(
        request.id = ended.request_id,
        endpoint.name = ended.endpoint.map(|endpoint| endpoint.name()),
        principal.name = slow.principal,
        policy.fingerprint = slow.policy,
        response.status = ended.status,
        response.rows = ended.rows,
        response.bytes = ended.bytes,
        scanned.rows = ended.query.map(|query| query.scanned_rows),
        scanned.bytes = ended.query.map(|query| query.scanned_bytes),
        spilled.bytes = ended.query.map(|query| query.spilled_bytes),
        stages.authenticate_ms = took(Stage::Authenticate),
        stages.authorize_ms = took(Stage::Authorize),
        stages.arguments_ms = took(Stage::Arguments),
        stages.govern_ms = took(Stage::Govern),
        stages.queue_ms = took(Stage::Queue),
        stages.plan_ms = took(Stage::Plan),
        stages.first_row_ms = took(Stage::FirstRow),
        stages.stream_ms = took(Stage::Stream),
        stages.encode_ms = took(Stage::Encode),
        busy_ms = ms(slow.busy),
        duration_ms = ms(ended.duration),
        plan = slow.plan,
        "slow query"
    );
}
