//! Several accounts in one process, by the real process: against moto, which keeps the accounts of assumed roles apart, and
//! against the sandbox, which holds roles to their trust policies.

use std::process::{Command, Stdio};

use serde_json::json;
use ssm_role_controller::sandbox::{Effect, Fault, RoleSeed};

use crate::support::{
    process::{Daemon, Finished},
    program::{Running, finish, program},
    serving::Serving,
    world::{POLICY, World, documented, manifest, settings, tool, with_key, without_key},
};

/// The role that is assumed in an account.
fn keeper(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/keeper")
}

/// A world that keeps two other accounts, each with a role `web` that has lost a statement, from an account of its own.
struct Organization {
    own: World,
    others: [World; 2],
}

impl Organization {
    fn new(more: &str) -> Self {
        let organization = Self { own: World::new(), others: [World::new(), World::new()] };
        let entry =
            |world: &World| format!("{{id: \"{0}\", assumeRoleArn: \"{1}\"}}", world.account, keeper(&world.account));
        let [one, two] = organization.others.each_ref().map(entry);
        organization.own.settings(&format!("resyncInterval: 1s, accounts: [{one}, {two}]"));
        organization.own.manifest("web", &with_key(&format!("roles: [web], accountIds: \"*\"{more}")));
        for world in &organization.others {
            // moto lets a role be assumed that is not there; it is there all the same, so that nothing rests on that.
            world.role("keeper");
            world.role_with("web", &without_key());
        }
        organization
    }
}

#[test]
fn the_daemon_repairs_each_account_through_its_own_role_and_the_own_account_stays_as_it_is() {
    let organization = Organization::new("");
    organization.own.role_with("web", &without_key());
    let daemon = organization.own.daemon(&[]);
    for _ in &organization.others {
        daemon.take("account.entered", "");
        daemon.take("drift.repaired", "web");
    }
    for world in &organization.others {
        assert_eq!(world.document("web"), Some(documented()));
    }
    // A change by hand in one of them.
    let [one, two] = &organization.others;
    one.aws(&["iam", "delete-role-policy", "--role-name", "web", "--policy-name", "SessionManagerPermissions"]);
    let told = daemon.take("drift.repaired", "web");
    assert_eq!((&told["account"], &told["drift"]), (&json!(one.account), &json!("missing")));
    assert_eq!(one.document("web"), Some(documented()));
    assert_eq!(two.document("web"), Some(documented()));
    let events = daemon.stop("TERM");
    let of_own = events.iter().filter(|event| event["account"] == organization.own.account.as_str());
    let of_own: Vec<_> = of_own.map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(of_own, ["controller.started", "controller.stopped"], "no manifest is about it");
    assert_eq!(organization.own.document("web"), Some(without_key()));
}

#[test]
fn plan_and_apply_go_through_all_accounts_and_print_each_as_it_comes() {
    let organization = Organization::new("");
    let own = &organization.own;
    let (finished, plan) = own.plan(&[]);
    finished.exits(2);
    assert_eq!((&plan["summary"]["narrowed"], &plan["digest"]), (&json!(2), &json!(null)));
    let accounts = plan["accounts"].as_array().unwrap();
    for world in &organization.others {
        let told = accounts.iter().find(|told| told["account"] == world.account.as_str()).unwrap();
        assert_eq!(told["summary"]["narrowed"], 1, "{told}");
        assert!(told["digest"].is_string(), "{told}");
    }
    let shown = own.run(&["plan"]);
    let text = shown.stdout;
    for world in &organization.others {
        let line =
            format!("role web, policy SessionManagerPermissions (account {}, manifest web): narrowed", world.account);
        assert!(text.contains(&line), "{text}");
    }
    assert!(text.contains("2 accounts: 0 in sync, 2 narrowed"), "{text}");
    // One of them alone.
    let [one, two] = &organization.others;
    own.run(&["apply", "--account", &one.account]).exits(0);
    assert_eq!((one.document("web"), two.document("web")), (Some(documented()), Some(without_key())));
    own.run(&["apply"]).exits(0);
    assert_eq!(two.document("web"), Some(documented()));
    own.run(&["plan"]).exits(0);
}

/// Runs a program on a terminal of its own, and hands on what it shows.
const ON_A_TERMINAL: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

#[test]
fn on_a_terminal_a_plan_of_several_accounts_shows_how_far_it_is_and_elsewhere_it_does_not() {
    let organization = Organization::new("");
    let program = organization.own.program(&["plan"]);
    let mut on_a_terminal = Command::new(tool("python"));
    on_a_terminal.args(["-c", ON_A_TERMINAL]).arg(program.get_program()).args(program.get_args());
    on_a_terminal.current_dir(program.get_current_dir().unwrap()).stdin(Stdio::null());
    on_a_terminal.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let shown = Finished::of(&mut on_a_terminal).stdout;
    for progress in ["0 of 2 accounts", "1 of 2 accounts", "2 accounts: 0 in sync, 2 narrowed"] {
        assert!(shown.contains(progress), "{progress}: {shown:?}");
    }
    let (first, second) = (shown.find("account 21").unwrap(), shown.find("1 of 2 accounts").unwrap());
    assert!(first < second, "each account's result is there as it comes: {shown:?}");
    assert!(!organization.own.run(&["plan"]).exits(2).stderr.contains("of 2 accounts"));
}

#[test]
fn an_approval_is_of_the_account_whose_plan_it_was() {
    let organization = Organization::new("");
    let own = &organization.own;
    let [one, two] = &organization.others;
    let entry =
        |world: &World| format!("{{id: \"{0}\", assumeRoleArn: \"{1}\"}}", world.account, keeper(&world.account));
    own.settings(&format!(
        "resyncInterval: 1s, guards: {{maxChangesPerHour: 0}}, accounts: [{}, {}]",
        entry(one),
        entry(two)
    ));
    let (_, plan) = own.plan(&[]);
    let of_one = plan["accounts"].as_array().unwrap().iter().find(|told| told["account"] == one.account.as_str());
    let digest = of_one.unwrap()["digest"].as_str().unwrap().to_owned();
    // As the runbook has it: the account's plan alone tells the same, a role's tells none.
    let (_, alone) = own.plan(&["--account", &one.account]);
    assert_eq!(alone["digest"], digest);
    let told = own.run(&["plan", "--account", &one.account]).stdout;
    assert!(told.contains(&format!("`apply --approve {digest}`")), "{told}");
    let (_, narrowed) = own.plan(&["--account", &one.account, "--role", "web"]);
    assert_eq!(narrowed["digest"], serde_json::Value::Null);
    own.run(&["apply", "--approve", &digest]);
    assert_eq!((one.document("web"), two.document("web")), (Some(documented()), Some(without_key())));
}

#[test]
fn two_processes_with_a_shard_each_keep_all_accounts_between_them() {
    let organization = Organization::new("");
    let own = &organization.own;
    let wrong = own.run(&["run", "--shard", "2/2"]);
    assert!(wrong.stderr.contains("there is no shard 2 of 2"), "{}", wrong.stderr);
    let daemons = ["keeper-0/2", "1/2"].map(|shard| own.daemon(&["--shard", shard]));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while organization.others.iter().any(|world| world.document("web") != Some(documented())) {
        assert!(std::time::Instant::now() < deadline, "not all were repaired");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let told = daemons.map(|daemon| daemon.stop("TERM"));
    for world in &organization.others {
        let entered = told.each_ref().map(|events| {
            let is_it =
                |event: &&serde_json::Value| event["event"] == "account.entered" && event["account"] == *world.account;
            events.iter().filter(is_it).count()
        });
        assert_eq!(entered.iter().sum::<usize>(), 1, "{entered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_entered_fails_alone_and_is_told_with_what_to_do() {
    const THERE: &str = "222222222222";
    const SHUT: &str = "333333333333";
    let serving = Serving::start("111122223333").await;
    let admits = |condition: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::111122223333:root"}},"Action":"sts:AssumeRole"{condition}}}]}}"#
        )
    };
    let asks = r#","Condition":{"StringEquals":{"sts:ExternalId":"tenant-42"}}"#;
    for account in [THERE, SHUT] {
        let account = account.parse().unwrap();
        serving.sandbox.plant(&account, RoleSeed::new("web"));
        serving.sandbox.plant(&account, RoleSeed::new("keeper").trust(&admits(asks)));
    }
    let directory = tempfile::tempdir().unwrap();
    let entry = |account: &str, id: &str| {
        format!("{{id: \"{account}\", assumeRoleArn: \"{}\", externalId: {id}}}", keeper(account))
    };
    let text = format!(
        "{}---\n{}",
        manifest("web", "roles: [web], accountIds: \"*\""),
        settings(&format!("accounts: [{}, {}]", entry(THERE, "tenant-42"), entry(SHUT, "tenant-43")))
    );
    std::fs::write(directory.path().join("web.yaml"), text).unwrap();
    let ended = finish(program(&serving.endpoint(), directory.path(), &["apply"])).await;
    assert_eq!(ended.code(), 1, "{}", ended.err);
    for said in [
        &*format!("account {SHUT}"),
        "AssumeRole",
        "is not authorized to perform: sts:AssumeRole",
        "hint: ",
        "external id",
    ] {
        assert!(ended.err.contains(said), "{said}:\n{}", ended.err);
    }
    let document =
        |account: &str| serving.sandbox.document(&account.parse().unwrap(), "web", "SessionManagerPermissions");
    assert!(document(THERE).is_some() && document(SHUT).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_aws_does_not_accept_any_more_is_had_anew_long_before_it_would_have_ended() {
    const THERE: &str = "222222222222";
    let serving = Serving::start("111122223333").await;
    let there = THERE.parse().unwrap();
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole"}]}"#;
    serving.sandbox.plant(&there, RoleSeed::new("web"));
    serving.sandbox.plant(&there, RoleSeed::new("keeper").trust(trust));
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{}---\n{}",
        manifest("web", "roles: [web], accountIds: \"*\""),
        settings(&format!("resyncInterval: 1s, accounts: [{{id: \"{THERE}\", assumeRoleArn: \"{}\"}}]", keeper(THERE)))
    );
    std::fs::write(directory.path().join("web.yaml"), text).unwrap();
    let entered = || serving.sandbox.counts().get("AssumeRole").map_or(0, |count| count.calls);
    let mut running = Running::start(program(&serving.endpoint(), directory.path(), &["run"]));
    running.event("drift.repaired", 1).await;
    assert_eq!(entered(), 1);
    // As where the role was made anew: what was signed by the former session is of no token that IAM knows.
    serving
        .sandbox
        .fault(Fault::new(Effect::InvalidClientTokenId).account(&there).on("GetAccountAuthorizationDetails"));
    running.until("it is entered anew", |_| entered() == 2).await;
    serving.sandbox.clear_faults();
    running.event("read.recovered", 1).await;
    assert_eq!(running.stop().await.code(), 0);
}

/// What a `credential_process` says: the keys of this account, which end so soon that they are asked for again and again.
fn given(world: &World) -> String {
    let key = |name: &str| world.keys().iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(50);
    json!({
        "Version": 1, "Expiration": format!("{end:.0}"), "SessionToken": key("AWS_SESSION_TOKEN"),
        "AccessKeyId": key("AWS_ACCESS_KEY_ID"), "SecretAccessKey": key("AWS_SECRET_ACCESS_KEY"),
    })
    .to_string()
}

#[test]
fn while_the_credentials_are_another_accounts_nothing_is_read_or_written_there_and_it_goes_on_when_they_are_right() {
    let [one, two] = [World::new(), World::new()];
    for world in [&one, &two] {
        world.role_with("web", &without_key());
    }
    one.settings("resyncInterval: 1s");
    one.manifest("web", &with_key("roles: [web]"));
    let gives = |world: &World| {
        one.write("next.json", &given(world));
        std::fs::rename(one.at("next.json"), one.at("given.json")).unwrap();
    };
    gives(&one);
    one.write("config.ini", &format!("[default]\ncredential_process = /bin/cat {}\n", one.at("given.json").display()));
    let mut program = one.program(&["run"]);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        program.env_remove(name);
    }
    let daemon = Daemon::start(program.env("AWS_CONFIG_FILE", one.at("config.ini")));
    daemon.take("drift.repaired", "web");
    gives(&two);
    let told = daemon.take("read.failed", "");
    let said = format!("they are of account {}, and not of {}: they are not used", two.account, one.account);
    assert!(told["message"].as_str().unwrap().contains(&said), "{told}");
    one.aws(&["iam", "delete-role-policy", "--role-name", "web", "--policy-name", POLICY]);
    gives(&one);
    daemon.take("drift.repaired", "web");
    daemon.stop("TERM");
    assert_eq!((one.document("web"), two.document("web")), (Some(documented()), Some(without_key())));
}

#[test]
fn an_account_that_is_configured_without_a_role_is_not_entered_with_credentials_of_another_one() {
    let [one, two] = [World::new(), World::new()];
    for world in [&one, &two] {
        world.role_with("web", &without_key());
    }
    one.settings(&format!("resyncInterval: 1s, accounts: [{{id: \"{}\"}}]", two.account));
    one.manifest("web", &with_key("roles: [web], accountIds: \"*\""));
    let daemon = one.daemon(&[]);
    let told = daemon.take("account.not_entered", "");
    let said = format!("they are of account {}, and not of {}: they are not used", one.account, two.account);
    assert!(told["message"].as_str().unwrap().contains(&said), "{told}");
    let hint = told["hint"].as_str().unwrap();
    assert!(hint.starts_with(&format!("say in `assumeRoleArn` which role of account {}", two.account)), "{hint}");
    daemon.stop("TERM");
    assert_eq!((one.document("web"), two.document("web")), (Some(without_key()), Some(without_key())));
}
