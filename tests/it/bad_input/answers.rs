//! AWS that does not answer, or not as it should: credentials, the endpoint, denials, throttling.

use std::{future::Future, time::Duration};

use ssm_role_controller::sandbox::{Effect, Fault};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{ACCOUNT, CHANNELS, POLICY, S3, Scene, assert_said, document, right};
use crate::support::program::{PATIENCE, Running, bare, finish, program};

/// Waits for all of them at once: most of the time goes by in the program's own waits.
async fn all<F: Future<Output = ()> + Send + 'static>(tests: impl IntoIterator<Item = F>) {
    let mut tests: JoinSet<()> = tests.into_iter().collect();
    while let Some(ended) = tests.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_nothing_is_read_and_the_message_says_so() {
    let scene = Scene::with(&["web"]).await;
    let config = scene.config();
    let without = |command: &str| {
        let mut without = bare(&[command, "--config", config.to_str().unwrap()]);
        without.env("AWS_ENDPOINT_URL", scene.serving.endpoint());
        without
    };
    for command in ["plan", "apply"] {
        let ended = finish(without(command)).await;
        assert_eq!(ended.code(), 1);
        assert_said(&ended.err, &["error: ", "there are no AWS credentials", "hint: ", "credentials"]);
        assert_said(&ended.out, &["not read", "web", "1 unknown"]);
    }
    let mut running = Running::start(without("run"));
    let told = running.event("read.failed", 1).await;
    assert_eq!(told["reason"], "CredentialsRefused");
    assert_said(told["message"].as_str().unwrap(), &["there are no AWS credentials", "nothing is written"]);
    assert_eq!(running.stop().await.code(), 0);
    assert_eq!(scene.serving.sandbox.counts().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_are_told_once_and_nothing_is_written_until_they_are_renewed() {
    let scene = Scene::with(&["web"]).await;
    scene.serving.sandbox.fault(Fault::new(Effect::ExpiredToken));
    for command in ["plan", "apply"] {
        let ended = scene.finish(&[command]).await;
        assert_eq!(ended.code(), 1);
        assert_said(&ended.err, &["error: GetCallerIdentity: ExpiredToken: ", "hint: renew the credentials"]);
    }
    let mut running = scene.run();
    assert_eq!(running.event("read.failed", 1).await["reason"], "CredentialsRefused");
    scene.serving.sandbox.clear_faults();
    running.event("read.recovered", 1).await;
    running.event("drift.repaired", 1).await;

    // And once more while it runs.
    scene.serving.sandbox.fault(Fault::new(Effect::ExpiredToken));
    scene.tamper("web");
    let told = running.event("read.failed", 2).await;
    assert_eq!((told["account"].as_str(), told["reason"].as_str()), (Some(ACCOUNT), Some("CredentialsRefused")));
    let asked = scene.calls("GetAccountAuthorizationDetails");
    running.until("two more tries", |_| scene.calls("GetAccountAuthorizationDetails") >= asked + 2).await;
    assert_eq!((running.told("read.failed"), scene.live("web")), (2, None));
    scene.serving.sandbox.clear_faults();
    running.event("read.recovered", 2).await;
    running.event("drift.repaired", 2).await;
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_region_the_home_of_the_partition_is_taken() {
    let scene = Scene::with(&["web"]).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let _running = Running::start(program(&endpoint, &scene.config(), &["run"]));
    let heard = timeout(PATIENCE, async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("/aws4_request") {
            assert!(stream.read_buf(&mut heard).await.unwrap() > 0);
        }
        String::from_utf8_lossy(&heard).into_owned()
    });
    assert_said(&heard.await.unwrap(), &["/us-east-1/sts/aws4_request"]);
    assert_eq!(scene.finish(&["plan"]).await.code(), 2, "and all else works without one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_is_named_as_one_that_cannot_be_reached() {
    let scene = Scene::with(&["web"]).await;
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let ended = finish(program(&endpoint, &scene.config(), &["plan"])).await;
    assert_eq!(ended.code(), 1);
    assert_said(
        &ended.err,
        &["GetCallerIdentity: the endpoint cannot be reached: ", "refused", "hint: check the endpoint"],
    );
    let mut running = Running::start(program(&endpoint, &scene.config(), &["run"]));
    let told = running.event("read.failed", 1).await;
    assert_said(told["message"].as_str().unwrap(), &["cannot be reached", "nothing is written"]);
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_half_or_html_or_resets_or_hangs_decides_nothing() {
    let effects = [
        (Effect::Cut, "connection closed before message completed"),
        (Effect::Html, "is not one of AWS"),
        (Effect::Reset, "the endpoint cannot be reached"),
        (Effect::Hang, "no whole answer came within the time allowed"),
        (Effect::ServerError, "ServiceFailure"),
    ];
    all(effects.map(|(effect, said)| async move {
        let scene = Scene::with(&["web"]).await;
        scene.serving.sandbox.fault(Fault::new(effect));
        let ended = scene.finish(&["plan"]).await;
        assert_eq!(ended.code(), 1, "{}", ended.err);
        assert_said(&ended.err, &["error: GetCallerIdentity: ", said, "hint: check the endpoint"]);
        let mut running = scene.run();
        let told = running.event("read.failed", 1).await;
        assert_eq!(told["reason"], "Unavailable");
        assert_said(told["message"].as_str().unwrap(), &[said]);
        assert_eq!(scene.writes(), 0);
        scene.serving.sandbox.clear_faults();
        running.event("drift.repaired", 1).await;
        assert_eq!(running.told("read.failed"), 1, "told once");
        assert_eq!(running.stop().await.code(), 0);
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_page_without_a_fresh_marker_is_a_failed_read() {
    let effects = [(Effect::NoMarker, "more, but not where"), (Effect::RepeatMarker, "leads back to an earlier one")];
    all(effects.map(|(effect, said)| async move {
        let scene = Scene::with(&["batch", "web"]).await;
        scene.serving.sandbox.set_page_cap(Some(1));
        scene.serving.sandbox.fault(Fault::new(effect).on("GetAccountAuthorizationDetails").after(1));
        let mut running = scene.run();
        let told = running.event("read.failed", 1).await;
        assert_said(told["message"].as_str().unwrap(), &[said, "partial"]);
        let ended = scene.finish(&["plan"]).await;
        assert_eq!(ended.code(), 1);
        assert_said(&ended.err, &[said]);
        assert_said(&ended.out, &["not read", "batch, web", "2 unknown"]);
        assert_eq!((scene.writes(), running.told("role.not_found")), (0, 0), "a missing page is no missing role");
        scene.serving.sandbox.clear_faults();
        running.event("drift.repaired", 2).await;
        assert_eq!(running.stop().await.code(), 0);
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_bulk_read_is_denied_roles_are_read_one_by_one_and_that_is_told_once() {
    let scene = Scene::with(&["web", "batch"]).await;
    scene.fault(Effect::Deny, "GetAccountAuthorizationDetails");
    let ended = scene.finish(&["plan"]).await;
    assert_eq!(ended.code(), 2);
    assert_said(&ended.err, &["cannot be read in bulk", "one by one", "GetAccountAuthorizationDetails"]);
    let mut running = scene.run();
    running.event("drift.repaired", 2).await;
    let told = running.event("read.degraded", 1).await;
    assert_said(told["message"].as_str().unwrap(), &[ACCOUNT, "one by one", "not authorized to perform"]);
    assert_said(told["hint"].as_str().unwrap(), &["iam:GetAccountAuthorizationDetails"]);
    for round in 3..5 {
        scene.tamper("web");
        running.event("drift.repaired", round).await;
    }
    assert_eq!((running.told("read.degraded"), running.told("read.failed")), (1, 0));
    running.stop().await;

    scene.tamper("web");
    let ended = scene.finish(&["apply"]).await;
    assert_eq!((ended.code(), scene.live("web")), (0, Some(right())));
    assert_eq!(ended.err.matches("one by one").count(), 1, "{}", ended.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_denied_on_one_role_does_not_hold_up_the_others() {
    let scene = Scene::with(&["web", "secret"]).await;
    scene.fault(Effect::Deny, "GetAccountAuthorizationDetails");
    scene.serving.sandbox.fault(Fault::new(Effect::Deny).on("GetRole").role("secret"));
    let ended = scene.finish(&["plan"]).await;
    assert_eq!(ended.code(), 1);
    assert_said(&ended.out, &["role secret", "Unknown", "GetRole: AccessDenied: ", "role web", "missing"]);
    let ended = scene.finish(&["apply"]).await;
    assert_eq!((ended.code(), scene.live("web"), scene.live("secret")), (1, Some(right()), None));
    assert_said(&ended.out, &["role secret", "Unknown", "AccessDenied", "1 policy was written"]);
    scene.tamper("web");
    let mut running = scene.run();
    running.event("drift.repaired", 1).await;
    let told = running.event("read.failed", 1).await;
    assert_eq!((told["role"].as_str(), told["account"].as_str()), (Some("secret"), Some(ACCOUNT)));
    assert_said(told["message"].as_str().unwrap(), &["role secret in account", "AccessDenied"]);
    scene.serving.sandbox.clear_faults();
    running.event("read.recovered", 1).await;
    running.event("drift.repaired", 2).await;
    assert_eq!((running.stop().await.code(), scene.live("secret")), (0, Some(right())));
}

#[tokio::test(flavor = "multi_thread")]
async fn access_denied_on_writes_is_told_once_with_what_to_allow() {
    let scene = Scene::with(&["web", "batch"]).await;
    scene.serving.sandbox.fault(Fault::new(Effect::Deny).on("PutRolePolicy").role("web"));
    let ended = scene.finish(&["apply"]).await;
    assert_eq!((ended.code(), scene.live("web"), scene.live("batch")), (1, None, Some(right())));
    assert_said(
        &ended.out,
        &["role web", "missing, not repaired", "PutRolePolicy: AccessDenied: ", "hint: allow", "1 policy was written"],
    );
    scene.tamper("batch");
    let mut running = scene.run();
    running.event("drift.repaired", 1).await;
    let told = running.event("drift.blocked", 1).await;
    assert_eq!((told["role"].as_str(), told["reason"].as_str()), (Some("web"), Some("AccessDenied")));
    assert_said(
        told["message"].as_str().unwrap(),
        &["role web in account", "not authorized to perform: iam:PutRolePolicy"],
    );
    let asked = scene.calls("GetAccountAuthorizationDetails");
    running.until("three more passes", |_| scene.calls("GetAccountAuthorizationDetails") >= asked + 3).await;
    assert_eq!(running.told("drift.blocked"), 1);
    scene.serving.sandbox.clear_faults();
    assert_eq!(running.stop().await.code(), 0);
    assert!(scene.writes() <= 5, "{} writes", scene.writes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_deleted_between_read_and_write_is_not_found() {
    for command in ["apply", "run"] {
        let scene = Scene::with(&["web"]).await;
        scene.fault(Effect::DelayMs(1_000), "PutRolePolicy");
        let mut running = Running::start(scene.command(&[command]));
        running.until("the write is under way", |_| scene.calls("PutRolePolicy") > 0).await;
        assert!(scene.serving.sandbox.remove_role(&scene.serving.account, "web"));
        let told = running.event("role.not_found", 1).await;
        assert_said(told["message"].as_str().unwrap(), &["role web in account", "does not exist"]);
        let ended = if command == "run" { running.stop().await } else { running.end().await };
        assert_eq!(ended.code(), i32::from(command == "apply"), "{}", ended.err);
        assert_eq!(scene.serving.sandbox.roles(&scene.serving.account).len(), 0, "nothing was made");
    }
}

/// The one test that waits for the minute that `apply` has; all that takes long goes by at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_is_given_up_by_apply_after_a_minute_and_does_not_make_the_daemon_hot() {
    let long = Duration::from_secs(75);
    let cases = [
        (Effect::Throttle, None, "Throttl"),
        (Effect::Throttle, Some("GetAccountAuthorizationDetails"), "Throttl"),
        (Effect::Throttle, Some("PutRolePolicy"), "Throttl"),
        (Effect::Hang, Some("GetAccountAuthorizationDetails"), "no whole answer came"),
        (Effect::ServerError, Some("PutRolePolicy"), "ServiceFailure"),
        (Effect::Reset, None, "cannot be reached"),
    ];
    all(cases.map(|(effect, operation, said)| async move {
        let what = format!("{effect:?} {operation:?}");
        let (applied, kept) = (Scene::with(&["web"]).await, Scene::with(&["web"]).await);
        for scene in [&applied, &kept] {
            scene
                .serving
                .sandbox
                .fault(Fault { operation: operation.map(str::to_owned), ..Fault::new(effect.clone()) });
        }
        let running = kept.run();
        let began = Instant::now();
        let ended = Running::start(applied.command(&["apply"])).end_within(long).await;
        let took = began.elapsed().as_secs();
        assert_eq!(ended.code(), 1, "{what}: {}", ended.err);
        assert!((45..=71).contains(&took), "{what}: {took} s\n{}", ended.err);
        assert_said(&(ended.err + &ended.out), &[said, "web", "hint", "nothing was written"]);
        for (operation, count) in kept.serving.sandbox.counts() {
            // In a minute, by waits that double from a second, of three or four tries each; good readings are one a second.
            let good = operation == "GetAccountAuthorizationDetails" && running.told("read.failed") == 0;
            assert!(count.calls <= if good { 90 } else { 30 }, "{what}: {} {operation}", count.calls);
        }
        let told = running.events().iter().filter(|event| event["reason"].is_string()).count();
        assert!(told <= 2, "{what}: {}", running.err());
        assert_eq!((running.stop().await.code(), kept.live("web")), (0, None), "{what}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_never_comes_is_not_sent_again() {
    let scene = Scene::with(&["web"]).await;
    // It takes effect, nobody hears of it, and meanwhile somebody shuts the door on purpose.
    scene.serving.sandbox.fault(Fault::new(Effect::Hang).on("PutRolePolicy").times(1).done());
    let mut running = scene.run();
    running.until("written", |_| scene.live("web").is_some()).await;
    let denies = document(&[CHANNELS, S3, r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#]);
    assert!(scene.serving.sandbox.write_policy(&scene.serving.account, "web", POLICY, &denies));
    let told = running.event("drift.blocked", 1).await;
    assert_eq!(told["reason"], "DeniesPresent");
    assert_eq!((scene.writes(), scene.live("web")), (1, Some(denies)), "no write without a fresh read before it");
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_html_in_answer_to_a_write_is_not_taken_for_its_success() {
    let scene = Scene::with(&["web"]).await;
    scene.serving.sandbox.fault(Fault::new(Effect::Html).on("PutRolePolicy").times(2));
    let mut running = scene.run();
    running.event("drift.repaired", 1).await;
    assert_eq!((scene.writes(), scene.live("web"), running.told("drift.repaired")), (3, Some(right()), 1));
    assert_eq!(running.stop().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_does_not_stop_the_repairs() {
    let scene = Scene::with(&["web"]).await;
    let mut command = scene.command(&["run"]);
    command.stderr(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let mut child = command.spawn().unwrap();
    for _ in 0..2 {
        let deadline = std::time::Instant::now() + crate::support::program::PATIENCE;
        while scene.live("web").is_none() {
            assert!(std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        scene.tamper("web");
    }
    child.kill().await.unwrap();
}

/// Answers every call with the first part of what a sandbox says, and then closes: no header says how long it is.
async fn cutting(endpoint: String, keep: impl Fn(&str) -> usize + Send + Sync + Copy + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let port: u16 = endpoint.rsplit(':').next().unwrap().parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                // One request: its headers, and the body that they announce.
                loop {
                    let read = client.read(&mut buffer).await.unwrap_or(0);
                    request.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
                    let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                        length.and_then(|length| length.parse::<usize>().ok()).is_none_or(|length| body.len() >= length)
                    });
                    if read == 0 || whole {
                        break;
                    }
                }
                let mut sandbox = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let asked = String::from_utf8_lossy(&request).replacen("\r\n", "\r\nConnection: close\r\n", 1);
                sandbox.write_all(asked.as_bytes()).await.unwrap();
                let mut answer = String::new();
                let _ = sandbox.read_to_string(&mut answer).await;
                let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
                let cut = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", &body[..keep(body)]);
                let _ = client.write_all(cut.as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_without_anybody_saying_how_long_it_is_leads_to_nothing() {
    let shut = document(&[CHANNELS, S3, r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#]);
    let scene = Scene::with(&["shut"]).await;
    scene.plant(ssm_role_controller::sandbox::RoleSeed::new("shut").policy(POLICY, &shut));
    // The cut hides the Deny, and what is left of the document speaks of Session Manager.
    let before_the_deny = |body: &str| body.find("Deny").map_or(body.len(), |at| at - 20);
    let endpoint = cutting(scene.serving.endpoint(), before_the_deny).await;
    let ended = finish(program(&endpoint, &scene.config(), &["plan"])).await;
    assert_eq!(ended.code(), 1, "{}", ended.err);
    assert_said(&ended.err, &["broke off"]);
    let mut running = Running::start(program(&endpoint, &scene.config(), &["run"]));
    assert_said(
        running.event("read.failed", 1).await["message"].as_str().unwrap(),
        &["broke off", "nothing is written"],
    );
    assert_eq!(running.stop().await.code(), 0);
    assert_eq!((scene.writes(), scene.live("shut")), (0, Some(shut)));
}
