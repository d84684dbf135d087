use proptest::prelude::*;

use super::*;
use crate::policy::compare::compare;

const EXISTING_ROLE: &str = include_str!("../../../tests/data/policies/a_existing_role.json");
const CUSTOM_ROLE: &str = include_str!("../../../tests/data/policies/b_minimal_custom_role.json");
const WITH_LOGS: &str = include_str!("../../../tests/data/policies/c_s3_cwlogs_kms.json");
const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn key(text: &str) -> KeyArn {
    text.parse().unwrap()
}

fn document(settings: &Settings) -> SessionManagerDocument {
    settings.document(&"111122223333".parse().unwrap(), &Partition::default())
}

/// Statement by statement, one a line.
fn lines(settings: &Settings) -> String {
    document(settings).as_str().replace("[{", "[\n{").replace("},{", "},\n{").replace("}]}", "}\n]}")
}

fn documented() -> Settings {
    Settings { s3_encryption_enabled: true, session_keys: vec![key(KEY)], ..Settings::default() }
}

fn bucket(prefix: Option<&str>, owner: Option<&str>) -> Option<LogBucket> {
    Some(LogBucket {
        name: "audit-sessions".to_owned(),
        prefix: prefix.map(str::to_owned),
        owner: owner.map(|owner| owner.parse().unwrap()),
    })
}

fn without_white_space(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn a_session_key_alone_yields_awss_documented_policy_to_the_letter() {
    let expected = without_white_space(EXISTING_ROLE).replace("key-name", KEY);
    assert_eq!(document(&documented()).as_str(), expected);
}

#[test]
fn granted_registration_yields_awss_minimal_custom_role() {
    let settings = Settings { node_registration: NodeRegistration::Granted, ..documented() };
    assert_eq!(document(&settings).as_str(), without_white_space(CUSTOM_ROLE).replace("key-name", KEY));
}

#[test]
fn default_host_management_is_left_its_registration() {
    let settings = Settings { node_registration: NodeRegistration::DefaultHostManagement, ..documented() };
    assert_eq!(document(&settings), document(&documented()));
}

#[test]
fn without_any_setting_only_the_channels_are_granted() {
    insta::assert_snapshot!(lines(&Settings::default()), @r#"
    {"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}
    ]}
    "#);
}

#[test]
fn a_bucket_takes_the_place_of_the_star_and_gets_its_objects() {
    let settings = Settings { log_bucket: bucket(Some("web/sessions"), None), ..documented() };
    insta::assert_snapshot!(lines(&settings), @r#"
    {"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"},
    {"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"arn:aws:s3:::audit-sessions"},
    {"Effect":"Allow","Action":["kms:Decrypt"],"Resource":"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"},
    {"Effect":"Allow","Action":["s3:PutObject"],"Resource":"arn:aws:s3:::audit-sessions/web/sessions/*"}
    ]}
    "#);
}

#[test]
fn a_bucket_needs_the_encryption_check_even_where_it_is_not_enforced() {
    let checked = Settings { s3_encryption_enabled: true, log_bucket: bucket(None, None), ..Settings::default() };
    let unchecked = Settings { s3_encryption_enabled: false, ..checked.clone() };
    assert_eq!(document(&checked), document(&unchecked));
    assert!(document(&unchecked).as_str().contains(r#""arn:aws:s3:::audit-sessions/*""#));
}

#[test]
fn only_another_accounts_bucket_needs_the_acl() {
    let settings = |owner| Settings { log_bucket: bucket(None, owner), ..Settings::default() };
    assert!(document(&settings(Some("444455556666"))).as_str().contains(r#"["s3:PutObject","s3:PutObjectAcl"]"#));
    for owner in [None, Some("111122223333")] {
        assert!(!document(&settings(owner)).as_str().contains("PutObjectAcl"));
    }
}

#[test]
fn everything_at_once_stands_in_a_fixed_order() {
    let second = key("arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab");
    let settings = Settings {
        node_registration: NodeRegistration::Granted,
        session_keys: vec![key(KEY), second.clone()],
        bucket_keys: vec![second],
        log_bucket: bucket(Some("web"), Some("444455556666")),
        log_group: Some("/ssm/sessions".to_owned()),
        ..documented()
    };
    insta::assert_snapshot!(lines(&settings), @r#"
    {"Version":"2012-10-17","Statement":[
    {"Effect":"Allow","Action":["ssm:UpdateInstanceInformation","ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"},
    {"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"arn:aws:s3:::audit-sessions"},
    {"Effect":"Allow","Action":["kms:Decrypt"],"Resource":["arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab","arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"]},
    {"Effect":"Allow","Action":["s3:PutObject","s3:PutObjectAcl"],"Resource":"arn:aws:s3:::audit-sessions/web/*"},
    {"Effect":"Allow","Action":["logs:DescribeLogGroups"],"Resource":"*"},
    {"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents","logs:DescribeLogStreams"],"Resource":["arn:aws:logs:*:111122223333:log-group:/ssm/sessions","arn:aws:logs:*:111122223333:log-group:/ssm/sessions:*"]},
    {"Effect":"Allow","Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"}
    ]}
    "#);
}

#[test]
fn arns_carry_the_partition_and_the_account() {
    let settings = Settings { log_bucket: bucket(None, None), log_group: Some("g".to_owned()), ..Settings::default() };
    let text = settings.document(&"444455556666".parse().unwrap(), &"aws-cn".parse().unwrap()).text;
    for arn in ["arn:aws-cn:s3:::audit-sessions", "arn:aws-cn:logs:*:444455556666:log-group:g"] {
        assert!(text.contains(arn), "{arn} in {text}");
    }
    assert!(!text.contains("arn:aws:"));
}

#[test]
fn the_writer_refuses_whatever_is_not_a_plain_grant_of_the_vocabulary() {
    let statement = |rest: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{rest}}}]}}"#);
    let plain = r#""Action":"KMS:decrypt","Resource":"*""#;
    assert_eq!(outside_vocabulary(&statement(plain)), None);
    for (text, expected) in [
        ("{".to_owned(), "not a policy document"),
        (statement(plain).replace("Allow", "Deny"), "it is a Deny"),
        (statement(r#""Action":["kms:Decrypt","iam:PassRole"],"Resource":"*""#), "iam:PassRole is not"),
        (statement(r#""Action":"ssmmessages:*","Resource":"*""#), "ssmmessages:* is not"),
        (statement(r#""Action":"s3:GetEncryptionConfiguratio?","Resource":"*""#), "is not"),
        (statement(r#""NotAction":"kms:Decrypt","Resource":"*""#), "NotAction"),
        (statement(r#""Action":"kms:Decrypt","NotResource":"a""#), "NotResource"),
        (statement(r#""Action":"kms:Decrypt""#), "no Resource"),
        (statement(&format!(r#"{plain},"Condition":{{"Bool":{{"a":"b"}}}}"#)), "Condition"),
        (statement(&format!(r#"{plain},"Principal":"*""#)), "statement 1: it holds elements"),
        (statement(plain).replace(r#"{"Version""#, r#"{"Future":1,"Version""#), "it holds elements"),
        (statement(plain).replace("2012", "2013"), "not a policy document"),
    ] {
        let reason = outside_vocabulary(&text);
        assert!(reason.as_deref().is_some_and(|reason| reason.contains(expected)), "{text}: {reason:?}");
    }
}

#[test]
fn a_policy_is_about_session_manager_where_it_allows_any_of_its_actions() {
    let parse = |text: &str| Document::parse(text).unwrap();
    for text in
        [EXISTING_ROLE, CUSTOM_ROLE, WITH_LOGS, r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#]
    {
        assert!(is_session_manager_policy(&parse(text)));
    }
    for text in [
        r#"{"Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*"}}"#,
        r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#,
        r#"{"Statement":[]}"#,
    ] {
        assert!(!is_session_manager_policy(&parse(text)));
    }
}

#[test]
fn white_space_does_not_count_towards_the_quota() {
    assert_eq!(size("{ \"a\":\t\"b c\"\r\n}"), size(r#"{"a":"bc"}"#));
    assert_eq!(size("é"), 1);
    assert_eq!(size(EXISTING_ROLE), size(&without_white_space(EXISTING_ROLE)));
}

/// Whatever manifests can ask for.
pub(crate) fn any_settings() -> impl Strategy<Value = Settings> {
    let keys = || {
        prop::collection::btree_set("arn:aws(-cn)?:kms:eu-west-[1-3]:111122223333:key/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", 0..4)
            .prop_map(|keys| keys.iter().map(|text| key(text)).collect::<Vec<_>>())
    };
    let registration = prop::sample::select(vec![
        NodeRegistration::Assumed,
        NodeRegistration::Granted,
        NodeRegistration::DefaultHostManagement,
    ]);
    let owner = prop::option::of(prop::sample::select(vec!["111122223333", "444455556666"]));
    let bucket = prop::option::of(("[a-z][a-z0-9.-]{2,20}", prop::option::of("[a-z]{1,5}(/[ -~é]{1,5})?"), owner));
    let group = prop::option::of("[A-Za-z0-9_/.#-]{1,30}");
    (registration, any::<bool>(), bucket, keys(), keys(), group).prop_map(
        |(node_registration, s3_encryption_enabled, bucket, session_keys, bucket_keys, log_group)| Settings {
            node_registration,
            s3_encryption_enabled,
            log_bucket: bucket.map(|(name, prefix, owner)| LogBucket {
                name,
                prefix,
                owner: owner.map(|owner| owner.parse().unwrap()),
            }),
            session_keys,
            bucket_keys,
            log_group,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_settings_yield_a_document_of_the_vocabulary_that_is_in_sync_with_itself(settings in any_settings()) {
        let written = document(&settings);
        let read = Document::parse(written.as_str()).unwrap();
        prop_assert_eq!(outside_vocabulary(written.as_str()), None);
        prop_assert_eq!(&read, written.document());
        prop_assert_eq!(compare(written.document(), &read).drift, None);
        prop_assert_eq!(compare(&read, &read.folded().merged()).changes, vec![]);
        prop_assert!(is_session_manager_policy(&read) && !read.denies());
    }
}
