//! Roles by what they are like, by the real process against moto: planned with what has picked them, taken up when they
//! appear, explained where they are not picked.

use serde_json::{Value, json};

use crate::support::world::{POLICY, World, documented, manifest, with_key, without_key};

const FLEET: &str =
    "selector: {pathPrefix: /fleet/, nameLike: \"web-*\", tags: {sessions: enabled}, exclude: [\"*-legacy\"]}";
const EC2: &str = "ec2.amazonaws.com";

/// Makes a role as the selector [`FLEET`] wants it, but for its name, path and trust.
fn make(world: &World, name: &str, path: &str, service: &str) {
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]});
    world.boto(
        "create_role",
        json!({"RoleName": name, "Path": path, "AssumeRolePolicyDocument": trust.to_string(), "Tags": [{"Key": "sessions", "Value": "enabled"}]}),
    );
}

/// An account with roles of all kinds: two are meant.
fn world() -> World {
    let world = World::new();
    for (name, path, service) in [
        ("web-1", "/fleet/", EC2),
        ("web-2", "/fleet/below/", EC2),
        ("web-3-legacy", "/fleet/", EC2),
        ("web-4", "/", EC2),
        ("batch", "/fleet/", EC2),
        ("web-task", "/fleet/", "ecs-tasks.amazonaws.com"),
    ] {
        make(&world, name, path, service);
    }
    world.put("web-2", &documented());
    world.manifest("fleet", &with_key(FLEET));
    world
}

fn roles(plan: &Value) -> Vec<&str> {
    plan["steps"].as_array().unwrap().iter().map(|step| step["role"].as_str().unwrap()).collect()
}

#[test]
fn a_plan_shows_which_manifest_has_selected_a_role_and_why() {
    let world = world();
    world.manifest("named", &with_key("roles: [batch]"));
    let (finished, plan) = world.plan(&[]);
    assert_eq!(finished.exits(2).stderr, "");
    assert_eq!(roles(&plan), ["batch", "web-1", "web-2"]);
    let by = |index: usize| (&plan["steps"][index]["manifest"], &plan["steps"][index]["selector"]);
    let selector =
        json!({"pathPrefix": "/fleet/", "nameLike": "web-*", "tags": {"sessions": "enabled"}, "exclude": ["*-legacy"]});
    assert_eq!(by(0), (&json!("named"), &Value::Null));
    assert_eq!(by(1), (&json!("fleet"), &selector));
    assert_eq!(
        plan["selectors"],
        json!([{
            "account": world.account, "manifest": "fleet", "picked": 2,
            "passedOver": {"web-task": "its trust policy does not admit the platform's service"},
        }])
    );
    let text = world.run(&["plan"]).exits(2).stdout;
    for part in [
        "role web-1, policy SessionManagerPermissions",
        "  picked by the manifest's selector: pathPrefix /fleet/, nameLike web-*, tag sessions=enabled, exclude *-legacy\n",
        "picks 2 roles; it passes over 1 whose trust policy does not admit the platform's service\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_plan_of_one_role_says_of_a_selector_only_what_it_makes_of_that_role() {
    let world = world();
    world.manifest("named", &with_key("roles: [batch]"));
    let lines = |role: &str, output: &str, status: i32| -> Vec<String> {
        let told = world.run(&["plan", "--role", role, "-o", output]).exits(status).stdout;
        assert!(!told.contains("digest"), "a part of a plan cannot be approved: {told}");
        let about = told.lines().filter(|line| line.to_lowercase().starts_with("the selector"));
        about.map(|line| line.split_once(") ").unwrap().1.to_owned()).collect()
    };
    assert_eq!(lines("web-1", "text", 2), ["picks web-1"]);
    assert_eq!(lines("web-1", "markdown", 2), ["picks `web-1`."]);
    assert_eq!(lines("batch", "text", 2), [""; 0], "no selector is about it");
    assert_eq!(lines("batch", "markdown", 2), [""; 0]);
    let passed = "does not pick web-task; it passes over 1 whose trust policy does not admit the platform's service";
    assert_eq!(lines("web-task", "text", 1), [passed]);
}

#[test]
fn apply_repairs_what_selectors_pick_and_nothing_else() {
    let world = world();
    world.run(&["apply"]).exits(0);
    let right: Vec<bool> = ["web-1", "web-2", "web-3-legacy", "web-4", "batch", "web-task"]
        .iter()
        .map(|role| world.document(role) == Some(documented()))
        .collect();
    assert_eq!(right, [true, true, false, false, false, false]);
    make(&world, "web-5", "/fleet/", EC2);
    world.run(&["apply", "--role", "web-5"]).exits(0);
    assert_eq!(world.document("web-5"), Some(documented()));
    let refused = world.run(&["apply", "--role", "batch"]).exits(1).stderr;
    assert!(refused.contains("no manifest is about the role batch\nhint: `explain batch`"), "{refused}");
}

#[test]
fn the_daemon_takes_up_a_role_that_is_made_later_and_releases_one_that_no_longer_matches() {
    let world = world();
    world.settings("resyncInterval: 1s");
    let daemon = world.daemon(&[]);
    daemon.take("drift.repaired", "web-1");
    make(&world, "web-5", "/fleet/", EC2);
    daemon.take("drift.repaired", "web-5");
    assert_eq!(world.document("web-5"), Some(documented()));
    world.aws(&["iam", "untag-role", "--role-name", "web-5", "--tag-keys", "sessions"]);
    daemon.take("role.released", "web-5");
    let orphaned = daemon.take("policy.orphaned", "web-5");
    assert_eq!(orphaned["policy"], POLICY);
    world.aws(&["iam", "delete-role-policy", "--role-name", "web-1", "--policy-name", POLICY]);
    daemon.take("drift.repaired", "web-1");
    daemon.stop("TERM");
    assert_eq!(world.document("web-5"), Some(documented()), "nothing is removed");
}

#[test]
fn selectors_that_claim_a_role_for_differing_things_block_it_and_write_nothing() {
    let world = world();
    world.manifest("other", "selector: {nameLike: \"*-1\"}, nodeRegistration: granted");
    let (finished, plan) = world.plan(&[]);
    finished.exits(1);
    let step = &plan["steps"].as_array().unwrap().iter().find(|step| step["role"] == "web-1").unwrap();
    assert_eq!((&step["action"], &step["reason"]), (&json!("blocked"), &json!("Conflict")));
    world.run(&["apply"]).exits(1);
    assert_eq!(world.document("web-1"), None);
}

#[test]
fn limits_and_guards_hold_against_a_selector_that_matches_everything() {
    let world = world();
    world.manifest("fleet", &with_key("selector: {nameLike: \"*\"}"));
    world.settings("limits: {rolePathPrefixes: [/fleet/below/]}");
    world.put("web-2", &without_key());
    world.run(&["apply"]).exits(0);
    let written = ["web-1", "web-2", "web-4", "batch"].map(|role| world.document(role).is_some());
    assert_eq!(written, [false, true, false, false]);
    world.settings("guards: {maxChangesPerHour: 2}");
    let held = world.run(&["apply"]).exits(1).stderr;
    assert!(held.contains("maxChangesPerHour"), "{held}");
    assert_eq!(world.document("web-1"), None);
}

#[test]
fn explain_says_whether_a_selector_picks_a_role_and_if_not_why() {
    let world = world();
    let explained = |role: &str| world.run(&["explain", role, "-o", "json"]).exits(0).json();
    let picked = explained("web-1");
    assert_eq!((&picked[0]["manifest"], &picked[0]["selector"]["nameLike"]), (&json!("fleet"), &json!("web-*")));
    assert_eq!(picked[0]["notPickedBy"], json!([]));
    for (role, why) in [
        ("batch", "its name is not like nameLike web-*"),
        ("web-3-legacy", "its name is like *-legacy, which exclude takes out"),
        ("web-4", "its path does not begin with pathPrefix /fleet/"),
        ("ghost", "there is no role of this name in the account"),
        (
            "web-task",
            "the selector matches, and passes it over: its trust policy does not admit the platform's service",
        ),
    ] {
        let explained = explained(role);
        assert_eq!((&explained[0]["policy"], &explained[0]["verdict"]), (&Value::Null, &Value::Null), "{role}");
        assert_eq!(explained[0]["notPickedBy"][0]["why"], why, "{role}");
        assert_eq!(explained[0]["conditions"][0]["reason"], "NotManaged");
    }
    let text = world.run(&["explain", "batch"]).exits(0).stdout;
    assert!(text.contains("not picked by the selector of manifest fleet (pathPrefix /fleet/, nameLike"), "{text}");
}

#[test]
fn offline_a_selector_is_rendered_validated_and_needs_rights_by_path() {
    let world = World::new();
    world.manifest("fleet", &with_key(&format!("accountId: \"{}\", {FLEET}", world.account)));
    let rendered = world.run(&["render"]).exits(0).json();
    assert_eq!((&rendered[0]["role"], &rendered[0]["selector"]["nameLike"]), (&Value::Null, &json!("web-*")));
    assert_eq!(rendered[0]["document"], documented());
    let said = world.run(&["validate"]).exits(0).stdout;
    assert!(said.ends_with("no faults in 1 manifest about 0 roles and what 1 selector picks\n"), "{said}");

    let refused = world.run(&["controller-policy"]).exits(1).stderr;
    assert!(refused.contains("`--paths` allows by path") && refused.contains("`--path-prefix /fleet/`"), "{refused}");
    let policy = world.run(&["controller-policy", "--paths", "--path-prefix", "/fleet/"]).exits(0).json();
    let statements = policy["Statement"].as_array().unwrap();
    let repairs = statements.iter().find(|statement| statement["Sid"] == "RepairInlinePolicies").unwrap();
    assert_eq!(repairs["Resource"], json!([format!("arn:aws:iam::{}:role/fleet/*", world.account)]));
}

#[test]
fn the_schema_for_editors_admits_selectors_and_refuses_empty_ones() {
    use crate::support::world::meets_schema;
    let world = World::new();
    world.write("schema.json", &world.run(&["schema"]).exits(0).stdout);
    for (name, spec, is_good) in [
        ("selector", FLEET, true),
        ("both", "roles: [web], selector: {tags: {a: b}}", true),
        ("neither", "mode: observe", false),
        ("empty", "selector: {}", false),
        ("excluding", "selector: {exclude: [a]}", false),
    ] {
        world.write(&format!("{name}.yaml"), &manifest(name, spec));
        let met = meets_schema(&world.at("schema.json"), &[&world.at(&format!("{name}.yaml"))]);
        assert_eq!(met.is_ok(), is_good, "{name}: {met:?}");
    }
}
