//! Reading an account: in bulk, or role by role where that costs fewer calls, or where the bulk read is denied.
//!
//! A reading role by role that was chosen ([`ReadingPlan`]) only finds out that all is as the last bulk reading told. Where
//! anything is not, or could not be read, the bulk reading follows at once: nothing is ever judged by half of what bears on a
//! role. Knows the trait, not which side of it. What must stay true: a reading is whole or it is an error; a page that
//! is missing never looks like roles that are gone.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};

use super::{
    Choice, ErrorClass, Iam, IamError, InlinePolicy, Pages, ReadingPlan, RoleDetail, Together,
    managed::{self, Library},
    reading_plan::{BULK_AT_LEAST_EVERY, Size, role_calls},
};
use crate::{
    inventory::{
        Asked, Documents, Inventory, LiveDocument, Observed, OthersDigest, Role, RoleArn, RoleKind, SUSPEND_TAG,
        Surroundings, SurroundingsKind, Unread, encoded_size,
    },
    names::{AccountId, PolicyName, RoleName},
    selector::{TagKey, tag_keys},
};

/// How many roles are read at once, where they are read one by one: each call holds a connection.
const ROLES_AT_ONCE: usize = 5;

/// How long after a denied bulk read it is asked for again: permissions are mended by people.
const BULK_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Reads one account, again and again.
#[derive(Debug)]
pub struct Reader<I> {
    iam: Arc<I>,
    account: AccountId,
    known: Mutex<Known>,
    latest: Mutex<Latest>,
    together: Arc<Together>,
    /// Whether the last bulk reading was not answered as it should.
    is_in_doubt: AtomicBool,
    /// When the bulk read was denied, and what IAM said.
    bulk_denied: Mutex<Option<(Instant, String)>>,
    /// When a reading role by role failed that was chosen.
    role_reads_failed: Mutex<Option<Instant>>,
}

/// The newest bulk reading.
#[derive(Debug, Default)]
struct Latest {
    inventory: Arc<Inventory>,
    /// What it has shown of the account, and when.
    size: Option<(Size, Instant)>,
    /// What it looked for; kept only where reading role by role would cost less.
    asked: Option<Asked>,
}

/// What readings share.
#[derive(Debug, Default)]
struct Known {
    documents: Documents,
    library: Library,
}

/// How an account was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// By pages of a thousand roles.
    InBulk,
    /// By two calls for each role, since the bulk read is denied. Holds what IAM said.
    OneByOne(String),
    /// By two calls for each role, since that costs less: all is as the last bulk reading told.
    ByRole {
        /// How long ago that was. What only a bulk reading tells is as old.
        since_bulk: Duration,
    },
}

impl<I: Iam> Reader<I> {
    /// A reader for the account that STS says the credentials belong to.
    pub fn new(iam: Arc<I>, account: AccountId) -> Self {
        Self::together(iam, account, Together::new(1))
    }

    /// The same, where several accounts are read: each has a reader with the same of this.
    pub fn together(iam: Arc<I>, account: AccountId, together: Arc<Together>) -> Self {
        Self {
            iam,
            account,
            known: Mutex::default(),
            latest: Mutex::default(),
            together,
            is_in_doubt: AtomicBool::new(false),
            bulk_denied: Mutex::default(),
            role_reads_failed: Mutex::default(),
        }
    }

    /// Reads what is asked for, and the managed policies that the roles carry. Role-by-role readings mark single roles as
    /// unknown; a bulk reading that fails is an error for all. `needs_all_roles` asks for no less than a bulk reading.
    pub async fn read(&self, asked: &Asked, needs_all_roles: bool) -> Result<(Arc<Inventory>, Manner), IamError> {
        let (inventory, manner) = self.read_roles(asked, needs_all_roles).await?;
        self.look_after_policies().await;
        Ok((self.completed(&inventory).unwrap_or(inventory), manner))
    }

    /// The same, with no more of the managed policies than readings before have found out: whoever waits for the roles
    /// need not wait for them.
    pub async fn read_roles(&self, asked: &Asked, needs_all_roles: bool) -> Result<(Arc<Inventory>, Manner), IamError> {
        if self.reading_plan(asked, needs_all_roles).choice == Choice::ByRole
            && let Some(unchanged) = self.by_role(asked).await
        {
            return Ok(unchanged);
        }
        let said = match self.bulk_lately_denied() {
            Some(said) => said,
            None => match self.bulk(asked).await {
                Err(error) if error.class == ErrorClass::Denied => {
                    *lock(&self.bulk_denied) = Some((Instant::now(), error.message.clone()));
                    // What it told last grows old: nothing is held against it any more.
                    *lock(&self.latest) = Latest::default();
                    error.message
                }
                read => {
                    let inventory = read?;
                    *lock(&self.bulk_denied) = None;
                    return Ok((inventory, Manner::InBulk));
                }
            },
        };
        Ok((Arc::new(self.one_by_one(asked).await?), Manner::OneByOne(said)))
    }

    /// How the next reading would be made, by what is known now.
    pub fn reading_plan(&self, asked: &Asked, needs_all_roles: bool) -> ReadingPlan {
        let size = lock(&self.latest).size;
        let since_bulk = size.map(|(_, at)| at.elapsed()).unwrap_or_default();
        let plan = ReadingPlan::choose(asked, size.map(|(size, _)| size), since_bulk, needs_all_roles);
        let has_failed = lock(&self.role_reads_failed).is_some_and(|at| at.elapsed() < BULK_AT_LEAST_EVERY);
        if has_failed { plan.without_role_reads() } else { plan }
    }

    /// How many calls the last bulk reading took, where there was one and it is not denied since.
    pub fn bulk_calls(&self) -> Option<usize> {
        lock(&self.latest).size.map(|(size, _)| size.pages)
    }

    /// What IAM said when it denied the bulk read, where it is not to be asked for again yet.
    fn bulk_lately_denied(&self) -> Option<String> {
        let denied = lock(&self.bulk_denied).clone();
        denied.filter(|(at, _)| at.elapsed() < BULK_AGAIN_AFTER).map(|(_, said)| said)
    }

    /// The one policy, read afresh: what stands before every write. `None` where the role has no such policy.
    pub async fn confirm(&self, role: &RoleName, policy: &PolicyName) -> Result<Option<Arc<LiveDocument>>, IamError> {
        match self.iam.role_policy(role, policy).await {
            Ok(encoded) => Ok(Some(lock(&self.known).documents.intern(&encoded))),
            Err(error) if error.class == ErrorClass::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The role as IAM tells of it now, as far as one call can: its account, path and tags. `None` where there is none.
    pub async fn role_afresh(&self, role: &Role) -> Result<Option<Role>, IamError> {
        match self.iam.role(&role.name).await {
            Ok(detail) => {
                self.check_account("GetRole", &detail)?;
                let mut fresh = role.clone();
                fresh.tags = told(&detail.tags).map(|(key, value)| (key.into(), value.into())).collect();
                fresh.is_suspended = is_suspended(&detail.tags);
                fresh.path = detail.path.into();
                Ok(Some(fresh))
            }
            Err(error) if error.class == ErrorClass::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All roles of the account, page by page, keeping those that were asked for.
    async fn bulk(&self, asked: &Asked) -> Result<Arc<Inventory>, IamError> {
        // Nobody closes it; and where somebody did, reading goes on all the same.
        let _turn = self.together.turn(self.is_in_doubt.load(Ordering::Relaxed)).await;
        let before = Arc::clone(&lock(&self.latest).inventory);
        let read = self.roles(asked, &before).await;
        // What is denied or throttled is denied or throttled at once.
        let is_in_doubt = read.as_ref().is_err_and(|error| error.class == ErrorClass::Transient);
        self.is_in_doubt.store(is_in_doubt, Ordering::Relaxed);
        let (inventory, size) = read?;
        drop(before);
        let inventory = Arc::new(inventory.compact());
        *lock(&self.latest) = Latest {
            inventory: Arc::clone(&inventory),
            size: Some((size, Instant::now())),
            asked: (asked.sought.is_empty() && role_calls(asked) < size.pages).then(|| asked.clone()),
        };
        let known = &mut *lock(&self.known);
        known.library.keep_only_what_is_carried(&inventory);
        known.documents.sweep();
        Ok(inventory)
    }

    async fn roles(&self, asked: &Asked, before: &Inventory) -> Result<(Inventory, Size), IamError> {
        let mut pages = Pages::of("GetAccountAuthorizationDetails");
        let looked_for = &LookedFor::of(asked);
        let mut inventory = Inventory::empty(asked);
        let mut size = Size { roles: 0, pages: 0 };
        let mut marker = None;
        loop {
            let page = self.iam.roles_page(marker.take()).await?;
            size = Size { roles: size.roles + page.roles.len(), pages: size.pages + 1 };
            for role in &page.roles {
                self.take_in(&mut inventory, before, looked_for, role)?;
            }
            match pages.next(page.is_truncated, page.marker)? {
                Some(next) => marker = Some(next),
                None => return Ok((inventory, size)),
            }
        }
    }

    /// The last bulk reading, where every role that is asked for still is as it told. `None` where one is not, where that
    /// could not be found out, or where another thing was asked for then.
    async fn by_role(&self, asked: &Asked) -> Option<(Arc<Inventory>, Manner)> {
        let (inventory, at) = {
            let latest = lock(&self.latest);
            latest.asked.as_ref().filter(|before| *before == asked)?;
            (Arc::clone(&latest.inventory), latest.size?.1)
        };
        let mut readings = RoleReadings::of(&self.iam, asked);
        while let Some(finished) = readings.next().await {
            let (name, read) = finished.ok()?;
            let is_as_before = match (inventory.get(&name)?, read) {
                (Observed::NotFound, Ok(None)) => true,
                (Observed::Found(role), Ok(Some((detail, live)))) => is_still(role, &detail, &live),
                (_, Err(_)) => {
                    // The bulk reading says whether it is more than that: credentials, the network.
                    *lock(&self.role_reads_failed) = Some(Instant::now());
                    false
                }
                _ => false,
            };
            if !is_as_before {
                return None;
            }
        }
        *lock(&self.role_reads_failed) = None;
        // What became known of managed policies meanwhile is in the newest.
        let newest = self.completed(&inventory).unwrap_or(inventory);
        Some((newest, Manner::ByRole { since_bulk: at.elapsed() }))
    }

    /// Brings what is known of the managed policies up to date. What fails is said there: nothing else fails by it.
    pub async fn look_after_policies(&self) {
        let carries_own = lock(&self.known).library.has_own(&self.account);
        if carries_own {
            // They come by the same call as the roles.
            let listed = match self.bulk_lately_denied() {
                Some(message) => {
                    let operation = "GetAccountAuthorizationDetails";
                    Err(IamError { class: ErrorClass::Denied, operation, code: None, message })
                }
                None => managed::list_own(self.iam.as_ref()).await,
            };
            let Known { documents, library } = &mut *lock(&self.known);
            library.take_own(&self.account, listed, documents, Instant::now());
        }
        let wanted = lock(&self.known).library.to_be_fetched(&self.account, Instant::now());
        if !wanted.is_empty() {
            let fetched = managed::fetch(&self.iam, wanted).await;
            let library = &mut lock(&self.known).library;
            library.take_fetched(fetched, &self.together, Instant::now());
        }
    }

    /// Whether of every managed policy that roles carry something is known, be it that it cannot be read.
    pub fn knows_all_policies(&self) -> bool {
        lock(&self.known).library.knows_all()
    }

    /// A reading of this account's with the managed policies as they are known by now; none where that is how it is.
    pub fn completed(&self, inventory: &Arc<Inventory>) -> Option<Arc<Inventory>> {
        let Known { documents, library } = &mut *lock(&self.known);
        let mut completed = None;
        for (name, role) in inventory.found() {
            let Some(around) = &role.surroundings else { continue };
            if around.managed().all(|policy| Arc::ptr_eq(policy, &library.policy(&policy.arn))) {
                continue;
            }
            let mut kind = SurroundingsKind::clone(&around.kind);
            for policy in kind.attached.iter_mut().chain(&mut kind.boundary) {
                *policy = library.policy(&policy.arn);
            }
            let around = Surroundings { kind: documents.surroundings_kind(kind), ..around.clone() };
            let role = Role { surroundings: Some(around), ..role.as_ref().clone() };
            let completed = completed.get_or_insert_with(|| inventory.as_ref().clone());
            completed.insert(name, Observed::Found(Arc::new(role)));
        }
        let completed = Arc::new(completed?);
        let mut latest = lock(&self.latest);
        if Arc::ptr_eq(&latest.inventory, inventory) {
            // What the next reading compares with.
            latest.inventory = Arc::clone(&completed);
        }
        drop(latest);
        Some(completed)
    }

    /// Keeps what was asked for of one role of a bulk page.
    ///
    /// A role that is as it was `before` is kept as that very value. What outlives a page is then not laid down among
    /// the page's own tens of thousands of little texts, where it would cost the allocator dear to free the rest.
    fn take_in(
        &self,
        inventory: &mut Inventory,
        before: &Inventory,
        LookedFor { asked, tag_keys }: &LookedFor<'_>,
        detail: &RoleDetail,
    ) -> Result<(), IamError> {
        self.check_account("GetAccountAuthorizationDetails", detail)?;
        let Ok(name) = detail.name.parse::<RoleName>() else { return Ok(()) };
        let tag = |key: &TagKey| key.find(told(&detail.tags));
        let Some(looked_for) = asked.looked_for(&name, &detail.path, tag) else { return Ok(()) };
        if let Some(Observed::Found(role)) = before.get(&name)
            && is_as_told(role, &looked_for, tag_keys, detail)
        {
            inventory.insert(&name, Observed::Found(Arc::clone(role)));
            return Ok(());
        }
        // The name that is wanted, where it is spelled alike: its text is there already.
        let asked_for = asked.roles.get_key_value(&name).map(|(asked_for, _)| asked_for);
        let name = asked_for.filter(|asked_for| asked_for.as_str() == name.as_str()).cloned().unwrap_or(name);
        let Known { documents, library } = &mut *lock(&self.known);
        let (mut policies, mut others) = (Vec::new(), Vec::new());
        for live in &detail.inline_policies {
            match looked_for.iter().find(|policy| live.name == policy.as_str()) {
                Some(policy) => policies.push((policy.clone(), documents.intern(&live.encoded_document))),
                None => others.push((documents.text(&live.name), documents.other(&name, &live.encoded_document))),
            }
        }
        let instance_profiles = detail.instance_profiles.iter();
        let around = SurroundingsKind {
            arn: RoleArn::new(&detail.arn, &detail.path, name.as_str()),
            trust: documents.intern(&detail.trust),
            attached: detail.attached.iter().map(|arn| library.policy(arn)).collect(),
            boundary: detail.boundary.as_ref().map(|arn| library.policy(arn)),
            instance_profiles: instance_profiles.map(|profile| documents.about(&name, profile)).collect(),
            others: others.into_iter().collect(),
        };
        let kind = RoleKind {
            path: documents.text(&detail.path),
            is_suspended: is_suspended(&detail.tags),
            tags: kept(&detail.tags, tag_keys)
                .map(|(key, value)| (documents.text(key), documents.text(value)))
                .collect(),
            policies: policies.into_iter().collect(),
        };
        let surroundings = Surroundings {
            kind: documents.surroundings_kind(around),
            inline_size: detail.inline_policies.iter().map(|live| encoded_size(&live.encoded_document)).sum(),
            others_digest: others_digest(&looked_for, detail),
        };
        let kind = documents.role_kind(kind);
        let role = Role { name: name.clone(), kind, surroundings: Some(surroundings) };
        inventory.insert(&name, Observed::Found(Arc::new(role)));
        Ok(())
    }

    /// Never a conclusion for one account from another's answer.
    fn check_account(&self, operation: &'static str, detail: &RoleDetail) -> Result<(), IamError> {
        if detail.arn.split(':').nth(4) == Some(self.account.as_str()) {
            return Ok(());
        }
        Err(IamError::contradiction(
            operation,
            format!("the answer names {}, which is not of account {}", detail.arn, self.account),
        ))
    }

    async fn one_by_one(&self, asked: &Asked) -> Result<Inventory, IamError> {
        // Not `empty`: a role whose reading ended early is unknown, not gone.
        let mut inventory = Inventory::unknown(asked);
        let tag_keys = tag_keys(asked.sought.iter().map(|sought| sought.selector.as_ref()));
        let mut failures = Vec::new();
        let mut readings = RoleReadings::of(&self.iam, asked);
        while let Some(finished) = readings.next().await {
            let Ok((asked_name, read)) = finished else { continue };
            let observed = match read {
                Ok(None) => Observed::NotFound,
                Ok(Some((detail, live))) => {
                    self.check_account("GetRole", &detail)?;
                    Observed::Found(Arc::new(Role {
                        name: detail.name.parse().unwrap_or_else(|_| asked_name.clone()),
                        kind: Arc::new(RoleKind {
                            is_suspended: is_suspended(&detail.tags),
                            tags: kept(&detail.tags, &tag_keys)
                                .map(|(key, value)| (key.into(), value.into()))
                                .collect(),
                            path: detail.path.into(),
                            policies: live
                                .into_iter()
                                .map(|(policy, encoded)| (policy, lock(&self.known).documents.intern(&encoded)))
                                .collect(),
                        }),
                        surroundings: None,
                    }))
                }
                Err(error) if matches!(error.class, ErrorClass::Credentials | ErrorClass::Clock) => return Err(error),
                Err(error) => {
                    let unread = Unread { why: error.to_string(), passes_by_itself: error.class.passes_by_itself() };
                    failures.push(error);
                    Observed::Unknown(Some(Box::new(unread)))
                }
            };
            inventory.insert(&asked_name, observed);
        }
        if failures.len() == asked.roles.len()
            && let Some(error) = failures.pop()
        {
            // What fails for every role is a failure of the reading, to be told once and not once a role.
            return Err(error);
        }
        lock(&self.known).documents.sweep();
        Ok(inventory)
    }
}

/// Whether a role is, to the letter, what IAM tells of it now.
fn is_as_told(
    role: &Role,
    looked_for: &BTreeSet<PolicyName>,
    tag_keys: &BTreeSet<TagKey>,
    detail: &RoleDetail,
) -> bool {
    let Some(around) = &role.surroundings else { return false };
    let is_as_told = |told: &InlinePolicy| match looked_for.iter().find(|policy| told.name == policy.as_str()) {
        Some(policy) => role.policies.get(policy).is_some_and(|live| live.is(&told.encoded_document)),
        // All of these together.
        None => true,
    };
    let mut profiles = around.instance_profiles.iter().zip(&detail.instance_profiles);
    role.name.as_str() == detail.name
        && *role.path == *detail.path
        && role.is_suspended == is_suspended(&detail.tags)
        && role.tags.iter().map(|(key, value)| (&**key, &**value)).eq(kept(&detail.tags, tag_keys))
        && around.arn.is(&detail.arn, &detail.path, &detail.name)
        && around.trust.is(&detail.trust)
        && around.instance_profiles.len() == detail.instance_profiles.len()
        && profiles.all(|(profile, told)| profile.is(&role.name, told))
        && around.attached.iter().map(|policy| &*policy.arn).eq(detail.attached.iter().map(String::as_str))
        && around.boundary.as_ref().map(|policy| &*policy.arn) == detail.boundary.as_deref()
        && role.policies.len() + around.others.len() == detail.inline_policies.len()
        && detail.inline_policies.iter().all(is_as_told)
        && around.others_digest == others_digest(looked_for, detail)
}

/// Of the inline policies that are not looked for.
fn others_digest(looked_for: &BTreeSet<PolicyName>, detail: &RoleDetail) -> OthersDigest {
    let is_looked_for = |told: &InlinePolicy| looked_for.iter().any(|policy| told.name == policy.as_str());
    let others = detail.inline_policies.iter().filter(|told| !is_looked_for(told));
    OthersDigest::of(others.map(|told| (told.name.as_str(), told.encoded_document.as_str())))
}

/// Whether a role is what calls of its own tell of it now, as far as they tell. What IAM percent-encodes may differ between
/// them and a bulk reading.
fn is_still(role: &Role, detail: &RoleDetail, live: &[(PolicyName, String)]) -> bool {
    let Some(around) = &role.surroundings else { return false };
    let is = |known: &LiveDocument, told: &str| known.is(told) || known.text() == LiveDocument::new(told).text();
    role.name.as_str() == detail.name
        && *role.path == *detail.path
        && role.is_suspended == is_suspended(&detail.tags)
        && around.arn.is(&detail.arn, &detail.path, &detail.name)
        && is(&around.trust, &detail.trust)
        && around.boundary.as_ref().map(|policy| &*policy.arn) == detail.boundary.as_deref()
        && role.policies.len() == live.len()
        && live.iter().all(|(policy, told)| role.policies.get(policy).is_some_and(|known| is(known, told)))
}

/// What a bulk reading looks for.
struct LookedFor<'a> {
    asked: &'a Asked,
    /// The keys of the tags by which roles are sought.
    tag_keys: BTreeSet<TagKey>,
}

impl<'a> LookedFor<'a> {
    fn of(asked: &'a Asked) -> Self {
        Self { asked, tag_keys: tag_keys(asked.sought.iter().map(|sought| sought.selector.as_ref())) }
    }
}

/// A role's tags, as IAM told them.
fn told(tags: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

/// Those of a role's tags that roles are sought by.
fn kept<'t>(tags: &'t BTreeMap<String, String>, keys: &BTreeSet<TagKey>) -> impl Iterator<Item = (&'t str, &'t str)> {
    told(tags).filter(|(key, _)| keys.iter().any(|wanted| wanted.is(key)))
}

/// Whether somebody has tagged the role to be left alone. IAM compares the keys of tags ignoring case.
fn is_suspended(tags: &BTreeMap<String, String>) -> bool {
    tags.iter().any(|(key, value)| key.eq_ignore_ascii_case(SUSPEND_TAG) && !value.eq_ignore_ascii_case("false"))
}

/// What single calls tell of one role and of the policies that are looked for on it; `None` where there is no such role.
type ReadRole = Result<Option<(RoleDetail, Vec<(PolicyName, String)>)>, IamError>;

/// The roles that are asked for by name, each read by calls of its own, some at a time. What is dropped ends with it.
struct RoleReadings<'a, I> {
    iam: &'a Arc<I>,
    waiting: btree_map::Iter<'a, RoleName, Arc<BTreeSet<PolicyName>>>,
    under_way: JoinSet<(RoleName, ReadRole)>,
}

impl<'a, I: Iam> RoleReadings<'a, I> {
    fn of(iam: &'a Arc<I>, asked: &'a Asked) -> Self {
        Self { iam, waiting: asked.roles.iter(), under_way: JoinSet::new() }
    }

    /// The next that is done, in whatever order; an error where one ended early.
    async fn next(&mut self) -> Option<Result<(RoleName, ReadRole), JoinError>> {
        while self.under_way.len() < ROLES_AT_ONCE
            && let Some((role, policies)) = self.waiting.next()
        {
            let (iam, role, policies) = (Arc::clone(self.iam), role.clone(), Arc::clone(policies));
            self.under_way.spawn(async move {
                let read = read_role(iam.as_ref(), &role, &policies).await;
                (role, read)
            });
        }
        self.under_way.join_next().await
    }
}

async fn read_role<I: Iam>(iam: &I, name: &RoleName, policies: &BTreeSet<PolicyName>) -> ReadRole {
    let detail = match iam.role(name).await {
        Ok(detail) => detail,
        Err(error) if error.class == ErrorClass::Gone => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut live = Vec::new();
    for policy in policies {
        match iam.role_policy(name, policy).await {
            Ok(encoded) => live.push((policy.clone(), encoded)),
            Err(error) if error.class == ErrorClass::Gone => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some((detail, live)))
}

/// A panic elsewhere leaves these values whole: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
