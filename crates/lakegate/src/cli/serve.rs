//! `lakegate serve`: serves a project over HTTP.

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use lakegate_core::project::RowPolicy;
use sd_notify::NotifyState;
use serde_json::json;

use super::context::{change_sink, log_form, secret_attributes, store_location};
use super::options::{AdminListenOption, LakeOption, ProjectOption, StoreOption};
use super::output::{print, say};
use crate::app::App;
use crate::file_limit;
use crate::http::{Drained, Server, ServerError, shutdown_signal};
use crate::observe::output;
use crate::store::{Access, Store};

pub(super) const HELP: &str = "\
Checks the project first, and does not serve one with a fault. An unreadable table does not affect the others: endpoints that
need it answer 503, and the log names it. Ctrl-C and SIGTERM drain: running requests are answered. A second signal ends the
server immediately.
Environment variables override every key of the project except policy; see `lakegate config`.
The log goes to stderr; LAKEGATE_LOG sets its level, for example `warn` or `lakegate=debug`.

Examples:
  lakegate serve
  lakegate serve --project logistics --listen 0.0.0.0:8080
  lakegate serve --lake /data/lake-of-last-week
  lakegate serve --lake s3://bucket/lake
  lakegate serve --admin-listen 127.0.0.1:8081";

/// The arguments of `lakegate serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    project: ProjectOption,
    /// Listen on this address and port instead of `[server] listen`; port 0 picks a free one
    #[arg(long, value_name = "ADDR", env = "LAKEGATE_LISTEN")]
    listen: Option<String>,
    #[command(flatten)]
    lake: LakeOption,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    admin: AdminListenOption,
    /// Print one line of JSON on stdout when the server is ready: `{"url": …}`, with `admin_url` if the admin API is
    /// served
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let folder = &args.project.folder;
    output::start(log_form(folder), "info");
    let store = Store::open(&store_location(folder, args.store.location.as_deref())?).await?;
    let nobody = store.principals().await?.is_empty();
    let (access, background) = Access::start_with(store, change_sink(folder)).await?;
    let app = App::load(folder, args.lake.location.as_deref(), access).await?;
    let listen = args.listen.unwrap_or_else(|| app.served().config().server.listen.clone());
    announce(&app);
    if nobody {
        say("note: nobody may call yet; `lakegate principal add`, `lakegate grant add`, `lakegate token issue`");
    }
    let server = bind(&listen, args.admin.address.as_deref(), folder, app).await?;
    // A reader of the output may stop the server immediately.
    let stop = shutdown_signal();
    let (url, admin_url) = (server.url(), server.admin_url());
    if args.json {
        let mut said = json!({ "url": url });
        if let Some(admin_url) = admin_url {
            said["admin_url"] = admin_url.into();
        }
        print(said)?;
    } else {
        print(format_args!("serving at {url}; Ctrl-C ends it"))?;
        if let Some(admin_url) = admin_url {
            print(format_args!("the admin API is at {admin_url}/admin"))?;
        }
    }
    let drained = run_to_end(server, stop).await;
    background.shutdown().await;
    drained
}

/// Serves until a signal arrives and the running requests are answered. Fails if the server had to cut a connection.
pub(super) async fn run_to_end(
    server: Server,
    told: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    tell_system(NotifyState::Ready);
    let stop = async {
        told.await;
        tell_system(NotifyState::Stopping);
    };
    match server.run(stop).await {
        Drained { cut: 0 } => Ok(ExitCode::SUCCESS),
        Drained { cut } => bail!("connections that were cut, because what ran on them did not end in time: {cut}"),
    }
}

/// Notifies systemd, if it started this process and wants notifications.
fn tell_system(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// Binds the endpoint API, and the admin API if the option or the project names an address for it.
pub(super) async fn bind(listen: &str, admin: Option<&str>, project: &Path, app: App) -> anyhow::Result<Server> {
    let admin = admin.map(str::to_owned).or_else(|| Some(app.served().config().admin.as_ref()?.listen.clone()));
    let failed = |error: ServerError, whose: &str, option: &str| match error {
        ServerError::Listen(address, cause) => anyhow::Error::new(cause)
            .context(format!("`{address}` cannot be listened at{whose}; choose another with `{option} ADDR:PORT`")),
        other => other.into(),
    };
    let mut server = Server::bind(listen, app).await.map_err(|error| failed(error, "", "--listen"))?;
    if let Some(admin) = admin {
        let bound = server.with_admin(&admin, secret_attributes(project)).await;
        server = bound.map_err(|error| failed(error, " by the admin API", "--admin-listen"))?;
    }
    if let Some(address) = server.open_admin() {
        say(format_args!("note: the admin API at {address} can be reached from other machines, without encryption"));
    }
    if let Some(files) = file_limit::allow_connections(server.max_connections()) {
        say(format_args!(
            "note: the system lets this process open {files} files, which is less than `[http] max_connections` needs; \
             raise the limit, as with `LimitNOFILE` of systemd or `ulimit -n`"
        ));
    }
    Ok(server)
}

/// Prints warnings at startup, and the roles that see every row, so that an operator notices them.
fn announce(app: &App) {
    for warning in &app.served().config().warnings {
        say(format_args!("warning: {warning}"));
    }
    for table in app.served().config().tables.values() {
        if let RowPolicy::Filtered { unfiltered_for, .. } = &table.policy
            && !unfiltered_for.is_empty()
        {
            say(format_args!(
                "note: all rows of `{}` are seen by the roles: {}",
                table.name,
                unfiltered_for.join(", ")
            ));
        }
    }
}
