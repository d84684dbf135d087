//! What is told, when, and in which words.

use super::*;

#[tokio::test(start_paused = true)]
async fn observed_drift_is_told_once_when_it_changes_and_when_it_ends_and_never_written() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web"], "  mode: observe\n"));
    minutes(10).await;
    assert_eq!(life.told(), ["drift.detected ObserveMode"]);
    life.write("web", &document(&[CHANNELS]));
    minutes(10).await;
    life.write("web", &right());
    minutes(10).await;
    assert_eq!(life.told(), ["drift.detected ObserveMode", "drift.changed ObserveMode", "drift.ended"]);
    assert_eq!(life.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_does_not_exist_is_a_condition_and_is_picked_up_when_it_appears() {
    let life = Life::with(&[]).start(&manifest(&["web"], ""));
    minutes(30).await;
    assert_eq!(life.told(), ["role.not_found RoleNotFound"]);
    life.sandbox.plant(&life.account, RoleSeed::new("Web"));
    minutes(5).await;
    assert_eq!(life.told()[1..], ["role.found", "drift.detected", "drift.repaired"]);
    life.sandbox.remove_role(&life.account, "web");
    minutes(5).await;
    assert_eq!(life.told()[4..], ["role.not_found RoleNotFound"]);
}

#[tokio::test(start_paused = true)]
async fn what_still_stands_is_told_again_once_a_day() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web", "ghost"], "  mode: observe\n"));
    minutes(60 * 24 * 3 + 120).await;
    let count = |name: &str| life.told().iter().filter(|told| told.starts_with(name)).count();
    assert_eq!((count("drift.detected"), count("role.not_found"), count("drift.standing")), (1, 1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_not_there_is_not_told_as_found_when_its_manifests_begin_to_differ() {
    let life = Life::with(&[]).start(&manifest(&["web"], ""));
    minutes(2).await;
    let other = manifest(&["web"], "  mode: observe\n").replace("fleet", "other");
    life.save(&(manifest(&["web"], "") + "---\n" + &other));
    minutes(2).await;
    life.save(&manifest(&["web"], ""));
    minutes(2).await;
    assert_eq!(life.told(), ["role.not_found RoleNotFound", "drift.blocked Conflict"]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_held_in_between_does_not_have_what_stands_in_the_way_of_a_role_told_again() {
    let life = Life::with(&[("web", None)]);
    let protected = || RoleSeed::new("web").path("/aws-service-role/ssm.amazonaws.com/");
    life.sandbox.plant(&life.account, protected());
    let life = life.start(&format!("{}{SETTINGS}  guards: {{maxChangesPerHour: 0}}\n", manifest(&["web"], "")));
    minutes(2).await;
    life.sandbox.plant(&life.account, RoleSeed::new("web"));
    minutes(2).await;
    life.sandbox.plant(&life.account, protected());
    minutes(2).await;
    let expected =
        ["drift.detected ProtectedRole", "drift.blocked ProtectedRole", "guard.held GuardHeld", "guard.released"];
    assert_eq!(life.told(), expected);
}

#[tokio::test(start_paused = true)]
async fn that_a_role_has_no_room_is_told_once_whether_iam_says_it_or_a_reading_shows_it() {
    let life = Life::with(&[("web", None)]);
    let crowded = document(&[&format!(r#"{{"Effect":"Allow","Action":"s3:*","Resource":"{}"}}"#, "x".repeat(10_150))]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(3_000)).on("GetRolePolicy"));
    let life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(1)).await;
    assert!(life.sandbox.write_policy(&life.account, "web", "Crowd", &crowded));
    minutes(30).await;
    assert_eq!(life.told(), ["drift.detected", "drift.blocked NoRoom"]);
}

/// Every kind of trouble once, read as the person on call reads it.
#[tokio::test(start_paused = true)]
async fn messages_say_what_happened_to_which_role_in_which_account_and_what_to_do() {
    let narrowed = document(&[CHANNELS]);
    let widened = document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#]);
    let denies = document(&[CHANNELS, S3, r#"{"Effect":"Deny","Action":"ssmmessages:*","Resource":"*"}"#]);
    let foreign = document(&[r#"{"Effect":"Allow","Action":"dynamodb:*","Resource":"*"}"#]);
    let registers =
        document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}"#]);
    let life = Life::with(&[
        ("a-missing", None),
        ("b-narrowed", Some(&narrowed)),
        ("c-widened", Some(&widened)),
        ("d-unreadable", Some("{\"ssmmessages:OpenDataChannel\"")),
        ("e-denies", Some(&denies)),
        ("f-foreign", Some(&foreign)),
        ("g-registers", Some(&registers)),
        ("i-refused", None),
    ]);
    life.sandbox.plant(&life.account, RoleSeed::new("h-protected").path("/aws-reserved/sso.amazonaws.com/"));
    life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy").role("i-refused"));
    let fleet =
        "a-missing b-narrowed c-widened d-unreadable e-denies f-foreign g-registers h-protected i-refused j-ghost";
    let roles: Vec<&str> = fleet.split(' ').collect();
    let life = life.start(&manifest(&roles, ""));
    minutes(2).await;
    life.sandbox.fault(Fault::new(Effect::Throttle).on("GetAccountAuthorizationDetails").times(10));
    minutes(30).await;
    life.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails").times(1));
    minutes(30).await;
    life.write("e-denies", &right());
    minutes(2).await;
    let elsewhere = manifest(&["k-elsewhere"], "  accountId: \"999999999999\"\n").replace("fleet", "other");
    let rest = manifest(&["b-narrowed"], "  suspend: true\n");
    life.save(&(rest + "---\n" + &elsewhere + SETTINGS + "  defaultMode: observe\n"));
    minutes(2).await;
    life.save(&(manifest(&["b-narrowed"], "") + SETTINGS + "  suspend: true\n"));
    minutes(2).await;
    life.save(&(manifest(&["b-narrowed"], "") + SETTINGS + "  defaultMode: observe\n"));
    life.write("b-narrowed", &narrowed);
    minutes(60 * 24 + 30).await;
    insta::assert_snapshot!(life.read_aloud());
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_drift_is_told_in_its_own_words_and_repaired() {
    let narrowed = document(&[CHANNELS]);
    let widened = document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#]);
    let altered = document(&[CHANNELS, r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}"#]);
    let cosmetic = document(&[S3, CHANNELS]);
    let life = Life::with(&[
        ("narrowed", Some(&narrowed)),
        ("widened", Some(&widened)),
        ("altered", Some(&altered)),
        ("cosmetic", Some(&cosmetic)),
    ])
    .start(&manifest(&["narrowed", "widened", "altered", "cosmetic"], ""));
    minutes(5).await;
    let events = life.events();
    let words = |role: &str| {
        let event = events.iter().find(|event| event["event"] == "drift.detected" && event["role"] == role).unwrap();
        (event["level"].as_str().unwrap(), event["drift"].as_str().unwrap(), event["message"].as_str().unwrap())
    };
    insta::assert_debug_snapshot!(["narrowed", "widened", "altered"].map(words));
    for role in ["narrowed", "widened", "altered"] {
        assert_eq!(life.live(role).unwrap(), right(), "{role}");
    }
    assert_eq!(life.live("cosmetic").unwrap(), cosmetic, "cosmetic differences are never written");
    assert!(events.iter().all(|event| event["role"] != "cosmetic"), "and never an alert");
    let repaired =
        events.iter().find(|event| event["event"] == "drift.repaired" && event["role"] == "widened").unwrap();
    assert_eq!(repaired["replaced"], widened);
    assert!(repaired["undo"].as_str().unwrap().starts_with("aws iam put-role-policy --role-name widened"));
}

#[tokio::test(start_paused = true)]
async fn the_daily_reminder_says_why_a_repair_keeps_failing() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy"));
    let life = life.start(&manifest(&["web"], ""));
    minutes(60 * 25).await;
    let events = life.events();
    let reminder = events.iter().find(|event| event["event"] == "drift.standing").unwrap();
    assert_eq!(reminder["reason"], "AccessDenied");
    assert!(reminder["message"].as_str().unwrap().ends_with("the repair keeps failing"));
}

#[tokio::test(start_paused = true)]
async fn that_a_role_has_no_room_is_told_once_whether_a_reading_shows_it_or_iam_says_it() {
    let life = Life::with(&[]);
    let much = format!(r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"{}"}}]}}"#, "x".repeat(10_150));
    life.sandbox.plant(&life.account, RoleSeed::new("web").policy("Application", &much));
    let life = life.start(&manifest(&["web"], ""));
    minutes(2).await;
    life.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails").times(1));
    minutes(30).await;
    assert_eq!(life.told().iter().filter(|told| *told == "drift.blocked NoRoom").count(), 1, "{:?}", life.told());
}
