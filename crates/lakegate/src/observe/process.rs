//! Process metrics from `/proc`. Only Linux has them; other systems omit these metrics.
//!
//! It parses a few lines of `/proc` itself, because the available crates would change features of the engine's
//! dependencies.

/// The system's figures for this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessStats {
    /// Resident memory.
    pub(super) resident_bytes: u64,
    /// Open files and connections.
    pub(super) open_files: u64,
    /// Used CPU time.
    pub(super) cpu_seconds: f64,
}

/// The unit of CPU times in `/proc`, which is the same on every Linux, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads the figures; `None` if `/proc` does not have them.
pub(super) fn read() -> Option<ProcessStats> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(ProcessStats { resident_bytes: resident_bytes(&status)?, open_files, cpu_seconds: cpu_seconds(&stat)? })
}

/// Parses the line `VmRSS:    1234 kB`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Adds fields 14 and 15 (user and system time). Field 2 is a name in parentheses that may contain spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}
