//! Who else writes a policy: how often a repair was undone, and how long the next one waits.
//!
//! Pure: the time is an argument. What must stay true: what grants more than it should is never left so for longer than
//! [`LONGEST_WIDENED`] for this reason, and a fight that is over is forgotten.

use std::time::Duration;

use tokio::time::Instant;

use crate::{backoff::doubled, policy::compare::Drift, text::span};

/// So many repairs in a row, each undone, are a fight.
const A_FIGHT: u32 = 3;

/// After so long in sync nobody else writes any more.
pub(super) const CALM: Duration = Duration::from_secs(30 * 60);

/// The first wait, and the longest ones: for what is missing, and for what grants too much.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(30 * 60);
const LONGEST_WIDENED: Duration = Duration::from_secs(5 * 60);

/// The repairs of one policy that were each undone by somebody else.
#[derive(Debug, Clone, Default)]
pub(super) struct Contention {
    repairs: u32,
    first: Option<Instant>,
    last: Option<Instant>,
    /// Since when the policy has been in sync, where it was repaired before.
    calm_since: Option<Instant>,
}

impl Contention {
    /// A write of ours took effect.
    pub(super) fn repaired(&mut self, now: Instant) {
        self.repairs = self.repairs.saturating_add(1);
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.calm_since = Some(now);
    }

    /// The policy was seen to be in sync, or to have drifted.
    pub(super) fn seen(&mut self, in_sync: bool, now: Instant) {
        self.forget(now);
        if !in_sync {
            self.calm_since = None;
        } else if self.repairs > 0 {
            self.calm_since.get_or_insert(now);
        }
    }

    /// Forgets a fight that is over. Says whether there is none.
    pub(super) fn forget(&mut self, now: Instant) -> bool {
        if self.is_calm(now) {
            *self = Self::default();
        }
        self.repairs == 0
    }

    /// Whether nothing is remembered, or nothing that would still count when the policy is seen the next time.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.repairs == 0 || self.is_calm(now) && !self.is_a_fight()
    }

    fn is_calm(&self, now: Instant) -> bool {
        self.calm_since.is_some_and(|since| now.duration_since(since) >= CALM)
    }

    /// Whether so many repairs in a row were undone that somebody else writes the policy too.
    pub(super) fn is_a_fight(&self) -> bool {
        self.repairs >= A_FIGHT
    }

    /// Until when the repair of this drift waits, where it has to.
    pub(super) fn holds(&self, drift: Option<Drift>, now: Instant) -> Option<Instant> {
        let rounds = self.repairs.checked_sub(A_FIGHT)?;
        let longest = match drift {
            Some(Drift::Widened | Drift::Altered) => LONGEST_WIDENED,
            _ => LONGEST,
        };
        Some(self.last? + doubled(FIRST, rounds, longest)).filter(|due| *due > now)
    }

    /// How often, and when the next repair comes.
    pub(super) fn in_words(&self, due: Instant, now: Instant) -> String {
        let within = self.first.map(|first| now.duration_since(first)).unwrap_or_default();
        format!(
            "repaired {} times in the last {}, and undone each time; the next repair comes in {}",
            self.repairs,
            span(within),
            span(due.saturating_duration_since(now))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fight(rounds: u32, drift: Drift) -> Vec<u64> {
        let mut contention = Contention::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..rounds {
            contention.repaired(now);
            let seen = now + Duration::from_secs(1);
            contention.seen(false, seen);
            let due = contention.holds(Some(drift), seen).unwrap_or(seen);
            waits.push(due.duration_since(now).as_secs());
            now = due;
        }
        waits
    }

    #[tokio::test]
    async fn repairs_of_what_is_missing_wait_longer_each_time() {
        assert_eq!(fight(9, Drift::Missing), [1, 1, 60, 120, 240, 480, 960, 1800, 1800]);
    }

    #[tokio::test]
    async fn what_grants_too_much_is_repaired_every_five_minutes_at_least() {
        assert_eq!(fight(8, Drift::Widened), [1, 1, 60, 120, 240, 300, 300, 300]);
    }

    #[tokio::test]
    async fn half_an_hour_in_sync_ends_a_fight() {
        let mut contention = Contention::default();
        let start = Instant::now();
        for round in 0..4 {
            contention.repaired(start + FIRST * round);
        }
        assert!(!contention.forget(start + FIRST * 3 + CALM - Duration::from_secs(1)));
        assert!(contention.forget(start + FIRST * 3 + CALM));
    }
}
