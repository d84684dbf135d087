//! Desired × Inventory → Plan: for every managed policy, whether it drifted and what is to be done.
//!
//! Pure: no clients, no clock, no choices at execution time. What must stay true: a step that writes comes only
//! from a role that was read, and the same function judges the bulk reading and the confirming read.

mod reason;

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

pub use self::reason::Reason;
use crate::{
    inventory::{Asked, Inventory, LiveDocument, Observed, Role},
    manifest::{Desired, DesiredPolicy, ManifestSet, Mode, Permissions},
    names::{AccountId, PolicyName, RoleName},
    policy::{
        compare::{Change, Comparison, Drift, compare, compare_missing, compare_unreadable},
        limits::Limits,
        session_manager::{self, INLINE_POLICY_QUOTA, NodeRegistration, REGISTER},
    },
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
    /// Leaves the policy as it is.
    None,
    /// A step that must not be taken; its reason says why.
    Blocked,
}

/// The verdict on one policy.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it is about.
    pub target: Target,
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
    /// The live document that was judged.
    pub live: Option<Arc<LiveDocument>>,
}

impl Step {
    /// The verdict once the step's document was written: in sync.
    #[must_use]
    pub fn after_write(self) -> Self {
        Self { action: Action::None, drift: None, reason: None, detail: None, changes: Vec::new(), ..self }
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

    /// Whether the manifest or the kill switch has the role left alone for now: it counts neither way.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        matches!(self.reason, Some(Reason::Suspended | Reason::KillSwitch))
    }
}

/// What holds for a whole account while its steps are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The account that was read.
    pub account: Option<AccountId>,
    /// The role that the controller itself runs as.
    pub own_role: Option<RoleName>,
    /// Nothing is written whatever the manifests say (`--observe`).
    pub observe_only: bool,
    /// The kill switch of `ControllerConfiguration`.
    pub suspended: bool,
    /// The ceiling of `ControllerConfiguration`.
    pub limits: Arc<Limits>,
}

/// The roles and policies that the desired state is about.
#[must_use]
pub fn asked_for(desired: &Desired) -> Asked {
    let mut asked = Asked::new();
    for (role, policy) in desired.policies.keys() {
        asked.entry(role.clone()).or_default().insert(policy.clone());
    }
    asked
}

/// The steps for every policy that is desired and was asked for in the reading, in order of role and policy.
#[must_use]
pub fn plan(desired: &Desired, inventory: &Inventory, circumstances: &Circumstances) -> Vec<Step> {
    desired
        .policies
        .values()
        .filter_map(|wanted| Some(judge(wanted, inventory.get(&wanted.role)?, circumstances)))
        .collect()
}

/// The verdict on one policy, from what was observed of its role.
#[must_use]
pub fn judge(wanted: &DesiredPolicy, observed: &Observed, circumstances: &Circumstances) -> Step {
    let mode = if circumstances.observe_only { Mode::Observe } else { wanted.mode };
    let mut step = Step {
        target: Target {
            account: circumstances.account.clone(),
            role: wanted.role.clone(),
            policy: wanted.policy.clone(),
        },
        mode,
        action: Action::None,
        drift: None,
        reason: None,
        detail: None,
        changes: Vec::new(),
        manifest: wanted.manifest.name.clone(),
        live: None,
    };
    if wanted.suspended {
        step.reason = Some(Reason::Suspended);
        return step;
    }
    let undecided = match observed {
        _ if wanted.conflict.is_some() => Some((Reason::Conflict, wanted.conflict.clone())),
        Observed::Unknown(unread) => Some((Reason::Unknown, unread.as_ref().map(|unread| unread.why.clone()))),
        Observed::NotFound => Some((Reason::RoleNotFound, None)),
        Observed::Found(_) => None,
    };
    if let Some((reason, detail)) = undecided {
        return Step { action: Action::Blocked, reason: Some(reason), detail, ..step };
    }
    let Observed::Found(role) = observed else { return step };

    step.target.role = role.name.clone();
    step.live = role.policies.get(&wanted.policy).cloned();
    let comparison = compare_with(wanted, step.live.as_deref());
    step.drift = comparison.drift;
    step.changes = comparison.changes;
    if !step.has_drifted() {
        return step;
    }
    let blocked = obstacle(wanted, role, &step, circumstances);
    (step.action, step.reason) = match (blocked, mode) {
        (reason, Mode::Observe) => (Action::None, Some(reason.unwrap_or(Reason::ObserveMode))),
        (Some(reason), Mode::Enforce) => (Action::Blocked, Some(reason)),
        (None, Mode::Enforce) if circumstances.suspended => (Action::None, Some(Reason::KillSwitch)),
        (None, Mode::Enforce) => (Action::Put, None),
    };
    step
}

/// Steps for manifests that cannot be judged at all, for one reason: nothing was read for them.
#[must_use]
pub fn unjudged<'a>(
    manifests: impl IntoIterator<Item = &'a Permissions>,
    reason: Reason,
    detail: Option<&str>,
    default_mode: Mode,
) -> Vec<Step> {
    let mut steps = BTreeMap::new();
    for manifest in manifests {
        for role in &manifest.roles {
            let target =
                Target { account: manifest.account.clone(), role: role.clone(), policy: manifest.policy_name.clone() };
            steps.entry(target.clone()).or_insert_with(|| Step {
                target,
                mode: manifest.mode.unwrap_or(default_mode),
                action: if manifest.suspend { Action::None } else { Action::Blocked },
                drift: None,
                reason: Some(if manifest.suspend { Reason::Suspended } else { reason }),
                detail: detail.map(str::to_owned),
                changes: Vec::new(),
                manifest: manifest.name.clone(),
                live: None,
            });
        }
    }
    steps.into_values().collect()
}

/// The steps of the manifests that name another account than that of the credentials: nothing is read for them,
/// and nothing written.
#[must_use]
pub fn mismatched(manifests: &ManifestSet, account: &AccountId) -> Vec<Step> {
    let detail = format!("the credentials belong to account {account}");
    unjudged(manifests.elsewhere(account), Reason::AccountMismatch, Some(&detail), manifests.default_mode())
}

fn compare_with(wanted: &DesiredPolicy, live: Option<&LiveDocument>) -> Comparison {
    let desired = wanted.document.document();
    match live.map(LiveDocument::parsed) {
        None => compare_missing(desired),
        Some(Ok(live)) => compare(desired, live),
        Some(Err(_)) => compare_unreadable(desired),
    }
}

/// What forbids a write to this role, whatever the manifest says.
fn obstacle(wanted: &DesiredPolicy, role: &Role, step: &Step, circumstances: &Circumstances) -> Option<Reason> {
    let live = step.live.as_deref();
    if role.is_protected() {
        return Some(Reason::ProtectedRole);
    }
    if circumstances.own_role.as_ref() == Some(&role.name) {
        return Some(Reason::OwnRole);
    }
    // What only grants less than is wanted loses nothing by a repair, whoever wrote it.
    let takes_something_away = step.drift != Some(Drift::Narrowed);
    if let Some(reason) =
        live.and_then(|live| not_ours(wanted.manifest.settings.node_registration, live, takes_something_away))
    {
        return Some(reason);
    }
    let others = role.inline_size?.saturating_sub(live.map_or(0, LiveDocument::size));
    let needed = session_manager::size(wanted.document.as_str());
    (others + needed > INLINE_POLICY_QUOTA).then_some(Reason::NoRoom)
}

/// Why a live policy of the right name cannot be taken for ours to repair.
fn not_ours(registration: NodeRegistration, live: &LiveDocument, takes_something_away: bool) -> Option<Reason> {
    let (denies, is_about_sessions, registers) = match live.parsed() {
        Ok(document) => (
            document.denies(),
            session_manager::is_session_manager_policy(document),
            document.allows_any_of(&[REGISTER]),
        ),
        Err(_) => {
            // Nothing but the text is left to judge by: the benefit of the doubt goes to whoever wrote it.
            let text = live.text().to_ascii_lowercase();
            let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
            (says(&["deny"]), says(&["ssmmessages:"]), says(&["ssm:", "\"*\""]))
        }
    };
    if denies {
        return Some(Reason::DeniesPresent);
    }
    if takes_something_away && !is_about_sessions {
        return Some(Reason::ForeignPolicy);
    }
    (registration == NodeRegistration::Assumed && registers).then_some(Reason::NodeRegistrationWouldBeLost)
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
}

impl Summary {
    /// Counts the steps. Suspended ones count nowhere; a drifted policy that is blocked counts under both.
    #[must_use]
    pub fn of(steps: &[Step]) -> Self {
        let mut by_drift: BTreeMap<Drift, usize> = BTreeMap::new();
        let counted = || steps.iter().filter(|step| !step.is_suspended());
        for drift in counted().filter_map(|step| step.drift) {
            *by_drift.entry(drift).or_default() += 1;
        }
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
        }
    }
}
