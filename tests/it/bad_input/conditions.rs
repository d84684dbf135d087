//! What is found against IAM and must not be written to: told with its reason and a hint, by every command.

use ssm_role_controller::sandbox::RoleSeed;

use super::{ACCOUNT, CHANNELS, POLICY, S3, Scene, assert_said, document, right};
use crate::support::{Clients, program::finish};

/// A role whose live policy is this document.
fn holding(name: &str, live: &str) -> RoleSeed {
    RoleSeed::new(name).policy(POLICY, live)
}

/// Everything that is held, with the reason and words of its hint.
const HELD: [(&str, &str, &str); 7] = [
    ("denies", "DeniesPresent", "remove it from the policy by hand"),
    ("foreign", "ForeignPolicy", "another policyName"),
    ("full", "NoRoom", "shorten or remove other inline policies"),
    ("ghost", "RoleNotFound", "correct the name in the manifest, or create the role"),
    ("linked", "ProtectedRole", "take the role out of the manifest"),
    ("reserved", "ProtectedRole", "take the role out of the manifest"),
    ("registers", "NodeRegistrationWouldBeLost", "nodeRegistration: granted"),
];

async fn scene() -> Scene {
    let scene = Scene::with(&[]).await;
    let registers =
        document(&[CHANNELS, S3, r#"{"Effect":"Allow","Action":"ssm:UpdateInstanceInformation","Resource":"*"}"#]);
    let padding =
        format!(r#"{{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::{}/*"}}"#, "x".repeat(9_950));
    for role in [
        holding("denies", &document(&[CHANNELS, r#"{"Effect":"Deny","Action":"s3:*","Resource":"*"}"#])),
        holding("foreign", &document(&[r#"{"Effect":"Allow","Action":"dynamodb:*","Resource":"*"}"#])),
        holding("registers", &registers),
        RoleSeed::new("full").policy("Big", &document(&[&padding])),
        RoleSeed::new("linked").path("/aws-service-role/ec2.amazonaws.com/"),
        RoleSeed::new("reserved").path("/aws-reserved/sso.amazonaws.com/"),
        RoleSeed::new("web"),
    ] {
        scene.plant(role);
    }
    let roles: Vec<&str> = HELD.iter().map(|(role, ..)| *role).chain(["web"]).collect();
    scene.save("fleet.yaml", &super::manifest("fleet", &roles));
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn every_condition_is_shown_by_plan_with_its_reason_and_a_hint() {
    let scene = scene().await;
    let ended = scene.finish(&["plan"]).await;
    assert_eq!(ended.code(), 1, "{}", ended.err);
    for (role, reason, hint) in HELD {
        let one = ended
            .out
            .split("\n\n")
            .find(|part| part.contains(&format!("role {role}, policy {POLICY} (account {ACCOUNT}, manifest fleet): ")));
        assert_said(
            one.unwrap_or_else(|| panic!("{role}: {}", ended.out)),
            &["blocked", &format!("{reason}: "), "hint: ", hint],
        );
    }
    assert_eq!(scene.writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_condition_is_written_to_by_apply_and_the_rest_is() {
    let scene = scene().await;
    let ended = scene.finish(&["apply"]).await;
    assert_eq!(ended.code(), 1, "{}", ended.err);
    for (_, reason, hint) in HELD {
        assert_said(&ended.out, &[reason, hint]);
    }
    assert_said(&ended.out, &["1 policy was written"]);
    assert_eq!((scene.writes(), scene.live("web")), (1, Some(right())));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_condition_is_told_once_by_the_daemon_and_never_written_to() {
    let scene = scene().await;
    let mut running = scene.run();
    running.event("drift.repaired", 1).await;
    let asked = scene.calls("GetAccountAuthorizationDetails");
    running.until("three more passes", |_| scene.calls("GetAccountAuthorizationDetails") >= asked + 3).await;
    for (role, reason, hint) in HELD {
        let events = running.events();
        let about = |name: &str| events.iter().filter(|event| event["role"] == role && event["event"] == name).count();
        assert_eq!(about("session.not_ready"), usize::from(role != "ghost"), "{role}: no profile holds it");
        let apart = ["drift.detected", "session.not_ready"];
        let told: Vec<_> = events
            .iter()
            .filter(|event| event["role"] == role && !apart.contains(&event["event"].as_str().unwrap()))
            .collect();
        assert_eq!(told.len(), 1, "{role}: {told:?}");
        let expected = if role == "ghost" { "role.not_found" } else { "drift.blocked" };
        assert_eq!((told[0]["event"].as_str(), told[0]["reason"].as_str()), (Some(expected), Some(reason)));
        assert_eq!((told[0]["account"].as_str(), told[0]["manifest"].as_str()), (Some(ACCOUNT), Some("fleet")));
        assert_said(told[0]["message"].as_str().unwrap(), &[&format!("role {role} in account {ACCOUNT}")]);
        assert_said(told[0]["hint"].as_str().unwrap(), &[hint]);
    }
    assert_eq!(scene.writes(), 1);
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_own_role_is_never_written_to() {
    let scene = Scene::with(&[]).await;
    let caller = Clients::new(&scene.serving.endpoint()).sts.get_caller_identity().send().await.unwrap();
    let own = caller.arn().unwrap().split('/').nth(1).unwrap().to_owned();
    scene.plant(RoleSeed::new(&own));
    scene.save("fleet.yaml", &super::manifest("fleet", &[&own]));
    let ended = scene.finish(&["plan"]).await;
    assert_said(&ended.out, &["missing, blocked", "OwnRole: ", "it never writes to itself", "hint: "]);
    let ended = scene.finish(&["apply"]).await;
    assert_eq!(ended.code(), 1);
    assert_said(&ended.out, &["OwnRole: ", "nothing was written"]);
    let mut running = scene.run();
    assert_eq!(running.event("drift.blocked", 1).await["reason"], "OwnRole");
    assert_eq!((running.stop().await.code(), scene.writes()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_document_that_cannot_be_read_is_altered_and_repaired() {
    let broken = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ssmmessages:OpenDataChannel""#;
    let scene = Scene::with(&[]).await;
    scene.plant(holding("web", broken));
    scene.plant(holding("prose", "this is no policy"));
    scene.save("fleet.yaml", &super::manifest("fleet", &["web", "prose"]));
    let ended = scene.finish(&["plan"]).await;
    assert_eq!(ended.code(), 2);
    assert_said(
        &ended.out,
        &["role web", "altered, to be repaired", "cannot be read as a policy: ", "role prose", "altered, blocked"],
    );
    let mut running = scene.run();
    let told = running.event("drift.repaired", 1).await;
    assert_eq!((told["role"].as_str(), told["drift"].as_str()), (Some("web"), Some("altered")));
    assert_eq!(told["replaced"].as_str(), Some(broken));
    assert_eq!(running.event("drift.blocked", 1).await["reason"], "ForeignPolicy");
    running.stop().await;
    assert_eq!((scene.live("web"), scene.live("prose").as_deref()), (Some(right()), Some("this is no policy")));
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_for_another_account_are_told_and_nothing_is_read_or_written_for_them() {
    let scene = Scene::with(&["web"]).await;
    scene.save("fleet.yaml", &(super::manifest("fleet", &["web"]) + "  accountId: \"999999999999\"\n"));
    for command in ["plan", "apply"] {
        let ended = finish(scene.command(&[command])).await;
        assert_eq!(ended.code(), 1);
        assert_said(
            &ended.out,
            &["role web", "999999999999", "AccountMismatch", &format!("belong to account {ACCOUNT}"), "hint: "],
        );
    }
    let mut running = scene.run();
    assert_eq!(running.event("drift.blocked", 1).await["reason"], "AccountMismatch");
    assert_eq!(running.stop().await.code(), 0);
    assert_eq!(scene.serving.sandbox.counts().keys().copied().collect::<Vec<_>>(), ["GetCallerIdentity"]);
}
