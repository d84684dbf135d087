//! What happened in lives, in figures: that what is to be survived did happen.
//!
//! Counts, and judges nothing. What must stay true: of many lives it says the sum, or the most of any.

/// Figures of one life, or of many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) writes: u64,
    /// Writes that changed something in the world.
    pub(super) effects: u64,
    pub(super) disturbances: u64,
    pub(super) kills: u64,
    pub(super) events: u64,
    /// Writes that changed nothing since reads lagged behind.
    pub(super) useless_writes: u64,
    /// Denies that somebody put between the read and the write: IAM has no conditional write.
    pub(super) denies_erased: u64,
    /// Removals of policies under former names while somebody undid the new one after it was read.
    pub(super) successors_undone: u64,
    pub(super) removals: u64,
    /// Plans that were told as held.
    pub(super) held: u64,
    /// Plans that were carried out with approval.
    pub(super) approved: u64,
    pub(super) orphans: u64,
    pub(super) seconds: u64,
    pub(super) minutes_to_calm: u64,
    /// Writes of plans that held what fresh looks had proved.
    pub(super) proved: u64,
    /// Those of them that were several, or beyond the guards.
    pub(super) proved_several: u64,
    /// The most calls of one process within a minute.
    pub(super) most_calls: u64,
    /// The most often that a process was polled in one moment.
    pub(super) most_polls: u64,
    pub(super) longest: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            calls,
            writes,
            effects,
            disturbances,
            kills,
            events,
            useless_writes,
            denies_erased,
            successors_undone,
            removals,
            held,
            approved,
            orphans,
            seconds,
            minutes_to_calm,
            proved,
            proved_several,
            most_calls,
            most_polls,
            longest,
        } = other;
        self.calls += calls;
        self.writes += writes;
        self.effects += effects;
        self.disturbances += disturbances;
        self.kills += kills;
        self.events += events;
        self.useless_writes += useless_writes;
        self.denies_erased += denies_erased;
        self.successors_undone += successors_undone;
        self.removals += removals;
        self.held += held;
        self.approved += approved;
        self.orphans += orphans;
        self.seconds += seconds;
        self.minutes_to_calm += minutes_to_calm;
        self.proved += proved;
        self.proved_several += proved_several;
        self.most_calls = self.most_calls.max(*most_calls);
        self.most_polls = self.most_polls.max(*most_polls);
        self.longest = self.longest.max(*longest);
    }
}
