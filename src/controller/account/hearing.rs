//! Change events: whom they wake, how late they let a resync be, and what an alert says of who made a change.
//!
//! ```text
//!  a change of a policy that is looked after ─▶ a fresh look at that one policy ─▶ the plan, as for any look
//!  any other change that bears on a role     ─▶ a reading of everything
//! ```
//!
//! What must stay true: an event only ever leads to a read. What is written follows from that, and never from what an event
//! says; a role is woken no more often than [`Hearing`] allows, whatever is sent.

use std::time::Duration;

use tokio::time::Instant;

use super::Account;
use crate::{
    controller::slot::Slot,
    events::{Change, Hearing, News, Subject, WakeUp},
    iam::{Iam, IamError},
    inventory::{Asked, Inventory, Observed},
    manifest::{PolicyKey, USUAL_RESYNC_INTERVAL},
    names::RoleName,
    plan::{Step, Target},
    telemetry::{Event, EventName, emit},
};

/// How long after a first look there is a second one: reads may lag behind the change that an event tells of.
const SECOND_LOOK: Duration = Duration::from_secs(20);

impl<I: Iam> Account<I> {
    /// Takes in what was heard.
    pub(super) fn take_news(&mut self, news: News) {
        let (asked, inventory) = (&self.asked, &self.seen.inventory);
        self.hearing.take(news, |subject| concerned(subject, asked, inventory), Instant::now());
    }

    /// Begins what is due of what was heard.
    pub(super) fn wake(&mut self, now: Instant) {
        self.tell_flow(now);
        let due = self.hearing.due(now);
        for wake_up in &due.roles {
            self.hearing.claims(wake_up, now).iter().for_each(emit);
            if !due.everything {
                self.wake_role(wake_up, now);
            }
        }
        if due.everything {
            self.readings.is_everything_due = true;
            self.readings.next = self.readings.next.min(now);
        }
    }

    fn wake_role(&mut self, WakeUp { role, changes, further }: &WakeUp, now: Instant) {
        let asked = self.asked.roles.get(role);
        let is_ours = |name: &str| asked.is_some_and(|policies| policies.iter().any(|policy| policy.as_str() == name));
        let is_shown_by_a_look = |change: &Change| change.policy.as_deref().is_some_and(is_ours);
        let is_known = matches!(self.seen.inventory.get(role), Some(Observed::Found(_)));
        if !is_known || *further > 0 || !changes.iter().all(is_shown_by_a_look) {
            self.hearing.ask_for_everything();
        }
        let keys = asked.into_iter().flat_map(|policies| policies.iter()).map(|policy| (role.clone(), policy.clone()));
        for key in keys.collect::<Vec<PolicyKey>>() {
            self.rouse(&key);
            self.look(&key);
            self.look_again(key, now + SECOND_LOOK);
        }
    }

    /// Queues a fresh look, which ends in a write only by way of a plan. Where a write is queued, it begins with one.
    pub(super) fn look(&mut self, key: &PolicyKey) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.retry.is_some() {
            // It looks when its time has come: whoever sends events is not to make it come sooner.
            return;
        }
        slot.is_planned &= slot.is_queued;
        self.enqueue(key);
    }

    fn look_again(&mut self, key: PolicyKey, at: Instant) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.look_again = Some(at);
            self.waiting.insert((at, key));
        }
    }

    /// Whether a look at the policy is for no repair: by all that is known nothing is to be written.
    pub(super) fn is_a_glance(&self, key: &PolicyKey) -> bool {
        let wants_nothing =
            |slot: &Slot| slot.retry.is_none() && slot.step.as_ref().is_some_and(|step| !step.is_a_write());
        self.slots.get(key).is_some_and(wants_nothing)
    }

    /// A look that was for no repair has failed: no repair has. What does not pass by itself the next reading tells.
    pub(super) fn glance_failed(&mut self, key: PolicyKey, error: &IamError, now: Instant) {
        if error.class.passes_by_itself() {
            self.look_again(key, now + SECOND_LOOK);
        }
    }

    /// Whether a look has shown what a write of ours has just replaced: reads may lag behind it, so another look decides.
    pub(super) fn shows_the_old_world(&mut self, key: &PolicyKey, step: &Step, now: Instant) -> bool {
        let until = self.slots.get(key).and_then(|slot| slot.stale_until(step, now));
        if let Some(until) = until {
            self.look_again(key.clone(), until);
        }
        until.is_some()
    }

    /// Says that events arrive, or do so no longer; then the usual interval counts again from now on.
    fn tell_flow(&mut self, now: Instant) {
        let usual = self.usual_interval();
        if let Some(event) = self.hearing.turned(usual, now) {
            emit(&event);
            self.readings.next = self.readings.next.min(now + self.resync_interval(now));
        }
    }

    /// The time between two readings where no events are seen to arrive.
    fn usual_interval(&self) -> Duration {
        let said = self.manifests.borrow().resync_interval(&self.caller.account);
        self.options.resync_interval.or(said).unwrap_or(USUAL_RESYNC_INTERVAL)
    }

    /// The time between two readings as things are.
    pub(super) fn present_interval(&self, now: Instant) -> Duration {
        self.hearing.interval(self.usual_interval(), now)
    }

    /// The time until the next reading: what the manifests say, give or take a tenth.
    pub(super) fn resync_interval(&mut self, now: Instant) -> Duration {
        self.present_interval(now).mul_f64(0.9 + self.random.f64() / 5.0)
    }
}

/// The roles that are looked after and that a change is about.
fn concerned(subject: &Subject, asked: &Asked, inventory: &Inventory) -> Vec<RoleName> {
    match subject {
        Subject::Role(role) => {
            let named = asked.roles.get_key_value(role).map(|(role, _)| role);
            // One that no manifest names may be one that a selector picks from now on: a reading finds out. Where no selector
            // can mean its name there is nothing to be found out, and most roles of an account are such.
            let may_be_picked = || asked.sought.iter().any(|sought| sought.selector.admits_name(role.as_str()));
            named.or_else(|| may_be_picked().then_some(role)).cloned().into_iter().collect()
        }
        Subject::ManagedPolicy(arn) => inventory
            .found()
            .filter(|(_, role)| {
                role.surroundings.iter().flat_map(|around| around.managed()).any(|policy| *policy.arn == **arn)
            })
            .map(|(role, _)| role.clone())
            .filter(|role| asked.roles.contains_key(role))
            .collect(),
    }
}

/// Tells what is new of a policy. An alert says who may have made it so, where that was heard of.
pub(super) fn tell(hearing: &Hearing, target: &Target, events: Vec<Event>) {
    for mut event in events {
        if matches!(event.name, EventName::DriftDetected | EventName::DriftChanged)
            && let Some(change) = hearing.suspected(&target.role, &target.policy, Instant::now())
        {
            change.mark(&mut event);
            event.message.push_str(&format!("; a change event claims {} by {}", change.call, change.claimed));
        }
        emit(&event);
    }
}
