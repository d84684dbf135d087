//! The first of several writes: made alone, read back and found right before the rest go.
//!
//! Pure: the time is an argument. What must stay true: while a plan of several writes is unproven, no second write
//! begins; and one role whose write does not hold keeps the others waiting for a bounded time only.

use std::time::Duration;

use tokio::time::Instant;

use crate::manifest::PolicyKey;

/// How long the rest wait where the first write was not found right. Then another role goes first, alone as well. With the
/// time that a write has to show it stays below the five minutes in which whatever grants too much is repaired.
pub(super) const ANOTHER_AFTER: Duration = Duration::from_secs(240);

/// Where the canary of the present plan is.
#[derive(Debug, Default)]
pub(super) enum Canary {
    /// Nothing has to go first: there is one write or none, or the first was found right.
    #[default]
    Done,
    /// Whoever comes next goes alone; not this one, if there is another, since it was not found right last time.
    Due(Option<PolicyKey>),
    /// It is on its way: confirmed, written, or being read back.
    Out(PolicyKey),
    /// It was written, and was not found right. The rest wait until it is, or until then.
    Unproven {
        /// The policy that went first.
        key: PolicyKey,
        /// When another one goes first.
        until: Instant,
    },
}

impl Canary {
    /// Takes in a new plan of so many writes.
    pub(super) fn plan(&mut self, writes: usize) {
        if matches!(self, Self::Done | Self::Due(_)) && writes <= 1 {
            *self = Self::Done;
        } else if matches!(self, Self::Done) {
            *self = Self::Due(None);
        }
    }

    /// Newer manifests may well mend what kept the first write from showing: another one goes first at once.
    pub(super) fn plan_anew(&mut self) {
        if let Self::Unproven { key, .. } = self {
            *self = Self::Due(Some(key.clone()));
        }
    }

    /// How many writes may be under way at once, of at most `most`.
    pub(super) fn at_once(&mut self, most: usize, now: Instant) -> usize {
        if let Self::Unproven { key, until } = self
            && *until <= now
        {
            *self = Self::Due(Some(key.clone()));
        }
        match self {
            Self::Done => most,
            Self::Due(_) => 1,
            Self::Out(_) | Self::Unproven { .. } => 0,
        }
    }

    /// A write is on its way: the first one goes alone.
    pub(super) fn begins(&mut self, key: &PolicyKey) {
        if matches!(self, Self::Due(_)) || self.is(key) {
            *self = Self::Out(key.clone());
        }
    }

    /// Whether nothing waits for it, or it is still to be chosen.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// The one that was not found right: it may be written again while the others wait.
    pub(super) fn unproven_key(&self) -> Option<&PolicyKey> {
        match self {
            Self::Unproven { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Whether another one should go first, if there is one.
    pub(super) fn is_not_to_be(&self, key: &PolicyKey) -> bool {
        matches!(self, Self::Due(Some(failed)) if failed == key)
    }

    /// Whether this policy is the one that went first.
    pub(super) fn is(&self, key: &PolicyKey) -> bool {
        matches!(self, Self::Out(out) | Self::Unproven { key: out, .. } if out == key)
    }

    /// The one on its way wrote nothing, so it proves nothing: the next one goes first.
    pub(super) fn wrote_nothing(&mut self, key: &PolicyKey) {
        if matches!(self, Self::Out(out) if out == key) {
            *self = Self::Due(None);
        }
    }

    /// It was found right: the rest may go.
    pub(super) fn proven(&mut self, key: &PolicyKey) {
        if self.is(key) {
            *self = Self::Done;
        }
    }

    /// It was read back and not found right. Says whether that is news: a reading may have shown it meanwhile.
    pub(super) fn unproven(&mut self, key: &PolicyKey, now: Instant) -> bool {
        let is_out = matches!(self, Self::Out(out) if out == key);
        if is_out {
            *self = Self::Unproven { key: key.clone(), until: now + ANOTHER_AFTER };
        }
        is_out
    }

    /// When the rest need wait no longer, where they wait.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        match self {
            Self::Unproven { until, .. } => Some(*until),
            _ => None,
        }
    }
}
