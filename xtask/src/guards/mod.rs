//! `cargo xtask guards`: removes each guard of `xtask/guards.toml` in turn, and shows that a test fails without it.
//!
//! It works on a copy of the checkout below `target/guards`, so that the checkout never lacks a guard. Each guard costs
//! a build, so this is not part of `cargo xtask ci`; the tests here only check that the list is still valid.

mod build;
mod list;
mod scratch;
mod table;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use clap::Args;

use self::build::{Binary, Outcome, PATIENCE};
use self::list::Guard;
use self::scratch::Scratch;
use self::table::Row;

#[derive(Args)]
pub(crate) struct Options {
    /// Check only this guard; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the guards and exit
    #[arg(long)]
    list: bool,
}

/// Removes the guards, one at a time, and prints a Markdown table of the tests that failed.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let guards = list::read(root)?;
    let unknown = options.only.iter().find(|name| !guards.iter().any(|guard| guard.name == **name));
    ensure!(unknown.is_none(), "there is no guard `{}`; see `--list`", unknown.map_or("", String::as_str));
    let mut chosen =
        guards.iter().filter(|guard| options.only.is_empty() || options.only.contains(&guard.name)).collect::<Vec<_>>();
    if options.list {
        chosen.iter().for_each(|guard| println!("{:<32} {}", guard.name, guard.holds));
        return Ok(());
    }
    // Group guards by binary and file, because that saves rebuilding.
    chosen.sort_by_key(|guard| (guard.binary, &guard.file));
    let scratch = Scratch::of(root)?;
    let mut sound = Vec::new();
    let mut rows = Vec::new();
    for guard in chosen.iter().copied() {
        if !sound.contains(&guard.binary) {
            check_sound(&scratch, &chosen, guard.binary)?;
            sound.push(guard.binary);
        }
        eprintln!("\n==> {}: without it, {}", guard.name, guard.holds);
        let outcome = without(&scratch, guard)?;
        eprintln!("==> {}: {outcome}", guard.name);
        rows.push(Row { guard, outcome });
    }
    rows.sort_by_key(|row| guards.iter().position(|guard| guard.name == row.guard.name));
    print!("{}", table::markdown(&rows));
    let alive = rows.iter().filter(|row| !matches!(row.outcome, Outcome::Killed(_))).map(|row| row.guard.name.as_str());
    let alive = alive.collect::<Vec<_>>();
    ensure!(alive.is_empty(), "no test failed for: {}", alive.join(", "));
    Ok(())
}

/// Checks that the chosen tests exist and pass with all guards in place. Otherwise a failure would prove nothing.
fn check_sound(scratch: &Scratch, guards: &[&Guard], binary: Binary) -> Result<()> {
    eprintln!("\n==> the tests of {binary} with all guards");
    scratch.restore()?;
    let built = build::build(scratch.folder(), binary)?;
    let built = match built {
        Ok(built) => built,
        Err(errors) => bail!("the checkout does not compile:\n{errors}"),
    };
    let guards = guards.iter().filter(|guard| guard.binary == binary).collect::<Vec<_>>();
    let names = build::names(&built)?;
    for guard in &guards {
        let unknown = guard.tests.iter().find(|test| !names.iter().any(|name| name.contains(*test)));
        ensure!(
            unknown.is_none(),
            "guard `{}`: no test is called `{}`",
            guard.name,
            unknown.map_or("", String::as_str)
        );
    }
    let tests = guards.iter().flat_map(|guard| guard.tests.iter().cloned()).collect::<BTreeSet<_>>();
    let tests = tests.into_iter().collect::<Vec<_>>();
    // All tests together may take longer than those of one guard.
    match build::run(&built, scratch.folder(), binary, &tests, 4 * PATIENCE)? {
        Outcome::Survived => Ok(()),
        outcome => bail!("with all guards in place: {outcome}"),
    }
}

fn without(scratch: &Scratch, guard: &Guard) -> Result<Outcome> {
    scratch.restore()?;
    scratch.replace(&guard.file, &guard.find, &guard.replace)?;
    let outcome = match build::build(scratch.folder(), guard.binary)? {
        Ok(built) => build::run(&built, scratch.folder(), guard.binary, &guard.tests, PATIENCE)?,
        Err(errors) => Outcome::DoesNotCompile(errors),
    };
    scratch.restore()?;
    Ok(outcome)
}
