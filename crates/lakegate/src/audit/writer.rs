//! The writer thread of the audit log: writes all queued records in one write, and in strict mode syncs once.
//!
//! If no request waits for a record, the thread pauses after each write, so that records are batched and requests need
//! not wake it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use super::file::LogFile;
use super::record::{Gap, Record};
use crate::clock;

/// The maximum number of records in one write.
const MAX_BATCH_RECORDS: usize = 1_024;
/// The approximate maximum of bytes in one write.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// The pause after a write. A caller that must not wait wakes the thread.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// The interval at which a lasting failure is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A message to the writer thread.
pub(super) enum Message {
    /// Write this record, and report whether it is durable if somebody waits.
    Write(Record, Option<oneshot::Sender<bool>>),
    /// Report when everything before is on disk.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Writer {
    pub(super) file: LogFile,
    pub(super) strict: bool,
    failure: WriteFailure,
    /// The number of all lost records.
    lost: Arc<AtomicU64>,
}

/// The state of a write failure.
#[derive(Default)]
struct WriteFailure {
    lost: u64,
    since: Option<DateTime<Utc>>,
    logged_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(file: LogFile, strict: bool, lost: Arc<AtomicU64>) -> Self {
        Self { file, strict, failure: WriteFailure::default(), lost }
    }

    /// Writes until all senders are gone.
    pub(super) fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut lines = Vec::new();
        while let Some(first) = messages.blocking_recv() {
            lines.clear();
            if let Some(since) = self.failure.since {
                Record::Gap(Gap { time: clock::now(), since, lost: self.failure.lost }).write_to(&mut lines);
            }
            let (mut records, mut waiting, mut flushes) = (0, Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Write(record, waiter) => {
                        record.write_to(&mut lines);
                        records += 1;
                        waiting.extend(waiter);
                    }
                    Message::Flush(waiter) => flushes.push(waiter),
                }
                let is_full = records >= MAX_BATCH_RECORDS || lines.len() >= MAX_BATCH_BYTES;
                next = if is_full { None } else { messages.try_recv().ok() };
            }
            let written = self.file.append(&lines, self.strict || !flushes.is_empty());
            for waiter in waiting {
                // The waiting request may have been dropped.
                let _ = waiter.send(written.is_ok());
            }
            for waiter in flushes {
                let _ = waiter.send(());
            }
            match written {
                Ok(()) => self.failure.recovered(),
                Err(error) => {
                    self.lost.fetch_add(records as u64, Ordering::Relaxed);
                    self.failure.record(records as u64, &error);
                }
            }
            if !self.strict && records < MAX_BATCH_RECORDS {
                std::thread::park_timeout(BATCH_INTERVAL);
            }
        }
    }
}

impl WriteFailure {
    /// Counts lost records. Logs the failure immediately, and then from time to time while it lasts.
    fn record(&mut self, records: u64, error: &io::Error) {
        self.lost += records;
        self.since.get_or_insert_with(clock::now);
        if self.logged_at.is_none_or(|logged_at| logged_at.elapsed() >= LOG_INTERVAL) {
            self.logged_at = Some(Instant::now());
            tracing::error!(%error, lost = self.lost, "the audit log cannot be written; records are lost until it can");
        }
    }

    fn recovered(&mut self) {
        if self.since.is_some() {
            tracing::warn!(lost = self.lost, "the audit log is written again; a record in it says what was lost");
            *self = Self::default();
        }
    }
}
