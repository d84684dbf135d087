//! Several accounts in one process: each is entered, kept and left by itself.

use super::*;
use crate::{
    events::{Heard, What},
    manifest::Standing,
    sandbox::Call,
};

const ONE: &str = "222222222222";
const TWO: &str = "333333333333";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole"}]}"#;

fn id(account: &str) -> AccountId {
    account.parse().unwrap()
}

/// The way into an account: the role that is assumed there, unless it is missing.
fn entry(account: &str, more: &str) -> String {
    format!("  - {{id: \"{account}\", assumeRoleArn: \"arn:aws:iam::{account}:role/keeper\"{more}}}\n")
}

fn accounts(entries: &str) -> String {
    format!("{SETTINGS}  accounts:\n{entries}")
}

/// A world of three accounts, each with a role `web` that has lost its policy, and with the role to be assumed.
fn world() -> Life {
    let life = Life::with(&[("web", None)]);
    for account in [ONE, TWO] {
        life.sandbox.plant(&id(account), RoleSeed::new("web"));
        life.sandbox.plant(&id(account), RoleSeed::new("keeper").trust(TRUST));
    }
    life
}

/// What every account shall have.
fn everywhere() -> String {
    manifest(&["web"], &format!("  accountIds: [\"111122223333\", \"{ONE}\", \"{TWO}\"]\n"))
}

fn all(more: &str) -> String {
    let own = "  - {id: \"111122223333\"}\n";
    format!("{}{}", everywhere(), accounts(&format!("{own}{}{}", entry(ONE, more), entry(TWO, ""))))
}

impl Life {
    fn is_right_in(&self, account: &str) -> bool {
        self.sandbox.document(&id(account), "web", POLICY) == Some(right())
    }

    /// The events about one account, but for those about sessions.
    fn told_of(&self, account: &str) -> Vec<String> {
        let of = |event: &&Value| event["account"] == account;
        let name = |event: &Value| {
            let reason = event["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{}{reason}", event["event"].as_str().unwrap())
        };
        self.events().iter().filter(of).map(name).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn drift_is_repaired_in_every_account_that_is_configured_and_in_the_own_one() {
    let life = world().start(&all(""));
    minutes(3).await;
    for account in ["111122223333", ONE, TWO] {
        assert!(life.is_right_in(account), "{account}: {:#?}", life.events());
    }
    assert_eq!(life.told_of(ONE), ["account.entered", "drift.detected", "drift.repaired"]);
    assert_eq!(life.told_of("111122223333"), ["controller.started", "drift.detected", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_be_entered_is_told_once_and_holds_up_no_other() {
    let life = world();
    life.sandbox.remove_role(&id(ONE), "keeper");
    let life = life.start(&all(""));
    minutes(60).await;
    assert!(life.is_right_in(TWO) && !life.is_right_in(ONE));
    assert_eq!(life.told_of(ONE), ["account.not_entered CredentialsRefused"]);
    let told = life.events().into_iter().find(|event| event["event"] == "account.not_entered").unwrap();
    for part in [ONE, "AssumeRole", "is not authorized to perform: sts:AssumeRole"] {
        assert!(told["message"].as_str().unwrap().contains(part), "{told}");
    }
    assert!(told["hint"].as_str().unwrap().contains("arn:aws:iam::222222222222:role/keeper"), "{told}");

    life.sandbox.plant(&id(ONE), RoleSeed::new("keeper").trust(TRUST));
    minutes(10).await;
    assert!(life.is_right_in(ONE));
    assert_eq!(life.told_of(ONE)[1..], ["account.entered", "drift.detected", "drift.repaired"]);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_asks_for_an_external_id_is_assumed_with_it_alone() {
    let life = world();
    let asks = TRUST.replace(
        r#""Action":"sts:AssumeRole""#,
        r#""Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"tenant-42"}}"#,
    );
    life.sandbox.plant(&id(ONE), RoleSeed::new("keeper").trust(&asks));
    let life = life.start(&all(", externalId: tenant-43"));
    minutes(10).await;
    assert!(!life.is_right_in(ONE) && life.is_right_in(TWO));
    let told = life.events().into_iter().find(|event| event["event"] == "account.not_entered").unwrap();
    assert!(told["hint"].as_str().unwrap().contains("with this external id"), "{told}");
    life.save(&all(", externalId: tenant-42"));
    minutes(3).await;
    assert!(life.is_right_in(ONE));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_configured_no_more_is_left_as_it_is_and_can_come_back() {
    let life = world().start(&all(""));
    minutes(3).await;
    let without = format!("{}{}", manifest(&["web"], &format!("  accountId: \"{TWO}\"\n")), accounts(&entry(TWO, "")));
    life.save(&without);
    minutes(3).await;
    assert_eq!(life.told_of(ONE).last().unwrap(), "account.left");
    life.sandbox.remove_policy(&id(ONE), "web", POLICY);
    life.sandbox.remove_policy(&id(TWO), "web", POLICY);
    minutes(10).await;
    assert!(life.is_right_in(TWO) && !life.is_right_in(ONE));
    life.save(&all(""));
    minutes(3).await;
    assert!(life.is_right_in(ONE));
}

#[tokio::test(start_paused = true)]
async fn an_account_of_its_own_mode_or_suspension_is_told_and_not_written() {
    let life = world();
    life.sandbox.plant(&id(TWO), RoleSeed::new("keeper").trust(TRUST));
    let settings = format!("{}{}", entry(ONE, ", mode: observe"), entry(TWO, ", suspend: true"));
    let text = format!("{}{}", manifest(&["web"], "  accountIds: \"*\"\n"), accounts(&settings));
    let life = life.start(&text);
    minutes(30).await;
    assert!(!life.is_right_in(ONE) && !life.is_right_in(TWO));
    assert_eq!(life.writes(), 0);
    assert_eq!(life.told_of(ONE), ["account.entered", "drift.detected ObserveMode"]);
    assert_eq!(life.told_of(TWO), ["account.entered", "account.suspended", "drift.detected Suspended"]);
    life.save(&text.replace(", suspend: true", ""));
    minutes(3).await;
    assert!(life.is_right_in(TWO) && !life.is_right_in(ONE));
    assert!(life.told_of(TWO).contains(&"account.resumed".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn the_role_that_is_assumed_in_an_account_is_never_written_to() {
    let life = world();
    let text = format!("{}{}", manifest(&["keeper"], &format!("  accountId: \"{ONE}\"\n")), accounts(&entry(ONE, "")));
    let life = life.start(&text);
    minutes(10).await;
    assert_eq!(life.writes(), 0);
    assert!(life.told_of(ONE).contains(&"drift.blocked OwnRole".to_owned()), "{:#?}", life.told_of(ONE));
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_long_before_they_end() {
    let life = world().start(&all(""));
    minutes(24 * 60).await;
    let assumed = life.calls("AssumeRole");
    // Two accounts, sessions of an hour, each renewed ten minutes before its end.
    assert!((56..=60).contains(&assumed), "{assumed}");
    let told = life.told();
    assert!(!told.iter().any(|told| told.starts_with("read.failed")), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_account_is_checked_as_often_as_its_own_settings_say() {
    let life = world().start(&all(", resyncInterval: 1h"));
    minutes(2).await;
    let pages = |account: &str| {
        let of = |call: &Call| call.operation == "GetAccountAuthorizationDetails" && call.account.as_str() == account;
        life.sandbox.calls().iter().filter(|call| of(call)).count()
    };
    let before = (pages(ONE), pages(TWO));
    minutes(6 * 60).await;
    assert!((5..=7).contains(&(pages(ONE) - before.0)), "{}", pages(ONE));
    assert!((320..=400).contains(&(pages(TWO) - before.1)), "{}", pages(TWO));
}

#[test]
fn a_manifest_that_names_an_account_which_nobody_configured_is_held_by_the_files_standing() {
    let mut standing = Standing::default();
    let files = |text: &str| crate::manifest::Files {
        tree: [("fleet.yaml".to_owned(), Ok(text.as_bytes().to_vec()))].into(),
        controller_config: None,
    };
    let text = format!("{}{}", everywhere(), accounts(&entry(ONE, "")));
    let verdict = standing.take(files(&text));
    assert!(verdict.faults.iter().any(|fault| fault.message.contains("is not configured")), "{:?}", verdict.faults);
}

/// Twelve accounts besides the own one.
fn many() -> Vec<String> {
    (0..12_u64).map(|number| format!("{}", 200_000_000_000 + number * 1_234_567)).collect()
}

/// A process of its own that keeps one share of the accounts, and ends with the handle.
fn shard(life: &Life, shard: &str, text: &str) -> (CancellationToken, Exchange) {
    let (_, newest) = watch::channel(set(text));
    let options = Options { shard: Some(shard.parse().unwrap()), ..Options::default() };
    let shutdown = CancellationToken::new();
    let controller = Controller::new(life.sandbox.iam(&life.account).patience(PATIENCE), newest, options);
    let exchange = Exchange::default();
    tokio::spawn(controller.woken_by(exchange.clone()).run(shutdown.clone()));
    (shutdown, exchange)
}

/// What becomes of an event of this account.
fn comes_of(exchange: &Exchange, account: &str) -> &'static str {
    let heard = Heard { account: id(account), request_id: None, at: None, what: What::Read };
    exchange.deliver(heard, Duration::ZERO).err().map_or("heard", |why| why.as_str())
}

#[tokio::test(start_paused = true)]
async fn shards_keep_every_account_between_them_and_each_account_is_kept_by_one() {
    let life = Life::with(&[("web", None)]);
    for account in many() {
        life.sandbox.plant(&id(&account), RoleSeed::new("web"));
        life.sandbox.plant(&id(&account), RoleSeed::new("keeper").trust(TRUST));
    }
    let all: String = many().iter().map(|account| entry(account, "")).collect();
    let text = format!(
        "{}{}",
        manifest(&["web"], "  accountIds: \"*\"\n"),
        accounts(&format!("  - {{id: \"111122223333\"}}\n{all}"))
    );
    let shards: Vec<_> = ["0/3", "1/3", "keeper-2/3"].map(|name| shard(&life, name, &text)).into();
    minutes(3).await;
    for account in many().iter().map(String::as_str).chain(["111122223333"]) {
        assert!(life.is_right_in(account), "{account}");
        let of = |call: &&Call| call.account.as_str() == account && call.operation == "GetAccountAuthorizationDetails";
        let readings = life.sandbox.calls().iter().filter(of).count();
        assert!((2..=5).contains(&readings), "{account} is read by one process: {readings}");
        // One rule may fill the queues of all: each knows what another one keeps.
        let mut came: Vec<_> = shards.iter().map(|(_, exchange)| comes_of(exchange, account)).collect();
        came.sort_unstable();
        assert_eq!(came, ["OtherShard", "OtherShard", "heard"], "{account}");
    }
    assert!(shards.iter().all(|(_, exchange)| comes_of(exchange, "999999999999") == "OtherAccount"));
    for (shutdown, _) in shards {
        shutdown.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_are_not_all_read_in_the_same_moments() {
    let life = world().start(&all(""));
    minutes(30).await;
    let at = |account: &str| -> Vec<Duration> {
        let of = |call: &&Call| call.account.as_str() == account && call.operation == "GetAccountAuthorizationDetails";
        life.sandbox.calls().iter().filter(of).map(|call| call.at).collect()
    };
    let (one, two) = (at(ONE), at(TWO));
    let together = one.iter().filter(|at| two.contains(at)).count();
    assert!(one.len() >= 25 && together <= 3, "{together} of {}", one.len());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_accounts_are_not_entered_in_the_same_moment() {
    let life = Life::with(&[]);
    let accounts_there: Vec<_> = (0..300_u64).map(|number| format!("{}", 200_000_000_000 + number)).collect();
    for account in &accounts_there {
        life.sandbox.plant(&id(account), RoleSeed::new("keeper").trust(TRUST));
    }
    let entries: String = accounts_there.iter().map(|account| entry(account, "")).collect();
    let life = life.start(&format!("{}{}", manifest(&["web"], "  accountIds: \"*\"\n"), accounts(&entries)));
    minutes(1).await;
    let of = |call: &&Call| call.operation == "AssumeRole";
    let at: Vec<Duration> = life.sandbox.calls().iter().filter(of).map(|call| call.at).collect();
    assert_eq!(at.len(), accounts_there.len());
    let within_a_second =
        |from: Duration| at.iter().filter(|at| (from..from + Duration::from_secs(1)).contains(*at)).count();
    let most = at.iter().map(|from| within_a_second(*from)).max();
    assert!(most <= Some(101), "{most:?}");
}
