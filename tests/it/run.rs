//! `run`, the daemon, by the real process against moto: real files, real drift, real repairs.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    process::Finished,
    world::{KEY, POLICY, World, and, documented, manifest, settings, with_key, without_key},
};

/// A world that is looked at every second.
fn watched() -> World {
    let world = World::new();
    world.settings("resyncInterval: 1s");
    world
}

fn delete(world: &World, role: &str) {
    world.aws(&["iam", "delete-role-policy", "--role-name", role, "--policy-name", POLICY]);
}

/// Documents that are not [`documented`], each another one: what a write replaced is taken for an old reading if it comes
/// back at once, and waited for.
fn tamperings() -> [Value; 2] {
    ["s3:*", "sqs:*"].map(|action| and(without_key(), "Allow", action))
}

#[test]
fn drift_made_with_the_aws_cli_is_told_repaired_and_can_be_put_back() {
    let world = watched();
    world.manifest("web", &with_key("roles: [web]"));
    world.role_with("web", &documented());
    let daemon = world.daemon(&[]);
    daemon.take("controller.started", "");

    world.write("widened.json", &and(without_key(), "Allow", "s3:*").to_string());
    let file = format!("file://{}", world.at("widened.json").display());
    world.aws(&["iam", "put-role-policy", "--role-name", "web", "--policy-name", POLICY, "--policy-document", &file]);
    let told = daemon.take("drift.detected", "web");
    for (field, value) in [
        ("level", "WARN"),
        ("account", &*world.account),
        ("policy", POLICY),
        ("mode", "enforce"),
        ("drift", "altered"),
        ("manifest", "web"),
        ("gained", "Allow s3:* on *"),
        ("lost", &format!("Allow kms:Decrypt on {KEY}")),
    ] {
        assert_eq!(told[field], value, "{told}");
    }
    assert!(told["message"].as_str().unwrap().starts_with("ACCESS and SECURITY: role web in account "), "{told}");

    let repaired = daemon.take("drift.repaired", "web");
    assert_eq!(world.document("web"), Some(documented()));
    let replaced: Value = serde_json::from_str(repaired["replaced"].as_str().unwrap()).unwrap();
    assert_eq!(replaced, and(without_key(), "Allow", "s3:*"));
    assert!(repaired["seen_for_seconds"].as_f64().unwrap() >= 0.0, "{repaired}");
    assert_eq!((&repaired["drift"], &repaired["mode"]), (&json!("altered"), &json!("enforce")));

    // A policy that is taken away is another drift, in other words; its way back is to take it away.
    delete(&world, "web");
    let told = daemon.take("drift.detected", "web");
    assert_eq!((&told["drift"], &told["gained"]), (&json!("missing"), &Value::Null));
    assert!(told["message"].as_str().unwrap().starts_with("ACCESS: "), "{told}");
    let again = daemon.take("drift.repaired", "web");
    assert_eq!(again["replaced"], "");
    assert_eq!(world.document("web"), Some(documented()));

    let events = daemon.stop("TERM");
    let told = |name| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((told("drift.detected"), told("drift.repaired"), told("drift.ended")), (2, 2, 0), "once each");

    world.shell(repaired["undo"].as_str().unwrap()).exits(0);
    assert_eq!(world.document("web"), Some(and(without_key(), "Allow", "s3:*")));
    world.shell(again["undo"].as_str().unwrap()).exits(0);
    assert_eq!(world.document("web"), None);
}

#[test]
fn what_only_is_watched_is_told_once_and_again_only_when_it_changes_or_ends() {
    let world = watched();
    world.manifest("watched", &with_key("roles: [watched], mode: observe"));
    world.manifest("web", &with_key("roles: [web]"));
    world.role_with("watched", &and(documented(), "Allow", "ssm:StartSession"));
    world.role_with("web", &documented());
    let daemon = world.daemon(&[]);
    let told = daemon.take("drift.detected", "watched");
    assert_eq!((&told["mode"], &told["reason"]), (&json!("observe"), &json!("ObserveMode")));
    assert!(told["message"].as_str().unwrap().starts_with("SECURITY: "), "{told}");

    // Passes go by: each of these repairs takes at least one.
    for tampering in tamperings() {
        world.put("web", &tampering);
        daemon.take("drift.repaired", "web");
    }
    assert_eq!(daemon.count("drift.detected", "watched"), 1);

    world.put("watched", &without_key());
    assert_eq!(daemon.take("drift.changed", "watched")["drift"], "narrowed");
    world.put("watched", &documented());
    assert_eq!(daemon.take("drift.ended", "watched")["drift"], "narrowed");
    let events = daemon.stop("TERM");
    let told = |of: &str| {
        let is_told = |event: &&Value| event["role"] == "watched" && event["event"].as_str().unwrap().starts_with(of);
        events.iter().filter(is_told).count()
    };
    assert_eq!((told("drift."), told("session."), told("")), (3, 1, 4), "{events:#?}");
}

#[test]
fn a_manifest_that_is_edited_added_or_deleted_takes_effect() {
    let world = World::new();
    world.manifest("web", "roles: [web]");
    world.role_with("web", &without_key());
    world.role("added");
    let daemon = world.daemon(&[]);
    daemon.take("manifest.accepted", "config/web.yaml");

    // The resync is a minute away: only the files can bring these.
    world.manifest("web", &with_key("roles: [web]"));
    assert_eq!(daemon.take("drift.repaired", "web")["lost"], format!("Allow kms:Decrypt on {KEY}"));
    assert_eq!(world.document("web"), Some(documented()));
    daemon.take("manifest.accepted", "config/web.yaml");

    world.manifest("added", &with_key("roles: [added]"));
    daemon.take("manifest.accepted", "config/added.yaml");
    daemon.take("drift.repaired", "added");
    assert_eq!(world.document("added"), Some(documented()));

    let before = world.dump();
    fs::remove_file(world.at("config/added.yaml")).unwrap();
    daemon.take("manifest.removed", "config/added.yaml");
    daemon.take("role.released", "added");
    let orphan = daemon.take("policy.orphaned", "added");
    assert!(orphan["hint"].as_str().unwrap().contains("aws iam delete-role-policy"), "{orphan}");
    daemon.stop("TERM");
    assert_eq!(world.dump(), before, "what is released is left as it is");
}

#[test]
fn a_broken_save_is_told_once_and_the_last_good_version_stays_in_force() {
    let world = watched();
    world.manifest("web", &with_key("roles: [web]"));
    world.role_with("web", &documented());
    let daemon = world.daemon(&[]);
    daemon.take("manifest.accepted", "config/web.yaml");

    world.manifest("web", "roles: [web], mod: observe");
    let rejected = daemon.take("manifest.rejected", "config/web.yaml");
    assert_eq!(
        (&rejected["line"], &rejected["column"], &rejected["path"]),
        (&json!(5), &json!(22), &json!("spec.mod"))
    );
    let message = rejected["message"].as_str().unwrap();
    assert!(message.starts_with("config/web.yaml:5:22: "), "{message}");
    assert!(message.ends_with("its last good version stays in force"), "{message}");
    assert!(rejected["hint"].as_str().unwrap().contains("`mode`"), "{rejected}");

    for tampering in tamperings() {
        world.put("web", &tampering);
        daemon.take("drift.repaired", "web");
        assert_eq!(world.document("web"), Some(documented()));
    }
    assert_eq!(daemon.count("manifest.rejected", "config/web.yaml"), 1);

    world.manifest("web", "roles: [web]");
    daemon.take("manifest.accepted", "config/web.yaml");
    daemon.take("drift.repaired", "web");
    assert_eq!(world.document("web"), Some(without_key()));
    daemon.stop("TERM");
}

#[test]
fn a_role_that_is_made_later_is_found_and_given_its_policy() {
    let world = watched();
    world.manifest("web", &with_key("roles: [late]"));
    let daemon = world.daemon(&[]);
    daemon.take("role.not_found", "late");
    world.role("late");
    daemon.take("role.found", "late");
    daemon.take("drift.repaired", "late");
    assert_eq!(world.document("late"), Some(documented()));
    let events = daemon.stop("INT");
    assert_eq!(events.iter().filter(|event| event["event"] == "role.not_found").count(), 1);
}

#[test]
fn a_blocked_role_is_told_once_with_what_to_do_and_taken_over_when_the_way_is_free() {
    let world = watched();
    world.manifest("web", &with_key("roles: [web, other]"));
    let shut = and(without_key(), "Deny", "ssm:SendCommand");
    world.role_with("web", &shut);
    world.role_with("other", &documented());
    let daemon = world.daemon(&[]);
    let blocked = daemon.take("drift.blocked", "web");
    assert_eq!(blocked["reason"], "DeniesPresent");
    assert!(blocked["hint"].is_string(), "{blocked}");
    for tampering in tamperings() {
        world.put("other", &tampering);
        daemon.take("drift.repaired", "other");
    }
    assert_eq!((daemon.count("drift.blocked", "web"), daemon.count("drift.detected", "web")), (1, 1));
    assert_eq!(world.document("web"), Some(shut));
    world.put("web", &without_key());
    daemon.take("drift.repaired", "web");
    assert_eq!(world.document("web"), Some(documented()));
    daemon.stop("TERM");
}

#[test]
fn the_kill_switch_can_be_thrown_and_taken_back_while_it_runs() {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web]"));
    world.role("web");
    world.write("settings.yaml", &settings("suspend: true, resyncInterval: 1s"));
    let daemon = world.daemon(&["--controller-config", "settings.yaml"]);
    daemon.take("controller.suspended", "");
    assert_eq!(world.document("web"), None);
    world.write("settings.yaml", &settings("suspend: false, resyncInterval: 1s"));
    daemon.take("controller.resumed", "");
    daemon.take("drift.repaired", "web");
    world.write("settings.yaml", &settings("suspend: true, resyncInterval: 1s"));
    daemon.take("controller.suspended", "");
    delete(&world, "web");
    // One in the tree is a fault while another is given; and that it is told shows that the daemon is well.
    world.settings("suspend: false");
    daemon.take("manifest.rejected", "config/controller.yaml");
    let events = daemon.stop("TERM");
    assert_eq!(world.document("web"), None);
    assert_eq!(events.iter().filter(|event| event["event"] == "drift.repaired").count(), 1);
}

#[test]
fn with_the_observe_option_it_tells_everything_and_writes_nothing() {
    let world = watched();
    world.manifest("web", &with_key("roles: [web, other], mode: enforce"));
    world.role_with("web", &without_key());
    world.role_with("other", &documented());
    let daemon = world.daemon(&["--observe"]);
    assert_eq!(daemon.take("drift.detected", "web")["mode"], "observe");
    world.put("other", &without_key());
    let before = world.dump();
    assert_eq!(daemon.take("drift.detected", "other")["reason"], "ObserveMode");
    world.put("other", &documented());
    daemon.take("drift.ended", "other");
    world.put("other", &without_key());
    daemon.take("drift.detected", "other");
    daemon.stop("INT");
    assert_eq!(world.dump(), before);
}

#[test]
fn it_starts_with_what_is_good_and_says_what_is_not_in_force() {
    let world = World::new();
    world.manifest("good", &with_key("roles: [web]"));
    world.manifest("wrong", "roles: [web], mode: maybe");
    world.role("web");
    let daemon = world.daemon(&[]);
    let rejected = daemon.take("manifest.rejected", "config/wrong.yaml");
    assert!(rejected["message"].as_str().unwrap().ends_with("nothing of this file is in force"), "{rejected}");
    daemon.take("drift.repaired", "web");
    daemon.stop("TERM");
}

#[test]
fn it_refuses_to_start_where_nothing_is_good_or_the_settings_are_faulty() {
    let world = World::new();
    world.manifest("wrong", "roles: []");
    let finished = world.run(&["run"]).exits(1);
    assert!(finished.stderr.contains("error: no manifest is good\nhint: "), "{finished:?}");
    world.manifest("web", "roles: [web]");
    world.settings("resyncInterval: never");
    let finished = world.run(&["run"]).exits(1);
    assert!(finished.stderr.contains("error: the ControllerConfiguration has a fault"), "{finished:?}");
    assert_eq!(finished.stdout, "");
}

#[test]
fn logs_for_people_are_sentences_with_the_next_step() {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web]"));
    world.role_with("web", &without_key());
    // `apply` ends by itself, and tells by the same means.
    let Finished { stderr, .. } = world.run(&["apply", "--log-format", "text"]).exits(0);
    let said: Vec<&str> = stderr.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    let account = &world.account;
    assert_eq!(
        said[0],
        format!(
            " WARN drift.detected ACCESS: role web in account {account} has lost what Session Manager needs from {POLICY}: \
             Allow kms:Decrypt on {KEY}; it is being repaired"
        )
    );
    let not_ready = format!(
        " WARN session.not_ready role web in account {account} does not let sessions work as its manifest asks: "
    );
    assert!(said[1].starts_with(&not_ready), "{stderr}");
    assert!(said[1].ends_with("; hint: `explain web` shows every check, and what would mend it"), "{stderr}");
    assert!(said[2].starts_with(" INFO drift.repaired role web "), "{stderr}");
    assert!(said[2].contains("; undo: aws iam put-role-policy --role-name web "), "{stderr}");
}

#[test]
fn one_file_may_hold_several_manifests_and_one_fault_holds_back_all_of_the_file() {
    let world = watched();
    let both = |rest: &str| manifest("one", &with_key("roles: [one]")) + "---\n" + &manifest("two", rest);
    world.write("config/both.yaml", &both(&with_key("roles: [two]")));
    world.role("one");
    world.role("two");
    let daemon = world.daemon(&[]);
    daemon.take("drift.repaired", "one");
    daemon.take("drift.repaired", "two");
    world.write("config/both.yaml", &both("roles: [two], mode: maybe"));
    daemon.take("manifest.rejected", "config/both.yaml");
    delete(&world, "two");
    daemon.take("drift.repaired", "two");
    assert_eq!(world.document("two"), Some(documented()));
    daemon.stop("TERM");
}
