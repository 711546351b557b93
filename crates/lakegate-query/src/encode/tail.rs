//! Holds back the last bytes of the output, so that a truncated response ends inside a record or message. A reader then
//! notices even if the transport does not report the truncation.

use bytes::Bytes;

/// The held-back bytes.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    length: usize,
}

impl Tail {
    /// Holds back `length` bytes.
    pub(super) fn of(length: usize) -> Self {
        Self { bytes: Vec::new(), length }
    }

    /// Appends bytes, and returns all but the last `length`.
    pub(super) fn after(&mut self, more: Vec<u8>) -> Bytes {
        let mut all = std::mem::take(&mut self.bytes);
        if all.is_empty() {
            all = more;
        } else {
            all.extend_from_slice(&more);
        }
        self.bytes = all.split_off(all.len().saturating_sub(self.length));
        all.into()
    }

    /// Appends bytes, and returns everything.
    pub(super) fn released(&mut self, more: Vec<u8>) -> Bytes {
        let mut all = std::mem::take(&mut self.bytes);
        all.extend_from_slice(&more);
        all.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_wait_for_the_end() {
        let mut tail = Tail::of(2);
        assert_eq!(tail.after(b"a".to_vec()), "");
        assert_eq!(tail.after(b"bcd".to_vec()), "ab");
        assert_eq!(tail.after(Vec::new()), "");
        assert_eq!(tail.released(b"e".to_vec()), "cde");
    }
}
