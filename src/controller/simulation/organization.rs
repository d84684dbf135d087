//! A thousand organisations, to show that several processes at once, each with its shard of many accounts, do no harm.
//!
//! Beside the lives of one process in one account, which have their own judge: here are some accounts, entered by roles of
//! the same name and with roles of the same names in them, and several processes that know nothing of each other. Their
//! number changes at any moment, and then the old and the new shards overlap, or nobody keeps an account for a while.
//! People meddle, selectors claim roles that change, reads lag, accounts are throttled or cannot be entered, and answers and
//! change events are lost. One number decides all of it.
//!
//! ```sh
//! cargo test --lib simulation::organization                                  # a few lives
//! SIMULATION_LIVES=1000 cargo test --lib simulation::organization            # as many as you like, from SIMULATION_FIRST on
//! SIMULATION_SEED=17 cargo test --lib simulation::organization::no_shard     # this one again, told in words
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `life.rs` | one life: processes that come and go, and what must be so once all is calm |
//! | `people.rs` | the accounts, what is asked for in them, and who meddles |
//! | `edge.rs` | the edge to AWS of one process: delays, deaths, ways that lead into the wrong account |
//! | `judge.rs` | the truth, and the invariants of a call |
//! | `tally.rs` | what has happened in some lives |
//! | `claims.rs` | what selectors ask for, by the truth and by what a process was shown |
//! | `hearsay.rs` | what processes hear of changes, true or not |
//!
//! What must stay true: what is asked for is known here by heart, and not from the program.

mod claims;
mod edge;
mod hearsay;
mod judge;
mod life;
mod people;
mod tally;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use self::{life::Ended, tally::Tally};
use super::{given, log::Ear};

/// One life, with somebody to hear its events: else `tracing` may take it that nobody in the whole process wants them, and
/// tests beside this one miss theirs.
fn live(seed: u64, is_traced: bool) -> Ended {
    tracing::subscriber::with_default(Ear::default(), || life::live(seed, is_traced))
}

/// How many lives there are where nobody says.
const LIVES: u64 = 20;

#[test]
fn no_shard_does_harm_to_an_organization_however_many_keep_an_account() {
    if let Some(seed) = given("SIMULATION_SEED") {
        let ended = live(seed, true);
        println!("{}\n{:?}", ended.trace.join("\n"), ended.tally);
        assert!(ended.violations.is_empty(), "life {seed}:\n{}", ended.violations.join("\n"));
        return;
    }
    let lives: u64 = given("SIMULATION_LIVES").unwrap_or(LIVES);
    let first: u64 = given("SIMULATION_FIRST").unwrap_or(0);
    let stops = given::<u8>("SIMULATION_STOP").is_some();
    let threads = given("SIMULATION_THREADS").unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let (next, begun) = (AtomicU64::new(first), Instant::now());
    let together = Mutex::new((Tally::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + lives {
                        return;
                    }
                    let ended = live(seed, false);
                    let mut together = together.lock().unwrap();
                    together.0.add(&ended.tally);
                    if let Some(violation) = ended.violations.first() {
                        // At once: whatever comes of the others, this one is known.
                        println!("life {seed}: {violation}");
                        together.1.push(seed);
                        if stops {
                            next.store(first + lives, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let (tally, failed) = together.into_inner().unwrap();
    println!(
        "{lives} lives from {first} on in {} s, {} of them wrong: {tally:?}",
        begun.elapsed().as_secs(),
        failed.len()
    );
    if let Some(seed) = failed.iter().min() {
        let told = live(*seed, true);
        panic!(
            "{} of {lives} lives went wrong: {failed:?}; SIMULATION_SEED={seed} cargo test --lib simulation::organization::no_shard replays this one:\n{}\n\n{}",
            failed.len(),
            told.violations.join("\n"),
            told.trace.join("\n"),
        );
    }
    // What never happens proves nothing.
    assert!(lives < LIVES || tally.is_telling(), "these lives were too quiet to show anything: {tally:?}");
}

#[test]
fn the_same_seed_is_the_same_organization() {
    // What happens in one moment is told in the order in which the accounts' loops are woken, which is left to chance.
    let sorted = |seed| {
        let mut ended = live(seed, true);
        ended.trace.sort();
        ended
    };
    for seed in 0..3 {
        assert_eq!(sorted(seed), sorted(seed));
    }
}
