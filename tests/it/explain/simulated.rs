//! `explain --simulate`: what IAM's policy simulator says, beside what was found here.

use serde_json::{Value, json};
use ssm_role_controller::sandbox::RoleSeed;

use super::{ACCOUNT, CHANNELS, CORE, REGISTER, Scene, allow, document, node, right};
use crate::{sandbox_control::ask, support::world::POLICY};

/// What is said on both sides of an action: ours, the simulator's, what the organization allows, whether they disagree.
#[track_caller]
fn sides(explained: &Value, action: &str) -> Value {
    let simulated = explained["simulated"].as_array().unwrap_or_else(|| panic!("{explained}"));
    let found = simulated.iter().find(|said| said["action"] == action).unwrap_or_else(|| panic!("{explained}"));
    json!([found["ours"], found["simulator"], found["allowedByOrganizations"], found["disagrees"]])
}

fn table(more: &[Value]) -> Value {
    let allowed = |action| json!({"action": action, "decision": "allowed", "allowed_by_organizations": true});
    let channels = CHANNELS.into_iter().chain([REGISTER, "s3:GetEncryptionConfiguration"]).map(allowed);
    json!({"role": "web", "results": more.iter().cloned().chain(channels).collect::<Vec<_>>()})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_is_shown_side_by_side_and_agrees() {
    let scene = Scene::new().await;
    scene.role(node("web", &right()[..2]).attached(CORE), "");
    ask(scene.serving.port, "POST", "/_sandbox/simulations", table(&[])).await;
    let (ended, explained) = scene.explain_with("web", &["--simulate"]).await;
    assert_eq!((ended.code(), ended.err.as_str()), (0, ""));
    assert_eq!(explained["simulated"].as_array().unwrap().len(), 6, "{explained}");
    for action in CHANNELS.into_iter().chain([REGISTER, "s3:GetEncryptionConfiguration"]) {
        assert_eq!(sides(&explained, action), json!(["Met", "allowed", true, false]));
    }
    let text = scene.run(&["explain", "web", "--simulate"]).await.out;
    assert!(text.contains("ssmmessages:OpenDataChannel on *: here allowed, the simulator allowed\n"), "{text}");
    assert!(text.contains(&format!("on arn:aws:ec2:*:{ACCOUNT}:instance/i-*: here allowed, the simulator allowed")));
    assert!(!text.contains("DISAGREE"), "{text}");
    // Without being told to, nobody asks it.
    assert_eq!(scene.explain("web").await["simulated"], Value::Null);
    assert_eq!(scene.serving.sandbox.counts()["SimulatePrincipalPolicy"].calls, 6, "one call a resource");
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_control_policy_that_iam_does_not_show_is_told_as_a_disagreement() {
    let scene = Scene::new().await;
    scene.role(node("web", &right()[..2]), "");
    let shut = json!({"action": CHANNELS[1], "decision": "implicitDeny", "allowed_by_organizations": false});
    ask(scene.serving.port, "POST", "/_sandbox/simulations", table(&[shut])).await;
    let (ended, explained) = scene.explain_with("web", &["--simulate"]).await;
    assert_eq!((ended.code(), &explained["verdict"]), (0, &json!("Ready")), "our own verdict is our own");
    assert_eq!(sides(&explained, CHANNELS[1]), json!(["Met", "implicitDeny", false, true]));
    assert_eq!(sides(&explained, CHANNELS[0]), json!(["Met", "allowed", true, false]));
    let text = scene.run(&["explain", "web", "--simulate"]).await.out;
    let told = "ssmmessages:CreateDataChannel on *: here allowed, the simulator implicitDeny, since a policy of the organization does not allow it: THEY DISAGREE\n";
    assert!(text.contains(told), "{text}");

    // The other way round, and where ours leaves it open there is nothing to disagree with.
    scene.role(node("web", &[allow(&CHANNELS[..3], "*")]), "");
    let open =
        json!({"action": "s3:GetEncryptionConfiguration", "decision": "allowed", "missing_context": ["aws:SourceVpc"]});
    ask(scene.serving.port, "POST", "/_sandbox/simulations", table(&[open])).await;
    let (_, explained) = scene.explain_with("web", &["--simulate"]).await;
    assert_eq!(sides(&explained, CHANNELS[3]), json!(["Missing", "allowed", true, true]));
    assert_eq!(sides(&explained, "s3:GetEncryptionConfiguration"), json!(["Unknown", "allowed", null, false]));
    let text = scene.run(&["explain", "web", "--simulate"]).await.out;
    assert!(text.contains("here unknown, the simulator allowed, not knowing aws:SourceVpc\n"), "{text}");
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_default_host_management_must_not_be_granted_is_asked_of_the_simulator_too() {
    let scene = Scene::new().await;
    let spec = "nodeRegistration: defaultHostManagement";
    scene.role(RoleSeed::new("web").policy(POLICY, &document(&right()[..2])).instance_profile("web"), spec);
    for (allowed, decision) in [(false, "implicitDeny"), (true, "allowed")] {
        let said = json!({"action": REGISTER, "decision": decision});
        ask(scene.serving.port, "POST", "/_sandbox/simulations", table(&[said])).await;
        let (_, explained) = scene.explain_with("web", &["--simulate"]).await;
        assert_eq!(sides(&explained, REGISTER), json!(["Met", decision, null, allowed]), "ours is that it is denied");
        assert_eq!(explained["simulated"][0]["resource"], format!("arn:aws:ec2:*:{ACCOUNT}:instance/i-*"));
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_a_simulator_is_told_and_the_rest_is_explained() {
    let scene = Scene::new().await;
    scene.role(node("web", &right()[..2]), "");
    let (ended, explained) = scene.explain_with("web", &["--simulate"]).await;
    assert_eq!((ended.code(), &explained["verdict"], &explained["simulated"]), (1, &json!("Ready"), &Value::Null));
    let [told, hint] = [
        "IAM's policy simulator gave no answer: SimulatePrincipalPolicy: NotImplemented",
        "hint: allow iam:SimulatePrincipalPolicy",
    ];
    assert!(ended.err.starts_with("error: ") && ended.err.contains(told) && ended.err.contains(hint), "{}", ended.err);
    scene.end();
}
