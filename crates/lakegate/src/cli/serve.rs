//! `lakegate serve`: a project over HTTP.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use lakegate_core::project::RowPolicy;
use serde_json::json;

use super::context::{change_sink, log_form, secret_attributes, store_location};
use super::output::{print, say};
use crate::app::App;
use crate::http::{Server, interrupted};
use crate::observe::output;
use crate::store::{Access, Store};

pub(super) const HELP: &str = "\
The project is checked first; one with a fault is not served. Ctrl-C and SIGTERM drain: running requests are answered;
a second one ends at once.
The log goes to stderr; LAKEGATE_LOG chooses how much, for example `warn` or `lakegate=debug`.

Examples:
  lakegate serve
  lakegate serve --project logistics --listen 0.0.0.0:8080
  lakegate serve --lake /data/lake-of-last-week
  lakegate serve --admin-listen 127.0.0.1:8081";

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
    /// Serve the admin API too, at this address and port, instead of `[admin] listen`; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "LAKEGATE_ADMIN_LISTEN")]
    admin_listen: Option<String>,
    /// Once it serves, print one line of JSON on stdout: `{"url": …}`, with `admin_url` where the admin API is served
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    output::start(log_form(&args.project), "info");
    let store = Store::open(&store_location(&args.project, args.store.as_deref())?).await?;
    let nobody = store.principals().await?.is_empty();
    let (access, background) = Access::start_with(store, change_sink(&args.project)).await?;
    let app = App::load(&args.project, args.lake.as_deref(), access).await?;
    let listen = args.listen.unwrap_or_else(|| app.served().config().server.listen.clone());
    announce(&app);
    if nobody {
        say("note: nobody may call yet; `lakegate principal add`, `lakegate grant add`, `lakegate token issue`");
    }
    let server = bind(&listen, args.admin_listen.as_deref(), &args.project, app).await?;
    let url = format!("http://{}", server.address());
    let admin_url = admin_url(&server);
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
    let served = server.run(interrupted()).await;
    background.shutdown().await;
    served.context("the server failed")?;
    Ok(ExitCode::SUCCESS)
}

/// Listens for calls of endpoints, and for the admin API where the option or the project says so.
pub(super) async fn bind(listen: &str, admin: Option<&str>, project: &Path, app: App) -> anyhow::Result<Server> {
    let admin = admin.map(str::to_owned).or_else(|| Some(app.served().config().admin.as_ref()?.listen.clone()));
    let server = Server::bind(listen, app)
        .await
        .with_context(|| format!("`{listen}` can not be listened at; choose another with `--listen ADDR:PORT`"))?;
    let Some(admin) = admin else { return Ok(server) };
    let server = server.with_admin(&admin, secret_attributes(project)).await.with_context(|| {
        format!("`{admin}` can not be listened at by the admin API; choose another with `--admin-listen ADDR:PORT`")
    })?;
    if let Some(address) = server.admin_address()
        && !address.ip().is_loopback()
    {
        say(format_args!("note: the admin API at {address} can be reached from other machines, without encryption"));
    }
    Ok(server)
}

pub(super) fn admin_url(server: &Server) -> Option<String> {
    server.admin_address().map(|address| format!("http://{address}"))
}

/// Who sees every row is said at the start, where an operator looks.
fn announce(app: &App) {
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
