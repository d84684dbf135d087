//! Change events: they say when to look, and never what to do.

use serde_json::json;

use super::*;
use crate::{
    events::{Heard, Listening},
    sandbox::{Call, RoleChange},
};

/// The role's document grants this as well.
const MORE: &str = r#"{"Effect":"Allow","Action":["s3:GetObject"],"Resource":"*"}"#;
const MOST: &str = r#"{"Effect":"Allow","Action":["s3:*"],"Resource":"*"}"#;
const SHARED: &str = "arn:aws:iam::111122223333:policy/shared";

/// Everything is checked once an hour, and four times as rarely while events arrive.
const HOURLY: &str = "  resyncInterval: 1h\n  resyncIntervalWithEvents: 4h\n  changeEvents: {queueUrl: \"https://sqs.us-east-1.amazonaws.com/111122223333/changes\"}\n";

fn hourly(roles: &[&str], more: &str) -> String {
    manifest(roles, more) + SETTINGS + HOURLY
}

/// An event as EventBridge puts it on the queue: Eve has made this call.
fn event(call: &str, parameters: Value, request_id: &str) -> String {
    let event = json!({
        "source": "aws.iam", "detail-type": "AWS API Call via CloudTrail", "account": "111122223333",
        "detail": {
            "eventName": call, "readOnly": false, "requestID": request_id, "eventTime": "2026-11-22T09:30:00Z",
            "sourceIPAddress": "192.0.2.1", "requestParameters": parameters,
            "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/eve"}
        }
    });
    event.to_string()
}

fn put(role: &str) -> String {
    event("PutRolePolicy", json!({"roleName": role, "policyName": POLICY}), "of-eve")
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

impl Life {
    /// A controller whose queue is read, in a world that is all right.
    async fn hearing(roles: &[&str], text: &str) -> Self {
        let right = right();
        let roles: Vec<_> = roles.iter().map(|role| (*role, Some(right.as_str()))).collect();
        let life = Self::with(&roles).start(text);
        life.exchange.is_listening(Listening::Up);
        minutes(2).await;
        life
    }

    fn hears(&self, body: &str) {
        self.hears_late(body, Duration::from_secs(3));
    }

    fn hears_late(&self, body: &str, age: Duration) {
        self.exchange.deliver(Heard::read(body).unwrap(), age).unwrap();
    }

    fn the(&self, name: &str) -> Value {
        let events = self.all_events();
        events.iter().rfind(|event| event["event"] == name).unwrap_or_else(|| panic!("{events:#?}")).clone()
    }

    fn readings(&self) -> u64 {
        self.calls("GetAccountAuthorizationDetails")
    }

    /// The event of the last write.
    fn of_our_write(&self) -> String {
        let wrote = |call: &&Call| call.operation == "PutRolePolicy";
        let calls = self.sandbox.calls();
        let call = calls.iter().rfind(wrote).unwrap();
        event("PutRolePolicy", json!({"roleName": call.role, "policyName": call.policy}), &call.request_id)
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_undone_within_a_second_of_its_event_and_the_alert_names_who_is_said_to_have_made_it() {
    let life = Life::hearing(&["web", "batch"], &hourly(&["web", "batch"], "")).await;
    let readings = life.readings();
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    seconds(600).await;
    assert_eq!(life.told(), Vec::<String>::new(), "the next resync is far");
    life.hears(&put("WEB"));
    seconds(1).await;
    assert_eq!(life.live("web"), Some(right()));
    assert_eq!(life.told(), ["events.flowing", "change.claimed", "drift.detected", "drift.repaired"]);
    assert_eq!((life.calls("GetRolePolicy"), life.readings()), (2, readings), "a look, and the confirming read");
    let alert = life.the("drift.detected");
    for (field, value) in [
        ("role", "web"),
        ("claimed_call", "PutRolePolicy"),
        ("claimed_by", "arn:aws:iam::111122223333:user/eve"),
        ("claimed_from", "192.0.2.1"),
        ("claimed_at", "2026-11-22T09:30:00Z"),
    ] {
        assert_eq!(alert[field], value, "{alert}");
    }
    let said = alert["message"].as_str().unwrap();
    let claim = "; a change event claims PutRolePolicy by arn:aws:iam::111122223333:user/eve from 192.0.2.1 at 2026-11-22T09:30:00Z";
    assert!(said.ends_with(claim), "{said}");
}

#[tokio::test(start_paused = true)]
async fn what_is_only_observed_is_told_at_once_too_and_stands_although_no_reading_has_shown_it() {
    let watched = manifest(&["web"], "  mode: observe\n").replace("name: fleet", "name: watched");
    let text = format!("{watched}---\n{}", hourly(&["batch"], ""));
    let life = Life::hearing(&["web", "batch"], &text).await;
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    life.hears(&put("web"));
    seconds(1).await;
    assert_eq!(life.told(), ["events.flowing", "change.claimed", "drift.detected ObserveMode"]);
    // The plan for another role does not go back behind what was seen.
    life.write("batch", &document(&[CHANNELS, S3, MORE]));
    life.hears(&put("batch"));
    minutes(10).await;
    assert_eq!(life.told()[3..], ["change.claimed", "drift.detected", "drift.repaired"].map(str::to_owned)[..]);
    life.write("web", &right());
    life.hears(&put("web"));
    minutes(1).await;
    assert_eq!(life.told()[6..], ["drift.ended".to_owned()], "the same event, which has told its claim before");
    assert_eq!((life.live("batch"), life.writes()), (Some(right()), 1));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_reads_do_not_show_yet_when_its_event_comes_is_found_by_a_second_look() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(10), single: Duration::from_secs(10) });
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    life.hears(&put("web"));
    seconds(4).await;
    assert!(!life.told().contains(&"drift.detected".to_owned()));
    seconds(30).await;
    assert_eq!(life.live("web"), Some(right()));
}

#[tokio::test(start_paused = true)]
async fn events_that_are_doubled_late_out_of_order_or_forged_write_nothing_and_alert_nobody() {
    let life = Life::hearing(&["web", "batch"], &hourly(&["web", "batch"], "")).await;
    for _ in 0..3 {
        life.hears(&put("web"));
        life.hears_late(&put("batch"), Duration::from_secs(7200));
        life.hears(&event("DeleteRolePolicy", json!({"roleName": "web", "policyName": POLICY}), "forged"));
        life.hears(&event("DeleteRole", json!({"roleName": "batch"}), "forged"));
        life.hears(&put("nobody"));
        seconds(30).await;
    }
    minutes(5).await;
    assert_eq!(life.writes() + life.calls("DeleteRolePolicy"), 0);
    assert!(life.told().iter().all(|told| told == "events.flowing" || told == "change.claimed"), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_lost_event_costs_time_and_the_next_resync_finds_the_change() {
    let life = Life::hearing(&["web"], &(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 10m\n")).await;
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    minutes(12).await;
    assert_eq!(life.live("web"), Some(right()));
    assert_eq!(life.the("drift.detected").get("claimed_by"), None);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_events_makes_no_more_looks_and_readings_than_its_bounds() {
    let names: Vec<String> = (0..200).map(|number| format!("role-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let life = Life::hearing(&names, &hourly(&names, "")).await;
    life.sandbox.clear_calls();
    for second in 0..300 {
        for number in 0..40 {
            life.hears(&put(names[(second * 40 + number) % 200]));
            life.hears(&put("role-0"));
            life.hears(&event("TagRole", json!({"roleName": "role-1"}), "tag"));
        }
        seconds(1).await;
    }
    // 60 a minute are woken, and each is looked at once more after a while.
    let looks = life.calls("GetRolePolicy");
    assert!((100..=2 * 60 * 6).contains(&looks), "{looks}");
    assert!((4..=7).contains(&life.readings()), "{}", life.readings());
    assert_eq!(life.writes(), 0);
    minutes(5).await;
    life.sandbox.clear_calls();
    minutes(10).await;
    assert_eq!(life.sandbox.counts().values().map(|count| count.calls).sum::<u64>(), 0, "then it is calm");
}

#[tokio::test(start_paused = true)]
async fn while_events_are_seen_the_resync_is_rare_and_when_they_stop_it_comes_back_and_that_is_told() {
    let text = manifest(&["web"], "")
        + SETTINGS
        + "  resyncInterval: 1m\n  resyncIntervalWithEvents: 1h\n  changeEvents: {queueUrl: \"https://sqs.us-east-1.amazonaws.com/111122223333/changes\"}\n";
    let life = Life::hearing(&["web"], &text).await;
    let within = async |count: u64| {
        let before = life.readings();
        minutes(count).await;
        life.readings() - before
    };
    assert!((8..=12).contains(&within(10).await), "nothing was heard so far");
    life.hears(&event("PutUserPolicy", json!({"userName": "eve", "roleName": "nobody"}), "x"));
    minutes(1).await;
    assert!(life.the("events.flowing")["message"].as_str().unwrap().ends_with("every 1h 0m"), "{:?}", life.told());
    minutes(1).await;
    assert!(within(50).await <= 1);
    // Evidence lasts for the stretched interval, a fifth more and a quarter of an hour.
    minutes(45).await;
    assert_eq!(life.told(), ["events.flowing", "events.stopped NothingHeard"]);
    assert!((8..=12).contains(&within(10).await));
    life.hears(&put("nobody"));
    minutes(2).await;
    assert!(within(30).await <= 1);
    life.exchange.is_listening(Listening::Failed);
    minutes(1).await;
    assert_eq!(life.told()[2..], ["events.flowing", "events.stopped QueueFailed"].map(str::to_owned)[..]);
    assert!((8..=12).contains(&within(10).await), "the resync is not as far away as it was");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_role_wakes_a_reading_only_where_a_selector_may_mean_its_name() {
    let text = hourly(&["web"], "").replace("spec:\n  roles", "spec:\n  selector: {nameLike: \"fleet-*\"}\n  roles");
    assert!(text.contains("fleet-*"), "{text}");
    let life = Life::hearing(&["web"], &text).await;
    let before = life.readings();
    for number in 0..100 {
        life.hears(&put(&format!("lambda-{number}")));
    }
    minutes(3).await;
    assert_eq!(life.readings(), before);
    assert!(!life.told().iter().any(|told| told.starts_with("change.claimed")), "{:?}", life.told());
    life.hears(&put("fleet-7"));
    seconds(2).await;
    assert_eq!(life.readings(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn our_own_writes_are_known_by_their_request_ids_and_by_nothing_else() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    life.hears(&put("web"));
    seconds(60).await;
    assert_eq!(life.writes(), 1);
    let looks = life.calls("GetRolePolicy");
    let told = life.told();
    life.hears(&life.of_our_write());
    life.hears(&life.of_our_write());
    seconds(60).await;
    assert_eq!((life.calls("GetRolePolicy"), life.told()), (looks, told), "it wakes nobody");
    // Whoever says that they are the controller, and has not the request's id, is looked into.
    let claimed = put("web").replace(
        "arn:aws:iam::111122223333:user/eve",
        "arn:aws:sts::111122223333:assumed-role/ssm-role-controller/sandbox",
    );
    life.hears(&claimed);
    seconds(1).await;
    assert_eq!(life.calls("GetRolePolicy"), looks + 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_of_ours_that_is_not_heard_of_ends_the_rare_resync() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    life.hears(&put("web"));
    minutes(20).await;
    assert_eq!(life.told().last().unwrap(), "events.stopped OwnWriteUnheard");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_shared_managed_policy_has_the_roles_that_carry_it_judged_anew() {
    let text = hourly(&["node", "other"], "");
    let mut life = Life::with(&[("other", Some(&right()))]);
    let register = r#"{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}"#;
    life.sandbox.plant_policy(&life.account, "shared", &document(&[register]));
    let seed = RoleSeed::new("node").policy(POLICY, &right()).instance_profile("node").attached(SHARED);
    life.sandbox.plant(&life.account, seed);
    life.start_with(&text, Options::default());
    life.exchange.is_listening(Listening::Up);
    minutes(2).await;
    let session = |life: &Life, name: &str| {
        let of = |event: &&Value| event["event"] == name && event["role"] == "node";
        life.all_events().iter().filter(of).count()
    };
    assert_eq!(session(&life, "session.not_ready"), 0, "{:#?}", life.all_events());
    let deny = r#"{"Effect":"Deny","Action":"ssmmessages:*","Resource":"*"}"#;
    assert!(life.sandbox.write_managed(&life.account, "shared", &document(&[register, deny])));
    life.hears(&event("CreatePolicyVersion", json!({"policyArn": SHARED}), "of-eve"));
    seconds(5).await;
    assert_eq!(life.the("change.claimed")["role"], "node");
    assert_eq!(session(&life, "session.not_ready"), 1, "{:#?}", life.all_events());
}

#[tokio::test(start_paused = true)]
async fn what_no_look_at_a_policy_shows_is_read_with_everything() {
    let life = Life::hearing(&["web"], &hourly(&["web", "late"], "")).await;
    assert_eq!(life.told(), ["role.not_found RoleNotFound"]);
    life.sandbox.plant(&life.account, RoleSeed::new("late"));
    life.hears(&event("CreateRole", json!({"roleName": "late"}), "of-eve"));
    seconds(3).await;
    assert_eq!(life.live("late"), Some(right()));
    let change = RoleChange::default().attach("arn:aws:iam::aws:policy/AdministratorAccess");
    assert!(life.sandbox.change_role(&life.account, "web", &change));
    let readings = life.readings();
    life.hears(&event(
        "AttachRolePolicy",
        json!({"roleName": "web", "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}),
        "y",
    ));
    seconds(65).await;
    assert!(life.readings() > readings);
}

#[tokio::test(start_paused = true)]
async fn an_event_does_not_make_a_repair_that_waits_for_a_person_be_tried_sooner() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy"));
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    for _ in 0..10 {
        life.hears(&put("web"));
        seconds(5).await;
    }
    assert!(life.writes() <= 2, "{}", life.writes());
}

#[tokio::test(start_paused = true)]
async fn a_late_event_right_after_a_repair_does_not_take_an_old_read_for_a_new_change() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    life.write("web", &document(&[CHANNELS, S3, MOST]));
    seconds(30).await;
    life.hears(&put("web"));
    seconds(1).await;
    assert_eq!(life.live("web"), Some(right()));
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(10), single: Duration::from_secs(10) });
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    seconds(20).await;
    life.hears(&put("web"));
    seconds(1).await;
    assert_eq!((life.live("web"), life.writes()), (Some(right()), 2));
    // For a while reads still show what the repair has replaced.
    for _ in 0..3 {
        seconds(5).await;
        life.hears(&put("web"));
    }
    minutes(5).await;
    let alerts = life.told().iter().filter(|told| told.starts_with("drift.detected")).count();
    assert_eq!((alerts, life.writes()), (2, 2), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn the_queue_that_the_settings_name_is_listened_to_once_every_account_hears() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    let queue = life.exchange.queue();
    assert_eq!(queue.borrow().as_ref().unwrap().as_str(), "https://sqs.us-east-1.amazonaws.com/111122223333/changes");
    life.save(&manifest(&["web"], ""));
    seconds(1).await;
    assert_eq!(*queue.borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_where_nothing_was_wrong_is_no_failed_repair_and_is_tried_again() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    life.sandbox.fault(Fault::new(Effect::Unavailable).on("GetRolePolicy"));
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    life.hears(&put("web"));
    minutes(5).await;
    assert_eq!(life.told(), ["events.flowing", "change.claimed"]);
    life.sandbox.clear_faults();
    minutes(1).await;
    assert_eq!(life.told()[2..], ["drift.detected", "drift.repaired"].map(str::to_owned)[..]);
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_comes_while_a_role_is_looked_at_leads_to_no_plan_without_that_role() {
    let text = hourly(&["web", "batch", "cron"], "") + "  guards: {maxChangesPerHour: 1}\n";
    let life = Life::hearing(&["web", "batch", "cron"], &text).await;
    life.sandbox.fault(Fault::new(Effect::DelayMs(3_000)).on("GetRolePolicy").role("web"));
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    life.write("batch", &document(&[CHANNELS, S3, MORE]));
    life.hears(&put("web"));
    seconds(1).await;
    // Nothing but a reading shows what became of the trust policy, and the look at the other role is not done.
    life.hears(&event("UpdateAssumeRolePolicy", json!({"roleName": "cron"}), "of-eve-too"));
    minutes(2).await;
    assert_eq!(life.writes(), 0, "two changes are one too many: {:#?}", life.told());
    assert_eq!(life.told().iter().filter(|told| told.starts_with("guard.held")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_falls_due_during_the_repair_of_another_look_writes_nothing_again_while_reads_lag() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    // The repairs' own reads take three seconds, the looks before them none; and nobody hears that the write was made.
    for looks_and_repairs in [1, 3] {
        let slow = Fault::new(Effect::DelayMs(3_000)).on("GetRolePolicy").after(looks_and_repairs).times(1);
        life.sandbox.fault(slow);
    }
    life.sandbox.fault(Fault::new(Effect::Hang).on("PutRolePolicy").done().times(1));
    life.write("web", &document(&[CHANNELS, S3, MORE]));
    seconds(20).await;
    life.hears(&put("web"));
    seconds(4).await;
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(12), single: Duration::from_secs(12) });
    seconds(2).await;
    // Somebody else is said to have written meanwhile: there is a look, beside the retry.
    life.hears(&event("PutRolePolicy", json!({"roleName": "web", "policyName": POLICY}), "of-eve-again"));
    minutes(5).await;
    assert_eq!(life.live("web"), Some(right()));
    assert_eq!(life.writes(), 2, "the one that was not answered, and its retry: {:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn what_a_look_has_shown_of_the_role_itself_holds_for_its_other_policies_too() {
    let second = manifest(&["web"], "  policyName: Second\n").replace("name: fleet", "name: second");
    let life = Life::hearing(&["web"], &format!("{second}---\n{}", hourly(&["web"], ""))).await;
    let writes = life.calls("PutRolePolicy");
    // Both policies are looked at by what a reading says of the role that lags behind.
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(60), single: Duration::ZERO });
    life.sandbox.fault(Fault::new(Effect::DelayMs(2_000)).on("GetRole"));
    life.sandbox.remove_role(&life.account, "web");
    life.sandbox.make_role(&life.account, RoleSeed::new("web").path("/aws-service-role/ssm.amazonaws.com/"));
    life.hears(&event("CreateRole", json!({"roleName": "web"}), "of-eve"));
    life.hears(&put("web"));
    minutes(5).await;
    assert_eq!(life.calls("PutRolePolicy"), writes, "AWS protects the role by now");
}

#[tokio::test(start_paused = true)]
async fn what_a_reading_shows_of_a_role_holds_against_what_a_repair_that_began_before_had_read() {
    let life = Life::hearing(&["web"], &hourly(&["web"], "")).await;
    seconds(40).await;
    life.sandbox.fault(Fault::new(Effect::DelayMs(3_000)).on("GetRolePolicy").after(1).times(1));
    life.sandbox.fault(Fault::new(Effect::DelayMs(4_500)).on("PutRolePolicy").times(1));
    life.sandbox.fault(Fault::new(Effect::Unavailable).on("PutRolePolicy").times(1));
    life.write("web", &document(&[CHANNELS]));
    life.hears(&put("web"));
    seconds(4).await;
    assert!(life.calls("GetRole") > 0 && life.calls("PutRolePolicy") == 1, "{:?}", life.sandbox.counts());
    // While the write is under way somebody asks to leave the role alone, and a reading of everything shows it.
    life.sandbox.tag(&life.account, "web", crate::inventory::SUSPEND_TAG, Some("true"));
    life.hears(&event("UpdateAssumeRolePolicy", json!({"roleName": "web"}), "of-eve-too"));
    minutes(5).await;
    assert_eq!(life.live("web"), Some(document(&[CHANNELS])), "{:#?}", life.told());
}
