//! The daemon killed without warning, a hundred times, while somebody else writes as well.
//!
//! The sandbox's calls take time, so that a kill finds one under way; which ones, its record of calls says: what is still
//! pending when nobody is left to wait for it was cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ssm_role_controller::{
    names::AccountId,
    sandbox::{Call, Effect, Fault, Outcome, RoleSeed, Sandbox},
};
use tokio::time::{Instant, sleep};

use crate::support::{
    program::{PATIENCE, Running, program},
    serving::Serving,
};

const ACCOUNT: &str = "111122223333";
const OURS: &str = "SessionManagerPermissions";
/// A policy that stands beside ours on every role, and that no manifest names.
const BESIDE: &str = "Application";

const KILLS: u32 = 100;
const MANAGED: usize = 120;
/// Every so many-th role is shut by somebody: its policy holds a Deny.
const SHUT: usize = 12;

const CHANNELS: [&str; 4] = ["CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel"];

/// A document that allows the first `channels` of the four, and these statements.
fn document(channels: usize, more: &[&str]) -> String {
    let channels: Vec<String> = CHANNELS[..channels].iter().map(|name| format!(r#""ssmmessages:{name}""#)).collect();
    let channels = format!(r#"{{"Effect":"Allow","Action":[{}],"Resource":"*"}}"#, channels.join(","));
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, [&[&*channels], more].concat().join(","))
}

/// What a manifest without preferences asks for.
fn right() -> String {
    document(4, &[r#"{"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"*"}"#])
}

fn shut() -> String {
    document(4, &[r#"{"Effect":"Deny","Action":"ssm:StartSession","Resource":"*"}"#])
}

struct Fleet {
    sandbox: Sandbox,
    account: AccountId,
    open: Vec<String>,
    shut: Vec<String>,
}

impl Fleet {
    /// Roles in every state, beside as many that nobody manages.
    fn plant(serving: &Serving) -> Self {
        let (sandbox, account) = (serving.sandbox.clone(), serving.account.clone());
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        for number in 0..MANAGED {
            let role = format!("role-{number:03}");
            let seed = RoleSeed::new(&role).policy(BESIDE, &format!("{{ \"about\": {number} }}"));
            let (seed, kind) = match number % SHUT {
                0 => (seed.policy(OURS, &shut()), &mut closed),
                1..=4 => (seed, &mut open),
                5..=8 => (seed.policy(OURS, &document(1, &[])), &mut open),
                _ => (seed.policy(OURS, &right()), &mut open),
            };
            sandbox.plant(&account, seed);
            kind.push(role);
            sandbox.plant(&account, RoleSeed::new(&format!("other-{number:03}")).policy(OURS, &document(2, &[])));
        }
        Self { sandbox, account, open, shut: closed }
    }

    fn live(&self, role: &str) -> Option<String> {
        self.sandbox.document(&self.account, role, OURS)
    }

    fn is_right(&self) -> bool {
        self.open.iter().all(|role| self.live(role) == Some(right()))
    }

    /// Every policy that the program has no business with, by role and name.
    fn untouchable(&self) -> BTreeMap<(String, String), Option<String>> {
        let roles = self.sandbox.roles(&self.account);
        let policies = roles.into_iter().flat_map(|role| {
            self.sandbox.policies(&self.account, &role).into_iter().map(move |policy| (role.clone(), policy))
        });
        policies
            .filter(|(role, policy)| policy != OURS || !self.open.contains(role))
            .map(|(role, policy)| {
                let document = self.sandbox.document(&self.account, &role, &policy);
                ((role, policy), document)
            })
            .collect()
    }

    /// Takes our policy away, or narrows or widens it.
    fn tamper(&self, random: &mut fastrand::Rng) {
        let role = &self.open[random.usize(..self.open.len())];
        let tampered = match random.u8(..3) {
            0 => {
                assert!(self.sandbox.remove_policy(&self.account, role, OURS));
                return;
            }
            1 => document(random.usize(1..4), &[]),
            _ => document(4, &[r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#]),
        };
        assert!(self.sandbox.write_policy(&self.account, role, OURS, &tampered));
    }
}

/// Manifests for all managed roles, thirty in each.
fn save(fleet: &Fleet, directory: &std::path::Path) {
    let roles: Vec<&str> = fleet.open.iter().chain(&fleet.shut).map(String::as_str).collect();
    let head = "apiVersion: ssm-role-controller.dev/v1alpha1\n";
    for (number, roles) in roles.chunks(30).enumerate() {
        let kind = format!("kind: SessionManagerPermissions\nmetadata: {{name: fleet-{number}}}\n");
        let text = format!("{head}{kind}spec: {{roles: [{}]}}\n", roles.join(", "));
        std::fs::write(directory.join(format!("fleet-{number}.yaml")), text).unwrap();
    }
    let settings = "kind: ControllerConfiguration\nmetadata: {name: controller}\nspec: {resyncInterval: 1s, guards: {maxChangesPerHour: 100000}}\n";
    std::fs::write(directory.join("controller.yaml"), format!("{head}{settings}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_makes_every_role_right_in_the_end_and_touches_nothing_else() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let serving = Serving::start(ACCOUNT).await;
    let fleet = Arc::new(Fleet::plant(&serving));
    let directory = tempfile::tempdir().unwrap();
    save(&fleet, directory.path());
    let untouchable = fleet.untouchable();
    for (operation, milliseconds) in
        [("GetAccountAuthorizationDetails", 80), ("GetRolePolicy", 10), ("PutRolePolicy", 10)]
    {
        fleet.sandbox.fault(Fault::new(Effect::DelayMs(milliseconds)).on(operation));
    }
    // And a write that is done, of which nobody hears.
    fleet.sandbox.fault(Fault::new(Effect::DelayMs(10)).on("PutRolePolicy").done());
    let start = || Running::start(program(&serving.endpoint(), directory.path(), &["run"]));

    let over = Arc::new(AtomicBool::new(false));
    let tampering = tokio::spawn({
        let (fleet, over, mut random) = (Arc::clone(&fleet), Arc::clone(&over), random.fork());
        async move {
            while !over.load(Ordering::Relaxed) {
                fleet.tamper(&mut random);
                sleep(Duration::from_millis(random.u64(1..20))).await;
            }
        }
    });

    let mut began = Vec::new();
    for kill in 0..KILLS {
        let before = fleet.sandbox.calls().len();
        began.push(before);
        let running = start();
        // By what it has done and not by the clock. The second call is the bulk read: one of forty, and yet each fourth
        // kill is to fall into it.
        let calls = if random.u8(..4) == 0 { 2 } else { random.usize(1..40) };
        let deadline = Instant::now() + PATIENCE;
        while fleet.sandbox.calls().len() < before + calls {
            assert!(Instant::now() < deadline, "kill {kill}: fewer than {calls} calls; it said: {}", running.err());
            sleep(Duration::from_millis(1)).await;
        }
        // And then anywhere in what that call is doing.
        sleep(Duration::from_micros(random.u64(..15_000))).await;
        running.signal("KILL");
        let ended = running.end().await;
        assert_eq!(ended.status.code(), None, "it ended before it was killed: {}", ended.err);
        assert!(!ended.err.contains("panicked") && ended.out.is_empty(), "{ended:?}");
    }
    over.store(true, Ordering::Relaxed);
    tampering.await.unwrap();

    began.push(fleet.sandbox.calls().len());
    let mut last = start();
    last.until("every role is right", |_| fleet.is_right()).await;
    assert_eq!(last.stop().await.code(), 0);

    assert_eq!(fleet.untouchable(), untouchable);
    let calls = fleet.sandbox.calls();
    assert_written_only_after_a_fresh_read(&fleet, &calls, &began);
    let cut_off = |operation: &str| {
        calls.iter().filter(|call| call.outcome == Outcome::Pending && call.operation == operation).count()
    };
    let [reads, confirmations, writes] =
        ["GetAccountAuthorizationDetails", "GetRolePolicy", "PutRolePolicy"].map(cut_off);
    eprintln!("cut off by {KILLS} kills: {reads} bulk reads, {confirmations} confirming reads, {writes} writes");
    assert!(reads > 0 && confirmations > 0 && writes > 0, "{reads} {confirmations} {writes}");
}

/// Each process for itself: no policy but ours, on no role but the open ones, and none that it had not read before.
fn assert_written_only_after_a_fresh_read(fleet: &Fleet, calls: &[Call], began: &[usize]) {
    // What a killed process had sent last may arrive when it is gone already, but not after the first call of the next.
    let is_first = |call: &Call| call.operation == "GetCallerIdentity";
    let first = |began: &usize| began + calls[*began..].iter().position(is_first).unwrap();
    let ends = began.iter().skip(1).map(first).chain([calls.len()]);
    for (from, to) in began.iter().map(first).zip(ends) {
        let mut read = BTreeSet::new();
        for call in &calls[from..to] {
            match call.operation {
                "GetRolePolicy" if call.outcome != Outcome::Pending => {
                    read.insert(call.role.clone());
                }
                "PutRolePolicy" => {
                    assert_eq!(call.policy.as_deref(), Some(OURS), "{call:?}");
                    assert!(call.role.as_ref().is_some_and(|role| fleet.open.contains(role)), "{call:?}");
                    assert!(read.remove(&call.role), "written without a fresh read: {call:?}");
                }
                "GetCallerIdentity" | "GetAccountAuthorizationDetails" | "GetRolePolicy" => {}
                other => panic!("{other} is none of its calls"),
            }
        }
    }
}
