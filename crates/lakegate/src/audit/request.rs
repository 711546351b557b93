//! The audit record of a request: the stages report what they found, and the end of the request writes the record.
//!
//! All clones share one record. If the last clone is dropped before the request has ended, the caller has disconnected,
//! and the record's outcome is `cancelled`. So every request gets a record, however it ends. Nothing here decides
//! anything about a request, except that strict mode fails one whose record cannot be made durable.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lakegate_core::access::{Credential, Reason};
use lakegate_core::catalog::{Call, RawArguments};
use lakegate_core::error::{Code, Error, Kind};
use lakegate_query::govern::GovernedPlan;
use lakegate_query::plan::PlannedProject;

use super::log::{AuditLog, SharedLog};
use super::record::{Decision, Head, Outcome, Record, RecordEvent, RequestMembers, RequestRecord, SerializedRequest};
use super::values;
use crate::observe::ms;
use crate::request_id::RequestId;

/// The audit record of a request that is not written yet; empty if there is no log or the request is not recorded.
#[derive(Clone, Default)]
pub struct RequestAudit(Option<Arc<Inner>>);

/// The properties of a new request.
#[derive(Debug)]
pub struct AuditStart {
    /// The request id, which has the time of arrival.
    pub request_id: RequestId,
    /// The HTTP method.
    pub method: String,
    /// The path, decoded and without the query string.
    pub path: String,
    /// The tokens in the headers. Text that contains one is not recorded.
    pub tokens: Vec<String>,
}

pub(super) struct Inner {
    log: Arc<SharedLog>,
    number: u64,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    record: RequestRecord,
    findings: Findings,
    secrets: Vec<String>,
    /// Whether the response depends on a secret value.
    is_secret: bool,
    /// Whether the response is streamed, so that it ends after its status was sent.
    streams: bool,
    done: bool,
}

/// Findings that are not written into the record yet. A request that the memo knows never needs them.
#[derive(Default)]
struct Findings {
    caller: Option<(Arc<Credential>, Arc<PlannedProject>)>,
    allowed: Option<Arc<Reason>>,
}

impl State {
    /// Writes the findings into the record.
    fn settle(&mut self) {
        if let Some((credential, project)) = self.findings.caller.take() {
            let tokens = self.secrets.len();
            let secret_attributes = &project.project().config.secret_attributes;
            self.secrets.extend(values::secrets_of(&credential.principal, secret_attributes));
            self.is_secret = self.secrets.len() > tokens;
            self.record.request.principal = Some(credential.principal.name.clone());
            self.record.request.token = Some(credential.proof.token_id());
        }
        if let Some(reason) = self.findings.allowed.take() {
            self.record.request.decision = Some(Decision::Allowed);
            self.record.request.reason = Some(reason.to_string());
        }
    }
}

impl RequestAudit {
    /// Begins the record of a request.
    pub fn begin(log: &AuditLog, start: impl FnOnce() -> AuditStart) -> Self {
        let Some(log) = log.shared() else { return Self::default() };
        let AuditStart { request_id, method, path, tokens } = start();
        let head = Head { time: request_id.time(), request_id, ..Head::default() };
        let members = RequestMembers {
            method: values::truncate(&method, values::MAX_NAME_CHARS),
            path,
            ..RequestMembers::default()
        };
        let record = RequestRecord { head, request: members, ..RequestRecord::default() };
        let findings = Findings::default();
        let state =
            Mutex::new(State { record, findings, secrets: tokens, is_secret: false, streams: false, done: false });
        let inner =
            log.register(|number| Arc::new(Inner { log: Arc::clone(log), number, begun: Instant::now(), state }));
        Self(Some(inner))
    }

    /// Whether a record will be written.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn note(&self, note: impl FnOnce(&mut State)) {
        if let Some(inner) = &self.0 {
            note(&mut inner.state());
        }
    }

    /// Records the requested endpoint, even if it does not exist.
    pub fn endpoint_named(&self, endpoint: &str) {
        self.note(|state| state.record.request.endpoint = Some(endpoint.to_owned()));
    }

    /// Records the argument names.
    pub fn arguments_named(&self, raw: &RawArguments) {
        self.note(|state| {
            state.record.request.argument_names = raw.names().take(values::MAX_NAMES).map(str::to_owned).collect();
            state.record.request.more_argument_names = raw.names().count().saturating_sub(values::MAX_NAMES);
        });
    }

    /// Records the principal and the token, valid or not. The log holds no value of the project's secret attributes.
    pub fn identified(&self, credential: &Arc<Credential>, project: &Arc<PlannedProject>) {
        self.note(|state| state.findings.caller = Some((Arc::clone(credential), Arc::clone(project))));
    }

    /// Drops what an earlier run of the request found, because the request is retried against a reloaded project.
    pub fn restarted(&self) {
        self.note(|state| {
            state.findings = Findings::default();
            let members = std::mem::take(&mut state.record.request);
            let RequestMembers { method, path, endpoint, argument_names, more_argument_names, .. } = members;
            let members = RequestMembers {
                method,
                path,
                endpoint,
                argument_names,
                more_argument_names,
                ..RequestMembers::default()
            };
            state.record.request = members;
        });
    }

    /// Records that access was granted, and why.
    pub fn allowed(&self, reason: &Arc<Reason>) {
        self.note(|state| state.findings.allowed = Some(Arc::clone(reason)));
    }

    /// Records that access was refused, and why.
    pub fn denied(&self, reason: &Reason) {
        self.note(|state| {
            state.record.request.decision = Some(Decision::Denied);
            state.record.request.reason = Some(reason.to_string());
        });
    }

    /// Records the valid arguments and the grants that allow them.
    pub fn called(&self, call: &Call, secret_attributes: &BTreeSet<String>) {
        self.note(|state| {
            state.settle();
            state.record.request.arguments = Some(values::arguments(call, secret_attributes, &state.secrets));
            let mut arguments = call.endpoint().params.iter().zip(call.arguments().values());
            state.is_secret |= arguments.any(|(param, value)| param.secret && value.is_some());
            state.record.request.grants = call.granted_access().grants().to_vec();
        });
    }

    /// Records the policies that govern the response. The fingerprint is a digest of attributes and arguments among
    /// others, so a reader who knows the rest could find a short secret by trial. If the response depends on a secret,
    /// it is omitted.
    pub fn governed(&self, plan: &GovernedPlan) {
        self.note(|state| {
            state.record.request.policy = (!state.is_secret).then(|| plan.fingerprint().to_owned());
            state.record.request.unfiltered = plan.unfiltered().to_vec();
            state.record.request.restricted = plan.restricted().to_vec();
        });
    }

    /// The fingerprint that [`RequestAudit::governed`] recorded; `None` if it depends on a secret or there is no log.
    pub fn policy(&self) -> Option<String> {
        self.0.as_ref()?.state().record.request.policy.clone()
    }

    /// The members about the request and its caller as they are now, for an equal request of the same caller.
    pub fn serialized(&self) -> Option<SerializedRequest> {
        let inner = self.0.as_ref()?;
        let (mut known, secrets) = {
            let mut state = inner.state();
            state.settle();
            (state.record.request.clone(), state.secrets.clone())
        };
        complete(&mut known, &secrets);
        SerializedRequest::new(&known)
    }

    /// Records what [`RequestAudit::serialized`] returned for an earlier request. A refusal drops it.
    pub fn recalled(&self, request: Option<&SerializedRequest>) {
        self.note(|state| state.record.recalled = request.cloned());
    }

    /// Records what was handed to the connection.
    pub fn sent(&self, rows: u64, bytes: usize) {
        self.note(|state| {
            state.record.response.rows += rows;
            state.record.response.bytes += bytes as u64;
        });
    }

    /// Records that the response is streamed. In strict mode, writes a record before the response starts.
    ///
    /// # Errors
    /// In strict mode, if the record cannot be made durable.
    pub async fn starts_to_stream(&self) -> Result<(), Error> {
        let Some(inner) = &self.0 else { return Ok(()) };
        if inner.log.is_strict() {
            let slot = inner.log.slot().await?;
            let record = {
                let mut state = inner.state();
                if state.record.recalled.is_none() {
                    state.settle();
                }
                let mut record = state.record.clone();
                record.head.event = RecordEvent::Started;
                inner.complete(&mut record, &state.secrets);
                state.streams = true;
                record
            };
            return slot.queue(Record::Request(Box::new(record))).durable().await;
        }
        inner.state().streams = true;
        Ok(())
    }

    /// Records the start of the response, with its status, error and size if known. Ends the request, unless a body is
    /// still to be streamed.
    ///
    /// # Errors
    /// In strict mode, if the record cannot be made durable.
    pub async fn answered(
        &self,
        status: u16,
        error: Option<&Error>,
        bytes: Option<u64>,
        has_body: bool,
    ) -> Result<(), Error> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let streams = {
            let mut state = inner.state();
            state.record.response.status = Some(status);
            if error.is_some() {
                state.record.response.rows = 0;
            }
            state.streams && error.is_none()
        };
        if streams && has_body {
            return Ok(());
        }
        let outcome = Outcome::from_status(status, error.is_some());
        let bytes = if has_body { bytes.unwrap_or_default() } else { 0 };
        inner.end(outcome, error.map(|error| error.code), Some(bytes)).await
    }

    /// Ends the request after the last piece was sent.
    ///
    /// # Errors
    /// In strict mode, if the record cannot be made durable; then the response must not look complete.
    pub async fn completed(&self) -> Result<(), Error> {
        match &self.0 {
            Some(inner) => inner.end(Outcome::Answered, None, None).await,
            None => Ok(()),
        }
    }

    /// Ends the request because the response is cut. A failure to record that cannot be reported to anybody.
    pub async fn cut(&self, error: Option<&Error>) {
        if let Some(inner) = &self.0 {
            let _ = inner.end(Outcome::Cut, error.map(|error| error.code), None).await;
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the record, once. Cancelling before a slot is reserved changes nothing.
    async fn end(&self, outcome: Outcome, code: Option<Code>, bytes: Option<u64>) -> Result<(), Error> {
        let slot = self.log.slot().await?;
        let pending = {
            let mut state = self.state();
            if let Some(bytes) = bytes.filter(|_| !state.done) {
                state.record.response.bytes = bytes;
            }
            match self.ended(&mut state, outcome, code) {
                Some(record) => slot.queue(record),
                None => return Ok(()),
            }
        };
        pending.durable().await
    }

    /// Completes the record, once.
    fn ended(&self, state: &mut State, outcome: Outcome, code: Option<Code>) -> Option<Record> {
        if std::mem::replace(&mut state.done, true) {
            return None;
        }
        if outcome == Outcome::Refused || state.record.recalled.is_none() {
            state.settle();
        }
        let mut record = std::mem::take(&mut state.record);
        record.head.event = RecordEvent::Ended;
        record.response.outcome = Some(outcome);
        record.response.code = code.map(Code::name);
        if let Some(code) = code.filter(|code| denies(*code)) {
            // A denial by access control has already recorded its reason.
            if record.request.decision.replace(Decision::Denied) != Some(Decision::Denied) {
                record.request.reason = Some(code.title().to_owned());
            }
        }
        if outcome == Outcome::Refused {
            // The values of a refused request are useless, and not all of them were checked.
            record.request.arguments = None;
            record.recalled = None;
        }
        self.complete(&mut record, &state.secrets);
        Some(Record::Request(Box::new(record)))
    }

    fn complete(&self, record: &mut RequestRecord, secrets: &[String]) {
        record.response.duration_ms = ms(self.begun.elapsed());
        if record.recalled.is_none() {
            complete(&mut record.request, secrets);
        }
    }

    /// Ends the request because the server shuts down.
    pub(super) async fn end_with_server(&self) {
        let _ = self.end(Outcome::Cut, None, None).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.log.unregister(self.number);
        let mut state = self.state();
        if let Some(record) = self.ended(&mut state, Outcome::Cancelled, None) {
            self.log.queue_detached(record);
        }
    }
}

/// Removes secrets first and truncates then, because a truncated secret would not be found.
fn complete(members: &mut RequestMembers, secrets: &[String]) {
    values::redact(members, secrets);
    members.path = values::truncate(&members.path, values::MAX_PATH_CHARS);
    members.endpoint = members.endpoint.take().map(|endpoint| values::truncate(&endpoint, values::MAX_NAME_CHARS));
    for name in &mut members.argument_names {
        *name = values::truncate(name, values::MAX_NAME_CHARS);
    }
}

/// Whether a code is a refusal of access: the caller is unknown, or lacks a right.
fn denies(code: Code) -> bool {
    matches!(code.kind(), Kind::Unauthenticated | Kind::Forbidden) || code == Code::ArgumentNotGranted
}
