//! `lakegate demo`: generates a sample lake, a project and five principals, and serves them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use chrono::Duration;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lakegate_core::access::{Distance, DistanceTerm, EndpointPattern, Grantee, Terms, Unmask};
use lakegate_core::limits::Limits;
use lakegate_core::project::LogForm;
use lakegate_core::value::{Scalar, Value};
use serde_json::json;

use super::context::{change_sink, secret_attributes};
use super::options::AdminListenOption;
use super::output::{print, say};
use super::serve::{bind, run_to_end};
use crate::app::App;
use crate::clock;
use crate::http::shutdown_signal;
use crate::observe::output;
use crate::sample::{Sample, is_written, write_lake, write_project};
use crate::store::{
    Access, ChangeAuthor, GrantRequest, NewPrincipal, SecretAttributes, Store, StoreLocation, TokenRequest, new_token,
};

pub(super) const HELP: &str = "\
Generates the logistics sample in a folder (the same rows for the same scale and seed) with two clients, a partner of one
of them, support and an operator, and serves it. Another run reuses the folder, issues new tokens, and revokes those of the
previous run.

Examples:
  lakegate demo
  lakegate demo --dir /tmp/demo --scale 20 --listen 127.0.0.1:9000
  lakegate demo --listen 127.0.0.1:0 --json";

/// The label of tokens that demos issue.
const LABEL: &str = "demo";
/// The lifetime of these tokens, in days.
const TOKEN_DAYS: i64 = 30;

/// The arguments of `lakegate demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Write the project and the lake to this folder
    #[arg(long, value_name = "DIR", default_value = "lakegate-demo")]
    dir: PathBuf,
    /// Set the size of the lake; 1 is about 100,000 trackcodes of 1,400 clients
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    scale: f64,
    /// Set the random seed; each seed generates different rows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Listen on this address and port; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,
    #[command(flatten)]
    admin: AdminListenOption,
    /// Print one line of JSON on stdout when the server is ready: the URL, and each principal with its token and
    /// attributes
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

/// The grants of a role of the demo: each endpoint with its terms.
fn grants_of(role: &str) -> Vec<(&'static str, Terms)> {
    let whole = |unmask: &[&str]| Terms {
        unmask: unmask.iter().map(|tag| Unmask::Tag((*tag).to_owned())).collect(),
        ..Terms::default()
    };
    match role {
        // A client sees its own data unmasked.
        "owner" => vec![("*", whole(&["address", "point"]))],
        // A partner of a client sees the client's parcels a month at a time, but neither addresses nor contents.
        "partner" => {
            let month = vec![DistanceTerm {
                from: "start_datetime".to_owned(),
                to: "end_datetime".to_owned(),
                at_most: Distance::Time(31 * 86_400),
            }];
            let columns =
                ["trackcode_id", "creation", "pickup_address", "drop_address", "product_weight", "service_name"];
            let columns = Some(columns.map(str::to_owned).into());
            let limits = Limits { max_rows: Some(10_000), ..Limits::default() };
            let orders = Terms { columns, distance_limits: month.clone(), limits: limits.clone(), ..Terms::default() };
            let points = Terms { distance_limits: month, limits, ..Terms::default() };
            vec![("all_orders_by_range", orders), ("delivery_points_by_range", points)]
        }
        // Support counts everybody's parcels, and sees none.
        "support" => vec![("count_trackcode_by_client_city_by_range", Terms::default())],
        _ => vec![("*", whole(&["address", "point", "route"]))],
    }
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    output::start(LogForm::Text, "warn");
    let sample = Sample::new(args.seed, args.scale)?;
    std::fs::create_dir_all(&args.dir).with_context(|| format!("`{}` cannot be made", args.dir.display()))?;
    write_project(&args.dir)?;
    make_lake(&sample, &args.dir.join("lake"))?;

    let store = Store::open(&StoreLocation::parse("sqlite:access.db", &args.dir)?).await?;
    let (access, background) = Access::start_with(store.clone(), change_sink(&args.dir)).await?;
    let app = App::load(&args.dir, None, access).await?;
    let server = bind(&args.listen, args.admin.address.as_deref(), &args.dir, app).await?;
    // Only after binding, because a demo that cannot serve must not revoke the tokens of one that does.
    let callers = admit(&store, secret_attributes(&args.dir), &sample).await?;
    // A reader of the output may stop the server immediately.
    let stop = shutdown_signal();
    let url = server.url();
    if args.json {
        print_json(&url, server.admin_url(), &callers)?
    } else {
        print_words(&url, &args.dir, &callers)?;
        if let Some(admin_url) = server.admin_url() {
            print(format_args!("\n# the admin API takes admin tokens only\n{admin_url}/admin"))?;
        }
    }
    let drained = run_to_end(server, stop).await;
    background.shutdown().await;
    drained
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

/// Creates five principals with grants and a new token each: the biggest client, a middling one, a partner of the
/// biggest, support, and an operator.
async fn admit(store: &Store, secret: SecretAttributes, sample: &Sample) -> anyhow::Result<Vec<Caller>> {
    let biggest = sample.biggest_client().id;
    let wanted = [
        ("owner", Some(biggest)),
        ("owner", Some(sample.client_by_rank(20).id)),
        ("partner", Some(biggest)),
        ("support", None),
        ("operator", None),
    ];
    let mut callers = Vec::new();
    let actor = ChangeAuthor::demo();
    let changes = store.writer(&actor, &secret);
    for (role, client_id) in wanted {
        let name = match client_id {
            Some(id) if role == "partner" => format!("partner-of-{id}"),
            Some(id) => format!("client-{id}"),
            None => role.to_owned(),
        };
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
        for (endpoint, terms) in grants_of(role) {
            let to = Grantee::Role(role.to_owned());
            let request = GrantRequest { terms, ..GrantRequest::new(to, EndpointPattern::from_text(endpoint)) };
            changes.add_grant(request, now).await?;
        }
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
    let list = |caller: &Caller, endpoint: &str, range: &str| {
        print(format_args!("curl -s -H 'Authorization: Bearer {}' '{url}/api/{endpoint}?{range}'", caller.token))
    };
    let day = "start_datetime=2022-10-01&end_datetime=2022-10-02";
    for caller in callers {
        let who = match caller.role {
            "owner" => "sees its own rows",
            "partner" => "sees that client's rows, with addresses and points masked, for a month at most",
            "support" => "sees counts of cities with five clients and more",
            _ => "sees all rows",
        };
        print(format_args!("\n# {} {who}", caller.name))?;
        match caller.role {
            "support" => list(caller, "count_trackcode_by_client_city_by_range", range)?,
            "partner" => {
                list(caller, "all_orders_by_range", day)?;
                list(caller, "delivery_points_by_range", day)?;
            }
            _ => {
                list(caller, "count_orders_by_range", range)?;
                print(format_args!(
                    "curl -s -H 'token: {}' -d '{{\"start_datetime\": \"2022-10-01\", \"end_datetime\": \"2022-10-02\"}}' {url}/api/all_orders_by_range",
                    caller.token
                ))?;
            }
        }
    }
    print(format_args!("\n# what a caller may call\ncurl -s -H 'Authorization: Bearer {}' {url}/api", callers[0].token))
}
