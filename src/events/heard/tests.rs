//! What events mean, and that nothing on the queue can do more than be passed over.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const SAMPLE: &str = include_str!("../../../tests/data/events/put_role_policy.json");

/// An event about `call` with these parameters, as the sample otherwise.
fn event(call: &str, parameters: Value) -> Value {
    let mut event: Value = serde_json::from_str(SAMPLE).unwrap();
    event["detail"]["eventName"] = call.into();
    event["detail"]["requestParameters"] = parameters;
    event
}

fn read(event: &Value) -> Result<Heard, PassedOver> {
    Heard::read(&event.to_string())
}

fn changed(event: &Value) -> Change {
    match read(event).unwrap().what {
        What::Changed(change) => change,
        What::Read => panic!("only read"),
    }
}

fn role(name: &str) -> Subject {
    Subject::Role(name.parse().unwrap())
}

#[test]
fn the_documented_event_says_what_was_changed_and_who_is_said_to_have_done_it() {
    let at: Timestamp = "2022-02-16T01:36:00Z".parse().unwrap();
    let expected = Heard {
        account: "123456789012".parse().unwrap(),
        request_id: Some("x".to_owned()),
        at: Some(at),
        what: What::Changed(Change {
            subject: role("MyRole"),
            call: "PutRolePolicy".to_owned(),
            policy: Some("AWSRevokeOlderSessions".to_owned()),
            claimed: Claimed {
                who: Some("arn:aws:sts::123456789012:assumed-role/Admin/session".to_owned()),
                kind: Some("AssumedRole".to_owned()),
                issuer: Some("arn:aws:iam::123456789012:role/Admin".to_owned()),
                from: Some("192.0.2.1".to_owned()),
                at: Some(at),
            },
        }),
    };
    let heard = Heard::read(SAMPLE).unwrap();
    assert_eq!(heard, expected);
    let What::Changed(change) = heard.what else { panic!() };
    assert_eq!(
        change.claimed.to_string(),
        "arn:aws:sts::123456789012:assumed-role/Admin/session from 192.0.2.1 at 2022-02-16T01:36:00Z"
    );
    // Names are compared as IAM compares them.
    assert_eq!(change.subject, role("MYROLE"));
}

#[test]
fn every_call_of_the_rules_pattern_wakes_its_role_or_those_that_carry_the_policy() {
    let mut calls: Vec<&str> = ABOUT_A_ROLE.to_vec();
    calls.extend(["UpdateRole", "UpdateRoleDescription", "SomethingThatIamHasOnlyLater"]);
    for call in calls {
        let parameters =
            json!({"roleName": "web", "instanceProfileName": "web", "policyArn": "arn:aws:iam::aws:policy/A"});
        assert_eq!(changed(&event(call, parameters)).subject, role("WEB"), "{call}");
    }
    let arn = "arn:aws:iam::123456789012:policy/shared";
    for call in ["CreatePolicyVersion", "SetDefaultPolicyVersion", "DeletePolicyVersion"] {
        let change = changed(&event(call, json!({"policyArn": arn, "versionId": "v2"})));
        assert_eq!(change.subject, Subject::ManagedPolicy(arn.to_owned()), "{call}");
    }
}

#[test]
fn what_is_not_about_a_role_wakes_nobody() {
    for (call, parameters) in [
        ("PutUserPolicy", json!({"userName": "a", "policyName": "b"})),
        ("AttachUserPolicy", json!({"userName": "a", "policyArn": "arn:aws:iam::123456789012:policy/shared"})),
        ("AttachGroupPolicy", json!({"groupName": "a", "policyArn": "arn:aws:iam::123456789012:policy/shared"})),
        ("CreateInstanceProfile", json!({"instanceProfileName": "web"})),
        ("CreatePolicy", json!({"policyName": "shared"})),
        ("UpdateAccountPasswordPolicy", Value::Null),
    ] {
        let passed_over = read(&event(call, parameters)).unwrap_err();
        assert_eq!(passed_over, PassedOver::NotAboutRoles(call.to_owned()));
        assert_eq!(passed_over.worth(), Worth::Nothing);
    }
}

#[test]
fn a_call_that_failed_has_changed_nothing() {
    let mut failed = event("PutRolePolicy", json!({"roleName": "web"}));
    failed["detail"]["errorCode"] = "AccessDenied".into();
    let expected = PassedOver::Failed { call: "PutRolePolicy".to_owned(), code: "AccessDenied".to_owned() };
    assert_eq!(read(&failed), Err(expected));
    failed["detail"]["errorCode"] = Value::Null;
    assert!(read(&failed).is_ok());
}

#[test]
fn reads_show_that_events_arrive_and_wake_nobody() {
    let mut event = event("GetRolePolicy", json!({"roleName": "web"}));
    for read_only in [Value::Bool(true), "true".into(), Value::Null] {
        event["detail"]["readOnly"] = read_only;
        assert_eq!(read(&event).unwrap().what, What::Read);
    }
    event["detail"]["readOnly"] = Value::Bool(false);
    assert!(matches!(read(&event).unwrap().what, What::Changed(_)));
}

#[test]
fn where_the_envelope_names_no_account_the_record_within_does() {
    let mut event = event("PutRolePolicy", json!({"roleName": "web"}));
    let account = |event: &Value| read(event).map(|heard| heard.account.to_string());
    event["account"] = "111111111111".into();
    event["detail"]["recipientAccountId"] = "222222222222".into();
    event["detail"]["userIdentity"]["accountId"] = "333333333333".into();
    assert_eq!(account(&event).unwrap(), "111111111111");
    event["account"] = Value::Null;
    assert_eq!(account(&event).unwrap(), "222222222222");
    event["detail"]["recipientAccountId"] = "nonsense".into();
    assert_eq!(account(&event).unwrap(), "333333333333");
    event["detail"]["userIdentity"] = "nobody".into();
    assert_eq!(account(&event), Err(PassedOver::NoAccount("PutRolePolicy".to_owned())));
}

#[test]
fn a_service_that_acts_for_itself_is_named_and_so_is_nobody() {
    let mut event = event("PutRolePolicy", json!({"roleName": "web"}));
    event["detail"]["userIdentity"] = json!({"type": "AWSService", "invokedBy": "ssm.amazonaws.com"});
    event["detail"]["sourceIPAddress"] = "ssm.amazonaws.com".into();
    let at = " at 2022-02-16T01:36:00Z";
    assert_eq!(changed(&event).claimed.to_string(), format!("ssm.amazonaws.com from ssm.amazonaws.com{at}"));
    event["detail"]["userIdentity"] = json!({"type": "Unknown"});
    assert_eq!(changed(&event).claimed.to_string(), format!("Unknown from ssm.amazonaws.com{at}"));
    event["detail"]["userIdentity"] = Value::Null;
    event["detail"]["sourceIPAddress"] = json!(7);
    event["detail"]["eventTime"] = "yesterday".into();
    assert_eq!(changed(&event).claimed.to_string(), "nobody that it names");
}

#[test]
fn each_message_that_is_no_event_of_iams_gets_its_own_explanation() {
    let with = |pointer: &str, value: Value| {
        let mut event = event("PutRolePolicy", json!({"roleName": "web"}));
        *event.pointer_mut(pointer).unwrap() = value;
        event.to_string()
    };
    let deep = format!("{}1{}", "[".repeat(200_000 / 2), "]".repeat(200_000 / 2));
    for (body, word, worth) in [
        (String::new(), "NotJson", Worth::Poisoned),
        ("certainly not JSON".to_owned(), "NotJson", Worth::Poisoned),
        (SAMPLE[..SAMPLE.len() / 2].to_owned(), "NotJson", Worth::Poisoned),
        (r#"{"source": "\ud800"}"#.to_owned(), "NotJson", Worth::Poisoned),
        (deep, "NotJson", Worth::Poisoned),
        (" ".repeat(LARGEST_BODY + 1), "TooLarge", Worth::Poisoned),
        ("null".to_owned(), "NotAnEvent", Worth::Poisoned),
        ("[]".to_owned(), "NotAnEvent", Worth::Poisoned),
        (r#""text""#.to_owned(), "NotAnEvent", Worth::Poisoned),
        (json!({"Type": "Notification", "Message": SAMPLE}).to_string(), "Enveloped", Worth::Poisoned),
        (with("/source", Value::Null), "NotAnEvent", Worth::Poisoned),
        (with("/source", "aws.s3".into()), "OtherSource", Worth::Misdirected),
        (with("/detail-type", "AWS Console Sign In via CloudTrail".into()), "OtherKind", Worth::Misdirected),
        (with("/detail-type", json!(1)), "NotAnEvent", Worth::Poisoned),
        (with("/detail", "text".into()), "NotAnEvent", Worth::Poisoned),
        (with("/detail/eventName", Value::Null), "NotAnEvent", Worth::Poisoned),
        (with("/detail/requestParameters", Value::Null), "NoRole", Worth::Poisoned),
        (with("/detail/requestParameters/roleName", json!(["web"])), "NoRole", Worth::Poisoned),
        (with("/detail/requestParameters/roleName", "a/b".into()), "BadRole", Worth::Poisoned),
        (with("/detail/requestParameters/roleName", "a\nb".into()), "BadRole", Worth::Poisoned),
        (
            event("CreatePolicyVersion", json!({"policyArn": "arn:aws:iam::1:policy/\u{202e}"})).to_string(),
            "BadPolicy",
            Worth::Poisoned,
        ),
    ] {
        let passed_over = Heard::read(&body).expect_err(word);
        assert_eq!((passed_over.as_str(), passed_over.worth()), (word, worth), "{passed_over}");
        assert!(!passed_over.hint().is_empty());
    }
}

#[test]
fn the_largest_event_that_can_be_is_read() {
    let mut event = event("PutRolePolicy", json!({"roleName": "web", "policyDocument": ""}));
    let room = LARGEST_BODY - event.to_string().len();
    event["detail"]["requestParameters"]["policyDocument"] = "x".repeat(room).into();
    assert_eq!(event.to_string().len(), LARGEST_BODY);
    assert_eq!(changed(&event).subject, role("web"));
    event["detail"]["requestParameters"]["policyDocument"] = "x".repeat(room + 1).into();
    assert_eq!(read(&event), Err(PassedOver::TooLarge(LARGEST_BODY + 1)));
}

/// Everything that an answer would show.
fn all_text(answer: &Result<Heard, PassedOver>) -> String {
    match answer {
        Err(why) => why.to_string(),
        Ok(Heard { request_id, what, .. }) => {
            let id = request_id.clone().unwrap_or_default();
            let What::Changed(Change { subject, call, policy, claimed }) = what else { return id };
            let subject = match subject {
                Subject::Role(role) => role.to_string(),
                Subject::ManagedPolicy(arn) => arn.clone(),
            };
            let policy = policy.clone().unwrap_or_default();
            format!(
                "{id}{subject}{call}{policy}{claimed}{}{}",
                claimed.kind.clone().unwrap_or_default(),
                claimed.issuer.clone().unwrap_or_default()
            )
        }
    }
}

const HOSTILE: &str = "x\n2026 WARN forged \u{1b}[31m\u{9b}1m\u{7f}\u{202e}\u{feff}";

#[test]
fn nothing_that_a_terminal_acts_upon_and_nothing_long_comes_out_of_an_event() {
    let fields = [
        "/account",
        "/source",
        "/detail-type",
        "/detail/eventName",
        "/detail/eventTime",
        "/detail/requestID",
        "/detail/sourceIPAddress",
        "/detail/userIdentity/arn",
        "/detail/userIdentity/type",
        "/detail/userIdentity/sessionContext/sessionIssuer/arn",
        "/detail/requestParameters/policyName",
        "/detail/requestParameters/roleName",
    ];
    for field in fields {
        for text in [HOSTILE.to_owned(), HOSTILE.repeat(5_000), "é".repeat(100_000)] {
            let mut event: Value = serde_json::from_str(SAMPLE).unwrap();
            *event.pointer_mut(field).unwrap() = text.into();
            let said = all_text(&read(&event));
            assert_eq!(said, printable(&said), "{field}");
            assert!(said.chars().count() < 5_000, "{field}: {}", said.len());
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Into::into),
        ".*".prop_map(Value::String),
        Just(Value::String(HOSTILE.to_owned())),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Where a value of the sample stands.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    if let Value::Object(object) = value {
        for (key, below) in object {
            pointers(below, &format!("{at}/{key}"), found);
        }
    }
}

proptest! {
    #[test]
    fn any_text_has_an_answer(body in ".*") {
        let said = all_text(&Heard::read(&body));
        prop_assert_eq!(&said, &printable(&said));
    }

    #[test]
    fn any_part_of_an_event_may_be_anything(values in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4)) {
        let mut event: Value = serde_json::from_str(SAMPLE).unwrap();
        for (index, value) in values {
            let mut found = Vec::new();
            pointers(&event, "", &mut found);
            let pointer = index.get(&found).clone();
            *event.pointer_mut(&pointer).unwrap() = value;
        }
        let said = all_text(&read(&event));
        prop_assert_eq!(&said, &printable(&said));
    }
}
