//! The pace before a sandbox, under a paused clock.

use tokio::{
    task::JoinHandle,
    time::{advance, sleep},
};

use super::*;
use crate::{
    iam::Writer,
    inventory::{Role, RoleKind},
    names::{AccountId, Partition},
    policy::{limits::Limits, session_manager::Settings},
    sandbox::{Effect, Fault, InProcess, RoleSeed, Sandbox},
};

/// What comes of all of them.
async fn join_all<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut all = Vec::new();
    for task in tasks {
        all.push(task.await.unwrap());
    }
    all
}

const POLICY: &str = "SessionManagerPermissions";

/// A sandbox behind a pace.
struct Edge {
    sandbox: Sandbox,
    account: AccountId,
    iam: Arc<Paced<InProcess>>,
}

impl Edge {
    fn new(budgets: Budgets) -> Self {
        let account: AccountId = "111122223333".parse().unwrap();
        let sandbox = Sandbox::new(account.clone());
        for number in 0..200 {
            sandbox.plant(&account, RoleSeed::new(&format!("role-{number:03}")).policy(POLICY, "{}"));
        }
        let iam = Arc::new(Paced::new(Arc::new(sandbox.iam(&account)), &budgets));
        Self { sandbox, account, iam }
    }

    /// One call a second in all.
    fn narrow() -> Self {
        Self::new(Budgets { account: Budget::new(1, 1), ..Budgets::default() })
    }

    fn throttle(&self, operation: &str, times: u64) {
        self.sandbox.fault(Fault::new(Effect::Throttle).on(operation).times(times));
    }

    fn sent(&self, operation: &str) -> u64 {
        self.sandbox.counts().get(operation).map_or(0, |count| count.calls)
    }

    /// What was sent, in order.
    fn order(&self) -> Vec<String> {
        let calls = self.sandbox.calls().into_iter();
        calls.map(|call| format!("{} {}", call.operation, call.role.unwrap_or_default())).collect()
    }

    /// Begins a call, which takes its place in the queue at once.
    async fn begin<T: Send + 'static>(
        &self,
        call: impl FnOnce(Arc<Paced<InProcess>>) -> std::pin::Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> JoinHandle<T> {
        let task = tokio::spawn(call(Arc::clone(&self.iam)));
        tokio::task::yield_now().await;
        task
    }

    async fn begin_reading(&self, number: usize) -> JoinHandle<Result<RoleDetail, IamError>> {
        self.begin(move |iam| Box::pin(async move { iam.role(&role(number)).await })).await
    }

    async fn begin_confirming(&self, number: usize) -> JoinHandle<Result<String, IamError>> {
        self.begin(move |iam| Box::pin(async move { iam.role_policy(&role(number), &policy()).await })).await
    }

    async fn begin_writing(&self, number: usize) -> JoinHandle<Result<RequestId, IamError>> {
        let account = self.account.clone();
        self.begin(move |iam| Box::pin(async move { write(iam, account, number).await })).await
    }
}

fn role(number: usize) -> RoleName {
    format!("role-{number:03}").parse().unwrap()
}

fn policy() -> PolicyName {
    POLICY.parse().unwrap()
}

async fn write(iam: Arc<Paced<InProcess>>, account: AccountId, number: usize) -> Result<RequestId, IamError> {
    let writer = Writer::new(iam, account.clone());
    let document = Settings::default().document(&account, &Partition::default());
    let role = Role { name: role(number), kind: RoleKind::at("/"), surroundings: None };
    let turn = writer.turn().await?;
    writer.put(turn, &role, &policy(), &document, &Limits::default()).await
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_at_once_and_the_rest_at_the_rate_of_its_kind() {
    let edge = Edge::new(Budgets::default());
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..190 {
        tasks.push(edge.begin_reading(number).await);
    }
    assert_eq!(edge.sent("GetRole"), 110);
    assert!(join_all(tasks).await.iter().all(Result::is_ok));
    assert_eq!(begun.elapsed().as_millis(), 8_000);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_read_is_sent_again_and_no_more_than_four_times_in_all() {
    let edge = Edge::new(Budgets::default());
    edge.throttle("GetRole", 3);
    assert!(edge.iam.role(&role(1)).await.is_ok());
    assert_eq!(edge.sent("GetRole"), 4);
    edge.throttle("GetRole", 100);
    assert_eq!(edge.iam.role(&role(1)).await.unwrap_err().class, ErrorClass::Throttled);
    assert_eq!(edge.sent("GetRole"), 8);
    assert_eq!(edge.iam.calls().of("GetRole"), Count { ok: 1, throttled: 7, failed: 0 });
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_another_way_is_not_sent_again() {
    let edge = Edge::new(Budgets::default());
    edge.sandbox.fault(Fault::new(Effect::ServerError).on("GetRole"));
    assert_eq!(edge.iam.role(&role(1)).await.unwrap_err().class, ErrorClass::Transient);
    assert_eq!(edge.iam.calls().to_string(), "GetRole 1 (1 failed)");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_write_is_sent_once() {
    let edge = Edge::new(Budgets::default());
    edge.throttle("PutRolePolicy", 1);
    let written = write(Arc::clone(&edge.iam), edge.account.clone(), 1).await;
    assert_eq!(written.unwrap_err().class, ErrorClass::Throttled);
    assert_eq!(edge.iam.calls().to_string(), "PutRolePolicy 1 (1 throttled)");
    // The rate is what a throttle has made of it: the next turn is a fifth of a second away.
    let begun = Instant::now();
    assert!(write(Arc::clone(&edge.iam), edge.account.clone(), 1).await.is_ok());
    assert_eq!(begun.elapsed().as_millis(), 200);
}

#[tokio::test(start_paused = true)]
async fn writes_go_before_confirming_reads_and_these_before_readings() {
    let edge = Edge::narrow();
    edge.iam.role(&role(0)).await.unwrap();
    let readings = [edge.begin_reading(1).await, edge.begin_reading(2).await];
    let confirming = [edge.begin_confirming(3).await, edge.begin_confirming(4).await];
    let writing = [edge.begin_writing(5).await, edge.begin_writing(6).await];
    join_all(readings.into()).await;
    join_all(confirming.into()).await;
    join_all(writing.into()).await;
    let expected = [
        "GetRole role-000",
        "PutRolePolicy role-005",
        "PutRolePolicy role-006",
        "GetRolePolicy role-003",
        "GetRolePolicy role-004",
        "GetRole role-001",
        "GetRole role-002",
    ];
    assert_eq!(edge.order(), expected);
}

#[tokio::test(start_paused = true)]
async fn whoever_came_first_goes_first() {
    let edge = Edge::new(Budgets { roles: Budget::new(4, 2), ..Budgets::default() });
    let mut tasks = Vec::new();
    for number in 0..50 {
        tasks.push(edge.begin_reading(number).await);
        if number % 7 == 0 {
            sleep(Duration::from_millis(130)).await;
        }
    }
    join_all(tasks).await;
    let expected: Vec<String> = (0..50).map(|number| format!("GetRole role-{number:03}")).collect();
    assert_eq!(edge.order(), expected);
}

#[tokio::test(start_paused = true)]
async fn who_no_longer_waits_holds_up_nobody() {
    let edge = Edge::narrow();
    edge.iam.role(&role(0)).await.unwrap();
    let begun = Instant::now();
    let (first, second, third) =
        (edge.begin_reading(1).await, edge.begin_reading(2).await, edge.begin_reading(3).await);
    first.abort();
    second.await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_millis(), 1_000);
    third.abort();
    let fourth = edge.begin_reading(4).await;
    fourth.await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_millis(), 2_000);
    assert_eq!(edge.order().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_not_used_goes_to_the_next() {
    let edge = Edge::new(Budgets { writes: Budget::new(1, 1), ..Budgets::default() });
    let turn = edge.iam.turn_to_write().await.unwrap();
    let next = edge.begin_writing(1).await;
    assert!(!next.is_finished());
    let begun = Instant::now();
    drop(turn);
    next.await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_millis(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_permit_for_longer_than_a_minute() {
    let edge = Edge::narrow();
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..100 {
        tasks.push(edge.begin_reading(number).await);
    }
    let read = join_all(tasks).await;
    assert!(begun.elapsed() <= LONGEST_WAIT + Duration::from_secs(1));
    let (sent, given_up): (Vec<_>, Vec<_>) = read.into_iter().partition(Result::is_ok);
    assert!((60..=61).contains(&sent.len()), "{}", sent.len());
    for error in given_up.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.class, ErrorClass::Throttled);
        assert!(error.message.starts_with("not sent"));
    }
    assert_eq!(edge.sent("GetRole"), sent.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn throttles_of_calls_that_were_under_way_together_count_once() {
    let edge = Edge::new(Budgets::default());
    edge.sandbox.set_delay(Duration::from_millis(100));
    edge.throttle("GetRole", 10);
    let mut tasks = Vec::new();
    for number in 0..10 {
        tasks.push(edge.begin_reading(number).await);
    }
    let begun = Instant::now();
    assert!(join_all(tasks).await.iter().all(Result::is_ok));
    // Ten a second, halved once: one each fifth of a second. Halved ten times it would be one each two seconds.
    assert!((1_900..2_300).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_storm_makes_no_hot_loop_and_the_rate_comes_back_when_it_is_over() {
    let edge = Edge::new(Budgets::default());
    edge.sandbox.fault(Fault::new(Effect::Throttle));
    let reading = |edge: &Edge, until: Duration| {
        let (iam, end) = (Arc::clone(&edge.iam), Instant::now() + until);
        let readers = (0..5).map(move |number| {
            let iam = Arc::clone(&iam);
            tokio::spawn(async move {
                while Instant::now() < end {
                    let _ = iam.role(&role(number)).await;
                }
            })
        });
        readers.collect::<Vec<_>>()
    };
    join_all(reading(&edge, Duration::from_secs(120))).await;
    // Half a call a second is the least; the rate is higher at first, and creeps up between two throttles.
    assert!(edge.sent("GetRole") <= 100, "{}", edge.sent("GetRole"));
    edge.sandbox.clear_faults();
    advance(Duration::from_secs(200)).await;
    edge.sandbox.clear_calls();
    join_all(reading(&edge, Duration::from_secs(10))).await;
    assert!(edge.sent("GetRole") >= 100, "{}", edge.sent("GetRole"));
}

#[tokio::test(start_paused = true)]
async fn where_iam_takes_less_than_the_budget_almost_all_of_it_is_used_and_little_is_throttled() {
    let edge = Edge::new(Budgets::default());
    edge.sandbox.fault(Fault::new(Effect::Throttle).beyond(5.0, 5));
    let readers = (0..5).map(|number| {
        let iam = Arc::clone(&edge.iam);
        tokio::spawn(async move {
            loop {
                let _ = iam.role(&role(number)).await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    sleep(Duration::from_secs(60)).await;
    let before = edge.iam.calls();
    sleep(Duration::from_secs(600)).await;
    let Count { ok, throttled, failed } = edge.iam.calls().since(&before).of("GetRole");
    readers.iter().for_each(JoinHandle::abort);
    assert_eq!(failed, 0);
    assert!(ok >= 600 * 5 * 3 / 5, "{ok} of {}", 600 * 5);
    assert!(throttled * 50 <= ok, "{throttled} throttled, {ok} were not");
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_becomes_overdue_goes_though_nobody_tells_it() {
    let pace = Pace {
        begun: Instant::now(),
        gate: Mutex::new(Gate::new(&Budgets::default())),
        changed: tokio::sync::Notify::new(),
    };
    // A write that is there for less long goes first, and has not come to ask so far: between two polls of its task.
    pace.gate().queue(Kind::Write, Class::Write, Duration::from_secs(5));
    let begun = Instant::now();
    pace.permit_for("GetAccountAuthorizationDetails", Kind::Bulk, Class::Read).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 10);
}
