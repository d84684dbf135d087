//! `plan`, by the real process against moto: what it shows of every state that a role can be in, and that it writes
//! nothing.

use serde_json::{Value, json};

use crate::support::{
    process::Finished,
    world::{KEY, POLICY, World, and, documented, reworded, with_key, without_key},
};

/// The step about a role.
#[track_caller]
fn step<'a>(plan: &'a Value, role: &str) -> &'a Value {
    let steps = plan["steps"].as_array().unwrap();
    steps.iter().find(|step| step["role"] == role).unwrap_or_else(|| panic!("no step about {role}: {plan}"))
}

/// Action, drift and reason.
#[track_caller]
fn verdict(plan: &Value, role: &str) -> Value {
    let step = step(plan, role);
    json!([step["action"], step["drift"], step["reason"]])
}

#[track_caller]
fn roles(plan: &Value) -> Vec<&str> {
    plan["steps"].as_array().unwrap().iter().map(|step| step["role"].as_str().unwrap()).collect()
}

/// Status and reason of both conditions: `Synced`, then `SessionReady`.
#[track_caller]
fn conditions(plan: &Value, role: &str) -> Value {
    let conditions = step(plan, role)["conditions"].as_array().unwrap();
    conditions.iter().map(|condition| json!([condition["status"], condition["reason"]])).collect()
}

fn change(change: &str, actions: &[&str], resource: &str) -> Value {
    json!({"change": change, "effect": "Allow", "actions": actions, "resources": [resource], "condition": null})
}

/// Roles in sync and in every kind of drift.
fn in_every_state() -> World {
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
    world
}

#[test]
fn a_policy_made_by_hand_from_awss_page_is_in_sync() {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web]"));
    world.node_with("web", &documented());
    let (finished, plan) = world.plan(&[]);
    finished.exits(0);
    assert_eq!(verdict(&plan, "web"), json!(["none", null, null]));
    assert_eq!(plan["summary"]["inSync"], 1);
    assert_eq!(world.run(&["plan"]).exits(0).stdout, "1 in sync\n");
}

#[test]
fn each_kind_of_drift_is_shown_with_what_was_gained_and_lost() {
    let world = in_every_state();
    let before = world.dump();
    let (finished, plan) = world.plan(&[]);
    assert_eq!(finished.exits(2).stderr, "");

    let channels = [
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    ];
    assert_eq!(verdict(&plan, "right"), json!(["none", null, null]));
    assert_eq!(verdict(&plan, "missing"), json!(["put", "missing", null]));
    assert_eq!(
        step(&plan, "missing")["diff"],
        json!([
            change("lost", &["kms:Decrypt"], KEY),
            change("lost", &[&["s3:GetEncryptionConfiguration"], &channels[..]].concat(), "*"),
        ])
    );
    assert_eq!(verdict(&plan, "narrowed"), json!(["put", "narrowed", null]));
    assert_eq!(step(&plan, "narrowed")["diff"], json!([change("lost", &["kms:Decrypt"], KEY)]));
    assert_eq!(verdict(&plan, "widened"), json!(["put", "widened", null]));
    assert_eq!(step(&plan, "widened")["diff"], json!([change("gained", &["ssm:StartSession"], "*")]));
    assert_eq!(verdict(&plan, "altered"), json!(["put", "altered", null]));
    assert_eq!(
        step(&plan, "altered")["diff"],
        json!([change("gained", &["s3:*"], "*"), change("lost", &["kms:Decrypt"], KEY)])
    );
    assert_eq!(verdict(&plan, "cosmetic"), json!(["none", "cosmetic", null]));
    assert_eq!(step(&plan, "cosmetic")["diff"], json!([]));
    for step in plan["steps"].as_array().unwrap() {
        assert_eq!(
            (&step["account"], &step["policy"], &step["mode"]),
            (&json!(world.account), &json!(POLICY), &json!("enforce"))
        );
    }
    assert_eq!(
        plan["summary"],
        json!({
            "missing": 1, "narrowed": 1, "widened": 1, "altered": 1, "cosmetic": 1, "inSync": 1, "blocked": 0, "unknown": 0,
            "ready": 3, "notReady": 3, "readinessUnknown": 0
        })
    );
    assert_eq!(world.dump(), before, "plan wrote");
}

#[test]
fn the_text_is_for_people_and_shows_only_what_is_not_as_written() {
    let world = in_every_state();
    world.manifest("others", "roles: [ghost]");
    world.manifest("alone", "roles: [alone], suspend: true");
    world.role("alone");
    let before = world.dump();
    let Finished { stdout, stderr, .. } = world.run(&["plan"]).exits(1);
    assert_eq!(stderr, "");
    insta::assert_snapshot!(stdout.replace(&world.account, "[account]"), @r"
    role alone, policy SessionManagerPermissions (account [account], manifest alone): left alone
      Suspended: its manifest says suspend: true: neither judged nor repaired
      hint: set suspend: false in the manifest to have it judged and repaired again

    role altered, policy SessionManagerPermissions (account [account], manifest fleet): altered, to be repaired
      + Allow s3:* on *
      - Allow kms:Decrypt on arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
      sessions would not work as the manifest asks (SessionKeyDenied): kms:Decrypt on arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab: no policy of the role grants it
      hint: `explain altered` shows every check

    role cosmetic, policy SessionManagerPermissions (account [account], manifest fleet): cosmetic: the same meaning in other words, in sync

    role ghost, policy SessionManagerPermissions (account [account], manifest others): blocked
      RoleNotFound: there is no role of this name in the account
      hint: correct the name in the manifest, or create the role: it is picked up when it appears

    role missing, policy SessionManagerPermissions (account [account], manifest fleet): missing, to be repaired
      - Allow kms:Decrypt on arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
      - Allow s3:GetEncryptionConfiguration, ssmmessages:CreateControlChannel, ssmmessages:CreateDataChannel, ssmmessages:OpenControlChannel, ssmmessages:OpenDataChannel on *
      sessions would not work as the manifest asks (ChannelsDenied): ssmmessages:CreateControlChannel: no policy of the role grants it; and 4 more
      hint: `explain missing` shows every check

    role narrowed, policy SessionManagerPermissions (account [account], manifest fleet): narrowed, to be repaired
      - Allow kms:Decrypt on arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
      sessions would not work as the manifest asks (SessionKeyDenied): kms:Decrypt on arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab: no policy of the role grants it
      hint: `explain narrowed` shows every check

    role widened, policy SessionManagerPermissions (account [account], manifest fleet): widened, to be repaired
      + Allow ssm:StartSession on *

    (- what the role has lost, + what it has gained, against its manifest)
    1 in sync, 1 cosmetic, 1 missing, 1 narrowed, 1 widened, 1 altered, 1 blocked, 1 suspended, 3 where sessions would not work as asked
    ");
    assert_eq!(world.dump(), before, "plan wrote");
}

#[test]
fn a_role_that_does_not_exist_is_an_error_that_wins_over_drift_and_the_document_is_printed_all_the_same() {
    let world = World::new();
    world.manifest("web", "roles: [web, ghost]");
    world.role("web");
    let (finished, plan) = world.plan(&[]);
    finished.exits(1);
    assert_eq!(verdict(&plan, "ghost"), json!(["blocked", null, "RoleNotFound"]));
    assert_eq!(verdict(&plan, "web"), json!(["put", "missing", null]));
    assert_eq!((&plan["summary"]["blocked"], &plan["summary"]["unknown"]), (&json!(1), &json!(0)));
}

#[test]
fn observed_roles_show_their_drift_and_what_is_suspended_counts_neither_way() {
    let world = World::new();
    world.manifest("watched", "roles: [watched], mode: observe");
    world.manifest("alone", "roles: [alone, alone-and-gone], suspend: true");
    world.role("watched");
    world.role("alone");
    let (finished, plan) = world.plan(&[]);
    finished.exits(2);
    assert_eq!(verdict(&plan, "watched"), json!(["none", "missing", "ObserveMode"]));
    assert_eq!(step(&plan, "watched")["mode"], "observe");
    for role in ["alone", "alone-and-gone"] {
        assert_eq!(verdict(&plan, role), json!(["none", null, "Suspended"]));
    }
    let counted: u64 = plan["summary"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    let of = |count: &str| plan["summary"][count].as_u64();
    assert_eq!((of("missing"), of("notReady"), counted), (Some(1), Some(1), 2), "the watched one alone");

    let (finished, _) = world.plan(&["--role", "alone"]);
    finished.exits(0);
}

#[test]
fn the_observe_option_overrides_manifests_that_say_enforce() {
    let world = World::new();
    world.manifest("web", "roles: [web], mode: enforce");
    world.role("web");
    let (finished, plan) = world.plan(&["--observe"]);
    finished.exits(2);
    assert_eq!(verdict(&plan, "web"), json!(["none", "missing", "ObserveMode"]));
    assert_eq!(step(&plan, "web")["mode"], "observe");
}

#[test]
fn policies_that_cannot_be_taken_for_ours_are_blocked_each_with_its_reason() {
    let world = World::new();
    world.manifest("fleet", &with_key("roles: [denies, foreign, registers]"));
    world.manifest("granted", &with_key("roles: [granted], nodeRegistration: granted"));
    world.role_with("denies", &and(documented(), "Deny", "ssm:SendCommand"));
    let foreign = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]});
    world.role_with("foreign", &foreign);
    let wider = include_str!("../data/policies/b_minimal_custom_role.json").replace("key-name", KEY);
    let wider: Value = serde_json::from_str(&wider).unwrap();
    world.role_with("registers", &wider);
    world.role_with("granted", &wider);
    let before = world.dump();
    let (finished, plan) = world.plan(&[]);
    finished.exits(2);
    assert_eq!(verdict(&plan, "denies"), json!(["blocked", "narrowed", "DeniesPresent"]));
    assert_eq!(verdict(&plan, "foreign"), json!(["blocked", "altered", "ForeignPolicy"]));
    assert_eq!(verdict(&plan, "registers"), json!(["blocked", "widened", "NodeRegistrationWouldBeLost"]));
    assert_eq!(verdict(&plan, "granted"), json!(["none", null, null]));
    assert_eq!(plan["summary"]["blocked"], 3);
    let text = world.run(&["plan"]).exits(2).stdout;
    for reason in ["DeniesPresent: ", "ForeignPolicy: ", "NodeRegistrationWouldBeLost: "] {
        assert!(text.contains(reason), "{text}");
    }
    assert_eq!(text.matches("  hint: ").count() - text.matches("  hint: `explain ").count(), 3);
    assert_eq!(world.dump(), before, "plan wrote");
}

#[test]
fn a_conditional_grant_is_shown_with_its_condition() {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web]"));
    let mut document = documented();
    document["Statement"][2]["Condition"] = json!({"StringEquals": {"aws:RequestedRegion": "us-east-1"}});
    world.role_with("web", &document);
    let (finished, plan) = world.plan(&[]);
    finished.exits(2);
    assert_eq!(verdict(&plan, "web"), json!(["put", "narrowed", null]));
    assert_eq!(step(&plan, "web")["diff"], json!([change("lost", &["kms:Decrypt"], KEY)]));

    let statement = json!({"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*",
        "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}});
    let mut document = documented();
    document["Statement"].as_array_mut().unwrap().push(statement);
    world.put("web", &document);
    let (_, plan) = world.plan(&[]);
    let condition = json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}});
    assert_eq!(step(&plan, "web")["diff"][0]["condition"], condition);
}

#[test]
fn filters_take_one_role_in_any_case_or_one_account() {
    let world = World::new();
    world.manifest("web", "roles: [web-server, bastion]");
    world.manifest("named", &format!("roles: [named], accountId: \"{}\"", world.account));
    world.manifest("elsewhere", "roles: [elsewhere], accountId: \"999999999999\"");
    ["Web-Server", "bastion", "named"].iter().for_each(|role| world.role(role));

    let (finished, plan) = world.plan(&["--role", "WEB-server"]);
    finished.exits(2);
    assert_eq!(roles(&plan), ["Web-Server"], "spelled as IAM spells it");

    let (finished, plan) = world.plan(&["--account", &world.account]);
    finished.exits(2);
    assert_eq!(roles(&plan), ["bastion", "named", "Web-Server"]);

    let (finished, plan) = world.plan(&["--account", "999999999999"]);
    finished.exits(1);
    assert_eq!(roles(&plan), ["elsewhere"]);
    assert_eq!(verdict(&plan, "elsewhere"), json!(["blocked", null, "AccountMismatch"]));

    for nobody in
        [&["--role", "nobody"][..], &["--account", "123412341234"], &["--role", "named", "--account", "999999999999"]]
    {
        let finished = world.run(&[&["plan"], nobody].concat()).exits(1);
        assert!(
            finished.stdout.is_empty() && finished.stderr.starts_with("error: no manifest is about "),
            "{finished:?}"
        );
        assert!(finished.stderr.contains("hint: "), "{finished:?}");
    }
}

#[test]
fn where_sts_contradicts_the_account_id_nothing_is_read_and_nothing_written() {
    let world = World::new();
    world.manifest("other", "roles: [web], accountId: \"999999999999\"");
    world.role("web");
    let before = world.dump();
    // Nobody listens where IAM would be asked: a single call would be told as a failure.
    let nowhere = ("AWS_ENDPOINT_URL_IAM", "http://127.0.0.1:1");
    let planned = Finished::of(world.program(&["plan", "-o", "json"]).envs([nowhere])).exits(1);
    world.hold_plan_to_schema(&planned.json());
    let plan = planned.json();
    assert_eq!(verdict(&plan, "web"), json!(["blocked", null, "AccountMismatch"]));
    assert_eq!(step(&plan, "web")["account"], "999999999999");
    assert_eq!(planned.stderr, "");
    let applied = Finished::of(world.program(&["apply"]).envs([nowhere])).exits(1);
    assert!(
        applied.stdout.contains("AccountMismatch") && applied.stdout.contains("nothing was written"),
        "{applied:?}"
    );
    assert!(!applied.stderr.contains("read.failed"), "{applied:?}");
    assert_eq!(world.dump(), before);
}

#[test]
fn where_iam_cannot_be_read_every_role_is_unknown_and_the_document_is_printed_all_the_same() {
    let world = World::new();
    world.manifest("web", "roles: [web]");
    world.role("web");
    for unreachable in ["AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_STS"] {
        let finished = Finished::of(world.program(&["plan", "-o", "json"]).env(unreachable, "http://127.0.0.1:1"));
        let finished = finished.exits(1);
        world.hold_plan_to_schema(&finished.json());
        let plan = finished.json();
        assert_eq!(verdict(&plan, "web"), json!(["blocked", null, "Unknown"]), "{unreachable}");
        assert_eq!((&plan["summary"]["unknown"], &plan["summary"]["inSync"]), (&json!(1), &json!(0)));
        assert!(finished.stderr.contains("error: ") && finished.stderr.contains("hint: "), "{finished:?}");
    }
}

#[test]
fn manifests_with_a_fault_stop_it_before_anything_is_read() {
    let world = World::new();
    world.manifest("web", "roles: [web]");
    world.manifest("wrong", "roles: [web], mode: maybe");
    let finished = world.run(&["plan", "-o", "json"]).exits(1);
    assert_eq!(finished.stdout, "", "faults are no data");
    assert!(finished.stderr.contains("config/wrong.yaml:5:"), "{finished:?}");
}

#[test]
fn an_account_id_with_a_leading_zero_needs_no_quotes() {
    let world = World::of("012345678901");
    world.manifest("web", "roles: [web], accountId: 012345678901");
    world.role("web");
    let (finished, plan) = world.plan(&[]);
    finished.exits(2);
    assert_eq!(verdict(&plan, "web"), json!(["put", "missing", null]));
    assert_eq!(step(&plan, "web")["account"], "012345678901");
    let (finished, plan) = world.plan(&["--account", "012345678901"]);
    finished.exits(2);
    assert_eq!(roles(&plan), ["web"]);
    assert_eq!(world.run(&["render"]).exits(0).json()[0]["account"], "012345678901");
}

#[test]
fn no_region_is_needed_since_iam_is_global() {
    let world = World::new();
    world.manifest("web", "roles: [web]");
    world.role("web");
    let mut plan = world.program(&["plan"]);
    let finished = Finished::of(plan.env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION")).exits(2);
    assert!(finished.stdout.contains("role web"), "{finished:?}");
}

#[test]
fn profiles_are_taken_from_the_standard_files() {
    let world = World::new();
    world.manifest("web", "roles: [web]");
    world.role("web");
    let of = |name: &str| world.keys().iter().find(|(key, _)| key == name).unwrap().1.clone();
    world.write("aws-config", &format!("[profile fleet]\nregion = us-east-1\nendpoint_url = {}\n", world.endpoint()));
    let credentials = format!(
        "[fleet]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n",
        of("AWS_ACCESS_KEY_ID"),
        of("AWS_SECRET_ACCESS_KEY"),
        of("AWS_SESSION_TOKEN")
    );
    world.write("aws-credentials", &credentials);
    let mut plan = world.program(&["plan", "-o", "json"]);
    plan.env_clear()
        .env("AWS_CONFIG_FILE", world.at("aws-config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", world.at("aws-credentials"))
        .env("AWS_PROFILE", "fleet");
    let finished = Finished::of(&mut plan).exits(2);
    assert_eq!(step(&finished.json(), "web")["account"], json!(world.account));
}

#[test]
fn each_step_carries_whether_it_is_in_sync_and_whether_a_session_would_work() {
    let world = in_every_state();
    world.manifest("others", "roles: [ghost, profileless]");
    world.manifest("gone", "roles: [gone], state: absent");
    world.manifest("dhmc", "roles: [dhmc], nodeRegistration: defaultHostManagement");
    world.manifest("alone", "roles: [alone], suspend: true");
    ["gone", "alone"].iter().for_each(|role| world.node(role));
    ["profileless", "dhmc"].iter().for_each(|role| world.role(role));
    let (finished, plan) = world.plan(&[]);
    finished.exits(1);
    let ready = json!(["True", "Ready"]);
    let keyless = json!(["False", "SessionKeyDenied"]);
    for (role, synced, session) in [
        ("right", json!(["True", "InSync"]), &ready),
        ("cosmetic", json!(["True", "InSync"]), &ready),
        ("widened", json!(["False", "Widened"]), &ready),
        ("narrowed", json!(["False", "Narrowed"]), &keyless),
        ("altered", json!(["False", "Altered"]), &keyless),
        ("missing", json!(["False", "Missing"]), &json!(["False", "ChannelsDenied"])),
        ("profileless", json!(["False", "Missing"]), &json!(["False", "NoInstanceProfile"])),
        ("dhmc", json!(["False", "Missing"]), &json!(["Unknown", "NotApplicable"])),
        ("gone", json!(["True", "InSync"]), &json!(["Unknown", "NotAsked"])),
        ("alone", json!(["Unknown", "Suspended"]), &json!(["Unknown", "Suspended"])),
        ("ghost", json!(["Unknown", "RoleNotFound"]), &json!(["Unknown", "RoleNotFound"])),
    ] {
        assert_eq!(conditions(&plan, role), json!([synced, session]), "{role}");
    }
}

#[test]
fn explain_reads_tells_which_reading_was_chosen_and_the_calls_that_were_made() {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web, ghost]"));
    world.node_with("web", &documented());
    assert_eq!(world.plan(&[]).1.get("reads"), None, "only who asks is told");
    let (_, plan) = world.plan(&["--explain-reads"]);
    let (account, reads) = plan["reads"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(plan["steps"][0]["account"], *account);
    assert_eq!((&reads["chosen"]["choice"], &reads["chosen"]["why"]), (&json!("bulk"), &json!("sizeUnknown")));
    assert_eq!((&reads["chosen"]["bulkCalls"], &reads["chosen"]["roleCalls"]), (&Value::Null, &json!(4)));
    assert_eq!((&reads["next"]["bulkCalls"], &reads["next"]["managedRoles"]), (&json!(1), &json!(2)));
    assert_eq!(reads["calls"]["GetAccountAuthorizationDetails"], json!({"ok": 1, "throttled": 0, "failed": 0}));

    let told = world.run(&["plan", "--explain-reads"]);
    assert!(!told.stdout.contains("calls"), "{}", told.stdout);
    for line in [
        &format!("account {account} was to be read in bulk, since no reading has shown the account's size so far"),
        "calls made: GetAccountAuthorizationDetails 1",
        "in bulk, 1 call against 4 role by role",
    ] {
        assert!(told.stderr.contains(line), "{line}: {}", told.stderr);
    }
}

#[test]
fn require_ready_exits_3_where_all_is_in_sync_and_a_session_would_not_surely_work() {
    let world = World::new();
    world.manifest("web", &with_key("roles: [web, bastion]"));
    world.node_with("web", &documented());
    world.role_with("bastion", &documented());
    let status = |arguments: &[&str]| world.run(&[&["plan", "--require-ready"], arguments].concat()).status;
    assert_eq!((status(&[]), status(&["-o", "json"]), status(&["--role", "web"])), (3, 3, 0));
    assert_eq!(world.run(&["plan"]).status, 0, "who does not ask is told, and that is all");

    // What is left to Default Host Management is as it should be, and what is suspended counts neither way.
    world.manifest("dhmc", "roles: [dhmc], nodeRegistration: defaultHostManagement");
    world.role_with("dhmc", &without_key());
    assert_eq!(status(&["--role", "dhmc"]), 0);
    world.manifest("alone", "roles: [alone], suspend: true");
    world.role("alone");
    assert_eq!(status(&["--role", "alone"]), 0);

    // Drift comes before readiness, and what could not be read before both.
    world.manifest("away", &with_key("roles: [away]"));
    world.node_with("away", &without_key());
    assert_eq!(status(&[]), 2);
    world.manifest("ghost", "roles: [ghost]");
    assert_eq!(status(&[]), 1);
}

#[test]
fn what_is_not_sure_to_work_is_not_ready() {
    let world = World::new();
    world.manifest("web", "roles: [web]");
    world.node_with("web", &without_key());
    let shut = json!({"Effect": "Deny", "Action": "ssmmessages:*", "Resource": "*",
        "Condition": {"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}});
    world.put_as("web", "Guard", &json!({"Version": "2012-10-17", "Statement": shut}));
    let (finished, plan) = world.plan(&["--require-ready"]);
    finished.exits(3);
    assert_eq!(conditions(&plan, "web"), json!([["True", "InSync"], ["Unknown", "DependsOnConditions"]]));
    assert_eq!(plan["summary"]["readinessUnknown"], 1);
    let text = world.run(&["plan"]).exits(0).stdout;
    assert!(
        text.contains("it is not sure that sessions would work as the manifest asks (DependsOnConditions)"),
        "{text}"
    );
    assert!(text.contains("hint: `explain web` shows every check"), "{text}");
}

#[test]
fn a_repair_never_takes_a_working_session_away() {
    let world = World::new();
    world.manifest("fleet", "roles: [alone, beside]");
    let wide = and(without_key(), "Allow", "ssm:UpdateInstanceInformation");
    world.node_with("beside", &wide);
    world.node_with("alone", &wide);
    world.boto("delete_role_policy", json!({"RoleName": "alone", "PolicyName": "Register"}));
    let (finished, plan) = world.plan(&[]);
    finished.exits(2);
    assert_eq!(verdict(&plan, "alone"), json!(["blocked", "widened", "WouldDisconnect"]));
    assert_eq!(verdict(&plan, "beside"), json!(["put", "widened", null]), "another policy grants registration");
    for role in ["alone", "beside"] {
        assert_eq!(conditions(&plan, role)[1], json!(["True", "Ready"]));
    }
    let text = world.run(&["plan", "--role", "alone"]).exits(2).stdout;
    assert!(text.contains("WouldDisconnect: a session would work with the role as it is"), "{text}");
    assert!(text.contains("it would lose ssm:UpdateInstanceInformation on arn:aws:ec2:*:"), "{text}");

    world.run(&["apply"]).exits(1);
    assert_eq!(world.document("alone"), Some(wide), "it still works");
    assert_eq!(world.document("beside"), Some(without_key()));
    // What is mended elsewhere lets the repair go ahead.
    let core = json!({"Effect": "Allow", "Action": "ssm:*", "Resource": "*"});
    world.put_as("alone", "Core", &json!({"Version": "2012-10-17", "Statement": core}));
    world.run(&["apply"]).exits(0);
    assert_eq!(world.document("alone"), Some(without_key()));
    world.run(&["plan", "--require-ready"]).exits(0);
}

#[test]
fn what_one_manifest_removes_or_narrows_never_takes_away_what_another_relies_upon() {
    let world = World::new();
    let registers = and(without_key(), "Allow", "ssm:UpdateInstanceInformation");
    world.manifest("new", "roles: [renamed]");
    world.manifest("old", "roles: [renamed], policyName: Old, state: absent, nodeRegistration: granted");
    world.manifest("managed", "roles: [shared], nodeRegistration: defaultHostManagement");
    world.manifest("assumed", "roles: [shared], policyName: Two");
    world.node_with("renamed", &without_key());
    world.put_as("renamed", "Old", &registers);
    world.node_with("shared", &registers);
    world.put_as("shared", "Two", &without_key());
    for role in ["renamed", "shared"] {
        world.boto("delete_role_policy", json!({"RoleName": role, "PolicyName": "Register"}));
    }
    let before = world.dump();
    let (finished, plan) = world.plan(&[]);
    finished.exits(2);
    let blocked = plan["steps"].as_array().unwrap().iter().filter(|step| step["drift"].is_string());
    let blocked: Vec<_> = blocked.map(|step| (&step["role"], &step["policy"], &step["reason"])).collect();
    let reason = &json!("WouldDisconnect");
    let (old, both) = (json!("Old"), json!("SessionManagerPermissions"));
    assert_eq!(blocked, [(&json!("renamed"), &old, reason), (&json!("shared"), &both, reason)]);
    let told = world.run(&["apply"]).exits(1).stdout;
    assert!(told.contains("which the manifest new relies upon"), "{told}");
    assert_eq!(world.dump(), before);
}

#[test]
fn of_two_policies_that_both_register_the_node_neither_relies_on_the_other() {
    let world = World::new();
    world.manifest("one", "roles: [web]");
    world.manifest("two", "roles: [web], policyName: Two");
    let wide = and(without_key(), "Allow", "ssm:UpdateInstanceInformation");
    world.node_with("web", &wide);
    world.put_as("web", "Two", &wide);
    world.boto("delete_role_policy", json!({"RoleName": "web", "PolicyName": "Register"}));
    let (finished, plan) = world.plan(&[]);
    finished.exits(2);
    for step in plan["steps"].as_array().unwrap() {
        assert_eq!((&step["action"], &step["reason"]), (&json!("blocked"), &json!("NodeRegistrationWouldBeLost")));
    }
    let before = world.dump();
    world.run(&["apply"]).exits(1);
    assert_eq!(world.dump(), before);
}
