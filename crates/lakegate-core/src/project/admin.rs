//! Parses `[admin]`: whether the admin API is served, and its listen address.

use super::http::{Tls, read_tls};
use super::reader::Section;

/// Default listen address of the admin API: loopback only.
pub const ADMIN_LISTEN: &str = "127.0.0.1:8081";

/// `[admin]`. The presence of the section enables the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminApi {
    /// Address and port.
    pub listen: String,
    /// Its own certificate.
    pub tls: Option<Tls>,
}

pub(crate) fn read(mut section: Section<'_, '_>) -> Option<AdminApi> {
    let source = section.source();
    let listen = section.string("listen").and_then(|listen| match listen.value.parse::<std::net::SocketAddr>() {
        Ok(_) => Some(listen.value),
        Err(_) => {
            let help = format!("write it like `{ADMIN_LISTEN}`");
            source.report(&listen.span, format!("`{}` is not an address and a port", listen.value), Some(help));
            None
        }
    });
    let tls = section.section("tls").and_then(read_tls);
    // A variable that no key reads does not enable the API.
    let is_given = section.is_given() || tls.is_some();
    section.finish();
    is_given.then(|| AdminApi { listen: listen.unwrap_or_else(|| ADMIN_LISTEN.to_owned()), tls })
}

#[cfg(test)]
mod tests {
    use super::super::config;
    use super::*;

    fn read(text: &str) -> (Option<AdminApi>, Vec<String>) {
        let (config, findings) = config::read(&format!("[lake]\nlocation = \"lake/\"\n{text}"), &Default::default());
        (config.admin, findings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_section_serves_it_and_nothing_else_does() {
        let at = |listen: &str| Some(AdminApi { listen: listen.to_owned(), tls: None });
        assert_eq!(read(""), (None, vec![]));
        assert_eq!(read("[admin]"), (at("127.0.0.1:8081"), vec![]));
        assert_eq!(read("[admin]\nlisten = \"[::1]:0\""), (at("[::1]:0"), vec![]));
    }

    #[test]
    fn faults_are_found_at_their_place() {
        let (_, findings) = read("[admin]\nlisten = \"localhost\"");
        assert_eq!(
            findings,
            ["lakegate.toml:4:10: `localhost` is not an address and a port; write it like `127.0.0.1:8081`"]
        );
        let (_, findings) = read("[admin]\nlistn = \"127.0.0.1:1\"");
        assert!(findings[0].contains("unknown key `listn` in [admin]") && findings[0].contains("`listen`"));
    }
}
