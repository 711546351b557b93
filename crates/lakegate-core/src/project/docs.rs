//! Parses `[docs]`: whether the server serves a page for exploring its endpoints.

use super::reader::Section;

/// `[docs]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Docs {
    /// Whether `/docs` is served.
    pub serve: bool,
}

impl Default for Docs {
    fn default() -> Self {
        Self { serve: true }
    }
}

pub(crate) fn read(mut section: Section<'_, '_>) -> Docs {
    let serve = section.boolean("serve");
    section.finish();
    serve.map_or_else(Docs::default, |serve| Docs { serve: serve.value })
}

#[cfg(test)]
mod tests {
    use super::super::config;

    fn read(text: &str) -> (bool, Vec<String>) {
        let (config, findings) = config::read(&format!("[lake]\nlocation = \"lake/\"\n{text}"), &Default::default());
        (config.docs.serve, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_page_is_served_unless_it_is_switched_off() {
        assert_eq!(read(""), (true, vec![]));
        assert_eq!(read("[docs]"), (true, vec![]));
        assert_eq!(read("[docs]\nserve = false"), (false, vec![]));
        let (_, findings) = read("[docs]\nserv = false");
        assert!(
            findings[0].contains("unknown key `serv` in [docs]") && findings[0].contains("`serve`"),
            "{findings:?}"
        );
        assert_eq!(read("[docs]\nserve = \"no\"").1.len(), 1);
    }
}
