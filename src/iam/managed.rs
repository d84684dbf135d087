//! The managed policies that managed roles carry: each is fetched once, and again when it has another version.
//!
//! Knows the trait and no manifests. The account's own policies come with one listing a reading, made only where a
//! managed role carries one; AWS's are asked for one by one, their versions again every [`ASKED_AGAIN_AFTER`]. What must
//! stay true: what could not be fetched is said to be unknown, with the reason, and asking one by one never holds up a
//! reading for longer than [`PATIENCE`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{ErrorClass, Iam, IamError, Pages, PolicyDetail, Together};
use crate::{
    inventory::{Documents, Inventory, ManagedPolicy},
    names::AccountId,
};

/// AWS changes its policies a few times a year.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// After a refusal, of whatever kind: people mend it.
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

    /// Whether none is left that nobody has asked for so far.
    pub(super) fn knows_all(&self) -> bool {
        let is_new = |entry: &Entry| matches!(&entry.policy.document, Err(why) if why == ManagedPolicy::NOT_YET);
        !self.policies.values().any(is_new)
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
                Some((version, Some(encoded))) => entry.told(version, encoded, now, |arn| {
                    Arc::new(ManagedPolicy::new(Arc::clone(arn), Ok(documents.intern(encoded))))
                }),
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
    pub(super) fn take_fetched(&mut self, fetched: Vec<Fetched>, together: &Together, now: Instant) {
        for (arn, told) in fetched {
            let Some(entry) = self.policies.get_mut(&arn) else { continue };
            let rests = match &told {
                Err(error) if error.class.passes_by_itself() => None,
                // Permissions, credentials, the clock.
                Err(error) if error.class != ErrorClass::Gone => Some(REFUSED_AGAIN_AFTER),
                _ => Some(ASKED_AGAIN_AFTER),
            };
            entry.rests_until = rests.map(|rests| now + rests);
            match told {
                Ok(Some((version, encoded))) => {
                    entry.told(&version, &encoded, now, |arn| together.policy(arn, &encoded))
                }
                Ok(None) => entry.told = Some(now),
                Err(error) if error.class == ErrorClass::Gone => entry.unknown("IAM says that there is no such policy"),
                Err(error) => entry.not_told(&error.to_string(), now),
            }
        }
    }
}

impl Entry {
    /// Its default version is this one, of this document; `policy` makes it.
    fn told(
        &mut self,
        version: &str,
        encoded: &str,
        now: Instant,
        policy: impl FnOnce(&Arc<str>) -> Arc<ManagedPolicy>,
    ) {
        self.told = Some(now);
        self.version = Some(version.to_owned());
        let is_known = self.policy.document.as_ref().is_ok_and(|known| known.is(encoded));
        if !is_known {
            self.policy = policy(&self.policy.arn);
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

/// Asks for AWS's policies that are not known, or whose version was not asked for lately. Something comes of each.
pub(super) async fn fetch<I: Iam>(iam: &Arc<I>, wanted: Vec<(Arc<str>, Option<String>)>) -> Vec<Fetched> {
    let deadline = Instant::now() + PATIENCE;
    let (mut fetched, mut calls) = (Vec::new(), JoinSet::new());
    let mut unanswered: BTreeSet<Arc<str>> = wanted.iter().map(|(arn, _)| Arc::clone(arn)).collect();
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
            Ok(Some(Ok(done))) => {
                unanswered.remove(&done.0);
                fetched.push(done);
            }
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => break,
        }
    }
    fetched.extend(unanswered.into_iter().map(|arn| (arn, Err(no_answer()))));
    fetched
}

fn no_answer() -> IamError {
    let message = format!("no answer within {} s", PATIENCE.as_secs());
    IamError { class: ErrorClass::Transient, operation: "GetPolicy", code: None, message }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::time::advance;

    use super::*;
    use crate::{
        iam::Reader,
        inventory::{Asked, Observed, Role},
        names::RoleName,
        sandbox::{Effect, Fault, InProcess, RoleChange, RoleSeed, Sandbox},
    };

    const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    const PLANTED: &str = "arn:aws:iam::aws:policy/Planted";
    const OWN: &str = "arn:aws:iam::111122223333:policy/guard";
    const BULK: &str = "GetAccountAuthorizationDetails";
    const GRANT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssm:*","Resource":"*"}]}"#;
    const DENY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ssm:*","Resource":"*"}]}"#;

    /// An account with managed roles, read again and again.
    struct Fleet {
        sandbox: Sandbox,
        account: AccountId,
        reader: Reader<InProcess>,
        asked: Asked,
    }

    impl Fleet {
        fn of(roles: impl IntoIterator<Item = RoleSeed>) -> Self {
            let account: AccountId = "111122223333".parse().unwrap();
            let (sandbox, mut asked) = (Sandbox::new(account.clone()), Asked::default());
            for role in roles {
                asked.roles.insert(role.name.parse().unwrap(), BTreeSet::from(["Ours".parse().unwrap()]).into());
                sandbox.plant(&account, role);
            }
            sandbox.plant_policy(&account, OWN, GRANT);
            sandbox.plant_policy(&account, PLANTED, GRANT);
            let reader = Reader::new(Arc::new(sandbox.iam(&account)), account.clone());
            Self { sandbox, account, reader, asked }
        }

        async fn read(&self) -> Arc<Inventory> {
            self.reader.read(&self.asked, false).await.unwrap().0
        }

        /// What one reading calls, and how often.
        async fn calls(&self) -> BTreeMap<&'static str, u64> {
            self.sandbox.clear_calls();
            self.read().await;
            self.sandbox.counts().into_iter().map(|(operation, count)| (operation, count.calls)).collect()
        }

        /// What a reading says of the one policy of a role: its text, or why that is not known.
        async fn says(&self, role: &str) -> Result<String, String> {
            let inventory = self.read().await;
            let policies: Vec<_> = around(&inventory, role).managed().map(Arc::clone).collect();
            assert_eq!(policies.len(), 1);
            policies[0].document.as_ref().map(|document| document.text()).map_err(Clone::clone)
        }

        fn change(&self, role: &str, change: RoleChange) {
            assert!(self.sandbox.change_role(&self.account, role, &change));
        }

        fn write(&self, arn: &str, document: &str) {
            assert!(self.sandbox.write_managed(&self.account, arn, document));
        }
    }

    fn found(inventory: &Inventory, name: &str) -> Arc<Role> {
        match inventory.get(&name.parse::<RoleName>().unwrap()) {
            Some(Observed::Found(role)) => Arc::clone(role),
            other => panic!("{name}: {other:?}"),
        }
    }

    fn around(inventory: &Inventory, name: &str) -> crate::inventory::Surroundings {
        found(inventory, name).surroundings.clone().unwrap()
    }

    fn calls(calls: &[(&'static str, u64)]) -> BTreeMap<&'static str, u64> {
        calls.iter().copied().collect()
    }

    fn fault(effect: Effect) -> Fault {
        Fault::new(effect).on("GetPolicy")
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_a_thousand_roles_share_is_fetched_and_parsed_once() {
        let seeds = (0..1_000).map(|number| RoleSeed::new(&format!("web-{number}")).attached(CORE).boundary(OWN));
        let fleet = Fleet::of(seeds);
        assert_eq!(fleet.calls().await, calls(&[(BULK, 2), ("GetPolicy", 1), ("GetPolicyVersion", 1)]));
        let inventory = fleet.read().await;
        let first = around(&inventory, "web-0");
        assert!(first.managed().all(|policy| policy.document.is_ok()) && first.managed().count() == 2);
        for number in 1..1_000 {
            let other = around(&inventory, &format!("web-{number}"));
            assert!(first.managed().zip(other.managed()).all(|(one, other)| Arc::ptr_eq(one, other)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_that_were_told_the_same_of_a_policy_keep_it_once_and_each_asks_itself() {
        let sandbox = Sandbox::new("111122223333".parse().unwrap());
        let (together, role) = (Together::new(1), "web".parse::<RoleName>().unwrap());
        let mut policies = Vec::new();
        for account in ["111122223333", "222233334444"].map(|id| id.parse::<AccountId>().unwrap()) {
            sandbox.plant(&account, RoleSeed::new("web").attached(CORE));
            let iam = Arc::new(sandbox.iam(&account));
            let reader = Reader::together(iam, account, Arc::clone(&together));
            let mut asked = Asked::default();
            asked.roles.insert(role.clone(), BTreeSet::from(["Ours".parse().unwrap()]).into());
            let (inventory, _) = reader.read(&asked, false).await.unwrap();
            policies.extend(around(&inventory, "web").managed().cloned());
        }
        assert!(Arc::ptr_eq(&policies[0], &policies[1]) && policies[0].document.is_ok());
        assert_eq!(sandbox.counts()["GetPolicy"].calls, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_roles_have_in_common_is_kept_once_also_after_their_policies_became_known() {
        let seeds = (0..100).map(|number| RoleSeed::new(&format!("web-{number}")).attached(CORE).boundary(OWN));
        let fleet = Fleet::of(seeds.chain([RoleSeed::new("other").attached(CORE)]));
        for reading in 0..3 {
            let inventory = fleet.read().await;
            let (first, around_it) = (found(&inventory, "web-0"), around(&inventory, "web-0"));
            for number in 1..100 {
                let name = format!("web-{number}");
                assert!(Arc::ptr_eq(&first.kind, &found(&inventory, &name).kind), "{reading}: {name}");
                assert!(Arc::ptr_eq(&around_it.kind, &around(&inventory, &name).kind), "{reading}: {name}");
            }
            let other = around(&inventory, "other");
            assert!(other.boundary.is_none() && !Arc::ptr_eq(&around_it.kind, &other.kind));
            fleet.write(OWN, &format!(r#"{{"Version":"2012-10-17","Statement":[],"Id":"{reading}"}}"#));
            advance(Duration::from_secs(60)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_reading_makes_bulk_calls_alone_and_keeps_every_value() {
        let fleet = Fleet::of([RoleSeed::new("web").attached(CORE), RoleSeed::new("own").attached(OWN)]);
        let first = fleet.read().await;
        for _ in 0..3 {
            advance(Duration::from_secs(60)).await;
            assert_eq!(fleet.calls().await, calls(&[(BULK, 2)]));
            let again = fleet.read().await;
            assert!(["web", "own"].iter().all(|role| Arc::ptr_eq(&found(&first, role), &found(&again, role))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_account_s_own_policies_are_listed_only_while_a_managed_role_carries_one() {
        let fleet = Fleet::of([RoleSeed::new("web"), RoleSeed::new("db").attached(CORE)]);
        fleet.sandbox.plant(&fleet.account, RoleSeed::new("unmanaged").attached(OWN));
        fleet.read().await;
        assert_eq!(fleet.calls().await, calls(&[(BULK, 1)]));
        fleet.change("web", RoleChange::default().boundary(Some(OWN)));
        assert_eq!(fleet.says("web").await.as_deref(), Ok(GRANT), "in the very reading in which it is met first");
        assert_eq!(fleet.calls().await, calls(&[(BULK, 2)]));
        fleet.change("web", RoleChange::default().boundary(None));
        fleet.read().await;
        assert_eq!(fleet.calls().await, calls(&[(BULK, 1)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_default_version_is_seen_at_the_next_reading_and_changes_no_role_but_those_that_carry_it() {
        let seeds = [
            RoleSeed::new("own").attached(OWN),
            RoleSeed::new("bounded").boundary(OWN),
            RoleSeed::new("web").attached(CORE),
        ];
        let fleet = Fleet::of(seeds);
        let before = fleet.read().await;
        fleet.write(OWN, DENY);
        let after = fleet.read().await;
        let is_kept = |role| Arc::ptr_eq(&found(&before, role), &found(&after, role));
        assert_eq!(["own", "bounded", "web"].map(is_kept), [false, false, true]);
        let text = |inventory: &Inventory, role| {
            let around = around(inventory, role);
            around.managed().next().unwrap().document.as_ref().unwrap().text()
        };
        assert_eq!(["own", "bounded"].map(|role| text(&before, role)), [GRANT; 2]);
        assert_eq!(["own", "bounded"].map(|role| text(&after, role)), [DENY; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn aws_s_policies_are_looked_after_hourly() {
        let fleet = Fleet::of([RoleSeed::new("web").attached(PLANTED)]);
        let start = Instant::now();
        assert_eq!(fleet.says("web").await.as_deref(), Ok(GRANT));
        fleet.write(PLANTED, DENY);
        advance(ASKED_AGAIN_AFTER - Duration::from_secs(1)).await;
        assert_eq!(fleet.calls().await, calls(&[(BULK, 1)]));
        assert_eq!(fleet.says("web").await.as_deref(), Ok(GRANT));
        advance(Duration::from_secs(1)).await;
        assert_eq!(fleet.calls().await, calls(&[(BULK, 1), ("GetPolicy", 1), ("GetPolicyVersion", 1)]));
        assert_eq!(fleet.says("web").await.as_deref(), Ok(DENY));
        advance(ASKED_AGAIN_AFTER).await;
        assert_eq!(fleet.calls().await, calls(&[(BULK, 1), ("GetPolicy", 1)]), "the version is the one that is known");
        assert!(start.elapsed() < ASKED_AGAIN_AFTER * 2 + Duration::from_secs(1), "no reading took long");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_had_is_unknown_with_its_reason_and_fails_no_reading() {
        let fleet = Fleet::of([
            RoleSeed::new("gone").attached("arn:aws:iam::aws:policy/NoSuch"),
            RoleSeed::new("unlisted").attached("arn:aws:iam::111122223333:policy/no-such"),
        ]);
        assert_eq!(fleet.says("gone").await.unwrap_err(), "IAM says that there is no such policy");
        assert_eq!(fleet.says("unlisted").await.unwrap_err(), "IAM lists no such policy");

        let denied = Fleet::of([RoleSeed::new("web").attached(PLANTED)]);
        denied.sandbox.fault(fault(Effect::Deny));
        assert!(denied.says("web").await.unwrap_err().contains("not authorized"));

        let unlisted = Fleet::of([RoleSeed::new("web").attached(OWN)]);
        // The roles come first, then the policies.
        unlisted.sandbox.fault(Fault::new(Effect::Deny).on(BULK).after(1).times(1));
        assert!(unlisted.says("web").await.unwrap_err().contains("not authorized"));
        assert_eq!(unlisted.says("web").await.as_deref(), Ok(GRANT));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_refusal_it_is_asked_for_again_ten_minutes_later_and_after_a_failure_by_the_next_reading() {
        for effect in [Effect::Deny, Effect::InvalidClientTokenId] {
            let fleet = Fleet::of([RoleSeed::new("web").attached(PLANTED)]);
            fleet.sandbox.fault(fault(effect).times(1));
            assert!(fleet.says("web").await.is_err());
            advance(REFUSED_AGAIN_AFTER - Duration::from_secs(1)).await;
            assert_eq!(fleet.calls().await, calls(&[(BULK, 1)]));
            assert!(fleet.says("web").await.is_err());
            advance(Duration::from_secs(1)).await;
            assert_eq!(fleet.says("web").await.as_deref(), Ok(GRANT));
        }

        let throttled = Fleet::of([RoleSeed::new("web").attached(PLANTED)]);
        throttled.sandbox.fault(fault(Effect::Throttle).times(1));
        assert!(throttled.says("web").await.unwrap_err().contains("Rate exceeded"));
        assert_eq!(throttled.says("web").await.as_deref(), Ok(GRANT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_is_not_told_holds_up_a_reading_for_five_seconds_at_most() {
        let fleet = Fleet::of([RoleSeed::new("web").attached(PLANTED), RoleSeed::new("core").attached(CORE)]);
        fleet.sandbox.fault(fault(Effect::Hang).times(1));
        let start = Instant::now();
        let inventory = fleet.read().await;
        assert_eq!(start.elapsed(), PATIENCE);
        let known = ["web", "core"].map(|role| around(&inventory, role).managed().next().unwrap().document.is_ok());
        assert_eq!(known.iter().filter(|known| **known).count(), 1, "the other one came all the same");
        let why = inventory
            .found()
            .filter_map(|(_, role)| role.surroundings.as_ref()?.attached[0].document.as_ref().err())
            .next();
        assert!(why.unwrap().contains("no answer within 5 s"), "{why:?}");
        assert!(fleet.says("web").await.is_ok() && fleet.says("core").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_bulk_read_is_denied_the_account_s_own_policies_are_not_asked_for_either() {
        let fleet = Fleet::of([RoleSeed::new("web").attached(OWN)]);
        assert_eq!(fleet.says("web").await.as_deref(), Ok(GRANT));
        fleet.sandbox.fault(Fault::new(Effect::Deny).on(BULK));
        let bulk_calls = async || fleet.calls().await.get(BULK).copied().unwrap_or_default();
        assert_eq!(bulk_calls().await, 1);
        for _ in 0..9 {
            advance(Duration::from_secs(60)).await;
            assert_eq!(bulk_calls().await, 0);
        }
        advance(Duration::from_secs(60)).await;
        assert_eq!(bulk_calls().await, 1, "ten minutes later it is asked for again");
        fleet.sandbox.clear_faults();
        advance(Duration::from_secs(600)).await;
        assert_eq!(fleet.says("web").await.as_deref(), Ok(GRANT));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_is_believed_for_two_hours_where_nobody_can_say_and_no_longer() {
        for effect in [Effect::Unavailable, Effect::Hang, Effect::Deny] {
            let fleet = Fleet::of([RoleSeed::new("web").attached(PLANTED)]);
            assert!(fleet.says("web").await.is_ok());
            fleet.sandbox.fault(fault(effect.clone()));
            advance(BELIEVED_FOR - Duration::from_secs(60)).await;
            assert_eq!(fleet.says("web").await.as_deref(), Ok(GRANT), "{effect:?}");
            advance(REFUSED_AGAIN_AFTER).await;
            assert!(fleet.says("web").await.is_err(), "{effect:?}");
            fleet.sandbox.clear_faults();
            advance(REFUSED_AGAIN_AFTER).await;
            assert_eq!(fleet.says("web").await.as_deref(), Ok(GRANT), "{effect:?}");
        }
    }
}
