//! Holds back the last bytes of what was written, so that an answer that is cut ends in the middle of something, and a
//! reader that was not told of the cut sees it nevertheless.

use bytes::Bytes;

/// The bytes that are held back.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    length: usize,
}

impl Tail {
    /// Holds back so many bytes.
    pub(super) fn of(length: usize) -> Self {
        Self { bytes: Vec::new(), length }
    }

    /// Takes more bytes, and gives all but the last ones.
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

    /// Gives all of it.
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
