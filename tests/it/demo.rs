//! The first command of the README, as somebody who has just cloned sees it.

use std::path::Path;

use tokio::process::Command;

use crate::support::program::{Ended, Running, bare, finish};

/// A copy of the demo's manifests, to be edited.
fn manifests() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// Runs a line that the program printed, as somebody pastes it: with the AWS CLI of the tests, and no AWS settings.
async fn paste(line: &str) -> Ended {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin");
    assert!(tools.join("aws").exists(), "this test needs the AWS CLI: run `tests/setup`");
    let mut bash = Command::new("bash");
    bash.args(["-c", line]).env_clear().env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true");
    bash.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", tools.display()));
    bash.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    bash.kill_on_drop(true);
    finish(bash).await
}

fn told(running: &Running, event: &str, role: &str) -> usize {
    running.events().iter().filter(|told| told["event"] == event && told["role"] == role).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_drift_and_repair_and_lets_one_tamper_and_edit_with_no_aws_account() {
    let config = manifests();
    let mut demo = bare(&["demo", "--log-format", "json", "--config", config.path().to_str().unwrap()]);
    // Nothing of what stands in somebody's environment is used.
    demo.env("AWS_PROFILE", "nonsense").env("AWS_REGION", "nowhere-1").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    demo.env("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:1").env("AWS_CONFIG_FILE", "/nonexistent/config");
    demo.env("AWS_ACCESS_KEY_ID", "AKIANONSENSE").env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    demo.env("AWS_USE_FIPS_ENDPOINT", "true")
        .env("AWS_USE_DUALSTACK_ENDPOINT", "true")
        .env("HTTP_PROXY", "http://127.0.0.1:1");
    let mut running = Running::start(demo);

    running.until("the line to tamper with", |running| running.out().contains("iam delete-role-policy")).await;
    let out = running.out();
    let line = out.lines().find(|line| line.contains("iam delete-role-policy")).unwrap().trim().to_owned();
    assert!(out.contains(&format!("edit {}/web-fleet.yaml", config.path().display())), "{out}");
    for role in ["web-canary", "bastion", "batch-worker"] {
        running.until(role, |running| told(running, "drift.repaired", role) == 1).await;
        assert_eq!(told(&running, "drift.detected", role), 1);
    }
    assert_eq!(told(&running, "drift.detected", "legacy-app"), 1, "observed, and not repaired");

    let ended = paste(&line).await;
    assert_eq!(ended.code(), 0, "{line}: {}", ended.err);
    running.until("the tampering is undone", |running| told(running, "drift.repaired", "bastion") == 2).await;
    let endpoint = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let read = line.replace("delete-role-policy", "get-role-policy");
    let ended = paste(&read).await;
    assert!(ended.out.contains("kms:Decrypt"), "{read}: {} {}", ended.out, ended.err);

    // Somebody's play goes on, at an endpoint that is this machine's.
    assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
    running.until("the play", |running| running.out().contains(">> Somebody ")).await;

    // As the demo says: `mode: observe` below `spec:`.
    let file = config.path().join("web-fleet.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\nspec:\n", "\nspec:\n  mode: observe\n")).unwrap();
    running.event("manifest.accepted", 5).await;
    paste(&line).await;
    running
        .until("only told", |running| {
            running.events().iter().any(|told| told["role"] == "bastion" && told["mode"] == "observe")
        })
        .await;
    assert_eq!(told(&running, "drift.repaired", "bastion"), 2);

    running.signal("INT");
    let ended = running.end().await;
    assert_eq!(ended.code(), 0, "{}", ended.err);
    assert!(ended.out.ends_with("The demo has ended; nothing is left behind.\n"), "{}", ended.out);
    assert!(ended.err.contains("controller.stopped"), "{}", ended.err);
    assert!(!ended.err.contains("read.failed"), "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_writes_nothing_where_it_only_observes() {
    let config = manifests();
    let mut running = Running::start(bare(&["demo", "--observe", "--config", config.path().to_str().unwrap()]));
    running.event("drift.detected", 4).await;
    let ended = running.stop().await;
    assert_eq!((ended.code(), ended.err.matches("drift.repaired").count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_alone_says_where_it_listens_and_serves_plan_and_apply() {
    let config = manifests();
    let mut running = Running::start(bare(&["sandbox", "--listen", "127.0.0.1:0"]));
    running.until("the endpoint", |running| running.out().contains("http://127.0.0.1:")).await;
    let out = running.out();
    // The example is to be pasted, with the program in the path.
    let line = out.lines().find(|line| line.trim_end().ends_with("ssm-role-controller plan")).unwrap().trim();
    let program = env!("CARGO_BIN_EXE_ssm-role-controller");
    let with = |command: &str| {
        line.replace("ssm-role-controller plan", &format!("{program} {command} --config {}", config.path().display()))
    };
    let ended = paste(&with("plan")).await;
    assert_eq!(ended.code(), 2, "{}", ended.err);
    assert!(ended.out.contains("role bastion"), "{}", ended.out);
    assert_eq!(paste(&with("apply")).await.code(), 0, "what is only observed is no failure");
    assert_eq!(paste(&with("plan")).await.code(), 2, "and stays as it is");
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_with_what_to_do() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = finish(bare(&["sandbox", "--listen", &address])).await;
    assert_eq!((ended.code(), ended.out.as_str()), (1, ""));
    for words in [address.as_str(), "cannot be listened on", "hint: name another with --listen"] {
        assert!(ended.err.contains(words), "{}", ended.err);
    }
}
