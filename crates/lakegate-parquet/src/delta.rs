//! Decodes the lengths in delta encodings, so that no reader expands a page to much more than it holds.

use super::varint;

/// Lengths of values, and the offset at which their encoding ends.
pub(super) struct Lengths {
    pub(super) values: Vec<i32>,
    pub(super) end: usize,
}

/// Decodes the lengths at the start of `bytes`; `None` if there are more than `most`, or if they are truncated.
pub(super) fn lengths(bytes: &[u8], most: usize) -> Option<Lengths> {
    let mut bits = Bytes { bytes, at: 0 };
    let block = usize::try_from(bits.varint()?).ok()?;
    let parts = usize::try_from(bits.varint()?).ok()?;
    let count = usize::try_from(bits.varint()?).ok().filter(|count| *count <= most)?;
    let first = bits.zigzag()?;
    if parts == 0 || !block.is_multiple_of(parts) || !(block / parts).is_multiple_of(8) {
        return None;
    }
    let of_part = block / parts;
    let mut values = Vec::with_capacity(count);
    let mut last = first as i32;
    if count > 0 {
        values.push(last);
    }
    while values.len() < count {
        let least = bits.zigzag()? as i32;
        let widths = bits.take(parts)?;
        for width in widths {
            let left = count - values.len();
            if left == 0 {
                break;
            }
            let width = u32::from(*width);
            let packed = bits.take((of_part / 8).checked_mul(width as usize)?)?;
            for at in 0..left.min(of_part) {
                last = last.wrapping_add(least).wrapping_add(unpacked(packed, at, width) as i32);
                values.push(last);
            }
        }
    }
    Some(Lengths { values, end: bits.at })
}

/// The total size in bytes of decoded values that share prefixes with the values before them.
pub(super) fn expanded(prefixes: &[i32], suffixes: &[i32]) -> u64 {
    let (mut last, mut sum) = (0_u64, 0_u64);
    for (prefix, suffix) in prefixes.iter().zip(suffixes) {
        // A negative length counts as a very large one.
        let prefix = u64::try_from(*prefix).unwrap_or(u64::MAX);
        last = last.min(prefix).saturating_add(u64::try_from(*suffix).unwrap_or(0));
        sum = sum.saturating_add(last);
    }
    sum
}

/// The bit-packed number at index `at`, of `width` bits; bits past the end are 0.
fn unpacked(bytes: &[u8], at: usize, width: u32) -> u64 {
    let first = at * width as usize;
    let bit = |bit: usize| bytes.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1);
    (0..width.min(64)).filter(|of| bit(first + *of as usize)).fold(0, |number, of| number | 1 << of)
}

struct Bytes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        varint::unsigned(|| self.take(1).map(|taken| taken[0]))
    }

    fn zigzag(&mut self) -> Option<i64> {
        self.varint().map(varint::signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples in the documentation of the format: 1 to 5, and 7, 5, 3, 1, 2, 3, 4, 5.
    #[test]
    fn lengths_are_followed() {
        let even = [128, 1, 4, 5, 2, 2, 0, 0, 0, 0];
        let read = lengths(&even, 5).unwrap();
        assert_eq!((read.values, read.end), (vec![1, 2, 3, 4, 5], 10));
        let uneven = [128, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0, 0, 0];
        let read = lengths(&uneven, 8).unwrap();
        assert_eq!((read.values, read.end), (vec![7, 5, 3, 1, 2, 3, 4, 5], 18));
        assert!(lengths(&uneven, 7).is_none() && lengths(&uneven[..12], 8).is_none());
        let one = [128, 1, 4, 1, 6];
        assert_eq!(lengths(&one, 1).unwrap().end, 5);
    }

    #[test]
    fn values_that_repeat_the_one_before_are_counted_whole() {
        assert_eq!(expanded(&[0, 3, 3], &[3, 1, 0]), 3 + 4 + 3);
        assert_eq!(expanded(&[0, -1, i32::MAX], &[1000, 0, 0]), 3000);
    }

    /// Each value is the previous one plus a byte, so a page of a megabyte expands to half a terabyte.
    #[test]
    fn values_that_repeat_the_one_before_are_bounded() {
        let count = 1_000_000;
        let mut header = Vec::new();
        let mut left = count;
        while left >= 0x80 {
            header.push(left as u8 | 0x80);
            left >>= 7;
        }
        header.push(left as u8);
        // Prefixes 0, 1, 2, … and suffixes of 1, each packed in zero bits.
        let blocks = |first: u8, least: u8| {
            let mut bytes = [vec![128, 1, 4], header.clone(), vec![first]].concat();
            (0..(count - 1_usize).div_ceil(128)).for_each(|_| bytes.extend([least, 0, 0, 0, 0]));
            bytes
        };
        let values = [blocks(0, 2), blocks(2, 0), vec![b'x'; count]].concat();
        let prefixes = lengths(&values, count).unwrap();
        let suffixes = lengths(&values[prefixes.end..], count).unwrap();
        assert_eq!(expanded(&prefixes.values, &suffixes.values), 500_000_500_000);
    }
}
