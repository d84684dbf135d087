//! What is in deploy/: the unit by systemd's own judgement, the templates by cfn-lint's, and the policy by the calls that
//! are made.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use ssm_role_controller::{
    events::{Heard, What},
    sandbox::{Effect, Fault, RoleSeed},
};
use tokio::{net::UnixDatagram, time::timeout};

use crate::support::{
    Clients,
    moto::Moto,
    program::{PATIENCE, Running, bare, finish, program},
    serving::Serving,
    world::tool,
};

const UNIT: &str = "ssm-role-controller.service";
const MANIFEST: &str = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {name: fleet}\nspec: {roles: [web]}\n---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: controller}\nspec: {resyncInterval: 1s}\n";

fn deployed(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)).unwrap()
}

/// The unit in a directory of its own, with the program that was built here and, where asked for, a further line.
fn unit(directory: &Path, planted: &str) -> PathBuf {
    let text = deployed(&format!("systemd/{UNIT}"));
    let (installed, built) =
        ("ExecStart=/usr/local/bin/ssm-role-controller ", env!("CARGO_BIN_EXE_ssm-role-controller"));
    assert!(text.contains(installed), "{text}");
    let text = text
        .replace(installed, &format!("ExecStart={built} "))
        .replace("[Service]\n", &format!("[Service]\n{planted}"));
    let path = directory.join(UNIT);
    std::fs::write(&path, text).unwrap();
    path
}

/// What systemd has to say; it needs no running systemd for that.
fn analyze(arguments: &[&str], unit: &Path) -> String {
    let ran = Command::new("systemd-analyze").args(arguments).arg(unit).env("SYSTEMD_COLORS", "0").output();
    let output = ran.expect("this test needs systemd-analyze: run `tests/setup`, or install the package systemd");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn systemd_finds_nothing_to_say_of_the_unit() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(analyze(&["verify", "--man=no"], &unit(directory.path(), "")), "");
}

#[test]
fn systemd_would_say_so_of_a_key_that_it_does_not_know() {
    let directory = tempfile::tempdir().unwrap();
    let said = analyze(&["verify", "--man=no"], &unit(directory.path(), "ProtectEverything=yes\n"));
    assert!(said.contains("Unknown key") && said.contains("ProtectEverything"), "{said}");
}

#[test]
fn the_unit_is_exposed_to_little() {
    let directory = tempfile::tempdir().unwrap();
    let said = analyze(&["security", "--offline=true", "--no-pager"], &unit(directory.path(), ""));
    let level = said.lines().find_map(|line| line.split("Overall exposure level for ").nth(1)?.split(' ').nth(1));
    let level: f64 = level.unwrap_or_else(|| panic!("{said}")).parse().unwrap();
    assert!(level < 2.0, "{said}");
}

#[test]
fn the_units_command_is_one_that_the_program_takes() {
    let text = deployed(&format!("systemd/{UNIT}"));
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssm-role-controller"));
    let output = command.args(line.split(' ').skip(1)).arg("--help").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What cfn-lint has to say of a template: nothing is too small.
fn lint(template: &Path) -> String {
    let mut command = Command::new(tool("cfn-lint"));
    command.args(["--include-checks", "I", "--non-zero-exit-code", "informational", "--"]).arg(template);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

const TEMPLATES: [&str; 2] = ["events/change-events.yaml", "events/forward.yaml"];

#[test]
fn cfn_lint_finds_nothing_to_say_of_the_templates() {
    for template in TEMPLATES.into_iter().chain(["cloudwatch/alarms.yaml"]) {
        assert_eq!(lint(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(template)), "", "{template}");
    }
}

#[test]
fn cfn_lint_would_say_so_of_a_property_that_cloudformation_does_not_know() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("template.yaml");
    std::fs::write(&path, deployed(TEMPLATES[0]).replace("VisibilityTimeout:", "VisibleTimeout:")).unwrap();
    assert!(lint(&path).contains("VisibleTimeout"));
}

#[test]
fn the_rules_let_through_what_wakes_a_role_and_say_the_same_in_every_account() {
    let rules = TEMPLATES.map(|template| {
        let template: Value = serde_yaml::from_str(&deployed(template)).unwrap();
        let rule = &template["Resources"]["Rule"]["Properties"];
        (rule["EventPattern"].clone(), rule["State"].clone())
    });
    assert_eq!(rules[0], rules[1]);
    let calls = rules[0].0["detail"]["$or"][0]["eventName"].as_array().unwrap();
    assert!(calls.len() >= 16);
    for call in calls {
        let mut event: Value = serde_json::from_str(include_str!("../data/events/put_role_policy.json")).unwrap();
        event["detail"]["eventName"] = call.clone();
        if call.as_str().unwrap().ends_with("PolicyVersion") {
            event["detail"]["requestParameters"] = json!({"policyArn": "arn:aws:iam::123456789012:policy/shared"});
        }
        let heard = Heard::read(&event.to_string()).unwrap();
        assert!(matches!(heard.what, What::Changed(_)), "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_the_daemon_is_ready_and_when_it_stops() {
    let serving = Serving::start("111122223333").await;
    serving.sandbox.plant(&serving.account, RoleSeed::new("web"));
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    std::fs::create_dir(&config).unwrap();
    let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    let hear = async || {
        let mut heard = vec![0; 4096];
        let length = timeout(PATIENCE, socket.recv(&mut heard)).await.unwrap().unwrap();
        String::from_utf8_lossy(&heard[..length]).into_owned()
    };
    let start = || {
        let mut command = program(&serving.endpoint(), &config, &["run"]);
        command.env("NOTIFY_SOCKET", directory.path().join("notify"));
        Running::start(command)
    };

    // With nothing to keep it is never ready.
    assert_eq!(start().end().await.code(), 1);
    assert!(socket.try_recv(&mut [0; 64]).is_err());

    std::fs::write(config.join("fleet.yaml"), MANIFEST).unwrap();
    let mut running = start();
    assert!(hear().await.lines().any(|line| line == "READY=1"));
    running.event("drift.repaired", 1).await;
    running.signal("TERM");
    assert!(hear().await.lines().any(|line| line == "STOPPING=1"));
    assert_eq!(running.end().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_policy_is_what_the_command_prints_for_the_demos_manifests() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut command = bare(&["controller-policy", "--config"]);
    command.arg(config);
    let printed = finish(command).await;
    let anew = "`cargo run -- controller-policy > deploy/iam/controller-policy.json` writes it anew";
    assert_eq!(printed.out, deployed("iam/controller-policy.json"), "{anew}");
}

/// The actions that statements with this effect name.
fn actions(policy: &Value, effect: &str) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap().iter().filter(|statement| statement["Effect"] == effect);
    statements
        .flat_map(|statement| match &statement["Action"] {
            Value::String(action) => vec![action.clone()],
            actions => actions.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect(),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_policy_allows_every_call_that_is_made_and_no_other() {
    let serving = Serving::start("111122223333").await;
    let (sandbox, account) = (&serving.sandbox, &serving.account);
    let core = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    sandbox.plant(account, RoleSeed::new("web").attached(core));
    let config = tempfile::tempdir().unwrap();
    std::fs::write(config.path().join("fleet.yaml"), MANIFEST).unwrap();
    let tamper = || sandbox.remove_policy(account, "web", "SessionManagerPermissions");
    for bulk_is_denied in [false, true] {
        if bulk_is_denied {
            sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails"));
        }
        let command = |name: &str| finish(program(&serving.endpoint(), config.path(), &[name]));
        tamper();
        assert_eq!(command("plan").await.code(), 2);
        assert_eq!(command("apply").await.code(), 0);
        let mut running = Running::start(program(&serving.endpoint(), config.path(), &["run"]));
        running.event("controller.started", 1).await;
        tamper();
        running.event("drift.repaired", 1).await;
        // Released, and asked for again.
        std::fs::write(config.path().join("fleet.yaml"), MANIFEST.replace("[web]", "[other]")).unwrap();
        running.event("role.not_found", 1).await;
        std::fs::write(config.path().join("fleet.yaml"), MANIFEST).unwrap();
        running.event("manifest.accepted", 3).await;
        assert_eq!(running.stop().await.code(), 0);
    }
    let called = sandbox.counts().into_keys().filter(|operation| *operation != "GetCallerIdentity");
    let called: BTreeSet<String> = called.map(|operation| format!("iam:{operation}")).collect();
    let policy: Value = serde_json::from_str(&deployed("iam/controller-policy.json")).unwrap();
    assert_eq!(actions(&policy, "Allow"), called);
    assert!(policy.to_string().matches("NotAction").count() == 0);
    for effect in ["Allow", "Deny"] {
        assert!(actions(&policy, effect).iter().all(|action| !action.contains(['*', '?'])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_works_with_exactly_this_policy_and_is_denied_writes_without_their_statement() {
    let moto = Moto::start();
    let clients = Clients::new(&moto.endpoint());
    let account = clients.sts.get_caller_identity().send().await.unwrap().account.unwrap();
    let whole = deployed("iam/controller-policy.json").replace("111122223333", &account);
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    clients.iam.create_role().role_name("web-server").assume_role_policy_document(trust).send().await.unwrap();
    clients.iam.create_user().user_name("controller").send().await.unwrap();
    let key = clients.iam.create_access_key().user_name("controller").send().await.unwrap().access_key.unwrap();
    let config = tempfile::tempdir().unwrap();
    std::fs::write(config.path().join("fleet.yaml"), MANIFEST.replace("[web]", "[web-server]")).unwrap();

    let without: Value = {
        let mut policy: Value = serde_json::from_str(&whole).unwrap();
        policy["Statement"].as_array_mut().unwrap().retain(|statement| statement["Sid"] != "RepairInlinePolicies");
        policy
    };
    for (policy, event, reason) in
        [(without.to_string(), "drift.blocked", Some("AccessDenied")), (whole, "drift.repaired", None)]
    {
        moto.enforce(false);
        let put = clients.iam.put_user_policy().user_name("controller").policy_name("controller");
        put.policy_document(policy).send().await.unwrap();
        moto.enforce(true);
        let mut command = program(&moto.endpoint(), config.path(), &["run"]);
        command.env("AWS_ACCESS_KEY_ID", key.access_key_id()).env("AWS_SECRET_ACCESS_KEY", key.secret_access_key());
        let mut running = Running::start(command);
        let told = running.event(event, 1).await;
        assert_eq!((told["role"].as_str(), told["reason"].as_str()), (Some("web-server"), reason));
        let ended = running.stop().await;
        assert!(!ended.err.contains("read."), "all reads are allowed: {}", ended.err);
    }
    moto.enforce(false);
    let read = clients.iam.get_role_policy().role_name("web-server").policy_name("SessionManagerPermissions");
    let read = read.send().await;
    assert!(read.unwrap().policy_document.contains("ssmmessages"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_command_makes_no_call_at_all() {
    let serving = Serving::start("111122223333").await;
    let config = tempfile::tempdir().unwrap();
    std::fs::write(config.path().join("fleet.yaml"), MANIFEST).unwrap();
    for command in ["validate", "render", "schema"] {
        assert_eq!(finish(program(&serving.endpoint(), config.path(), &[command])).await.code(), 0);
    }
    let offline = ["controller-policy", "--account", "111122223333"];
    assert_eq!(finish(program(&serving.endpoint(), config.path(), &offline)).await.code(), 0);
    assert_eq!(finish(bare(&["--version"])).await.code(), 0);
    assert_eq!(serving.sandbox.counts().len(), 0);
}
