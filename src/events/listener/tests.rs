//! The listener under the paused clock, through the real SDK, against a wire that answers as SQS does.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_sqs::{config::http::HttpRequest, error::ConnectorError};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::HttpResponse,
};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{
    events::{News, Subscription},
    telemetry::Captured,
};

const URL: &str = "http://127.0.0.1:9/111122223333/iam-changes";
const SAMPLE: &str = include_str!("../../../tests/data/events/put_role_policy.json");

/// What the wire answers to one call.
#[derive(Debug, Clone)]
enum Answer {
    /// A body, as a success.
    Ok(Value),
    /// An error with this code.
    Refused(u16, &'static str),
    /// The connection breaks.
    Broken,
    /// Nothing at all.
    Silence,
}

/// What each operation answers: in turn, and the last one for ever.
#[derive(Debug, Clone, Default)]
struct Wire(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    answers: BTreeMap<String, VecDeque<Answer>>,
    /// Each call's operation, body, and when it came.
    calls: Vec<(String, Value, Instant)>,
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        let mut inner = self.0.lock().unwrap();
        inner.calls.push((operation.clone(), body, Instant::now()));
        let answers = inner.answers.entry(operation).or_default();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        HttpConnectorFuture::new(async move {
            let respond = |status: u16, body: Value| {
                let mut response = HttpResponse::new(status.try_into().unwrap(), body.to_string().into());
                response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
                response
            };
            match answer {
                Some(Answer::Ok(body)) => Ok(respond(200, body)),
                Some(Answer::Refused(status, code)) => {
                    Ok(respond(status, json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": "no"})))
                }
                Some(Answer::Broken) => Err(ConnectorError::io("broken off".into())),
                Some(Answer::Silence) | None => std::future::pending().await,
            }
        })
    }
}

/// A listener at work, and what comes of it.
struct Life {
    wire: Wire,
    subscription: Subscription,
    log: Captured,
    _logging: tracing::subscriber::DefaultGuard,
    running: Option<JoinHandle<()>>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}

impl Life {
    fn with(answers: &[(&str, Vec<Answer>)]) -> Self {
        let (wire, exchange) = (Wire::default(), Exchange::default());
        for (operation, answers) in answers {
            wire.0.lock().unwrap().answers.insert((*operation).to_owned(), answers.iter().cloned().collect());
        }
        let (log, logging) = Captured::on_this_thread();
        let connector = SharedHttpConnector::new(wire.clone());
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "tests")))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        let subscription = exchange.subscribe("123456789012".parse().unwrap());
        exchange.leaves_to_others(["777777777777".parse().unwrap()].into());
        let listener = Listener::new(Queue::new(&config, URL.parse().unwrap()), exchange, 1);
        let running = Some(tokio::spawn(listener.run()));
        Self { wire, subscription, log, _logging: logging, running }
    }

    fn calls(&self, operation: &str) -> Vec<(Value, Instant)> {
        let inner = self.wire.0.lock().unwrap();
        let calls = inner.calls.iter().filter(|(called, ..)| called == operation);
        calls.map(|(_, body, at)| (body.clone(), *at)).collect()
    }

    /// The receipts that were deleted.
    fn deleted(&self) -> Vec<String> {
        let receipts = |(body, _): (Value, Instant)| {
            let entries = body["Entries"].as_array().cloned().unwrap_or_default();
            entries.into_iter().map(|entry| entry["ReceiptHandle"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        self.calls(DELETE).into_iter().flat_map(receipts).collect()
    }

    fn events(&self) -> Vec<Value> {
        self.log.events()
    }

    /// Name and reason of all that was told.
    fn told(&self) -> Vec<String> {
        let told = |event: &Value| {
            let reason = event["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{}{reason}", event["event"].as_str().unwrap())
        };
        self.events().iter().map(told).collect()
    }

    /// What the account is told within so many seconds.
    async fn news(&mut self, seconds: u64) -> Vec<News> {
        let (mut news, end) = (Vec::new(), Instant::now() + Duration::from_secs(seconds));
        while let Ok(next) = tokio::time::timeout_at(end, self.subscription.next()).await {
            news.push(next);
        }
        news
    }
}

fn message(number: u64, body: &str, receives: u32) -> Value {
    let now = Timestamp::now().as_millisecond();
    json!({
        "MessageId": format!("id-{number}"),
        "ReceiptHandle": format!("receipt-{number}"),
        "Body": body,
        "Attributes": {"ApproximateReceiveCount": receives.to_string(), "SentTimestamp": (now - 2_000).to_string()},
    })
}

fn messages(messages: &[Value]) -> Answer {
    Answer::Ok(json!({ "Messages": messages }))
}

fn deleted() -> (&'static str, Vec<Answer>) {
    (DELETE, vec![Answer::Ok(json!({"Successful": [], "Failed": []}))])
}

fn recent() -> String {
    SAMPLE.replace("2022-02-16T01:36:00Z", &format!("{:.0}", Timestamp::now()))
}

#[tokio::test(start_paused = true)]
async fn an_event_is_handed_on_and_then_deleted() {
    let received = messages(&[message(1, &recent(), 1), message(2, SAMPLE, 1)]);
    let mut life = Life::with(&[(RECEIVE, vec![received, Answer::Silence]), deleted()]);
    let news = life.news(1).await;
    let [News::Listening(Listening::Off), News::Listening(Listening::Up), News::Heard(one, age), News::Heard(two, old)] =
        &news[..]
    else {
        panic!("{news:?}")
    };
    assert_eq!((Heard::read(SAMPLE).as_ref(), one.account.as_str()), (Ok(&**two), "123456789012"));
    // As old as SQS says, or as the event claims where that is older.
    assert!(*age >= Duration::from_secs(2) && *age < Duration::from_secs(60), "{age:?}");
    assert!(*old > Duration::from_secs(365 * 24 * 3600), "{old:?}");
    assert_eq!(life.deleted(), ["receipt-1", "receipt-2"]);
    assert_eq!(life.told(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_asked_to_wait_for_messages_and_to_hide_what_it_hands_out() {
    let life = Life::with(&[(RECEIVE, vec![Answer::Ok(json!({})), Answer::Silence])]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked: Vec<_> = life.calls(RECEIVE).into_iter().map(|(asked, _)| asked).collect();
    for asked in &asked {
        assert_eq!(asked["QueueUrl"], URL);
        assert_eq!((&asked["MaxNumberOfMessages"], &asked["VisibilityTimeout"]), (&json!(10), &json!(60)));
    }
    // The first call only finds out whether the queue can be read.
    assert_eq!(asked.iter().map(|asked| &asked["WaitTimeSeconds"]).collect::<Vec<_>>(), [0, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_answers_without_waiting_is_not_asked_in_a_hot_loop() {
    let life = Life::with(&[(RECEIVE, vec![Answer::Ok(json!({}))])]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = life.calls(RECEIVE).len();
    assert!((30..=61).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_cannot_be_read_is_told_once_for_each_reason_and_tried_ever_more_slowly() {
    let denied = Answer::Refused(403, "AccessDenied");
    let mut answers = vec![Answer::Refused(400, "QueueDoesNotExist"); 12];
    answers.extend([denied.clone(), denied, Answer::Broken, Answer::Ok(json!({})), Answer::Silence]);
    let mut life = Life::with(&[(RECEIVE, answers)]);
    let news = life.news(3600).await;
    let states: Vec<_> = news
        .iter()
        .map(|news| match news {
            News::Listening(state) => *state,
            other => panic!("{other:?}"),
        })
        .collect();
    // An answer that never comes is a failure too.
    assert_eq!(states, [Listening::Off, Listening::Failed, Listening::Up, Listening::Failed]);
    assert_eq!(
        life.told(),
        [
            "events.queue_failed QueueNotFound",
            "events.queue_failed AccessDenied",
            "events.queue_failed Unavailable",
            "events.queue_recovered",
            "events.queue_failed Unavailable",
        ]
    );
    let calls = life.calls(RECEIVE);
    let waits: Vec<f64> = calls.windows(2).map(|two| (two[1].1 - two[0].1).as_secs_f64()).collect();
    assert!(waits[0] <= 1.01 && waits[..14].iter().all(|wait| (0.5..=60.1).contains(wait)), "{waits:?}");
    assert!(waits[7..14].iter().all(|wait| *wait >= 30.0), "{waits:?}");
    let first = &life.events()[0];
    assert!(first["message"].as_str().unwrap().contains(URL) && first["hint"].as_str().unwrap().contains("queueUrl"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_ends() {
    let life = Life::with(&[(RECEIVE, vec![Answer::Silence])]);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(life.told(), ["events.queue_failed Unavailable"]);
    assert!(life.calls(RECEIVE).len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn a_poisoned_message_is_told_once_left_for_the_dead_letter_queue_and_holds_up_no_other() {
    let comings = |receives| messages(&[message(1, "poison", receives), message(2, &recent(), 1)]);
    let answers = (1..=MOST_RECEIVES).map(comings).chain([Answer::Silence]).collect();
    let mut life = Life::with(&[(RECEIVE, answers), deleted()]);
    let heard = life.news(10).await.into_iter().filter(|news| matches!(news, News::Heard(..))).count();
    assert_eq!(heard, MOST_RECEIVES as usize);
    assert_eq!(life.told(), ["events.message_rejected NotJson"]);
    let told = &life.events()[0];
    let said = told["message"].as_str().unwrap();
    assert!(said.contains("message id-1 of") && said.contains("left for the dead-letter queue"), "{said}");
    // Where no dead-letter queue took it, it ends at last.
    let deleted = life.deleted();
    assert_eq!(deleted.iter().filter(|receipt| *receipt == "receipt-1").count(), 1);
    assert_eq!(deleted.last().map(String::as_str), Some("receipt-2"));
}

#[tokio::test(start_paused = true)]
async fn what_should_not_have_come_is_told_and_deleted_and_what_does_not_matter_only_deleted() {
    let other_source = SAMPLE.replace("aws.iam", "aws.s3");
    let other_account = SAMPLE.replace("123456789012", "999999999999");
    let failed = SAMPLE.replace("\"readOnly\"", "\"errorCode\": \"AccessDenied\", \"readOnly\"");
    let bodies = [other_source, other_account, failed];
    let received: Vec<_> = (1..).zip(&bodies).map(|(number, body)| message(number, body, 1)).collect();
    let mut life = Life::with(&[(RECEIVE, vec![messages(&received), Answer::Silence]), deleted()]);
    life.news(1).await;
    assert_eq!(life.told(), ["events.message_rejected OtherSource", "events.message_rejected OtherAccount"]);
    assert_eq!(life.deleted(), ["receipt-1", "receipt-2", "receipt-3"]);
}

#[tokio::test(start_paused = true)]
async fn what_another_shard_keeps_is_deleted_in_silence_and_what_is_misdirected_keeps_no_poison_from_being_told() {
    let shard = SAMPLE.replace("123456789012", "777777777777");
    let astray = SAMPLE.replace("123456789012", "999999999999");
    let received: Vec<_> =
        (1..=5).map(|number| messages(&[message(number, &shard, 1), message(number, &astray, 1)])).collect();
    let received = (0..5).flat_map(|_| received.clone()).chain([messages(&[message(9, "poison", 1)]), Answer::Silence]);
    let mut life = Life::with(&[(RECEIVE, received.collect()), deleted()]);
    life.news(10).await;
    let told = life.told();
    assert_eq!(told[..10], ["events.message_rejected OtherAccount"; 10]);
    assert_eq!(told[10..], ["events.message_rejected NotJson"]);
    assert_eq!(life.deleted().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_queue_full_of_poison_does_not_fill_the_log() {
    let received = (1..=10).map(|number| messages(&[message(number, "poison", 1), message(number, "", 1)]));
    let received = (0..5).flat_map(|_| received.clone()).chain([Answer::Silence]).collect();
    let mut life = Life::with(&[(RECEIVE, received), deleted()]);
    life.news(10).await;
    assert_eq!(life.told().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn that_messages_cannot_be_deleted_is_told_and_ends_when_they_can() {
    let one = messages(&[message(1, &recent(), 1)]);
    let failed = json!({"Successful": [], "Failed": [{"Id": "0", "Code": "AccessDenied", "SenderFault": true}]});
    let deletes = vec![
        Answer::Refused(403, "AccessDenied"),
        Answer::Ok(failed),
        Answer::Ok(json!({"Successful": [{"Id": "0"}], "Failed": []})),
    ];
    let receives = vec![one.clone(), one.clone(), one, Answer::Silence];
    let mut life = Life::with(&[(RECEIVE, receives), (DELETE, deletes)]);
    let news = life.news(20).await;
    assert_eq!(news.iter().filter(|news| matches!(news, News::Heard(..))).count(), 3);
    assert!(!news.contains(&News::Listening(Listening::Failed)), "it is still heard");
    assert_eq!(life.told(), ["events.queue_failed AccessDenied", "events.queue_recovered"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_nothing_is_asked_and_a_stop_is_heard_at_once() {
    let exchange = Exchange::default();
    let mut subscription = exchange.subscribe("123456789012".parse().unwrap());
    let shutdown = CancellationToken::new();
    let listening = tokio::spawn(listen(SdkConfig::builder().build(), exchange.clone(), 1, shutdown.clone()));
    assert_eq!(subscription.next().await, News::Listening(Listening::Off));
    assert!(timeout(Duration::from_secs(60), subscription.next()).await.is_err());
    shutdown.cancel();
    timeout(Duration::from_secs(1), listening).await.unwrap().unwrap();
}
