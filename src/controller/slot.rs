//! What the loop remembers of one policy between readings.
//!
//! Pure: the time is an argument. What must stay true: a read that equals what a write of ours replaced raises no
//! second alert while the write may not have arrived everywhere, that it has only a fresh read can tell, and a write
//! whose answer was lost is known again as ours when it is seen.
//!
//! Source: IAM User Guide, "Changes that I make are not always immediately visible" (no figure is given; seconds
//! as a rule).

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{contention::Contention, report::REMINDER};
use crate::{
    backoff::Backoff,
    iam::{ErrorClass, IamError},
    inventory::{LiveDocument, Observed, Role},
    manifest::DesiredPolicy,
    plan::{Action, Reason, Step},
};

/// How long a write is given to become visible before a fresh read that shows what it replaced is believed.
const QUIET: Duration = Duration::from_secs(20);

/// How long a bulk reading of the old world is doubted: a fresh read is asked before anything is told.
const DOUBT: Duration = Duration::from_secs(320);

/// One policy: what is wanted, what was seen last, and what stands in the way.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) wanted: DesiredPolicy,
    /// The last verdict; none until the role was read.
    pub(super) step: Option<Step>,
    /// Whether a look or a repair is queued. One that is under way is known by its role.
    pub(super) is_queued: bool,
    /// Whether the guards have let the write pass, as part of the present plan. Without that there is only a look.
    pub(super) is_planned: bool,
    /// When to try again after a failure.
    pub(super) retry: Option<Retry>,
    /// Until when the next repair waits, since somebody else writes the policy too.
    pub(super) postponed: Option<Instant>,
    /// When to look again at what a change event has had looked at: reads may lag behind it.
    pub(super) look_again: Option<Instant>,
    /// The repairs that were undone.
    pub(super) contention: Contention,
    /// Whether nobody asks for it any more, as was told: only what is known of writes is kept, should somebody ask again.
    pub(super) is_released: bool,
    /// A write that may have taken effect although no answer came.
    attempt: Option<Attempt>,
    /// What readings may still show although it is so no more.
    old: Option<Old>,
    /// The document that the last verdict found in sync: documents are shared by their text.
    in_sync: Option<Arc<LiveDocument>>,
    /// The role of that verdict: the very value, as long as nothing about the role changes.
    role: Option<Arc<Role>>,
    /// When that was.
    judged_at: Option<Instant>,
}

/// What is left of a slot at rest: in sync by the last reading, and nothing is under way, waits, or is doubted.
#[derive(Debug)]
pub(super) struct AtRest {
    pub(super) wanted: DesiredPolicy,
    /// The verdict.
    pub(super) step: Step,
    /// The role that it was about.
    pub(super) role: Arc<Role>,
    /// When that was.
    pub(super) judged_at: Instant,
}

/// A repair that failed, and when it is due again.
#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    pub(super) due: Instant,
    pub(super) passes_by_itself: bool,
}

/// A write that was sent.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The verdict that it followed from.
    pub(super) step: Step,
    /// What it was to replace or remove.
    pub(super) before: Option<Arc<LiveDocument>>,
}

/// What was so before, and how long readings may still say that it is.
#[derive(Debug)]
struct Old {
    world: World,
    /// What was wanted then. It says nothing of a document that is wanted only since, but again where that one is wanted
    /// again.
    wanted: DesiredPolicy,
    quiet_until: Instant,
    doubted_until: Instant,
}

#[derive(Debug)]
enum World {
    /// The policy had this document, or was not there.
    Policy(Option<Arc<LiveDocument>>),
    /// The role existed.
    Role,
}

/// What a reading that departs from the manifests is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is news.
    News,
    /// It may be the old world still: a fresh read decides before anything is told.
    Doubtful,
    /// It is what our own write replaced, and nobody has seen the write yet: look again then.
    Stale(Instant),
}

/// Whether both lead to the same verdicts and the same write.
pub(super) fn asks_the_same(one: &DesiredPolicy, other: &DesiredPolicy) -> bool {
    one.asks_for_the_same(other)
        && (one.mode, one.suspended) == (other.mode, other.suspended)
        && (&one.conflict, &one.outside) == (&other.conflict, &other.outside)
        && one.successor == other.successor
        && one.manifest.settings.node_registration == other.manifest.settings.node_registration
}

impl Slot {
    pub(super) fn new(wanted: DesiredPolicy) -> Self {
        Self {
            wanted,
            step: None,
            is_queued: false,
            is_planned: false,
            retry: None,
            postponed: None,
            look_again: None,
            contention: Contention::default(),
            is_released: false,
            attempt: None,
            old: None,
            in_sync: None,
            role: None,
            judged_at: None,
        }
    }

    /// The slot that was at rest.
    pub(super) fn roused(AtRest { wanted, step, role, judged_at }: AtRest) -> Self {
        let in_sync = step.live.clone();
        Self { step: Some(step), in_sync, role: Some(role), judged_at: Some(judged_at), ..Self::new(wanted) }
    }

    /// What is left of it, where it is at rest.
    pub(super) fn at_rest(&self, now: Instant) -> Option<AtRest> {
        let Self { wanted, retry, postponed, look_again, attempt, .. } = self;
        let nothing_waits = retry.is_none() && postponed.is_none() && look_again.is_none() && attempt.is_none();
        let nothing_begins = !self.is_queued && !self.is_planned && wanted.successor.is_none();
        // Whatever was wanted then.
        let nothing_is_old = self.old.as_ref().is_none_or(|old| now >= old.doubted_until);
        if !(nothing_waits && nothing_begins && nothing_is_old && self.contention.is_over(now)) {
            return None;
        }
        let step = self.step.as_ref().filter(|step| step.is_in_sync())?;
        let (role, judged_at) = (self.role.as_ref()?, self.judged_at?);
        // The verdict of the last reading, and not of a look since.
        let is_shown = |live: &Arc<LiveDocument>| {
            let is = |other: Option<&Arc<LiveDocument>>| other.is_some_and(|other| Arc::ptr_eq(live, other));
            is(self.in_sync.as_ref()) && is(role.policies.get(&wanted.policy))
        };
        let is_of_role = step.target.role.as_str() == role.name.as_str();
        (is_of_role && step.live.as_ref().is_some_and(is_shown)).then(|| AtRest {
            wanted: wanted.clone(),
            step: step.clone(),
            role: Arc::clone(role),
            judged_at,
        })
    }

    /// The slot under newer manifests. Where they ask for the same, all that is remembered still holds; else only
    /// what is known of writes.
    pub(super) fn under(self, wanted: DesiredPolicy, same_circumstances: bool) -> Self {
        if same_circumstances && asks_the_same(&self.wanted, &wanted) {
            Self { wanted, is_planned: false, ..self }
        } else {
            // Writes that follow from edits are no fight.
            let same = self.wanted.asks_for_the_same(&wanted);
            let contention = if same { self.contention } else { Contention::default() };
            Self { attempt: self.attempt, old: self.old, contention, ..Self::new(wanted) }
        }
    }

    /// Whether nothing is to be decided as long as the role and this policy of it stay as they are: whatever else bears on
    /// the role makes no difference. Writes, and what stands in their way because of other policies, are judged by all that.
    pub(super) fn is_at_rest(&self) -> bool {
        let Some(step) = &self.step else { return false };
        step.is_in_sync()
            || matches!(
                step.reason,
                Some(
                    Reason::RoleNotFound
                        | Reason::Suspended
                        | Reason::KillSwitch
                        | Reason::Standby
                        | Reason::SuspendTag
                        | Reason::ObserveMode
                        | Reason::Conflict
                        | Reason::DeniesPresent
                        | Reason::ForeignPolicy
                        | Reason::ProtectedRole
                        | Reason::OwnRole
                        | Reason::OutsideLimits
                        | Reason::DocumentDiffers
                )
            )
    }

    /// When a repair that waits may begin.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.retry.as_ref().map(|retry| retry.due).or(self.postponed).is_some_and(|due| due <= now)
    }

    /// Whether a second look is due; it is asked for once.
    pub(super) fn is_to_be_looked_at(&mut self, now: Instant) -> bool {
        self.look_again.take_if(|at| *at <= now).is_some()
    }

    /// Whether a verdict on this would be the last one again: the same document, found in sync within a day. What stands
    /// of its sessions is told again after a day, and some of it may be over.
    pub(super) fn is_known_in_sync(&self, observed: &Observed, now: Instant) -> bool {
        let Observed::Found(role) = observed else { return false };
        if self.judged_at.is_none_or(|at| now.duration_since(at) >= REMINDER) {
            return false;
        }
        let live = role.policies.get(&self.wanted.policy);
        matches!((live, &self.in_sync), (Some(live), Some(before)) if Arc::ptr_eq(live, before))
            && self.role.as_ref().is_some_and(|before| Arc::ptr_eq(role, before))
    }

    /// Remembers the role that the last verdict was about.
    pub(super) fn judged_of(&mut self, observed: Option<&Observed>, now: Instant) {
        self.judged_at = Some(now);
        self.role = match observed {
            Some(Observed::Found(role)) => Some(Arc::clone(role)),
            _ => None,
        };
    }

    /// Whether the repair waits for a person, or for a fight to calm down: it has no part in the present plan.
    pub(super) fn waits(&self, step: &Step, now: Instant) -> bool {
        self.retry.as_ref().is_some_and(|retry| !retry.passes_by_itself && retry.due > now)
            || self.contention.holds(step.drift, now).is_some()
    }

    /// A fresh read has proved what a bulk reading showed: from now on it is news.
    pub(super) fn proved(&mut self) {
        self.old = None;
    }

    /// Whether a write of ours, or what a fresh read said against a reading, is so recent that readings are doubted.
    pub(super) fn is_doubted(&self, now: Instant) -> bool {
        self.old(now).is_some()
    }

    /// Whether a write of ours is so recent that fresh reads may not show it yet.
    pub(super) fn is_settling(&self, now: Instant) -> bool {
        self.old(now).is_some_and(|old| now < old.quiet_until)
    }

    fn old(&self, now: Instant) -> Option<&Old> {
        self.old.as_ref().filter(|old| now < old.doubted_until && old.wanted.asks_for_the_same(&self.wanted))
    }

    /// A fresh read has shown what is wanted: our last write is visible to fresh reads, and the next one can tell. A bulk
    /// reading shows no such thing: it may be from before the tampering.
    pub(super) fn seen_afresh(&mut self, now: Instant) {
        if let Some(old) = &mut self.old {
            old.quiet_until = now;
        }
    }

    /// Takes in a verdict that was told, or needed no telling.
    pub(super) fn judged(&mut self, mut step: Step, now: Instant) {
        if step.is_in_sync() || step.has_drifted() {
            self.contention.seen(step.is_in_sync(), now);
        }
        let waits = step.reason == Some(Reason::Contended);
        self.postponed = self.contention.holds(step.drift, now).filter(|_| waits);
        self.in_sync = step.live.clone().filter(|_| step.is_in_sync());
        if let (Some(_), Some(failed)) = (&self.retry, &self.step) {
            // Why the repair waits stays known until it succeeds.
            (step.reason, step.detail) = (failed.reason, failed.detail.clone());
        }
        self.step = Some(step);
    }

    /// Our own write replaced `before`. What is queued since is a look: the plan's leave is used up by its write.
    pub(super) fn wrote(&mut self, before: Option<Arc<LiveDocument>>, now: Instant) {
        self.is_planned = false;
        self.retry = None;
        self.postponed = None;
        self.contention.repaired(now);
        self.attempt = None;
        self.in_sync = None;
        self.remember(World::Policy(before), now + QUIET, now);
    }

    /// A fresh read says that what the bulk reading told is not so.
    pub(super) fn contradicted(&mut self, bulk_said: Option<Arc<LiveDocument>>, now: Instant) {
        self.remember(World::Policy(bulk_said), now, now);
    }

    /// A write says that the role is gone, whatever readings still tell.
    pub(super) fn gone(&mut self, now: Instant) {
        self.remember(World::Role, now, now);
    }

    fn remember(&mut self, world: World, quiet_until: Instant, now: Instant) {
        self.old = Some(Old { world, wanted: self.wanted.clone(), quiet_until, doubted_until: now + DOUBT });
    }

    /// What a verdict is worth that comes from a bulk reading.
    pub(super) fn worth(&self, step: &Step, now: Instant) -> Worth {
        let Some(old) = self.old(now).filter(|_| step.has_drifted() || step.is_a_write()) else {
            return Worth::News;
        };
        match &old.world {
            // A repair that relies on it would take a fresh read at its word that may not show our write yet: look first.
            World::Policy(document) if *document != step.live && self.is_settling(now) => Worth::Doubtful,
            World::Policy(document) if *document != step.live => Worth::News,
            _ if now < old.quiet_until => Worth::Stale(old.quiet_until),
            _ => Worth::Doubtful,
        }
    }

    /// Until when a fresh read that shows this is not believed: it is what our own write has just replaced.
    pub(super) fn stale_until(&self, step: &Step, now: Instant) -> Option<Instant> {
        match self.worth(step, now) {
            Worth::Stale(until) => Some(until),
            Worth::News | Worth::Doubtful => None,
        }
    }

    /// A write failed, or the read before it: when to try again. `random` seeds the jitter.
    pub(super) fn failed(&mut self, error: &IamError, random: u64, now: Instant) -> u32 {
        let passes_by_itself = error.class.passes_by_itself();
        let same_kind = |retry: &Retry| retry.passes_by_itself == passes_by_itself;
        let mut retry = self.retry.take().filter(same_kind).unwrap_or_else(|| Retry {
            // What needs a person is not worth a call a second.
            backoff: if passes_by_itself { Backoff::new(random) } else { Backoff::slow(random) },
            due: now,
            passes_by_itself,
        });
        retry.due = now + retry.backoff.next();
        let failures = retry.backoff.failures();
        self.retry = Some(retry);
        if let Some(step) = &mut self.step {
            step.reason = Some(Reason::Failed(error.class));
            step.detail = Some(error.to_string());
        }
        failures
    }

    /// Remembers a write for which no answer came. A refusal is certain, and nothing to remember.
    pub(super) fn unanswered(&mut self, error: &IamError, step: Step, before: Option<Arc<LiveDocument>>) {
        if error.class == ErrorClass::Transient {
            self.attempt = Some(Attempt { step, before });
        }
    }

    /// The unanswered write, if this verdict shows that it took effect.
    pub(super) fn landed(&mut self, step: &Step) -> Option<Attempt> {
        let shows = |attempt: &Attempt| match (&attempt.step.document, &step.live) {
            (Some(document), Some(live)) => live.parsed().is_ok_and(|live| document.document() == live),
            (None, None) => attempt.step.action == Action::Delete && step.is_in_sync(),
            _ => false,
        };
        self.attempt.take_if(|attempt| shows(attempt))
    }
}
