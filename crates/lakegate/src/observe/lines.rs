//! Lines of the log on their way to stderr: those of a moment go out together, by a thread that rests in between, so that no
//! request pays for a call of the system.
//!
//! Their order stays. Warnings and errors go out at once, with all that came before them. Where stderr takes nothing, whoever
//! writes a line waits, as before: no line is lost but by a process that is killed.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

/// How long a line waits for others.
const REST: Duration = Duration::from_millis(5);
/// As many bytes do not wait any longer.
const MOST: usize = 256 << 10;

static LINES: Lines = Lines { waiting: Mutex::new(Vec::new()), writing: Mutex::new(()), thread: OnceLock::new() };

struct Lines {
    waiting: Mutex<Vec<u8>>,
    /// Held by who writes, from before it takes what waits, so that lines keep their order.
    writing: Mutex<()>,
    /// What writes after a while; `None` where there can be no thread, and each line goes out at once.
    thread: OnceLock<Option<Thread>>,
}

/// Where whole lines are written to.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let thread = LINES.thread.get_or_init(|| {
            let thread = std::thread::Builder::new().name("lakegate-log".to_owned());
            thread.spawn(write_now_and_then).ok().map(|thread| thread.thread().clone())
        });
        let (is_first, is_much) = {
            let mut waiting = locked(&LINES.waiting);
            let is_first = waiting.is_empty();
            waiting.extend_from_slice(line);
            (is_first, waiting.len() > MOST)
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

/// Writes what waits.
pub(super) fn flush() -> io::Result<()> {
    let _writing = locked(&LINES.writing);
    let lines = std::mem::take(&mut *locked(&LINES.waiting));
    io::stderr().write_all(&lines)
}

fn write_now_and_then() {
    loop {
        std::thread::park();
        std::thread::sleep(REST);
        // There is nobody to tell that the log can not be written.
        let _ = flush();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
