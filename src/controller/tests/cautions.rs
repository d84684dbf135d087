//! What is not known, or is not so any more, is no leave to write; and what is fought over keeps nobody else waiting.

use super::*;
use crate::{iam::Iam, sandbox::RoleChange};

const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
const REGISTERS: &str = r#"{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}"#;

fn registering() -> String {
    document(&[CHANNELS, S3, REGISTERS])
}

/// A role that registers its node by its own policy, and by one of AWS's.
fn beside_core(name: &str) -> RoleSeed {
    RoleSeed::new(name).policy(POLICY, &registering()).instance_profile(name)
}

fn guarded(roles: &[&str], guards: &str) -> String {
    manifest(roles, "") + SETTINGS + "  guards: {" + guards + "}\n"
}

async fn once(life: &Life, text: &str, options: Options) -> super::super::Outcome {
    let (_sender, manifests) = watch::channel(set(text));
    let iam = life.sandbox.iam(&life.account);
    let caller = iam.caller().await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    Controller::new(iam, manifests, options).once(caller, true, deadline, CancellationToken::new()).await
}

#[tokio::test(start_paused = true)]
async fn the_first_plan_waits_for_what_managed_policies_say_so_that_it_is_held_whole() {
    let life = Life::with(&[("b", None), ("c", None)]);
    life.sandbox.plant(&life.account, beside_core("a"));
    life.sandbox.change_role(&life.account, "a", &RoleChange::default().attach(CORE));
    life.sandbox.set_delay(Duration::from_millis(200));
    let life = life.start(&guarded(&["a", "b", "c"], "maxChangesPerHour: 2"));
    minutes(30).await;
    assert_eq!(life.writes(), 0, "{:#?}", life.told());
    assert_eq!(life.told().iter().filter(|told| told.starts_with("guard.held")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn manifests_that_come_while_a_plan_waits_for_policies_are_planned_by_a_reading_of_their_own() {
    let life = Life::with(&[("b", None)]);
    life.sandbox.plant(&life.account, beside_core("a"));
    life.sandbox.change_role(&life.account, "a", &RoleChange::default().attach(CORE));
    life.sandbox.fault(Fault::new(Effect::DelayMs(1_000)).on("GetPolicy"));
    let life = life.start(&guarded(&["a", "b"], "maxChangesPerHour: 0"));
    sleep(Duration::from_millis(500)).await;
    life.sandbox.fault(Fault::new(Effect::DelayMs(5_000)).on("GetAccountAuthorizationDetails"));
    life.save(&guarded(&["a", "b"], "maxChangesPerHour: 9"));
    sleep(Duration::from_secs(4)).await;
    assert_eq!((life.calls("GetPolicyVersion"), life.writes()), (1, 0), "{:#?}", life.told());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(life.writes(), 2, "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_rests_on_managed_policies_can_be_approved() {
    let life = Life::with(&[("b", None)]);
    life.sandbox.plant(&life.account, beside_core("a"));
    life.sandbox.change_role(&life.account, "a", &RoleChange::default().attach(CORE));
    let text = guarded(&["a", "b"], "maxChangesPerHour: 0");
    let held = once(&life, &text, Options::default()).await;
    assert_eq!(held.written, 0);
    let outcome = once(&life, &text, Options { approve: held.digest, ..Options::default() }).await;
    assert_eq!((outcome.written, outcome.approval_is_void), (2, false));
}

#[tokio::test(start_paused = true)]
async fn an_aws_policy_that_never_answers_delays_a_plan_for_seconds_only() {
    let life = Life::with(&[("b", None)]);
    life.sandbox.plant(&life.account, beside_core("a"));
    life.sandbox.change_role(&life.account, "a", &RoleChange::default().attach(CORE));
    life.sandbox.fault(Fault::new(Effect::Hang).on("GetPolicy"));
    let life = life.start(&manifest(&["a", "b"], ""));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(life.live("b"), Some(right()));
    assert_eq!(life.live("a"), Some(registering()), "whether it would register without is not known");
}

#[tokio::test(start_paused = true)]
async fn where_the_role_was_not_read_in_full_a_former_policy_that_registers_the_node_stays() {
    let named = |name: &str, registration: &str| {
        manifest(&["web"], &format!("  policyName: {name}\n  nodeRegistration: {registration}\n"))
    };
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails"));
    let life = life.start(&named("Old", "granted"));
    minutes(3).await;
    life.save(&named("New", "assumed"));
    minutes(20).await;
    let policies = life.sandbox.policies(&life.account, "web");
    assert_eq!(policies, ["Old", "New"], "{:#?}", life.told());
    assert!(life.told().contains(&"drift.blocked WouldDisconnect".to_owned()), "{:#?}", life.told());
    // Where the new one grants it as well, nothing is lost.
    life.save(&named("Newest", "granted"));
    minutes(20).await;
    assert!(!life.sandbox.policies(&life.account, "web").contains(&"New".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_machine_outside_aws_has_no_default_host_management_to_take_its_registration_over() {
    let life = Life::with(&[("web", Some(&registering()))]);
    let more = "  platform: hybrid\n  nodeRegistration: defaultHostManagement\n";
    let life = life.start(&manifest(&["web"], more));
    minutes(5).await;
    assert_eq!((life.writes(), life.live("web")), (0, Some(registering())));
    assert_eq!(life.told()[1..], ["drift.blocked NodeRegistrationWouldBeLost"]);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_was_made_anew_outside_of_the_limits_is_not_written_to() {
    let life = Life::with(&[]);
    life.sandbox.plant(&life.account, RoleSeed::new("web").path("/fleet/"));
    life.sandbox.fault(Fault::new(Effect::Throttle).on("PutRolePolicy").times(1));
    let text = manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1h\n  limits: {rolePathPrefixes: [/fleet/]}\n";
    let life = life.start(&text);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(life.calls("PutRolePolicy"), 1);
    life.sandbox.plant(&life.account, RoleSeed::new("web").path("/other/"));
    minutes(30).await;
    assert_eq!((life.calls("PutRolePolicy"), life.live("web")), (1, None), "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn what_was_read_long_ago_is_read_again_before_a_write_so_that_a_tag_is_heeded() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy").times(1));
    let life = life.start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 24h\n"));
    sleep(Duration::from_secs(1)).await;
    life.sandbox.tag(&life.account, "web", "ssm-role-controller.dev/suspend", Some("incident 42"));
    minutes(60).await;
    assert_eq!((life.calls("PutRolePolicy"), life.live("web")), (1, None), "{:#?}", life.told());
    life.sandbox.remove_role(&life.account, "web");
    minutes(60).await;
    assert_eq!(life.calls("PutRolePolicy"), 1);
}

#[tokio::test(start_paused = true)]
async fn roles_that_are_fought_over_keep_a_widened_one_waiting_for_five_minutes_at_most() {
    let life = Life::with(&[("a", None), ("b", None), ("c", None)]);
    // Slow enough that somebody can undo a write before it is read back.
    life.sandbox.set_delay(Duration::from_millis(200));
    let life = life.start(&manifest(&["a", "b", "c", "w"], ""));
    life.sandbox.plant(&life.account, RoleSeed::new("w").policy(POLICY, &right()));
    let undo = |life: &Life| {
        for role in ["a", "b"] {
            life.sandbox.remove_policy(&life.account, role, POLICY);
        }
    };
    for tick in 0..20 * 60 * 20 {
        undo(&life);
        if tick == 20 * 60 {
            // A minute after the fight began.
            life.write("w", &document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#]));
        }
        if tick == 20 * 60 * 6 {
            assert_eq!(life.live("w"), Some(right()), "{:#?}", life.told());
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(life.told().contains(&"canary.failed CanaryUnproven".to_owned()), "{:#?}", life.told());
    assert!(life.live("c").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_somebody_makes_again_and_again_does_not_hold_up_all_repairs() {
    let text = manifest(&["gone"], "  state: absent\n")
        + "---\n"
        + &manifest(&["web"], "").replace("name: fleet", "name: web")
        + SETTINGS
        + "  guards: {maxDeletesPerHour: 4}\n";
    let life = Life::with(&[("gone", Some(&right())), ("web", Some(&right()))]).start(&text);
    for _ in 0..40 {
        minutes(1).await;
        life.write("gone", &right());
    }
    life.write("web", &document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#]));
    minutes(6).await;
    assert_eq!(life.live("web"), Some(right()), "{:#?}", life.told());
    assert_eq!(life.calls("DeleteRolePolicy"), 4);
}

#[tokio::test(start_paused = true)]
async fn names_without_a_role_and_observed_roles_do_not_make_room_for_more_changes() {
    let roles: Vec<String> = (0..10).map(|number| format!("role-{number}")).collect();
    let names: Vec<&str> = roles.iter().map(String::as_str).collect();
    let missing: Vec<(&str, Option<&str>)> = names.iter().map(|name| (*name, None)).collect();
    let ghosts: Vec<String> = (0..90).map(|number| format!("ghost-{number}")).collect();
    let ghosts: Vec<&str> = ghosts.iter().map(String::as_str).collect();
    let text = guarded(&names, "maxChangePercent: 10")
        + "---\n"
        + &manifest(&ghosts, "").replace("name: fleet", "name: ghosts");
    let life = Life::with(&missing).start(&text);
    minutes(10).await;
    assert_eq!(life.writes(), 0);
    assert!(life.told().contains(&"guard.held GuardHeld".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_differs_in_case_alone_is_no_former_name() {
    let named = |name: &str| manifest(&["web"], &format!("  policyName: {name}\n"));
    let life = Life::with(&[("web", None)]).start(&named("Sessions"));
    minutes(2).await;
    life.save(&named("sessions"));
    minutes(20).await;
    assert_eq!(life.calls("DeleteRolePolicy"), 0);
    assert!(life.sandbox.document(&life.account, "web", "sessions").is_some());
}
