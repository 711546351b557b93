//! `lakegate token …`: issues, lists, rotates and revokes tokens.
//!
//! A token is printed once, alone on stdout, when it is issued. No other command can show it.

use std::process::ExitCode;

use chrono::Duration;
use clap::{Args, Subcommand};
use lakegate_core::access::{NewToken, Scope};

use super::options::StoreArgs;
use super::output::{self, print, print_json, print_table, say};
use super::time::ExpiryArgs;
use crate::admin::{IssuedAnswer, TokenAnswer, TokenFilter, parse_duration};
use crate::clock;
use crate::store::{Expiry, Rotation, TokenListing, TokenRequest};

/// Commands on tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Issue a token for a principal and print it once
    #[command(after_help = ISSUE_HELP)]
    Issue(IssueArgs),
    /// List tokens, without their secrets
    List(ListArgs),
    /// Replace a token with a new one of the same label, and print that once
    #[command(after_help = ROTATE_HELP)]
    Rotate(RotateArgs),
    /// Revoke a token permanently; takes effect within moments
    #[command(after_help = REVOKE_HELP)]
    Revoke(RevokeArgs),
}

const ISSUE_HELP: &str = "\
Prints only the token on stdout; messages go to stderr. The store keeps only its hash, so it cannot be shown again.

Examples:
  TOKEN=$(lakegate token issue acme --label warehouse-sync --expires-in 90d)
  lakegate token issue acme --expires 2027-01-01 --json
  lakegate token issue acme --scope-endpoint count_orders_by_range
  lakegate token issue alice --admin --expires-in 30d";

const ROTATE_HELP: &str = "\
Without --grace, the old token is revoked immediately. With it, both tokens are valid until the grace period ends.
Without --expires or --expires-in, the new token has the same lifetime as the old one.

Examples:
  lakegate token rotate mfrggzdfmztwq2lk --grace 24h
  lakegate token rotate mfrggzdfmztwq2lk --expires-in 90d";

const REVOKE_HELP: &str = "\
The id of a token is the part between `lg_` and the next `_`; `lakegate token list` shows it.

Example:
  lakegate token revoke mfrggzdfmztwq2lk";

#[derive(Args, Debug)]
pub struct IssueArgs {
    /// The principal that the token authenticates
    principal: String,
    /// Label the token with its purpose
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Limit the token to this endpoint, even if the principal may call more; can be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "admin")]
    scope_endpoint: Vec<String>,
    /// Keep every mask on, whatever the principal's grants unmask
    #[arg(long, conflicts_with = "admin")]
    scope_masked: bool,
    /// Issue a token for the admin API only
    #[arg(long)]
    admin: bool,
    #[command(flatten)]
    expiry: ExpiryArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// List only tokens of this principal
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// List only tokens that are valid now
    #[arg(long)]
    active: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct RotateArgs {
    /// The id of the token to replace
    id: String,
    /// Keep the old token valid for this duration: `45s`, `30m`, `24h`, `90d`, `2w`
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = parse_duration)]
    grace: Duration,
    #[command(flatten)]
    expiry: ExpiryArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The id of the token
    id: String,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Issue(args) => issue(args).await?,
        TokenCommand::List(args) => list(args).await?,
        TokenCommand::Rotate(args) => rotate(args).await?,
        TokenCommand::Revoke(args) => revoke(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn issue(args: IssueArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let now = clock::now();
    let endpoints = (!args.scope_endpoint.is_empty()).then(|| args.scope_endpoint.into_iter().collect());
    let request = TokenRequest {
        label: args.label,
        expires_at: args.expiry.at(now)?,
        scope: Scope { endpoints, masked: args.scope_masked },
        admin: args.admin,
    };
    let (token, listing) = desk.issue_token(&args.principal, request, now).await?;
    args.store.export(&desk).await;
    print_token(&args.store, &token, &listing)?;
    say(format_args!(
        "token `{}` for principal `{}`, {}; it is not shown again",
        listing.token.id,
        listing.principal,
        output::until(listing.token.expires_at)
    ));
    if desk.store().principal(&args.principal).await?.disabled_at.is_some() {
        say(format_args!("note: the principal is disabled; `lakegate principal enable {}`", args.principal));
    } else if desk.store().grants_of(&args.principal).await?.is_empty() {
        say(format_args!("next: lakegate grant add --principal {} --endpoint NAME", args.principal));
    }
    Ok(())
}

async fn rotate(args: RotateArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let now = clock::now();
    let expiry = args.expiry.at(now)?.map_or(Expiry::SameLifetime, Expiry::At);
    let (token, listing) = desk.rotate_token(&args.id, Rotation { grace: args.grace, expiry }, now).await?;
    args.store.export(&desk).await;
    print_token(&args.store, &token, &listing)?;
    let old = if args.grace > Duration::zero() { "is taken until the grace ends" } else { "is revoked" };
    say(format_args!(
        "token `{}` for principal `{}`, {}; it is not shown again; the old one {old}",
        listing.token.id,
        listing.principal,
        output::until(listing.token.expires_at)
    ));
    Ok(())
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let now = clock::now();
    let filter = TokenFilter { principal: args.principal, active: args.active };
    let tokens = desk.tokens(&filter, now).await?;
    if args.store.output.json {
        return print_json(&tokens.iter().map(|listing| TokenAnswer::new(listing, now)).collect::<Vec<_>>());
    }
    let rows = tokens.iter().map(|listing| output::token_row(&listing.token, &listing.principal, now)).collect();
    print_table(&output::TOKEN_HEADER, rows, "no tokens; make one with `lakegate token issue PRINCIPAL`")
}

async fn revoke(args: RevokeArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let now = clock::now();
    let (listing, changed) = desk.revoke_token(&args.id, now).await?;
    args.store.export(&desk).await;
    if args.store.output.json {
        return print_json(&TokenAnswer::new(&listing, now));
    }
    let state = if changed { "revoked" } else { "already revoked" };
    print(format_args!("token `{}` of principal `{}` is {state}", listing.token.id, listing.principal))
}

/// Prints the token. This is the only place that shows it.
fn print_token(args: &StoreArgs, token: &NewToken, listing: &TokenListing) -> anyhow::Result<()> {
    if !args.output.json {
        return print(token.text());
    }
    print_json(&IssuedAnswer::new(token, listing))
}
