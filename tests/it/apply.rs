//! `apply`, by the real process against moto: one pass that repairs what it may, and nothing else.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    process::Finished,
    world::{POLICY, World, and, documented, reworded, settings, with_key, without_key},
};

/// The documents of every role's inline policies, by boto3.
fn inline_policies(world: &World) -> Value {
    let roles = world.dump()["RoleDetailList"].as_array().unwrap().clone();
    let of = |role: &Value| (role["RoleName"].as_str().unwrap().to_owned(), role["RolePolicyList"].clone());
    roles.iter().map(of).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn it_repairs_every_drift_and_a_second_one_writes_nothing() {
    let world = World::new();
    world.manifest("fleet", &with_key("roles: [right, missing, narrowed, widened, altered, cosmetic]"));
    world.node("missing");
    for (role, document) in [
        ("right", documented()),
        ("narrowed", without_key()),
        ("widened", and(documented(), "Allow", "ssm:StartSession")),
        ("altered", and(without_key(), "Allow", "s3:*")),
        ("cosmetic", reworded()),
    ] {
        world.node_with(role, &document);
    }
    let finished = world.run(&["apply"]).exits(0);
    assert!(finished.stdout.ends_with("4 policies were written\n"), "{finished:?}");
    for role in ["right", "missing", "narrowed", "widened", "altered"] {
        assert_eq!(world.document(role), Some(documented()), "{role}");
    }
    assert_eq!(world.document("cosmetic"), Some(reworded()), "the same meaning is never written over");

    let before = world.dump();
    let finished = world.run(&["apply"]).exits(0);
    assert!(finished.stdout.ends_with("nothing was written\n"), "{finished:?}");
    assert_eq!(finished.stderr, "", "nothing to tell");
    assert_eq!(world.dump(), before);
    let (planned, plan) = world.plan(&[]);
    planned.exits(0);
    assert_eq!(plan["summary"]["inSync"], 5);
}

#[test]
fn it_asks_an_account_no_faster_than_it_is_told_to() {
    let world = World::new();
    let names = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    world.manifest("fleet", &with_key(&format!("roles: [{}]", names.join(", "))));
    names.iter().for_each(|name| world.node_with(name, &without_key()));
    let begun = Instant::now();
    // One write a second, after a burst of five.
    let finished = world.run(&["apply", "--requests-per-second", "1"]).exits(0);
    assert!(finished.stdout.ends_with("8 policies were written\n"), "{finished:?}");
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    for bad in ["0", "-1", "1.5", "100001", "many"] {
        world.run(&["apply", &format!("--requests-per-second={bad}")]).exits(1);
    }
}

#[test]
fn each_repair_is_told_on_standard_error_with_the_way_back() {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web]"));
    world.node_with("web", &without_key());
    let finished = world.run(&["apply"]).exits(0);
    let events: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    // The key is of another account, whose own policy is not enough.
    assert_eq!(names, ["drift.detected", "session.not_ready", "drift.repaired", "session.ready"]);
    let repaired = &events[2];
    let replaced: Value = serde_json::from_str(repaired["replaced"].as_str().unwrap()).unwrap();
    assert_eq!(replaced, without_key());
    world.shell(repaired["undo"].as_str().unwrap()).exits(0);
    assert_eq!(world.document("web"), Some(without_key()));
}

#[test]
fn what_is_observed_or_suspended_is_left_and_no_failure() {
    let world = World::new();
    world.manifest("watched", "roles: [watched], mode: observe");
    world.manifest("alone", "roles: [alone], suspend: true");
    world.role("watched");
    world.role("alone");
    let before = world.dump();
    let finished = world.run(&["apply"]).exits(0);
    assert!(finished.stdout.contains("missing, only told") && finished.stdout.ends_with("nothing was written\n"));
    assert_eq!(world.dump(), before);
}

#[test]
fn the_observe_option_lets_nothing_be_written() {
    let world = World::new();
    world.manifest("web", "roles: [web], mode: enforce");
    world.role("web");
    let before = world.dump();
    world.run(&["--observe", "apply"]).exits(0);
    world.run(&["apply", "--observe"]).exits(0);
    assert_eq!(world.dump(), before);
}

#[test]
fn one_blocked_role_fails_it_and_holds_up_no_other() {
    let world = World::new();
    world.manifest("fleet", &with_key("roles: [a-denies, b-ghost, c-web, d-foreign, e-missing]"));
    let denies = and(documented(), "Deny", "ssm:SendCommand");
    world.role_with("a-denies", &denies);
    world.role_with("c-web", &without_key());
    let foreign = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]});
    world.role_with("d-foreign", &foreign);
    world.role("e-missing");
    let finished = world.run(&["apply"]).exits(1);
    for said in ["DeniesPresent: ", "RoleNotFound: ", "ForeignPolicy: ", "2 policies were written\n"] {
        assert!(finished.stdout.contains(said), "{said}: {finished:?}");
    }
    assert_eq!(world.document("a-denies"), Some(denies));
    assert_eq!(world.document("d-foreign"), Some(foreign));
    assert_eq!(world.document("c-web"), Some(documented()));

    // Where all that is left is a role that is only to be watched, the same state is no failure.
    world.manifest("fleet", &with_key("roles: [a-denies], mode: observe"));
    world.run(&["apply"]).exits(0);
}

#[test]
fn a_role_that_aws_protects_fails_it_and_the_others_are_repaired() {
    let world = World::new();
    world.manifest("fleet", "roles: [service, web]");
    world.role("web");
    let trust = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    let path = "/aws-service-role/ssm.amazonaws.com/";
    world.boto("create_role", json!({"RoleName": "service", "Path": path, "AssumeRolePolicyDocument": trust}));
    let finished = world.run(&["apply"]).exits(1);
    assert!(finished.stdout.contains("ProtectedRole: "), "{finished:?}");
    assert!(finished.stdout.ends_with("1 policy was written\n"), "{finished:?}");
    assert_eq!(world.document("service"), None);
    assert!(world.document("web").is_some());
}

#[test]
fn what_no_manifest_names_is_never_touched() {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web]"));
    let other = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    world.role("web");
    world.put_as("web", "Another", &other);
    world.role_with("unmanaged", &other);
    world.put_as("unmanaged", "Another", &other);
    let before = inline_policies(&world);
    world.run(&["apply"]).exits(0);
    let mut after = inline_policies(&world);
    assert_eq!(world.document("web"), Some(documented()));
    after["web"].as_array_mut().unwrap().retain(|policy| policy["PolicyName"] != POLICY);
    assert_eq!(after, before);
}

#[test]
fn the_role_filter_keeps_it_to_that_role() {
    let world = World::new();
    world.manifest("fleet", "roles: [web, other, ghost]");
    world.role("web");
    world.role("other");
    world.run(&["apply", "--role", "WEB"]).exits(0);
    assert!(world.document("web").is_some());
    assert_eq!(world.document("other"), None);
    world.run(&["apply", "--role", "nobody"]).exits(1);
}

#[test]
fn the_kill_switch_outside_of_the_tree_stops_every_write_and_a_second_one_in_the_tree_is_a_fault() {
    let world = World::new();
    world.manifest("web", "roles: [web]");
    world.role("web");
    world.write("settings.yaml", &settings("suspend: true"));
    let before = world.dump();
    let finished = world.run(&["--controller-config", "settings.yaml", "apply"]).exits(0);
    assert!(finished.stdout.contains("Suspended: ") && finished.stdout.ends_with("nothing was written\n"));
    assert!(finished.stderr.contains("controller.suspended"), "{finished:?}");
    let (planned, plan) = world.plan(&["--controller-config", "settings.yaml"]);
    planned.exits(0);
    assert_eq!(plan["steps"][0]["reason"], "Suspended");

    world.settings("suspend: false");
    for command in ["apply", "plan", "validate", "render"] {
        let finished = world.run(&[command, "--controller-config", "settings.yaml"]).exits(1);
        assert!(finished.stderr.contains("config/controller.yaml:4:"), "{command}: {finished:?}");
    }
    assert_eq!(world.dump(), before);
}

#[test]
fn without_an_answer_of_sts_nothing_is_written() {
    let world = World::new();
    world.manifest("web", "roles: [web]");
    world.role("web");
    let before = world.dump();
    // No variable names any credentials.
    let mut apply = world.program(&["apply"]);
    for (name, _) in world.keys() {
        apply.env_remove(name);
    }
    let finished = Finished::of(apply.env("AWS_EC2_METADATA_DISABLED", "true")).exits(1);
    assert!(finished.stdout.contains("nothing was written"), "{finished:?}");
    assert!(finished.stderr.contains("there are no AWS credentials"), "{finished:?}");
    assert_eq!(world.dump(), before);
}
