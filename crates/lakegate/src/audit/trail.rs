//! The audit trail of a request: the stages fill it in, and ending the request writes its record.
//!
//! All clones share one trail. If the last clone is dropped before the request has ended, the caller has disconnected,
//! and the record's outcome is `cancelled`. So every request gets a record, however it ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};
use lakegate_core::access::{Admin, Authorized, Credential, Presented, Principal, Reason, authenticate_admin};
use lakegate_core::catalog::{Call, RawArguments};
use lakegate_core::error::{Code, Error, Kind};
use lakegate_query::govern::{GovernedPlan, PlanOutline};

use super::log::{AuditLog, Shared};
use super::record::{Asked, AskedBefore, Decision, Event, Head, Outcome, Record, RequestRecord};
use super::values;
use crate::app::{App, Served};
use crate::clock;
use crate::limits::Standing;
use crate::observe::{Stage, Watch, ms};

/// The audit trail of a request; empty if there is no log or the request is not recorded. It also carries the request's
/// [`Watch`] and rate-limit state, which are not part of the record.
#[derive(Clone, Default)]
pub struct Trail(Option<Arc<Inner>>, Watch, Standing);

/// The findings that a request shares with an earlier one: the results of its arguments, grants and plan.
#[derive(Debug)]
pub struct Findings {
    /// The `asked` part of the record, if there is a log.
    pub(super) asked: Option<AskedBefore>,
    policy: Option<String>,
    outline: PlanOutline,
    unfiltered: Vec<String>,
}

impl Findings {
    /// The tables whose every row the caller sees, because of a role.
    pub fn unfiltered(&self) -> &[String] {
        &self.unfiltered
    }
}

/// The properties of a new request.
#[derive(Debug)]
pub struct Opening {
    /// The request id.
    pub request_id: String,
    /// The HTTP method.
    pub method: String,
    /// The path, decoded and without the query string.
    pub path: String,
    /// The tokens in the headers. Text that contains one is not recorded.
    pub tokens: Vec<String>,
}

pub(super) struct Inner {
    log: Arc<Shared>,
    number: u64,
    begun: Instant,
    state: Mutex<State>,
}

struct State {
    record: RequestRecord,
    secrets: Vec<String>,
    /// Whether the response depends on a secret value.
    is_secret: bool,
    /// Whether the response is streamed, so that it ends after its status was sent.
    streams: bool,
    done: bool,
}

impl Trail {
    /// Begins the trail of a request.
    pub fn begin(log: &AuditLog, opening: impl FnOnce() -> Opening) -> Self {
        let Some(log) = log.shared() else { return Self::default() };
        let Opening { request_id, method, path, tokens } = opening();
        let head = Head { time: clock::now(), request_id, ..Head::default() };
        let asked = Asked { method: values::cut(&method, values::NAME), path, ..Asked::default() };
        let record = RequestRecord { head, asked, ..RequestRecord::default() };
        let state = Mutex::new(State { record, secrets: tokens, is_secret: false, streams: false, done: false });
        let inner = log.enter(|number| Arc::new(Inner { log: Arc::clone(log), number, begun: Instant::now(), state }));
        Self(Some(inner), Watch::default(), Standing::default())
    }

    /// Adds the timer of the request.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self(self.0, watch, self.2)
    }

    /// Adds the rate-limit state of the request.
    #[must_use]
    pub fn counted(self, standing: Standing) -> Self {
        Self(self.0, self.1, standing)
    }

    /// The rate-limit state of the request.
    pub fn standing(&self) -> &Standing {
        &self.2
    }

    /// The timer of the request.
    pub fn watch(&self) -> &Watch {
        &self.1
    }

    fn note(&self, note: impl FnOnce(&mut State)) {
        if let Some(inner) = &self.0 {
            note(&mut inner.state());
        }
    }

    /// Records the requested endpoint, even if it does not exist.
    pub fn asked(&self, endpoint: &str) {
        self.1.asked(endpoint);
        self.note(|state| state.record.asked.endpoint = Some(endpoint.to_owned()));
    }

    /// Records the argument names.
    pub fn came(&self, raw: &RawArguments) {
        self.note(|state| {
            state.record.asked.argument_names = raw.names().take(values::NAMES).map(str::to_owned).collect();
            state.record.asked.more_argument_names = raw.names().count().saturating_sub(values::NAMES);
        });
    }

    /// Authenticates a token and records its principal, even if the token is no longer valid. Counts the request
    /// against the principal's rate limits.
    ///
    /// # Errors
    /// If the token is invalid, or the principal exceeds a rate limit.
    pub async fn authenticate(
        &self,
        served: &Served,
        token: &Presented,
        now: DateTime<Utc>,
    ) -> Result<(Principal, Arc<Credential>), Error> {
        let (principal, credential) = self.identify(served, token, now).await?;
        self.2.count(served.config(), &principal, now)?;
        Ok((principal, credential))
    }

    /// Authenticates again for a retry against the reloaded project. Does not count the request again, and drops the
    /// findings of the previous run.
    ///
    /// # Errors
    /// If the token is invalid.
    pub async fn authenticate_again(
        &self,
        served: &Served,
        token: &Presented,
        now: DateTime<Utc>,
    ) -> Result<(Principal, Arc<Credential>), Error> {
        self.note(|state| {
            let asked = std::mem::take(&mut state.record.asked);
            let Asked { method, path, endpoint, argument_names, more_argument_names, .. } = asked;
            let asked = Asked { method, path, endpoint, argument_names, more_argument_names, ..Asked::default() };
            state.record.asked = asked;
        });
        self.identify(served, token, now).await
    }

    async fn identify(
        &self,
        served: &Served,
        token: &Presented,
        now: DateTime<Utc>,
    ) -> Result<(Principal, Arc<Credential>), Error> {
        self.1.follow();
        let known = served.identity.authenticate(token, now).await;
        self.1.end(Stage::Authenticate);
        if let Ok((principal, _)) = &known {
            self.1.authenticated(principal);
        }
        if self.0.is_some() {
            let credential = match &known {
                Ok((_, credential)) => Some(Arc::clone(credential)),
                Err(error) if is_of_somebody(error.code) => served.identity.credential(token).await.ok(),
                Err(_) => None,
            };
            if let Some(credential) = credential {
                self.note_whom(served, &credential);
            }
        }
        known
    }

    /// Authenticates an admin token and records its principal.
    ///
    /// # Errors
    /// If the token is invalid, or is not an admin token.
    pub async fn authenticate_admin(
        &self,
        app: &App,
        served: &Served,
        presented: &Presented,
        now: DateTime<Utc>,
    ) -> Result<Admin, Error> {
        self.1.follow();
        let known = match presented {
            Presented::Token(token) => app.access.authenticate_admin(token, now).await,
            // A JWT never grants administration; the refusal comes from the same function as all others.
            Presented::Jwt(_) => {
                served.identity.credential(presented).await.and_then(|said| authenticate_admin(&said, now))
            }
        };
        self.1.end(Stage::Authenticate);
        let is_known = known.as_ref().err().is_none_or(|error| is_of_somebody(error.code));
        if self.0.is_some()
            && is_known
            && let Ok(credential) = served.identity.credential(presented).await
        {
            self.note_whom(served, &credential);
        }
        known
    }

    fn note_whom(&self, served: &Served, credential: &Credential) {
        let secret_attributes = &served.config().secret_attributes;
        self.note(|state| {
            state.record.asked.principal = Some(credential.principal.name.clone());
            state.record.asked.token = Some(credential.proof.token_id());
            let tokens = state.secrets.len();
            state.secrets.extend(values::secrets_of(&credential.principal, secret_attributes));
            state.is_secret = state.secrets.len() > tokens;
        });
    }

    /// Records that access was granted, and why.
    pub fn allowed(&self, authorized: &Authorized) {
        self.1.granted(authorized.endpoint());
        self.note(|state| {
            state.record.asked.decision = Some(Decision::Allowed);
            state.record.asked.reason = Some(authorized.reason().to_string());
        });
    }

    /// Records that access was refused, and why.
    pub fn denied(&self, reason: &Reason) {
        self.1.end(Stage::Authorize);
        self.note(|state| {
            state.record.asked.decision = Some(Decision::Denied);
            state.record.asked.reason = Some(reason.to_string());
        });
    }

    /// Records the valid arguments and the grants that allow them.
    pub fn called(&self, call: &Call, secret_attributes: &BTreeSet<String>) {
        self.1.end(Stage::Arguments);
        self.note(|state| {
            state.record.asked.arguments = Some(values::arguments(call, secret_attributes, &state.secrets));
            let mut arguments = call.endpoint().params.iter().zip(call.arguments().values());
            state.is_secret |= arguments.any(|(param, value)| param.secret && value.is_some());
            state.record.asked.grants = call.granted_access().grants().to_vec();
        });
    }

    /// Records the policies that govern the response. The fingerprint is a digest of attributes and arguments among
    /// others, so a reader who knows the rest could find a short secret by trial. If the response depends on a secret,
    /// it is omitted.
    pub fn governed(&self, plan: &GovernedPlan) {
        self.note(|state| {
            state.record.asked.policy = (!state.is_secret).then(|| plan.fingerprint().to_owned());
            state.record.asked.unfiltered = plan.unfiltered().to_vec();
            state.record.asked.restricted = plan.restricted().to_vec();
        });
        self.1.governed(|| plan.outline(), || self.0.as_ref()?.state().record.asked.policy.clone());
    }

    /// The findings of a request with a governed plan, for the same request of the same caller.
    pub fn findings(&self, plan: &GovernedPlan) -> Findings {
        let (mut policy, mut asked) = (None, None);
        self.note(|state| {
            policy.clone_from(&state.record.asked.policy);
            let mut known = state.record.asked.clone();
            complete(&mut known, &state.secrets);
            asked = AskedBefore::of(&known);
        });
        Findings { asked, policy, outline: plan.outline(), unfiltered: plan.unfiltered().to_vec() }
    }

    /// Records the findings of an earlier request. From here on this request is not refused.
    pub fn found(&self, findings: &Findings, call: &Call) {
        self.1.granted(&call.endpoint().name);
        self.1.end(Stage::Arguments);
        self.1.governed(|| findings.outline.clone(), || findings.policy.clone());
        self.1.sees_all_rows(call.authorized().principal(), &findings.unfiltered);
        self.note(|state| state.record.asked_before.clone_from(&findings.asked));
    }

    /// Records what was handed to the connection.
    pub fn sent(&self, rows: u64, bytes: usize) {
        self.1.sent(rows, bytes);
        self.note(|state| {
            state.record.answered.rows += rows;
            state.record.answered.bytes += bytes as u64;
        });
    }

    /// Records that the response is streamed. In strict mode, writes a record before the response starts.
    ///
    /// # Errors
    /// In strict mode, if the record cannot be made durable.
    pub async fn starts_to_stream(&self) -> Result<(), Error> {
        self.1.streams();
        let Some(inner) = &self.0 else { return Ok(()) };
        if inner.log.is_strict() {
            let place = inner.log.place().await?;
            let record = {
                let mut state = inner.state();
                let mut record = state.record.clone();
                record.head.event = Event::Started;
                inner.complete(&mut record, &state.secrets);
                state.streams = true;
                record
            };
            return place.put(Record::Request(Box::new(record))).durable().await;
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
            state.record.answered.status = Some(status);
            if error.is_some() {
                state.record.answered.rows = 0;
            }
            state.streams && error.is_none()
        };
        if streams && has_body {
            return Ok(());
        }
        let outcome = Outcome::of_answer(status, error.is_some());
        let bytes = if has_body { bytes.unwrap_or_default() } else { 0 };
        inner.end(outcome, error.map(|error| error.code), Some(bytes)).await
    }

    /// Ends the request after the last piece was sent.
    ///
    /// # Errors
    /// In strict mode, if the record cannot be made durable; then the response must not look complete.
    pub async fn completed(&self) -> Result<(), Error> {
        let recorded = match &self.0 {
            Some(inner) => inner.end(Outcome::Answered, None, None).await,
            None => Ok(()),
        };
        match &recorded {
            Ok(()) => self.1.completed(),
            Err(unrecorded) => self.1.cut(Some(unrecorded)),
        }
        recorded
    }

    /// Ends the request because the response is cut. A failure to record that cannot be reported to anybody.
    pub async fn cut(&self, error: Option<&Error>) {
        self.1.cut(error);
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
        let place = self.log.place().await?;
        let on_its_way = {
            let mut state = self.state();
            if let Some(bytes) = bytes.filter(|_| !state.done) {
                state.record.answered.bytes = bytes;
            }
            match self.ended(&mut state, outcome, code) {
                Some(record) => place.put(record),
                None => return Ok(()),
            }
        };
        on_its_way.durable().await
    }

    /// Completes the record, once.
    fn ended(&self, state: &mut State, outcome: Outcome, code: Option<Code>) -> Option<Record> {
        if std::mem::replace(&mut state.done, true) {
            return None;
        }
        let mut record = std::mem::take(&mut state.record);
        record.head.event = Event::Ended;
        record.answered.outcome = Some(outcome);
        record.answered.code = code.map(Code::name);
        if let Some(code) = code.filter(|code| denies(*code)) {
            // A denial by access control has already recorded its reason.
            if record.asked.decision.replace(Decision::Denied) != Some(Decision::Denied) {
                record.asked.reason = Some(code.title().to_owned());
            }
        }
        if outcome == Outcome::Refused {
            // The values of a refused request are useless, and not all of them were checked.
            record.asked.arguments = None;
            record.asked_before = None;
        }
        self.complete(&mut record, &state.secrets);
        Some(Record::Request(Box::new(record)))
    }

    fn complete(&self, record: &mut RequestRecord, secrets: &[String]) {
        record.answered.duration_ms = ms(self.begun.elapsed());
        if record.asked_before.is_none() {
            complete(&mut record.asked, secrets);
        }
    }

    /// Ends the request because the server shuts down.
    pub(super) async fn end_with_server(&self) {
        let _ = self.end(Outcome::Cut, None, None).await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.log.leave(self.number);
        let mut state = self.state();
        if let Some(record) = self.ended(&mut state, Outcome::Cancelled, None) {
            self.log.put_late(record);
        }
    }
}

/// Removes secrets first and truncates then, because a truncated secret would not be found.
fn complete(asked: &mut Asked, secrets: &[String]) {
    values::scrub(asked, secrets);
    asked.path = values::cut(&asked.path, values::PATH);
    asked.endpoint = asked.endpoint.take().map(|endpoint| values::cut(&endpoint, values::NAME));
    for name in &mut asked.argument_names {
        *name = values::cut(name, values::NAME);
    }
}

/// Whether the refusal concerns a token that the store knows.
fn is_of_somebody(code: Code) -> bool {
    code != Code::AccessTokenUnknown && matches!(code.kind(), Kind::Unauthenticated | Kind::Forbidden)
}

/// Whether a code is a refusal of access: the caller is unknown, or lacks a right.
fn denies(code: Code) -> bool {
    matches!(code.kind(), Kind::Unauthenticated | Kind::Forbidden) || code == Code::ArgumentNotGranted
}
