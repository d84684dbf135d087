use std::time::Duration;

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{super::Seat, *};
use crate::{
    controller::Options,
    events::Exchange,
    iam::Together,
    manifest::{ManifestSet, parse},
    names::AccountId,
    sandbox::{InProcess, RoleSeed, Sandbox},
    status::Inquiries,
};

const POLICY: &str = "SessionManagerPermissions";
const RIGHT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"},{"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"*"}]}"#;
/// The same in other words.
const BY_HAND: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":["*"]},{"Effect":"Allow","Action":["ssmmessages:OpenControlChannel","ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}]}"#;

/// The loop of one account, driven by hand.
struct World {
    sandbox: Sandbox,
    id: AccountId,
    manifests: watch::Sender<Arc<ManifestSet>>,
    account: Account<InProcess>,
}

fn set(text: &str) -> Arc<ManifestSet> {
    let parsed = parse("fleet.yaml", text.as_bytes());
    assert_eq!(parsed.faults, []);
    Arc::new(ManifestSet::of([&parsed], None).0)
}

fn manifest(roles: &[String]) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: fleet}}\nspec:\n  roles: [{}]\n",
        roles.join(", ")
    )
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("server-{number}")).collect()
}

impl World {
    async fn of(seeds: impl IntoIterator<Item = RoleSeed>, text: &str) -> Self {
        let id: AccountId = "111122223333".parse().unwrap();
        let sandbox = Sandbox::new(id.clone());
        for seed in seeds {
            sandbox.plant(&id, seed);
        }
        let (manifests, newest) = watch::channel(set(text));
        let iam = sandbox.iam(&id);
        let seat = Seat {
            caller: iam.caller().await.unwrap(),
            is_own: true,
            together: Together::new(1),
            subscription: Exchange::default().subscribe(id.clone()),
            inquiries: Inquiries::none(),
        };
        let account = Account::new(Arc::new(iam), seat, newest, Options::default());
        Self { sandbox, id, manifests, account }
    }

    async fn minutes(&mut self, count: u64) {
        let shutdown = CancellationToken::new();
        let turns = async {
            loop {
                self.account.turn(&shutdown).await;
            }
        };
        assert!(timeout(Duration::from_secs(60 * count), turns).await.is_err());
    }

    fn live(&self) -> Vec<&str> {
        self.account.slots.keys().map(|(role, _)| role.as_str()).collect()
    }

    fn at_rest(&self) -> Vec<&str> {
        self.account.resting.keys().map(|(role, _)| role.as_str()).collect()
    }
}

fn seed(name: &str, document: &str) -> RoleSeed {
    RoleSeed::new(name).policy(POLICY, document).instance_profile(name)
}

#[tokio::test(start_paused = true)]
async fn what_is_in_sync_rests_after_a_pass_and_shares_all_but_its_role() {
    let names = names(20);
    let mut world = World::of(names.iter().map(|name| seed(name, RIGHT)), &manifest(&names)).await;
    world.minutes(2).await;
    assert_eq!((world.live().len(), world.at_rest().len()), (0, 20));
    let rests: Vec<&Arc<Rest>> = world.account.resting.values().map(|resting| &resting.rest).collect();
    assert!(rests.iter().all(|rest| Arc::ptr_eq(rest, rests[0])));
    let about: Vec<String> =
        world.account.resting.values().map(|resting| resting.step().target.role.to_string()).collect();
    assert_eq!(about, world.at_rest());
    assert_eq!(world.account.role_count(), 20);
    assert!(world.account.has_settled());
}

#[tokio::test]
async fn so_it_is_where_the_clock_goes_on_between_two_verdicts() {
    let names = names(20);
    let mut world = World::of(names.iter().map(|name| seed(name, RIGHT)), &manifest(&names)).await;
    let shutdown = CancellationToken::new();
    while world.at_rest().len() < 20 {
        timeout(Duration::from_secs(60), world.account.turn(&shutdown)).await.unwrap();
    }
    let rests: Vec<&Arc<Rest>> = world.account.resting.values().map(|resting| &resting.rest).collect();
    assert!(rests.iter().all(|rest| Arc::ptr_eq(rest, rests[0])));
}

#[tokio::test(start_paused = true)]
async fn only_what_differs_is_roused_and_it_rests_again_once_readings_are_believed() {
    let names = names(20);
    let mut world = World::of(names.iter().map(|name| seed(name, RIGHT)), &manifest(&names)).await;
    world.minutes(10).await;
    assert!(world.sandbox.remove_policy(&world.id, "server-7", POLICY));
    world.minutes(4).await;
    assert_eq!((world.live(), world.at_rest().len(), world.account.written), (vec!["server-7"], 19, 1));
    // Nobody undid the repair for half an hour.
    world.minutes(45).await;
    assert_eq!((world.live().len(), world.at_rest().len()), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_as_it_should_be_does_not_rest() {
    let text = manifest(&["right", "by-hand", "broken", "gone", "shut"].map(str::to_owned)) + "  mode: observe\n";
    let seeds = [
        seed("right", RIGHT),
        seed("by-hand", BY_HAND),
        RoleSeed::new("broken"),
        seed("shut", RIGHT).tag("ssm-role-controller.dev/suspend", ""),
    ];
    let mut world = World::of(seeds, &text).await;
    world.minutes(60 * 30).await;
    assert_eq!((world.live(), world.at_rest()), (vec!["broken", "gone", "shut"], vec!["by-hand", "right"]));
}

#[tokio::test(start_paused = true)]
async fn what_was_laid_down_and_roused_is_to_the_last_detail_as_it_was() {
    let text = manifest(&["right", "by-hand", "alone"].map(str::to_owned));
    // No instance profile holds the last one: that is told, and reminded of.
    let seeds = [seed("right", RIGHT), seed("by-hand", BY_HAND), RoleSeed::new("alone").policy(POLICY, RIGHT)];
    let mut world = World::of(seeds, &text).await;
    let account = &mut world.account;
    let now = Instant::now();
    let (inventory, _) = account.tools.reader.read(&account.asked, true).await.unwrap();
    account.seen.inventory = inventory;
    // What a reading does, but that nothing is laid down after it.
    for (key, slot) in &mut account.slots {
        let observed = account.seen.inventory.get(&key.0).unwrap();
        let moment = jiff::Timestamp::now();
        let step = crate::plan::judge(&slot.wanted, observed, &account.circumstances, moment);
        account.reporter.observe(&step, Duration::from_secs(5));
        slot.judged(step, now);
        slot.judged_of(Some(observed), now);
    }
    let before = format!("{:#?}\n{:#?}", account.slots, account.reporter);
    account.lay_down(now);
    assert_eq!((account.slots.len(), account.resting.len()), (0, 3));
    assert!(!format!("{:#?}", account.reporter).contains("Record {"));
    account.rouse_all();
    assert_eq!(format!("{:#?}\n{:#?}", account.slots, account.reporter), before);
}

#[tokio::test(start_paused = true)]
async fn newer_manifests_that_ask_for_the_same_let_rest_and_others_do_not() {
    let (names, mut more) = (names(3), names(4));
    let mut world = World::of(more.iter().map(|name| seed(name, RIGHT)), &manifest(&names)).await;
    world.minutes(2).await;
    world.manifests.send_replace(set(&manifest(&more)));
    world.account.take_manifests();
    assert_eq!((world.live(), world.at_rest().len()), (vec!["server-3"], 3));
    world.minutes(2).await;
    assert_eq!((world.live().len(), world.at_rest().len()), (0, 4));

    // One is named no more, and of the others something else is wanted.
    more.pop();
    world.manifests.send_replace(set(&(manifest(&more) + "  sessionPreferences: {s3EncryptionEnabled: false}\n")));
    world.account.take_manifests();
    assert_eq!((world.live(), world.at_rest().len()), (vec!["server-0", "server-1", "server-2"], 0));
    world.minutes(60).await;
    assert_eq!((world.live().len(), world.at_rest().len(), world.account.written), (0, 3, 3));
}

/// Of a million roles each byte is a megabyte, whatever the allocator adds: it has room for 80 bytes and for 96, and those of a role
/// come with two counts.
#[test]
fn a_role_and_its_policy_at_rest_take_little_room() {
    assert!(size_of::<Role>() <= 64, "{}", size_of::<Role>());
    assert!(size_of::<(PolicyKey, Resting)>() <= 56, "{}", size_of::<(PolicyKey, Resting)>());
}
