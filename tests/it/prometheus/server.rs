//! A real Prometheus that scrapes the real daemon.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use ssm_role_controller::sandbox::{Effect, Fault, RoleSeed};
use tokio::time::{Instant, sleep};

use super::{PREFIX, file, tool};
use crate::{
    endpoints::{POLICY, RIGHT, WIDENED, World, port},
    support::program::{PATIENCE, Running},
};

const ACCOUNT: &str = "111122223333";

/// A Prometheus with data of its own; it dies with this value.
struct Prometheus {
    running: Running,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes a port of this machine each second; its alerts fire after two seconds, where they would take longer.
    async fn start(target: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rules: String =
            file("deploy/prometheus/rules.yaml")
                .lines()
                .map(|line| {
                    if line.starts_with("        for: ") { "        for: 2s\n".to_owned() } else { format!("{line}\n") }
                })
                .collect();
        std::fs::write(directory.path().join("rules.yaml"), rules).unwrap();
        let config = file("deploy/prometheus/scrape.yaml")
            .replace("_interval: 30s", "_interval: 1s")
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{target}"));
        std::fs::write(directory.path().join("prometheus.yaml"), config).unwrap();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = tokio::process::Command::new(tool("prometheus"));
        command.arg(format!("--config.file={}", directory.path().join("prometheus.yaml").display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut running = Running::start(command);
        running.until("Prometheus is ready", |running| running.err().contains("Server is ready")).await;
        Self { running, port, _directory: directory }
    }

    /// Asks its API; of an answer that was not whole nothing is concluded.
    fn ask(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }

    /// The one value that a query yields.
    fn value(&self, query: &str) -> Option<f64> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.ask(&format!("query?query={query}"));
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// The alerts that are firing, by name.
    fn firing(&self) -> BTreeMap<String, Value> {
        let answer = self.ask("alerts");
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.into_iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| (alert["labels"]["alertname"].as_str().unwrap().to_owned(), alert)).collect()
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + 2 * PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: not so; firing: {:?}\n{}", self.firing(), self.running.err());
            sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_sees_a_drift_fires_its_alert_and_sees_it_repaired() {
    let world = World::new().await;
    let account = &world.serving.account;
    let core = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    let seed = RoleSeed::new("web").policy(POLICY, RIGHT).instance_profile("web").attached(core);
    world.serving.sandbox.plant(account, seed);
    world.manifest("web", "roles: [web]");
    let mut running = world.run(&["--metrics-listen", "0"]);
    let port = port(&mut running, "metrics").await;
    let prometheus = Prometheus::start(port).await;
    let policies = |drift: &str| format!(r#"{PREFIX}managed_policies{{mode="enforce", drift="{drift}"}}"#);
    prometheus.until("the role is in sync", |prometheus| prometheus.value(&policies("in_sync")) == Some(1.0)).await;
    let target = &prometheus.ask("targets")["data"]["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    // Where all is well nothing fires, however impatient the alerts are; but while nothing was scraped, one may have.
    let often = format!("count_over_time({PREFIX}leader[1m]) >= bool 10");
    prometheus.until("ten scrapes", |prometheus| prometheus.value(&often) == Some(1.0)).await;
    assert_eq!(prometheus.firing().keys().collect::<Vec<_>>(), Vec::<&String>::new());

    // A drift that cannot be repaired.
    world.serving.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy"));
    assert!(world.serving.sandbox.write_policy(account, "web", POLICY, WIDENED));
    let both = ["SsmRoleControllerWidenedStands", "SsmRoleControllerBlocked"];
    prometheus
        .until("the alerts fire", |prometheus| both.iter().all(|alert| prometheus.firing().contains_key(*alert)))
        .await;
    assert_eq!(prometheus.value(&policies("widened")), Some(1.0));
    let firing = prometheus.firing();
    let widened = &firing[both[0]];
    assert_eq!((&widened["labels"]["account"], &widened["labels"]["drift"]), (&ACCOUNT.into(), &"widened".into()));
    let said = widened["annotations"]["description"].as_str().unwrap();
    assert!(said.starts_with("Policies in account 111122223333 (1) have been widened"), "{said}");
    let blocked = &firing[both[1]]["annotations"];
    assert_eq!(blocked["reason_url"], "docs/runbook.md#accessdenied");

    // It is repaired, and both are over.
    world.serving.sandbox.clear_faults();
    // What a person must mend is tried again a minute later; newer manifests at once.
    world.manifest("web", "roles: [web], nodeRegistration: granted");
    running.event("drift.repaired", 1).await;
    prometheus.until("no alert is left", |prometheus| prometheus.firing().is_empty()).await;
    prometheus
        .until("the repair is counted", |prometheus| {
            prometheus.value(&format!("sum({PREFIX}repairs_total)")) == Some(1.0)
        })
        .await;
    assert_eq!(prometheus.value(&policies("in_sync")), Some(1.0));
    // A rate sees the first repair, too: its series began at zero.
    let increase = format!("sum(increase({PREFIX}repairs_total[1m]))");
    prometheus
        .until("the first repair is seen", |prometheus| prometheus.value(&increase).is_some_and(|seen| seen > 0.0))
        .await;
    assert_eq!(running.stop().await.code(), 0);

    // And whoever scrapes it in vain is told.
    prometheus
        .until("its end is seen", |prometheus| prometheus.firing().contains_key("SsmRoleControllerTargetDown"))
        .await;
    assert_eq!(prometheus.running.stop().await.code(), 0);
}
