//! The election, as a machine: what the store answers goes in, what is to be asked of it next comes out, and until when this
//! process may write.
//!
//! Pure: the time is an argument. What must stay true: see the room's own page ([`super`]); and a record is only ever
//! replaced in the version that was seen, so that of two who try at once one fails.
//!
//! Source: client-go, package leaderelection, for the terms and their meaning. Departing from it: the holder's time runs
//! from the sending of a renewal and not from its answer; whoever makes a lease where there is none holds it for as long as one
//! lasts before it leads, since somebody may have removed one from under a holder; one that names nobody is left alone like any
//! other; and whoever resigns leaves a short lease behind, not none.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Tenure;

/// How long things last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long a record has to stand unchanged before another process may take the lease.
    pub duration: Duration,
    /// How long after the sending of its last successful renewal the holder may write.
    pub renew_within: Duration,
    /// The time between two tries.
    pub retry: Duration,
    /// How long an answer is waited for.
    pub answer_within: Duration,
    /// What whoever resigns leaves to whatever it may still have on its way.
    pub left_behind: Duration,
}

impl Default for Terms {
    /// Those of Kubernetes' own controllers.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_within: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            answer_within: Duration::from_secs(3),
            left_behind: Duration::from_secs(5),
        }
    }
}

/// A moment, by both clocks that a machine has: the steady one may stand still while the machine sleeps, the other one can be
/// set.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the clock that nobody sets.
    pub steady: Instant,
    /// By the clock on the wall.
    pub wall: SystemTime,
}

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// How long ago an earlier moment was at most: the longer of what the clocks say. One that was set back since then says
    /// nothing, and it may have been long.
    #[must_use]
    pub fn at_most_since(self, earlier: Self) -> Duration {
        let by_wall = self.wall.duration_since(earlier.wall).unwrap_or(Duration::MAX);
        self.steady.duration_since(earlier.steady).max(by_wall)
    }

    /// How long ago an earlier moment was at least: what the steady clock says, which never runs ahead.
    #[must_use]
    pub fn at_least_since(self, earlier: Self) -> Duration {
        self.steady.duration_since(earlier.steady)
    }
}

/// What a lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The identity of whoever holds it.
    pub holder: String,
    /// How long it is to be left alone once it is seen unchanged.
    pub duration: Duration,
    /// How often it has passed from one to another.
    pub transitions: u32,
}

/// A record as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it says.
    pub record: Record,
    /// The store's name for this state of it: another one after each change.
    pub version: String,
}

/// What is asked of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// What it holds.
    Look,
    /// To keep this, if it holds nothing.
    Create(Record),
    /// To keep this in place of that version, and of no other.
    Replace {
        /// What is to stand there.
        record: Record,
        /// The version that it was made from.
        version: String,
    },
}

/// What the store answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It holds this: what was found, or what was just written.
    Holds(Stored),
    /// It holds nothing.
    HoldsNothing,
    /// Somebody else was quicker: nothing was written.
    Conflict,
    /// Nobody knows.
    Failed(Failure),
}

/// Why a store gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened, as one line.
    pub message: String,
    /// The next step for a person.
    pub hint: String,
    /// Whether it will not pass by itself.
    pub needs_a_person: bool,
}

/// What is known of the store's record, and since when it has been so.
#[derive(Debug)]
struct Seen {
    stored: Option<Stored>,
    since: Moment,
}

/// A record that names this process.
#[derive(Debug, Clone, Copy)]
struct Hold {
    /// When it was first seen.
    since: Moment,
    /// Whether nobody else can still be at work under an earlier lease.
    is_proven: bool,
}

/// One process's part in the election.
#[derive(Debug)]
pub struct Election {
    identity: String,
    terms: Terms,
    random: fastrand::Rng,
    seen: Option<Seen>,
    /// Whether the record may have changed since: a write has failed, and may have landed all the same.
    is_doubtful: bool,
    /// As long as what was seen last names this process.
    hold: Option<Hold>,
    tenure: Option<Tenure>,
    due: Instant,
}

impl Election {
    /// A candidate of this name, which no other process may have, not even an earlier one in the same place. Its first try
    /// is due at once.
    #[must_use]
    pub fn new(identity: String, terms: Terms, seed: u64, now: Moment) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { identity, terms, random, seen: None, is_doubtful: false, hold: None, tenure: None, due: now.steady }
    }

    /// The name of this process.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// How long things last.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// When the store is to be asked next.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Until when this process may write: its last tenure, where it was not over yet when it was asked about last.
    #[must_use]
    pub fn tenure(&self) -> Option<Tenure> {
        self.tenure
    }

    /// Who holds the lease by what was seen last.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        Some(self.seen.as_ref()?.stored.as_ref()?.record.holder.as_str())
    }

    /// What is to be asked of the store now.
    #[must_use]
    pub fn next(&self, now: Moment) -> Ask {
        let Some(seen) = self.seen.as_ref().filter(|_| !self.is_doubtful) else { return Ask::Look };
        match &seen.stored {
            Some(stored) if stored.record.holder == self.identity => Ask::Replace {
                record: Record { duration: self.terms.duration, ..stored.record.clone() },
                version: stored.version.clone(),
            },
            Some(stored) if now.at_least_since(seen.since) < stored.record.duration => Ask::Look,
            Some(stored) => Ask::Replace {
                record: self.own_record(stored.record.transitions.saturating_add(1)),
                version: stored.version.clone(),
            },
            None => Ask::Create(self.own_record(0)),
        }
    }

    fn own_record(&self, transitions: u32) -> Record {
        Record { holder: self.identity.clone(), duration: self.terms.duration, transitions }
    }

    fn leads(&self, now: Moment) -> bool {
        self.tenure.is_some_and(|tenure| tenure.lasts(now))
    }

    /// Takes in what the store answered to a question that was sent at `sent`.
    pub fn take(&mut self, ask: &Ask, sent: Moment, answer: Answer, now: Moment) {
        let is_write = !matches!(ask, Ask::Look);
        self.due = sent.steady + self.terms.retry;
        match answer {
            Answer::Holds(stored) => {
                let was_anothers = matches!(ask, Ask::Replace { .. }) && self.hold.is_none();
                let is_ours = stored.record.holder == self.identity;
                self.is_doubtful = false;
                self.see(Some(stored), now);
                if is_ours {
                    self.holds(is_write && was_anothers, now);
                    match is_write {
                        true => self.renewed(sent, now),
                        false => self.due = now.steady,
                    }
                } else {
                    // Whoever has it now has a right to it: it took it from us, or somebody gave it to it.
                    (self.hold, self.tenure) = (None, None);
                    self.due = self.candidates_turn(sent, now);
                }
            }
            Answer::HoldsNothing => {
                self.is_doubtful = false;
                self.hold = None;
                self.see(None, now);
                self.due = now.steady;
            }
            Answer::Conflict => {
                self.is_doubtful = true;
                // Not at once: two who fight for it are not to ask as fast as they can.
                self.due = now.steady + self.terms.retry / 4;
            }
            Answer::Failed(_) => {
                self.is_doubtful |= is_write;
                self.due = self.due.max(now.steady + self.terms.retry / 4);
            }
        }
        // What is over stays over, also where a clock is set back.
        self.tenure = self.tenure.filter(|tenure| tenure.lasts(now));
    }

    fn see(&mut self, stored: Option<Stored>, now: Moment) {
        let version = |stored: &Option<Stored>| stored.as_ref().map(|stored| stored.version.clone());
        if self.seen.as_ref().is_none_or(|seen| version(&seen.stored) != version(&stored)) {
            self.seen = Some(Seen { stored, since: now });
        }
    }

    /// The record names this process.
    fn holds(&mut self, is_taken_over: bool, now: Moment) {
        // Where it was not taken from another one, whose time was over, it was made where there was none.
        let is_proven = is_taken_over || self.leads(now);
        let hold = self.hold.get_or_insert(Hold { since: now, is_proven });
        hold.is_proven |= now.at_least_since(hold.since) >= self.terms.duration;
    }

    /// A write was answered that was sent then.
    fn renewed(&mut self, sent: Moment, now: Moment) {
        if self.hold.is_some_and(|hold| hold.is_proven) {
            self.tenure = Some(Tenure { sent, length: self.terms.renew_within });
        }
        self.due = self.due.max(now.steady);
    }

    /// When another one's lease is to be looked at next: candidates do not all come at once. Where its time is over, now.
    fn candidates_turn(&mut self, sent: Moment, now: Moment) -> Instant {
        match self.next(now) {
            Ask::Look => sent.steady + self.terms.retry.mul_f64(1.0 + self.random.f64() / 2.0),
            Ask::Create(_) | Ask::Replace { .. } => now.steady,
        }
    }

    /// Gives the lease up: what is to be asked of the store so that others need not wait for all of it. From now on this
    /// process may not write.
    pub fn resign(&mut self, now: Moment) -> Option<Ask> {
        let leads = self.leads(now);
        self.tenure = None;
        let stored = self.seen.as_ref()?.stored.as_ref().filter(|_| leads && !self.is_doubtful)?;
        let record = Record { duration: self.terms.left_behind, ..stored.record.clone() };
        (stored.record.holder == self.identity).then(|| Ask::Replace { record, version: stored.version.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process's own clock, which a test moves by hand.
    struct Clock(Moment);

    impl Clock {
        fn new() -> Self {
            Self(Moment::now())
        }

        fn pass(&mut self, seconds: f64) -> Moment {
            let span = Duration::from_secs_f64(seconds);
            self.0 = Moment { steady: self.0.steady + span, wall: self.0.wall + span };
            self.0
        }
    }

    fn stored(holder: &str, version: &str) -> Answer {
        let record = Record { holder: holder.to_owned(), duration: Duration::from_secs(15), transitions: 3 };
        Answer::Holds(Stored { record, version: version.to_owned() })
    }

    fn candidate(clock: &Clock) -> Election {
        Election::new("me".to_owned(), Terms::default(), 7, clock.0)
    }

    fn failed() -> Answer {
        Answer::Failed(Failure { message: String::new(), hint: String::new(), needs_a_person: false })
    }

    /// Asks once: what was asked.
    fn ask(election: &mut Election, at: Moment, answer: Answer) -> Ask {
        let asked = election.next(at);
        election.take(&asked, at, answer, at);
        asked
    }

    fn is_a_write(ask: &Ask) -> bool {
        !matches!(ask, Ask::Look)
    }

    #[tokio::test]
    async fn a_lease_that_another_one_renews_is_left_alone_for_ever() {
        let mut clock = Clock::new();
        let mut election = candidate(&clock);
        for renewal in 0..100 {
            let now = clock.pass(2.0);
            assert_eq!(ask(&mut election, now, stored("other", &(renewal / 7).to_string())), Ask::Look);
        }
        assert!(election.tenure().is_none());
    }

    #[tokio::test]
    async fn a_lease_that_stands_unchanged_is_taken_after_its_time_and_not_before() {
        let mut clock = Clock::new();
        let mut election = candidate(&clock);
        ask(&mut election, clock.0, stored("dead", "1"));
        assert_eq!(election.next(clock.pass(14.9)), Ask::Look);
        let now = clock.pass(0.1);
        let taken = ask(&mut election, now, stored("me", "2"));
        let Ask::Replace { record, version } = taken else { panic!("{taken:?}") };
        assert_eq!((record.holder.as_str(), record.transitions, version.as_str()), ("me", 4, "1"));
        assert!(election.tenure().unwrap().allows(now, Duration::from_secs(10)));
    }

    #[tokio::test]
    async fn the_record_says_how_long_it_is_left_alone() {
        let mut clock = Clock::new();
        let mut election = candidate(&clock);
        let record = Record { holder: "other".to_owned(), duration: Duration::from_secs(60), transitions: 0 };
        let answer = Answer::Holds(Stored { record, version: "1".to_owned() });
        ask(&mut election, clock.0, answer);
        assert_eq!(election.next(clock.pass(59.0)), Ask::Look);
        assert!(is_a_write(&election.next(clock.pass(1.0))));
    }

    #[tokio::test]
    async fn whoever_makes_a_lease_where_there_is_none_holds_it_for_as_long_as_one_lasts_before_it_leads() {
        let mut clock = Clock::new();
        let mut election = candidate(&clock);
        ask(&mut election, clock.0, Answer::HoldsNothing);
        assert!(matches!(ask(&mut election, clock.0, stored("me", "1")), Ask::Create(_)));
        for version in 2..9 {
            let now = clock.pass(2.0);
            assert!(is_a_write(&ask(&mut election, now, stored("me", &version.to_string()))));
            assert!(election.tenure().is_none());
        }
        let now = clock.pass(2.0);
        ask(&mut election, now, stored("me", "9"));
        assert!(election.tenure().unwrap().lasts(now));
    }

    #[tokio::test]
    async fn a_lease_that_was_made_without_an_answer_is_held_as_long_before_its_maker_leads() {
        let mut clock = Clock::new();
        let mut election = candidate(&clock);
        ask(&mut election, clock.0, Answer::HoldsNothing);
        assert!(matches!(ask(&mut election, clock.0, failed()), Ask::Create(_)));
        let now = clock.pass(60.0);
        assert_eq!(ask(&mut election, now, stored("me", "1")), Ask::Look);
        ask(&mut election, now, stored("me", "2"));
        assert!(election.tenure().is_none());
    }

    #[tokio::test]
    async fn the_holder_makes_a_lease_anew_at_once_that_somebody_has_removed() {
        let mut clock = Clock::new();
        let mut election = leader(&mut clock);
        let now = clock.pass(2.0);
        assert!(is_a_write(&ask(&mut election, now, Answer::Conflict)));
        assert_eq!(ask(&mut election, now, Answer::HoldsNothing), Ask::Look);
        assert!(matches!(ask(&mut election, now, stored("me", "1")), Ask::Create(_)));
        assert!(election.tenure().unwrap().allows(now, Duration::from_secs(10)));
    }

    /// One that has just taken the lease.
    fn leader(clock: &mut Clock) -> Election {
        let mut election = candidate(clock);
        ask(&mut election, clock.0, stored("dead", "1"));
        let now = clock.pass(15.0);
        ask(&mut election, now, stored("me", "2"));
        election
    }

    #[tokio::test]
    async fn the_holders_time_runs_from_the_sending_of_a_renewal() {
        let mut clock = Clock::new();
        let mut election = leader(&mut clock);
        let sent = clock.pass(2.0);
        let asked = election.next(sent);
        let answered = clock.pass(3.0);
        election.take(&asked, sent, stored("me", "3"), answered);
        let tenure = election.tenure().unwrap();
        assert!(tenure.allows(answered, Duration::from_secs(7)));
        assert!(!tenure.allows(answered, Duration::from_secs_f64(7.1)));
    }

    #[tokio::test]
    async fn a_renewal_without_an_answer_prolongs_nothing_and_the_record_is_looked_at_first() {
        let mut clock = Clock::new();
        let mut election = leader(&mut clock);
        let taken = clock.0;
        let now = clock.pass(2.0);
        assert!(is_a_write(&ask(&mut election, now, failed())));
        assert!(!election.tenure().unwrap().lasts(clock.pass(8.1)));
        // It had landed after all.
        assert_eq!(ask(&mut election, clock.0, stored("me", "3")), Ask::Look);
        assert!(election.tenure().is_none(), "to see it is not to renew it: {taken:?}");
        let Ask::Replace { version, .. } = election.next(clock.0) else { panic!() };
        assert_eq!(version, "3");
    }

    #[tokio::test]
    async fn a_lease_that_is_seen_to_be_another_ones_is_over_at_once() {
        let mut clock = Clock::new();
        let mut election = leader(&mut clock);
        let now = clock.pass(2.0);
        ask(&mut election, now, Answer::Conflict);
        ask(&mut election, now, stored("other", "9"));
        assert!(election.tenure().is_none());
        assert_eq!(election.next(clock.pass(14.0)), Ask::Look);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_ends_a_tenure_and_takes_no_lease() {
        let clock = Clock::new();
        let year = Duration::from_secs(365 * 24 * 3600);
        let mut election = candidate(&clock);
        ask(&mut election, clock.0, stored("other", "1"));
        let later = Moment { wall: clock.0.wall + year, ..clock.0 };
        assert_eq!(election.next(later), Ask::Look);
        let tenure = Tenure { sent: clock.0, length: Duration::from_secs(10) };
        assert!(!tenure.lasts(later));
        let set_back = Moment { wall: clock.0.wall - year, ..clock.0 };
        assert!(!tenure.lasts(set_back) && !tenure.allows(set_back, Duration::from_secs(5)));
    }

    #[tokio::test]
    async fn whoever_resigns_leaves_a_short_lease_and_writes_no_more() {
        let mut clock = Clock::new();
        let mut election = leader(&mut clock);
        let now = clock.pass(1.0);
        let Some(Ask::Replace { record, .. }) = election.resign(now) else { panic!() };
        assert_eq!((record.holder.as_str(), record.duration), ("me", Duration::from_secs(5)));
        assert!(election.tenure().is_none());
        // Nobody who does not hold it gives it away.
        assert_eq!(candidate(&clock).resign(now), None);
    }

    #[tokio::test]
    async fn two_who_fight_for_a_lease_do_not_ask_as_fast_as_they_can() {
        let mut clock = Clock::new();
        let mut election = leader(&mut clock);
        let (mut asked, begun) = (0, clock.0);
        while clock.0.at_least_since(begun) < Duration::from_secs(60) {
            let due = election.due().duration_since(clock.0.steady);
            let now = clock.pass(due.as_secs_f64() + 0.001);
            let next = election.next(now);
            let answer = if is_a_write(&next) { Answer::Conflict } else { stored("me", &asked.to_string()) };
            election.take(&next, now, answer, now);
            asked += 1;
        }
        assert!((60..300).contains(&asked), "{asked}");
    }
}
