//! The first of several writes: made alone, read back and found right before the rest go.
//!
//! Pure: the time is an argument. What must stay true: while a plan of several writes is unproven, no second write
//! begins; and one role whose write does not hold keeps the others waiting for a bounded time only.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::manifest::PolicyKey;

/// How long the rest wait where the first write was not found right. Then another role goes first, alone as well. With the
/// time that a write has to show it stays below the five minutes in which whatever grants too much is repaired.
pub(super) const ANOTHER_AFTER: Duration = Duration::from_secs(240);

/// The canary of the present plan.
#[derive(Debug, Default)]
pub(super) struct Canary {
    state: State,
    /// Those that were not found right, since one was: others go first where there are any.
    failed: BTreeSet<PolicyKey>,
    /// When another one goes first. One that fails again and again does not put it off.
    until: Option<Instant>,
}

#[derive(Debug, Default)]
enum State {
    /// Nothing has to go first: there is one write or none, or the first was found right.
    #[default]
    Done,
    /// Whoever comes next goes alone.
    Due,
    /// It is on its way: confirmed, written, or being read back.
    Out(PolicyKey),
    /// It was written, and was not found right. The rest wait until it is, or until another one goes first.
    Unproven(PolicyKey),
}

impl Canary {
    /// Takes in a new plan of so many writes.
    pub(super) fn plan(&mut self, writes: usize) {
        if matches!(self.state, State::Done | State::Due) && writes <= 1 {
            self.over();
        } else if matches!(self.state, State::Done) {
            self.state = State::Due;
        }
    }

    /// Newer manifests may well mend what kept the first write from showing: another one goes first at once.
    pub(super) fn plan_anew(&mut self) {
        if matches!(self.state, State::Unproven(_)) {
            (self.state, self.until) = (State::Due, None);
        }
    }

    /// How many writes may be under way at once, of at most `most`.
    pub(super) fn at_once(&mut self, most: usize, now: Instant) -> usize {
        if matches!(self.state, State::Unproven(_)) && self.until.is_none_or(|until| until <= now) {
            (self.state, self.until) = (State::Due, None);
        }
        match self.state {
            State::Done => most,
            State::Due => 1,
            State::Out(_) | State::Unproven(_) => 0,
        }
    }

    /// A write is on its way: the first one goes alone.
    pub(super) fn begins(&mut self, key: &PolicyKey) {
        if matches!(self.state, State::Due) || self.is(key) {
            self.state = State::Out(key.clone());
        }
    }

    /// Whether nothing waits for it, or it is still to be chosen.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the one that goes first is still to be chosen.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.state, State::Due)
    }

    /// The one that was not found right: it may be written again while the others wait.
    pub(super) fn unproven_key(&self) -> Option<&PolicyKey> {
        match &self.state {
            State::Unproven(key) => Some(key),
            _ => None,
        }
    }

    /// Whether this one was not found right, so that another should go first, if there is one.
    pub(super) fn has_failed(&self, key: &PolicyKey) -> bool {
        self.failed.contains(key)
    }

    /// Whether this policy is the one that went first.
    pub(super) fn is(&self, key: &PolicyKey) -> bool {
        matches!(&self.state, State::Out(out) | State::Unproven(out) if out == key)
    }

    /// The one on its way wrote nothing, so it proves nothing: the next one goes first.
    pub(super) fn wrote_nothing(&mut self, key: &PolicyKey) {
        if matches!(&self.state, State::Out(out) if out == key) {
            (self.state, self.until) = (State::Due, None);
        }
    }

    /// It was found right: the rest may go.
    pub(super) fn proven(&mut self, key: &PolicyKey) {
        if self.is(key) {
            self.over();
        }
    }

    /// It was read back and not found right. Says whether that is news: a reading may have shown it meanwhile.
    pub(super) fn unproven(&mut self, key: &PolicyKey, now: Instant) -> bool {
        let is_out = matches!(&self.state, State::Out(out) if out == key);
        if is_out {
            self.failed.insert(key.clone());
            self.until.get_or_insert(now + ANOTHER_AFTER);
            self.state = State::Unproven(key.clone());
        }
        is_out
    }

    /// When the rest need wait no longer, where they wait.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.until.filter(|_| matches!(self.state, State::Unproven(_)))
    }

    fn over(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(role: &str) -> PolicyKey {
        (role.parse().unwrap(), "Sessions".parse().unwrap())
    }

    /// It goes first, and is not found right.
    fn fails(canary: &mut Canary, key: &PolicyKey, now: Instant) {
        canary.begins(key);
        assert!(canary.unproven(key, now));
    }

    #[tokio::test]
    async fn one_that_fails_again_and_again_does_not_put_off_the_others() {
        let (mut canary, start) = (Canary::default(), Instant::now());
        canary.plan(3);
        for minute in 0..4 {
            fails(&mut canary, &key("fought"), start + Duration::from_secs(60 * minute));
        }
        assert_eq!(canary.waits_until(), Some(start + ANOTHER_AFTER));
        assert_eq!(canary.at_once(5, start + ANOTHER_AFTER - Duration::from_secs(1)), 0);
        assert_eq!(canary.at_once(5, start + ANOTHER_AFTER), 1);
        assert!(canary.is_due() && canary.has_failed(&key("fought")) && !canary.has_failed(&key("other")));
    }

    #[tokio::test]
    async fn the_next_one_that_fails_has_the_others_wait_as_long_and_all_are_remembered_until_one_is_right() {
        let (mut canary, start) = (Canary::default(), Instant::now());
        canary.plan(3);
        fails(&mut canary, &key("one"), start);
        let later = start + ANOTHER_AFTER;
        assert_eq!(canary.at_once(5, later), 1);
        fails(&mut canary, &key("two"), later);
        assert_eq!(canary.waits_until(), Some(later + ANOTHER_AFTER));
        assert!(canary.has_failed(&key("one")) && canary.has_failed(&key("two")));
        assert_eq!(canary.at_once(5, later + ANOTHER_AFTER), 1);
        canary.begins(&key("three"));
        canary.proven(&key("three"));
        assert!(canary.is_done() && !canary.has_failed(&key("one")));
    }
}
