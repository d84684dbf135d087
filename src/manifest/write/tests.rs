use proptest::prelude::*;

use super::*;
use crate::{
    manifest::{Mode, parse},
    names::Partition,
    policy::session_manager::LogBucket,
};

/// A manifest of these settings.
pub(in crate::manifest) fn wanting(settings: &Settings, state: State) -> String {
    let (policy, account, role) = (PolicyName::customary(), account(), "web".parse().unwrap());
    line(
        "web",
        &Of { policy: &policy, account: Some(&account), roles: &[&role], platform: Platform::Ec2, state },
        settings,
    )
}

fn manifest(name: &str, spec: &str) -> Permissions {
    let text =
        format!("apiVersion: {API_VERSION}\nkind: {PERMISSIONS}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n");
    read(&text)
}

fn read(text: &str) -> Permissions {
    let parsed = parse("x.yaml", text.as_bytes());
    assert!(parsed.faults.is_empty(), "{text}: {:?}", parsed.faults);
    assert_eq!(parsed.permissions.len(), 1);
    Permissions::clone(&parsed.permissions[0])
}

fn account() -> AccountId {
    "012345678901".parse().unwrap()
}

fn roles(names: &[&str]) -> Vec<RoleName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn the_manifest_of_a_removal_is_one_line_that_says_everything() {
    let permissions = manifest(
        "web-fleet",
        "roles: [web], mode: observe, platform: ecs, sessionPreferences: {s3BucketName: audit, s3KeyPrefix: /a b/}, \
         logDelivery: {s3BucketOwner: 044455556666}",
    );
    let roles = roles(&["web", "Web-2"]);
    let policy = permissions.policy_name.clone();
    let text = absent(&permissions, &policy, &account(), &roles.iter().collect::<Vec<_>>());
    insta::assert_snapshot!(text, @r#"{"apiVersion":"ssm-role-controller.dev/v1alpha1","kind":"SessionManagerPermissions","metadata":{"name":"web-fleet-absent-d221af31"},"spec":{"accountId":"012345678901","roles":["web","Web-2"],"state":"absent","policyName":"SessionManagerPermissions","nodeRegistration":"assumed","platform":"ecs","sessionPreferences":{"s3BucketName":"audit","s3KeyPrefix":"a b","s3EncryptionEnabled":false},"logDelivery":{"s3BucketOwner":"044455556666"}}}"#);
    let read = read(&text);
    assert_eq!((read.state, read.mode, read.suspend), (State::Absent, None::<Mode>, false));
    assert_eq!((read.roles, read.accounts.only().cloned(), read.policy_name), (roles, Some(account()), policy));
}

#[test]
fn the_name_of_a_removal_is_a_name_however_long_the_manifests_was() {
    for (name, expected) in [
        ("web".to_owned(), "web-absent".to_owned()),
        ("x".repeat(253), "x".repeat(246) + "-absent"),
        (format!("{}.{}", "x".repeat(245), "y".repeat(7)), "x".repeat(245) + "-absent"),
        (format!("{}--y", "x".repeat(244)), "x".repeat(244) + "-absent"),
    ] {
        assert!(crate::manifest::judge::is_name(&name) && crate::manifest::judge::is_name(&expected));
        assert_eq!(with_suffix(&name, "-absent"), expected);
    }
}

/// Settings that a manifest can ask for.
pub(crate) fn any_settings() -> impl Strategy<Value = Settings> {
    let registration = prop::sample::select(vec![
        NodeRegistration::Assumed,
        NodeRegistration::Granted,
        NodeRegistration::DefaultHostManagement,
    ]);
    let owner = prop::option::of(prop::sample::select(vec!["012345678901", "444455556666"]));
    let prefix =
        prop::option::of("[a-z\u{a1}-\u{ff}\"'\\\\#,:{}\\[\\]&!|>%@` -]{1,8}(/[a-z.-]{0,3}[a-z0-9~: ]{1,5}){0,2}");
    let keys =
        || prop::collection::vec("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}", 0..4);
    let bucket = prop::option::of(("[a-z][a-z0-9-]{2,20}[a-z0-9]", prefix, owner, keys()));
    let group = prop::option::of("/?[A-Z0-9_/.#-]{1,30}");
    let partition = prop::sample::select(vec!["aws", "aws-cn"]);
    (registration, any::<bool>(), bucket, keys(), group, partition).prop_map(
        |(node_registration, s3_encryption_enabled, bucket, session_keys, log_group, partition)| {
            let keys = |ids: Vec<String>| {
                let ids: std::collections::BTreeSet<String> = ids.into_iter().collect();
                let arn = |id| format!("arn:{partition}:kms:eu-west-1:111122223333:key/{id}");
                ids.into_iter().map(|id| arn(id).parse().unwrap()).collect::<Vec<KeyArn>>()
            };
            let bucket_keys = bucket.as_ref().map(|bucket| keys(bucket.3.clone())).unwrap_or_default();
            Settings {
                node_registration,
                s3_encryption_enabled,
                log_bucket: bucket.map(|(name, prefix, owner, _)| LogBucket {
                    name,
                    prefix,
                    owner: owner.map(|owner| owner.parse().unwrap()),
                }),
                session_keys: keys(session_keys),
                bucket_keys,
                log_group,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back_as_settings_with_the_very_same_document(
        settings in any_settings(),
        platform in prop::sample::select(vec![Platform::Ec2, Platform::Hybrid, Platform::Ecs]),
        state in prop::sample::select(vec![State::Present, State::Absent]),
    ) {
        let (policy, account, roles) = (PolicyName::customary(), account(), roles(&["web", "a+b=c,.@-"]));
        let named: Vec<&RoleName> = roles.iter().collect();
        let of = Of { policy: &policy, account: Some(&account), roles: &named, platform, state };
        let written = line("web", &of, &settings);
        prop_assert!(!written.contains('\n'));
        let parsed = parse("x.yaml", written.as_bytes());
        prop_assert!(parsed.faults.is_empty(), "{}: {:?}", written, parsed.faults);
        let read = Permissions::clone(&parsed.permissions[0]);
        prop_assert_eq!(&read.settings, &settings);
        for partition in ["aws", "aws-us-gov"] {
            let partition: Partition = partition.parse().unwrap();
            prop_assert_eq!(read.settings.document(&account, &partition), settings.document(&account, &partition));
        }
        prop_assert_eq!((read.platform, read.state, &read.roles), (platform, state, &roles));
        // And it can be written again.
        let spec = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["spec"].take();
        let removal = absent(&read, &policy, &account, &named);
        prop_assert_eq!(spec(&removal), spec(&written.replace("\"present\"", "\"absent\"")));
    }
}
