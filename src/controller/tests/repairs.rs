//! Repairs: what is written, what must not be, and what happens when a write fails.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_missing_policy_is_told_once_and_repaired_once() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web"], ""));
    minutes(30).await;
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
    assert_eq!(life.live("web").unwrap(), right());
    assert_eq!(life.writes(), 1);
    let [detected, repaired] = [&life.events()[1], &life.events()[2]];
    assert_eq!(detected["drift"], "missing");
    assert_eq!(repaired["replaced"], "");
    assert_eq!(repaired["undo"], "aws iam delete-role-policy --role-name web --policy-name SessionManagerPermissions");
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_written_is_blocked_with_its_reason_and_told_once() {
    let deny = document(&[CHANNELS, r#"{"Effect":"Deny","Action":"s3:*","Resource":"*"}"#]);
    let foreign = document(&[r#"{"Effect":"Allow","Action":"dynamodb:*","Resource":"*"}"#]);
    let registers =
        document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}"#]);
    let life = Life::with(&[("denies", Some(&deny)), ("foreign", Some(&foreign)), ("registers", Some(&registers))]);
    life.sandbox.plant(&life.account, RoleSeed::new("linked").path("/aws-service-role/ec2.amazonaws.com/"));
    let padding = document(&[&format!(
        r#"{{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::{}/*"}}"#,
        "x".repeat(9_950)
    )]);
    life.sandbox.plant(&life.account, RoleSeed::new("full").policy("Big", &padding));
    let life = life.start(&manifest(&["denies", "foreign", "registers", "linked", "full"], ""));
    minutes(60).await;
    let mut blocked: Vec<_> = life
        .events()
        .iter()
        .filter(|event| event["event"] == "drift.blocked")
        .map(|event| format!("{} {}", event["role"].as_str().unwrap(), event["reason"].as_str().unwrap()))
        .collect();
    blocked.sort();
    assert_eq!(
        blocked,
        [
            "denies DeniesPresent",
            "foreign ForeignPolicy",
            "full NoRoom",
            "linked ProtectedRole",
            "registers NodeRegistrationWouldBeLost"
        ]
    );
    assert_eq!(life.writes(), 0);
    assert!(
        life.events().iter().filter(|event| event["event"] == "drift.blocked").all(|event| event["hint"].is_string())
    );
}

#[tokio::test(start_paused = true)]
async fn denied_writes_are_told_once_and_tried_at_long_intervals() {
    let life = Life::with(&[("web", None), ("batch", None)]);
    life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy").role("web"));
    let life = life.start(&manifest(&["web", "batch"], ""));
    minutes(120).await;
    let mut told = life.told();
    told.sort();
    assert_eq!(told, ["drift.blocked AccessDenied", "drift.detected", "drift.detected", "drift.repaired"]);
    assert!(life.writes() < 60, "{} writes in two hours", life.writes());
    assert_eq!(life.live("batch").unwrap(), right(), "one bad role does not hold up the others");
    life.sandbox.clear_faults();
    minutes(10).await;
    assert_eq!(life.told().last().unwrap(), "drift.repaired");
}

#[tokio::test(start_paused = true)]
async fn throttled_writes_are_tried_again_until_they_pass() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::Throttle).on("PutRolePolicy").times(10));
    let life = life.start(&manifest(&["web"], ""));
    minutes(60).await;
    assert_eq!(life.told(), ["drift.detected", "drift.blocked Throttled", "drift.repaired"]);
    assert_eq!(life.writes(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_not_made_twice() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::Hang).on("PutRolePolicy").times(1).done());
    let life = life.start(&manifest(&["web"], ""));
    minutes(30).await;
    assert_eq!(life.writes(), 1);
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn the_controllers_own_role_is_never_written() {
    let life = Life::with(&[]);
    // The sandbox says that its caller is a session of this role.
    let caller = crate::iam::Iam::caller(&life.sandbox.iam(&life.account)).await.unwrap();
    let Some(own) = caller.role() else { return };
    life.sandbox.plant(&life.account, RoleSeed::new(own.as_str()));
    let life = life.start(&manifest(&[own.as_str()], ""));
    minutes(30).await;
    assert_eq!(life.told(), ["drift.detected OwnRole", "drift.blocked OwnRole"]);
    assert_eq!(life.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_the_writes_in_flight() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(3_000)).on("PutRolePolicy"));
    let mut life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(1)).await;
    life.shutdown.cancel();
    let began = tokio::time::Instant::now();
    life.running.take().unwrap().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn no_two_writes_to_one_role_are_under_way_at_once_and_no_more_than_five_in_all() {
    let names: Vec<String> = (0..40).map(|number| format!("role-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let seeds: Vec<_> = names.iter().map(|name| (*name, None)).collect();
    let life = Life::with(&seeds);
    life.sandbox.fault(Fault::new(Effect::DelayMs(200)).on("PutRolePolicy"));
    let two = manifest(&names, "") + "---\n" + &manifest(&names, "  policyName: Second\n").replace("fleet", "again");
    let life = life.start(&two);
    minutes(1).await;
    let writes: Vec<_> = life.sandbox.calls().into_iter().filter(|call| call.operation == "PutRolePolicy").collect();
    assert_eq!(writes.len(), 80);
    let overlapping =
        |at: Duration| writes.iter().filter(move |call| call.at <= at && at < call.at + Duration::from_millis(200));
    for write in &writes {
        let mut roles: Vec<_> = overlapping(write.at).map(|call| call.role.clone()).collect();
        assert!(roles.len() <= 5);
        roles.sort();
        roles.dedup();
        assert_eq!(roles.len(), overlapping(write.at).count());
    }
    let took = writes.last().unwrap().at - writes[0].at;
    assert!(80.0 / took.as_secs_f64() >= 5.0, "at least five writes a second");
}

#[tokio::test(start_paused = true)]
async fn a_stop_begins_no_write() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::DelayMs(3_000)).on("GetRolePolicy"));
    let mut life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(1)).await;
    life.shutdown.cancel();
    life.running.take().unwrap().await.unwrap();
    assert_eq!((life.writes(), life.told()), (0, vec!["drift.detected".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn roles_that_are_refused_do_not_hold_up_those_that_are_not() {
    let names: Vec<String> = (0..200).map(|number| format!("a{number:03}")).chain(["zzz".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let seeds: Vec<_> = names.iter().map(|name| (*name, None)).collect();
    let life = Life::with(&seeds);
    for name in &names[..200] {
        life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy").role(name));
    }
    life.sandbox.fault(Fault::new(Effect::DelayMs(1_000)).on("GetRolePolicy"));
    let life = life.start(&(manifest(&names, "") + SETTINGS + "  guards: {maxChangesPerHour: 1000}\n"));
    minutes(5).await;
    assert_eq!(life.live("zzz").unwrap(), right(), "each gets its turn");
    // What waits relies on a reading of the last half minute, which costs less than a look at each role.
    let readings = life.calls("GetAccountAuthorizationDetails") + life.calls("GetRole");
    assert!(readings <= 13, "failing repairs make no further readings: {readings}");
}

#[tokio::test(start_paused = true)]
async fn what_other_applications_need_is_not_taken_for_ours() {
    let app =
        document(&[r#"{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject","kms:Decrypt"],"Resource":"*"}"#]);
    let service = document(&[r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#]);
    let remains = document(&[S3]);
    let unreadable =
        r#"{"Version":"2012-10-18","Statement":{"Effect":"Allow","Action":["ssmmessages:*","ssm:*"],"Resource":"*"}}"#;
    let life = Life::with(&[
        ("app", Some(&app)),
        ("remains", Some(&remains)),
        ("service", Some(&service)),
        ("unreadable", Some(unreadable)),
    ])
    .start(&manifest(&["app", "remains", "service", "unreadable"], ""));
    minutes(10).await;
    let blocked: Vec<_> = life.told().into_iter().filter(|told| told.starts_with("drift.blocked")).collect();
    let foreign = "drift.blocked ForeignPolicy";
    assert_eq!(blocked, [foreign, foreign, "drift.blocked NodeRegistrationWouldBeLost"]);
    assert_eq!(life.live("remains").unwrap(), right(), "what only grants less loses nothing by a repair");
    assert_eq!(life.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_told_before_the_end() {
    let life = Life::with(&[("web", None)]);
    life.sandbox.fault(Fault::new(Effect::Hang).on("PutRolePolicy").done());
    let mut life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(1)).await;
    life.shutdown.cancel();
    life.running.take().unwrap().await.unwrap();
    assert_eq!(life.told(), ["drift.detected", "drift.blocked Unavailable"]);
}

#[tokio::test(start_paused = true)]
async fn a_drift_that_a_fresh_read_has_proved_is_told_also_where_its_repair_is_refused() {
    let narrowed = document(&[CHANNELS]);
    let life =
        Life::with(&[("web", Some(&narrowed))]).start(&(manifest(&["web"], "") + SETTINGS + "  resyncInterval: 1s\n"));
    sleep(Duration::from_secs(5)).await;
    life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy"));
    life.write("web", &narrowed);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(life.told()[2..], ["drift.detected", "drift.blocked AccessDenied"]);
}
