//! Finds the operating system's user who runs a command, for the change log.
//!
//! The name shows whom to ask and proves nothing, because anybody with write access to the store's file can write any
//! name.

/// The user's name, or the user id if it has no name.
pub(super) fn os_user() -> String {
    let name = owner_of_this_process().or_else(|| {
        let named = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|variable| std::env::var(variable).ok());
        named.filter(|name| !name.is_empty())
    });
    let name = name.unwrap_or_else(|| "unknown".to_owned());
    name.chars().filter(|character| !character.is_control()).take(64).collect()
}

/// The name according to the system, where available, because the environment is easily changed.
#[cfg(unix)]
fn owner_of_this_process() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid && !name.is_empty()).then(|| name.to_owned())
    });
    Some(name.unwrap_or(uid))
}

#[cfg(not(unix))]
fn owner_of_this_process() -> Option<String> {
    None
}
