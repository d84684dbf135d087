//! That every life goes on and ends: nothing spins, nothing waits for ever, and nobody is asked without end.
//!
//! Three things can go wrong under a paused clock, and each has its bound. Somebody is asked again and again: calls are
//! counted by the minute. The loop turns without waiting for anything, so that the clock stands still: it is counted how
//! often the process is polled meanwhile. It waits for what never comes: the clock goes on to the end of a day that no life
//! lasts. These are the same in every replay. What spins without ever coming back to the runtime is seen by nobody but a
//! real clock, which ends the whole run. What must stay true: whatever ends a life says its seed.

use std::{
    future::{Future, poll_fn},
    io::{self, Write},
    pin::pin,
    process,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    task::Poll,
    thread,
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::scene::Scene;

const RULE: &str = "I20 every life goes on and ends";

/// Longer than all the gaps, waits and fights of any life together.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// So many calls within a minute are no work, but a retry that does not wait.
const MOST_CALLS: u64 = 1_000;

/// A process that is polled so often in one moment turns in a circle.
const MOST_POLLS: u64 = 1_000;

/// In real time, what takes a fraction of a second as a rule, and some seconds at the worst.
const HUNG: Duration = Duration::from_secs(300);

/// A life, to its end or to the end of the longest.
pub(super) async fn lived(scene: &Scene, life: impl Future<Output = ()>) {
    if timeout(LONGEST, life).await.is_err() {
        scene.violated(RULE, format!("it waits for what does not come within {LONGEST:?}"));
    }
}

/// A process, which is killed where it turns in a circle.
pub(super) async fn polled<T>(scene: Arc<Scene>, process: impl Future<Output = T>) -> T {
    let mut process = pin!(process);
    let (mut moment, mut polls) = (Instant::now(), 0);
    poll_fn(|context| {
        let now = Instant::now();
        if now > moment {
            (moment, polls) = (now, 0);
        }
        polls += 1;
        let mut state = scene.state();
        state.tally.most_polls = state.tally.most_polls.max(polls);
        drop(state);
        if polls > MOST_POLLS {
            scene.violated(RULE, format!("the loop has turned {polls} times without waiting for anything"));
            scene.kill();
            return Poll::Pending;
        }
        process.as_mut().poll(context)
    })
    .await
}

/// Counts a call. Whether there were too many of them.
pub(super) fn called(scene: &Scene) -> bool {
    let minute = scene.now().as_secs() / 60;
    let mut state = scene.state();
    let (of, calls) = state.process.minute;
    let calls = if of == minute { calls + 1 } else { 1 };
    state.process.minute = (minute, calls);
    state.tally.most_calls = state.tally.most_calls.max(calls);
    drop(state);
    if calls > MOST_CALLS {
        scene.violated(RULE, format!("{calls} calls within a minute"));
    }
    calls > MOST_CALLS
}

/// Ends the whole run where this is not dropped in time: nothing else can end a thread that spins.
pub(super) fn watched(seed: u64) -> Sender<()> {
    let (alive, ended) = mpsc::channel();
    thread::spawn(move || {
        if ended.recv_timeout(HUNG) == Err(RecvTimeoutError::Timeout) {
            let hung = HUNG.as_secs();
            // Not by `println`: what a test prints is kept for its end, to which it does not come.
            let _ = writeln!(
                io::stderr(),
                "life {seed}: at {hung} s, {RULE}: {hung} s of real time, and no end; SIMULATION_SEED={seed} replays it"
            );
            process::exit(1);
        }
    });
    alive
}
