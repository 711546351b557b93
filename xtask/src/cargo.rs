//! Calls cargo as a person at a terminal does: without what `cargo run` told this program of its own package.
//!
//! Some build scripts ask to run again when such a variable changes, and with them DataFusion would be built anew whenever
//! somebody goes from `cargo test` to `cargo xtask` and back.

use std::ffi::OsStr;
use std::process::Command;

/// The cargo that called us, or the one in the path.
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
