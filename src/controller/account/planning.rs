//! What a reading leads to: a verdict of each policy, what is told of it, and what is queued.
//!
//! Knows nothing of how the reading came about. What must stay true: the guards see a plan whole before any of it is queued,
//! and what may be about the world before a write of ours is looked into, and not believed.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Account, hearing::tell};
use crate::{
    controller::slot::{Slot, Worth},
    iam::Iam,
    manifest::PolicyKey,
    plan::{self, Digest, Reason, Step},
    telemetry::emit,
};

/// How long a plan waits for what managed policies say: then what is not known of them is taken as unknown.
const POLICIES_KNOWN_WITHIN: Duration = Duration::from_secs(15);

/// How far the plan of what is known is.
#[derive(Debug, Default)]
pub(super) struct Planning {
    /// Whether the guards have seen a plan of the newest manifests. Until then nothing begins.
    pub(super) is_done: bool,
    /// What the plan of the last reading would write.
    pub(super) digest: Option<Digest>,
    /// Whether more is known than the present plan holds: drifts that fresh looks have proved, managed policies.
    pub(super) is_outdated: bool,
    /// Since when the plan of the newest reading waits for what its managed policies say.
    pub(super) awaits_policies: Option<Instant>,
    /// Whether that plan waits for looks that were under way when the reading came: what they look at is part of it.
    pub(super) awaits_looks: bool,
}

impl<I: Iam> Account<I> {
    /// Plans the newest reading. Where roles carry managed policies of which nothing is known so far, not before that is
    /// found out or has taken too long: what a repair takes away from a role is not known, nor is the plan whole, without
    /// them.
    pub(super) fn plan_once_policies_are_known(&mut self, now: Instant) {
        if self.tools.reader.knows_all_policies() {
            self.planning.awaits_policies = None;
        } else {
            let since = *self.planning.awaits_policies.get_or_insert(now);
            if now.duration_since(since) < POLICIES_KNOWN_WITHIN {
                self.planning.is_done = false;
                return;
            }
        }
        self.planning.awaits_looks = true;
        self.plan_after_looks(now);
    }

    /// Plans the newest reading once no look is under way: without what is being looked at the plan would not be whole, and
    /// the guards would let pass piece by piece what they hold as a whole. Nothing else begins meanwhile.
    pub(super) fn plan_after_looks(&mut self, now: Instant) {
        if self.planning.awaits_looks && self.busy.values().all(|busy| busy.may_write) {
            self.planning.awaits_looks = false;
            self.take_inventory(now);
            self.planning.is_done = self.seen.looked_for == self.asked;
        }
    }

    /// Has the roles judged anew of whose managed policies something became known: with all others, once no look is under
    /// way, since the guards are to see one whole plan.
    pub(super) fn take_policies(&mut self) {
        if let Some(completed) = self.tools.reader.completed(&self.seen.inventory) {
            self.seen.inventory = completed;
            self.planning.is_outdated = true;
        }
        if self.planning.awaits_policies.is_some() && self.readings.failed.is_none() {
            let now = Instant::now();
            self.plan_once_policies_are_known(now);
            if self.planning.awaits_policies.is_some() && !self.planning.is_done {
                // Those that came with a reading meanwhile.
                self.look_after_policies();
            }
        }
    }

    /// Judges every managed policy by the newest reading, has the guards look at what is to be written, tells what is
    /// new, and queues the repairs.
    fn take_inventory(&mut self, now: Instant) {
        self.planning.is_outdated = false;
        self.rouse_what_is_to_be_judged(now);
        // Almost all roles are as they were, almost always: a document that the same manifests found in sync before
        // needs no new verdict, so that a pass costs little more than its reading.
        let moment = Timestamp::now();
        let verdict = |(key, slot): (&PolicyKey, &Slot)| {
            // What was not looked for is not known to be missing.
            self.seen.looked_for.names(&key.0, &key.1).then_some(())?;
            let observed = self.seen.inventory.get(&key.0)?;
            let is_new = !slot.is_known_in_sync(observed, now);
            is_new.then(|| (key.clone(), plan::judge(&slot.wanted, observed, &self.circumstances, moment)))
        };
        let mut verdicts: Vec<(PolicyKey, Step)> = self.slots.iter().filter_map(verdict).collect();
        verdicts.retain(|(key, _)| !self.busy.contains_key(&key.0) && !self.seen.spoiled.contains(&key.0));
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
        if self.planning.is_outdated && self.may_begin() && !looks_left {
            self.take_inventory(now);
        }
    }

    /// Whether a verdict of a bulk reading is to be believed. Where it may be about the old world still, it is looked
    /// into.
    fn is_news(&mut self, key: &PolicyKey, step: &Step, now: Instant) -> bool {
        self.conclude_lost_answer(key, step, now);
        let Some(slot) = self.slots.get_mut(key) else { return false };
        match slot.worth(step, now) {
            Worth::Stale(until) => self.readings.next = self.readings.next.min(until),
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
        slot.judged_of(self.seen.inventory.get(&key.0), now);
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
    pub(super) fn tell_settled(&mut self, now: Instant) {
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
}
