//! Desired × Inventory → Plan: for every managed policy, whether it drifted and what is to be done.
//!
//! Pure: no clients, no clock, no choices at execution time. What must stay true: a step that writes comes only
//! from a role that was read, and the same function judges the bulk reading and the confirming read.

mod condition;
mod guard;
mod reason;
mod record;
mod select;
mod step;

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

pub(crate) use self::guard::COUNTS_FOR;
pub use self::{
    condition::RoleCondition,
    guard::{Digest, Excess, Guarded, Ledger, Past, guard, hold_alone},
    reason::Reason,
    record::{Counted, Record, Refusal, Terms},
    select::{PassedOver, Picks, Selected, select, selectors_elsewhere, why_not},
    step::{Action, Step, Summary, Target},
};
use crate::{
    iam::Caller,
    inventory::{Asked, Inventory, LiveDocument, Observed, Role, Surroundings},
    manifest::{
        Desired, DesiredPolicy, ManifestSet, Mode, Origin, Permissions, Platform, PolicyKey, State, Successor, Whose,
    },
    names::{AccountId, PolicyName, RoleName},
    policy::{
        compare::{Comparison, Drift, compare, compare_missing, compare_unreadable, compare_unwanted},
        limits::Limits,
        session_manager::{self, INLINE_POLICY_QUOTA, NodeRegistration, REGISTER, SessionManagerDocument},
    },
    readiness::{self, Readiness, Subject},
};

/// What holds for a whole account while its steps are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The account that was read.
    pub account: Option<AccountId>,
    /// The roles that the controller itself runs as.
    pub own_roles: BTreeSet<RoleName>,
    /// Nothing is written whatever the manifests say (`--observe`, or the account's mode in `ControllerConfiguration`).
    pub observe_only: bool,
    /// The kill switch of `ControllerConfiguration`, for all or for this account.
    pub suspended: bool,
    /// Another process holds the lease: nothing is written by this one.
    pub stands_by: bool,
    /// The ceiling of `ControllerConfiguration`.
    pub limits: Arc<Limits>,
}

impl Circumstances {
    /// What holds for the account of these credentials under these manifests.
    #[must_use]
    pub fn of(caller: &Caller, manifests: &ManifestSet, observe_only: bool) -> Self {
        Self {
            account: Some(caller.account.clone()),
            own_roles: caller.own_roles(),
            observe_only: observe_only || manifests.only_observes(&caller.account),
            suspended: manifests.configuration().is_some_and(|configuration| configuration.suspend)
                || manifests.suspends(&caller.account),
            stands_by: false,
            limits: manifests.limits(),
        }
    }
}

/// How many roles there are that are to be kept as manifests say: what a share of the managed roles is a share of. Names to
/// which there is no role, and what is only observed, add nothing to it: whoever writes manifests could add any number.
#[must_use]
pub fn managed_roles(wanted: impl IntoIterator<Item: Borrow<DesiredPolicy>>, inventory: &Inventory) -> usize {
    let kept = wanted.into_iter().filter_map(|wanted| {
        let wanted = wanted.borrow();
        (wanted.mode == Mode::Enforce && !wanted.suspended).then(|| wanted.role.clone())
    });
    let kept: BTreeSet<RoleName> = kept.collect();
    kept.iter().filter(|role| matches!(inventory.get(role), Some(Observed::Found(_)))).count()
}

/// What a reading of the account is to find out: about the roles and policies of the desired state, and which further
/// roles selectors might pick.
#[must_use]
pub fn asked_for(desired: &Desired, manifests: &ManifestSet, whose: Whose<'_>) -> Asked {
    // Most roles have one policy, and most of them the same.
    let mut alone: BTreeMap<&PolicyName, Arc<BTreeSet<PolicyName>>> = BTreeMap::new();
    let keys: Vec<&PolicyKey> = desired.policies.keys().collect();
    let of_roles = keys.chunk_by(|one, other| one.0 == other.0).map(|of_role| {
        let policies = match of_role {
            [(_, policy)] => {
                Arc::clone(alone.entry(policy).or_insert_with(|| Arc::new(BTreeSet::from([policy.clone()]))))
            }
            several => Arc::new(several.iter().map(|(_, policy)| policy.clone()).collect()),
        };
        (of_role[0].0.clone(), policies)
    });
    let mut asked = Asked { roles: of_roles.collect(), sought: manifests.sought(whose) };
    if let Some(role) = manifests.only_role().filter(|_| !asked.sought.is_empty()) {
        // Whether selectors pick it or not: somebody asks about it.
        asked.roles.entry(role.clone()).or_default();
    }
    asked
}

/// The steps for every policy that is desired and was asked for in the reading, in order of role and policy.
#[must_use]
pub fn plan(desired: &Desired, inventory: &Inventory, circumstances: &Circumstances, now: Timestamp) -> Vec<Step> {
    desired
        .policies
        .values()
        .filter_map(|wanted| Some(judge(wanted, inventory.get(&wanted.role)?, circumstances, now)))
        .collect()
}

/// The verdict on one policy, from what was observed of its role.
#[must_use]
pub fn judge(wanted: &DesiredPolicy, observed: &Observed, circumstances: &Circumstances, now: Timestamp) -> Step {
    let mode = if circumstances.observe_only { Mode::Observe } else { wanted.mode };
    let mut step = Step {
        target: Target {
            account: circumstances.account.clone(),
            role: wanted.role.clone(),
            policy: wanted.policy.clone(),
        },
        state: wanted.state,
        mode,
        action: Action::None,
        drift: None,
        reason: None,
        detail: None,
        changes: Vec::new(),
        manifest: wanted.manifest.name.clone(),
        origin: wanted.origin.clone(),
        live: None,
        document: None,
        session: None,
        session_after: None,
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
    if let Some(successor) = &wanted.successor {
        return judge_former(wanted, successor, role, step, circumstances, now);
    }
    let subject = circumstances.account.as_ref().map(|account| Subject { account, role, wanted, now });
    let subject = subject.filter(|_| wanted.state == State::Present);
    let before = subject.map(readiness::assess);
    step.session = before.as_ref().map(Readiness::condition);
    if let Some(outside) = outside(wanted, role, circumstances) {
        // Not to be asked for at all, whether there is something to do just now or not.
        return step.held_by(Reason::OutsideLimits, Some(outside));
    }
    if !step.has_drifted() {
        step.reason = role.is_suspended.then_some(Reason::SuspendTag);
        return step;
    }
    let document = (wanted.state == State::Present).then(|| LiveDocument::of_text(wanted.document.as_str()));
    let after = role.with_fresh(&wanted.policy, document.map(Arc::new));
    let mut blocked = obstacle(wanted, role, &step, circumstances);
    if let (Some(subject), Some(before)) = (subject, before) {
        let subject = Subject { role: &after, ..subject };
        let then = readiness::assess(subject);
        (blocked, step.detail) = disconnects(subject, &before, &then, blocked);
        step.session_after = Some(then.condition());
    }
    if blocked.is_none()
        && let Some(lost) = disconnects_another(wanted, role, &after, circumstances, now)
    {
        (blocked, step.detail) = (Some(Reason::WouldDisconnect), Some(lost));
    }
    (step.action, step.reason) = match (blocked, mode) {
        (reason, Mode::Observe) => (Action::None, Some(reason.unwrap_or(Reason::ObserveMode))),
        (Some(reason), Mode::Enforce) => (Action::Blocked, Some(reason)),
        (None, Mode::Enforce) if circumstances.suspended => (Action::None, Some(Reason::KillSwitch)),
        (None, Mode::Enforce) if circumstances.stands_by => (Action::None, Some(Reason::Standby)),
        (None, Mode::Enforce) => (write(wanted.state), None),
    };
    step.document = (step.action == Action::Put).then(|| Arc::clone(&wanted.document));
    step
}

/// The verdict on a policy whose manifest gave it another name: it goes once the one under the new name is right. It is
/// no drift, since nobody but the manifest has changed anything.
fn judge_former(
    wanted: &DesiredPolicy,
    successor: &Successor,
    role: &Role,
    step: Step,
    circumstances: &Circumstances,
    now: Timestamp,
) -> Step {
    let step = Step { drift: None, changes: Vec::new(), ..step };
    if step.live.is_none() {
        return step;
    }
    let stands_in = |live: &Arc<LiveDocument>| is_what_is_wanted(&successor.document, live);
    if !role.policies.get(&successor.policy).is_some_and(stands_in) {
        return Step { reason: Some(Reason::AwaitsSuccessor), ..step };
    }
    if let Some(outside) = outside(wanted, role, circumstances) {
        return step.held_by(Reason::OutsideLimits, Some(outside));
    }
    match obstacle(wanted, role, &step, circumstances) {
        _ if step.mode == Mode::Observe => Step { reason: Some(Reason::ObserveMode), ..step },
        Some(reason) => step.held_by(reason, None),
        None if takes_registration_away(wanted, successor, role, circumstances, now) => {
            step.held_by(Reason::WouldDisconnect, Some(format!("it would lose {REGISTER}")))
        }
        None if circumstances.suspended => Step { reason: Some(Reason::KillSwitch), ..step },
        None if circumstances.stands_by => Step { reason: Some(Reason::Standby), ..step },
        None => Step { action: Action::Delete, ..step },
    }
}

/// What forbids a write once it is known what it makes of the role's sessions: a repair takes no working session away. The
/// subject is the role as the write would leave it.
///
/// Registration is the one thing that a session needs and the document may not grant. Where another policy of the role
/// surely grants it, nothing is lost: one that no manifest names, since of two that are both repaired each would rely on
/// the other.
fn disconnects(
    subject: Subject<'_>,
    before: &Readiness,
    then: &Readiness,
    blocked: Option<Reason>,
) -> (Option<Reason>, Option<String>) {
    if !matches!(blocked, None | Some(Reason::NodeRegistrationWouldBeLost)) {
        return (blocked, None);
    }
    if let Some(lost) = then.losses_against(before) {
        return (Some(Reason::WouldDisconnect), Some(format!("it would lose {lost}")));
    }
    let still_registers =
        || readiness::registers(Subject { role: &unnamed_beside(subject.wanted, subject.role), ..subject });
    (blocked.filter(|_| !still_registers()), None)
}

/// What another manifest's sessions would lose by the write: what one manifest removes or narrows, another may rely upon.
fn disconnects_another(
    wanted: &DesiredPolicy,
    role: &Role,
    after: &Role,
    circumstances: &Circumstances,
    now: Timestamp,
) -> Option<String> {
    let account = circumstances.account.as_ref()?;
    wanted.beside.iter().find_map(|other| {
        let assess = |role| readiness::assess(Subject { account, role, wanted: other, now });
        let lost = assess(after).losses_against(&assess(role))?;
        Some(format!("it would lose {lost}, which the manifest {} relies upon", other.manifest.name))
    })
}

/// The role without the other policies that manifests name.
fn unnamed_beside(wanted: &DesiredPolicy, role: &Role) -> Role {
    let others = role.policies.keys().filter(|policy| **policy != wanted.policy);
    others.fold(role.clone(), |role, policy| role.with_fresh(policy, None))
}

fn write(state: State) -> Action {
    match state {
        State::Present => Action::Put,
        State::Absent => Action::Delete,
    }
}

/// Whether the removal of a policy under its former name takes a registration away that nothing else surely grants. What is
/// not known is no leave to take it: the policy stays until somebody says otherwise.
fn takes_registration_away(
    wanted: &DesiredPolicy,
    successor: &Successor,
    role: &Role,
    circumstances: &Circumstances,
    now: Timestamp,
) -> bool {
    let registers = |policy| role.policies.get(policy).is_some_and(|live| Traits::of(live).registers);
    let stays = successor.keeps_registration && registers(&wanted.policy) && !registers(&successor.policy);
    let after = || unnamed_beside(wanted, &role.with_fresh(&wanted.policy, None));
    let Some(account) = &circumstances.account else { return stays };
    stays && !readiness::registers(Subject { account, role: &after(), wanted, now })
}

/// Why the operator's ceiling forbids writing to this role.
fn outside(wanted: &DesiredPolicy, role: &Role, circumstances: &Circumstances) -> Option<String> {
    let limits = &circumstances.limits;
    let of_account = || limits.outside_accounts(circumstances.account.as_ref()?);
    wanted.outside.clone().or_else(of_account).or_else(|| limits.outside_paths(&role.path))
}

/// Steps for manifests that cannot be judged at all, for one reason: nothing was read for them. Each manifest comes with
/// the account that it is about, where that is known.
#[must_use]
pub fn unjudged<'a>(
    manifests: impl IntoIterator<Item = (&'a Permissions, Option<&'a AccountId>)>,
    reason: Reason,
    detail: Option<&str>,
    default_mode: Mode,
) -> Vec<Step> {
    let mut steps = BTreeMap::new();
    for (manifest, account) in manifests {
        for role in &manifest.roles {
            let target = Target { account: account.cloned(), role: role.clone(), policy: manifest.policy_name.clone() };
            steps.entry(target.clone()).or_insert_with(|| Step {
                target,
                state: manifest.state,
                mode: manifest.mode.unwrap_or(default_mode),
                action: if manifest.suspend { Action::None } else { Action::Blocked },
                drift: None,
                reason: Some(if manifest.suspend { Reason::Suspended } else { reason }),
                detail: detail.map(str::to_owned),
                changes: Vec::new(),
                manifest: manifest.name.clone(),
                origin: Origin::Named,
                live: None,
                document: None,
                session: None,
                session_after: None,
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
    let elsewhere = manifests.elsewhere(account).map(|(manifest, account)| (manifest, Some(account)));
    unjudged(elsewhere, Reason::AccountMismatch, Some(&detail), manifests.default_mode())
}

fn compare_with(wanted: &DesiredPolicy, live: Option<&LiveDocument>) -> Comparison {
    let desired = wanted.document.document();
    match (wanted.state, live.map(LiveDocument::parsed)) {
        (State::Present, None) => compare_missing(desired),
        (State::Present, Some(Ok(live))) => compare(desired, live),
        (State::Present, Some(Err(_))) => compare_unreadable(desired),
        (State::Absent, None) => Comparison { drift: None, changes: Vec::new() },
        (State::Absent, Some(Ok(live))) => compare_unwanted(live),
        (State::Absent, Some(Err(_))) => Comparison { drift: Some(Drift::Altered), changes: Vec::new() },
    }
}

/// Whether the live document means just what these settings yield.
fn is_what_is_wanted(document: &SessionManagerDocument, live: &Arc<LiveDocument>) -> bool {
    live.parsed().is_ok_and(|live| matches!(compare(document.document(), live).drift, None | Some(Drift::Cosmetic)))
}

/// What forbids a write to this role, whatever the manifest says.
fn obstacle(wanted: &DesiredPolicy, role: &Role, step: &Step, circumstances: &Circumstances) -> Option<Reason> {
    let live = step.live.as_deref();
    if role.is_protected() {
        return Some(Reason::ProtectedRole);
    }
    if circumstances.own_roles.contains(&role.name) {
        return Some(Reason::OwnRole);
    }
    if role.is_suspended {
        return Some(Reason::SuspendTag);
    }
    if wanted.state == State::Absent {
        let is_ours = |live: &Arc<LiveDocument>| is_what_is_wanted(&wanted.document, live);
        return (!step.live.as_ref().is_some_and(is_ours)).then_some(Reason::DocumentDiffers);
    }
    // What only grants less than is wanted loses nothing by a repair, whoever wrote it.
    let takes_something_away = step.drift != Some(Drift::Narrowed);
    let live_traits = live.map(Traits::of);
    if let Some(reason) = live_traits.as_ref().and_then(|traits| traits.not_ours(takes_something_away)) {
        return Some(reason);
    }
    let needed = session_manager::size(wanted.document.as_str());
    let of_others = |around: &Surroundings| around.inline_size.saturating_sub(live.map_or(0, LiveDocument::size));
    if role.surroundings.as_ref().is_some_and(|around| of_others(around) + needed > INLINE_POLICY_QUOTA) {
        return Some(Reason::NoRoom);
    }
    let registers = live_traits.is_some_and(|traits| traits.registers);
    (keeps_registration(wanted) && registers).then_some(Reason::NodeRegistrationWouldBeLost)
}

/// Whether a registration that the live policy grants is to outlive the write. Only EC2 has Default Host Management to take
/// its place.
pub(crate) fn keeps_registration(wanted: &DesiredPolicy) -> bool {
    match wanted.manifest.settings.node_registration {
        NodeRegistration::Assumed => true,
        NodeRegistration::DefaultHostManagement => wanted.manifest.platform != Platform::Ec2,
        NodeRegistration::Granted => false,
    }
}

/// What tells whether a live policy of the right name can be taken for ours to repair.
struct Traits {
    denies: bool,
    is_about_sessions: bool,
    registers: bool,
}

impl Traits {
    fn of(live: &LiveDocument) -> Self {
        match live.parsed() {
            Ok(document) => Self {
                denies: document.denies(),
                is_about_sessions: session_manager::is_session_manager_policy(document),
                registers: document.allows_any_of(&[REGISTER]),
            },
            Err(_) => {
                // Nothing but the text is left to judge by: the benefit of the doubt goes to whoever wrote it.
                let text = live.text().to_ascii_lowercase();
                let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
                Self {
                    denies: says(&["deny"]),
                    is_about_sessions: says(&["ssmmessages:"]),
                    registers: says(&["ssm:", "\"*\""]),
                }
            }
        }
    }

    fn not_ours(&self, takes_something_away: bool) -> Option<Reason> {
        if self.denies {
            return Some(Reason::DeniesPresent);
        }
        (takes_something_away && !self.is_about_sessions).then_some(Reason::ForeignPolicy)
    }
}
