//! Whom a role's trust policy admits.

use super::*;
use crate::policy::evaluate::Prepared;

/// What the check of the trust policy makes of these statements.
fn of_trust(platform: &str, statements: Value) -> (Standing, Cause) {
    let wanted = wanted(&format!("platform: {platform}"));
    let readiness = readiness(&wanted, &role(&wanted, |around| around.trust = trust(statements)));
    let check = &readiness.checks[0];
    assert_eq!(check.asked.name(), "TrustPolicy");
    assert_eq!(check.standing != Standing::Met, check.remedy.is_some(), "{check:?}");
    (check.standing, check.cause)
}

const MET: (Standing, Cause) = (Standing::Met, Cause::Ready);
const REFUSED: (Standing, Cause) = (Standing::Missing, Cause::TrustPolicyRefuses);
const DEPENDS: (Standing, Cause) = (Standing::Conditional, Cause::DependsOnConditions);
const UNCLEAR: (Standing, Cause) = (Standing::Unknown, Cause::PolicyNotReadable);

#[test]
fn the_trust_policy_must_admit_the_platform_s_service() {
    let principal = |principal: Value| json!([{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]);
    let action =
        |action: Value| json!([{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": action}]);
    let and = |other: Value| json!([trusting("ec2.amazonaws.com"), other]);
    for (statements, expected) in [
        (principal(json!({"Service": ["ssm.amazonaws.com", "ec2.amazonaws.com"]})), MET),
        (principal(json!({"Service": "EC2.amazonaws.com"})), MET),
        (principal(json!({"Service": "ec2.amazonaws.com", "AWS": "arn:aws:iam::444455556666:root"})), MET),
        (principal(json!({"Service": "ssm.amazonaws.com"})), REFUSED),
        (principal(json!({"Service": "ec2.amazonaws.com.cn"})), REFUSED),
        (principal(json!({"AWS": "arn:aws:iam::111122223333:root"})), REFUSED),
        (principal(json!({"Federated": "cognito-identity.amazonaws.com"})), REFUSED),
        (principal(json!("*")), UNCLEAR),
        // "Principal": "*" and this are the same to IAM.
        (principal(json!({"AWS": "*"})), UNCLEAR),
        (principal(json!({"AWS": ["arn:aws:iam::111122223333:root", "*"]})), UNCLEAR),
        (principal(json!({"Service": "*"})), UNCLEAR),
        (principal(json!({"Service": 7})), UNCLEAR),
        (
            json!([{"Effect": "Allow", "NotPrincipal": {"AWS": "arn:aws:iam::1:root"}, "Action": "sts:AssumeRole"}]),
            UNCLEAR,
        ),
        (action(json!(["sts:assumerole", "sts:TagSession"])), MET),
        (action(json!("sts:*")), MET),
        (action(json!("sts:AssumeRoleWithWebIdentity")), REFUSED),
        (json!([]), REFUSED),
        (and(json!({"Effect": "Deny", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "*"})), REFUSED),
        (and(json!({"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::444455556666:root"}, "Action": "*"})), MET),
        (and(json!({"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"})), UNCLEAR),
        (and(json!({"Effect": "Deny", "NotPrincipal": {"Service": "ec2.amazonaws.com"}, "Action": "*"})), UNCLEAR),
        (
            and(json!({"Effect": "Deny", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "*",
                "Condition": {"StringNotEquals": {"aws:SourceAccount": "111122223333"}}})),
            DEPENDS,
        ),
    ] {
        let shown = statements.to_string();
        assert_eq!(of_trust("ec2", statements), expected, "{shown}");
    }
    assert_eq!(of_trust("ecs", json!([trusting("ecs-tasks.amazonaws.com")])), MET);
    assert_eq!(of_trust("ecs", json!([trusting("ec2.amazonaws.com")])), REFUSED);
    assert_eq!(of_trust("hybrid", json!([trusting("ec2.amazonaws.com")])), REFUSED);

    let unreadable = condition(|around| around.trust = Arc::new(LiveDocument::of_text("no JSON")));
    assert_eq!((unreadable.status, unreadable.cause), (Status::Unknown, Cause::PolicyNotReadable));
}

#[test]
fn in_china_ec2_has_two_names() {
    let wanted = wanted("sessionPreferences: {s3EncryptionEnabled: false}");
    for service in ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"] {
        let role = role(&wanted, |around| {
            around.arn = RoleArn::new("arn:aws-cn:iam::111122223333:role/web", "/", "web");
            around.trust = trust(json!([trusting(service)]));
        });
        assert_eq!(readiness(&wanted, &role).verdict, Verdict::Ready, "{service}");
    }
}

#[test]
fn of_a_partition_whose_services_have_names_that_are_not_known_nothing_is_sure() {
    for (partition, expected) in
        [("aws-us-gov", MET), ("aws-iso", UNCLEAR), ("aws-iso-b", UNCLEAR), ("aws-eusc", UNCLEAR)]
    {
        for (platform, service) in
            [("ec2", "ec2.amazonaws.com"), ("hybrid", "ssm.amazonaws.com"), ("ecs", "ecs-tasks.amazonaws.com")]
        {
            let wanted = wanted(&format!("platform: {platform}"));
            let check = |service: &str| {
                let role = role(&wanted, |around| {
                    around.arn = RoleArn::new(&format!("arn:{partition}:iam::111122223333:role/web"), "/", "web");
                    around.trust = trust(json!([trusting(service)]));
                });
                let check = &readiness(&wanted, &role).checks[0];
                (check.standing, check.cause)
            };
            assert_eq!(check(service), expected, "{partition}: {service}");
            let other = if expected == MET { REFUSED } else { UNCLEAR };
            assert_eq!(check("ec2.c2s.ic.gov"), other, "{partition}: {service}");
        }
    }
}

#[test]
fn the_source_conditions_of_a_hybrid_role_are_held_against_its_account() {
    for (condition, expected) in [
        (json!({"StringEquals": {"aws:SourceAccount": "111122223333"}}), MET),
        (json!({"StringEquals": {"AWS:sourceaccount": ["444455556666", "111122223333"]}}), MET),
        (json!({"StringEquals": {"aws:SourceAccount": "444455556666"}}), REFUSED),
        (json!({"StringLike": {"aws:SourceAccount": "1111*"}}), MET),
        (json!({"ArnEquals": {"aws:SourceArn": "arn:aws:ssm:*:111122223333:*"}}), MET),
        (json!({"ArnEquals": {"aws:SourceArn": "arn:aws:ssm:us-east-2:111122223333:*"}}), MET),
        (json!({"StringLike": {"aws:SourceArn": "arn:aws:ssm:us-east-2:111122223333:*"}}), MET),
        (json!({"ArnLike": {"aws:SourceArn": "arn:aws:ssm:us-east-2:444455556666:*"}}), REFUSED),
        (json!({"ArnLike": {"aws:SourceArn": "arn:aws:ec2:us-east-2:111122223333:*"}}), REFUSED),
        (json!({"ArnLike": {"aws:SourceArn": "arn:aws:ssm:us-east-2:111122223333:managed-instance/mi-1"}}), DEPENDS),
        // A star is a character to this operator.
        (json!({"StringEquals": {"aws:SourceArn": "arn:aws:ssm:us-east-2:111122223333:*"}}), DEPENDS),
        (
            json!({"StringEquals": {"aws:SourceAccount": "111122223333"}, "ArnEquals": {"aws:SourceArn": "arn:aws:ssm:us-east-2:111122223333:*"}}),
            MET,
        ),
        (
            json!({"StringEquals": {"aws:SourceAccount": "444455556666"}, "ArnEquals": {"aws:SourceArn": "arn:aws:ssm:us-east-2:111122223333:*"}}),
            REFUSED,
        ),
        (json!({"StringEquals": {"aws:SourceOrgID": "o-1"}}), DEPENDS),
        (json!({"StringRhymes": {"aws:SourceAccount": "111122223333"}}), UNCLEAR),
    ] {
        let mut statement = trusting("ssm.amazonaws.com");
        statement["Condition"] = condition.clone();
        assert_eq!(of_trust("hybrid", json!([statement])), expected, "{condition}");
    }
    let documented =
        include_str!("../../../tests/data/policies/trust_hybrid_ssm.json").replace("123456789012", "111122223333");
    let documented: Value = serde_json::from_str(&documented).unwrap();
    assert_eq!(of_trust("hybrid", documented["Statement"].clone()), MET);
}

#[test]
fn what_is_said_of_an_unclear_principal_counts_only_where_action_and_conditions_are_met() {
    let deny = |action: &str, condition: Value| {
        let statement = json!({"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": action, "Condition": condition});
        json!([trusting("ec2.amazonaws.com"), statement])
    };
    let perimeter = json!({"StringNotEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}, "BoolIfExists": {"aws:PrincipalIsAWSService": "false"}});
    assert_eq!(of_trust("ec2", deny("sts:AssumeRole", perimeter.clone())), MET, "a service makes the request");
    assert_eq!(of_trust("ec2", deny("sts:TagSession", json!({}))), MET, "another action");
    assert_eq!(of_trust("ec2", deny("sts:*", json!({}))), UNCLEAR);
    let of_service = json!({"Bool": {"aws:PrincipalIsAWSService": "true"}});
    assert_eq!(of_trust("ec2", deny("sts:*", of_service)), UNCLEAR);
    let excepted = json!([trusting("ec2.amazonaws.com"),
        {"Effect": "Deny", "NotPrincipal": {"AWS": "arn:aws:iam::1:root"}, "Action": "sts:TagSession"}]);
    assert_eq!(of_trust("ec2", excepted), MET);
    for platform in ["hybrid", "ecs"] {
        let service = if platform == "ecs" { "ecs-tasks.amazonaws.com" } else { "ssm.amazonaws.com" };
        let mut statements = deny("sts:AssumeRole", perimeter.clone());
        statements[0] = trusting(service);
        assert_eq!(of_trust(platform, statements), MET, "{platform}");
    }
}

#[test]
fn a_kind_of_principal_that_is_not_known_is_never_a_sure_no() {
    let principal =
        |effect: &str, principal: Value| json!({"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole"});
    for strange in [
        json!({"aws": "*"}),
        json!({"Everyone": "*"}),
        json!({"Everyone": "ec2.amazonaws.com"}),
        json!({"AWS": 7}),
        json!({"Service": []}),
        json!({}),
        json!([]),
    ] {
        let denied = json!([trusting("ec2.amazonaws.com"), principal("Deny", strange.clone())]);
        assert_eq!(of_trust("ec2", denied), UNCLEAR, "a Deny of {strange}");
        assert_eq!(of_trust("ec2", json!([principal("Allow", strange.clone())])), UNCLEAR, "an Allow of {strange}");
    }
    let several = json!({"Service": "ec2.amazonaws.com", "Everyone": "*"});
    assert_eq!(of_trust("ec2", json!([principal("Allow", several)])), MET);
    let canonical = json!({"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"});
    assert_eq!(of_trust("ec2", json!([principal("Allow", canonical)])), REFUSED);
}

#[test]
fn a_region_that_a_source_arn_names_is_one_that_a_request_can_come_from() {
    for (region, expected) in [
        ("", REFUSED),
        ("eu-west-1", MET),
        ("eu-*", MET),
        ("us-gov-east-?", MET),
        ("US-EAST-1", DEPENDS),
        ("${aws:PrincipalTag/region}", DEPENDS),
    ] {
        let mut statement = trusting("ssm.amazonaws.com");
        statement["Condition"]["ArnEquals"]["aws:SourceArn"] = json!(format!("arn:aws:ssm:{region}:111122223333:*"));
        assert_eq!(of_trust("hybrid", json!([statement])), expected, "{region}");
    }
}

#[test]
fn of_many_regions_in_a_trust_policy_so_many_are_asked_about_as_there_may_be() {
    let arns: Vec<String> = (0..3_000).map(|number| format!("arn:aws:ssm:r-{number}:444455556666:*")).collect();
    let with = |arns: &[String]| {
        let mut statement = trusting("ssm.amazonaws.com");
        statement["Condition"]["ArnEquals"]["aws:SourceArn"] = json!(arns);
        statement
    };
    let asked = |arns: &[String]| {
        let document = trust(json!([with(arns)]));
        let prepared = Prepared::of_trust(document.parsed().unwrap(), &["ssm.amazonaws.com"]);
        checks::regions(&prepared).len()
    };
    assert_eq!(asked(&arns), 64);
    assert_eq!(asked(&vec![arns[0].clone(); 3_000]), 1, "each Region once");
    assert_eq!(of_trust("hybrid", json!([with(&arns)])), REFUSED);
}
