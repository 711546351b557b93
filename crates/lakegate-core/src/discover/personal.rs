//! Finds columns whose names indicate personal data, and suggests a mask for each.

use super::{ColumnClass, words};

/// A suggested mask for a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskIdea {
    /// The text after `mask =` in the project.
    pub mask: &'static str,
    /// The reason.
    pub reason: &'static str,
}

/// Tables whose rows are people or companies, so that a bare `name` is personal.
const PEOPLE: &[&str] = &[
    "account",
    "applicant",
    "client",
    "cliente",
    "contact",
    "customer",
    "driver",
    "employee",
    "guest",
    "member",
    "owner",
    "passenger",
    "patient",
    "person",
    "recipient",
    "sender",
    "staff",
    "student",
    "subscriber",
    "user",
    "usuario",
];

/// Alternatives of adjacent words, the class of the column, the mask, and the reason.
type PersonalColumnRule = (&'static [&'static str], ColumnClass, &'static str, &'static str);

const RULES: &[PersonalColumnRule] = {
    use ColumnClass::{Integer, Text, Time};
    &[
        (
            &["password", "passwd", "secret", "api key", "private key", "access key", "token"],
            Text,
            "\"null\"",
            "a secret",
        ),
        (&["email", "e mail", "mail", "correo"], Text, "\"email\"", "an e-mail address"),
        (
            &["phone", "telephone", "mobile", "cellphone", "fax", "telefono"],
            Text,
            "{ kind = \"partial\", prefix = 0, suffix = 3 }",
            "a telephone number",
        ),
        (&["phone", "telephone", "mobile", "telefono"], Integer, "\"null\"", "a telephone number"),
        (
            &["address", "street", "addr", "direccion", "postcode", "postal code", "zip", "zipcode"],
            Text,
            "\"redact\"",
            "where somebody is",
        ),
        (
            &[
                "first name",
                "last name",
                "full name",
                "middle name",
                "surname",
                "firstname",
                "lastname",
                "fullname",
                "nickname",
            ],
            Text,
            "\"redact\"",
            "a person's name",
        ),
        (
            &[
                "ssn",
                "passport",
                "national id",
                "tax id",
                "nif",
                "dni",
                "driving licence",
                "license number",
                "iban",
                "card number",
                "credit card",
            ],
            Text,
            "\"redact\"",
            "an official number",
        ),
        (&["birth", "birthday", "birthdate", "dob"], Time, "{ kind = \"truncate\", to = \"year\" }", "a date of birth"),
        (&["ip", "ip address", "user agent", "device"], Text, "\"redact\"", "what tells a device"),
    ]
};

/// The mask that a column's name suggests.
pub fn suggest_mask(table: &str, column: &str, kind: ColumnClass) -> Option<MaskIdea> {
    let words = words::split(column);
    let has = |phrase: &str| {
        let phrase = phrase.split(' ').collect::<Vec<_>>();
        words.windows(phrase.len()).any(|part| part.iter().zip(&phrase).all(|(one, other)| one == other))
    };
    // The key of an address is not the address.
    let is_key = words.last().is_some_and(|last| ["id", "key"].contains(&last.as_str())) && words.len() == 2;
    let secret = |rule: &&PersonalColumnRule| rule.2 == "\"null\"" || rule.3 == "an official number" || !is_key;
    let found = RULES.iter().filter(secret).find(|rule| rule.1 == kind && rule.0.iter().any(|phrase| has(phrase)));
    if let Some((_, _, mask, reason)) = found {
        return Some(MaskIdea { mask, reason });
    }
    let of_people = words::split(table).iter().any(|word| PEOPLE.contains(&words::singular(word).as_str()));
    let bare = match words.as_slice() {
        [prefix, name] => name == "name" && prefix.len() <= 2,
        [name] => ["name", "nombre"].contains(&name.as_str()),
        _ => false,
    };
    let own_key = words.len() == 2 && words[1] == "key";
    if kind == ColumnClass::Text && of_people && own_key {
        return Some(MaskIdea { mask: "\"null\"", reason: "a secret, if somebody gets in by it" });
    }
    (kind == ColumnClass::Text && of_people && bare)
        .then_some(MaskIdea { mask: "\"redact\"", reason: "somebody's name, as the table's rows are people or firms" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_columns_are_told_by_their_names_and_kinds() {
        let mask = |table, column, kind| suggest_mask(table, column, kind).map(|idea| idea.mask);
        assert_eq!(mask("x", "contactEmail", ColumnClass::Text), Some("\"email\""));
        assert_eq!(mask("x", "drop_address", ColumnClass::Text), Some("\"redact\""));
        assert_eq!(mask("customer", "c_name", ColumnClass::Text), Some("\"redact\""));
        assert_eq!(mask("city", "name", ColumnClass::Text), None);
        assert_eq!(mask("x", "address_id", ColumnClass::Text), None);
        assert_eq!(mask("x", "email", ColumnClass::Integer), None);
        assert_eq!(mask("x", "date_of_birth", ColumnClass::Time), Some("{ kind = \"truncate\", to = \"year\" }"));
        assert_eq!(mask("x", "shipping", ColumnClass::Text), None);
    }
}
