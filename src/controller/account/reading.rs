//! Readings of IAM: when they are made, what they asked for, and what they told.
//!
//! Knows nothing of verdicts. What must stay true: one at a time, and one that failed decides nothing.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::Account;
use crate::{
    backoff::Backoff,
    controller::{read_failed, repair::BELIEVED_FOR, report::REMINDER, slot::Slot},
    iam::{ErrorClass, Iam, IamError, Manner},
    inventory::{Asked, Inventory, Observed},
    names::RoleName,
    plan::Reason,
    telemetry::{Event, EventName, emit},
};

/// So long before the last reading is not believed any more the next is begun, where repairs wait that rely on it.
const TIME_TO_READ: Duration = Duration::from_secs(5);

/// A reading: what it asked for, and what came of it.
pub(super) type Reading = (Arc<Asked>, Result<(Arc<Inventory>, Manner), IamError>);

/// The readings of the account: the one under way, and when the next is due.
#[derive(Debug)]
pub(super) struct Readings {
    pub(super) under_way: Option<JoinHandle<Reading>>,
    /// Whether it is to tell all that bears on the roles.
    is_of_everything: bool,
    /// Roles that were written to since it was begun: it may show them before or after.
    pub(super) spoiled: BTreeSet<RoleName>,
    pub(super) next: Instant,
    /// Whether that one is to tell all that bears on the roles.
    pub(super) is_everything_due: bool,
    backoff: Backoff,
    /// Why the last one failed, if it did, and when that was told.
    pub(super) failed: Option<(IamError, Instant)>,
    /// Whether any has told of the roles.
    pub(super) have_come: bool,
    /// When the last one came that told of all roles.
    pub(super) last_complete: Option<Instant>,
    /// Whether it was told that roles are read one by one.
    one_by_one_told: bool,
    /// What the roles' managed policies say is looked after, while the roles are judged by what is known of it.
    pub(super) of_policies: Option<JoinHandle<()>>,
}

impl Readings {
    /// The first is due at once. The seed is that of the jitter between attempts.
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            under_way: None,
            is_of_everything: false,
            spoiled: BTreeSet::new(),
            next: now,
            is_everything_due: false,
            backoff: Backoff::new(seed),
            failed: None,
            have_come: false,
            last_complete: None,
            one_by_one_told: false,
            of_policies: None,
        }
    }
}

/// What is known of the account: the newest reading, and what looks have added to it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) inventory: Arc<Inventory>,
    /// When the reading came that led to it.
    pub(super) at: Instant,
    /// What that reading looked for.
    pub(super) looked_for: Arc<Asked>,
    /// Roles that were written to since that reading was begun: it may show them before or after.
    pub(super) spoiled: BTreeSet<RoleName>,
    /// The roles of which a reading and a single look said differing things at about the same time: nobody knows which of
    /// both is newer, so the next repair asks once more.
    pub(super) doubtful: BTreeSet<RoleName>,
}

impl Seen {
    /// Nothing.
    pub(super) fn nothing(now: Instant) -> Self {
        Self {
            inventory: Arc::default(),
            at: now,
            looked_for: Arc::default(),
            spoiled: BTreeSet::new(),
            doubtful: BTreeSet::new(),
        }
    }
}

impl<I: Iam> Account<I> {
    pub(super) fn begin_reading(&mut self) {
        self.tell_pass();
        let now = Instant::now();
        self.readings.next = now + self.resync_interval(now);
        self.readings.is_of_everything = std::mem::take(&mut self.readings.is_everything_due);
        let asked = Arc::clone(&self.asked);
        if asked.is_empty() {
            self.planning.is_done = true;
            (self.readings.have_come, self.readings.last_complete) = (true, Some(now));
            self.guard(&mut [], now);
            self.tell_mismatched();
            return;
        }
        let reader = Arc::clone(&self.tools.reader);
        let needs_all_roles = self.readings.is_of_everything || !self.slots.values().all(Slot::is_at_rest);
        self.readings.spoiled.clear();
        let ledger_file = self.guarding.ledger_file.clone();
        self.readings.under_way = Some(tokio::spawn(async move {
            if let Some(file) = ledger_file {
                file.refresh().await;
            }
            let read = reader.read_roles(&asked, needs_all_roles).await;
            (asked, read)
        }));
    }

    /// Whether a reading now costs fewer calls than a look at the role before each of the repairs that wait, which a
    /// reading that is not believed any more would need.
    pub(super) fn saves_looks_at_roles(&self, now: Instant) -> bool {
        let is_soon_too_old = now.duration_since(self.seen.at) + TIME_TO_READ >= BELIEVED_FOR;
        is_soon_too_old
            && self.may_begin()
            && self.canary.waits_until().is_none()
            && self.tools.reader.bulk_calls().is_some_and(|calls| calls < self.queue.len())
    }

    pub(super) fn conclude_reading(&mut self, read: Result<Reading, JoinError>) {
        let now = Instant::now();
        let (asked, read) = read.unwrap_or_else(|ended_early| {
            let error = IamError::contradiction("reading", format!("it ended early ({ended_early})"));
            (Arc::default(), Err(error))
        });
        if self.suspension_told.is_some() {
            self.tell_suspension(true);
        }
        match read {
            Ok((inventory, manner)) => {
                if self.readings.failed.take().is_some() {
                    emit(&self.about_account(EventName::ReadRecovered, "can be read again"));
                }
                self.tell_manner(&manner);
                // Manifests that came meanwhile may ask for roles that this reading did not look for.
                let is_of_newest = asked == self.asked;
                // So may something have changed that it has read before.
                let is_enough = is_of_newest && !self.readings.is_everything_due;
                self.readings.next = if is_enough { now + self.resync_interval(now) } else { now };
                if inventory.may_be_completed() {
                    self.readings.next = self.readings.next.min(now + self.readings.backoff.next());
                } else {
                    self.readings.backoff.reset();
                }
                self.readings.have_come = true;
                if inventory.is_complete() {
                    self.readings.last_complete = Some(now);
                }
                self.overtake_repairs_of_others(&inventory);
                self.seen.inventory = inventory;
                self.seen.at = now;
                self.seen.looked_for = asked;
                self.seen.spoiled = std::mem::take(&mut self.readings.spoiled);
                if is_of_newest {
                    self.take_selectors(&manner);
                } else {
                    self.overtake_what_is_meant_otherwise();
                }
                self.tell_settled(now);
                self.plan_once_policies_are_known(now);
                self.tell_mismatched();
                self.look_after_policies();
            }
            Err(error) => {
                let told_at = match &self.readings.failed {
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
                self.planning.awaits_looks = false;
                self.readings.failed = Some((error, told_at));
                self.readings.is_everything_due |= self.readings.is_of_everything;
                self.readings.next = now + self.readings.backoff.next();
            }
        }
    }

    /// Has the managed policies looked after, where nobody is at it.
    pub(super) fn look_after_policies(&mut self) {
        if self.readings.of_policies.is_none() {
            let reader = Arc::clone(&self.tools.reader);
            self.readings.of_policies = Some(tokio::spawn(async move { reader.look_after_policies().await }));
        }
    }

    /// Has no repair begin to write any more whose role is another one by this reading: AWS may protect that one, it may be
    /// outside of the limits, or somebody may have asked to leave it alone.
    fn overtake_repairs_of_others(&self, inventory: &Inventory) {
        for busy in self.busy.values() {
            if let (Some(Observed::Found(then)), Some(Observed::Found(now))) =
                (self.seen.inventory.get(&busy.key.0), inventory.get(&busy.key.0))
                && (&then.path, then.is_suspended) != (&now.path, now.is_suspended)
            {
                busy.overtaken.cancel();
            }
        }
    }

    /// Tells of the pass that ends: what was called since the one before it.
    pub(super) fn tell_pass(&mut self) {
        let calls = self.iam.calls();
        let made = calls.since(&self.calls_told);
        if made.total() > 0 {
            self.calls_told = calls;
            emit(&Event {
                calls: Some(made.to_string()),
                ..self.about_account(
                    EventName::PassCompleted,
                    &format!("has taken these calls since the pass before: {made}"),
                )
            });
        }
    }

    fn tell_manner(&mut self, manner: &Manner) {
        if matches!(manner, Manner::ByRole { .. }) {
            return;
        }
        let told = std::mem::replace(&mut self.readings.one_by_one_told, matches!(manner, Manner::OneByOne(_)));
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
