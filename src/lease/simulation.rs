//! Hundreds of elections, to show that no two processes ever write within overlapping leases.
//!
//! Several processes, each with clocks of its own that agree with nobody's, share one store. Questions and answers are late,
//! lost, or come when they are no longer waited for; the store is out of reach for one or for all; processes freeze, sleep
//! with their machine (whose steady clock may stand still), die and are started anew, or resign; clocks are set; a person
//! removes the lease. Whenever a process may write it does, for as long as a write may take, and what it sent may take effect
//! almost [`Terms::left_behind`] later. One number decides all of it.
//!
//! ```sh
//! cargo test --lib lease::simulation                            # some elections
//! SIMULATION_LIVES=100000 cargo test --lib lease::simulation    # as many as you like
//! SIMULATION_SEED=17 cargo test --lib lease::simulation::no_two -- --nocapture   # this one again, told in words
//! ```
//!
//! What must stay true: nothing here asks the election whether it is right; who has written when is counted by the one clock
//! that the processes do not see.

use std::{
    env,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{Answer, Ask, Election, Failure, Moment, Record, Stored, Tenure, Terms};
use crate::iam::LONGEST_WRITE;

/// How many elections there are where nobody says.
const LIVES: u64 = 300;
/// How long each lasts, and how long the calm at its end.
const LASTS: Duration = Duration::from_secs(600);
const CALM: Duration = Duration::from_secs(120);
/// How long it takes at most, once all is calm, until somebody leads.
const ELECTED_WITHIN: Duration = Duration::from_secs(45);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The store, which everybody reaches by a way of their own.
#[derive(Debug, Default)]
struct Store {
    stored: Option<Stored>,
    version: u64,
}

impl Store {
    fn ask(&mut self, ask: &Ask) -> Answer {
        match (ask, &self.stored) {
            (Ask::Look, Some(stored)) => Answer::Holds(stored.clone()),
            (Ask::Look, None) => Answer::HoldsNothing,
            (Ask::Create(record), None) => self.keep(record),
            (Ask::Replace { record, version }, Some(stored)) if *version == stored.version => self.keep(record),
            (Ask::Create(_) | Ask::Replace { .. }, _) => Answer::Conflict,
        }
    }

    fn keep(&mut self, record: &Record) -> Answer {
        self.version += 1;
        let stored = Stored { record: record.clone(), version: self.version.to_string() };
        Answer::Holds(self.stored.insert(stored).clone())
    }
}

/// A question on its way.
#[derive(Debug)]
struct Asked {
    ask: Ask,
    sent: Moment,
    /// When it reaches the store, if it does.
    arrives: Option<Duration>,
    /// When its answer is back, if it comes, and what it is once it has arrived.
    returns: Option<Duration>,
    answer: Option<Answer>,
    /// When it is no longer waited for, by the process's own clock.
    given_up: Instant,
}

/// One process, its machine and its clocks.
#[derive(Debug)]
struct Process {
    election: Election,
    /// How fast its clocks run, how far the wall's is off, and for how long the steady one has stood still.
    rate: f64,
    set_by: i64,
    stood_still: Duration,
    frozen_until: Option<(Duration, bool)>,
    frozen_at: Duration,
    /// Whether a question was answered, or given up, since it thawed.
    has_heard: bool,
    asked: Option<Asked>,
    /// What is on its way to the store, and waited for no more.
    strays: Vec<(Duration, Ask)>,
    next_write: Duration,
    /// Until when the process itself has a write under way, and until when one of its writes may take effect.
    writes_until: Duration,
    takes_effect_until: Duration,
    is_cut_off_until: Duration,
    /// Whether it lets what it writes come to an end, to resign then.
    is_ending: bool,
}

/// What a life comes to.
#[derive(Debug, Default)]
struct Tally {
    writes: u64,
    leaders: u64,
    freezes: u64,
    strays: u64,
    removals: u64,
    resignations: u64,
}

struct World {
    random: fastrand::Rng,
    now: Duration,
    begun: (Instant, SystemTime),
    store: Store,
    processes: Vec<Process>,
    names: u64,
    is_calm: bool,
    last_leader: Option<usize>,
    next_removal: Duration,
    tally: Tally,
    trace: Option<Vec<String>>,
    violation: Option<String>,
}

impl World {
    fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(2..=4);
        let mut world = Self {
            random,
            now: Duration::ZERO,
            begun: (Instant::now(), SystemTime::now()),
            store: Store::default(),
            processes: Vec::new(),
            names: 0,
            is_calm: false,
            last_leader: None,
            next_removal: Duration::from_secs(30),
            tally: Tally::default(),
            trace: is_traced.then(Vec::new),
            violation: None,
        };
        if world.random.bool() {
            // A lease of somebody who died long ago.
            let record = Record { holder: "dead".to_owned(), duration: Duration::from_secs(15), transitions: 1 };
            world.store.keep(&record);
        }
        for _ in 0..count {
            let process = world.started();
            world.processes.push(process);
        }
        world
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:9.3} {}", now.as_secs_f64(), what()));
        }
    }

    /// A process that has just been started, on a machine with clocks of its own.
    fn started(&mut self) -> Process {
        self.names += 1;
        let (rate, set_by) = (0.999 + self.random.f64() * 0.002, self.random.i64(-1_000_000..1_000_000));
        let now = moment(self.begun, self.now, rate, set_by, Duration::ZERO);
        let seed = self.random.u64(..);
        Process {
            election: Election::new(format!("p{}", self.names), Terms::default(), seed, now),
            rate,
            set_by,
            stood_still: Duration::ZERO,
            frozen_until: None,
            frozen_at: Duration::ZERO,
            has_heard: true,
            asked: None,
            strays: Vec::new(),
            next_write: self.now,
            writes_until: Duration::ZERO,
            takes_effect_until: Duration::ZERO,
            is_cut_off_until: Duration::ZERO,
            is_ending: false,
        }
    }

    /// The moment as this process's machine has it.
    fn local(&self, index: usize) -> Moment {
        let process = &self.processes[index];
        moment(self.begun, self.now, process.rate, process.set_by, process.stood_still)
    }

    fn chance(&mut self, one_in: u64) -> bool {
        !self.is_calm && self.random.u64(0..one_in) == 0
    }

    fn up_to(&mut self, longest: u64) -> Duration {
        ms(self.random.u64(0..=longest))
    }

    /// A tenth of a second of everybody's life.
    fn step(&mut self) {
        self.meddle();
        let mut order: Vec<usize> = (0..self.processes.len()).collect();
        self.random.shuffle(&mut order);
        for index in order {
            self.deliver(index);
            if !self.thaw(index) {
                continue;
            }
            // In whichever order: a process that thaws may well write before it looks at anything else.
            if self.random.bool() {
                self.write(index);
                self.keep(index);
            } else {
                self.keep(index);
                self.write(index);
            }
        }
        self.now += ms(100);
    }

    /// What people and machines do.
    fn meddle(&mut self) {
        if self.now >= self.next_removal && self.chance(400) {
            self.store.stored = None;
            self.tally.removals += 1;
            self.next_removal = self.now + Duration::from_secs(20);
            self.tell(|| "somebody removes the lease".to_owned());
        }
        if self.chance(1500) {
            let until = self.now + self.up_to(40_000);
            for process in &mut self.processes {
                process.is_cut_off_until = until;
            }
            self.tell(|| format!("nobody reaches the store until {:.1}", until.as_secs_f64()));
        }
        for index in 0..self.processes.len() {
            if self.chance(600) {
                let until = self.now + self.up_to(40_000);
                self.processes[index].is_cut_off_until = until;
                self.tell(|| format!("#{index} is cut off until {:.1}", until.as_secs_f64()));
            }
            if self.processes[index].frozen_until.is_none() && self.chance(500) {
                let (until, sleeps) = (self.now + self.up_to(30_000), self.random.bool());
                let process = &mut self.processes[index];
                (process.frozen_until, process.frozen_at) = (Some((until, sleeps)), self.now);
                self.tally.freezes += 1;
                self.tell(|| {
                    format!("#{index} freezes until {:.1}; steady clock stands still: {sleeps}", until.as_secs_f64())
                });
            }
            if self.processes[index].frozen_until.is_none() && self.chance(800) {
                let by = self.random.i64(-30_000..30_000);
                // A clock that is set back by just so much as its machine has slept hides that, until the next question is
                // answered. That is more than this promises: not here.
                let is_unaware = !self.processes[index].has_heard;
                let by = if is_unaware || self.leads(index) { by.abs() } else { by };
                self.processes[index].set_by += by;
                self.tell(|| format!("#{index}: somebody sets its clock by {by} ms"));
            }
            if self.chance(3000) {
                self.restart(index, "dies");
            }
            self.processes[index].is_ending |= self.chance(1500);
            let process = &self.processes[index];
            if process.is_ending && process.frozen_until.is_none() && process.writes_until <= self.now {
                let now = self.local(index);
                if let Some(ask) = self.processes[index].election.resign(now) {
                    self.tally.resignations += 1;
                    let arrives = self.now + self.up_to(500);
                    self.processes[index].strays.push((arrives, ask));
                }
                self.restart(index, "ends");
            }
        }
    }

    /// Somebody else begins in its place; what it has on its way stays on its way.
    fn restart(&mut self, index: usize, how: &str) {
        let new = self.started();
        let old = std::mem::replace(&mut self.processes[index], new);
        let now = self.now;
        let process = &mut self.processes[index];
        process.strays = old.strays;
        if let Some(asked) = old.asked
            && let Some(arrives) = asked.arrives.filter(|arrives| *arrives > now)
        {
            process.strays.push((arrives, asked.ask));
        }
        process.takes_effect_until = old.takes_effect_until;
        process.next_write = now + ms(100);
        let (old, new) = (old.election.identity().to_owned(), process.election.identity().to_owned());
        self.tell(|| format!("#{index} {old} {how}, {new} begins"));
    }

    /// Whether the process runs at all.
    fn thaw(&mut self, index: usize) -> bool {
        let Some((until, sleeps)) = self.processes[index].frozen_until else { return true };
        if self.now < until && !self.is_calm {
            return false;
        }
        let now = self.now;
        let process = &mut self.processes[index];
        if sleeps {
            process.stood_still += now - process.frozen_at;
        }
        process.frozen_until = None;
        process.has_heard = false;
        self.tell(|| format!("#{index} thaws"));
        true
    }

    /// What reaches the store, whether its sender lives or not.
    fn deliver(&mut self, index: usize) {
        let now = self.now;
        let mut strays = std::mem::take(&mut self.processes[index].strays);
        strays.retain(|(arrives, ask)| {
            if *arrives > now {
                return true;
            }
            self.tally.strays += 1;
            let answer = self.store.ask(ask);
            self.tell(|| format!("#{index}: a stray {ask:?} arrives: {answer:?}"));
            false
        });
        self.processes[index].strays = strays;
        if let Some(asked) = &mut self.processes[index].asked
            && asked.answer.is_none()
            && asked.arrives.is_some_and(|arrives| arrives <= now)
        {
            asked.answer = Some(self.store.ask(&asked.ask));
        }
    }

    /// Has the process ask, hear and give up.
    fn keep(&mut self, index: usize) {
        let local = self.local(index);
        let now = self.now;
        if let Some(asked) = self.processes[index].asked.take() {
            let has_returned = asked.answer.is_some() && asked.returns.is_some_and(|returns| returns <= now);
            let answer = match asked.answer {
                // Where both are due at once, the answer is heard.
                Some(ref answer) if has_returned => answer.clone(),
                _ if asked.given_up <= local.steady => {
                    if let Some(arrives) = asked.arrives.filter(|arrives| *arrives > now) {
                        self.processes[index].strays.push((arrives, asked.ask.clone()));
                    }
                    Answer::Failed(Failure { message: String::new(), hint: String::new(), needs_a_person: false })
                }
                _ => {
                    self.processes[index].asked = Some(asked);
                    return;
                }
            };
            self.tell(|| format!("#{index}: {:?} is answered by {answer:?}", asked.ask));
            self.processes[index].election.take(&asked.ask, asked.sent, answer, local);
            self.processes[index].has_heard = true;
        }
        if self.processes[index].election.due() <= local.steady {
            let ask = self.processes[index].election.next(local);
            let is_cut_off = self.processes[index].is_cut_off_until > now && !self.is_calm;
            let slow = self.chance(6);
            let way = |world: &mut Self| world.up_to(if slow { 6_000 } else { 300 });
            let (there, back) = (way(self), way(self));
            // A question may arrive although its answer never does.
            let is_lost = is_cut_off && self.random.bool() || self.chance(30);
            let arrives = (!is_lost).then_some(now + there);
            let returns = arrives.filter(|_| !is_cut_off && !self.chance(20)).map(|arrives| arrives + back);
            let given_up = local.steady + Terms::default().answer_within;
            self.processes[index].asked = Some(Asked { ask, sent: local, arrives, returns, answer: None, given_up });
        }
    }

    /// Writes, where it may; and judges that.
    fn write(&mut self, index: usize) {
        let local = self.local(index);
        let process = &self.processes[index];
        let tenure: Option<Tenure> = process.election.tenure();
        let may = tenure.is_some_and(|tenure| tenure.allows(local, LONGEST_WRITE));
        if !may || process.is_ending || self.now < process.next_write || process.writes_until > self.now {
            return;
        }
        // A write that takes as long as it may by the process's clock, and takes effect as late as it may.
        let longest = LONGEST_WRITE.div_f64(self.processes[index].rate);
        let lasts = if self.random.bool() { longest } else { self.up_to(300) };
        let in_the_air = self.up_to(4_800);
        let (pause, now) = (self.up_to(400), self.now);
        let others = self.processes.iter().enumerate().filter(|(other, _)| *other != index);
        if let Some((other, late)) = others.clone().find(|(_, other)| other.takes_effect_until >= now) {
            self.violation.get_or_insert(format!(
                "at {:.3} s, L1 no two write within overlapping leases: #{index} begins to write, and a write of #{other} may take effect until {:.3}",
                now.as_secs_f64(),
                late.takes_effect_until.as_secs_f64()
            ));
        }
        let process = &mut self.processes[index];
        process.writes_until = now + lasts;
        process.takes_effect_until = process.takes_effect_until.max(now + lasts + in_the_air);
        process.next_write = now + lasts + pause;
        self.tally.writes += 1;
        if self.last_leader.replace(index) != Some(index) {
            self.tally.leaders += 1;
            self.tell(|| format!("#{index} writes"));
        }
    }

    fn leads(&self, index: usize) -> bool {
        self.processes[index].election.tenure().is_some_and(|tenure| tenure.lasts(self.local(index)))
    }
}

fn moment(
    (steady, wall): (Instant, SystemTime),
    now: Duration,
    rate: f64,
    set_by: i64,
    stood_still: Duration,
) -> Moment {
    let runs = now.mul_f64(rate);
    // Nobody's clock begins where another one's does.
    let wall = wall + Duration::from_secs(100_000) + runs;
    let by = ms(set_by.unsigned_abs());
    Moment {
        steady: steady + Duration::from_secs(1_000) + runs.saturating_sub(stood_still),
        wall: if set_by < 0 { wall - by } else { wall + by },
    }
}

fn live(seed: u64, is_traced: bool) -> World {
    let mut world = World::new(seed, is_traced);
    while world.now < LASTS && world.violation.is_none() {
        world.step();
    }
    world.is_calm = true;
    let calm = world.now;
    let mut led_since = None;
    while world.now < calm + CALM && world.violation.is_none() {
        world.step();
        let leaders: Vec<usize> = (0..world.processes.len()).filter(|index| world.leads(*index)).collect();
        if leaders.is_empty() {
            led_since = None;
        } else {
            led_since.get_or_insert(world.now);
        }
        if leaders.len() > 1 {
            world.violation =
                Some(format!("at {:.3} s, L2 in calm one leads: {leaders:?} do", world.now.as_secs_f64()));
        }
    }
    if world.violation.is_none() && led_since.is_none_or(|since| since > calm + ELECTED_WITHIN) {
        world.violation = Some(format!(
            "at {:.3} s, L2 in calm one leads: calm since {calm:?}, led since {led_since:?}",
            world.now.as_secs_f64()
        ));
    }
    world
}

fn given(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn no_two_processes_write_within_overlapping_leases_and_in_calm_somebody_leads() {
    if let Some(seed) = given("SIMULATION_SEED") {
        let world = live(seed, true);
        println!("{}", world.trace.unwrap_or_default().join("\n"));
        assert_eq!(world.violation, None);
        return;
    }
    let lives = given("SIMULATION_LIVES").unwrap_or(LIVES);
    let first = given("SIMULATION_FIRST").unwrap_or(0);
    let mut together = Tally::default();
    for seed in first..first + lives {
        let world = live(seed, false);
        if let Some(violation) = world.violation {
            println!("life {seed}: {violation}");
            panic!("election {seed} went wrong: {violation}; SIMULATION_SEED={seed} tells it");
        }
        let tally = world.tally;
        together.writes += tally.writes;
        together.leaders += tally.leaders;
        together.freezes += tally.freezes;
        together.strays += tally.strays;
        together.removals += tally.removals;
        together.resignations += tally.resignations;
    }
    println!("{lives} elections from {first} on: {together:?}");
    // What never happens proves nothing.
    assert!(together.writes > 100 * lives && together.leaders > 5 * lives, "{together:?}");
    assert!(together.freezes > lives && together.strays > lives, "{together:?}");
    assert!(together.removals > lives / 2 && together.resignations > lives / 4, "{together:?}");
}
