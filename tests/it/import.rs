//! `import`, by the real process: against moto, which knows nothing of this project, and against the sandbox, which pages and
//! fails as IAM does. What it writes is put where a user would put it, and then nothing is out of sync.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use ssm_role_controller::{
    names::AccountId,
    sandbox::{Effect, Fault, RoleSeed},
};

use crate::support::{
    process::Finished,
    program::{Ended, finish, program},
    serving::Serving,
    world::{World, and, documented, manifest, reworded, settings, tool, without_key},
};

/// The manifests of a file, as PyYAML reads them: by the rules of YAML 1.1, where `yes` is no text.
fn read_by_another(file: &Path) -> Vec<Value> {
    let script =
        "import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(open(sys.argv[1])) if d], sys.stdout)";
    let read = Finished::of(Command::new(tool("python")).args(["-c", script]).arg(file)).exits(0);
    serde_json::from_str(&read.stdout).unwrap()
}

/// `import > config/imported.yaml`: the shell makes the file before the program begins.
fn import_into_the_tree(world: &World) -> String {
    let file = fs::File::create(world.at("config/imported.yaml")).unwrap();
    let status = world.program(&["import"]).stdout(file).stderr(std::process::Stdio::inherit()).status().unwrap();
    assert!(status.success(), "{status}");
    fs::read_to_string(world.at("config/imported.yaml")).unwrap()
}

#[test]
fn applying_what_was_imported_changes_nothing() {
    let world = World::new();
    let managed = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    let registering = and(without_key(), "Allow", "ssm:UpdateInstanceInformation");
    for role in ["web", "yes", "012345678901", "1e3", "2024-01-01", "=", "@octocat", "-", "null"] {
        world.node_with(role, &documented());
    }
    world.node_with("reworded", &reworded());
    world.role_with("granted", &registering);
    world.role("two");
    world.put_as("two", "One", &without_key());
    world.put_as("two", "1_000", &documented());
    world.role_with("wide", &and(documented(), "Allow", "ssm:StartSession"));
    world.role("core");
    world.boto("attach_role_policy", json!({"RoleName": "core", "PolicyArn": managed}));
    world.node("other");
    let before = world.dump();

    let file = import_into_the_tree(&world);
    let roles: Vec<Value> = read_by_another(&world.at("config/imported.yaml"))
        .iter()
        .flat_map(|read| read["spec"]["roles"].as_array().unwrap().clone())
        .collect();
    assert_eq!(roles.len(), 13, "{file}");
    assert!(roles.iter().all(Value::is_string), "{roles:?}");
    for said in [
        "by the inline policy SessionManagerPermissions, which says what no manifest can: more: Allow ssm:StartSession on *\n#   wide\n",
        &format!("by the managed policy {managed}\n#   core\n"),
    ] {
        assert!(file.contains(said), "{said}\n{file}");
    }
    assert!(!file.contains("other"), "{file}");

    world.run(&["validate"]).exits(0);
    let (finished, plan) = world.plan(&[]);
    assert_eq!(finished.exits(0).stderr, "");
    assert_eq!((&plan["summary"]["inSync"], &plan["summary"]["cosmetic"]), (&json!(11), &json!(2)));
    world.run(&["apply"]).exits(0);
    assert_eq!(world.dump(), before);

    // Once more, with what is there already: only a role that has come meanwhile is new.
    world.node_with("new", &documented());
    let again = world.run(&["import"]).exits(0);
    assert!(again.stdout.contains("    - new\n") && !again.stdout.contains("    - web\n"), "{}", again.stdout);
    assert!(again.stdout.contains("13 policies are left out, since manifests name them already"), "{}", again.stdout);
    assert_eq!(again.stderr, "Imported by ssm-role-controller: 1 inline policy of 1 role, in 1 manifest.\n");
    world.write("config/new.yaml", &again.stdout);
    world.run(&["plan"]).exits(0);
}

#[test]
fn newcomers_have_no_manifests_yet() {
    let world = World::new();
    world.node_with("web", &documented());
    let of_empty = world.run(&["import"]).exits(0).stdout;
    fs::remove_dir(world.at("config")).unwrap();
    let of_none = world.run(&["import"]).exits(0).stdout;
    assert!(of_none.contains("    - web\n") && of_none == of_empty, "{of_none}");
    // Nothing to be imported is a file all the same, and a good one.
    let nothing = World::new();
    let file = import_into_the_tree(&nothing);
    assert_eq!(file, "# Imported by ssm-role-controller: 0 inline policies of 0 roles, in 0 manifests.\n");
}

#[test]
fn what_the_operator_says_apart_counts_though_there_is_no_directory_and_faults_are_told() {
    let world = World::new();
    world.node_with("web", &documented());
    fs::remove_dir(world.at("config")).unwrap();
    world.write("apart.yaml", &settings("limits: {kmsKeyArns: []}"));
    let file = world.run(&["import", "--controller-config", "apart.yaml"]).exits(0).stdout;
    assert!(file.contains("0 inline policies") && file.contains("outside of the limits"), "{file}");
    world.write("apart.yaml", &settings("limits: {kmsKeyArns: 1}"));
    let refused = world.run(&["import", "--controller-config", "apart.yaml"]).exits(1);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("1 fault"), "{refused:?}");
    let refused = world.run(&["import", "--controller-config", "none.yaml"]).exits(1);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("there is no such file"), "{refused:?}");

    fs::create_dir(world.at("config")).unwrap();
    world.write("config/broken.yaml", &manifest("broken", "roles: web"));
    let refused = world.run(&["import"]).exits(1);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("config/broken.yaml"), "{refused:?}");
}

#[test]
fn one_role_and_one_account_can_be_asked_for() {
    let world = World::new();
    world.node_with("web", &documented());
    world.node_with("bastion", &documented());
    let file = world.run(&["import", "--role", "WEB"]).exits(0).stdout;
    assert!(file.contains("    - web\n") && !file.contains("bastion"), "{file}");
    world.run(&["import", "--account", &world.account]).exits(0);
    for (arguments, said) in [
        (["--role", "nobody"], "there is no role nobody"),
        (["--account", "999999999999"], "account 999999999999 is neither that of the credentials"),
    ] {
        let refused = world.run(&[&["import"], &arguments[..]].concat()).exits(1);
        assert!(refused.stdout.is_empty() && refused.stderr.contains(said), "{refused:?}");
    }
}

#[test]
fn every_account_that_is_configured_is_imported_and_each_manifest_names_its_own() {
    let (own, other) = (World::new(), World::new());
    let keeper = format!("arn:aws:iam::{}:role/keeper", other.account);
    own.write(
        "apart.yaml",
        &settings(&format!("accounts: [{{id: \"{}\", assumeRoleArn: \"{keeper}\"}}]", other.account)),
    );
    own.node_with("web", &documented());
    other.role("keeper");
    other.node_with("far", &without_key());
    let import = own.run(&["import", "--controller-config", "apart.yaml"]).exits(0);
    own.write("config/imported.yaml", &import.stdout);
    let read = read_by_another(&own.at("config/imported.yaml"));
    let about: Vec<_> = read.iter().map(|read| (&read["spec"]["accountId"], &read["spec"]["roles"])).collect();
    // The own one is not configured, so that no manifest may name it.
    let (far, web) = ((&json!(other.account), &json!(["far"])), (&Value::Null, &json!(["web"])));
    assert!(about.len() == 2 && about.contains(&far) && about.contains(&web), "{}", import.stdout);
    own.run(&["plan", "--controller-config", "apart.yaml"]).exits(0);
}

async fn import(serving: &Serving, config: &Path, arguments: &[&str]) -> Ended {
    finish(program(&serving.endpoint(), config, &[&["import"], arguments].concat())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_what_was_imported_from_the_sandbox_changes_nothing_and_import_only_reads() {
    let serving = Serving::start("111122223333").await;
    let sandbox = &serving.sandbox;
    // More than one page, and documents by the hundred.
    sandbox.set_page_cap(Some(100));
    let key = |index: usize| documented().to_string().replace("1234567890ab", &format!("{index:012}"));
    for index in 0..1_500 {
        let seed = RoleSeed::new(&format!("role-{index}"));
        let seed = match index % 5 {
            0 => seed.policy("Own", &key(index % 100)),
            1 => seed.policy("SessionManagerPermissions", &without_key().to_string()),
            2 => seed.attached("arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"),
            3 => seed.policy("Wide", &and(without_key(), "Allow", "*").to_string()),
            _ => seed,
        };
        sandbox.plant(&serving.account, seed);
    }
    let directory = tempfile::tempdir().unwrap();
    let ended = import(&serving, directory.path(), &[]).await;
    assert_eq!(ended.code(), 0, "{}", ended.err);
    assert_eq!(ended.err, "Imported by ssm-role-controller: 600 inline policies of 600 roles, in 21 manifests.\n");
    assert!(ended.out.contains("# Account 111122223333: 600 roles are permitted"), "{}", ended.out);
    let called: Vec<&str> = sandbox.counts().into_keys().collect();
    let reads = ["GetAccountAuthorizationDetails", "GetCallerIdentity", "GetPolicy", "GetPolicyVersion"];
    assert!(called.iter().all(|operation| reads.contains(operation)), "{called:?}");

    fs::write(directory.path().join("imported.yaml"), &ended.out).unwrap();
    let plan = finish(program(&serving.endpoint(), directory.path(), &["plan"])).await;
    assert_eq!(plan.code(), 0, "{}{}", plan.out, plan.err);
    assert!(plan.out.contains("600 in sync"), "{}", plan.out);
    let apply = finish(program(&serving.endpoint(), directory.path(), &["apply"])).await;
    assert_eq!(apply.code(), 0);
    assert!(!sandbox.counts().contains_key("PutRolePolicy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_file_can_hold_is_printed_with_what_to_do() {
    let serving = Serving::start("111122223333").await;
    for index in 0..2_500 {
        let of =
            |policy: usize| documented().to_string().replace("1234567890ab", &format!("{:012}", 4 * index + policy));
        let seed = RoleSeed::new(&format!("{}-{index}", "r".repeat(55)));
        let seed = (0..4).fold(seed, |seed, policy| seed.policy(&format!("Policy-{policy}"), &of(policy)));
        serving.sandbox.plant(&serving.account, seed);
    }
    let directory = tempfile::tempdir().unwrap();
    let ended = import(&serving, directory.path(), &[]).await;
    assert_eq!(ended.code(), 0, "{}", ended.err);
    assert!(
        ended.err.contains("in 10000 manifests") && ended.err.contains("hint: split it between its documents"),
        "{}",
        ended.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_an_account_cannot_be_read_it_is_told_and_nothing_is_written_half() {
    const SHUT: &str = "222222222222";
    let serving = Serving::start("111122223333").await;
    let directory = tempfile::tempdir().unwrap();
    let seed = || RoleSeed::new("web").policy("Own", &documented().to_string());
    serving.sandbox.plant(&serving.account, seed());

    let entry = format!("accounts: [{{id: \"{SHUT}\", assumeRoleArn: \"arn:aws:iam::{SHUT}:role/keeper\"}}]");
    fs::write(directory.path().join("apart"), settings(&entry)).unwrap();
    let config = directory.path().join("config");
    let apart = directory.path().join("apart");
    let with_accounts = ["--controller-config", apart.to_str().unwrap()];
    let ended = import(&serving, &config, &with_accounts).await;
    assert_eq!((ended.code(), &*ended.out), (1, ""), "{}", ended.err);
    for said in
        ["account 222222222222 cannot be entered", "hint: ", "nothing is printed, since not all accounts could be read"]
    {
        assert!(ended.err.contains(said), "{said}: {}", ended.err);
    }
    // The one that can be read, alone.
    let ended = import(&serving, &config, &[&with_accounts[..], &["--account", "111122223333"]].concat()).await;
    assert_eq!(ended.code(), 0, "{}", ended.err);

    // The second page fails: what the first told is not the account.
    serving.sandbox.set_page_cap(Some(1));
    serving.sandbox.plant(&serving.account, RoleSeed::new("zweb").policy("Own", &documented().to_string()));
    let account: AccountId = serving.account.clone();
    for (effect, said) in [(Effect::Deny, "hint: "), (Effect::Throttle, "Throttling")] {
        serving.sandbox.clear_faults();
        serving.sandbox.fault(Fault::new(effect).on("GetAccountAuthorizationDetails").account(&account).after(1));
        let ended = import(&serving, &config, &[]).await;
        assert_eq!((ended.code(), &*ended.out), (1, ""), "{}", ended.err);
        assert!(ended.err.contains("account 111122223333") && ended.err.contains(said), "{}", ended.err);
    }
}
