//! The document of `/status`.
//!
//! Pure: the time is an argument. What must stay true: `docs/status.schema.json` describes exactly this, and what is
//! released under a version keeps its meaning.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Counts, Detail};
use crate::{
    iam::Calls,
    plan::{RoleCondition, Step},
    policy::compare::{Change, Direction},
};

/// So many differences of a policy are listed: a hostile document may have thousands.
const MOST_CHANGES: usize = 50;

/// The version of the document.
pub(super) const VERSION: u32 = 1;

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The version of this document.
    pub version: u32,
    /// When it was made.
    pub taken_at: String,
    /// The process itself.
    pub controller: ControllerStatus,
    /// What is in force, and what is wrong.
    pub manifests: ManifestsStatus,
    /// Every account that is looked after, by its id.
    pub accounts: Vec<AccountStatus>,
}

/// The process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerStatus {
    /// The program's version.
    pub version: String,
    /// When the process started.
    pub started_at: String,
    /// Which share of the accounts it keeps, where not all of them.
    pub shard: Option<String>,
    /// Whether nothing is written whatever the manifests say.
    pub observe_only: bool,
    /// Whether the kill switch is on.
    pub suspended: bool,
    /// Whether this process is the one that may write, of several.
    pub is_leader: bool,
}

/// The manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestsStatus {
    /// How many are in force.
    pub in_force: usize,
    /// When what is in force last changed.
    pub changed_at: Option<String>,
    /// How many faults stand; no more than a thousand of them are listed.
    pub fault_count: usize,
    /// What is wrong, told before or not.
    pub faults: Vec<FaultStatus>,
}

/// A fault of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultStatus {
    /// The file.
    pub file: String,
    /// The line, from 1 on.
    pub line: usize,
    /// The column, from 1 on.
    pub column: usize,
    /// The key's path; empty where it is about the whole file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
    /// Whether the last version of the file that had no fault stays in force.
    pub last_good_in_force: bool,
}

/// Whether an account is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountState {
    /// It is, and its last reading did not fail.
    Kept,
    /// Nobody has said yet whose the credentials are.
    Entering,
    /// It cannot be entered.
    NotEntered,
    /// It is, but its last reading failed.
    ReadFailed,
    /// Its loop does not answer.
    Silent,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// Its id: twelve digits.
    pub account: String,
    /// Whether it is looked after.
    pub state: AccountState,
    /// Why it is not.
    pub message: Option<String>,
    /// The next step, where it is not.
    pub hint: Option<String>,
    /// Whether the settings suspend it.
    pub suspended: bool,
    /// When the last reading came that told of all its roles.
    pub last_complete_pass_at: Option<String>,
    /// The plan that is held by the guards.
    pub held: Option<HeldStatus>,
    /// Every managed policy of it.
    pub roles: Vec<RoleStatus>,
}

/// A plan that is beyond the guards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldStatus {
    /// What `apply --approve` asks for.
    pub digest: String,
    /// Which guard it goes beyond, in words.
    pub excess: String,
    /// The next step.
    pub hint: String,
}

/// One managed policy of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleStatus {
    /// The role.
    pub role: String,
    /// The inline policy.
    pub policy: String,
    /// The `metadata.name` of the manifest that asks for it.
    pub manifest: String,
    /// What has picked the role, where the manifest does not name it.
    pub selector: Option<String>,
    /// `present` or `absent`: what the manifest wants.
    pub state: String,
    /// `enforce` or `observe`.
    pub mode: String,
    /// `put`, `delete`, `none` or `blocked`.
    pub action: String,
    /// How the live policy departs.
    pub drift: Option<String>,
    /// Why the action is what it is, as a stable word.
    pub reason: Option<String>,
    /// The same in words.
    pub message: Option<String>,
    /// The particulars.
    pub detail: Option<String>,
    /// The next step.
    pub hint: Option<String>,
    /// In what the live policy departs.
    pub diff: Vec<DiffLine>,
    /// `Synced` and `SessionReady`.
    pub conditions: Vec<ConditionStatus>,
}

/// One thing that a live policy has and should not, or should have and has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffLine {
    /// `lost` or `gained`.
    pub change: String,
    /// What, in words.
    pub text: String,
}

/// A condition, in Kubernetes' form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionStatus {
    /// `Synced` or `SessionReady`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Since when, as far as this process has seen.
    pub last_transition_time: String,
}

/// What an account's loop answers.
#[derive(Debug, Clone)]
pub struct AccountReport {
    /// As the document has it; the roles only where they were asked for.
    pub status: AccountStatus,
    /// The same in numbers.
    pub(crate) counts: Counts,
    /// The calls that were made so far.
    pub(crate) calls: Calls,
    /// When the last complete reading came, in seconds since 1970.
    pub(crate) last_complete_pass: Option<Timestamp>,
    /// How long from one reading to the next, at present; none while the account is not entered.
    pub(crate) resync_interval: Option<Duration>,
    /// Whether a reading has ended, well or not.
    pub(crate) was_tried: bool,
    /// Whether one has ended well.
    pub(crate) was_read: bool,
}

impl AccountReport {
    /// Of an account that is kept and has no roles.
    #[cfg(test)]
    pub(crate) fn of_nothing(account: &str) -> Self {
        let nobody = (String::new(), None);
        Self::unread(account.to_owned(), AccountState::Kept, nobody, &[], Detail::Counts, Timestamp::UNIX_EPOCH)
    }

    /// Of an account whose loop cannot be asked: nobody knows how these policies stand, since `since`.
    pub(crate) fn unread(
        account: String,
        state: AccountState,
        (message, hint): (String, Option<String>),
        steps: &[Step],
        detail: Detail,
        since: Timestamp,
    ) -> Self {
        let was_tried = state == AccountState::NotEntered;
        let mut counts = Counts::default();
        steps.iter().for_each(|step| counts.add(Some(step), step.mode));
        let roles = match detail {
            Detail::Counts => Vec::new(),
            Detail::Roles => steps.iter().map(|step| RoleStatus::of(step, [since; 2])).collect(),
        };
        let status = AccountStatus {
            account,
            state,
            message: Some(message),
            hint,
            suspended: false,
            last_complete_pass_at: None,
            held: None,
            roles,
        };
        Self {
            status,
            counts,
            calls: Calls::default(),
            last_complete_pass: None,
            resync_interval: None,
            was_tried,
            was_read: false,
        }
    }
}

impl RoleStatus {
    /// The last verdict on a policy, and since when its two conditions stand.
    #[must_use]
    pub fn of(step: &Step, since: [Timestamp; 2]) -> Self {
        let changes = if step.has_drifted() { &step.changes[..] } else { &[] };
        let mut diff: Vec<DiffLine> = changes.iter().take(MOST_CHANGES).map(line).collect();
        if let Some(left_out) = changes.len().checked_sub(MOST_CHANGES).filter(|left_out| *left_out > 0) {
            // The last that is listed says in which way the rest may go; `plan` shows all of it.
            let change = diff.last().map_or_else(String::new, |line| line.change.clone());
            diff.push(DiffLine {
                change, text: format!("… and {left_out} more: `plan --role {}`", step.target.role)
            });
        }
        Self {
            role: step.target.role.to_string(),
            policy: step.target.policy.to_string(),
            manifest: step.manifest.clone(),
            selector: step.origin.selector().map(ToString::to_string),
            state: step.state.as_str().to_owned(),
            mode: step.mode.as_str().to_owned(),
            action: step.action.as_str().to_owned(),
            drift: step.drift.map(|drift| drift.as_str().to_owned()),
            reason: step.reason.map(|reason| reason.as_str().to_owned()),
            message: step.reason.map(|reason| reason.explanation().to_owned()),
            detail: step.detail.clone(),
            hint: step
                .reason
                .map(|reason| reason.hint().to_owned())
                .or_else(|| (!step.is_session_ready()).then(|| step.hint_to_explain())),
            diff,
            conditions: step.conditions().into_iter().zip(since).map(condition).collect(),
        }
    }

    /// Whether a person should look: something is wrong, or nobody can say, and it is not left alone on purpose.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        let is_left_alone = matches!(self.reason.as_deref(), Some("Suspended" | "SuspendTag"));
        let is_asked_for = |condition: &&ConditionStatus| condition.reason != "NotApplicable";
        let is_false = self.conditions.iter().filter(is_asked_for).any(|condition| condition.status == "False");
        !is_left_alone && (is_false || self.action == "blocked")
    }

    /// Whether the live policy departs in meaning.
    #[must_use]
    pub fn has_drifted(&self) -> bool {
        self.drift.as_deref().is_some_and(|drift| drift != "cosmetic")
    }

    /// The status of one condition.
    #[must_use]
    pub fn condition(&self, name: &str) -> Option<&ConditionStatus> {
        self.conditions.iter().find(|condition| condition.r#type == name)
    }
}

/// A moment as the document has it: RFC 3339, UTC, to the second.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn condition((condition, since): (RoleCondition, Timestamp)) -> ConditionStatus {
    ConditionStatus {
        r#type: condition.r#type.to_owned(),
        status: condition.status.as_str().to_owned(),
        reason: condition.reason.to_owned(),
        message: condition.message,
        last_transition_time: moment(since),
    }
}

fn line(change: &Change) -> DiffLine {
    let word = match change.change {
        Direction::Lost => "lost",
        Direction::Gained => "gained",
    };
    DiffLine { change: word.to_owned(), text: change.summary() }
}
