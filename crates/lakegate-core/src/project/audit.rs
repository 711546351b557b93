//! Parses the audit log settings: mode, folder, rotation, and the attributes that must never be logged.
//!
//! The server formats and writes the records.

use std::collections::BTreeSet;

use super::reader::{Section, SpannedValue};
use crate::access::name::NameKind;

/// `audit…` of `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Whether records are written, and whether responses wait for them.
    pub mode: AuditMode,
    /// The folder of the log; a relative path starts at the project folder.
    pub folder: String,
    /// The size in bytes at which a file is rotated.
    pub max_bytes: u64,
    /// Number of rotated files to keep; 0 keeps all.
    pub keep: usize,
}

/// Whether records are written, and whether responses wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMode {
    /// There is no log.
    Off,
    /// Every request is recorded; a response does not wait for the disk.
    On,
    /// No response is sent before its record is durable.
    Strict,
}

impl AuditMode {
    const ALL: [AuditMode; 3] = [AuditMode::On, AuditMode::Strict, AuditMode::Off];

    /// The name in project files.
    pub fn name(self) -> &'static str {
        match self {
            AuditMode::Off => "off",
            AuditMode::On => "on",
            AuditMode::Strict => "strict",
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { mode: AuditMode::On, folder: "audit".to_owned(), max_bytes: 64 << 20, keep: 0 }
    }
}

/// Reads the keys of `[server]` that configure the log.
pub(super) fn read(section: &mut Section<'_, '_>) -> Audit {
    let default = Audit::default();
    let source = section.source();
    let mode = section.string("audit").and_then(|mode| {
        let known = AuditMode::ALL.into_iter().find(|known| known.name() == mode.value);
        if known.is_none() {
            source.report(
                &mode.span,
                format!("`{}` is not a mode of the audit log", mode.value),
                Some("use `on`, `strict` or `off`".into()),
            );
        }
        known
    });
    let folder = section.string("audit_folder").and_then(|folder| {
        if folder.value.trim().is_empty() || folder.value.contains('\0') {
            source.report(
                &folder.span,
                "`audit_folder` names no folder",
                Some("write a path such as `audit`, or `audit = \"off\"` for no log".into()),
            );
            return None;
        }
        Some(folder.value)
    });
    let max_mb = section.integer("audit_max_mb", 1..=(1 << 20));
    let keep = section.integer("audit_keep", 0..=1_000_000);
    Audit {
        mode: mode.unwrap_or(default.mode),
        folder: folder.unwrap_or(default.folder),
        max_bytes: max_mb.map_or(default.max_bytes, |mb| mb.value << 20),
        keep: keep.map_or(default.keep, |keep| keep.value as usize),
    }
}

pub(super) fn read_secret_attributes(section: &mut Section<'_, '_>) -> BTreeSet<String> {
    let source = section.source();
    let names = section.policy_strings("secret_attributes").map(|names| names.value).unwrap_or_default();
    for SpannedValue { value, span } in &names {
        if let Err(fault) = NameKind::Attribute.check(value) {
            source.report(span, fault.to_string(), None);
        }
    }
    names.into_iter().map(|name| name.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Config, Project, ProjectFiles};

    fn read(text: &str) -> (Config, Vec<String>) {
        let config = format!("[lake]\nlocation = \"lake\"\n{text}");
        let (project, findings) = Project::read(&ProjectFiles { config, ..ProjectFiles::default() });
        (project.config, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_project_that_says_nothing_has_a_log() {
        let (config, findings) = read("");
        assert_eq!(findings, Vec::<String>::new());
        let wanted = Audit { mode: AuditMode::On, folder: "audit".into(), max_bytes: 67_108_864, keep: 0 };
        assert_eq!(config.server.audit, wanted);
        assert!(config.secret_attributes.is_empty());
    }

    #[test]
    fn everything_can_be_said() {
        let (config, findings) = read(
            "[access]\nsecret_attributes = [\"pin\", \"tax_id\"]\n\
             [server]\naudit = \"strict\"\naudit_folder = \"/var/log/lakegate\"\naudit_max_mb = 3\naudit_keep = 7\n",
        );
        assert_eq!(findings, Vec::<String>::new());
        let wanted =
            Audit { mode: AuditMode::Strict, folder: "/var/log/lakegate".into(), max_bytes: 3_145_728, keep: 7 };
        assert_eq!(config.server.audit, wanted);
        assert_eq!(config.secret_attributes.into_iter().collect::<Vec<_>>(), ["pin", "tax_id"]);
    }

    #[test]
    fn faults_have_a_place_and_say_what_to_do() {
        let (_, findings) = read(
            "[access]\nsecret_attributes = [\"tax id\"]\n\
             [server]\naudit = \"yes\"\naudit_folder = \" \"\naudit_max_mb = 0\naudit_keep = -1\n",
        );
        let [attribute, mode, folder, max_mb, keep] = &findings[..] else { panic!("{findings:#?}") };
        assert!(attribute.starts_with("lakegate.toml:4:22:") && attribute.contains("contains ' '"), "{attribute}");
        assert_eq!(mode, "lakegate.toml:6:9: `yes` is not a mode of the audit log; use `on`, `strict` or `off`");
        assert!(folder.starts_with("lakegate.toml:7:16: `audit_folder` names no folder; "), "{folder}");
        assert!(max_mb.contains("`audit_max_mb` in [server] must be a whole number from 1 to 1048576"), "{max_mb}");
        assert!(keep.contains("`audit_keep` in [server] must be a whole number from 0"), "{keep}");
    }
}
