//! Many numbers that are gone to in no order: zeros at first, in large pages where the system has such, so that to find a page
//! does not take longer than to read it.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// From so many numbers on, the memory is a mapping of its own.
const MANY: usize = 1 << 20;

/// So many numbers.
pub(super) enum Zeroed {
    Few(Vec<u32>),
    Many(MmapMut),
}

impl Zeroed {
    /// So many zeros.
    pub(super) fn new(count: usize) -> Self {
        let bytes = count.checked_mul(size_of::<u32>()).filter(|_| count >= MANY);
        // Where the system gives no mapping, there is other memory.
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
