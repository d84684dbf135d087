//! Newer manifests while the loop is at work.

use super::*;

#[tokio::test(start_paused = true)]
async fn observe_on_the_command_line_overrules_manifests() {
    let mut life = Life::with(&[("web", None)]);
    life.start_with(&manifest(&["web"], ""), Options { observe_only: true, ..Options::default() });
    minutes(10).await;
    assert_eq!(life.told(), ["drift.detected ObserveMode"]);
    assert_eq!(life.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_saved_manifest_takes_effect_at_once() {
    let life = Life::with(&[("web", None), ("batch", None)]).start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(10)).await;
    life.save(&manifest(&["web", "batch"], ""));
    sleep(Duration::from_millis(10)).await;
    assert_eq!(life.live("batch").unwrap(), right());
}

#[tokio::test(start_paused = true)]
async fn a_document_that_disappears_releases_its_roles_and_removes_nothing() {
    let life = Life::with(&[("web", None), ("batch", None)]).start(&manifest(&["web", "batch"], ""));
    minutes(1).await;
    life.save(&manifest(&["web"], ""));
    minutes(5).await;
    let told = life.told();
    assert_eq!(told[4..], ["role.released", "policy.orphaned"]);
    assert_eq!(life.live("batch").unwrap(), right());
    assert_eq!(life.calls("DeleteRolePolicy"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_changed_policy_name_writes_the_new_one_and_then_removes_the_old_one() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web"], ""));
    minutes(1).await;
    life.save(&manifest(&["web"], "  policyName: Sessions\n"));
    minutes(5).await;
    assert_eq!(life.told()[2..], ["drift.detected", "drift.repaired", "policy.removed"]);
    assert_eq!(life.sandbox.policies(&life.account, "web"), ["Sessions"]);
}

#[tokio::test(start_paused = true)]
async fn manifests_for_another_account_are_told_and_nothing_is_read_or_written_for_them() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web"], "  accountId: \"999999999999\"\n"));
    minutes(30).await;
    assert_eq!(life.told(), ["drift.blocked AccountMismatch"]);
    assert_eq!(life.sandbox.counts().keys().copied().collect::<Vec<_>>(), ["GetCallerIdentity"]);
}

#[tokio::test(start_paused = true)]
async fn suspended_roles_are_left_alone_and_that_is_told() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web"], "  suspend: true\n"));
    minutes(30).await;
    assert_eq!(life.told(), ["role.suspended Suspended"]);
    life.save(&manifest(&["web"], ""));
    minutes(1).await;
    assert_eq!(life.told()[1..], ["role.resumed", "drift.detected", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_stops_all_writes_and_is_told_once() {
    let text = manifest(&["web", "batch"], "");
    let life = Life::with(&[("web", None), ("batch", None)]).start(&(text.clone() + SETTINGS + "  suspend: true\n"));
    minutes(30).await;
    let told = ["controller.suspended", "drift.detected Suspended", "drift.detected Suspended"];
    assert_eq!(life.told(), told, "whoever pulls it still sees what drifts");
    assert_eq!(life.writes(), 0);
    life.save(&text);
    minutes(1).await;
    assert_eq!(life.told()[3..], ["controller.resumed", "drift.repaired", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_an_older_manifest_made_does_not_hide_what_a_newer_one_asks_for() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.set_lag(Lag { bulk: Duration::from_secs(10), single: Duration::ZERO });
    let life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(2)).await;
    life.save(&manifest(&["web"], "  nodeRegistration: granted\n"));
    sleep(Duration::from_millis(10)).await;
    assert!(life.live("web").unwrap().contains("ssm:UpdateInstanceInformation"));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_saved_during_a_slow_write_takes_effect_when_the_write_has_ended() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(5_000)).on("PutRolePolicy").times(1));
    let life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(1)).await;
    life.save(&manifest(&["web"], "  nodeRegistration: granted\n"));
    sleep(Duration::from_secs(6)).await;
    assert!(life.live("web").unwrap().contains("ssm:UpdateInstanceInformation"));
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_newer_manifests_overtake_writes_nothing() {
    let fleet = manifest(&["web"], "");
    for (newer, told) in [
        (fleet.clone() + SETTINGS + "  suspend: true\n", vec!["drift.detected", "controller.suspended"]),
        (manifest(&["web"], "  mode: observe\n"), vec!["drift.detected"]),
        (manifest(&["web"], "  suspend: true\n"), vec!["drift.detected", "role.suspended Suspended"]),
        (manifest(&["other"], ""), vec!["drift.detected", "role.not_found RoleNotFound", "role.released"]),
    ] {
        let life = Life::with(&[("web", None)]);
        life.sandbox.fault(Fault::new(Effect::DelayMs(2_000)).on("GetRolePolicy"));
        let life = life.start(&fleet);
        sleep(Duration::from_secs(1)).await;
        life.save(&newer);
        minutes(10).await;
        assert_eq!((life.writes(), life.told()), (0, told.into_iter().map(str::to_owned).collect()), "{newer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_under_way_when_its_manifest_went_is_told_with_what_it_leaves_behind() {
    let life = Life::with(&[("web", None), ("batch", Some(&right()))]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(2_000)).on("PutRolePolicy"));
    let life = life.start(&manifest(&["web", "batch"], ""));
    sleep(Duration::from_secs(1)).await;
    life.save(&manifest(&["batch"], ""));
    minutes(10).await;
    assert_eq!(life.told(), ["drift.detected", "drift.repaired", "role.released", "policy.orphaned"]);
}

#[tokio::test(start_paused = true)]
async fn a_save_about_something_else_does_not_make_the_log_forget_an_unanswered_write() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::Hang).on("PutRolePolicy").times(1).done());
    let life = life.start(&manifest(&["web"], ""));
    // The call is given up; then the manifest is saved before the next try.
    sleep(PATIENCE + Duration::from_millis(100)).await;
    life.save(&manifest(&["web"], "  description: edited\n"));
    minutes(5).await;
    assert_eq!((life.told(), life.writes()), (vec!["drift.detected".to_owned(), "drift.repaired".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_that_is_settled_is_told_as_ended() {
    let one = manifest(&["web"], "");
    let other = manifest(&["web"], "  nodeRegistration: granted\n").replace("fleet", "other");
    let life = Life::with(&[("web", Some(&right()))]).start(&(one.clone() + "---\n" + &other));
    minutes(5).await;
    assert_eq!((life.told(), life.writes()), (vec!["drift.blocked Conflict".to_owned()], 0));
    life.save(&one);
    minutes(5).await;
    assert_eq!(life.told()[1..], ["drift.ended"]);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_write_of_older_manifests_is_told_with_what_it_replaced() {
    let narrowed = document(&[CHANNELS]);
    let life = Life::with(&[("web", Some(&narrowed))]);
    life.sandbox.fault(Fault::new(Effect::Hang).on("PutRolePolicy").times(1).done());
    let life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(1)).await;
    life.save(&manifest(&["web"], "  nodeRegistration: granted\n"));
    minutes(5).await;
    let events = life.events();
    let replaced: Vec<_> =
        events.iter().filter(|event| event["event"] == "drift.repaired").map(|event| &event["replaced"]).collect();
    assert_eq!(replaced, [narrowed.as_str(), right().as_str()]);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_by_older_manifests_does_not_hide_a_drift_from_newer_ones() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(3_000)).on("GetRolePolicy").times(1));
    let life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(1)).await;
    life.write("web", &right());
    life.save(&manifest(&["web"], "  nodeRegistration: granted\n  mode: observe\n"));
    life.sandbox.fault(Fault::new(Effect::ServerError).on("GetRolePolicy"));
    minutes(5).await;
    assert_eq!(life.told().last().unwrap(), "drift.changed ObserveMode");
}
