//! Ten thousand lives, to show that the controller cannot do harm.
//!
//! Each life has a world of its own, people who meddle with it, manifests that are edited well and badly, a network and
//! an IAM that fail in every way that the sandbox knows, and a controller that is killed between any two of its awaits
//! and started again. One number decides all of it, under tokio's paused clock. A witness at the edge to AWS, who knows
//! the whole truth, judges every write in the moment in which it is asked for.
//!
//! ```sh
//! cargo test --lib simulation                            # a few hundred lives
//! SIMULATION_LIVES=10000 cargo test --lib simulation     # as many as you like; SIMULATION_FIRST says with which to begin
//! SIMULATION_STOP=1 …                                    # ends with the first that goes wrong
//! SIMULATION_SECONDS=3600 …                              # begins no more of them after so long
//! SIMULATION_THREADS=1 …                                 # so many at once; else as many as there are cores
//! SIMULATION_SEED=17 cargo test --lib simulation         # this one again, told in words
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `life.rs` | one life from its beginning to its calm end |
//! | `people.rs` | who meddles with the world, and what goes wrong |
//! | `hearsay.rs` | what the controller hears of changes, true or not |
//! | `authors.rs` | who writes the manifests, and what is meant by them |
//! | `operator.rs` | the controller's settings, and what is meant by them |
//! | `scene.rs` | the whole truth |
//! | `witness.rs` | the edge: delays, deaths, writes that outlive who sent them |
//! | `judge.rs` | the invariants of a write |
//! | `pace.rs` | how much, and in which order: guards, canary, fights |
//! | `doubt.rs` | what a reading certainly shows, and what only a fresh look can tell |
//! | `succession.rs` | former names and orphans |
//! | `log.rs` | that everything is told once |
//! | `untold.rs` | that nothing which stands is left untold |
//! | `bound.rs` | that every life goes on, and ends |
//! | `end.rs` | what must be so when all is calm |
//! | `aftermath.rs` | what comes after that: fights, approvals, new names |
//! | `treachery.rs` | what the writer lets through that nobody checked before |
//! | `tally.rs` | what happened, in figures |
//! | `plain.rs` | another idea of policy documents |
//! | `organization.rs` | several processes, each with a shard of many accounts, and a judge of their own |
//!
//! A new kind of trouble is one more arm in `people.rs` or `authors.rs`; a new invariant is one more rule in `judge.rs`
//! (of writes), `log.rs` and `untold.rs` (of what is told) or `end.rs` (of how it ends). That the rules find anything is shown by the
//! mutations in `tests/mutations`. What must stay true: nothing here relies on what the controller thinks of itself.

mod aftermath;
mod authors;
mod bound;
mod doubt;
mod end;
mod hearsay;
mod judge;
mod life;
mod log;
mod operator;
mod organization;
mod pace;
mod people;
mod plain;
mod scene;
mod succession;
mod tally;
mod treachery;
mod untold;
mod witness;

use std::{
    env,
    str::FromStr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use self::{life::live, log::Ear, tally::Tally};

/// The account of the credentials.
const OWN: &str = "111122223333";
/// An account with the same names in it, that nobody has any business with.
const OTHER: &str = "444455556666";
/// The role that the controller itself runs as, as the sandbox's STS says.
const OWN_ROLE: &str = "ssm-role-controller";

/// How many lives there are where nobody says.
const LIVES: u64 = 300;
const LONGEST_TRACE: usize = 400;

/// Of so many writes one may change nothing, since an answer was lost or a reading lagged behind; half as many do.
const SHARE_IN_VAIN: u64 = 100;

fn given<T: FromStr>(variable: &str) -> Option<T> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

#[test]
fn no_life_shows_the_controller_do_harm() {
    if let Some(seed) = given("SIMULATION_SEED") {
        let ear = Ear::default();
        let ended = tracing::subscriber::with_default(ear.clone(), || live(seed, true, &ear));
        println!("{}\n{:?}", ended.trace.join("\n"), ended.tally);
        assert!(ended.violations.is_empty(), "life {seed}:\n{}", ended.violations.join("\n"));
        return;
    }
    let lives: u64 = given("SIMULATION_LIVES").unwrap_or(LIVES);
    let first: u64 = given("SIMULATION_FIRST").unwrap_or(0);
    let stops = given::<u8>("SIMULATION_STOP").is_some();
    let time = given("SIMULATION_SECONDS").map_or(Duration::MAX, Duration::from_secs);
    let threads = given("SIMULATION_THREADS").unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicU64::new(first);
    let begun = Instant::now();
    let together = Mutex::new((0, Tally::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let ear = Ear::default();
                tracing::subscriber::with_default(ear.clone(), || {
                    loop {
                        // Looked at before a seed is taken, so that no seed is passed over.
                        if begun.elapsed() >= time {
                            return;
                        }
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + lives {
                            return;
                        }
                        let ended = live(seed, false, &ear);
                        if !ended.violations.is_empty() && stops {
                            next.store(first + lives, Ordering::Relaxed);
                        }
                        let mut together = together.lock().unwrap();
                        together.0 += 1;
                        together.1.add(&ended.tally);
                        if let Some(violation) = ended.violations.first() {
                            // At once: whatever comes of the others, this one is known.
                            println!("life {seed}: {violation}");
                            together.2.push(seed);
                        }
                    }
                });
            });
        }
    });
    let (lives, tally, failed) = together.into_inner().unwrap();
    println!(
        "{lives} lives from {first} on in {} s, {} of them wrong: {tally:?}",
        begun.elapsed().as_secs(),
        failed.len()
    );
    // What lost answers and lagging reads have written in vain is bounded: few lives say little about a share.
    let in_vain = tally.useless_writes * SHARE_IN_VAIN;
    assert!(lives < LIVES || in_vain <= tally.writes, "I4 no more writes than causes: {tally:?}");
    let Some(seed) = failed.iter().min() else { return };
    let ear = Ear::default();
    let told = tracing::subscriber::with_default(ear.clone(), || live(*seed, true, &ear));
    panic!(
        "{} of {lives} lives went wrong: {failed:?}; SIMULATION_SEED={seed} cargo test --lib simulation replays this one:\n{}\n\n{}",
        failed.len(),
        told.violations.join("\n"),
        told.trace.join("\n"),
    );
}

#[test]
fn the_same_seed_is_the_same_life() {
    let ear = Ear::default();
    // With a second one, no thread that hears nothing decides for this one what is to be heard.
    let _another = tracing::Dispatch::new(Ear::default());
    tracing::subscriber::with_default(ear.clone(), || {
        for seed in 0..3 {
            assert_eq!(live(seed, true, &ear), live(seed, true, &ear));
        }
    });
}
