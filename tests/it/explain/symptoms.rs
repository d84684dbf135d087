//! What goes wrong for people: each row of the table, by each of its causes.

use serde_json::json;
use ssm_role_controller::sandbox::RoleSeed;

use super::{ACCOUNT, CHANNELS, CORE, Scene, Seen, allow, check, deny, document, node, reasons, right};
use crate::support::world::{KEY, POLICY, with_key};

/// The spec of a manifest with a key for session data.
fn keyed() -> String {
    with_key("").trim_start_matches(", ").to_owned()
}

const ELSEWHERE: &str = "arn:aws:kms:us-east-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_listed_lacks_its_registration_or_its_instance_profile() {
    let scene = Scene::new().await;
    let plain = RoleSeed::new("unregistered").policy(POLICY, &document(&right())).instance_profile("unregistered");
    scene.role(plain.clone(), &keyed());
    let granted = RoleSeed { name: "granted".to_owned(), ..plain };
    scene.role(granted, &format!("nodeRegistration: granted, {}", keyed()));
    scene.role(RoleSeed { instance_profiles: Vec::new(), ..node("profileless", &right()) }, &keyed());

    let unregistered = Seen {
        verdict: "NotReady",
        check: "Registration",
        reason: "CannotRegister",
        evidence: "no policy of the role grants it",
        symptom: "\"Health ping failed\" with AccessDenied on ssm:UpdateInstanceInformation",
        remedy: "attach AmazonSSMManagedInstanceCore to the role, or say nodeRegistration: granted in manifest unregistered",
    };
    let explained = scene.shows("unregistered", unregistered).await;
    assert_eq!(reasons(&explained), ["CannotRegister"], "nothing else stands in the way");
    assert_eq!(check(&explained, "Registration")["resource"], format!("arn:aws:ec2:*:{ACCOUNT}:instance/i-*"));
    let granted = Seen {
        verdict: "NotReady",
        check: "Registration",
        reason: "CannotRegister",
        evidence: "no policy of the role grants it",
        symptom: "the node is not listed",
        remedy: "have the policy SessionManagerPermissions written as manifest granted asks",
    };
    scene.shows("granted", granted).await;
    let profileless = Seen {
        verdict: "NotReady",
        check: "InstanceProfile",
        reason: "NoInstanceProfile",
        evidence: "no instance profile holds the role",
        symptom: "the node is not listed",
        remedy: "aws iam add-role-to-instance-profile --instance-profile-name profileless --role-name profileless",
    };
    assert_eq!(reasons(&scene.shows("profileless", profileless).await), ["NoInstanceProfile"]);
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn target_not_connected_comes_from_channel_actions_that_are_missing_denied_or_narrowed() {
    let scene = Scene::new().await;
    let guard = scene.managed("Guard", &[allow(&["s3:*"], "*"), deny("Shut", &["ssmmessages:*"], "*")]);
    let of_aws = "arn:aws:iam::aws:policy/AWSDenyAll";
    let everything = document(&[deny("DenyAll", &["*"], "*")]);
    scene.serving.sandbox.plant_policy(&scene.serving.account, of_aws, &everything);
    let [_, s3, key] = right();
    let narrow = allow(&CHANNELS, &format!("arn:aws:ssm:us-east-1:{ACCOUNT}:*"));
    scene.role(node("missing", &[s3.clone(), key.clone()]), &keyed());
    scene.role(node("denied", &right()).attached(&guard), &keyed());
    scene.role(node("quarantined", &right()).attached(of_aws), &keyed());
    scene.role(node("narrowed", &[narrow, s3, key]), &keyed());

    let with = |role: &'static str, evidence: &'static str, remedy: &'static str| {
        let symptom = "the node is listed, but start-session ends with TargetNotConnected";
        let check = "ssmmessages:OpenControlChannel";
        (role, Seen { verdict: "NotReady", check, reason: "ChannelsDenied", evidence, symptom, remedy })
    };
    for (role, seen) in [
        with(
            "missing",
            "no policy of the role grants it",
            "have the policy SessionManagerPermissions written as manifest missing asks",
        ),
        with(
            "denied",
            "denied by statement 2 (Shut) of managed policy arn:aws:iam::111122223333:policy/Guard",
            "change statement 2 (Shut) of managed policy arn:aws:iam::111122223333:policy/Guard so that it does not deny",
        ),
        with(
            "narrowed",
            "no policy of the role grants it: statement 1 of inline policy SessionManagerPermissions does for other resources",
            "have the policy SessionManagerPermissions written as manifest narrowed asks",
        ),
    ] {
        assert_eq!(reasons(&scene.shows(role, seen).await), ["ChannelsDenied"], "{role}");
    }
    let (_, quarantined) = with(
        "quarantined",
        "denied by statement 1 (DenyAll) of managed policy arn:aws:iam::aws:policy/AWSDenyAll",
        "detach managed policy arn:aws:iam::aws:policy/AWSDenyAll from the role",
    );
    scene.shows("quarantined", quarantined).await;
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_channel_that_cannot_be_set_up_lacks_create_data_channel_alone() {
    let scene = Scene::new().await;
    let [_, s3, key] = right();
    let three = allow(&[CHANNELS[0], CHANNELS[2], CHANNELS[3]], "*");
    scene.role(node("missing", &[three, s3, key]), &keyed());
    let guard = deny("NoData", &["ssmmessages:createdata*"], "*");
    scene.role(node("denied", &right()).policy("Guard", &document(&[guard])), &keyed());
    for (role, evidence, remedy) in [
        ("missing", "no policy of the role grants it", "have the policy SessionManagerPermissions written"),
        (
            "denied",
            "denied by statement 1 (NoData) of inline policy Guard",
            "change statement 1 (NoData) of inline policy",
        ),
    ] {
        let seen = Seen {
            verdict: "NotReady",
            check: "ssmmessages:CreateDataChannel",
            reason: "ChannelsDenied",
            evidence,
            symptom: "\"Setting up data channel\" and that CreateDataChannel",
            remedy,
        };
        let explained = scene.shows(role, seen).await;
        let unmet = explained["checks"].as_array().unwrap().iter().filter(|check| check["standing"] != "Met");
        assert_eq!(unmet.count(), 1, "that one action decides: {explained}");
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_fails_is_explained_by_the_key_its_region_or_the_boundary() {
    let scene = Scene::new().await;
    let [channels, s3, _] = right();
    let elsewhere = format!("sessionPreferences: {{kmsKeyId: \"{ELSEWHERE}\"}}");
    let of_region = |key: &str| allow(&["kms:Decrypt"], &key.replace("us-east-1", "eu-west-1"));
    let but_key = [channels.clone(), s3.clone()];
    scene.role(node("silent", &but_key), &keyed());
    scene.role(node("silent-elsewhere", &but_key), &elsewhere);
    scene.role(node("region", &[channels.clone(), s3.clone(), of_region(KEY)]), &keyed());
    scene.role(node("region-elsewhere", &[channels.clone(), s3.clone(), of_region(ELSEWHERE)]), &elsewhere);
    let but_kms = allow(&["ssm:*", "ssmmessages:*", "s3:*"], "*");
    let silent = scene.managed("Silent", std::slice::from_ref(&but_kms));
    let loud = scene.managed("Loud", &[allow(&["*"], "*"), deny("NoKeys", &["kms:*"], "*")]);
    let for_elsewhere = [channels, s3, allow(&["kms:Decrypt"], ELSEWHERE)];
    scene.role(node("bounded", &right()).boundary(&silent), &keyed());
    scene.role(node("bounded-elsewhere", &for_elsewhere).boundary(&silent), &elsewhere);
    scene.role(node("forbidden", &right()).boundary(&loud), &keyed());

    let near = "statement 3 of inline policy SessionManagerPermissions does for other resources";
    let write = "have the policy SessionManagerPermissions written";
    for (role, verdict, evidence, remedy) in [
        ("silent", "Unknown", "no policy of the role grants it, but the key's own policy may", write),
        ("silent-elsewhere", "NotReady", "no policy of the role grants it", write),
        ("region", "Unknown", near, write),
        ("region-elsewhere", "NotReady", near, write),
        (
            "bounded",
            "Unknown",
            "the permissions boundary arn:aws:iam::111122223333:policy/Silent does not allow it, but the key's own policy may",
            "have the permissions boundary arn:aws:iam::111122223333:policy/Silent allow kms:Decrypt",
        ),
        (
            "bounded-elsewhere",
            "NotReady",
            "the permissions boundary arn:aws:iam::111122223333:policy/Silent does not allow it",
            "have the permissions boundary arn:aws:iam::111122223333:policy/Silent allow kms:Decrypt",
        ),
        (
            "forbidden",
            "NotReady",
            "denied by statement 2 (NoKeys) of permissions boundary arn:aws:iam::111122223333:policy/Loud",
            "change statement 2 (NoKeys) of permissions boundary arn:aws:iam::111122223333:policy/Loud",
        ),
    ] {
        let reason = if verdict == "Unknown" { "ResourcePolicyMayGrant" } else { "SessionKeyDenied" };
        let symptom = "\"Encountered error while initiating handshake\", with kms:Decrypt";
        let seen = Seen { verdict, check: "kms:Decrypt", reason, evidence, symptom, remedy };
        assert_eq!(reasons(&scene.shows(role, seen).await), [reason], "{role}");
    }
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_bucket_that_is_taken_for_none_cannot_be_looked_at() {
    let scene = Scene::new().await;
    let [channels, _, _] = right();
    let guard = scene.managed("Guard", &[deny("", &["s3:Get*"], "*")]);
    scene.role(node("denied", &right()[..2]).attached(&guard), "");
    scene.role(node("silent", &[channels]), "");
    let symptom = "\"encryption is not set up on the selected Amazon S3 bucket\", although it is";
    let check = "s3:GetEncryptionConfiguration";
    let denied = Seen {
        verdict: "NotReady",
        check,
        reason: "EncryptionCheckDenied",
        evidence: "denied by statement 1 of managed policy arn:aws:iam::111122223333:policy/Guard",
        symptom,
        remedy: "change statement 1 of managed policy arn:aws:iam::111122223333:policy/Guard",
    };
    scene.shows("denied", denied).await;
    let silent = Seen {
        verdict: "Unknown",
        check,
        reason: "ResourcePolicyMayGrant",
        evidence: "no policy of the role grants it, but the bucket's own policy may",
        symptom,
        remedy: "have the policy SessionManagerPermissions written",
    };
    scene.shows("silent", silent).await;
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_never_arrive_lack_a_permission_that_only_the_agent_tells_of() {
    let scene = Scene::new().await;
    let bucket = |owner: &str| {
        format!(
            "sessionPreferences: {{s3BucketName: logs, s3KeyPrefix: ssm}}, logDelivery: {{s3BucketOwner: \"{owner}\", s3KmsKeyArns: [\"{ELSEWHERE}\"]}}"
        )
    };
    let (here, there) = (bucket(ACCOUNT), bucket("444455556666"));
    let objects = "arn:aws:s3:::logs/ssm/*";
    let base = [
        allow(&CHANNELS, "*"),
        allow(&["s3:GetEncryptionConfiguration"], "arn:aws:s3:::logs"),
        allow(&["kms:Decrypt"], ELSEWHERE),
    ];
    let and = |more: &[serde_json::Value]| [&base[..], more].concat();
    let (put, acl) = (allow(&["s3:PutObject"], objects), allow(&["s3:PutObjectAcl"], objects));
    let key = allow(&["kms:GenerateDataKey"], ELSEWHERE);
    let guard = |action| document(&[deny("Guard", &[action], "*")]);
    scene.role(node("unput", &and(std::slice::from_ref(&key))), &here);
    scene.role(node("put-denied", &and(&[put.clone(), key.clone()])).policy("Guard", &guard("s3:PutObject")), &here);
    scene.role(node("acl-missing", &and(&[put.clone(), key.clone()])), &there);
    let all = and(&[put.clone(), acl.clone(), key.clone()]);
    scene.role(node("acl-denied", &all).policy("Guard", &guard("s3:PutObjectAcl")), &there);
    scene.role(node("keyless", &and(&[put, acl])), &there);
    scene.role(node("key-denied", &all).policy("Guard", &guard("kms:Generate*")), &there);
    scene.role(node("complete", &all), &there);

    let denied = "denied by statement 1 (Guard) of inline policy Guard";
    let (write, change) = ("have the policy SessionManagerPermissions written", "change statement 1 (Guard) of inline");
    for (role, check, evidence, remedy) in [
        ("unput", "s3:PutObject", "no policy of the role grants it, but the bucket's own policy may", write),
        ("put-denied", "s3:PutObject", denied, change),
        ("acl-missing", "s3:PutObjectAcl", "no policy of the role grants it", write),
        ("acl-denied", "s3:PutObjectAcl", denied, change),
        ("keyless", "kms:GenerateDataKey", "no policy of the role grants it", write),
        ("key-denied", "kms:GenerateDataKey", denied, change),
    ] {
        let is_silent = role == "unput";
        let verdict = if is_silent { "Unknown" } else { "NotReady" };
        let reason = if is_silent { "ResourcePolicyMayGrant" } else { "LogDeliveryDenied" };
        let symptom = "the session works, its logs never reach S3";
        let seen = Seen { verdict, check, reason, evidence, symptom, remedy };
        assert_eq!(reasons(&scene.shows(role, seen).await), [reason], "{role}");
    }
    let complete = scene.explain("complete").await;
    assert_eq!(complete["verdict"], "Ready", "{complete}");

    scene.role(
        node("grouped", &base[..1]),
        "sessionPreferences: {cloudWatchLogGroupName: /ssm, s3EncryptionEnabled: false}",
    );
    let grouped = Seen {
        verdict: "NotReady",
        check: "logs:PutLogEvents",
        reason: "LogDeliveryDenied",
        evidence: "no policy of the role grants it",
        symptom: "never reach CloudWatch Logs",
        remedy: write,
    };
    scene.shows("grouped", grouped).await;
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_leaves_it_open_and_says_on_what_it_depends() {
    let scene = Scene::new().await;
    let mut inside = allow(&CHANNELS, "*");
    inside["Condition"] = json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}});
    scene.role(node("inside", &[inside, right()[1].clone()]), "");
    let mut outside = deny("Outside", &["ssmmessages:*"], "*");
    outside["Condition"] = json!({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}});
    scene.role(node("outside", &right()[..2]).policy("Guard", &document(&[outside])), "");
    let mut edge = allow(&["ssmmessages:*"], "*");
    edge["Condition"] = json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}});
    let edge = scene.managed("Edge", &[edge, allow(&["ssm:*", "s3:*"], "*")]);
    scene.role(node("edged", &right()[..2]).boundary(&edge), "");
    let one = allow(&["s3:GetEncryptionConfiguration"], "arn:aws:s3:::logs");
    scene.role(node("one-bucket", &[right()[0].clone(), one]), "");
    let symptom = "start-session ends with TargetNotConnected";
    for (role, check, evidence, symptom, remedy) in [
        (
            "inside",
            CHANNELS[0],
            "statement 1 of inline policy SessionManagerPermissions depends on aws:SourceVpc",
            symptom,
            "see whether the node's requests meet it, or have a policy of the role grant ssmmessages:CreateControlChannel without a condition",
        ),
        (
            "outside",
            CHANNELS[0],
            "statement 1 (Outside) of inline policy Guard depends on aws:SourceIp",
            symptom,
            "see whether it denies the node's requests, or change statement 1 (Outside) of inline policy Guard so that it does not deny ssmmessages:CreateControlChannel to this role",
        ),
        (
            "edged",
            CHANNELS[0],
            "statement 1 of permissions boundary arn:aws:iam::111122223333:policy/Edge depends on aws:SourceVpc",
            symptom,
            "see whether the node's requests meet it, or have the permissions boundary arn:aws:iam::111122223333:policy/Edge allow ssmmessages:CreateControlChannel without a condition",
        ),
        (
            "one-bucket",
            "s3:GetEncryptionConfiguration",
            "statement 2 of inline policy SessionManagerPermissions applies to some of these resources only",
            "encryption is not set up",
            "have a policy of the role grant s3:GetEncryptionConfiguration on arn:aws:s3:::*",
        ),
    ] {
        let seen = Seen { verdict: "Conditional", check, reason: "DependsOnConditions", evidence, symptom, remedy };
        assert_eq!(reasons(&scene.shows(role, seen).await), ["DependsOnConditions"], "{role}");
    }

    // A grant that stands elsewhere without the condition makes it irrelevant.
    let mut inside = allow(&CHANNELS, "*");
    inside["Condition"] = json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}});
    scene.role(node("both", &[inside, right()[1].clone()]).attached(CORE), "");
    assert_eq!(scene.explain("both").await["verdict"], "Ready");
    scene.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_to_all_but_something_is_denied() {
    let scene = Scene::new().await;
    let but_s3 = json!({"Sid": "OnlyS3", "Effect": "Deny", "NotAction": "s3:*", "Resource": "*"});
    let but_objects = json!({"Sid": "OnlyObjects", "Effect": "Deny", "Action": "ssmmessages:*", "NotResource": "arn:aws:s3:::logs/*"});
    let but_all = json!({"Sid": "Nowhere", "Effect": "Deny", "Action": "*", "NotResource": "*"});
    scene.role(node("not-action", &right()[..2]).policy("Guard", &document(&[but_s3])), "");
    scene.role(node("not-resource", &right()[..2]).policy("Guard", &document(&[but_objects])), "");
    scene.role(node("nowhere", &right()[..2]).policy("Guard", &document(&[but_all])), "");
    for (role, sid, reasons_seen) in [
        ("not-action", "OnlyS3", &["CannotRegister", "ChannelsDenied"][..]),
        ("not-resource", "OnlyObjects", &["ChannelsDenied"]),
    ] {
        let evidence = format!("denied by statement 1 ({sid}) of inline policy Guard");
        let remedy = format!("change statement 1 ({sid}) of inline policy Guard so that it does not deny ssmmessages:");
        let seen = Seen {
            verdict: "NotReady",
            check: CHANNELS[3],
            reason: "ChannelsDenied",
            evidence: &evidence,
            symptom: "the session does not open",
            remedy: &remedy,
        };
        assert_eq!(reasons(&scene.shows(role, seen).await), reasons_seen, "{role}");
    }
    assert_eq!(scene.explain("nowhere").await["verdict"], "Ready");
    scene.end();
}
