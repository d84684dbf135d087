//! What would mend a check: chosen by what decides it.

use super::*;

const OPEN: &str = "ssmmessages:OpenDataChannel";

/// What is said to mend the check of this action.
#[track_caller]
fn remedy(role: &Role, wanted: &DesiredPolicy, action: &str) -> String {
    let readiness = readiness(wanted, role);
    of_action(&readiness, action).remedy.as_ref().unwrap_or_else(|| panic!("{readiness:#?}")).to_string()
}

/// The same of a role of [`everything`] that carries this statement too, as a managed policy or as its boundary.
fn with(kind: Kind, statements: Value, action: &str) -> String {
    let wanted = everything();
    let role = role(&wanted, |around| {
        let policy = managed("guard", Ok(policy(statements)));
        match kind {
            Kind::Boundary => around.boundary = Some(policy),
            _ => around.attached.push(policy),
        }
    });
    remedy(&role, &wanted, action)
}

fn when_inside(mut statement: Value) -> Value {
    statement["Condition"] = json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}});
    statement
}

#[test]
fn what_depends_is_mended_where_it_hangs() {
    let guard = "statement 1 of managed policy arn:aws:iam::111122223333:policy/guard";
    let edge = "the permissions boundary arn:aws:iam::111122223333:policy/guard";
    let put = "s3:PutObject on arn:aws:s3:::logs/web/*";
    let some = |effect: &str| json!([statement("Allow", "*"), {"Effect": effect, "Action": "s3:Put*", "Resource": "arn:aws:s3:::logs/web/a*"}]);
    let second = guard.replace("statement 1", "statement 2");
    for (kind, statements, action, expected) in [
        (
            Kind::Managed,
            json!([when_inside(statement("Deny", "ssmmessages:*"))]),
            OPEN,
            format!(
                "see whether it denies the node's requests, or change {guard} so that it does not deny {OPEN} to this role"
            ),
        ),
        (
            Kind::Managed,
            some("Deny"),
            "s3:PutObject",
            format!("change {second} so that it does not deny {put} to this role"),
        ),
        (
            Kind::Boundary,
            json!([when_inside(statement("Allow", "*"))]),
            OPEN,
            format!("see whether the node's requests meet it, or have {edge} allow {OPEN} without a condition"),
        ),
        (
            Kind::Boundary,
            json!([statement("Allow", "ssm*"), {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::logs/web/a*"}]),
            "s3:PutObject",
            format!("have {edge} allow {put}"),
        ),
    ] {
        assert_eq!(with(kind, statements, action), expected);
    }

    let wanted = everything();
    let granted = |action: &str, statements: Value| {
        let mut role = without(&wanted, &[action]);
        let surroundings = role.surroundings.as_mut().unwrap();
        surroundings.attached.push(managed("grants", Ok(policy(statements))));
        remedy(&role, &wanted, action)
    };
    assert_eq!(
        granted(OPEN, json!([when_inside(statement("Allow", OPEN))])),
        format!(
            "see whether the node's requests meet it, or have a policy of the role grant {OPEN} without a condition"
        )
    );
    assert_eq!(granted("s3:PutObject", json!([some("Allow")[1]])), format!("have a policy of the role grant {put}"));
    let several = json!([when_inside(statement("Allow", OPEN)), when_inside(statement("Deny", "ssmmessages:Open*"))]);
    let both = granted(OPEN, several);
    assert!(both.contains("have a policy of the role grant") && both.contains("; and see whether it denies"), "{both}");
}

#[test]
fn a_policy_of_aws_s_own_that_depends_is_done_without() {
    let wanted = everything();
    let arn = "arn:aws:iam::aws:policy/AWSGuard";
    let denies = || Ok(policy(json!([when_inside(statement("Deny", "ssmmessages:*"))])));
    let role = role(&wanted, |around| around.attached.push(Arc::new(ManagedPolicy::new(arn.into(), denies()))));
    assert_eq!(
        remedy(&role, &wanted, OPEN),
        format!("see whether it denies the node's requests, or detach managed policy {arn} from the role")
    );
}

#[test]
fn a_trust_policy_that_admits_the_service_is_not_to_be_told_to() {
    let wanted = wanted("platform: ec2");
    let of = |statements: Value| {
        let role = role(&wanted, |around| around.trust = trust(statements));
        remedy(&role, &wanted, "sts:AssumeRole")
    };
    let everybody = |effect: &str| json!({"Effect": effect, "Principal": "*", "Action": "sts:AssumeRole"});
    let admits = "have the trust policy allow sts:AssumeRole to the service ec2.amazonaws.com";
    let clear = "write statement 2 of the trust policy so that it surely does not deny ec2.amazonaws.com";
    assert_eq!(of(json!([trusting("ec2.amazonaws.com"), everybody("Deny")])), clear);
    assert_eq!(of(json!([everybody("Allow")])), admits);
    assert_eq!(of(json!([everybody("Allow"), everybody("Deny")])), format!("{admits}; and {clear}"));
    let mut of_account = trusting("ec2.amazonaws.com");
    of_account["Condition"] = json!({"StringNotEquals": {"aws:SourceAccount": "111122223333"}});
    let admitted =
        "see whether the requests of ec2.amazonaws.com meet it, or admit it by a statement without a condition";
    assert_eq!(of(json!([of_account])), admitted);
    of_account["Effect"] = json!("Deny");
    assert_eq!(
        of(json!([trusting("ec2.amazonaws.com"), of_account])),
        "see whether it denies the requests of ec2.amazonaws.com, or change statement 2 of the trust policy so that it does not deny ec2.amazonaws.com"
    );
}

#[test]
fn tasks_that_do_not_register_are_not_advised_to() {
    let told = |spec: &str| {
        let wanted = wanted(spec);
        let role = role(&wanted, |around| around.attached.push(core()));
        let advice = advise(Subject { account: &account(), role: &role, wanted: &wanted, now: now() });
        advice.into_iter().find(|advice| advice.contains("every SSM parameter")).unwrap()
    };
    assert!(
        told("platform: ec2").contains("grant registration by nodeRegistration: granted, or bound ssm:GetParameter")
    );
    for spec in ["platform: ecs", "nodeRegistration: granted", "nodeRegistration: defaultHostManagement"] {
        let told = told(spec);
        assert!(!told.contains("nodeRegistration") && told.contains("bound ssm:GetParameter"), "{spec}: {told}");
    }
}
