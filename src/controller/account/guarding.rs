//! The guards' look at a whole plan, and what is told where it goes beyond them.
//!
//! Knows nothing of why a step is to be made. What must stay true: of a plan that is held nothing stays queued, whatever an
//! earlier plan had queued of it; and what is approved is this very plan.

use std::sync::Arc;

use tokio::time::Instant;

use super::Account;
use crate::{
    controller::{approval::Approval, ledger_file::LedgerFile},
    iam::Iam,
    manifest::{Guards, PolicyKey},
    plan::{self, Digest, Excess, Guarded, Ledger, Reason, Step},
    telemetry::{Event, EventName, emit},
};

/// What bounds the account's writes, and what was written within the hour.
#[derive(Debug)]
pub(super) struct Guarding {
    pub(super) guards: Guards,
    pub(super) ledger: Ledger,
    /// Where the writes are kept for other processes.
    pub(super) ledger_file: Option<Arc<LedgerFile>>,
    /// Whether it was told that they cannot be.
    pub(super) uncounted_told: bool,
    /// The plan that goes beyond the guards, as it was told.
    pub(super) held: Option<Held>,
    pub(super) approval: Approval,
}

impl Guarding {
    pub(super) fn new(approval: Approval, ledger_file: Option<Arc<LedgerFile>>) -> Self {
        Self {
            guards: Guards::default(),
            ledger: Ledger::default(),
            ledger_file,
            uncounted_told: false,
            held: None,
            approval,
        }
    }
}

/// A plan that goes beyond the guards.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) digest: Digest,
    pub(super) excess: Excess,
}

impl Held {
    /// The next step for a person.
    pub(super) fn hint(&self) -> String {
        format!("look at it with `plan`; if it is meant, `apply --approve {}`, or raise spec.guards", self.digest)
    }
}

impl<I: Iam> Account<I> {
    /// Holds the whole plan where it goes beyond what may change, or is not the one that was approved.
    pub(super) fn guard(&mut self, verdicts: &mut [(PolicyKey, Step)], now: Instant) {
        let of_manifests = verdicts.iter().map(|(_, step)| step).filter(|step| !step.is_about_a_former_name());
        self.planning.digest = Digest::of(&self.caller.account, of_manifests);
        if matches!(self.guarding.approval, Approval::NotAsked) {
            self.hold_beyond_guards(verdicts, now);
        } else {
            let plan = verdicts.iter_mut().map(|(key, step)| (&*key, step));
            self.guarding.approval.take_plan(plan, self.planning.digest.as_ref());
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
        plan::hold_alone(
            &mut steps,
            is_fought_over,
            &mut self.guarding.ledger,
            &self.guarding.guards,
            role_count,
            elapsed,
        );
        match plan::guard(&mut steps, &mut self.guarding.ledger, &self.guarding.guards, role_count, elapsed) {
            Guarded::Within => self.tell_held(None),
            Guarded::WithoutFormer(_) => {
                self.tell_held(None);
                self.give_up(&former);
            }
            Guarded::Held(excess) => {
                let held = self.planning.digest.clone().map(|digest| Held { digest, excess });
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
        let told = self.guarding.held.take();
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
        self.guarding.held = held;
    }
}
