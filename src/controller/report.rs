//! What is told, and when: once when a thing appears, once when it changes, once when it ends.
//!
//! Pure: steps and the time go in, events come out. Does not know what will be done about them. What must stay
//! true: the same standing fact is never told twice but for the daily reminder.

#[cfg(test)]
mod tests;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use self::words::{about, about_drift, about_session, addressed, blocked, contended, sentence, undo};
use crate::{
    iam::{ErrorClass, IamError},
    inventory::LiveDocument,
    manifest::Origin,
    plan::{Action, Reason, Step, Target},
    policy::compare::{Change, Drift},
    readiness::{Cause, Condition, Status},
    telemetry::{Event, EventName, TimedCondition},
    text::{shell_word, span},
};

/// How often what still stands is told again.
pub(super) const REMINDER: Duration = Duration::from_secs(24 * 60 * 60);

/// How many times in a row a write may fail for reasons that pass by themselves before that is told.
const QUIET_FAILURES: u32 = 3;

/// Remembers what was told of every policy.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    records: BTreeMap<Target, Record>,
    /// Whether another process tells all this: then only what this one did is told.
    is_silent: bool,
}

/// What was told of one policy and still stands.
#[derive(Debug, Default, PartialEq)]
struct Record {
    drift: Option<StandingDrift>,
    blocked: Option<Reason>,
    /// For which reason that was told, as long as nothing else was told since: two ways to read a role may tell of two worlds
    /// for minutes, and be believed by turns.
    blocked_told: Option<Reason>,
    write_failed: Option<Reason>,
    not_found: bool,
    unknown: bool,
    suspended: bool,
    /// Suspended by a tag of the role: drift is told all the same.
    tagged: bool,
    contended: bool,
    /// The last condition `SessionReady`, and whether it was told.
    session: Option<(Condition, bool)>,
    /// The status of either condition, and since when.
    synced: Option<(Status, Duration)>,
    session_ready: Option<(Status, Duration)>,
    /// Whether a policy that can be taken for ours would stay behind if no manifest asked for it any more.
    leaves_a_policy: bool,
    last_told: Duration,
}

/// What is known of a policy that nobody asks for any more.
#[derive(Debug)]
pub(super) struct Left {
    /// The manifest that would remove it.
    pub(super) remedy: Option<String>,
    /// Whether a selector had picked the role.
    pub(super) was_selected: bool,
    /// Whether that is because there is no such role any more.
    pub(super) is_gone: bool,
}

/// What is remembered of a policy that is in sync, beside its verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standing {
    /// Whether it was told what stands in the way of its sessions.
    session_told: bool,
    synced: Option<(Status, Duration)>,
    session_ready: Option<(Status, Duration)>,
    last_told: Duration,
}

#[derive(Debug, PartialEq)]
struct StandingDrift {
    kind: Drift,
    changes: Vec<Change>,
    since: Duration,
}

impl Reporter {
    /// One that tells nothing but what this process has written.
    pub(super) fn silent() -> Self {
        Self { is_silent: true, ..Self::default() }
    }

    fn aloud(&self, events: Vec<Event>) -> Vec<Event> {
        if self.is_silent { Vec::new() } else { events }
    }

    /// Takes in a verdict at the time `now` (since the start of the loop) and says what is new about it.
    pub(super) fn observe(&mut self, step: &Step, now: Duration) -> Vec<Event> {
        let mut events = self.news(step, now);
        let record = self.records.entry(step.target.clone()).or_default();
        record.attach_conditions(step, &mut events, now);
        self.aloud(events)
    }

    fn news(&mut self, step: &Step, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        let record = self.records.entry(step.target.clone()).or_default();
        let told_before = record.stands() || record.session.as_ref().is_some_and(|(_, told)| *told);

        if step.reason == Some(Reason::Suspended) {
            if !record.suspended {
                *record = Record { suspended: true, leaves_a_policy: record.leaves_a_policy, ..Record::default() };
                events.push(about(EventName::RoleSuspended, step, "is suspended: neither judged nor repaired"));
            }
            events.extend(record.reminder(step, now, told_before));
            return record.noted(events, now);
        }
        if std::mem::take(&mut record.suspended) {
            events.push(about(EventName::RoleResumed, step, "is no longer suspended"));
        }

        if step.reason == Some(Reason::Unknown) {
            if !std::mem::replace(&mut record.unknown, true) {
                events.push(about(EventName::ReadFailed, step, "could not be read: nothing is concluded from that"));
            }
            return record.noted(events, now);
        }
        if std::mem::take(&mut record.unknown) {
            events.push(about(EventName::ReadRecovered, step, "can be read again"));
        }
        if step.reason == Some(Reason::RoleNotFound) {
            if !std::mem::replace(&mut record.not_found, true) {
                *record = Record { not_found: true, ..Record::default() };
                let asked =
                    if step.origin == Origin::Named { "a manifest names it" } else { "a selector has picked it" };
                events.push(about(EventName::RoleNotFound, step, &format!("does not exist, though {asked}")));
            }
            events.extend(record.reminder(step, now, told_before));
            return record.noted(events, now);
        }
        // A conflict is judged without looking at the role.
        if step.reason != Some(Reason::Conflict) && std::mem::take(&mut record.not_found) {
            events.push(about(EventName::RoleFound, step, "exists now"));
        }
        if step.reason == Some(Reason::AwaitsSuccessor) {
            // A moment's wait under a former name: what was told of it still stands.
            return record.noted(events, now);
        }
        if record.tagged != (step.reason == Some(Reason::SuspendTag)) {
            record.tagged = !record.tagged;
            events.push(if record.tagged {
                about(EventName::RoleSuspended, step, "is suspended by a tag: drift is told, nothing is written")
            } else {
                about(EventName::RoleResumed, step, "is no longer suspended by a tag")
            });
        }
        if step.reason == Some(Reason::Contended) && !std::mem::replace(&mut record.contended, true) {
            events.push(about(EventName::PolicyContended, step, &contended(&step.target)));
        }
        record.leaves_a_policy =
            step.live.is_some() && !step.reason.is_some_and(Reason::is_about_somebody_elses_policy);
        events.extend(record.drift_events(step, now));
        // Whether another policy lets the node register is known in a moment: until then this is no news.
        let is_passing = step.reason == Some(Reason::NodeRegistrationWouldBeLost)
            && step.session.as_ref().is_some_and(|session| session.cause == Cause::NotYetRead);
        if !events.is_empty() {
            record.blocked_told = None;
        }
        // What was told of the role still stands as far as anybody was told, while only the account's plan is held.
        let says_nothing_new = step.reason.is_some_and(Reason::is_told_elsewhere) && events.is_empty();
        if step.action == Action::Blocked {
            if record.blocked != step.reason && !is_passing && !(says_nothing_new && record.blocked.is_some()) {
                record.blocked = step.reason;
                let word = step.reason.map(Reason::as_str);
                let told = word.is_some() && record.write_failed.map(Reason::as_str) == word;
                let is_news = !told && !step.reason.is_some_and(Reason::is_told_elsewhere);
                if is_news && std::mem::replace(&mut record.blocked_told, step.reason) != step.reason {
                    events.push(blocked(step));
                }
            }
        } else if let Some(blocked) = record.blocked.take() {
            if events.is_empty() && step.is_in_sync() {
                record.blocked_told = None;
                events.push(about(EventName::DriftEnded, step, "is in sync, and no longer held"));
            }
            if blocked == Reason::NoRoom && step.is_a_write() {
                // Role by role nobody tells how much room there is: IAM will say the same again.
                record.write_failed = Some(Reason::Failed(ErrorClass::Quota));
            }
        }
        events.extend(record.reminder(step, now, told_before && events.is_empty()));
        events.extend(record.session_event(step, step.session.as_ref()));
        record.noted(events, now)
    }

    /// Says that the controller wrote the desired document in place of `before`. `step` is the verdict of the
    /// confirming read; where the drift was not told yet (it appeared since the last reading), it is told first.
    pub(super) fn repaired(&mut self, step: &Step, before: Option<&LiveDocument>, now: Duration) -> Vec<Event> {
        let mut events = self.observe(step, now);
        let record = self.records.entry(step.target.clone()).or_default();
        let since = record.drift.take().map_or(now, |drift| drift.since);
        record.write_failed = None;
        (record.blocked, record.blocked_told) = (None, None);
        record.leaves_a_policy = step.action != Action::Delete;
        let seen_for = now.saturating_sub(since);
        let after = format!(", {} after it was seen", span(seen_for));
        let (name, did) = match (step.action, before) {
            (Action::Delete, _) if step.has_drifted() => {
                (EventName::PolicyRemoved, format!("has the policy {} no more{after}", step.target.policy))
            }
            (Action::Delete, _) => {
                let policy = &step.target.policy;
                (
                    EventName::PolicyRemoved,
                    format!("has the policy {policy} no more: the one under its new name was seen to be right"),
                )
            }
            (_, Some(_)) => (
                EventName::DriftRepaired,
                format!("repaired: the document was replaced by what the manifest asks for{after}"),
            ),
            (_, None) => {
                (EventName::DriftRepaired, format!("repaired: the policy was missing and is there again{after}"))
            }
        };
        let mut event = about(name, step, &did);
        event.seen_for_seconds = Some(seen_for.as_secs_f64());
        event.replaced = Some(before.map(LiveDocument::text).unwrap_or_default());
        event.undo = Some(undo(&step.target, before));
        events.push(event);
        events.extend(record.session_event(step, step.session_after.as_ref()).filter(|_| !self.is_silent));
        let told_before = events.iter().position(|event| event.name == name).unwrap_or_default();
        record.attach_conditions(&step.clone().after_write(), &mut events[told_before..], now);
        record.noted(events, now)
    }

    /// Says that a write, or the read before it, failed for the `attempts`th time in a row: at once where a
    /// person must act, after a few tries where it may pass by itself.
    pub(super) fn failed(&mut self, step: &Step, error: &IamError, attempts: u32, now: Duration) -> Vec<Event> {
        let reason = Reason::Failed(error.class);
        let record = self.records.entry(step.target.clone()).or_default();
        if record.blocked.is_some_and(|told| told.as_str() == reason.as_str()) {
            record.write_failed = Some(reason);
        }
        if record.write_failed == Some(reason) || error.class.passes_by_itself() && attempts < QUIET_FAILURES {
            return Vec::new();
        }
        record.write_failed = Some(reason);
        if record.blocked_told.replace(reason) == Some(reason) {
            return Vec::new();
        }
        let mut told = step.clone();
        told.reason = Some(reason);
        told.detail = Some(error.to_string());
        let mut events = vec![blocked(&told)];
        record.attach_conditions(&told, &mut events, now);
        let events = record.noted(events, now);
        self.aloud(events)
    }

    /// Says that a policy is no longer fought about.
    pub(super) fn settled(&mut self, step: &Step) -> Option<Event> {
        let record = self.records.get_mut(&step.target)?;
        let said = format!(
            "has had its policy {} as the manifest wants it for half an hour: nobody undoes the repairs any more",
            step.target.policy
        );
        let is_over = std::mem::take(&mut record.contended);
        (is_over && !self.is_silent).then(|| about(EventName::PolicySettled, step, &said))
    }

    /// Forgets a policy under a former name that is not there: there is nothing to tell, unless its drift was told.
    pub(super) fn forget(&mut self, step: &Step) -> Option<Event> {
        let record = self.records.remove(&step.target)?;
        let said = format!("has no policy {}, and its manifest gives it another name now", step.target.policy);
        record
            .drift
            .filter(|_| !self.is_silent)
            .map(|drift| Event { drift: Some(drift.kind.as_str()), ..about(EventName::DriftEnded, step, &said) })
    }

    /// Forgets a policy that is in sync for as long as it rests, where that verdict and what is given back say all that is
    /// remembered of it.
    pub(super) fn lay_down(&mut self, step: &Step) -> Option<Standing> {
        let (target, record) = self.records.get_key_value(&step.target)?;
        let standing = Standing {
            session_told: record.session.as_ref().is_some_and(|(_, told)| *told),
            synced: record.synced,
            session_ready: record.session_ready,
            last_told: record.last_told,
        };
        let is_all = target.role.as_str() == step.target.role.as_str() && *record == Record::at_rest(step, standing);
        is_all.then(|| {
            self.records.remove(&step.target);
            standing
        })
    }

    /// Remembers a policy again that was laid down with this verdict.
    pub(super) fn rouse(&mut self, step: &Step, standing: Standing) {
        self.records.insert(step.target.clone(), Record::at_rest(step, standing));
    }

    /// Whether this very drift was told, and stands.
    pub(super) fn has_told(&self, step: &Step) -> bool {
        if step.drift.is_none() {
            // The removal of a policy under its former name: no drift, and nothing to tell beforehand.
            return true;
        }
        self.records
            .get(&step.target)
            .and_then(|record| record.drift.as_ref())
            .is_some_and(|drift| Some(drift.kind) == step.drift && drift.changes == step.changes)
    }

    /// Since when both conditions of the policy stand as they do, `Synced` first: the time since the start of the loop.
    pub(super) fn standing_since(&self, target: &Target) -> [Option<Duration>; 2] {
        let record = self.records.get(target);
        [record.and_then(|record| record.synced), record.and_then(|record| record.session_ready)]
            .map(|standing| standing.map(|(_, since)| since))
    }

    /// Forgets the policies that nobody asks for any more, and says so.
    ///
    /// `left` says what is known of a target that is left.
    pub(super) fn release(&mut self, asked_for: &BTreeSet<Target>, left: impl Fn(&Target) -> Left) -> Vec<Event> {
        let gone: Vec<Target> = self.records.keys().filter(|target| !asked_for.contains(target)).cloned().collect();
        let mut events = Vec::new();
        for target in gone {
            let Some(record) = self.records.remove(&target) else { continue };
            let left = left(&target);
            let role_still_managed =
                asked_for.iter().any(|other| other.role == target.role && other.account == target.account);
            if !role_still_managed {
                let why = match &left {
                    Left { is_gone: true, .. } => "is gone, which a selector had picked",
                    Left { was_selected: true, .. } => "is picked by no selector any more: it is left as it is",
                    _ => "is named by no manifest any more: it is left as it is",
                };
                let message = sentence(&target, why);
                events.push(addressed(EventName::RoleReleased, &target, message));
            }
            if record.leaves_a_policy && !left.is_gone {
                let message = sentence(
                    &target,
                    &format!(
                        "still has the policy {}, which no manifest asks for any more: nothing was removed",
                        target.policy
                    ),
                );
                let hint = format!(
                    "to have it removed, add the manifest in `remedy`, or by hand: aws iam delete-role-policy --role-name {} --policy-name {}",
                    shell_word(target.role.as_str()),
                    shell_word(target.policy.as_str())
                );
                let event = addressed(EventName::PolicyOrphaned, &target, message);
                events.push(Event { hint: Some(hint), remedy: left.remedy, ..event });
            }
        }
        self.aloud(events)
    }
}

impl Standing {
    /// Since when both conditions of the policy stand as they do, as [`Reporter::standing_since`] says it.
    pub(super) fn since(&self) -> [Option<Duration>; 2] {
        [self.synced, self.session_ready].map(|standing| standing.map(|(_, since)| since))
    }
}

impl Record {
    /// What is remembered of a policy in sync of which nothing else is.
    fn at_rest(step: &Step, standing: Standing) -> Self {
        Self {
            session: step.session.clone().map(|session| (session, standing.session_told)),
            synced: standing.synced,
            session_ready: standing.session_ready,
            leaves_a_policy: step.live.is_some(),
            last_told: standing.last_told,
            ..Self::default()
        }
    }

    /// Whether something that was told still stands.
    fn stands(&self) -> bool {
        self.drift.is_some() || self.blocked.is_some() || self.not_found || self.suspended || self.tagged
    }

    /// Says with each event how both conditions of the role stand, and since when.
    fn attach_conditions(&mut self, step: &Step, events: &mut [Event], now: Duration) {
        let known = [&mut self.synced, &mut self.session_ready];
        let told = step.conditions().into_iter().zip(known).map(|(condition, known)| {
            let (_, since) = *known
                .insert(known.filter(|(status, _)| *status == condition.status).unwrap_or((condition.status, now)));
            TimedCondition {
                r#type: condition.r#type,
                status: condition.status.as_str(),
                reason: condition.reason,
                message: condition.message,
                standing_for: now.saturating_sub(since),
            }
        });
        let told: Vec<TimedCondition> = told.collect();
        for event in events {
            event.conditions.clone_from(&told);
        }
    }

    fn noted(&mut self, events: Vec<Event>, now: Duration) -> Vec<Event> {
        if !events.is_empty() {
            self.last_told = now;
        }
        events
    }

    fn drift_events(&mut self, step: &Step, now: Duration) -> Option<Event> {
        if !step.has_drifted() {
            if !step.is_a_write() {
                self.write_failed = None;
            }
            // What lies outside of the limits was judged all the same.
            let is_decided = !step.is_undecided() || step.reason == Some(Reason::OutsideLimits);
            let ended = self.drift.take().filter(|_| is_decided)?;
            let seen_for = now.saturating_sub(ended.since);
            let said =
                format!("is in sync again, {} after it drifted, without a write of this controller's", span(seen_for));
            let mut event = about(EventName::DriftEnded, step, &said);
            event.seen_for_seconds = Some(seen_for.as_secs_f64());
            event.drift = Some(ended.kind.as_str());
            return Some(event);
        }
        let kind = step.drift?;
        match &mut self.drift {
            None => {
                self.drift = Some(StandingDrift { kind, changes: step.changes.clone(), since: now });
                Some(about_drift(EventName::DriftDetected, step))
            }
            Some(standing) if standing.kind != kind || standing.changes != step.changes => {
                standing.kind = kind;
                standing.changes.clone_from(&step.changes);
                self.write_failed = None;
                Some(about_drift(EventName::DriftChanged, step))
            }
            Some(_) => None,
        }
    }

    /// What is new about the sessions of the role: told as a drift is. What was never known is not told to be unknown, and
    /// where the role was not read in full nothing is concluded.
    fn session_event(&mut self, step: &Step, session: Option<&Condition>) -> Option<Event> {
        let new = session.filter(|session| !matches!(session.cause, Cause::NotRead | Cause::NotYetRead))?;
        let before = self.session.take();
        let was_told = before.as_ref().is_some_and(|(_, told)| *told);
        // How many more facts there are beside the one that is told is no news.
        let of = |session: &Condition| (session.status, session.cause, session.fact.clone());
        let is_as_before = before.as_ref().is_some_and(|(known, _)| of(known) == of(new));
        let was_known = before.as_ref().is_some_and(|(known, _)| known.status != Status::Unknown);
        let is_as_asked = new.status == Status::True || new.cause == Cause::NotApplicable;
        let (name, what) = match new.status {
            _ if is_as_before || is_as_asked && !was_told => {
                self.session = Some((new.clone(), was_told));
                return None;
            }
            Status::True => (EventName::SessionReady, "lets sessions work again, for all that IAM tells".to_owned()),
            _ if is_as_asked => (EventName::SessionReady, format!("is as its manifest asks again: {}", new.message())),
            Status::Unknown if !was_known && !was_told => {
                self.session = Some((new.clone(), false));
                return None;
            }
            Status::Unknown => (
                EventName::SessionUnknown,
                format!("may not let sessions work as its manifest asks any more: {}", new.message()),
            ),
            Status::False => (
                EventName::SessionNotReady,
                format!("does not let sessions work as its manifest asks: {}", new.message()),
            ),
        };
        self.session = Some((new.clone(), !is_as_asked));
        Some(about_session(name, step, new, &what))
    }

    fn reminder(&self, step: &Step, now: Duration, nothing_new: bool) -> Option<Event> {
        if !nothing_new || now.saturating_sub(self.last_told) < REMINDER {
            return None;
        }
        if !self.stands() {
            let (session, _) =
                self.session.as_ref().filter(|(session, told)| *told && session.status == Status::False)?;
            let what = format!("still does not let sessions work as its manifest asks: {}", session.message());
            return Some(about_session(EventName::SessionStanding, step, session, &what));
        }
        // What keeps failing is not being repaired, whatever the verdict says.
        let step = &Step { reason: step.reason.or(self.write_failed), ..step.clone() };
        Some(match step.reason {
            Some(Reason::Suspended) => about(EventName::DriftStanding, step, "is still suspended"),
            Some(Reason::RoleNotFound) => {
                about(EventName::DriftStanding, step, "still does not exist, though a manifest names it")
            }
            _ if step.has_drifted() => about_drift(EventName::DriftStanding, step),
            Some(Reason::SuspendTag) => about(EventName::DriftStanding, step, "is still suspended by a tag"),
            _ => about(EventName::DriftStanding, step, "is still held"),
        })
    }
}
