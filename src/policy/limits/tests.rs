use super::*;

const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

/// Limits on what a document names; none where nothing is given.
fn limits(keys: Option<&[&str]>, buckets: Option<&[&str]>, groups: Option<&[&str]>) -> Limits {
    let read = |written: Option<&[&str]>| written.map(|written| written.iter().copied().collect());
    Limits {
        kms_key_arns: read(keys),
        s3_bucket_names: read(buckets),
        cloud_watch_log_group_names: read(groups),
        ..Limits::default()
    }
}

fn statement(actions: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":[{actions}],"Resource":"{resource}"}}]}}"#
    )
}

#[test]
fn what_is_not_given_is_not_bounded_and_what_is_empty_admits_nothing() {
    let account: AccountId = "111122223333".parse().unwrap();
    let (free, closed) = (
        Limits::default(),
        Limits {
            account_ids: Some(BTreeSet::new()),
            role_path_prefixes: Some(Vec::new()),
            ..limits(Some(&[]), Some(&[]), Some(&[]))
        },
    );
    let all = |limits: &Limits| {
        [
            limits.outside_accounts(&account),
            limits.outside_paths("/"),
            limits.outside_keys("k"),
            limits.outside_buckets("b"),
            limits.outside_log_groups("g"),
        ]
    };
    assert_eq!(all(&free), [const { None }; 5]);
    insta::assert_snapshot!(all(&closed).map(Option::unwrap).join("\n"), @r"
    account 111122223333 is not among `accountIds`, which admits none
    the role's path / begins with none of `rolePathPrefixes`, which admits none
    the key k is not among `kmsKeyArns`, which admits none
    the bucket b is not among `s3BucketNames`, which admits none
    the log group g is not among `cloudWatchLogGroupNames`, which admits none
    ");
}

#[test]
fn a_message_names_a_few_of_what_is_admitted() {
    let six: Vec<String> = (1..=6).map(|at| format!("bucket-{at}")).collect();
    let limits = Limits { s3_bucket_names: Some(six.into_iter().collect()), ..Limits::default() };
    insta::assert_snapshot!(limits.outside_buckets("other").unwrap(), @"the bucket other is not among `s3BucketNames`: bucket-1, bucket-2, bucket-3, bucket-4, bucket-5 and 1 more");
}

#[test]
fn accounts_are_compared_whole_and_paths_by_their_beginning() {
    let account = |text: &str| text.parse::<AccountId>().unwrap();
    let limits = Limits {
        account_ids: Some([account("111122223333")].into()),
        role_path_prefixes: Some(vec!["/fleet/".to_owned(), "/a/b/".to_owned()]),
        ..Limits::default()
    };
    assert_eq!(limits.outside_accounts(&account("111122223333")), None);
    assert!(limits.outside_accounts(&account("111122223334")).is_some());
    for (path, admitted) in [
        ("/fleet/", true),
        ("/fleet/web/", true),
        ("/a/b/c/", true),
        ("/", false),
        ("/a/", false),
        ("/fleets/", false),
        ("/Fleet/", false),
        ("/x/fleet/", false),
    ] {
        assert_eq!(limits.outside_paths(path).is_none(), admitted, "{path}");
    }
    let anywhere = Limits { role_path_prefixes: Some(vec!["/".to_owned()]), ..Limits::default() };
    assert_eq!(anywhere.outside_paths("/fleet/"), None);
}

#[test]
fn wildcards_fit_whole_names_and_case_counts() {
    for (pattern, name, admitted) in [
        ("audit-sessions", "audit-sessions", true),
        ("audit-sessions", "audit-sessions-2", false),
        ("audit-*", "audit-", true),
        ("audit-*", "my-audit-1", false),
        ("audit-?", "audit-1", true),
        ("audit-?", "audit-12", false),
        ("*", "anything", true),
        ("/ssm/*", "/ssm/a/b", true),
        ("/ssm/*", "/SSM/a", false),
        ("/SSM/*", "/SSM/a", true),
        // What is named may stand for more than one thing.
        ("audit-*", "audit-*", true),
        ("audit-?", "audit-*", false),
        ("audit-sessions", "*", false),
        ("audit-????????????????", "audit-${aws:username}", false),
    ] {
        assert_eq!(Wildcards::from_iter([pattern]).admit(name), admitted, "{pattern} and {name}");
    }
    assert!(Wildcards::overlap("a*", "?b") && !Wildcards::overlap("a*", "b*"));
}

#[test]
fn a_document_is_outside_where_anything_that_it_names_is() {
    let key = |arn: &str| statement(r#""kms:Decrypt""#, arn);
    let object = |arn: &str| statement(r#""s3:PutObject","s3:PutObjectAcl""#, arn);
    let encryption = |arn: &str| statement(r#""s3:GetEncryptionConfiguration""#, arn);
    let stream = |arn: &str| statement(r#""logs:CreateLogStream","logs:PutLogEvents""#, arn);
    let keys: &[&str] = &["arn:aws:kms:*:111122223333:key/*", "arn:aws-cn:kms:cn-north-1:111122223333:key/*"];
    let limits = limits(Some(keys), Some(&["audit-*"]), Some(&["/ssm/*"]));
    for (document, inside) in [
        (key(&format!("arn:aws:kms:us-east-1:111122223333:key/{ID}")), true),
        (key(&format!("arn:aws:kms:us-east-1:444455556666:key/{ID}")), false),
        (key(&format!("arn:aws-cn:kms:cn-north-1:111122223333:key/{ID}")), true),
        (key(&format!("arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/{ID}")), false),
        (key("*"), false),
        (object("arn:aws:s3:::audit-sessions/*"), true),
        (object("arn:aws:s3:::audit-sessions/web/*"), true),
        (object("arn:aws-cn:s3:::audit-sessions/web/*"), true),
        (object("arn:aws:s3:::other/audit-sessions/*"), false),
        (object("arn:aws:s3:::Audit-sessions/*"), false),
        (object("*"), false),
        (object("arn:*"), false),
        (object("audit-sessions"), false),
        (object("arn:*:s3:::audit-sessions"), false),
        (encryption("arn:aws:s3:::audit-sessions"), true),
        (encryption("arn:aws:s3:::other"), false),
        // It gives nothing away.
        (encryption("*"), true),
        (statement(r#""logs:DescribeLogGroups""#, "*"), true),
        (statement(r#""logs:DescribeLogGroups","logs:PutLogEvents""#, "*"), false),
        (stream("arn:aws:logs:*:111122223333:log-group:/ssm/sessions"), true),
        (stream("arn:aws:logs:*:111122223333:log-group:/ssm/sessions:*"), true),
        (stream("arn:aws-cn:logs:*:111122223333:log-group:/ssm/sessions:*"), true),
        (stream("arn:aws:logs:*:111122223333:log-group:/other"), false),
        (stream("arn:aws:logs:*:111122223333:log-group:/other:*"), false),
        (stream("arn:aws:logs:*:*:log-group:/ssm/sessions"), false),
        (stream("arn:aws:logs:*:111122223333:log-group:/ssm/sessions:log-stream:a"), false),
        (statement(r#""ssmmessages:OpenDataChannel","ssm:UpdateInstanceInformation""#, "*"), true),
        // Each service that a statement is about has its say.
        (statement(r#""kms:Decrypt","s3:PutObject""#, "arn:aws:s3:::audit-sessions/*"), false),
        (statement(r#""KMS:decrypt""#, "*"), false),
        (r#"{"Statement":{"Effect":"Allow","Action":"kms:Decrypt"}}"#.to_owned(), false),
        (r#"{"Statement":{"Effect":"Allow","NotAction":"kms:Decrypt","Resource":"*"}}"#.to_owned(), false),
        ("{".to_owned(), false),
    ] {
        let outside = limits.outside_resources(&document);
        assert_eq!(outside.is_none(), inside, "{document}: {outside:?}");
    }
}

#[test]
fn one_limit_is_not_hidden_by_another_one_that_is_not_given() {
    let document = statement(r#""kms:Decrypt","s3:PutObject","logs:PutLogEvents""#, "arn:aws:s3:::other/*");
    for limits in [limits(None, Some(&["audit-*"]), None), limits(None, None, Some(&["/ssm/*"]))] {
        assert!(limits.outside_resources(&document).is_some());
    }
    assert_eq!(Limits::default().outside_resources(&document), None);
}

#[test]
fn a_star_of_every_kind_admits_every_document() {
    let any: &[&str] = &["*"];
    let limits = limits(Some(any), Some(any), Some(any));
    for actions in [r#""kms:Decrypt""#, r#""s3:PutObject""#, r#""logs:PutLogEvents""#] {
        assert_eq!(limits.outside_resources(&statement(actions, "*")), None);
    }
}
