//! The sandbox's control path, as a test in another language would use it.

use std::time::Duration;

use serde_json::{Value, json};
use ssm_role_controller::{
    iam::{Decision, Iam},
    sandbox::demo,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::serving::Serving;

const ACCOUNT: &str = "111122223333";

async fn raw(port: u16, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

pub(crate) async fn ask(port: u16, method: &str, path: &str, body: Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = "Host: 127.0.0.1:4567\r\nContent-Type: application/json\r\n";
    let (status, answer) = raw(port, method, path, headers, &body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn every_control_path_does_what_it_says() {
    let serving = Serving::start(ACCOUNT).await;
    let (sandbox, account, port) = (&serving.sandbox, &serving.account, serving.port);
    let iam = sandbox.iam(account);

    let plant = json!({ "roles": [
        { "name": "web", "path": "/app/", "policies": [{ "name": "P", "document": "not JSON" }] },
        { "name": "zebra" },
    ] });
    ask(port, "POST", "/_sandbox/roles", plant).await;
    let elsewhere = json!({ "account": "444455556666", "roles": [{ "name": "there" }] });
    ask(port, "POST", "/_sandbox/roles", elsewhere).await;
    let read = ask(port, "GET", "/_sandbox/roles", Value::Null).await;
    assert_eq!(read["roles"][0], json!({ "name": "web", "policies": [{ "name": "P", "document": "not JSON" }] }));
    let read = ask(port, "GET", "/_sandbox/roles?account=444455556666", Value::Null).await;
    assert_eq!(read["roles"][0]["name"], "there");

    ask(port, "POST", "/_sandbox/policies", json!({ "role": "web", "policy": "Q", "document": "{}" })).await;
    assert_eq!(sandbox.policies(account, "web"), ["P", "Q"]);
    ask(port, "POST", "/_sandbox/policies", json!({ "role": "web", "policy": "P", "document": null })).await;
    assert_eq!(sandbox.policies(account, "web"), ["Q"]);

    let change = json!({ "attach": ["arn:aws:iam::111122223333:policy/Guard"], "instance_profiles": ["one"] });
    ask(port, "POST", "/_sandbox/roles/web", change).await;
    let web = iam.roles_page(None).await.unwrap().roles.remove(0);
    assert_eq!(web.attached, ["arn:aws:iam::111122223333:policy/Guard"]);
    assert_eq!(web.instance_profiles, ["one"]);
    let elsewhere = json!({ "boundary": "arn:aws:iam::444455556666:policy/Guard", "trust": "{}" });
    ask(port, "POST", "/_sandbox/roles/there?account=444455556666", elsewhere).await;

    for document in ["{}", "[]"] {
        ask(port, "POST", "/_sandbox/managed", json!({ "policy": "Guard", "document": document })).await;
    }
    let guard = iam.policies_page(None).await.unwrap().policies.remove(0);
    assert_eq!((guard.version.as_str(), guard.encoded_document.as_deref()), ("v2", Some("%5B%5D")));
    ask(port, "POST", "/_sandbox/managed", json!({ "policy": "Guard", "document": null })).await;
    assert!(iam.policies_page(None).await.unwrap().policies.is_empty());

    let decide = json!([{ "action": "ssm:GetDocument", "decision": "explicitDeny", "matched": ["Guard"] }]);
    ask(port, "POST", "/_sandbox/simulations", json!({ "role": "web", "results": decide })).await;
    let said = iam.simulate(&web.arn, &["ssm:GetDocument".to_owned()], &[]).await.unwrap();
    assert_eq!((said[0].decision, &said[0].matched[..]), (Decision::ExplicitDeny, &["Guard".to_owned()][..]));

    ask(port, "POST", "/_sandbox/pages", json!({ "cap": 1 })).await;
    assert!(iam.roles_page(None).await.unwrap().is_truncated);
    ask(port, "POST", "/_sandbox/pages", json!({ "cap": null })).await;
    assert!(!iam.roles_page(None).await.unwrap().is_truncated);

    ask(port, "DELETE", "/_sandbox/calls", Value::Null).await;
    let fault = json!({ "operation": "GetCallerIdentity", "times": 1, "effect": "throttle" });
    assert_eq!(ask(port, "POST", "/_sandbox/faults", fault.clone()).await, json!({ "in_force": 1 }));
    assert!(iam.caller().await.is_err());
    let calls = ask(port, "GET", "/_sandbox/calls", Value::Null).await;
    assert_eq!(calls["calls"][0]["outcome"], json!({ "refused": "Throttling" }));
    assert_eq!(calls["counts"]["GetCallerIdentity"], json!({ "calls": 1, "accepted": 0, "refused": 1 }));

    let several = json!([
        { "effect": { "refuse": { "status": 409, "code": "ConcurrentModification", "message": "later" } } },
        { "effect": { "delay_ms": 5 }, "done": true, "beyond": { "per_second": 2.5, "burst": 10 }, "after": 3 },
        fault,
    ]);
    assert_eq!(ask(port, "POST", "/_sandbox/faults", several).await, json!({ "in_force": 3 }));
    ask(port, "DELETE", "/_sandbox/faults", Value::Null).await;
    assert!(iam.caller().await.is_ok());

    // A rate that no machine is slow enough to keep to.
    let rate = json!({ "operation": "GetCallerIdentity", "beyond": { "per_second": 0.001, "burst": 2 }, "effect": "throttle" });
    ask(port, "POST", "/_sandbox/faults", rate).await;
    let passed = [iam.caller().await.is_ok(), iam.caller().await.is_ok(), iam.caller().await.is_ok()];
    assert_eq!(passed, [true, true, false]);
    let another = sandbox.iam(&"444455556666".parse().unwrap());
    assert!(another.caller().await.is_ok(), "each account has a rate of its own");
    ask(port, "DELETE", "/_sandbox/faults", Value::Null).await;

    ask(port, "POST", "/_sandbox/lag", json!({ "bulk_ms": 60_000 })).await;
    ask(port, "DELETE", "/_sandbox/roles/zebra", Value::Null).await;
    assert_eq!(iam.roles_page(None).await.unwrap().roles.len(), 2);
    ask(port, "POST", "/_sandbox/lag", json!({})).await;
    assert_eq!(iam.roles_page(None).await.unwrap().roles.len(), 1);

    ask(port, "POST", "/_sandbox/delay", json!({ "ms": 30 })).await;
    let before = std::time::Instant::now();
    iam.caller().await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(30));

    ask(port, "POST", "/_sandbox/keys", json!({ "access_key_id": "AKIDOTHER", "account": "444455556666" })).await;
    demo::seed(sandbox);
    let did = ask(port, "POST", "/_sandbox/tamper", json!({ "step": 0 })).await;
    assert!(did["did"].as_str().unwrap().contains("web-server"));
}

#[tokio::test]
async fn the_control_path_is_closed_to_browsers() {
    let serving = Serving::start(ACCOUNT).await;
    let local = "Host: localhost:1\r\n";
    let body = r#"{"ms":1}"#;
    for (headers, status) in [
        (format!("{local}Content-Type: application/json\r\n"), 200),
        ("Host: [::1]:80\r\nContent-Type: application/json\r\n".to_owned(), 200),
        ("Host: attacker.example\r\nContent-Type: application/json\r\n".to_owned(), 403),
        ("Host: localhost.attacker.example\r\nContent-Type: application/json\r\n".to_owned(), 403),
        ("Content-Type: application/json\r\n".to_owned(), 403),
        (format!("{local}Origin: https://attacker.example\r\nContent-Type: application/json\r\n"), 403),
        (format!("{local}Content-Type: text/plain\r\n"), 415),
        (local.to_owned(), 415),
    ] {
        assert_eq!(raw(serving.port, "POST", "/_sandbox/delay", &headers, body).await.0, status, "{headers}");
    }
}

#[tokio::test]
async fn what_the_control_path_does_not_understand_it_refuses_with_a_reason() {
    let serving = Serving::start(ACCOUNT).await;
    let headers = "Host: localhost\r\nContent-Type: application/json\r\n";
    for (method, path, body, status, reason) in [
        ("POST", "/_sandbox/faults", r#"{"effect":"explode"}"#, 400, ""),
        ("POST", "/_sandbox/faults", r#"{"effect":"hang","rol":"web"}"#, 400, ""),
        ("POST", "/_sandbox/delay", r#"{"ms":"#, 400, "EOF"),
        ("POST", "/_sandbox/roles", r#"{"account":"1","roles":[]}"#, 400, "not an AWS account id"),
        ("POST", "/_sandbox/policies", r#"{"role":"x","policy":"P"}"#, 404, "no role x"),
        ("DELETE", "/_sandbox/roles/x", "", 404, "no role x"),
        ("POST", "/_sandbox/roles/x", r#"{"attach":["arn"]}"#, 404, "no role x"),
        ("POST", "/_sandbox/roles/x", r#"{"attached":["arn"]}"#, 400, "unknown field"),
        ("POST", "/_sandbox/managed", r#"{"policy":"Guard"}"#, 404, "no managed policy Guard"),
        ("POST", "/_sandbox/simulations", r#"{"role":"x","results":[{"action":"a:b","decision":"no"}]}"#, 400, "no"),
        ("PUT", "/_sandbox/roles", "", 404, "no PUT /_sandbox/roles"),
    ] {
        let (answered, error) = raw(serving.port, method, path, headers, body).await;
        assert_eq!(answered, status, "{method} {path} {body}: {error}");
        assert!(error["error"].as_str().unwrap().contains(reason), "{error}");
    }
}
