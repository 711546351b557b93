//! The command line: its commands, and the module of each.
//!
//! Results go to stdout and messages to stderr, so that output can be piped.

mod access;
mod advise;
mod audit;
mod check;
mod config;
pub mod context;
mod demo;
mod discover;
mod discover_file;
mod explain;
mod grant;
mod health;
mod ingest;
mod init;
mod matrix;
mod openapi;
mod optimize;
mod options;
mod output;
mod principal;
mod serve;
mod terms;
mod test;
mod time;
mod token;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Turns a data lake into a governed REST API.
#[derive(Debug, Parser)]
#[command(name = "lakegate", version, about, max_term_width = 120, after_help = EXAMPLES)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
See it work:
  lakegate demo

Examples, in a project folder:
  lakegate check
  lakegate serve
  lakegate principal add acme --attribute client_id=4562 --role client
  lakegate grant add --role client --endpoint '*'
  TOKEN=$(lakegate token issue acme --expires-in 90d)

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 an import or ingest that refused a part, or a call that would be refused.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate a sample lake and project, and serve it
    #[command(after_help = demo::HELP)]
    Demo(demo::DemoArgs),
    /// Write a small working project to start from
    #[command(after_help = init::HELP)]
    Init(init::InitArgs),
    /// Find the tables of a lake and add them to a project, where you decide who sees their rows
    #[command(after_help = discover::HELP)]
    Discover(discover::DiscoverArgs),
    /// Report every fault of a project
    #[command(after_help = check::CHECK_HELP)]
    Check(options::ProjectArgs),
    /// Print the effective configuration and the source of each value
    #[command(after_help = config::HELP)]
    Config(config::ConfigArgs),
    /// List the endpoints of a project, or describe them to a principal as OpenAPI
    #[command(after_help = check::ENDPOINTS_HELP)]
    Endpoints(check::EndpointsArgs),
    /// Load CSV, NDJSON or Parquet files into a table, by a recipe or by options
    #[command(after_help = ingest::HELP)]
    Ingest(ingest::IngestArgs),
    /// Recommend how to lay out the tables of a project in their files
    #[command(after_help = advise::HELP)]
    Advise(advise::AdviseArgs),
    /// Rewrite tables with a better layout, so that a request reads little of them
    #[command(after_help = optimize::HELP)]
    Optimize(optimize::OptimizeArgs),
    /// Explain what decides a principal's call of an endpoint
    #[command(after_help = explain::HELP)]
    Explain(explain::ExplainArgs),
    /// Run the tests of the project's policies
    #[command(after_help = test::HELP)]
    Test(test::TestArgs),
    /// Serve a project over HTTP
    #[command(after_help = serve::HELP)]
    Serve(serve::ServeArgs),
    /// Check whether a server is ready
    #[command(after_help = health::HELP)]
    Health(health::HealthArgs),
    /// Manage principals: clients, apps and operators, with the attributes that policies use
    #[command(subcommand)]
    Principal(principal::PrincipalCommand),
    /// Manage tokens, the secrets that authenticate principals
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Manage grants, which allow a principal or role to call an endpoint
    #[command(subcommand)]
    Grant(grant::GrantCommand),
    /// Import principals, tokens and grants from a table
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Show and search the audit log of requests and their outcomes
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

/// Runs a command. Prints an error here, once, with its error chain.
pub async fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(args).await,
        Command::Init(args) => init::run(args),
        Command::Discover(args) => discover::run(args).await,
        Command::Advise(args) => advise::run(args).await,
        Command::Optimize(args) => optimize::run(args).await,
        Command::Check(args) => check::check(args).await,
        Command::Config(args) => config::run(&args),
        Command::Endpoints(args) => check::endpoints(args).await,
        Command::Ingest(args) => ingest::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Test(args) => test::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Health(args) => health::run(args).await,
        Command::Principal(command) => principal::run(command).await,
        Command::Token(command) => token::run(command).await,
        Command::Grant(command) => grant::run(command).await,
        Command::Access(command) => access::run(command).await,
        Command::Audit(command) => audit::run(command).await,
    };
    crate::observe::output::finish();
    match outcome {
        Ok(code) => code,
        // The reader of stdout has closed it, as in `lakegate token list | head`.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
