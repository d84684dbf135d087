//! What becomes of a role's sessions: told once each, and no repair takes a working one away.

use super::*;
use crate::sandbox::RoleChange;

const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
/// A managed policy of the account's own.
const OWN: &str = "arn:aws:iam::111122223333:policy/registers";
const REGISTERS: &str = r#"{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}"#;

/// A world with one role of this document, held by an instance profile.
fn world(document: &str) -> Life {
    let life = Life::with(&[]);
    life.sandbox.plant(&life.account, RoleSeed::new("web").policy(POLICY, document).instance_profile("web"));
    life
}

impl Life {
    fn change(&self, change: &RoleChange) {
        assert!(self.sandbox.change_role(&self.account, "web", change));
    }

    /// What was told of sessions, and of what was done about them.
    fn sessions(&self) -> Vec<String> {
        let told = self.all_events().into_iter().filter(is_about_sessions).map(|event| {
            let reason = event["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{}{reason}", event["event"].as_str().unwrap())
        });
        told.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_would_take_a_working_session_away_is_blocked_and_goes_ahead_once_it_would_not() {
    let life = world(&document(&[CHANNELS, S3, REGISTERS])).start(&manifest(&["web"], ""));
    minutes(3).await;
    assert_eq!(life.told(), ["drift.detected WouldDisconnect", "drift.blocked WouldDisconnect"]);
    let blocked = life.events().into_iter().find(|event| event["event"] == "drift.blocked").unwrap();
    assert!(
        blocked["message"].as_str().unwrap().contains("it would lose ssm:UpdateInstanceInformation on"),
        "{blocked}"
    );
    assert_eq!((life.writes(), life.sessions()), (0, vec![]));

    life.change(&RoleChange::default().attach(CORE));
    minutes(3).await;
    assert_eq!(life.live("web"), Some(right()));
    assert_eq!(life.told()[2..], ["drift.repaired"]);
    assert_eq!(life.sessions(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn where_no_session_would_work_before_a_lost_registration_blocks_the_repair_under_its_own_name() {
    let life = world(&document(&[CHANNELS, S3, REGISTERS]));
    life.change(&RoleChange::default().instance_profiles(&[]));
    let life = life.start(&manifest(&["web"], ""));
    minutes(3).await;
    assert_eq!(life.told()[1..], ["drift.blocked NodeRegistrationWouldBeLost"]);
    assert_eq!((life.writes(), life.sessions()), (0, vec!["session.not_ready NoInstanceProfile".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_roles_sessions_is_told_once_each_though_its_policy_is_in_sync() {
    let life = world(&right());
    life.change(&RoleChange::default().attach(CORE));
    let life = life.start(&manifest(&["web"], ""));
    minutes(5).await;
    assert_eq!(life.sessions(), [""; 0]);
    life.change(&RoleChange::default().detach(CORE));
    minutes(5).await;
    life.change(&RoleChange::default().instance_profiles(&[]));
    minutes(5).await;
    life.change(&RoleChange::default().attach(CORE).instance_profiles(&["web"]));
    minutes(5).await;
    assert_eq!(
        life.sessions(),
        ["session.not_ready CannotRegister", "session.not_ready NoInstanceProfile", "session.ready"]
    );
    assert_eq!((life.told(), life.writes()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_brings_sessions_back_says_so_at_once() {
    let life = world(&right());
    life.sandbox.plant_policy(&life.account, "registers", &document(&[REGISTERS]));
    life.change(&RoleChange::default().attach(OWN));
    let life = life.start(&manifest(&["web"], ""));
    minutes(2).await;
    life.sandbox.remove_policy(&life.account, "web", POLICY);
    minutes(2).await;
    let names: Vec<String> =
        life.all_events().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names[1..], ["drift.detected", "session.not_ready", "drift.repaired", "session.ready"]);
}

#[tokio::test(start_paused = true)]
async fn where_the_bulk_read_is_denied_nothing_is_concluded_about_sessions() {
    let life = world(&right());
    life.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails"));
    let life = life.start(&manifest(&["web"], ""));
    minutes(5).await;
    assert_eq!((life.told(), life.sessions()), (vec!["read.degraded AccessDenied".to_owned()], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_policy_under_its_former_name_stays_while_only_it_lets_the_node_register() {
    let life = world(&right());
    let named = |name: &str, registration: &str| {
        manifest(&["web"], &format!("  policyName: {name}\n  nodeRegistration: {registration}\n"))
    };
    let life = life.start(&named("Old", "granted"));
    minutes(2).await;
    life.save(&named("New", "assumed"));
    minutes(3).await;
    assert!(life.sandbox.document(&life.account, "web", "New").is_some());
    assert!(life.sandbox.document(&life.account, "web", "Old").is_some(), "{:#?}", life.told());
    assert!(life.told().iter().any(|told| told == "drift.blocked WouldDisconnect"), "{:#?}", life.told());
    life.change(&RoleChange::default().attach(CORE));
    minutes(3).await;
    assert!(life.sandbox.document(&life.account, "web", "Old").is_none(), "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_steady_pass_makes_the_bulk_calls_alone() {
    let life = world(&right());
    life.sandbox.plant_policy(&life.account, "registers", &document(&[REGISTERS]));
    life.change(&RoleChange::default().attach(OWN).attach(CORE));
    let life = life.start(&manifest(&["web"], ""));
    minutes(2).await;
    life.sandbox.clear_calls();
    minutes(30).await;
    let counts = life.sandbox.counts();
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ["GetAccountAuthorizationDetails"], "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_policies_that_both_let_the_node_register_neither_relies_on_the_other() {
    let life = world(&document(&[CHANNELS, S3, REGISTERS]));
    assert!(life.sandbox.write_policy(&life.account, "web", "Second", &document(&[CHANNELS, S3, REGISTERS])));
    let second = manifest(&["web"], "  policyName: Second\n").replace("name: fleet", "name: second");
    let life = life.start(&format!("{}---\n{second}", manifest(&["web"], "")));
    minutes(10).await;
    assert_eq!((life.writes(), life.sessions()), (0, vec![]));
    let blocked = life.told().into_iter().filter(|told| told == "drift.blocked NodeRegistrationWouldBeLost").count();
    assert_eq!(blocked, 2, "{:#?}", life.told());
}
