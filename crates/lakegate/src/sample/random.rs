//! Deterministic randomness: ChaCha8 streams, custom mappings to ranges, and a keyed permutation.
//!
//! Not for secrets.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of random words, identified by a seed, a domain and an index.
#[derive(Clone, Debug)]
pub(super) struct RandomStream {
    words: ChaCha8Rng,
}

impl RandomStream {
    /// The stream of one item: `domain` is its table, `index` its position there.
    pub(super) fn new(seed: u64, domain: u64, index: u64) -> Self {
        let mut key = [0; 32];
        for (at, part) in key.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&mix(mix(seed) ^ mix(domain << 8 | at as u64)).to_le_bytes());
        }
        let mut words = ChaCha8Rng::from_seed(key);
        words.set_stream(index);
        Self { words }
    }

    /// 64 random bits.
    pub(super) fn word(&mut self) -> u64 {
        self.words.next_u64()
    }

    /// A number below `limit`, which must not be 0. The bias is below one in 2^32 for every limit used here.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.word()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1) as u64) as i64
    }

    /// True with a probability of `parts` in 10,000.
    pub(super) fn chance(&mut self, parts: u64) -> bool {
        self.below(10_000) < parts
    }

    /// One of the items.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// A number from a distribution given by its quantiles at equal steps, with linear interpolation.
    pub(super) fn quantile(&mut self, quantiles: &[i64]) -> i64 {
        let last = quantiles.len() - 1;
        let place = self.below(last as u64 * 65_536);
        let (step, part) = ((place / 65_536) as usize, (place % 65_536) as i64);
        quantiles[step] + (quantiles[step + 1] - quantiles[step]) * part / 65_536
    }
}

/// A bijection of `0..size`, keyed by a seed: a Feistel network with cycle walking.
#[derive(Clone, Debug)]
pub(super) struct Permutation {
    size: u64,
    half_bits: u32,
    keys: [u64; 4],
}

impl Permutation {
    pub(super) fn new(seed: u64, domain: u64, size: u64) -> Self {
        let bits = 64 - size.saturating_sub(1).leading_zeros();
        let keys = [1, 2, 3, 4].map(|round| mix(mix(seed) ^ mix(domain << 8 | round)));
        Self { size, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// The image of `index`, which must be below the size.
    pub(super) fn at(&self, index: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let mut place = index;
        loop {
            let (mut left, mut right) = (place >> self.half_bits, place & mask);
            for key in self.keys {
                (left, right) = (right, left ^ (mix(right ^ key) & mask));
            }
            place = left << self.half_bits | right;
            if place < self.size {
                return place;
            }
        }
    }
}

/// The finaliser of SplitMix64, in which every input bit affects every output bit.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
