//! `lakegate principal …`: adds, lists, shows, changes, disables and enables principals.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use lakegate_core::access::{PrincipalRecord, attribute};
use lakegate_core::value::Value;

use super::options::StoreArgs;
use super::output::{self, print, print_json, print_table, say};
use crate::admin::{AdminService, PrincipalAnswer, PrincipalDetails, PrincipalDetailsAnswer, PrincipalFilter};
use crate::clock;
use crate::store::{NewPrincipal, PrincipalChange, SecretAttributes};

/// Commands on principals.
#[derive(Debug, Subcommand)]
pub enum PrincipalCommand {
    /// Add a principal
    #[command(after_help = ADD_HELP)]
    Add(AddArgs),
    /// List all principals
    List(ListArgs),
    /// Show a principal with its attributes, tokens and grants
    Show(NameArgs),
    /// Change the attributes and roles of a principal
    #[command(after_help = SET_HELP)]
    Set(SetArgs),
    /// Disable a principal; all of its tokens are refused
    Disable(NameArgs),
    /// Enable a disabled principal again
    Enable(NameArgs),
}

const ADD_HELP: &str = "\
Row filters read attributes with principal('name'). Attributes are typed:
  --attribute client_id=4562              an integer, because it looks like one
  --attribute code=007                    a string, because an integer would lose the leading zeros
  --attribute code:string=4562            a string, because the type is given
  --attribute client_ids:integer[]=1,2,3  a list; or a JSON array: names:string[]='[\"a,b\",\"c\"]'
Types: string, integer, number, boolean, date, timestamp, uuid, and a list of any: integer[].
Without a type, `true` and `false` are booleans, plain whole numbers are integers, and the rest are strings.

Examples:
  lakegate principal add acme --attribute client_id=4562 --role client
  lakegate principal add ops@example.com --role operator";

const SET_HELP: &str = "\
Attributes are written as for `lakegate principal add`. Other attributes and roles do not change.

Examples:
  lakegate principal set acme --attribute client_ids:integer[]=4562,4563 --remove-attribute client_id
  lakegate principal set acme --role auditor --remove-role client";

#[derive(Args, Debug)]
pub struct AddArgs {
    /// The name: letters, digits and `-_.@:+|`
    name: String,
    /// Set an attribute; can be given several times
    #[arg(long, value_name = "NAME[:TYPE]=VALUE", value_parser = attribute::parse)]
    attribute: Vec<(String, Value)>,
    /// Add a role; can be given several times
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct SetArgs {
    /// The principal
    name: String,
    /// Set an attribute; can be given several times
    #[arg(long, value_name = "NAME[:TYPE]=VALUE", value_parser = attribute::parse)]
    attribute: Vec<(String, Value)>,
    /// Remove an attribute; can be given several times
    #[arg(long, value_name = "NAME")]
    remove_attribute: Vec<String>,
    /// Add a role; can be given several times
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Remove a role; can be given several times
    #[arg(long, value_name = "ROLE")]
    remove_role: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// List only principals with this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub struct NameArgs {
    /// The principal
    name: String,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(command: PrincipalCommand) -> anyhow::Result<ExitCode> {
    match command {
        PrincipalCommand::Add(args) => add(args).await?,
        PrincipalCommand::List(args) => list(args).await?,
        PrincipalCommand::Show(args) => show(args).await?,
        PrincipalCommand::Set(args) => set(args).await?,
        PrincipalCommand::Disable(args) => disable(args).await?,
        PrincipalCommand::Enable(args) => enable(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: AddArgs) -> anyhow::Result<()> {
    let attributes = by_name(args.attribute)?;
    let new = NewPrincipal { name: args.name, attributes, roles: args.role.into_iter().collect() };
    let desk = args.store.open().await?;
    let principal = desk.add_principal(new, clock::now()).await?;
    args.store.export(&desk).await;
    if args.store.output.json {
        return print_json(&PrincipalAnswer::new(&principal, desk.secret()));
    }
    print(format_args!("added principal `{}`", principal.name))?;
    say_what_it_has(&principal, desk.secret());
    say(format_args!("next: lakegate token issue {}", principal.name));
    Ok(())
}

async fn set(args: SetArgs) -> anyhow::Result<()> {
    let change = PrincipalChange {
        set_attributes: by_name(args.attribute)?,
        remove_attributes: args.remove_attribute.into_iter().collect(),
        add_roles: args.role.into_iter().collect(),
        remove_roles: args.remove_role.into_iter().collect(),
    };
    if change.is_empty() {
        bail!("nothing to change; give `--attribute`, `--remove-attribute`, `--role` or `--remove-role`");
    }
    let desk = args.store.open().await?;
    let principal = desk.change_principal(&args.name, change, clock::now()).await?;
    args.store.export(&desk).await;
    if args.store.output.json {
        return print_json(&PrincipalAnswer::new(&principal, desk.secret()));
    }
    print(format_args!("changed principal `{}`", principal.name))?;
    say_what_it_has(&principal, desk.secret());
    Ok(())
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let principals = desk.principals(&PrincipalFilter { role: args.role }).await?;
    if args.store.output.json {
        return print_json(
            &principals.iter().map(|principal| PrincipalAnswer::new(principal, desk.secret())).collect::<Vec<_>>(),
        );
    }
    let rows = principals.iter().map(|principal| {
        vec![
            principal.name.clone(),
            joined(&principal.roles),
            principal
                .attributes
                .iter()
                .map(|(name, value)| short(name, value, desk.secret()))
                .collect::<Vec<_>>()
                .join(" "),
            if principal.disabled_at.is_some() { "disabled" } else { "enabled" }.to_owned(),
        ]
    });
    let nothing = "no principals; add one with `lakegate principal add NAME`";
    print_table(&["NAME", "ROLES", "ATTRIBUTES", "STATE"], rows.collect(), nothing)
}

async fn show(args: NameArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let now = clock::now();
    let details = desk.principal(&args.name).await?;
    if args.store.output.json {
        return print_json(&PrincipalDetailsAnswer::new(&details, desk.secret(), now));
    }
    let PrincipalDetails { principal, tokens, grants } = details;
    print(format_args!("principal   {}", principal.name))?;
    print(format_args!("created     {}", output::time(principal.created_at)))?;
    match principal.disabled_at {
        Some(disabled_at) => print(format_args!("state       disabled since {}", output::time(disabled_at)))?,
        None => print("state       enabled")?,
    }
    print(format_args!(
        "roles       {}",
        if principal.roles.is_empty() { "none".to_owned() } else { joined(&principal.roles) }
    ))?;
    if principal.attributes.is_empty() {
        print("attributes  none")?;
    }
    for (index, (name, value)) in principal.attributes.iter().enumerate() {
        let title = if index == 0 { "attributes" } else { "" };
        print(format_args!("{title:<12}{}", output::attribute(name, value, desk.secret())))?;
    }
    print("")?;
    let rows = tokens.iter().map(|listing| output::token_row(&listing.token, &listing.principal, now)).collect();
    print_table(
        &output::TOKEN_HEADER,
        rows,
        &format!("no tokens; make one with `lakegate token issue {}`", args.name),
    )?;
    print("")?;
    let rows = grants.iter().map(|listing| output::grant_row(listing, now)).collect();
    let nothing = format!("no grants; add one with `lakegate grant add --principal {} --endpoint NAME`", args.name);
    print_table(&output::GRANT_HEADER, rows, &nothing)
}

async fn disable(args: NameArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let (principal, changed) = desk.disable_principal(&args.name, clock::now()).await?;
    args.store.export(&desk).await;
    report_state(&args, &desk, &principal, if changed { "disabled" } else { "already disabled" })
}

async fn enable(args: NameArgs) -> anyhow::Result<()> {
    let desk = args.store.open().await?;
    let (principal, changed) = desk.enable_principal(&args.name, clock::now()).await?;
    args.store.export(&desk).await;
    report_state(&args, &desk, &principal, if changed { "enabled" } else { "already enabled" })
}

fn report_state(args: &NameArgs, desk: &AdminService, principal: &PrincipalRecord, state: &str) -> anyhow::Result<()> {
    if args.store.output.json {
        return print_json(&PrincipalAnswer::new(principal, desk.secret()));
    }
    print(format_args!("principal `{}` is {state}", principal.name))
}

fn say_what_it_has(principal: &PrincipalRecord, secret: &SecretAttributes) {
    for (name, value) in &principal.attributes {
        say(format_args!("  {}", output::attribute(name, value, secret)));
    }
    for role in &principal.roles {
        say(format_args!("  role {role}"));
    }
}

fn by_name(attributes: Vec<(String, Value)>) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut by_name = BTreeMap::new();
    for (name, value) in attributes {
        if by_name.insert(name.clone(), value).is_some() {
            bail!("attribute `{name}` is given twice; for several values use a list, such as `{name}:integer[]=1,2`");
        }
    }
    Ok(by_name)
}

/// An attribute for a table; a long one is truncated.
fn short(name: &str, value: &Value, secret: &SecretAttributes) -> String {
    let text = output::value(&secret.listed(name, value));
    let cut: String = text.chars().take(40).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{name}={cut}{dots}")
}

fn joined(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
