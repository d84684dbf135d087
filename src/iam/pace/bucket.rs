//! A token bucket whose rate is halved by a throttle and comes back slowly.
//!
//! Pure: the time is an argument, counted from any one moment. The tokens that the bucket lacks are kept as the moment at
//! which it will be full again. What must stay true: in no span are there more permits than the full rate yields in it, and
//! one burst.

use std::{collections::BTreeMap, time::Duration};

/// So many requests a second, and so many at once after a quiet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests a second, at least one.
    pub per_second: u32,
    /// Requests at once, at least one.
    pub burst: u32,
}

impl Budget {
    /// So many requests a second, and so many at once.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

/// The part of the full rate that comes back each second: from a half to the whole takes a hundred seconds.
const RECOVERY: f64 = 1.0 / 200.0;

/// What was taken from a bucket, and when: serves to tell it of a throttle, and to put it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    number: u64,
    halvings: u64,
}

/// Permits for requests, at a rate.
#[derive(Debug)]
pub(super) struct Bucket {
    full_rate: f64,
    least_rate: f64,
    /// A burst, but for its first permit, at the full rate. It is fixed in time: a slower bucket lets fewer out at once.
    tolerance: Duration,
    /// The rate just after it was last halved.
    rate: f64,
    since: Duration,
    full_at: Duration,
    taken: u64,
    halvings: u64,
    /// Tokens that may still be put back, and how much sooner the bucket would be full without each.
    held: BTreeMap<u64, Duration>,
}

impl Bucket {
    /// A full bucket, whose rate never falls under the least one.
    pub(super) fn new(budget: Budget, least_rate: f64) -> Self {
        let full_rate = f64::from(budget.per_second.max(1));
        Self {
            full_rate,
            least_rate: least_rate.min(full_rate),
            tolerance: Duration::from_secs_f64(f64::from(budget.burst.max(1) - 1) / full_rate),
            rate: full_rate,
            since: Duration::ZERO,
            full_at: Duration::ZERO,
            taken: 0,
            halvings: 0,
            held: BTreeMap::new(),
        }
    }

    /// Permits a second, now.
    pub(super) fn rate(&self, now: Duration) -> f64 {
        let recovered = self.full_rate * RECOVERY * now.saturating_sub(self.since).as_secs_f64();
        (self.rate + recovered).min(self.full_rate)
    }

    /// When a permit can be had, or since when.
    pub(super) fn ready_at(&self) -> Duration {
        self.full_at.saturating_sub(self.tolerance)
    }

    /// Takes a permit, which [`Bucket::ready_at`] has to allow.
    pub(super) fn take(&mut self, now: Duration) -> Token {
        let lead = self.full_at.saturating_sub(now);
        // What was not filled up by now would be missing no longer, had somebody not taken his token.
        self.held.values_mut().for_each(|sooner| *sooner = lead.min(*sooner));
        self.full_at = self.full_at.max(now) + self.cost(now);
        self.taken += 1;
        Token { number: self.taken, halvings: self.halvings }
    }

    /// Takes a permit that may be put back.
    pub(super) fn hold(&mut self, now: Duration) -> Token {
        let token = self.take(now);
        self.held.insert(token.number, self.cost(now));
        token
    }

    /// A permit that was held is used.
    pub(super) fn spend(&mut self, token: Token) {
        self.held.remove(&token.number);
    }

    /// A permit that was held will not be used: the bucket is as if it had never been taken.
    pub(super) fn put_back(&mut self, token: Token) {
        if let Some(sooner) = self.held.remove(&token.number) {
            self.full_at = self.full_at.saturating_sub(sooner);
        }
    }

    /// A request was throttled: the rate is halved, but once for all requests that had their permit before that.
    pub(super) fn throttled(&mut self, token: Token, now: Duration) {
        if token.halvings != self.halvings {
            return;
        }
        self.halvings += 1;
        self.rate = (self.rate(now) / 2.0).max(self.least_rate);
        self.since = now;
        // Nothing is left for a burst: the next permit is one span of the new rate away.
        self.full_at = self.full_at.max(now + self.tolerance + self.cost(now));
        self.held.clear();
    }

    /// What one permit takes at the rate of now.
    fn cost(&self, now: Duration) -> Duration {
        Duration::from_secs_f64(self.rate(now).recip())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn bucket(per_second: u32, burst: u32) -> Bucket {
        Bucket::new(Budget::new(per_second, burst), f64::from(per_second) / 20.0)
    }

    /// How many permits can be had in this moment.
    fn at_once(bucket: &mut Bucket, now: Duration) -> usize {
        let mut taken = 0;
        while bucket.ready_at() <= now {
            bucket.take(now);
            taken += 1;
        }
        taken
    }

    /// When the next so many permits can be had, by whoever waits for each.
    fn next(bucket: &mut Bucket, mut now: Duration, permits: usize) -> Vec<u128> {
        let next = |_| {
            now = now.max(bucket.ready_at());
            bucket.take(now);
            now.as_millis()
        };
        (0..permits).map(next).collect()
    }

    #[test]
    fn a_burst_is_let_out_at_once_and_then_one_at_a_time() {
        let mut bucket = bucket(10, 3);
        assert_eq!(next(&mut bucket, seconds(5), 6), [5_000, 5_000, 5_000, 5_100, 5_200, 5_300]);
        assert_eq!(at_once(&mut bucket, seconds(60)), 3, "a quiet time fills it, and no more than that");
    }

    #[test]
    fn a_throttle_halves_the_rate_down_to_the_least_and_leaves_no_burst() {
        let mut bucket = bucket(10, 5);
        let mut rates = Vec::new();
        for _ in 0..6 {
            let token = bucket.take(seconds(9));
            bucket.throttled(token, seconds(9));
            rates.push(bucket.rate(seconds(9)));
        }
        assert_eq!(rates, [5.0, 2.5, 1.25, 0.625, 0.5, 0.5]);
        assert!(bucket.ready_at() >= seconds(11));
    }

    #[test]
    fn throttles_of_requests_that_were_sent_before_the_halving_count_once() {
        let mut bucket = bucket(8, 8);
        let sent: Vec<Token> = (0..5).map(|_| bucket.take(seconds(1))).collect();
        for (late, token) in sent.into_iter().enumerate() {
            bucket.throttled(token, seconds(1) + millis(late as u64));
        }
        assert_eq!(bucket.halvings, 1);
        let token = bucket.take(seconds(2));
        bucket.throttled(token, seconds(2));
        assert_eq!(bucket.halvings, 2, "one that was sent after it counts again");
    }

    #[test]
    fn the_rate_comes_back_within_minutes_and_no_further() {
        let mut bucket = bucket(10, 5);
        let token = bucket.take(seconds(0));
        bucket.throttled(token, seconds(0));
        let rates = [0, 20, 60, 100, 1_000].map(|at| bucket.rate(seconds(at)));
        assert_eq!(rates, [5.0, 6.0, 8.0, 10.0, 10.0]);
    }

    #[test]
    fn what_is_put_back_in_time_can_be_had_again_and_what_has_filled_up_by_itself_cannot() {
        let mut bucket = bucket(1, 2);
        let held = bucket.hold(seconds(10));
        bucket.take(seconds(10));
        assert_eq!(bucket.ready_at(), seconds(11));
        bucket.put_back(held);
        assert_eq!(at_once(&mut bucket, seconds(10)), 1);

        let held = bucket.hold(seconds(20));
        assert_eq!(at_once(&mut bucket, seconds(30)), 2, "it was full again");
        bucket.put_back(held);
        assert_eq!(at_once(&mut bucket, seconds(30)), 0);

        let spent = bucket.hold(seconds(40));
        bucket.spend(spent);
        bucket.put_back(spent);
        assert_eq!(at_once(&mut bucket, seconds(40)), 1);
    }

    /// What befalls a bucket: time goes by, and then a permit is taken where there is one, or held, or put back, or throttled.
    #[derive(Debug, Clone, Copy)]
    enum Act {
        Take,
        Hold,
        PutBack,
        Throttle,
    }

    fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
        let act =
            prop_oneof![5 => Just(Act::Take), 2 => Just(Act::Hold), 2 => Just(Act::PutBack), 1 => Just(Act::Throttle)];
        prop::collection::vec((prop_oneof![Just(0_u64), 0..400_u64, 0..20_000_u64], act), 1..120)
    }

    proptest! {
        #[test]
        fn no_span_holds_more_permits_than_the_full_rate_yields_and_one_burst(
            per_second in 1_u32..30, burst in 1_u32..20, acts in acts(),
        ) {
            let mut bucket = bucket(per_second, burst);
            let (mut now, mut used, mut held, mut last) = (Duration::ZERO, Vec::new(), Vec::new(), None);
            for (gap, act) in acts {
                now += millis(gap);
                let is_ready = bucket.ready_at() <= now;
                match act {
                    Act::Take if is_ready => {
                        last = Some(bucket.take(now));
                        used.push(now);
                    }
                    Act::Hold if is_ready => held.push(bucket.hold(now)),
                    Act::PutBack => held.drain(..).for_each(|token| bucket.put_back(token)),
                    Act::Throttle => {
                        if let Some(token) = last {
                            bucket.throttled(token, now);
                        }
                    }
                    Act::Take | Act::Hold => {}
                }
                prop_assert!(bucket.rate(now) <= f64::from(per_second));
                prop_assert!(bucket.rate(now) >= f64::from(per_second) / 20.0);
            }
            for (first, from) in used.iter().enumerate() {
                for (last, until) in used.iter().enumerate().skip(first) {
                    let most = (*until - *from).as_secs_f64() * f64::from(per_second) + f64::from(burst);
                    // The moments are whole nanoseconds.
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6);
                }
            }
        }

        #[test]
        fn what_is_put_back_leaves_the_bucket_as_if_it_had_never_been_taken(
            before in 0_usize..4, gaps in prop::collection::vec(0..900_u64, 0..8),
        ) {
            let mut with = bucket(4, 30);
            let mut without = bucket(4, 30);
            let mut now = seconds(100);
            for _ in 0..before {
                with.take(now);
                without.take(now);
            }
            let held = with.hold(now);
            for gap in gaps {
                now += millis(gap);
                with.take(now);
                without.take(now);
            }
            with.put_back(held);
            prop_assert_eq!(with.full_at.max(now), without.full_at.max(now));
        }

        #[test]
        fn whoever_waits_gets_a_permit_within_one_span_of_the_least_rate(throttles in 0_usize..20, gap in 0..5_000_u64) {
            let mut bucket = bucket(10, 4);
            let mut now = seconds(1);
            for _ in 0..throttles {
                now = now.max(bucket.ready_at());
                let token = bucket.take(now);
                now += millis(gap);
                bucket.throttled(token, now);
            }
            prop_assert!(bucket.ready_at() <= now + seconds(2) + millis(1));
        }
    }
}
