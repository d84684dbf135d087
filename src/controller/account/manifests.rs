//! Newer manifests: what is wanted from now on, and what no longer is.
//!
//! What must stay true: what is queued, waiting or under way by older manifests goes on only where the newer ones ask
//! for the same, and nothing begins before the guards have seen a plan of the newer ones.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{Account, resting::Resting, selecting::SelectorsTold};
use crate::{
    controller::{
        report::{Left, REMINDER, Reporter},
        slot::{Slot, asks_the_same},
    },
    iam::Iam,
    inventory::Observed,
    manifest::{self, Desired, DesiredPolicy, ManifestSet, Mode, Permissions, PolicyKey, State, Successor, Whose},
    names::{PolicyName, RoleName},
    plan::{self, Circumstances, Target},
    telemetry::{Event, EventName, emit},
};

impl<I: Iam> Account<I> {
    /// Takes the newest manifests, and whether this process leads: to lead no more, or from now on, is like manifests that
    /// let nothing be written, or do again.
    pub(super) fn take_manifests(&mut self) {
        let manifests = Arc::clone(&self.manifests.borrow_and_update());
        let stands_by = !self.options.leadership.leads();
        let circumstances =
            Circumstances { stands_by, ..Circumstances::of(&self.caller, &manifests, self.options.observe_only) };
        if stands_by != self.circumstances.stands_by {
            self.rouse_all();
            // Whoever leads tells what stands, as after a start; whoever stands by leaves that to the one who leads.
            self.reporter = if stands_by { Reporter::silent() } else { Reporter::default() };
            self.selecting.told = SelectorsTold::default();
            (self.guarding.held, self.canary_failed_told) = (None, false);
        }
        let same_circumstances = circumstances == self.circumstances;
        self.tell_suspension(manifests.suspends(&self.caller.account));
        self.circumstances = circumstances;
        let with_events = manifests.configuration().and_then(|configuration| configuration.resync_interval_with_events);
        self.hearing.configure(with_events);
        // What began with leave of other guards has none of these.
        let same_guards = self.guarding.guards == manifests.guards();
        self.guarding.guards = manifests.guards();
        let whose = Whose { account: &self.caller.account, is_own: self.is_own };
        // What selectors make of the newest manifests, only a reading can tell.
        self.selecting.selection.keep_only(&manifests, whose);
        self.selecting.awaits_reading = manifests.selecting(whose).next().is_some();
        self.selecting.picks.clear();
        if self.is_own {
            self.mismatched = plan::mismatched(&manifests, &self.caller.account);
        }
        self.tell_selectors_elsewhere(&manifests);
        self.want(&manifests, same_circumstances, same_guards);
        if let Some(back) = &self.read_back {
            back.overtaken.cancel();
        }
        self.canary.plan_anew();
        self.planning.is_done = false;
        // A reading of their own is planned by them.
        (self.planning.awaits_policies, self.planning.awaits_looks) = (None, false);
        if self.selecting.awaits_reading {
            self.overtake_what_is_meant_otherwise();
        }
        self.release();
        if !self.selecting.awaits_reading {
            self.tell_selectors_gone();
        }
        self.tell_mismatched();
        self.readings.next = Instant::now();
    }

    /// What is wanted from now on: of the roles that manifests name, and of those that selectors have picked.
    pub(super) fn want(&mut self, manifests: &ManifestSet, same_circumstances: bool, same_guards: bool) {
        let whose = Whose { account: &self.caller.account, is_own: self.is_own };
        let mut desired = manifests.desired_with(whose, self.caller.partition().as_ref(), &self.selecting.selection);
        let former = self.former_names(&desired);
        desired.policies.extend(former);
        self.asked = Arc::new(plan::asked_for(&desired, manifests, whose));
        for busy in self.busy.values() {
            let asks_the_same =
                |slot: &Slot| desired.policies.get(&busy.key).is_some_and(|new| asks_the_same(&slot.wanted, new));
            let goes_on = same_circumstances && same_guards && self.slots.get(&busy.key).is_some_and(asks_the_same);
            if !goes_on {
                busy.overtaken.cancel();
            }
        }
        let stays_at_rest = |(key, resting): &(&PolicyKey, &Resting)| {
            let wanted = resting.wanted(&key.0);
            same_circumstances && desired.policies.get(key).is_some_and(|new| asks_the_same(&wanted, new))
        };
        let roused = self.resting.iter().filter(|entry| !stays_at_rest(entry)).map(|(key, _)| key.clone());
        roused.collect::<Vec<PolicyKey>>().iter().for_each(|key| self.rouse(key));
        let renewed = std::mem::take(&mut self.resting).into_iter().filter_map(|(key, resting)| {
            let (key, wanted) = desired.policies.remove_entry(&key)?;
            Some((key, resting.under(&wanted)))
        });
        self.resting = renewed.collect();
        let mut before = std::mem::take(&mut self.slots);
        let departed = &mut self.selecting.departed;
        let renewed = desired.policies.into_iter().map(|(key, wanted)| {
            let slot = match (before.remove(&key), departed.remove(&key)) {
                (Some(slot), _) => slot.under(wanted, same_circumstances),
                // It was not asked for meanwhile: only what is known of writes still holds.
                (None, Some(slot)) => slot.under(wanted, false),
                (None, None) => Slot::new(wanted),
            };
            (key, slot)
        });
        self.slots = renewed.collect();
        self.selecting.departed.extend(before);
        self.contended.retain(|key| self.slots.contains_key(key));
        self.queue.retain(|key| self.slots.get(key).is_some_and(|slot| slot.is_queued));
    }

    /// Has no repair begin to write any more that selectors will have to be asked about: by all that is known of the roles
    /// they mean it otherwise, or may, and the reading that says so for certain may take its time.
    pub(super) fn overtake_what_is_meant_otherwise(&self) {
        if self.busy.is_empty() {
            return;
        }
        let manifests = Arc::clone(&self.manifests.borrow());
        let whose = Whose { account: &self.caller.account, is_own: self.is_own };
        let selected =
            plan::select(&manifests, whose, &self.seen.inventory, &self.circumstances, &self.selecting.selection);
        let meant = manifests.desired_with(whose, self.caller.partition().as_ref(), &selected.selection);
        // The tags that a selector asks about are known only where a reading has looked for them.
        let is_known = |claim: &Permissions| {
            self.seen.looked_for.sought.iter().any(|sought| Some(&sought.selector) == claim.selector.as_ref())
        };
        let unknown = manifests.selecting(whose).filter(|claim| !is_known(claim)).map(|claim| &claim.policy_name);
        let unknown: BTreeSet<&PolicyName> = unknown.collect();
        for busy in self.busy.values() {
            let is_meant_otherwise = unknown.contains(&busy.key.1)
                || match (self.slots.get(&busy.key), meant.policies.get(&busy.key)) {
                    (Some(slot), Some(meant)) => slot.wanted.successor.is_none() && !asks_the_same(&slot.wanted, meant),
                    // What is to go under its former name no manifest names.
                    (Some(slot), None) => slot.wanted.successor.is_none(),
                    (None, _) => true,
                };
            if is_meant_otherwise {
                busy.overtaken.cancel();
            }
        }
    }

    /// The policies whose manifest has given them another name: each is to go, once the one under the new name is right.
    fn former_names(&self, desired: &Desired) -> BTreeMap<PolicyKey, DesiredPolicy> {
        // Of what has departed, what selectors may turn out to ask for still.
        let waiting =
            self.selecting.departed.iter().filter(|(_, slot)| self.selecting.awaits_reading && !slot.is_released);
        let departed: Vec<Cow<'_, DesiredPolicy>> = self
            .all_wanted()
            .chain(waiting.map(|(key, slot)| (key, Cow::Borrowed(&slot.wanted))))
            .filter(|(key, _)| !desired.policies.contains_key(key))
            .map(|(_, wanted)| wanted)
            .filter(|wanted| wanted.state == State::Present || wanted.successor.is_some())
            .collect();
        if departed.is_empty() {
            return BTreeMap::new();
        }
        let named = |wanted: &'_ DesiredPolicy| (wanted.role.clone(), wanted.manifest.name.clone());
        let successors: BTreeMap<(RoleName, String), &DesiredPolicy> = desired
            .policies
            .values()
            .filter(|wanted| wanted.state == State::Present && wanted.conflict.is_none())
            .map(|wanted| (named(wanted), wanted))
            .collect();
        let former = departed.into_iter().filter_map(|former| {
            let next = successors.get(&named(&former))?;
            if next.policy.as_str().eq_ignore_ascii_case(former.policy.as_str()) {
                // Nobody says that IAM keeps such names apart: to remove the one may be to remove the other.
                return None;
            }
            let keeps_registration = plan::keeps_registration(next);
            let successor =
                Successor { policy: next.policy.clone(), document: Arc::clone(&next.document), keeps_registration };
            let (mode, suspended) = (next.mode, next.suspended);
            let mut wanted = former.clone().into_owned();
            wanted.state = State::Absent;
            // What is removed without anybody's asking by name is removed by manifests that repair, too.
            wanted.mode = if former.mode == Mode::Observe { Mode::Observe } else { mode };
            (wanted.suspended, wanted.outside, wanted.successor) = (suspended, None, Some(successor));
            Some(((former.role.clone(), former.policy.clone()), wanted))
        });
        former.collect()
    }

    /// Gives up policies under former names: they are told as what nobody asks for any more.
    pub(super) fn give_up(&mut self, keys: &[PolicyKey]) {
        for key in keys {
            if let Some(slot) = self.slots.remove(key) {
                self.selecting.departed.insert(key.clone(), slot);
            }
        }
        self.release();
    }

    /// Tells of policies that no manifest asks for any more. Those that are being repaired wait for the end of it, and all
    /// of them for the reading that says what selectors ask for.
    pub(super) fn release(&mut self) {
        if self.selecting.awaits_reading {
            return;
        }
        let account = &self.circumstances.account;
        let target = |(role, policy): &PolicyKey| Target {
            account: account.clone(),
            role: role.clone(),
            policy: policy.clone(),
        };
        let asked_for: BTreeSet<Target> = self
            .all_wanted()
            .map(|(key, _)| key)
            .chain(self.busy.values().map(|busy| &busy.key))
            .map(target)
            .chain(self.mismatched.iter().map(|step| step.target.clone()))
            .collect();
        let left = |target: &Target| {
            let departed = self.selecting.departed.get(&(target.role.clone(), target.policy.clone()));
            let remedy = departed.and_then(|slot| {
                let (manifest, account) = (&slot.wanted.manifest, target.account.as_ref()?);
                Some(manifest::write::absent(manifest, &target.policy, account, &[&target.role]))
            });
            let was_selected = departed.is_some_and(|slot| slot.wanted.origin.selector().is_some());
            let is_gone = was_selected && matches!(self.seen.inventory.get(&target.role), Some(Observed::NotFound));
            Left { remedy, was_selected, is_gone }
        };
        self.reporter.release(&asked_for, left).iter().for_each(emit);
        let (now, busy) = (Instant::now(), self.busy.values().map(|busy| &busy.key).collect::<BTreeSet<_>>());
        self.selecting.departed.retain(|key, slot| {
            slot.is_released = !busy.contains(key);
            // Whoever asks for it again soon is not to have the same write made twice.
            !slot.is_released || slot.is_doubted(now)
        });
    }

    pub(super) fn tell_mismatched(&mut self) {
        let now = self.elapsed();
        for step in &self.mismatched {
            self.reporter.observe(step, now).iter().for_each(emit);
        }
    }

    /// Says that the settings suspend this account, when they begin to and once a day, and that they do no longer.
    pub(super) fn tell_suspension(&mut self, is_suspended: bool) {
        let now = Instant::now();
        match self.suspension_told {
            Some(told) if is_suspended && now.duration_since(told) < REMINDER => {}
            None if !is_suspended => {}
            _ if is_suspended => {
                self.suspension_told = Some(now);
                let hint = "set suspend: false for it in spec.accounts of the ControllerConfiguration to go on";
                emit(&Event {
                    hint: Some(hint.to_owned()),
                    ..self.about_account(EventName::AccountSuspended, "is suspended: nothing is written there")
                });
            }
            _ => {
                self.suspension_told = None;
                emit(&self.about_account(EventName::AccountResumed, "is suspended no more: drift is repaired again"));
            }
        }
    }
}
