//! The invariants of a write, judged in the moment in which the controller asks for it.
//!
//! Knows the truth, and none of the controller's own verdicts. What must stay true: each rule can be read beside the
//! sentence that it stands for.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    pace::Answer,
    people::CORE,
    plain::{Ceiling, Grants, Plain, asks_to_be_left_alone, never_to_be_written},
    scene::{Fresh, Key, Known, Leave, Process, Scene, Shown, State, Written},
};
use crate::{
    iam::{ErrorClass, IamError, RoleDetail, RolesPage},
    inventory::LiveDocument,
    manifest::{ManifestSet, Whose},
    names::{AccountId, PolicyName, RoleName},
};

/// How old the read may be that a write follows from.
const FRESH: Duration = Duration::from_millis(50);

pub(super) const KEEPS_REGISTERED: &str = "I8 a node's registration is not taken away";

/// How long a write is given to become visible before it may be made again.
const QUIET: Duration = Duration::from_secs(20);

/// What the simulation remembers of a write between its arrival and its answer.
pub(super) struct Judged {
    arrived: Duration,
    /// What the read before it showed.
    replaced: Option<String>,
}

impl Scene {
    /// A page of a bulk reading came, or did not.
    pub(super) fn page_answered(&self, is_first: bool, answer: Result<&RolesPage, &IamError>) {
        let now = self.now();
        let mut state = self.state();
        let before = if is_first { Some(Default::default()) } else { state.process.pages.take() };
        let Some(mut roles) = before else { return };
        let page = match answer {
            Ok(page) => page,
            Err(error) => {
                // A page that is throttled is asked for again by the same reading.
                state.process.pages = Some(roles).filter(|_| error.class == ErrorClass::Throttled);
                return;
            }
        };
        roles.extend(page.roles.iter().cloned());
        for role in &page.roles {
            let is_about = |key: &Key| key.0.as_str().eq_ignore_ascii_case(&role.name);
            for (key, known) in
                state.keys.iter_mut().filter(|(key, known)| known.waits_to_be_seen(now) && is_about(key))
            {
                let live = role.inline_policies.iter().find(|live| live.name == key.1.as_str());
                known.was_shown(live.map(|live| LiveDocument::new(&live.encoded_document).text()).as_deref());
            }
        }
        if page.is_truncated {
            state.process.pages = Some(roles);
            return;
        }
        state.process.note_registrars(&roles, now);
        state.was_read(roles, now);
        state.take_in_reading(now);
    }

    /// A fresh read of one policy was answered.
    pub(super) fn read_fresh(&self, role: &RoleName, policy: &PolicyName, fresh: Fresh) {
        let mut state = self.state();
        let tick = state.tick();
        let key = (role.clone(), policy.clone());
        state.process.looked_at(&key, fresh.shown.as_deref(), fresh.tick, tick, fresh.answered);
        state.was_seen(&(role.clone(), policy.clone()), fresh.shown.as_deref(), tick);
        let process = state.process.number;
        let known = state.keys.entry((role.clone(), policy.clone())).or_default();
        known.was_shown(fresh.shown.as_deref());
        known.last = Some((process, fresh.clone()));
        known.fresh.push(fresh);
        if known.fresh.len() > 4 {
            known.fresh.remove(0);
        }
    }

    /// The answer of a write has reached the controller.
    pub(super) fn answered(&self, role: &RoleName, policy: &PolicyName, judged: &Judged, is_done: bool) {
        let now = self.now();
        let mut state = self.state();
        let key = (role.clone(), policy.clone());
        state.process.past.calls(role, now);
        state.process.past.replaced(&key, judged.replaced.clone(), now);
        if !is_done {
            state.process.past.failed(role, now);
        }
        let is_it = |key: &Key| key.0 == *role && key.1 == *policy;
        if let Some(attempt) = state.process.attempts.iter_mut().rev().find(|attempt| is_it(&attempt.key)) {
            attempt.answer = Some(if is_done { Answer::Done(now) } else { Answer::Failed });
        }
        if is_done {
            self.owes_news(&key);
        }
        if is_done && let Leave::Plan(plan) = &mut state.process.leave {
            // Each write of an approved plan is made once; one without an answer may not have been made.
            plan.remove(&(role.clone(), policy.clone()));
        }
        let known = state.keys.entry((role.clone(), policy.clone())).or_default();
        // What was asked for before the answer was not made after the write.
        known.fresh.retain(|fresh| fresh.asked > judged.arrived);
        if let Some(written) = known.written.as_mut().filter(|_| is_done) {
            written.done = Some(now);
        }
    }

    /// The controller asks for a write, now: `None` in place of a document removes the policy.
    pub(super) fn judge_write(&self, role: &RoleName, policy: &PolicyName, document: Option<&str>) -> Judged {
        let now = self.now();
        let truth = self.sandbox.document(&self.own, role.as_str(), policy.as_str());
        let mut state = self.state();
        state.tally.writes += 1;
        let mut faults: Vec<(&str, String)> = Vec::new();

        if state.process.flying.contains_key(role) {
            faults.push(("I11 one write to a role at a time", format!("{role} is being written to")));
        }
        // A role that was made anew since it was read may be protected now: then IAM refuses the write.
        let shown = state.process.shown.get(role).cloned();
        let path = shown.as_ref().map(|shown| shown.path.clone()).unwrap_or_default();
        // What a single call shows may be part of a reading that goes on, which decides nothing before its end.
        let before = shown.as_ref().and_then(|shown| shown.path_before.as_ref());
        let before = before.filter(|(at, _)| now.saturating_sub(*at) < READ_BEFORE).map(|(_, path)| path);
        let is_protected = [Some(&path), before]
            .into_iter()
            .flatten()
            .all(|path| path.starts_with("/aws-service-role/") || path.starts_with("/aws-reserved/"));
        if is_protected || role.as_str().eq_ignore_ascii_case(super::OWN_ROLE) {
            faults.push(("I6 protected roles are never written to", format!("{role} at {path}")));
        }
        if let Some(fault) = document.and_then(never_to_be_written) {
            faults.push(("I3 only plain grants of the vocabulary", fault));
        }

        let key: Key = (role.clone(), policy.clone());
        let grants = document.map(Plain::of).and_then(|plain| plain.grants().cloned()).unwrap_or_default();

        // Some set of manifests that is in force, or was a moment ago, asks for just this.
        let sets = state.sets(now);
        let asked: Vec<Result<Asked, String>> = sets
            .iter()
            .map(|set| match document {
                Some(document) => asked_for(&state, set, &self.own, role, policy, document),
                None => removal_asked_for(&state, set, &self.own, &key, now),
            })
            .collect();
        let wanted = asked.iter().find_map(|asked| asked.as_ref().ok());
        if wanted.is_none() {
            let why: Vec<&str> = asked.iter().filter_map(|asked| asked.as_ref().err()).map(String::as_str).collect();
            faults.push((
                "I1, I3, I7 only what manifests in force ask for",
                format!("{role}/{policy}: {}", why.join("; ")),
            ));
        }
        // What is removed names nothing.
        let outside =
            |set: &Arc<ManifestSet>| state.authors.settings_of(set).ceiling.outside(self.own.as_str(), &path, &grants);
        if let Some(outside) = sets.iter().map(outside).reduce(Option::and).flatten() {
            faults.push(("I13 nothing outside the limits", format!("{role}/{policy}: {outside}")));
        }

        let is_known =
            shown.as_ref().is_some_and(|shown| shown.until.is_none_or(|until| now.saturating_sub(until) < READ_BEFORE));
        if !is_known {
            faults.push(("I2 no write to a role that was not read", format!("{role}")));
        }
        let process = state.process.number;
        let successor = wanted.and_then(|wanted| wanted.successor.clone());
        let registers_otherwise = state.process.registers_otherwise(&key, now);
        let known = state.keys.entry(key.clone()).or_default();
        let fresh: Vec<&Fresh> =
            known.fresh.iter().filter(|fresh| now.saturating_sub(fresh.answered) <= FRESH).collect();
        // Where another policy of the role lets the node register, nothing is lost.
        let why_not = |fresh: &Fresh| {
            why_not(fresh, wanted).filter(|(rule, _)| *rule != KEEPS_REGISTERED || !registers_otherwise)
        };
        let justifies = |fresh: &&&Fresh| why_not(fresh).is_none();
        let chosen = fresh.iter().find(justifies).or(fresh.last()).copied().cloned();
        match &chosen {
            None => faults.push(("I2 no write without a fresh read", format!("{role}/{policy}"))),
            Some(fresh) => {
                if let Some((rule, why)) = why_not(fresh) {
                    faults.push((rule, format!("{role}/{policy}: {why}: {:?}", fresh.shown)));
                }
                if let Some(why) = known.made_again(fresh, document.unwrap_or_default(), process, now) {
                    faults.push(("I4 no more writes than causes", format!("{role}/{policy}: {why}")));
                }
            }
        }
        let is_useless = wanted.is_some_and(|wanted| wanted.is_as_it_is(truth.as_deref()));
        let was_misled = chosen.as_ref().is_some_and(|fresh| fresh.is_stale || known.touched >= fresh.asked);
        if is_useless && !was_misled {
            faults.push(("I4 no more writes than causes", format!("{role}/{policy} is right, and was shown to be")));
        }
        let begun = chosen.as_ref().map(|fresh| fresh.tick);
        let before = chosen.as_ref().and_then(|fresh| fresh.shown.clone());
        known.written = chosen.map(|fresh| Written {
            process,
            fresh,
            document: document.unwrap_or_default().to_owned(),
            done: None,
            was_seen: false,
        });
        known.fresh.clear();
        state.tally.useless_writes += u64::from(is_useless);
        state.process.past.calls(role, now);
        let tagged = shown.as_ref().and_then(|shown| shown.tagged);
        if tagged.zip(begun).is_some_and(|(tagged, begun)| tagged < begun) {
            faults.push(("I18 a tag of the role stops every write", format!("{role}/{policy}")));
        }
        faults.extend(state.without_leave(&key, &before));
        let replaced = before;
        let begun = begun.unwrap_or(state.process.ticks);
        faults.extend(state.attempt(&key, document, begun, successor, now));
        drop(state);
        for (invariant, what) in faults {
            self.violated(invariant, what);
        }
        Judged { arrived: now, replaced }
    }
}

impl State {
    /// A whole reading came: what it showed of each role.
    fn take_in_reading(&mut self, now: Duration) {
        let Some(reading) = self.process.reading.take() else { return };
        let mut gone: Vec<RoleName> = self.process.shown.keys().cloned().collect();
        for role in reading.roles() {
            let Ok(name) = role.name.parse::<RoleName>() else { continue };
            gone.retain(|known| *known != name);
            let tagged = asks_to_be_left_alone(&role.tags).then_some(reading.tick);
            self.process
                .shown
                .insert(name.clone(), Shown { tagged, until: None, path: role.path.clone(), path_before: None });
            let written: BTreeSet<Key> = self.process.attempts.iter().map(|attempt| attempt.key.clone()).collect();
            for key in written.into_iter().filter(|key| key.0 == name) {
                let live = role.inline_policies.iter().find(|live| live.name == key.1.as_str());
                let text = live.map(|live| LiveDocument::new(&live.encoded_document).text());
                self.was_seen(&key, text.as_deref(), reading.tick);
            }
        }
        for role in gone {
            if let Some(shown) = self.process.shown.get_mut(&role) {
                shown.until.get_or_insert(now);
            }
        }
        self.process.reading = Some(reading);
    }

    /// Why a process that carries out an approved plan may not write this.
    fn without_leave(&self, key: &Key, before: &Option<String>) -> Option<(&'static str, String)> {
        const RULE: &str = "I19 an approval admits that very plan";
        match &self.process.leave {
            Leave::Ask => None,
            Leave::Nothing => Some((RULE, format!("{}/{}: another plan was approved", key.0, key.1))),
            Leave::Plan(plan) => match plan.get(key) {
                Some(approved) if approved == before => None,
                Some(approved) => Some((RULE, format!("{}/{}: in place of {approved:?}", key.0, key.1))),
                None => Some((RULE, format!("{}/{} is no part of it, or was written before", key.0, key.1))),
            },
        }
    }
}

/// A repair that began while its role was there may still write when a newer reading has lost the role.
const READ_BEFORE: Duration = Duration::from_secs(20);

/// What manifests ask for of one policy.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) grants: Grants,
    pub(super) registers: bool,
    /// The policy is to be gone.
    pub(super) absent: bool,
    ceiling: Ceiling,
    /// What has to be right before this is removed, as it has that name now.
    successor: Option<(Key, Grants)>,
}

impl Asked {
    /// Whether the policy is as it is asked for, in whatever words.
    pub(super) fn is_as_it_is(&self, live: Option<&str>) -> bool {
        match live {
            None => self.absent,
            Some(_) if self.absent => false,
            Some(text) => self.is_what_it_yields(text),
        }
    }

    fn is_what_it_yields(&self, text: &str) -> bool {
        Plain::of(text) == Plain::Grants(self.grants.clone())
    }

    /// Whether the operator's limits admit no role of this path.
    pub(super) fn outside_path(&self, path: &str) -> bool {
        self.ceiling.outside(super::OWN, path, &Grants::new()).is_some()
    }
}

/// What `set` asks for by this write; why it does not.
fn asked_for(
    state: &State,
    set: &Arc<ManifestSet>,
    account: &AccountId,
    role: &RoleName,
    policy: &PolicyName,
    document: &str,
) -> Result<Asked, String> {
    let asked = wanted(state, set, account, role, policy)?;
    if asked.absent {
        return Err("the manifests want it to be gone".to_owned());
    }
    if !asked.is_as_it_is(Some(document)) {
        return Err(format!("the manifests ask for other grants: {:?}", asked.grants));
    }
    let desired = set.desired(Whose::own(account), None);
    let text = desired.document(&(role.clone(), policy.clone())).map(|wanted| wanted.as_str());
    if text != Some(document) {
        return Err("the manifests ask for it in other words".to_owned());
    }
    Ok(asked)
}

/// What `set` asks for by this removal; why it does not.
fn removal_asked_for(
    state: &State,
    set: &Arc<ManifestSet>,
    account: &AccountId,
    key: &Key,
    now: Duration,
) -> Result<Asked, String> {
    match wanted(state, set, account, &key.0, &key.1) {
        Ok(asked) if asked.absent => return Ok(asked),
        Ok(_) => return Err("the manifests want it to be there".to_owned()),
        Err(_) => {}
    }
    let (newer, grants, former) = state.successor(set, account, key, now)?;
    let ceiling = state.authors.settings_of(set).ceiling;
    Ok(Asked { grants: former, registers: false, absent: true, ceiling, successor: Some((newer, grants)) })
}

/// What `set` wants to have repaired under this key, within the operator's limits; why nothing is to be.
pub(super) fn wanted(
    state: &State,
    set: &ManifestSet,
    account: &AccountId,
    role: &RoleName,
    policy: &PolicyName,
) -> Result<Asked, String> {
    let asked = meant_for(state, set, account, role, policy)?;
    let outside = asked.ceiling.outside_account(account.as_str());
    let named = || asked.ceiling.outside_names(&asked.grants).filter(|_| !asked.absent);
    match outside.or_else(named) {
        Some(outside) => Err(format!("{outside} is outside of the limits")),
        None => Ok(asked),
    }
}

/// What `set` wants to have repaired under this key, by what its authors meant; why nothing is to be.
pub(super) fn meant_for(
    state: &State,
    set: &ManifestSet,
    account: &AccountId,
    role: &RoleName,
    policy: &PolicyName,
) -> Result<Asked, String> {
    let settings = state.authors.settings_of(set);
    if settings.suspend {
        return Err("the kill switch is on".to_owned());
    }
    let mut asked: Option<Asked> = None;
    for permissions in set.permissions() {
        let Some(meant) = state.authors.meant_by(permissions) else {
            return Err(format!("{} was never meant to count", permissions.name));
        };
        if !meant.is_about(account, role.as_str(), policy.as_str()) {
            continue;
        }
        if meant.suspend {
            return Err("a manifest suspends it".to_owned());
        }
        if meant.observe.unwrap_or(settings.observe) {
            return Err("a manifest only observes it".to_owned());
        }
        let grants = meant.grants(account);
        if asked.as_ref().is_some_and(|asked| asked.grants != grants || asked.absent != meant.absent) {
            return Err("manifests differ about it".to_owned());
        }
        let ceiling = settings.ceiling.clone();
        asked = Some(Asked { grants, registers: meant.registers, absent: meant.absent, ceiling, successor: None });
    }
    asked.ok_or_else(|| "no manifest in force names it".to_owned())
}

/// Whether the write takes something away that another policy of the role may rely upon, one that manifests want to be there:
/// then its own settings ask for it, or it is the registration. Whether sessions hang on it nobody here looks into.
pub(super) fn another_may_rely(
    state: &State,
    set: &ManifestSet,
    account: &AccountId,
    (role, policy): &Key,
    shown: Option<&str>,
    asked: &Asked,
) -> bool {
    let Some(Plain::Grants(before)) = shown.map(Plain::of) else { return false };
    let is_lost = |grant: &&(String, String)| asked.absent || !asked.grants.contains(grant);
    let lost: Vec<&str> = before.iter().filter(is_lost).map(|(action, _)| action.as_str()).collect();
    let is_among_them = |action: &str| {
        lost.iter().any(|lost| match lost.strip_suffix('*') {
            Some(beginning) => action.starts_with(beginning),
            None => action == *lost,
        })
    };
    let others = set.permissions().iter().filter_map(|permissions| state.authors.meant_by(permissions));
    let mut others = others
        .filter(|meant| !meant.absent && meant.is_in(account) && meant.names(role.as_str()))
        .filter(|meant| meant.policy() != policy.as_str());
    others.any(|meant| {
        is_among_them("ssm:updateinstanceinformation")
            || meant.grants(account).iter().any(|(action, _)| is_among_them(action))
    })
}

/// Why nothing may be written after this read; the rule, and what breaks it.
pub(super) fn why_not(fresh: &Fresh, wanted: Option<&Asked>) -> Option<(&'static str, String)> {
    let Some(shown) = fresh.shown.as_deref() else {
        return wanted
            .filter(|wanted| wanted.absent)
            .map(|_| ("I4 what is right is not written", "the fresh read showed that it is gone".to_owned()));
    };
    let plain = Plain::of(shown);
    if plain == Plain::Denies {
        return Some(("I8 a Deny is never replaced", "the fresh read showed one".to_owned()));
    }
    let wanted = wanted?;
    if wanted.absent {
        return (!wanted.is_what_it_yields(shown)).then(|| {
            ("I8 only what the settings yield is removed", "the fresh read showed something else".to_owned())
        });
    }
    if wanted.is_as_it_is(Some(shown)) {
        return Some(("I4 what is right is not written", "the fresh read showed that it is right".to_owned()));
    }
    let Plain::Grants(grants) = &plain else { return None };
    let loses = grants.difference(&wanted.grants).next().is_some();
    if loses && !["ssmmessages:", "ssm:", "*"].iter().any(|beginning| plain.allows(beginning)) {
        return Some((
            "I8 what is somebody else's is not replaced",
            "it holds nothing of Session Manager's".to_owned(),
        ));
    }
    if !wanted.registers && plain.allows("ssm:updateinstanceinformation") {
        return Some((KEEPS_REGISTERED, "the fresh read showed it".to_owned()));
    }
    None
}

impl Process {
    /// A whole reading came: which policies of each role let its nodes register.
    fn note_registrars(&mut self, roles: &[RoleDetail], now: Duration) {
        self.registrars_at = now;
        for role in roles {
            let Ok(name) = role.name.parse::<RoleName>() else { continue };
            let inline = role.inline_policies.iter().filter(|live| {
                let text = LiveDocument::new(&live.encoded_document).text();
                Plain::of(&text).allows("ssm:updateinstanceinformation")
            });
            let attached = role.attached.iter().filter(|arn| *arn == CORE);
            let registrars = inline.map(|live| live.name.clone()).chain(attached.cloned());
            self.registrars.entry(name).or_default().extend(registrars.map(|policy| (policy, now)));
        }
    }

    /// Whether the last whole reading, or one shortly before, has shown that another policy of the role lets its node
    /// register.
    fn registers_otherwise(&self, key: &Key, now: Duration) -> bool {
        let registrars = self.registrars.get(&key.0).into_iter().flatten();
        let counts = |shown: Duration| shown == self.registrars_at || now.saturating_sub(shown) < READ_BEFORE;
        registrars.filter(|(policy, _)| policy.as_str() != key.1.as_str()).any(|(_, shown)| counts(*shown))
    }
}

impl Known {
    /// Something showed the controller what stands in the policy.
    fn was_shown(&mut self, shown: Option<&str>) {
        if let Some(written) = self.written.as_mut().filter(|written| written.done.is_some()) {
            written.was_seen |= written.fresh.shown.as_deref() != shown;
        }
    }

    /// Whether it matters what the controller is shown of the policy now.
    fn waits_to_be_seen(&self, now: Duration) -> bool {
        let done = self.written.as_ref().filter(|written| !written.was_seen).and_then(|written| written.done);
        done.is_some_and(|done| now < done + QUIET)
    }

    /// Why a write that follows from `fresh` only repeats the last one, whose effect the controller could not see yet.
    fn made_again(&self, fresh: &Fresh, document: &str, process: u64, now: Duration) -> Option<String> {
        let written = self.written.as_ref().filter(|written| written.process == process)?;
        let done = written.done?;
        let is_the_same = written.document == document
            && written.fresh.shown == fresh.shown
            && self.touched < written.fresh.asked
            && !written.was_seen
            && now < done + QUIET;
        is_the_same.then(|| format!("written {} ms ago, and not seen since", (now - done).as_millis()))
    }
}
