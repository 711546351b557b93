//! `lakegate serve`: a project over HTTP.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use lakegate_core::project::RowPolicy;
use serde_json::json;

use super::context::store_location;
use super::output::{print, say};
use crate::app::App;
use crate::http::{Server, interrupted};
use crate::store::{Access, Store};

pub(super) const HELP: &str = "\
The project is checked first; one with a fault is not served. Ctrl-C and SIGTERM drain: running requests are answered;
a second one ends at once.
The log goes to stderr; LAKEGATE_LOG chooses how much, for example `warn` or `lakegate=debug`.

Examples:
  lakegate serve
  lakegate serve --project logistics --listen 0.0.0.0:8080
  lakegate serve --lake /data/lake-of-last-week";

/// Which project, where, over what.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// The project folder
    #[arg(long, value_name = "DIR", default_value = ".", env = "LAKEGATE_PROJECT")]
    project: PathBuf,
    /// Address and port, instead of `[server] listen`; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "LAKEGATE_LISTEN")]
    listen: Option<String>,
    /// The lake, instead of `[lake] location`; relative to the current folder
    #[arg(long, value_name = "LOCATION", env = "LAKEGATE_LAKE")]
    lake: Option<String>,
    /// The access store, instead of `[access] store`; relative to the current folder
    #[arg(long, value_name = "sqlite:PATH", env = "LAKEGATE_STORE")]
    store: Option<String>,
    /// Once it serves, print one line of JSON on stdout: `{"url": …}`
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    start_log("info");
    let store = Store::open(&store_location(&args.project, args.store.as_deref())?).await?;
    let nobody = store.principals().await?.is_empty();
    let (access, background) = Access::start(store).await?;
    let app = App::load(&args.project, args.lake.as_deref(), access).await?;
    let listen = args.listen.unwrap_or_else(|| app.project.project().config.server.listen.clone());
    announce(&app);
    if nobody {
        say("note: nobody may call yet; `lakegate principal add`, `lakegate grant add`, `lakegate token issue`");
    }
    let server = bind(&listen, app).await?;
    let url = format!("http://{}", server.address());
    if args.json {
        print(json!({ "url": url }))?;
    } else {
        print(format_args!("serving at {url}; Ctrl-C ends it"))?;
    }
    let served = server.run(interrupted()).await;
    background.shutdown().await;
    served.context("the server failed")?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn bind(listen: &str, app: App) -> anyhow::Result<Server> {
    Server::bind(listen, app)
        .await
        .with_context(|| format!("`{listen}` can not be listened at; choose another with `--listen ADDR:PORT`"))
}

/// Who sees every row is said at the start, where an operator looks.
fn announce(app: &App) {
    for table in app.project.project().config.tables.values() {
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

/// The log of a server, on stderr.
pub(super) fn start_log(usual: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LAKEGATE_LOG").unwrap_or_else(|_| usual.into());
    let colours = std::io::stderr().is_terminal();
    // A second start in one process keeps the first log.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).try_init();
}
