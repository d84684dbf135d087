//! The condition operators, where the key's values are known, known to be absent, and not known.

use super::*;

/// What the condition makes of an Allow: `allowed` where it holds, `not granted` where it does not.
fn outcome(condition: Value, context: &Context) -> &'static str {
    let role = role(vec![inline("p", when(allow(json!("*"), json!("*")), condition))], None);
    word(&role.answer(&Question::new(OPEN, Resource::Unnamed), context))
}

fn check(context: &Context, operator: &str, key: &str, values: Value, expected: &str) {
    let condition = json!({operator: {key: values.clone()}});
    assert_eq!(outcome(condition, context), expected, "{operator} {key} {values}");
}

#[test]
fn each_operator_compares_in_its_own_way() {
    let context = session()
        .with("aws:RequestedRegion", ["eu-west-1"])
        .with("s3:max-keys", ["10"])
        .with("aws:CurrentTime", ["2026-01-02T03:04:05Z"])
        .with("aws:SecureTransport", ["true"]);
    for (operator, key, values, expected) in [
        ("StringEquals", "AWS:requestedregion", json!(["us-east-1", "eu-west-1"]), "allowed"),
        ("stringequals", "aws:RequestedRegion", json!("EU-west-1"), "not granted"),
        ("StringEquals", "aws:RequestedRegion", json!("eu-*"), "not granted"),
        ("StringEqualsIgnoreCase", "aws:RequestedRegion", json!("EU-west-1"), "allowed"),
        ("StringLike", "aws:RequestedRegion", json!("eu-*-?"), "allowed"),
        ("StringNotEquals", "aws:RequestedRegion", json!(["us-east-1", "eu-west-1"]), "not granted"),
        ("StringNotLike", "aws:RequestedRegion", json!(["us-*"]), "allowed"),
        ("StringNotEqualsIgnoreCase", "aws:RequestedRegion", json!("EU-WEST-1"), "not granted"),
        ("NumericLessThanEquals", "s3:max-keys", json!("10"), "allowed"),
        ("NumericLessThan", "s3:max-keys", json!(10), "not granted"),
        ("NumericNotEquals", "s3:max-keys", json!("10.5"), "allowed"),
        ("NumericEquals", "s3:max-keys", json!("ten"), "unknown"),
        ("DateGreaterThan", "aws:CurrentTime", json!("2026-01-02T03:04:04Z"), "allowed"),
        ("DateLessThan", "aws:CurrentTime", json!("0"), "not granted"),
        ("DateEquals", "aws:CurrentTime", json!("yesterday"), "unknown"),
        ("DateLessThan", "aws:CurrentTime", json!("2099"), "unknown"),
        ("DateLessThan", "aws:CurrentTime", json!("20990"), "not granted"),
        ("Bool", "aws:SecureTransport", json!(true), "allowed"),
        ("Bool", "aws:SecureTransport", json!("false"), "not granted"),
        ("ArnLike", "aws:PrincipalArn", json!("arn:aws:iam::111122223333:role/fleet/*"), "allowed"),
        ("ArnEquals", "aws:PrincipalArn", json!("arn:aws:iam::*:role/*"), "allowed"),
        ("ArnEquals", "aws:PrincipalArn", json!("arn:aws:iam:*:role/*"), "unknown"),
        ("ArnNotLike", "aws:PrincipalArn", json!("arn:aws:iam::444455556666:*"), "allowed"),
        ("Null", "aws:TokenIssueTime", json!("false"), "allowed"),
        ("Null", "aws:TokenIssueTime", json!("true"), "not granted"),
        ("Null", "aws:username", json!("true"), "allowed"),
        ("IpAddress", "aws:SourceIp", json!("10.0.0.0/8"), "conditional"),
        ("StringEquals", "aws:SourceVpc", json!("vpc-1"), "conditional"),
        ("StringEqualsIfExists", "aws:SourceVpc", json!("vpc-1"), "conditional"),
        ("NullIfExists", "aws:username", json!("true"), "unknown"),
        ("ForSomeValues:StringEquals", "aws:username", json!("x"), "unknown"),
    ] {
        check(&context, operator, key, values, expected);
    }
}

#[test]
fn an_absent_key_fails_what_compares_and_holds_for_what_is_negated_or_optional() {
    for (operator, expected) in [
        ("StringEquals", "not granted"),
        ("StringNotEquals", "allowed"),
        ("StringEqualsIfExists", "allowed"),
        ("StringNotLikeIfExists", "allowed"),
        ("IpAddress", "not granted"),
        ("NotIpAddress", "allowed"),
        ("ForAllValues:StringEquals", "allowed"),
        ("ForAnyValue:StringEquals", "not granted"),
        ("ForAnyValue:StringNotEquals", "not granted"),
        ("ForAnyValue:StringEqualsIfExists", "unknown"),
    ] {
        check(&session(), operator, "aws:username", json!("x"), expected);
    }
}

#[test]
fn set_operators_ask_for_all_or_any_of_the_request_s_values() {
    let context = session().with("aws:TagKeys", ["team", "cost"]);
    for (operator, values, expected) in [
        ("ForAllValues:StringEquals", json!(["team", "cost", "x"]), "allowed"),
        ("ForAllValues:StringEquals", json!(["team"]), "not granted"),
        ("ForAnyValue:StringEquals", json!(["team"]), "allowed"),
        ("ForAnyValue:StringEquals", json!(["x"]), "not granted"),
        ("ForAllValues:StringNotEquals", json!(["x"]), "allowed"),
        ("ForAllValues:StringNotEquals", json!(["team"]), "not granted"),
        ("ForAnyValue:StringNotEquals", json!(["team"]), "allowed"),
        ("ForAnyValue:StringNotEquals", json!(["team", "cost"]), "not granted"),
        ("StringEquals", json!(["team"]), "unknown"),
    ] {
        check(&context, operator, "aws:TagKeys", values, expected);
    }
}

#[test]
fn all_keys_and_all_operators_must_hold() {
    let account = json!({"aws:PrincipalAccount": "111122223333"});
    let both = |other: Value| json!({"StringEquals": account, "StringLike": other});
    assert_eq!(outcome(both(json!({"aws:PrincipalArn": "*/web"})), &session()), "allowed");
    assert_eq!(outcome(both(json!({"aws:PrincipalArn": "*/db"})), &session()), "not granted");
    assert_eq!(outcome(both(json!({"aws:SourceVpc": "*"})), &session()), "conditional");
    let failed = json!({"StringEquals": {"aws:PrincipalAccount": "4"}, "StringRhymes": {"aws:x": "y"}});
    assert_eq!(outcome(failed, &session()), "not granted", "whatever the other means, this one fails");
}

#[test]
fn a_variable_in_a_condition_is_replaced_and_without_a_value_matches_nothing() {
    let context = session().with("aws:PrincipalTag/team", ["red"]).with("ec2:ResourceTag/team", ["red"]);
    for (operator, value, expected) in [
        ("StringEquals", "${aws:PrincipalTag/team}", "allowed"),
        ("StringNotEquals", "${aws:PrincipalTag/team}", "not granted"),
        ("StringEqualsIgnoreCase", "${aws:PrincipalTag/team}", "allowed"),
        ("StringEquals", "${aws:username}", "not granted"),
        ("StringNotEquals", "${aws:username}", "allowed"),
        ("StringEquals", "${aws:PrincipalTag/unit}", "conditional"),
        ("StringEquals", "x${aws:PrincipalTag/unit}", "not granted"),
    ] {
        check(&context, operator, "ec2:ResourceTag/team", json!(value), expected);
    }
}

#[test]
fn of_a_value_that_is_known_in_part_the_outcome_is_sure_where_it_is_the_same_for_all_that_it_may_be() {
    let context = Context::new().within("aws:SourceArn", "arn:aws:ssm:*:111122223333:*");
    for (operator, value, expected) in [
        ("ArnLike", "arn:aws:ssm:*:111122223333:*", "allowed"),
        ("ArnEquals", "arn:*:ssm:*:*:*", "allowed"),
        ("ArnLike", "arn:aws:ssm:eu-west-1:111122223333:*", "conditional"),
        ("ArnLike", "arn:aws:ssm:*:444455556666:*", "not granted"),
        ("ArnNotLike", "arn:aws:ssm:*:444455556666:*", "allowed"),
        ("ArnNotEquals", "arn:aws:ssm:*:111122223333:*", "not granted"),
        ("ArnLike", "arn:aws:ssm", "unknown"),
        ("StringLike", "arn:aws:ssm:*", "allowed"),
        ("StringNotLike", "arn:aws:ssm:*", "not granted"),
        ("StringNotLike", "arn:aws:ssm:eu-*", "conditional"),
        ("StringEquals", "arn:aws:ssm:eu-west-1:111122223333:x", "conditional"),
        ("StringEquals", "arn:aws:ec2:eu-west-1:111122223333:x", "not granted"),
        ("StringEqualsIgnoreCase", "ARN:AWS:SSM:EU-WEST-1:111122223333:x", "conditional"),
        ("StringEqualsIfExists", "arn:aws:ec2:eu-west-1:111122223333:x", "not granted"),
        ("ForAnyValue:StringLike", "arn:aws:ssm:*", "allowed"),
        ("ForAllValues:StringLike", "arn:aws:ec2:*", "not granted"),
        ("Null", "false", "allowed"),
        ("Null", "true", "not granted"),
        ("NumericEquals", "7", "conditional"),
        ("DateLessThan", "2026-01-02T03:04:05Z", "conditional"),
        ("Bool", "true", "conditional"),
        ("IpAddress", "10.0.0.0/8", "conditional"),
    ] {
        check(&context, operator, "aws:sourcearn", json!(value), expected);
    }
    let whole = Context::new().within("aws:SourceArn", "arn:aws:ssm:eu-west-1:111122223333:x");
    check(&whole, "StringEquals", "aws:SourceArn", json!("arn:aws:ssm:eu-west-1:111122223333:x"), "allowed");
}

#[test]
fn a_value_that_is_known_in_part_is_named_where_it_decides_and_no_text_for_a_variable() {
    let context = session().within("aws:SourceArn", "arn:aws:ssm:*:111122223333:*");
    let depends = |statement: Value| {
        let role = role(vec![inline("p", statement)], None);
        match role.answer(&Question::new("s3:PutObject", OBJECT), &context) {
            Answer::Conditional { on } => on[0].keys.join(" "),
            other => panic!("{other:?}"),
        }
    };
    let near = json!({"ArnLike": {"aws:SourceArn": "arn:aws:ssm:eu-*:*:*"}});
    assert_eq!(depends(when(allow(json!("*"), json!("*")), near)), "aws:SourceArn");
    assert_eq!(depends(allow(json!("*"), json!("arn:aws:s3:::logs/${aws:SourceArn}"))), "aws:SourceArn");
}

#[test]
fn of_a_moment_that_is_known_not_to_be_earlier_the_outcome_is_sure_where_no_later_one_changes_it() {
    let (before, then, after) = ("2026-05-07T23:46:59Z", "2026-05-07T23:47:00Z", "2026-05-07T23:47:01Z");
    let context = session().since("aws:TokenIssueTime", then).since("AWS:tokenissuetime", before);
    for (operator, against_before, against_then, against_after) in [
        ("DateLessThan", "not granted", "not granted", "conditional"),
        ("DateLessThanEquals", "not granted", "conditional", "conditional"),
        ("DateEquals", "not granted", "conditional", "conditional"),
        ("DateNotEquals", "allowed", "conditional", "conditional"),
        ("DateGreaterThan", "allowed", "conditional", "conditional"),
        ("DateGreaterThanEquals", "allowed", "allowed", "conditional"),
    ] {
        for (moment, expected) in [(before, against_before), (then, against_then), (after, against_after)] {
            check(&context, operator, "aws:TokenIssueTime", json!(moment), expected);
        }
    }
    check(&context, "DateLessThan", "aws:TokenIssueTime", json!("yesterday"), "unknown");
    check(&context, "StringEquals", "aws:TokenIssueTime", json!(then), "conditional");
    check(&context, "Null", "aws:TokenIssueTime", json!("false"), "allowed");
    let unsaid = session().since("aws:TokenIssueTime", "yesterday");
    check(&unsaid, "DateLessThan", "aws:TokenIssueTime", json!(before), "conditional");
    let latest = session().since("aws:TokenIssueTime", before).since("aws:TokenIssueTime", "1778197620");
    check(&latest, "DateLessThan", "aws:TokenIssueTime", json!(then), "not granted");
}
