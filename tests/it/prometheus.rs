//! What is in deploy/prometheus, deploy/cloudwatch and deploy/loki.
//!
//! ```text
//! prometheus.rs  the rules and the dashboard, by promtool's own judgement; the runbook that they lead to
//! metrics.rs     every name in them, by what the daemon exports
//! server.rs      a real Prometheus that scrapes the real daemon
//! lines.rs       what CloudWatch and Loki ask of the log, by real lines of it
//! ```

mod lines;
mod metrics;
mod server;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

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
