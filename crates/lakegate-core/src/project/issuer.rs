//! Parses `[issuers.NAME]` of `lakegate.toml`: the issuers of JWTs that the server accepts, their keys, and the mapping
//! of their claims.
//!
//! [`crate::access::VerifiedAssertion`] evaluates the claims of a token; the server fetches keys and verifies signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use toml::de::DeValue;

use super::finding::Position;
use super::reader::{Section, SpannedValue};
use crate::access::name::NameKind;
use crate::value::ValueType;

/// `[issuers.NAME]`: an issuer whose JWTs this server accepts, within the rules of this section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name in the project. Its principals are named `NAME:SUBJECT`.
    pub name: String,
    /// The exact value of `iss`.
    pub issuer: String,
    /// The accepted values of `aud`; never empty.
    pub audiences: BTreeSet<String>,
    /// The only algorithm that its tokens may be signed with.
    pub algorithm: SigningAlgorithm,
    /// The location of its public keys.
    pub jwks: KeyLocation,
    /// The interval for reloading the keys.
    pub refresh: Duration,
    /// The time for which keys are used after they were last loaded.
    pub max_stale: Duration,
    /// The allowed difference between its clock and this one.
    pub leeway: Duration,
    /// Maximum time from `iat` to `exp`. If set, a token needs `iat`.
    pub max_lifetime: Option<Duration>,
    /// The claim that names the principal.
    pub subject: ClaimPath,
    /// The claim that lists roles of the issuer.
    pub roles_claim: Option<ClaimPath>,
    /// The claim that lists the endpoints that a token is for.
    pub scope: Option<ScopeClaim>,
    /// The claims that become attributes, by attribute name.
    pub attributes: BTreeMap<String, AttributeClaim>,
    /// The project's roles, by their name at the issuer. Other roles are ignored.
    pub roles: BTreeMap<String, String>,
    /// Position of the declaration.
    pub position: Position,
}

/// The signature algorithm of tokens. Always asymmetric, because a shared secret would let this server make tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// EdDSA with Ed25519.
    EdDsa,
}

/// The location of a key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// A file; a relative path starts at the project folder.
    File(String),
    /// An `https:` URL, or an `http:` URL of this machine.
    Url(String),
}

/// The name of a claim, or the path to a claim in nested objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    text: String,
    segments: Vec<String>,
}

/// A claim that lists endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeClaim {
    /// The claim.
    pub claim: ClaimPath,
    /// The prefix of endpoint names; items without it do not concern lakegate.
    pub prefix: String,
}

/// A claim that becomes an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeClaim {
    /// The claim.
    pub claim: ClaimPath,
    /// The required type of its value; nothing is converted.
    pub value_type: ValueType,
}

impl SigningAlgorithm {
    /// All algorithms.
    pub const ALL: [SigningAlgorithm; 3] = [SigningAlgorithm::Rs256, SigningAlgorithm::Es256, SigningAlgorithm::EdDsa];

    /// The value of `alg` in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            SigningAlgorithm::Rs256 => "RS256",
            SigningAlgorithm::Es256 => "ES256",
            SigningAlgorithm::EdDsa => "EdDSA",
        }
    }
}

impl ClaimPath {
    /// Parses `roles` or `realm_access.roles`. A name that contains `://`, which some issuers use, is one claim.
    pub fn from_text(text: &str) -> Option<Self> {
        let segments = if text.contains("://") { vec![text] } else { text.split('.').collect() };
        let named = |segment: &&str| !segment.is_empty() && !segment.chars().any(char::is_control);
        (segments.len() <= 8 && segments.iter().all(named))
            .then(|| Self { text: text.to_owned(), segments: segments.into_iter().map(str::to_owned).collect() })
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Looks up the value among the claims. `null` counts as missing.
    pub fn find<'a>(&self, claims: &'a serde_json::Map<String, serde_json::Value>) -> Option<&'a serde_json::Value> {
        let (first, rest) = self.segments.split_first()?;
        let found = rest.iter().try_fold(claims.get(first)?, |value, segment| value.as_object()?.get(segment))?;
        (!found.is_null()).then_some(found)
    }
}

/// Whether a URL is an `http:` URL of this machine.
pub fn is_loopback_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    port_fits && (host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

pub(super) fn read_all(section: Section<'_, '_>) -> BTreeMap<String, Issuer> {
    let source = section.source();
    let mut issuers = BTreeMap::<String, Issuer>::new();
    for (name, section) in section.named_sections() {
        let Some(issuer) = read(&name, section) else { continue };
        if let Some(other) = issuers.values().find(|other| other.issuer == issuer.issuer) {
            source.report(
                &name.span,
                format!("issuers `{}` and `{}` have the same `issuer`", other.name, issuer.name),
                Some("a token names its issuer, so one section must answer for it; put both audiences there".into()),
            );
        }
        issuers.insert(name.value, issuer);
    }
    issuers
}

fn read(name: &SpannedValue<String>, mut section: Section<'_, '_>) -> Option<Issuer> {
    let source = section.source();
    let shaped = name.value.starts_with(|first: char| first.is_ascii_lowercase())
        && name.value.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit() || "-_".contains(each));
    if !shaped || name.value.len() > 32 {
        let rule = "must be at most 32 lowercase letters, digits, hyphens and underscores, and start with a letter";
        let help = "it is the start of its principals' names, as in `acme:SUBJECT`";
        source.report(&name.span, format!("issuer name `{}` {rule}", name.value), Some(help.into()));
    }
    for (key, help) in [
        ("issuer", "give what `iss` of its tokens is, exactly, such as `issuer = \"https://sso.acme.com/\"`"),
        ("audience", "give what `aud` of tokens for this server is, such as `audience = \"lakegate\"`"),
        ("algorithm", "give the one that it signs with: `RS256`, `ES256` or `EdDSA`"),
        ("jwks", "say where its public keys are: a URL with `https://`, or a file"),
    ] {
        if !section.has(key) {
            source.report(&name.span, format!("issuer `{}` has no `{key}`", name.value), Some(help.into()));
        }
    }
    let issuer = section.string("issuer").filter(|issuer| is_text(&section, issuer, "issuer"));
    let audiences = read_audiences(&mut section);
    let algorithm = section.string("algorithm").and_then(|written| {
        let found = SigningAlgorithm::ALL.into_iter().find(|algorithm| algorithm.name() == written.value);
        if found.is_none() {
            source.report(
                &written.span,
                format!("`{}` is not an algorithm that is taken", written.value),
                Some("use `RS256`, `ES256` or `EdDSA`, whichever the issuer signs with".into()),
            );
        }
        found
    });
    let jwks = section.string("jwks").and_then(|written| match location(&written.value) {
        Ok(location) => Some(location),
        Err((fault, help)) => {
            source.report(&written.span, format!("`jwks` {fault}"), Some(help.into()));
            None
        }
    });
    let seconds = |spanned: Option<SpannedValue<u64>>| spanned.map(|spanned| Duration::from_secs(spanned.value));
    let refresh = seconds(section.integer("refresh_seconds", 10..=86_400)).unwrap_or(Duration::from_secs(300));
    let max_stale = section.integer("max_stale_seconds", 10..=604_800);
    if let Some(stale) = &max_stale
        && stale.value < refresh.as_secs()
    {
        source.report(
            &stale.span,
            format!("`max_stale_seconds` is less than `refresh_seconds`, {}", refresh.as_secs()),
            Some("keys would be stale before they are loaded again".into()),
        );
    }
    let leeway = seconds(section.integer("leeway_seconds", 0..=300)).unwrap_or(Duration::from_secs(30));
    let max_lifetime = seconds(section.integer("max_lifetime_seconds", 60..=31_536_000));
    let subject = section.string("subject");
    let subject = claim(&section, subject).or_else(|| ClaimPath::from_text("sub"));
    let roles_claim = section.string("roles_claim");
    let roles_claim = claim(&section, roles_claim);
    let names_scope = section.has("scope_claim");
    let scope_claim = section.string("scope_claim");
    let scope_claim = claim(&section, scope_claim);
    let prefix = section.string("scope_prefix");
    if let (Some(prefix), false) = (&prefix, names_scope) {
        let help = "name the claim that lists endpoints with `scope_claim`, or remove it";
        source.report(&prefix.span, "`scope_prefix` has no meaning without `scope_claim`", Some(help.into()));
    }
    let attributes = section.section("attributes").map(read_attributes).unwrap_or_default();
    let roles = section.section("roles").map(|roles| {
        if roles_claim.is_none() {
            let help = "name the claim that lists the issuer's roles with `roles_claim`";
            source.report(
                &name.span,
                format!("issuer `{}` has roles and no `roles_claim`", name.value),
                Some(help.into()),
            );
        }
        read_roles(roles)
    });
    section.finish();
    let stale_by_default = Duration::from_secs(3600).max(refresh * 2);
    Some(Issuer {
        name: name.value.clone(),
        issuer: issuer?.value,
        audiences: audiences?,
        algorithm: algorithm?,
        jwks: jwks?,
        refresh,
        max_stale: seconds(max_stale).unwrap_or(stale_by_default),
        leeway,
        max_lifetime,
        subject: subject?,
        roles_claim,
        scope: scope_claim
            .map(|claim| ScopeClaim { claim, prefix: prefix.map(|prefix| prefix.value).unwrap_or_default() }),
        attributes,
        roles: roles.unwrap_or_default(),
        position: source.position(&name.span),
    })
}

/// Reports a string that is empty or contains control characters; returns whether it is valid.
fn is_text(section: &Section<'_, '_>, written: &SpannedValue<String>, key: &str) -> bool {
    let fine = !written.value.is_empty() && !written.value.chars().any(char::is_control);
    if !fine {
        section.source().report(&written.span, format!("`{key}` is empty, or holds control characters"), None);
    }
    fine
}

/// Reads `audience`: a string, or a list of strings.
fn read_audiences(section: &mut Section<'_, '_>) -> Option<BTreeSet<String>> {
    let value = section.take("audience")?;
    let items = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    let mut audiences = BTreeSet::new();
    for item in items {
        let DeValue::String(text) = item.get_ref() else {
            section.source().report(&item.span(), "`audience` must be a string or a list of strings", None);
            return None;
        };
        let spanned = SpannedValue { value: text.to_string(), span: item.span() };
        if is_text(section, &spanned, "audience") {
            audiences.insert(spanned.value);
        }
    }
    if audiences.is_empty() {
        section.source().report(
            &value.span(),
            "`audience` names none",
            Some("give what `aud` of tokens for this server is".into()),
        );
        return None;
    }
    Some(audiences)
}

/// Parses a claim path, or reports a finding.
fn claim(section: &Section<'_, '_>, written: Option<SpannedValue<String>>) -> Option<ClaimPath> {
    let written = written?;
    let path = ClaimPath::from_text(&written.value);
    if path.is_none() {
        section.source().report(
            &written.span,
            format!("`{}` is not a claim", written.value.escape_debug()),
            Some(
                "write its name, such as `roles`, or names with dots into objects, such as `realm_access.roles`".into(),
            ),
        );
    }
    path
}

fn location(text: &str) -> Result<KeyLocation, (&'static str, &'static str)> {
    let help = "write a URL with `https://`, or a path relative to the project folder";
    if !text.contains("://") {
        let fine = !text.trim().is_empty() && !text.chars().any(char::is_control);
        return if fine { Ok(KeyLocation::File(text.to_owned())) } else { Err(("is not a path", help)) };
    }
    // Reject URLs that parsers could read in different ways.
    let plain = |each: char| each.is_ascii_alphanumeric() || "-._~:/?&=%+,;[]".contains(each);
    if !text.chars().all(plain) {
        return Err(("has characters that do not belong in such a URL", "remove user names, fragments and spaces"));
    }
    let has_host = |rest: &str| rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[');
    match text.split_once("://") {
        Some(("https", rest)) if has_host(rest) => Ok(KeyLocation::Url(text.to_owned())),
        Some(("http", _)) if is_loopback_url(text) => Ok(KeyLocation::Url(text.to_owned())),
        Some(("http", _)) => {
            Err(("is not encrypted", "use `https://`: whoever changes the keys on the way is let in as anybody"))
        }
        _ => Err(("is not a URL that can be fetched", help)),
    }
}

fn read_attributes(section: Section<'_, '_>) -> BTreeMap<String, AttributeClaim> {
    let source = section.source();
    let mut attributes = BTreeMap::new();
    for (name, mut section) in section.named_sections() {
        if let Err(fault) = NameKind::Attribute.check(&name.value) {
            source.report(&name.span, fault.to_string(), None);
        }
        for key in ["claim", "type"] {
            if !section.has(key) {
                let help = "write it like `client_id = { claim = \"client_id\", type = \"integer\" }`";
                source.report(&name.span, format!("attribute `{}` has no `{key}`", name.value), Some(help.into()));
            }
        }
        let written = section.string("claim");
        let path = claim(&section, written);
        let value_type = section.string("type").and_then(|written| {
            let found = ValueType::from_name(&written.value);
            if found.is_none() {
                source.report(
                    &written.span,
                    format!("`{}` is not a type", written.value),
                    Some("use one of a parameter's types, or a list of one such as `integer[]`".into()),
                );
            }
            found
        });
        section.finish();
        if let (Some(claim), Some(value_type)) = (path, value_type) {
            attributes.insert(name.value, AttributeClaim { claim, value_type });
        }
    }
    attributes
}

fn read_roles(section: Section<'_, '_>) -> BTreeMap<String, String> {
    let source = section.source();
    let mut roles = BTreeMap::new();
    for (theirs, ours) in section.named_strings() {
        match NameKind::Role.check(&ours.value) {
            Ok(()) => {
                roles.insert(theirs.value, ours.value);
            }
            Err(fault) => source.report(&ours.span, fault.to_string(), None),
        }
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Project, ProjectFiles};

    const WHOLE: &str = r#"
[issuers.acme]
issuer = "https://sso.acme.com/"
audience = ["lakegate", "lakegate-eu"]
algorithm = "ES256"
jwks = "https://sso.acme.com/jwks.json"
refresh_seconds = 60
max_stale_seconds = 600
leeway_seconds = 5
max_lifetime_seconds = 3600
subject = "client.id"
roles_claim = "https://acme.com/roles"
scope_claim = "scope"
scope_prefix = "lakegate:"
[issuers.acme.attributes]
client_id = { claim = "client_id", type = "integer" }
regions = { claim = "a.b", type = "string[]" }
[issuers.acme.roles]
"Partner Users" = "partner"
"#;

    const LEAST: &str =
        "[issuers.acme]\nissuer = \"x\"\naudience = \"y\"\nalgorithm = \"RS256\"\njwks = \"keys.json\"\n";

    fn read(issuers: &str) -> (BTreeMap<String, Issuer>, Vec<String>) {
        let config = format!("lake.location = \"lake/\"\n{issuers}");
        let (project, findings) = Project::read(&ProjectFiles { config, ..ProjectFiles::default() });
        (project.config.issuers, findings.iter().map(ToString::to_string).collect())
    }

    fn fault(issuers: &str) -> String {
        let (_, findings) = read(issuers);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        findings.into_iter().next().unwrap()
    }

    #[test]
    fn a_whole_section_is_read() {
        let (issuers, findings) = read(WHOLE);
        assert_eq!(findings, Vec::<String>::new());
        let acme = &issuers["acme"];
        assert_eq!((acme.name.as_str(), acme.issuer.as_str()), ("acme", "https://sso.acme.com/"));
        assert_eq!(acme.audiences.iter().collect::<Vec<_>>(), ["lakegate", "lakegate-eu"]);
        assert_eq!(acme.algorithm, SigningAlgorithm::Es256);
        assert_eq!(acme.jwks, KeyLocation::Url("https://sso.acme.com/jwks.json".to_owned()));
        let seconds =
            [acme.refresh, acme.max_stale, acme.leeway, acme.max_lifetime.unwrap()].map(|each| each.as_secs());
        assert_eq!(seconds, [60, 600, 5, 3600]);
        assert_eq!(acme.subject.segments, ["client", "id"]);
        assert_eq!(acme.roles_claim.as_ref().unwrap().segments, ["https://acme.com/roles"]);
        assert_eq!(acme.scope.as_ref().unwrap().prefix, "lakegate:");
        assert_eq!(acme.attributes["regions"].value_type.name(), "string[]");
        assert_eq!(acme.roles["Partner Users"], "partner");
    }

    #[test]
    fn what_is_left_out_has_safe_defaults() {
        let (issuers, findings) = read(LEAST);
        assert_eq!(findings, Vec::<String>::new());
        let acme = &issuers["acme"];
        assert_eq!(acme.jwks, KeyLocation::File("keys.json".to_owned()));
        assert_eq!([acme.refresh, acme.max_stale, acme.leeway].map(|each| each.as_secs()), [300, 3600, 30]);
        assert_eq!((acme.subject.as_str(), &acme.roles_claim, &acme.scope), ("sub", &None, &None));
        assert!(acme.roles.is_empty() && acme.attributes.is_empty() && acme.max_lifetime.is_none());
        let (issuers, _) = read(&format!("{LEAST}refresh_seconds = 7200\n"));
        assert_eq!(issuers["acme"].max_stale.as_secs(), 14_400);
    }

    #[test]
    fn every_fault_has_its_place_and_what_to_do() {
        let (issuers, findings) = read("[issuers.acme]\n");
        assert!(issuers.is_empty());
        assert_eq!(findings.len(), 4, "{findings:#?}");
        assert_eq!(
            findings[3],
            "lakegate.toml:2:10: issuer `acme` has no `jwks`; say where its public keys are: a URL with `https://`, or a file"
        );
        for (change, message) in [
            (("RS256", "HS256"), "5:13: `HS256` is not an algorithm that is taken; use `RS256`"),
            (("RS256", "none"), "`none` is not an algorithm"),
            (("RS256", "rs256"), "`rs256` is not an algorithm"),
            (("RS256", "PS256"), "`PS256` is not an algorithm"),
            (("keys.json", "http://sso.acme.com/keys"), "6:8: `jwks` is not encrypted; use `https://`"),
            (("keys.json", "http://127.0.0.1@evil.com/"), "`jwks` has characters"),
            (("keys.json", "http://127.0.0.1\\\\.evil.com/"), "`jwks` has characters"),
            (("keys.json", "http://localhost.evil.com/"), "`jwks` is not encrypted"),
            (("keys.json", "https://user:secret@acme.com/"), "`jwks` has characters"),
            (("keys.json", "https://"), "`jwks` is not a URL that can be fetched"),
            (("keys.json", "file:///etc/keys"), "`jwks` is not a URL that can be fetched"),
            (("keys.json", " "), "`jwks` is not a path"),
            (("\"x\"", "\"\""), "`issuer` is empty"),
            (("\"y\"", "\"\""), "`audience`"),
            (("\"y\"", "[]"), "`audience` names none"),
            (("\"y\"", "[1]"), "`audience` must be a string or a list of strings"),
            (("[issuers.acme]", "[issuers.Acme]"), "issuer name `Acme` must be"),
            (("[issuers.acme]", "[issuers.\"a:b\"]"), "issuer name `a:b` must be"),
        ] {
            let (_, findings) = read(&LEAST.replace(change.0, change.1));
            assert!(findings.iter().any(|finding| finding.contains(message)), "{change:?}: {findings:#?}");
        }
        for (line, message) in [
            ("refresh_seconds = 9", "`refresh_seconds` in [issuers.acme] must be a whole number from 10 to 86400"),
            ("leeway_seconds = 301", "from 0 to 300"),
            ("max_stale_seconds = 299", "`max_stale_seconds` is less than `refresh_seconds`, 300"),
            ("subject = \"a..b\"", "`a..b` is not a claim; write its name"),
            ("scope_prefix = \"x\"", "`scope_prefix` has no meaning without `scope_claim`"),
            ("secret = \"x\"", "unknown key `secret` in [issuers.acme]"),
            ("roles.a = \"b\"", "issuer `acme` has roles and no `roles_claim`"),
            ("roles_claim = \"r\"\nroles.a = \"no role\"", "role name `no role`"),
            ("attributes.a = { claim = \"a\" }", "attribute `a` has no `type`"),
            ("attributes.a = { claim = \"a\", type = \"int\" }", "`int` is not a type"),
            ("attributes.a-b = { claim = \"a\", type = \"integer\" }", "attribute name `a-b`"),
        ] {
            let found = fault(&format!("{LEAST}{line}\n"));
            assert!(found.contains(message), "{line}: {found}");
        }
        let twice = fault(&format!("{LEAST}{}", LEAST.replace("acme", "other")));
        assert!(twice.contains("issuers `acme` and `other` have the same `issuer`"), "{twice}");
    }

    #[test]
    fn only_urls_of_this_machine_are_loopback() {
        for url in ["http://127.0.0.1:8080/x", "http://localhost", "http://[::1]:9/", "http://127.9.9.9/?a=b"] {
            assert!(is_loopback_url(url), "{url}");
        }
        for url in [
            "https://127.0.0.1/",
            "http://10.0.0.1/",
            "http://127.0.0.1.evil.com/",
            "http://localhost:x/",
            "http://[::2]/",
            "http://0.0.0.0/",
            "http://2130706433/",
            "http:///",
        ] {
            assert!(!is_loopback_url(url), "{url}");
        }
    }
}
