//! `lakegate grant …`: adds, lists and revokes grants and denials.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use lakegate_core::access::{Effect, EndpointPattern, Grantee, Terms};

use super::context::endpoint_names;
use super::options::StoreArgs;
use super::output::{self, print, print_json, print_table, say};
use super::terms::{RuleArgs, TermsArgs};
use super::time::ExpiryArgs;
use crate::admin::{GrantAnswer, GrantFilter};
use crate::clock;
use crate::store::{GrantListing, GrantRequest, Granting};

/// Commands on grants.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// Allow a principal or a role to call an endpoint
    #[command(after_help = ADD_HELP)]
    Add(Box<AddArgs>),
    /// Deny an endpoint, columns of it or unmasking, whatever other grants allow
    #[command(after_help = DENY_HELP)]
    Deny(DenyArgs),
    /// List grants
    List(ListArgs),
    /// Revoke a grant permanently; takes effect within moments
    Revoke(RevokeArgs),
}

const ADD_HELP: &str = "\
A principal without a grant may not call anything. A grant allows calls; the policies of the tables decide which rows they
return. Grants add up: a caller gets the columns and the unmasking of every grant whose rules its arguments meet.

Without --column, a grant covers all columns, including later ones; with it, only the named ones.
--unmask shows a masked column (TABLE.COLUMN), or all columns with a tag (tag:NAME), unmasked.

Rules for arguments can be given several times; a call that breaks one gets 422 and what is allowed:
  --fix NAME=VALUE               the argument has this value, even if it is left out
  --fix-attribute NAME=ATTRIBUTE the argument is the caller's attribute, or one of its values
  --one-of NAME=A,B,C            the argument is one of these values
  --min NAME=VALUE --max NAME=VALUE
  --max-span FROM..TO=31d        the maximum distance of two arguments: `w`, `d`, `h`, `m`, `s`, or a number
  --max-rows N                   a longer response is refused

Examples:
  lakegate grant add --role client --endpoint count_orders_by_range
  lakegate grant add --role operator --endpoint '*'
  lakegate grant add --principal acme --endpoint all_orders_by_range --expires 2027-01-01
  lakegate grant add --role partner --endpoint all_orders_by_range --column trackcode_id --column creation \\
    --max-span start_datetime..end_datetime=31d --max-rows 10000
  lakegate grant add --role owner --endpoint '*' --unmask tag:address";

const DENY_HELP: &str = "\
A denial to a principal or to one of its roles overrides every grant. Without --column and --unmask, it denies the whole
endpoint.

Examples:
  lakegate grant deny --principal acme --endpoint all_orders_by_range
  lakegate grant deny --role partner --endpoint '*' --column product_price
  lakegate grant deny --role partner --endpoint '*' --unmask tag:address";

#[derive(Args, Debug)]
pub struct AddArgs {
    #[command(flatten)]
    to: GranteeArgs,
    /// Apply to this endpoint; `*` means every endpoint, including later ones
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    expiry: ExpiryArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct DenyArgs {
    #[command(flatten)]
    to: GranteeArgs,
    /// Apply to this endpoint; `*` means every endpoint, including later ones
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    #[command(flatten)]
    terms: TermsArgs,
    #[command(flatten)]
    expiry: ExpiryArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct GranteeArgs {
    /// Apply to this principal
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Apply to all principals with this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// List only grants to this principal itself (`lakegate principal show` also lists those to its roles)
    #[arg(long, value_name = "NAME", conflicts_with = "role")]
    principal: Option<String>,
    /// List only grants to this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// List only grants for this endpoint, by its name or `*`
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Include revoked grants
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct RevokeArgs {
    /// The id of the grant; `lakegate grant list` shows it
    id: String,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(command: GrantCommand) -> anyhow::Result<ExitCode> {
    match command {
        GrantCommand::Add(args) => {
            let args = *args;
            let terms = args.rules.with(args.terms.terms())?;
            add(Effect::Allow, args.to, &args.endpoint, terms, args.expiry, args.store).await?;
        }
        GrantCommand::Deny(args) => {
            add(Effect::Deny, args.to, &args.endpoint, args.terms.terms(), args.expiry, args.store).await?;
        }
        GrantCommand::List(args) => list(args).await?,
        GrantCommand::Revoke(args) => revoke(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(
    effect: Effect,
    to: GranteeArgs,
    endpoint: &str,
    terms: Terms,
    expiry: ExpiryArgs,
    args: StoreArgs,
) -> anyhow::Result<()> {
    let desk = args.open().await?;
    let now = clock::now();
    let to = match (to.principal, to.role) {
        (Some(principal), _) => Grantee::Principal(principal),
        (None, Some(role)) => Grantee::Role(role),
        (None, None) => anyhow::bail!("give `--principal NAME` or `--role ROLE`"),
    };
    let endpoint = EndpointPattern::from_text(endpoint);
    let expires_at = expiry.at(now)?;
    let request = GrantRequest { effect, terms, expires_at, ..GrantRequest::new(to.clone(), endpoint.clone()) };
    let granting = desk.add_grant(request, now).await?;
    args.export(&desk).await;
    let (grant, is_new) = match granting {
        Granting::Added(grant) => (grant, true),
        Granting::Unchanged(grant) => (grant, false),
    };
    if args.output.json {
        print_json(&GrantAnswer::new(&GrantListing { grant, revoked_at: None }, now))?;
    } else {
        let what = if is_new { "added" } else { "nothing to do, there is already" };
        let (terms, until) = (output::terms(&grant), output::until(grant.expires_at));
        let said = match effect {
            Effect::Deny if grant.terms.is_empty() => {
                format!("denial `{}`: {to} may not call {endpoint}, {until}", grant.id)
            }
            Effect::Deny => format!("denial `{}`: {to} at {endpoint}: {terms}, {until}", grant.id),
            Effect::Allow if terms.is_empty() => format!("grant `{}`: {to} may call {endpoint}, {until}", grant.id),
            Effect::Allow => format!("grant `{}`: {to} may call {endpoint} with {terms}, {until}", grant.id),
        };
        print(format_args!("{what} {said}"))?;
    }
    if let (EndpointPattern::Named(name), Some(names)) = (&endpoint, endpoint_names(&args.project.folder))
        && !names.contains(name)
    {
        say(format_args!("note: the project has no endpoint `{name}` yet"));
    }
    if let Grantee::Role(role) = &to
        && !desk.store().principals().await?.iter().any(|principal| principal.roles.contains(role))
    {
        say(format_args!("note: nobody has role `{role}` yet; `lakegate principal set NAME --role {role}`"));
    }
    Ok(())
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let now = clock::now();
    let filter = GrantFilter { principal: args.principal, role: args.role, endpoint: args.endpoint, all: args.all };
    let grants = desk.grants(&filter).await?;
    if args.store.output.json {
        return print_json(&grants.iter().map(|listing| GrantAnswer::new(listing, now)).collect::<Vec<_>>());
    }
    let rows = grants.iter().map(|listing| output::grant_row(listing, now)).collect();
    print_table(&output::GRANT_HEADER, rows, "no grants; add one with `lakegate grant add --role ROLE --endpoint NAME`")
}

async fn revoke(args: RevokeArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let now = clock::now();
    let (listing, changed) = desk.revoke_grant(&args.id, now).await?;
    args.store.export(&desk).await;
    if args.store.output.json {
        return print_json(&GrantAnswer::new(&listing, now));
    }
    let state = if changed { "revoked" } else { "already revoked" };
    print(format_args!("grant `{}` ({}, {}) is {state}", listing.grant.id, listing.grant.to, listing.grant.endpoint))
}
