//! The command line: what can be asked, and which module answers.
//!
//! Results go to stdout, everything said beside them to stderr, so that output can be piped.

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
    /// What to do.
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

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a sample lake and project, and serve it
    #[command(after_help = demo::HELP)]
    Demo(demo::DemoArgs),
    /// Write a small working project to start from
    #[command(after_help = init::HELP)]
    Init(init::InitArgs),
    /// Find the tables of a lake and write them into a project, for somebody to decide who sees their rows
    #[command(after_help = discover::HELP)]
    Discover(discover::DiscoverArgs),
    /// Say everything that is wrong with a project
    #[command(after_help = check::CHECK_HELP)]
    Check(check::ProjectArgs),
    /// Print the configuration as it counts, with where each value comes from
    #[command(after_help = config::HELP)]
    Config(config::ConfigArgs),
    /// List the endpoints of a project, or describe them to a principal as OpenAPI
    #[command(after_help = check::ENDPOINTS_HELP)]
    Endpoints(check::EndpointsArgs),
    /// Bring files into a table: CSV, NDJSON or Parquet, by a recipe or by options
    #[command(after_help = ingest::HELP)]
    Ingest(ingest::IngestArgs),
    /// Say how the tables of a project had better lie in their files
    #[command(after_help = advise::HELP)]
    Advise(advise::AdviseArgs),
    /// Lay tables out anew, so that a request reads little of them
    #[command(after_help = optimize::HELP)]
    Optimize(optimize::OptimizeArgs),
    /// Tell why a principal gets what it gets from an endpoint
    #[command(after_help = explain::HELP)]
    Explain(explain::ExplainArgs),
    /// Run the tests of the project's policies
    #[command(after_help = test::HELP)]
    Test(test::TestArgs),
    /// Serve a project over HTTP
    #[command(after_help = serve::HELP)]
    Serve(serve::ServeArgs),
    /// Ask a server whether it is ready
    #[command(after_help = health::HELP)]
    Health(health::HealthArgs),
    /// Who may call: clients, apps and operators, with the attributes that policies ask for
    #[command(subcommand)]
    Principal(principal::PrincipalCommand),
    /// The secrets that stand for principals
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Which principal or role may call which endpoint
    #[command(subcommand)]
    Grant(grant::GrantCommand),
    /// Principals, tokens and grants all at once, out of a table
    #[command(subcommand)]
    Access(access::AccessCommand),
    /// Who asked what, and what came of it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

/// Does what was asked. An error is printed here, once, with its causes.
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
        // Whoever read our output has seen enough: `lakegate token list | head`.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
