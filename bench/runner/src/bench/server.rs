//! lakegate itself: the demo that makes the sample, and the server.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::process::{Process, address_in};

/// Long enough to generate the biggest sample on a slow machine.
const DEMO_LIMIT: Duration = Duration::from_secs(1_800);
const START_LIMIT: Duration = Duration::from_secs(120);

/// What `lakegate demo` said of the project that it made.
pub(crate) struct Demo {
    pub(crate) operator_token: String,
}

/// The one line of `lakegate demo --json`.
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
    /// The same of the admin API.
    pub(crate) admin_address: Option<String>,
}

impl Demo {
    /// Lets the demo make its lake and project in `folder`, and ends it once it serves.
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

    /// The most memory that the process had resident so far, where the system tells.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.process.peak_memory()
    }

    /// For a measurement that asks for nothing but the process and the address.
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
