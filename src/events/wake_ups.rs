//! When a role is woken by what was heard: at once, but not again and again.
//!
//! Pure: the time is an argument. What must stay true: what was heard leads to a wake-up in the end (what is too much is
//! merged, and what is far too much becomes a reading of everything), and neither a storm of events nor a forger of them
//! makes more wake-ups than the bounds here.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::heard::Change;
use crate::names::RoleName;

/// The least time between two wake-ups of a role.
const SAME_ROLE: Duration = Duration::from_secs(5);

/// So many roles of an account are woken within [`WINDOW`]: each costs a fresh look.
const MOST_ROLES: usize = 60;

/// The time over which [`MOST_ROLES`] counts, and the least time between two readings of everything.
const WINDOW: Duration = Duration::from_secs(60);

/// If so many roles wait, one reading of everything is cheaper than to look at each.
const MOST_WAITING: usize = 120;

/// So many changes of a role are kept to be told; of the others only how many they were.
const MOST_CHANGES: usize = 5;

/// What waits to be woken in one account.
#[derive(Debug, Default)]
pub struct WakeUps {
    waiting: BTreeMap<RoleName, Waiting>,
    /// The roles that wait, by when they are due.
    order: BTreeSet<(Instant, RoleName)>,
    /// Which roles were woken within [`SAME_ROLE`].
    woken: BTreeMap<RoleName, Instant>,
    /// When roles were woken within [`WINDOW`].
    spent: VecDeque<Instant>,
    everything: bool,
    last_everything: Option<Instant>,
}

#[derive(Debug, Default)]
struct Waiting {
    changes: Vec<Change>,
    further: usize,
}

/// A role that is to be looked at now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeUp {
    /// The role.
    pub role: RoleName,
    /// What was heard of it, in the order in which it came: for people, and never a ground for a decision.
    pub changes: Vec<Change>,
    /// How many changes more were heard of, and are not kept.
    pub further: usize,
}

/// What is to be done now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// The roles to look at, or, where everything is to be read, those that were heard of.
    pub roles: Vec<WakeUp>,
    /// Whether everything is to be read: more was heard of than is worth a look at each.
    pub everything: bool,
}

impl WakeUps {
    /// A change of the role was heard of.
    pub fn heard(&mut self, role: RoleName, change: &Change, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&role) {
            waiting.add(change);
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.everything = true;
            return;
        }
        let due = self.woken.get(&role).map_or(now, |woken| now.max(*woken + SAME_ROLE));
        let mut waiting = Waiting::default();
        waiting.add(change);
        self.order.insert((due, role.clone()));
        self.waiting.insert(role, waiting);
    }

    /// More was heard of than could be kept.
    pub fn lost_some(&mut self) {
        self.everything = true;
    }

    /// Takes out what is due.
    pub fn take(&mut self, now: Instant) -> Due {
        self.woken.retain(|_, woken| now.saturating_duration_since(*woken) < SAME_ROLE);
        while self.spent.pop_front_if(|spent| now.saturating_duration_since(*spent) >= WINDOW).is_some() {}
        let mut due = Due::default();
        if self.everything && self.everything_from(now) <= now {
            (self.everything, self.last_everything, due.everything) = (false, Some(now), true);
            self.order.clear();
            for (role, waiting) in std::mem::take(&mut self.waiting) {
                self.woken.insert(role.clone(), now);
                due.roles.push(waiting.into_wake_up(role));
            }
            return due;
        }
        while self.spent.len() < MOST_ROLES
            && self.order.first().is_some_and(|(due, _)| *due <= now)
            && let Some((_, role)) = self.order.pop_first()
        {
            if let Some(waiting) = self.waiting.remove(&role) {
                self.spent.push_back(now);
                self.woken.insert(role.clone(), now);
                due.roles.push(waiting.into_wake_up(role));
            }
        }
        due
    }

    /// When something is due next.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let freed = self.spent.front().filter(|_| self.spent.len() >= MOST_ROLES).map(|spent| *spent + WINDOW);
        let role = self.order.first().map(|(due, _)| freed.map_or(*due, |freed| freed.max(*due)));
        let everything = self.everything.then(|| self.everything_from(now));
        role.into_iter().chain(everything).min()
    }

    fn everything_from(&self, now: Instant) -> Instant {
        self.last_everything.map_or(now, |last| last + WINDOW)
    }
}

impl Waiting {
    fn add(&mut self, change: &Change) {
        // The same event may come twice.
        if self.changes.contains(change) {
            return;
        }
        if self.changes.len() < MOST_CHANGES {
            self.changes.push(change.clone());
        } else {
            self.further += 1;
        }
    }

    fn into_wake_up(self, role: RoleName) -> WakeUp {
        WakeUp { role, changes: self.changes, further: self.further }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events::heard::{Claimed, Subject};

    fn role(number: usize) -> RoleName {
        format!("role-{number}").parse().unwrap()
    }

    fn change(number: usize, who: &str) -> Change {
        Change {
            subject: Subject::Role(role(number)),
            call: "PutRolePolicy".to_owned(),
            policy: None,
            claimed: Claimed { who: Some(who.to_owned()), ..Claimed::default() },
        }
    }

    fn heard(wake_ups: &mut WakeUps, number: usize, now: Instant) {
        wake_ups.heard(role(number), &change(number, "somebody"), now);
    }

    fn names(due: &Due) -> Vec<&str> {
        due.roles.iter().map(|wake_up| wake_up.role.as_str()).collect()
    }

    #[test]
    fn the_first_event_of_a_role_wakes_it_at_once_and_the_next_ones_wait_together() {
        let (mut wake_ups, now) = (WakeUps::default(), Instant::now());
        heard(&mut wake_ups, 1, now);
        assert_eq!(wake_ups.next(now), Some(now));
        assert_eq!(names(&wake_ups.take(now)), ["role-1"]);
        assert_eq!(wake_ups.next(now), None);
        let second = Duration::from_secs(1);
        for _ in 0..3 {
            heard(&mut wake_ups, 1, now + second);
        }
        // Another role does not wait for it; names are compared ignoring case.
        wake_ups.heard("ROLE-1".parse().unwrap(), &change(1, "another"), now + second);
        heard(&mut wake_ups, 2, now + second);
        assert_eq!(names(&wake_ups.take(now + second)), ["role-2"]);
        assert_eq!(wake_ups.next(now + second), Some(now + SAME_ROLE));
        let due = wake_ups.take(now + SAME_ROLE);
        let told: Vec<_> = due.roles[0].changes.iter().map(|change| change.claimed.who.as_deref().unwrap()).collect();
        assert_eq!((names(&due), told), (vec!["role-1"], vec!["somebody", "another"]));
    }

    #[test]
    fn of_many_changes_the_first_are_told_and_the_rest_counted() {
        let (mut wake_ups, now) = (WakeUps::default(), Instant::now());
        for who in 0..MOST_CHANGES + 7 {
            wake_ups.heard(role(1), &change(1, &who.to_string()), now);
        }
        let due = wake_ups.take(now);
        assert_eq!((due.roles[0].changes.len(), due.roles[0].further), (MOST_CHANGES, 7));
    }

    #[test]
    fn an_account_has_a_bounded_number_of_wake_ups_a_minute_and_the_rest_follow() {
        let (mut wake_ups, now) = (WakeUps::default(), Instant::now());
        for number in 0..MOST_ROLES + 5 {
            heard(&mut wake_ups, number, now);
        }
        assert_eq!(wake_ups.take(now).roles.len(), MOST_ROLES);
        assert_eq!(wake_ups.next(now), Some(now + WINDOW));
        assert_eq!(wake_ups.take(now + WINDOW - Duration::from_millis(1)), Due::default());
        assert_eq!(wake_ups.take(now + WINDOW).roles.len(), 5);
        assert_eq!(wake_ups.next(now + WINDOW), None);
    }

    #[test]
    fn a_storm_becomes_one_reading_of_everything_a_minute() {
        let (mut wake_ups, now) = (WakeUps::default(), Instant::now());
        for number in 0..10 * MOST_WAITING {
            heard(&mut wake_ups, number, now);
        }
        let due = wake_ups.take(now);
        assert_eq!((due.everything, due.roles.len(), wake_ups.next(now)), (true, MOST_WAITING, None));
        wake_ups.lost_some();
        assert_eq!(wake_ups.next(now), Some(now + WINDOW));
        assert_eq!(wake_ups.take(now), Due::default());
        assert!(wake_ups.take(now + WINDOW).everything);
    }

    proptest! {
        /// Random hearings; then the loop wakes whenever it is told to, until nothing is due any more.
        #[test]
        fn nothing_that_was_heard_is_lost_and_no_bound_is_exceeded(
            steps in prop::collection::vec((0_usize..200, 0_u64..3_000), 1..600)
        ) {
            let (mut wake_ups, mut now) = (WakeUps::default(), Instant::now());
            // When each role was heard of last, and not looked at since.
            let mut open: BTreeMap<RoleName, Instant> = BTreeMap::new();
            let mut woken: BTreeMap<RoleName, Instant> = BTreeMap::new();
            let (mut roles, mut readings): (Vec<Instant>, Vec<Instant>) = (Vec::new(), Vec::new());
            let mut steps = steps.into_iter();
            loop {
                let next = wake_ups.next(now);
                let Some((number, millis)) = steps.next() else {
                    let Some(next) = next else { break };
                    now = now.max(next);
                    check(&wake_ups.take(now), now, &mut open, &mut woken, &mut roles, &mut readings)?;
                    prop_assert!(wake_ups.next(now).is_none_or(|next| next > now), "a loop would spin");
                    continue;
                };
                now += Duration::from_millis(millis);
                open.insert(role(number), now);
                heard(&mut wake_ups, number, now);
                prop_assert!(wake_ups.waiting.len() <= MOST_WAITING);
                prop_assert_eq!(wake_ups.waiting.len(), wake_ups.order.len());
                // Now and then the loop is busy for a while.
                if number % 3 != 0 {
                    check(&wake_ups.take(now), now, &mut open, &mut woken, &mut roles, &mut readings)?;
                }
            }
            prop_assert!(open.is_empty(), "never looked at: {open:?}");
        }
    }

    fn check(
        due: &Due,
        now: Instant,
        open: &mut BTreeMap<RoleName, Instant>,
        woken: &mut BTreeMap<RoleName, Instant>,
        roles: &mut Vec<Instant>,
        readings: &mut Vec<Instant>,
    ) -> Result<(), TestCaseError> {
        if due.everything {
            prop_assert!(readings.last().is_none_or(|last| now >= *last + WINDOW));
            readings.push(now);
            open.clear();
            return Ok(());
        }
        for wake_up in &due.roles {
            prop_assert!(open.remove(&wake_up.role).is_some(), "woken for nothing");
            let before = woken.insert(wake_up.role.clone(), now);
            prop_assert!(before.is_none_or(|before| now >= before + SAME_ROLE));
            roles.push(now);
        }
        let within = roles.iter().filter(|then| now < **then + WINDOW).count();
        prop_assert!(within <= MOST_ROLES, "{within} within a minute");
        Ok(())
    }
}
