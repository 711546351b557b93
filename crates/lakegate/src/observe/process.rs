//! The process as the system sees it, for the metrics. Known on Linux alone; elsewhere these metrics are left out.
//!
//! A few lines of `/proc`, and no crate for them: the ones there are change the features of what the engine is built with.

/// What the system says of this process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Memory that it has.
    pub resident_bytes: u64,
    /// Open files and connections.
    pub open_files: u64,
    /// How long it has computed.
    pub cpu_seconds: f64,
}

/// In what `/proc` counts time: the same on every Linux, whatever the kernel itself counts in.
const TICKS_PER_SECOND: f64 = 100.0;

/// Looks now.
pub(super) fn look() -> Option<Process> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(Process { resident_bytes: resident_bytes(&status)?, open_files, cpu_seconds: cpu_seconds(&stat)? })
}

/// From the line `VmRSS:    1234 kB`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The fields 14 and 15. The second is a name in parentheses, which may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}
