//! A zeroed buffer of numbers for random access. It uses large pages if the system has them, because otherwise TLB
//! misses take longer than the reads.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Buffers of at least this many numbers are a memory mapping of their own.
const MANY: usize = 1 << 20;

/// A buffer of numbers.
pub(super) enum Zeroed {
    Few(Vec<u32>),
    Many(MmapMut),
}

impl Zeroed {
    /// A buffer of `count` zeros.
    pub(super) fn new(count: usize) -> Self {
        let bytes = count.checked_mul(size_of::<u32>()).filter(|_| count >= MANY);
        // If the system refuses a mapping, falls back to ordinary memory.
        let Some(mapping) = bytes.and_then(|bytes| MmapMut::map_anon(bytes).ok()) else {
            return Self::Few(vec![0; count]);
        };
        #[cfg(target_os = "linux")]
        if let Err(error) = mapping.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "no large pages");
        }
        Self::Many(mapping)
    }
}

impl Deref for Zeroed {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::Few(numbers) => numbers,
            Self::Many(mapping) => bytemuck::cast_slice(mapping),
        }
    }
}

impl DerefMut for Zeroed {
    fn deref_mut(&mut self) -> &mut [u32] {
        match self {
            Self::Few(numbers) => numbers,
            Self::Many(mapping) => bytemuck::cast_slice_mut(mapping),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_zeros_until_they_are_written_few_or_many() {
        for count in [0, 1, MANY - 1, MANY, MANY + 7] {
            let mut numbers = Zeroed::new(count);
            assert!(numbers.len() == count && numbers.iter().all(|number| *number == 0), "{count}");
            numbers.iter_mut().zip(1..).for_each(|(number, value)| *number = value);
            assert!(numbers.iter().zip(1..).all(|(number, value)| *number == value), "{count}");
        }
    }
}
