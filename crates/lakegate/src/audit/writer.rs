//! The thread that writes: all records that wait go out in one write, and in strict mode with one sync.
//!
//! Where nobody waits for a record, the thread rests for a moment after each write, so that many are written together and
//! a request does not have to wake it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use super::file::LogFile;
use super::record::{Gap, Record};
use crate::clock;

/// The most records in one write.
const MOST_RECORDS: usize = 1_024;
/// About the most bytes in one write.
const MOST_BYTES: usize = 1 << 20;
/// How long it rests after a write. Whoever must not wait for that wakes it.
const REST: Duration = Duration::from_millis(5);
/// How often a disk that goes on refusing is told of.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What the thread is asked.
pub(super) enum Message {
    /// Write this; and tell whether it is durable, if somebody waits for that.
    Write(Record, Option<oneshot::Sender<bool>>),
    /// Tell when all that came before is on the disk.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Writer {
    pub(super) file: LogFile,
    pub(super) strict: bool,
    trouble: Trouble,
    /// All records that the disk did not take.
    lost: Arc<AtomicU64>,
}

/// What is remembered while the disk refuses.
#[derive(Default)]
struct Trouble {
    lost: u64,
    since: Option<DateTime<Utc>>,
    said_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(file: LogFile, strict: bool, lost: Arc<AtomicU64>) -> Self {
        Self { file, strict, trouble: Trouble::default(), lost }
    }

    /// Writes until nobody can send any more.
    pub(super) fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut lines = Vec::new();
        while let Some(first) = messages.blocking_recv() {
            lines.clear();
            if let Some(since) = self.trouble.since {
                Record::Gap(Gap { time: clock::now(), since, lost: self.trouble.lost }).write_to(&mut lines);
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
                let is_full = records >= MOST_RECORDS || lines.len() >= MOST_BYTES;
                next = if is_full { None } else { messages.try_recv().ok() };
            }
            let written = self.file.append(&lines, self.strict || !flushes.is_empty());
            for waiter in waiting {
                // Who waited may have left.
                let _ = waiter.send(written.is_ok());
            }
            for waiter in flushes {
                let _ = waiter.send(());
            }
            match written {
                Ok(()) => self.trouble.end(),
                Err(error) => {
                    self.lost.fetch_add(records as u64, Ordering::Relaxed);
                    self.trouble.add(records as u64, &error);
                }
            }
            if !self.strict && records < MOST_RECORDS {
                std::thread::park_timeout(REST);
            }
        }
    }
}

impl Trouble {
    /// Said at once, and then now and again for as long as it lasts.
    fn add(&mut self, records: u64, error: &io::Error) {
        self.lost += records;
        self.since.get_or_insert_with(clock::now);
        if self.said_at.is_none_or(|said_at| said_at.elapsed() >= SAY_EVERY) {
            self.said_at = Some(Instant::now());
            tracing::error!(%error, lost = self.lost, "the audit log can not be written; records are lost until it can");
        }
    }

    fn end(&mut self) {
        if self.since.is_some() {
            tracing::warn!(lost = self.lost, "the audit log is written again; a record in it says what was lost");
            *self = Self::default();
        }
    }
}
