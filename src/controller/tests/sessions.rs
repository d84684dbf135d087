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

#[tokio::test(start_paused = true)]
async fn a_node_that_is_left_to_default_host_management_as_asked_is_no_bad_news() {
    let life = world(&right());
    life.change(&RoleChange::default().attach(CORE));
    let life = life.start(&manifest(&["web"], "  nodeRegistration: defaultHostManagement\n"));
    minutes(3).await;
    assert_eq!(life.sessions(), ["session.not_ready RegistersItself"]);
    life.change(&RoleChange::default().detach(CORE));
    minutes(3).await;
    assert_eq!(life.sessions()[1..], ["session.ready"]);
    life.save(&manifest(&["web"], "  nodeRegistration: defaultHostManagement\n  description: the same\n"));
    minutes(3).await;
    assert_eq!(life.sessions().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_never_known_of_sessions_is_not_told_to_be_known_no_more() {
    let life = world(&right());
    let policy = |key: &str| {
        let condition = format!(r#"{{"StringEquals":{{"{key}":"x"}}}}"#);
        document(&[&REGISTERS.replace(r#""Resource":"*""#, &format!(r#""Resource":"*","Condition":{condition}"#))])
    };
    life.sandbox.plant_policy(&life.account, "registers", &policy("aws:PrincipalOrgID"));
    life.change(&RoleChange::default().attach(OWN));
    let life = life.start(&manifest(&["web"], ""));
    minutes(3).await;
    life.sandbox.write_managed(&life.account, "registers", "not a policy");
    minutes(3).await;
    assert_eq!(life.sessions(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn another_policy_that_stands_in_the_way_is_news_though_the_reason_is_the_same() {
    let life = world(&right());
    let denies = |action: &str| document(&[&format!(r#"{{"Effect":"Deny","Action":"{action}","Resource":"*"}}"#)]);
    life.sandbox.plant_policy(&life.account, "One", &denies("ssmmessages:CreateDataChannel"));
    life.sandbox.plant_policy(&life.account, "Two", &denies("ssmmessages:OpenDataChannel"));
    let of = |name: &str| OWN.replace("registers", name);
    life.change(&RoleChange::default().attach(CORE).attach(&of("One")));
    let life = life.start(&manifest(&["web"], ""));
    minutes(3).await;
    life.change(&RoleChange::default().detach(&of("One")).attach(&of("Two")));
    minutes(3).await;
    assert_eq!(life.sessions(), ["session.not_ready ChannelsDenied", "session.not_ready ChannelsDenied"]);
    let last = life.all_events().pop().unwrap();
    assert!(last["message"].as_str().unwrap().contains("Two"), "{last}");
}

#[tokio::test(start_paused = true)]
async fn that_sessions_still_do_not_work_is_told_again_once_a_day() {
    let life = world(&right()).start(&manifest(&["web"], ""));
    minutes(60 * 24 * 3 + 120).await;
    let standing = "session.standing CannotRegister";
    assert_eq!(life.sessions(), ["session.not_ready CannotRegister", standing, standing, standing]);
}

#[tokio::test(start_paused = true)]
async fn events_about_a_role_carry_both_conditions_in_kubernetes_form() {
    let life = world(&right());
    life.sandbox.plant_policy(&life.account, "registers", &document(&[REGISTERS]));
    life.change(&RoleChange::default().attach(OWN));
    let life = life.start(&manifest(&["web"], ""));
    minutes(10).await;
    life.sandbox.remove_policy(&life.account, "web", POLICY);
    minutes(5).await;
    let of = |event: &str, index: usize| {
        let told = life.all_events().into_iter().find(|told| told["event"] == event).unwrap();
        let condition = told["conditions"][index].clone();
        let time = condition["lastTransitionTime"].as_str().unwrap();
        (
            ["type", "status", "reason"].map(|key| condition[key].as_str().unwrap().to_owned()),
            time.parse::<jiff::Timestamp>().unwrap(),
        )
    };
    let ([kind, status, reason], drifted) = of("drift.detected", 0);
    assert_eq!([&*kind, &*status, &*reason], ["Synced", "False", "Missing"]);
    let ([kind, status, reason], _) = of("session.not_ready", 1);
    assert_eq!([&*kind, &*status, &*reason], ["SessionReady", "False", "ChannelsDenied"]);
    let ([kind, status, reason], _) = of("drift.repaired", 0);
    assert_eq!([&*kind, &*status, &*reason], ["Synced", "True", "InSync"]);
    let ([_, status, _], ready) = of("session.ready", 1);
    assert_eq!(status, "True");
    assert!(ready >= drifted, "{ready} {drifted}");
}
