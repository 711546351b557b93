//! Calls cargo as from a terminal: without the environment variables that `cargo run` sets for this program's package.
//!
//! Some build scripts rerun when such a variable changes, so each switch between `cargo test` and `cargo xtask` would
//! rebuild DataFusion.

use std::ffi::OsStr;
use std::process::Command;

/// The cargo that called this program, or the one on the path.
pub(crate) fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if is_of_package(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn is_of_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_not_told_of_another_package() {
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
            assert!(is_of_package(name.as_ref()), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_INCREMENTAL", "CARGO", "PATH"] {
            assert!(!is_of_package(name.as_ref()), "{name}");
        }
    }
}
