//! The engine's only randomness: a generator that the caller seeds, so that a run can be repeated.

/// SplitMix64. For jitter and tie-breaks, never for secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prng(u64);

impl Prng {
    /// A generator; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: u64) -> Prng {
        Prng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, evenly spread to within n / 2^64; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(n);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Prng;

    /// The reference sequence of SplitMix64 for seed 0.
    #[test]
    fn gives_the_reference_sequence() {
        let mut prng = Prng::new(0);
        let first = [prng.next_u64(), prng.next_u64(), prng.next_u64()];
        assert_eq!(first, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    /// [T4] Jitter reaches all of its range and never leaves it.
    #[test]
    fn below_stays_below_and_spreads() {
        let mut prng = Prng::new(7);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(prng.below(10)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        assert_eq!(Prng::new(1).below(0), 0);
        assert_eq!(Prng::new(1).below(1), 0);
    }
}
