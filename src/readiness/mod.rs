//! Would a session work? What IAM tells of a role, held against what a session with its manifest's settings asks for.
//!
//! ```text
//!  settings, platform ─▶ needs ─┐
//!                               ├─▶ checks ─▶ verdict ─▶ condition `SessionReady`
//!  role, its policies ─▶ evaluate ┘              └─▶ advice (what is granted beyond need)
//! ```
//!
//! Pure: knows manifests, the inventory and `policy::evaluate`; no clients, no clock (time is an argument). What must stay true: a verdict is
//! never a guess. `Ready` says that IAM's own rules allow everything that was asked, `NotReady` names what surely stands
//! in the way, and everything else is one of the other verdicts. What IAM cannot show ([`NOT_CHECKED`]) may still stand
//! in the way.
//!
//! Sources: Systems Manager User Guide, "Step 2: Verify or add instance permissions for Session Manager",
//! "Troubleshooting Session Manager", "Default Host Management Configuration"; IAM User Guide, "Using instance profiles".

mod advice;
mod cause;
mod checks;
mod remedy;
#[cfg(test)]
mod tests;
mod words;

use jiff::Timestamp;
use serde::Serialize;

#[cfg(test)]
pub(crate) use self::cause::tests::table;
pub use self::{advice::advise, cause::Cause, checks::Check, remedy::Remedy, words::Asked};
use crate::{
    inventory::{Role, Surroundings},
    manifest::{DesiredPolicy, Platform},
    names::AccountId,
};

/// What may stand in the way of a session and cannot be seen in IAM.
pub const NOT_CHECKED: &[&str] = &[
    "service and resource control policies of the organization",
    "the policies of the keys and buckets themselves",
    "VPC endpoints, their policies, and the network",
    "whether the agent runs, and its version",
    "whether Default Host Management Configuration is on",
];

/// Whose readiness is asked for: a role, as one manifest means it to be used.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The account of the role.
    pub account: &'a AccountId,
    /// The role as it was read.
    pub role: &'a Role,
    /// What is wanted of it.
    pub wanted: &'a DesiredPolicy,
    /// When it is asked: some statements are about moments.
    pub now: Timestamp,
}

/// What came of all checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The answer.
    pub verdict: Verdict,
    /// Every check, in the order in which a session would meet them.
    pub checks: Vec<Check>,
}

/// Whether a session would work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Nothing that IAM tells stands in the way.
    Ready,
    /// Something surely stands in the way.
    NotReady,
    /// It depends on what of the node's requests is not known.
    Conditional,
    /// Something that could decide it could not be read, or is not IAM's to tell.
    Unknown,
    /// The node works with other credentials than the role's.
    NotApplicable,
}

/// How far a check is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Standing {
    /// It is.
    Met,
    /// It surely is not.
    Missing,
    /// It depends on what of a request is not known.
    Conditional,
    /// Nobody can say.
    Unknown,
}

/// The status of a [`Condition`], as in Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody can say.
    Unknown,
}

/// The condition `SessionReady` of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether a session would work.
    pub status: Status,
    /// Why, in a word.
    pub cause: Cause,
    /// Why, in a sentence: the first of the facts that decide.
    pub fact: String,
    /// How many more there are of them.
    pub others: usize,
}

impl Condition {
    /// Why, in a sentence that counts the other facts too.
    #[must_use]
    pub fn message(&self) -> String {
        match self.others {
            0 => self.fact.clone(),
            others => format!("{}; and {others} more", self.fact),
        }
    }
}

/// Looks into everything that a session asks of the role.
#[must_use]
pub fn assess(subject: Subject<'_>) -> Readiness {
    let checks = checks::all(subject);
    let has = |standing| checks.iter().any(|check| check.standing == standing);
    let verdict = if has(Standing::Missing) {
        Verdict::NotReady
    } else if has(Standing::Unknown) {
        Verdict::Unknown
    } else if has(Standing::Conditional) {
        Verdict::Conditional
    } else if checks.iter().any(|check| check.cause == Cause::NotApplicable) {
        Verdict::NotApplicable
    } else {
        Verdict::Ready
    };
    Readiness { verdict, checks }
}

/// Whether the role's trust policy admits the service that assumes roles for nodes of this platform.
#[must_use]
pub fn admits(account: &AccountId, around: &Surroundings, platform: Platform) -> Check {
    checks::trust(account, around, platform)
}

/// Whether the role would still surely let its node register.
#[must_use]
pub fn registers(subject: Subject<'_>) -> bool {
    checks::registers(subject)
}

impl Readiness {
    /// The condition that this amounts to.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let (status, standing) = match self.verdict {
            Verdict::Ready => {
                let fact = "nothing that IAM tells stands in the way of a session".to_owned();
                return Condition { status: Status::True, cause: Cause::Ready, fact, others: 0 };
            }
            Verdict::NotApplicable => (Status::Unknown, Standing::Met),
            Verdict::NotReady => (Status::False, Standing::Missing),
            Verdict::Conditional => (Status::Unknown, Standing::Conditional),
            Verdict::Unknown => (Status::Unknown, Standing::Unknown),
        };
        let mut decisive = self.checks.iter().filter(|check| check.standing == standing);
        let first = decisive.next();
        Condition {
            status,
            cause: first.map_or(Cause::Ready, |check| check.cause),
            fact: first.map(Check::sentence).unwrap_or_default(),
            others: decisive.count(),
        }
    }

    /// What a role's sessions lose by a write that leaves them with this, in words; none where it does no harm. It does where
    /// a session would work before, and for all that IAM tells would not after it.
    #[must_use]
    pub fn losses_against(&self, before: &Self) -> Option<String> {
        if before.verdict != Verdict::Ready || self.verdict == Verdict::Ready {
            return None;
        }
        let lost = self.checks.iter().zip(&before.checks);
        let lost: Vec<String> = lost
            .filter(|(then, now)| now.standing == Standing::Met && then.standing != Standing::Met)
            .map(|(then, _)| then.subject_in_words())
            .collect();
        Some(lost.join(", "))
    }
}

impl Status {
    /// As Kubernetes writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
