//! What the process may take of the system: the number of open files, which bounds its connections.

/// Files that a server has open beside connections: those of the lake, the store and the log.
const BESIDE_CONNECTIONS: u64 = 256;

/// Lets the process open so many connections, as far as the system allows. Gives how many files it may open in all, where
/// that is not enough.
#[cfg(unix)]
pub fn allow_connections(connections: usize) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = connections as u64 + BESIDE_CONNECTIONS;
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    let limit = getrlimit(Resource::Nofile);
    if is_enough(limit.current) {
        return None;
    }
    // The soft limit is low for the sake of programs that can not count beyond 1024; this is none.
    let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = Rlimit { current: Some(raised), maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { limit.current };
    current.filter(|current| *current < needed)
}

/// There is no such limit.
#[cfg(not(unix))]
pub fn allow_connections(_connections: usize) -> Option<u64> {
    None
}
