//! The loop of one account.
//!
//! One reading at a time, several repairs at a time, never two for one role. What must stay true: everything that
//! is decided is decided from the newest manifests, and a reading that failed decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{self, JoinError, JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Options, Outcome, RESYNC_INTERVAL,
    backoff::Backoff,
    read_failed,
    repair::{Repaired, repair},
    report::{REMINDER, Reporter},
    slot::{Slot, Worth},
};
use crate::{
    iam::{Caller, ErrorClass, Iam, IamError, Manner, Reader, Writer},
    inventory::{Asked, Inventory, LiveDocument, Observed},
    manifest::{ManifestSet, PolicyKey},
    names::RoleName,
    plan::{self, Action, Circumstances, Reason, Step, Target},
    telemetry::{Event, EventName, emit},
};

/// How many roles are repaired at once. Each repair is two calls of some 100 ms: well over five writes a second.
const REPAIRS_AT_ONCE: usize = 5;

/// How soon a role is looked for again that a write did not find.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// How long a stop waits for repairs under way: none begins to write any more, and a write is bounded by less.
const LAST_WRITES: Duration = Duration::from_secs(9);

/// A reading: what it asked for, and what came of it.
type Reading = (Arc<Asked>, Result<(Arc<Inventory>, Manner), IamError>);

/// One account: what is wanted, what was seen, and what is under way.
#[derive(Debug)]
pub(super) struct Account<I> {
    writer: Arc<Writer<I>>,
    reader: Arc<Reader<I>>,
    manifests: watch::Receiver<Arc<ManifestSet>>,
    options: Options,
    caller: Caller,
    random: fastrand::Rng,
    started: Instant,

    circumstances: Circumstances,
    slots: BTreeMap<PolicyKey, Slot>,
    /// What a reading is to find out for the slots.
    asked: Arc<Asked>,
    /// The steps of manifests for other accounts.
    mismatched: Vec<Step>,
    reporter: Reporter,
    written: usize,

    inventory: Arc<Inventory>,
    reading: Option<JoinHandle<Reading>>,
    /// Roles that were written to while the reading was made: it may show them before or after.
    spoiled: BTreeSet<RoleName>,
    next_reading: Instant,
    reading_backoff: Backoff,
    reading_failed: Option<(IamError, Instant)>,
    /// Whether it was told that roles are read one by one.
    one_by_one_told: bool,

    queue: VecDeque<PolicyKey>,
    /// When retries are due; an entry that its slot does not confirm any more is void.
    waiting: BTreeSet<(Instant, PolicyKey)>,
    busy: BTreeMap<RoleName, Busy>,
    repairs: JoinSet<Repaired>,
    is_stopping: bool,
}

/// A repair under way.
#[derive(Debug)]
struct Busy {
    task: task::Id,
    key: PolicyKey,
    /// Cancelled when newer manifests ask for something else, or a stop is due.
    overtaken: CancellationToken,
}

impl<I: Iam> Account<I> {
    pub(super) fn new(
        iam: Arc<I>,
        caller: Caller,
        manifests: watch::Receiver<Arc<ManifestSet>>,
        options: Options,
    ) -> Self {
        let now = Instant::now();
        let mut account = Self {
            reader: Arc::new(Reader::new(Arc::clone(&iam), caller.account.clone())),
            writer: Arc::new(Writer::new(iam, caller.account.clone())),
            manifests,
            random: fastrand::Rng::with_seed(options.seed),
            started: now,
            circumstances: Circumstances::default(),
            slots: BTreeMap::new(),
            asked: Arc::default(),
            mismatched: Vec::new(),
            reporter: Reporter::default(),
            written: 0,
            inventory: Arc::default(),
            reading: None,
            spoiled: BTreeSet::new(),
            next_reading: now,
            reading_backoff: Backoff::new(options.seed),
            reading_failed: None,
            one_by_one_told: false,
            queue: VecDeque::new(),
            waiting: BTreeSet::new(),
            busy: BTreeMap::new(),
            repairs: JoinSet::new(),
            is_stopping: false,
            options,
            caller,
        };
        account.take_manifests();
        account
    }

    /// Runs until `shutdown`, then lets the writes in flight finish.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            self.turn(&shutdown).await;
        }
        self.finish_repairs().await;
    }

    /// Runs until nothing is left that may pass by itself, or until the deadline.
    pub(super) async fn once(mut self, deadline: Instant, shutdown: CancellationToken) -> Outcome {
        while !self.has_settled() && !shutdown.is_cancelled() {
            // A turn may wait long for a retry. What is under way goes on when it is dropped.
            if timeout_at(deadline, self.turn(&shutdown)).await.is_err() {
                break;
            }
        }
        self.finish_repairs().await;
        let last_verdict = |slot: Slot| {
            slot.step.unwrap_or_else(|| plan::judge(&slot.wanted, &Observed::Unknown(None), &self.circumstances))
        };
        let steps = self.slots.into_values().map(last_verdict).chain(self.mismatched).collect();
        Outcome { steps, written: self.written }
    }

    /// Waits for whatever comes first, and deals with it. Cancel safe: what is under way goes on.
    async fn turn(&mut self, shutdown: &CancellationToken) {
        self.begin_what_is_due();
        let wake_at = self.next_wake();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = next_manifests(&mut self.manifests) => self.take_manifests(),
            read = finished(&mut self.reading) => {
                self.reading = None;
                self.conclude_reading(read);
            }
            Some(done) = self.repairs.join_next_with_id() => self.conclude_repair(done),
            () = sleep_until(wake_at) => {}
        }
    }

    fn begin_what_is_due(&mut self) {
        let now = Instant::now();
        if self.reading.is_none() && self.next_reading <= now {
            self.begin_reading();
        }
        while let Some((due, key)) = self.waiting.pop_first() {
            if due > now {
                self.waiting.insert((due, key));
                break;
            }
            let is_due = |slot: &Slot| slot.retry.as_ref().is_some_and(|retry| retry.due <= now);
            if self.slots.get(&key).is_some_and(is_due) {
                self.enqueue(&key);
            }
        }
        self.begin_repairs();
    }

    /// The next moment at which something is due that nobody will report.
    fn next_wake(&self) -> Instant {
        let reading = self.reading.is_none().then_some(self.next_reading);
        let retry = self.waiting.first().map(|(due, _)| *due);
        reading.into_iter().chain(retry).min().unwrap_or_else(|| Instant::now() + RESYNC_INTERVAL)
    }

    /// Takes the newest manifests. What is queued, waiting or under way by older ones goes on only where the newer
    /// ones ask for the same.
    fn take_manifests(&mut self) {
        let manifests = Arc::clone(&self.manifests.borrow_and_update());
        let circumstances = Circumstances {
            account: Some(self.caller.account.clone()),
            own_role: self.caller.role(),
            observe_only: self.options.observe_only,
            suspended: manifests.configuration().is_some_and(|configuration| configuration.suspend),
            limits: manifests.limits(),
        };
        let same_circumstances = circumstances == self.circumstances;
        if circumstances.suspended != self.circumstances.suspended {
            emit(&kill_switch(circumstances.suspended));
        }
        self.circumstances = circumstances;
        let desired = manifests.desired(&self.caller.account, self.caller.partition().as_ref());
        self.asked = Arc::new(plan::asked_for(&desired));
        self.mismatched = plan::mismatched(&manifests, &self.caller.account);

        for busy in self.busy.values() {
            let asks_the_same =
                |slot: &Slot| desired.policies.get(&busy.key).is_some_and(|new| slot.asks_the_same(new));
            if !same_circumstances || !self.slots.get(&busy.key).is_some_and(asks_the_same) {
                busy.overtaken.cancel();
            }
        }
        let mut before = std::mem::take(&mut self.slots);
        let renewed = desired.policies.into_iter().map(|(key, wanted)| {
            let slot = match before.remove(&key) {
                Some(slot) => slot.under(wanted, same_circumstances),
                None => Slot::new(wanted),
            };
            (key, slot)
        });
        self.slots = renewed.collect();
        self.queue.retain(|key| self.slots.get(key).is_some_and(|slot| slot.is_queued));
        self.release();
        self.tell_mismatched();
        self.next_reading = Instant::now();
    }

    /// Tells of policies that no manifest asks for any more. Those that are being repaired wait for the end of it.
    fn release(&mut self) {
        let account = &self.circumstances.account;
        let target = |(role, policy): &PolicyKey| Target {
            account: account.clone(),
            role: role.clone(),
            policy: policy.clone(),
        };
        let asked_for: BTreeSet<Target> = self
            .slots
            .keys()
            .chain(self.busy.values().map(|busy| &busy.key))
            .map(target)
            .chain(self.mismatched.iter().map(|step| step.target.clone()))
            .collect();
        self.reporter.release(&asked_for).iter().for_each(emit);
    }

    fn tell_mismatched(&mut self) {
        for step in &self.mismatched {
            self.reporter.observe(step, self.started.elapsed()).iter().for_each(emit);
        }
    }

    fn begin_reading(&mut self) {
        self.next_reading = Instant::now() + self.resync_interval();
        let asked = Arc::clone(&self.asked);
        if asked.is_empty() {
            self.tell_mismatched();
            return;
        }
        let reader = Arc::clone(&self.reader);
        self.spoiled.clear();
        self.reading = Some(tokio::spawn(async move {
            let read = reader.read(&asked).await;
            (asked, read)
        }));
    }

    fn conclude_reading(&mut self, read: Result<Reading, JoinError>) {
        let now = Instant::now();
        let (asked, read) = read.unwrap_or_else(|ended_early| {
            let error = IamError::contradiction("reading", format!("it ended early ({ended_early})"));
            (Arc::default(), Err(error))
        });
        match read {
            Ok((inventory, manner)) => {
                if self.reading_failed.take().is_some() {
                    emit(&self.about_account(EventName::ReadRecovered, "can be read again"));
                }
                self.tell_manner(&manner);
                // Manifests that came meanwhile may ask for roles that this reading did not look for.
                self.next_reading = if asked == self.asked { now + self.resync_interval() } else { now };
                if inventory.may_be_completed() {
                    self.next_reading = self.next_reading.min(now + self.reading_backoff.next());
                } else {
                    self.reading_backoff.reset();
                }
                self.inventory = inventory;
                self.take_inventory(now);
                self.tell_mismatched();
            }
            Err(error) => {
                let told_at = match &self.reading_failed {
                    Some((earlier, at))
                        if earlier.class.passes_by_itself() == error.class.passes_by_itself()
                            && now.duration_since(*at) < REMINDER =>
                    {
                        *at
                    }
                    _ => {
                        emit(&read_failed(Some(&self.caller.account), &error));
                        now
                    }
                };
                self.reading_failed = Some((error, told_at));
                self.next_reading = now + self.reading_backoff.next();
            }
        }
    }

    /// Judges every managed policy by the newest reading, tells what is new, and queues what is to be repaired.
    fn take_inventory(&mut self, now: Instant) {
        // Almost all roles are as they were, almost always: a document that the same manifests found in sync before
        // needs no new verdict, so that a pass costs little more than its reading.
        let verdict = |(key, slot): (&PolicyKey, &Slot)| {
            let observed = self.inventory.get(&key.0)?;
            let is_new = !slot.is_known_in_sync(observed);
            is_new.then(|| (key.clone(), plan::judge(&slot.wanted, observed, &self.circumstances)))
        };
        let verdicts: Vec<(PolicyKey, Step)> = self.slots.iter().filter_map(verdict).collect();
        for (key, step) in verdicts {
            if !self.busy.contains_key(&key.0) && !self.spoiled.contains(&key.0) {
                self.take_verdict(key, step, now);
            }
        }
    }

    fn take_verdict(&mut self, key: PolicyKey, step: Step, now: Instant) {
        self.conclude_lost_answer(&key, &step, now);
        let Some(slot) = self.slots.get_mut(&key) else { return };
        match slot.worth(&step, now) {
            Worth::Stale(until) => {
                self.next_reading = self.next_reading.min(until);
                return;
            }
            Worth::Doubtful => {
                slot.judged(step, now);
                if slot.retry.is_none() {
                    self.enqueue(&key);
                }
                return;
            }
            Worth::News => {}
        }
        let is_known = step.reason != Some(Reason::Unknown);
        if is_known && (step.action != Action::Put || !self.reporter.has_told(&step)) {
            // In sync, blocked, or another drift than the one that failed: earlier failures say nothing of it.
            slot.retry = None;
        }
        let repairable = step.action == Action::Put && slot.retry.is_none();
        self.reporter.observe(&step, self.started.elapsed()).iter().for_each(emit);
        slot.judged(step, now);
        if repairable {
            self.enqueue(&key);
        }
    }

    /// Queues a fresh look at the policy, which ends in a write where one is due.
    fn enqueue(&mut self, key: &PolicyKey) {
        if let Some(slot) = self.slots.get_mut(key)
            && !slot.is_queued
        {
            slot.is_queued = true;
            self.queue.push_back(key.clone());
        }
    }

    fn begin_repairs(&mut self) {
        let mut held_back = VecDeque::new();
        while self.repairs.len() < REPAIRS_AT_ONCE
            && let Some(key) = self.queue.pop_front()
        {
            if self.busy.contains_key(&key.0) {
                held_back.push_back(key);
                continue;
            }
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            slot.is_queued = false;
            let Some(Observed::Found(role)) = self.inventory.get(&key.0) else {
                // The reading that finds the role again queues it again.
                slot.retry = None;
                continue;
            };
            let (writer, reader) = (Arc::clone(&self.writer), Arc::clone(&self.reader));
            let (wanted, role, circumstances) = (slot.wanted.clone(), role.clone(), self.circumstances.clone());
            let overtaken = CancellationToken::new();
            let token = overtaken.clone();
            let task = self.repairs.spawn(async move {
                repair(writer.as_ref(), reader.as_ref(), &wanted, &role, &circumstances, &token).await
            });
            self.busy.insert(key.0.clone(), Busy { task: task.id(), key, overtaken });
        }
        held_back.append(&mut self.queue);
        self.queue = held_back;
    }

    fn conclude_repair(&mut self, done: Result<(task::Id, Repaired), JoinError>) {
        let (id, repaired) = match done {
            Ok(done) => done,
            Err(ended_early) => {
                let error = IamError::contradiction("repair", format!("it ended early ({ended_early})"));
                (ended_early.id(), Repaired::ReadFailed(error))
            }
        };
        let Some(role) = self.busy.iter().find(|(_, busy)| busy.task == id).map(|(role, _)| role.clone()) else {
            return;
        };
        let Some(Busy { key, overtaken, .. }) = self.busy.remove(&role) else { return };
        let now = Instant::now();
        match repaired {
            Repaired::Written { step, before } => {
                self.spoiled.insert(role);
                self.conclude_lost_answer(&key, &step, now);
                self.wrote(&key, &step, before, now);
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.step = Some(step.after_write());
                }
            }
            Repaired::NotNeeded(step) if !overtaken.is_cancelled() || self.is_stopping => {
                self.not_needed(&key, step, now);
            }
            // A verdict by older manifests says nothing: the fresh look below has the last word.
            Repaired::NotNeeded(_) | Repaired::Overtaken => {}
            Repaired::ReadFailed(error) => self.repair_failed(&key, &error, now),
            Repaired::WriteFailed { error, .. } if error.class == ErrorClass::Gone => self.role_is_gone(&key, now),
            Repaired::WriteFailed { step, before, document, error } => {
                if error.class == ErrorClass::Transient {
                    self.spoiled.insert(role);
                }
                self.conclude_lost_answer(&key, &step, now);
                // The fresh read has proved the drift, whatever the bulk reading was worth.
                if !overtaken.is_cancelled() || self.is_stopping {
                    self.reporter.observe(&step, self.started.elapsed()).iter().for_each(emit);
                }
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.step = Some(step.clone());
                    slot.unanswered(&error, step, before, document);
                }
                self.repair_failed(&key, &error, now);
            }
        }
        if overtaken.is_cancelled() {
            // What was done was done by older manifests: a fresh look by the newer ones, or the last word.
            self.enqueue(&key);
            if !self.slots.contains_key(&key) {
                self.release();
            }
        }
    }

    /// Tells of a write that took effect, after which old reads may still come.
    fn wrote(&mut self, key: &PolicyKey, step: &Step, before: Option<Arc<LiveDocument>>, now: Instant) {
        self.written += 1;
        self.reporter.repaired(step, before.as_deref(), self.started.elapsed()).iter().for_each(emit);
        if let Some(slot) = self.slots.get_mut(key) {
            slot.wrote(before, now);
        }
    }

    /// Where a policy is as an unanswered write would have it, that write was ours.
    fn conclude_lost_answer(&mut self, key: &PolicyKey, step: &Step, now: Instant) {
        if let Some(attempt) = self.slots.get_mut(key).and_then(|slot| slot.landed(step)) {
            self.wrote(key, &attempt.step, attempt.before, now);
        }
    }

    fn not_needed(&mut self, key: &PolicyKey, step: Step, now: Instant) {
        self.conclude_lost_answer(key, &step, now);
        let Some(slot) = self.slots.get_mut(key) else { return };
        let bulk_said = slot.step.as_ref().and_then(|step| step.live.clone());
        if bulk_said != step.live {
            slot.contradicted(bulk_said, now);
        }
        slot.retry = None;
        self.reporter.observe(&step, self.started.elapsed()).iter().for_each(emit);
        slot.judged(step, now);
    }

    fn repair_failed(&mut self, key: &PolicyKey, error: &IamError, now: Instant) {
        let random = self.random.u64(..);
        let Some(slot) = self.slots.get_mut(key) else { return };
        // There is no later try whose outcome could be told instead.
        let failures = slot.failed(error, random, now).max(if self.is_stopping { u32::MAX } else { 0 });
        if let Some(retry) = &slot.retry {
            self.waiting.insert((retry.due, key.clone()));
        }
        if let Some(step) = &slot.step {
            self.reporter.failed(step, error, failures, self.started.elapsed()).iter().for_each(emit);
        }
    }

    /// A write found no role: it was deleted since the reading, and later readings may still lag behind that.
    fn role_is_gone(&mut self, key: &PolicyKey, now: Instant) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.gone(now);
        let step = plan::judge(&slot.wanted, &Observed::NotFound, &self.circumstances);
        self.reporter.observe(&step, self.started.elapsed()).iter().for_each(emit);
        slot.retry = None;
        slot.judged(step, now);
        // Or it was only just made, and the write came before the news of it.
        self.next_reading = self.next_reading.min(now + LOOK_AGAIN);
    }

    async fn finish_repairs(&mut self) {
        self.is_stopping = true;
        for busy in self.busy.values() {
            busy.overtaken.cancel();
        }
        let deadline = Instant::now() + LAST_WRITES;
        while let Ok(Some(done)) = timeout_at(deadline, self.repairs.join_next_with_id()).await {
            self.conclude_repair(done);
        }
    }

    /// Whether nothing is under way, and nothing is left to try that may pass by itself.
    fn has_settled(&self) -> bool {
        let reading_may_pass = match &self.reading_failed {
            Some((error, _)) => error.class.passes_by_itself(),
            None => self.inventory.may_be_completed() || self.slots.values().any(|slot| slot.step.is_none()),
        };
        let retry_may_pass = |slot: &Slot| slot.retry.as_ref().is_some_and(|retry| retry.passes_by_itself);
        self.reading.is_none()
            && !reading_may_pass
            && self.queue.is_empty()
            && self.repairs.is_empty()
            && !self.slots.values().any(retry_may_pass)
    }

    /// The time until the next reading: what the manifests say, give or take a tenth.
    fn resync_interval(&mut self) -> Duration {
        let said = self.manifests.borrow().configuration().and_then(|configuration| configuration.resync_interval);
        let interval = self.options.resync_interval.or(said).unwrap_or(RESYNC_INTERVAL);
        interval.mul_f64(0.9 + self.random.f64() / 5.0)
    }

    fn about_account(&self, name: EventName, what: &str) -> Event {
        let account = &self.caller.account;
        Event { account: Some(account.to_string()), ..Event::new(name, format!("account {account} {what}")) }
    }

    fn tell_manner(&mut self, manner: &Manner) {
        let told = std::mem::replace(&mut self.one_by_one_told, matches!(manner, Manner::OneByOne(_)));
        match manner {
            Manner::OneByOne(said) if !told => emit(&Event {
                reason: Some(Reason::Failed(ErrorClass::Denied).as_str()),
                hint: Some("allow iam:GetAccountAuthorizationDetails on *: see deploy/iam".to_owned()),
                ..self.about_account(
                    EventName::ReadDegraded,
                    &format!("cannot be read in bulk, so its roles are read one by one: {said}"),
                )
            }),
            Manner::InBulk if told => emit(&self.about_account(EventName::ReadRestored, "can be read in bulk again")),
            _ => {}
        }
    }
}

fn kill_switch(suspended: bool) -> Event {
    if suspended {
        Event {
            hint: Some("set suspend: false in the ControllerConfiguration to go on".to_owned()),
            ..Event::new(EventName::ControllerSuspended, "the kill switch is on: nothing is written anywhere")
        }
    } else {
        Event::new(EventName::ControllerResumed, "the kill switch is off: drift is repaired again")
    }
}

/// Waits for newer manifests; for ever once nobody can send any.
async fn next_manifests(manifests: &mut watch::Receiver<Arc<ManifestSet>>) {
    if manifests.changed().await.is_err() {
        pending().await
    }
}

/// The end of the reading under way; waits for ever where there is none. Cancel safe.
async fn finished<T>(under_way: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match under_way {
        Some(handle) => handle.await,
        None => pending().await,
    }
}
