//! Every name in rules, dashboard and documents, by what the real daemon exports; and that by promtool's own judgement.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::Value;
use ssm_role_controller::telemetry::EventName;

use super::{PREFIX, TESTS_OF_RULES, file, tool, words, yaml};
use crate::{
    endpoints::{RIGHT, WIDENED, World, get, port, until},
    support::program::Running,
};

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
