//! Parses `hot` of a table: whether its decoded blocks stay in the block cache. `[server]` sets the size of the cache.

use super::reader::Section;

/// Whether decoded columns of a table stay in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hot {
    /// Never: each request reads the files.
    Off,
    /// By use: blocks stay until others need the space.
    #[default]
    Auto,
    /// Permanently: a block stays once it has been read.
    Pinned,
}

pub(super) fn read(section: &mut Section<'_, '_>) -> Hot {
    let source = section.source();
    let Some(said) = section.string("hot") else { return Hot::default() };
    match said.value.as_str() {
        "off" => Hot::Off,
        "auto" => Hot::Auto,
        "pinned" => Hot::Pinned,
        other => {
            let help = "use `off`, `auto` or `pinned`".to_owned();
            source.report(&said.span, format!("`hot` cannot be `{other}`"), Some(help));
            Hot::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::config;
    use std::collections::BTreeMap;

    fn read(line: &str) -> (Hot, Vec<String>) {
        let text = format!("[lake]\nlocation = \".\"\n[tables.t]\nlocation = \"t\"\nshared = true\n{line}\n");
        let (config, findings) = config::read(&text, &BTreeMap::new());
        (config.tables["t"].hot, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_table_is_kept_by_use_unless_it_says_otherwise() {
        for (line, hot) in [
            ("", Hot::Auto),
            ("hot = \"off\"", Hot::Off),
            ("hot = \"auto\"", Hot::Auto),
            ("hot = \"pinned\"", Hot::Pinned),
        ] {
            assert_eq!(read(line), (hot, Vec::new()), "{line}");
        }
        let (_, findings) = read("hot = \"always\"");
        assert!(findings[0].contains("`hot` cannot be `always`"), "{findings:?}");
    }
}
