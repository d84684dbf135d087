//! The verdict on one policy, and many of them in numbers.
//!
//! Pure. What must stay true: a step that writes says what it writes, and whoever holds it back takes that away.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::Reason;
use crate::{
    inventory::LiveDocument,
    manifest::{Mode, Origin, State},
    names::{AccountId, PolicyName, RoleName},
    policy::{
        compare::{Change, Drift},
        session_manager::SessionManagerDocument,
    },
    readiness::{Cause, Condition, Status},
};

/// Which policy of which role of which account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The account, where it is known.
    pub account: Option<AccountId>,
    /// The role, spelled as IAM spells it once it was read.
    pub role: RoleName,
    /// The inline policy.
    pub policy: PolicyName,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Writes the desired document.
    Put,
    /// Removes the policy.
    Delete,
    /// Leaves the policy as it is.
    None,
    /// A step that must not be taken; its reason says why.
    Blocked,
}

impl Action {
    /// The word for it, as in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::None => "none",
            Self::Blocked => "blocked",
        }
    }
}

/// The verdict on one policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What it is about.
    pub target: Target,
    /// Whether the policy shall be there.
    pub state: State,
    /// Whether drift is repaired or only told.
    pub mode: Mode,
    /// What is to be done.
    pub action: Action,
    /// How the live policy departs from the desired one; `None` where it does not, or where nothing is known.
    pub drift: Option<Drift>,
    /// Why the action is what it is, where that is not plain.
    pub reason: Option<Reason>,
    /// The particulars of the reason: what IAM said, or which other manifest.
    pub detail: Option<String>,
    /// What the live policy has and should not, or should have and has not.
    pub changes: Vec<Change>,
    /// The `metadata.name` of the manifest that asks for it.
    pub manifest: String,
    /// How the role came to be among those of the manifest.
    pub origin: Origin,
    /// The live document that was judged.
    pub live: Option<Arc<LiveDocument>>,
    /// The document that the step writes, where it writes one.
    pub document: Option<Arc<SessionManagerDocument>>,
    /// The condition `SessionReady` of the role, as this policy's manifest means it to be used; none where the role was
    /// not judged, or its policy is to be gone.
    pub session: Option<Condition>,
    /// What the write makes of that condition, where the step is one.
    pub session_after: Option<Condition>,
}

impl Step {
    /// The same verdict about another role.
    #[must_use]
    pub fn about(&self, role: &RoleName) -> Self {
        let mut step = self.clone();
        step.target.role = role.clone();
        step
    }

    /// The verdict once the step was carried out: in sync.
    #[must_use]
    pub fn after_write(self) -> Self {
        Self {
            action: Action::None,
            drift: None,
            reason: None,
            detail: None,
            changes: Vec::new(),
            document: None,
            // What was not known yet when it was judged says nothing of the role by now.
            session: self.session_after.filter(|session| session.cause != Cause::NotYetRead),
            session_after: None,
            ..self
        }
    }

    /// The same verdict, held back for this reason.
    #[must_use]
    pub fn held_by(self, reason: Reason, detail: Option<String>) -> Self {
        Self { action: Action::Blocked, reason: Some(reason), detail, document: None, ..self }
    }

    /// Whether the step changes the account.
    #[must_use]
    pub fn is_a_write(&self) -> bool {
        matches!(self.action, Action::Put | Action::Delete)
    }

    /// Whether it removes a policy whose manifest has changed its `policyName`.
    #[must_use]
    pub fn is_about_a_former_name(&self) -> bool {
        self.action == Action::Delete && self.drift.is_none()
    }

    /// Whether the role is as the manifests want it: nothing to tell, nothing to do.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        matches!(self.drift, None | Some(Drift::Cosmetic)) && self.action == Action::None && self.reason.is_none()
    }

    /// Whether the live policy departs in meaning from the desired one.
    #[must_use]
    pub fn has_drifted(&self) -> bool {
        self.drift.is_some_and(|drift| drift != Drift::Cosmetic)
    }

    /// Whether nobody can say if the role is right: it is not there, was not read, or is asked for differing things.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.action == Action::Blocked && self.drift.is_none()
    }

    /// Whether a session that the manifest means to be possible surely would be.
    #[must_use]
    pub fn is_session_ready(&self) -> bool {
        let is_ready = |session: &Condition| session.status == Status::True || session.cause == Cause::NotApplicable;
        self.state == State::Absent || self.is_suspended() || self.session.as_ref().is_some_and(is_ready)
    }

    /// The next step for a person, where sessions would not surely work.
    #[must_use]
    pub fn hint_to_explain(&self) -> String {
        format!("`explain {}` shows every check, and what would mend it", self.target.role)
    }

    /// Whether the manifest, a tag or the kill switch has the role left alone for now: it counts neither way.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        matches!(self.reason, Some(Reason::Suspended | Reason::KillSwitch | Reason::SuspendTag))
    }
}

/// How many steps there are of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Policies that are not there.
    pub missing: usize,
    /// Policies that grant less than they should.
    pub narrowed: usize,
    /// Policies that grant more than they should.
    pub widened: usize,
    /// Policies that do both, or cannot be read.
    pub altered: usize,
    /// Policies that mean the same in other words: in sync.
    pub cosmetic: usize,
    /// Policies that are just as they should be.
    pub in_sync: usize,
    /// Steps that must not be taken.
    pub blocked: usize,
    /// Roles that could not be read.
    pub unknown: usize,
    /// Roles with which a session would work, for all that IAM tells.
    pub ready: usize,
    /// Roles with which a session would not work.
    pub not_ready: usize,
    /// Roles of which nobody can say whether a session would work.
    pub readiness_unknown: usize,
}

impl Summary {
    /// Counts the steps. Suspended ones count nowhere; a drifted policy that is blocked counts under both.
    #[must_use]
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Self {
        let steps: Vec<&Step> = steps.into_iter().collect();
        let mut by_drift: BTreeMap<Drift, usize> = BTreeMap::new();
        let counted = || steps.iter().filter(|step| !step.is_suspended());
        for drift in counted().filter_map(|step| step.drift) {
            *by_drift.entry(drift).or_default() += 1;
        }
        let sessions = |status| {
            let judged = counted().filter_map(|step| step.session.as_ref());
            judged.filter(|session| session.status == status && session.cause != Cause::NotApplicable).count()
        };
        let of = |drift| by_drift.get(&drift).copied().unwrap_or_default();
        Self {
            missing: of(Drift::Missing),
            narrowed: of(Drift::Narrowed),
            widened: of(Drift::Widened),
            altered: of(Drift::Altered),
            cosmetic: of(Drift::Cosmetic),
            in_sync: counted().filter(|step| step.is_in_sync() && step.drift.is_none()).count(),
            blocked: counted().filter(|step| step.action == Action::Blocked).count(),
            unknown: counted().filter(|step| step.reason == Some(Reason::Unknown)).count(),
            ready: sessions(Status::True),
            not_ready: sessions(Status::False),
            readiness_unknown: sessions(Status::Unknown),
        }
    }
}
