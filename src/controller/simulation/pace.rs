//! How much is written, and in which order: guards, plans that are held, the canary, fights.
//!
//! Counts what takes effect in the world, and judges whole readings, and the fresh looks after them, by what they showed
//! and what the authors meant. What must stay true: what is said to be due is certain, so that a plan that is too large by
//! it is too large indeed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    doubt::{Past, Worth, live},
    judge::{another_may_rely, wanted, why_not},
    operator::Bounds,
    plain::{Grants, Plain, asks_to_be_left_alone},
    scene::{Fresh, Key, Leave, State},
};
use crate::{
    iam::RoleDetail,
    inventory::LiveDocument,
    manifest::{Desired, ManifestSet, Whose},
    names::{AccountId, RoleName},
};

const HOUR: Duration = Duration::from_secs(3600);

/// How long the rest wait where the first of several writes was not found right.
const ANOTHER_AFTER: Duration = Duration::from_secs(240);

/// So many writes of one policy within an hour are the most in a fight: three at once, after one, two and four minutes,
/// then every five.
const IN_A_FIGHT: usize = 20;

const QUOTA: usize = 10_240;

/// A write that was asked for.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) key: Key,
    document: Option<String>,
    /// The tick at which the read before it was asked for.
    begun: u64,
    /// The tick of the reading that it follows from, if that certainly showed several writes to be due.
    of_several: Option<u64>,
    most: Most,
    is_approved: bool,
    /// The policy that has to be right when this takes effect, where it removes one under a former name.
    pub(super) successor: Option<(Key, Grants)>,
    pub(super) answer: Option<Answer>,
    took_effect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Answer {
    Done(Duration),
    /// It was refused, or nobody can say.
    Failed,
}

/// A write that changed the world.
#[derive(Debug)]
pub(super) struct Effect {
    at: Duration,
    pub(super) key: Key,
    is_delete: bool,
    /// Manifests that did not name it came since.
    pub(super) is_forgotten: bool,
}

/// The loosest bounds of the manifests in force in one moment.
#[derive(Debug, Clone, Copy)]
struct Most {
    changes: usize,
    deletes: usize,
    roles: usize,
}

/// A whole reading, and what was known in the moment in which it came.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) tick: u64,
    /// When it was begun, and when it came.
    pub(super) begun: Duration,
    pub(super) at: Duration,
    set: Option<Arc<ManifestSet>>,
    pub(super) past: Past,
    /// How many writes had been asked for, and how many had taken effect.
    pub(super) attempts: usize,
    effects: usize,
    roles: Vec<RoleDetail>,
    /// The first fresh look at each policy since: when it was answered, and what it showed.
    pub(super) looks: BTreeMap<Key, (u64, Option<String>)>,
    /// When a fresh look has first shown something else than this reading.
    pub(super) contradicted: BTreeMap<Key, u64>,
    shows: Option<Arc<Shows>>,
}

/// What a reading shows to be due. `true`: to be removed.
#[derive(Debug, Default)]
struct Shows {
    certain: Vec<(Key, bool)>,
    /// What only fresh looks can tell.
    doubted: Vec<Key>,
}

/// What certainly is part of the plan that a write is part of.
struct Plan {
    /// Since when.
    tick: u64,
    due: usize,
    beyond: Option<String>,
    is_of_looks: bool,
}

impl Reading {
    pub(super) fn roles(&self) -> &[RoleDetail] {
        &self.roles
    }

    /// What is certain, but for what a look has shown to be otherwise before this tick: that is in no newer plan.
    fn certain<'a>(&'a self, shows: &'a Shows, tick: u64) -> impl Iterator<Item = &'a (Key, bool)> {
        shows.certain.iter().filter(move |(key, _)| self.contradicted.get(key).is_none_or(|at| *at > tick))
    }

    pub(super) fn role(&self, name: &RoleName) -> Option<&RoleDetail> {
        self.roles.iter().find(|role| role.name.eq_ignore_ascii_case(name.as_str()))
    }
}

impl State {
    /// A whole reading came.
    pub(super) fn was_read(&mut self, roles: Vec<RoleDetail>, now: Duration) {
        let tick = self.tick();
        let sets = self.sets(now);
        let is_sure = sets.iter().all(|set| Arc::ptr_eq(set, &sets[0]));
        let set = is_sure.then(|| Arc::clone(&self.in_force));
        self.process.reading = Some(Reading {
            tick,
            begun: self.process.reading_begun,
            at: now,
            set,
            past: self.process.past.clone(),
            attempts: self.process.attempts.len(),
            effects: self.process.effects.len(),
            roles,
            looks: BTreeMap::new(),
            contradicted: BTreeMap::new(),
            shows: None,
        });
    }

    /// A policy was seen, afresh or in bulk: that may prove a write.
    pub(super) fn was_seen(&mut self, key: &Key, shown: Option<&str>, tick: u64) {
        let written = self.process.attempts.iter().rev().find(|attempt| attempt.key == *key);
        if written.is_some_and(|attempt| attempt.document.as_deref() == shown) {
            self.process.proven = self.process.proven.max(tick);
        }
    }

    /// A write is asked for that follows from the read of this tick. What is wrong with its time.
    pub(super) fn attempt(
        &mut self,
        key: &Key,
        document: Option<&str>,
        begun: u64,
        successor: Option<(Key, Grants)>,
        now: Duration,
    ) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let account: AccountId = super::OWN.parse().unwrap();
        let plan = self.plan_of(key, begun, &account, now);
        if let Some(plan) = plan.as_ref().filter(|plan| plan.is_of_looks) {
            self.tally.proved += 1;
            self.tally.proved_several += u64::from(plan.due > 1 || plan.beyond.is_some());
        }
        let is_approved = !matches!(self.process.leave, Leave::Ask);
        if let Some(Plan { beyond: Some(beyond), .. }) = &plan
            && !is_approved
        {
            faults.push(("I5 a plan beyond the guards is held whole", format!("{}/{}: {beyond}", key.0, key.1)));
        }
        let of_several = plan.filter(|plan| plan.due > 1).map(|plan| plan.tick);
        for (at, first) in self.process.attempts.iter().enumerate() {
            // Where a later write of it was refused, it proves nothing any more, and another one goes alone.
            let is_over = |later: &Attempt| later.key == first.key && matches!(later.answer, Some(Answer::Failed));
            if self.process.attempts[at + 1..].iter().any(is_over) {
                continue;
            }
            let Some(since) = first.of_several.filter(|since| self.process.proven < *since) else { continue };
            // One that is written again and again does not have the others wait anew.
            let of_series = self.process.attempts.iter().filter(|other| other.key == first.key);
            let unproven = of_series.filter(|other| other.of_several.is_some_and(|since| self.process.proven < since));
            let first_done = unproven.filter_map(|other| match other.answer {
                Some(Answer::Done(at)) => Some(at),
                _ => None,
            });
            let is_waited_for = match first.answer {
                None => self.process.flying.contains_key(&first.key.0),
                Some(Answer::Done(at)) => now < first_done.min().unwrap_or(at) + ANOTHER_AFTER,
                Some(Answer::Failed) => false,
            };
            let role_is_there = self.process.shown.get(&first.key.0).is_some_and(|shown| shown.until.is_none());
            // It may itself be written again while the others wait for it.
            let is_another = first.key != *key;
            if is_another
                && is_waited_for
                && role_is_there
                && first.begun > self.process.saved
                && begun > self.process.saved
            {
                faults.push((
                    "I16 the first of several writes is proven alone",
                    format!("{}/{} follows {}/{} (reading {since})", key.0, key.1, first.key.0, first.key.1),
                ));
                break;
            }
        }
        let most = self.most(&account, now);
        self.process.attempts.push(Attempt {
            key: key.clone(),
            document: document.map(str::to_owned),
            begun,
            of_several,
            most,
            is_approved,
            successor,
            answer: None,
            took_effect: false,
        });
        faults
    }

    /// The loosest bounds of now.
    fn most(&self, account: &AccountId, now: Duration) -> Most {
        let bounds = self.sets(now).into_iter().map(|set| self.bounds(&set, account));
        bounds
            .reduce(|one, other| Most {
                changes: one.changes.max(other.changes),
                deletes: one.deletes.max(other.deletes),
                roles: one.roles.max(other.roles),
            })
            .unwrap()
    }

    fn bounds(&self, set: &ManifestSet, account: &AccountId) -> Most {
        let Bounds { changes, deletes, percent } = self.authors.settings_of(set).bounds.unwrap_or_default();
        let roles = percent.map_or(usize::MAX, |percent| {
            let meant = set.permissions().iter().filter_map(|permissions| self.authors.meant_by(permissions));
            let named = meant.filter(|meant| meant.is_in(account)).flat_map(|meant| &meant.roles);
            let managed: BTreeSet<String> = named.map(|role| role.to_ascii_lowercase()).collect();
            (managed.len() * percent / 100).max(1)
        });
        Most { changes, deletes, roles }
    }

    /// A write of a process took effect. What is wrong with that.
    pub(super) fn count_effect(&mut self, key: Key, after: Option<&str>, now: Duration) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let is_it =
            |attempt: &&mut Attempt| !attempt.took_effect && attempt.key == key && attempt.document.as_deref() == after;
        // What a process has sent that is dead counts for nobody.
        let Some(attempt) = self.process.attempts.iter_mut().rev().find(is_it) else { return faults };
        attempt.took_effect = true;
        let (most, is_approved, successor) = (attempt.most, attempt.is_approved, attempt.successor.clone());
        let account: AccountId = super::OWN.parse().unwrap();
        if let Some((newer, grants)) = successor
            && let Some(why) = self.is_without_permission(&account, &newer, &grants)
        {
            faults.push(("I14 never a moment without permission", why));
        }
        self.process.effects.push(Effect {
            at: now,
            key: key.clone(),
            is_delete: after.is_none(),
            is_forgotten: false,
        });
        let spent = self.spent(self.process.effects.len(), now);
        // A bound that was lowered under what was spent forbids only what would add to that.
        let is_new_role = {
            let of_role = |effect: &&Effect| effect.key.0.folded() == key.0.folded();
            self.process.effects.iter().filter(|effect| now.saturating_sub(effect.at) < HOUR).filter(of_role).count()
                == 1
        };
        if !is_approved
            && (spent.changes > most.changes
                || after.is_none() && spent.deletes > most.deletes
                || is_new_role && spent.roles.len() > most.roles)
        {
            faults.push(("I5 guards hold", format!("{spent:?} within the hour, {most:?} are allowed")));
        }
        let same = |effect: &&Effect| effect.key == key && !effect.is_forgotten && now.saturating_sub(effect.at) < HOUR;
        let repairs = self.process.effects.iter().filter(same).count();
        if repairs > IN_A_FIGHT {
            faults.push(("I17 fights back off", format!("{}/{} was written {repairs} times in an hour", key.0, key.1)));
        }
        faults
    }

    /// What the first so many writes amount to in the hour before this moment.
    fn spent(&self, effects: usize, at: Duration) -> Spent {
        let mut spent = Spent::default();
        for effect in self.process.effects[..effects].iter().filter(|effect| at.saturating_sub(effect.at) < HOUR) {
            spent.add(&effect.key, effect.is_delete);
        }
        spent
    }

    /// The plan that a write of this policy is part of, where it follows from the read of this tick.
    fn plan_of(&mut self, key: &Key, begun: u64, account: &AccountId, now: Duration) -> Option<Plan> {
        let shows = self.shows(account)?;
        let reading = self.process.reading.as_ref().filter(|reading| reading.tick <= begun)?;
        let after_looks = || self.plan_after_looks(reading, &shows, key, begun, account, now);
        let by_reading = || {
            let planned = Spent::of(reading.certain(&shows, begun));
            // A write of this very plan may have taken effect in the same moment.
            let spent = self.spent(reading.effects, reading.at);
            let beyond = planned.beyond(&spent, &self.bounds(reading.set.as_ref()?, account));
            Some(Plan { tick: reading.tick, due: planned.changes, beyond, is_of_looks: false })
        };
        after_looks().or_else(by_reading)
    }

    /// The plan of a write that needed a fresh look first. That plan was made once all such looks were done: so it holds
    /// what each of them has shown, and what was certain before.
    fn plan_after_looks(
        &self,
        reading: &Reading,
        shows: &Shows,
        key: &Key,
        begun: u64,
        account: &AccountId,
        now: Duration,
    ) -> Option<Plan> {
        let set = reading.set.as_ref().filter(|_| shows.doubted.contains(key))?;
        let looks: Option<Vec<_>> = shows.doubted.iter().map(|key| Some((key, reading.looks.get(key)?))).collect();
        let looks = looks?;
        let tick = looks.iter().map(|(_, (tick, _))| *tick).max().filter(|tick| *tick < begun)?;
        // What was tried since counts where it took effect; what was refused may be no part of a plan any more.
        let is_left = |key: &Key| {
            let mut since = self.process.attempts[reading.attempts..].iter();
            !since.any(|attempt| attempt.key.0 == key.0)
        };
        if !is_left(key) {
            return None;
        }
        let desired = set.desired(Whose::own(account), None);
        let proved = looks.into_iter().filter_map(|(key, (_, shown))| {
            Some((key.clone(), self.is_due(reading, set, account, &desired, key, shown.clone())?))
        });
        let due = proved.chain(reading.certain(shows, begun).cloned()).filter(|(key, _)| is_left(key));
        let planned = Spent::of(&due.collect::<Vec<_>>());
        let spent = self.spent(self.process.effects.len(), now);
        let beyond = planned.beyond(&spent, &self.bounds(set, account));
        Some(Plan { tick, due: planned.changes, beyond, is_of_looks: true })
    }

    /// What the last whole reading shows. Worked out only where somebody wants to know.
    fn shows(&mut self, account: &AccountId) -> Option<Arc<Shows>> {
        let reading = self.process.reading.as_ref()?;
        if let Some(shows) = &reading.shows {
            return Some(Arc::clone(shows));
        }
        let shows = Arc::new(reading.set.as_ref().map(|set| self.shown(reading, set, account)).unwrap_or_default());
        self.process.reading.as_mut()?.shows = Some(Arc::clone(&shows));
        Some(shows)
    }

    fn shown(&self, reading: &Reading, set: &ManifestSet, account: &AccountId) -> Shows {
        let mut shows = Shows::default();
        let desired = set.desired(Whose::own(account), None);
        for key in desired.policies.keys() {
            let Some(role) = reading.role(&key.0) else { continue };
            let shown = live(role, key);
            let worth = self.process.worth(reading, key, shown.as_deref());
            let Some(is_delete) = self.is_due(reading, set, account, &desired, key, shown) else { continue };
            match worth {
                Worth::Certain => shows.certain.push((key.clone(), is_delete)),
                Worth::Doubted => shows.doubted.push(key.clone()),
                Worth::Unknown => {}
            }
        }
        shows
    }

    /// Whether something is certainly to be written in place of what was shown, and whether it is a removal. It is not certain
    /// where the write takes something away that another policy of the role may rely upon.
    fn is_due(
        &self,
        reading: &Reading,
        set: &ManifestSet,
        account: &AccountId,
        desired: &Desired,
        key: &Key,
        shown: Option<String>,
    ) -> Option<bool> {
        let role = reading.role(&key.0)?;
        let asked = wanted(self, set, account, &key.0, &key.1).ok()?;
        if role.path.starts_with("/aws-")
            || role.name.eq_ignore_ascii_case(super::OWN_ROLE)
            || asks_to_be_left_alone(&role.tags)
            || asked.outside_path(&role.path)
        {
            return None;
        }
        let is_clear = shown.as_deref().is_none_or(|text| matches!(Plain::of(text), Plain::Grants(_)));
        let others = role.inline_policies.iter().filter(|other| other.name != key.1.as_str());
        let others: usize = others.map(|other| size(&LiveDocument::new(&other.encoded_document).text())).sum();
        let room = desired.document(key).map_or(0, |document| size(document.as_str()));
        let fresh = Fresh { tick: 0, asked: reading.at, answered: reading.at, shown, is_stale: false };
        let is_due = is_clear
            && !asked.is_as_it_is(fresh.shown.as_deref())
            && why_not(&fresh, Some(&asked)).is_none()
            && !another_may_rely(self, set, account, key, fresh.shown.as_deref(), &asked)
            && (asked.absent || others + room <= QUOTA);
        is_due.then_some(asked.absent)
    }
}

fn size(text: &str) -> usize {
    text.chars().filter(|character| !character.is_whitespace()).count()
}

/// What was written within an hour, or is planned.
#[derive(Debug, Default)]
struct Spent {
    changes: usize,
    deletes: usize,
    roles: BTreeSet<String>,
}

impl Spent {
    fn of<'a>(planned: impl IntoIterator<Item = &'a (Key, bool)>) -> Self {
        let mut of = Self::default();
        planned.into_iter().for_each(|(key, is_delete)| of.add(key, *is_delete));
        of
    }

    fn add(&mut self, key: &Key, is_delete: bool) {
        self.changes += 1;
        self.deletes += usize::from(is_delete);
        self.roles.insert(key.0.folded());
    }

    /// How this, planned after what was spent, is beyond the guards.
    fn beyond(&self, spent: &Self, most: &Most) -> Option<String> {
        let further = self.roles.difference(&spent.roles).count();
        let bounds = [
            (self.changes, spent.changes, most.changes, "changes"),
            (self.deletes, spent.deletes, most.deletes, "deletions"),
            (further, spent.roles.len(), most.roles, "roles"),
        ];
        let beyond = bounds.into_iter().find(|(planned, spent, most, _)| *planned > 0 && planned + spent > *most);
        beyond.map(|(planned, spent, most, what)| format!("{planned} {what} and {spent} before, {most} allowed"))
    }
}
