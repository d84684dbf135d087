//! Repairs: which may begin, and what came of them.
//!
//! What must stay true: never two for one role, none without leave of the guards, and what may have been written counts
//! as written.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    task::{self, JoinError},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Account, Busy, ReadBack};
use crate::{
    controller::repair::{Leave, Repaired},
    iam::{ErrorClass, Iam, IamError},
    inventory::{LiveDocument, Observed},
    manifest::{PolicyKey, State},
    names::RoleName,
    plan::{self, Reason, Step},
    telemetry::{Event, EventName, emit},
};

/// How many roles are repaired at once. Each repair is two calls of some 100 ms: well over five writes a second.
const REPAIRS_AT_ONCE: usize = 5;

/// How soon a role is looked for again that a write did not find.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

impl<I: Iam> Account<I> {
    pub(super) fn begin_repairs(&mut self) {
        if !self.is_planned {
            return;
        }
        let now = Instant::now();
        let mut held_back = VecDeque::new();
        while self.repairs.len() < self.canary.at_once(REPAIRS_AT_ONCE, now)
            && let Some(key) = self.queue.pop_front()
        {
            let another_first = self.canary.is_not_to_be(&key) && !self.queue.is_empty();
            if self.busy.contains_key(&key.0) || another_first {
                held_back.push_back(key);
                continue;
            }
            self.begin_repair(key);
        }
        held_back.append(&mut self.queue);
        self.queue = held_back;
    }

    fn begin_repair(&mut self, key: PolicyKey) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.is_queued = false;
        slot.postponed = None;
        let Some(Observed::Found(role)) = self.inventory.get(&key.0) else {
            // The reading that finds the role again queues it again.
            slot.retry = None;
            return;
        };
        let (tools, wanted, role) = (self.tools.clone(), slot.wanted.clone(), Arc::clone(role));
        let circumstances = self.circumstances.clone();
        let contention = slot.contention.clone();
        let leave = self.leave(&key, wanted.state == State::Absent);
        if !matches!(leave, Leave::Look(..)) {
            self.ledger.begins(&key.0, wanted.state == State::Absent);
        }
        self.canary.begins(&key);
        let overtaken = CancellationToken::new();
        let token = overtaken.clone();
        let task = self
            .repairs
            .spawn(async move { tools.repair(&wanted, &role, &circumstances, leave, &contention, &token).await });
        self.busy.insert(key.0.clone(), Busy { task: task.id(), key, overtaken });
    }

    /// Whether one more write may be made now.
    fn leave(&mut self, key: &PolicyKey, is_delete: bool) -> Leave {
        match self.approval.leave(key) {
            Leave::Write => {
                if let Some(held) = &self.held {
                    return Leave::Look(Reason::GuardHeld, Some(held.excess.to_string()));
                }
                let (now, role_count) = (self.elapsed(), self.role_count());
                match self.ledger.excess(&self.guards, role_count, [(&key.0, is_delete)], now) {
                    None => Leave::Write,
                    Some(excess) => Leave::Look(Reason::GuardHeld, Some(excess.to_string())),
                }
            }
            approved => approved,
        }
    }

    pub(super) fn conclude_repair(&mut self, done: Result<(task::Id, Repaired), JoinError>) {
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
        let may_have_written = match &repaired {
            Repaired::Written { .. } => true,
            Repaired::WriteFailed { error, .. } => error.class == ErrorClass::Transient,
            Repaired::NotNeeded(_) | Repaired::Overtaken | Repaired::ReadFailed(_) => false,
        };
        self.ledger.ended(&role, may_have_written, self.started.elapsed());
        if may_have_written {
            self.approval.use_up(&key);
            self.spoiled.insert(role);
        }
        if !matches!(repaired, Repaired::Written { .. }) {
            self.canary.wrote_nothing(&key);
        }
        match repaired {
            Repaired::Written { step, before } => {
                self.conclude_lost_answer(&key, &step, now);
                self.wrote(&key, &step, before, now);
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.step = Some(step.after_write());
                }
                self.begin_read_back(&key, &overtaken);
            }
            Repaired::NotNeeded(step) if !overtaken.is_cancelled() || self.is_stopping => {
                self.not_needed(&key, step, now);
            }
            // A verdict by older manifests says nothing: the fresh look below has the last word.
            Repaired::NotNeeded(_) | Repaired::Overtaken => {}
            Repaired::ReadFailed(error) => self.repair_failed(&key, &error, now),
            Repaired::WriteFailed { error, .. } if error.class == ErrorClass::Gone => self.role_is_gone(&key, now),
            Repaired::WriteFailed { step, before, error } => {
                self.conclude_lost_answer(&key, &step, now);
                // The fresh read has proved the drift, whatever the bulk reading was worth.
                if !overtaken.is_cancelled() || self.is_stopping {
                    self.reporter.observe(&step, self.started.elapsed()).iter().for_each(emit);
                }
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.step = Some(step.clone());
                    slot.unanswered(&error, step, before);
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
        if step.is_about_a_former_name() {
            // No manifest names it: whoever makes it again shall keep it.
            self.give_up(std::slice::from_ref(key));
        }
    }

    /// Where a policy is as an unanswered write would have it, that write was ours.
    pub(super) fn conclude_lost_answer(&mut self, key: &PolicyKey, step: &Step, now: Instant) {
        if let Some(attempt) = self.slots.get_mut(key).and_then(|slot| slot.landed(step)) {
            self.wrote(key, &attempt.step, attempt.before, now);
        }
    }

    fn not_needed(&mut self, key: &PolicyKey, step: Step, now: Instant) {
        self.conclude_lost_answer(key, &step, now);
        if step.is_in_sync() && self.canary.proven(key) {
            self.tell_canary_proven(&step);
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        let bulk_said = slot.step.as_ref().and_then(|step| step.live.clone());
        if bulk_said != step.live {
            slot.contradicted(bulk_said, now);
        }
        slot.retry = None;
        self.reporter.observe(&step, self.started.elapsed()).iter().for_each(emit);
        slot.judged(step, now);
        self.postpone(key);
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

    /// Reads back the write that went first, where others wait for it.
    fn begin_read_back(&mut self, key: &PolicyKey, overtaken: &CancellationToken) {
        if !self.canary.is(key) {
            return;
        }
        let (Some(slot), Some(Observed::Found(role))) = (self.slots.get(key), self.inventory.get(&key.0)) else {
            self.canary.wrote_nothing(key);
            return;
        };
        if overtaken.is_cancelled() || self.is_stopping {
            self.canary.wrote_nothing(key);
            return;
        }
        let (tools, wanted, role) = (self.tools.clone(), slot.wanted.clone(), Arc::clone(role));
        let (circumstances, overtaken) = (self.circumstances.clone(), overtaken.clone());
        let token = overtaken.clone();
        let task = tokio::spawn(async move { tools.reads_back(&wanted, &role, &circumstances, &token).await });
        self.read_back = Some(ReadBack { key: key.clone(), task, overtaken });
    }

    pub(super) fn conclude_read_back(&mut self, found_right: bool) {
        let Some(ReadBack { key, overtaken, .. }) = self.read_back.take() else { return };
        if found_right {
            self.canary.proven(&key);
        } else if overtaken.is_cancelled() {
            self.canary.wrote_nothing(&key);
        } else {
            self.canary.unproven(&key, Instant::now());
            self.tell_canary_failed(&key.0);
        }
    }

    fn tell_canary_failed(&self, role: &RoleName) {
        emit(&Event {
            role: Some(role.to_string()),
            reason: Some(Reason::CanaryUnproven.as_str()),
            hint: Some(Reason::CanaryUnproven.hint().to_owned()),
            ..self.about_account(
                EventName::CanaryFailed,
                &format!("has several roles to be repaired; the first, {role}, was written and did not read back right, so the rest wait"),
            )
        });
    }

    pub(super) fn tell_canary_proven(&self, step: &Step) {
        let role = &step.target.role;
        emit(&Event {
            role: Some(role.to_string()),
            ..self.about_account(
                EventName::CanaryProven,
                &format!("goes on with its repairs: the first, {role}, is found right"),
            )
        });
    }
}
