//! What one account makes of its change events: which roles to look at now, how long to wait for the next resync, and what
//! to tell.
//!
//! Pure: the time is an argument, and the telling is left to the loop. What must stay true: nothing here says what is to be
//! done to a role, and events of our own calls wake nobody.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    exchange::{Listening, News},
    flow::{Flow, Silence, Turn},
    heard::{Change, Heard, Subject, What},
    own_calls::OwnCalls,
    wake_ups::{Due, WakeUp, WakeUps},
};
use crate::{
    iam::RequestId,
    names::{AccountId, PolicyName, RoleName},
    telemetry::{Event, EventName},
    text::span,
};

/// So long a change is remembered, for the alert about what it did.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// So long it is remembered what was told of who made changes.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// So many roles' changes are remembered, and so many that were told.
const MOST_REMEMBERED: usize = 2_000;

/// One account's ear.
#[derive(Debug)]
pub struct Hearing {
    account: AccountId,
    own_calls: OwnCalls,
    flow: Flow,
    wake_ups: WakeUps,
    /// What the last wake-up of each role was for.
    changes: BTreeMap<RoleName, (Instant, Vec<Change>)>,
    /// What was told of whom: the same event may come again.
    told: VecDeque<(Instant, RoleName, Change)>,
}

impl Hearing {
    /// An ear that has heard nothing.
    #[must_use]
    pub fn new(account: AccountId) -> Self {
        Self {
            account,
            own_calls: OwnCalls::default(),
            flow: Flow::default(),
            wake_ups: WakeUps::default(),
            changes: BTreeMap::new(),
            told: VecDeque::new(),
        }
    }

    /// Takes in `resyncIntervalWithEvents`.
    pub fn configure(&mut self, interval_with_events: Option<Duration>) {
        self.flow.configure(interval_with_events);
    }

    /// IAM answered a write of ours with this request id.
    pub fn wrote(&mut self, (role, policy): (&RoleName, &PolicyName), request_id: &RequestId, now: Instant) {
        self.own_calls.made(request_id.as_str(), now);
        self.flow.wrote(now);
        if let Some((_, changes)) = self.changes.get_mut(role) {
            // They are undone: a later drift is somebody else's.
            changes.retain(|change| !change.may_have_made(policy));
        }
    }

    /// Everything is to be read: a change was heard of that no look at a single role shows.
    pub fn ask_for_everything(&mut self) {
        self.wake_ups.lost_some();
    }

    /// Takes in what the exchange tells. `concerned` says which of the account's managed roles a change is about; what is
    /// about none of them wakes nobody.
    pub fn take(&mut self, news: News, concerned: impl FnOnce(&Subject) -> Vec<RoleName>, now: Instant) {
        match news {
            News::Heard(heard, age) => self.hear(&heard, age, concerned, now),
            News::Lost => self.wake_ups.lost_some(),
            News::Listening(Listening::Up) => self.flow.listening(true),
            News::Listening(Listening::Failed) => self.flow.listening(false),
            // That was the operator's wish, or is so only for a moment: nothing is to be told.
            News::Listening(Listening::Off) => self.flow.rest(),
        }
    }

    fn hear(&mut self, heard: &Heard, age: Duration, concerned: impl FnOnce(&Subject) -> Vec<RoleName>, now: Instant) {
        let is_own = heard.request_id.as_ref().is_some_and(|id| self.own_calls.is_own(id, now));
        let change = match &heard.what {
            What::Changed(change) => Some(change),
            What::Read => None,
        };
        self.flow.heard(is_own && change.is_some(), age, now);
        if let Some(change) = change.filter(|_| !is_own) {
            for role in concerned(&change.subject) {
                self.wake_ups.heard(role, change, now);
            }
        }
    }

    /// Takes out the wake-ups that are due, and remembers what they are for.
    pub fn due(&mut self, now: Instant) -> Due {
        let due = self.wake_ups.take(now);
        if !due.roles.is_empty() {
            self.changes.retain(|_, (then, _)| now.saturating_duration_since(*then) < REMEMBERED);
        }
        for wake_up in &due.roles {
            if self.changes.len() < MOST_REMEMBERED || self.changes.contains_key(&wake_up.role) {
                self.changes.insert(wake_up.role.clone(), (now, wake_up.changes.clone()));
            }
        }
        due
    }

    /// When something is due that nobody will report.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.wake_ups.next(now).into_iter().chain(self.flow.next()).min()
    }

    /// How long to wait between two readings, in place of `usual`.
    #[must_use]
    pub fn interval(&self, usual: Duration, now: Instant) -> Duration {
        self.flow.interval(usual, now)
    }

    /// The last change that was heard of lately and may have made a drift of this policy: for the alert, and for nothing
    /// else.
    #[must_use]
    pub fn suspected(&self, role: &RoleName, policy: &PolicyName, now: Instant) -> Option<&Change> {
        let (_, changes) =
            self.changes.get(role).filter(|(then, _)| now.saturating_duration_since(*then) < REMEMBERED)?;
        changes.iter().rfind(|change| change.may_have_made(policy))
    }

    /// What is to be told of whether events arrive, if that has turned. `usual` is the resync interval without them.
    pub fn turned(&mut self, usual: Duration, now: Instant) -> Option<Event> {
        let turn = self.flow.turn(now)?;
        let account = &self.account;
        let interval = span(self.flow.interval(usual, now));
        let event = match turn {
            Turn::Began => Event::new(
                EventName::EventsFlowing,
                format!("account {account}: change events arrive; everything is checked every {interval}"),
            ),
            Turn::Stopped(silence) => {
                let (reason, why, hint) = words(silence);
                let message = format!("account {account}: {why}; everything is checked every {interval}");
                let event = Event::new(EventName::EventsStopped, message);
                Event { reason: Some(reason), hint: Some(hint.to_owned()), ..event }
            }
        };
        Some(Event { account: Some(account.to_string()), ..event })
    }

    /// What is to be told of who woke a role: each change with what the event claims, once.
    pub fn claims(&mut self, wake_up: &WakeUp, now: Instant) -> Vec<Event> {
        let WakeUp { role, changes, further } = wake_up;
        while self.told.len() > MOST_REMEMBERED
            || self.told.front().is_some_and(|(then, ..)| now.saturating_duration_since(*then) >= TOLD_AGAIN_AFTER)
        {
            self.told.pop_front();
        }
        let is_news = |change: &&Change| !self.told.iter().any(|(_, whom, told)| whom == role && told == *change);
        let changes: Vec<&Change> = changes.iter().filter(is_news).collect();
        self.told.extend(changes.iter().map(|change| (now, role.clone(), (*change).clone())));
        let last = changes.len().saturating_sub(1);
        let told = changes.iter().enumerate().map(|(index, change)| {
            let of = match (&change.subject, &change.policy) {
                (Subject::ManagedPolicy(arn), _) => format!("of the managed policy {arn}, which it carries"),
                (Subject::Role(_), Some(policy)) => format!("of its policy `{policy}`"),
                (Subject::Role(_), None) => "of it".to_owned(),
            };
            let further =
                if *further > 0 && index == last { format!("; {further} changes more") } else { String::new() };
            let mut event = Event::new(
                EventName::ChangeClaimed,
                format!(
                    "role `{role}` in account {}: {} {of} is said to be made by {}{further}",
                    self.account, change.call, change.claimed
                ),
            );
            (event.account, event.role) = (Some(self.account.to_string()), Some(role.to_string()));
            event.policy.clone_from(&change.policy);
            change.mark(&mut event);
            event
        });
        told.collect()
    }
}

impl Change {
    /// Whether it may have made a drift of this inline policy.
    fn may_have_made(&self, policy: &PolicyName) -> bool {
        match &self.policy {
            Some(name) => name == policy.as_str(),
            // Of the calls that name no inline policy only these change one.
            None => matches!(self.call.as_str(), "CreateRole" | "DeleteRole"),
        }
    }

    /// Puts into an event what this change's event claims.
    pub fn mark(&self, event: &mut Event) {
        event.claimed_call = Some(self.call.clone());
        event.claimed_by.clone_from(&self.claimed.who);
        event.claimed_role.clone_from(&self.claimed.issuer);
        event.claimed_from.clone_from(&self.claimed.from);
        event.claimed_at = self.claimed.at.map(|at| format!("{at:.0}"));
    }
}

/// A silence as a stable word, as a sentence, and as the next step.
fn words(silence: Silence) -> (&'static str, String, &'static str) {
    match silence {
        Silence::QueueFailed => (
            "QueueFailed",
            "the queue of change events cannot be read".to_owned(),
            "see the event events.queue_failed",
        ),
        Silence::OwnWriteUnheard => (
            "OwnWriteUnheard",
            "a write of the controller's own was not heard of within 15 minutes, so change events are lost on their way".to_owned(),
            "see whether a trail logs management events, and whether the rule is enabled in the Region where IAM's events come (us-east-1 in the commercial partition); then look into the dead-letter queue",
        ),
        Silence::Nothing(length) => (
            "NothingHeard",
            format!("no change event came for {}: nothing was changed, or they do not arrive any more", span(length)),
            "deploy/events has an option by which the controller's own reading is an event: then silence means something",
        ),
    }
}

#[cfg(test)]
mod tests;
