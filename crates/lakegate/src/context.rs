//! The context of a request: its id, the project that was served when it arrived, and what accompanies it to its end (audit
//! record, timer and rate limits).
//!
//! The stages of [`crate::pipeline`] report their results here. The audit record and the timer only listen.

use std::sync::Arc;

use lakegate_core::access::{Authorized, Principal, Reason};
use lakegate_core::catalog::Call;
use lakegate_core::error::Error;
use lakegate_query::govern::GovernedPlan;

use crate::app::Served;
use crate::audit::RequestAudit;
use crate::limits::RateLimitState;
use crate::memo::Recalled;
use crate::observe::{RequestTimer, Stage};
use crate::request_id::RequestId;

/// The context of one request.
pub struct RequestContext {
    /// The request id.
    pub id: RequestId,
    /// The project that was served when the request arrived.
    pub served: Arc<Served>,
    /// The audit record.
    pub audit: RequestAudit,
    /// The timer, which feeds the log, metrics and traces.
    pub timer: RequestTimer,
    /// The counts against the caller's rate limits.
    pub rate_limits: RateLimitState,
}

impl RequestContext {
    /// Reports the endpoint that the request names, even if it does not exist.
    pub fn endpoint_named(&self, endpoint: &str) {
        self.timer.endpoint_named(endpoint);
        self.audit.endpoint_named(endpoint);
    }

    /// Reports that access was granted, and why.
    pub fn allowed(&self, authorized: &Authorized) {
        self.timer.granted(authorized.endpoint());
        self.audit.allowed(authorized.reason());
    }

    /// Reports that access was refused, and why.
    pub fn denied(&self, reason: &Reason) {
        self.timer.end_stage(Stage::Authorize);
        self.audit.denied(reason);
    }

    /// Reports the valid arguments.
    pub fn called(&self, call: &Call, served: &Served) {
        self.timer.end_stage(Stage::Arguments);
        self.audit.called(call, &served.config().secret_attributes);
    }

    /// Reports the governed plan.
    pub fn governed(&self, principal: &Principal, plan: &GovernedPlan) {
        self.audit.governed(plan);
        self.timer.governed(|| plan.outline(), || self.audit.policy());
        self.timer.all_rows_seen(principal, plan.unfiltered());
    }

    /// Reports what the memo knows of the same request, in the place of its arguments and its plan.
    pub fn recalled(&self, principal: &Principal, recalled: &Recalled) {
        self.timer.end_stage(Stage::Arguments);
        self.timer.governed(|| recalled.outline.clone(), || recalled.policy.clone());
        self.timer.all_rows_seen(principal, &recalled.unfiltered);
        self.audit.recalled(recalled.record.as_ref());
    }

    /// Reports what was handed to the connection.
    pub fn sent(&self, rows: u64, bytes: usize) {
        self.timer.sent(rows, bytes);
        self.audit.sent(rows, bytes);
    }

    /// Reports that the response is streamed. In strict mode, writes a record before the response starts.
    ///
    /// # Errors
    /// In strict mode, if the record cannot be made durable.
    pub async fn starts_to_stream(&self) -> Result<(), Error> {
        self.timer.streams();
        self.audit.starts_to_stream().await
    }

    /// Ends a streamed request after its last piece was sent.
    ///
    /// # Errors
    /// In strict mode, if the record cannot be made durable; then the response must not look complete.
    pub async fn completed(&self) -> Result<(), Error> {
        let recorded = self.audit.completed().await;
        match &recorded {
            Ok(()) => self.timer.completed(),
            Err(unrecorded) => self.timer.cut(Some(unrecorded)),
        }
        recorded
    }

    /// Ends a streamed request because its response is cut. A failure to record that cannot be reported to anybody.
    pub async fn cut(&self, error: Option<&Error>) {
        self.timer.cut(error);
        self.audit.cut(error).await;
    }
}
