//! A plan that a person has approved by its digest.
//!
//! Pure. What must stay true: an approval admits the writes of that very plan, each once, and nothing else.

use std::{collections::BTreeMap, sync::Arc};

use super::repair::{Leave, USED_UP};
use crate::{
    inventory::LiveDocument,
    manifest::PolicyKey,
    plan::{Digest, Reason, Step},
};

/// Whether writes need approval, and which have it.
#[derive(Debug)]
pub(super) enum Approval {
    /// They need none: the guards decide.
    NotAsked,
    /// They need that of the plan of this digest, which is still to be made.
    Awaited(Digest),
    /// These have it, each in place of the document that the plan saw.
    Given(BTreeMap<PolicyKey, Option<Arc<LiveDocument>>>),
    /// The plan was another one.
    Void,
    /// Another process has carried it out.
    UsedUp,
}

impl Approval {
    pub(super) fn asked_for(digest: Option<Digest>) -> Self {
        digest.map_or(Self::NotAsked, Self::Awaited)
    }

    /// Whether the plan was not the one that was approved. Where readings succeed and there was none, nothing was asked for.
    pub(super) fn is_void(&self, readings_succeed: bool) -> bool {
        matches!(self, Self::Void | Self::UsedUp) || readings_succeed && matches!(self, Self::Awaited(_))
    }

    /// Takes in a plan: the first one is held against the digest. What was not approved becomes blocked.
    pub(super) fn take_plan<'a>(
        &mut self,
        plan: impl Iterator<Item = (&'a PolicyKey, &'a mut Step)>,
        digest: Option<&Digest>,
    ) {
        let mut writes: Vec<_> = plan.filter(|(_, step)| step.is_a_write()).collect();
        if let Self::Awaited(approved) = self {
            *self = if Some(&*approved) == digest {
                Self::Given(writes.iter().map(|(key, step)| ((*key).clone(), step.live.clone())).collect())
            } else {
                Self::Void
            };
        }
        for (key, step) in &mut writes {
            if let Leave::Held(reason, detail) = self.leave(key) {
                **step = step.clone().held_by(reason, detail);
            }
        }
    }

    /// Whether this policy may be written.
    pub(super) fn leave(&self, key: &PolicyKey) -> Leave {
        match self {
            Self::NotAsked => Leave::Write,
            Self::Given(plan) => match plan.get(key) {
                Some(before) => Leave::WriteInPlaceOf(before.clone()),
                None => Leave::Held(Reason::ApprovalVoid, None),
            },
            Self::UsedUp => Leave::Held(Reason::ApprovalVoid, Some(USED_UP.to_owned())),
            Self::Awaited(_) | Self::Void => Leave::Held(Reason::ApprovalVoid, None),
        }
    }

    /// The write was made: the approval of it is used up.
    pub(super) fn use_up(&mut self, key: &PolicyKey) {
        if let Self::Given(plan) = self {
            plan.remove(key);
        }
    }
}
