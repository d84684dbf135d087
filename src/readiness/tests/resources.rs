//! What is asked on resources of which it is not known which they are: any instance, any stream, any object.

use super::*;

/// The readiness of a role of [`everything`] with these statements in a further policy of its own.
fn with(statements: Value) -> Readiness {
    let wanted = everything();
    readiness(&wanted, &role(&wanted, |around| around.attached.push(managed("more", Ok(policy(statements))))))
}

/// The same where these statements are all that grants what the action asks for.
fn with_alone(wanted: &DesiredPolicy, action: &str, resources: Value) -> Standing {
    let mut role = without(wanted, &[action]);
    let statements = json!([{"Effect": "Allow", "Action": action, "Resource": resources}]);
    if let Some(around) = &mut role.surroundings {
        around.attached.retain(|_| !action.starts_with("ssm:"));
        around.attached.push(managed("alone", Ok(policy(statements))));
    }
    of_action(&readiness(wanted, &role), action).standing
}

#[test]
fn a_deny_of_resources_that_no_session_touches_stands_in_nobody_s_way() {
    for (action, resource) in [
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:111122223333:log-group:/other:*"),
        ("logs:CreateLogStream", "arn:aws:logs:*:*:log-group:/web/other:*"),
        ("logs:DescribeLogStreams", "arn:aws:logs:*:*:log-group:/other:*"),
        ("logs:PutLogEvents", "arn:aws:logs:*:444455556666:*"),
        ("*", "arn:aws:ec2:*:*:volume/*"),
        ("ssm:*", "arn:aws:ec2:*:*:instance/mi-*"),
        ("ssm:*", "arn:aws:ssm:*:*:managed-instance/*"),
        ("s3:*", "arn:aws:s3:::logs/webs/*"),
    ] {
        let readiness = with(json!([{"Effect": "Deny", "Action": action, "Resource": resource}]));
        assert_eq!(readiness.verdict, Verdict::Ready, "{action} on {resource}: {:?}", readiness.condition());
    }
}

#[test]
fn a_deny_of_some_of_the_resources_leaves_it_open() {
    for (action, resource, asked) in [
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:*:log-group:/web:*", "logs:PutLogEvents"),
        ("logs:*", "arn:aws:logs:*:*:log-group:*:log-stream:secret", "logs:CreateLogStream"),
        ("*", "arn:aws:ec2:eu-west-1:*:instance/*", "ssm:UpdateInstanceInformation"),
        // An object's key may hold colons.
        ("s3:*", "arn:aws:s3:::logs/web/*:secret", "s3:PutObject"),
    ] {
        let readiness = with(json!([{"Effect": "Deny", "Action": action, "Resource": resource}]));
        assert_eq!(readiness.verdict, Verdict::Conditional, "{action} on {resource}");
        assert_eq!(of_action(&readiness, asked).standing, Standing::Conditional, "{action} on {resource}");
    }
}

#[test]
fn a_grant_is_held_against_the_resources_that_requests_can_name_and_no_others() {
    let group = "arn:aws:logs:*:111122223333:log-group:/web";
    let other = "arn:aws:logs:*:111122223333:log-group:/other:*";
    let wanted = everything();
    for action in ["logs:PutLogEvents", "logs:CreateLogStream"] {
        for (resource, expected) in [
            (format!("{group}:log-stream:*"), Standing::Met),
            (format!("{group}:*"), Standing::Met),
            (format!("{group}:log-stream:i-*"), Standing::Conditional),
            (group.to_owned(), Standing::Missing),
            (other.to_owned(), Standing::Missing),
        ] {
            assert_eq!(with_alone(&wanted, action, json!(resource)), expected, "{action} on {resource}");
        }
    }
    for (resource, expected) in [(format!("{group}:*"), Standing::Met), (other.to_owned(), Standing::Missing)] {
        assert_eq!(with_alone(&wanted, "logs:DescribeLogStreams", json!(resource)), expected, "{resource}");
    }
    let hybrid = self::wanted("platform: hybrid");
    for (wanted, kind) in [(&wanted, "ec2:*:111122223333:instance/i-*"), (&hybrid, "ssm:*:*:managed-instance/mi-*")] {
        let resource = format!("arn:aws:{kind}");
        assert_eq!(with_alone(wanted, "ssm:UpdateInstanceInformation", json!(resource)), Standing::Met, "{resource}");
        let some = resource.replace("i-*", "i-0*");
        assert_eq!(with_alone(wanted, "ssm:UpdateInstanceInformation", json!(some)), Standing::Conditional, "{some}");
    }
}
