//! Numbers of as many bytes as they need, as Thrift and Parquet's differences write them.

/// The number that some bytes give, seven bits of each; `None` where they end before it does, or it has more than 64 bits.
pub(super) fn unsigned(mut next: impl FnMut() -> Option<u8>) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The number of either sign that stands for: 0, -1, 1, -2, and so on.
pub(super) fn signed(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
