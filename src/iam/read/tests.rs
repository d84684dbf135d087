//! Readings of a sandbox, under a paused clock.

use tokio::time::advance;

use super::*;
use crate::sandbox::{Effect, Fault, InProcess, RoleChange, RoleSeed, Sandbox};

#[tokio::test]
async fn a_role_that_did_not_change_is_the_value_of_the_reading_before() {
    let account: AccountId = "111122223333".parse().unwrap();
    let sandbox = Sandbox::new(account.clone());
    for role in ["left-alone", "changed", "beside", "unheld"] {
        sandbox.plant(&account, RoleSeed::new(role).policy("Ours", "{}").policy("Other", "{}"));
    }
    let reader = Reader::new(Arc::new(sandbox.iam(&account)), account.clone());
    let ours: PolicyName = "Ours".parse().unwrap();
    let names = ["left-alone", "changed", "beside", "unheld"].map(|name| name.parse::<RoleName>().unwrap());
    let asked: Asked = names.iter().map(|name| (name.clone(), BTreeSet::from([ours.clone()]))).collect();

    let (first, _) = reader.read(&asked, false).await.unwrap();
    sandbox.write_policy(&account, "changed", "Ours", r#"{"Version":"2012-10-17","Statement":[]}"#);
    sandbox.write_policy(&account, "beside", "Other", "{ \"more\": true }");
    sandbox.change_role(&account, "unheld", &RoleChange::default().instance_profiles(&["another"]));
    let (second, _) = reader.read(&asked, false).await.unwrap();

    let role = |inventory: &Inventory, name: &RoleName| match inventory.get(name) {
        Some(Observed::Found(role)) => Arc::clone(role),
        other => panic!("{name}: {other:?}"),
    };
    let is_shared = |name: &RoleName| Arc::ptr_eq(&role(&first, name), &role(&second, name));
    assert_eq!(names.each_ref().map(is_shared), [true, false, false, false]);
    assert!(role(&second, &names[1]).policies.get(&ours).unwrap().text().contains("Statement"));
    assert_eq!(role(&second, &names[2]).surroundings.as_ref().unwrap().inline_size, 2 + 13);
}

const POLICY: &str = "Ours";
const GUARD: &str = "arn:aws:iam::111122223333:policy/guard";
const BULK: &str = "GetAccountAuthorizationDetails";

/// One managed role among others, and a reader that has read them in bulk.
struct Few {
    sandbox: Sandbox,
    account: AccountId,
    reader: Reader<InProcess>,
    asked: Asked,
}

impl Few {
    /// An account of so many roles, by pages of so many.
    async fn among(roles: usize, page: u16) -> Self {
        let account: AccountId = "111122223333".parse().unwrap();
        let sandbox = Sandbox::new(account.clone());
        sandbox.plant(&account, RoleSeed::new("web").policy(POLICY, "{}").policy("Other", "{}"));
        for number in 1..roles {
            sandbox.plant(&account, RoleSeed::new(&format!("other-{number}")));
        }
        let reader = Reader::new(Arc::new(sandbox.iam(&account).page_size(page)), account.clone());
        let asked = Asked::from_iter([("web".parse().unwrap(), BTreeSet::from([POLICY.parse().unwrap()]))]);
        let few = Self { sandbox, account, reader, asked };
        assert_eq!(few.read().await.1, Manner::InBulk);
        few
    }

    async fn read(&self) -> (Arc<Inventory>, Manner) {
        self.sandbox.clear_calls();
        self.reader.read(&self.asked, false).await.unwrap()
    }

    fn calls(&self) -> Vec<(&'static str, u64)> {
        self.sandbox.counts().into_iter().map(|(operation, count)| (operation, count.calls)).collect()
    }

    fn change(&self, change: &RoleChange) {
        assert!(self.sandbox.change_role(&self.account, "web", change));
    }
}

#[tokio::test(start_paused = true)]
async fn one_managed_role_among_five_thousand_is_read_by_two_calls_where_a_bulk_reading_takes_five() {
    let few = Few::among(5_000, 1_000).await;
    assert_eq!(few.calls(), [(BULK, 5)]);
    let (first, _) = few.read().await;
    assert_eq!(few.calls(), [("GetRole", 1), ("GetRolePolicy", 1)]);
    advance(Duration::from_secs(60)).await;
    let (second, manner) = few.read().await;
    assert_eq!(manner, Manner::ByRole { since_bulk: Duration::from_secs(60) });
    assert!(Arc::ptr_eq(&first, &second), "what did not change is the very value of the reading before");
    let Some(Observed::Found(role)) = second.get(&"web".parse().unwrap()) else { panic!("it was found") };
    assert!(role.surroundings.as_ref().is_some_and(|around| around.others.len() == 1 && around.inline_size == 4));
}

/// What somebody does to an account.
type Change = (&'static str, fn(&Few));

#[tokio::test(start_paused = true)]
async fn what_is_not_as_the_last_bulk_reading_told_is_read_in_bulk_at_once() {
    let changes: [Change; 8] = [
        ("another document", |few| assert!(few.sandbox.write_policy(&few.account, "web", POLICY, "{ }"))),
        ("no policy", |few| assert!(few.sandbox.remove_policy(&few.account, "web", POLICY))),
        ("another trust policy", |few| few.change(&RoleChange::default().trust("{}"))),
        ("a boundary", |few| few.change(&RoleChange::default().boundary(Some(GUARD)))),
        ("a tag", |few| assert!(few.sandbox.tag(&few.account, "web", SUSPEND_TAG, Some("")))),
        ("no role", |few| assert!(few.sandbox.remove_role(&few.account, "web"))),
        ("another path", |few| {
            few.sandbox.remove_role(&few.account, "web");
            few.sandbox.make_role(&few.account, RoleSeed::new("web").path("/team/").policy(POLICY, "{}"));
        }),
        ("another case", |few| {
            few.sandbox.remove_role(&few.account, "web");
            few.sandbox.make_role(&few.account, RoleSeed::new("Web").policy(POLICY, "{}"));
        }),
    ];
    for (what, change) in changes {
        let few = Few::among(4, 1).await;
        assert!(matches!(few.read().await.1, Manner::ByRole { .. }), "{what}");
        change(&few);
        let (inventory, manner) = few.read().await;
        assert_eq!(manner, Manner::InBulk, "{what}");
        let pages = few.sandbox.counts()[BULK].calls;
        // A boundary of the account's own is looked for among its policies, too.
        let expected = few.sandbox.roles(&few.account).len() as u64 + u64::from(what == "a boundary");
        assert_eq!(pages, expected, "{what}");
        let is_gone = matches!(inventory.get(&"web".parse().unwrap()), Some(Observed::NotFound));
        assert_eq!(is_gone, what == "no role");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_still_not_there_takes_one_call() {
    let few = Few::among(4, 1).await;
    few.sandbox.remove_role(&few.account, "web");
    assert_eq!(few.read().await.1, Manner::InBulk);
    assert!(matches!(few.read().await.1, Manner::ByRole { .. }));
    assert_eq!(few.calls(), [("GetRole", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_bulk_reading_is_made_at_least_once_an_hour() {
    let few = Few::among(4, 1).await;
    let mut bulk = 0;
    for _ in 0..180 {
        advance(Duration::from_secs(60)).await;
        let (_, manner) = few.read().await;
        bulk += usize::from(manner == Manner::InBulk);
    }
    assert_eq!(bulk, 3);
}

#[tokio::test(start_paused = true)]
async fn where_something_is_to_be_decided_or_another_thing_is_asked_for_it_is_the_bulk_reading() {
    let few = Few::among(6, 1).await;
    assert_eq!(few.reader.read(&few.asked, true).await.unwrap().1, Manner::InBulk);
    let more: Asked = few
        .asked
        .roles
        .keys()
        .map(|role| (role.clone(), ["Ours", "Other"].map(|name| name.parse().unwrap()).into()))
        .collect();
    assert_eq!(few.reader.read(&more, false).await.unwrap().1, Manner::InBulk, "nobody has looked for this so far");
    assert!(matches!(few.reader.read(&more, false).await.unwrap().1, Manner::ByRole { .. }));
}

#[tokio::test(start_paused = true)]
async fn roles_that_cannot_be_read_one_by_one_are_read_in_bulk_for_an_hour() {
    let few = Few::among(4, 1).await;
    few.sandbox.fault(Fault::new(Effect::Deny).on("GetRole"));
    assert_eq!(few.read().await.1, Manner::InBulk);
    assert_eq!(few.calls(), [(BULK, 4), ("GetRole", 1)]);
    advance(Duration::from_secs(3_599)).await;
    assert_eq!(few.read().await.1, Manner::InBulk);
    assert_eq!(few.calls(), [(BULK, 4)]);
    few.sandbox.clear_faults();
    advance(Duration::from_secs(1)).await;
    assert!(matches!(few.read().await.1, Manner::ByRole { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_denied_bulk_read_stays_a_matter_of_its_own() {
    let few = Few::among(4, 1).await;
    few.sandbox.fault(Fault::new(Effect::Deny).on(BULK));
    advance(Duration::from_secs(3_600)).await;
    for _ in 0..3 {
        assert!(matches!(few.read().await.1, Manner::OneByOne(_)), "what was read in bulk is an hour old");
        advance(Duration::from_secs(700)).await;
    }
    few.sandbox.clear_faults();
    assert_eq!(few.read().await.1, Manner::InBulk);
    assert!(matches!(few.read().await.1, Manner::ByRole { .. }));
}

#[tokio::test(start_paused = true)]
async fn accounts_whose_reading_failed_and_accounts_that_can_be_read_do_not_wait_for_each_other() {
    let few = Few::among(3, 100).await;
    let together = Together::new(8);
    let reader = Reader::together(Arc::clone(&few.reader.iam), few.account.clone(), Arc::clone(&together));
    let read = async || tokio::time::timeout(Duration::from_secs(60), reader.read(&few.asked, true)).await;
    // As many as there are turns for them hang, and as many as may have one of the others' turns.
    let mut hanging = Vec::new();
    while let Ok(turn) = tokio::time::timeout(Duration::from_secs(1), together.turn(true)).await {
        hanging.push(turn.unwrap());
    }
    assert_eq!(hanging.len(), 6);
    read().await.unwrap().unwrap();
    for (effect, is_in_doubt) in [(Effect::Throttle, false), (Effect::Deny, false), (Effect::ServerError, true)] {
        few.sandbox.fault(Fault::new(effect.clone()).on(BULK).times(1));
        let _ = read().await.unwrap();
        advance(BULK_AGAIN_AFTER).await;
        assert_eq!(read().await.is_err(), is_in_doubt, "{effect:?}");
    }
    drop(hanging);

    // All others are read just now.
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(together.turn(false).await.unwrap());
    }
    read().await.unwrap().unwrap();
    assert!(read().await.is_err(), "it was answered");
    drop(others);
    read().await.unwrap().unwrap();
}
