//! One life: a world, its people, and a controller that is killed and started again, under a clock of its own.
//!
//! What must stay true: everything follows from the seed, so the same seed is the same life to the last call.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    runtime::Builder,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    bound, hearsay,
    log::{Ear, Log},
    people::{self, Stubborn},
    scene::{Key, Leave, Moment, Process, Scene},
    tally::Tally,
    witness::Witness,
};
use crate::{
    controller::{Controller, Options, Outcome},
    events::Exchange,
    iam::Caller,
    manifest::ManifestSet,
    plan::{Digest, Reason, Step},
    sandbox::Sandbox,
};

/// How long after the calm everything must be right, in minutes: a fight keeps repairs waiting for half an hour, and
/// other waits of up to ten minutes may have begun just before it.
const BOUND: u64 = 45;

/// Within so many minutes a controller that could not read for long has done so.
const READ_WITHIN: u64 = 15;

/// How long somebody waits for a repair, to come between its read and its write.
const A_WHILE: Duration = Duration::from_secs(60);

/// How long a single pass may take.
const ONCE: Duration = Duration::from_secs(120);

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) violations: Vec<String>,
    pub(super) trace: Vec<String>,
    pub(super) tally: Tally,
}

/// Lives the life of this seed; told in words where somebody wants to read it.
pub(super) fn live(seed: u64, is_traced: bool, ear: &Ear) -> Ended {
    let _alive = bound::watched(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut life = Life::new(seed, is_traced, ear.clone());
        let scene = Arc::clone(&life.scene);
        bound::lived(&scene, life.unfold()).await;
        let mut state = life.scene.state();
        state.tally.seconds = life.scene.now().as_secs();
        state.tally.longest = state.tally.seconds;
        state.tally.events = ear.log().count;
        let (violations, tally) = (std::mem::take(&mut state.violations), state.tally);
        drop(state);
        Ended { violations, trace: life.scene.trace(), tally }
    })
}

pub(super) struct Life {
    pub(super) scene: Arc<Scene>,
    pub(super) rng: Rng,
    names: Vec<String>,
    manifests: watch::Sender<Arc<ManifestSet>>,
    exchange: Exchange,
    hearsay: JoinHandle<()>,
    running: Option<Running>,
    /// When the next process begins, where none is at work.
    restart: Option<Instant>,
    pub(super) stubborn: Option<(Instant, Stubborn)>,
    processes: u64,
    is_calm: bool,
    /// What the last process that was to end by itself said.
    pub(super) outcome: Option<Outcome>,
}

struct Running {
    /// The daemon's end says nothing.
    task: JoinHandle<Option<Outcome>>,
    shutdown: CancellationToken,
    ends_by_itself: bool,
}

impl Life {
    fn new(seed: u64, is_traced: bool, ear: Ear) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut names = people::names(&mut rng);
        let is_crowded = seed % 4 == 3;
        if is_crowded {
            names.drain(2..names.len() - 1);
        }
        let sandbox = Sandbox::new(super::OWN.parse().unwrap());
        sandbox.keep_calls(0);
        *ear.log() = Log::new(is_traced);
        // Some roles that manifests name are in no world.
        let mut named = names.clone();
        named.extend(["ghost-1", "Ghost-2"].map(str::to_owned));
        let scene = Scene::new(sandbox, rng.fork(), named, ear, is_traced);
        people::populate(&scene, &mut rng, &names);
        if is_crowded {
            people::crowd(&scene);
        }
        let (manifests, _) = watch::channel(Arc::default());
        let exchange = Exchange::default();
        let hearsay = hearsay::spread(exchange.clone(), names.clone(), Rng::with_seed(!seed));
        let mut life = Self {
            scene,
            rng,
            names,
            manifests,
            exchange,
            hearsay: tokio::spawn(hearsay),
            running: None,
            restart: None,
            stubborn: None,
            processes: 0,
            is_calm: false,
            outcome: None,
        };
        life.save("the first manifests");
        life
    }

    async fn unfold(&mut self) {
        self.start();
        for _ in 0..self.rng.usize(10..60) {
            if self.rng.u8(..10) == 0 {
                self.interrupt().await;
                if self.scene.has_gone_wrong() {
                    return;
                }
            }
            let gap = match self.rng.u8(..10) {
                0..4 => self.rng.u64(10..3_000),
                4..9 => self.rng.u64(10..60_000),
                _ => self.rng.u64(10..600_000),
            };
            self.pass(Duration::from_millis(gap)).await;
            if self.scene.has_gone_wrong() {
                return;
            }
            self.scene.state().tally.disturbances += 1;
            self.disturb().await;
        }
        self.calm_down().await;
        let calm = self.scene.now();
        for minute in 0..=BOUND {
            let (unsettled, pending) = self.scene.unsettled();
            // What was refused is asked for again within ten minutes.
            if unsettled.is_empty() && (pending.is_empty() || minute >= 20) {
                self.scene.state().tally.minutes_to_calm = minute;
                break;
            }
            if minute == BOUND {
                self.scene.violated("I10 convergence", unsettled.join("; "));
            }
            self.pass(Duration::from_secs(60)).await;
        }
        // What has settled stays as it is, and nothing is written any more; nothing that was sent is on its way still.
        // A policy under a former name goes with the reading after the one under the new name is right.
        self.pass(Duration::from_secs(90)).await;
        let effects = self.scene.state().tally.effects;
        self.pass(Duration::from_secs(210)).await;
        if self.scene.state().tally.effects != effects {
            self.scene.violated("I4 no more writes than causes", "something was written after all had settled");
        }
        let (unsettled, _) = self.scene.unsettled();
        if !unsettled.is_empty() {
            self.scene.violated("I10 convergence", format!("settled no longer: {}", unsettled.join("; ")));
        }
        for _ in 0..READ_WITHIN {
            if self.scene.was_read_since(calm) {
                break;
            }
            // After many failures the next reading may be five minutes away, and fail for once.
            self.pass(Duration::from_secs(60)).await;
        }
        for untold in self.scene.untold() {
            self.scene.violated("I9 everything is told", untold);
        }
        if !self.scene.has_gone_wrong() {
            self.aftermath().await;
        }
        self.stop().await;
        for strange in self.scene.touched_by_nobody_known() {
            self.scene.violated("I12 nothing else is touched", strange);
        }
    }

    /// Lets time go by; kills, restarts and stubborn tools come at their own times.
    pub(super) async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let tick = self.stubborn.as_ref().map(|(at, _)| *at);
            let next = [Some(end), self.restart, tick].into_iter().flatten().min().unwrap_or(end);
            let scene = Arc::clone(&self.scene);
            tokio::select! {
                biased;
                () = scene.killed.notified() => self.bury(),
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            if self.restart.is_some_and(|at| at <= now) {
                self.start();
            }
            if let Some((at, tool)) = self.stubborn.take_if(|(at, _)| *at <= now) {
                tool.write(&self.scene);
                self.stubborn = tool.and_again().map(|tool| (at + tool.every, tool));
            }
            self.scene.listen();
            if self.running.as_ref().is_some_and(|running| running.task.is_finished()) {
                self.harvest().await;
            }
            if now >= end {
                return;
            }
        }
    }

    /// Something happens while a repair is under way, between its fresh read and its write: the rest of a life seldom hits
    /// that moment.
    async fn interrupt(&mut self) {
        let scene = Arc::clone(&self.scene);
        tokio::select! {
            biased;
            () = scene.looked.notified() => {}
            // What has to happen meanwhile does.
            () = self.pass(A_WHILE) => return,
        }
        self.scene.state().tally.disturbances += 1;
        if self.rng.bool() {
            self.disturb().await;
            return;
        }
        let changes = self.rng.usize(1..4);
        self.scene.state().authors.allow(changes);
        self.save(&format!("lets {changes} changes pass while a repair is under way"));
    }

    async fn disturb(&mut self) {
        match self.rng.u8(..24) {
            0..5 => {
                let what = self.scene.state().authors.edit();
                self.save(&what);
            }
            5 => {
                self.bury();
            }
            6 => {
                let kill_at = self.kill_at(12);
                let mut state = self.scene.state();
                state.process.kill_at = Some((state.process.calls + kill_at.0, kill_at.1));
            }
            7 => {
                self.stop().await;
                if self.rng.bool() {
                    self.apply_once().await;
                }
                // Where the pass was killed, the daemon may be back by now.
                if self.running.is_none() {
                    self.restart = Some(Instant::now() + Duration::from_secs(self.rng.u64(..60)));
                }
            }
            _ => {
                if let Some(tool) = people::disturb(&self.scene, &mut self.rng, &self.names) {
                    self.stubborn = Some((Instant::now(), tool));
                }
            }
        }
    }

    fn kill_at(&mut self, within: u64) -> (u64, Moment) {
        let moment = self.rng.choice([Moment::Arrival, Moment::Sent, Moment::Answered]).unwrap_or(Moment::Arrival);
        (self.rng.u64(1..within), moment)
    }

    /// Takes the files as they are now, and has them put in force.
    pub(super) fn save(&mut self, what: &str) {
        // What was told before was told of the manifests before.
        self.scene.listen();
        let now = self.scene.now();
        let mut state = self.scene.state();
        let verdict = state.authors.look();
        state.put_in_force(Arc::clone(&verdict.set), now);
        drop(state);
        self.scene.say(|| {
            format!(
                "somebody {what}; rejected: {:?}",
                verdict.rejected.iter().map(|file| (&file.file, &file.faults[0].message)).collect::<Vec<_>>()
            )
        });
        self.scene.manifests_changed();
        self.manifests.send_replace(verdict.set);
    }

    pub(super) fn start(&mut self) {
        let (controller, shutdown) = self.controller(Leave::Ask, Options::default());
        let controller = controller.woken_by(self.exchange.clone());
        let stop = shutdown.clone();
        let task = tokio::spawn(bound::polled(Arc::clone(&self.scene), async move {
            controller.run(stop).await;
            None
        }));
        self.running = Some(Running { task, shutdown, ends_by_itself: false });
    }

    /// Starts a single pass, as `apply` does.
    fn start_once(&mut self, leave: Leave, approve: Option<Digest>) {
        let (controller, shutdown) = self.controller(leave, Options { approve, ..Options::default() });
        let stop = shutdown.clone();
        let caller = Caller {
            account: self.scene.own.clone(),
            arn: format!("arn:aws:sts::{}:assumed-role/{}/simulation", super::OWN, super::OWN_ROLE),
            base_role: None,
        };
        let deadline = Instant::now() + ONCE;
        let pass = async move { Some(controller.once(caller, true, deadline, stop).await) };
        let task = tokio::spawn(bound::polled(Arc::clone(&self.scene), pass));
        self.running = Some(Running { task, shutdown, ends_by_itself: true });
    }

    fn controller(&mut self, leave: Leave, options: Options) -> (Controller<Witness>, CancellationToken) {
        self.restart = None;
        self.processes += 1;
        let kill_at = (!self.is_calm && self.rng.u8(..4) == 0).then(|| self.kill_at(60));
        self.scene.started(Process { leave, ..Process::new(self.processes, kill_at) });
        let witness = Witness::new(&self.scene, if self.rng.bool() { 1000 } else { self.rng.u16(2..20) });
        let options = Options { seed: self.rng.u64(..), ..options };
        (Controller::new(witness, self.manifests.subscribe(), options), CancellationToken::new())
    }

    /// One pass from its beginning to its end, whatever happens meanwhile; none where it was killed.
    pub(super) async fn once(&mut self, leave: Leave, approve: Option<Digest>) -> Option<Outcome> {
        self.start_once(leave, approve);
        let process = self.processes;
        self.outcome = None;
        while self.processes == process && self.running.is_some() {
            self.pass(Duration::from_secs(1)).await;
        }
        self.outcome.take()
    }

    /// `apply`, without approval, with that of another plan, or with that of the very plan.
    async fn apply_once(&mut self) {
        if self.rng.u8(..3) == 0 {
            self.once(Leave::Ask, None).await;
            return;
        }
        let Some(void) = self.once(Leave::Nothing, "0".repeat(64).parse().ok()).await else { return };
        if self.rng.bool() && self.running.is_none() {
            self.approve(void).await;
        }
    }

    /// Carries out the plan of which a void approval told.
    pub(super) async fn approve(&mut self, void: Outcome) -> Option<(usize, Outcome)> {
        let digest = void.digest?;
        let text = |step: &Step| step.live.as_ref().map(|live| live.text());
        let plan = void.steps.iter().filter(|step| step.reason == Some(Reason::ApprovalVoid));
        let plan: BTreeMap<Key, Option<String>> =
            plan.map(|step| ((step.target.role.clone(), step.target.policy.clone()), text(step))).collect();
        let planned = plan.len();
        let outcome = self.once(Leave::Plan(plan), Some(digest)).await?;
        self.scene.state().tally.approved += u64::from(outcome.written > 0);
        Some((planned, outcome))
    }

    /// The process has ended of its own accord.
    async fn harvest(&mut self) {
        let Some(running) = self.running.take() else { return };
        match running.task.await {
            Ok(outcome) if running.ends_by_itself => self.outcome = outcome,
            _ => self.scene.violated("the daemon runs until it is stopped", "it ended, or panicked"),
        }
        self.scene.end_process();
        self.scene.buried();
    }

    /// The process is dead: nothing of it runs any more. Another one begins some time later.
    fn bury(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.scene.end_process();
        running.task.abort();
        self.scene.buried();
        let downtime = if self.rng.bool() { self.rng.u64(..5_000) } else { self.rng.u64(..120_000) };
        self.restart = Some(Instant::now() + Duration::from_millis(downtime));
    }

    /// Asks the process to stop, and waits until it has.
    pub(super) async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        self.scene.say(|| "the daemon is asked to stop".to_owned());
        running.shutdown.cancel();
        let scene = Arc::clone(&self.scene);
        let asked = Instant::now();
        tokio::select! {
            biased;
            () = scene.killed.notified() => running.task.abort(),
            ended = &mut running.task => {
                if ended.is_err() {
                    self.scene.violated("the daemon runs until it is stopped", "it panicked");
                }
                if asked.elapsed() > Duration::from_secs(10) {
                    self.scene.violated("a stop is bounded", format!("it took {:?}", asked.elapsed()));
                }
            }
        }
        self.scene.listen();
        self.scene.end_process();
        self.scene.buried();
    }

    async fn calm_down(&mut self) {
        self.is_calm = true;
        self.hearsay.abort();
        self.stubborn = None;
        people::calm(&self.scene);
        self.scene.state().process.kill_at = None;
        self.scene.state().authors.mend();
        self.save("mends everything");
        if self.running.is_none() {
            self.start();
        }
    }
}
