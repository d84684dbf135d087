use super::*;
use crate::sandbox::{
    Lag, RoleSeed,
    role::RoleChange,
    wire::{Detail, Identity, Page, Request},
};

const PLAIN: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
const GUARD: &str = "arn:aws:iam::111122223333:policy/Guard";

fn account() -> AccountId {
    "111122223333".parse().unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A world with one role, and the hands to use it at a moment.
struct Bench {
    world: World,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        let mut world = World::default();
        world.plant(&account(), RoleSeed::new("web").path("/app/"), Duration::ZERO);
        Self { world, now: Duration::ZERO }
    }

    fn ask(&mut self, request: Request) -> Result<Answer, Refusal> {
        let by = Identity { account: account(), arn: "arn:aws:sts::111122223333:assumed-role/tests/one".to_owned() };
        self.world.perform(&by, &request, self.now)
    }

    fn attach(&mut self, arn: &str) -> Result<(), String> {
        let (role, arn) = ("WEB".to_owned(), arn.to_owned());
        self.ask(Request::AttachRolePolicy { role, arn }).map(|_| ()).map_err(|refusal| refusal.message)
    }

    fn detach(&mut self, arn: &str) -> Result<(), String> {
        let (role, arn) = ("web".to_owned(), arn.to_owned());
        self.ask(Request::DetachRolePolicy { role, arn }).map(|_| ()).map_err(|refusal| refusal.message)
    }

    fn role(&self) -> &Role {
        self.world.newest(&account(), "web").unwrap()
    }

    fn write(&mut self, policy: &str, document: &str) -> bool {
        let now = self.now;
        self.world.change_policy(&account(), policy, now, |held| Some(held.with_version(document, now)))
    }

    fn version(&mut self, arn: &str) -> Result<String, String> {
        match self.ask(Request::GetPolicy { arn: arn.to_owned() }) {
            Ok(Answer::Managed(policy)) => Ok(policy.default_version().unwrap().id()),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.code),
        }
    }

    fn page(&mut self, filters: &[&str], marker: Option<String>) -> (Vec<String>, Option<String>) {
        let paging = Paging { marker, max_items: Some(2) };
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let answer = self.ask(Request::GetAccountAuthorizationDetails { filters, paging });
        let Ok(Answer::Details(Page { items, marker, .. })) = answer else { panic!("{answer:?}") };
        let names = items.into_iter().map(|detail| match detail {
            Detail::Role(role) => role.name.clone(),
            Detail::Policy(policy) => policy.path_and_name().1.to_owned(),
        });
        (names.collect(), marker)
    }

    fn all(&mut self, filters: &[&str]) -> Vec<String> {
        let (mut names, mut marker) = self.page(filters, None);
        while marker.is_some() {
            let (more, next) = self.page(filters, marker);
            names.extend(more);
            marker = next;
        }
        names
    }

    fn simulate(
        &mut self,
        actions: &[&str],
        resources: &[&str],
        paging: Paging,
    ) -> Result<Page<SimulatedAction>, Refusal> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let role_arn = "arn:aws:iam::111122223333:role/app/web".to_owned();
        let (actions, resources) = (owned(actions), owned(resources));
        match self.ask(Request::SimulatePrincipalPolicy { role_arn, actions, resources, paging })? {
            Answer::Simulated(page) => Ok(page),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn managed_policies_are_attached_and_detached() {
    let mut bench = Bench::new();
    bench.world.plant_policy(&account(), "Guard", PLAIN);
    assert_eq!((bench.attach(CORE), bench.attach(GUARD), bench.attach(CORE)), (Ok(()), Ok(()), Ok(())));
    assert_eq!(bench.role().attached, [CORE, GUARD]);
    let conflict = bench.ask(Request::DeleteRole { role: "web".to_owned() }).unwrap_err();
    assert_eq!(conflict.message, "Cannot delete entity, must detach all policies first.");
    let nowhere = format!("{GUARD}s");
    assert_eq!(bench.attach(&nowhere), Err(format!("Policy {nowhere} does not exist or is not attachable.")));
    assert_eq!(bench.attach("Guard"), Err("ARN Guard is not valid.".to_owned()));
    assert_eq!(bench.detach(CORE), Ok(()));
    assert_eq!(bench.detach(CORE), Err(format!("Policy {CORE} was not found.")));
    assert_eq!(bench.role().attached, [GUARD]);
}

#[test]
fn a_role_has_room_for_ten_managed_policies() {
    let mut bench = Bench::new();
    for number in 0..11 {
        bench.world.plant_policy(&account(), &format!("P{number}"), PLAIN);
        let attached = bench.attach(&format!("arn:aws:iam::111122223333:policy/P{number}"));
        assert_eq!(attached.is_ok(), number < 10, "{attached:?}");
    }
}

#[test]
fn a_boundary_is_a_policy_that_is_there() {
    let mut bench = Bench::new();
    let put = |arn: &str| Request::PutRolePermissionsBoundary { role: "web".to_owned(), arn: arn.to_owned() };
    let refusal = bench.ask(put(GUARD)).unwrap_err();
    assert_eq!(refusal.message, format!("Scope ARN: {GUARD} does not exist or is not attachable."));
    bench.ask(put(CORE)).unwrap();
    assert_eq!(bench.role().boundary.as_deref(), Some(CORE));
    bench.ask(Request::DeleteRolePermissionsBoundary { role: "web".to_owned() }).unwrap();
    assert_eq!(bench.role().boundary, None);
}

#[test]
fn a_new_version_is_the_default_after_the_lag() {
    let mut bench = Bench::new();
    bench.world.lag = Lag { bulk: seconds(60), single: seconds(5) };
    bench.world.plant_policy(&account(), "Guard", PLAIN);
    assert!(!bench.write("Guards", PLAIN));
    bench.now = seconds(100);
    assert!(bench.write("Guard", "{}"));
    assert_eq!(bench.version(GUARD), Ok("v1".to_owned()));
    bench.now = seconds(105);
    assert_eq!(bench.version(GUARD), Ok("v2".to_owned()));
    for (version, document) in [("v1", Some(PLAIN)), ("v2", Some("{}")), ("v3", None)] {
        let (arn, version) = (GUARD.to_owned(), version.to_owned());
        let text = match bench.ask(Request::GetPolicyVersion { arn, version }) {
            Ok(Answer::ManagedVersion { version, is_default }) => {
                assert_eq!(is_default, version.number == 2);
                Some(version.document.text().to_owned())
            }
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => {
                assert_eq!(refusal.code, "NoSuchEntity");
                None
            }
        };
        assert_eq!(text.as_deref(), document);
    }
    assert!(bench.world.change_policy(&account(), GUARD, seconds(105), |_| None));
    bench.now = seconds(110);
    assert_eq!(bench.version(GUARD), Err("NoSuchEntity".to_owned()));
    assert_eq!(bench.all(&["LocalManagedPolicy"]), ["Guard"]);
    bench.now = seconds(165);
    assert!(bench.all(&["LocalManagedPolicy"]).is_empty());
}

#[test]
fn awss_own_policies_are_known_in_every_account_and_can_be_planted_over() {
    let mut bench = Bench::new();
    assert_eq!(bench.version(CORE), Ok("v2".to_owned()));
    assert!(bench.all(&["LocalManagedPolicy"]).is_empty());
    bench.world.plant_policy(&account(), CORE, PLAIN);
    assert_eq!(bench.version(CORE), Ok("v1".to_owned()));
    assert!(bench.all(&["LocalManagedPolicy"]).is_empty());
}

#[test]
fn a_bulk_read_goes_over_all_kinds_that_were_asked_for() {
    let mut bench = Bench::new();
    for role in ["a", "z"] {
        bench.world.plant(&account(), RoleSeed::new(role), Duration::ZERO);
    }
    for policy in ["path/C", "B", "A"] {
        bench.world.plant_policy(&account(), policy, PLAIN);
    }
    let (roles, policies) = (["a", "web", "z"], ["A", "B", "C"]);
    assert_eq!(bench.all(&["Role"]), roles);
    assert_eq!(bench.all(&["LocalManagedPolicy"]), policies);
    let both: Vec<&str> = roles.into_iter().chain(policies).collect();
    assert_eq!(bench.all(&["LocalManagedPolicy", "Role"]), both);
    assert_eq!(bench.all(&[]), both);
    assert!(bench.all(&["User", "AWSManagedPolicy"]).is_empty());
}

#[test]
fn the_simulator_says_what_was_written_down_for_it() {
    let mut bench = Bench::new();
    let missing = bench.simulate(&["ssm:GetDocument"], &[], Paging::default()).unwrap_err();
    assert_eq!((missing.status, missing.code.as_str()), (501, "NotImplemented"));
    let table = vec![
        SimulatedAction::new("ssm:GetDocument", "*", Decision::Allowed),
        SimulatedAction {
            matched: vec!["Guard".to_owned()],
            ..SimulatedAction::new("ssm:GetDocument", "arn:x", Decision::ExplicitDeny)
        },
    ];
    bench.world.set_simulation(&account(), "Web", Some(table));
    let mut said = Vec::new();
    let mut marker = None;
    loop {
        let paging = Paging { marker, max_items: Some(1) };
        let page = bench.simulate(&["SSM:getdocument", "kms:Decrypt"], &["arn:x", "arn:y"], paging).unwrap();
        said.extend(page.items.into_iter().map(|said| (said.action, said.resource, said.decision)));
        marker = page.marker;
        if marker.is_none() {
            break;
        }
    }
    let expected = [
        ("SSM:getdocument", "arn:x", Decision::ExplicitDeny),
        ("SSM:getdocument", "arn:y", Decision::Allowed),
        ("kms:Decrypt", "arn:x", Decision::ImplicitDeny),
        ("kms:Decrypt", "arn:y", Decision::ImplicitDeny),
    ];
    assert_eq!(said, expected.map(|(action, resource, decision)| (action.to_owned(), resource.to_owned(), decision)));
    bench.world.set_simulation(&account(), "web", None);
    assert!(bench.simulate(&["kms:Decrypt"], &[], Paging::default()).is_err());
}

#[test]
fn a_change_by_somebody_else_says_only_what_it_says() {
    let mut bench = Bench::new();
    let mut change = |change: RoleChange| {
        assert!(bench.world.change(&account(), "web", Duration::ZERO, |held| Some(held.with(&change))));
        bench.world.newest(&account(), "web").unwrap().clone()
    };
    let role = change(RoleChange::default().attach(CORE).attach(GUARD).boundary(Some(GUARD)).trust("{}"));
    assert_eq!((role.attached.len(), role.boundary.as_deref(), role.trust.text()), (2, Some(GUARD), "{}"));
    let role = change(RoleChange::default().detach(CORE).instance_profiles(&["one"]));
    assert_eq!((&role.attached[..], &role.instance_profiles[..]), (&[GUARD.to_owned()][..], &["one".to_owned()][..]));
    assert_eq!((role.boundary.as_deref(), role.trust.text()), (Some(GUARD), "{}"));
    assert_eq!(change(RoleChange::default().boundary(None)).boundary, None);
    let said = |json: &str| serde_json::from_str::<RoleChange>(json).unwrap();
    assert_eq!(said(r#"{"boundary":null}"#), RoleChange::default().boundary(None));
    assert_eq!(said("{}"), RoleChange::default());
}
