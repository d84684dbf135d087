//! The pace of calls: storms of throttling, an IAM that takes little, and accounts with few managed roles among many.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tracing_subscriber::EnvFilter;

use super::*;
use crate::{
    iam::{Budget, Budgets},
    sandbox::{Call, Outcome, RoleChange},
    telemetry::{LogFormat, filtered},
};

const ROLES: usize = 300;

/// No guard stands in the way of repairing all of them at once.
const UNGUARDED: &str = "  guards: {maxChangesPerHour: 10000}\n";

fn names() -> Vec<String> {
    (0..ROLES).map(|number| format!("role-{number:03}")).collect()
}

/// A daemon over roles that are all as they should be, after its first pass.
async fn in_sync(names: &[String]) -> Life {
    let (right, names) = (right(), names.iter().map(String::as_str).collect::<Vec<_>>());
    let seeds: Vec<_> = names.iter().map(|name| (*name, Some(right.as_str()))).collect();
    let life = Life::with(&seeds).start(&(manifest(&names, "") + SETTINGS + UNGUARDED));
    minutes(1).await;
    assert_eq!(life.told(), [""; 0]);
    life
}

impl Life {
    /// Somebody takes every policy away.
    fn tamper_with_all(&self) {
        for role in self.sandbox.roles(&self.account) {
            assert!(self.sandbox.remove_policy(&self.account, &role, POLICY));
        }
    }

    fn are_all_right(&self) -> bool {
        let right = right();
        self.sandbox.roles(&self.account).iter().all(|role| self.live(role).as_ref() == Some(&right))
    }

    /// How long it takes until every role is as it should be.
    async fn until_all_are_right(&self, at_most: Duration) -> Duration {
        let begun = Instant::now();
        while !self.are_all_right() {
            assert!(
                begun.elapsed() < at_most,
                "not all roles are right after {at_most:?}: {:?}",
                self.sandbox.counts()
            );
            sleep(Duration::from_secs(1)).await;
        }
        begun.elapsed()
    }

    /// How many calls IAM has taken so far, and how many it has throttled.
    fn taken_and_throttled(&self) -> (u64, u64) {
        let calls = self.sandbox.calls();
        let is_throttled = |call: &&Call| call.outcome == Outcome::Refused("Throttling".to_owned());
        let throttled = calls.iter().filter(is_throttled).count() as u64;
        (calls.len() as u64 - throttled, throttled)
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_throttling_ends_in_every_role_reconciled_in_bounded_time_without_a_hot_loop() {
    for operation in [None, Some("GetAccountAuthorizationDetails"), Some("GetRolePolicy"), Some("PutRolePolicy")] {
        let life = in_sync(&names()).await;
        life.sandbox.fault(Fault { operation: operation.map(str::to_owned), ..Fault::new(Effect::Throttle) });
        life.tamper_with_all();
        life.sandbox.clear_calls();
        minutes(10).await;
        assert!(!life.are_all_right(), "{operation:?}");
        for (name, count) in life.sandbox.counts() {
            // Half a call a second at the slowest, faster at the first; what is not throttled comes no more often.
            assert!(count.calls <= 450, "{operation:?}: {} {name} within ten minutes", count.calls);
        }
        life.sandbox.clear_faults();
        let took = life.until_all_are_right(Duration::from_secs(600)).await;
        minutes(5).await;
        life.sandbox.clear_calls();
        minutes(5).await;
        let counts: Vec<_> = life.sandbox.counts().into_keys().collect();
        assert_eq!(counts, ["GetAccountAuthorizationDetails"], "{operation:?}: calm again, after {took:?}");
        assert!(life.are_all_right(), "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_throttle_of_5_requests_a_second_accepted_calls_stay_within_5_percent_of_the_least_that_could_be_made() {
    let life = in_sync(&names()).await;
    life.sandbox.fault(Fault::new(Effect::Throttle).beyond(5.0, 5));
    life.tamper_with_all();
    while life.writes() == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    // The warm-up: the pace finds out what IAM takes.
    minutes(1).await;
    assert!(!life.are_all_right());
    life.sandbox.clear_calls();
    let took = life.until_all_are_right(Duration::from_secs(600)).await;
    let (taken, throttled) = life.taken_and_throttled();
    let writes = life.sandbox.counts()["PutRolePolicy"].accepted;
    // A fresh read and a write for each role, and a page for each reading that was due meanwhile.
    let least = writes * 2 + took.as_secs() / 66;
    assert!(writes >= 150 && taken * 100 <= least * 105, "{taken} calls for {writes} writes, {least} are the least");
    assert!(throttled * 20 <= taken, "{throttled} throttled, {taken} were not");
    assert!(taken as f64 >= took.as_secs_f64() * 5.0 * 0.75, "{taken} in {took:?}: what IAM takes is used");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_turns_to_write_and_newer_manifests_do_not_either() {
    let names = names();
    let mut life = Life::with(&names.iter().map(|name| (name.as_str(), None)).collect::<Vec<_>>());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let text = manifest(&names, "") + SETTINGS + UNGUARDED;
    let budgets = Budgets { writes: Budget::new(1, 1), ..Budgets::default() };
    life.start_with(&text, Options { budgets, ..Options::default() });
    sleep(Duration::from_millis(10_500)).await;
    let written = life.writes();
    assert!((9..=12).contains(&written), "{written}: one a second");
    life.save(&(text.clone() + "  defaultMode: observe\n"));
    minutes(2).await;
    assert_eq!(life.writes(), written, "whoever waited for his turn does not write by older manifests");
    life.save(&text);
    sleep(Duration::from_millis(5_500)).await;
    assert!(life.writes() > written);
    let (written, stopping) = (life.writes(), Instant::now());
    life.shutdown.cancel();
    life.running.take().unwrap().await.unwrap();
    assert_eq!((stopping.elapsed().as_millis(), life.writes()), (0, written));
}

#[tokio::test(start_paused = true)]
async fn an_account_with_one_managed_role_among_many_is_read_role_by_role_and_its_drift_repaired_all_the_same() {
    let life = Life::with(&[("web", Some(&right())), ("a", None), ("b", None), ("c", None)]);
    life.sandbox.set_page_cap(Some(1));
    let life = life.start(&manifest(&["web"], ""));
    minutes(30).await;
    assert_eq!((life.told(), life.calls("GetAccountAuthorizationDetails")), (vec![], 4));
    assert!((25..=33).contains(&life.calls("GetRole")) && life.calls("GetRole") == life.calls("GetRolePolicy"));

    life.write("web", &document(&[CHANNELS]));
    minutes(2).await;
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"]);
    assert_eq!(life.live("web").unwrap(), right());

    minutes(180).await;
    let bulk = life.calls("GetAccountAuthorizationDetails") / 4;
    assert!((4..=8).contains(&bulk), "{bulk} bulk readings: one an hour, and those about the drift");
    assert_eq!(life.told().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_depends_on_the_other_policies_of_a_role_is_judged_by_bulk_readings_alone() {
    let registers = r#"{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}"#;
    let life =
        Life::with(&[("web", Some(&document(&[CHANNELS, S3, registers]))), ("a", None), ("b", None), ("c", None)]);
    life.sandbox.set_page_cap(Some(1));
    let life = life.start(&manifest(&["web"], ""));
    minutes(10).await;
    assert_eq!(life.told()[1..], ["drift.blocked NodeRegistrationWouldBeLost"]);
    assert_eq!(life.calls("GetRole"), 0);
    let core = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    assert!(life.sandbox.change_role(&life.account, "web", &RoleChange::default().attach(core)));
    minutes(3).await;
    assert_eq!(life.live("web").unwrap(), right());
    minutes(3).await;
    assert!(life.calls("GetRole") > 0, "all is well now");
}

#[tokio::test(start_paused = true)]
async fn each_pass_tells_its_calls_by_operation_to_whoever_looks_into_it() {
    let life = Life::with(&[("web", None), ("batch", None)]);
    let writer = life.log.clone();
    let filter = EnvFilter::new("off,ssm_role_controller=debug");
    let _logging = tracing::subscriber::set_default(filtered(filter, LogFormat::Json, false, move || writer.clone()));
    life.sandbox.fault(Fault::new(Effect::Throttle).on("GetRolePolicy").times(1));
    let mut life = life.start(&manifest(&["web", "batch"], ""));
    minutes(3).await;
    life.shutdown.cancel();
    life.running.take().unwrap().await.unwrap();
    let passes: Vec<_> = life.events().into_iter().filter(|event| event["event"] == "pass.completed").collect();
    assert!(passes.iter().all(|pass| pass["level"] == "DEBUG" && pass["account"] == "111122223333"));
    let calls: Vec<_> = passes.iter().map(|pass| pass["calls"].as_str().unwrap()).collect();
    assert_eq!(
        calls[..2],
        [
            "GetAccountAuthorizationDetails 1, GetRolePolicy 4 (1 throttled), PutRolePolicy 2",
            "GetAccountAuthorizationDetails 1"
        ]
    );
    // Nothing is lost between two passes.
    let mut told = BTreeMap::new();
    for call in calls.iter().flat_map(|calls| calls.split(", ")) {
        let (operation, count) = call.split_once(' ').unwrap();
        let count: u64 = count.split(' ').next().unwrap().parse().unwrap();
        *told.entry(operation.to_owned()).or_insert(0) += count;
    }
    for (operation, count) in
        life.sandbox.counts().into_iter().filter(|(operation, _)| *operation != "GetCallerIdentity")
    {
        assert_eq!(told.get(operation), Some(&count.calls), "{operation}");
    }
}
