//! One life: an organisation, its people, and processes that come and go under a clock of their own.
//!
//! What must stay true: everything follows from the seed, so the same seed is the same life to the last call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    runtime::Builder,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::bound,
    claims::Claims,
    edge::Edge,
    hearsay::{self, Carrier},
    judge::{Key, Organization, Process, Standing, Wish},
    people,
    tally::Tally,
};
use crate::{
    controller::{Controller, Options},
    events::{Exchange, Listening},
    manifest::ManifestSet,
    names::AccountId,
    sandbox::{Effect, Fault, Sandbox},
};

/// How long after the calm everything must be right, in minutes: what was refused is asked for again within ten.
const BOUND: u64 = 13;
/// What was changed so often that it may pass for a fight waits half an hour longer.
const FOUGHT: u32 = 3;
const OF_A_FIGHT: u64 = 32;
/// What goes beyond the guards waits until an hour's writes count no more.
const OF_GUARDS: u64 = 62;
/// How long a drift lasts in an account that is well, however it stands with the others.
const WHILE_OTHERS_ARE_SICK: Duration = Duration::from_secs(120);
/// How long a drift lasts of which an event tells: what is heard of, is looked at, planned and written.
const SOON: Duration = Duration::from_secs(60);
/// How long events that came let readings be rare: a fifth longer than the stretched interval, and a quarter of an hour.
const SILENCE: Duration = Duration::from_secs(8 * 72 + 15 * 60 + 30);
/// How long after the next reading at the usual interval, which may be a fifth longer, a drift lasts where no events arrive.
const AS_EVER: Duration = Duration::from_secs(48);
/// How long a process may take to stop.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// How a life ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) violations: Vec<String>,
    pub(super) trace: Vec<String>,
    pub(super) tally: Tally,
}

/// Lives the life of this seed; told in words where somebody wants to read it.
pub(super) fn live(seed: u64, is_traced: bool) -> Ended {
    let _alive = bound::watched(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let organization = runtime.block_on(async {
        let mut life = Life::new(seed, is_traced);
        life.unfold().await;
        let seconds = life.organization.now().as_secs();
        life.organization.state().tally.seconds = seconds;
        life.organization
    });
    let mut state = organization.state();
    Ended {
        violations: std::mem::take(&mut state.violations),
        trace: std::mem::take(&mut state.trace),
        tally: state.tally.clone(),
    }
}

struct Life {
    organization: Arc<Organization>,
    rng: Rng,
    manifests: Arc<ManifestSet>,
    pods: BTreeMap<u64, Pod>,
    /// How many shards there are to be.
    count: u32,
    due: Vec<(Instant, Act)>,
    processes: u64,
    is_calm: bool,
    has_tight_guards: bool,
    is_large: bool,
}

/// A process.
struct Pod {
    shard: (u32, u32),
    manifests: watch::Sender<Arc<ManifestSet>>,
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Start(u32, u32),
    Stop(u64),
    Kill(u64),
    /// The process hears of the newest manifests.
    Hear(u64),
}

impl Life {
    fn new(seed: u64, is_traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let has_tight_guards = seed % 4 == 1;
        // The plan of everything is within them, but not twice within an hour.
        let most_changes = if has_tight_guards { 9 } else { 1_000 };
        let is_large = seed % 8 == 6;
        let accounts = people::accounts(&mut rng, is_large);
        let sandbox = Sandbox::new(accounts[0].clone());
        sandbox.keep_calls(0);
        let organization = Organization::new(sandbox, accounts, most_changes, is_traced);
        people::populate(&organization, &mut rng);
        organization.state().carrier = Carrier::Bad;
        let count = rng.u32(1..5);
        let mut life = Self {
            organization,
            rng,
            manifests: Arc::default(),
            pods: BTreeMap::new(),
            count,
            due: Vec::new(),
            processes: 0,
            is_calm: false,
            has_tight_guards,
            is_large,
        };
        life.stand();
        life
    }

    async fn unfold(&mut self) {
        for index in 0..self.count {
            self.start(index, self.count);
        }
        for _ in 0..self.rng.usize(10..50) {
            let gap = match self.rng.u8(..10) {
                0..4 => self.rng.u64(10..3_000),
                4..9 => self.rng.u64(10..40_000),
                _ => self.rng.u64(10..300_000),
            };
            self.pass(Duration::from_millis(gap)).await;
            if self.organization.has_gone_wrong() {
                return;
            }
            // What ends takes its count of writes along.
            let what = if self.has_tight_guards { self.rng.u8(1..40) } else { self.rng.u8(..16) };
            match what {
                0..2 => self.rescale(),
                2 => {
                    if let Some(number) = self.any_pod() {
                        self.due.push((Instant::now(), Act::Kill(number)));
                    }
                }
                // More accounts than are read at once would take their turns by chance, where all hear of something at once.
                3 if !self.is_large => self.stand(),
                4 if !self.has_tight_guards => {
                    if let Some(number) = self.any_pod() {
                        hearsay::deafen(&self.organization, number);
                    }
                }
                _ => people::disturb(&self.organization, &mut self.rng, self.has_tight_guards),
            }
        }
        self.calm_down();
        self.converge().await;
        self.is_quiet().await;
        if !self.organization.has_gone_wrong() && !self.has_tight_guards {
            self.hear().await;
        }
        if !self.organization.has_gone_wrong() && !self.has_tight_guards {
            self.fall_sick().await;
        }
        self.stop().await;
    }

    /// Lets time go by, in which processes begin and end.
    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let next = self.due.iter().map(|(at, _)| *at).chain([end]).min().unwrap_or(end);
            let organization = Arc::clone(&self.organization);
            tokio::select! {
                biased;
                () = organization.killed.notified() => {}
                () = sleep_until(next) => {}
            }
            self.bury();
            self.edit();
            let now = Instant::now();
            let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= now);
            self.due = later;
            for (_, act) in Vec::from_iter::<Vec<(Instant, Act)>>(due) {
                self.act(act);
            }
            self.organization.state().tally.gaps += u64::from(self.organization.kept_by_nobody() > 0);
            if now >= end {
                return;
            }
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Start(index, count) => {
                // Who is no longer wanted does not come back, and nobody comes twice.
                if count == self.count && !self.pods.values().any(|pod| pod.shard == (index, count)) {
                    self.start(index, count);
                }
            }
            Act::Stop(number) => {
                if let Some(pod) = self.pods.get(&number) {
                    self.organization.say(|| format!("process {number} is asked to stop"));
                    pod.shutdown.cancel();
                }
            }
            Act::Hear(number) => {
                if let Some(pod) = self.pods.get(&number) {
                    let wish = self.organization.state().wish.clone();
                    self.organization.say(|| format!("process {number} hears of {wish:?}"));
                    self.organization.hears(number, &wish);
                    pod.manifests.send_replace(Arc::clone(&self.manifests));
                }
            }
            Act::Kill(number) => {
                if self.pods.contains_key(&number) {
                    self.organization.kill(number);
                    self.bury();
                }
            }
        }
    }

    fn start(&mut self, index: u32, count: u32) {
        self.processes += 1;
        let number = self.processes;
        let accounts = &self.organization.accounts;
        let account = accounts[self.rng.usize(..accounts.len())].clone();
        let dies_at_a_call = !self.is_calm && !self.has_tight_guards && self.rng.u8(..3) == 0;
        let kill_at = dies_at_a_call.then(|| (account, self.rng.u64(1..30), self.rng.bool()));
        let shard = format!("{index}/{count}").parse().unwrap();
        self.organization.say(|| format!("process {number} begins as {shard}"));
        let mut state = self.organization.state();
        let exchange = Exchange::default();
        exchange.is_listening(if self.is_calm { Listening::Failed } else { Listening::Up });
        let process = Process::new(shard, kill_at, state.wish.clone(), exchange.clone());
        state.processes.insert(number, process);
        drop(state);
        let page_size = if self.rng.bool() { 1000 } else { self.rng.u16(2..20) };
        let edge = Edge::new(&self.organization, number, page_size, self.rng.u64(..));
        let (manifests, newest) = watch::channel(Arc::clone(&self.manifests));
        let options = Options { seed: self.rng.u64(..), shard: Some(shard), ..Options::default() };
        let controller = Controller::new(edge, newest, options).woken_by(exchange);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(controller.run(shutdown.clone()));
        self.pods.insert(number, Pod { shard: (index, count), manifests, task, shutdown });
    }

    /// Takes away the processes that have died or ended; those that are wanted come back some time later.
    fn bury(&mut self) {
        let is_dead =
            |number: &u64| self.organization.state().processes.get(number).is_none_or(|process| process.is_dead);
        let over: Vec<u64> = self
            .pods
            .iter()
            .filter(|(number, pod)| is_dead(number) || pod.task.is_finished())
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            let Some(pod) = self.pods.remove(&number) else { continue };
            let was_killed = is_dead(&number);
            if !was_killed && !pod.shutdown.is_cancelled() {
                self.organization
                    .violated("O0 a process runs until it is stopped", format!("process {number} has ended"));
            }
            pod.task.abort();
            self.forget(number);
            let (index, count) = pod.shard;
            let downtime = if self.rng.bool() { self.rng.u64(..3_000) } else { self.rng.u64(..120_000) };
            if count == self.count {
                self.due.push((Instant::now() + Duration::from_millis(downtime), Act::Start(index, count)));
            }
        }
    }

    fn forget(&self, number: u64) {
        if let Some(process) = self.organization.state().processes.get_mut(&number) {
            process.is_dead = true;
        }
    }

    fn any_pod(&mut self) -> Option<u64> {
        let numbers: Vec<u64> = self.pods.keys().copied().collect();
        self.rng.choice(numbers)
    }

    /// Another number of shards: each process of the old ones ends, and each of the new ones begins, at a moment of its own.
    fn rescale(&mut self) {
        let count = self.rng.u32(1..6);
        if count == self.count {
            return;
        }
        self.organization.say(|| format!("{count} shards in place of {}", self.count));
        self.organization.state().tally.rescales += 1;
        self.count = count;
        let now = Instant::now();
        let (mut longest_start, longest_stop) = (self.rng.u64(1..120_000), self.rng.u64(1..180_000));
        if self.rng.bool() {
            // Whoever looks at once finds as much as those who have looked for long.
            longest_start = 1_000;
            (0..8).for_each(|_| people::tamper(&self.organization, &mut self.rng, false));
        }
        for number in self.pods.keys().copied() {
            let at = now + Duration::from_millis(self.rng.u64(..longest_stop));
            self.due.push((at, if self.rng.bool() { Act::Stop(number) } else { Act::Kill(number) }));
        }
        for index in 0..count {
            self.due.push((now + Duration::from_millis(self.rng.u64(..longest_start)), Act::Start(index, count)));
        }
    }

    /// Other selectors claim roles from this moment on, and all processes hear of it at once.
    fn edit(&mut self) {
        if !std::mem::take(&mut self.organization.state().is_to_be_edited) || self.is_large {
            return;
        }
        let mut wish = self.organization.state().wish.clone();
        let claims = &mut wish.claims;
        *if self.rng.bool() { &mut claims.by_tag } else { &mut claims.by_path } ^= true;
        self.has_it_wished(wish);
        self.pods.keys().copied().collect::<Vec<_>>().into_iter().for_each(|number| self.act(Act::Hear(number)));
    }

    /// Some accounts are looked at only, or suspended.
    fn stand(&mut self) {
        let mut standings = BTreeMap::new();
        for account in &self.organization.accounts {
            let is_tried = self.has_tight_guards && *account == self.organization.accounts[1];
            match self.rng.u8(..8) {
                _ if is_tried => None,
                0 => standings.insert(account.clone(), Standing::Observed),
                1 => standings.insert(account.clone(), Standing::Suspended),
                _ => None,
            };
        }
        // What only selectors ask for would be more than the guards let pass within an hour.
        let mut claims = || !self.has_tight_guards && self.rng.u8(..3) > 0;
        let wish = Wish { standings, claims: Claims { by_tag: claims(), by_path: claims() } };
        self.has_it_wished(wish);
        for number in self.pods.keys() {
            self.due.push((Instant::now() + Duration::from_millis(self.rng.u64(..60_000)), Act::Hear(*number)));
        }
    }

    fn has_it_wished(&mut self, wish: Wish) {
        let most_changes = self.organization.state().most_changes;
        self.manifests = people::manifests(&self.organization.accounts, &wish, most_changes);
        self.organization.say(|| format!("manifests say now: {wish:?}"));
        self.organization.state().wish = wish;
    }

    /// One set of shards, that lives on, and nobody who meddles.
    fn calm_down(&mut self) {
        self.is_calm = true;
        self.organization.state().is_calm = true;
        people::calm(&self.organization);
        self.carries(Carrier::None);
        self.due.clear();
        for process in self.organization.state().processes.values_mut() {
            process.kill_at = None;
        }
        let old: Vec<u64> =
            self.pods.iter().filter(|(_, pod)| pod.shard.1 != self.count).map(|(number, _)| *number).collect();
        old.into_iter().for_each(|number| self.act(Act::Stop(number)));
        for index in 0..self.count {
            // Who was stopped or killed just before is taken away first.
            self.due.push((Instant::now() + STOPS_WITHIN, Act::Start(index, self.count)));
        }
        for number in self.pods.keys() {
            self.due.push((Instant::now(), Act::Hear(*number)));
        }
    }

    /// How long a policy may take to be right, in minutes.
    fn bound(&self, key: &Key) -> u64 {
        let of_a_fight = if self.organization.times_changed(key) >= FOUGHT { OF_A_FIGHT } else { 0 };
        BOUND + of_a_fight + if self.has_tight_guards { OF_GUARDS } else { 0 }
    }

    async fn converge(&mut self) {
        for minute in 0.. {
            let unsettled = self.organization.unsettled();
            if unsettled.is_empty() {
                let mut state = self.organization.state();
                state.tally.longest_minutes = state.tally.longest_minutes.max(minute);
                return;
            }
            if let Some(late) = unsettled.iter().find(|key| minute >= self.bound(key)) {
                self.organization
                    .violated("O8 convergence", format!("{late:?} is not right after {minute} minutes of calm"));
            }
            if self.organization.has_gone_wrong() {
                return;
            }
            self.pass(Duration::from_secs(60)).await;
        }
    }

    /// What has settled stays so, without a write; each account is read by one process.
    async fn is_quiet(&mut self) {
        self.pass(Duration::from_secs(90)).await;
        let (writes, since) = (self.organization.state().tally.writes, self.organization.now());
        // Whoever hears of changes that are none looks, and finds nothing.
        let rng = &mut self.rng;
        (0..3).for_each(|_| hearsay::forge(&self.organization, rng));
        self.pass(Duration::from_secs(600)).await;
        if self.organization.state().tally.writes != writes {
            self.organization
                .violated("O6 one write of each process for each cause", "something is written although all is right");
        }
        for account in self.organization.accounts.clone() {
            let state = self.organization.state();
            let is_reader = |process: &&Process| process.readings.get(&account).is_some_and(|at| *at > since);
            let readers = state.processes.values().filter(is_reader).count();
            drop(state);
            if readers != 1 {
                self.organization
                    .violated("O1 a shard keeps its own accounts", format!("{readers} processes read {account}"));
            }
        }
    }

    /// From now on events are carried so, and queues can be read or not.
    fn carries(&self, carrier: Carrier) {
        let mut state = self.organization.state();
        state.carrier = carrier;
        let listening = if carrier == Carrier::None { Listening::Failed } else { Listening::Up };
        for process in state.processes.values_mut() {
            process.is_deaf = false;
            process.exchange.is_listening(listening);
        }
    }

    /// Somebody changes some policies, of which each may be fought over or not; which of them are to be right.
    fn change_by_hand(&mut self) -> Vec<Key> {
        let keys = people::keys(&self.organization);
        let mut changed = Vec::new();
        for _ in 0..4 {
            let key = keys[self.rng.usize(..keys.len())].clone();
            if self.organization.times_changed(&key) == 0 {
                self.organization.put(&key, None);
                changed.push(key);
            }
        }
        changed.retain(|key| self.organization.unsettled().contains(key));
        changed
    }

    async fn is_undone_within(&mut self, changed: &[Key], bound: impl Fn(&AccountId) -> Duration, rule: &str) {
        let since = Instant::now();
        let is_undone = |life: &Self| !life.organization.unsettled().iter().any(|key| changed.contains(key));
        while !is_undone(self) {
            let late = |key: &Key| changed.contains(key) && since.elapsed() >= bound(&key.0);
            if let Some(late) = self.organization.unsettled().into_iter().find(late) {
                let waited = since.elapsed().as_secs();
                return self.organization.violated(rule, format!("{late:?} is not right after {waited} s"));
            }
            self.pass(Duration::from_secs(1)).await;
        }
    }

    /// Events arrive, and readings become rare: what is changed by hand is undone all the same, as soon as it is heard of.
    /// Then they are lost, or the queue cannot be read any more, and readings are as frequent again as they were.
    async fn hear(&mut self) {
        self.carries(Carrier::Good);
        for account in &self.organization.accounts {
            self.organization.tell(account, people::KEEPER, ("GetRole", None), None);
        }
        // The reading that was due, and some time without one.
        self.pass(Duration::from_secs(90)).await;
        let since = self.organization.now();
        self.pass(Duration::from_secs(120)).await;
        let readings = |organization: &Organization| {
            let state = organization.state();
            state.processes.values().flat_map(|process| process.readings.values()).filter(|at| **at > since).count()
        };
        let rare = readings(&self.organization);
        if rare > self.organization.accounts.len() / 2 {
            self.organization
                .violated("O12 with events readings are rare", format!("{rare} accounts are read within two minutes"));
        }
        let changed = self.change_by_hand();
        self.is_undone_within(&changed, |_| SOON, "O12 what is heard of is undone soon").await;
        self.organization.state().tally.undone_soon += changed.len() as u64;
        if self.rng.bool() {
            // Nothing is written meanwhile: that nobody hears of a write would be noticed, too.
            self.organization.state().carrier = Carrier::None;
            self.pass(SILENCE).await;
        } else {
            self.carries(Carrier::None);
        }
        let changed = self.change_by_hand();
        let accounts = self.organization.accounts.clone();
        let as_ever = |account: &AccountId| people::resync_interval(&accounts, account) * 6 / 5 + AS_EVER;
        self.is_undone_within(&changed, as_ever, "O12 without events the account's interval comes back").await;
        self.carries(Carrier::None);
    }

    /// Some accounts are throttled, closed or silent. The others are kept as if nothing were.
    async fn fall_sick(&mut self) {
        let accounts = self.organization.accounts.clone();
        let healthy: BTreeSet<AccountId> = {
            let mut shuffled = accounts.clone();
            self.rng.shuffle(&mut shuffled);
            let count = self.rng.usize(1..accounts.len());
            shuffled.into_iter().take(count).collect()
        };
        for account in accounts.iter().filter(|account| !healthy.contains(*account)) {
            self.organization.say(|| format!("{account} falls sick"));
            self.organization.state().tally.sick += 1;
            let fault = match self.rng.u8(..5) {
                0 => Fault::new(Effect::Throttle).beyond(0.2, 1),
                1 => Fault::new(Effect::Throttle),
                2 => Fault::new(Effect::Deny),
                3 => Fault::new(Effect::Hang),
                _ => {
                    people::close(&self.organization, account);
                    continue;
                }
            };
            // IAM alone: by the own account's STS all the others are entered.
            for operation in people::IAM {
                self.organization.sandbox.fault(fault.clone().account(account).on(operation));
            }
        }
        if self.rng.bool() {
            // Who begins now has to enter all of them anew.
            self.pods.keys().copied().collect::<Vec<_>>().into_iter().for_each(|number| self.act(Act::Kill(number)));
            self.due.clear();
            (0..self.count).for_each(|index| self.start(index, self.count));
        }
        let wait = Duration::from_millis(self.rng.u64(..400_000));
        self.pass(wait).await;
        let mut tampered = Vec::new();
        for key in people::keys(&self.organization) {
            if self.organization.times_changed(&key) == 0 && self.rng.bool() {
                self.organization.put(&key, None);
                tampered.push(key);
            }
        }
        let since = Instant::now();
        while since.elapsed() < WHILE_OTHERS_ARE_SICK {
            self.pass(Duration::from_secs(5)).await;
            if !self.organization.unsettled().iter().any(|key| healthy.contains(&key.0)) {
                break;
            }
        }
        let waited = since.elapsed().as_secs();
        let late = self.organization.unsettled().into_iter().find(|key| healthy.contains(&key.0));
        if let Some(late) = late {
            self.organization
                .violated("O10 no account waits for another one", format!("{late:?} is not right after {waited} s"));
        }
        {
            let tally = &mut self.organization.state().tally;
            tally.longest_healthy_seconds = tally.longest_healthy_seconds.max(waited);
        }
        people::calm(&self.organization);
        self.converge().await;
    }

    /// Asks every process to stop, and waits until it has.
    async fn stop(&mut self) {
        self.pods.values().for_each(|pod| pod.shutdown.cancel());
        for (number, pod) in std::mem::take(&mut self.pods) {
            match timeout(STOPS_WITHIN, pod.task).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => self
                    .organization
                    .violated("O0 a process runs until it is stopped", format!("process {number} panicked")),
                Err(_) => self.organization.violated("O0 a stop is bounded", format!("process {number} goes on")),
            }
            self.forget(number);
        }
    }
}
