//! The managed policies that managed roles carry: each is fetched once, and again when it has another version.
//!
//! Knows the trait and no manifests. The account's own policies come with one listing a reading, made only where a
//! managed role carries one; AWS's are asked for one by one, their versions again every [`ASKED_AGAIN_AFTER`]. What must
//! stay true: what could not be fetched is said to be unknown, with the reason, and never holds up a reading for longer
//! than [`PATIENCE`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{ErrorClass, Iam, IamError, Pages, PolicyDetail};
use crate::{
    inventory::{Documents, Inventory, ManagedPolicy},
    names::AccountId,
};

/// AWS changes its policies a few times a year.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// After a refusal: permissions are mended by people.
const REFUSED_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// How long what was fetched is believed where it cannot be looked after.
const BELIEVED_FOR: Duration = Duration::from_secs(2 * 60 * 60);

/// How long one reading waits for policies that it has to ask for one by one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Each call holds a connection.
const AT_ONCE: usize = 5;

/// What is known of the managed policies that managed roles carry.
#[derive(Debug, Default)]
pub(super) struct Library {
    policies: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    policy: Arc<ManagedPolicy>,
    version: Option<String>,
    /// When its version was last told.
    told: Option<Instant>,
    /// Until when it need not be asked for.
    rests_until: Option<Instant>,
}

/// What came of asking for one policy.
type Fetched = (Arc<str>, Result<Option<(String, String)>, IamError>);

impl Library {
    /// The policy as far as it is known; one that nobody asked for before is remembered as wanted.
    pub(super) fn policy(&mut self, arn: &str) -> Arc<ManagedPolicy> {
        if let Some(entry) = self.policies.get(arn) {
            return Arc::clone(&entry.policy);
        }
        let arn: Arc<str> = arn.into();
        let document = Err(ManagedPolicy::NOT_YET.to_owned());
        let policy = Arc::new(ManagedPolicy::new(Arc::clone(&arn), document));
        self.policies.insert(arn, Entry { policy: Arc::clone(&policy), version: None, told: None, rests_until: None });
        policy
    }

    /// Forgets the policies that no role of this reading carries.
    pub(super) fn keep_only_what_is_carried(&mut self, inventory: &Inventory) {
        let carried: BTreeSet<&str> = carried(inventory).map(|policy| &*policy.arn).collect();
        self.policies.retain(|arn, _| carried.contains(&**arn));
    }

    /// Whether a role carries a policy of the account's own.
    pub(super) fn has_own(&self, account: &AccountId) -> bool {
        self.policies.keys().any(|arn| is_of(arn, account))
    }

    /// Takes in a listing of the account's own policies, or why there is none.
    pub(super) fn take_own(
        &mut self,
        account: &AccountId,
        listed: Result<Vec<PolicyDetail>, IamError>,
        documents: &mut Documents,
        now: Instant,
    ) {
        let own = self.policies.iter_mut().filter(|(arn, _)| is_of(arn, account));
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => return own.for_each(|(_, entry)| entry.not_told(&error.to_string(), now)),
        };
        let by_arn: BTreeMap<&str, &PolicyDetail> = listed.iter().map(|detail| (detail.arn.as_str(), detail)).collect();
        for (arn, entry) in own {
            match by_arn.get(&**arn).map(|detail| (&detail.version, &detail.encoded_document)) {
                Some((version, Some(encoded))) => entry.told(version, encoded, documents, now),
                Some((_, None)) => entry.unknown("IAM lists it without its default version"),
                None => entry.unknown("IAM lists no such policy"),
            }
        }
    }

    /// The policies that [`fetch`] is to ask for, each with the version that is known.
    pub(super) fn to_be_fetched(&self, account: &AccountId, now: Instant) -> Vec<(Arc<str>, Option<String>)> {
        let is_due = |entry: &Entry| entry.rests_until.is_none_or(|until| until <= now);
        let due = self.policies.iter().filter(|(arn, entry)| !is_of(arn, account) && is_due(entry));
        due.map(|(arn, entry)| (Arc::clone(arn), entry.version.clone())).collect()
    }

    /// Takes in what was asked for one by one.
    pub(super) fn take_fetched(&mut self, fetched: Vec<Fetched>, documents: &mut Documents, now: Instant) {
        for (arn, told) in fetched {
            let Some(entry) = self.policies.get_mut(&arn) else { continue };
            let rests = match &told {
                Err(error) if error.class == ErrorClass::Denied => Some(REFUSED_AGAIN_AFTER),
                Err(error) if error.class.passes_by_itself() => None,
                _ => Some(ASKED_AGAIN_AFTER),
            };
            entry.rests_until = rests.map(|rests| now + rests);
            match told {
                Ok(Some((version, encoded))) => entry.told(&version, &encoded, documents, now),
                Ok(None) => entry.told = Some(now),
                Err(error) if error.class == ErrorClass::Gone => entry.unknown("IAM says that there is no such policy"),
                Err(error) => entry.not_told(&error.to_string(), now),
            }
        }
    }
}

impl Entry {
    fn told(&mut self, version: &str, encoded: &str, documents: &mut Documents, now: Instant) {
        self.told = Some(now);
        self.version = Some(version.to_owned());
        let is_known = self.policy.document.as_ref().is_ok_and(|known| known.is(encoded));
        if !is_known {
            let document = Ok(documents.intern(encoded));
            self.policy = Arc::new(ManagedPolicy::new(Arc::clone(&self.policy.arn), document));
        }
    }

    /// Nobody could say: what was told before is believed for a while.
    fn not_told(&mut self, why: &str, now: Instant) {
        if self.told.is_none_or(|told| now.duration_since(told) >= BELIEVED_FOR) {
            self.unknown(why);
        }
    }

    fn unknown(&mut self, why: &str) {
        (self.version, self.told) = (None, None);
        if self.policy.document.as_ref().err().is_none_or(|known| known != why) {
            self.policy = Arc::new(ManagedPolicy::new(Arc::clone(&self.policy.arn), Err(why.to_owned())));
        }
    }
}

/// Asks for AWS's policies that are not known, or whose version was not asked for lately.
pub(super) async fn fetch<I: Iam>(iam: &Arc<I>, wanted: Vec<(Arc<str>, Option<String>)>) -> Vec<Fetched> {
    let deadline = Instant::now() + PATIENCE;
    let (mut fetched, mut calls) = (Vec::new(), JoinSet::new());
    let mut waiting = wanted.into_iter();
    loop {
        while calls.len() < AT_ONCE
            && let Some((arn, known)) = waiting.next()
        {
            let iam = Arc::clone(iam);
            calls.spawn(async move {
                let told = fetch_one(iam.as_ref(), &arn, known.as_deref()).await;
                (arn, told)
            });
        }
        // What takes longer is asked for again by the next reading.
        match timeout_at(deadline, calls.join_next()).await {
            Ok(Some(Ok(done))) => fetched.push(done),
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return fetched,
        }
    }
}

/// The default version and its document; `None` where it is the version that is known.
async fn fetch_one<I: Iam>(iam: &I, arn: &str, known: Option<&str>) -> Result<Option<(String, String)>, IamError> {
    let version = iam.managed_policy(arn).await?.version;
    if Some(version.as_str()) == known {
        return Ok(None);
    }
    let encoded = iam.managed_policy_document(arn, &version).await?;
    Ok(Some((version, encoded)))
}

/// All managed policies of the account's own, page by page.
pub(super) async fn list_own<I: Iam>(iam: &I) -> Result<Vec<PolicyDetail>, IamError> {
    let mut pages = Pages::of("GetAccountAuthorizationDetails");
    let (mut listed, mut marker) = (Vec::new(), None);
    loop {
        let page = iam.policies_page(marker.take()).await?;
        listed.extend(page.policies);
        match pages.next(page.is_truncated, page.marker)? {
            Some(next) => marker = Some(next),
            None => return Ok(listed),
        }
    }
}

/// Every managed policy of every role, as often as it is carried.
pub(super) fn carried(inventory: &Inventory) -> impl Iterator<Item = &Arc<ManagedPolicy>> {
    inventory.found().filter_map(|(_, role)| role.surroundings.as_ref()).flat_map(|around| around.managed())
}

/// Whether it is the account's own, and not AWS's.
fn is_of(arn: &str, account: &AccountId) -> bool {
    arn.split(':').nth(4) == Some(account.as_str())
}
