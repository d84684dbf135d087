//! One life: a world, its people, and a controller that is killed and started again, under a clock of its own.
//!
//! What must stay true: everything follows from the seed, so the same seed is the same life to the last call.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    runtime::Builder,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    log::{Ear, Log},
    people::{self, Stubborn},
    scene::{Moment, Process, Scene, Tally},
    witness::Witness,
};
use crate::{
    controller::{Controller, Options},
    manifest::ManifestSet,
    sandbox::Sandbox,
};

/// How long after the calm everything must be right, in minutes: a fight keeps repairs waiting for half an hour, and
/// other waits of up to ten minutes may have begun just before it.
const BOUND: u64 = 45;

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) violations: Vec<String>,
    pub(super) trace: Vec<String>,
    pub(super) tally: Tally,
}

/// Lives the life of this seed; told in words where somebody wants to read it.
pub(super) fn live(seed: u64, is_traced: bool, ear: &Ear) -> Ended {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut life = Life::new(seed, is_traced, ear.clone());
        life.unfold().await;
        let mut state = life.scene.state();
        state.tally.seconds = life.scene.now().as_secs();
        state.tally.events = ear.log().count;
        let (violations, tally) = (std::mem::take(&mut state.violations), state.tally);
        drop(state);
        Ended { violations, trace: life.scene.trace(), tally }
    })
}

struct Life {
    scene: Arc<Scene>,
    rng: Rng,
    names: Vec<String>,
    manifests: watch::Sender<Arc<ManifestSet>>,
    running: Option<Running>,
    /// When the next process begins, where none is at work.
    restart: Option<Instant>,
    stubborn: Option<(Instant, Stubborn)>,
    processes: u64,
    is_calm: bool,
}

struct Running {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Life {
    fn new(seed: u64, is_traced: bool, ear: Ear) -> Self {
        let mut rng = Rng::with_seed(seed);
        let names = people::names(&mut rng);
        let sandbox = Sandbox::new(super::OWN.parse().unwrap());
        sandbox.keep_calls(0);
        *ear.log() = Log::new(is_traced);
        // Some roles that manifests name are in no world.
        let mut named = names.clone();
        named.extend(["ghost-1", "Ghost-2"].map(str::to_owned));
        let scene = Scene::new(sandbox, rng.fork(), named, ear, is_traced);
        people::populate(&scene, &mut rng, &names);
        let (manifests, _) = watch::channel(Arc::default());
        let mut life = Self {
            scene,
            rng,
            names,
            manifests,
            running: None,
            restart: None,
            stubborn: None,
            processes: 0,
            is_calm: false,
        };
        life.save("the first manifests");
        life
    }

    async fn unfold(&mut self) {
        self.start();
        for _ in 0..self.rng.usize(10..60) {
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
        for minute in 0..=BOUND {
            let unsettled = self.scene.unsettled();
            if unsettled.is_empty() {
                self.scene.state().tally.minutes_to_calm = minute;
                break;
            }
            if minute == BOUND {
                self.scene.violated("I10 convergence", unsettled.join("; "));
            }
            self.pass(Duration::from_secs(60)).await;
        }
        // What has settled stays as it is, and nothing is written any more; nothing that was sent is on its way still.
        self.pass(Duration::from_secs(60)).await;
        let effects = self.scene.state().tally.effects;
        self.pass(Duration::from_secs(240)).await;
        if self.scene.state().tally.effects != effects {
            self.scene.violated("I4 no more writes than causes", "something was written after all had settled");
        }
        let unsettled = self.scene.unsettled();
        if !unsettled.is_empty() {
            self.scene.violated("I10 convergence", format!("settled no longer: {}", unsettled.join("; ")));
        }
        self.stop().await;
        for strange in self.scene.touched_by_nobody_known() {
            self.scene.violated("I12 nothing else is touched", strange);
        }
    }

    /// Lets time go by; kills, restarts and stubborn tools come at their own times.
    async fn pass(&mut self, time: Duration) {
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
                self.scene.violated("the daemon runs until it is stopped", "it ended, or panicked");
                self.bury();
            }
            if now >= end {
                return;
            }
        }
    }

    async fn disturb(&mut self) {
        match self.rng.u8(..24) {
            0..5 => {
                let what = self.scene.state().authors.edit();
                self.save(&what);
            }
            5 => {
                self.scene.kill();
                self.bury();
            }
            6 => {
                let kill_at = self.kill_at(12);
                let mut state = self.scene.state();
                state.process.kill_at = Some((state.process.calls + kill_at.0, kill_at.1));
            }
            7 => {
                self.stop().await;
                self.restart = Some(Instant::now() + Duration::from_secs(self.rng.u64(..60)));
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
    fn save(&mut self, what: &str) {
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

    fn start(&mut self) {
        self.restart = None;
        self.processes += 1;
        let kill_at = (!self.is_calm && self.rng.u8(..4) == 0).then(|| self.kill_at(60));
        self.scene.started(Process::new(self.processes, kill_at));
        let witness = Witness::new(&self.scene, if self.rng.bool() { 1000 } else { self.rng.u16(2..20) });
        let options = Options { seed: self.rng.u64(..), ..Options::default() };
        let shutdown = CancellationToken::new();
        let controller = Controller::new(witness, self.manifests.subscribe(), options);
        self.running = Some(Running { task: tokio::spawn(controller.run(shutdown.clone())), shutdown });
    }

    /// The process is dead: nothing of it runs any more. Another one begins some time later.
    fn bury(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.scene.kill();
        running.task.abort();
        self.scene.buried();
        let downtime = if self.rng.bool() { self.rng.u64(..5_000) } else { self.rng.u64(..120_000) };
        self.restart = Some(Instant::now() + Duration::from_millis(downtime));
    }

    /// Asks the process to stop, and waits until it has.
    async fn stop(&mut self) {
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
        self.scene.kill();
        self.scene.buried();
    }

    async fn calm_down(&mut self) {
        self.is_calm = true;
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
