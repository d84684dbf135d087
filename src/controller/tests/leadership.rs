//! Two processes, one lease: who writes, who tells, and when it passes from one to the other.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use super::*;
use crate::lease::{Answer, Ask, Election, Failure, Keeper, Leases, Moment, Record, Stored, Terms};

/// A store that processes share, each by a way of its own that can be cut.
#[derive(Debug, Clone, Default)]
struct Way {
    store: Arc<Mutex<Option<Stored>>>,
    is_cut: Arc<AtomicBool>,
    /// Whether what is asked vanishes, rather than being refused.
    is_black: Arc<AtomicBool>,
}

impl Way {
    fn to(store: &Arc<Mutex<Option<Stored>>>) -> Self {
        Self { store: Arc::clone(store), ..Self::default() }
    }
}

impl Leases for Way {
    async fn ask(&self, ask: &Ask) -> Answer {
        sleep(Duration::from_millis(20)).await;
        if self.is_black.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.is_cut.load(Ordering::Relaxed) {
            let (message, hint) = ("connection refused".to_owned(), "look at the API server".to_owned());
            return Answer::Failed(Failure { message, hint, needs_a_person: false });
        }
        let mut stored = self.store.lock().unwrap();
        let next = |record: &Record, version: u64| Stored { record: record.clone(), version: version.to_string() };
        let known = stored.as_ref().map_or(0, |stored| stored.version.parse().unwrap());
        match (ask, stored.clone()) {
            (Ask::Look, Some(stored)) => Answer::Holds(stored),
            (Ask::Look, None) => Answer::HoldsNothing,
            (Ask::Create(record), None) => Answer::Holds(stored.insert(next(record, known + 1)).clone()),
            (Ask::Replace { record, version }, Some(before)) if before.version == *version => {
                Answer::Holds(stored.insert(next(record, known + 1)).clone())
            }
            (Ask::Create(_) | Ask::Replace { .. }, _) => Answer::Conflict,
        }
    }
}

/// One of the processes.
struct Process {
    way: Way,
    log: Captured,
    exchange: Exchange,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

/// Processes that keep the same roles of the same account.
struct Pair {
    life: Life,
    store: Arc<Mutex<Option<Stored>>>,
}

impl Pair {
    fn with(roles: &[(&str, Option<&str>)], text: &str) -> Self {
        let life = Life::with(roles);
        life.save(text);
        // Its holder died long ago: a store that is empty is led after as long.
        let record = Record { holder: "dead".to_owned(), duration: Duration::from_secs(15), transitions: 4 };
        let store = Arc::new(Mutex::new(Some(Stored { record, version: "7".to_owned() })));
        Self { life, store }
    }

    /// Starts a process of this name. Its log is its own.
    fn start(&self, name: &str) -> Process {
        let (way, log, stop) = (Way::to(&self.store), Captured::default(), CancellationToken::new());
        let election = Election::new(name.to_owned(), Terms::default(), 1, Moment::now());
        let keeper = Keeper::new(way.clone(), "ns/lease".to_owned(), election);
        let options = Options { leadership: keeper.leadership(), seed: name.len() as u64, ..Options::default() };
        let iam = self.life.sandbox.iam(&self.life.account).patience(PATIENCE);
        let exchange = Exchange::default();
        let controller = Controller::new(iam, self.life.manifests.subscribe(), options).woken_by(exchange.clone());
        let (ended, shutdown) = (CancellationToken::new(), stop.clone());
        let keeping = log.hears(keeper.run(ended.clone()));
        let controlling = log.hears(async move {
            controller.run(shutdown).await;
            ended.cancel();
        });
        Process { way, log, exchange, stop, running: vec![tokio::spawn(keeping), tokio::spawn(controlling)] }
    }
}

impl Process {
    /// The names of what it told, but for start and stop.
    fn told(&self) -> Vec<String> {
        let names = self.log.events().into_iter().map(|event| event["event"].as_str().unwrap().to_owned());
        names.filter(|name| !name.starts_with("controller.st") && !name.starts_with("session.")).collect()
    }

    fn has_told(&self, name: &str) -> usize {
        self.told().iter().filter(|told| *told == name).count()
    }

    fn dies(&mut self) {
        self.running.drain(..).for_each(|task| task.abort());
    }

    async fn ends(mut self) -> Captured {
        self.stop.cancel();
        for task in self.running.drain(..) {
            task.await.unwrap();
        }
        self.log.clone()
    }
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

/// Waits until something is so: how long that took.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(600), "{what}: not so");
        sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn only_the_holder_writes_and_only_it_tells_of_roles() {
    let pair = Pair::with(&[("web", None), ("batch", None)], &manifest(&["web", "batch", "gone"], ""));
    let first = pair.start("first");
    seconds(5).await;
    let second = pair.start("second");
    seconds(8).await;
    // The lease of the dead one stands: both read, nobody writes.
    assert_eq!(pair.life.writes(), 0);
    assert!(pair.life.calls("GetAccountAuthorizationDetails") >= 2);
    assert_eq!(first.told(), ["leader.standby"]);
    seconds(60).await;
    assert_eq!(pair.life.writes(), 2);
    assert_eq!(first.has_told("leader.elected"), 1);
    assert_eq!(first.has_told("drift.repaired"), 2);
    assert_eq!(first.has_told("role.not_found"), 1);
    minutes(60 * 30).await;
    pair.life.write("web", &document(&[S3]));
    minutes(20).await;
    assert_eq!(pair.life.live("web"), Some(right()));
    assert_eq!(first.has_told("drift.repaired"), 3);
    // It names whom it stands by for: first the dead one, then the other.
    assert_eq!(second.told(), ["leader.standby", "leader.standby"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_dead_process_is_taken_over_and_what_stands_is_told_once() {
    let text = manifest(&["web", "gone"], "");
    let pair = Pair::with(&[("web", None)], &text);
    let mut first = pair.start("first");
    seconds(1).await;
    let second = pair.start("second");
    seconds(60).await;
    assert_eq!((first.has_told("leader.elected"), pair.life.writes()), (1, 1));
    first.dies();
    pair.life.write("web", &document(&[S3]));
    let waited = until("the takeover", || second.has_told("leader.elected") == 1).await;
    assert!(waited > Duration::from_secs(12) && waited < Duration::from_secs(20), "{waited:?}");
    seconds(10).await;
    assert_eq!(pair.life.live("web"), Some(right()));
    let told =
        ["leader.standby", "leader.standby", "leader.elected", "role.not_found", "drift.detected", "drift.repaired"];
    let mut heard = second.told();
    heard[3..].sort();
    let mut told: Vec<&str> = told.to_vec();
    told[3..].sort_unstable();
    assert_eq!(heard, told);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_stops_writing_before_another_one_begins_and_reads_on() {
    for is_black in [false, true] {
        let pair = Pair::with(&[("web", None)], &manifest(&["web"], ""));
        let first = pair.start("first");
        seconds(1).await;
        let second = pair.start("second");
        seconds(60).await;
        assert_eq!(first.has_told("leader.elected"), 1);
        let flag = if is_black { &first.way.is_black } else { &first.way.is_cut };
        flag.store(true, Ordering::Relaxed);
        let reads = pair.life.calls("GetAccountAuthorizationDetails");
        let led_on = until("the loss", || first.has_told("leader.lost") == 1).await;
        assert!(led_on <= Duration::from_secs(10), "{led_on:?}");
        // Nobody writes between the one and the other.
        assert_eq!(second.has_told("leader.elected"), 0);
        pair.life.write("web", &document(&[S3]));
        pair.life.save(&manifest(&["web"], "  description: read again\n"));
        seconds(2).await;
        assert_eq!(pair.life.writes(), 1);
        assert!(pair.life.calls("GetAccountAuthorizationDetails") > reads, "reading goes on");
        seconds(20).await;
        assert_eq!(second.has_told("leader.elected"), 1);
        assert_eq!(pair.life.live("web"), Some(right()));
        assert_eq!(first.has_told("leader.unreachable"), 1);
        flag.store(false, Ordering::Relaxed);
        seconds(30).await;
        assert_eq!(first.has_told("leader.reachable"), 1);
        assert_eq!((first.has_told("leader.lost"), first.has_told("drift.detected")), (1, 1));
        let last = first.told().pop().unwrap();
        assert_eq!(last, "leader.standby");
    }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_reaches_the_store_nobody_writes_and_everybody_reads() {
    let pair = Pair::with(&[("web", None)], &manifest(&["web"], ""));
    let (first, second) = (pair.start("first"), pair.start("second"));
    seconds(60).await;
    for way in [&first.way, &second.way] {
        way.is_cut.store(true, Ordering::Relaxed);
    }
    seconds(11).await;
    let (writes, reads) = (pair.life.writes(), pair.life.calls("GetAccountAuthorizationDetails"));
    pair.life.write("web", &document(&[S3]));
    minutes(60).await;
    assert_eq!(pair.life.writes(), writes);
    assert!(pair.life.calls("GetAccountAuthorizationDetails") > reads + 4);
    for process in [&first, &second] {
        assert_eq!(process.has_told("leader.unreachable"), 1, "{:?}", process.told());
        process.way.is_cut.store(false, Ordering::Relaxed);
    }
    seconds(60).await;
    assert_eq!(pair.life.live("web"), Some(right()));
    assert_eq!(first.has_told("leader.reachable") + second.has_told("leader.reachable"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_ends_gives_the_lease_up_once_its_writes_are_done() {
    let pair = Pair::with(&[("web", None)], &manifest(&["web"], ""));
    let first = pair.start("first");
    seconds(1).await;
    let second = pair.start("second");
    seconds(60).await;
    let log = first.ends().await;
    let names: Vec<String> = log.events().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names[names.len() - 2..], ["controller.stopped", "leader.resigned"]);
    // What it may still have on its way has five seconds.
    let waited = until("the takeover", || second.has_told("leader.elected") == 1).await;
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_might_outlast_the_lease_is_not_sent() {
    let pair = Pair::with(&[("web", None)], &manifest(&["web"], ""));
    let first = pair.start("first");
    seconds(60).await;
    assert_eq!((first.has_told("leader.elected"), pair.life.writes()), (1, 1));
    first.way.is_cut.store(true, Ordering::Relaxed);
    // It still leads for some seconds, and each of its writes may take five.
    seconds(7).await;
    assert_eq!(first.has_told("leader.lost"), 0);
    pair.life.write("web", &document(&[S3]));
    pair.life.save(&manifest(&["web"], "  description: look again\n"));
    seconds(1).await;
    assert_eq!((first.has_told("drift.detected"), first.has_told("leader.lost")), (2, 0));
    assert_eq!(pair.life.writes(), 1, "a write began that might have ended too late");
    first.way.is_cut.store(false, Ordering::Relaxed);
    seconds(10).await;
    assert_eq!(pair.life.live("web"), Some(right()));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_ends_within_its_time() {
    let pair = Pair::with(&[("web", None)], &manifest(&["web"], ""));
    pair.life.sandbox.fault(Fault::new(Effect::Hang).on("PutRolePolicy").times(1));
    let first = pair.start("first");
    until("the write", || pair.life.writes() == 1).await;
    let sent = Instant::now();
    let stopping = first.stop.clone();
    stopping.cancel();
    let log = first.ends().await;
    assert!(sent.elapsed() <= crate::iam::LONGEST_WRITE + Duration::from_millis(500), "{:?}", sent.elapsed());
    assert!(log.events().iter().any(|event| event["event"] == "leader.resigned"));
}

#[tokio::test(start_paused = true)]
async fn only_the_holder_listens_to_the_queue_of_change_events() {
    let queue = "  changeEvents: {queueUrl: \"https://sqs.us-east-1.amazonaws.com/111122223333/iam-changes\"}\n";
    let pair = Pair::with(&[("web", None)], &(manifest(&["web"], "") + SETTINGS + queue));
    let mut first = pair.start("first");
    seconds(1).await;
    let second = pair.start("second");
    let listens = |process: &Process| process.exchange.queue().borrow().is_some();
    seconds(5).await;
    assert!(!listens(&first) && !listens(&second), "a message is for one listener");
    seconds(60).await;
    assert!(listens(&first) && !listens(&second));
    first.dies();
    seconds(60).await;
    assert!(listens(&second));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_answered_when_the_lease_is_lost_is_told_by_whoever_made_it() {
    let pair = Pair::with(&[("web", None)], &manifest(&["web"], ""));
    pair.life.sandbox.fault(Fault::new(Effect::DelayMs(4_000)).on("PutRolePolicy"));
    let first = pair.start("first");
    until("the write", || pair.life.writes() == 1).await;
    let record = Record { holder: "somebody".to_owned(), duration: Duration::from_secs(15), transitions: 9 };
    *pair.store.lock().unwrap() = Some(Stored { record, version: "1000".to_owned() });
    seconds(3).await;
    assert_eq!((first.has_told("leader.lost"), first.has_told("drift.repaired")), (1, 0));
    seconds(3).await;
    assert_eq!(first.has_told("drift.repaired"), 1);
    assert_eq!(first.told().last().unwrap(), "drift.repaired");
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_was_held_is_not_said_to_be_released_by_one_who_leads_no_more() {
    let guards = "  guards: {maxChangesPerHour: 1}\n";
    let pair = Pair::with(&[("web", None), ("batch", None)], &(manifest(&["web", "batch"], "") + SETTINGS + guards));
    let first = pair.start("first");
    seconds(60).await;
    assert_eq!((first.has_told("guard.held"), pair.life.writes()), (1, 0));
    first.way.is_cut.store(true, Ordering::Relaxed);
    minutes(20).await;
    assert_eq!((first.has_told("leader.lost"), first.has_told("guard.released")), (1, 0));
    first.way.is_cut.store(false, Ordering::Relaxed);
    minutes(1).await;
    assert_eq!((first.has_told("leader.elected"), first.has_told("guard.held")), (2, 2));
}
