//! How many policies stand how: what metrics are made of.
//!
//! Pure. What must stay true: no name of a role is in it, so that the number of series is bounded by the accounts.

use std::collections::BTreeMap;

use crate::{
    manifest::{Mode, State},
    plan::{Action, Step},
    policy::compare::Drift,
    readiness::{Cause, Status},
};

/// How a policy stands beside its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Synced {
    /// As its manifest wants it.
    InSync,
    /// It departs in this way.
    Drifted(Drift),
    /// Nobody can say, or has looked yet.
    Unknown,
}

impl Synced {
    pub(crate) const ALL: [Self; 6] = [
        Self::InSync,
        Self::Drifted(Drift::Missing),
        Self::Drifted(Drift::Narrowed),
        Self::Drifted(Drift::Widened),
        Self::Drifted(Drift::Altered),
        Self::Unknown,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Drifted(drift) => drift.as_str(),
            Self::Unknown => "unknown",
        }
    }

    fn of(step: &Step) -> Self {
        match step.drift {
            Some(drift) if step.has_drifted() => Self::Drifted(drift),
            _ if step.action == Action::Blocked => Self::Unknown,
            _ => Self::InSync,
        }
    }
}

/// One account's policies in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By how they stand and by mode. What is suspended is in none of them.
    pub(crate) synced: BTreeMap<(Synced, Mode), u64>,
    /// What must not or cannot be written, by reason.
    pub(crate) blocked: BTreeMap<&'static str, u64>,
    /// Would sessions work, where the manifest asks for that.
    pub(crate) sessions: BTreeMap<Status, u64>,
    /// What a manifest, a tag or the kill switch has left alone.
    pub(crate) suspended: u64,
}

impl Counts {
    /// Takes in one policy: its last verdict, or none.
    pub(crate) fn add(&mut self, step: Option<&Step>, mode: Mode) {
        let Some(step) = step else {
            *self.synced.entry((Synced::Unknown, mode)).or_default() += 1;
            *self.sessions.entry(Status::Unknown).or_default() += 1;
            return;
        };
        if step.is_suspended() {
            self.suspended += 1;
            return;
        }
        *self.synced.entry((Synced::of(step), step.mode)).or_default() += 1;
        // A write that has a reason is one that has failed, and waits for its next try.
        if (step.action == Action::Blocked || step.is_a_write())
            && let Some(reason) = step.reason
        {
            *self.blocked.entry(reason.as_str()).or_default() += 1;
        }
        let session = step.session.as_ref().map(|session| (session.status, session.cause));
        if step.state == State::Present && session.is_none_or(|(_, cause)| cause != Cause::NotApplicable) {
            *self.sessions.entry(session.map_or(Status::Unknown, |(status, _)| status)).or_default() += 1;
        }
    }

    /// How many policies are managed.
    pub(crate) fn total(&self) -> u64 {
        self.synced.values().sum::<u64>() + self.suspended
    }

    /// How many of them stand so.
    pub(crate) fn of(&self, wanted: Synced) -> u64 {
        self.synced.iter().filter(|((synced, _), _)| *synced == wanted).map(|(_, count)| count).sum()
    }
}
