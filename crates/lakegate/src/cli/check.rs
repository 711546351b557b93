//! `lakegate check` and `lakegate endpoints`: reports the faults of a project, and lists its endpoints.

use std::process::ExitCode;

use clap::Args;
use lakegate_core::project::Finding;
use serde_json::{Value, json};

use super::openapi;
use super::options::{ProjectArgs, StoreOption};
use super::output::{print, print_json, print_table, say};
use crate::admin::EndpointAnswer;
use crate::project::ProjectError;

pub(super) const CHECK_HELP: &str = "\
Reads every file of the project, opens every table and plans every endpoint under its policies, as `serve` does.
Prints each fault as a line `path:line:column: fault; what to do`. Exit codes: 0 no faults, 1 faults.

Examples:
  lakegate check
  lakegate check --project logistics --json";

pub(super) const ENDPOINTS_HELP: &str = "\
Examples:
  lakegate endpoints
  lakegate endpoints --json
  lakegate endpoints --openapi --as acme > openapi.json";

/// The arguments of `lakegate endpoints`.
#[derive(Args, Debug)]
pub struct EndpointsArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Print the OpenAPI document that a token of the principal would get
    #[arg(long, requires = "principal")]
    openapi: bool,
    /// Print the document of this principal
    #[arg(long = "as", value_name = "PRINCIPAL", id = "principal", requires = "openapi")]
    principal: Option<String>,
    #[command(flatten)]
    store: StoreOption,
}

pub(super) async fn check(args: ProjectArgs) -> anyhow::Result<ExitCode> {
    match args.load().await {
        Ok(planned) => {
            for warning in &planned.project().config.warnings {
                say(format_args!("warning: {warning}"));
            }
            for table in planned.tables().iter().filter(|table| !table.skipped().is_nothing()) {
                say(format_args!("warning: table `{}`: {}", table.name(), table.skipped()));
            }
            let (endpoints, tables) = (planned.endpoints().count(), planned.tables().len());
            if args.output.json {
                print(json!({ "ok": true, "endpoints": endpoints, "tables": tables, "findings": [] }))?;
            } else {
                print(format_args!("the project is good: {endpoints} endpoints over {tables} tables"))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(ProjectError::Faulty(findings)) => {
            if args.output.json {
                print(json!({ "ok": false, "findings": findings.iter().map(finding_json).collect::<Value>() }))?;
            } else {
                for finding in &findings {
                    print(finding)?;
                }
                say(format_args!(
                    "{} to mend",
                    if findings.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", findings.len()) }
                ));
            }
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn finding_json(finding: &Finding) -> Value {
    json!({
        "path": finding.position.path,
        "line": finding.position.line,
        "column": finding.position.column,
        "message": finding.message,
        "help": finding.help,
    })
}

pub(super) async fn endpoints(args: EndpointsArgs) -> anyhow::Result<ExitCode> {
    let EndpointsArgs { project: args, principal, store, .. } = args;
    if let Some(principal) = principal {
        return openapi::run(&args, &store, &principal).await;
    }
    let planned = args.load().await?;
    if args.output.json {
        print_json(&planned.endpoints().map(EndpointAnswer::new).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = planned.endpoints().map(|planned| {
        let endpoint = planned.endpoint();
        let params = endpoint.params.iter().map(|param| format!("{}: {}", param.name, param.value_type.name()));
        vec![endpoint.name.clone(), params.collect::<Vec<_>>().join(", "), endpoint.summary.clone()]
    });
    print_table(&["ENDPOINT", "PARAMETERS", "SUMMARY"], rows.collect(), "there are no endpoints")?;
    Ok(ExitCode::SUCCESS)
}
