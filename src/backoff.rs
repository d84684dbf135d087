//! Waiting longer each time, and never all at the same moment.
//!
//! Pure but for its own random state. What must stay true: a wait is never zero and never longer than the longest.

use std::time::Duration;

/// Waits that double, each with jitter.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    random: fastrand::Rng,
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// From a second to five minutes: for what may pass by itself.
    pub(crate) fn new(seed: u64) -> Self {
        Self::between(Duration::from_secs(1), Duration::from_secs(300), seed)
    }

    /// From a minute to ten: for what a person must mend.
    pub(crate) fn slow(seed: u64) -> Self {
        Self::between(Duration::from_secs(60), Duration::from_secs(600), seed)
    }

    /// From `first` to `longest`.
    pub(crate) fn between(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), first, longest, tries: 0 }
    }

    /// How long to wait after one more failure: between a half and the whole of a span that doubles.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = doubled(self.first, self.tries, self.longest);
        self.tries = self.tries.saturating_add(1);
        whole.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// How many failures there were in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.tries
    }

    /// Begins anew after a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A span that was doubled so many times, and is never longer than the longest.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times.min(16))).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_with_jitter() {
        let mut backoff = Backoff::new(7);
        for whole in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0] {
            let wait = backoff.next().as_secs_f64();
            assert!((whole / 2.0..=whole).contains(&wait), "{wait} of {whole}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_secs(1));
    }
}
