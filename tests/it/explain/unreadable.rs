//! What cannot be had or understood is Unknown, with its reason; and text that wants to be more than text stays text.

use serde_json::{Value, json};
use ssm_role_controller::sandbox::{Effect, Fault, RoleSeed};

use super::{ACCOUNT, CHANNELS, CORE, REGISTER, Scene, Seen, allow, document, node, reasons, right};
use crate::support::world::POLICY;

/// A line that nobody wrote, a colour by ESC and one by C1, a title, and text that runs backwards.
const HOSTILE: &str =
    "x\n2026-01-01 forged\r\u{1b}[31mred\u{9b}32mgreen\u{1b}]0;title\u{7}\u{202e}desrever\u{2028}\u{7f}";

#[tokio::test(flavor = "multi_thread")]
async fn managed_policies_that_cannot_be_had_leave_it_open_and_are_named() {
    let scene = Scene::new().await;
    let own = format!("arn:aws:iam::{ACCOUNT}:policy/Dangling");
    let of_aws = "arn:aws:iam::aws:policy/NeverPublished";
    scene.role(node("refused", &right()[..2]).attached(CORE), "");
    scene.role(node("dangling", &right()[..2]).attached(&own), "");
    scene.role(node("unpublished", &right()[..2]).attached(of_aws), "");
    scene.role(node("unbounded", &right()[..2]).boundary(&own), "");
    scene.role(node("strange", &right()[..2]).attached("not an ARN at all"), "");
    scene.serving.sandbox.plant_policy(&scene.serving.account, "Prose", "may do what it likes");
    scene.role(node("prose", &right()[..2]).attached(&format!("arn:aws:iam::{ACCOUNT}:policy/Prose")), "");
    scene.serving.sandbox.fault(Fault::new(Effect::Deny).on("GetPolicy").times(2));
    let core = "managed policy arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore: GetPolicy: AccessDenied";
    for (role, evidence) in [
        ("refused", core),
        ("dangling", "managed policy arn:aws:iam::111122223333:policy/Dangling: IAM lists no such policy"),
        ("unpublished", "managed policy arn:aws:iam::aws:policy/NeverPublished: IAM says that there is no such policy"),
        ("unbounded", "permissions boundary arn:aws:iam::111122223333:policy/Dangling: IAM lists no such policy"),
        ("strange", "managed policy not an ARN at all: GetPolicy: "),
        ("prose", "managed policy arn:aws:iam::111122223333:policy/Prose: "),
    ] {
        let seen = Seen {
            verdict: "Unknown",
            check: REGISTER,
            reason: "PolicyNotReadable",
            evidence,
            symptom: "the node is not listed",
            remedy: "exists and is well-formed, and that the controller may read it (iam:GetPolicy, iam:GetPolicyVersion)",
        };
        assert_eq!(reasons(&scene.shows(role, seen).await), ["PolicyNotReadable"], "{role}");
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_not_understood_leave_it_open_and_say_what_is_not() {
    let scene = Scene::new().await;
    let guard = |statement: Value| document(&[statement]);
    let deny = |more: (&str, Value)| {
        let mut denied = json!({"Effect": "Deny", "Action": "ssmmessages:*", "Resource": "*"});
        denied[more.0] = more.1;
        guard(denied)
    };
    let old = json!({"Version": "2031-01-01", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]});
    let huge = format!("{{\"Version\": \"2012-10-17\", \"Statement\": [{}]}}", " ".repeat(200_000));
    let nested = "[".repeat(50_000);
    for (role, text, evidence) in [
        ("prose", "nobody may pass", "inline policy Guard: "),
        ("cut", &right()[0].to_string()[..40], "inline policy Guard: "),
        ("nested", &nested, "inline policy Guard: "),
        (
            "element",
            &deny(("Whim", json!(1))),
            "statement 1 of inline policy Guard: elements that are not understood: Whim",
        ),
        (
            "operator",
            &deny(("Condition", json!({"StringRhymes": {"aws:SourceVpc": "vpc-1"}}))),
            "statement 1 of inline policy Guard: the condition operator StringRhymes is not known",
        ),
        ("version", &old.to_string(), "inline policy Guard: "),
        ("effect", &guard(json!({"Effect": "Perhaps", "Action": "*", "Resource": "*"})), "inline policy Guard: "),
        ("numbers", "{\"Statement\": 7}", "inline policy Guard: "),
        (
            "huge",
            &huge,
            "inline policy Guard: it is not a policy document: it is longer than any policy that IAM takes",
        ),
    ] {
        scene.role(node(role, &right()[..2]).policy("Guard", text), "");
        let seen = Seen {
            verdict: "Unknown",
            check: CHANNELS[0],
            reason: "PolicyNotReadable",
            evidence,
            symptom: "TargetNotConnected",
            remedy: "inline policy Guard",
        };
        assert_eq!(reasons(&scene.shows(role, seen).await), ["PolicyNotReadable"], "{role}");
    }
    let trust = node("trust", &right()[..2]).trust("who knows");
    scene.role(trust, "");
    let seen = Seen {
        verdict: "Unknown",
        check: "TrustPolicy",
        reason: "PolicyNotReadable",
        evidence: "the trust policy: it is not a policy document: ",
        symptom: "the instance gets no credentials",
        remedy: "have the trust policy allow sts:AssumeRole to the service ec2.amazonaws.com",
    };
    scene.shows("trust", seen).await;
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deny_that_is_sure_decides_whatever_else_cannot_be_read() {
    let scene = Scene::new().await;
    let guard = document(&[super::deny("Shut", &["ssmmessages:*"], "*")]);
    scene.role(node("shut", &right()[..2]).policy("Guard", &guard).attached("arn:aws:iam::aws:policy/Nowhere"), "");
    let explained = scene.explain("shut").await;
    assert_eq!(explained["verdict"], "NotReady");
    assert_eq!(explained["conditions"][1]["reason"], "ChannelsDenied");
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_iams_that_wants_to_be_more_than_text_stays_text() {
    let scene = Scene::new().await;
    let mut hostile = super::deny(HOSTILE, &["ssmmessages:*"], "*");
    hostile["Condition"] = json!({"StringLike": {HOSTILE: [HOSTILE]}});
    let mut unknown = allow(&["ssm:*"], "*");
    unknown[HOSTILE] = json!(1);
    let seed = node("hostile", &right()[..2])
        .policy(HOSTILE, &document(&[hostile, unknown]))
        .policy("prose", HOSTILE)
        .attached(&format!("arn:aws:iam::aws:policy/{HOSTILE}"))
        .boundary(&format!("arn:aws:iam::{ACCOUNT}:policy/{HOSTILE}"))
        .instance_profile(HOSTILE)
        .trust(&format!("{{\"Statement\": {}}}", json!({"Effect": HOSTILE})));
    scene.role(seed, "");
    scene.role(RoleSeed::new("profile").policy(POLICY, &document(&right())).instance_profile(HOSTILE), "");
    let refusal = Effect::Refuse { status: 403, code: "AccessDenied".to_owned(), message: HOSTILE.to_owned() };
    for role in ["hostile", "profile"] {
        for (operation, arguments) in [
            ("GetPolicy", &[][..]),
            ("SimulatePrincipalPolicy", &["--simulate"]),
            ("GetAccountAuthorizationDetails", &[]),
        ] {
            scene.serving.sandbox.clear_faults();
            scene.serving.sandbox.fault(Fault::new(refusal.clone()).on(operation));
            let (ended, explained) = scene.explain_with(role, arguments).await;
            let status = explained["conditions"][1]["status"].as_str().unwrap();
            assert!(matches!(status, "Unknown" | "False"), "{explained}");
            let text = scene.run(&[&["explain", role], arguments].concat()).await;
            for said in [&ended.out, &ended.err, &text.out, &text.err] {
                assert_harmless(said);
            }
        }
    }
    scene.end();
}

/// One line for each line, and nothing that a terminal acts upon.
#[track_caller]
fn assert_harmless(text: &str) {
    let acts = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}');
    assert!(!text.chars().any(acts), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("2026-01-01")), "a line was forged: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_bulk_read_is_denied_nothing_but_the_policy_is_known() {
    let scene = Scene::new().await;
    scene.role(node("web", &right()[..2]).attached(CORE), "");
    scene.serving.sandbox.fault(Fault::new(Effect::Deny).on("GetAccountAuthorizationDetails"));
    let (ended, explained) = scene.explain_with("web", &["--simulate"]).await;
    assert_eq!((ended.code(), &explained["verdict"]), (0, &json!("Unknown")), "{explained}");
    assert!(ended.err.contains("cannot be read in bulk") && ended.err.contains("hint: "), "{}", ended.err);
    assert_eq!(explained["conditions"][0]["status"], "True", "the policy itself is known");
    assert_eq!(explained["conditions"][1]["reason"], "NotRead");
    let found = super::check(&explained, "Role");
    assert_eq!(found["remedy"], "allow the controller iam:GetAccountAuthorizationDetails on *");
    assert_eq!((explained["checks"].as_array().unwrap().len(), &explained["simulated"]), (1, &json!([])));
    let text = scene.run(&["explain", "web", "--simulate"]).await.out;
    assert!(text.contains("was not asked: there is no permission to ask about"), "{text}");
    scene.end();
}
