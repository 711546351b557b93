//! Provides random choices that can be replayed. A generated value is a function of a list of numbers, so a shorter
//! list, or one with smaller numbers, gives a simpler value of the same kind. Every generator makes its simplest value
//! for 0.

/// The numbers that were drawn, or that are replayed.
#[derive(Clone, Debug)]
pub(super) struct Choices {
    taken: Vec<u32>,
    at: usize,
    random: Option<u64>,
}

impl Choices {
    /// New choices, determined by the seed.
    pub(super) fn random(seed: u64) -> Self {
        Self { taken: Vec::new(), at: 0, random: Some(seed) }
    }

    /// Replays choices. After the last one, every choice is the simplest.
    pub(super) fn replay(taken: &[u32]) -> Self {
        Self { taken: taken.to_vec(), at: 0, random: None }
    }

    pub(super) fn taken(&self) -> &[u32] {
        &self.taken[..self.at.min(self.taken.len())]
    }

    /// A number below `bound`, which is above 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let next = match (self.taken.get(self.at), &mut self.random) {
            (Some(next), _) => *next,
            (None, None) => 0,
            (None, Some(state)) => {
                let next = splitmix(state) as u32;
                self.taken.push(next);
                next
            }
        };
        self.at += 1;
        next as usize % bound
    }

    /// A number from `least` to `most`.
    pub(super) fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below((most - least + 1) as usize) as i64
    }

    /// True with this probability in percent; false is the simpler choice.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) >= 100 - percent
    }

    /// One of the items; the first is the simplest.
    pub(super) fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// An index, drawn by weight; the first is the simplest.
    pub(super) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (at, weight) in weights.iter().enumerate() {
            if left < *weight {
                return at;
            }
            left -= weight;
        }
        0
    }
}

/// The next number of a pseudorandom sequence (`SplitMix64`).
pub(super) fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
