//! Who gets the next permit: the queue before the budgets of one account.
//!
//! Pure: the time is an argument. Each call needs a permit of its kind's budget and one of the account's. Where calls
//! compete, writes go before the reads that confirm them, and these before readings; within a class whoever came first goes
//! first. What must stay true: nobody waits for those of higher classes for longer than [`OVERDUE`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::bucket::{Bucket, Budget, Token};

/// Who has waited this long goes before all who came later, whatever they are for.
const OVERDUE: Duration = Duration::from_secs(10);

/// Kinds are never slower than this part of their full rate: else nobody would find out that the storm is over.
const LEAST_OF_FULL: f64 = 0.05;

/// The account as a whole is never slower than this: what throttles one kind of call must not starve the others.
const LEAST_OF_ACCOUNT: f64 = 4.0;

/// What kind of operation a call is: AWS counts them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Whole pages.
    Bulk,
    /// Reads of one role, or of one policy of it.
    Role,
    /// Reads of one managed policy.
    ManagedPolicy,
    /// Writes.
    Write,
    /// The policy simulator.
    Simulator,
}

/// What a call is for. The least goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A write.
    Write,
    /// A read that a write may follow from.
    Confirm,
    /// All else.
    Read,
}

/// Requests a second for one account: in all, and for each kind of operation. AWS publishes no figures; others have measured
/// about 15 a second for reads about one role, and all of these are under that. A burst is as much as the guards let happen
/// within an hour unless they are told otherwise (each repair is a fresh read and a write): what is more goes at the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// All calls together.
    pub account: Budget,
    /// Pages of bulk reads.
    pub bulk: Budget,
    /// Reads about one role.
    pub roles: Budget,
    /// Reads of managed policies, one by one.
    pub managed_policies: Budget,
    /// Writes.
    pub writes: Budget,
    /// Questions to the policy simulator.
    pub simulator: Budget,
}

impl Budgets {
    /// What all calls to an account may take together, where nobody says otherwise.
    pub const REQUESTS_PER_SECOND: u32 = 20;

    /// So many requests a second in all, at least one, shared among the kinds of operation as the usual ones are.
    #[must_use]
    pub fn of(requests_per_second: u32) -> Self {
        let part = |usual: u32| (usual.saturating_mul(requests_per_second) / Self::REQUESTS_PER_SECOND).max(1);
        let share = |usual: Budget| Budget::new(part(usual.per_second), part(usual.burst));
        let usual = Self::default();
        Self {
            account: share(usual.account),
            bulk: share(usual.bulk),
            roles: share(usual.roles),
            managed_policies: share(usual.managed_policies),
            writes: share(usual.writes),
            simulator: share(usual.simulator),
        }
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            account: Budget::new(Self::REQUESTS_PER_SECOND, 240),
            bulk: Budget::new(5, 20),
            roles: Budget::new(10, 110),
            managed_policies: Budget::new(10, 20),
            writes: Budget::new(10, 100),
            simulator: Budget::new(5, 5),
        }
    }
}

/// A permit for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permit {
    kind: Kind,
    of_kind: Token,
    of_account: Token,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct Waiting {
    kind: Kind,
    class: Class,
    since: Duration,
}

/// The budgets of one account, and who waits for them.
#[derive(Debug)]
pub(super) struct Gate {
    account: Bucket,
    kinds: BTreeMap<Kind, Bucket>,
    waiting: BTreeMap<Ticket, Waiting>,
    tickets: u64,
}

impl Gate {
    pub(super) fn new(budgets: &Budgets) -> Self {
        let of_kind = [
            (Kind::Bulk, budgets.bulk),
            (Kind::Role, budgets.roles),
            (Kind::ManagedPolicy, budgets.managed_policies),
            (Kind::Write, budgets.writes),
            (Kind::Simulator, budgets.simulator),
        ];
        let bucket = |budget: Budget| Bucket::new(budget, f64::from(budget.per_second) * LEAST_OF_FULL);
        Self {
            account: Bucket::new(budgets.account, LEAST_OF_ACCOUNT),
            kinds: of_kind.into_iter().map(|(kind, budget)| (kind, bucket(budget))).collect(),
            waiting: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// Takes a place at the end of the queue of a class.
    pub(super) fn queue(&mut self, kind: Kind, class: Class, now: Duration) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, Waiting { kind, class, since: now });
        ticket
    }

    /// Gives a place up.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// The permit of whoever holds this place, if it is his turn: then the place is given up. Else when to ask again at the
    /// latest; where somebody else goes first his permit or leave changes the queue before, and `None` is a place that was
    /// given up or that nothing else can help.
    pub(super) fn ask(&mut self, ticket: Ticket, now: Duration) -> Result<Permit, Option<Duration>> {
        let Some(waiting) = self.waiting.get(&ticket) else { return Err(None) };
        let (kind, class, ready_at) = (waiting.kind, waiting.class, self.ready_at(waiting.kind));
        if ready_at > now {
            return Err(Some(ready_at));
        }
        if self.first(now) != Some(ticket) {
            // Whoever becomes overdue may go from then on, and nothing but the time tells him.
            return Err(Some(waiting.since + OVERDUE).filter(|overdue| *overdue > now));
        }
        self.waiting.remove(&ticket);
        let is_held = class == Class::Write;
        let take = |bucket: &mut Bucket| if is_held { bucket.hold(now) } else { bucket.take(now) };
        let Some(bucket) = self.kinds.get_mut(&kind) else { return Err(None) };
        Ok(Permit { kind, of_kind: take(bucket), of_account: take(&mut self.account) })
    }

    /// A permit to write is used.
    pub(super) fn spend(&mut self, permit: Permit) {
        self.account.spend(permit.of_account);
        if let Some(bucket) = self.kinds.get_mut(&permit.kind) {
            bucket.spend(permit.of_kind);
        }
    }

    /// A permit to write will not be used.
    pub(super) fn put_back(&mut self, permit: Permit) {
        self.account.put_back(permit.of_account);
        if let Some(bucket) = self.kinds.get_mut(&permit.kind) {
            bucket.put_back(permit.of_kind);
        }
    }

    /// The call of this permit was throttled. IAM does not say whether by what all calls of the account may take, or by what
    /// those of its kind may.
    pub(super) fn throttled(&mut self, permit: Permit, now: Duration) {
        self.account.throttled(permit.of_account, now);
        if let Some(bucket) = self.kinds.get_mut(&permit.kind) {
            bucket.throttled(permit.of_kind, now);
        }
    }

    fn ready_at(&self, kind: Kind) -> Duration {
        let of_kind = self.kinds.get(&kind).map_or(Duration::ZERO, Bucket::ready_at);
        of_kind.max(self.account.ready_at())
    }

    /// Whose turn it is now.
    fn first(&self, now: Duration) -> Option<Ticket> {
        let ready: BTreeSet<Kind> = self.kinds.keys().copied().filter(|kind| self.ready_at(*kind) <= now).collect();
        let rank = |(ticket, waiting): (&Ticket, &Waiting)| {
            let is_overdue = now.saturating_sub(waiting.since) >= OVERDUE;
            ((!is_overdue).then_some(waiting.class), *ticket)
        };
        let may_go = self.waiting.iter().filter(|(_, waiting)| ready.contains(&waiting.kind));
        may_go.map(rank).min().map(|(_, ticket)| ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One call at a time, one a second.
    fn narrow() -> Gate {
        let one = Budget::new(1, 1);
        let wide = Budget::new(100, 100);
        Gate::new(&Budgets {
            account: one,
            bulk: wide,
            roles: wide,
            managed_policies: wide,
            writes: wide,
            simulator: wide,
        })
    }

    /// Who of these gets his permit, second by second.
    fn order(gate: &mut Gate, tickets: &[(char, Ticket)], from: Duration, seconds: u32) -> String {
        let mut order = String::new();
        for second in 0..seconds {
            let now = from + SECOND * second;
            for (name, ticket) in tickets {
                if gate.ask(*ticket, now).is_ok() {
                    order.push(*name);
                }
            }
        }
        order
    }

    #[test]
    fn budgets_of_another_rate_have_the_shares_of_the_usual_ones_and_let_something_of_each_kind_through() {
        assert_eq!(Budgets::of(Budgets::REQUESTS_PER_SECOND), Budgets::default());
        let twice = Budgets::of(40);
        assert_eq!(
            (twice.account, twice.writes, twice.bulk),
            (Budget::new(40, 480), Budget::new(20, 200), Budget::new(10, 40))
        );
        for few in [0, 1] {
            let least = Budgets::of(few);
            assert_eq!((least.account.per_second, least.writes.per_second, least.simulator), (1, 1, Budget::new(1, 1)));
        }
        assert!(Budgets::of(u32::MAX).account.per_second > 1_000_000);
    }

    #[test]
    fn writes_go_before_confirming_reads_and_these_before_readings_each_in_the_order_in_which_they_came() {
        let mut gate = narrow();
        let mut place = |name, kind, class| (name, gate.queue(kind, class, SECOND));
        let tickets = [
            place('r', Kind::Bulk, Class::Read),
            place('c', Kind::Role, Class::Confirm),
            place('w', Kind::Write, Class::Write),
            place('s', Kind::Role, Class::Read),
            place('d', Kind::Role, Class::Confirm),
            place('x', Kind::Write, Class::Write),
        ];
        assert_eq!(order(&mut gate, &tickets, SECOND, 6), "wxcdrs");
    }

    #[test]
    fn a_kind_that_has_to_wait_holds_up_no_other() {
        let mut gate = Gate::new(&Budgets { writes: Budget::new(1, 1), ..Budgets::default() });
        let first = gate.queue(Kind::Write, Class::Write, SECOND);
        let second = gate.queue(Kind::Write, Class::Write, SECOND);
        let read = gate.queue(Kind::Bulk, Class::Read, SECOND);
        assert!(gate.ask(first, SECOND).is_ok());
        assert_eq!(gate.ask(second, SECOND), Err(Some(SECOND * 2)));
        assert!(gate.ask(read, SECOND).is_ok());
    }

    #[test]
    fn a_reading_is_not_put_off_for_ever_by_repairs() {
        let mut gate = narrow();
        let reading = gate.queue(Kind::Bulk, Class::Read, Duration::ZERO);
        let tickets: Vec<_> = (0..20).map(|_| gate.queue(Kind::Write, Class::Write, Duration::ZERO)).collect();
        let mut waited = Duration::ZERO;
        for now in (0..30).map(|second| SECOND * second) {
            for ticket in &tickets {
                let _ = gate.ask(*ticket, now);
            }
            if gate.ask(reading, now).is_ok() {
                waited = now;
            }
            // Others come all the time.
            gate.queue(Kind::Write, Class::Write, now);
        }
        assert_eq!(waited, OVERDUE);
    }

    #[test]
    fn whoever_does_not_go_first_is_told_when_he_will_be_overdue() {
        let mut gate = narrow();
        let reading = gate.queue(Kind::Bulk, Class::Read, SECOND);
        gate.queue(Kind::Write, Class::Write, SECOND);
        assert_eq!(gate.ask(reading, 2 * SECOND), Err(Some(SECOND + OVERDUE)));
        assert!(gate.ask(reading, SECOND + OVERDUE).is_ok(), "it came first");
    }

    #[test]
    fn whoever_leaves_makes_room() {
        let mut gate = narrow();
        let (first, second) =
            (gate.queue(Kind::Role, Class::Read, SECOND), gate.queue(Kind::Role, Class::Read, SECOND));
        assert_eq!(gate.ask(second, SECOND), Err(Some(SECOND + OVERDUE)), "somebody goes first");
        gate.leave(first);
        assert!(gate.ask(second, SECOND).is_ok());
        assert!(gate.waiting.is_empty());
    }

    #[test]
    fn a_storm_on_one_kind_leaves_the_account_room_for_the_others() {
        let mut gate = Gate::new(&Budgets::default());
        let mut now = SECOND;
        for _ in 0..20 {
            let ticket = gate.queue(Kind::Bulk, Class::Read, now);
            now = now.max(gate.ready_at(Kind::Bulk));
            let permit = gate.ask(ticket, now).unwrap();
            gate.throttled(permit, now);
        }
        assert!(gate.kinds[&Kind::Bulk].rate(now) < 0.5);
        assert!(gate.account.rate(now) >= LEAST_OF_ACCOUNT);
        assert_eq!(gate.kinds[&Kind::Write].rate(now), 10.0);
    }
}
