mod arns;
mod conditions;
mod properties;

use serde_json::{Value, json};

use super::*;
use crate::policy::document::Document;

const ROLE: &str = "arn:aws:iam::111122223333:role/fleet/web";
const OPEN: &str = "ssmmessages:OpenDataChannel";

fn policy(kind: Kind, name: &str, document: Prepared) -> Policy {
    Policy { name: PolicyName { kind, name: name.into() }, document: Arc::new(document) }
}

fn prepared(document: &Value) -> Prepared {
    Prepared::of(&Document::parse(&document.to_string()).unwrap())
}

fn inline(name: &str, statements: Value) -> Policy {
    policy(Kind::Inline, name, prepared(&json!({"Version": "2012-10-17", "Statement": statements})))
}

fn boundary(statements: Value) -> Policy {
    policy(Kind::Boundary, "edge", prepared(&json!({"Version": "2012-10-17", "Statement": statements})))
}

fn unread(name: &str) -> Policy {
    policy(Kind::Managed, name, Prepared::unreadable("it was not fetched"))
}

fn role(policies: Vec<Policy>, boundary: Option<Policy>) -> Permissions {
    Permissions { policies, boundary }
}

fn session() -> Context {
    Context::of_role_session(ROLE, "111122223333")
}

fn ask(role: &Permissions, action: &str, resource: Resource<'_>) -> Answer {
    role.answer(&Question::new(action, resource), &session())
}

/// The answer in one word or two.
fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Allowed { .. } => "allowed",
        Answer::Denied(Denial::Explicitly { .. }) => "denied",
        Answer::Denied(Denial::NotGranted) => "not granted",
        Answer::Denied(Denial::NotByBoundary { .. }) => "not by boundary",
        Answer::Conditional { .. } => "conditional",
        Answer::Unknown { .. } => "unknown",
    }
}

/// What one statement of an inline policy makes of a question.
fn one(statement: Value, action: &str, resource: Resource<'_>) -> &'static str {
    word(&ask(&role(vec![inline("p", statement)], None), action, resource))
}

fn allow(actions: Value, resources: Value) -> Value {
    json!({"Effect": "Allow", "Action": actions, "Resource": resources})
}

fn deny(actions: Value, resources: Value) -> Value {
    json!({"Effect": "Deny", "Action": actions, "Resource": resources})
}

fn when(mut statement: Value, condition: Value) -> Value {
    statement["Condition"] = condition;
    statement
}

const OBJECT: Resource<'static> = Resource::Exactly("arn:aws:s3:::logs/x/y");

#[test]
fn what_nothing_grants_is_denied_and_what_a_statement_grants_is_allowed() {
    let nobody = role(vec![], None);
    assert_eq!(ask(&nobody, OPEN, Resource::Unnamed), Answer::Denied(Denial::NotGranted));
    let mut statement = allow(json!("ssmmessages:*"), json!("*"));
    statement["Sid"] = json!("Channels");
    let granted = role(vec![inline("a", json!([])), inline("b", json!([statement]))], None);
    let Answer::Allowed { by } = ask(&granted, "SSMMessages:OPENdatachannel", Resource::Unnamed) else { panic!() };
    assert_eq!(by.to_string(), "statement 1 (Channels) of inline policy b");
}

#[test]
fn a_sure_deny_decides_wherever_it_stands_and_whatever_cannot_be_read() {
    let grant = inline("grant", allow(json!("*"), json!("*")));
    let denial = deny(json!(OPEN), json!("*"));
    for (policies, edge) in [
        (vec![grant.clone(), inline("d", denial.clone())], None),
        (vec![inline("d", denial.clone()), grant.clone(), unread("x")], None),
        (vec![unread("x"), inline("d", denial.clone())], Some(unread("edge"))),
        (vec![grant.clone()], Some(boundary(json!([allow(json!("*"), json!("*")), denial])))),
    ] {
        assert_eq!(word(&ask(&role(policies, edge), OPEN, Resource::Unnamed)), "denied");
    }
}

#[test]
fn a_deny_that_surely_does_not_match_is_passed_over() {
    let grant = inline("grant", allow(json!("*"), json!("*")));
    let condition = json!({"Bool": {"aws:SecureTransport": "false"}});
    let denial = inline("d", when(deny(json!("iam:*"), json!("*")), condition));
    assert_eq!(word(&ask(&role(vec![grant, denial], None), OPEN, Resource::Unnamed)), "allowed");
}

#[test]
fn a_deny_that_may_match_makes_it_depend_and_is_named_with_its_keys() {
    let grant = inline("grant", allow(json!("*"), json!("*")));
    let condition =
        json!({"Bool": {"aws:SecureTransport": "false"}, "StringEquals": {"aws:PrincipalAccount": "111122223333"}});
    let denial = inline("d", when(deny(json!("*"), json!("*")), condition));
    let Answer::Conditional { on } = ask(&role(vec![grant, denial], None), OPEN, Resource::Unnamed) else { panic!() };
    assert_eq!(on.len(), 1);
    assert_eq!(
        (on[0].at.to_string(), on[0].keys.join(" ")),
        ("statement 1 of inline policy d".into(), "aws:SecureTransport".into())
    );
    assert!(!on[0].resource);
}

#[test]
fn an_unreadable_policy_makes_unknown_what_it_could_change() {
    let (grant, other) = (inline("g", allow(json!("*"), json!("*"))), inline("g", allow(json!("s3:*"), json!("*"))));
    for (policies, edge, expected) in [
        (vec![grant.clone(), unread("x")], None, "unknown"),
        (vec![other.clone(), unread("x")], None, "unknown"),
        (vec![grant.clone()], Some(unread("edge")), "unknown"),
        (vec![other.clone()], Some(unread("edge")), "not granted"),
        (vec![unread("x")], Some(boundary(allow(json!("s3:*"), json!("*")))), "not by boundary"),
    ] {
        assert_eq!(word(&ask(&role(policies, edge), OPEN, Resource::Unnamed)), expected);
    }
    let Answer::Unknown { why } = ask(&role(vec![grant, unread("x")], None), OPEN, Resource::Unnamed) else { panic!() };
    assert_eq!((why[0].policy.to_string(), why[0].what.as_str()), ("managed policy x".into(), "it was not fetched"));
}

#[test]
fn the_boundary_must_allow_as_well_and_grants_nothing() {
    let grant = || vec![inline("g", allow(json!("ssmmessages:*"), json!("*")))];
    let some = |actions: Value| Some(boundary(allow(actions, json!("*"))));
    for (policies, edge, expected) in [
        (grant(), some(json!("*")), "allowed"),
        (grant(), some(json!("s3:*")), "not by boundary"),
        (vec![], some(json!("*")), "not granted"),
        (vec![], some(json!("s3:*")), "not granted"),
        (
            grant(),
            Some(boundary(when(allow(json!("*"), json!("*")), json!({"Bool": {"aws:SecureTransport": "true"}})))),
            "conditional",
        ),
    ] {
        assert_eq!(word(&ask(&role(policies, edge), OPEN, Resource::Unnamed)), expected);
    }
}

#[test]
fn a_request_that_names_no_resource_is_matched_by_a_star_alone() {
    assert_eq!(one(allow(json!(OPEN), json!("*")), OPEN, Resource::Unnamed), "allowed");
    assert_eq!(one(allow(json!(OPEN), json!("arn:aws:ssm:*:*:*")), OPEN, Resource::Unnamed), "not granted");
    let both = json!([allow(json!("*"), json!("*")), deny(json!(OPEN), json!("arn:aws:ssm:*:*:*"))]);
    assert_eq!(one(both, OPEN, Resource::Unnamed), "allowed");
    let except = json!({"Effect": "Allow", "Action": OPEN, "NotResource": "arn:aws:s3:::x"});
    assert_eq!(one(except, OPEN, Resource::Unnamed), "allowed");
}

#[test]
fn actions_are_compared_ignoring_case_and_resources_are_not() {
    assert_eq!(one(allow(json!("S3:putobject"), json!("arn:aws:s3:::logs/*")), "s3:PutObject", OBJECT), "allowed");
    assert_eq!(one(allow(json!("s3:PutObject"), json!("arn:aws:s3:::Logs/*")), "s3:PutObject", OBJECT), "not granted");
}

#[test]
fn a_wildcard_in_a_resource_that_is_asked_for_exactly_is_a_character() {
    let star = Resource::Exactly("arn:aws:s3:::logs/*");
    assert_eq!(one(allow(json!("s3:*"), json!("arn:aws:s3:::logs/x*")), "s3:PutObject", star), "not granted");
    assert_eq!(one(allow(json!("s3:*"), json!("arn:aws:s3:::logs/?")), "s3:PutObject", star), "allowed");
}

#[test]
fn what_is_not_named_is_what_not_action_and_not_resource_mean() {
    let except = json!({"Effect": "Allow", "NotAction": ["iam:*", "s3:Get*"], "NotResource": "arn:aws:s3:::secret/*"});
    assert_eq!(one(except.clone(), "s3:PutObject", OBJECT), "allowed");
    assert_eq!(one(except.clone(), "s3:GetObject", OBJECT), "not granted");
    assert_eq!(one(except, "s3:PutObject", Resource::Exactly("arn:aws:s3:::secret/a")), "not granted");
}

#[test]
fn of_a_resource_that_is_not_known_the_answer_is_sure_where_it_is_the_same_for_all() {
    let within = Resource::Below("arn:aws:s3:::logs/x/*");
    for (resource, expected) in [
        ("arn:aws:s3:::logs/*", "allowed"),
        ("arn:aws:s3:::logs/x/*", "allowed"),
        ("arn:aws:s3:::logs/x/i-*", "conditional"),
        ("arn:aws:s3:::logs/y/*", "not granted"),
    ] {
        assert_eq!(one(allow(json!("s3:*"), json!(resource)), "s3:PutObject", within), expected, "{resource}");
    }
    let some = role(vec![inline("p", allow(json!("s3:*"), json!("arn:aws:s3:::logs/x/i-*")))], None);
    let Answer::Conditional { on } = ask(&some, "s3:PutObject", within) else { panic!() };
    assert!(on[0].resource && on[0].keys.is_empty());
    let denied = json!([allow(json!("*"), json!("*")), deny(json!("s3:*"), json!("arn:aws:s3:::logs/x/secret"))]);
    assert_eq!(one(denied, "s3:PutObject", within), "conditional");
}

#[test]
fn variables_exist_in_the_new_version_only() {
    let document = |version: &str| {
        let statement = allow(json!("s3:*"), json!("arn:aws:s3:::logs/${aws:PrincipalAccount}/*"));
        role(vec![policy(Kind::Inline, "p", prepared(&json!({"Version": version, "Statement": statement})))], None)
    };
    let own = Resource::Exactly("arn:aws:s3:::logs/111122223333/a");
    assert_eq!(word(&ask(&document("2012-10-17"), "s3:PutObject", own)), "allowed");
    assert_eq!(word(&ask(&document("2008-10-17"), "s3:PutObject", own)), "not granted");
    let literal = Resource::Exactly("arn:aws:s3:::logs/${aws:PrincipalAccount}/a");
    assert_eq!(word(&ask(&document("2008-10-17"), "s3:PutObject", literal)), "allowed");
}

#[test]
fn a_variable_is_what_it_is_known_to_be_and_otherwise_may_be_anything() {
    let asked = Resource::Exactly("arn:aws:s3:::logs/x/y");
    for (resource, expected) in [
        ("arn:aws:s3:::logs/${aws:PrincipalTag/team}/y", "conditional"),
        ("arn:aws:s3:::logs/${aws:PrincipalTag/team}/z", "not granted"),
        ("arn:aws:s3:::logs/${aws:username}/y", "not granted"),
        ("arn:aws:s3:::logs/${AWS:Username, 'x'}/y", "allowed"),
        ("arn:aws:s3:::logs/${aws:username, 'z'}/y", "not granted"),
        ("arn:aws:s3:::logs/x${*}/y", "not granted"),
        ("arn:aws:s3:::logs/${aws:PrincipalTag/team, 'x'}/y", "conditional"),
    ] {
        assert_eq!(one(allow(json!("s3:*"), json!(resource)), "s3:PutObject", asked), expected, "{resource}");
    }
    for (text, name) in [("${*}", "*"), ("${?}", "?"), ("${$}", "$")] {
        let (pattern, arn) = (format!("arn:aws:s3:::logs/{text}"), format!("arn:aws:s3:::logs/{name}"));
        assert_eq!(one(allow(json!("s3:*"), json!(pattern)), "s3:PutObject", Resource::Exactly(&arn)), "allowed");
    }
    let some =
        role(vec![inline("p", allow(json!("s3:*"), json!("arn:aws:s3:::logs/${aws:PrincipalTag/team}/y")))], None);
    let Answer::Conditional { on } = ask(&some, "s3:PutObject", asked) else { panic!() };
    assert_eq!((on[0].keys.join(" "), on[0].resource), ("aws:PrincipalTag/team".into(), false));
}

#[test]
fn an_exclusion_by_a_variable_that_may_have_no_value_is_not_sure_to_exclude_nothing() {
    let except = |pattern: &str| json!({"Effect": "Allow", "Action": "s3:*", "NotResource": pattern});
    for (pattern, expected) in [
        ("arn:aws:s3:::a/${aws:PrincipalAccount}", "allowed"),
        ("arn:aws:s3:::a/${aws:PrincipalTag/team}", "conditional"),
        ("arn:aws:s3:::a/${aws:username}", "unknown"),
    ] {
        assert_eq!(one(except(pattern), "s3:PutObject", OBJECT), expected, "{pattern}");
    }
    let some = role(vec![inline("p", except("arn:aws:s3:::a/${aws:PrincipalTag/team}"))], None);
    let Answer::Conditional { on } = ask(&some, "s3:PutObject", OBJECT) else { panic!() };
    assert_eq!(on[0].keys, ["aws:PrincipalTag/team"]);
}

#[test]
fn what_is_not_understood_is_unknown_and_named() {
    let asked = Resource::Exactly("arn:aws:s3:::logs/x/y");
    let bare = json!({"Effect": "Allow", "Action": "s3:*"});
    let mut strange = allow(json!("s3:*"), json!("*"));
    strange["Principal"] = json!("*");
    let operator = when(allow(json!("s3:*"), json!("*")), json!({"StringRhymes": {"aws:PrincipalArn": "x"}}));
    let short = allow(json!("s3:*"), json!("arn:aws:s3"));
    let head = allow(json!("s3:*"), json!("arn:aws:s3:${aws:PrincipalTag/r}::logs/x/y"));
    let upper = allow(json!("s3:*"), json!("arn:aws:S3:::logs/*"));
    let nothing = json!({"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::${aws:username}"});
    for (statement, what) in [
        (bare, "it has no Resource"),
        (strange, "elements that are not understood: Principal"),
        (operator, "the condition operator StringRhymes is not known"),
        (short, "an ARN of fewer than six parts"),
        (head, "a variable before the fifth colon of an ARN is not one that IAM replaces"),
        (upper, "upper case before the fifth colon of an ARN"),
        (nothing, "a variable in its NotResource has no value in such a request"),
    ] {
        let Answer::Unknown { why } = ask(&role(vec![inline("p", statement)], None), "s3:PutObject", asked) else {
            panic!("{what}")
        };
        assert_eq!((why.len(), why[0].statement, why[0].what.as_str()), (1, Some(0), what));
    }
    let document = json!({"Version": "2012-10-17", "Statement": allow(json!("*"), json!("*")), "Extra": 1});
    let whole = role(vec![policy(Kind::Inline, "p", prepared(&document))], None);
    assert_eq!(word(&ask(&whole, "s3:PutObject", asked)), "unknown");
}

#[test]
fn a_list_of_nothing_is_not_understood() {
    let asked = Resource::Exactly("arn:aws:kms:us-east-1:111122223333:key/1234abcd");
    for (statement, what) in [
        (json!({"Effect": "Deny", "NotAction": [], "Resource": "*"}), "its NotAction is empty"),
        (json!({"Effect": "Deny", "Action": "*", "NotResource": []}), "its NotResource is empty"),
        (json!({"Effect": "Deny", "Action": [], "Resource": "*"}), "its Action is empty"),
        (json!({"Effect": "Allow", "Action": "*", "Resource": []}), "its Resource is empty"),
        (
            when(deny(json!("*"), json!("*")), json!({"StringNotEquals": {"aws:PrincipalArn": []}})),
            "the condition StringNotEquals on aws:PrincipalArn names no value",
        ),
        (
            when(allow(json!("*"), json!("*")), json!({"StringEquals": {"aws:username": []}})),
            "the condition StringEquals on aws:username names no value",
        ),
        (
            when(deny(json!("*"), json!("*")), json!({"Null": {"aws:username": []}})),
            "the condition Null on aws:username names no value",
        ),
        (
            when(deny(json!("*"), json!("*")), json!({"ForAllValues:StringEquals": {"aws:x": []}})),
            "the condition ForAllValues:StringEquals on aws:x names no value",
        ),
    ] {
        // An Allow of it all makes the Denys count.
        let grants = statement["Effect"] == "Deny";
        let policies = grants.then(|| inline("g", allow(json!("*"), json!("*")))).into_iter();
        let policies = policies.chain([inline("p", statement)]).collect();
        let Answer::Unknown { why } = ask(&role(policies, None), "kms:Decrypt", asked) else { panic!("{what}") };
        assert_eq!(why.iter().map(|doubt| doubt.what.as_str()).collect::<Vec<_>>(), [what]);
    }
}

#[test]
fn revoked_sessions_are_told_from_other_denials() {
    let revoking = |moment: &str| {
        let condition = json!({"DateLessThan": {"aws:TokenIssueTime": moment}});
        json!({"Version": "2012-10-17", "Statement": [when(deny(json!(["*"]), json!(["*"])), condition)]})
    };
    let moment = "2026-05-07T23:47:00Z";
    assert_eq!(prepared(&revoking(moment)).revokes_sessions_before(), Some(moment));
    let mut other = revoking(moment);
    other["Statement"][0]["Action"] = json!("s3:*");
    assert_eq!(prepared(&other).revokes_sessions_before(), None);

    let policies = vec![
        inline("g", allow(json!("*"), json!("*"))),
        policy(Kind::Inline, "AWSRevokeOlderSessions", prepared(&revoking(moment))),
    ];
    let (role, question) = (role(policies, None), Question::new(OPEN, Resource::Unnamed));
    let begun = |moment: &str| word(&role.answer(&question, &session().with("aws:TokenIssueTime", [moment])));
    assert_eq!(word(&role.answer(&question, &session())), "conditional");
    assert_eq!(begun("2026-05-07T23:46:59Z"), "denied");
    assert_eq!(begun("2026-05-07T23:47:00Z"), "allowed");
}

#[test]
fn the_documented_policies_allow_what_they_are_for() {
    let read = |text: &str| Prepared::of(&Document::parse(text).unwrap());
    let logs = read(include_str!("../../../tests/data/policies/c_s3_cwlogs_kms.json"));
    let role = role(vec![policy(Kind::Inline, "SessionManagerPermissions", logs)], None);
    for (action, resource, expected) in [
        (OPEN, Resource::Unnamed, "allowed"),
        ("ssm:UpdateInstanceInformation", Resource::Within("arn:aws:ec2:*:111122223333:instance/i-*"), "allowed"),
        ("s3:PutObject", Resource::Below("arn:aws:s3:::DOC-EXAMPLE-BUCKET/s3-bucket-prefix/*"), "allowed"),
        ("s3:PutObject", Resource::Below("arn:aws:s3:::DOC-EXAMPLE-BUCKET/*"), "conditional"),
        ("kms:Decrypt", Resource::Exactly("arn:aws:kms:us-east-1:111122223333:key/1234abcd"), "not granted"),
    ] {
        assert_eq!(word(&ask(&role, action, resource)), expected, "{action}");
    }
}
