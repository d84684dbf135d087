use super::*;

const PLAIN: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

fn account() -> AccountId {
    "111122223333".parse().unwrap()
}

fn identity() -> Identity {
    Identity { account: account(), arn: "arn:aws:sts::111122223333:assumed-role/tests/one".to_owned() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A world, and the hands to use it at a moment.
#[derive(Default)]
struct Bench {
    world: World,
    now: Duration,
}

impl Bench {
    fn ask(&mut self, request: Request) -> Result<Answer, Refusal> {
        self.world.perform(&identity(), &request, self.now)
    }

    fn plant(&mut self, seed: RoleSeed) {
        self.world.plant(&account(), seed, self.now);
    }

    fn put(&mut self, role: &str, policy: &str, document: &str) -> Result<(), String> {
        let (role, policy, document) = (role.to_owned(), policy.to_owned(), document.to_owned());
        self.ask(Request::PutRolePolicy { role, policy, document }).map(|_| ()).map_err(|refusal| refusal.code)
    }

    fn get(&mut self, role: &str, policy: &str) -> Result<String, String> {
        match self.ask(Request::GetRolePolicy { role: role.to_owned(), policy: policy.to_owned() }) {
            Ok(Answer::Policy { encoded_document, .. }) => Ok(encoded_document.to_string()),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.message),
        }
    }

    fn page(&mut self, max_items: i64, marker: Option<String>) -> Result<Page<Arc<Role>>, Refusal> {
        let paging = Paging { marker, max_items: Some(max_items) };
        match self.ask(Request::GetAccountAuthorizationDetails { filters: Vec::new(), paging })? {
            Answer::Details(page) => Ok(page.map(|detail| match detail {
                Detail::Role(role) => role,
                Detail::Policy(policy) => panic!("{policy:?}"),
            })),
            other => panic!("{other:?}"),
        }
    }

    fn names(&mut self, max_items: i64, marker: Option<String>) -> (Vec<String>, Option<String>) {
        let page = self.page(max_items, marker).unwrap();
        assert_eq!(page.is_truncated, page.marker.is_some());
        (page.items.iter().map(|role| role.name.clone()).collect(), page.marker)
    }
}

#[test]
fn names_of_roles_are_the_same_in_any_case_and_keep_their_spelling() {
    let mut bench = Bench::default();
    bench.plant(RoleSeed::new("Web-Server").policy("P", PLAIN));
    assert!(bench.get("WEB-server", "P").is_ok());
    assert_eq!(bench.get("web-server", "p").unwrap_err(), "The role policy with name p cannot be found.");
    assert_eq!(bench.put("web-SERVER", "Q", PLAIN), Ok(()));
    let Ok(Answer::Role(role)) = bench.ask(Request::GetRole { role: "web-server".to_owned() }) else { panic!() };
    assert_eq!((role.name.as_str(), role.policies.len()), ("Web-Server", 2));
}

#[test]
fn the_quota_counts_every_policy_and_no_white_space() {
    let mut bench = Bench::default();
    bench.plant(RoleSeed::new("web"));
    let of_size = |size: usize| PLAIN.replace("\"*\"", &format!("\"arn:{}\"", "x".repeat(size - PLAIN.len() - 3)));
    assert_eq!(of_size(5_000).len(), 5_000);
    assert_eq!(bench.put("web", "A", &of_size(5_000)), Ok(()));
    assert_eq!(bench.put("web", "B", &of_size(5_241)), Err("LimitExceeded".to_owned()));
    assert_eq!(bench.put("web", "B", &of_size(5_240).replace(',', " ,\n\t\r")), Ok(()));
    assert_eq!(bench.put("web", "C", PLAIN), Err("LimitExceeded".to_owned()));
    // A policy that is replaced makes room for the one that replaces it.
    assert_eq!(bench.put("web", "A", &of_size(4_999)), Ok(()));
}

#[test]
fn protected_roles_can_be_read_and_not_changed() {
    let mut bench = Bench::default();
    for path in ["/aws-service-role/ec2.amazonaws.com/", "/aws-reserved/sso.amazonaws.com/"] {
        bench.plant(RoleSeed::new("Protected").path(path).policy("P", PLAIN));
        assert!(bench.get("protected", "P").is_ok());
        assert_eq!(bench.put("protected", "P", PLAIN), Err("UnmodifiableEntity".to_owned()));
        let (role, policy) = ("protected".to_owned(), "P".to_owned());
        let refusal = bench.ask(Request::DeleteRolePolicy { role, policy }).unwrap_err();
        assert_eq!(
            refusal.message,
            "Cannot perform the operation on the protected role 'Protected' - this role is only modifiable by AWS"
        );
    }
}

#[test]
fn pages_follow_each_other_even_when_the_role_of_the_marker_is_gone() {
    let mut bench = Bench::default();
    for name in ["d", "B", "a", "C", "e"] {
        bench.plant(RoleSeed::new(name));
    }
    let (first, marker) = bench.names(2, None);
    assert_eq!(first, ["a", "B"]);
    bench.ask(Request::DeleteRole { role: "b".to_owned() }).unwrap();
    let (second, marker) = bench.names(2, marker);
    assert_eq!(second, ["C", "d"]);
    assert_eq!(bench.names(2, marker), (vec!["e".to_owned()], None));
    bench.world.page_cap = Some(3);
    assert_eq!(bench.names(1000, None).0.len(), 3);
    bench.world.page_cap = Some(0);
    assert_eq!(bench.names(1000, None).0.len(), 1);
}

#[test]
fn a_full_last_page_says_that_it_is_the_last() {
    let mut bench = Bench::default();
    for name in ["a", "b"] {
        bench.plant(RoleSeed::new(name));
    }
    assert_eq!(bench.names(2, None), (vec!["a".to_owned(), "b".to_owned()], None));
}

#[test]
fn a_marker_is_good_for_the_listing_that_gave_it_alone() {
    let mut bench = Bench::default();
    for name in ["a", "b"] {
        bench.plant(RoleSeed::new(name).policy("P", PLAIN).policy("Q", PLAIN));
    }
    let marker = bench.names(1, None).1.unwrap();
    let paging = Paging { marker: Some(marker.clone()), max_items: None };
    let refusal = bench.ask(Request::ListRolePolicies { role: "a".to_owned(), paging }).unwrap_err();
    assert_eq!(refusal, Refusal::invalid("Invalid Marker."));
    for wrong in ["", "a", "AA", &marker[1..], &format!("{marker}0"), "AA0000000000000000zz", "é".repeat(20).as_str()]
    {
        assert_eq!(bench.page(1, Some(wrong.to_owned())).unwrap_err(), Refusal::invalid("Invalid Marker."), "{wrong}");
    }
}

#[test]
fn policies_are_listed_in_pages_too() {
    let mut bench = Bench::default();
    bench.plant(RoleSeed::new("web").policy("c", PLAIN).policy("a", PLAIN).policy("b", PLAIN));
    let (mut marker, mut names) = (None, Vec::new());
    loop {
        let paging = Paging { marker, max_items: Some(1) };
        let listed = bench.ask(Request::ListRolePolicies { role: "web".to_owned(), paging });
        let Ok(Answer::PolicyNames(page)) = listed else { panic!("{listed:?}") };
        names.extend(page.items);
        marker = page.marker;
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn a_read_sees_the_world_as_it_was_one_lag_ago_and_a_write_as_it_is() {
    let mut bench = Bench::default();
    bench.world.lag = Lag { bulk: seconds(60), single: seconds(5) };
    bench.plant(RoleSeed::new("web"));
    bench.now = seconds(100);
    bench.put("web", "P", PLAIN).unwrap();
    bench.now = seconds(104);
    assert!(bench.get("web", "P").is_err());
    // The write is judged by what is there, although no read shows it yet.
    let conflict = bench.ask(Request::DeleteRole { role: "web".to_owned() }).unwrap_err();
    assert_eq!(conflict.code, "DeleteConflict");
    bench.now = seconds(105);
    assert!(bench.get("web", "P").is_ok());
    bench.now = seconds(159);
    assert!(bench.page(10, None).unwrap().items[0].policies.is_empty());
    bench.now = seconds(160);
    assert_eq!(bench.page(10, None).unwrap().items[0].policies.len(), 1);
}

#[test]
fn a_role_that_was_made_or_deleted_shows_so_after_the_lag() {
    let mut bench = Bench::default();
    bench.world.lag.single = seconds(10);
    let create = Request::CreateRole {
        role: "new".to_owned(),
        path: "/".to_owned(),
        trust: crate::sandbox::role::trust_of_ec2(),
        description: None,
        tags: Vec::new(),
    };
    let get = || Request::GetRole { role: "new".to_owned() };
    let Ok(Answer::RoleCreated(first)) = bench.ask(create.clone()) else { panic!() };
    assert!(bench.ask(get()).is_err());
    bench.now = seconds(10);
    assert!(bench.ask(get()).is_ok());
    bench.ask(Request::DeleteRole { role: "new".to_owned() }).unwrap();
    let Ok(Answer::RoleCreated(second)) = bench.ask(create) else { panic!() };
    assert_ne!(first.id, second.id, "another role of the same name has another id");
    let Ok(Answer::Role(seen)) = bench.ask(get()) else { panic!() };
    assert_eq!(seen.id, first.id);
}

#[test]
fn of_many_writes_within_a_lag_the_oldest_are_forgotten_and_the_newest_are_right() {
    let mut bench = Bench::default();
    bench.plant(RoleSeed::new("web"));
    bench.world.lag.single = seconds(30);
    for write in 0..100 {
        bench.now = seconds(write);
        bench.put("web", &format!("P{write}"), PLAIN).ok();
    }
    bench.world.lag.single = seconds(5);
    assert!(bench.get("web", "P93").is_ok());
    assert!(bench.get("web", "P95").is_err());
    let account = account();
    assert_eq!(bench.world.accounts[&account]["web"].0.len(), STATES_KEPT);
}

#[test]
fn a_credential_that_sts_gave_ends() {
    let mut bench = Bench::default();
    let other: AccountId = "444455556666".parse().unwrap();
    bench.world.plant(&other, RoleSeed::new("visitor").path("/x/"), Duration::ZERO);
    let assume = |role_arn: &str, seconds: i64| Request::AssumeRole {
        role_arn: role_arn.to_owned(),
        session: "night".to_owned(),
        external_id: None,
        seconds: Some(seconds),
    };
    let arn = "arn:aws:iam::444455556666:role/x/visitor";
    let Ok(Answer::Session { access_key_id, .. }) = bench.ask(assume(arn, 900)) else { panic!() };
    assert_eq!((access_key_id.len(), &access_key_id[..4]), (20, "ASIA"));
    let Credential::Of(identity) = bench.world.session(&access_key_id, seconds(899)) else { panic!() };
    assert_eq!(identity.account, other);
    assert!(matches!(bench.world.session(&access_key_id, seconds(900)), Credential::Expired));
    assert!(matches!(bench.world.session("ASIAOTHER", seconds(0)), Credential::Unknown));

    for (role_arn, seconds, code) in [
        ("arn:aws:iam::444455556666:role/visitor", 900, "AccessDenied"),
        ("arn:aws:iam::444455556666:role/nobody", 900, "AccessDenied"),
        ("visitor", 900, "ValidationError"),
        (arn, 899, "ValidationError"),
        (arn, -1, "ValidationError"),
    ] {
        assert_eq!(bench.ask(assume(role_arn, seconds)).unwrap_err().code, code, "{role_arn} {seconds}");
    }
}

#[test]
fn an_account_of_which_nothing_is_known_is_empty() {
    assert_eq!(Bench::default().names(10, None), (Vec::new(), None));
}

proptest::proptest! {
    #[test]
    fn no_marker_that_was_not_given_is_taken(marker: String) {
        let mut bench = Bench::default();
        bench.plant(RoleSeed::new("a"));
        proptest::prop_assert_eq!(bench.page(1, Some(marker)).unwrap_err().code, "ValidationError");
    }

    #[test]
    fn a_walk_over_pages_of_any_size_finds_every_role_once(
        names in proptest::collection::btree_set("[a-z]{1,3}", 0..30),
        size in 1i64..8,
    ) {
        let mut bench = Bench::default();
        names.iter().for_each(|name| bench.plant(RoleSeed::new(name)));
        let (mut found, mut marker) = (Vec::new(), None);
        loop {
            let (page, next) = bench.names(size, marker);
            found.extend(page);
            marker = next;
            if marker.is_none() {
                break;
            }
        }
        proptest::prop_assert_eq!(found, names.into_iter().collect::<Vec<_>>());
    }
}
