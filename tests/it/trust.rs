//! What keeps from harm, end to end: the real process against moto, with drift made and read back by boto3.

use std::{collections::BTreeSet, fs, sync::Arc};

use serde_json::{Value, json};

use crate::support::{
    moto::Moto,
    process::Daemon,
    world::{POLICY, World, and, documented, settings, with_key, without_key},
};

const FOUR: [&str; 4] = ["a", "b", "c", "d"];

/// An account with these roles, without their policy, and a manifest that asks for it.
fn fleet(roles: &[&str], spec: &str) -> World {
    fleet_in(World::new(), roles, spec)
}

fn fleet_in(world: World, roles: &[&str], spec: &str) -> World {
    for role in roles {
        world.role(role);
    }
    world.settings(spec);
    world.manifest("fleet", &with_key(&format!("roles: [{}]", roles.join(", "))));
    world
}

fn names(world: &World, role: &str) -> Value {
    world.boto("list_role_policies", json!({"RoleName": role}))["PolicyNames"].take()
}

/// The daemon, with readings every second.
fn watched(world: &World, spec: &str) -> Daemon {
    world.settings(&format!("resyncInterval: 1s{spec}"));
    world.daemon(&[])
}

#[test]
fn a_plan_beyond_the_guards_is_held_and_carried_out_by_its_digest_alone() {
    let world = fleet(&FOUR, "guards: {maxChangesPerHour: 3}");
    let before = world.dump();
    let daemon = watched(&world, ", guards: {maxChangesPerHour: 3}");
    let held = daemon.take("guard.held", "");
    let digest = held["digest"].as_str().unwrap().to_owned();
    assert_eq!(world.dump(), before, "nothing of it is written");

    let (planned, plan) = world.plan(&[]);
    planned.exits(2);
    assert_eq!((plan["digest"].as_str(), plan["held"].is_string()), (Some(digest.as_str()), true));
    assert!(plan["steps"].as_array().unwrap().iter().all(|step| step["reason"] == "GuardHeld"));
    let refused = world.run(&["apply"]).exits(1);
    assert!(refused.stderr.contains(&format!("apply --approve {digest}")), "{refused:?}");
    assert_eq!(world.dump(), before);

    world.put("b", &without_key());
    let void = world.run(&["apply", "--approve", &digest]).exits(1);
    assert!(void.stderr.contains("the approval is void"), "{void:?}");
    assert_eq!(world.document("a"), None);
    world.boto("delete_role_policy", json!({"RoleName": "b", "PolicyName": POLICY}));

    let approved = world.run(&["apply", "--approve", &digest]).exits(0);
    assert!(approved.stdout.ends_with("4 policies were written\n"), "{approved:?}");
    for role in FOUR {
        assert_eq!(world.document(role), Some(documented()), "{role}");
    }
    daemon.take("guard.released", "");
    daemon.stop("TERM");
    world.run(&["apply", "--approve", &digest]).exits(1);
}

#[test]
fn removals_and_the_share_of_roles_have_bounds_of_their_own() {
    let world = fleet(&FOUR, "guards: {maxDeletesPerHour: 3}");
    for role in FOUR {
        world.put(role, &documented());
    }
    world.manifest("fleet", &with_key("roles: [a, b, c, d], state: absent"));
    let (planned, plan) = world.plan(&[]);
    planned.exits(2);
    assert!(plan["held"].as_str().unwrap().contains("maxDeletesPerHour"), "{plan}");
    world.run(&["apply"]).exits(1);
    assert_eq!(names(&world, "a"), json!([POLICY]));
    world.settings("guards: {maxDeletesPerHour: 4}");
    world.run(&["apply"]).exits(0);
    assert!(FOUR.iter().all(|role| world.document(role).is_none()));

    // Names to which there is no role add nothing to those that a share is a share of.
    world.manifest("fleet", &with_key("roles: [a, b, c, d]"));
    let ghosts: Vec<String> = (0..8).map(|number| format!("ghost-{number}")).collect();
    world.manifest("ghosts", &format!("roles: [{}], mode: observe", ghosts.join(", ")));
    world.settings("guards: {maxChangePercent: 50}");
    let (_, plan) = world.plan(&[]);
    assert!(plan["held"].as_str().unwrap().contains("maxChangePercent"), "{plan}");
    world.run(&["apply"]).exits(1);
    assert_eq!(world.document("a"), None);
    world.settings("guards: {maxChangePercent: 100}");
    world.run(&["apply"]);
    assert!(FOUR.iter().all(|role| world.document(role) == Some(documented())));
}

#[test]
fn an_approval_takes_no_filter_and_no_nonsense() {
    let world = fleet(&["a"], "");
    world.run(&["apply", "--approve", "abc"]).exits(1);
    world.run(&["apply", "--approve", &"0".repeat(64), "--role", "a"]).exits(1);
    assert_eq!(world.document("a"), None);
}

#[test]
fn the_limits_are_a_ceiling_that_manifests_cannot_lift() {
    let world = fleet(&["inside"], "");
    fs::remove_file(world.at("config/controller.yaml")).unwrap();
    world.write("operator.yaml", &settings("limits: {kmsKeyArns: [\"arn:aws:kms:*:444455556666:key/*\"]}"));
    let config = ["--controller-config", "operator.yaml"];
    let refused = world.run(&[&["apply"], &config[..]].concat()).exits(1);
    assert!(refused.stderr.contains("config/fleet.yaml:") && refused.stderr.contains("kmsKeyArns"), "{refused:?}");
    world.manifest("lift", "limits: {}");
    world.run(&[&["apply"], &config[..]].concat()).exits(1);
    fs::remove_file(world.at("config/lift.yaml")).unwrap();
    assert_eq!(world.document("inside"), None);

    world.write("operator.yaml", &settings("limits: {rolePathPrefixes: [/fleet/]}"));
    let (planned, plan) = world.plan(&config);
    planned.exits(2);
    assert_eq!(
        (&plan["steps"][0]["action"], &plan["steps"][0]["reason"]),
        (&json!("blocked"), &json!("OutsideLimits"))
    );
    world.run(&[&["apply"], &config[..]].concat()).exits(1);
    assert_eq!(world.document("inside"), None);
}

#[test]
fn tightened_limits_stop_the_daemon_from_writing_at_once() {
    let world = fleet(&["web"], "");
    let daemon = watched(&world, "");
    daemon.take("drift.repaired", "web");
    world.settings("resyncInterval: 1s, limits: {kmsKeyArns: []}");
    daemon.take("drift.blocked", "web");
    world.put("web", &without_key());
    daemon.take("drift.detected", "web");
    assert_eq!(world.document("web"), Some(without_key()));
    daemon.stop("TERM");
}

#[test]
fn a_tag_stops_every_write_to_its_role() {
    let world = fleet(&["web", "other"], "");
    let tag = json!([{"Key": "ssm-role-controller.dev/suspend", "Value": "incident 42"}]);
    world.boto("tag_role", json!({"RoleName": "web", "Tags": tag}));
    let daemon = watched(&world, "");
    assert_eq!(daemon.take("role.suspended", "web")["reason"], "SuspendTag");
    daemon.take("drift.repaired", "other");
    assert_eq!(world.document("web"), None);
    world.boto("untag_role", json!({"RoleName": "web", "TagKeys": ["ssm-role-controller.dev/suspend"]}));
    daemon.take("role.resumed", "web");
    daemon.take("drift.repaired", "web");
    daemon.stop("TERM");
    assert_eq!(world.document("web"), Some(documented()));
}

#[test]
fn an_absent_policy_is_removed_where_it_is_ours_and_left_where_it_is_not() {
    let world = fleet(&["ours", "theirs"], "");
    world.put("ours", &documented());
    world.put("theirs", &and(documented(), "Allow", "s3:GetObject"));
    world.put_as("ours", "Other", &without_key());
    world.manifest("fleet", &with_key("roles: [ours, theirs], state: absent"));
    let (planned, plan) = world.plan(&[]);
    planned.exits(2);
    let action = |at: usize| (plan["steps"][at]["action"].clone(), plan["steps"][at]["reason"].clone());
    assert_eq!(action(0), (json!("delete"), Value::Null));
    assert_eq!(action(1), (json!("blocked"), json!("DocumentDiffers")));

    let applied = world.run(&["apply"]).exits(1);
    assert!(applied.stderr.contains("policy.removed") && applied.stderr.contains("DocumentDiffers"), "{applied:?}");
    assert_eq!((names(&world, "ours"), names(&world, "theirs")), (json!(["Other"]), json!([POLICY])));
    let removed = applied.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let undo = removed.into_iter().find(|event| event["event"] == "policy.removed").unwrap();
    world.shell(undo["undo"].as_str().unwrap()).exits(0);
    assert_eq!(world.document("ours"), Some(documented()), "the line in `undo` puts it back");
}

#[test]
fn a_changed_policy_name_moves_the_policy_without_a_moment_without_it() {
    let world = fleet(&["web"], "");
    let daemon = watched(&world, "");
    daemon.take("drift.repaired", "web");
    world.manifest("fleet", &with_key("roles: [web], policyName: Sessions"));
    daemon.take("drift.repaired", "web");
    let removed = daemon.take("policy.removed", "web");
    assert_eq!(removed["policy"], POLICY);
    assert_eq!(names(&world, "web"), json!(["Sessions"]));
    daemon.stop("TERM");
}

#[test]
fn the_remedy_of_an_orphan_removes_it() {
    let world = fleet(&["kept", "left"], "");
    let daemon = watched(&world, "");
    daemon.take("drift.repaired", "left");
    daemon.take("drift.repaired", "kept");
    world.manifest("fleet", &with_key("roles: [kept]"));
    let orphan = daemon.take("policy.orphaned", "left");
    assert_eq!(world.document("left"), Some(documented()));
    world.write("config/remedy.yaml", orphan["remedy"].as_str().unwrap());
    daemon.take("policy.removed", "left");
    assert_eq!((world.document("left"), world.document("kept")), (None, Some(documented())));
    daemon.stop("TERM");
}

#[test]
fn who_undoes_every_repair_is_told_of_and_the_repairs_back_off() {
    let world = fleet(&["web"], "");
    let daemon = watched(&world, "");
    for _ in 0..3 {
        daemon.take("drift.repaired", "web");
        world.boto("delete_role_policy", json!({"RoleName": "web", "PolicyName": POLICY}));
    }
    let contended = daemon.take("policy.contended", "web");
    assert!(contended["message"].as_str().unwrap().contains("repaired 3 times in the last"), "{contended}");
    assert_eq!(world.document("web"), None);
    daemon.stop("TERM");
}

#[test]
fn several_roles_are_repaired_and_each_is_told() {
    let world = fleet(&FOUR, "");
    let applied = world.run(&["apply"]).exits(0);
    let repaired: BTreeSet<String> = applied
        .stderr
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "drift.repaired")
        .map(|event| event["role"].as_str().unwrap().to_owned())
        .collect();
    assert!(repaired.iter().eq(FOUR), "{repaired:?}");
}

#[test]
fn of_several_writes_the_first_is_read_back_before_the_rest() {
    let moto = Arc::new(Moto::recording());
    let world = fleet_in(World::on(Arc::clone(&moto), "210000009999"), &FOUR, "");
    world.run(&["apply"]).exits(0);
    assert!(FOUR.iter().all(|role| world.document(role) == Some(documented())));
    let calls: Vec<_> = moto.calls().into_iter().filter(|(_, role)| !role.is_empty()).collect();
    let first = calls[0].1.clone();
    let of_first = ["GetRolePolicy", "PutRolePolicy", "GetRolePolicy"].map(|name| (name.to_owned(), first.clone()));
    assert_eq!(calls[..3], of_first, "{calls:?}");
    assert_eq!(calls.iter().filter(|(operation, _)| operation == "PutRolePolicy").count(), 4);
}
