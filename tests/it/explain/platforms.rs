//! What each platform asks for: who may assume the role, and whether it has to register.

use serde_json::{Value, json};
use ssm_role_controller::sandbox::RoleSeed;

use super::{ACCOUNT, CHANNELS, CORE, REGISTER, Scene, Seen, allow, check, document, node, reasons, right};
use crate::support::world::POLICY;

/// AWS's own example of a trust policy for hybrid nodes, for an account.
fn hybrid(account: &str) -> String {
    include_str!("../../data/policies/trust_hybrid_ssm.json").replace("123456789012", account)
}

fn trust(service: &str) -> Value {
    json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instances_role_is_trusted_to_ec2_and_held_by_a_profile() {
    let scene = Scene::new().await;
    scene.role(node("ready", &right()[..2]), "");
    scene.role(node("strange", &right()[..2]).trust(&document(&[trust("lambda.amazonaws.com")])), "");
    let mut shut = trust("ec2.amazonaws.com");
    shut["Effect"] = json!("Deny");
    shut["Sid"] = json!("Retired");
    scene.role(node("retired", &right()[..2]).trust(&document(&[trust("ec2.amazonaws.com"), shut])), "");
    let mut bound = trust("ec2.amazonaws.com");
    bound["Condition"] = json!({"StringEquals": {"aws:SourceAccount": ACCOUNT}});
    scene.role(node("bound", &right()[..2]).trust(&document(&[bound])), "");

    let ready = scene.explain("ready").await;
    assert_eq!((&ready["verdict"], &ready["conditions"][1]["status"]), (&json!("Ready"), &json!("True")));
    assert_eq!(check(&ready, "TrustPolicy")["evidence"], "granted by statement 1 of the trust policy");
    assert_eq!(check(&ready, "InstanceProfile")["evidence"], "held by ready");
    let symptom = "the instance gets no credentials of the role";
    for (role, verdict, reason, evidence, remedy) in [
        (
            "strange",
            "NotReady",
            "TrustPolicyRefuses",
            "no statement of the trust policy admits it",
            "have the trust policy allow sts:AssumeRole to the service ec2.amazonaws.com",
        ),
        (
            "retired",
            "NotReady",
            "TrustPolicyRefuses",
            "denied by statement 2 (Retired) of the trust policy",
            "change statement 2 (Retired) of the trust policy so that it does not deny ec2.amazonaws.com",
        ),
        (
            "bound",
            "Conditional",
            "DependsOnConditions",
            "statement 1 of the trust policy depends on aws:SourceAccount",
            "see whether the requests of ec2.amazonaws.com meet it",
        ),
    ] {
        let seen = Seen { verdict, check: "TrustPolicy", reason, evidence, symptom, remedy };
        assert_eq!(reasons(&scene.shows(role, seen).await), [reason], "{role}");
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hybrid_nodes_role_is_trusted_to_systems_manager_for_this_very_account() {
    let scene = Scene::new().await;
    let seed =
        |name: &str, trust: &str| RoleSeed { instance_profiles: Vec::new(), ..node(name, &right()[..2]) }.trust(trust);
    scene.role(seed("right", &hybrid(ACCOUNT)), "platform: hybrid");
    scene.role(seed("foreign", &hybrid("999999999999")), "platform: hybrid");
    scene.role(seed("of-ec2", &document(&[trust("ec2.amazonaws.com")])), "platform: hybrid");
    let right = scene.explain("right").await;
    assert_eq!(right["verdict"], "Ready", "{right}");
    assert_eq!(check(&right, "Registration")["resource"], format!("arn:aws:ssm:*:{ACCOUNT}:managed-instance/mi-*"));
    assert!(right["checks"].as_array().unwrap().iter().all(|check| check["check"] != "InstanceProfile"));
    for (role, evidence, remedy) in [
        (
            "foreign",
            "statement 1 of the trust policy admits it, but under a condition that its requests do not meet",
            "have the conditions of statement 1 of the trust policy admit the requests of ssm.amazonaws.com for account 111122223333",
        ),
        (
            "of-ec2",
            "no statement of the trust policy admits it",
            "have the trust policy allow sts:AssumeRole to the service ssm.amazonaws.com",
        ),
    ] {
        let seen = Seen {
            verdict: "NotReady",
            check: "TrustPolicy",
            reason: "TrustPolicyRefuses",
            evidence,
            symptom: "the node is not listed: its activation is refused",
            remedy,
        };
        assert_eq!(reasons(&scene.shows(role, seen).await), ["TrustPolicyRefuses"], "{role}");
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tasks_role_is_trusted_to_ecs_and_has_nothing_to_register() {
    let scene = Scene::new().await;
    let seed = |name: &str| RoleSeed::new(name).policy(POLICY, &document(&[allow(&CHANNELS, "*")]));
    scene.role(seed("task").trust(&document(&[trust("ecs-tasks.amazonaws.com")])), "platform: ecs");
    scene.role(seed("instance"), "platform: ecs");
    let task = scene.explain("task").await;
    assert_eq!(task["verdict"], "Ready", "{task}");
    let asked: Vec<&Value> = task["checks"].as_array().unwrap().iter().map(|check| &check["check"]).collect();
    assert_eq!(asked, ["TrustPolicy", "Channels", "Channels", "Channels", "Channels"]);
    let instance = Seen {
        verdict: "NotReady",
        check: "TrustPolicy",
        reason: "TrustPolicyRefuses",
        evidence: "no statement of the trust policy admits it",
        symptom: "tasks do not start: ECS was unable to assume the role",
        remedy: "to the service ecs-tasks.amazonaws.com",
    };
    scene.shows("instance", instance).await;
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn default_host_management_is_for_instances_so_other_nodes_need_the_role_all_the_same() {
    let scene = Scene::new().await;
    let channels = document(&right()[..2]);
    let seed = |name: &str, trust: &str| RoleSeed::new(name).policy(POLICY, &channels).trust(trust);
    let ecs = document(&[trust("ecs-tasks.amazonaws.com")]);
    scene.role(seed("hybrid", &hybrid(ACCOUNT)), "platform: hybrid, nodeRegistration: defaultHostManagement");
    scene.role(seed("task", &ecs), "platform: ecs, nodeRegistration: defaultHostManagement");
    let seen = Seen {
        verdict: "NotReady",
        check: "Registration",
        reason: "CannotRegister",
        evidence: "no policy of the role grants it",
        symptom: "the node is not listed",
        remedy: "attach AmazonSSMManagedInstanceCore to the role",
    };
    scene.shows("hybrid", seen).await;
    assert_eq!(scene.explain("task").await["verdict"], "Ready");
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_default_host_management_must_not_register_with_the_role() {
    let scene = Scene::new().await;
    let spec = "nodeRegistration: defaultHostManagement";
    let left = RoleSeed::new("left").policy(POLICY, &document(&right()[..2])).instance_profile("left");
    scene.role(left.clone(), spec);
    scene.role(RoleSeed { name: "core".to_owned(), ..left.clone() }.attached(CORE), spec);
    scene.role(node("own", &right()[..2]), spec);
    let moot = RoleSeed { instance_profiles: Vec::new(), ..node("moot", &right()[..2]) };
    scene.role(moot, spec);
    let mut inside = allow(&[REGISTER], "*");
    inside["Condition"] = json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}});
    let open = RoleSeed { name: "open".to_owned(), ..left };
    scene.role(open.policy("Register", &document(&[inside])), spec);

    let explained = scene.explain("left").await;
    assert_eq!((&explained["verdict"], explained["checks"].as_array().unwrap().len()), (&json!("NotApplicable"), 1));
    assert_eq!(check(&explained, "NoRegistration")["standing"], "Met");
    assert_eq!(explained["conditions"][1]["reason"], "NotApplicable");
    let moot = scene.explain("moot").await;
    let evidence = check(&moot, "NoRegistration")["evidence"].as_str().unwrap();
    assert_eq!(moot["verdict"], "NotApplicable");
    assert!(evidence.starts_with("no instance profile holds the role: the node works with the credentials"), "{moot}");
    let symptom = "the node works with the role in place of Default Host Management";
    for (role, verdict, reason, evidence, remedy) in [
        (
            "core",
            "NotReady",
            "RegistersItself",
            "granted by statement 1 of managed policy arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
            "detach managed policy arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore from the role, or say nodeRegistration: assumed in manifest core",
        ),
        (
            "own",
            "NotReady",
            "RegistersItself",
            "granted by statement 1 of inline policy Register",
            "change statement 1 of inline policy Register so that it does not allow ssm:UpdateInstanceInformation",
        ),
        (
            "open",
            "Conditional",
            "DependsOnConditions",
            "statement 1 of inline policy Register depends on aws:SourceVpc",
            "have no policy of the role allow ssm:UpdateInstanceInformation",
        ),
    ] {
        let seen = Seen { verdict, check: "NoRegistration", reason, evidence, symptom, remedy };
        assert_eq!(reasons(&scene.shows(role, seen).await), [reason], "{role}");
    }
    scene.end();
}
