//! The whole text for people, the advice in it, and what is said where there is nothing to explain.

use serde_json::{Value, json};
use ssm_role_controller::sandbox::{Effect, Fault, RoleSeed};

use super::{ACCOUNT, CHANNELS, CORE, Scene, allow, document, node, right};
use crate::support::world::{KEY, POLICY, with_key};

fn advice(explained: &Value) -> Vec<&str> {
    explained["advice"].as_array().unwrap().iter().map(|advice| advice.as_str().unwrap()).collect()
}

#[track_caller]
fn assert_advised(explained: &Value, words: &str) {
    let advice = advice(explained);
    assert!(advice.iter().any(|advice| advice.contains(words)), "`{words}` is not among {advice:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_for_people() {
    let scene = Scene::new().await;
    let guard = scene.managed("Guard", &[super::deny("Shut", &["ssmmessages:Open*"], "*")]);
    let broken = RoleSeed::new("broken").policy(POLICY, &document(&right()[..2])).attached(&guard);
    scene.role(broken, &with_key("").replace(", session", "session"));
    scene
        .role(RoleSeed::new("web").policy(POLICY, &document(&right()[..2])).attached(CORE).instance_profile("web"), "");
    for role in ["broken", "web"] {
        let ended = scene.run(&["explain", role]).await;
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""));
        insta::with_settings!({snapshot_path => "../snapshots"}, {
            insta::assert_snapshot!(format!("explain-{role}"), ended.out);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_granted_beyond_need_or_twice_is_advice_and_no_verdict() {
    let scene = Scene::new().await;
    scene.role(node("core", &right()[..2]).attached(CORE), "");
    let wide = [allow(&["ssmmessages:*", "s3:*"], "*"), allow(&["kms:Decrypt"], "*")];
    scene.role(node("wide", &wide), &with_key("").replace(", session", "session"));
    let revoked = json!({"Effect": "Deny", "Action": ["*"], "Resource": ["*"],
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2024-01-02T03:04:05.678Z"}}});
    scene.role(node("revoked", &right()[..2]).policy("AWSRevokeOlderSessions", &document(&[revoked])), "");
    let ahead = json!({"Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2999-01-01T00:00:00Z"}}});
    scene.role(node("ahead", &right()[..2]).policy("Embargo", &document(&[ahead])), "");
    scene.role(node("tight", &right()[..2]), "");

    let core = scene.explain("core").await;
    assert_eq!(core["verdict"], "Ready");
    assert_advised(&core, "AmazonSSMManagedInstanceCore lets the node read every SSM parameter of the account");
    assert_advised(
        &core,
        "granted twice, by inline policy SessionManagerPermissions and managed policy arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore: ssmmessages:CreateControlChannel, ssmmessages:CreateDataChannel, ssmmessages:OpenControlChannel, ssmmessages:OpenDataChannel",
    );
    assert_advised(&core, "granted twice, by inline policy Register and managed policy");

    let wide = scene.explain("wide").await;
    assert_eq!(wide["verdict"], "Ready");
    assert_advised(&wide, "statement 1 of inline policy SessionManagerPermissions grants ssmmessages:*");
    assert_advised(
        &wide,
        "statement 2 of inline policy SessionManagerPermissions lets the node decrypt with every key",
    );

    let revoked = scene.explain("revoked").await;
    assert_eq!(revoked["verdict"], "Ready", "nodes fetch new credentials: {revoked}");
    assert_advised(
        &revoked,
        "inline policy AWSRevokeOlderSessions denies everything to credentials that were issued before 2024-01-02T03:04:05.678Z",
    );

    let ahead = scene.explain("ahead").await;
    assert_eq!(ahead["verdict"], "Conditional", "no credentials are newer: {ahead}");
    assert_advised(&ahead, "issued before 2999-01-01T00:00:00Z: as far as is known there are none that are newer");

    let size: usize =
        [document(&right()[..2]), document(&[allow(&[super::REGISTER], "*")])].iter().map(String::len).sum();
    let tight = scene.explain("tight").await;
    assert_eq!(
        advice(&tight),
        [format!("room: {} of the 10240 characters for inline policies are left", 10_240 - size)]
    );
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_no_manifest_names_is_an_error_with_a_hint() {
    let scene = Scene::new().await;
    scene.role(node("web", &right()[..2]), "");
    scene.plant(node("other", &right()[..2]));
    for arguments in [&["explain", "other"][..], &["explain", "other", "-o", "json"], &["explain", "nobody"]] {
        let ended = scene.run(arguments).await;
        let told = format!("error: no manifest is about the role {}\nhint: ", arguments[1]);
        assert_eq!((ended.code(), ended.out.as_str()), (1, ""));
        assert!(ended.err.starts_with(&told), "{}", ended.err);
    }
    scene.manifest("elsewhere", "roles: [away], accountId: \"999999999999\"");
    let ended = scene.run(&["explain", "away"]).await;
    assert_eq!((ended.code(), ended.out.as_str()), (1, ""));
    assert!(ended.err.contains("are about another account than 111122223333") && ended.err.contains("hint: "));
    let ended = scene.run(&["explain", "not a role"]).await;
    assert_eq!((ended.code(), ended.out.as_str()), (1, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_be_looked_into_is_said_to_be_so_and_exits_1() {
    let scene = Scene::new().await;
    scene.manifest("ghost", "roles: [ghost]");
    let (ended, explained) = scene.explain_with("ghost", &[]).await;
    assert_eq!((ended.code(), &explained["verdict"], &explained["checks"]), (1, &Value::Null, &json!([])));
    assert_eq!(explained["conditions"][1]["reason"], "RoleNotFound");
    let text = scene.run(&["explain", "ghost"]).await.out;
    assert!(text.contains("there is no role of this name in the account") && text.contains("  hint: "), "{text}");

    scene.role(node("web", &right()[..2]), "");
    scene.serving.sandbox.fault(Fault::new(Effect::Deny).on("GetCallerIdentity"));
    let ended = scene.run(&["explain", "web"]).await;
    assert_eq!((ended.code(), ended.out.as_str()), (1, ""));
    assert!(
        ended.err.starts_with("error: GetCallerIdentity: AccessDenied") && ended.err.contains("hint: "),
        "{}",
        ended.err
    );
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_is_explained_and_what_is_to_be_gone_is_not_asked() {
    let scene = Scene::new().await;
    scene.role(RoleSeed::new("alone").policy(POLICY, &document(&[allow(&CHANNELS, "*")])), "suspend: true");
    scene.role(node("gone", &right()[..2]), "state: absent");
    let alone = scene.explain("alone").await;
    assert_eq!((&alone["verdict"], &alone["conditions"][1]["status"]), (&json!("NotReady"), &json!("False")));
    assert_eq!(alone["conditions"][0]["reason"], "Suspended");
    for arguments in [&[][..], &["--simulate"]] {
        let (ended, gone) = scene.explain_with("gone", arguments).await;
        assert_eq!(
            (ended.code(), &gone["verdict"], &gone["conditions"][1]["reason"]),
            (0, &Value::Null, &json!("NotAsked"))
        );
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_manifest_that_names_the_role_is_explained_and_any_case_of_its_name_finds_it() {
    let scene = Scene::new().await;
    scene.role(node("Web", &right()), "");
    scene.manifest(
        "keys",
        &with_key("roles: [Web], policyName: Keys").replace(KEY, &KEY.replace(ACCOUNT, "444455556666")),
    );
    let ended = scene.run(&["explain", "WEB", "-o", "json"]).await;
    assert_eq!((ended.code(), ended.err.as_str()), (0, ""));
    let explained: Value = serde_json::from_str(&ended.out).unwrap();
    let seen = |explained: &Value| json!([explained["role"], explained["policy"], explained["verdict"]]);
    let seen: Vec<Value> = explained.as_array().unwrap().iter().map(seen).collect();
    assert_eq!(seen, [json!(["Web", "Keys", "NotReady"]), json!(["Web", POLICY, "Ready"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_sent_to_an_apply_that_writes_nothing() {
    let scene = Scene::new().await;
    let short = [right()[1].clone()];
    scene.role(node("enforced", &short), "");
    scene.role(node("observed", &short), "mode: observe");
    let shut = super::deny("Shut", &["iam:*"], "*");
    scene.role(node("blocked", &[short[0].clone(), shut]), "");
    let write = |role: &str| {
        format!("have the policy SessionManagerPermissions written as manifest {role} asks: it grants this")
    };
    for (role, arguments, and) in [
        ("enforced", &[][..], " (`apply` writes it)"),
        (
            "enforced",
            &["--observe"],
            "; `apply` does not write it as things are (ObserveMode): leave --observe out to have it repaired",
        ),
        (
            "observed",
            &[],
            "; `apply` does not write it as things are (ObserveMode): set mode: enforce in the manifest to have it repaired",
        ),
        (
            "blocked",
            &[],
            "; `apply` does not write it as things are (DeniesPresent): if the Deny is no longer wanted, ",
        ),
    ] {
        let (ended, explained) = scene.explain_with(role, arguments).await;
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""));
        let remedy = super::check(&explained, CHANNELS[0])["remedy"].as_str().unwrap();
        assert!(remedy.starts_with(&format!("{}{and}", write(role))), "{role} {arguments:?}: {remedy}");
    }
    scene.end();
}
