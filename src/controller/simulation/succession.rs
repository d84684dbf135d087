//! Policies that no manifest names any more: former names, and orphans.
//!
//! Knows what was in force in the time of one process, by what its authors meant. What must stay true: a process knows
//! nothing of what was in force before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    authors::{Authors, Meant},
    judge::meant_for,
    log::Told,
    plain::{Grants, Plain},
    scene::{Key, Scene, State},
};
use crate::{
    manifest::{ManifestSet, State as Presence, parse},
    names::{AccountId, Partition, PolicyName, RoleName},
};

/// How old the read of the new policy may be by which the old one is removed: two reads lie between.
const READ_BEFORE: Duration = Duration::from_secs(20);

/// How far a fresh read may lag behind.
const LAG: Duration = Duration::from_secs(60);

/// A policy as it was asked for before its manifest gave it another name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Former {
    /// The manifest.
    name: String,
    grants: Grants,
    /// It was only observed.
    observed: bool,
}

/// Everything that was asked for in the time of one process, by the numbers of the documents.
#[derive(Debug, Default)]
pub(super) struct Named(BTreeSet<usize>);

impl Named {
    pub(super) fn of(authors: &Authors, set: &ManifestSet) -> Self {
        Self(set.permissions().iter().filter_map(|permissions| authors.number_of(permissions)).collect())
    }
}

/// What the documents of a set mean for this account.
fn meant<'a>(state: &'a State, set: &'a ManifestSet, account: &'a AccountId) -> impl Iterator<Item = &'a Meant> {
    set.permissions()
        .iter()
        .filter_map(|permissions| state.authors.meant_by(permissions))
        .filter(|meant| meant.is_in(account))
}

impl State {
    /// Newer manifests are in force instead of `before`: what has another name now, and what is forgotten.
    pub(super) fn manifests_take_over(&mut self, before: &ManifestSet) {
        let account: AccountId = super::OWN.parse().unwrap();
        self.process.saved = self.tick();
        let Named(newer) = Named::of(&self.authors, &self.in_force);
        self.process.named.0.extend(newer);
        let observes = self.authors.settings_of(before).observe;
        let mut candidates = std::mem::take(&mut self.process.former);
        for meant in meant(self, before, &account).filter(|meant| !meant.absent) {
            let observed = meant.observe.unwrap_or(observes);
            let former = Former { name: meant.name.clone(), grants: meant.grants(&account), observed };
            for role in &meant.roles {
                let key = (role.parse().unwrap(), meant.policy().parse().unwrap());
                candidates.entry(key).or_default().push(former.clone());
            }
        }
        let mut now: BTreeMap<(String, String), String> = BTreeMap::new();
        let mut named = BTreeSet::new();
        for meant in meant(self, &self.in_force, &account) {
            for role in &meant.roles {
                named.insert((role.to_ascii_lowercase(), meant.policy().to_owned()));
                if !meant.absent {
                    now.insert((role.to_ascii_lowercase(), meant.name.clone()), meant.policy().to_owned());
                }
            }
        }
        let is_named = |key: &Key| named.contains(&(key.0.folded(), key.1.to_string()));
        candidates.retain(|key, formers| {
            formers.retain(|former| now.contains_key(&(key.0.folded(), former.name.clone())));
            !formers.is_empty() && !is_named(key)
        });
        for effect in &mut self.process.effects {
            effect.is_forgotten |= !is_named(&effect.key);
        }
        self.process.former = candidates;
    }

    /// The policy under the new name that must be right before this one is removed; why it may not be.
    pub(super) fn successor(
        &self,
        set: &ManifestSet,
        account: &AccountId,
        (role, policy): &Key,
        now: Duration,
    ) -> Result<(Key, Grants, Grants), String> {
        let formers = self.process.former.get(&(role.clone(), policy.clone())).into_iter().flatten();
        let mut why = "nobody asks for its removal".to_owned();
        for former in formers.filter(|former| !former.observed) {
            let Some(key) = self.successor_of(set, account, role, former) else { continue };
            match meant_for(self, set, account, &key.0, &key.1) {
                Err(not) => why = not,
                Ok(asked) if self.was_seen_right(&key, &asked.grants, now) => {
                    return Ok((key, asked.grants, former.grants.clone()));
                }
                Ok(_) => why = "the one under the new name was not seen to be right".to_owned(),
            }
        }
        Err(why)
    }

    /// What this policy is called now.
    pub(super) fn successor_of(
        &self,
        set: &ManifestSet,
        account: &AccountId,
        role: &RoleName,
        former: &Former,
    ) -> Option<Key> {
        let newer = meant(self, set, account)
            .find(|meant| meant.name == former.name && !meant.absent && meant.names(role.as_str()))?;
        Some((role.clone(), newer.policy().parse::<PolicyName>().unwrap()))
    }

    fn was_seen_right(&self, key: &Key, grants: &Grants, now: Duration) -> bool {
        let last = self.keys.get(key).and_then(|known| known.last.as_ref());
        last.is_some_and(|(process, fresh)| {
            *process == self.process.number
                && fresh.answered + READ_BEFORE >= now
                && fresh.shown.as_deref().is_some_and(|text| Plain::of(text) == Plain::Grants(grants.clone()))
        })
    }

    /// What is wrong with a removal that takes effect now, if the policy under the new name is not right any more.
    pub(super) fn is_without_permission(&mut self, account: &AccountId, key: &Key, grants: &Grants) -> Option<String> {
        let truth = self.standing.get(&(account.clone(), key.0.clone())).and_then(|held| held.get(key.1.as_str()));
        if truth.is_some_and(|text| Plain::of(text) == Plain::Grants(grants.clone())) {
            return None;
        }
        let known = self.keys.get(key)?;
        let read = known.last.as_ref().map(|(_, fresh)| fresh.asked).unwrap_or_default();
        if known.touched + LAG >= read {
            self.tally.successors_undone += 1;
            return None;
        }
        Some(format!("{}/{} is not right: {truth:?}", key.0, key.1))
    }
}

impl Scene {
    /// What is wrong with the telling of an orphan.
    pub(super) fn orphan_fault(&self, told: &Told) -> Option<String> {
        let state = self.state();
        let (Some(role), Some(policy)) = (&told.role, &told.policy) else {
            return Some("it is about nothing".to_owned());
        };
        let is_named = |meant: &Meant| meant.is_about(&self.own, role, policy);
        if meant(&state, &state.in_force, &self.own).any(is_named) {
            return Some(format!("{role}/{policy} is asked for"));
        }
        let Some(remedy) = &told.remedy else { return Some(format!("{role}/{policy} has no remedy")) };
        let parsed = parse("remedy.yaml", remedy.as_bytes());
        let [permissions] = &parsed.permissions[..] else { return Some(format!("{remedy} is not one manifest")) };
        let role: RoleName = role.parse().unwrap();
        let is_its = permissions.state == Presence::Absent
            && permissions.roles == [role.clone()]
            && permissions.policy_name.as_str() == policy
            && permissions.accounts.only() == Some(&self.own);
        if !parsed.faults.is_empty() || !is_its {
            return Some(format!("{remedy} has faults or is about another policy: {:?}", parsed.faults));
        }
        let document = permissions.settings.document(&self.own, &Partition::default());
        let yields = Plain::of(document.as_str());
        let numbers = state.process.named.0.iter();
        let was_asked_for = numbers
            .map(|number| state.authors.meant(*number))
            .filter(|meant| meant.is_about(&self.own, role.as_str(), policy))
            .any(|meant| yields == Plain::Grants(meant.grants(&self.own)));
        (!was_asked_for).then(|| format!("{remedy} yields what was never asked for"))
    }
}
