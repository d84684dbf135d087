//! The loop of one account.
//!
//! One reading at a time, several repairs at a time, never two for one role. What must stay true: everything that
//! is decided is decided from the newest manifests, and a reading that failed decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
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
    report::Reporter,
    settle::{Settling, Worth},
};
use crate::{
    iam::{Caller, ErrorClass, Iam, IamError, Reader, ReaderNotice},
    inventory::{Asked, Inventory, LiveDocument, Observed},
    manifest::{Desired, DesiredPolicy, ManifestSet, PolicyKey},
    names::RoleName,
    plan::{self, Action, Circumstances, Reason, Step, Target},
    telemetry::{Event, EventName, emit},
};

/// How many roles are repaired at once. Each repair is two calls of some 100 ms: well over five writes a second.
const REPAIRS_AT_ONCE: usize = 5;

/// How long a stop waits for writes in flight; each of their calls is bounded by less.
const LAST_WRITES: Duration = Duration::from_secs(9);

/// A reading: what it asked for, and what came of it.
type Reading = (Arc<Asked>, Result<(Arc<Inventory>, Option<ReaderNotice>), IamError>);

/// One account: what is wanted, what was seen, and what is under way.
#[derive(Debug)]
pub(super) struct Account<I> {
    iam: Arc<I>,
    reader: Arc<Reader<I>>,
    manifests: watch::Receiver<Arc<ManifestSet>>,
    options: Options,
    caller: Caller,
    random: fastrand::Rng,
    started: Instant,

    desired: Desired,
    /// What a reading is to find out for `desired`.
    asked: Arc<Asked>,
    mismatched: Vec<Step>,
    circumstances: Circumstances,
    inventory: Arc<Inventory>,
    latest: BTreeMap<PolicyKey, Step>,
    /// The documents that the newest manifests found to be in sync, in a reading.
    in_sync: BTreeMap<PolicyKey, Arc<LiveDocument>>,
    reporter: Reporter,
    settling: Settling,
    written: usize,

    reading: Option<JoinHandle<Reading>>,
    next_reading: Instant,
    reading_backoff: Backoff,
    reading_failed: Option<IamError>,

    queue: BTreeSet<PolicyKey>,
    busy: BTreeMap<RoleName, task::Id>,
    repairs: JoinSet<(PolicyKey, Repaired)>,
    retries: BTreeMap<PolicyKey, Retry>,
}

/// A write that was sent: the verdict that it followed from, and what it was to replace.
type Attempt = (Step, Option<Arc<LiveDocument>>);

/// A repair that failed, and when it is due again.
#[derive(Debug)]
struct Retry {
    /// A write that may have taken effect all the same.
    attempted: Option<Attempt>,
    backoff: Backoff,
    due: Instant,
    passes_by_itself: bool,
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
            iam,
            manifests,
            random: fastrand::Rng::with_seed(options.seed),
            started: now,
            desired: Desired { account: caller.account.clone(), policies: BTreeMap::new() },
            asked: Arc::default(),
            mismatched: Vec::new(),
            circumstances: Circumstances::default(),
            inventory: Arc::default(),
            latest: BTreeMap::new(),
            in_sync: BTreeMap::new(),
            reporter: Reporter::default(),
            settling: Settling::default(),
            written: 0,
            reading: None,
            next_reading: now,
            reading_backoff: Backoff::new(options.seed),
            reading_failed: None,
            queue: BTreeSet::new(),
            busy: BTreeMap::new(),
            repairs: JoinSet::new(),
            retries: BTreeMap::new(),
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
        while !self.has_settled() && !shutdown.is_cancelled() && Instant::now() < deadline {
            // A turn may wait long for a retry; the deadline ends it like a shutdown does.
            let turn = shutdown.child_token();
            if timeout_at(deadline, self.turn(&turn)).await.is_err() {
                break;
            }
        }
        self.finish_repairs().await;
        let why = match &self.reading_failed {
            Some(error) => error.to_string(),
            None => "the pass ended before the role was read".to_owned(),
        };
        let unread = Inventory::unknown(&self.asked, &why);
        for (key, wanted) in &self.desired.policies {
            if let (false, Some(observed)) = (self.latest.contains_key(key), unread.get(&wanted.role)) {
                self.latest.insert(key.clone(), plan::judge(wanted, observed, &self.circumstances));
            }
        }
        let steps = self.latest.into_values().chain(self.mismatched).collect();
        Outcome { steps, written: self.written }
    }

    /// Waits for whatever comes first, and deals with it. Cancel safe: what is under way goes on.
    async fn turn(&mut self, shutdown: &CancellationToken) {
        self.begin_what_is_due();
        let wake_at = self.next_wake();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            changed = next_manifests(&mut self.manifests) => {
                if changed {
                    self.take_manifests();
                }
            }
            read = finished(&mut self.reading) => {
                self.reading = None;
                self.conclude_reading(read);
            }
            Some(done) = self.repairs.join_next() => self.conclude_repair(done),
            () = sleep_until(wake_at) => {}
        }
    }

    fn begin_what_is_due(&mut self) {
        let now = Instant::now();
        if self.reading.is_none() && self.next_reading <= now {
            self.begin_reading();
        }
        let due: Vec<PolicyKey> =
            self.retries.iter().filter(|(_, retry)| retry.due <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            self.enqueue(&key);
        }
        self.begin_repairs();
    }

    /// The next moment at which something is due that nobody will report.
    fn next_wake(&self) -> Instant {
        let reading = self.reading.is_none().then_some(self.next_reading);
        // A role that is busy or queued wakes the loop when its repair ends.
        let waits = |key: &PolicyKey| !self.queue.contains(key) && !self.busy.contains_key(&key.0);
        let retry = self.retries.iter().filter(|(key, _)| waits(key)).map(|(_, retry)| retry.due).min();
        reading.into_iter().chain(retry).min().unwrap_or_else(|| Instant::now() + RESYNC_INTERVAL)
    }

    /// Takes the newest manifests: what was queued or waiting by older ones is dropped and judged anew.
    fn take_manifests(&mut self) {
        let manifests = Arc::clone(&self.manifests.borrow_and_update());
        let configuration = manifests.configuration();
        let was_suspended = self.circumstances.suspended;
        self.circumstances = Circumstances {
            account: Some(self.caller.account.clone()),
            own_role: self.caller.role(),
            observe_only: self.options.observe_only,
            suspended: configuration.is_some_and(|configuration| configuration.suspend),
        };
        if was_suspended != self.circumstances.suspended {
            emit(&kill_switch(self.circumstances.suspended));
        }
        self.desired = manifests.desired(&self.caller.account, self.caller.partition().as_ref());
        self.asked = Arc::new(plan::asked_for(&self.desired));
        self.in_sync.clear();
        self.mismatched = plan::mismatched(&manifests, &self.caller.account);
        self.queue.clear();
        self.retries.clear();
        let desired = &self.desired;
        self.latest.retain(|key, _| desired.policies.contains_key(key));
        self.settling.retain(|key| desired.policies.contains_key(key));

        let asked_for: BTreeSet<Target> = self
            .desired
            .policies
            .values()
            .map(|wanted| Target {
                account: self.circumstances.account.clone(),
                role: wanted.role.clone(),
                policy: wanted.policy.clone(),
            })
            .chain(self.mismatched.iter().map(|step| step.target.clone()))
            .collect();
        self.reporter.release(&asked_for).iter().for_each(emit);
        for step in &self.mismatched {
            self.reporter.observe(step, self.started.elapsed()).iter().for_each(emit);
        }
        self.next_reading = Instant::now();
    }

    fn begin_reading(&mut self) {
        let asked = Arc::clone(&self.asked);
        if asked.is_empty() {
            self.next_reading = Instant::now() + self.resync_interval();
            return;
        }
        let reader = Arc::clone(&self.reader);
        self.next_reading = Instant::now() + self.resync_interval();
        self.reading = Some(tokio::spawn(async move {
            let read = reader.read(&asked).await;
            (asked, read)
        }));
    }

    fn conclude_reading(&mut self, read: Result<Reading, JoinError>) {
        let now = Instant::now();
        let (asked, read) = match read {
            Ok(read) => read,
            Err(error) => {
                let why = format!("the reading ended early ({error})");
                (Arc::default(), Err(IamError::contradiction("reading", why)))
            }
        };
        match read {
            Ok((inventory, notice)) => {
                self.reading_backoff.reset();
                if self.reading_failed.take().is_some() {
                    emit(&self.about_account(EventName::ReadRecovered, "can be read again"));
                }
                if let Some(notice) = notice {
                    emit(&self.reader_notice(&notice));
                }
                self.inventory = inventory;
                self.take_inventory(now);
                // Manifests that came meanwhile may ask for roles that this reading did not look for.
                let is_current = Arc::ptr_eq(&asked, &self.asked) || asked == self.asked;
                self.next_reading = if is_current { now + self.resync_interval() } else { now };
            }
            Err(error) => {
                let already_told = self.reading_failed.as_ref().map(|earlier| earlier.class) == Some(error.class);
                if !already_told {
                    emit(&read_failed(Some(&self.caller.account), &error));
                }
                self.reading_failed = Some(error);
                self.next_reading = now + self.reading_backoff.next();
            }
        }
    }

    /// Judges every managed policy by the newest reading, tells what is new, and queues what is to be repaired.
    fn take_inventory(&mut self, now: Instant) {
        self.settling.expire(now);
        for (key, step) in self.new_verdicts() {
            if self.busy.contains_key(&key.0) {
                // The reading may be older than the write that is under way; its end decides.
                continue;
            }
            match &step.live {
                Some(live) if step.is_in_sync() => self.in_sync.insert(key.clone(), Arc::clone(live)),
                _ => self.in_sync.remove(&key),
            };
            if !step.has_drifted() {
                self.settling.seen(&key, now);
            }
            if self.conclude_lost_answer(&key, &step, now) {
                continue;
            }
            let worth = match step.action {
                Action::Put => self.settling.worth(&key, step.live.as_ref(), now),
                _ => Worth::News,
            };
            match worth {
                Worth::Stale => continue,
                Worth::Doubtful => {}
                Worth::News => {
                    if step.action != Action::Put || !self.reporter.is_standing(&step) {
                        // In sync, blocked, or another drift than the one that failed: earlier failures say nothing of it.
                        self.retries.remove(&key);
                    }
                    self.tell(&step);
                }
            }
            let repairable = step.action == Action::Put;
            self.latest.insert(key.clone(), step);
            if repairable && !self.retries.contains_key(&key) {
                self.enqueue(&key);
            }
        }
    }

    /// The verdicts of the newest reading but for those that cannot have changed: the same manifests found the same
    /// document in sync before. Almost all roles are like that almost always, so that a pass over them costs little
    /// more than its reading. What has drifted is judged each time: there is more to a drift than its document.
    fn new_verdicts(&self) -> Vec<(PolicyKey, Step)> {
        let verdict = |(key, wanted): (&PolicyKey, &DesiredPolicy)| {
            let observed = self.inventory.get(&wanted.role)?;
            if let (Observed::Found(role), Some(before)) = (observed, self.in_sync.get(key))
                // Documents are shared by their text.
                && role.policies.get(&wanted.policy).is_some_and(|live| Arc::ptr_eq(live, before))
            {
                return None;
            }
            Some((key.clone(), plan::judge(wanted, observed, &self.circumstances)))
        };
        self.desired.policies.iter().filter_map(verdict).collect()
    }

    fn tell(&mut self, step: &Step) {
        if self.circumstances.suspended {
            // The kill switch was told, once for all roles.
            return;
        }
        self.reporter.observe(step, self.started.elapsed()).iter().for_each(emit);
    }

    fn enqueue(&mut self, key: &PolicyKey) {
        if self.latest.get(key).is_none_or(|step| step.action != Action::Put) {
            self.retries.remove(key);
        } else if !self.busy.contains_key(&key.0) {
            self.queue.insert(key.clone());
        }
    }

    fn begin_repairs(&mut self) {
        let mut held_back = BTreeSet::new();
        while self.repairs.len() < REPAIRS_AT_ONCE
            && let Some(key) = self.queue.pop_first()
        {
            if self.busy.contains_key(&key.0) {
                held_back.insert(key);
                continue;
            }
            let (Some(wanted), Some(Observed::Found(role))) =
                (self.desired.policies.get(&key), self.inventory.get(&key.0))
            else {
                continue;
            };
            let (iam, reader) = (Arc::clone(&self.iam), Arc::clone(&self.reader));
            let (wanted, role, circumstances) = (wanted.clone(), role.clone(), self.circumstances.clone());
            let name = key.0.clone();
            let task = self.repairs.spawn(async move {
                let repaired = repair(iam.as_ref(), reader.as_ref(), &wanted, &role, &circumstances).await;
                (key, repaired)
            });
            self.busy.insert(name, task.id());
        }
        self.queue.append(&mut held_back);
    }

    fn conclude_repair(&mut self, done: Result<(PolicyKey, Repaired), JoinError>) {
        let (key, repaired) = match done {
            Ok(done) => done,
            Err(ended_early) => {
                // What it did is not known: the next reading finds the role again.
                self.busy.retain(|_, task| *task != ended_early.id());
                self.next_reading = Instant::now();
                return;
            }
        };
        self.busy.remove(&key.0);
        let now = Instant::now();
        match repaired {
            Repaired::Written { step, before } => {
                self.retries.remove(&key);
                self.wrote(key, step, before, now);
            }
            Repaired::NotNeeded(step) => {
                if self.conclude_lost_answer(&key, &step, now) {
                    return;
                }
                let bulk_said = self.latest.get(&key).and_then(|step| step.live.clone());
                self.retries.remove(&key);
                if bulk_said != step.live {
                    self.settling.contradicted(&key, bulk_said, now);
                }
                self.tell(&step);
                self.latest.insert(key, step);
            }
            Repaired::ReadFailed(error) => self.repair_failed(key, &error, None, now),
            Repaired::WriteFailed { step, before, error } => {
                // A refusal is certain: only where no answer came may the write have taken effect.
                let attempted = (error.class == ErrorClass::Transient).then_some((step, before));
                self.repair_failed(key, &error, attempted, now);
            }
        }
    }

    /// Tells of a write that took effect, after which old reads may still come.
    fn wrote(&mut self, key: PolicyKey, step: Step, before: Option<Arc<LiveDocument>>, now: Instant) {
        self.written += 1;
        self.reporter.repaired(&step, before.as_deref(), self.started.elapsed()).iter().for_each(emit);
        self.settling.wrote(&key, before, now);
        self.latest.insert(key, step.after_write());
    }

    /// Where a policy is in sync after a write whose answer was lost, that write was ours.
    fn conclude_lost_answer(&mut self, key: &PolicyKey, step: &Step, now: Instant) -> bool {
        if !step.is_in_sync() {
            return false;
        }
        let Some((attempted, before)) = self.retries.remove(key).and_then(|retry| retry.attempted) else {
            return false;
        };
        self.wrote(key.clone(), attempted, before, now);
        true
    }

    fn repair_failed(&mut self, key: PolicyKey, error: &IamError, attempted: Option<Attempt>, now: Instant) {
        let Some(step) = self.latest.get_mut(&key) else { return };
        if error.class == ErrorClass::Gone {
            // Deleted between the reading and the write.
            if let Some(wanted) = self.desired.policies.get(&key) {
                *step = plan::judge(wanted, &Observed::NotFound, &self.circumstances);
                let step = step.clone();
                self.tell(&step);
            }
            self.retries.remove(&key);
            return;
        }
        step.reason = Some(Reason::Failed(error.class));
        step.detail = Some(error.to_string());
        let seed = self.random.u64(..);
        let retry = self.retries.entry(key).or_insert_with(|| Retry {
            backoff: Backoff::new(seed),
            due: now,
            passes_by_itself: error.class.passes_by_itself(),
            attempted: None,
        });
        retry.attempted = attempted.or(retry.attempted.take());
        retry.passes_by_itself = error.class.passes_by_itself();
        let wait = retry.backoff.next();
        // What needs a person is not worth a call a second.
        retry.due = now + if retry.passes_by_itself { wait } else { wait.max(Duration::from_secs(60)) };
        let failures = retry.backoff.failures();
        let events = self.reporter.failed(step, error, failures, self.started.elapsed());
        events.iter().for_each(emit);
    }

    async fn finish_repairs(&mut self) {
        let deadline = Instant::now() + LAST_WRITES;
        while let Ok(Some(done)) = timeout_at(deadline, self.repairs.join_next()).await {
            self.conclude_repair(done);
        }
    }

    /// Whether nothing is under way, and nothing is left to try that may pass by itself.
    fn has_settled(&self) -> bool {
        let reading_may_pass = match &self.reading_failed {
            Some(error) => error.class.passes_by_itself(),
            None => self.latest.len() < self.desired.policies.len(),
        };
        self.reading.is_none()
            && !reading_may_pass
            && self.queue.is_empty()
            && self.repairs.is_empty()
            && !self.retries.values().any(|retry| retry.passes_by_itself)
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

    fn reader_notice(&self, notice: &ReaderNotice) -> Event {
        match notice {
            ReaderNotice::BulkDenied(said) => Event {
                reason: Some(Reason::Failed(ErrorClass::Denied).as_str()),
                hint: Some("allow iam:GetAccountAuthorizationDetails on *: see deploy/iam".to_owned()),
                ..self.about_account(
                    EventName::ReadDegraded,
                    &format!("cannot be read in bulk, so its roles are read one by one: {said}"),
                )
            },
            ReaderNotice::BulkAllowed => self.about_account(EventName::ReadRestored, "can be read in bulk again"),
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

/// Whether there are newer manifests; waits for ever once nobody can send any.
async fn next_manifests(manifests: &mut watch::Receiver<Arc<ManifestSet>>) -> bool {
    match manifests.changed().await {
        Ok(()) => true,
        Err(_) => pending().await,
    }
}

/// The end of the reading under way; waits for ever where there is none. Cancel safe.
async fn finished<T>(under_way: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    match under_way {
        Some(handle) => handle.await,
        None => pending().await,
    }
}
