//! What has happened in lives of organisations, in numbers.
//!
//! Pure. What must stay true: a kind of trouble that an invariant is about is among what must have happened, for what never
//! happens proves nothing.

use std::ops::AddAssign;

/// What has happened in some lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) seconds: u64,
    pub(super) calls: u64,
    /// Writes that were asked for, and such as were answered by an error.
    pub(super) writes: u64,
    pub(super) failed_writes: u64,
    pub(super) effects: u64,
    /// Of these: what was right before, by another process or a lost answer.
    pub(super) in_vain: u64,
    /// What two processes have repaired for one cause.
    pub(super) twice: u64,
    /// What somebody had denied between a fresh read and the write that followed.
    pub(super) deny_in_between: u64,
    pub(super) by_people: u64,
    /// Writes of what a selector claims, and roles that were shown to be claimed by two that disagree.
    pub(super) claimed: u64,
    pub(super) conflicts: u64,
    /// Change events that were told, and such as were forged.
    pub(super) events: u64,
    pub(super) forged: u64,
    /// Queues that could not be read any more, of a process that was at work.
    pub(super) deafened: u64,
    /// Changes that were undone since they were heard of, although the next reading was far.
    pub(super) undone_soon: u64,
    pub(super) rescales: u64,
    pub(super) deaths: u64,
    /// Calls to an account that another process keeps too, and moments in which nobody kept one that is to be kept.
    pub(super) shared_calls: u64,
    pub(super) gaps: u64,
    /// Answers by an account that was not meant.
    pub(super) misled: u64,
    /// Plans that the guards bound: an hour's writes were as many as allowed.
    pub(super) bound: u64,
    pub(super) sick: u64,
    pub(super) longest_minutes: u64,
    pub(super) longest_healthy_seconds: u64,
    pub(super) most_calls: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.seconds, other.seconds),
            (&mut self.calls, other.calls),
            (&mut self.writes, other.writes),
            (&mut self.failed_writes, other.failed_writes),
            (&mut self.effects, other.effects),
            (&mut self.in_vain, other.in_vain),
            (&mut self.twice, other.twice),
            (&mut self.deny_in_between, other.deny_in_between),
            (&mut self.by_people, other.by_people),
            (&mut self.claimed, other.claimed),
            (&mut self.conflicts, other.conflicts),
            (&mut self.events, other.events),
            (&mut self.forged, other.forged),
            (&mut self.deafened, other.deafened),
            (&mut self.undone_soon, other.undone_soon),
            (&mut self.rescales, other.rescales),
            (&mut self.deaths, other.deaths),
            (&mut self.shared_calls, other.shared_calls),
            (&mut self.gaps, other.gaps),
            (&mut self.misled, other.misled),
            (&mut self.bound, other.bound),
            (&mut self.sick, other.sick),
        ];
        sums.into_iter().for_each(|(sum, more)| sum.add_assign(more));
        self.longest_minutes = self.longest_minutes.max(other.longest_minutes);
        self.longest_healthy_seconds = self.longest_healthy_seconds.max(other.longest_healthy_seconds);
        self.most_calls = self.most_calls.max(other.most_calls);
    }

    /// Whether everything has happened that the invariants are about.
    pub(super) fn is_telling(&self) -> bool {
        [
            self.twice,
            self.deny_in_between,
            self.bound,
            self.failed_writes,
            self.rescales,
            self.deaths,
            self.shared_calls,
            self.gaps,
            self.misled,
            self.sick,
            self.claimed,
            self.conflicts,
            self.events,
            self.forged,
            self.deafened,
            self.undone_soon,
        ]
        .iter()
        .all(|count| *count > 0)
    }
}
