//! Raises the process's limit on open files, which bounds its connections.

/// Open files that a server needs besides connections: those of the lake, the store and the log.
const RESERVED_FILES: u64 = 256;

/// Raises the file limit for this many connections, as far as the system allows. Returns the actual limit if it is too
/// low.
#[cfg(unix)]
pub fn allow_connections(connections: usize) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = connections as u64 + RESERVED_FILES;
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    let limit = getrlimit(Resource::Nofile);
    if is_enough(limit.current) {
        return None;
    }
    // The soft limit is low for the sake of programs that use `select` with at most 1024 files, which this one does
    // not.
    let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = Rlimit { current: Some(raised), maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { limit.current };
    current.filter(|current| *current < needed)
}

/// Such systems have no limit.
#[cfg(not(unix))]
pub fn allow_connections(_connections: usize) -> Option<u64> {
    None
}
