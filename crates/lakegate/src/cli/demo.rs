//! `lakegate demo`: a sample lake, its project, three principals, and the server, in one command.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use chrono::Duration;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lakegate_core::access::{EndpointPattern, Grantee};
use lakegate_core::value::{Scalar, Value};
use serde_json::json;

use super::context::{change_sink, secret_attributes};
use super::output::{print, say};
use super::serve::{admin_url, bind, start_log};
use crate::app::App;
use crate::clock;
use crate::http::interrupted;
use crate::sample::{Sample, is_written, write_lake, write_project};
use crate::store::{
    Access, Actor, GrantRequest, NewPrincipal, SecretAttributes, Store, StoreLocation, TokenRequest, new_token,
};

pub(super) const HELP: &str = "\
Makes the logistics sample in a folder (the same rows for the same scale and seed), with two clients and an operator, and
serves it. A second run uses what is there and issues new tokens; those of the run before are revoked.

Examples:
  lakegate demo
  lakegate demo --dir /tmp/demo --scale 20 --listen 127.0.0.1:9000
  lakegate demo --listen 127.0.0.1:0 --json";

/// The label of tokens that demos issue.
const LABEL: &str = "demo";
/// How long they live, in days.
const TOKEN_DAYS: i64 = 30;

/// How big, where.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// The folder of the project and the lake
    #[arg(long, value_name = "DIR", default_value = "lakegate-demo")]
    dir: PathBuf,
    /// 1 is about 100,000 trackcodes of 1,400 clients
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    scale: f64,
    /// Another seed gives other rows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Serve the admin API too, at this address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDR", env = "LAKEGATE_ADMIN_LISTEN")]
    admin_listen: Option<String>,
    /// Once it serves, print one line of JSON on stdout: the URL, and each principal with token and attributes
    #[arg(long)]
    json: bool,
}

/// A principal of the demo.
struct Caller {
    name: String,
    role: &'static str,
    client_id: Option<i64>,
    token: String,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    start_log("warn");
    let sample = Sample::new(args.seed, args.scale)?;
    std::fs::create_dir_all(&args.dir).with_context(|| format!("`{}` can not be made", args.dir.display()))?;
    write_project(&args.dir)?;
    make_lake(&sample, &args.dir.join("lake"))?;

    let store = Store::open(&StoreLocation::parse("sqlite:access.db", &args.dir)?).await?;
    let (access, background) = Access::start_with(store.clone(), change_sink(&args.dir)).await?;
    let app = App::load(&args.dir, None, access).await?;
    let server = bind(&args.listen, args.admin_listen.as_deref(), &args.dir, app).await?;
    // Only now: a demo that can not serve must not revoke the tokens of one that does.
    let callers = admit(&store, secret_attributes(&args.dir), &sample).await?;
    let url = format!("http://{}", server.address());
    if args.json {
        print_json(&url, admin_url(&server), &callers)?
    } else {
        print_words(&url, &args.dir, &callers)?;
        if let Some(admin_url) = admin_url(&server) {
            print(format_args!("\n# the admin API takes admin tokens only\n{admin_url}/admin"))?;
        }
    }
    let served = server.run(interrupted()).await;
    background.shutdown().await;
    served.context("the server failed")?;
    Ok(ExitCode::SUCCESS)
}

fn make_lake(sample: &Sample, dir: &Path) -> anyhow::Result<()> {
    if is_written(sample, dir) {
        say(format_args!("the lake in `{}` is there already", dir.display()));
        return Ok(());
    }
    let bar = ProgressBar::new(sample.trackcode_count());
    bar.set_style(ProgressStyle::with_template("making the lake {wide_bar} {human_pos}/{human_len} trackcodes {eta}")?);
    write_lake(sample, dir, |done, _| bar.set_position(done))?;
    bar.finish_and_clear();
    say(format_args!("made a lake of {} trackcodes in `{}`", sample.trackcode_count(), dir.display()));
    Ok(())
}

/// The biggest client, one of middling size, and an operator, each with a grant and a new token.
async fn admit(store: &Store, secret: SecretAttributes, sample: &Sample) -> anyhow::Result<Vec<Caller>> {
    let wanted = [
        ("client", Some(sample.biggest_client().id)),
        ("client", Some(sample.client_by_rank(20).id)),
        ("operator", None),
    ];
    let mut callers = Vec::new();
    let actor = Actor::demo();
    let changes = store.by(&actor, &secret);
    for (role, client_id) in wanted {
        let name = client_id.map_or_else(|| role.to_owned(), |id| format!("client-{id}"));
        let now = clock::now();
        if !store.principals().await?.iter().any(|known| known.name == name) {
            let attributes = client_id.map(|id| ("client_id".to_owned(), Value::Scalar(Scalar::Integer(id))));
            let attributes = attributes.into_iter().collect::<BTreeMap<_, _>>();
            changes
                .add_principal(
                    NewPrincipal { name: name.clone(), attributes, roles: BTreeSet::from([role.to_owned()]) },
                    now,
                )
                .await?;
        }
        let to = Grantee::Role(role.to_owned());
        changes.add_grant(GrantRequest::new(to, EndpointPattern::All), now).await?;
        for old in store.tokens(Some(&name)).await? {
            if old.token.label.as_deref() == Some(LABEL) && old.token.revoked_at.is_none() {
                changes.revoke_token(&old.token.id, now).await?;
            }
        }
        let token = new_token()?;
        let request = TokenRequest {
            label: Some(LABEL.to_owned()),
            expires_at: Some(now + Duration::days(TOKEN_DAYS)),
            ..TokenRequest::default()
        };
        changes.issue_token(&name, &token, request, now).await?;
        callers.push(Caller { name, role, client_id, token: token.text().to_owned() });
    }
    Ok(callers)
}

fn print_json(url: &str, admin_url: Option<String>, callers: &[Caller]) -> anyhow::Result<()> {
    let principals = callers.iter().map(|caller| {
        let attributes = caller.client_id.map(|id| ("client_id".to_owned(), json!(id)));
        json!({
            "name": caller.name,
            "roles": [caller.role],
            "attributes": attributes.into_iter().collect::<serde_json::Map<_, _>>(),
            "token": caller.token,
        })
    });
    let mut said = json!({ "url": url, "principals": principals.collect::<Vec<_>>() });
    if let Some(admin_url) = admin_url {
        said["admin_url"] = admin_url.into();
    }
    print(said)
}

fn print_words(url: &str, dir: &Path, callers: &[Caller]) -> anyhow::Result<()> {
    print(format_args!("\nserving the project in `{}` at {url}; Ctrl-C ends it", dir.display()))?;
    let range = "start_datetime=2022-10-01&end_datetime=2022-10-31";
    for caller in callers {
        let who = match caller.client_id {
            Some(_) => format!("{} sees its own rows", caller.name),
            None => format!("{} sees all rows", caller.name),
        };
        print(format_args!("\n# {who}"))?;
        print(format_args!(
            "curl -s -H 'Authorization: Bearer {}' '{url}/api/count_orders_by_range?{range}'",
            caller.token
        ))?;
        print(format_args!(
            "curl -s -H 'token: {}' -d '{{\"start_datetime\": \"2022-10-01\", \"end_datetime\": \"2022-10-02\"}}' {url}/api/all_orders_by_range",
            caller.token
        ))?;
    }
    print(format_args!("\n# what a caller may call\ncurl -s -H 'Authorization: Bearer {}' {url}/api", callers[0].token))
}
