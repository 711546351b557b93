//! Rank bitmap: which numbers of a range are keys, and the rank of each. It takes little more than a bit for each
//! number.

/// The keys among `span` numbers from `least` on.
#[derive(Debug)]
pub(super) struct Ranks {
    least: i64,
    span: usize,
    words: Vec<Word>,
}

/// 64 numbers: a bit for each that is a key, and the number of keys before this word.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    keys: u64,
    before: u32,
}

impl Ranks {
    /// Bytes that a bitmap over `span` numbers takes.
    pub(super) fn bytes_for(span: usize) -> usize {
        span.div_ceil(64).saturating_mul(size_of::<Word>())
    }

    /// Builds the bitmap from the counts of all numbers from `least` on. A number with a non-zero count is a key.
    pub(super) fn of(least: i64, counts: &[u32]) -> Self {
        let mut before = 0;
        let words = counts.chunks(64).map(|counts| {
            let bits = counts.iter().zip(0..).map(|(count, at): (_, u32)| u64::from(*count > 0) << at);
            let word = Word { keys: bits.fold(0, |keys, bit| keys | bit), before };
            before += word.keys.count_ones();
            word
        });
        let words = words.collect();
        Self { least, span: counts.len(), words }
    }

    /// Picks the elements that belong to keys from an array over the whole span, ordered by rank.
    pub(super) fn of_keys(&self, counts: &[u32]) -> Vec<u32> {
        let keys = self.words.last().map_or(0, |word| word.before + word.keys.count_ones());
        let mut picked = Vec::with_capacity(keys as usize);
        for (word, counts) in self.words.iter().zip(counts.chunks(64)) {
            let mut keys = word.keys;
            while keys != 0 {
                picked.push(counts[keys.trailing_zeros() as usize]);
                keys &= keys - 1;
            }
        }
        picked
    }

    /// The rank of a key; `None` if the number is no key.
    pub(super) fn get(&self, key: i64) -> Option<usize> {
        let at = place(key, self.least, self.span)?;
        let (word, bit) = (self.words[at / 64], 1_u64 << (at % 64));
        (word.keys & bit != 0).then(|| word.before as usize + (word.keys & (bit - 1)).count_ones() as usize)
    }

    /// Bytes held by the bitmap.
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<Word>()
    }
}

/// The offset of a number from `least`; `None` if it is outside the span.
pub(super) fn place(number: i64, least: i64, span: usize) -> Option<usize> {
    usize::try_from(number.wrapping_sub(least)).ok().filter(|at| number >= least && *at < span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_place_and_other_numbers_have_none() {
        let mut counts = vec![0; 300];
        let keys = [0, 1, 63, 64, 65, 127, 128, 255, 299];
        keys.iter().zip(7..).for_each(|(key, count)| counts[*key] = count);
        let picked = Ranks::of(0, &counts).of_keys(&counts);
        assert_eq!(picked, (7..7 + keys.len() as u32).collect::<Vec<_>>());
        for least in [0, -150, i64::MIN, i64::MAX - 299] {
            let ranks = Ranks::of(least, &counts);
            for at in 0..300_i64 {
                let wanted = keys.iter().position(|key| *key as i64 == at);
                assert_eq!(ranks.get(least.wrapping_add(at)), wanted, "{at} from {least}");
            }
            for none in [i64::MIN, -1_000, 1_000, i64::MAX] {
                let is_within = place(none, least, 300).is_some();
                assert!(is_within || ranks.get(none).is_none(), "{none} from {least}");
            }
            assert_eq!(ranks.bytes(), Ranks::bytes_for(300));
        }
    }
}
