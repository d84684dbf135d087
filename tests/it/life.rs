//! A role's life, by the real process against moto: what each change makes of its sessions, and that it is told.

use serde_json::{Value, json};

use crate::support::world::{World, and, documented, with_key, without_key};

const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";

/// A world with the manifest of one role, `web`, which has a profile and nothing else.
fn born() -> World {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web]"));
    world.role("web");
    world.boto("create_instance_profile", json!({"InstanceProfileName": "web"}));
    world.boto("add_role_to_instance_profile", profile());
    world
}

fn profile() -> Value {
    json!({"InstanceProfileName": "web", "RoleName": "web"})
}

fn attach(world: &World, arn: &str) {
    world.boto("attach_role_policy", json!({"RoleName": "web", "PolicyArn": arn}));
}

fn detach(world: &World, arn: &str) {
    world.boto("detach_role_policy", json!({"RoleName": "web", "PolicyArn": arn}));
}

/// Makes a customer managed policy; its ARN.
fn policy(world: &World, name: &str, statements: Value) -> String {
    let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    let made = world.boto("create_policy", json!({"PolicyName": name, "PolicyDocument": document}));
    made["Policy"]["Arn"].as_str().unwrap().to_owned()
}

/// What `plan` and `explain` say of the role, in one voice: the condition `SessionReady`; and what `explain` says beside it.
#[track_caller]
fn judged(world: &World) -> (Value, Value) {
    let (_, plan) = world.plan(&[]);
    let explained = world.run(&["explain", "-o", "json", "web"]).exits(0).json()[0].take();
    let of = |conditions: &Value| {
        let condition = &conditions[1];
        assert_eq!(condition["type"], "SessionReady");
        json!([condition["status"], condition["reason"], condition["message"]])
    };
    assert_eq!(of(&plan["steps"][0]["conditions"]), of(&explained["conditions"]));
    (of(&explained["conditions"]), explained)
}

#[track_caller]
fn assert_ready(world: &World) {
    let (condition, explained) = judged(world);
    assert_eq!(condition, json!(["True", "Ready", "nothing that IAM tells stands in the way of a session"]));
    assert_eq!(explained["verdict"], "Ready");
    assert!(explained["checks"].as_array().unwrap().iter().all(|check| check["standing"] == "Met"), "{explained}");
    world.run(&["plan", "--require-ready"]).exits(0);
}

/// Not ready for this reason; what stands in the way is said in this many checks alone, and their evidence is this.
#[track_caller]
fn assert_not_ready(world: &World, reason: &str, checks: usize, evidence: &str) {
    let (condition, explained) = judged(world);
    assert_eq!((&condition[0], &condition[1]), (&json!("False"), &json!(reason)), "{condition}");
    assert!(condition[2].as_str().unwrap().contains(evidence), "{condition}");
    assert_eq!(explained["verdict"], "NotReady");
    let all = explained["checks"].as_array().unwrap().iter();
    let unmet: Vec<&Value> = all.filter(|check| check["standing"] != "Met").collect();
    assert_eq!(unmet.len(), checks, "{unmet:#?}");
    for check in unmet {
        assert_eq!((&check["standing"], &check["reason"]), (&json!("Missing"), &json!(reason)), "{check}");
        assert_eq!(check["evidence"], evidence);
        assert!(check["symptom"].is_string() && check["remedy"].is_string(), "{check}");
    }
}

#[test]
fn each_turn_of_a_role_s_life_is_told_by_the_one_fact_that_stands_in_the_way() {
    let world = born();
    let (condition, explained) = judged(&world);
    assert_eq!((&condition[0], &condition[1]), (&json!("False"), &json!("CannotRegister")), "{condition}");
    let standing = |name: &str| {
        let checks = explained["checks"].as_array().unwrap().iter();
        checks.filter(|check| check["check"] == name).map(|check| check["standing"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(standing("Registration"), ["Missing"]);
    assert_eq!(standing("Channels"), ["Missing"; 4]);
    assert_eq!(standing("SessionKey"), ["Missing"], "the key is another account's");
    assert_eq!(standing("EncryptionCheck"), ["Unknown"]);

    world.run(&["apply"]).exits(0);
    assert_eq!(world.document("web"), Some(documented()));
    assert_not_ready(&world, "CannotRegister", 1, "no policy of the role grants it");
    world.run(&["plan"]).exits(0);
    world.run(&["plan", "--require-ready"]).exits(3);

    attach(&world, CORE);
    assert_ready(&world);

    let shut = json!([{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"},
        {"Sid": "Shut", "Effect": "Deny", "Action": "ssmmessages:*", "Resource": "*"}]);
    let guard = policy(&world, "guard", shut);
    attach(&world, &guard);
    let evidence = format!("denied by statement 2 (Shut) of managed policy {guard}");
    assert_not_ready(&world, "ChannelsDenied", 4, &evidence);
    detach(&world, &guard);
    assert_ready(&world);

    let narrow = json!([{"Effect": "Allow", "Action": ["ssm:*", "s3:*", "kms:*"], "Resource": "*"}]);
    let edge = policy(&world, "edge", narrow);
    world.boto("put_role_permissions_boundary", json!({"RoleName": "web", "PermissionsBoundary": edge}));
    assert_not_ready(&world, "ChannelsDenied", 4, &format!("the permissions boundary {edge} does not allow it"));
    world.boto("delete_role_permissions_boundary", json!({"RoleName": "web"}));
    assert_ready(&world);

    world.boto("remove_role_from_instance_profile", profile());
    assert_not_ready(&world, "NoInstanceProfile", 1, "no instance profile holds the role");
    world.boto("add_role_to_instance_profile", profile());
    assert_ready(&world);
}

#[test]
fn the_daemon_tells_once_that_a_session_would_not_work_any_more_and_once_that_it_would_again() {
    let world = born();
    world.settings("resyncInterval: 1s");
    world.manifest("other", &with_key("roles: [other]"));
    world.put("web", &documented());
    world.role_with("other", &documented());
    attach(&world, CORE);
    let daemon = world.daemon(&[]);
    // Passes go by: each of these repairs takes at least one.
    let mut tamperings = ["s3:*", "sqs:*", "sns:*"].map(|action| and(without_key(), "Allow", action)).into_iter();
    let mut passes = || {
        world.put("other", &tamperings.next().unwrap());
        daemon.take("drift.repaired", "other");
    };
    passes();
    assert_eq!(daemon.count("session.not_ready", "web") + daemon.count("session.ready", "web"), 0);

    detach(&world, CORE);
    let told = daemon.take("session.not_ready", "web");
    assert_eq!((&told["level"], &told["reason"]), (&json!("WARN"), &json!("CannotRegister")), "{told}");
    assert!(told["message"].as_str().unwrap().contains("no policy of the role grants it"), "{told}");
    assert!(told["hint"].as_str().unwrap().contains("explain web"), "{told}");
    passes();

    attach(&world, CORE);
    let told = daemon.take("session.ready", "web");
    assert_eq!((&told["level"], &told["reason"]), (&json!("INFO"), &Value::Null), "{told}");
    passes();
    let events = daemon.stop("TERM");
    let about_web = events.iter().filter(|event| event["role"] == "web").map(|event| &event["event"]);
    assert_eq!(about_web.collect::<Vec<_>>(), ["session.not_ready", "session.ready"]);
}
