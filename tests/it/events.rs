//! Change events by a real queue: moto's SQS and EventBridge, over HTTP, with the real SDK; and by the real process.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use ssm_role_controller::{
    events::{Exchange, Heard, LARGEST_BODY, Listening, News, Subject, Subscription, What, listen},
    names::AccountId,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{
    moto::Moto,
    process::Daemon,
    program::PATIENCE,
    world::{POLICY, World, and, documented, tool, with_key},
};

const SAMPLE: &str = include_str!("../data/events/put_role_policy.json");

/// moto's account, which is the sample's too.
const ACCOUNT: &str = "123456789012";

/// A listener at work, and the queue's other end.
struct Ear {
    moto: Arc<Moto>,
    config: SdkConfig,
    sqs: aws_sdk_sqs::Client,
    exchange: Exchange,
    subscription: Subscription,
    listening: Option<JoinHandle<()>>,
    _shutdown: DropGuard,
}

impl Ear {
    async fn open() -> Self {
        Self::on(tokio::task::spawn_blocking(Moto::shared).await.unwrap()).await
    }

    async fn on(moto: Arc<Moto>) -> Self {
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "tests");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let client = aws_sdk_sqs::config::Builder::from(&config).endpoint_url(moto.endpoint()).build();
        let (exchange, shutdown) = (Exchange::default(), CancellationToken::new());
        let subscription = exchange.subscribe(ACCOUNT.parse::<AccountId>().unwrap());
        let listening = tokio::spawn(listen(config.clone(), exchange.clone(), 1, shutdown.clone()));
        let mut ear = Self {
            moto,
            config,
            sqs: aws_sdk_sqs::Client::from_conf(client),
            exchange,
            subscription,
            listening: Some(listening),
            _shutdown: shutdown.drop_guard(),
        };
        assert_eq!(ear.next().await, News::Listening(Listening::Off));
        ear
    }

    async fn queue(&self, name: &str) -> String {
        self.sqs.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap()
    }

    fn listen_to(&self, url: &str) {
        self.exchange.listen_to(Some(url.parse().unwrap()));
    }

    async fn send(&self, url: &str, body: &str) {
        self.sqs.send_message().queue_url(url).message_body(body).send().await.unwrap();
    }

    async fn next(&mut self) -> News {
        timeout(PATIENCE, self.subscription.next()).await.expect("nothing was told")
    }

    /// The next event that is handed on, and its age.
    async fn event(&mut self) -> (Box<Heard>, Duration) {
        loop {
            if let News::Heard(heard, age) = self.next().await {
                return (heard, age);
            }
        }
    }

    /// Waits until so many messages are in the queue, and so many of them handed out and not deleted.
    async fn holds(&self, url: &str, messages: &str, in_flight: &str) {
        let (waiting, taken) = (
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = self.sqs.get_queue_attributes().queue_url(url);
            let asked = asked.attribute_names(waiting.clone()).attribute_names(taken.clone()).send().await;
            let told = asked.unwrap().attributes.unwrap();
            if (told[&waiting].as_str(), told[&taken].as_str()) == (messages, in_flight) {
                return;
            }
            assert!(Instant::now() < deadline, "the queue holds {told:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The AWS CLI, against moto.
    async fn aws(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(tool("aws"));
        command.args(["--endpoint-url", &self.moto.endpoint(), "--region", "us-east-1", "--output", "json"]);
        command.args(arguments).env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
        let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }
}

fn role_of(heard: &Heard) -> &str {
    match &heard.what {
        What::Changed(change) => match &change.subject {
            Subject::Role(role) => role.as_str(),
            Subject::ManagedPolicy(arn) => arn,
        },
        What::Read => "read",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_the_queue_is_heard_while_it_is_waited_for_and_is_deleted() {
    let mut ear = Ear::open().await;
    let url = ear.queue("heard").await;
    ear.listen_to(&url);
    assert_eq!(ear.next().await, News::Listening(Listening::Up));
    ear.send(&url, SAMPLE).await;
    let (heard, age) = ear.event().await;
    assert_eq!((role_of(&heard), heard.account.as_str()), ("MyRole", ACCOUNT));
    assert!(age > Duration::from_secs(365 * 24 * 3600), "what is claimed makes it older: {age:?}");
    ear.holds(&url, "0", "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_as_large_as_any_can_be_are_heard_and_what_is_larger_is_none() {
    let mut ear = Ear::open().await;
    let url = ear.queue("large").await;
    let mut event: Value = serde_json::from_str(SAMPLE).unwrap();
    let mut sized = |role: &str, bytes: usize| {
        event["detail"]["requestParameters"]["roleName"] = role.into();
        event["detail"]["requestParameters"]["policyDocument"] = "".into();
        let room = bytes - event.to_string().len();
        event["detail"]["requestParameters"]["policyDocument"] = "x".repeat(room).into();
        event.to_string()
    };
    ear.send(&url, &sized("too-large", LARGEST_BODY + 1)).await;
    for number in 0..4 {
        let body = sized(&format!("role-{number}"), LARGEST_BODY);
        assert_eq!(body.len(), 256 * 1024);
        ear.send(&url, &body).await;
    }
    ear.listen_to(&url);
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(role_of(&ear.event().await.0).to_owned());
    }
    heard.sort();
    assert_eq!(heard, ["role-0", "role-1", "role-2", "role-3"]);
    // It is left for the dead-letter queue.
    ear.holds(&url, "0", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_queue_is_waited_at_and_not_asked_again_and_again() {
    // A server of its own, whose log tells of no other calls.
    let mut ear = Ear::on(Arc::new(tokio::task::spawn_blocking(Moto::start).await.unwrap())).await;
    let url = ear.queue("waited-at").await;
    ear.listen_to(&url);
    assert_eq!(ear.next().await, News::Listening(Listening::Up));
    let answered = |ear: &Ear| ear.moto.said().lines().filter(|line| line.contains("\"POST / ")).count();
    let before = answered(&ear);
    assert!(before > 0, "the log does not tell of calls: {}", ear.moto.said());
    // A short poll would be answered at once; the next one too, however slowly they followed each other.
    assert!(timeout(Duration::from_millis(2_500), ear.subscription.next()).await.is_err());
    assert!(answered(&ear) <= before, "{}", ear.moto.said());
    ear.send(&url, SAMPLE).await;
    assert_eq!(role_of(&ear.event().await.0), "MyRole");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_are_all_heard_and_deleted() {
    let mut ear = Ear::open().await;
    let url = ear.queue("many").await;
    for number in 0..25 {
        ear.send(&url, &SAMPLE.replace("MyRole", &format!("role-{number}"))).await;
    }
    ear.listen_to(&url);
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < 25 {
        heard.insert(role_of(&ear.event().await.0).to_owned());
    }
    ear.holds(&url, "0", "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_message_stays_and_holds_up_no_other() {
    let mut ear = Ear::open().await;
    let url = ear.queue("poisoned").await;
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(200_000));
    for body in ["not JSON", &large, SAMPLE, &SAMPLE.replace("aws.iam", "aws.s3"), "[[[[[["] {
        ear.send(&url, body).await;
    }
    ear.listen_to(&url);
    assert_eq!(role_of(&ear.event().await.0), "MyRole");
    // What is no event is hidden for a while and left, for SQS to move away; the rest is deleted.
    ear.holds(&url, "0", "3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_heard_as_soon_as_it_is() {
    let mut ear = Ear::open().await;
    let url = format!("{}/{ACCOUNT}/not-yet", ear.moto.endpoint());
    ear.listen_to(&url);
    assert_eq!(ear.next().await, News::Listening(Listening::Failed));
    assert_eq!(ear.queue("not-yet").await, url);
    ear.send(&url, SAMPLE).await;
    assert_eq!(ear.next().await, News::Listening(Listening::Up));
    assert_eq!(role_of(&ear.event().await.0), "MyRole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_configured_anew_is_listened_to_in_place_of_the_old_one_and_a_stop_ends_it() {
    let mut ear = Ear::open().await;
    let (one, other) = (ear.queue("one").await, ear.queue("other").await);
    ear.listen_to(&one);
    ear.send(&one, SAMPLE).await;
    assert_eq!(role_of(&ear.event().await.0), "MyRole");
    ear.listen_to(&other);
    assert_eq!(ear.next().await, News::Listening(Listening::Off));
    ear.send(&one, SAMPLE).await;
    ear.send(&other, &SAMPLE.replace("MyRole", "other")).await;
    assert_eq!(ear.next().await, News::Listening(Listening::Up));
    assert_eq!(role_of(&ear.event().await.0), "other");
    // A call that was given up may still take a message, which then is only hidden; nothing of it is heard.
    ear.exchange.listen_to(None);
    assert_eq!(ear.next().await, News::Listening(Listening::Off));
    let listening = ear.listening.take().unwrap();
    drop(ear);
    // It ends at once, however long the poll would wait.
    timeout(Duration::from_secs(5), listening).await.expect("the stop is not heard").unwrap();
}

/// The rule's pattern as CloudFormation would make it with this `ReadingRoleName`.
fn pattern(reading_role: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/events/change-events.yaml");
    let template: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut pattern = template["Resources"]["Rule"]["Properties"]["EventPattern"].clone();
    let name = &mut pattern["detail"]["$or"][1]["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"][0];
    assert!(name["Fn::If"].is_array(), "{name}");
    *name = reading_role.into();
    pattern
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_of_the_template_lets_changes_and_our_own_readings_through_and_nothing_else() {
    let mut ear = Ear::open().await;
    let url = ear.queue("ruled").await;
    let arn = format!("arn:aws:sqs:us-east-1:{ACCOUNT}:ruled");
    let pattern = pattern("Admin").to_string();
    ear.aws(&["events", "put-rule", "--name", "changes", "--event-pattern", &pattern]).await;
    ear.aws(&["events", "put-targets", "--rule", "changes", "--targets", &format!("Id=queue,Arn={arn}")]).await;
    let detail = |edit: &dyn Fn(&mut Value)| {
        let mut detail = serde_json::from_str::<Value>(SAMPLE).unwrap()["detail"].clone();
        edit(&mut detail);
        detail.to_string()
    };
    let role = |name: &'static str| move |detail: &mut Value| detail["requestParameters"]["roleName"] = name.into();
    let read = |by: &'static str| {
        move |detail: &mut Value| {
            detail["eventName"] = "GetAccountAuthorizationDetails".into();
            detail["readOnly"] = true.into();
            detail["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"] = by.into();
        }
    };
    let failed = |detail: &mut Value| {
        role("failed")(detail);
        detail["errorCode"] = "AccessDenied".into();
    };
    let of_a_user = |detail: &mut Value| detail["eventName"] = "PutUserPolicy".into();
    let details = [
        detail(&failed),
        detail(&of_a_user),
        detail(&read("SomebodyElse")),
        detail(&read("Admin")),
        detail(&role("web")),
    ];
    let entries: Vec<Value> = details
        .iter()
        .map(|detail| json!({"Source": "aws.iam", "DetailType": "AWS API Call via CloudTrail", "Detail": detail}))
        .collect();
    ear.aws(&["events", "put-events", "--entries", &Value::from(entries).to_string()]).await;
    ear.listen_to(&url);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let (event, _) = ear.event().await;
        // moto's envelope names an account or not; the record does.
        assert_eq!(event.account.as_str(), ACCOUNT);
        heard.push(role_of(&event).to_owned());
    }
    heard.sort();
    assert_eq!(heard, ["read", "web"]);
    ear.holds(&url, "0", "0").await;
    assert!(ear.config.endpoint_url().is_none(), "the queue's URL alone said where to ask");
}

/// Makes a queue of this account's: its URL.
fn queue_of(world: &World, name: &str) -> String {
    let made = world.aws(&["sqs", "create-queue", "--queue-name", name]).json();
    made["QueueUrl"].as_str().unwrap().to_owned()
}

/// The controller's own account, in which the queue is, and another one that it enters; both are checked once an hour.
struct TwoAccounts {
    home: World,
    there: World,
    queue: String,
}

impl TwoAccounts {
    fn new(queue: &str) -> Self {
        let (home, there) = (World::new(), World::new());
        let queue = queue_of(&home, queue);
        let worlds = Self { home, there, queue };
        worlds.settings(&worlds.queue);
        let roles = format!("roles: [web], accountId: \"{}\"", worlds.there.account);
        worlds.home.manifest("web", &with_key(&roles));
        worlds.there.role_with("web", &documented());
        worlds
    }

    fn settings(&self, queue: &str) {
        let (home, there) = (&self.home.account, &self.there.account);
        self.home.settings(&format!(
            "resyncInterval: 1h, changeEvents: {{queueUrl: \"{queue}\"}}, accounts: [{{id: \"{home}\"}}, \
             {{id: \"{there}\", assumeRoleArn: \"arn:aws:iam::{there}:role/keeper\"}}]"
        ));
    }

    /// Somebody widens the policy with the AWS CLI.
    fn tamper(&self) {
        self.there.write("widened.json", &and(documented(), "Allow", "s3:*").to_string());
        let file = format!("file://{}", self.there.at("widened.json").display());
        let put = ["iam", "put-role-policy", "--role-name", "web", "--policy-name", POLICY, "--policy-document", &file];
        self.there.aws(&put);
    }

    /// The event of that.
    fn event(&self) -> Value {
        let mut event: Value = serde_json::from_str(SAMPLE).unwrap();
        let now = jiff::Timestamp::now().to_string();
        event["account"] = self.there.account.as_str().into();
        event["time"] = now.as_str().into();
        let detail = &mut event["detail"];
        detail["eventTime"] = now.into();
        detail["recipientAccountId"] = self.there.account.as_str().into();
        detail["userIdentity"]["arn"] = format!("arn:aws:sts::{}:assumed-role/Admin/eve", self.there.account).into();
        detail["requestParameters"]["roleName"] = "web".into();
        detail["requestParameters"]["policyName"] = POLICY.into();
        event
    }

    fn send(&self, body: &str) {
        self.home.write("message", body);
        let file = format!("file://{}", self.home.at("message").display());
        self.home.aws(&["sqs", "send-message", "--queue-url", &self.queue, "--message-body", &file]);
    }

    /// The daemon, once it has read both accounts and the queue is known to be read.
    fn daemon(&self) -> Daemon {
        let daemon = self.home.daemon(&[]);
        daemon.take("account.entered", "");
        // The first thing that is told of a role comes with its first reading.
        daemon.take("session.not_ready", "web");
        daemon
    }
}

#[test]
fn a_change_by_the_aws_cli_in_one_account_is_undone_when_its_event_comes_and_the_log_names_who_is_said_to_have_made_it()
{
    let worlds = TwoAccounts::new("end-to-end");
    let daemon = worlds.daemon();
    worlds.tamper();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(daemon.count("drift.detected", "web"), 0, "the resync is an hour away");
    worlds.send(&worlds.event().to_string());
    let sent = Instant::now();
    let claimed = daemon.take("change.claimed", "web");
    let alert = daemon.take("drift.detected", "web");
    let repaired = daemon.take("drift.repaired", "web");
    assert!(sent.elapsed() < Duration::from_secs(10), "{:?}", sent.elapsed());
    assert_eq!(worlds.there.document("web"), Some(documented()));
    let eve = format!("arn:aws:sts::{}:assumed-role/Admin/eve", worlds.there.account);
    for told in [&claimed, &alert] {
        assert_eq!((&told["claimed_by"], &told["claimed_from"]), (&json!(eve), &json!("192.0.2.1")), "{told}");
        assert_eq!((&told["claimed_call"], &told["account"]), (&json!("PutRolePolicy"), &json!(worlds.there.account)));
        assert!(told["message"].as_str().unwrap().contains(&format!("{eve} from 192.0.2.1 at ")), "{told}");
    }
    assert!(repaired["seen_for_seconds"].as_f64().unwrap() < 2.0, "{repaired}");
    assert_eq!(daemon.take("events.flowing", "")["account"], worlds.there.account);
    daemon.stop("TERM");
}

#[test]
fn messages_that_are_no_events_are_told_and_hold_up_no_repair() {
    let worlds = TwoAccounts::new("end-to-end-poisoned");
    let daemon = worlds.daemon();
    worlds.tamper();
    let mut stray = worlds.event();
    stray["account"] = "999999999999".into();
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(LARGEST_BODY - r#"{"a": ""}"#.len()));
    let other_source = worlds.event().to_string().replace("aws.iam", "aws.s3");
    for body in ["not JSON", &large, &other_source, &stray.to_string(), &worlds.event().to_string()] {
        worlds.send(body);
    }
    daemon.take("drift.repaired", "web");
    assert_eq!(worlds.there.document("web"), Some(documented()));
    let mut reasons: Vec<Value> = (0..4).map(|_| daemon.take("events.message_rejected", "")["reason"].take()).collect();
    reasons.sort_by_key(Value::to_string);
    assert_eq!(reasons, ["NotAnEvent", "NotJson", "OtherAccount", "OtherSource"]);
    daemon.stop("TERM");
}

#[test]
fn a_queue_that_is_not_there_or_is_another_accounts_is_told_and_the_next_one_is_listened_to_at_once() {
    let worlds = TwoAccounts::new("end-to-end-found");
    let nowhere = format!("{}/{}/nowhere", worlds.home.endpoint(), worlds.home.account);
    let of_others = queue_of(&worlds.there, "of-others");
    assert!(of_others.contains(&worlds.there.account), "{of_others}");
    worlds.settings(&nowhere);
    let daemon = worlds.daemon();
    for queue in [nowhere, of_others] {
        worlds.settings(&queue);
        let failed = daemon.take("events.queue_failed", "");
        assert_eq!(failed["reason"], "QueueNotFound", "{failed}");
        assert!(failed["message"].as_str().unwrap().contains(&queue), "{failed}");
        assert!(failed["hint"].as_str().unwrap().contains("spec.changeEvents.queueUrl"), "{failed}");
    }
    worlds.settings(&worlds.queue);
    worlds.tamper();
    worlds.send(&worlds.event().to_string());
    daemon.take("drift.repaired", "web");
    daemon.stop("TERM");
}
