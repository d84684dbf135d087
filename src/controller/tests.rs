//! The loop in a world of its own, under a paused clock: whole days pass in no time, and no test hopes.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Controller, Options};
use crate::{
    manifest::{ManifestSet, parse},
    names::AccountId,
    sandbox::{Effect, Fault, Lag, RoleSeed, Sandbox},
    telemetry::{LogFormat, subscriber},
};

const POLICY: &str = "SessionManagerPermissions";
const CHANNELS: &str = r#"{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}"#;
const S3: &str = r#"{"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"*"}"#;

/// What a manifest without preferences asks for.
fn right() -> String {
    document(&[CHANNELS, S3])
}

fn document(statements: &[&str]) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

fn manifest(roles: &[&str], more: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: fleet}}\nspec:\n  roles: [{}]\n{more}",
        roles.join(", ")
    )
}

const SETTINGS: &str = "---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: controller}\nspec:\n";

fn set(text: &str) -> Arc<ManifestSet> {
    let parsed = parse("fleet.yaml", text.as_bytes());
    assert_eq!(parsed.faults, []);
    let (set, faults) = ManifestSet::of([&parsed], None);
    drop(faults);
    Arc::new(set)
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A controller at work on a sandbox.
struct Life {
    sandbox: Sandbox,
    account: AccountId,
    manifests: watch::Sender<Arc<ManifestSet>>,
    log: Captured,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    _logging: tracing::subscriber::DefaultGuard,
}

impl Life {
    /// A world with these roles, each with this document; the controller is not started yet.
    fn with(roles: &[(&str, Option<&str>)]) -> Self {
        let account: AccountId = "111122223333".parse().unwrap();
        let sandbox = Sandbox::new(account.clone());
        for (name, document) in roles {
            let seed = RoleSeed::new(name);
            sandbox.plant(
                &account,
                match document {
                    Some(document) => seed.policy(POLICY, document),
                    None => seed,
                },
            );
        }
        let log = Captured::default();
        let writer = log.clone();
        let logging = tracing::subscriber::set_default(subscriber(LogFormat::Json, false, move || writer.clone()));
        let (manifests, _) = watch::channel(Arc::default());
        Self { sandbox, account, manifests, log, shutdown: CancellationToken::new(), running: None, _logging: logging }
    }

    fn start(mut self, text: &str) -> Self {
        self.start_with(text, Options::default());
        self
    }

    fn start_with(&mut self, text: &str, options: Options) {
        self.manifests.send_replace(set(text));
        let controller = Controller::new(self.sandbox.iam(&self.account), self.manifests.subscribe(), options);
        self.running = Some(tokio::spawn(controller.run(self.shutdown.clone())));
    }

    fn save(&self, text: &str) {
        self.manifests.send_replace(set(text));
    }

    /// What a person reads in the log, without the times of day.
    fn read_aloud(&self) -> String {
        let lines = self.events().into_iter().map(|event| {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let mut line = format!("{} {}: {}", text("level"), text("event"), text("message"));
            for key in ["hint", "undo"] {
                if event[key].is_string() {
                    line.push_str(&format!("\n    {key}: {}", text(key)));
                }
            }
            line + "\n"
        });
        lines.collect()
    }

    fn events(&self) -> Vec<Value> {
        let bytes = self.log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names of the events so far, with the reason where there is one, but for start and stop.
    fn told(&self) -> Vec<String> {
        let told = self.events().into_iter().filter_map(|event| {
            let name = event["event"].as_str().unwrap().to_owned();
            let reason = event["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
            (!name.starts_with("controller.st")).then(|| format!("{name}{reason}"))
        });
        told.collect()
    }

    fn calls(&self, operation: &str) -> u64 {
        self.sandbox.counts().get(operation).map_or(0, |count| count.calls)
    }

    fn writes(&self) -> u64 {
        self.calls("PutRolePolicy")
    }

    fn live(&self, role: &str) -> Option<String> {
        self.sandbox.document(&self.account, role, POLICY)
    }

    fn write(&self, role: &str, document: &str) {
        assert!(self.sandbox.write_policy(&self.account, role, POLICY, document));
    }
}

async fn minutes(count: u64) {
    sleep(Duration::from_secs(60 * count)).await;
}

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
async fn observe_on_the_command_line_overrules_manifests() {
    let mut life = Life::with(&[("web", None)]);
    life.start_with(&manifest(&["web"], ""), Options { observe_only: true, ..Options::default() });
    minutes(10).await;
    assert_eq!(life.told(), ["drift.detected ObserveMode"]);
    assert_eq!(life.writes(), 0);
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
async fn a_role_deleted_between_read_and_write_is_not_found() {
    let life = Life::with(&[("web", None)]);
    let gone = Effect::Refuse { status: 404, code: "NoSuchEntity".into(), message: "The role cannot be found.".into() };
    life.sandbox.fault(Fault::new(gone).on("PutRolePolicy").times(1));
    let life = life.start(&manifest(&["web"], ""));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(life.told(), ["drift.detected", "role.not_found RoleNotFound"]);
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
    for round in 2..5 {
        life.sandbox.remove_policy(&life.account, "web", POLICY);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(life.live("web").unwrap(), right());
        assert_eq!(life.writes(), round);
    }
    assert_eq!(life.told(), ["drift.detected", "drift.repaired"].repeat(4));
}

#[tokio::test(start_paused = true)]
async fn what_still_stands_is_told_again_once_a_day() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web", "ghost"], "  mode: observe\n"));
    minutes(60 * 24 * 3 + 120).await;
    let count = |name: &str| life.told().iter().filter(|told| told.starts_with(name)).count();
    assert_eq!((count("drift.detected"), count("role.not_found"), count("drift.standing")), (1, 1, 6));
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
async fn a_changed_policy_name_writes_the_new_one_and_tells_of_the_old_one() {
    let life = Life::with(&[("web", None)]).start(&manifest(&["web"], ""));
    minutes(1).await;
    life.save(&manifest(&["web"], "  policyName: Sessions\n"));
    minutes(5).await;
    assert_eq!(life.told()[2..], ["policy.orphaned", "drift.detected", "drift.repaired"]);
    assert_eq!(life.sandbox.policies(&life.account, "web"), [POLICY, "Sessions"]);
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
    // The call is given up after half a minute; then the manifest is saved before the next try.
    sleep(Duration::from_millis(30_100)).await;
    life.save(&manifest(&["web"], "  description: edited\n"));
    minutes(5).await;
    assert_eq!((life.told(), life.writes()), (vec!["drift.detected".to_owned(), "drift.repaired".to_owned()], 1));
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
async fn roles_that_are_refused_do_not_hold_up_those_that_are_not() {
    let names: Vec<String> = (0..200).map(|number| format!("a{number:03}")).chain(["zzz".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let seeds: Vec<_> = names.iter().map(|name| (*name, None)).collect();
    let life = Life::with(&seeds);
    for name in &names[..200] {
        life.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy").role(name));
    }
    life.sandbox.fault(Fault::new(Effect::DelayMs(1_000)).on("GetRolePolicy"));
    let life = life.start(&manifest(&names, ""));
    minutes(1).await;
    assert_eq!(life.live("zzz").unwrap(), right(), "each gets its turn");
    let readings = life.calls("GetAccountAuthorizationDetails");
    assert!(readings <= 3, "failing repairs make no further readings: {readings}");
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
