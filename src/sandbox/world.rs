//! The world of accounts, roles and policies: what IAM and STS do with a call, and nothing of how the call arrived.
//!
//! Pure: no async and no clock; the time of a call is an argument, counted from the world's start. What must stay true:
//! a write is judged by the newest state, and a read sees the whole world as it was one lag ago.

mod policies;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use crate::{iam::SimulatedAction, names::AccountId};

use super::{
    managed::{self, Managed},
    role::{Document, Role, RoleSeed, Tag, entity_id, fingerprint},
    rules,
    wire::{Answer, Detail, Identity, Page, Paging, Refusal, Request},
};

/// What all inline policies of a role may hold together, white space not counted.
const QUOTA: usize = 10_240;

/// How many states of a role or a managed policy are kept for reads that lag. The oldest then stands for all time before it.
const STATES_KEPT: usize = 16;

/// How far reads lag behind writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Of `GetAccountAuthorizationDetails`.
    pub bulk: Duration,
    /// Of reads of one role or one policy.
    pub single: Duration,
}

/// Every account, its roles and its managed policies.
#[derive(Debug, Default)]
pub(super) struct World {
    accounts: BTreeMap<AccountId, BTreeMap<String, History<Role>>>,
    /// By ARN.
    policies: BTreeMap<AccountId, BTreeMap<String, History<Managed>>>,
    /// What the simulator says of a role, by the role's name in small letters.
    simulations: BTreeMap<(AccountId, String), Vec<SimulatedAction>>,
    pub(super) lag: Lag,
    /// The most items of a page, whatever the caller asked for: IAM may return fewer than asked.
    pub(super) page_cap: Option<usize>,
    sessions: BTreeMap<String, Session>,
    /// How many roles were made: tells their ids apart.
    made: usize,
}

/// A credential that STS gave.
#[derive(Debug)]
struct Session {
    identity: Identity,
    expires: Duration,
}

/// What became of the credentials of a call.
pub(super) enum Credential {
    Unknown,
    Expired,
    Of(Identity),
}

/// The states of one role name or one policy's ARN, oldest first; never empty.
#[derive(Debug)]
struct History<T>(VecDeque<State<T>>);

#[derive(Debug)]
struct State<T> {
    /// `None`: ever since.
    since: Option<Duration>,
    /// `None`: there is none.
    held: Option<Arc<T>>,
}

impl<T> History<T> {
    fn push(&mut self, state: State<T>) {
        self.0.push_back(state);
        if self.0.len() > STATES_KEPT {
            self.0.pop_front();
            if let Some(oldest) = self.0.front_mut() {
                oldest.since = None;
            }
        }
    }

    fn newest(&self) -> Option<&Arc<T>> {
        self.0.back()?.held.as_ref()
    }

    fn at(&self, moment: Option<Duration>) -> Option<&Arc<T>> {
        self.0.iter().rev().find(|state| state.since <= moment)?.held.as_ref()
    }
}

impl World {
    /// Puts a role into the world as if it had always been there, in place of any other of its name.
    pub(super) fn plant(&mut self, account: &AccountId, seed: RoleSeed, now: Duration) {
        let key = seed.name.to_ascii_lowercase();
        self.made += 1;
        let role = Arc::new(Role::from_seed(account, seed, self.made, now));
        let state = State { since: None, held: Some(role) };
        self.accounts.entry(account.clone()).or_default().insert(key, History(VecDeque::from([state])));
    }

    /// Makes a role behind IAM's rules, at a moment.
    pub(super) fn make(&mut self, account: &AccountId, seed: RoleSeed, now: Duration) {
        self.made += 1;
        let role = Arc::new(Role::from_seed(account, seed, self.made, now));
        self.record(&role.name.clone(), account, now, Some(role));
    }

    /// Changes a role behind IAM's rules, at a moment; `false` where there is none.
    pub(super) fn change(
        &mut self,
        account: &AccountId,
        role: &str,
        now: Duration,
        change: impl FnOnce(&Role) -> Option<Role>,
    ) -> bool {
        let Some(role) = self.newest(account, role).cloned() else { return false };
        self.record(&role.name, account, now, change(&role).map(Arc::new));
        true
    }

    /// The newest state of a role.
    pub(super) fn newest(&self, account: &AccountId, role: &str) -> Option<&Arc<Role>> {
        self.accounts.get(account)?.get(&role.to_ascii_lowercase())?.newest()
    }

    /// The newest state of every role of an account.
    pub(super) fn roles(&self, account: &AccountId) -> impl Iterator<Item = &Arc<Role>> {
        self.accounts.get(account).into_iter().flat_map(|roles| roles.values().filter_map(History::newest))
    }

    /// Whose a credential is that STS gave here; `None` where it did not give it.
    pub(super) fn session(&self, access_key_id: &str, now: Duration) -> Credential {
        match self.sessions.get(access_key_id) {
            None => Credential::Unknown,
            Some(session) if session.expires <= now => Credential::Expired,
            Some(session) => Credential::Of(session.identity.clone()),
        }
    }

    /// Does what the call asks for.
    pub(super) fn perform(&mut self, by: &Identity, request: &Request, now: Duration) -> Result<Answer, Refusal> {
        let account = &by.account;
        match request {
            Request::CreateRole { role, path, trust, description, tags } => {
                self.create_role(account, role, path, trust, description.as_ref(), tags, now)
            }
            Request::DeleteRole { role } => self.delete_role(account, role, now),
            Request::GetRole { role } => Ok(Answer::Role(self.read(account, role, now)?.clone())),
            Request::ListRolePolicies { role, paging } => self.list_role_policies(account, role, paging, now),
            Request::GetRolePolicy { role, policy } => {
                let held = self.read(account, role, now)?;
                rules::policy_name(policy)?;
                let (_, document) = held.policy(policy).ok_or_else(|| no_such_policy(policy))?;
                Ok(Answer::Policy {
                    role: held.name.clone(),
                    policy: policy.clone(),
                    encoded_document: document.encoded().clone(),
                })
            }
            Request::PutRolePolicy { role, policy, document } => {
                self.put_role_policy(account, role, policy, document, now)
            }
            Request::DeleteRolePolicy { role, policy } => {
                let held = self.writable(account, role)?;
                rules::policy_name(policy)?;
                held.policy(policy).ok_or_else(|| no_such_policy(policy))?;
                let next = held.without_policy(policy);
                self.record(role, account, now, Some(Arc::new(next)));
                Ok(Answer::Done)
            }
            Request::GetAccountAuthorizationDetails { filters, paging } => {
                self.account_details(account, filters, paging, now)
            }
            Request::TagRole { role, tags } => self.tag_role(account, role, tags, now),
            Request::UntagRole { role, keys } => {
                let mut next = Role::clone(self.writable(account, role)?);
                next.tags.retain(|tag| !keys.iter().any(|key| key.eq_ignore_ascii_case(&tag.key)));
                self.record(role, account, now, Some(Arc::new(next)));
                Ok(Answer::Done)
            }
            Request::AttachRolePolicy { role, arn } => self.attach(account, role, arn, now),
            Request::DetachRolePolicy { role, arn } => self.detach(account, role, arn, now),
            Request::PutRolePermissionsBoundary { role, arn } => self.bound(account, role, Some(arn), now),
            Request::DeleteRolePermissionsBoundary { role } => self.bound(account, role, None, now),
            Request::GetPolicy { arn } => self.get_policy(account, arn, now),
            Request::GetPolicyVersion { arn, version } => self.get_policy_version(account, arn, version, now),
            Request::SimulatePrincipalPolicy { role_arn, actions, resources, paging } => {
                self.simulate(account, role_arn, actions, resources, paging, now)
            }
            Request::GetCallerIdentity => Ok(Answer::Caller(by.clone())),
            Request::AssumeRole { role_arn, session, external_id, seconds } => {
                self.assume(by, (role_arn, external_id.as_deref()), session, *seconds, now)
            }
        }
    }

    fn record(&mut self, role: &str, account: &AccountId, now: Duration, next: Option<Arc<Role>>) {
        let roles = self.accounts.entry(account.clone()).or_default();
        let history = roles.entry(role.to_ascii_lowercase()).or_insert_with(|| History(VecDeque::new()));
        history.push(State { since: Some(now), held: next });
    }

    /// A role as a read of it finds it.
    fn read(&self, account: &AccountId, role: &str, now: Duration) -> Result<&Arc<Role>, Refusal> {
        rules::role_name(role)?;
        let history = self.accounts.get(account).and_then(|roles| roles.get(&role.to_ascii_lowercase()));
        history.and_then(|history| history.at(now.checked_sub(self.lag.single))).ok_or_else(|| no_such_role(role))
    }

    /// A role that a write may change.
    fn writable(&self, account: &AccountId, role: &str) -> Result<&Arc<Role>, Refusal> {
        rules::role_name(role)?;
        let held = self.newest(account, role).ok_or_else(|| no_such_role(role))?;
        if held.is_protected() {
            let name = &held.name;
            return Err(Refusal::new(
                400,
                "UnmodifiableEntity",
                format!(
                    "Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
                ),
            ));
        }
        Ok(held)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one request")]
    fn create_role(
        &mut self,
        account: &AccountId,
        role: &str,
        path: &str,
        trust: &str,
        description: Option<&String>,
        tags: &[Tag],
        now: Duration,
    ) -> Result<Answer, Refusal> {
        rules::role_name(role)?;
        rules::path(path)?;
        rules::trust_policy(trust)?;
        if self.newest(account, role).is_some() {
            return Err(Refusal::new(409, "EntityAlreadyExists", format!("Role with name {role} already exists.")));
        }
        let seed = RoleSeed { trust: trust.to_owned(), tags: tags.to_vec(), ..RoleSeed::new(role).path(path) };
        self.made += 1;
        let mut made = Role::from_seed(account, seed, self.made, now);
        made.description = description.cloned();
        let made = Arc::new(made);
        self.record(role, account, now, Some(made.clone()));
        Ok(Answer::RoleCreated(made))
    }

    fn delete_role(&mut self, account: &AccountId, role: &str, now: Duration) -> Result<Answer, Refusal> {
        let held = self.writable(account, role)?;
        let first = if !held.policies.is_empty() {
            Some("must delete policies first.")
        } else if !held.attached.is_empty() {
            Some("must detach all policies first.")
        } else if !held.instance_profiles.is_empty() {
            Some("must remove roles from instance profile first.")
        } else {
            None
        };
        if let Some(first) = first {
            return Err(Refusal::new(409, "DeleteConflict", format!("Cannot delete entity, {first}")));
        }
        self.record(role, account, now, None);
        Ok(Answer::Done)
    }

    fn put_role_policy(
        &mut self,
        account: &AccountId,
        role: &str,
        policy: &str,
        document: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        rules::role_name(role)?;
        rules::policy_name(policy)?;
        let held = self.writable(account, role)?;
        rules::permission_policy(document)?;
        let document = Document::new(document);
        let others = held.policies.iter().filter(|(name, _)| name != policy);
        let size = others.map(|(_, other)| other.counted_size()).sum::<usize>() + document.counted_size();
        if size > QUOTA {
            let message = format!("Maximum policy size of {QUOTA} bytes exceeded for role {}", held.name);
            return Err(Refusal::new(409, "LimitExceeded", message));
        }
        let next = held.with_policy(policy, document);
        self.record(role, account, now, Some(Arc::new(next)));
        Ok(Answer::Done)
    }

    fn tag_role(&mut self, account: &AccountId, role: &str, tags: &[Tag], now: Duration) -> Result<Answer, Refusal> {
        let mut next = Role::clone(self.writable(account, role)?);
        for tag in tags {
            next.tags.retain(|known| !known.key.eq_ignore_ascii_case(&tag.key));
            next.tags.push(tag.clone());
        }
        if next.tags.len() > 50 {
            return Err(Refusal::new(409, "LimitExceeded", "The number of tags has reached the maximum limit."));
        }
        self.record(role, account, now, Some(Arc::new(next)));
        Ok(Answer::Done)
    }

    fn list_role_policies(
        &self,
        account: &AccountId,
        role: &str,
        paging: &Paging,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let size = self.page_size(paging)?;
        let held = self.read(account, role, now)?;
        let context = format!("ListRolePolicies/{account}/{}", held.name);
        let after = paging.marker.as_deref().map(|marker| open_marker(&context, marker)).transpose()?;
        let mut names: Vec<&str> = held.policies.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let rest = names.into_iter().filter(|name| after.as_deref().is_none_or(|after| *name > after));
        Ok(Answer::PolicyNames(page(rest.map(str::to_owned), size, &context, String::as_str)))
    }

    fn account_details(
        &self,
        account: &AccountId,
        filters: &[String],
        paging: &Paging,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        const FILTERS: [&str; 5] = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"];
        if let Some(unknown) = filters.iter().find(|filter| !FILTERS.contains(&filter.as_str())) {
            return Err(Refusal::invalid(format!(
                "1 validation error detected: Value '[{unknown}]' at 'filter' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [{}]]",
                FILTERS.join(", ")
            )));
        }
        let size = self.page_size(paging)?;
        let context = format!("GetAccountAuthorizationDetails/{account}");
        let after = paging.marker.as_deref().map(|marker| open_marker(&context, marker)).transpose()?;
        let wanted = |kind| filters.is_empty() || filters.iter().any(|filter| filter == kind);
        // Roles come first. A marker that is an ARN is of a policy, so no role is left to tell: none is named like that.
        let after_role = after.as_deref().filter(|after| !after.starts_with("arn:"));
        let are_roles_left = after.is_none() || after_role.is_some();
        let start = after_role.map_or(Bound::Unbounded, Bound::Excluded);
        let moment = now.checked_sub(self.lag.bulk);
        let roles = self.accounts.get(account).filter(|_| are_roles_left && wanted("Role")).into_iter();
        let roles = roles
            .flat_map(|roles| roles.range::<str, _>((start, Bound::Unbounded)))
            .filter_map(|(key, history)| Some((key.as_str(), Detail::Role(history.at(moment)?.clone()))));
        // AWS's own policies are not told here: whoever needs one asks for it by its ARN.
        let start = after.as_deref().filter(|_| !are_roles_left).map_or(Bound::Unbounded, Bound::Excluded);
        let policies = self.policies.get(account).filter(|_| wanted("LocalManagedPolicy")).into_iter();
        let policies = policies
            .flat_map(|policies| policies.range::<str, _>((start, Bound::Unbounded)))
            .filter(|(arn, _)| !managed::is_of_aws(arn))
            .filter_map(|(arn, history)| Some((arn.as_str(), Detail::Policy(history.at(moment)?.clone()))));
        Ok(Answer::Details(page(roles.chain(policies), size, &context, |(key, _)| key).map(|(_, detail)| detail)))
    }

    fn page_size(&self, paging: &Paging) -> Result<usize, Refusal> {
        let size = rules::page_size(paging)?;
        Ok(self.page_cap.map_or(size, |cap| size.min(cap.max(1))))
    }

    fn assume(
        &mut self,
        by: &Identity,
        (role_arn, external_id): (&str, Option<&str>),
        session: &str,
        seconds: Option<i64>,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let seconds = match u64::try_from(seconds.unwrap_or(3600)) {
            Ok(seconds @ 900..=43_200) => seconds,
            _ => return Err(Refusal::invalid("The requested DurationSeconds is outside the range of 900 to 43200.")),
        };
        let parts: Vec<&str> = role_arn.splitn(6, ':').collect();
        let role = match parts[..] {
            ["arn", _, "iam", "", account, resource] if resource.starts_with("role/") => account
                .parse::<AccountId>()
                .ok()
                .and_then(|account| self.newest(&account, resource.rsplit('/').next()?).cloned()),
            _ => return Err(Refusal::invalid(format!("{role_arn} is invalid"))),
        };
        // STS does not tell a role that is not there from one that may not be assumed.
        let admits = |role: &Role| asks_for(role.trust.text()).is_none_or(|asked| external_id == Some(asked.as_str()));
        let Some(role) = role.filter(|role| role.arn == role_arn && admits(role)) else {
            let who = &by.arn;
            let message = format!("User: {who} is not authorized to perform: sts:AssumeRole on resource: {role_arn}");
            return Err(Refusal::new(403, "AccessDenied", message));
        };
        let origin = format!("{role_arn}/{session}/{}", self.sessions.len());
        let access_key_id = entity_id("ASIA", &origin)[..20].to_owned();
        let (name, account) = (&role.name, &role.account);
        let identity =
            Identity { account: account.clone(), arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session}") };
        let lasts = Duration::from_secs(seconds);
        let expires = now + lasts;
        let answer = Answer::Session {
            access_key_id: access_key_id.clone(),
            secret: format!("sandbox/{}", entity_id("", &origin)),
            token: format!("SandboxSession{}", entity_id("", &access_key_id)),
            expires,
            lasts,
            identity: identity.clone(),
            id: format!("{}:{session}", role.id),
        };
        self.sessions.insert(access_key_id, Session { identity, expires });
        Ok(answer)
    }
}

/// The external id that a trust policy asks for, where it does; of all else in it the sandbox knows nothing.
fn asks_for(trust: &str) -> Option<String> {
    let trust: serde_json::Value = serde_json::from_str(trust).ok()?;
    let statements = trust["Statement"].as_array()?.iter();
    let mut asked =
        statements.filter_map(|statement| statement["Condition"]["StringEquals"]["sts:ExternalId"].as_str());
    asked.next().map(str::to_owned)
}

fn no_such_role(role: &str) -> Refusal {
    Refusal::new(404, "NoSuchEntity", format!("The role with name {role} cannot be found."))
}

fn no_such_policy(policy: &str) -> Refusal {
    Refusal::new(404, "NoSuchEntity", format!("The role policy with name {policy} cannot be found."))
}

/// The first items of a listing, and a marker where more follow.
fn page<T>(mut items: impl Iterator<Item = T>, size: usize, context: &str, key: impl Fn(&T) -> &str) -> Page<T> {
    let first: Vec<T> = items.by_ref().take(size).collect();
    let is_truncated = items.next().is_some();
    let marker = first.last().filter(|_| is_truncated).map(|last| seal_marker(context, key(last)));
    Page { items: first, is_truncated, marker }
}

/// A marker names the last item of its page, sealed for one listing of one account: any other text is refused.
fn seal_marker(context: &str, last: &str) -> String {
    let hex: String = last.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("AA{:016x}{hex}", fingerprint(&format!("{context}/{last}")))
}

fn open_marker(context: &str, marker: &str) -> Result<String, Refusal> {
    let last = marker.get(18..).filter(|hex| hex.is_ascii()).and_then(|hex| {
        let bytes = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
        String::from_utf8(bytes.collect::<Option<_>>()?).ok()
    });
    last.filter(|last| seal_marker(context, last) == marker).ok_or_else(|| Refusal::invalid("Invalid Marker."))
}

#[cfg(test)]
mod tests;
