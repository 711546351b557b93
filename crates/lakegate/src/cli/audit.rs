//! `lakegate audit …`: prints and searches audit records of requests, with their callers and outcomes.
//!
//! It reads only the log files, so it works with or without a running server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use lakegate_core::project::Project;
use serde_json::Value;

use super::options::ProjectOption;
use super::output::{escaped, print, say};
use crate::admin::{parse_duration, parse_time};
use crate::audit::read::{self, ReadPosition};
use crate::audit::{Outcome, Search, SearchResult};
use crate::clock;
use crate::http::shutdown_signal;
use crate::project::read_files;

/// The polling interval of `--follow`.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Commands on the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print the latest records
    #[command(after_help = TAIL_HELP)]
    Tail(TailArgs),
    /// Search the records
    #[command(after_help = SEARCH_HELP)]
    Search(SearchArgs),
}

const TAIL_HELP: &str = "\
Rotated files are read as well. Lines that are not records are skipped and counted on stderr.

Examples:
  lakegate audit tail
  lakegate audit tail -n 100 --json | jq .arguments
  lakegate audit tail --follow";

const SEARCH_HELP: &str = "\
Records must meet all conditions. If more than --limit records do, the latest are printed, in order of time.

Examples:
  lakegate audit search --principal acme --since 24h
  lakegate audit search --outcome refused --code access_not_granted
  lakegate audit search --request-id 0199a7c2-5d0e-7c41-9f0a-0d4f6f3b8a11 --json
  lakegate audit search --kind change --since 2027-01-01 --until 2027-02-01";

/// Options for finding the log and printing records.
#[derive(Args, Debug)]
struct LogArgs {
    #[command(flatten)]
    project: ProjectOption,
    /// Read the log in this folder instead of the project's; relative to the current folder
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print the raw records, one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub struct TailArgs {
    /// Print this many records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
    /// Wait for new records and print them, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Args, Debug)]
pub struct SearchArgs {
    /// Select requests of this principal and changes by this actor
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Select requests to this endpoint
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Select requests with this outcome
    #[arg(long, value_parser = PossibleValuesParser::new(Outcome::NAMES))]
    outcome: Option<String>,
    /// Select requests with this HTTP status
    #[arg(long, value_name = "NUMBER")]
    status: Option<u16>,
    /// Select requests with this error code
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Select the request with this id
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Select records from this time on: `2027-01-01`, RFC 3339, or a time ago such as `24h`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<DateTime<Utc>>,
    /// Select records before this time, written as for --since
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<DateTime<Utc>>,
    /// Select records of this kind
    #[arg(long, value_parser = ["request", "change", "gap"])]
    kind: Option<String>,
    /// Print at most this many records
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    log: LogArgs,
}

pub(super) async fn run(command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Tail(args) => tail(args).await?,
        AuditCommand::Search(args) => search(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn tail(args: TailArgs) -> anyhow::Result<()> {
    let folder = args.log.folder()?;
    let mut place = ReadPosition::default();
    if folder.is_dir() {
        let (records, broken, behind) = read::last(&folder, args.lines).with_context(|| unreadable(&folder))?;
        place = behind;
        if !args.log.json && (args.follow || !records.is_empty()) {
            print(header())?;
        }
        for record in &records {
            show(record, args.log.json)?;
        }
        say_broken(broken);
        if records.is_empty() && !args.follow {
            say(format_args!("no records in `{}`", folder.display()));
        }
    } else if !args.follow {
        say(format_args!("there is no audit log in `{}` yet", folder.display()));
    }
    if !args.follow {
        return Ok(());
    }
    let ended = shutdown_signal();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if folder.is_dir() {
            let broken = place.advance(&folder, |record| show(&record, args.log.json))?;
            say_broken(broken);
        }
    }
}

fn search(args: &SearchArgs) -> anyhow::Result<()> {
    let folder = args.log.folder()?;
    if !folder.is_dir() {
        say(format_args!("there is no audit log in `{}` yet", folder.display()));
        return Ok(());
    }
    let SearchResult { records: found, more, broken } =
        args.search().run(&folder).with_context(|| unreadable(&folder))?;
    if !found.is_empty() && !args.log.json {
        print(header())?;
    }
    for record in &found {
        show(record, args.log.json)?;
    }
    if more > 0 {
        say(format_args!("{more} earlier records fit as well; `--limit` shows more"));
    } else if found.is_empty() {
        say("no record fits");
    }
    say_broken(broken);
    Ok(())
}

impl LogArgs {
    fn folder(&self) -> anyhow::Result<PathBuf> {
        match &self.folder {
            Some(folder) => Ok(folder.clone()),
            // Other faults of the project do not keep anybody from reading its log.
            None => {
                let (project, _) = Project::read(&read_files(&self.project.folder)?);
                Ok(self.project.folder.join(project.config.server.audit.folder))
            }
        }
    }
}

impl SearchArgs {
    fn search(&self) -> Search {
        Search {
            principal: self.principal.clone(),
            endpoint: self.endpoint.clone(),
            outcome: self.outcome.clone(),
            status: self.status,
            code: self.code.clone(),
            request_id: self.request_id.clone(),
            kind: self.kind.clone(),
            since: self.since,
            until: self.until,
            limit: self.limit,
        }
    }
}

/// Parses a time, or a duration before now.
fn since(text: &str) -> anyhow::Result<DateTime<Utc>> {
    if let Ok(moment) = parse_time(text) {
        return Ok(moment);
    }
    let ago = parse_duration(text).context("not a time such as `2027-01-01` or RFC 3339, and not a duration")?;
    clock::now().checked_sub_signed(ago).context("that is too long ago")
}

fn unreadable(folder: &Path) -> String {
    format!("the audit log in `{}` cannot be read", folder.display())
}

fn say_broken(broken: usize) {
    if broken > 0 {
        say(format_args!("note: skipped {broken} lines that are no records; a killed process can leave one"));
    }
}

fn header() -> String {
    line(&["TIME", "ID", "PRINCIPAL", "WHAT", "OUTCOME", "STATUS", "CODE", "ROWS", "BYTES", "MS"])
}

/// Formats columns of fixed widths, because records are printed one by one and none waits for a wider one.
fn line(cells: &[&str; 10]) -> String {
    let [time, id, principal, what, outcome, status, code, rows, bytes, ms] = cells;
    let line = format!(
        "{time:<27}  {id:<36}  {principal:<16}  {what:<32}  {outcome:<9}  {status:<6}  {code:<24}  {rows:>8}  {bytes:>10}  {ms:>9}"
    );
    line.trim_end().to_owned()
}

fn show(record: &Value, json: bool) -> anyhow::Result<()> {
    if json { print(record) } else { print(row(record)) }
}

/// A record as a line of text.
fn row(record: &Value) -> String {
    let cell = |key: &str| match &record[key] {
        Value::Null => String::new(),
        Value::String(text) => escaped(text),
        other => escaped(&other.to_string()),
    };
    let cells = match record["kind"].as_str() {
        Some("change") => {
            let mut cells = ["time", "id", "actor", "action", "", "", "", "", "", ""].map(cell);
            cells[4] = "changed".to_owned();
            // The detail of a change has no fixed form, so it comes last, where there is room.
            return format!("{}  {}", line(&cells.each_ref().map(String::as_str)), cell("detail"));
        }
        Some("gap") => {
            let mut cells = ["time", "", "", "", "", "", "", "", "", ""].map(cell);
            cells[3] = format!("{} records were lost", cell("lost"));
            cells
        }
        _ => {
            let keys = [
                "time",
                "request_id",
                "principal",
                "endpoint",
                "outcome",
                "status",
                "code",
                "rows",
                "bytes",
                "duration_ms",
            ];
            let mut cells = keys.map(cell);
            if cells[3].is_empty() {
                cells[3] = format!("{} {}", cell("method"), cell("path"));
            }
            if cells[4].is_empty() {
                cells[4] = cell("event");
            }
            cells
        }
    };
    line(&cells.each_ref().map(String::as_str))
}
