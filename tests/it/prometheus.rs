//! What is in deploy/prometheus, deploy/cloudwatch and deploy/loki: the rules by promtool's own judgement and by a real
//! Prometheus that scrapes the real daemon, and every name in them by what the daemon exports and tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use ssm_role_controller::{
    sandbox::{Effect, Fault, RoleSeed},
    telemetry::EventName,
};
use tokio::time::{Instant, sleep};

use crate::{
    endpoints::{POLICY, RIGHT, WIDENED, World, get, port, until},
    support::program::{PATIENCE, Running},
};

const ACCOUNT: &str = "111122223333";
const PREFIX: &str = "ssm_role_controller_";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn file(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&file(path)).unwrap()
}

/// A program of the Prometheus that `tests/setup` has unpacked.
fn tool(name: &str) -> PathBuf {
    let tool = at("target/prometheus").join(name);
    assert!(tool.exists(), "{} is missing: run `tests/setup`", tool.display());
    tool
}

/// What promtool says, where it finds something wrong.
fn promtool(arguments: &[&str], path: &Path) -> Result<(), String> {
    let output = Command::new(tool("promtool")).args(arguments).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said) }
}

const TESTS_OF_RULES: [&str; 2] = ["rules.test.yaml", "rules.days.test.yaml"];
const LINT: [&str; 4] = ["check", "rules", "--lint=all", "--lint-fatal"];

/// The alert rules of a file.
fn alerts(path: &str) -> Vec<Value> {
    let groups = yaml(path)["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn named(rules: &[Value]) -> BTreeSet<String> {
    rules.iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules_and_the_example_of_a_configuration() {
    promtool(&LINT, &at("deploy/prometheus/rules.yaml")).unwrap();
    promtool(&["check", "config"], &at("deploy/prometheus/scrape.yaml")).unwrap();
}

#[test]
fn promtool_would_say_so_of_a_rule_that_cannot_be_parsed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.yaml");
    std::fs::write(&path, file("deploy/prometheus/rules.yaml").replacen("max by (", "max bye (", 1)).unwrap();
    assert!(promtool(&LINT, &path).is_err());
}

#[test]
fn every_alert_is_tested_where_it_fires_and_where_it_does_not() {
    let (mut firing, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for path in TESTS_OF_RULES.map(|name| format!("deploy/prometheus/{name}")) {
        promtool(&["test", "rules"], &at(&path)).unwrap();
        for test in yaml(&path)["tests"].as_array().unwrap() {
            for moment in test["alert_rule_test"].as_array().unwrap() {
                let seen = if moment["exp_alerts"].as_array().unwrap().is_empty() { &mut quiet } else { &mut firing };
                seen.insert(moment["alertname"].as_str().unwrap().to_owned());
            }
        }
    }
    let all = named(&alerts("deploy/prometheus/rules.yaml"));
    assert_eq!(firing, all);
    assert_eq!(quiet, all);
}

#[test]
fn the_tests_of_the_rules_notice_an_alert_that_comes_too_late() {
    let directory = tempfile::tempdir().unwrap();
    let rules = file("deploy/prometheus/rules.yaml").replace("for: 7d", "for: 9d");
    std::fs::write(directory.path().join("rules.yaml"), rules).unwrap();
    let path = directory.path().join("rules.days.test.yaml");
    std::fs::write(&path, file("deploy/prometheus/rules.days.test.yaml")).unwrap();
    let said = promtool(&["test", "rules"], &path).unwrap_err();
    assert!(said.contains("SsmRoleControllerSuspendedLong"), "{said}");
}

#[test]
fn every_alert_says_how_grave_it_is_what_happened_and_what_to_do() {
    for path in ["deploy/prometheus/rules.yaml", "deploy/loki/rules.yaml"] {
        for rule in alerts(path) {
            let severity = rule["labels"]["severity"].as_str().unwrap();
            assert!(["critical", "warning", "info"].contains(&severity), "{rule}");
            assert!(!rule["annotations"]["summary"].as_str().unwrap().is_empty(), "{rule}");
            assert!(rule["annotations"]["description"].as_str().unwrap().contains("Next: "), "{rule}");
        }
    }
}

/// Every link to the runbook in a text.
fn runbook_links(text: &str) -> Vec<&str> {
    let end = |rest: &str| rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    text.split("docs/runbook.md#").skip(1).map(|rest| &rest[..end(rest)]).filter(|link| !link.is_empty()).collect()
}

/// The words in the first column of the tables of a page.
fn words(page: &str) -> BTreeSet<String> {
    let word = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    file(page).lines().filter_map(word).collect()
}

#[test]
fn the_runbook_has_a_section_for_every_alert_and_every_reason_and_for_nothing_else() {
    let page = file("docs/runbook.md");
    let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let told: BTreeSet<String> = sections.iter().map(|&section| section.to_owned()).collect();
    assert_eq!(sections.len(), told.len(), "a section is there twice");
    let mut wanted = named(&alerts("deploy/prometheus/rules.yaml"));
    wanted.extend(words("docs/reasons.md"));
    // Those of the condition Synced that are no reason of a step (src/plan/condition.rs), and those that say that nothing
    // was asked.
    wanted.extend(
        ["InSync", "Missing", "Narrowed", "Widened", "Altered", "ToBeRemoved", "NotAsked", "NotJudged"]
            .map(str::to_owned),
    );
    assert_eq!(told, wanted);

    let anchors: BTreeSet<String> = told.iter().map(|section| section.to_lowercase()).collect();
    for rule in alerts("deploy/prometheus/rules.yaml") {
        let (name, url) = (rule["alert"].as_str().unwrap(), rule["annotations"]["runbook_url"].as_str().unwrap());
        assert_eq!(url, format!("docs/runbook.md#{}", name.to_lowercase()));
    }
    for path in ["deploy/loki/rules.yaml", "deploy/cloudwatch/alarms.yaml", "docs/metrics.md", "docs/reasons.md"] {
        for link in runbook_links(&file(path)) {
            assert!(anchors.contains(link), "{path}: {link}");
        }
    }
    for rule in alerts("deploy/loki/rules.yaml") {
        assert_eq!(runbook_links(rule["annotations"]["runbook_url"].as_str().unwrap()).len(), 1, "{rule}");
    }
}

/// A daemon that has exported at least one series of everything.
async fn exporting(world: &World) -> (Running, u16) {
    world.role("web", RIGHT);
    world.role("told", WIDENED);
    world.manifest("web", "roles: [web, gone]");
    world.manifest("told", "roles: [told], mode: observe");
    let mut running = world.run(&["--metrics-listen", "0"]);
    let port = port(&mut running, "metrics").await;
    until("a blocked policy is exported", || {
        let metrics = get(port, "/metrics", "").1;
        metrics.contains("blocked_policies{") && metrics.contains("drift.detected")
    })
    .await;
    (running, port)
}

/// The same in the text that was before OpenMetrics, which is what `promtool check metrics` reads: there a counter's
/// family is called as its series are, and there is no kind `info`.
fn in_classic_text(exported: &str) -> String {
    let mut suffixes = BTreeMap::new();
    for line in exported.lines() {
        let mut kind = line.strip_prefix("# TYPE ").into_iter().flat_map(|rest| rest.split_once(' '));
        if let Some((name, kind)) = kind.next() {
            suffixes.insert(
                name,
                if kind == "counter" {
                    "_total"
                } else if kind == "info" {
                    "_info"
                } else {
                    ""
                },
            );
        }
    }
    let line = |line: &str| match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
        ["#", "TYPE", name, "info"] => format!("# TYPE {name}_info gauge\n"),
        ["#", what @ ("TYPE" | "HELP"), name, rest] => format!("# {what} {name}{} {rest}\n", suffixes[name]),
        ["#", "EOF"] => String::new(),
        _ => format!("{line}\n"),
    };
    exported.lines().map(line).collect()
}

fn check_metrics(text: &str) -> String {
    let mut command = Command::new(tool("promtool"));
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

/// Every series: the labels of each name, and the values of each label.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn series(exported: &str) -> Exported {
    let mut all = Exported::new();
    for line in exported.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = all.entry(name.to_owned()).or_default();
        let Some((within, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { continue };
        for (label, value) in within.split(',').filter_map(|label| label.split_once('=')) {
            labels.entry(label.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
        }
    }
    all
}

/// A series by its name, with the label matchers in its braces.
type Selected = (String, Vec<(String, String)>);

/// What a query asks for: each series, and each label that it groups by.
fn asked(query: &str) -> (Vec<Selected>, BTreeSet<String>) {
    let (mut found, mut groups) = (Vec::new(), BTreeSet::new());
    let is_of_name = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    for part in query.split(PREFIX).skip(1) {
        let (name, rest) = part.split_at(part.find(is_of_name).unwrap_or(part.len()));
        let within = rest.strip_prefix('{').map_or("", |rest| rest.split_once('}').unwrap().0);
        let matcher = |matcher: &str| {
            let (label, value) = matcher.split_at(matcher.find(['=', '!']).unwrap());
            let value = value.trim_start_matches(['=', '!', '~']).trim_matches('"');
            (label.trim().to_owned(), value.to_owned())
        };
        let matchers = within.split(',').filter(|matcher| !matcher.trim().is_empty()).map(matcher).collect();
        found.push((format!("{PREFIX}{name}"), matchers));
    }
    for word in ["by (", "on (", "left (", "right (", "without ("] {
        for part in query.split(word).skip(1) {
            groups.extend(part.split_once(')').unwrap().0.split(',').map(|label| label.trim().to_owned()));
        }
    }
    (found, groups)
}

/// Every query of a document, however deep.
fn queries(document: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(query) if ["expr", "series", "query", "definition"].contains(&key.as_str()) => {
                        found.push(query.to_owned());
                    }
                    _ => queries(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

/// Whether a label can have a value; of events and reasons not all can be made in one life of a daemon.
fn can_be(label: &str, value: &str, seen: &BTreeSet<String>) -> bool {
    let fits = |known: &str| match value.strip_suffix(".*") {
        Some(start) => known.starts_with(start),
        None => known == value,
    };
    match label {
        "account" | "operation" | "version" => true,
        "event" => EventName::ALL.iter().any(|event| fits(event.as_str())),
        "reason" => words("docs/reasons.md").iter().any(|word| fits(word)),
        _ => seen.iter().any(|known| fits(known)),
    }
}

fn hold_against(exported: &Exported, place: &str, query: &str) {
    let (found, groups) = asked(query);
    for (name, matchers) in found {
        let labels = exported.get(&name).unwrap_or_else(|| panic!("{place}: {name} is not exported"));
        for (label, values) in matchers {
            if ["job", "instance"].contains(&label.as_str()) {
                continue;
            }
            let seen = labels.get(&label).unwrap_or_else(|| panic!("{place}: {name} has no label {label}"));
            for value in values.split('|') {
                assert!(can_be(&label, value, seen), "{place}: {label} of {name} is never {value}");
            }
        }
    }
    for group in groups {
        let is_known = exported.values().any(|labels| labels.contains_key(&group));
        assert!(is_known || ["job", "instance", ""].contains(&group.as_str()), "{place}: no series has {group}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_to_say_of_what_the_daemon_exports() {
    let world = World::new().await;
    let (running, port) = exporting(&world).await;
    let classic = in_classic_text(&get(port, "/metrics", "").1);
    assert_eq!(check_metrics(&classic), "");
    assert_ne!(check_metrics(&classic.replace("account_up", "accountUp")), "");
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_and_label_in_rules_dashboard_and_documents_is_one_that_the_daemon_exports() {
    let world = World::new().await;
    let (running, port) = exporting(&world).await;
    let exported = series(&get(port, "/metrics", "").1);
    assert_eq!(running.stop().await.code(), 0);
    for path in ["rules.yaml", "dashboard.json"].into_iter().chain(TESTS_OF_RULES) {
        let place = format!("deploy/prometheus/{path}");
        let mut found = Vec::new();
        queries(&yaml(&place), &mut found);
        assert!(found.len() >= 5, "{place}");
        found.iter().for_each(|query| hold_against(&exported, &place, &query.replace("\"$account\"", "\"\"")));
    }
    for path in ["README.md", "docs/metrics.md", "docs/runbook.md", "deploy/prometheus/README.md"] {
        for (name, _) in asked(&file(path)).0 {
            let is_known = exported.contains_key(&name) || exported.contains_key(&format!("{name}_bucket"));
            assert!(is_known || name == PREFIX, "{path}: {name} is not exported");
        }
    }
    // And nothing that is exported is left out of the documentation.
    let documented = words("docs/metrics.md");
    for name in exported.keys() {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(documented.contains(family), "{name}");
    }
}

#[test]
fn every_query_of_the_dashboard_can_be_parsed() {
    let dashboard: Value = serde_json::from_str(&file("deploy/prometheus/dashboard.json")).unwrap();
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    let panels = dashboard["panels"].as_array().unwrap();
    let targets: Vec<&Value> =
        panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten()).collect();
    assert!(targets.len() > 30);
    for (number, target) in targets.iter().enumerate() {
        let query = target["expr"].as_str().unwrap();
        // What Grafana puts in.
        let query = query.replace("$__rate_interval", "5m").replace("$account", ".*");
        assert!(!query.contains('$'), "{query}");
        let query = Value::String(query);
        rules.push_str(&format!("      - {{record: \"dashboard:query:{number}\", expr: {query}}}\n"));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dashboard.yaml");
    std::fs::write(&path, &rules).unwrap();
    promtool(&["check", "rules", "--lint=none"], &path).unwrap();
    std::fs::write(&path, rules.replacen("sum(", "sum((", 1)).unwrap();
    assert!(promtool(&["check", "rules", "--lint=none"], &path).is_err());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "account"]);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}

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

/// What patterns and queries ask of a line: each field, and the words that it may be.
fn asked_of_lines(path: &str) -> Vec<BTreeMap<String, BTreeSet<String>>> {
    let mut asked = Vec::new();
    if path.contains("cloudwatch") {
        for resource in yaml(path)["Resources"].as_object().unwrap().values() {
            let Some(pattern) = resource["Properties"]["FilterPattern"].as_str() else { continue };
            let mut fields = BTreeMap::<String, BTreeSet<String>>::new();
            let transformation = &resource["Properties"]["MetricTransformations"][0];
            let value = transformation["MetricValue"].as_str().unwrap();
            for part in format!("{pattern} {value}").split("$.").skip(1) {
                let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(part.len());
                let words = fields.entry(part[..end].to_owned()).or_default();
                let compared = part[end..].trim_start();
                words.extend(compared.strip_prefix("= \"").map(|rest| rest.split_once('"').unwrap().0.to_owned()));
            }
            asked.push(fields);
        }
        return asked;
    }
    for rule in alerts(path) {
        let query = rule["expr"].as_str().unwrap();
        let mut fields = BTreeMap::<String, BTreeSet<String>>::new();
        let (_, pipeline) = query.split_once("| json |").unwrap();
        for part in pipeline.split_once('[').unwrap().0.split("| ") {
            let (field, word) = part.trim().split_once('=').unwrap();
            let words = word.trim_start_matches('~').trim_matches('"').split('|').map(str::to_owned);
            fields.entry(field.to_owned()).or_default().extend(words);
        }
        let groups = query.split_once("by (").map_or("", |(_, rest)| rest.split_once(')').unwrap().0);
        for group in groups.split(", ").filter(|group| !group.is_empty()) {
            fields.entry(group.to_owned()).or_default();
        }
        let texts = rule["annotations"].as_object().unwrap().values();
        for part in texts.flat_map(|text| text.as_str().unwrap().split("$labels.").skip(1)) {
            let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap();
            let label = &part[..end];
            assert!(groups.split(", ").any(|group| group == label), "{path}: the query does not keep {label}: {query}");
        }
        asked.push(fields);
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cloudwatch_and_loki_ask_of_lines_is_in_real_lines_of_the_log() {
    let world = World::new().await;
    let (sandbox, account) = (&world.serving.sandbox, &world.serving.account);
    // Wide, missing, foreign; one that nobody may assume.
    world.role("wide", WIDENED);
    world.role("gone", RIGHT);
    sandbox.plant(account, RoleSeed::new("bare"));
    let deny = RIGHT.replacen("Allow", "Deny", 1);
    world.role("shut", &deny);
    sandbox.plant(account, RoleSeed::new("homeless").policy(POLICY, RIGHT));
    world.manifest("all", "roles: [wide, bare, shut, homeless]");
    world.manifest("released", "roles: [gone]");
    let mut running = world.run(&[]);
    running.event("drift.repaired", 2).await;
    running.event("drift.blocked", 1).await;
    running.event("session.not_ready", 1).await;
    world.manifest("released", "roles: [other]");
    running.event("policy.orphaned", 1).await;
    world.save("broken.yaml", "kind: [");
    running.event("manifest.rejected", 1).await;
    let settings = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: controller}\nspec: {resyncInterval: 1s, guards: {maxChangesPerHour: 0}}\n";
    world.save("controller.yaml", settings);
    sandbox.remove_policy(account, "wide", POLICY);
    running.event("guard.held", 1).await;
    world.save("controller.yaml", &settings.replace("resync", "suspend: true, resync"));
    running.event("controller.suspended", 1).await;
    sandbox.fault(Fault::new(Effect::Deny));
    running.event("read.failed", 1).await;
    let lines = running.stop().await.err;

    let mut seen = BTreeMap::<String, Vec<Value>>::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        seen.entry(line["event"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    let catalogue: BTreeSet<&str> = EventName::ALL.iter().map(|event| event.as_str()).collect();
    let drifts = ["missing", "narrowed", "widened", "altered"];
    let (mut checked, mut unseen) = (BTreeSet::new(), BTreeSet::new());
    for path in ["deploy/cloudwatch/alarms.yaml", "deploy/loki/rules.yaml"] {
        let all = asked_of_lines(path);
        assert!(all.len() >= 13, "{path}");
        for fields in all {
            for event in &fields["event"] {
                assert!(catalogue.contains(event.as_str()), "{path}: no event is called {event}");
                let Some(lines) = seen.get(event) else {
                    unseen.insert(event.clone());
                    continue;
                };
                checked.insert(event.clone());
                for (field, words) in &fields {
                    let has = |line: &Value| !line[field].is_null();
                    assert!(lines.iter().any(has), "{path}: no line of {event} has {field}: {lines:?}");
                    if field == "drift" {
                        assert!(words.iter().all(|word| drifts.contains(&word.as_str())), "{path}: {words:?}");
                    }
                }
            }
        }
    }
    // Their lines were not made here: a day would have to pass, a disk to fail, a role not to be assumed, and so on.
    let rest = ["account.not_entered", "account.suspended", "canary.failed", "drift.changed", "drift.standing"];
    let rest = rest.into_iter().chain(["ledger.failed", "manifests.vanished", "policy.contended", "session.standing"]);
    assert!(unseen.is_subset(&rest.map(str::to_owned).collect()), "{unseen:?}");
    let made = ["controller.suspended", "drift.blocked", "drift.detected", "drift.repaired", "guard.held"];
    let made = made.into_iter().chain(["manifest.rejected", "policy.orphaned", "read.failed", "session.not_ready"]);
    assert_eq!(checked, made.map(str::to_owned).collect());
}
