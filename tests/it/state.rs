//! The state directory: the guards' hour and used approvals across processes, by the real process against the sandbox.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use serde_json::Value;
use ssm_role_controller::sandbox::{Effect, Fault, RoleSeed};
use tempfile::TempDir;
use tokio::{process::Command, time::sleep};

use crate::support::{
    program::{Ended, Running, finish, program},
    serving::Serving,
};

const POLICY: &str = "SessionManagerPermissions";
const FILE: &str = "guards-111122223333.json";

/// An account, manifests for some of its roles, and a state directory.
struct Place {
    serving: Serving,
    directory: TempDir,
    roles: Vec<&'static str>,
}

impl Place {
    async fn with(roles: &[&'static str], most: u32) -> Self {
        let serving = Serving::start("111122223333").await;
        for role in roles {
            serving.sandbox.plant(&serving.account, RoleSeed::new(role));
        }
        let directory = tempfile::tempdir().unwrap();
        for made in ["config", "state"] {
            fs::create_dir(directory.path().join(made)).unwrap();
        }
        let head = "apiVersion: ssm-role-controller.dev/v1alpha1\n";
        let text = format!(
            "{head}kind: SessionManagerPermissions\nmetadata: {{name: fleet}}\nspec: {{roles: [{}]}}\n---\n{head}kind: ControllerConfiguration\nmetadata: {{name: controller}}\nspec: {{resyncInterval: 1s, guards: {{maxChangesPerHour: {most}}}}}\n",
            roles.join(", ")
        );
        fs::write(directory.path().join("config/fleet.yaml"), text).unwrap();
        Self { serving, directory, roles: roles.to_vec() }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// The program without a state directory.
    fn forgetful(&self, arguments: &[&str]) -> Command {
        program(&self.serving.endpoint(), &self.directory.path().join("config"), arguments)
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = self.forgetful(arguments);
        command.arg("--state-dir").arg(self.state());
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        finish(self.program(arguments)).await
    }

    /// Somebody takes every policy away.
    fn undo(&self) {
        for role in &self.roles {
            self.serving.sandbox.remove_policy(&self.serving.account, role, POLICY);
        }
    }

    fn puts(&self) -> usize {
        self.calls("PutRolePolicy")
    }

    fn calls(&self, operation: &str) -> usize {
        self.serving.sandbox.calls().iter().filter(|call| call.operation == operation).count()
    }
}

type StandInTheWay = fn(&Place);

/// Kills the daemon at several moments around its writes, again and again; how many writes were sent in all.
async fn writes_of_many_lives(keeps: bool) -> usize {
    let place = Place::with(&["a", "b"], 2).await;
    place.serving.sandbox.fault(Fault::new(Effect::DelayMs(100)).on("PutRolePolicy"));
    for life in 0..8 {
        place.undo();
        let before = place.puts();
        let mut running = Running::start(if keeps { place.program(&["run"]) } else { place.forgetful(&["run"]) });
        running.until("it writes, or is held", |running| place.puts() > before || running.told("guard.held") > 0).await;
        // Before its answer comes, and after.
        sleep(Duration::from_millis(15 * life)).await;
        running.signal("KILL");
        assert_eq!(running.end().await.status.code(), None);
    }
    place.puts()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_restarted_it_never_writes_more_than_the_guards_allow_within_the_hour() {
    let writes = writes_of_many_lives(true).await;
    assert!((1..=2).contains(&writes), "{writes}");
    assert!(writes_of_many_lives(false).await > 2, "without a state directory each life has an hour of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_the_daemon_share_one_hour() {
    let place = Place::with(&["a", "b"], 3).await;
    assert_eq!(place.run(&["apply"]).await.code(), 0);
    assert_eq!(place.puts(), 2);
    let mode = fs::metadata(place.state().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    place.undo();
    // As systemd tells it; where it makes several, the first one counts.
    let mut second = place.forgetful(&["apply"]);
    second.env("STATE_DIRECTORY", format!("{}:/nonexistent", place.state().display()));
    let second = finish(second).await;
    assert_eq!(second.code(), 1);
    let said = "2 changes planned, 2 made within the hour, 3 allowed (maxChangesPerHour)";
    assert!(second.err.contains(said), "{}", second.err);
    let planned: Value = serde_json::from_str(&place.run(&["plan", "--output", "json"]).await.out).unwrap();
    assert_eq!(planned["held"], said);
    let mut running = Running::start(place.program(&["run"]));
    assert!(running.event("guard.held", 1).await["message"].as_str().unwrap().contains(said));
    assert_eq!(place.puts(), 2);

    // One more is allowed, and then none to anybody.
    let account = &place.serving.account;
    place.serving.sandbox.remove_role(account, "b");
    running.event("guard.released", 1).await;
    running.event("drift.repaired", 1).await;
    assert_eq!(place.puts(), 3);
    place.undo();
    assert_eq!(place.run(&["apply"]).await.code(), 1);
    assert_eq!(running.stop().await.code(), 0);
    assert_eq!(place.puts(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_writes_meanwhile_counts_for_a_daemon_at_work() {
    let place = Place::with(&["a", "b"], 2).await;
    let mut running = Running::start(place.program(&["run"]));
    running.event("drift.repaired", 2).await;
    running.stop().await;
    fs::remove_file(place.state().join(FILE)).unwrap();
    let mut running = Running::start(place.program(&["run"]));
    running.event("controller.started", 1).await;
    let other = format!(r#"{{"at":{},"role":"x","removal":false,"process":1}}"#, u64::MAX);
    fs::write(place.state().join(FILE), format!(r#"{{"version":1,"writes":[{other},{other}]}}"#)).unwrap();
    place.undo();
    running.event("guard.held", 1).await;
    running.stop().await;
    assert_eq!(place.puts(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_refused_the_second_time() {
    let place = Place::with(&["a", "b", "c"], 2).await;
    let plan = |out: String| serde_json::from_str::<Value>(&out).unwrap()["digest"].as_str().unwrap().to_owned();
    let digest = plan(place.run(&["plan", "--output", "json"]).await.out);
    let first = place.run(&["apply", "--approve", &digest]).await;
    assert_eq!((first.code(), place.puts()), (0, 3), "{}", first.err);

    place.undo();
    assert_eq!(plan(place.run(&["plan", "--output", "json"]).await.out), digest, "the very state before");
    let second = place.run(&["apply", "--approve", &digest]).await;
    assert_eq!((second.code(), place.puts()), (1, 3));
    assert!(second.err.contains("error: the approval is used up, and nothing was written"), "{}", second.err);
    assert!(second.out.contains("ApprovalVoid: ") && second.out.contains("carried out before"), "{}", second.out);

    let forgetful = finish(place.forgetful(&["apply", "--approve", &digest])).await;
    assert_eq!((forgetful.code(), place.puts()), (0, 6), "nobody else remembers");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_of_which_everything_was_refused_is_not_used_up() {
    let place = Place::with(&["a", "b"], 1).await;
    let planned: Value = serde_json::from_str(&place.run(&["plan", "--output", "json"]).await.out).unwrap();
    let digest = planned["digest"].as_str().unwrap();
    place.serving.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy"));
    assert_eq!(place.run(&["apply", "--approve", digest]).await.code(), 1);
    place.serving.sandbox.clear_faults();
    let again = place.run(&["apply", "--approve", digest]).await;
    assert_eq!(again.code(), 0, "{}", again.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_told_once_and_lets_nothing_be_written_until_it_is_gone() {
    let place = Place::with(&["a"], 2).await;
    let file = place.state().join(FILE);
    fs::write(&file, "{\"version\":1,").unwrap();
    let applied = place.run(&["apply"]).await;
    assert_eq!(applied.code(), 1);
    for said in ["ledger.failed", "NotCounted", FILE, "is broken"] {
        assert!(applied.err.contains(said), "{said}: {}", applied.err);
    }

    let mut running = Running::start(place.program(&["run"]));
    let failed = running.event("ledger.failed", 1).await;
    assert!(failed["message"].as_str().unwrap().contains(&*file.to_string_lossy()), "{failed}");
    assert!(failed["hint"].as_str().unwrap().contains("remove it"), "{failed}");
    assert_eq!(running.event("drift.blocked", 1).await["reason"], "NotCounted");
    let readings = || place.calls("GetAccountAuthorizationDetails");
    let before = readings();
    running.until("a few readings more", |_| readings() > before + 2).await;
    assert_eq!((running.told("ledger.failed"), running.told("drift.blocked"), place.puts()), (1, 1, 0));

    fs::remove_file(&file).unwrap();
    running.event("ledger.recovered", 1).await;
    running.event("drift.repaired", 1).await;
    running.stop().await;
    assert_eq!(place.puts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_cannot_be_written_is_told_and_nothing_is_written() {
    // Also where the tests run as root, whom no mode keeps out.
    let in_the_way: [(&str, StandInTheWay); 3] = [
        ("cannot be locked", |place| fs::remove_dir(place.state()).unwrap()),
        ("cannot be locked", |place| {
            fs::remove_dir(place.state()).unwrap();
            fs::write(place.state(), "").unwrap();
        }),
        ("cannot be written", |place| {
            fs::create_dir_all(place.state().join("guards-111122223333.new/occupied")).unwrap();
        }),
    ];
    for (said, stand_in_the_way) in in_the_way {
        let place = Place::with(&["a"], 2).await;
        stand_in_the_way(&place);
        let applied = place.run(&["apply"]).await;
        assert_eq!((applied.code(), place.puts()), (1, 0), "{}", applied.err);
        assert!(applied.err.contains(said) && applied.err.contains("NotCounted"), "{}", applied.err);
    }
}
