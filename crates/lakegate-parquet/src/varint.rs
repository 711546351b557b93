//! Variable-length integers, as in Thrift and in Parquet's delta encodings.

/// Decodes an unsigned integer of seven bits in each byte; `None` if the bytes end too early, or it exceeds 64 bits.
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

/// Decodes zigzag encoding, in which 0, 1, 2, 3 stand for 0, -1, 1, -2.
pub(super) fn signed(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
