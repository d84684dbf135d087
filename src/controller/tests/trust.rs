//! What keeps the controller from doing harm: guards, approval, the canary, deletion, fights.

use super::*;
use crate::{iam::Iam, plan::Digest};

fn guarded(roles: &[&str], guards: &str) -> String {
    manifest(roles, "") + SETTINGS + "  guards: {" + guards + "}\n"
}

const FOUR: [&str; 4] = ["a", "b", "c", "d"];

fn missing(roles: &[&'static str]) -> Vec<(&'static str, Option<&'static str>)> {
    roles.iter().map(|role| (*role, None)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_plan_beyond_the_guards_is_held_whole_and_told_with_its_digest() {
    let life = Life::with(&missing(&FOUR)).start(&guarded(&FOUR, "maxChangesPerHour: 3"));
    minutes(180).await;
    assert_eq!(life.writes(), 0);
    let told = life.told();
    assert_eq!(told[0], "guard.held GuardHeld");
    assert_eq!(told[1..], ["drift.detected GuardHeld"; 4]);
    let held = &life.events()[1];
    assert_eq!(held["digest"].as_str().unwrap().len(), 64);
    assert!(held["hint"].as_str().unwrap().contains(held["digest"].as_str().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_plan_within_the_guards_is_carried_out_and_the_next_one_waits_until_the_hour_has_rolled_on() {
    let life = Life::with(&missing(&FOUR)).start(&guarded(&FOUR, "maxChangesPerHour: 5"));
    minutes(5).await;
    assert_eq!(life.writes(), 4);
    for role in ["a", "b"] {
        life.sandbox.remove_policy(&life.account, role, POLICY);
    }
    minutes(50).await;
    assert_eq!(life.writes(), 4, "one more was allowed, and the plan is of two");
    minutes(20).await;
    assert_eq!(life.writes(), 6);
    let told = life.told();
    assert!(told.contains(&"guard.held GuardHeld".to_owned()) && told.contains(&"guard.released".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_changed_manifest_is_planned_and_guarded_anew() {
    let life = Life::with(&missing(&FOUR)).start(&guarded(&FOUR, "maxChangesPerHour: 3"));
    minutes(5).await;
    life.save(&guarded(&["a", "b", "c"], "maxChangesPerHour: 3"));
    minutes(5).await;
    assert_eq!(life.writes(), 3);
    assert!(life.told().contains(&"guard.released".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn tightened_guards_hold_for_repairs_that_are_under_way() {
    let life = Life::with(&missing(&["a"]));
    // Between the fresh look and the write, the operator allows nothing any more.
    life.sandbox.fault(Fault::new(Effect::DelayMs(5_000)).on("GetRolePolicy"));
    let life = life.start(&guarded(&["a"], "maxChangesPerHour: 5"));
    sleep(Duration::from_secs(2)).await;
    life.save(&guarded(&["a"], "maxChangesPerHour: 0"));
    minutes(30).await;
    assert_eq!(life.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_panics_after_its_write_counts_as_one_that_wrote() {
    let life = Life::with(&missing(&["a"]));
    let panics = std::sync::atomic::AtomicBool::new(true);
    life.sandbox.watch(move |_| {
        assert!(
            !panics.swap(false, std::sync::atomic::Ordering::Relaxed),
            "a defect, right after the write took effect"
        );
    });
    let life = life.start(&guarded(&["a"], "maxChangesPerHour: 1"));
    minutes(2).await;
    assert_eq!((life.writes(), life.live("a")), (1, Some(right())));
    life.sandbox.remove_policy(&life.account, "a", POLICY);
    minutes(50).await;
    assert_eq!(life.writes(), 1, "the hour is used up: {:?}", life.told());
    assert_eq!(life.told()[..2], ["drift.detected", "drift.repaired"], "and it is told as ours once it is seen");
}

#[tokio::test(start_paused = true)]
async fn deletions_are_guarded_by_a_bound_of_their_own() {
    let right = right();
    let roles: Vec<_> = FOUR.iter().map(|role| (*role, Some(right.as_str()))).collect();
    let text = manifest(&FOUR, "  state: absent\n") + SETTINGS + "  guards: {maxDeletesPerHour: 3}\n";
    let life = Life::with(&roles).start(&text);
    minutes(180).await;
    assert_eq!(life.calls("DeleteRolePolicy"), 0);
    life.save(&text.replace("maxDeletesPerHour: 3", "maxDeletesPerHour: 4"));
    minutes(5).await;
    assert_eq!(life.calls("DeleteRolePolicy"), 4);
}

async fn once(life: &Life, text: &str, approve: Option<Digest>) -> super::super::Outcome {
    let (_sender, manifests) = watch::channel(set(text));
    let iam = life.sandbox.iam(&life.account);
    let caller = iam.caller().await.unwrap();
    let options = Options { approve, ..Options::default() };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    Controller::new(iam, manifests, options).once(caller, true, deadline, CancellationToken::new()).await
}

#[tokio::test(start_paused = true)]
async fn an_approved_plan_is_carried_out_once_and_beyond_the_guards() {
    let text = guarded(&FOUR, "maxChangesPerHour: 1");
    let life = Life::with(&missing(&FOUR)).start(&text);
    minutes(5).await;
    let told = life.events()[1]["digest"].as_str().unwrap().to_owned();
    let held = once(&life, &text, None).await;
    assert_eq!((held.written, held.digest.clone().unwrap().to_string()), (0, told), "the daemon tells the same digest");
    assert!(held.held.is_some());

    let carried_out = once(&life, &text, held.digest.clone()).await;
    assert_eq!((carried_out.written, carried_out.approval_is_void), (4, false));
    assert!(carried_out.steps.iter().all(crate::plan::Step::is_in_sync));

    let again = once(&life, &text, held.digest).await;
    assert_eq!((again.written, again.approval_is_void), (0, true));
    minutes(5).await;
    assert_eq!(life.told().iter().filter(|told| *told == "guard.released").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn anything_else_in_the_account_makes_an_approval_void() {
    let text = guarded(&FOUR, "maxChangesPerHour: 1");
    let life = Life::with(&missing(&FOUR));
    let digest = once(&life, &text, None).await.digest;
    life.write("b", &document(&[CHANNELS]));
    let void = once(&life, &text, digest.clone()).await;
    assert_eq!((void.written, void.approval_is_void), (0, true));
    assert_ne!(void.digest, digest);
    life.sandbox.remove_policy(&life.account, "b", POLICY);
    assert_eq!(once(&life, &text, digest).await.written, 4, "it is that very plan again");
}

#[tokio::test(start_paused = true)]
async fn of_several_writes_the_first_is_made_alone_and_read_back() {
    let life = Life::with(&missing(&FOUR)).start(&manifest(&FOUR, ""));
    minutes(1).await;
    let calls: Vec<(&str, String)> =
        life.sandbox.calls().into_iter().filter_map(|call| Some((call.operation, call.role?))).take(3).collect();
    let of = |operation| (operation, "a".to_owned());
    assert_eq!(calls, [of("GetRolePolicy"), of("PutRolePolicy"), of("GetRolePolicy")]);
    assert_eq!((life.writes(), life.calls("GetRolePolicy")), (4, 5), "the others need no second read");
}

#[tokio::test(start_paused = true)]
async fn where_the_first_write_is_not_found_right_the_rest_wait_and_that_is_told() {
    let life = Life::with(&missing(&FOUR));
    // Nobody sees the write for two minutes.
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(120), single: Duration::from_secs(120) });
    let life = life.start(&manifest(&FOUR, ""));
    minutes(1).await;
    let written: Vec<_> = FOUR.iter().filter(|role| life.live(role).is_some()).collect();
    assert_eq!(written, [&"a"]);
    assert!(life.told().contains(&"canary.failed CanaryUnproven".to_owned()), "{:?}", life.told());
    minutes(4).await;
    let repaired = FOUR.iter().filter(|role| life.live(role) == Some(right())).count();
    assert_eq!(repaired, 4, "it was found right, and the rest went ahead");
    assert!(life.told().contains(&"canary.proven".to_owned()), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_role_whose_writes_never_hold_keeps_the_others_waiting_for_five_minutes_only() {
    let life = Life::with(&missing(&["a", "b", "c"])).start(&manifest(&["a", "b", "c"], ""));
    // Somebody undoes what is written to `a`, at once and for ever.
    for _ in 0..8 * 60 * 20 {
        life.sandbox.remove_policy(&life.account, "a", POLICY);
        sleep(Duration::from_millis(50)).await;
    }
    assert!(life.live("b").is_some() && life.live("c").is_some(), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_the_role_stops_every_write_and_that_is_told_while_it_stands() {
    let account: AccountId = "111122223333".parse().unwrap();
    let life = Life::with(&[]);
    life.sandbox.plant(&account, RoleSeed::new("web").tag("ssm-role-controller.dev/suspend", "incident 42"));
    let life = life.start(&manifest(&["web"], ""));
    minutes(26 * 60).await;
    assert_eq!(life.writes(), 0);
    assert_eq!(
        life.told(),
        ["role.suspended SuspendTag", "drift.detected SuspendTag", "drift.standing SuspendTag"],
        "reminded of once a day"
    );
}

#[tokio::test(start_paused = true)]
async fn what_stays_suspended_is_told_again_every_day() {
    let life = Life::with(&missing(&["web"]))
        .start(&(manifest(&["web"], "  suspend: true\n") + SETTINGS + "  suspend: true\n"));
    minutes(25 * 60).await;
    assert_eq!(
        life.told(),
        ["controller.suspended", "role.suspended Suspended", "controller.suspended", "drift.standing Suspended"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_absent_policy_is_removed_where_the_whole_document_is_what_its_settings_yield() {
    let (right, reworded) = (right(), document(&[S3, CHANNELS]));
    let more = document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#]);
    let less = document(&[CHANNELS]);
    let life = Life::with(&[
        ("gone", None),
        ("less", Some(&less)),
        ("more", Some(&more)),
        ("reworded", Some(&reworded)),
        ("right", Some(&right)),
    ])
    .start(&manifest(&["gone", "less", "more", "reworded", "right"], "  state: absent\n"));
    minutes(30).await;
    let left: Vec<bool> = ["less", "more", "reworded", "right"].map(|role| life.live(role).is_some()).to_vec();
    assert_eq!(left, [true, true, false, false]);
    let told = life.told();
    assert_eq!(told.iter().filter(|told| *told == "drift.blocked DocumentDiffers").count(), 2, "{told:?}");
    assert_eq!(told.iter().filter(|told| *told == "policy.removed").count(), 2, "{told:?}");
    assert_eq!(life.calls("DeleteRolePolicy"), 2);
    let removed = life.events().into_iter().find(|event| event["event"] == "policy.removed").unwrap();
    assert!(removed["undo"].as_str().unwrap().starts_with("aws iam put-role-policy --role-name re"), "{removed}");
}

#[tokio::test(start_paused = true)]
async fn a_removal_without_an_answer_is_told_as_ours_once_it_is_seen() {
    let right = right();
    let life = Life::with(&[("web", Some(&right))]);
    life.sandbox.fault(Fault::new(Effect::Hang).on("DeleteRolePolicy").done().times(1));
    let life = life.start(&manifest(&["web"], "  state: absent\n"));
    minutes(5).await;
    assert_eq!(life.told(), ["drift.detected", "policy.removed"]);
    assert_eq!(life.calls("DeleteRolePolicy"), 1);
}

#[tokio::test(start_paused = true)]
async fn under_a_new_name_the_old_policy_stays_until_the_new_one_was_read_back() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web"], ""));
    minutes(1).await;
    life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy"));
    life.save(&manifest(&["web"], "  policyName: Sessions\n"));
    minutes(30).await;
    assert_eq!(life.sandbox.policies(&life.account, "web"), [POLICY], "it cannot be written, so the old one stays");
    life.sandbox.clear_faults();
    minutes(30).await;
    assert_eq!(life.sandbox.policies(&life.account, "web"), ["Sessions"]);
    let order: Vec<&str> = life
        .sandbox
        .calls()
        .iter()
        .map(|call| call.operation)
        .filter(|operation| operation.contains("RolePolicy"))
        .collect();
    let at = order.iter().position(|operation| *operation == "DeleteRolePolicy").unwrap();
    assert_eq!(order[at - 2..at], ["GetRolePolicy", "GetRolePolicy"], "both are read first");
}

#[tokio::test(start_paused = true)]
async fn under_a_new_name_an_old_policy_that_holds_something_else_is_left_and_told() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web"], ""));
    minutes(1).await;
    let more = document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#]);
    life.write("web", &more);
    life.save(&manifest(&["web"], "  policyName: Sessions\n"));
    minutes(30).await;
    assert_eq!(life.sandbox.policies(&life.account, "web"), [POLICY, "Sessions"]);
    assert!(life.told().contains(&"drift.blocked DocumentDiffers".to_owned()), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn old_names_beyond_the_guards_are_told_as_orphans_with_the_manifest_that_removes_them() {
    let settings = format!("{SETTINGS}  guards: {{maxDeletesPerHour: 1}}\n");
    let life = Life::with(&missing(&["a", "b"])).start(&(manifest(&["a", "b"], "") + &settings));
    minutes(1).await;
    life.save(&(manifest(&["a", "b"], "  policyName: Sessions\n") + &settings));
    minutes(5).await;
    assert_eq!(life.calls("DeleteRolePolicy"), 0);
    let orphans: Vec<Value> = life.events().into_iter().filter(|event| event["event"] == "policy.orphaned").collect();
    assert_eq!(orphans.len(), 2);
    let remedy = orphans[0]["remedy"].as_str().unwrap();
    let renamed = manifest(&["a", "b"], "  policyName: Sessions\n");
    life.save(&(renamed + "---\n" + remedy + "\n" + &settings));
    minutes(5).await;
    assert_eq!(life.sandbox.policies(&life.account, "a"), ["Sessions"]);
    assert_eq!(life.sandbox.policies(&life.account, "b"), [POLICY, "Sessions"]);
}

#[tokio::test(start_paused = true)]
async fn an_orphan_is_told_with_the_manifest_that_removes_it() {
    let life = Life::with(&missing(&["a", "b"])).start(&manifest(&["a", "b"], ""));
    minutes(1).await;
    life.save(&manifest(&["a"], ""));
    minutes(1).await;
    let orphan = life.events().into_iter().find(|event| event["event"] == "policy.orphaned").unwrap();
    life.save(&(manifest(&["a"], "") + "---\n" + orphan["remedy"].as_str().unwrap()));
    minutes(5).await;
    assert_eq!((life.live("a"), life.live("b")), (Some(right()), None));
}

#[tokio::test(start_paused = true)]
async fn a_former_name_is_removed_once_while_reads_lag_behind_the_removal() {
    let life = Life::with(&missing(&["web"])).start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1s\n"));
    minutes(1).await;
    life.save(&(manifest(&["web"], "  policyName: Sessions\n") + SETTINGS + "  resyncInterval: 1s\n"));
    sleep(Duration::from_millis(500)).await;
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(15), single: Duration::from_secs(15) });
    minutes(5).await;
    assert_eq!(life.sandbox.policies(&life.account, "web"), ["Sessions"]);
    assert_eq!(life.calls("DeleteRolePolicy"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_makes_a_policy_under_a_former_name_keeps_it_once_it_was_gone() {
    let life = Life::with(&missing(&["web"])).start(&manifest(&["web"], ""));
    minutes(1).await;
    life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy"));
    life.save(&manifest(&["web"], "  policyName: Sessions\n"));
    minutes(5).await;
    life.save(&manifest(&["web"], ""));
    minutes(10).await;
    assert!(life.sandbox.write_policy(&life.account, "web", "Sessions", &right()));
    minutes(30).await;
    assert_eq!(life.sandbox.policies(&life.account, "web"), [POLICY, "Sessions"]);
    let ended = life.events().into_iter().find(|event| event["event"] == "drift.ended").unwrap();
    assert!(ended["message"].as_str().unwrap().contains("gives it another name now"), "{ended}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_while_readings_fail_since_a_tag_could_have_come() {
    let life = Life::with(&missing(&["web"]));
    life.sandbox.fault(Fault::new(Effect::Throttle).on("PutRolePolicy").times(6));
    let life = life.start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1s\n"));
    sleep(Duration::from_secs(5)).await;
    life.sandbox.fault(Fault::new(Effect::ServerError).on("GetAccountAuthorizationDetails"));
    minutes(2).await;
    let before = life.writes();
    minutes(30).await;
    assert_eq!((life.writes(), life.live("web")), (before, None));
    life.sandbox.clear_faults();
    minutes(10).await;
    assert_eq!(life.live("web").unwrap(), right());
}

#[tokio::test(start_paused = true)]
async fn who_reverts_the_whole_fleet_right_after_its_repair_meets_the_guards_too() {
    let roles = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let life = Life::with(&missing(&roles)).start(&guarded(&roles, "maxChangesPerHour: 12"));
    minutes(2).await;
    assert_eq!(life.writes(), 8);
    for role in roles {
        life.sandbox.remove_policy(&life.account, role, POLICY);
    }
    minutes(5).await;
    assert_eq!(life.writes(), 8, "eight more would be sixteen: held whole");
    let told = life.told();
    assert!(told.contains(&"guard.held GuardHeld".to_owned()), "{told:?}");
    assert_eq!(told.iter().filter(|told| *told == "drift.detected GuardHeld").count(), 8, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_drifts_anew_while_a_plan_is_held_is_told_within_a_reading_or_two() {
    let life = Life::with(&missing(&["a"])).start(&guarded(&["a"], "maxChangesPerHour: 3"));
    minutes(1).await;
    for role in ["b", "c", "d"] {
        life.sandbox.plant(&life.account, RoleSeed::new(role));
    }
    life.save(&guarded(&FOUR, "maxChangesPerHour: 3"));
    minutes(1).await;
    assert!(life.told().contains(&"guard.held GuardHeld".to_owned()), "{:?}", life.told());
    let before = life.told().len();
    life.sandbox.remove_policy(&life.account, "a", POLICY);
    minutes(3).await;
    assert_eq!(life.told()[before..], ["guard.held GuardHeld", "drift.detected GuardHeld"], "with another digest");
    let held = life.events().into_iter().rfind(|event| event["event"] == "guard.held").unwrap();
    let digest: Digest = held["digest"].as_str().unwrap().parse().unwrap();
    let approved = once(&life, &guarded(&FOUR, "maxChangesPerHour: 3"), Some(digest)).await;
    assert_eq!(approved.written, 4, "and that digest can be approved");
}

#[tokio::test(start_paused = true)]
async fn writes_that_follow_from_edits_are_no_fight() {
    let life = Life::with(&missing(&["web"])).start(&manifest(&["web"], ""));
    for round in 0..6 {
        minutes(1).await;
        let registration = if round % 2 == 0 { "granted" } else { "assumed" };
        let more =
            format!("  nodeRegistration: {registration}\n  sessionPreferences: {{s3BucketName: audit-{round}}}\n");
        life.save(&manifest(&["web"], &more));
        minutes(1).await;
        let blocked = life.told().iter().any(|told| told.contains("NodeRegistration"));
        assert!(blocked || life.live("web").unwrap().contains(&format!("audit-{round}")), "{:?}", life.told());
    }
    assert!(!life.told().contains(&"policy.contended Contended".to_owned()), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn removals_that_are_denied_do_not_hold_up_repairs_of_others() {
    let right = right();
    let wide = document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#]);
    let denied = ["a", "b", "c", "d", "e"];
    let mut roles: Vec<_> = denied.iter().map(|role| (*role, Some(right.as_str()))).collect();
    roles.extend([("f", Some(right.as_str())), ("wide", Some(right.as_str()))]);
    let life = Life::with(&roles);
    for role in denied {
        life.sandbox.fault(Fault::new(Effect::Deny).on("DeleteRolePolicy").role(role));
    }
    let gone = |roles: &[&str]| manifest(roles, "  state: absent\n").replace("fleet", "gone");
    let kept = manifest(&["wide"], "");
    let life = life.start(&(gone(&denied) + "---\n" + &kept));
    minutes(5).await;
    life.save(&(gone(&["a", "b", "c", "d", "e", "f"]) + "---\n" + &kept));
    minutes(2).await;
    life.write("wide", &wide);
    minutes(5).await;
    assert_eq!((life.live("wide").unwrap(), life.live("f")), (right.clone(), None), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_first_write_without_an_answer_is_read_back_before_the_rest_go() {
    let life = Life::with(&missing(&FOUR));
    life.sandbox.fault(Fault::new(Effect::Reset).on("PutRolePolicy").done().times(1));
    let life = life.start(&manifest(&FOUR, ""));
    minutes(1).await;
    let calls: Vec<(&str, String)> =
        life.sandbox.calls().into_iter().filter_map(|call| Some((call.operation, call.role?))).take(3).collect();
    let of = |operation| (operation, "a".to_owned());
    assert_eq!(calls, [of("GetRolePolicy"), of("PutRolePolicy"), of("GetRolePolicy")]);
    assert!(FOUR.iter().all(|role| life.live(role) == Some(right())));
}

#[tokio::test(start_paused = true)]
async fn a_tag_on_a_role_that_is_in_sync_is_told() {
    let life = Life::with(&[("web", Some(&right()))]).start(&manifest(&["web"], ""));
    minutes(5).await;
    life.sandbox.tag(&life.account, "web", "ssm-role-controller.dev/suspend", Some("yes"));
    minutes(5).await;
    assert_eq!(life.told(), ["role.suspended SuspendTag"]);
    life.sandbox.tag(&life.account, "web", "ssm-role-controller.dev/suspend", Some("false"));
    minutes(5).await;
    assert_eq!(life.told(), ["role.suspended SuspendTag", "role.resumed"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_reading_did_not_look_for_is_not_missing() {
    let life = Life::with(&[("web", Some(&right()))]);
    assert!(life.sandbox.write_policy(&life.account, "web", "Sessions", &right()));
    life.sandbox.fault(Fault::new(Effect::DelayMs(3_000)).on("GetAccountAuthorizationDetails"));
    let life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(1)).await;
    life.save(&manifest(&["web"], "  policyName: Sessions\n"));
    minutes(5).await;
    assert!(!life.told().iter().any(|told| told.starts_with("drift.")), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn the_remedies_of_several_orphans_can_be_added_together() {
    let life = Life::with(&missing(&["a", "b", "c"])).start(&manifest(&["a", "b", "c"], ""));
    minutes(1).await;
    life.save(&manifest(&["a"], ""));
    minutes(1).await;
    let events = life.events();
    let remedies = events.iter().filter_map(|event| event["remedy"].as_str()).collect::<Vec<_>>().join("\n---\n");
    life.save(&(manifest(&["a"], "") + "---\n" + &remedies));
    minutes(5).await;
    assert_eq!((life.live("b"), life.live("c")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn an_approval_of_a_plan_that_is_empty_by_now_is_void() {
    let text = guarded(&FOUR, "maxChangesPerHour: 1");
    let life = Life::with(&missing(&FOUR));
    let digest = once(&life, &text, None).await.digest;
    let empty = once(&life, &(SETTINGS.replacen("---\n", "", 1) + "  suspend: false\n"), digest).await;
    assert_eq!((empty.written, empty.approval_is_void), (0, true));
}

#[tokio::test(start_paused = true)]
async fn an_approved_write_that_iam_failed_to_make_is_tried_again() {
    let text = guarded(&FOUR, "maxChangesPerHour: 1");
    let life = Life::with(&missing(&FOUR));
    let digest = once(&life, &text, None).await.digest;
    life.sandbox.fault(Fault::new(Effect::ServerError).on("PutRolePolicy").role("c").times(1));
    assert_eq!(once(&life, &text, digest).await.written, 4);
}

/// Undoes every repair within a second, for so many minutes.
async fn fight(life: &Life, with: Option<&str>, lasting_minutes: u64) {
    for _ in 0..lasting_minutes * 60 {
        sleep(Duration::from_secs(1)).await;
        if life.live("web").as_deref() == Some(&right()) {
            match with {
                Some(document) => life.write("web", document),
                None => drop(life.sandbox.remove_policy(&life.account, "web", POLICY)),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_removes_a_policy_again_and_again_makes_the_repairs_back_off_and_is_told() {
    let life = Life::with(&missing(&["web"])).start(&manifest(&["web"], ""));
    fight(&life, None, 60).await;
    let in_the_first_hour = life.writes();
    fight(&life, None, 180).await;
    let later = life.writes() - in_the_first_hour;
    assert!(in_the_first_hour <= 10 && later <= 8, "{in_the_first_hour} and {later} in three hours");
    assert_eq!(life.told().iter().filter(|told| *told == "policy.contended Contended").count(), 1);
    minutes(90).await;
    assert_eq!(life.live("web").unwrap(), right(), "it comes back by itself");
    assert_eq!(life.told().last().unwrap(), "policy.settled");
    life.sandbox.remove_policy(&life.account, "web", POLICY);
    minutes(2).await;
    assert_eq!(life.live("web").unwrap(), right(), "and the fight is forgotten");
}

#[tokio::test(start_paused = true)]
async fn what_is_widened_again_and_again_is_repaired_every_five_minutes_at_least() {
    let wide = document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#]);
    let life = Life::with(&missing(&["web"])).start(&manifest(&["web"], ""));
    let mut before = 0;
    fight(&life, Some(&wide), 30).await;
    for _ in 0..12 {
        fight(&life, Some(&wide), 6).await;
        assert!(life.writes() > before, "another repair in each six minutes");
        before = life.writes();
    }
    assert!(life.told().contains(&"policy.contended Contended".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_role_outside_the_limits_is_told_and_never_written() {
    let life = Life::with(&[]);
    for (name, path) in [("inside", "/fleet/"), ("outside", "/")] {
        life.sandbox.plant(&life.account, RoleSeed::new(name).path(path));
    }
    let text = manifest(&["inside", "outside"], "") + SETTINGS + "  limits: {rolePathPrefixes: [/fleet/]}\n";
    let life = life.start(&text);
    minutes(30).await;
    assert_eq!((life.live("inside"), life.live("outside")), (Some(right()), None));
    assert_eq!(life.writes(), 1);
    assert!(life.told().contains(&"drift.blocked OutsideLimits".to_owned()), "{:?}", life.told());
}

/// Were the loop to turn without waiting, this test would never end: the paused clock stands still then.
#[tokio::test(start_paused = true)]
async fn an_unproven_first_write_does_not_keep_the_loop_turning_while_readings_fail() {
    let life = Life::with(&missing(&FOUR));
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(1800), single: Duration::from_secs(1800) });
    let life = life.start(&manifest(&FOUR, ""));
    sleep(Duration::from_secs(30)).await;
    assert!(life.told().contains(&"canary.failed CanaryUnproven".to_owned()), "{:?}", life.told());
    life.sandbox.fault(Fault::new(Effect::ServerError).on("GetAccountAuthorizationDetails"));
    minutes(60).await;
    life.sandbox.clear_faults();
    minutes(60).await;
    assert!(FOUR.iter().all(|role| life.live(role) == Some(right())));
}

#[tokio::test(start_paused = true)]
async fn drift_outside_the_limits_is_told_when_it_begins_and_when_it_ends() {
    let life = Life::with(&missing(&["web"]));
    let life = life.start(&(manifest(&["web"], "") + SETTINGS + "  limits: {rolePathPrefixes: [/fleet/]}\n"));
    minutes(2).await;
    life.write("web", &right());
    minutes(2).await;
    life.sandbox.remove_policy(&life.account, "web", POLICY);
    minutes(2).await;
    let of_drift: Vec<String> = life.told().into_iter().filter(|told| !told.starts_with("drift.blocked")).collect();
    assert_eq!(of_drift, ["drift.detected OutsideLimits", "drift.ended", "drift.detected OutsideLimits"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_an_earlier_plan_has_on_its_way_is_one_of_several_too() {
    let life = Life::with(&[("web", Some(&right())), ("db", Some(&right()))]);
    let life = life.start(&format!("{}{SETTINGS}  resyncInterval: 1s\n", manifest(&["web", "db"], "")));
    minutes(1).await;
    // The look before the write of web takes longer than it takes to see that db has drifted as well.
    life.sandbox.fault(Fault::new(Effect::DelayMs(5_000)).on("GetRolePolicy").role("web").times(1));
    life.sandbox.remove_policy(&life.account, "web", POLICY);
    sleep(Duration::from_secs(2)).await;
    life.sandbox.remove_policy(&life.account, "db", POLICY);
    minutes(1).await;
    let written: Vec<String> = life
        .sandbox
        .calls()
        .into_iter()
        .filter(|call| call.operation == "PutRolePolicy")
        .filter_map(|call| call.role)
        .collect();
    assert_eq!(written, ["web", "db"]);
}
