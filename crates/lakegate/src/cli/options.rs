//! The options that several commands have. Each is declared once, with its flag, environment variable, default and help;
//! commands take them with `#[command(flatten)]`.

use std::path::PathBuf;

use clap::Args;
use lakegate_query::plan::PlannedProject;

use crate::project::{self, ProjectError};

/// `--project`.
#[derive(Args, Debug)]
pub struct ProjectOption {
    /// Use the project in this folder
    #[arg(id = "project", long = "project", value_name = "DIR", default_value = ".", env = "LAKEGATE_PROJECT")]
    pub folder: PathBuf,
}

/// `--lake`.
#[derive(Args, Debug)]
pub struct LakeOption {
    /// Use this lake instead of `[lake] location`: a folder, relative to the current one, or a store such as
    /// s3://bucket/prefix
    #[arg(id = "lake", long = "lake", value_name = "LOCATION", env = "LAKEGATE_LAKE")]
    pub location: Option<String>,
}

/// `--store`.
#[derive(Args, Debug)]
pub(super) struct StoreOption {
    /// Use this access store instead of `[access] store`; its path is relative to the current folder
    #[arg(id = "store", long = "store", value_name = "sqlite:PATH", env = "LAKEGATE_STORE")]
    pub location: Option<String>,
}

/// `--admin-listen`.
#[derive(Args, Debug)]
pub(super) struct AdminListenOption {
    /// Also serve the admin API, at this address and port instead of `[admin] listen`; port 0 picks a free one
    #[arg(id = "admin_listen", long = "admin-listen", value_name = "ADDR", env = "LAKEGATE_ADMIN_LISTEN")]
    pub address: Option<String>,
}

/// `--json` of a command that prints a result.
#[derive(Args, Debug)]
pub struct OutputOption {
    /// Print JSON on stdout
    #[arg(long)]
    pub json: bool,
}

/// `--dry-run` of a command that changes something.
#[derive(Args, Debug)]
pub(super) struct DryRunOption {
    /// Check everything and print what would change, but change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The options of commands that plan a project over its lake.
#[derive(Args, Debug)]
pub struct ProjectArgs {
    #[command(flatten)]
    pub project: ProjectOption,
    #[command(flatten)]
    pub lake: LakeOption,
    #[command(flatten)]
    pub output: OutputOption,
}

/// The options of commands that use the access store of a project.
#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    pub project: ProjectOption,
    #[command(flatten)]
    pub store: StoreOption,
    #[command(flatten)]
    pub output: OutputOption,
}

impl ProjectOption {
    /// Reads, checks and plans the project.
    ///
    /// # Errors
    /// As for [`project::load`].
    pub(super) async fn load(&self, lake: &LakeOption) -> Result<PlannedProject, ProjectError> {
        project::load(&self.folder, lake.location.as_deref()).await
    }
}

impl ProjectArgs {
    /// Reads, checks and plans the project.
    ///
    /// # Errors
    /// As for [`project::load`].
    pub(super) async fn load(&self) -> Result<PlannedProject, ProjectError> {
        self.project.load(&self.lake).await
    }
}
