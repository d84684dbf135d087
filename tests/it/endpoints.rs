//! What the daemon answers over HTTP, by the real process: health, metrics, status, and whoever asks badly.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use ssm_role_controller::sandbox::{Effect, Fault, RoleSeed};
use tempfile::TempDir;
use tokio::{
    net::UnixDatagram,
    process::Command,
    time::{Instant, timeout},
};

use crate::support::{
    program::{PATIENCE, Running, bare, finish, program},
    serving::Serving,
    world::{meets_schema, tool},
};

pub(crate) const POLICY: &str = "SessionManagerPermissions";
pub(crate) const RIGHT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"},{"Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"*"}]}"#;
pub(crate) const WIDENED: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssmmessages:*","s3:GetEncryptionConfiguration"],"Resource":"*"}]}"#;
const SETTINGS: &str = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: controller}\nspec: {resyncInterval: 1s}\n";

/// A sandbox, and a directory of manifests.
pub(crate) struct World {
    pub(crate) serving: Serving,
    directory: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (serving, directory) = (Serving::start("111122223333").await, tempfile::tempdir().unwrap());
        std::fs::create_dir(directory.path().join("config")).unwrap();
        let world = Self { serving, directory };
        world.save("controller.yaml", SETTINGS);
        world
    }

    pub(crate) fn save(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join("config").join(name), text).unwrap();
    }

    pub(crate) fn manifest(&self, name: &str, spec: &str) {
        let text = format!(
            "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        );
        self.save(&format!("{name}.yaml"), &text);
    }

    pub(crate) fn role(&self, name: &str, document: &str) {
        let seed = RoleSeed::new(name).policy(POLICY, document).instance_profile(name);
        self.serving.sandbox.plant(&self.serving.account, seed);
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Running {
        let config = self.directory.path().join("config");
        Running::start(program(&self.serving.endpoint(), &config, &[&["run"], arguments].concat()))
    }

    fn token(&self, token: &str, mode: u32) -> PathBuf {
        let path = self.directory.path().join("token");
        std::fs::write(&path, token).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

/// Where an endpoint answers, as the log says.
pub(crate) async fn port(running: &mut Running, purpose: &str) -> u16 {
    let what = format!("the {purpose} endpoint answers");
    let is_it = |event: &Value| event["message"].as_str().is_some_and(|message| message.starts_with(&what));
    running.until(&what, |running| running.events().iter().any(is_it)).await;
    let event = running.events().into_iter().find(is_it).unwrap();
    let (_, rest) = event["message"].as_str().unwrap().split_once("127.0.0.1:").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Sends bytes, and returns all that comes back until the end or the deadline.
fn exchange(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Whoever turns a request away need not read it to its end.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status and body.
pub(crate) fn get(port: u16, path: &str, headers: &str) -> (u16, String) {
    let answer = exchange(
        port,
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n").as_bytes(),
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default(), body.to_owned())
}

pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The value of a series.
fn series(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_after_a_first_pass_and_stays_so_through_the_troubles_of_aws() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.manifest("web", "roles: [web]");
    world.serving.sandbox.fault(Fault::new(Effect::Deny));
    let mut running = world.run(&["--health-listen", "0"]);
    let port = port(&mut running, "health").await;
    assert_eq!(get(port, "/livez", ""), (200, "ok\n".to_owned()));
    let answers = |why: &str| get(port, "/readyz", "") == (503, format!("{why}\n"));
    until("STS does not answer", || answers("STS has not said yet who the credentials belong to")).await;
    world.serving.sandbox.clear_faults();
    for operation in ["GetAccountAuthorizationDetails", "GetRole"] {
        world.serving.sandbox.fault(Fault::new(Effect::Deny).on(operation));
    }
    until("a first reading has failed", || answers("no account could be read so far")).await;
    world.serving.sandbox.clear_faults();
    until("a first pass is done", || get(port, "/readyz", "") == (200, "ok\n".to_owned())).await;
    world.serving.sandbox.fault(Fault::new(Effect::Deny));
    running.event("read.failed", 2).await;
    assert_eq!(get(port, "/readyz", "").0, 200);
    assert_eq!(get(port, "/livez", "").0, 200);
    assert_eq!(get(port, "/", "").0, 404);
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_how_the_roles_stand_and_name_none() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.role("told-role", WIDENED);
    world.manifest("web", "roles: [web, gone-role]");
    world.manifest("told", "roles: [told-role], mode: observe");
    world.save("broken.yaml", "kind: [");
    let mut running = world.run(&["--metrics-listen", "0"]);
    let port = port(&mut running, "metrics").await;
    let account = r#"account="111122223333""#;
    let policies = |mode: &str, drift: &str| {
        format!(r#"ssm_role_controller_managed_policies{{{account},mode="{mode}",drift="{drift}"}}"#)
    };
    until("all are judged", || {
        let metrics = get(port, "/metrics", "").1;
        series(&metrics, &policies("observe", "widened")) == Some(1.0)
            && series(&metrics, &policies("enforce", "in_sync")) == Some(1.0)
    })
    .await;
    let (_, metrics) = get(port, "/metrics", "");
    for (name, value) in [
        (policies("enforce", "unknown"), 1.0),
        (format!(r#"ssm_role_controller_blocked_policies{{{account},reason="RoleNotFound"}}"#), 1.0),
        (format!("ssm_role_controller_account_up{{{account}}}"), 1.0),
        (format!(r#"ssm_role_controller_drifts_detected_total{{{account},drift="widened",mode="observe"}}"#), 1.0),
        ("ssm_role_controller_manifests_in_force".to_owned(), 2.0),
        ("ssm_role_controller_manifest_faults".to_owned(), 1.0),
        ("ssm_role_controller_suspended".to_owned(), 0.0),
        ("ssm_role_controller_leader".to_owned(), 1.0),
    ] {
        assert_eq!(series(&metrics, &name), Some(value), "{name}\n{metrics}");
    }
    for role in ["web", "gone-role", "told-role"] {
        assert!(!metrics.contains(&format!("\"{role}\"")), "{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));

    // A repair is counted, and how long it took.
    world.serving.sandbox.remove_policy(&world.serving.account, "web", POLICY);
    running.event("drift.repaired", 1).await;
    let (_, metrics) = get(port, "/metrics", "");
    let repairs = format!(r#"ssm_role_controller_repairs_total{{{account},outcome="repaired"}}"#);
    assert_eq!(series(&metrics, &repairs), Some(1.0), "{metrics}");
    assert_eq!(series(&metrics, "ssm_role_controller_repair_seconds_count"), Some(1.0), "{metrics}");
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_every_role_and_the_command_shows_it() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.role("told", WIDENED);
    world.manifest("web", "roles: [web, gone]");
    world.manifest("told", "roles: [told], mode: observe");
    let mut running = world.run(&["--status-listen", "0"]);
    let port = port(&mut running, "status").await;
    running.event("drift.detected", 1).await;
    let status = || -> Value { serde_json::from_str(&get(port, "/status", "").1).unwrap() };
    until("all are judged", || {
        status()["accounts"][0]["roles"].as_array().is_some_and(|roles| {
            roles.len() == 3 && roles.iter().all(|role| !role["conditions"].as_array().unwrap().is_empty())
        })
    })
    .await;
    let document = world.directory.path().join("status.json");
    std::fs::write(&document, status().to_string()).unwrap();
    let schema = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status.schema.json"));
    meets_schema(&schema, &[&document]).unwrap();
    let roles = &status()["accounts"][0]["roles"];
    let of = |name: &str| roles.as_array().unwrap().iter().find(|role| role["role"] == name).unwrap();
    assert_eq!(of("gone")["reason"], "RoleNotFound");
    assert_eq!(of("told")["diff"][0], serde_json::json!({"change": "gained", "text": "Allow ssmmessages:* on *"}));
    assert_eq!(of("web")["conditions"][0]["status"], "True");

    let server = format!("http://127.0.0.1:{port}");
    let shown = finish(bare(&["status", "--server", &server])).await;
    assert_eq!(shown.code(), 0, "{shown:?}");
    for line in [
        "False Widened",
        "RoleNotFound",
        "gained Allow ssmmessages:* on *",
        "hint: RoleNotFound: ",
        "hint: ObserveMode: ",
    ] {
        assert!(shown.out.contains(line), "{}", shown.out);
    }
    let only = finish(bare(&["status", "--server", &server, "--drifted", "-o", "json"])).await;
    let only: Value = serde_json::from_str(&only.out).unwrap();
    assert_eq!(only["accounts"][0]["roles"].as_array().unwrap().len(), 1);
    let none = finish(bare(&["status", "--server", &server, "--role", "other"])).await;
    assert!(none.out.contains("there is no role to show"), "{}", none.out);

    // It goes on, and shows what has changed.
    let mut watching = Running::start(bare(&["status", "--server", &server, "--role", "web", "--watch"]));
    watching.until("the role is shown", |watching| watching.out().contains("web")).await;
    world.manifest("web", "roles: [web], mode: observe");
    watching.until("the change is shown", |watching| watching.out().contains("observe")).await;
    assert_eq!(watching.stop().await.code(), 0);
    assert_eq!(running.stop().await.code(), 0);
    let elsewhere = finish(bare(&["status", "--server", &world.serving.endpoint()])).await;
    assert!(elsewhere.code() == 1 && elsewhere.err.contains("is not a daemon's status"), "{}", elsewhere.err);
    let gone = finish(bare(&["status", "--server", &server])).await;
    assert_eq!(gone.code(), 1);
    assert!(gone.err.contains("nobody answers on") && gone.err.contains("hint:"), "{}", gone.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_off_this_machine_reads_the_status_without_the_token() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.manifest("web", "roles: [web]");
    let refused = world.run(&["--status-listen", "0.0.0.0:0"]).end().await;
    assert_eq!(refused.code(), 1);
    assert!(refused.err.contains("--status-token-file"), "{}", refused.err);

    let token = world.token("a-long-and-secret-word\n", 0o600);
    let token = token.to_str().unwrap();
    let mut running =
        world.run(&["--status-listen", "0", "--status-token-file", token, "--status-host", "status.example"]);
    let port = port(&mut running, "status").await;
    assert_eq!(get(port, "/status", "").0, 401);
    assert_eq!(get(port, "/status", "Authorization: Bearer another-word-entirely\r\n").0, 401);
    assert_eq!(get(port, "/status", "Authorization: Bearer a-long-and-secret-word\r\n").0, 200);
    assert_eq!(get(port, "/", "").0, 200, "the page holds no data");
    let server = format!("http://127.0.0.1:{port}");
    let asked = finish(bare(&["status", "--server", &server])).await;
    assert!(
        asked.code() == 1 && asked.err.contains("none was given\nhint: give the daemon's with --token-file"),
        "{}",
        asked.err
    );
    assert_eq!(finish(bare(&["status", "--server", &server, "--token-file", token])).await.code(), 0);

    for (host, code) in [("status.example", 401), ("evil.example", 421), ("localhost.evil.example", 421)] {
        let answer =
            exchange(port, format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{host}: {answer}");
    }
    let secret = running.stop().await;
    assert!(!secret.err.contains("a-long-and-secret-word"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_shows_in_chromium_what_the_daemon_says_once_the_token_was_typed() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.role("told", WIDENED);
    world.manifest("web", "roles: [web, gone]");
    world.manifest("told", "roles: [told], mode: observe");
    world.save("broken.yaml", "kind: [");
    let token = world.token("a-long-and-secret-word", 0o600);
    let token = token.to_str().unwrap();
    let mut running = world.run(&["--status-listen", "0", "--status-token-file", token]);
    let url = format!("http://127.0.0.1:{}", port(&mut running, "status").await);
    running.event("role.not_found", 1).await;
    let mut check = Command::new(tool("python3"));
    check.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/check.py")).args(["daemon", &url, token]);
    let checked = check.stdin(Stdio::null()).output().await.unwrap();
    let [out, err] = [&checked.stdout, &checked.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(checked.status.success() && out.contains("ok  it shows the 3 roles of 1 accounts"), "{out}\n{err}");
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_an_open_token_file_are_told_tried_again_and_disturb_nothing() {
    let world = World::new().await;
    world.manifest("web", "roles: [web]");
    world.serving.sandbox.plant(&world.serving.account, RoleSeed::new("web"));
    let token = world.token("a-long-and-secret-word", 0o644);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let number = taken.local_addr().unwrap().port().to_string();
    let mut running = world.run(&[
        "--health-listen",
        &number,
        "--status-listen",
        "0",
        "--status-token-file",
        token.to_str().unwrap(),
    ]);
    running.event("drift.repaired", 1).await;
    running.event("endpoint.failed", 2).await;
    let told: Vec<String> = running
        .events()
        .iter()
        .filter(|event| event["event"] == "endpoint.failed")
        .map(|event| format!("{} hint: {}", event["message"].as_str().unwrap(), event["hint"].as_str().unwrap()))
        .collect();
    let of = |purpose: &str| told.iter().find(|told| told.contains(purpose)).unwrap();
    assert!(
        of("health")
            .contains("the port is taken; roles are kept all the same hint: end the process that listens there"),
        "{told:?}"
    );
    assert!(of("status").contains("can be read or written by everybody on this machine"), "{told:?}");
    drop(taken);
    world.token("a-long-and-secret-word", 0o600);
    running.event("endpoint.listening", 2).await;
    assert_eq!(running.told("endpoint.failed"), 2, "each is told once");
    assert_eq!(get(number.parse().unwrap(), "/livez", "").0, 200);
    // A token that is opened to everybody lets nobody in any more.
    let port = port(&mut running, "status").await;
    world.token("a-long-and-secret-word", 0o644);
    assert_eq!(get(port, "/status", "Authorization: Bearer a-long-and-secret-word\r\n").0, 503);
    running.event("endpoint.failed", 3).await;
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_slowly_or_absurdly_disturbs_nobody() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.manifest("web", "roles: [web]");
    let mut running = world.run(&["--status-listen", "0", "--health-listen", "0"]);
    let (status, health) = (port(&mut running, "status").await, port(&mut running, "health").await);
    let long = "x".repeat(100_000);
    let many: String = (0..2_000).map(|number| format!("X-{number}: y\r\n")).collect();
    for request in [
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        "GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /%2e%2e/%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        "POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n"
            .to_owned(),
        "DELETE /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /status HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "GET /status HTTP/1.1\r\nHost: \u{fe}\r\nConnection: close\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
    ] {
        let answer = exchange(status, request.as_bytes());
        let code: u16 = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(400);
        assert!((400..500).contains(&code), "{:.80}: {answer:.200}", request);
        assert!(!answer.contains("root:") && !answer.contains("xxxx"), "{answer:.200}");
    }
    // Those who say nothing, or half of a request, take no more than their own seats.
    let slow: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", status)).unwrap();
            if number % 2 == 0 {
                let _ = stream.write_all(b"GET /status HTTP/1.1\r\nHost: loc");
            }
            stream
        })
        .collect();
    assert_eq!(get(health, "/livez", ""), (200, "ok\n".to_owned()));
    world.serving.sandbox.remove_policy(&world.serving.account, "web", POLICY);
    running.event("drift.repaired", 1).await;
    // They are cut off, and the page answers again.
    assert_eq!(get(status, "/status", "").0, 200);
    drop(slow);
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_manifests_that_is_gone_stands_as_a_fault_until_it_is_there_again() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.manifest("web", "roles: [web]");
    let mut running = world.run(&["--status-listen", "0", "--metrics-listen", "0"]);
    let (status, metrics) = (port(&mut running, "status").await, port(&mut running, "metrics").await);
    let faults = || series(&get(metrics, "/metrics", "").1, "ssm_role_controller_manifest_faults");
    let told = || serde_json::from_str::<Value>(&get(status, "/status", "").1).unwrap_or_default();
    until("the files were read", || told()["manifests"]["inForce"] == 1).await;
    let (config, elsewhere) = (world.directory.path().join("config"), world.directory.path().join("elsewhere"));
    std::fs::rename(&config, &elsewhere).unwrap();
    until("that is told", || faults() == Some(1.0)).await;
    let told = told();
    assert_eq!(told["manifests"]["inForce"], 1, "what was in force stays so");
    assert_eq!(told["manifests"]["faults"][0]["file"], config.to_str().unwrap());
    let shown = finish(bare(&["status", "--server", &format!("localhost:{status}")])).await;
    assert!(shown.out.contains("fault: ") && shown.out.contains("config"), "{}", shown.out);
    std::fs::rename(&elsewhere, &config).unwrap();
    until("that is over", || faults() == Some(0.0)).await;
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_faults_are_counted_and_a_thousand_of_them_listed() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.manifest("web", "roles: [web]");
    for file in 0..100 {
        let roles: Vec<String> = (0..50).map(|number| format!("bad*{file}-{number}")).collect();
        world.manifest(&format!("broken-{file}"), &format!("roles: [{}]", roles.join(", ")));
    }
    let mut running = world.run(&["--status-listen", "0", "--metrics-listen", "0"]);
    let (status, metrics) = (port(&mut running, "status").await, port(&mut running, "metrics").await);
    until("the files were read", || {
        series(&get(metrics, "/metrics", "").1, "ssm_role_controller_manifest_faults") == Some(5_000.0)
    })
    .await;
    let told: Value = serde_json::from_str(&get(status, "/status", "").1).unwrap();
    assert_eq!(told["manifests"]["faultCount"], 5_000);
    assert_eq!(told["manifests"]["faults"].as_array().unwrap().len(), 1_000);
    world.serving.sandbox.remove_policy(&world.serving.account, "web", POLICY);
    running.event("drift.repaired", 1).await;
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_that_it_works_and_how_the_roles_stand() {
    let world = World::new().await;
    world.role("web", RIGHT);
    world.role("told", WIDENED);
    world.manifest("web", "roles: [web]");
    world.manifest("told", "roles: [told], mode: observe");
    let socket = UnixDatagram::bind(world.directory.path().join("notify")).unwrap();
    let config = world.directory.path().join("config");
    let mut command = program(&world.serving.endpoint(), &config, &["run"]);
    command.env("NOTIFY_SOCKET", world.directory.path().join("notify")).env("WATCHDOG_USEC", "500000");
    let running = Running::start(command);
    let mut heard = BTreeSet::new();
    let wanted = ["READY=1", "WATCHDOG=1", "STATUS=2 policies managed in 1 account, 1 in sync, 1 widened"];
    while !wanted.iter().all(|line| heard.contains(*line)) {
        let mut message = vec![0; 4096];
        let length =
            timeout(PATIENCE, socket.recv(&mut message)).await.unwrap_or_else(|_| panic!("{heard:?}")).unwrap();
        heard.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
    }
    assert_eq!(running.stop().await.code(), 0);
}
