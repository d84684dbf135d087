//! Roles as manifests mean them to be used, each with one thing about it changed.

mod remedies;
mod resources;
mod trust;

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    few::Few,
    inventory::{
        LiveDocument, ManagedPolicy, OtherPolicy, OthersDigest, RoleArn, RoleKind, RoleText, Surroundings,
        SurroundingsKind,
    },
    manifest::{ManifestSet, Whose, parse},
    names::RoleName,
    policy::{
        evaluate::Kind,
        session_manager::{NodeRegistration, tests::any_settings},
    },
};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const BUCKET_KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/abcd1234-12ab-34cd-56ef-1234567890ab";
const FOREIGN_KEY: &str = "arn:aws:kms:us-east-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Everything that a session can be asked to do.
fn everything() -> DesiredPolicy {
    wanted(&format!(
        "sessionPreferences: {{kmsKeyId: '{KEY}', s3BucketName: logs, s3KeyPrefix: web, cloudWatchLogGroupName: /web}}, \
         logDelivery: {{s3KmsKeyArns: ['{BUCKET_KEY}']}}"
    ))
}

fn account() -> AccountId {
    "111122223333".parse().unwrap()
}

fn now() -> Timestamp {
    "2026-06-02T00:00:00Z".parse().unwrap()
}

/// What a manifest with this `spec` wants of the role `web`.
fn wanted(spec: &str) -> DesiredPolicy {
    let text = format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: fleet}}\nspec: {{roles: [web], {spec}}}\n"
    );
    let parsed = parse("fleet.yaml", text.as_bytes());
    let (set, faults) = ManifestSet::of([&parsed], None);
    assert_eq!(faults, []);
    set.desired(Whose::own(&account()), None).policies.into_values().next().unwrap()
}

fn live(document: &Value) -> Arc<LiveDocument> {
    Arc::new(LiveDocument::of_text(&document.to_string()))
}

fn policy(statements: Value) -> Arc<LiveDocument> {
    live(&json!({"Version": "2012-10-17", "Statement": statements}))
}

fn web() -> RoleName {
    "web".parse().unwrap()
}

/// As IAM sends it.
fn other(document: &LiveDocument) -> OtherPolicy {
    OtherPolicy::new(&web(), &document.text().replace('%', "%25"))
}

fn statement(effect: &str, action: &str) -> Value {
    json!({"Effect": effect, "Action": action, "Resource": "*"})
}

fn managed(name: &str, document: Result<Arc<LiveDocument>, &str>) -> Arc<ManagedPolicy> {
    let arn = format!("arn:aws:iam::111122223333:policy/{name}").into();
    Arc::new(ManagedPolicy::new(arn, document.map_err(str::to_owned)))
}

/// AWS's own, as it is published.
fn core() -> Arc<ManagedPolicy> {
    let published: Value = serde_json::from_str(include_str!("../sandbox/aws_managed_policies.json")).unwrap();
    let core = published.as_array().unwrap().iter().find(|policy| policy["name"] == "AmazonSSMManagedInstanceCore");
    let arn = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore".into();
    Arc::new(ManagedPolicy::new(arn, Ok(live(&core.unwrap()["document"]))))
}

fn trust(statements: Value) -> Arc<LiveDocument> {
    policy(statements)
}

fn trusting(service: &str) -> Value {
    json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})
}

/// A role of which nothing stands in the way of a session, but for what the change makes of it.
fn role(wanted: &DesiredPolicy, change: impl FnOnce(&mut Surroundings)) -> Role {
    let service = match wanted.manifest.platform {
        crate::manifest::Platform::Ec2 => "ec2.amazonaws.com",
        crate::manifest::Platform::Hybrid => "ssm.amazonaws.com",
        crate::manifest::Platform::Ecs => "ecs-tasks.amazonaws.com",
    };
    let kind = SurroundingsKind {
        arn: RoleArn::new("arn:aws:iam::111122223333:role/web", "/", "web"),
        trust: trust(json!([trusting(service)])),
        attached: vec![managed("registers", Ok(policy(json!([statement("Allow", "ssm:UpdateInstanceInformation")]))))],
        boundary: None,
        instance_profiles: [RoleText::new(&web(), "web")].into(),
        others: Few::default(),
    };
    let document = Arc::new(LiveDocument::of_text(wanted.document.as_str()));
    let (inline_size, others_digest) = (document.size(), OthersDigest::default());
    let mut around = Surroundings { kind: Arc::new(kind), inline_size, others_digest };
    change(&mut around);
    let mut role = Role { name: web(), kind: RoleKind::at("/"), surroundings: Some(around) };
    role.policies.insert(wanted.policy.clone(), document);
    role
}

fn readiness(wanted: &DesiredPolicy, role: &Role) -> Readiness {
    assess(Subject { account: &account(), role, wanted, now: now() })
}

/// The condition of a role of [`everything`] that was changed in one thing.
fn condition(change: impl FnOnce(&mut Surroundings)) -> Condition {
    let wanted = everything();
    readiness(&wanted, &role(&wanted, change)).condition()
}

/// The check of this action.
#[track_caller]
fn of_action<'a>(readiness: &'a Readiness, action: &str) -> &'a Check {
    readiness.checks.iter().find(|check| check.asked.action() == Some(action)).unwrap()
}

/// What all inline policies of [`everything`] grant, less these actions.
fn without(wanted: &DesiredPolicy, actions: &[&str]) -> Role {
    let mut document: Value = serde_json::from_str(wanted.document.as_str()).unwrap();
    for statement in document["Statement"].as_array_mut().unwrap() {
        let kept = |action: &Value| !actions.contains(&action.as_str().unwrap());
        statement["Action"].as_array_mut().unwrap().retain(kept);
    }
    document["Statement"].as_array_mut().unwrap().retain(|statement| statement["Action"] != json!([]));
    let mut role = role(wanted, |_| {});
    role.policies.insert(wanted.policy.clone(), live(&document));
    role
}

#[test]
fn a_role_that_has_everything_is_ready_on_every_platform() {
    let platforms = [
        ("ec2", vec!["TrustPolicy", "InstanceProfile", "Registration", "Channels"]),
        ("hybrid", vec!["TrustPolicy", "Registration", "Channels"]),
        ("ecs", vec!["TrustPolicy", "Channels"]),
    ];
    for (platform, names) in platforms {
        let wanted = wanted(&format!("platform: {platform}, sessionPreferences: {{s3EncryptionEnabled: false}}"));
        let readiness = readiness(&wanted, &role(&wanted, |_| {}));
        assert_eq!(readiness.verdict, Verdict::Ready, "{readiness:#?}");
        let mut asked: Vec<&str> = readiness.checks.iter().map(|check| check.asked.name()).collect();
        asked.dedup();
        assert_eq!(asked, names);
        assert!(readiness.checks.iter().all(|check| check.remedy.is_none() && check.cause == Cause::Ready));
    }
    let ready = condition(|_| {});
    assert_eq!((ready.status, ready.cause), (Status::True, Cause::Ready));
}

/// What people see, and the action that they lack then: the table by which sessions are mended.
const SYMPTOMS: &[(&str, &str, Cause)] = &[
    (
        "ssm:UpdateInstanceInformation",
        "the node is not listed; the agent logs \"Health ping failed\"",
        Cause::CannotRegister,
    ),
    (
        "ssmmessages:CreateControlChannel",
        "the node is listed, but start-session ends with TargetNotConnected",
        Cause::ChannelsDenied,
    ),
    (
        "ssmmessages:OpenControlChannel",
        "the node is listed, but start-session ends with TargetNotConnected",
        Cause::ChannelsDenied,
    ),
    ("ssmmessages:CreateDataChannel", "\"Setting up data channel\" and that CreateDataChannel", Cause::ChannelsDenied),
    ("ssmmessages:OpenDataChannel", "or OpenDataChannel failed", Cause::ChannelsDenied),
    ("kms:Decrypt", "\"Encountered error while initiating handshake\", with kms:Decrypt", Cause::SessionKeyDenied),
    (
        "s3:GetEncryptionConfiguration",
        "\"encryption is not set up on the selected Amazon S3 bucket\"",
        Cause::EncryptionCheckDenied,
    ),
    ("s3:PutObject", "the session works, its logs never reach S3", Cause::LogDeliveryDenied),
    ("kms:GenerateDataKey", "the session works, its logs never reach S3", Cause::LogDeliveryDenied),
    ("logs:DescribeLogGroups", "never reach CloudWatch Logs", Cause::LogDeliveryDenied),
    ("logs:CreateLogStream", "never reach CloudWatch Logs", Cause::LogDeliveryDenied),
    ("logs:PutLogEvents", "never reach CloudWatch Logs", Cause::LogDeliveryDenied),
    ("logs:DescribeLogStreams", "never reach CloudWatch Logs", Cause::LogDeliveryDenied),
];

#[test]
fn a_deny_has_the_cause_and_the_symptom_of_what_it_takes_and_is_named_with_its_statement() {
    let wanted = everything();
    for (action, symptom, cause) in SYMPTOMS {
        let denies =
            json!([statement("Allow", "ec2:*"), {"Sid": "Shut", "Effect": "Deny", "Action": action, "Resource": "*"}]);
        let denied = role(&wanted, |around| around.attached.push(managed("guard", Ok(policy(denies)))));
        let readiness = readiness(&wanted, &denied);
        assert_eq!(readiness.verdict, Verdict::NotReady);
        let check = of_action(&readiness, action);
        assert_eq!((check.standing, check.cause), (Standing::Missing, *cause), "{action}");
        let guard = "statement 2 (Shut) of managed policy arn:aws:iam::111122223333:policy/guard";
        assert_eq!(check.evidence, format!("denied by {guard}"));
        let change = format!("change {guard} so that it does not deny {action} to this role");
        assert_eq!(check.remedy, Some(Remedy::Change(change)));
        assert!(check.asked.symptom().contains(symptom), "{action}: {}", check.asked.symptom());
        let condition = readiness.condition();
        assert_eq!((condition.status, condition.cause), (Status::False, *cause));
        assert!(condition.fact.contains(guard) && condition.fact.contains(action), "{}", condition.fact);
    }
}

#[test]
fn silence_is_missing_where_nobody_else_may_grant_it_and_unknown_where_a_bucket_or_key_may() {
    let wanted = everything();
    for (action, _, cause) in &SYMPTOMS[1..] {
        let readiness = readiness(&wanted, &without(&wanted, &[action]));
        let check = of_action(&readiness, action);
        if action.starts_with("s3:") || action.starts_with("kms:") {
            assert_eq!((check.standing, check.cause), (Standing::Unknown, Cause::ResourcePolicyMayGrant), "{action}");
            let own = if action.starts_with("s3:") { "the bucket's own policy" } else { "the key's own policy" };
            assert_eq!(check.evidence, format!("no policy of the role grants it, but {own} may"));
            assert_eq!(readiness.verdict, Verdict::Unknown);
        } else {
            assert_eq!((check.standing, check.cause), (Standing::Missing, *cause), "{action}");
            assert_eq!(check.evidence, "no policy of the role grants it");
        }
        let (policy, manifest) = (wanted.policy.clone(), "fleet".to_owned());
        assert_eq!(check.remedy, Some(Remedy::Write { policy, manifest }));
    }
    let cannot_register = condition(|around| around.attached.clear());
    assert_eq!((cannot_register.status, cannot_register.cause), (Status::False, Cause::CannotRegister));
    assert_eq!(
        cannot_register.message(),
        "ssm:UpdateInstanceInformation on arn:aws:ec2:*:111122223333:instance/i-*: no policy of the role grants it"
    );
}

#[test]
fn another_account_s_key_or_bucket_needs_the_role_s_own_policies() {
    let foreign = wanted(&format!(
        "sessionPreferences: {{kmsKeyId: '{FOREIGN_KEY}', s3BucketName: logs}}, logDelivery: {{s3BucketOwner: '444455556666'}}"
    ));
    for action in ["kms:Decrypt", "s3:GetEncryptionConfiguration", "s3:PutObject", "s3:PutObjectAcl"] {
        let readiness = readiness(&foreign, &without(&foreign, &[action]));
        assert_eq!(of_action(&readiness, action).standing, Standing::Missing, "{action}");
    }
}

#[test]
fn a_boundary_that_does_not_allow_it_is_named_and_one_that_does_changes_nothing() {
    let bounded = |actions: Value| {
        let statements = json!([{"Effect": "Allow", "Action": actions, "Resource": "*"}]);
        condition(|around| around.boundary = Some(managed("edge", Ok(policy(statements)))))
    };
    assert_eq!(bounded(json!("*")).status, Status::True);
    let narrow = bounded(json!(["ssm:*", "kms:*", "s3:*", "logs:*"]));
    assert_eq!((narrow.status, narrow.cause), (Status::False, Cause::ChannelsDenied));
    let boundary = "the permissions boundary arn:aws:iam::111122223333:policy/edge does not allow it";
    assert_eq!(narrow.message(), format!("ssmmessages:CreateControlChannel: {boundary}; and 3 more"));

    // The bucket's own policy may name the role's session, and then the boundary does not count.
    let without_s3 = bounded(json!(["ssm:*", "ssmmessages:*", "kms:*", "logs:*"]));
    assert_eq!((without_s3.status, without_s3.cause), (Status::Unknown, Cause::ResourcePolicyMayGrant));
    assert!(without_s3.fact.contains(&format!("{boundary}, but the bucket's own policy may")), "{without_s3:?}");
}

#[test]
fn what_is_missing_weighs_more_than_what_is_unknown_and_that_more_than_what_depends() {
    let depends = json!([{"Effect": "Deny", "Action": "ssmmessages:*", "Resource": "*",
        "Condition": {"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}}]);
    let unknown = managed("lost", Err("IAM says that there is no such policy"));
    let (wanted, mut attached) = (everything(), Vec::new());
    let mut verdicts = Vec::new();
    for more in [
        managed("registers", Ok(policy(json!([statement("Allow", "ssm:UpdateInstanceInformation")])))),
        managed("depends", Ok(policy(depends))),
        unknown,
        managed("guard", Ok(policy(json!([statement("Deny", "logs:*")])))),
    ] {
        attached.push(more);
        let readiness = readiness(&wanted, &role(&wanted, |around| around.attached.clone_from(&attached)));
        let Condition { status, cause, .. } = readiness.condition();
        verdicts.push((readiness.verdict, status, cause));
    }
    assert_eq!(
        verdicts,
        [
            (Verdict::Ready, Status::True, Cause::Ready),
            (Verdict::Conditional, Status::Unknown, Cause::DependsOnConditions),
            (Verdict::Unknown, Status::Unknown, Cause::PolicyNotReadable),
            (Verdict::NotReady, Status::False, Cause::LogDeliveryDenied),
        ]
    );
}

#[test]
fn what_it_depends_on_and_what_cannot_be_read_are_named() {
    let office = json!([{"Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}]);
    let depends = condition(|around| {
        around.others.insert("office".into(), other(&policy(office)));
    });
    assert!(depends.message().contains("statement 1 of inline policy office depends on aws:SourceIp"), "{depends:?}");

    for (change, named) in [
        (
            Box::new(|around: &mut Surroundings| around.boundary = Some(managed("edge", Err("AccessDenied"))))
                as Box<dyn FnOnce(&mut Surroundings)>,
            "permissions boundary arn:aws:iam::111122223333:policy/edge: AccessDenied",
        ),
        (
            Box::new(|around| around.attached.push(managed("lost", Err("IAM lists no such policy")))),
            "managed policy arn:aws:iam::111122223333:policy/lost: IAM lists no such policy",
        ),
        (
            Box::new(|around| {
                around.others.insert("scrawl".into(), OtherPolicy::new(&web(), "{]"));
            }),
            "inline policy scrawl: it is not a policy document: ",
        ),
    ] {
        let unknown = condition(change);
        assert_eq!((unknown.status, unknown.cause), (Status::Unknown, Cause::PolicyNotReadable));
        assert!(unknown.message().contains(named), "{unknown:?}");
    }
}

#[test]
fn an_instance_without_a_profile_gets_no_credentials_of_the_role() {
    let none = condition(|around| around.instance_profiles = Box::default());
    assert_eq!((none.status, none.cause), (Status::False, Cause::NoInstanceProfile));
    assert_eq!(none.message(), "instance profile: no instance profile holds the role");
    let hybrid = wanted("platform: hybrid");
    let readiness = readiness(&hybrid, &role(&hybrid, |around| around.instance_profiles = Box::default()));
    assert_eq!(readiness.verdict, Verdict::Ready, "only EC2 knows instance profiles");
}

#[test]
fn a_node_of_default_host_management_must_not_register_with_the_role() {
    let wanted = wanted("nodeRegistration: defaultHostManagement");
    let verdict = |statements: Value| {
        let attached = vec![managed("some", Ok(policy(statements)))];
        let readiness = readiness(&wanted, &role(&wanted, |around| around.attached = attached));
        assert_eq!(readiness.checks.len(), 1);
        let Condition { status, cause, .. } = readiness.condition();
        (readiness.verdict, status, cause)
    };
    let not_applicable = (Verdict::NotApplicable, Status::Unknown, Cause::NotApplicable);
    assert_eq!(verdict(json!([])), not_applicable);
    assert_eq!(verdict(json!([statement("Allow", "ssm:*"), statement("Deny", "ssm:Update*")])), not_applicable);
    assert_eq!(
        verdict(json!([statement("Allow", "ssm:*")])),
        (Verdict::NotReady, Status::False, Cause::RegistersItself)
    );
    let mut office = statement("Allow", "ssm:*");
    office["Condition"] = json!({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}});
    assert_eq!(verdict(json!([office])), (Verdict::Conditional, Status::Unknown, Cause::DependsOnConditions));
}

#[test]
fn a_role_of_which_only_the_policy_was_read_is_unknown() {
    let wanted = everything();
    let unread = Role { surroundings: None, ..role(&wanted, |_| {}) };
    let condition = readiness(&wanted, &unread).condition();
    assert_eq!((condition.status, condition.cause), (Status::Unknown, Cause::NotRead));
    assert!(!registers(Subject { account: &account(), role: &unread, wanted: &wanted, now: now() }));
}

fn revoked(moments: &[&str]) -> impl FnOnce(&mut Surroundings) {
    let policies: Vec<_> = moments
        .iter()
        .map(|moment| {
            let condition = json!({"DateLessThan": {"aws:TokenIssueTime": moment}});
            policy(json!([{"Effect": "Deny", "Action": ["*"], "Resource": ["*"], "Condition": condition}]))
        })
        .collect();
    move |around| {
        for (number, policy) in policies.into_iter().enumerate() {
            around.others.insert(format!("AWSRevokeOlderSessions{number}").into(), other(&policy));
        }
    }
}

#[test]
fn revoked_sessions_are_those_of_old_credentials_and_no_obstacle_to_new_ones() {
    let (wanted, account) = (everything(), account());
    let moments = ["2026-05-07T23:47:00Z", "2026-05-08T01:00:00+02:00"];
    let role = role(&wanted, revoked(&moments));
    assert_eq!(readiness(&wanted, &role).verdict, Verdict::Ready);
    let advice = advise(Subject { account: &account, role: &role, wanted: &wanted, now: now() });
    for (number, moment) in moments.iter().enumerate() {
        let told = format!(
            "inline policy AWSRevokeOlderSessions{number} denies everything to credentials that were issued before {moment}: "
        );
        assert!(advice.iter().any(|advice| advice.starts_with(&told)), "{advice:#?}");
    }
}

#[test]
fn a_revocation_that_is_dated_ahead_denies_every_credential_until_then() {
    for (moment, expected) in [
        ("2026-06-02T00:00:00Z", Verdict::Ready),
        // Clocks differ.
        ("2026-06-02T00:04:00Z", Verdict::Ready),
        ("2026-06-02T00:06:00Z", Verdict::Conditional),
        ("2099-01-01T00:00:00Z", Verdict::Conditional),
        ("4070908800", Verdict::Conditional),
        ("1778197620", Verdict::Ready),
        // A year, or the thirty-fifth minute of 1970?
        ("2099", Verdict::Conditional),
    ] {
        let (wanted, account) = (everything(), account());
        let role = role(&wanted, revoked(&[moment]));
        assert_eq!(readiness(&wanted, &role).verdict, expected, "{moment}");
        let advice = advise(Subject { account: &account, role: &role, wanted: &wanted, now: now() }).join(" ");
        assert_eq!(advice.contains("nodes need newer ones"), expected == Verdict::Ready, "{moment}: {advice}");
        assert_eq!(advice.contains("there are none that are newer"), expected != Verdict::Ready, "{moment}: {advice}");
    }
}

#[test]
fn of_credentials_newer_than_a_revocation_it_is_not_known_how_new_they_are() {
    let later = json!([statement("Allow", "ec2:*"), {"Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-06-01T00:00:00Z"}}}]);
    let with_later = |moment: &str| {
        condition(|around| {
            revoked(&[moment])(around);
            around.others.insert("later".into(), other(&policy(later.clone())));
        })
    };
    let depends = with_later("2026-05-07T23:47:00Z");
    assert_eq!((depends.status, depends.cause), (Status::Unknown, Cause::DependsOnConditions), "{depends:?}");
    assert!(
        depends.message().contains("statement 2 of inline policy later depends on aws:TokenIssueTime"),
        "{depends:?}"
    );
    assert_eq!(with_later("2026-06-01T00:00:00Z").status, Status::True);
}

#[test]
fn what_a_write_takes_from_a_working_session_is_told_and_nothing_of_one_that_does_not_work() {
    let (wanted, account) = (everything(), account());
    let working = role(&wanted, |_| {});
    let subject = Subject { account: &account, role: &working, wanted: &wanted, now: now() };
    let fewer = without(&wanted, &["ssmmessages:OpenDataChannel", "logs:PutLogEvents", "s3:PutObject"]);
    let loses = |before, after| {
        let assess = |role| assess(Subject { role, ..subject });
        assess(after).losses_against(&assess(before))
    };
    assert_eq!(
        loses(&working, &fewer).unwrap(),
        "ssmmessages:OpenDataChannel, s3:PutObject on arn:aws:s3:::logs/web/*, \
         logs:PutLogEvents on arn:aws:logs:*:111122223333:log-group:/web:log-stream:*"
    );
    assert_eq!(loses(&working, &working), None);
    let broken = role(&wanted, |around| around.instance_profiles = Box::default());
    assert_eq!(loses(&broken, &fewer), None);
    assert_eq!(loses(&broken, &working), None);

    assert!(registers(subject));
    for (change, does) in [
        (json!([]), false),
        (json!([statement("Allow", "ssm:*")]), true),
        (json!([statement("Allow", "ssm:*"), statement("Deny", "ssm:Update*")]), false),
        (
            json!([{"Effect": "Allow", "Action": "ssm:*", "Resource": "*", "Condition": {"Bool": {"aws:ViaAWSService": "false"}}}]),
            false,
        ),
    ] {
        let role = role(&wanted, |around| around.attached = vec![managed("some", Ok(policy(change)))]);
        assert_eq!(registers(Subject { role: &role, ..subject }), does);
    }
}

#[test]
fn what_is_granted_beyond_need_or_twice_is_told_and_how_much_room_is_left() {
    let (wanted, account) = (everything(), account());
    let advice = |change: &dyn Fn(&mut Surroundings)| {
        let role = role(&wanted, change);
        advise(Subject { account: &account, role: &role, wanted: &wanted, now: now() })
    };
    let size = LiveDocument::of_text(wanted.document.as_str()).size();
    let room = format!("room: {} of the 10240 characters for inline policies are left", 10_240 - size);
    assert_eq!(advice(&|_| {}), [&*room], "nothing else is to be said of a role that has what it needs");
    let with_core = advice(&|around| around.attached = vec![core()]);
    let by_core = "managed policy arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    assert_eq!(with_core.len(), 3, "{with_core:#?}");
    assert!(
        with_core[0].starts_with("statement 1 of ")
            && with_core[0].contains(&format!("{by_core} lets the node read every SSM parameter"))
    );
    assert!(
        with_core[1].starts_with(&format!(
            "granted twice, by inline policy SessionManagerPermissions and {by_core}: ssmmessages:"
        )),
        "{with_core:#?}"
    );

    let wide = json!([statement("Allow", "ssmmessages:*"), statement("Allow", "kms:*")]);
    let with_wide = advice(&|around| around.attached.push(managed("wide", Ok(policy(wide.clone())))));
    let by = "of managed policy arn:aws:iam::111122223333:policy/wide";
    for told in [
        format!("statement 1 {by} grants ssmmessages:*"),
        format!("statement 2 {by} lets the node decrypt with every key"),
    ] {
        assert!(with_wide.iter().any(|advice| advice.starts_with(&told)), "{told}: {with_wide:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_needed_beside_registration_is_granted_by_the_document_of_the_same_settings(settings in any_settings()) {
        let mut wanted = everything();
        let mut manifest = wanted.manifest.as_ref().clone();
        wanted.document = Arc::new(settings.document(&account(), &"aws".parse().unwrap()));
        let left_to_others = settings.node_registration == NodeRegistration::DefaultHostManagement;
        manifest.settings = settings;
        wanted.manifest = Arc::new(manifest);
        let readiness = readiness(&wanted, &role(&wanted, |_| {}));
        if left_to_others {
            prop_assert_eq!(readiness.verdict, Verdict::NotReady, "the fixture's role registers");
        } else {
            prop_assert_eq!(readiness.verdict, Verdict::Ready, "{:#?}", readiness);
        }
    }
}
