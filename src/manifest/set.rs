//! The whole tree of manifests: the faults between files, and what is desired of each role of an account.
//!
//! Knows nothing of what IAM holds. What must stay true: where two manifests disagree about a policy, nothing is
//! chosen for them: that one policy is held, and both are told, each with the place of the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
    sync::Arc,
};

use super::{
    Accounts, ControllerConfiguration, Fault, Guards, Mode, Named, Parsed, Permissions, Place, Selection, State, Whose,
};
use crate::{
    names::{AccountId, Partition, PolicyName, RoleName},
    policy::{
        compare::{Drift, compare},
        limits::Limits,
        session_manager::{NodeRegistration, SessionManagerDocument},
    },
    selector::Selector,
};

/// Which policy of which role of an account.
pub type PolicyKey = (RoleName, PolicyName);

/// Manifests that belong together: those of a tree, and the controller's settings.
#[derive(Debug, Clone, Default)]
pub struct ManifestSet {
    permissions: Vec<Arc<Permissions>>,
    configuration: Option<ControllerConfiguration>,
    /// The only role that the set is about, where it was narrowed to one.
    only_role: Option<RoleName>,
}

/// What the manifests ask for in one account.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The account.
    pub account: AccountId,
    /// The policies, by the role that carries them, in their own spelling of it, and their name.
    pub policies: BTreeMap<PolicyKey, DesiredPolicy>,
}

/// One policy that a role shall carry: what is wanted of it is one value for all roles of a manifest of which the same is
/// wanted, and whoever changes it for one of them ([`DerefMut`]) makes another one for that role.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredPolicy {
    /// The role, as the manifest spells it.
    pub role: RoleName,
    terms: Arc<PolicyTerms>,
}

/// What is wanted of a policy, whichever role carries it.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyTerms {
    /// The name of the inline policy.
    pub policy: PolicyName,
    /// Whether it shall be there.
    pub state: State,
    /// What to do about drift.
    pub mode: Mode,
    /// Whether a manifest asks to leave the role alone. The kill switch of the settings is not in it.
    pub suspended: bool,
    /// Why the policy is held: which other manifest wants something else under this name.
    pub conflict: Option<String>,
    /// Why the policy is held: which limit of the controller's settings does not admit it.
    pub outside: Option<String>,
    /// The document, shared by all roles of the manifest.
    pub document: Arc<SessionManagerDocument>,
    /// The manifest that asks for it.
    pub manifest: Arc<Permissions>,
    /// How the role came to be among those of the manifest.
    pub origin: Origin,
    /// Where the manifest has changed its `policyName`: the policy under the new name, which must be right before this
    /// one, under the old name, is removed. No manifest says so; the loop knows what was asked for before.
    pub successor: Option<Successor>,
    /// What else manifests want to be there on the same role: a write of this policy must not take away what those mean to
    /// be possible.
    pub beside: Vec<Arc<DesiredPolicy>>,
}

/// How a role comes to be among those of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The manifest names it.
    Named,
    /// The manifest's selector has picked it: every part of it matches.
    Selected(Arc<Selector>),
}

impl Origin {
    /// The selector that has picked the role, where one has.
    #[must_use]
    pub fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Named => None,
            Self::Selected(selector) => Some(selector),
        }
    }
}

/// The policy that takes the place of another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Successor {
    /// Its name.
    pub policy: PolicyName,
    /// What it shall hold.
    pub document: Arc<SessionManagerDocument>,
    /// Whether a registration that the former policy grants has to be granted still when that one is gone.
    pub keeps_registration: bool,
}

impl Deref for DesiredPolicy {
    type Target = PolicyTerms;

    fn deref(&self) -> &PolicyTerms {
        &self.terms
    }
}

impl DerefMut for DesiredPolicy {
    fn deref_mut(&mut self) -> &mut PolicyTerms {
        Arc::make_mut(&mut self.terms)
    }
}

impl DesiredPolicy {
    /// What is wanted on these terms of a role.
    #[must_use]
    pub fn new(role: RoleName, terms: Arc<PolicyTerms>) -> Self {
        Self { role, terms }
    }

    /// What is wanted, whichever role carries it.
    #[must_use]
    pub fn terms(&self) -> &Arc<PolicyTerms> {
        &self.terms
    }

    /// Whether both ask for the same document to be there, or to be gone.
    #[must_use]
    pub fn asks_for_the_same(&self, other: &Self) -> bool {
        self.state == other.state && self.document == other.document
    }
}

impl Desired {
    /// The document that is wanted under this key, where one is.
    #[must_use]
    pub fn document(&self, key: &PolicyKey) -> Option<&SessionManagerDocument> {
        self.policies.get(key).map(|wanted| wanted.document.as_ref())
    }
}

impl ManifestSet {
    /// Everything in these files, and all that is wrong in and between them. While there is a fault the set is
    /// fit to be looked at, not to be put in force.
    #[must_use]
    pub fn of<'a>(
        tree: impl IntoIterator<Item = &'a Parsed>,
        controller_config: Option<&'a Parsed>,
    ) -> (Self, Vec<Fault>) {
        let tree: Vec<&Parsed> = tree.into_iter().collect();
        let set = Self::in_force(tree.iter().copied(), controller_config);
        let mut faults: Vec<Fault> =
            tree.iter().copied().chain(controller_config).flat_map(|parsed| parsed.faults.iter().cloned()).collect();
        faults.extend(between_files(&tree, controller_config.is_some()).into_iter().map(|(_, fault)| fault));
        faults.extend(set.faults());
        faults.sort();
        (set, faults)
    }

    pub(super) fn in_force<'a>(
        tree: impl IntoIterator<Item = &'a Parsed>,
        controller_config: Option<&'a Parsed>,
    ) -> Self {
        let tree: Vec<&Parsed> = tree.into_iter().collect();
        let configuration = configuration(tree.iter().copied(), controller_config);
        let mut permissions: Vec<_> = tree.iter().flat_map(|parsed| parsed.permissions.iter().cloned()).collect();
        permissions.sort_by(|one: &Arc<Permissions>, other| (&one.name, &one.place).cmp(&(&other.name, &other.place)));
        Self { permissions, configuration: configuration.cloned(), only_role: None }
    }

    /// Takes over the settings of `before`.
    pub(super) fn keep_configuration(&mut self, before: &Self) {
        self.configuration.clone_from(&before.configuration);
    }

    /// All manifests that name roles, by name.
    #[must_use]
    pub fn permissions(&self) -> &[Arc<Permissions>] {
        &self.permissions
    }

    /// The controller's settings, where there are any.
    #[must_use]
    pub fn configuration(&self) -> Option<&ControllerConfiguration> {
        self.configuration.as_ref()
    }

    /// The mode of manifests that name none.
    #[must_use]
    pub fn default_mode(&self) -> Mode {
        self.configuration.as_ref().map_or(Mode::default(), |configuration| configuration.default_mode)
    }

    /// The ceiling over all manifests.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        self.configuration.as_ref().map_or_else(Arc::default, |configuration| Arc::clone(&configuration.limits))
    }

    /// How much may change in an account within an hour.
    #[must_use]
    pub fn guards(&self) -> Guards {
        self.configuration.as_ref().map_or_else(Guards::default, |configuration| configuration.guards)
    }

    /// What is desired in an account of the roles that manifests name.
    #[must_use]
    pub fn desired(&self, whose: Whose<'_>, partition: Option<&Partition>) -> Desired {
        self.desired_with(whose, partition, &Selection::default())
    }

    /// What is desired in an account: by the manifests that name it, and where it is that of the controller's own
    /// credentials by those that name none; of the roles that they name, and of those that their selectors have picked.
    /// `partition` is that of the account, for manifests whose keys do not tell theirs.
    ///
    /// A name is no more than a match: where one manifest names a role and another one's selector picks it, they have to
    /// agree as well.
    #[must_use]
    pub fn desired_with(&self, whose: Whose<'_>, partition: Option<&Partition>, selection: &Selection) -> Desired {
        let account = whose.account;
        let mut policies: BTreeMap<PolicyKey, DesiredPolicy> = BTreeMap::new();
        // Who was the first to ask for each policy: the one whom the others have to agree with.
        let mut first: BTreeMap<PolicyKey, &Permissions> = BTreeMap::new();
        for permissions in &self.permissions {
            if !self.is_about(permissions, whose) {
                continue;
            }
            let partition = permissions.partition.as_ref().or(partition).cloned().unwrap_or_default();
            let document = Arc::new(permissions.settings.document(account, &partition));
            let outside = self.configuration.as_ref().and_then(|settings| settings.outside_in(account, permissions));
            let terms = |origin| {
                Arc::new(PolicyTerms {
                    policy: permissions.policy_name.clone(),
                    state: permissions.state,
                    mode: self.mode(permissions, Some(account)),
                    suspended: permissions.suspend,
                    conflict: None,
                    outside: outside.clone(),
                    document: Arc::clone(&document),
                    manifest: Arc::clone(permissions),
                    origin,
                    successor: None,
                    beside: Vec::new(),
                })
            };
            let if_named = terms(Origin::Named);
            let named = permissions.roles.iter().map(|role| (role, Arc::clone(&if_named)));
            let selected = permissions.selector.iter().flat_map(|selector| {
                let if_selected = terms(Origin::Selected(Arc::clone(selector)));
                selection.roles_of(&permissions.name).map(move |role| (role, Arc::clone(&if_selected)))
            });
            for (role, terms) in named.chain(selected) {
                let key = (role.clone(), permissions.policy_name.clone());
                if let (Some(desired), Some(other)) = (policies.get_mut(&key), first.get(&key)) {
                    if permissions.suspend {
                        desired.suspended = true;
                    }
                    if desired.conflict.is_none() && !self.agree(permissions, other, Some(account)) {
                        desired.conflict = Some(format!(
                            "`{}` ({}) and `{}` ({}) want it differently",
                            other.name, other.place, permissions.name, permissions.place
                        ));
                    }
                    continue;
                }
                first.insert(key.clone(), permissions);
                policies.insert(key, DesiredPolicy { role: role.clone(), terms });
            }
        }
        know_each_other(&mut policies);
        Desired { account: account.clone(), policies }
    }

    /// How many roles the manifests name, each once for an account.
    #[must_use]
    pub fn role_count(&self) -> usize {
        let pairs = |permissions: &'_ Arc<Permissions>| -> Vec<(Option<AccountId>, RoleName)> {
            let accounts = self.accounts_of(permissions).into_iter();
            accounts
                .flat_map(|account| permissions.roles.iter().map(move |role| (account.cloned(), role.clone())))
                .collect()
        };
        self.permissions.iter().flat_map(pairs).collect::<BTreeSet<_>>().len()
    }

    /// Whether any manifest has a selector: then what they are about is not known before IAM was read.
    #[must_use]
    pub fn has_selectors(&self) -> bool {
        self.permissions.iter().any(|permissions| permissions.selector.is_some())
    }

    /// The only role that the set is about, where it was narrowed to one: selectors pick no other.
    #[must_use]
    pub fn only_role(&self) -> Option<&RoleName> {
        self.only_role.as_ref()
    }

    /// Leaves out what is not about this role or this account; selectors stay, since they may turn out to pick it. Manifests without an account are about that of the
    /// credentials, `own_account`, as far as it is known.
    pub fn narrow(&mut self, role: Option<&RoleName>, account: Option<&AccountId>, own_account: Option<&AccountId>) {
        let is_about = |permissions: &Permissions| {
            account.is_none_or(|account| {
                self.is_about(permissions, Whose { account, is_own: own_account.is_none_or(|own| own == account) })
            })
        };
        let narrowed = |permissions: &Arc<Permissions>| {
            let mut permissions = Arc::clone(permissions);
            if let Some(role) = role {
                Arc::make_mut(&mut permissions).roles.retain(|name| name == role);
            }
            permissions
        };
        let kept = self.permissions.iter().filter(|permissions| is_about(permissions)).map(narrowed);
        let may_be_about_it =
            |permissions: &Arc<Permissions>| !permissions.roles.is_empty() || permissions.selector.is_some();
        self.permissions = kept.filter(may_be_about_it).collect();
        self.only_role = role.cloned();
    }

    /// The manifests that are for another account than `own`, each with that account, where no account is configured: then
    /// nobody else looks after it.
    pub fn elsewhere<'a>(&'a self, own: &'a AccountId) -> impl Iterator<Item = (&'a Permissions, &'a AccountId)> {
        let permissions = self.permissions.iter().filter(|_| self.accounts().is_empty());
        permissions.flat_map(move |permissions| {
            let others = permissions.accounts.named().filter(move |account| *account != own);
            others.map(|account| (permissions.as_ref(), account))
        })
    }

    /// Whether two manifests that name the same policy of the same role want the same. `account` is where, if it is known.
    fn agree(&self, one: &Permissions, other: &Permissions, account: Option<&AccountId>) -> bool {
        self.mode(one, account) == self.mode(other, account)
            && one.state == other.state
            && want_the_same_policy(one, other, account)
    }

    /// What the set has to be told of as a whole: manifests that disagree, and what is outside of the limits.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = self.conflicts();
        if let Some(settings) = &self.configuration {
            faults.extend(self.permissions.iter().flat_map(|permissions| settings.outside(permissions)));
        }
        faults
    }

    /// A fault for each manifest that wants a policy differently from another one. A manifest without an account
    /// may turn out to be for the same account as any other.
    fn conflicts(&self) -> Vec<Fault> {
        type Group<'a> = BTreeMap<Option<&'a AccountId>, TwoOpinions<'a>>;
        let mut groups: BTreeMap<(&RoleName, &PolicyName), Group<'_>> = BTreeMap::new();
        for permissions in &self.permissions {
            for role in &permissions.roles {
                let group = groups.entry((role, &permissions.policy_name)).or_default();
                for account in whereabouts(permissions) {
                    group.entry(account).or_default().hear(self, permissions);
                }
            }
        }
        // By manifest and by the other one, so that a hundred roles in conflict are one fault.
        let mut told: BTreeMap<(usize, usize), BTreeSet<&RoleName>> = BTreeMap::new();
        let index: BTreeMap<*const Permissions, usize> =
            self.permissions.iter().enumerate().map(|(index, permissions)| (Arc::as_ptr(permissions), index)).collect();
        for (at, permissions) in self.permissions.iter().enumerate() {
            for role in &permissions.roles {
                let Some(group) = groups.get(&(role, &permissions.policy_name)) else { continue };
                let differs = |account| group.get(&account)?.other_than(self, permissions);
                let differing = whereabouts(permissions).find_map(|account| match account {
                    None => group.values().find_map(|opinions| opinions.other_than(self, permissions)),
                    account => [account, None].into_iter().find_map(differs),
                });
                if let Some(other) = differing.and_then(|other| index.get(&std::ptr::from_ref(other))) {
                    told.entry((at, *other)).or_default().insert(role);
                }
            }
        }
        told.into_iter()
            .map(|((one, other), roles)| conflict(&self.permissions[one], &self.permissions[other], &roles))
            .collect()
    }
}

/// Has each policy of a role know the others that shall be there: few roles have more than one.
fn know_each_other(policies: &mut BTreeMap<PolicyKey, DesiredPolicy>) {
    let mut present: BTreeMap<RoleName, Vec<Arc<DesiredPolicy>>> = BTreeMap::new();
    let keys: Vec<&PolicyKey> = policies.keys().collect();
    let shared = keys.chunk_by(|one, other| one.0 == other.0).filter(|of_role| of_role.len() > 1).flatten();
    for wanted in shared.filter_map(|key| policies.get(*key)) {
        if wanted.state == State::Present && wanted.conflict.is_none() {
            present.entry(wanted.role.clone()).or_default().push(Arc::new(wanted.clone()));
        }
    }
    for wanted in policies.values_mut() {
        let Some(of_role) = present.get(&wanted.role) else { continue };
        wanted.beside = of_role.iter().filter(|other| other.policy != wanted.policy).cloned().collect();
    }
}

/// The accounts that a manifest is about as far as it names them: one that is not named may turn out to be any.
fn whereabouts(permissions: &Permissions) -> impl Iterator<Item = Option<&AccountId>> {
    let unnamed = !matches!(permissions.accounts, Accounts::Named(_));
    permissions.accounts.named().map(Some).chain(unnamed.then_some(None))
}

/// Of all who ask for a policy: the first, and the first who disagrees with it. Enough to find somebody who
/// disagrees with any of them.
#[derive(Default)]
struct TwoOpinions<'a>(Option<&'a Permissions>, Option<&'a Permissions>);

impl<'a> TwoOpinions<'a> {
    fn hear(&mut self, set: &ManifestSet, permissions: &'a Permissions) {
        match self.0 {
            None => self.0 = Some(permissions),
            Some(first) if self.1.is_none() && !set.agree(first, permissions, None) => self.1 = Some(permissions),
            Some(_) => {}
        }
    }

    fn other_than(&self, set: &ManifestSet, permissions: &Permissions) -> Option<&'a Permissions> {
        [self.0, self.1].into_iter().flatten().find(|other| !set.agree(other, permissions, None))
    }
}

/// Whether what the settings yield means the same, however they are written.
fn want_the_same_policy(one: &Permissions, other: &Permissions, account: Option<&AccountId>) -> bool {
    if one.settings == other.settings && one.partition == other.partition {
        return true;
    }
    let assumed = |permissions: &Permissions| permissions.settings.node_registration == NodeRegistration::Assumed;
    // Where nobody says which account it is, it makes little difference, as long as it is the same.
    let placeholder = "000000000000".parse().ok();
    let named = || one.accounts.named().chain(other.accounts.named()).next();
    let account = account.or_else(named).or(placeholder.as_ref());
    let document = |permissions: &Permissions| {
        let partition = permissions.partition.clone().unwrap_or_default();
        permissions.settings.document_offline(account, &partition)
    };
    let (Some(wanted), Some(found)) = (document(one), document(other)) else { return false };
    let drift = compare(wanted.document(), found.document()).drift;
    assumed(one) == assumed(other) && matches!(drift, None | Some(Drift::Cosmetic))
}

fn conflict(one: &Permissions, other: &Permissions, roles: &BTreeSet<&RoleName>) -> Fault {
    const NAMED: usize = 3;
    let mut named = roles.iter().take(NAMED).map(|role| format!("`{role}`")).collect::<Vec<_>>().join(", ");
    if roles.len() > NAMED {
        named.push_str(&format!(" and {} more", roles.len() - NAMED));
    }
    let what = if one.state != other.state {
        "in another state"
    } else if want_the_same_policy(one, other, None) {
        "in another mode"
    } else {
        "with other settings"
    };
    Fault {
        place: one.place.clone(),
        path: "metadata.name".to_owned(),
        message: format!(
            "`{}` ({}) wants the policy `{}` of {named} {what}: it is held",
            other.name, other.place, one.policy_name
        ),
        hint: Some("name the role in one of the two only, let them agree, or give one another `policyName`".to_owned()),
        stands_for: 1,
    }
}

/// The controller's settings among these files: those that are given apart come first.
pub(super) fn configuration<'a>(
    tree: impl IntoIterator<Item = &'a Parsed>,
    controller_config: Option<&'a Parsed>,
) -> Option<&'a ControllerConfiguration> {
    controller_config.into_iter().chain(tree).find_map(|parsed| parsed.configurations.first())
}

/// What a fault between files is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About<'a> {
    Name(&'a str),
    Configuration,
}

impl About<'_> {
    /// Whether a file holds what this is about.
    pub(super) fn is_held_by(self, parsed: &Parsed) -> bool {
        match self {
            Self::Name(name) => parsed.named.iter().any(|named| named.name == name),
            Self::Configuration => !parsed.configurations.is_empty(),
        }
    }
}

/// The faults that no file has alone: names that are given twice, settings that are given twice.
pub(super) fn between_files<'a>(tree: &[&'a Parsed], controller_config_given: bool) -> Vec<(About<'a>, Fault)> {
    let told = |place: &Place, message: String, hint: &str| Fault {
        place: place.clone(),
        path: "metadata.name".to_owned(),
        message,
        hint: Some(hint.to_owned()),
        stands_for: 1,
    };
    let mut faults = Vec::new();
    let all = || tree.iter().flat_map(|parsed| &parsed.named);
    let mut names: BTreeMap<&str, Vec<&Named>> = BTreeMap::new();
    for named in all() {
        names.entry(&named.name).or_default().push(named);
    }
    // Where there are two configurations, that alone is told of them.
    names.retain(|_, named| !named.iter().all(|named| named.is_configuration));
    for (name, named) in names {
        let places: Vec<&Place> = named.iter().map(|named| &named.place).collect();
        for (place, other) in others(&places) {
            let message = format!("the name `{name}` is given twice: also in {other}");
            faults.push((About::Name(name), told(place, message, "every manifest needs a name of its own")));
        }
    }
    let settings: Vec<&Place> = all().filter(|named| named.is_configuration).map(|named| &named.place).collect();
    if controller_config_given {
        let message = "the controller's settings are given by `--controller-config`: they may not stand here as well";
        let hint = "remove this document; only who starts the controller may change its settings";
        faults.extend(settings.iter().map(|place| (About::Configuration, told(place, message.to_owned(), hint))));
    } else {
        for (place, other) in others(&settings) {
            let message = format!("there is more than one `ControllerConfiguration`: also in {other}");
            faults.push((About::Configuration, told(place, message, "keep one of them")));
        }
    }
    faults
}

/// Each with one of the others, if there are others.
fn others<'a>(places: &[&'a Place]) -> Vec<(&'a Place, &'a Place)> {
    let [first, second, ..] = places else { return Vec::new() };
    places.iter().enumerate().map(|(at, place)| (*place, if at == 0 { *second } else { *first })).collect()
}
