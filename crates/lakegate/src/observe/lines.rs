//! Buffers log lines on their way to stderr. A thread writes the lines of a few milliseconds together, so that no
//! request pays for a system call.
//!
//! Lines keep their order. Warnings and errors are written immediately, with all lines before them. If stderr blocks,
//! so does the writer of a line; lines are lost only if the process is killed.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// The time that a line waits for others.
const FLUSH_DELAY: Duration = Duration::from_millis(5);
/// The maximum size of the buffer in bytes; a larger one is written immediately.
const MAX_BUFFER_BYTES: usize = 256 << 10;

static LINE_BUFFER: LineBuffer =
    LineBuffer { waiting: Mutex::new(Vec::new()), writing: Mutex::new(()), thread: OnceLock::new() };

struct LineBuffer {
    waiting: Mutex<Vec<u8>>,
    /// Held while writing, from before the buffer is taken, so that lines keep their order.
    writing: Mutex<()>,
    /// The thread that writes the buffer; `None` if it cannot be started, and each line is written immediately.
    thread: OnceLock<Option<Thread>>,
}

/// A writer for whole lines.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let thread = LINE_BUFFER.thread.get_or_init(|| {
            let thread = std::thread::Builder::new().name("lakegate-log".to_owned());
            thread.spawn(flush_loop).ok().map(|thread| thread.thread().clone())
        });
        let (is_first, is_much) = {
            let mut waiting = locked(&LINE_BUFFER.waiting);
            let is_first = waiting.is_empty();
            waiting.extend_from_slice(line);
            (is_first, waiting.len() > MAX_BUFFER_BYTES)
        };
        match thread {
            Some(thread) if !is_much => {
                if is_first {
                    thread.unpark();
                }
            }
            _ => flush()?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        flush()
    }
}

/// Writes the buffered lines.
pub(super) fn flush() -> io::Result<()> {
    let _writing = locked(&LINE_BUFFER.writing);
    let lines = std::mem::take(&mut *locked(&LINE_BUFFER.waiting));
    io::stderr().write_all(&lines)
}

fn flush_loop() {
    loop {
        std::thread::park();
        std::thread::sleep(FLUSH_DELAY);
        // A log that cannot be written cannot be reported anywhere.
        let _ = flush();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
