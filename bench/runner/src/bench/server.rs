//! Runs lakegate itself: the demo that creates the sample, and the server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::process::{Process, address_in};

/// Enough to generate the largest sample on a slow machine.
const DEMO_LIMIT: Duration = Duration::from_secs(1_800);
const START_LIMIT: Duration = Duration::from_secs(120);

/// The output of `lakegate demo` about its project.
pub(crate) struct Demo {
    pub(crate) operator_token: String,
}

/// The JSON line of `lakegate demo --json`.
#[derive(Deserialize)]
struct Announcement {
    principals: Vec<AnnouncedPrincipal>,
}

#[derive(Deserialize)]
struct AnnouncedPrincipal {
    token: String,
    #[serde(default)]
    roles: Vec<String>,
}

/// A running `lakegate serve`.
pub(crate) struct Server {
    process: Process,
    /// Host and port.
    pub(crate) address: String,
    /// Host and port of the admin API.
    pub(crate) admin_address: Option<String>,
}

impl Demo {
    /// Runs the demo until it serves, so that it creates its lake and project in `folder`.
    pub(crate) fn make(binary: &Path, folder: &Path, scale: u32) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("demo").arg("--dir").arg(folder).args([
            "--scale",
            &scale.to_string(),
            "--seed",
            &super::SEED.to_string(),
        ]);
        command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--json"]);
        let process = Process::start_aloud(&mut command)?;
        let line = process
            .wait_for(DEMO_LIMIT, |line| line.starts_with('{').then(|| line.to_owned()))
            .context("`lakegate demo` did not say that it serves")?;
        let announcement: Announcement =
            serde_json::from_str(&line).context("the line of `lakegate demo --json` is not understood")?;
        let operator =
            announcement.principals.into_iter().find(|principal| principal.roles.iter().any(|role| role == "operator"));
        Ok(Self { operator_token: operator.context("the demo has no operator")?.token })
    }
}

impl Server {
    pub(crate) fn start(binary: &Path, project: &Path) -> Result<Self> {
        let process = Process::start(&mut serve(binary, project, "127.0.0.1:0"))?;
        let address =
            process.wait_for(START_LIMIT, address_in).context("`lakegate serve` did not say where it listens")?;
        let admin_address = process.wait_for(START_LIMIT, address_in).ok();
        Ok(Self { process, address, admin_address })
    }

    /// Peak resident memory of the process in bytes; `None` where the system does not report it.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.process.peak_memory()
    }

    /// Splits the server for a measurement that needs only the process and the address.
    pub(crate) fn into_parts(self) -> (Process, String) {
        (self.process, self.address)
    }
}

/// The command that serves a project at an address.
pub(crate) fn serve(binary: &Path, project: &Path, address: &str) -> Command {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--project").arg(project);
    command.args(["--listen", address, "--admin-listen", "127.0.0.1:0"]);
    command
}
