//! `lakegate access import`: imports the access-control table of the first system.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use lakegate_core::access::{Unmask, import};
use lakegate_query::lake::records::read_records;
use serde_json::json;

use super::context::endpoint_names;
use super::options::{DryRunOption, StoreArgs};
use super::output::{print, say};
use crate::clock;
use crate::store::ImportOutcome;

/// The exit code when some clients were refused but the rest was imported.
const SOMETHING_REFUSED: u8 = 3;

/// Commands on all access at once.
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// Import an access-control table with a row for each client, its key and its endpoints
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
}

const IMPORT_HELP: &str = "\
FILE is Parquet, or CSV with commas or semicolons, with these columns:
  id             the client's id, a whole number
  enterpriseKey  the client's key; the client keeps using it as its token
  and a boolean column for each endpoint, with the endpoint's name:
  true (t, 1) grants it; false (f, 0) or an empty cell does not

Client 4562 becomes principal `client-4562` with the attribute client_id = 4562, a grant for each
of its endpoints, and its key as a token. Only a hash of the key is stored.

These are refused and reported, and the rest is imported:
  a key that belongs to several clients, or is already a token of another principal
  a key that cannot be a token (8 to 512 visible ASCII characters)
  a client whose rows differ in their endpoints
  a row without an id
A client without a usable key is imported without a token.

The import is atomic: if the process stops, nothing is imported. An import only adds: running it
again changes nothing, and revoked or disabled items stay so.

Exit codes:
  0  everything was imported
  1  failed, and nothing was imported
  3  something was refused, and the rest was imported

Examples:
  lakegate access import access_control_table.parquet --dry-run
  lakegate access import access_control_table.csv
  lakegate access import access_control_table.csv --unmask tag:address";

#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The table, as Parquet or CSV
    file: PathBuf,
    #[command(flatten)]
    change: DryRunOption,
    /// Ignore a column that is not an endpoint; can be given several times
    #[arg(long, value_name = "NAME")]
    ignore_column: Vec<String>,
    /// Show masked columns unmasked to the clients: `TABLE.COLUMN`, or `tag:NAME`; can be given several times
    #[arg(long, value_name = "WHAT", value_parser = Unmask::parse)]
    unmask: Vec<Unmask>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(command: AccessCommand) -> anyhow::Result<ExitCode> {
    match command {
        AccessCommand::Import(args) => import(args).await,
    }
}

async fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let file = || format!("`{}` cannot be imported", args.file.display());
    let records = read_records(&args.file).with_context(file)?;
    let rows = import::table(&records.columns, &records.rows, &args.ignore_column).with_context(file)?;
    drop(records);
    let mut plan = import::plan(&rows);
    plan.unmask = args.unmask.iter().cloned().collect();
    drop(rows);

    let desk = args.store.open().await?;
    let bar = progress_bar(plan.clients.len());
    let outcome = desk.import(&plan, clock::now(), args.change.dry_run, |done| bar.set_position(done as u64)).await;
    bar.finish_and_clear();
    let outcome = outcome?;
    args.store.export(&desk).await;

    if args.store.output.json {
        print(json_of(&outcome, args.change.dry_run))?;
    } else {
        print(summary(&outcome, args.change.dry_run))?;
    }
    say_the_rest(&outcome);
    say_unknown_endpoints(&args.store, &plan);
    Ok(if outcome.conflicts.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(SOMETHING_REFUSED) })
}

fn summary(outcome: &ImportOutcome, dry_run: bool) -> String {
    if !outcome.changes_anything() {
        return format!("nothing to add; {} principals, tokens and grants are there already", outcome.unchanged);
    }
    format!(
        "{} {}, {} and {}; {} were there already",
        if dry_run { "would add" } else { "added" },
        counted(outcome.principals_added, "principal"),
        counted(outcome.tokens_added, "token"),
        counted(outcome.grants_added, "grant"),
        outcome.unchanged,
    )
}

fn json_of(outcome: &ImportOutcome, dry_run: bool) -> serde_json::Value {
    let conflicts = outcome.conflicts.iter().map(|conflict| {
        json!({
            "kind": conflict.kind(),
            "clients": conflict.clients(),
            "key_fingerprint": conflict.fingerprint(),
            "message": conflict.to_string(),
        })
    });
    json!({
        "dry_run": dry_run,
        "changed": outcome.changes_anything() && !dry_run,
        "principals_added": outcome.principals_added,
        "tokens_added": outcome.tokens_added,
        "grants_added": outcome.grants_added,
        "unchanged": outcome.unchanged,
        "still_revoked": outcome.still_revoked,
        "without_key": outcome.without_key,
        "conflicts": conflicts.collect::<Vec<_>>(),
    })
}

fn say_the_rest(outcome: &ImportOutcome) {
    if !outcome.without_key.is_empty() {
        say(format_args!(
            "note: {} without a key, so without a token: {}; use `lakegate token issue client-ID`",
            counted(outcome.without_key.len(), "client"),
            listed(outcome.without_key.iter().map(i64::to_string))
        ));
    }
    match outcome.still_revoked {
        0 => {}
        1 => say("note: 1 token or grant was revoked here and stays so"),
        many => say(format_args!("note: {many} tokens and grants were revoked here and stay so")),
    }
    for conflict in &outcome.conflicts {
        say(format_args!("refused: {conflict}"));
    }
}

fn say_unknown_endpoints(args: &StoreArgs, plan: &import::ImportPlan) {
    let Some(names) = endpoint_names(&args.project.folder) else { return };
    let granted: std::collections::BTreeSet<&String> =
        plan.clients.iter().flat_map(|client| &client.endpoints).collect();
    let unknown: Vec<String> = granted.into_iter().filter(|name| !names.contains(name)).cloned().collect();
    if !unknown.is_empty() {
        say(format_args!("note: the project has no endpoint of these names yet: {}", listed(unknown.into_iter())));
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    const MOST: usize = 20;
    let more = items.len().saturating_sub(MOST);
    let text = items.take(MOST).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

/// A progress bar on stderr; hidden if stderr is not a terminal.
fn progress_bar(clients: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} clients {eta}").expect("the template is valid");
    ProgressBar::new(clients as u64).with_style(style)
}
