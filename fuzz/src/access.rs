//! Tokens, attributes and the access-control table: no input panics or makes a message repeat a secret.

use lakegate_core::access::import::{plan, table};
use lakegate_core::access::name::NameKind;
use lakegate_core::access::{NewToken, PresentedToken, TokenError, attribute as attributes, looks_like_token};
use lakegate_core::catalog::RawArguments;
use lakegate_core::error::{Code, Error};
use lakegate_core::value::{Scalar, Value};

/// Presents the bytes as a token, and inserts a real token into them.
///
/// # Panics
/// If a message depends on the text of the token, or a token in a URL is not recognised.
pub fn token(bytes: &[u8]) {
    match PresentedToken::from_bytes(bytes) {
        Ok(presented) => {
            assert!((8..=512).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic));
            // Messages are equal for all tokens.
            assert_eq!(format!("{presented:?}"), "PresentedToken(…)");
            let again = PresentedToken::from_bytes(bytes).expect("it was taken before");
            assert_eq!(presented.hash(), again.hash());
            let mut other = bytes.to_vec();
            other[0] = if other[0] == b'x' { b'y' } else { b'x' };
            let other = PresentedToken::from_bytes(&other).expect("it differs in a letter");
            assert_ne!(presented.hash(), other.hash());
        }
        Err(TokenError::Jwt) => assert!(bytes.starts_with(b"eyJ")),
        Err(error) => {
            let twin = PresentedToken::from_bytes(&vec![b' '; bytes.len()]).expect_err("spaces are no token");
            assert_eq!((format!("{error:?}"), error.to_string()), (format!("{twin:?}"), twin.to_string()));
            let error = Error::from(error);
            assert_eq!((error.code, error.to_string()), (Code::AccessTokenUnknown, Error::from(twin).to_string()));
        }
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = looks_like_token(&text);

    let mut random = [0; 42];
    random.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let (secret, id) = random.split_at(32);
    let (secret, id) = (secret.try_into().expect("32 bytes"), id.try_into().expect("10 bytes"));
    let token = NewToken::from_random(secret, &NewToken::id_from_random(id));
    let presented = PresentedToken::parse(token.text()).expect("a new token is a token");
    assert_eq!(presented.hash(), token.hash());
    assert!(!format!("{token:?}").contains(token.text().rsplit('_').next().unwrap_or_default()));

    let at = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let around = format!("{}{}{}", &text[..at], token.text(), &text[at..]);
    assert!(looks_like_token(&around), "a token was not seen");
    for pair in [("a".to_owned(), around.clone()), (around, String::new())] {
        let refused = RawArguments::default().add_query([pair]).expect_err("a token is in the URL");
        assert_eq!(refused.code, Code::RequestTokenInUrl);
        assert!(!format!("{refused:?}").contains(token.text()));
    }
}

/// Reads the text as an attribute.
///
/// # Panics
/// If an attribute does not parse back to itself.
pub fn attribute(text: &str) {
    let Ok((name, value)) = attributes::parse(text) else { return };
    NameKind::Attribute.check(&name).expect("only good names are taken");
    assert_eq!(Value::from_json(value.value_type(), &value.to_json()).as_ref(), Some(&value));
    for scalar in value.scalars() {
        assert_eq!(scalar.scalar_type(), value.value_type().scalar);
        assert_eq!(scalar.scalar_type().parse(&scalar.to_string()).as_ref(), Some(scalar), "its text is another value");
    }
}

/// Reads the text as the access-control table: one row a line, cells separated by tabs, column names in the first row.
///
/// # Panics
/// If a key is shown, a row counts for two clients, or a key belongs to several.
pub fn access_import(text: &str) {
    let mut rows = text.lines().map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    let Some(columns) = rows.next() else { return };
    let cells = rows.map(|row| row.into_iter().map(cell).collect::<Vec<_>>()).collect::<Vec<_>>();
    let ignored = columns.iter().filter(|column| column.starts_with('!')).cloned().collect::<Vec<_>>();
    let Ok(rows) = table(&columns, &cells, &ignored) else { return };
    let plan = plan(&rows);
    let keys = rows.iter().filter_map(|row| Some((row.key.as_ref()?, row.client)));
    for (key, client) in keys.clone() {
        let Ok(token) = PresentedToken::parse(key) else { continue };
        let holders = plan.clients.iter().filter(|planned| planned.keys.contains(&token.hash())).collect::<Vec<_>>();
        assert!(holders.len() <= 1, "a key stands for several clients");
        let shared = keys.clone().any(|(other, owner)| other == key && owner != client);
        assert!(!shared || holders.is_empty(), "a key of several clients was taken");
        if holders.iter().any(|holder| Some(holder.client_id) != client) {
            panic!("a key was given to another client");
        }
    }
    for planned in &plan.clients {
        let mut own = rows.iter().filter(|row| row.client == Some(planned.client_id));
        assert!(own.all(|row| row.endpoints == planned.endpoints), "a client got endpoints that one of its rows lacks");
    }
    // A key of random letters appears in no message; a shorter one may be a word of a message.
    let long = |key: &str| key.len() >= 20 && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let shown = format!("{rows:?} {plan:?} {:?}", plan.conflicts.iter().map(ToString::to_string).collect::<Vec<_>>());
    for (key, _) in keys.filter(|(key, _)| long(key)) {
        let endpoint = columns.iter().any(|column| column.contains(key.as_str()));
        assert!(endpoint || !shown.contains(key.as_str()), "a key is shown");
    }
}

/// A cell: empty, or of the first type that parses it.
fn cell(text: String) -> Option<Scalar> {
    use lakegate_core::value::ScalarType::{Boolean, Integer, Number, String as Text, Uuid};
    if text.is_empty() {
        return None;
    }
    // Quoted cells are text.
    if let Some(text) = text.strip_prefix('"') {
        return Some(Scalar::String(text.to_owned()));
    }
    [Boolean, Integer, Number, Uuid, Text].into_iter().find_map(|scalar| scalar.parse(&text))
}
