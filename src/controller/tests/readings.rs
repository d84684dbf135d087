//! Readings: in bulk, one by one, failed, and those that lag behind.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_steady_pass_reads_in_bulk_and_makes_no_call_for_a_role() {
    let roles: Vec<String> = (0..50).map(|number| format!("role-{number}")).collect();
    let names: Vec<&str> = roles.iter().map(String::as_str).collect();
    let right = right();
    let seeds: Vec<_> = names.iter().map(|name| (*name, Some(right.as_str()))).collect();
    let life = Life::with(&seeds).start(&manifest(&names, ""));
    minutes(10).await;
    assert_eq!(life.told(), [""; 0]);
    let counts = life.sandbox.counts();
    let operations: Vec<_> = counts.keys().copied().collect();
    assert_eq!(operations, ["GetAccountAuthorizationDetails", "GetCallerIdentity"]);
    assert!((9..=12).contains(&life.calls("GetAccountAuthorizationDetails")));

    life.sandbox.remove_policy(&life.account, "role-7", POLICY);
    life.sandbox.clear_calls();
    minutes(2).await;
    assert_eq!((life.calls("GetRolePolicy"), life.writes()), (1, 1), "one drifted role adds one read and one write");
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_told_once_and_never_leads_to_a_write() {
    for effect in [
        Effect::Throttle,
        Effect::ServerError,
        Effect::Hang,
        Effect::Cut,
        Effect::Html,
        Effect::Reset,
        Effect::NoMarker,
        Effect::RepeatMarker,
        Effect::ExpiredToken,
    ] {
        let life = Life::with(&[("other", None), ("web", None)]);
        life.sandbox.set_page_cap(Some(1));
        life.sandbox.fault(Fault::new(effect.clone()).on("GetAccountAuthorizationDetails").after(1));
        let life = life.start(&manifest(&["web"], ""));
        minutes(60).await;
        assert_eq!(life.told().len(), 1, "{effect:?}: {:?}", life.told());
        assert!(life.told()[0].starts_with("read.failed"), "{effect:?}");
        assert_eq!(life.writes() + life.calls("GetRolePolicy"), 0, "{effect:?}");
        assert!(life.calls("GetAccountAuthorizationDetails") < 160, "{effect:?}: the waits grow");
        life.sandbox.clear_faults();
        minutes(10).await;
        assert_eq!(life.told()[1..], ["read.recovered", "drift.detected", "drift.repaired"], "{effect:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sts_is_asked_until_it_answers() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::InvalidClientTokenId).on("GetCallerIdentity"));
    let life = life.start(&manifest(&["web"], ""));
    minutes(30).await;
    assert_eq!(life.told(), ["read.failed CredentialsRefused"]);
    life.sandbox.clear_faults();
    minutes(10).await;
    assert_eq!(life.told()[1..], ["read.recovered", "drift.detected", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn where_the_bulk_read_is_denied_roles_are_read_one_by_one_and_that_is_told_once() {
    let life = Life::with(&[("web", None), ("batch", Some(&right()))]);
    life.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails"));
    let life = life.start(&manifest(&["web", "batch", "ghost"], ""));
    minutes(60).await;
    let mut told = life.told();
    told.sort();
    assert_eq!(told, ["drift.detected", "drift.repaired", "read.degraded AccessDenied", "role.not_found RoleNotFound"]);
    assert!(life.calls("GetAccountAuthorizationDetails") <= 7, "asked again every ten minutes, not every pass");
    life.sandbox.clear_faults();
    minutes(30).await;
    assert_eq!(life.told().last().unwrap(), "read.restored");
}

#[tokio::test(start_paused = true)]
async fn one_role_that_cannot_be_read_does_not_hold_up_the_others() {
    let life = Life::with(&[("web", None), ("secret", None)]);
    life.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails"));
    life.sandbox.fault(Fault::new(Effect::Deny).on("GetRole").role("secret"));
    let life = life.start(&manifest(&["web", "secret"], ""));
    minutes(30).await;
    let mut told = life.told();
    told.sort();
    assert_eq!(told, ["drift.detected", "drift.repaired", "read.degraded AccessDenied", "read.failed Unknown"]);
    assert_eq!(life.live("secret"), None);
    life.sandbox.clear_faults();
    minutes(30).await;
    assert!(life.told().contains(&"read.recovered".to_owned()));
    assert_eq!(life.live("secret").unwrap(), right());
}

#[tokio::test(start_paused = true)]
async fn a_role_deleted_between_read_and_write_is_not_found() {
    let life = Life::with(&[("web", None)]);
    let gone = Effect::Refuse { status: 404, code: "NoSuchEntity".into(), message: "The role cannot be found.".into() };
    life.sandbox.fault(Fault::new(gone).on("PutRolePolicy").times(1));
    let life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(life.told(), ["drift.detected", "role.not_found RoleNotFound"]);
}

#[tokio::test(start_paused = true)]
async fn reads_that_lag_behind_our_own_write_raise_no_second_alert_and_no_second_write() {
    for lag in [Duration::from_secs(5), Duration::from_secs(15)] {
        let life = Life::with(&[("web", Some(&document(&[CHANNELS])))]);
        life.sandbox.set_lag(Lag { bulk: lag, single: lag });
        let life = life.start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1s\n"));
        minutes(10).await;
        assert_eq!(life.told(), ["drift.detected", "drift.repaired"], "{lag:?}");
        assert_eq!(life.writes(), 1, "{lag:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bulk_reads_that_lag_for_minutes_raise_no_second_alert() {
    let life =
        Life::with(&[("web", Some(&right()))]).start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1s\n"));
    minutes(5).await;
    life.write("web", &document(&[CHANNELS]));
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(180), single: Duration::ZERO });
    minutes(20).await;
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
    assert_eq!(life.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_very_same_tampering_after_a_repair_is_repaired_again_at_the_next_reading() {
    let life = Life::with(&[("web", None)]).start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1s\n"));
    sleep(Duration::from_secs(3)).await;
    for round in 2..4 {
        life.sandbox.remove_policy(&life.account, "web", POLICY);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(life.live("web").unwrap(), right());
        assert_eq!(life.writes(), round);
    }
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"].repeat(3));
}

#[tokio::test(start_paused = true)]
async fn a_reading_says_nothing_of_roles_that_were_repaired_while_it_was_made() {
    let life =
        Life::with(&[("web", Some(&right()))]).start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 10s\n"));
    sleep(Duration::from_secs(5)).await;
    // The repair waits for its confirming read while a slow reading begins and ends; both began before the mending.
    life.write("web", &document(&[CHANNELS]));
    life.sandbox.fault(Fault::new(Effect::DelayMs(4_000)).on("PutRolePolicy"));
    life.sandbox.fault(Fault::new(Effect::DelayMs(6_000)).on("GetAccountAuthorizationDetails").after(1));
    minutes(10).await;
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
    assert_eq!(life.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_cannot_be_read_any_more_while_its_repair_fails_makes_no_hot_loop() {
    let life = Life::with(&[("web", None), ("other", Some(&right()))]);
    life.sandbox.fault(Fault::new(Effect::ServerError).on("PutRolePolicy"));
    let life = life.start(&(manifest(&["web", "other"], "") + SETTINGS + "  resyncInterval: 1s\n"));
    sleep(Duration::from_secs(5)).await;
    life.sandbox.remove_role(&life.account, "web");
    life.sandbox.clear_calls();
    minutes(2).await;
    assert!(life.sandbox.counts().values().map(|count| count.calls).sum::<u64>() < 200);
    assert_eq!(life.told().last().unwrap(), "role.not_found RoleNotFound");
}

#[tokio::test(start_paused = true)]
async fn a_role_deleted_while_bulk_reads_lag_is_told_once() {
    let life =
        Life::with(&[("web", Some(&right()))]).start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1s\n"));
    sleep(Duration::from_secs(5)).await;
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(60), single: Duration::ZERO });
    life.sandbox.remove_policy(&life.account, "web", POLICY);
    sleep(Duration::from_millis(100)).await;
    life.sandbox.remove_role(&life.account, "web");
    minutes(10).await;
    let count = |name: &str| life.told().iter().filter(|told| told.starts_with(name)).count();
    assert_eq!((count("role.found"), count("role.not_found")), (0, 1), "{:?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn observing_after_a_write_of_our_own_raises_no_alert_from_reads_that_lag() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(10), single: Duration::ZERO });
    let settings = SETTINGS.to_owned() + "  resyncInterval: 1s\n";
    let life = life.start(&(manifest(&["web"], "") + &settings));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
    life.save(&(manifest(&["web"], "") + &settings + "  defaultMode: observe\n"));
    minutes(5).await;
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn a_role_whose_reading_is_throttled_is_read_again_before_the_next_resync_also_by_one_pass() {
    let throttled = |life: &Life| {
        life.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails"));
        life.sandbox.fault(Fault::new(Effect::Throttle).on("GetRole").role("web").times(3));
    };
    let life = Life::with(&[("web", None), ("batch", None)]);
    throttled(&life);
    let life = life.start(&(manifest(&["web", "batch"], "") + SETTINGS + "  resyncInterval: 1h\n"));
    minutes(2).await;
    assert_eq!(life.live("web").unwrap(), right());

    let life = Life::with(&[("web", None), ("batch", None)]);
    throttled(&life);
    life.save(&manifest(&["web", "batch"], ""));
    let iam = life.sandbox.iam(&life.account);
    let caller = crate::iam::Iam::caller(&iam).await.unwrap();
    let controller = Controller::new(iam, life.manifests.subscribe(), Options::default());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let outcome = controller.once(caller, true, deadline, CancellationToken::new()).await;
    assert_eq!(outcome.written, 2);
    assert!(outcome.steps.iter().all(crate::plan::Step::is_in_sync));
}

#[tokio::test(start_paused = true)]
async fn a_repair_whose_role_is_another_one_by_a_newer_reading_sends_no_write() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(6_000)).on("GetRolePolicy"));
    let life = life.start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 3s\n"));
    sleep(Duration::from_secs(1)).await;
    life.sandbox.remove_role(&life.account, "web");
    life.sandbox.plant(&life.account, RoleSeed::new("web").path("/aws-service-role/ssm.amazonaws.com/"));
    minutes(1).await;
    assert_eq!(life.calls("PutRolePolicy"), 0, "AWS protects the role by now");
    assert!(life.told().contains(&"drift.blocked ProtectedRole".to_owned()), "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_whose_role_is_another_one_by_a_newer_reading_is_not_made_again_while_reads_lag() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.set_lag(Lag { bulk: Duration::ZERO, single: Duration::from_secs(10) });
    life.sandbox.fault(Fault::new(Effect::DelayMs(4_500)).on("PutRolePolicy").times(1));
    let life = life.start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 3s\n"));
    sleep(Duration::from_secs(1)).await;
    life.sandbox.remove_role(&life.account, "web");
    life.sandbox.plant(&life.account, RoleSeed::new("web").path("/other/"));
    minutes(2).await;
    assert_eq!(life.live("web").unwrap(), right());
    assert_eq!(life.writes(), 1, "{:#?}", life.told());
}

#[tokio::test(start_paused = true)]
async fn a_bulk_reading_from_before_a_tampering_does_not_say_that_our_write_has_arrived() {
    for mode in ["", "  defaultMode: observe\n"] {
        let settings = SETTINGS.to_owned() + "  resyncInterval: 1s\n";
        let life = Life::with(&[("web", Some(&right()))]).start(&(manifest(&["web"], "") + &settings));
        sleep(Duration::from_secs(30)).await;
        life.sandbox.fault(Fault::new(Effect::DelayMs(4_000)).on("PutRolePolicy").times(1));
        life.write("web", &document(&[CHANNELS]));
        while life.writes() == 0 {
            sleep(Duration::from_millis(100)).await;
        }
        // In bulk the world is as it was before the tampering, where all is as it should be.
        life.sandbox.set_lag(Lag { bulk: Duration::from_secs(20), single: Duration::from_secs(4) });
        while life.live("web") != Some(right()) {
            sleep(Duration::from_millis(100)).await;
        }
        life.save(&(manifest(&["web"], "") + &settings + mode));
        sleep(Duration::from_millis(1_500)).await;
        life.sandbox.set_lag(Lag { bulk: Duration::from_secs(4), single: Duration::from_secs(4) });
        minutes(10).await;
        assert_eq!(life.told(), ["drift.detected", "drift.repaired"], "{mode}");
        assert_eq!(life.writes(), 1, "{mode}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_shortly_after_another_is_not_made_by_reads_that_both_lag() {
    let earlier = document(&[S3]);
    let life =
        Life::with(&[("web", Some(&earlier))]).start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1s\n"));
    sleep(Duration::from_secs(30)).await;
    life.sandbox.fault(Fault::new(Effect::DelayMs(4_000)).on("PutRolePolicy").times(1));
    life.write("web", &document(&[CHANNELS]));
    while life.live("web") != Some(right()) {
        sleep(Duration::from_millis(100)).await;
    }
    // In bulk the world is as it was before all writes, and one by one as it was before the last.
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(60), single: Duration::from_secs(3) });
    sleep(Duration::from_secs(2)).await;
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(3), single: Duration::from_secs(3) });
    minutes(10).await;
    assert_eq!(life.writes(), 2);
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"].repeat(2));
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_is_taken_back_does_not_have_a_write_made_twice_while_reads_lag() {
    let settings = SETTINGS.to_owned() + "  resyncInterval: 1s\n";
    let life = Life::with(&[("web", None)]).start(&(manifest(&["web"], "") + &settings));
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(10), single: Duration::from_secs(10) });
    sleep(Duration::from_millis(500)).await;
    assert_eq!(life.writes(), 1);
    // Another document, no manifest at all.
    for other in [manifest(&["web"], "  nodeRegistration: granted\n  mode: observe\n"), manifest(&["batch"], "")] {
        life.save(&(other + &settings));
        sleep(Duration::from_millis(500)).await;
        life.save(&(manifest(&["web"], "") + &settings));
        sleep(Duration::from_millis(500)).await;
    }
    minutes(10).await;
    assert_eq!(life.writes(), 1, "{:#?}", life.told());
}
