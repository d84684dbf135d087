//! The table restates, with documents of our own, what the users of other tools met as false differences or as
//! differences unseen (awspolicyequivalence, Terraform, ACK, Ansible, Cloud Custodian). Where they disagree with IAM's
//! documentation, as on the case of `Effect`, the documentation wins.

mod properties;

use super::*;

const EXISTING_ROLE: &str = include_str!("../../../tests/data/policies/a_existing_role.json");
const WITH_LOGS: &str = include_str!("../../../tests/data/policies/c_s3_cwlogs_kms.json");
const ECS_EXEC: &str = include_str!("../../../tests/data/policies/ecs_exec_ssmmessages.json");

fn parse(text: &str) -> Document {
    Document::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A document of these statements, which are Allow statements on `*` where they say nothing else.
fn document(statements: &[&str]) -> Document {
    let statements = statements.iter().map(|statement| {
        let missing = |name: &str, default: &str| {
            if statement.contains(name) { String::new() } else { format!(r#""{name}":"{default}","#) }
        };
        format!("{{{}{}{statement}}}", missing("Effect", "Allow"), missing("Resource", "*"))
    });
    parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.collect::<Vec<_>>().join(",")))
}

/// The changes, one a line, under the drift.
fn report(desired: &Document, live: &Document) -> String {
    let Comparison { drift, changes } = compare(desired, live);
    let drift = drift.map_or("in sync".to_owned(), |drift| drift.to_string());
    changes.iter().fold(drift, |report, change| format!("{report}\n{change}"))
}

#[test]
fn documents_that_mean_the_same_are_never_drift() {
    let none = None;
    let cosmetic = Some(Drift::Cosmetic);
    for (what, desired, live, drift) in [
        ("nothing differs", document(&[r#""Action":"a:b""#]), document(&[r#""Action":"a:b""#]), none),
        ("a list of one", document(&[r#""Action":["a:b"]"#]), document(&[r#""Action":"a:b","Resource":["*"]"#]), none),
        (
            "the order of keys",
            document(&[r#""Action":"a:b","Condition":{"A":{"x":"1","y":"2"},"B":{"z":"3"}}"#]),
            document(&[r#""Condition":{"B":{"z":"3"},"A":{"y":"2","x":"1"}},"Action":"a:b""#]),
            none,
        ),
        (
            "numbers and booleans without quotes",
            document(&[r#""Action":"a:b","Condition":{"Bool":{"mfa":true},"NumericLessThan":{"age":[3600,0.5]}}"#]),
            document(&[
                r#""Action":"a:b","Condition":{"Bool":{"mfa":"true"},"NumericLessThan":{"age":["3600","0.5"]}}"#,
            ]),
            none,
        ),
        (
            "the order of a list",
            document(&[r#""Action":["a:b","a:c"]"#]),
            document(&[r#""Action":["a:c","a:b"]"#]),
            cosmetic,
        ),
        ("an action twice", document(&[r#""Action":["a:b","a:b"]"#]), document(&[r#""Action":"a:b""#]), cosmetic),
        (
            "the case of an action",
            document(&[r#""Action":"kms:Decrypt""#]),
            document(&[r#""Action":"KMS:decrypt""#]),
            cosmetic,
        ),
        ("a Sid", document(&[r#""Action":"a:b""#]), document(&[r#""Action":"a:b","Sid":"Ours""#]), cosmetic),
        (
            "the order of statements",
            document(&[r#""Action":"a:b""#, r#""Action":"c:d","Resource":"r""#]),
            document(&[r#""Action":"c:d","Resource":"r""#, r#""Action":"a:b""#]),
            cosmetic,
        ),
        (
            "a statement split over its actions",
            document(&[r#""Action":["a:b","a:c"]"#]),
            document(&[r#""Action":"a:c""#, r#""Action":"a:b""#]),
            cosmetic,
        ),
        (
            "a statement split over actions and resources at once",
            document(&[r#""Action":["a:b","a:c"],"Resource":["r","s"]"#]),
            document(&[
                r#""Action":"a:b","Resource":"r""#,
                r#""Action":"a:c","Resource":["s"]"#,
                r#""Action":["a:b"],"Resource":"s""#,
                r#""Action":"a:c","Resource":"r""#,
            ]),
            cosmetic,
        ),
        (
            "what a wildcard holds already",
            document(&[r#""Action":"s3:*""#]),
            document(&[r#""Action":["s3:*","s3:Get*"]"#]),
            cosmetic,
        ),
        (
            "how a run of wildcards is written",
            document(&[r#""Action":"s3:?*""#]),
            document(&[r#""Action":"s3:**?""#]),
            cosmetic,
        ),
        (
            "the order and case of a condition",
            document(&[r#""Action":"a:b","Condition":{"StringLike":{"s3:prefix":["home/","home/me/"]}}"#]),
            document(&[r#""Action":"a:b","Condition":{"stringlike":{"S3:Prefix":["home/me/","home/"]}}"#]),
            cosmetic,
        ),
        (
            "a condition that asks nothing",
            document(&[r#""Action":"a:b""#]),
            document(&[r#""Action":"a:b","Condition":{}"#]),
            none,
        ),
        (
            "a statement that grants nothing",
            document(&[r#""Action":"a:b""#]),
            document(&[r#""Action":"a:b""#, r#""NotAction":"*""#]),
            cosmetic,
        ),
        (
            "the order of what is excluded",
            document(&[r#""NotAction":["iam:*","sts:*"]"#]),
            document(&[r#""NotAction":["STS:*","iam:*"]"#]),
            cosmetic,
        ),
        (
            "a Version that decides nothing",
            parse(r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"r"}}"#),
            document(&[r#""Action":"a:b","Resource":"r""#]),
            cosmetic,
        ),
        (
            "an absent Version and the old one, with variables",
            parse(r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"${aws:x}"}}"#),
            parse(r#"{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"a:b","Resource":"${aws:x}"}}"#),
            cosmetic,
        ),
        (
            "an Id",
            parse(r#"{"Id":"one","Statement":{"Effect":"Allow","Action":"a:b","Resource":"r"}}"#),
            parse(r#"{"Id":"two","Statement":{"Effect":"Allow","Action":"a:b","Resource":"r"}}"#),
            cosmetic,
        ),
    ] {
        assert_eq!(compare(&desired, &live), Comparison { drift, changes: vec![] }, "{what}");
        assert_eq!(compare(&live, &desired), Comparison { drift, changes: vec![] }, "{what}, the other way");
    }
}

#[test]
fn drift_has_a_direction() {
    use Drift::{Altered, Narrowed, Widened};
    let old = |resource: &str| {
        parse(&format!(
            r#"{{"Version":"2008-10-17","Statement":{{"Effect":"Allow","Action":"a:b","Resource":"{resource}"}}}}"#
        ))
    };
    for (what, desired, live, drift, swapped) in [
        ("another action", document(&[r#""Action":"a:b""#]), document(&[r#""Action":"a:c""#]), Altered, Altered),
        (
            "an action fewer",
            document(&[r#""Action":["a:b","a:c"]"#]),
            document(&[r#""Action":"a:b""#]),
            Narrowed,
            Widened,
        ),
        (
            "a statement fewer",
            document(&[r#""Action":"a:b""#, r#""Action":"a:c""#]),
            document(&[r#""Action":"a:b""#]),
            Narrowed,
            Widened,
        ),
        ("no statement at all", document(&[r#""Action":"a:b""#]), document(&[]), Narrowed, Widened),
        (
            "a wildcard",
            document(&[r#""Action":"ssmmessages:OpenDataChannel""#]),
            document(&[r#""Action":"ssmmessages:*""#]),
            Widened,
            Narrowed,
        ),
        (
            "a wider resource",
            document(&[r#""Action":"a:b","Resource":"r/x""#]),
            document(&[r#""Action":"a:b","Resource":"r/*""#]),
            Widened,
            Narrowed,
        ),
        (
            "the case of a resource",
            document(&[r#""Action":"a:b","Resource":"arn:aws:s3:::Logs""#]),
            document(&[r#""Action":"a:b","Resource":"arn:aws:s3:::logs""#]),
            Altered,
            Altered,
        ),
        (
            "actions that changed places between resources",
            document(&[r#""Action":"a:b","Resource":"r""#, r#""Action":"a:c","Resource":"s""#]),
            document(&[r#""Action":"a:b","Resource":"s""#, r#""Action":"a:c","Resource":"r""#]),
            Altered,
            Altered,
        ),
        (
            "the effect",
            document(&[r#""Action":"a:b""#]),
            document(&[r#""Effect":"Deny","Action":"a:b""#]),
            Narrowed,
            Widened,
        ),
        (
            "a Deny beside it",
            document(&[r#""Action":"a:b""#]),
            document(&[r#""Action":"a:b""#, r#""Effect":"Deny","Action":"*","Resource":"x""#]),
            Narrowed,
            Widened,
        ),
        (
            "a condition more",
            document(&[r#""Action":"a:b""#]),
            document(&[r#""Action":"a:b","Condition":{"Bool":{"aws:SecureTransport":"true"}}"#]),
            Narrowed,
            Widened,
        ),
        (
            "a condition more on a Deny",
            document(&[r#""Effect":"Deny","Action":"a:b""#]),
            document(&[r#""Effect":"Deny","Action":"a:b","Condition":{"Bool":{"k":"false"}}"#]),
            Widened,
            Narrowed,
        ),
        (
            "another condition value",
            document(&[r#""Action":"a:b","Condition":{"StringEquals":{"k":"one"}}"#]),
            document(&[r#""Action":"a:b","Condition":{"StringEquals":{"k":"One"}}"#]),
            Altered,
            Altered,
        ),
        (
            "a further condition value, which could mean either",
            document(&[r#""Action":"a:b","Condition":{"StringEquals":{"k":"one"}}"#]),
            document(&[r#""Action":"a:b","Condition":{"StringEquals":{"k":["one","two"]}}"#]),
            Altered,
            Altered,
        ),
        (
            "another operator",
            document(&[r#""Action":"a:b","Condition":{"StringEquals":{"k":"v"}}"#]),
            document(&[r#""Action":"a:b","Condition":{"StringNotEquals":{"k":"v"}}"#]),
            Altered,
            Altered,
        ),
        (
            "no value against no condition",
            document(&[r#""Action":"a:b""#]),
            document(&[r#""Action":"a:b","Condition":{"ArnEquals":{"k":[]}}"#]),
            Narrowed,
            Widened,
        ),
        (
            "all but something",
            document(&[r#""Action":"kms:Decrypt""#]),
            document(&[r#""NotAction":"iam:*""#]),
            Widened,
            Narrowed,
        ),
        (
            "all but the action itself",
            document(&[r#""Action":"kms:Decrypt""#]),
            document(&[r#""NotAction":"kms:*""#]),
            Altered,
            Altered,
        ),
        (
            "all but a part of the action",
            document(&[r#""Action":"kms:*""#]),
            document(&[r#""NotAction":"kms:Decrypt""#]),
            Altered,
            Altered,
        ),
        (
            "more excluded",
            document(&[r#""NotAction":"iam:Pass*""#]),
            document(&[r#""NotAction":["iam:*","sts:*"]"#]),
            Narrowed,
            Widened,
        ),
        (
            "everything against all but something",
            document(&[r#""NotAction":"iam:*""#]),
            document(&[r#""Action":"*""#]),
            Widened,
            Narrowed,
        ),
        (
            "all resources but some",
            document(&[r#""Action":"a:b","NotResource":["r/*","s"]"#]),
            document(&[r#""Action":"a:b","NotResource":"r/*""#]),
            Widened,
            Narrowed,
        ),
        (
            "an element that is not understood",
            document(&[r#""Action":"a:b""#]),
            document(&[r#""Action":"a:b","Future":1"#]),
            Altered,
            Altered,
        ),
        (
            "an element of the document that is not understood",
            parse(r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"r"}}"#),
            parse(r#"{"Future":{},"Statement":{"Effect":"Allow","Action":"a:b","Resource":"r"}}"#),
            Altered,
            Altered,
        ),
        (
            "variables that are text in one Version",
            document(&[r#""Action":"a:b","Resource":"${aws:x}""#]),
            old("${aws:x}"),
            Altered,
            Altered,
        ),
        (
            "a wildcard that is text in one Version",
            document(&[r#""Action":"a:b","Resource":"a${*}""#]),
            old("a*"),
            Widened,
            Narrowed,
        ),
        (
            "a condition with variables that are text in one Version",
            document(&[r#""Action":"a:b","Condition":{"StringEquals":{"k":"${aws:x}"}}"#]),
            parse(
                r#"{"Statement":{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringEquals":{"k":"${aws:x}"}}}}"#,
            ),
            Altered,
            Altered,
        ),
        (
            "no Resource against all",
            document(&[r#""Action":"a:b""#]),
            parse(r#"{"Statement":{"Effect":"Allow","Action":"a:b"}}"#),
            Altered,
            Altered,
        ),
    ] {
        assert_eq!(compare(&desired, &live).drift, Some(drift), "{what}: {}", report(&desired, &live));
        assert_eq!(compare(&live, &desired).drift, Some(swapped), "{what}, the other way");
    }
}

#[test]
fn nothing_and_nonsense_lose_everything() {
    let desired = parse(EXISTING_ROLE);
    let (missing, unreadable) = (compare_missing(&desired), compare_unreadable(&desired));
    assert_eq!((missing.drift, unreadable.drift), (Some(Drift::Missing), Some(Drift::Altered)));
    assert_eq!(missing.changes, unreadable.changes);
    assert_eq!(missing.changes, compare(&desired, &document(&[])).changes);
    let lines: Vec<String> = missing.changes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    lost Allow kms:Decrypt on key-name
    lost Allow s3:GetEncryptionConfiguration, ssmmessages:CreateControlChannel, ssmmessages:CreateDataChannel, ssmmessages:OpenControlChannel, ssmmessages:OpenDataChannel on *
    "#);
}

#[test]
fn changes_are_few_and_readable() {
    insta::assert_snapshot!(report(&parse(EXISTING_ROLE), &parse(WITH_LOGS)), @r#"
    widened
    gained Allow kms:GenerateDataKey, logs:CreateLogStream, logs:DescribeLogGroups, logs:DescribeLogStreams, logs:PutLogEvents, ssm:UpdateInstanceInformation on *
    gained Allow s3:PutObject on arn:aws:s3:::DOC-EXAMPLE-BUCKET/s3-bucket-prefix/*
    "#);
    insta::assert_snapshot!(report(&parse(EXISTING_ROLE), &parse(ECS_EXEC)), @r#"
    narrowed
    lost Allow kms:Decrypt on key-name
    lost Allow s3:GetEncryptionConfiguration on *
    "#);
    let live = document(&[
        r#""Effect":"Deny","NotAction":["sts:*","IAM:*"],"NotResource":["r","s"]"#,
        r#""Action":["S3:Put*","s3:Get*"],"Resource":["b/*","a/*"],"Condition":{"StringEquals":{"aws:SourceVpc":["v1","v2"]}}"#,
        r#""Action":"ssmmessages:CreateControlChannel""#,
    ]);
    insta::assert_snapshot!(report(&parse(ECS_EXEC), &live), @r#"
    altered
    gained Allow S3:Put*, s3:Get* on a/*, b/* if {"StringEquals":{"aws:SourceVpc":["v1","v2"]}}
    gained Deny NotAction: IAM:*, sts:* on NotResource: r, s
    lost Allow ssmmessages:CreateDataChannel, ssmmessages:OpenControlChannel, ssmmessages:OpenDataChannel on *
    "#);
}

#[test]
fn a_change_is_told_in_the_same_words_to_machines() {
    let desired = document(&[r#""Action":"kms:Decrypt","Resource":"k","Condition":{"Bool":{"aws:X":true}}"#]);
    let changes = compare(&desired, &document(&[])).changes;
    insta::assert_snapshot!(serde_json::to_string(&changes).unwrap(), @r#"[{"change":"lost","effect":"Allow","actions":["kms:Decrypt"],"resources":["k"],"condition":{"Bool":{"aws:X":"true"}}}]"#);
    assert_eq!(serde_json::to_string(&Drift::Narrowed).unwrap(), r#""narrowed""#);
    let gained = compare(&document(&[]), &document(&[r#""Action":"a\u001bb","Resource":"c\nd""#])).changes;
    assert_eq!(gained[0].to_string(), "gained Allow a b on c d", "control characters never reach a line of output");
    let gained =
        compare(&document(&[]), &document(&[r#""Action":"a","Condition":{"B":{"c":"\u0085\u007f"}}"#])).changes;
    assert_eq!(
        gained[0].to_string(),
        r#"gained Allow a on * if {"B":{"c":"\u0085\u007f"}}"#,
        "nor by way of a condition"
    );
}

#[test]
fn how_changes_are_grouped_does_not_depend_on_how_statements_are_split() {
    let whole = document(&[r#""Action":["a:b","a:c"],"Resource":["r","s"]"#]);
    let split = document(&[
        r#""Action":["a:b","a:c"],"Resource":"s""#,
        r#""Action":"a:c","Resource":"r""#,
        r#""Action":"a:b","Resource":"r""#,
    ]);
    assert_eq!(compare_missing(&whole), compare_missing(&split));
    assert_eq!(compare_missing(&whole).changes.len(), 1);
}

/// Documents that fill IAM's quota and beyond, and in which nothing is alike, still take no noticeable time.
#[test]
fn the_comparison_of_hostile_documents_comes_to_an_end() {
    fn many(kind: &str, side: usize, count: usize) -> String {
        (0..count).map(|index| format!(r#""{kind}:*{side}*{index}""#)).collect::<Vec<_>>().join(",")
    }
    let wide =
        |side| document(&[&format!(r#""Action":[{}],"Resource":[{}]"#, many("a", side, 600), many("r", side, 600))]);
    let scattered = |side: usize| {
        let statement = |index: usize| {
            format!(r#""Action":[{}],"Resource":["r{side}{index}","s{index}"]"#, many("a", index % 7, 1 + index % 5))
        };
        let statements: Vec<String> = (0..200).map(statement).collect();
        document(&statements.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let excluding = |side| {
        document(&[&format!(r#""NotAction":[{}],"NotResource":[{}]"#, many("a", side, 600), many("r", side, 600))])
    };
    // Each action in statements of its own choice: merged, every action would stand alone with most of the resources.
    let tangled = |side: usize| {
        let statement = |index: usize| {
            let actions = (0..60)
                .filter(|action| action * action * (index + 1) % 101 < 50)
                .map(|action| format!(r#""a{action}""#));
            let resources = (0..40).map(|resource| format!(r#""r{side}{index}{resource}""#));
            let joined = |texts: Vec<String>| texts.join(",");
            format!(r#""Action":[{}],"Resource":[{}]"#, joined(actions.collect()), joined(resources.collect()))
        };
        let statements: Vec<String> = (0..20).map(statement).collect();
        document(&statements.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let stars = |side: &str| document(&[&format!(r#""Action":"a:{}{side}""#, "*a".repeat(2_500))]);
    for (desired, live) in [
        (wide(1), wide(2)),
        (wide(1), excluding(2)),
        (excluding(1), excluding(2)),
        (scattered(1), scattered(2)),
        (tangled(1), tangled(2)),
        (stars("b"), stars("c")),
    ] {
        assert!(compare(&desired, &live).drift.is_some());
    }
}
