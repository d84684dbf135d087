//! The two conditions of a role, in Kubernetes' form: `Synced` (is the policy as its manifest wants it?) and
//! `SessionReady` (would a session work?).
//!
//! Pure. What must stay true: `Unknown` is said wherever nothing was found out, and never in place of a drift that was.
//!
//! Source: Kubernetes API conventions, "Typical status properties".

use serde::Serialize;

use super::{Action, Reason, Step};
use crate::{
    manifest::State,
    policy::compare::Drift,
    readiness::{Condition, Status},
};

const SESSION_READY: &str = "SessionReady";
const AS_ASKED: &str = "the policy is as the manifest asks for";

/// One condition of a role, as of one verdict. When it last changed, a single verdict cannot tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleCondition {
    /// `Synced` or `SessionReady`.
    pub r#type: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// Why, in one CamelCase word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

impl RoleCondition {
    /// `SessionReady`, where it was looked into.
    #[must_use]
    pub fn session_ready(session: &Condition) -> Self {
        Self {
            r#type: SESSION_READY,
            status: session.status,
            reason: session.cause.as_str(),
            message: session.message(),
        }
    }
}

impl Step {
    /// Both conditions of the role, `Synced` first.
    #[must_use]
    pub fn conditions(&self) -> [RoleCondition; 2] {
        [self.synced(), self.session_ready()]
    }

    fn synced(&self) -> RoleCondition {
        let because = |reason: Reason| match &self.detail {
            Some(detail) => format!("{}: {detail}", reason.explanation()),
            None => reason.explanation().to_owned(),
        };
        let (status, reason, message) = match (self.drift, self.reason) {
            (Some(Drift::Cosmetic), None) => {
                (Status::True, "InSync", "the policy means what the manifest asks for, in other words".to_owned())
            }
            (None, None) if self.action == Action::None => (Status::True, "InSync", AS_ASKED.to_owned()),
            (Some(drift), reason) if drift != Drift::Cosmetic => {
                let why = reason.map(|reason| format!("; {reason}: {}", because(reason))).unwrap_or_default();
                (Status::False, named(drift), format!("{}{why}", drift_in_words(drift)))
            }
            (_, None) => (Status::False, "ToBeRemoved", "the policy has another name now".to_owned()),
            (
                _,
                Some(reason @ (Reason::AwaitsSuccessor | Reason::ObserveMode | Reason::KillSwitch | Reason::Standby)),
            ) => (Status::False, reason.as_str(), because(reason)),
            (_, Some(Reason::SuspendTag)) if self.action == Action::None => {
                (Status::True, "InSync", format!("{AS_ASKED}; {}", because(Reason::SuspendTag)))
            }
            (_, Some(reason)) => (Status::Unknown, reason.as_str(), because(reason)),
        };
        RoleCondition { r#type: "Synced", status, reason, message }
    }

    fn session_ready(&self) -> RoleCondition {
        let unknown = |reason: &'static str, message: &str| (Status::Unknown, reason, message.to_owned());
        let (status, reason, message) = match (&self.session, self.reason) {
            (Some(session), _) => return RoleCondition::session_ready(session),
            (None, _) if self.state == State::Absent => unknown("NotAsked", "the manifest wants the policy to be gone"),
            (None, Some(reason)) => unknown(reason.as_str(), reason.explanation()),
            (None, None) => unknown("NotJudged", "nothing was found out"),
        };
        RoleCondition { r#type: SESSION_READY, status, reason, message }
    }
}

fn named(drift: Drift) -> &'static str {
    match drift {
        Drift::Missing => "Missing",
        Drift::Narrowed => "Narrowed",
        Drift::Widened => "Widened",
        Drift::Altered => "Altered",
        Drift::Cosmetic => "InSync",
    }
}

fn drift_in_words(drift: Drift) -> &'static str {
    match drift {
        Drift::Missing => "the policy is missing",
        Drift::Narrowed => "the policy grants less than the manifest asks for",
        Drift::Widened => "the policy grants more than the manifest asks for",
        Drift::Altered => "the policy grants something else than the manifest asks for",
        Drift::Cosmetic => AS_ASKED,
    }
}
