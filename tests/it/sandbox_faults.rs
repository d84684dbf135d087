//! Every fault that a test can ask of the sandbox, as both of its sides show it.

use std::time::Duration;

use ssm_role_controller::{
    iam::{ErrorClass, Iam, SdkIam},
    names::{AccountId, PolicyName, RoleName},
    sandbox::{Effect, Fault, InProcess, Lag, Outcome, RoleSeed, Sandbox},
};
use tokio::time::Instant;

use crate::support::{Clients, refusal, serving::Serving};

const ACCOUNT: &str = "111122223333";

const PLAIN: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;

fn world() -> (Sandbox, AccountId, InProcess) {
    let account: AccountId = ACCOUNT.parse().unwrap();
    let sandbox = Sandbox::new(account.clone());
    for name in ["web", "zebra"] {
        sandbox.plant(&account, RoleSeed::new(name).policy("P", PLAIN));
    }
    let iam = sandbox.iam(&account);
    (sandbox, account, iam)
}

fn role(name: &str) -> RoleName {
    name.parse().unwrap()
}

fn policy() -> PolicyName {
    "P".parse().unwrap()
}

#[tokio::test]
async fn a_refusal_has_its_status_and_code_over_http_and_its_class_in_process() {
    let serving = Serving::start(ACCOUNT).await;
    let sandbox = &serving.sandbox;
    sandbox.plant(&serving.account, RoleSeed::new("web").policy("P", PLAIN));
    let (clients, iam) = (Clients::new(&serving.endpoint()), sandbox.iam(&serving.account));
    let refuse = |status: u16, code: &str| Effect::Refuse { status, code: code.into(), message: "so it is".into() };
    for (effect, status, code, class) in [
        (Effect::Throttle, 400, "Throttling", ErrorClass::Throttled),
        (Effect::Deny, 403, "AccessDenied", ErrorClass::Denied),
        (Effect::ServerError, 500, "ServiceFailure", ErrorClass::Transient),
        (Effect::Unavailable, 503, "ServiceUnavailable", ErrorClass::Transient),
        (Effect::ExpiredToken, 403, "ExpiredToken", ErrorClass::Credentials),
        (Effect::InvalidClientTokenId, 403, "InvalidClientTokenId", ErrorClass::Credentials),
        (refuse(409, "LimitExceeded"), 409, "LimitExceeded", ErrorClass::Quota),
        (refuse(400, "UnmodifiableEntity"), 400, "UnmodifiableEntity", ErrorClass::Protected),
        (refuse(409, "ConcurrentModification"), 409, "ConcurrentModification", ErrorClass::Transient),
        (refuse(400, "MalformedPolicyDocument"), 400, "MalformedPolicyDocument", ErrorClass::Invalid),
    ] {
        sandbox.fault(Fault::new(effect).on("GetRole").times(2));
        let there = refusal(clients.iam.get_role().role_name("web").send().await);
        assert_eq!((there.0, there.1.as_str()), (status, code));
        let here = iam.role(&role("web")).await.unwrap_err();
        assert_eq!((here.class, here.code.as_deref(), here.message), (class, Some(code), there.2));
        assert!(iam.role(&role("web")).await.is_ok(), "{code} is used up");
    }
}

/// How each read of what decides over a role fails, if it does.
async fn decisive_reads(iam: &impl Iam) -> [Option<(ErrorClass, bool)>; 4] {
    const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
    let role = format!("arn:aws:iam::{ACCOUNT}:role/web");
    [
        iam.policies_page(None).await.err(),
        iam.managed_policy(CORE).await.err(),
        iam.managed_policy_document(CORE, "v2").await.err(),
        iam.simulate(&role, &["ssm:GetDocument".to_owned()], &[]).await.err(),
    ]
    .map(|error| error.map(|error| (error.class, error.message.contains("no identity-based policy allows"))))
}

#[tokio::test]
async fn reads_of_what_decides_over_a_role_meet_faults_too() {
    let serving = Serving::start(ACCOUNT).await;
    let sandbox = &serving.sandbox;
    sandbox.plant(&serving.account, RoleSeed::new("web"));
    sandbox.set_simulation(&serving.account, "web", Vec::new());
    let (there, here) = (SdkIam::for_endpoint(&serving.endpoint()), sandbox.iam(&serving.account));
    let operations = ["GetAccountAuthorizationDetails", "GetPolicy", "GetPolicyVersion", "SimulatePrincipalPolicy"];
    for (position, operation) in operations.into_iter().enumerate() {
        sandbox.fault(Fault::new(Effect::Deny).on(operation));
        let mut expected = [None; 4];
        expected[position] = Some((ErrorClass::Denied, true));
        assert_eq!(decisive_reads(&there).await, expected, "{operation}");
        assert_eq!(decisive_reads(&here).await, expected, "{operation}");
        sandbox.clear_faults();
    }
    // A simulation is about a role; a policy is nobody's.
    sandbox.fault(Fault::new(Effect::Throttle).role("WEB"));
    assert_eq!(decisive_reads(&here).await, [None, None, None, Some((ErrorClass::Throttled, false))]);
}

#[tokio::test]
async fn answers_that_are_lost_or_spoilt_fail_over_http_and_are_transient_in_process() {
    let serving = Serving::start(ACCOUNT).await;
    let sandbox = &serving.sandbox;
    sandbox.plant(&serving.account, RoleSeed::new("web").policy("P", PLAIN));
    let clients = Clients::new(&serving.endpoint());
    let iam = sandbox.iam(&serving.account).patience(Duration::from_millis(50));
    for effect in [Effect::Hang, Effect::Reset, Effect::Cut, Effect::Html] {
        sandbox.fault(Fault::new(effect.clone()).times(2));
        let call = clients.iam.get_account_authorization_details().customize();
        let patience = aws_sdk_iam::config::timeout::TimeoutConfig::builder()
            .operation_timeout(Duration::from_millis(500))
            .build();
        let there = call.config_override(aws_sdk_iam::Config::builder().timeout_config(patience)).send().await;
        assert!(there.is_err(), "{effect:?}: {there:?}");
        let here = iam.roles_page(None).await.unwrap_err();
        assert_eq!((here.class, here.code), (ErrorClass::Transient, None), "{effect:?}");
    }
    assert!(clients.iam.get_role().role_name("web").send().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_given_up_in_time_whether_or_not_it_took_effect() {
    let (sandbox, _, iam) = world();
    for (done, outcome) in [(false, Outcome::Pending), (true, Outcome::Accepted)] {
        sandbox.fault(Fault { done, ..Fault::new(Effect::Hang).on("GetRole").times(1) });
        let before = Instant::now();
        let error = iam.role(&role("web")).await.unwrap_err();
        assert_eq!(error.to_string(), "GetRole: no answer within 30 s");
        assert_eq!((error.class, before.elapsed()), (ErrorClass::Transient, Duration::from_secs(30)));
        assert_eq!(sandbox.calls().pop().unwrap().outcome, outcome);
    }
}

#[tokio::test]
async fn a_write_may_be_done_although_its_answer_never_comes() {
    let serving = Serving::start(ACCOUNT).await;
    let (sandbox, account) = (&serving.sandbox, &serving.account);
    let clients = Clients::new(&serving.endpoint());
    for done in [false, true] {
        sandbox.plant(account, RoleSeed::new("web"));
        let fault = Fault::new(Effect::Reset).on("PutRolePolicy").role("WEB").times(1);
        sandbox.fault(if done { fault.done() } else { fault });
        let put = clients.iam.put_role_policy().role_name("web").policy_name("P").policy_document(PLAIN);
        assert!(put.send().await.is_err());
        assert_eq!(sandbox.document(account, "web", "P").is_some(), done);
    }
}

#[tokio::test]
async fn a_page_can_say_that_there_is_more_and_not_where() {
    let (sandbox, _, iam) = world();
    sandbox.fault(Fault::new(Effect::NoMarker).times(1));
    let page = iam.roles_page(None).await.unwrap();
    assert_eq!((page.roles.len(), page.is_truncated, page.marker), (2, true, None));
}

#[tokio::test]
async fn a_page_can_repeat_the_marker_that_it_was_asked_for() {
    let (sandbox, _, iam) = world();
    sandbox.set_page_cap(Some(1));
    sandbox.fault(Fault::new(Effect::RepeatMarker));
    let first = iam.roles_page(None).await.unwrap();
    let second = iam.roles_page(first.marker.clone()).await.unwrap();
    assert_eq!((second.is_truncated, second.marker), (true, first.marker));
    assert_eq!(second.roles[0].name, "zebra");
}

#[tokio::test(start_paused = true)]
async fn a_rate_throttles_what_comes_too_fast() {
    let (sandbox, _, iam) = world();
    sandbox.fault(Fault::new(Effect::Throttle).on("GetRole").beyond(2.0, 1));
    assert!(iam.role(&role("web")).await.is_ok());
    assert_eq!(iam.role(&role("web")).await.unwrap_err().class, ErrorClass::Throttled);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(iam.role(&role("web")).await.is_ok());
    let counts = sandbox.counts()["GetRole"];
    assert_eq!((counts.calls, counts.accepted, counts.refused), (3, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn delays_pass_on_tokios_clock() {
    let (sandbox, _, iam) = world();
    sandbox.set_delay(Duration::from_millis(20));
    sandbox.fault(Fault::new(Effect::DelayMs(3_000)).times(1));
    for expected in [3_020, 20] {
        let before = Instant::now();
        iam.caller().await.unwrap();
        assert_eq!(before.elapsed(), Duration::from_millis(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn reads_lag_behind_writes() {
    let (sandbox, account, iam) = world();
    sandbox.set_lag(Lag { bulk: Duration::from_secs(10), single: Duration::from_secs(2) });
    sandbox.remove_policy(&account, "web", "P");
    let see = async || {
        let single = iam.role_policy(&role("web"), &policy()).await.is_ok();
        let bulk = !iam.roles_page(None).await.unwrap().roles[0].inline_policies.is_empty();
        (single, bulk)
    };
    assert_eq!(see().await, (true, true));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(see().await, (false, true));
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(see().await, (false, false));
}

#[tokio::test]
async fn calls_are_kept_in_the_order_of_arrival() {
    let (sandbox, account, iam) = world();
    iam.caller().await.unwrap();
    let _ = iam.role_policy(&role("web"), &policy()).await;
    let _ = iam.role(&role("nobody")).await;
    let calls: Vec<_> = sandbox
        .calls()
        .into_iter()
        .map(|call| (call.operation, call.role.unwrap_or_default(), call.policy, call.account, call.outcome))
        .collect();
    let gone = Outcome::Refused("NoSuchEntity".to_owned());
    assert_eq!(
        calls,
        [
            ("GetCallerIdentity", String::new(), None, account.clone(), Outcome::Accepted),
            ("GetRolePolicy", "web".to_owned(), Some("P".to_owned()), account.clone(), Outcome::Accepted),
            ("GetRole", "nobody".to_owned(), None, account, gone),
        ]
    );
    sandbox.clear_calls();
    assert!(sandbox.calls().is_empty() && sandbox.counts().is_empty());
}
