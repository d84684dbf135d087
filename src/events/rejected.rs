//! Which rejected messages are told, so that whoever can fill the queue cannot fill the log.
//!
//! Pure: the time is an argument. What must stay true: the first ones are told one by one, and of the others at least how
//! many they were.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// So many are told within [`WINDOW`].
const MOST: usize = 10;

const WINDOW: Duration = Duration::from_secs(600);

/// What was told, and what was not.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    told: VecDeque<Instant>,
    untold: u64,
}

impl Rejected {
    /// One more: whether to tell it, and if so how many were not told since the last that was.
    pub(super) fn one(&mut self, now: Instant) -> Option<u64> {
        while self.told.pop_front_if(|told| now.saturating_duration_since(*told) >= WINDOW).is_some() {}
        if self.told.len() >= MOST {
            self.untold += 1;
            return None;
        }
        self.told.push_back(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ten_in_ten_minutes_are_told_and_the_others_counted() {
        let (mut rejected, now) = (Rejected::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(rejected.one(now), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(rejected.one(now + WINDOW / 2), None);
        }
        assert_eq!(rejected.one(now + WINDOW), Some(3));
        assert_eq!(rejected.one(now + WINDOW), Some(0));
    }
}
