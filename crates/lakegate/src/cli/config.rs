//! `lakegate config`: prints the effective configuration and the source of each value.

use std::process::ExitCode;

use clap::Args;
use lakegate_core::project::{CONFIG_FILE, Project, ProjectFiles, Setting, ValueOrigin, policy_sections, shown_value};
use serde_json::{Map, Value as Json, json};

use super::options::{OutputOption, ProjectOption};
use super::output::{print, say};
use crate::project::read_files;

pub(super) const HELP: &str = "\
Prints `lakegate.toml` with every key that has a default or that an environment variable overrides, and the source of each
value. LAKEGATE_SERVER_LISTEN overrides `[server] listen`, and so on. Tables, tags, masks and issuers are policy: they are
printed as in the file, and no variable overrides them. Secrets are printed as `***`.
Exit codes: 0 no faults, 1 a fault in the file or in a variable.

Examples:
  lakegate config
  LAKEGATE_SERVER_TIMEOUT_SECONDS=5 lakegate config --json";

/// Environment variables that are options of `serve` and take precedence, with the key that they override.
const OPTIONS: [(&str, &str, &str); 4] = [
    ("LAKEGATE_LAKE", "lake", "location"),
    ("LAKEGATE_STORE", "access", "store"),
    ("LAKEGATE_LISTEN", "server", "listen"),
    ("LAKEGATE_ADMIN_LISTEN", "admin", "listen"),
];

/// The arguments of `lakegate config`.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(flatten)]
    project: ProjectOption,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let files = read_files(&args.project.folder)?;
    let files = ProjectFiles { endpoints: [].into(), ..files };
    let (project, findings) = Project::read(&files);
    for warning in &project.config.warnings {
        say(format_args!("warning: {warning}"));
    }
    if !findings.is_empty() {
        for finding in &findings {
            say(finding);
        }
        return Ok(ExitCode::FAILURE);
    }
    let mut settings = project.config.settings();
    for (name, section, key) in OPTIONS {
        let setting = settings.iter_mut().find(|setting| setting.section == section && setting.key == key);
        if let (Some(setting), Some(value)) = (setting, files.variables.get(name)) {
            setting.value = Some(shown_value(key, value.as_str().into()));
            setting.origin = ValueOrigin::Variable(name.to_owned());
        }
    }
    let policy = policy_sections(&files.config);
    if args.output.json {
        print(json(&settings, &policy)?)?;
    } else {
        print(text(&settings, &policy)?.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn origin(origin: &ValueOrigin) -> String {
    match origin {
        ValueOrigin::Default => "default".to_owned(),
        ValueOrigin::File => CONFIG_FILE.to_owned(),
        ValueOrigin::Variable(name) => name.clone(),
    }
}

/// The configuration as TOML. Keys without a value become comments.
fn text(settings: &[Setting], policy: &toml::Table) -> anyhow::Result<String> {
    let mut policy = policy.clone();
    let mut text = String::new();
    let mut lines = settings.iter().peekable();
    while let Some(Setting { section, .. }) = lines.peek().copied() {
        // The presence of a section can have a meaning, as with `[admin]`.
        let is_there = settings.iter().any(|setting| setting.section == *section && setting.value.is_some());
        text += &format!("{}[{section}]\n", if is_there { "" } else { "# " });
        while let Some(setting) = lines.next_if(|setting| setting.section == *section) {
            let from = origin(&setting.origin);
            text += &match &setting.value {
                Some(value) => format!("{} = {value}  # {from}\n", setting.key),
                None => format!("# {} has no value\n", setting.key),
            };
        }
        // TOML allows each section once, so its policy keys follow here.
        if let Some(toml::Value::Table(more)) = policy.remove(section) {
            for (key, value) in &more {
                text += &format!("{key} = {value}  # {CONFIG_FILE}\n");
            }
        }
        text += "\n";
    }
    if !policy.is_empty() {
        text += &format!("# Policy, as it stands in {CONFIG_FILE}.\n{}", toml::to_string(&policy)?);
    }
    Ok(text)
}

/// The configuration as JSON: each key with `value` and `from`, and the policy unchanged.
fn json(settings: &[Setting], policy: &toml::Table) -> anyhow::Result<Json> {
    let mut sections = Map::new();
    for Setting { section, key, value, origin: from } in settings {
        let keys = sections.entry(section.clone()).or_insert_with(|| json!({}));
        keys[*key] = json!({ "value": serde_json::to_value(value)?, "from": origin(from) });
    }
    Ok(json!({ "settings": sections, "policy": serde_json::to_value(policy)? }))
}
