//! Repairs: which may begin, and what came of them.
//!
//! What must stay true: never two for one role, none without leave of the guards, and what may have been written counts
//! as written.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    task::{self, JoinError},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Account, Busy, ReadBack, hearing::tell};
use crate::{
    controller::{
        repair::{Leave, Repaired},
        slot::Slot,
    },
    iam::{ErrorClass, Iam, IamError},
    inventory::{Inventory, LiveDocument, Observed, Role, RoleKind},
    manifest::{PolicyKey, State},
    names::RoleName,
    plan::{self, Reason, Step},
    policy::compare::Drift,
    telemetry::{Event, EventName, emit},
};

/// How many roles are repaired at once. Each repair is two calls of some 100 ms: well over five writes a second, as long as
/// the pace allows for them.
const REPAIRS_AT_ONCE: usize = 5;

/// How soon a role is looked for again that a write did not find.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

impl<I: Iam> Account<I> {
    pub(super) fn begin_repairs(&mut self) {
        if !self.may_begin() {
            return;
        }
        let now = Instant::now();
        let (mut held_back, first) = (VecDeque::new(), self.first_of_several());
        while let Some(key) = self.queue.pop_front() {
            if self.repairs.len() >= REPAIRS_AT_ONCE {
                self.queue.push_front(key);
                break;
            }
            let may_write = self.slots.get(&key).is_some_and(|slot| slot.is_planned);
            if self.busy.contains_key(&key.0) || may_write && !self.may_go(&key, first.as_ref(), now) {
                held_back.push_back(key);
                continue;
            }
            self.begin_repair(key);
        }
        held_back.append(&mut self.queue);
        self.queue = held_back;
    }

    /// Whether a write of this policy may begin, as far as the first of several writes is concerned. Looks always may.
    fn may_go(&mut self, key: &PolicyKey, first: Option<&PolicyKey>, now: Instant) -> bool {
        let under_way = self.busy.values().filter(|busy| busy.may_write).count();
        if self.canary.unproven_key() == Some(key) {
            // It is the one that goes first; while it is not right nobody else is on the way.
            return under_way == 0;
        }
        under_way < self.canary.at_once(REPAIRS_AT_ONCE, now) && (!self.canary.is_due() || first == Some(key))
    }

    /// Which of the writes that wait is to go first, should one have to go alone: one that was not tried in vain before, and
    /// of these one that grants too much.
    fn first_of_several(&self) -> Option<PolicyKey> {
        if self.canary.is_done() {
            return None;
        }
        let rank = |key: &PolicyKey, slot: &Slot| {
            let drift = slot.step.as_ref().and_then(|step| step.drift);
            (self.canary.has_failed(key), !matches!(drift, Some(Drift::Widened | Drift::Altered)))
        };
        let waiting = self.queue.iter().filter_map(|key| Some((key, self.slots.get(key)?)));
        // Those whose role is busy cannot go at once.
        let waiting = waiting.filter(|(key, slot)| slot.is_planned && !self.busy.contains_key(&key.0));
        waiting.min_by_key(|(key, slot)| rank(key, slot)).map(|(key, _)| key.clone())
    }

    fn begin_repair(&mut self, key: PolicyKey) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.is_queued = false;
        slot.postponed = None;
        let Some(Observed::Found(role)) = self.seen.inventory.get(&key.0) else {
            // The reading that finds the role again queues it again.
            slot.retry = None;
            return;
        };
        let (wanted, role) = (slot.wanted.clone(), Arc::clone(role));
        let (contention, is_planned) = (slot.contention.clone(), slot.is_planned);
        let (circumstances, began) = (self.circumstances.clone(), Instant::now());
        let read_at = (!self.seen.doubtful.contains(&key.0)).then_some(self.seen.at);
        let is_delete = wanted.state == State::Absent;
        let leave = if is_planned { self.leave(&key, is_delete) } else { Leave::Look };
        let may_write = matches!(leave, Leave::Write | Leave::WriteInPlaceOf(_));
        if may_write {
            self.guarding.ledger.begins(&key.0, is_delete);
            self.canary.begins(&key);
        }
        let tools = self.tools_for(&leave);
        let overtaken = CancellationToken::new();
        let token = overtaken.clone();
        let task = self.repairs.spawn(async move {
            tools.repair(&wanted, (&role, read_at), &circumstances, leave, &contention, &token).await
        });
        self.busy.insert(key.0.clone(), Busy { task: task.id(), key, began, may_write, overtaken });
    }

    /// Whether one more write of the plan may be made now.
    fn leave(&mut self, key: &PolicyKey, is_delete: bool) -> Leave {
        match self.guarding.approval.leave(key) {
            Leave::Write => {
                if let Some(held) = &self.guarding.held {
                    return Leave::Held(Reason::GuardHeld, Some(held.excess.to_string()));
                }
                let (now, role_count) = (self.elapsed(), self.role_count());
                match self.guarding.ledger.excess(&self.guarding.guards, role_count, [(&key.0, is_delete)], now) {
                    None => Leave::Write,
                    Some(excess) => Leave::Held(Reason::GuardHeld, Some(excess.to_string())),
                }
            }
            approved => approved,
        }
    }

    pub(super) fn conclude_repair(&mut self, done: Result<(task::Id, (Repaired, Option<Role>)), JoinError>) {
        let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(role) = self.busy.iter().find(|(_, busy)| busy.task == id).map(|(role, _)| role.clone()) else {
            return;
        };
        let Some(Busy { key, began, overtaken, may_write, .. }) = self.busy.remove(&role) else { return };
        let is_unknown = done.is_err();
        let repaired = match done {
            Ok((_, (repaired, afresh))) => {
                if let Some(afresh) = afresh {
                    self.take_role(&afresh, began);
                }
                repaired
            }
            Err(ended_early) => self.ended_early(&key, may_write, &ended_early),
        };
        let now = Instant::now();
        let may_have_written = match &repaired {
            Repaired::Written { .. } => true,
            Repaired::WriteFailed { error, .. } => error.class == ErrorClass::Transient,
            Repaired::NotNeeded(_) | Repaired::Proved(_) | Repaired::Overtaken => false,
            // Or it ended early, and no manifest asks for it any more.
            Repaired::ReadFailed(_) => is_unknown && may_write,
        };
        self.guarding.ledger.ended(&role, may_have_written, self.started.elapsed());
        if may_have_written {
            self.seen.spoiled.insert(role.clone());
            self.readings.spoiled.insert(role);
            self.begin_read_back(&key, &overtaken);
        } else if may_write {
            self.canary.wrote_nothing(&key);
        }
        match repaired {
            Repaired::Written { step, before, request_id } => {
                self.conclude_lost_answer(&key, &step, now);
                self.wrote(&key, &step, before, now);
                self.hearing.wrote((&key.0, &key.1), &request_id, now);
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.step = Some(step.after_write());
                }
            }
            Repaired::NotNeeded(step) | Repaired::Proved(step)
                if !may_write && self.shows_the_old_world(&key, &step, now) => {}
            Repaired::NotNeeded(step) if !overtaken.is_cancelled() || self.is_stopping => {
                self.not_needed(&key, step, now);
            }
            Repaired::Proved(step) if !overtaken.is_cancelled() => self.proved(&key, step, now),
            // A verdict by older manifests says nothing: the fresh look below has the last word.
            Repaired::NotNeeded(_) | Repaired::Proved(_) | Repaired::Overtaken => {}
            Repaired::ReadFailed(error) if !may_write && self.is_a_glance(&key) => {
                self.glance_failed(key.clone(), &error, now)
            }
            Repaired::ReadFailed(error) => self.repair_failed(&key, &error, now),
            Repaired::WriteFailed { error, .. } if error.class == ErrorClass::Gone => self.role_is_gone(&key, now),
            Repaired::WriteFailed { step, before, error } => {
                self.conclude_lost_answer(&key, &step, now);
                // The fresh read has proved the drift, whatever the bulk reading was worth.
                if !overtaken.is_cancelled() || self.is_stopping {
                    tell(&self.hearing, &step.target, self.reporter.observe(&step, self.started.elapsed()));
                }
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.step = Some(step.clone());
                    slot.unanswered(&error, step, before);
                }
                self.repair_failed(&key, &error, now);
            }
        }
        if overtaken.is_cancelled() {
            // What was done was done by older manifests, or to another role: a fresh look by what is known now, or the last
            // word. It is only a look: what it shows may be what the write has just replaced.
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.is_planned = false;
            }
            self.enqueue(&key);
            if !self.slots.contains_key(&key) {
                self.release();
            }
        }
    }

    /// Keeps what a repair that began then has read of the role itself: no repair of another policy of it is to go back behind
    /// that. Where a reading came to its end since and says otherwise, what it says may be newer, and stays.
    fn take_role(&mut self, fresh: &Role, began: Instant) {
        let Some(Observed::Found(known)) = self.seen.inventory.get(&fresh.name) else { return };
        let is_alike = (&known.path, known.is_suspended, &known.tags) == (&fresh.path, fresh.is_suspended, &fresh.tags);
        if is_alike || self.seen.at <= began {
            self.seen.doubtful.remove(&fresh.name);
        } else {
            self.seen.doubtful.insert(fresh.name.clone());
            return;
        }
        if !is_alike {
            let kind = RoleKind { policies: known.policies.clone(), ..RoleKind::clone(&fresh.kind) };
            let role = Role { kind: Arc::new(kind), ..known.as_ref().clone() };
            Arc::make_mut(&mut self.seen.inventory).insert(&fresh.name, Observed::Found(Arc::new(role)));
        }
    }

    /// A repair of which nobody can say how far it came: where it had leave to write, it may have written.
    fn ended_early(&self, key: &PolicyKey, may_write: bool, ended_early: &JoinError) -> Repaired {
        let error = IamError::contradiction("repair", format!("it ended early ({ended_early})"));
        match self.slots.get(key).and_then(|slot| slot.step.clone()).filter(|_| may_write) {
            Some(step) => Repaired::WriteFailed { before: step.live.clone(), step, error },
            None => Repaired::ReadFailed(error),
        }
    }

    /// Tells of a write that took effect, after which old reads may still come.
    fn wrote(&mut self, key: &PolicyKey, step: &Step, before: Option<Arc<LiveDocument>>, now: Instant) {
        self.written += 1;
        self.guarding.approval.use_up(key);
        let told = self.reporter.repaired(step, before.as_deref(), self.started.elapsed());
        tell(&self.hearing, &step.target, told);
        if let Some(slot) = self.slots.get_mut(key).or_else(|| self.selecting.departed.get_mut(key)) {
            slot.wrote(before, now);
        }
    }

    /// Where a policy is as an unanswered write would have it, that write was ours.
    pub(super) fn conclude_lost_answer(&mut self, key: &PolicyKey, step: &Step, now: Instant) {
        if let Some(attempt) = self.slots.get_mut(key).and_then(|slot| slot.landed(step)) {
            self.wrote(key, &attempt.step, attempt.before, now);
        }
    }

    fn not_needed(&mut self, key: &PolicyKey, step: Step, now: Instant) {
        if step.reason == Some(Reason::RoleNotFound) {
            return self.role_is_gone(key, now);
        }
        self.conclude_lost_answer(key, &step, now);
        if step.is_in_sync() {
            self.canary.proven(key);
            self.tell_canary_over();
        }
        let Some(slot) = self.slots.get_mut(key) else { return };
        let bulk_said = slot.step.as_ref().and_then(|step| step.live.clone());
        if bulk_said != step.live {
            slot.contradicted(bulk_said, now);
        }
        slot.retry = None;
        if step.is_in_sync() {
            slot.seen_afresh(now);
        }
        if step.has_drifted() || step.is_in_sync() {
            keep(&mut self.seen.inventory, key, &step);
        }
        if slot.wanted.successor.is_some() && step.is_in_sync() && step.live.is_none() {
            self.slots.remove(key);
            self.reporter.forget(&step).iter().for_each(emit);
            return;
        }
        tell(&self.hearing, &step.target, self.reporter.observe(&step, self.started.elapsed()));
        slot.judged(step, now);
        self.postpone(key);
    }

    /// A look has proved a drift, and had no leave to write: the guards see it as part of a plan.
    fn proved(&mut self, key: &PolicyKey, step: Step, now: Instant) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.proved();
        if let Some(retry) = &mut slot.retry {
            // It has waited long enough: the plan decides.
            retry.due = now;
        }
        keep(&mut self.seen.inventory, key, &step);
        // The inventory has the truth of it now.
        self.seen.spoiled.remove(&key.0);
        self.planning.is_outdated = true;
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
        let step = plan::judge(&slot.wanted, &Observed::NotFound, &self.circumstances, Timestamp::now());
        self.reporter.observe(&step, self.started.elapsed()).iter().for_each(emit);
        slot.retry = None;
        slot.judged(step, now);
        // Or it was only just made, and the write came before the news of it.
        self.readings.next = self.readings.next.min(now + LOOK_AGAIN);
    }

    /// Reads back the write that went first, where others wait for it.
    fn begin_read_back(&mut self, key: &PolicyKey, overtaken: &CancellationToken) {
        if !self.canary.is(key) {
            return;
        }
        let (Some(slot), Some(Observed::Found(role))) = (self.slots.get(key), self.seen.inventory.get(&key.0)) else {
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
            self.tell_canary_over();
        } else if overtaken.is_cancelled() {
            self.canary.wrote_nothing(&key);
        } else if self.canary.unproven(&key, Instant::now()) {
            self.tell_canary_failed(&key.0);
        }
    }

    fn tell_canary_failed(&mut self, role: &RoleName) {
        if std::mem::replace(&mut self.canary_failed_told, true) {
            return;
        }
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

    /// Says that nothing waits for a first write any more, where it was told that it does.
    pub(super) fn tell_canary_over(&mut self) {
        if self.canary.is_done() && std::mem::take(&mut self.canary_failed_told) {
            emit(&self.about_account(
                EventName::CanaryProven,
                "goes on with its repairs: a first write was found right, or nothing is left to be written",
            ));
        }
    }
}

/// Keeps what a fresh read has shown of a policy: the next plan, whatever it is made for, is not to go back behind that.
fn keep(inventory: &mut Arc<Inventory>, (role, policy): &PolicyKey, step: &Step) {
    if let Some(Observed::Found(known)) = inventory.get(role)
        && known.policies.get(policy) != step.live.as_ref()
    {
        let fresh = known.with_fresh(policy, step.live.clone());
        Arc::make_mut(inventory).insert(role, Observed::Found(Arc::new(fresh)));
    }
}
