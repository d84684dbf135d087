//! `controller-policy`: what it prints, and what moto, enforcing it, then allows.

use std::slice::from_ref;

use aws_sdk_iam::config::Credentials;
use serde_json::{Value, json};
use ssm_role_controller::policy::document::Document;

use crate::{
    offline::Tree,
    support::{
        Clients, code,
        moto::Moto,
        process::Finished,
        program::{finish, program},
        world::{KEY, POLICY, manifest, settings, with_key},
    },
};

const ACCOUNT: &str = "accountId: \"111122223333\"";

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// What somebody left of the policy.
const NARROWED: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssmmessages:OpenDataChannel","Resource":"*"}]}"#;

fn kept(roles: &str) -> String {
    manifest("kept", &format!("roles: [{roles}], {ACCOUNT}"))
}

#[track_caller]
fn printed(tree: &Tree, arguments: &[&str]) -> Finished {
    let finished = tree.run(&[&["controller-policy"], arguments].concat()).exits(0);
    Document::parse(&finished.stdout).unwrap();
    finished
}

fn shown(finished: &Finished) -> String {
    format!("{}\n{}", finished.stdout, finished.stderr)
}

#[test]
fn a_write_is_allowed_only_where_a_manifest_has_something_written() {
    let tree = Tree::of(&[
        ("config/kept.yaml", kept("web, Bastion")),
        ("config/paused.yaml", manifest("paused", &format!("roles: [paused], suspend: true, {ACCOUNT}"))),
        ("config/seen.yaml", manifest("seen", &format!("roles: [seen], mode: observe, {ACCOUNT}"))),
        ("config/retired.yaml", manifest("retired", &format!("roles: [retired], state: absent, {ACCOUNT}"))),
        ("config/both.yaml", manifest("both", &format!("roles: [web], policyName: Old, state: absent, {ACCOUNT}"))),
        ("config/later.yaml", manifest("later", &format!("roles: [later], state: absent, mode: observe, {ACCOUNT}"))),
    ]);
    insta::assert_snapshot!(shown(&printed(&tree, &[])));
}

#[test]
fn manifests_that_name_no_mode_are_taken_by_the_default_one() {
    let tree = Tree::of(&[
        ("config/default.yaml", manifest("default", &format!("roles: [seen], {ACCOUNT}"))),
        ("config/kept.yaml", manifest("kept", &format!("roles: [web], mode: enforce, {ACCOUNT}"))),
        ("config/controller.yaml", settings("defaultMode: observe, suspend: true")),
    ]);
    let policy = printed(&tree, &[]).json();
    let resources = |sid: &str| {
        let statements = policy["Statement"].as_array().unwrap();
        statements.iter().find(|statement| statement["Sid"] == sid).unwrap()["Resource"].to_string()
    };
    let (read, repaired) = (resources("ReadOneRole"), resources("RepairInlinePolicies"));
    assert!(read.contains("/seen") && read.contains("/web"), "{policy}");
    assert!(!repaired.contains("/seen") && repaired.contains("/web"), "the kill switch is meant to be lifted");
}

#[test]
fn each_option_bounds_the_policy_in_its_way() {
    let tree = Tree::of(&[("config/kept.yaml", kept("web"))]);
    for (name, arguments) in [
        (
            "paths",
            &["--paths", "--path-prefix", "/fleet/", "--path-prefix", "/apps/", "--path-prefix", "/apps/web/"][..],
        ),
        ("path-prefix", &["--path-prefix", "/fleet/"]),
        ("tag", &["--tag", "ssm-role-controller.dev/managed=true"]),
        ("permissions-boundary", &["--permissions-boundary", "arn:aws:iam::111122223333:policy/ceiling"]),
        ("partition", &["--partition", "aws-us-gov"]),
        ("own-role", &["--own-role", "night-watch"]),
        (
            "with-renames",
            &["--with-renames", "--tag", "team=web", "--permissions-boundary", "arn:aws:iam::aws:policy/C"],
        ),
        ("with-simulator", &["--with-simulator", "--paths", "--path-prefix", "/fleet/"]),
        ("observe", &["--observe"]),
    ] {
        insta::assert_snapshot!(name, shown(&printed(&tree, arguments)));
    }
}

#[test]
fn the_partition_is_that_of_the_keys() {
    let key = |name: &str, partition: &str| {
        let spec = with_key(&format!("roles: [{name}], {ACCOUNT}"));
        let region = KEY.replace("arn:aws:", &format!("arn:{partition}:"));
        manifest(name, &spec.replace(KEY, &region))
    };
    let tree = Tree::of(&[("config/a.yaml", key("a", "aws-cn")), ("config/kept.yaml", kept("web"))]);
    let policy = printed(&tree, &[]).stdout;
    assert!(policy.contains("\"arn:aws-cn:iam::111122223333:role/web\"") && !policy.contains("arn:aws:"), "{policy}");
    let tree = Tree::of(&[("config/a.yaml", key("a", "aws-cn")), ("config/b.yaml", key("b", "aws"))]);
    let refused = tree.run(&["controller-policy"]).exits(1);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("`--partition` says which"), "{refused:?}");
    assert!(printed(&tree, &["--partition", "aws"]).stdout.contains("arn:aws:iam::111122223333:role/a\""));
}

#[test]
fn it_says_so_where_nothing_names_the_one_account_or_the_paths() {
    let one = ("config/kept.yaml", kept("web"));
    let other = ("config/other.yaml", manifest("other", "roles: [web], accountId: \"444455556666\""));
    let any = ("config/any.yaml", manifest("any", "roles: [any]"));
    let said = |files: &[(&str, String)], arguments: &[&str]| {
        let finished = Tree::of(files).run(&[&["controller-policy"], arguments].concat()).exits(1);
        assert_eq!(finished.stdout, "");
        finished.stderr
    };
    let said = [
        said(from_ref(&any), &[]),
        said(&[one.clone(), any.clone()], &[]),
        said(&[one.clone(), other.clone()], &[]),
        said(from_ref(&one), &["--account", "444455556666"]),
        said(&[("config/controller.yaml", settings("suspend: false"))], &[]),
        said(from_ref(&one), &["--paths"]),
        said(&[("config/broken.yaml", manifest("broken", "roles: []"))], &[]),
    ];
    insta::assert_snapshot!(said.join("\n"));

    let tree = Tree::of(&[one, other, any]);
    let policy = printed(&tree, &["--account", "444455556666"]).stdout;
    assert!(policy.contains("444455556666:role/web\"") && policy.contains("444455556666:role/any\""), "{policy}");
    assert!(!policy.contains("111122223333"), "{policy}");
}

#[test]
fn a_policy_that_iam_would_find_too_long_is_told_with_what_to_do() {
    let fleet = |size: usize| {
        let roles: Vec<String> = (0..size).map(|number| format!("web-server-{number:03}")).collect();
        Tree::of(&[("config/kept.yaml", kept(&roles.join(", ")))])
    };
    let notes = |size: usize, arguments: &[&str]| {
        let said = printed(&fleet(size), arguments).stderr;
        said.split("note: ").filter(|note| note.contains("too many")).map(str::to_owned).collect::<String>()
    };
    assert_eq!(notes(20, &[]), "");
    assert_eq!(notes(100, &["--paths", "--path-prefix", "/fleet/"]), "");
    let said = notes(30, &[]) + &notes(100, &[]);
    insta::assert_snapshot!(said);
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_enforcing_it_lets_plan_and_apply_work_and_refuses_every_other_role_and_its_own() {
    let moto = Moto::start();
    let clients = Clients::new(&moto.endpoint());
    let account = clients.sts.get_caller_identity().send().await.unwrap().account.unwrap();
    let fleet = [("web", "/fleet/web/"), ("retired", "/fleet/"), ("outside", "/"), ("ssm-role-controller", "/fleet/")];
    for (name, path) in fleet {
        let role = clients.iam.create_role().role_name(name).path(path).assume_role_policy_document(TRUST);
        role.send().await.unwrap();
    }
    clients.iam.create_user().user_name("controller").send().await.unwrap();
    let key = clients.iam.create_access_key().user_name("controller").send().await.unwrap().access_key.unwrap();
    let credentials = Credentials::new(key.access_key_id(), key.secret_access_key(), None, None, "tests");
    let bounded = Clients::with(&moto.endpoint(), credentials);
    let grant = async |name: &str, policy: &str| {
        let put = clients.iam.put_user_policy().user_name("controller").policy_name(name).policy_document(policy);
        put.send().await.unwrap();
    };
    let put = async |role: &str| {
        let put = bounded.iam.put_role_policy().role_name(role).policy_name(POLICY).policy_document(NARROWED);
        put.send().await
    };
    let delete = async |role: &str| bounded.iam.delete_role_policy().role_name(role).policy_name(POLICY).send().await;
    // moto writes a refusal in words that the SDK cannot read; the status is what is left.
    let denied = (403, String::new());

    let present = Tree::of(&[("config/web.yaml", manifest("web", "roles: [web]"))]);
    let both = Tree::of(&[
        ("config/web.yaml", manifest("web", "roles: [web]")),
        ("config/retired.yaml", manifest("retired", "roles: [retired], state: absent")),
    ]);
    let by_path = ["--paths", "--path-prefix", "/fleet/"];
    for arguments in [&[][..], &by_path] {
        moto.enforce(false);
        for (role, _) in fleet {
            let drifted = clients.iam.put_role_policy().role_name(role).policy_name(POLICY).policy_document(NARROWED);
            drifted.send().await.unwrap();
        }
        let policy = |tree: &Tree| {
            let asked = [&["controller-policy", "--account", &account], arguments].concat();
            tree.run(&asked).exits(0).stdout
        };
        grant("least", &policy(&present)).await;
        moto.enforce(true);
        let run = async |name: &str| {
            let mut command = program(&moto.endpoint(), &present.at("config"), &[name]);
            command.env("AWS_ACCESS_KEY_ID", key.access_key_id()).env("AWS_SECRET_ACCESS_KEY", key.secret_access_key());
            finish(command).await
        };
        for (name, status) in [("plan", 2), ("apply", 0), ("plan", 0)] {
            let ended = run(name).await;
            assert_eq!(ended.code(), status, "{name} {arguments:?}: {ended:?}");
            assert!(!ended.err.contains("AccessDenied"), "{ended:?}");
        }
        for role in ["outside", "ssm-role-controller"] {
            assert_eq!(code(put(role).await), denied, "{role} {arguments:?}");
        }
        // Nothing is absent so far.
        for role in ["web", "retired"] {
            assert_eq!(code(delete(role).await), denied, "{role} {arguments:?}");
        }

        moto.enforce(false);
        grant("least", &policy(&both)).await;
        moto.enforce(true);
        delete("retired").await.unwrap();
        for role in ["outside", "ssm-role-controller"] {
            assert_eq!(code(delete(role).await), denied, "{role} {arguments:?}");
        }
        if arguments.is_empty() {
            // By name what is removed is not kept, and what is kept is not removed.
            assert_eq!(code(delete("web").await), denied);
            assert_eq!(code(put("retired").await), denied);
            assert_eq!(code(bounded.iam.get_role().role_name("outside").send().await), denied);
        }
    }

    // Whatever else is attached to the controller's role, it does not widen itself.
    moto.enforce(false);
    grant("all", r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"}]}"#).await;
    moto.enforce(true);
    put("outside").await.unwrap();
    let (own, iam, core) =
        ("ssm-role-controller", &bounded.iam, "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore");
    assert_eq!(code(put(own).await), denied);
    assert_eq!(code(delete(own).await), denied);
    assert_eq!(code(iam.attach_role_policy().role_name(own).policy_arn(core).send().await), denied);
    assert_eq!(code(iam.detach_role_policy().role_name(own).policy_arn(core).send().await), denied);
    assert_eq!(code(iam.update_assume_role_policy().role_name(own).policy_document(TRUST).send().await), denied);
    let bound = iam.put_role_permissions_boundary().role_name(own).permissions_boundary(core);
    assert_eq!(code(bound.send().await), denied);
    assert_eq!(code(iam.delete_role_permissions_boundary().role_name(own).send().await), denied);
    iam.get_role().role_name(own).send().await.unwrap();
}

#[test]
fn with_several_accounts_each_has_a_policy_of_its_own_and_the_home_may_assume_the_roles_of_the_others() {
    let keeper = "arn:aws:iam::222222222222:role/keepers/keeper";
    let entry = format!("accounts: [{{id: \"222222222222\", assumeRoleArn: \"{keeper}\"}}]");
    let tree = Tree::of(&[
        ("config/web.yaml", manifest("web", "roles: [web], accountIds: [\"222222222222\"]")),
        ("config/controller.yaml", settings(&entry)),
    ]);
    let statements = |account: &str| -> Vec<(String, Value)> {
        let finished = printed(&tree, &["--account", account]).exits(0);
        let policy: Value = serde_json::from_str(&finished.stdout).unwrap();
        let statements = policy["Statement"].as_array().unwrap().iter();
        statements.map(|one| (one["Sid"].as_str().unwrap().to_owned(), one["Resource"].clone())).collect()
    };
    let home = statements("111122223333");
    assert_eq!(home[0], ("EnterAccounts".to_owned(), json!([keeper])));
    assert_eq!(home.iter().map(|(sid, _)| sid.as_str()).collect::<Vec<_>>(), ["EnterAccounts", "NeverItself"]);
    let there = statements("222222222222");
    assert!(!there.iter().any(|(sid, _)| sid == "EnterAccounts"), "{there:?}");
    assert_eq!(there.last().unwrap(), &("NeverItself".to_owned(), json!([keeper])));
}
