//! Makes the partition field names of an Iceberg manifest match its values. Avro does not allow a name such as `p k`,
//! so writers escape it (`p_x20k`), while the partition spec beside the values keeps the name. The `iceberg` crate
//! looks values up by name and would read them all as NULL. So the spec gets the escaped names first, and a manifest
//! with a field that has no value is refused.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

const MAGIC: &[u8] = b"Obj\x01";
const SPEC: &[u8] = b"partition-spec";
const SCHEMA: &[u8] = b"avro.schema";

/// Returns the manifest with a partition spec that uses the names of its values.
///
/// # Errors
/// The reason, as the end of a sentence.
pub(super) fn named_as_values(avro: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let mut header = Header { rest: avro.strip_prefix(MAGIC).ok_or("it is no Avro file")? };
    let entries = header.entries().ok_or("its header is broken")?;
    let find = |key: &[u8]| entries.iter().find(|(of, _)| *of == key).map(|(_, value)| *value);
    let schema = find(SCHEMA).and_then(|schema| serde_json::from_slice::<Value>(schema).ok());
    let schema = schema.ok_or("its schema cannot be read")?;
    let values = field(&schema, "data_file").and_then(|file| field(&file["type"], "partition"));
    let values =
        values.and_then(|partition| partition["type"]["fields"].as_array()).ok_or("it has no partition values")?;
    let is_value = |name: &str| values.iter().any(|value| value["name"] == name);
    // Old manifests may lack the spec; the `iceberg` crate reports that.
    let Some(of_spec) = find(SPEC) else { return Ok(Cow::Borrowed(avro)) };
    let mut spec = serde_json::from_slice::<Value>(of_spec).map_err(|_| "its partition spec cannot be read")?;
    let mut is_changed = false;
    for field in spec.as_array_mut().ok_or("its partition spec is no list")? {
        let name = field["name"].as_str().ok_or("a field of its partition spec has no name")?;
        if is_value(name) {
            continue;
        }
        let written = in_avro(name);
        if !is_value(&written) {
            return Err(format!("it has no values of the partition field `{name}`"));
        }
        field["name"] = Value::String(written);
        is_changed = true;
    }
    if !is_changed {
        return Ok(Cow::Borrowed(avro));
    }
    let spec = spec.to_string().into_bytes();
    let mut changed = MAGIC.to_vec();
    put_long(&mut changed, entries.len() as i64);
    for (key, value) in &entries {
        put(&mut changed, key);
        put(&mut changed, if *key == SPEC { &spec } else { value });
    }
    put_long(&mut changed, 0);
    changed.extend_from_slice(header.rest);
    Ok(Cow::Owned(changed))
}

fn field<'v>(record: &'v Value, name: &str) -> Option<&'v Value> {
    record["fields"].as_array()?.iter().find(|field| field["name"] == name)
}

/// Escapes a name for Avro as Iceberg's writers do.
fn in_avro(name: &str) -> String {
    let mut written = String::new();
    for (at, letter) in name.chars().enumerate() {
        match letter {
            '_' => written.push(letter),
            _ if letter.is_alphabetic() => written.push(letter),
            _ if letter.is_numeric() && at > 0 => written.push(letter),
            _ if letter.is_numeric() => written.extend(['_', letter]),
            // Writing to a `String` cannot fail.
            _ => drop(write!(written, "_x{:X}", u32::from(letter))),
        }
    }
    written
}

/// The header of an Avro file after the magic number: keys and values, each after its length.
struct Header<'a> {
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn entries(&mut self) -> Option<Vec<(&'a [u8], &'a [u8])>> {
        let mut entries = Vec::new();
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Some(entries);
            }
            if count < 0 {
                self.long()?;
                count = count.checked_neg()?;
            }
            for _ in 0..count {
                entries.push((self.bytes()?, self.bytes()?));
            }
        }
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    fn long(&mut self) -> Option<i64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        None
    }
}

fn put_long(bytes: &mut Vec<u8>, number: i64) {
    let mut number = ((number << 1) ^ (number >> 63)) as u64;
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    put_long(bytes, part.len() as i64);
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(of_spec: &str, of_values: &str) -> Vec<u8> {
        let values = json!({"type": "record", "fields": [{"name": of_values, "type": "string"}]});
        let file = json!({"type": "record", "fields": [{"name": "partition", "type": values}]});
        let schema = json!({"type": "record", "fields": [{"name": "data_file", "type": file}]}).to_string();
        let spec = json!([{"name": of_spec, "source-id": 2, "field-id": 1000}]).to_string();
        let mut bytes = MAGIC.to_vec();
        put_long(&mut bytes, 2);
        for (key, value) in [(SCHEMA, schema), (SPEC, spec)] {
            put(&mut bytes, key);
            put(&mut bytes, value.as_bytes());
        }
        put_long(&mut bytes, 0);
        bytes.extend_from_slice(b"the rest");
        bytes
    }

    #[test]
    fn a_spec_gets_the_names_of_its_values() {
        for (of_spec, of_values) in [("p k", "p_x20k"), ("p-k", "p_x2Dk"), ("1p", "_1p"), ("a.b", "a_x2Eb")] {
            let changed = named_as_values(&manifest(of_spec, of_values)).unwrap().into_owned();
            assert_eq!(changed, manifest(of_values, of_values), "{of_spec}");
        }
        assert_eq!(named_as_values(&manifest("p", "p")).unwrap(), manifest("p", "p"));
    }

    #[test]
    fn a_value_without_a_name_of_its_spec_is_refused() {
        assert!(named_as_values(&manifest("p", "q")).unwrap_err().contains("`p`"));
        for cut in 0..manifest("p", "p").len() - 8 {
            assert!(named_as_values(&manifest("p", "p")[..cut]).is_err(), "{cut}");
        }
    }
}
