//! Credentials under a paused clock, with a source that counts and an STS of our own behind the real SDK.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_iam::{config::http::HttpRequest, error::ConnectorError};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::HttpResponse,
};
use futures_util::future::join_all;
use tokio::time::{advance, sleep};

use super::*;
use crate::iam::{Entrance, Iam as _, SdkIam};

const ONE: &str = "111111111111";
const TWO: &str = "222222222222";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What it gives next, and how often it was asked.
#[derive(Debug, Clone, Default)]
struct Source(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    given: Option<Credentials>,
    asked: usize,
    hangs: bool,
}

/// How long it takes to give what it gives: as any that has to ask somebody, so that others come meanwhile.
const TAKES: Duration = Duration::from_millis(10);

impl Source {
    fn gives(&self, given: Option<Credentials>) {
        self.0.lock().unwrap().given = given;
    }

    fn hangs(&self, hangs: bool) {
        self.0.lock().unwrap().hangs = hangs;
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }
}

impl ProvideCredentials for Source {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let source = self.clone();
        future::ProvideCredentials::new(async move {
            let takes = if source.0.lock().unwrap().hangs { HOUR } else { TAKES };
            sleep(takes).await;
            let mut inside = source.0.lock().unwrap();
            inside.asked += 1;
            inside.given.clone().ok_or_else(|| CredentialsError::provider_error("nothing is given"))
        })
    }
}

/// Credentials of an account, which their key names; none with the same `number` differ.
fn of(account: &str, number: u32, lasts: Option<Duration>) -> Credentials {
    let end = lasts.map(|lasts| SystemTime::now() + lasts);
    Credentials::new(format!("AKIA{number}OF{account}"), "secret", Some("token".to_owned()), end, "tests")
}

/// STS: it knows of every key whose it is. What was asked, in order; and what it refuses AssumeRole and GetCallerIdentity with.
#[derive(Debug, Clone, Default)]
struct Sts(Arc<Mutex<Vec<&'static str>>>, Refusal, Refusal);

/// The error code that a call is answered with, if any.
type Refusal = Arc<Mutex<Option<&'static str>>>;

impl HttpConnector for Sts {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let signed = request.headers().get("authorization").unwrap_or_default();
        let (_, signed_by) = signed.split_once("Credential=").unwrap();
        let (_, account) = signed_by.split_once('/').unwrap().0.rsplit_once("OF").unwrap();
        let (operation, result) = if body.contains("Action=AssumeRole") {
            let entered = body.split_once("iam%3A%3A").unwrap().1.split_once("%3A").unwrap().0;
            let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
            let given = format!(
                "<AccessKeyId>ASIA1OF{entered}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>{end:.0}</Expiration>"
            );
            ("AssumeRole", format!("<Credentials>{given}</Credentials>"))
        } else {
            let arn = format!("arn:aws:sts::{account}:assumed-role/keeper/x");
            ("GetCallerIdentity", format!("<Arn>{arn}</Arn><Account>{account}</Account>"))
        };
        self.0.lock().unwrap().push(operation);
        let refusal = if operation == "AssumeRole" { &self.1 } else { &self.2 };
        let refusal = *refusal.lock().unwrap();
        if let Some(code) = refusal {
            let answer =
                format!("<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>");
            let response = HttpResponse::new(403.try_into().unwrap(), answer.into());
            return HttpConnectorFuture::ready(Ok::<_, ConnectorError>(response));
        }
        let inner = format!("<{operation}Result>{result}</{operation}Result>");
        let answer = format!(
            r#"<{operation}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{inner}</{operation}Response>"#
        );
        let response = HttpResponse::new(200.try_into().unwrap(), answer.into());
        HttpConnectorFuture::ready(Ok::<_, ConnectorError>(response))
    }
}

impl Sts {
    fn asked(&self, operation: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|asked| **asked == operation).count()
    }

    async fn config(&self, source: &Source) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .endpoint_url("http://127.0.0.1:9")
            .credentials_provider(source.clone())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .load()
            .await
    }
}

/// A source of credentials of account ONE that last so long, and what keeps them.
async fn keeping(lasts: Option<Duration>) -> (Source, Sts, OfOneAccount) {
    let (source, sts) = (Source::default(), Sts::default());
    source.gives(Some(of(ONE, 1, lasts)));
    let config = sts.config(&source).await;
    let kept =
        OfOneAccount::new(SharedCredentialsProvider::new(source.clone()), None, &config, Some(ONE.parse().unwrap()));
    (source, sts, kept)
}

async fn key(kept: &OfOneAccount) -> String {
    match kept.provide_credentials().await {
        Ok(credentials) => credentials.access_key_id().to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_ten_minutes_before_they_end_and_half_way_where_they_last_for_less_than_twenty() {
    for (lasts, renewed_after) in [(HOUR, 50 * MINUTE), (20 * MINUTE, 10 * MINUTE), (15 * MINUTE, 450 * MINUTE / 60)] {
        let (source, sts, kept) = keeping(Some(lasts)).await;
        let begun = Instant::now();
        key(&kept).await;
        source.gives(Some(of(ONE, 2, Some(lasts))));
        // What lasts is counted by the machine's clock, which goes on here: by less than this.
        let second = Duration::from_secs(1);
        tokio::time::sleep_until(begun + renewed_after - second).await;
        assert_eq!((key(&kept).await.as_str(), source.asked()), ("AKIA1OF111111111111", 1), "{lasts:?}");
        advance(2 * second).await;
        assert_eq!(key(&kept).await, "AKIA1OF111111111111", "nobody waits for the renewal that begins now");
        sleep(second).await;
        assert_eq!((key(&kept).await.as_str(), source.asked()), ("AKIA2OF111111111111", 2), "{lasts:?}");
        assert_eq!(sts.asked("GetCallerIdentity"), 2, "STS is asked whenever they change");
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_name_no_end_are_looked_up_every_quarter_of_an_hour_and_sts_is_asked_where_they_changed() {
    let (source, sts, kept) = keeping(None).await;
    for quarter in 1..=3 {
        assert_eq!(key(&kept).await, "AKIA1OF111111111111");
        assert_eq!((source.asked(), sts.asked("GetCallerIdentity")), (quarter, 1));
        advance(15 * MINUTE).await;
    }
    source.gives(Some(of(ONE, 2, None)));
    assert_eq!(key(&kept).await, "AKIA2OF111111111111");
    assert_eq!(sts.asked("GetCallerIdentity"), 2);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_become_another_accounts_are_never_handed_on_and_neither_are_the_former_ones() {
    let (source, _, kept) = keeping(Some(HOUR)).await;
    assert_eq!(key(&kept).await, "AKIA1OF111111111111");
    source.gives(Some(of(TWO, 2, Some(HOUR))));
    advance(51 * MINUTE).await;
    key(&kept).await;
    sleep(MINUTE).await;
    for _ in 0..2 {
        let refused = key(&kept).await;
        assert!(refused.contains("they are of account 222222222222, and not of 111111111111"), "{refused}");
    }
    source.gives(Some(of(ONE, 3, Some(HOUR))));
    assert_eq!(key(&kept).await, "AKIA3OF111111111111");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_cannot_be_renewed_are_used_while_they_last_and_the_source_is_not_pestered() {
    let (source, _, kept) = keeping(Some(HOUR)).await;
    key(&kept).await;
    source.gives(None);
    advance(51 * MINUTE).await;
    for _ in 0..100 {
        assert_eq!(key(&kept).await, "AKIA1OF111111111111");
        sleep(TRIED_AGAIN_AFTER / 100).await;
    }
    assert_eq!(source.asked(), 2);
    sleep(TAKES * 2).await;
    key(&kept).await;
    sleep(MINUTE).await;
    assert_eq!(source.asked(), 3);
    // What names no end is not known to be good any more.
    let (source, _, kept) = keeping(None).await;
    key(&kept).await;
    source.gives(None);
    advance(15 * MINUTE).await;
    assert!(key(&kept).await.contains("nothing is given"));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_renewal_that_hangs_while_the_credentials_last() {
    let (source, _, kept) = keeping(Some(HOUR)).await;
    key(&kept).await;
    advance(51 * MINUTE).await;
    source.hangs(true);
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(key(&kept).await, "AKIA1OF111111111111");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // That one is given up in time, and another one begins.
    sleep(LONGEST_RENEWAL + TRIED_AGAIN_AFTER).await;
    source.hangs(false);
    source.gives(Some(of(ONE, 2, Some(HOUR))));
    key(&kept).await;
    sleep(MINUTE).await;
    assert_eq!(key(&kept).await, "AKIA2OF111111111111");
}

#[tokio::test(start_paused = true)]
async fn what_aws_does_not_accept_is_given_up_but_not_what_was_had_only_just_now() {
    let (source, sts, kept) = keeping(Some(HOUR)).await;
    key(&kept).await;
    source.gives(Some(of(ONE, 2, Some(HOUR))));
    kept.heed(ErrorClass::Credentials);
    assert_eq!(key(&kept).await, "AKIA1OF111111111111", "it was had only just now");
    advance(GIVEN_UP_AFTER).await;
    for class in [ErrorClass::Denied, ErrorClass::Throttled, ErrorClass::Transient, ErrorClass::Clock] {
        kept.heed(class);
        assert_eq!(key(&kept).await, "AKIA1OF111111111111", "{class:?}");
    }
    kept.heed(ErrorClass::Credentials);
    assert_eq!(key(&kept).await, "AKIA2OF111111111111");
    // Whose a key is does not change: where the same one is given again STS need not be there.
    let asked = sts.asked("GetCallerIdentity");
    advance(GIVEN_UP_AFTER).await;
    kept.heed(ErrorClass::Credentials);
    assert_eq!((key(&kept).await.as_str(), sts.asked("GetCallerIdentity")), ("AKIA2OF111111111111", asked));
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_calls_are_denied_is_renewed_after_ten_minutes_and_used_until_it_is() {
    let (source, _, kept) = keeping(Some(HOUR)).await;
    key(&kept).await;
    source.gives(None);
    advance(RENEWED_ON_DENIAL_AFTER).await;
    for _ in 0..10 {
        kept.heed(ErrorClass::Denied);
        assert_eq!(key(&kept).await, "AKIA1OF111111111111", "STS is out of reach, and it may well be good");
        sleep(TAKES * 2).await;
    }
    source.gives(Some(of(ONE, 2, Some(HOUR))));
    sleep(TRIED_AGAIN_AFTER).await;
    key(&kept).await;
    sleep(MINUTE).await;
    assert_eq!(key(&kept).await, "AKIA2OF111111111111");
    let asked = source.asked();
    kept.heed(ErrorClass::Denied);
    key(&kept).await;
    sleep(MINUTE).await;
    assert_eq!(source.asked(), asked, "the new one may be denied the same for as long");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_goes_on_where_whoever_asked_for_it_has_gone() {
    let (source, _, kept) = keeping(Some(HOUR)).await;
    assert!(timeout(TAKES / 2, key(&kept)).await.is_err());
    sleep(TAKES).await;
    assert_eq!((key(&kept).await.as_str(), source.asked()), ("AKIA1OF111111111111", 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_at_the_same_time_waits_for_one_renewal() {
    let (source, sts, kept) = keeping(Some(HOUR)).await;
    let keys = join_all((0..50).map(|_| key(&kept))).await;
    assert!(keys.iter().all(|key| key == "AKIA1OF111111111111"), "{keys:?}");
    assert_eq!((source.asked(), sts.asked("GetCallerIdentity")), (1, 1));
}

fn entrance(account: &str) -> Entrance {
    Entrance {
        role: Some(format!("arn:aws:iam::{account}:role/keeper").parse().unwrap()),
        external_id: None,
        session_name: "tests".to_owned(),
        region: None,
        account: account.parse().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn many_accounts_are_entered_with_the_base_credentials_that_were_had_once() {
    let (source, sts) = (Source::default(), Sts::default());
    source.gives(Some(of(ONE, 1, Some(HOUR))));
    let own = SdkIam::of_account(&sts.config(&source).await, None, None);
    assert_eq!(own.caller().await.unwrap().account.as_str(), ONE);
    for number in 0..20 {
        let account = format!("3333333333{number:02}");
        let there = own.within(&entrance(&account)).await;
        assert_eq!(there.caller().await.unwrap().account.as_str(), account);
    }
    assert_eq!((source.asked(), sts.asked("AssumeRole")), (1, 20));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_be_entered_takes_the_base_credentials_from_nobody_unless_they_are_what_is_refused() {
    let (source, sts) = (Source::default(), Sts::default());
    source.gives(Some(of(ONE, 1, Some(HOUR))));
    let own = SdkIam::of_account(&sts.config(&source).await, None, None);
    let there = own.within(&entrance(TWO)).await;
    for (code, asked) in [("AccessDenied", 1), ("Throttling", 1), ("ServiceUnavailable", 1), ("ExpiredToken", 2)] {
        *sts.1.lock().unwrap() = Some(code);
        advance(11 * MINUTE).await;
        there.caller().await.unwrap_err();
        own.caller().await.unwrap();
        assert_eq!(source.asked(), asked, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_without_a_role_gives_up_the_base_credentials_that_are_its_own() {
    let (source, sts) = (Source::default(), Sts::default());
    source.gives(Some(of(ONE, 1, Some(HOUR))));
    let own = SdkIam::of_account(&sts.config(&source).await, None, None);
    let there = own.within(&Entrance { role: None, ..entrance(ONE) }).await;
    there.caller().await.unwrap();
    source.gives(Some(of(ONE, 2, Some(HOUR))));
    advance(GIVEN_UP_AFTER).await;
    *sts.2.lock().unwrap() = Some("InvalidClientTokenId");
    there.caller().await.unwrap_err();
    *sts.2.lock().unwrap() = None;
    there.caller().await.unwrap();
    assert_eq!(source.asked(), 2);
}
