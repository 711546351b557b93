//! The command line: what can be asked, and which module answers.
//!
//! Results go to stdout, everything said beside them to stderr, so that output can be piped.

mod access;
pub mod context;
mod grant;
mod output;
mod principal;
mod time;
mod token;

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
Examples, in a project folder:
  lakegate principal add acme --attribute client_id=4562 --role client
  lakegate grant add --role client --endpoint '*'
  TOKEN=$(lakegate token issue acme --expires-in 90d)

Exit codes: 0 done, 1 failed, 2 wrong usage; `access import` also has 3: something was refused, the rest is in.";

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
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
}

/// Does what was asked. An error is printed here, once, with its causes.
pub async fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Principal(command) => principal::run(command).await,
        Command::Token(command) => token::run(command).await,
        Command::Grant(command) => grant::run(command).await,
        Command::Access(command) => access::run(command).await,
    };
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
