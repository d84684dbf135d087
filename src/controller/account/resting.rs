//! Policies at rest: what is kept of those that are in sync, and of which nothing is left to be done or told.
//!
//! Almost all policies are so, almost always. A slot, its verdict and what was told of it take two kilobytes, and are all
//! but the same for thousands of roles: so a policy is laid down after a pass, and roused before anything is decided of it.
//!
//! Knows slots and what the reporter remembers, and not how a verdict comes about. What must stay true: a policy that was
//! laid down and roused is to the last detail as if it had stayed, so that nobody can tell the difference but by its size.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use super::Account;
use crate::{
    controller::{
        report::{REMINDER, Reporter, Standing},
        slot::{AtRest, Slot},
    },
    iam::Iam,
    inventory::{LiveDocument, Observed, Role},
    manifest::{DesiredPolicy, PolicyKey, PolicyTerms},
    names::RoleName,
    plan::Step,
};

/// A policy at rest.
#[derive(Debug)]
pub(super) struct Resting {
    /// What is wanted of the role that it is kept under: which is spelled as whatever is wanted of it spells it.
    terms: Arc<PolicyTerms>,
    /// The role that was judged.
    role: Arc<Role>,
    rest: Arc<Rest>,
}

/// How a policy came to rest: one value for all of which the same was found and told at the same time.
#[derive(Debug, PartialEq)]
struct Rest {
    /// The verdict, about one of them.
    step: Step,
    judged_at: Instant,
    standing: Standing,
}

/// Of so many ways in which policies of one document came to rest it is asked whether another one did in the same way.
const KINDS: usize = 4;

impl Resting {
    /// The verdict.
    pub(super) fn step(&self) -> Step {
        self.rest.step.about(&self.role.name)
    }

    /// The same verdict about another role perhaps: enough to count it.
    pub(super) fn step_of_its_kind(&self) -> &Step {
        &self.rest.step
    }

    /// What was told of it, and since when it stands.
    pub(super) fn standing(&self) -> &Standing {
        &self.rest.standing
    }

    /// Whether a verdict on this would be the last one again, as [`Slot::is_known_in_sync`] says of slots.
    fn is_known_in_sync(&self, observed: &Observed, now: Instant) -> bool {
        let is_recent = now.duration_since(self.rest.judged_at) < REMINDER;
        is_recent && matches!(observed, Observed::Found(role) if Arc::ptr_eq(role, &self.role))
    }

    /// What is wanted, where it is kept under this role.
    pub(super) fn wanted(&self, role: &RoleName) -> DesiredPolicy {
        DesiredPolicy::new(role.clone(), Arc::clone(&self.terms))
    }

    /// The same under newer manifests that ask for the same.
    pub(super) fn under(self, wanted: &DesiredPolicy) -> Self {
        Self { terms: Arc::clone(wanted.terms()), ..self }
    }

    /// The slot that it was, where it was kept under this role.
    fn roused(self, role: &RoleName, reporter: &mut Reporter) -> Slot {
        let (wanted, step) = (self.wanted(role), self.step());
        reporter.rouse(&step, self.rest.standing);
        Slot::roused(AtRest { wanted, step, role: self.role, judged_at: self.rest.judged_at })
    }
}

/// Has policies that came to rest alike share what they have in common.
#[derive(Default)]
struct Kinds(BTreeMap<*const LiveDocument, Vec<Arc<Rest>>>);

impl Kinds {
    fn resting(&mut self, at_rest: AtRest, standing: Standing) -> Resting {
        let AtRest { wanted, step, role, judged_at } = at_rest;
        let rest = Rest { step, judged_at, standing };
        let known = self.0.entry(rest.step.live.as_ref().map_or(std::ptr::null(), Arc::as_ptr)).or_default();
        let alike = known.iter().rev().take(KINDS).find(|known| known.is_like(&rest)).cloned();
        let rest = alike.unwrap_or_else(|| {
            let rest = Arc::new(rest);
            known.push(Arc::clone(&rest));
            rest
        });
        Resting { terms: Arc::clone(wanted.terms()), role, rest }
    }
}

impl Rest {
    /// Whether nothing but the role tells them apart.
    fn is_like(&self, other: &Self) -> bool {
        (self.judged_at, self.standing) == (other.judged_at, other.standing)
            && self.step.about(&other.step.target.role) == other.step
    }
}

impl<I: Iam> Account<I> {
    /// Lays down what may rest.
    pub(super) fn lay_down(&mut self, now: Instant) {
        let (mut live, mut laid_down, mut kinds) = (Vec::new(), Vec::new(), Kinds::default());
        for (key, slot) in std::mem::take(&mut self.slots) {
            let at_rest = self.may_rest(&key).then(|| slot.at_rest(now)).flatten();
            match at_rest.and_then(|at_rest| Some((self.reporter.lay_down(&at_rest.step)?, at_rest))) {
                Some((standing, at_rest)) => laid_down.push((key, kinds.resting(at_rest, standing))),
                None => live.push((key, slot)),
            }
        }
        self.slots = live.into_iter().collect();
        if !laid_down.is_empty() {
            // Made at once a map leaves no room in its nodes.
            self.resting = std::mem::take(&mut self.resting).into_iter().chain(laid_down).collect();
        }
    }

    /// Whether nobody but its slot has anything in mind with a policy.
    fn may_rest(&self, key: &PolicyKey) -> bool {
        !self.busy.contains_key(&key.0) && !self.contended.contains(key)
    }

    /// Has a policy that was laid down looked after as a slot again.
    pub(super) fn rouse(&mut self, key: &PolicyKey) {
        if let Some((key, resting)) = self.resting.remove_entry(key) {
            let slot = resting.roused(&key.0, &mut self.reporter);
            self.slots.insert(key, slot);
        }
    }

    /// The same for all of them.
    pub(super) fn rouse_all(&mut self) {
        for (key, resting) in std::mem::take(&mut self.resting) {
            let slot = resting.roused(&key.0, &mut self.reporter);
            self.slots.insert(key, slot);
        }
    }

    /// The same for those on which the newest reading allows of another verdict than the last one.
    pub(super) fn rouse_what_is_to_be_judged(&mut self, now: Instant) {
        let is_to_be_judged = |(key, resting): &(&PolicyKey, &Resting)| {
            // What was not looked for is not judged.
            self.seen.looked_for.names(&key.0, &key.1)
                && self.seen.inventory.get(&key.0).is_some_and(|observed| !resting.is_known_in_sync(observed, now))
        };
        let keys: Vec<PolicyKey> = self.resting.iter().filter(is_to_be_judged).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.rouse(key));
    }

    /// All that is wanted, whether it rests or not.
    pub(super) fn all_wanted(&self) -> impl Iterator<Item = (&PolicyKey, Cow<'_, DesiredPolicy>)> {
        let resting = self.resting.iter().map(|(key, resting)| (key, Cow::Owned(resting.wanted(&key.0))));
        self.slots.iter().map(|(key, slot)| (key, Cow::Borrowed(&slot.wanted))).chain(resting)
    }
}
