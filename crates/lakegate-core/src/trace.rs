//! Parses and writes the `traceparent` header of W3C Trace Context.
//!
//! The caller controls the header, so it is only used to correlate spans. `tracestate` is not read, because it may hold
//! anything.

use std::fmt;

use data_encoding::HEXLOWER;

/// The caller's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace id, never all zero.
    pub trace_id: [u8; 16],
    /// The span id, never all zero.
    pub span_id: [u8; 8],
    /// Whether the caller records the trace.
    pub sampled: bool,
}

impl TraceParent {
    /// Parses the header; `None` if it is malformed, as if the header were absent.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let version = bytes::<1>(header.get(..2)?)?[0];
        // Later versions may append fields, but do not change these.
        let ends = if version == 0 { header.len() == 55 } else { matches!(header.get(55), None | Some(b'-')) };
        let dashes = [2, 35, 52].iter().all(|at| header.get(*at) == Some(&b'-'));
        if version == 0xff || !ends || !dashes {
            return None;
        }
        let trace_id = bytes::<16>(header.get(3..35)?)?;
        let span_id = bytes::<8>(header.get(36..52)?)?;
        let flags = bytes::<1>(header.get(53..55)?)?[0];
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
        write!(f, "00-{}-{}-{}", hex(&self.trace_id), hex(&self.span_id), hex(&[u8::from(self.sampled)]))
    }
}

/// Decodes lowercase hexadecimal, two digits a byte.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    HEXLOWER.decode_mut(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_header_of_the_specification_is_read_and_written() {
        let read = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(read.span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert!(read.sampled);
        assert_eq!(read.to_string(), GOOD);
        let unsampled = TraceParent::parse(GOOD.replace("-01", "-00").as_bytes()).unwrap();
        assert!(!unsampled.sampled);
    }

    #[test]
    fn a_later_version_may_have_more() {
        let later = GOOD.replacen("00", "01", 1);
        assert!(TraceParent::parse(later.as_bytes()).is_some());
        assert!(TraceParent::parse(format!("{later}-more").as_bytes()).is_some());
        assert!(TraceParent::parse(format!("{later}more").as_bytes()).is_none());
    }

    #[test]
    fn anything_else_is_nothing() {
        for text in [
            "",
            "00",
            &format!("{GOOD}-more"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace('-', "_"),
            &format!(" {GOOD}"),
        ] {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(header in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceParent::parse(&header);
        }

        #[test]
        fn what_is_written_is_read_again(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let parent = TraceParent { trace_id, span_id, sampled };
            prop_assert_eq!(TraceParent::parse(parent.to_string().as_bytes()), Some(parent));
        }
    }
}
