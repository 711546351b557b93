//! `lakegate explain`: explains what decides a principal's call of an endpoint.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use lakegate_core::catalog::RawArguments;
use lakegate_core::limits::Limit;
use lakegate_core::project::suggest_or_list;
use serde_json::Value as Json;

use super::options::{LakeOption, StoreArgs};
use super::output::{self, print};
use crate::clock;
use crate::explain::{Explanation, TablePart, explain};
use crate::store::Store;

pub(super) const HELP: &str = "\
Prints which grant decides and why, which rows of which tables the principal sees, which columns are masked or left out, the
rules for its arguments, the limits of the response, and the governed plan. Runs no query.

Without the required arguments of the endpoint, prints what all grants of the principal allow together.

Exit codes: 0 the call would be answered, 3 it would be refused.

Examples:
  lakegate explain count_orders_by_range --as acme start_datetime=2022-10-01 end_datetime=2022-10-31
  lakegate explain all_orders_by_range --as acme --json";

/// The exit code when the call would be refused.
const REFUSED: u8 = 3;

/// The arguments of `lakegate explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The endpoint
    endpoint: String,
    /// Arguments, and modifiers such as `select=a,b`
    #[arg(value_name = "NAME=VALUE", value_parser = argument)]
    arguments: Vec<(String, String)>,
    /// Explain the call of this principal
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: String,
    #[command(flatten)]
    lake: LakeOption,
    #[command(flatten)]
    store: StoreArgs,
}

fn argument(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "write `NAME=VALUE`".to_owned())
}

pub(super) async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let planned = args.store.project.load(&args.lake).await?;
    let store = Store::open(&args.store.location()?).await?;
    let record = store.principal(&args.principal).await?;
    let grants = store.grants_of(&args.principal).await?;
    let Some(endpoint) = planned.find(&args.endpoint) else {
        let known = planned.endpoints().map(|planned| planned.endpoint().name.as_str()).collect::<Vec<_>>();
        bail!("there is no endpoint `{}`; {}", args.endpoint, suggest_or_list(&args.endpoint, known.iter().copied()));
    };
    let mut raw = RawArguments::default();
    raw.add_query(args.arguments).context("the arguments cannot be read")?;
    planned.keep_hot(planned.project().config.server.cache_limit_bytes).await.context("the lake cannot be read")?;
    let explanation = explain(&planned, endpoint, record, grants, raw, clock::now()).await;
    if args.store.output.json {
        print(serde_json::to_string_pretty(&explanation)?)?;
    } else {
        print_text(&explanation)?;
    }
    Ok(if explanation.allowed { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

fn print_text(explanation: &Explanation) -> anyhow::Result<()> {
    print(format_args!("endpoint   {}", explanation.endpoint))?;
    let roles = if explanation.roles.is_empty() { "none".to_owned() } else { explanation.roles.join(", ") };
    print(format_args!("principal  {}, roles: {roles}", explanation.principal))?;
    let decision = if explanation.allowed { "allowed" } else { "refused" };
    print(format_args!("decision   {decision}: {}", explanation.reason))?;
    if let Some(refusal) = &explanation.refusal {
        print(format_args!("the caller is told  {}: {}", refusal.code, refusal.detail))?;
        for error in &refusal.errors {
            print(format_args!("                    {error}"))?;
        }
    }
    section(
        "grants",
        &["ID", "TO", "ENDPOINT", "PART", "TERMS"],
        explanation.grants.iter().map(|grant| {
            let terms = output::terms_text(grant.effect == "deny", &grant.terms);
            vec![grant.id.clone(), grant.to.clone(), grant.endpoint.clone(), grant.part.to_owned(), terms]
        }),
    )?;
    section(
        "arguments",
        &["NAME", "VALUE"],
        explanation.arguments.iter().map(|(name, value)| vec![name.clone(), told(value)]),
    )?;
    section(
        "rows",
        &["TABLE", "ROWS", "WITH"],
        explanation.tables.iter().map(|part| vec![part.table.clone(), rows(part), values(part)]),
    )?;
    let masks = explanation.tables.iter().flat_map(|part| {
        part.masks.iter().map(|mask| {
            let state = if mask.on { "on" } else { "lifted by a grant" };
            let tag = mask.tag.as_ref().map(|tag| format!("tag {tag}")).unwrap_or_default();
            vec![format!("{}.{}", part.table, mask.column), mask.mask.clone(), tag, state.to_owned()]
        })
    });
    let demanded = explanation.tables.iter().flat_map(|part| {
        let columns = part.catalog.iter().flat_map(|catalog| &catalog.columns);
        columns.map(|(column, action)| {
            vec![format!("{}.{column}", part.table), (*action).to_owned(), "catalog".to_owned(), "on".to_owned()]
        })
    });
    section("masks", &["COLUMN", "MASK", "FROM", "STATE"], masks.chain(demanded))?;
    section(
        "columns",
        &["NAME", "TYPE", "STATE"],
        explanation.columns.iter().map(|column| {
            let state = match (column.granted, column.masked.as_slice()) {
                (false, _) => "not granted".to_owned(),
                (true, []) => String::new(),
                (true, masked) => format!("made of masked {}", masked.join(", ")),
            };
            vec![column.name.clone(), column.type_name.clone(), state]
        }),
    )?;
    let limits = &explanation.limits;
    let of_one_call =
        limits.bounds.iter().filter(|(limit, _)| limits.counted.iter().all(|part| part.limit != limit.name()));
    let bounds = of_one_call.map(|(limit, bound)| {
        let cut = limits.on_max_rows.filter(|_| limit == Limit::MaxRows).map(|_| ", then it is cut".to_owned());
        let from = limits.from.get(limit.name()).copied().unwrap_or_default();
        vec![limit.name().to_owned(), format!("{bound}{}", cut.unwrap_or_default()), from.to_owned()]
    });
    let counted = limits
        .counted
        .iter()
        .map(|part| vec![part.limit.to_owned(), format!("{} of {}", part.bound, part.of), part.from.to_owned()]);
    let groups = limits.min_group_size.map(|least| {
        vec!["min_group_size".to_owned(), format!("groups of {least} subjects and more"), "endpoint".to_owned()]
    });
    section("limits", &["LIMIT", "BOUND", "FROM"], bounds.chain(counted).chain(groups))?;
    if let Some(plan) = &explanation.plan {
        let fingerprint = explanation.fingerprint.as_ref().map(|fingerprint| format!(", fingerprint {fingerprint}"));
        print(format_args!("\nplan{}\n{}", fingerprint.unwrap_or_default(), plan.trim_end()))?;
        let runs = match &explanation.shortcut {
            Some(shortcut) => shortcut.trim_end(),
            None => "from the files, planned for each request",
        };
        print(format_args!("\nruns\n{runs}"))?;
    }
    Ok(())
}

fn section(title: &str, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let rows = rows.collect::<Vec<_>>();
    if rows.is_empty() {
        return Ok(());
    }
    print(format_args!("\n{title}"))?;
    for line in output::table(header, rows).lines() {
        print(format_args!("  {}", line.trim_end()))?;
    }
    Ok(())
}

fn rows(part: &TablePart) -> String {
    let own = match &part.filter {
        Some(filter) => filter.split_whitespace().collect::<Vec<_>>().join(" "),
        None if part.because_of_roles.is_empty() => "all: the table is shared".to_owned(),
        None => format!("all: role {}", part.because_of_roles.join(", ")),
    };
    match part.catalog.as_ref().and_then(|catalog| catalog.filter.as_deref()) {
        Some(filter) => format!("{own}; of those that the catalog shows: {filter}"),
        None => own,
    }
}

fn values(part: &TablePart) -> String {
    let value = |(name, value): (&String, &Json)| match value {
        Json::Null => format!("no attribute {name}"),
        value => format!("{name} = {}", told(value)),
    };
    part.values.iter().map(value).collect::<Vec<_>>().join(", ")
}

fn told(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
