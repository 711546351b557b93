//! The user of the operating system who runs a command, for the record of changes.
//!
//! It says who is to be asked, and proves nothing: whoever may write the store's file may write anything there.

/// The user's name; its number where it has none.
pub(super) fn os_user() -> String {
    let name = owner_of_this_process().or_else(|| {
        let named = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|variable| std::env::var(variable).ok());
        named.filter(|name| !name.is_empty())
    });
    let name = name.unwrap_or_else(|| "unknown".to_owned());
    name.chars().filter(|character| !character.is_control()).take(64).collect()
}

/// What the system says, and not the environment, where it can be asked.
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
