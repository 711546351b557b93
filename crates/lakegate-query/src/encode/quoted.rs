//! Writes text as JSON strings, and escapes only what must be escaped. Equals `serde_json`'s output, in larger steps.

use data_encoding::HEXLOWER;
use datafusion::arrow::array::ArrayAccessor;
use datafusion::arrow::json::Encoder;

/// Bytes that are checked together.
const STEP: usize = 16;

/// The values of a text array.
pub(super) struct Texts<A>(pub(super) A);

impl<'a, A: ArrayAccessor<Item = &'a str>> Encoder for Texts<A> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        write(self.0.value(row), out);
    }
}

/// Writes a text as a JSON string.
fn write(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    // Bytes before this position are written.
    let mut written = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at..].first_chunk::<STEP>() {
            // Without branches, so that the compiler vectorises the comparisons.
            Some(step) if !step.iter().fold(false, |any, byte| any | is_escaped(*byte)) => at += STEP,
            _ => {
                let end = bytes.len().min(at + STEP);
                while at < end {
                    if is_escaped(bytes[at]) {
                        out.extend_from_slice(&bytes[written..at]);
                        escape(bytes[at], out);
                        written = at + 1;
                    }
                    at += 1;
                }
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Whether JSON requires an escape for a byte. These bytes are ASCII, so none is part of a multi-byte character.
fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            let mut escaped = *b"\\u00xx";
            HEXLOWER.encode_mut(&[byte], &mut escaped[4..]);
            return out.extend_from_slice(&escaped);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_character_that_must_be_is_escaped_at_every_place() {
        let special = (0..0x20_u8).chain([b'"', b'\\', 0x7f]).map(char::from).chain(['é', '\u{2028}', '😀']);
        for character in special {
            for place in 0..40 {
                let mut text = "x".repeat(40);
                text.insert(place, character);
                assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
        assert_eq!(written(""), r#""""#);
        assert_eq!(written("a\u{1f}\"b"), r#""a\u001f\"b""#);
    }

    proptest! {
        #[test]
        fn text_is_what_serde_writes(text in ".*", more in "[\u{0}-\u{80}]*") {
            for text in [text, more] {
                prop_assert_eq!(written(&text), serde_json::to_string(&text).unwrap());
            }
        }
    }
}
