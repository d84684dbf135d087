//! The loop of one account: what it waits for, and what it begins.
//!
//! ```text
//!  manifests.rs   newer manifests ─▶ slots: what is wanted of each policy
//!  reading.rs     a reading of IAM ─▶ what is seen
//!  planning.rs    what is seen ─▶ verdicts ─▶ guard ─▶ what is told, what is queued
//!  guarding.rs    a plan ─▶ within the guards, or held
//!  repairing.rs   the queue ─▶ leave, canary ─▶ a fresh look, a write ─▶ what is told
//!  hearing.rs     change events ─▶ fresh looks, readings of everything
//!  selecting.rs   a reading of IAM ─▶ which roles selectors pick ─▶ slots
//!  counting.rs    what other processes have written ─▶ the guards
//!  resting.rs     what is in sync is laid down until anything about it differs
//!  answering.rs   somebody asks how everything stands ─▶ a report
//! ```
//!
//! One reading at a time, several repairs at a time, never two for one role. What must stay true: everything that
//! is decided is decided from the newest manifests, a reading that failed decides nothing, and nothing is written that
//! the guards have not seen.

mod answering;
mod counting;
mod guarding;
mod hearing;
mod manifests;
mod planning;
mod reading;
mod repairing;
mod resting;
mod selecting;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::watch,
    task::{self, JoinError, JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{
    guarding::Guarding,
    planning::Planning,
    reading::{Readings, Seen},
    resting::Resting,
    selecting::Selecting,
};
use super::{
    Options, Outcome,
    approval::Approval,
    canary::Canary,
    ledger_file::LedgerFile,
    next_manifests,
    repair::{Repaired, Tools},
    report::Reporter,
    slot::Slot,
};
use crate::{
    events::{Hearing, Subscription},
    iam::{Caller, Calls, Iam, Paced, Reader, Together, Writer},
    inventory::{Asked, Observed, Role},
    manifest::{ManifestSet, PolicyKey, USUAL_RESYNC_INTERVAL},
    names::RoleName,
    plan::{self, Circumstances, Reason, Step},
    status::Inquiries,
    telemetry::{Event, EventName},
};

/// How long a stop waits for repairs under way: none begins to write any more, and a write is bounded by less.
const LAST_WRITES: Duration = Duration::from_secs(9);

/// Who the controller is in an account.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) caller: Caller,
    /// Whether manifests that name no account are about this one.
    pub(super) is_own: bool,
    /// What its reader has in common with those of other accounts.
    pub(super) together: Arc<Together>,
    /// How it hears of changes.
    pub(super) subscription: Subscription,
    /// How it is asked how everything stands.
    pub(super) inquiries: Inquiries,
}

/// One account: what is wanted, what was seen, and what is under way.
#[derive(Debug)]
pub(super) struct Account<I> {
    tools: Tools<Paced<I>>,
    iam: Arc<Paced<I>>,
    /// The calls that passes before this one have made.
    calls_told: Calls,
    manifests: watch::Receiver<Arc<ManifestSet>>,
    options: Options,
    caller: Caller,
    is_own: bool,
    random: fastrand::Rng,
    started: Instant,

    circumstances: Circumstances,
    slots: BTreeMap<PolicyKey, Slot>,
    /// The other policies that are wanted: they are as they should be.
    resting: BTreeMap<PolicyKey, Resting>,
    /// What a reading is to find out for the slots.
    asked: Arc<Asked>,
    /// The steps of manifests for other accounts.
    mismatched: Vec<Step>,
    selecting: Selecting,
    reporter: Reporter,
    /// When it was told that the account is suspended, while it is.
    suspension_told: Option<Instant>,
    written: usize,

    readings: Readings,
    seen: Seen,
    planning: Planning,
    guarding: Guarding,

    subscription: Subscription,
    hearing: Hearing,
    inquiries: Inquiries,

    canary: Canary,
    /// Whether it was told that a first write was not found right.
    canary_failed_told: bool,
    read_back: Option<ReadBack>,
    /// Policies that somebody else writes again and again.
    contended: BTreeSet<PolicyKey>,

    queue: VecDeque<PolicyKey>,
    /// When retries are due; an entry that its slot does not confirm any more is void.
    waiting: BTreeSet<(Instant, PolicyKey)>,
    busy: BTreeMap<RoleName, Busy>,
    repairs: JoinSet<(Repaired, Option<Role>)>,
    /// The time for what may pass by itself is over: only what is under way or queued is brought to an end.
    is_closing: bool,
    is_stopping: bool,
}

/// A repair under way.
#[derive(Debug)]
struct Busy {
    task: task::Id,
    key: PolicyKey,
    began: Instant,
    /// Whether it has leave to write.
    may_write: bool,
    /// Cancelled when newer manifests ask for something else, or a stop is due.
    overtaken: CancellationToken,
}

/// The reading back of the first of several writes.
#[derive(Debug)]
struct ReadBack {
    key: PolicyKey,
    task: JoinHandle<bool>,
    /// Cancelled when newer manifests ask for something else.
    overtaken: CancellationToken,
}

impl<I: Iam> Account<I> {
    pub(super) fn new(
        iam: Arc<I>,
        Seat { caller, is_own, together, subscription, inquiries }: Seat,
        manifests: watch::Receiver<Arc<ManifestSet>>,
        options: Options,
    ) -> Self {
        let now = Instant::now();
        let iam = Arc::new(Paced::new(iam, &options.budgets));
        let tools = Tools {
            reader: Arc::new(Reader::together(Arc::clone(&iam), caller.account.clone(), together)),
            writer: Arc::new(Writer::new(Arc::clone(&iam), caller.account.clone()).led_by(options.leadership.clone())),
            counting: None,
        };
        let file = |directory| Arc::new(LedgerFile::new(directory, &caller.account));
        let ledger_file = options.state_dir.as_deref().map(file);
        let mut account = Self {
            tools,
            iam,
            calls_told: Calls::default(),
            manifests,
            random: fastrand::Rng::with_seed(options.seed),
            started: now,
            circumstances: Circumstances::default(),
            slots: BTreeMap::new(),
            resting: BTreeMap::new(),
            asked: Arc::default(),
            mismatched: Vec::new(),
            selecting: Selecting::default(),
            reporter: Reporter::default(),
            suspension_told: None,
            written: 0,
            readings: Readings::new(options.seed, now),
            seen: Seen::nothing(now),
            planning: Planning::default(),
            guarding: Guarding::new(Approval::asked_for(options.approve.clone()), ledger_file),
            subscription,
            inquiries,
            hearing: Hearing::new(caller.account.clone()),
            canary: Canary::default(),
            canary_failed_told: false,
            read_back: None,
            contended: BTreeSet::new(),
            queue: VecDeque::new(),
            waiting: BTreeSet::new(),
            busy: BTreeMap::new(),
            repairs: JoinSet::new(),
            is_closing: false,
            is_stopping: false,
            options,
            caller,
            is_own,
        };
        account.take_manifests();
        account
    }

    /// Runs until `shutdown`, then lets the writes in flight finish.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        self.remember().await;
        while !shutdown.is_cancelled() {
            self.turn(&shutdown).await;
        }
        self.finish_repairs().await;
        self.tell_pass();
    }

    /// Runs until nothing is left that may pass by itself, or until the deadline.
    pub(super) async fn once(mut self, deadline: Instant, shutdown: CancellationToken) -> Outcome {
        self.remember().await;
        while !self.has_settled() && !shutdown.is_cancelled() {
            // A turn may wait long for a retry. What is under way goes on when it is dropped.
            if timeout_at(deadline, self.turn(&shutdown)).await.is_err() {
                break;
            }
        }
        // The deadline is for what does not work, not for much work.
        self.is_closing = true;
        while self.is_at_work() && !shutdown.is_cancelled() {
            self.turn(&shutdown).await;
        }
        self.finish_repairs().await;
        self.tell_pass();
        self.rouse_all();
        let unresolved = self.unresolved();
        let rest_waits = self.canary.waits_until().is_some();
        let last_verdict = |slot: Slot| match slot.step {
            Some(step) if rest_waits && step.is_a_write() => step.held_by(Reason::CanaryUnproven, None),
            Some(step) => step,
            None => plan::judge(&slot.wanted, &Observed::Unknown(None), &self.circumstances, Timestamp::now()),
        };
        let steps = self.slots.into_values().map(last_verdict).chain(self.mismatched).collect();
        Outcome {
            steps,
            picks: self.selecting.picks,
            unresolved,
            written: self.written,
            digest: self.planning.digest,
            held: self.guarding.held.map(|held| held.excess),
            approval_is_used_up: matches!(self.guarding.approval, Approval::UsedUp),
            approval_is_void: self.guarding.approval.is_void(self.readings.failed.is_none()),
        }
    }

    /// Waits for whatever comes first, and deals with it. Cancel safe: what is under way goes on.
    async fn turn(&mut self, shutdown: &CancellationToken) {
        self.begin_what_is_due();
        let wake_at = self.next_wake();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = next_manifests(&mut self.manifests) => self.take_manifests(),
            () = self.options.leadership.turns_from(!self.circumstances.stands_by) => self.take_manifests(),
            read = finished(self.readings.under_way.as_mut()) => {
                self.readings.under_way = None;
                self.take_others();
                self.conclude_reading(read);
            }
            _ = finished(self.readings.of_policies.as_mut()) => {
                self.readings.of_policies = None;
                self.take_policies();
            }
            Some(done) = self.repairs.join_next_with_id() => self.conclude_repair(done),
            found_right = finished(self.read_back.as_mut().map(|back| &mut back.task)) => {
                // A task that ended early proves nothing.
                self.conclude_read_back(found_right.unwrap_or(false));
            }
            news = self.subscription.next() => self.take_news(news),
            Some(inquiry) = self.inquiries.next() => self.answer(inquiry),
            () = sleep_until(wake_at) => {}
        }
    }

    fn begin_what_is_due(&mut self) {
        let now = Instant::now();
        if !self.is_closing {
            self.wake(now);
        }
        let is_due = self.readings.next <= now || self.saves_looks_at_roles(now);
        if self.readings.under_way.is_none() && is_due && !self.is_closing {
            self.begin_reading();
        }
        while !self.is_closing
            && let Some((due, key)) = self.waiting.pop_first()
        {
            if due > now {
                self.waiting.insert((due, key));
                break;
            }
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if slot.is_due(now) {
                self.enqueue(&key);
            } else if slot.is_to_be_looked_at(now) {
                self.look(&key);
            }
        }
        self.plan_after_looks(now);
        self.plan_what_was_proved(now);
        self.begin_repairs();
    }

    /// The next moment at which something is due that nobody will report.
    fn next_wake(&self) -> Instant {
        let reading = (self.readings.under_way.is_none() && !self.is_closing).then_some(self.readings.next);
        let retry = self.waiting.first().map(|(due, _)| *due).filter(|_| !self.is_closing);
        // Where its time is over and nothing may begin, something under way will say when.
        let now = Instant::now();
        let rest = self.canary.waits_until().filter(|until| *until > now && !self.queue.is_empty());
        let heard = self.hearing.next(now).filter(|_| !self.is_closing);
        let due = reading.into_iter().chain(retry).chain(rest).chain(heard).min();
        due.unwrap_or(now + USUAL_RESYNC_INTERVAL)
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

    /// Whether something is under way, or could begin at once.
    fn is_at_work(&self) -> bool {
        let may_begin = self.may_begin() && self.canary.waits_until().is_none();
        // A reading that was tried before is not waited for.
        (self.readings.under_way.is_some() || self.readings.of_policies.is_some()) && self.readings.failed.is_none()
            || !self.repairs.is_empty()
            || self.read_back.is_some()
            || may_begin && (self.planning.is_outdated || !self.queue.is_empty())
    }

    /// Whether anything may be looked at or written now: what is known of the roles is fresh, and what is wanted is
    /// planned.
    fn may_begin(&self) -> bool {
        self.planning.is_done && !self.planning.awaits_looks && self.readings.failed.is_none()
    }

    /// Whether nothing is under way, and nothing is left to try that may pass by itself.
    fn has_settled(&self) -> bool {
        let reading_may_pass = match &self.readings.failed {
            Some((error, _)) => error.class.passes_by_itself(),
            None => {
                self.seen.inventory.may_be_completed()
                    || self.selecting.awaits_reading
                    || self.slots.values().any(|slot| slot.step.is_none())
            }
        };
        let repair_may_pass =
            |slot: &Slot| slot.postponed.is_some() || slot.retry.as_ref().is_some_and(|retry| retry.passes_by_itself);
        self.readings.under_way.is_none()
            && self.readings.of_policies.is_none()
            && !reading_may_pass
            && self.queue.is_empty()
            && self.repairs.is_empty()
            && self.read_back.is_none()
            && !self.planning.is_outdated
            && !self.planning.awaits_looks
            && !self.slots.values().any(repair_may_pass)
    }

    /// The time since the start of the loop.
    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// How many roles are managed.
    fn role_count(&self) -> usize {
        match self.guarding.guards.max_change_percent {
            Some(_) => plan::managed_roles(self.all_wanted().map(|(_, wanted)| wanted), &self.seen.inventory),
            // Nobody asks.
            None => self.slots.len() + self.resting.len(),
        }
    }

    fn about_account(&self, name: EventName, what: &str) -> Event {
        let account = &self.caller.account;
        Event { account: Some(account.to_string()), ..Event::new(name, format!("account {account} {what}")) }
    }
}

/// The end of a task under way; waits for ever where there is none. Cancel safe.
async fn finished<T>(under_way: Option<&mut JoinHandle<T>>) -> Result<T, JoinError> {
    match under_way {
        Some(handle) => handle.await,
        None => pending().await,
    }
}
