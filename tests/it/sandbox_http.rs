//! The sandbox's HTTP side with requests that no client sends, and its two sides compared.

use std::{sync::Arc, time::Duration};

use ssm_role_controller::{
    iam::{ErrorClass, Iam, WriteTurn, Writer},
    inventory::{Role, RoleKind},
    names::{AccountId, Partition, PolicyName, RoleName},
    policy::{limits::Limits, session_manager::Settings},
    sandbox::RoleSeed,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Clients, code, refusal, serving::Serving};

const ACCOUNT: &str = "111122223333";

const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=00";

/// Sends bytes as they are, and reads what comes until the server has nothing more to say.
async fn exchange(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // The server may well refuse before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.expect("the server hangs");
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_call_without_a_signature_is_refused() {
    let serving = Serving::start(ACCOUNT).await;
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    for (headers, status, code) in [
        ("X-Nothing: 1", "403", "MissingAuthenticationToken"),
        ("Authorization: Basic dTpw", "400", "IncompleteSignature"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=/x", "400", "IncompleteSignature"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=ASIAUNKNOWN/x", "403", "InvalidClientTokenId"),
    ] {
        let answer = exchange(serving.port, &post(headers, body)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains(&format!("<Code>{code}</Code>")), "{answer}");
    }
    let answer = exchange(serving.port, &post(SIGNED, body)).await;
    assert!(answer.contains("<Account>111122223333</Account>"), "{answer}");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_and_harm_nothing() {
    let serving = Serving::start(ACCOUNT).await;
    let huge = format!("Action=PutRolePolicy&PolicyDocument={}", "x".repeat(2 << 20));
    let half = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nAction=".to_vec();
    let garbage: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (bytes, expected) in [
        (garbage, "HTTP/1.1 400"),
        (half, ""),
        (b"POST / HTTP/1.1\r\nHost".to_vec(), ""),
        (post(SIGNED, &huge), "HTTP/1.1 413"),
        (post(SIGNED, ""), "MissingAction"),
        (post(SIGNED, "%%%=%FF&&=&Action"), "InvalidAction"),
        (post(SIGNED, "Action=<b>&Version=1"), "Could not find operation &lt;b&gt; for version 1"),
        (post(SIGNED, "Action=GetRole&Version=2010-05-08&RoleName=%00%FF"), "ValidationError"),
        (post(SIGNED, "Action=GetRole&Version=2010-05-08"), "Value null at 'roleName'"),
        (
            post(SIGNED, "Action=GetAccountAuthorizationDetails&Version=2010-05-08&Marker=AA%C3%A9&MaxItems=1"),
            "Invalid Marker.",
        ),
        (
            post(SIGNED, "Action=GetAccountAuthorizationDetails&Version=2010-05-08&MaxItems=9999999999999999999"),
            "MalformedInput",
        ),
        (post(SIGNED, "Action=GetAccountAuthorizationDetails&Version=2010-05-08&MaxItems=0"), "ValidationError"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(), "InvalidAction"),
    ] {
        let answer = exchange(serving.port, &bytes).await;
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
    let caller = Clients::new(&serving.endpoint()).sts.get_caller_identity().send().await.unwrap();
    assert_eq!(caller.account(), Some(ACCOUNT));
}

#[tokio::test]
async fn one_connection_carries_many_calls() {
    let serving = Serving::start(ACCOUNT).await;
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let length = body.len();
    let one = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{SIGNED}\r\n\r\n{body}");
    let answer = exchange(serving.port, one.repeat(3).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
}

#[tokio::test]
async fn a_key_that_was_given_to_an_account_is_that_accounts() {
    let serving = Serving::start(ACCOUNT).await;
    serving.sandbox.give_key("AKIDEXAMPLE", "444455556666".parse().unwrap());
    let answer = exchange(serving.port, &post(SIGNED, "Action=GetCallerIdentity&Version=2011-06-15")).await;
    assert!(answer.contains("<Account>444455556666</Account>"), "{answer}");
}

#[tokio::test]
async fn the_server_stops_within_seconds_even_while_calls_hang() {
    use ssm_role_controller::sandbox::{Effect, Fault};
    let serving = Serving::start(ACCOUNT).await;
    serving.sandbox.fault(Fault::new(Effect::Hang));
    let (sandbox, clients) = (serving.sandbox.clone(), Clients::new(&serving.endpoint()));
    let hanging = tokio::spawn(async move { clients.sts.get_caller_identity().send().await });
    while sandbox.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    timeout(Duration::from_secs(5), serving.stop()).await.expect("the server does not stop");
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn both_sides_give_the_same_answers() {
    let serving = Serving::start(ACCOUNT).await;
    let (sandbox, clients) = (&serving.sandbox, Clients::new(&serving.endpoint()));
    for name in ["Web-Server", "bastion", "zebra"] {
        let awkward = format!("not JSON: {name} + % \" é\n");
        sandbox.plant(&serving.account, RoleSeed::new(name).path("/a/").policy("P", &awkward).policy("Q", ""));
    }
    let iam = sandbox.iam(&serving.account).page_size(2);

    let caller = clients.sts.get_caller_identity().send().await.unwrap();
    let in_process = iam.caller().await.unwrap();
    assert_eq!(caller.account(), Some(in_process.account.as_str()));
    assert_eq!(caller.arn(), Some(in_process.arn.as_str()));

    let mut marker = None;
    for expected in [2, 1] {
        let here = iam.roles_page(marker.clone()).await.unwrap();
        let call = clients.iam.get_account_authorization_details().max_items(2);
        let there = call.set_marker(marker).filter(aws_sdk_iam::types::EntityType::Role).send().await.unwrap();
        assert_eq!((here.roles.len(), here.is_truncated), (expected, there.is_truncated));
        assert_eq!(here.marker, there.marker);
        for (here, there) in here.roles.iter().zip(there.role_detail_list()) {
            assert_eq!(Some(here.name.as_str()), there.role_name());
            assert_eq!(Some(here.arn.as_str()), there.arn());
            assert_eq!(Some(here.path.as_str()), there.path());
            let policy = |at: usize| there.role_policy_list()[at].policy_document().unwrap_or_default();
            assert_eq!(here.inline_policies[0].encoded_document, policy(0));
            assert_eq!(here.inline_policies[1].encoded_document, policy(1));
        }
        marker = here.marker;
    }

    let role = |name: &str| name.parse::<RoleName>().unwrap();
    let policy: PolicyName = "P".parse().unwrap();
    let here = iam.role(&role("web-server")).await.unwrap();
    let there = clients.iam.get_role().role_name("web-server").send().await.unwrap().role.unwrap();
    assert_eq!((here.name, here.arn, here.path), (there.role_name, there.arn, there.path));
    let here = iam.role_policy(&role("bastion"), &policy).await.unwrap();
    let there = clients.iam.get_role_policy().role_name("bastion").policy_name("P").send().await.unwrap();
    assert_eq!(here, there.policy_document);

    let here = iam.role_policy(&role("nobody"), &policy).await.unwrap_err();
    let there = refusal(clients.iam.get_role_policy().role_name("nobody").policy_name("P").send().await);
    assert_eq!((here.class, here.code.unwrap(), here.message), (ErrorClass::Gone, there.1, there.2));

    let account: AccountId = ACCOUNT.parse().unwrap();
    let document = Settings::default().document(&account, &Partition::default());
    let zebra = Role { name: role("zebra"), kind: RoleKind::at("/"), surroundings: None };
    let writer = Writer::new(Arc::new(iam), account.clone());
    let here = writer.put(WriteTurn::default(), &zebra, &policy, &document, &Limits::default()).await;
    let put = clients.iam.put_role_policy().role_name("zebra").policy_name("P").policy_document(document.as_str());
    match (here, put.send().await) {
        (Ok(_), Ok(_)) => {
            assert_eq!(sandbox.document(&account, "zebra", "P").as_deref(), Some(document.as_str()));
        }
        (Err(here), there) => assert_eq!(here.code.unwrap(), code(there).1),
        (here, there) => panic!("{here:?} {there:?}"),
    }
}

#[tokio::test]
async fn any_text_survives_the_way_through_xml() {
    let serving = Serving::start(ACCOUNT).await;
    let text: String =
        ('\u{20}'..='\u{ff}').filter(|character| !character.is_control()).chain("]]>&amp;\t🦀".chars()).collect();
    serving.sandbox.plant(&serving.account, RoleSeed::new("odd").path("/<&>/").tag("all", &text).policy("P", &text));
    let clients = Clients::new(&serving.endpoint());
    let role = clients.iam.get_role().role_name("odd").send().await.unwrap().role.unwrap();
    assert_eq!((role.path.as_str(), role.tags()[0].value.as_str()), ("/<&>/", text.as_str()));
    let page = clients.iam.get_account_authorization_details().send().await.unwrap();
    let role = &page.role_detail_list()[0];
    assert_eq!(role.tags()[0].value, text);
    let encoded = role.role_policy_list()[0].policy_document().unwrap();
    assert_eq!(percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap(), text);
    let message = refusal(clients.iam.get_role_policy().role_name("odd").policy_name("<P>").send().await).2;
    assert!(message.starts_with("The specified value for policyName is invalid."), "{message}");
}
