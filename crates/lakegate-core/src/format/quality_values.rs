//! Parses lists of header fields with quality values: `a;x=1;q=0.5, b` (RFC 9110, 12.4.2).

/// One item of such a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QualityItem {
    /// The value, in lower case.
    pub(super) value: String,
    /// Its parameters except `q`, in lower case.
    pub(super) parameters: Vec<(String, String)>,
    /// The quality value in thousandths; 0 excludes the item.
    pub(super) quality: u16,
}

/// The items of all fields of one header, in order. An item with an invalid quality value is ignored.
pub(super) fn items<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<QualityItem> {
    fields.into_iter().flat_map(|field| field.split(',')).filter_map(item).collect()
}

fn item(text: &str) -> Option<QualityItem> {
    let mut parts = text.split(';').map(str::trim);
    let value = parts.next()?.to_ascii_lowercase();
    if value.is_empty() {
        return None;
    }
    let (mut parameters, mut quality) = (Vec::new(), 1000);
    for part in parts.filter(|part| !part.is_empty()) {
        let (name, text) = part.split_once('=').unwrap_or((part, ""));
        let (name, text) = (name.trim_end().to_ascii_lowercase(), text.trim_start());
        match name.as_str() {
            "q" => quality = thousandths(text)?,
            _ => parameters.push((name, text.trim_matches('"').to_ascii_lowercase())),
        }
    }
    Some(QualityItem { value, parameters, quality })
}

/// Parses a quality value: from 0 to 1, with at most three digits after the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let well_formed = matches!(whole, "0" | "1") && fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    let fraction: u16 = if fraction.is_empty() { 0 } else { format!("{fraction:0<3}").parse().ok()? };
    let quality = if whole == "1" { 1000 } else { 0 } + fraction;
    (well_formed && quality <= 1000).then_some(quality)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_are_read_as_the_standard_writes_them() {
        for (text, quality) in [("1", 1000), ("0", 0), ("0.5", 500), ("0.001", 1), ("1.000", 1000), ("0.", 0)] {
            assert_eq!(thousandths(text), Some(quality), "{text}");
        }
        for text in ["", "2", "1.001", "-1", "0.1234", "0,5", "1e0", ".5", "0.+1", "NaN"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }

    #[test]
    fn items_come_in_order_from_all_fields() {
        let items = items(["A/B; q=0.5;x=\"Y\" , ,c", "d;q=x", ";q=1, e ; Q=0"]);
        let read = items.iter().map(|item| (item.value.as_str(), item.quality)).collect::<Vec<_>>();
        assert_eq!(read, [("a/b", 500), ("c", 1000), ("e", 0)]);
        assert_eq!(items[0].parameters, [("x".to_owned(), "y".to_owned())]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            for item in items([text.as_str()]) {
                prop_assert!(item.quality <= 1000 && !item.value.is_empty());
            }
        }
    }
}
