//! What deploy/cloudwatch and deploy/loki ask of lines, by real lines of the daemon's log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use ssm_role_controller::{
    sandbox::{Effect, Fault, RoleSeed},
    telemetry::EventName,
};

use super::{alerts, yaml};
use crate::endpoints::{POLICY, RIGHT, WIDENED, World};

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
