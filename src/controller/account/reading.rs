//! A reading of IAM: verdicts, the guards, what is told and what is queued.
//!
//! What must stay true: a reading that failed decides nothing, and the guards see a plan whole before any of it is
//! queued.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{task::JoinError, time::Instant};

use super::{Account, Held, hearing::tell};
use crate::{
    controller::{
        approval::Approval,
        read_failed,
        repair::BELIEVED_FOR,
        report::REMINDER,
        slot::{Slot, Worth},
    },
    iam::{ErrorClass, Iam, IamError, Manner},
    inventory::{Asked, Inventory, Observed},
    manifest::PolicyKey,
    plan::{self, Digest, Guarded, Reason, Step},
    telemetry::{Event, EventName, emit},
};

/// How long a plan waits for what managed policies say: then what is not known of them is taken as unknown.
const POLICIES_KNOWN_WITHIN: Duration = Duration::from_secs(15);

/// So long before the last reading is not believed any more the next is begun, where repairs wait that rely on it.
const TIME_TO_READ: Duration = Duration::from_secs(5);

/// A reading: what it asked for, and what came of it.
pub(super) type Reading = (Arc<Asked>, Result<(Arc<Inventory>, Manner), IamError>);

impl<I: Iam> Account<I> {
    pub(super) fn begin_reading(&mut self) {
        self.tell_pass();
        let now = Instant::now();
        self.next_reading = now + self.resync_interval(now);
        self.is_reading_everything = std::mem::take(&mut self.is_everything_due);
        let asked = Arc::clone(&self.asked);
        if asked.is_empty() {
            self.is_planned = true;
            (self.was_read, self.last_complete) = (true, Some(now));
            self.guard(&mut [], now);
            self.tell_mismatched();
            return;
        }
        let reader = Arc::clone(&self.tools.reader);
        let needs_all_roles = self.is_reading_everything || !self.slots.values().all(Slot::is_at_rest);
        self.spoiled_meanwhile.clear();
        let ledger_file = self.ledger_file.clone();
        self.reading = Some(tokio::spawn(async move {
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
        let is_soon_too_old = now.duration_since(self.read_at) + TIME_TO_READ >= BELIEVED_FOR;
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
                if self.reading_failed.take().is_some() {
                    emit(&self.about_account(EventName::ReadRecovered, "can be read again"));
                }
                self.tell_manner(&manner);
                // Manifests that came meanwhile may ask for roles that this reading did not look for.
                let is_of_newest = asked == self.asked;
                // So may something have changed that it has read before.
                let is_enough = is_of_newest && !self.is_everything_due;
                self.next_reading = if is_enough { now + self.resync_interval(now) } else { now };
                if inventory.may_be_completed() {
                    self.next_reading = self.next_reading.min(now + self.reading_backoff.next());
                } else {
                    self.reading_backoff.reset();
                }
                self.was_read = true;
                if inventory.is_complete() {
                    self.last_complete = Some(now);
                }
                self.overtake_repairs_of_others(&inventory);
                self.inventory = inventory;
                self.read_at = now;
                self.looked_for = asked;
                self.spoiled = std::mem::take(&mut self.spoiled_meanwhile);
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
                self.awaits_looks = false;
                self.reading_failed = Some((error, told_at));
                self.is_everything_due |= self.is_reading_everything;
                self.next_reading = now + self.reading_backoff.next();
            }
        }
    }

    /// Has no repair begin to write any more whose role is another one by this reading: AWS may protect that one, it may be
    /// outside of the limits, or somebody may have asked to leave it alone.
    fn overtake_repairs_of_others(&self, inventory: &Inventory) {
        for busy in self.busy.values() {
            if let (Some(Observed::Found(then)), Some(Observed::Found(now))) =
                (self.inventory.get(&busy.key.0), inventory.get(&busy.key.0))
                && (&then.path, then.is_suspended) != (&now.path, now.is_suspended)
            {
                busy.overtaken.cancel();
            }
        }
    }

    /// Plans the newest reading. Where roles carry managed policies of which nothing is known so far, not before that is
    /// found out or has taken too long: what a repair takes away from a role is not known, nor is the plan whole, without
    /// them.
    fn plan_once_policies_are_known(&mut self, now: Instant) {
        if self.tools.reader.knows_all_policies() {
            self.awaits_policies = None;
        } else {
            let since = *self.awaits_policies.get_or_insert(now);
            if now.duration_since(since) < POLICIES_KNOWN_WITHIN {
                self.is_planned = false;
                return;
            }
        }
        self.awaits_looks = true;
        self.plan_after_looks(now);
    }

    /// Plans the newest reading once no look is under way: without what is being looked at the plan would not be whole, and
    /// the guards would let pass piece by piece what they hold as a whole. Nothing else begins meanwhile.
    pub(super) fn plan_after_looks(&mut self, now: Instant) {
        if self.awaits_looks && self.busy.values().all(|busy| busy.may_write) {
            self.awaits_looks = false;
            self.take_inventory(now);
            self.is_planned = self.looked_for == self.asked;
        }
    }

    /// Has the managed policies looked after, where nobody is at it.
    fn look_after_policies(&mut self) {
        if self.looking_after.is_none() {
            let reader = Arc::clone(&self.tools.reader);
            self.looking_after = Some(tokio::spawn(async move { reader.look_after_policies().await }));
        }
    }

    /// Has the roles judged anew of whose managed policies something became known: with all others, once no look is under
    /// way, since the guards are to see one whole plan.
    pub(super) fn take_policies(&mut self) {
        if let Some(completed) = self.tools.reader.completed(&self.inventory) {
            self.inventory = completed;
            self.is_plan_outdated = true;
        }
        if self.awaits_policies.is_some() && self.reading_failed.is_none() {
            let now = Instant::now();
            self.plan_once_policies_are_known(now);
            if self.awaits_policies.is_some() && !self.is_planned {
                // Those that came with a reading meanwhile.
                self.look_after_policies();
            }
        }
    }

    /// Judges every managed policy by the newest reading, has the guards look at what is to be written, tells what is
    /// new, and queues the repairs.
    fn take_inventory(&mut self, now: Instant) {
        self.is_plan_outdated = false;
        self.rouse_what_is_to_be_judged(now);
        // Almost all roles are as they were, almost always: a document that the same manifests found in sync before
        // needs no new verdict, so that a pass costs little more than its reading.
        let moment = Timestamp::now();
        let verdict = |(key, slot): (&PolicyKey, &Slot)| {
            // What was not looked for is not known to be missing.
            self.looked_for.names(&key.0, &key.1).then_some(())?;
            let observed = self.inventory.get(&key.0)?;
            let is_new = !slot.is_known_in_sync(observed, now);
            is_new.then(|| (key.clone(), plan::judge(&slot.wanted, observed, &self.circumstances, moment)))
        };
        let mut verdicts: Vec<(PolicyKey, Step)> = self.slots.iter().filter_map(verdict).collect();
        verdicts.retain(|(key, _)| !self.busy.contains_key(&key.0) && !self.spoiled.contains(&key.0));
        verdicts.retain(|(key, step)| self.is_news(key, step, now));
        self.guard(&mut verdicts, now);
        let is_settling = |key: &PolicyKey| self.slots.get(key).is_some_and(|slot| slot.is_settling(now));
        let seems_to_have_arrived = |(key, step): &&(PolicyKey, Step)| step.is_in_sync() && is_settling(key);
        let arrived: Vec<PolicyKey> =
            verdicts.iter().filter(seems_to_have_arrived).map(|(key, _)| key.clone()).collect();
        for (key, step) in verdicts {
            self.take_verdict(key, step, now);
        }
        if self.queue.is_empty() {
            // That our writes have arrived fresh looks tell; while others wait for their repairs, time does.
            arrived.iter().for_each(|key| self.enqueue(key));
        }
        self.lay_down(now);
    }

    /// Plans what fresh looks have proved, once all of them are done: it is one plan, for the guards too.
    pub(super) fn plan_what_was_proved(&mut self, now: Instant) {
        let is_look = |key: &PolicyKey| self.slots.get(key).is_some_and(|slot| !slot.is_planned);
        let looks_left = self.queue.iter().any(is_look) || self.busy.values().any(|busy| is_look(&busy.key));
        if self.is_plan_outdated && self.may_begin() && !looks_left {
            self.take_inventory(now);
        }
    }

    /// Whether a verdict of a bulk reading is to be believed. Where it may be about the old world still, it is looked
    /// into.
    fn is_news(&mut self, key: &PolicyKey, step: &Step, now: Instant) -> bool {
        self.conclude_lost_answer(key, step, now);
        let Some(slot) = self.slots.get_mut(key) else { return false };
        match slot.worth(step, now) {
            Worth::Stale(until) => self.next_reading = self.next_reading.min(until),
            Worth::Doubtful => {
                slot.judged(step.clone(), now);
                slot.is_planned = false;
                if slot.retry.is_none() {
                    self.enqueue(key);
                }
            }
            Worth::News => return true,
        }
        false
    }

    /// Holds the whole plan where it goes beyond what may change, or is not the one that was approved.
    fn guard(&mut self, verdicts: &mut [(PolicyKey, Step)], now: Instant) {
        let of_manifests = verdicts.iter().map(|(_, step)| step).filter(|step| !step.is_about_a_former_name());
        self.digest = Digest::of(&self.caller.account, of_manifests);
        if matches!(self.approval, Approval::NotAsked) {
            self.hold_beyond_guards(verdicts, now);
        } else {
            let plan = verdicts.iter_mut().map(|(key, step)| (&*key, step));
            self.approval.take_plan(plan, self.digest.as_ref());
        }
        // What an earlier plan has on its way is one of several too.
        let under_way = self.busy.values().filter(|busy| busy.may_write).count();
        self.canary.plan(under_way + verdicts.iter().filter(|(_, step)| step.is_a_write()).count());
        self.tell_canary_over();
    }

    fn hold_beyond_guards(&mut self, verdicts: &mut [(PolicyKey, Step)], now: Instant) {
        let is_former = |(_, step): &&(PolicyKey, Step)| step.is_about_a_former_name();
        let former: Vec<PolicyKey> = verdicts.iter().filter(is_former).map(|(key, _)| key.clone()).collect();
        let (elapsed, role_count) = (self.elapsed(), self.role_count());
        // A role whose write waits for a person, or for a fight to end, holds up nobody else.
        let waits = |key: &PolicyKey, step: &Step| self.slots.get(key).is_some_and(|slot| slot.waits(step, now));
        let mut steps: Vec<&mut Step> =
            verdicts.iter_mut().filter(|(key, step)| !waits(key, step)).map(|(_, step)| step).collect();
        // What somebody undoes again and again is not to keep the repairs of all others waiting: it is held alone.
        let is_fought_over = |step: &Step| {
            let key = (step.target.role.clone(), step.target.policy.clone());
            self.slots.get(&key).is_some_and(|slot| slot.contention.is_a_fight())
        };
        plan::hold_alone(&mut steps, is_fought_over, &mut self.ledger, &self.guards, role_count, elapsed);
        match plan::guard(&mut steps, &mut self.ledger, &self.guards, role_count, elapsed) {
            Guarded::Within => self.tell_held(None),
            Guarded::WithoutFormer(_) => {
                self.tell_held(None);
                self.give_up(&former);
            }
            Guarded::Held(excess) => {
                let held = self.digest.clone().map(|digest| Held { digest, excess });
                self.tell_held(held);
                // What was queued by an earlier plan is part of this one.
                let slots = &mut self.slots;
                self.queue.retain(|key| {
                    let Some(slot) = slots.get_mut(key).filter(|slot| slot.is_planned) else { return true };
                    slot.is_queued = false;
                    false
                });
            }
        }
    }

    fn tell_held(&mut self, held: Option<Held>) {
        let told = self.held.take();
        match &held {
            Some(new) if told.as_ref().is_none_or(|told| told.digest != new.digest) => emit(&Event {
                reason: Some(Reason::GuardHeld.as_str()),
                digest: Some(new.digest.to_string()),
                hint: Some(new.hint()),
                ..self.about_account(
                    EventName::GuardHeld,
                    &format!("has a plan beyond its guards, and nothing of it is written: {}", new.excess),
                )
            }),
            None if told.is_some() => {
                emit(&self.about_account(EventName::GuardReleased, "has no plan that is held any more"));
            }
            _ => {}
        }
        self.held = held;
    }

    fn take_verdict(&mut self, key: PolicyKey, mut step: Step, now: Instant) {
        if step.is_in_sync() {
            self.canary.proven(&key);
            self.tell_canary_over();
        }
        if self.forgets_former(&key, &step, now) {
            return;
        }
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let is_known = step.reason != Some(Reason::Unknown);
        if is_known && (!step.is_a_write() || !self.reporter.has_told(&step)) {
            // In sync, blocked, or another drift than the one that failed: earlier failures say nothing of it.
            slot.retry = None;
        }
        slot.is_planned = step.is_a_write() && !slot.waits(&step, now);
        if step.is_a_write()
            && let Some(due) = slot.contention.holds(step.drift, now)
        {
            let how_often = slot.contention.in_words(due, now);
            step = step.held_by(Reason::Contended, Some(how_often));
        }
        let repairable = step.is_a_write() && slot.retry.as_ref().is_none_or(|retry| retry.due <= now);
        tell(&self.hearing, &step.target, self.reporter.observe(&step, now.duration_since(self.started)));
        slot.judged(step, now);
        slot.judged_of(self.inventory.get(&key.0), now);
        self.postpone(&key);
        if repairable {
            self.enqueue(&key);
        }
    }

    /// Forgets a policy under a former name that is not there: no manifest names it, so whoever makes it again shall keep
    /// it. Where readings are doubted, a fresh look decides.
    pub(super) fn forgets_former(&mut self, key: &PolicyKey, step: &Step, now: Instant) -> bool {
        let Some(slot) = self.slots.get(key).filter(|slot| slot.wanted.successor.is_some()) else { return false };
        if !step.is_in_sync() || step.live.is_some() {
            return false;
        }
        if slot.is_doubted(now) {
            self.enqueue(key);
        } else {
            self.slots.remove(key);
            self.reporter.forget(step).iter().for_each(emit);
        }
        true
    }

    /// Has a policy that somebody else writes too looked at again when its repair may begin.
    pub(in crate::controller) fn postpone(&mut self, key: &PolicyKey) {
        if let Some(due) = self.slots.get(key).and_then(|slot| slot.postponed) {
            self.waiting.insert((due, key.clone()));
            self.contended.insert(key.clone());
        }
    }

    /// Tells of fights about a policy that are over.
    fn tell_settled(&mut self, now: Instant) {
        let over = |key: &PolicyKey| {
            let slot = self.slots.get_mut(key)?;
            slot.contention.forget(now).then(|| (key.clone(), slot.step.clone()))
        };
        let settled: Vec<(PolicyKey, Option<Step>)> = self.contended.iter().filter_map(over).collect();
        for (key, step) in settled {
            self.contended.remove(&key);
            step.and_then(|step| self.reporter.settled(&step)).iter().for_each(emit);
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
