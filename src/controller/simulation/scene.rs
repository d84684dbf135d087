//! What the simulation knows of one life: the whole truth of the world, what the controller was told, what it was shown.
//!
//! Holds no checks. What must stay true: nobody asks the sandbox for something while the state is locked by him, since
//! the sandbox tells the state of every write.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fastrand::Rng;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    authors::Authors,
    doubt::Past,
    log::{Ear, News, Told},
    pace::{Attempt, Effect, Reading},
    plain::Plain,
    succession::{Former, Named},
    tally::Tally,
};
use crate::{
    iam::RoleDetail,
    manifest::{ManifestSet, Whose},
    names::{AccountId, PolicyName, RoleName},
    plan::{Step, Target, mismatched},
    sandbox::{Change, RoleChange, RoleSeed, Sandbox},
};

/// Which policy of which role.
pub(super) type Key = (RoleName, PolicyName);

/// Manifests that were replaced this long ago may still lead to a write: their messenger is under way.
pub(super) const GRACE: Duration = Duration::from_millis(5);

/// A reading may show what was so this long ago: reads lag, and pages and answers take their time.
const LONGEST_LAG: Duration = Duration::from_secs(400);

/// One life's stage.
pub(super) struct Scene {
    pub(super) sandbox: Sandbox,
    pub(super) own: AccountId,
    pub(super) other: AccountId,
    state: Mutex<State>,
    /// Told when the process has to be killed.
    pub(super) killed: Notify,
    /// Told to whoever waits for it when a policy is read afresh: a repair may be about to write.
    pub(super) looked: Notify,
    ear: Ear,
}

/// When a process is killed at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before anything was sent.
    Arrival,
    /// Once it was sent, which then goes on.
    Sent,
    /// Once it took effect, before the answer.
    Answered,
}

/// What one life knows.
pub(super) struct State {
    /// Delays and coins at the edge.
    pub(super) rng: Rng,
    /// Whether the life is told in words, and what was told last.
    trace: Option<VecDeque<String>>,
    pub(super) violations: Vec<String>,
    pub(super) tally: Tally,
    pub(super) authors: Authors,
    pub(super) in_force: Arc<ManifestSet>,
    /// What was in force before, and until when.
    pub(super) replaced: Option<(Duration, Arc<ManifestSet>)>,
    /// When a role was changed last, by anybody.
    touched_roles: BTreeMap<RoleName, Duration>,
    /// The tags of roles in the account of the credentials.
    pub(super) tags: BTreeMap<RoleName, BTreeMap<String, String>>,
    /// What stands in the world because of people, and of writes that were found good.
    pub(super) standing: BTreeMap<(AccountId, RoleName), BTreeMap<String, String>>,
    pub(super) keys: BTreeMap<Key, Known>,
    pub(super) process: Process,
}

/// What one process has done and was shown.
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) calls: u64,
    /// The minute of the last call, and how many there were in it.
    pub(super) minute: (u64, u64),
    pub(super) kill_at: Option<(u64, Moment)>,
    pub(super) dead: CancellationToken,
    /// Counts what happens, so that of two things in one moment the first is known.
    pub(super) ticks: u64,
    /// The roles of the pages of a bulk reading that is not whole yet.
    pub(super) pages: Option<Vec<RoleDetail>>,
    /// Whether it has told that it reads role by role, since the bulk read is denied.
    pub(super) reads_one_by_one: bool,
    /// The last whole reading.
    pub(super) reading: Option<Reading>,
    /// The roles that a reading has shown.
    pub(super) shown: BTreeMap<RoleName, Shown>,
    /// What lets the nodes of a role register, by the names of its policies, and when a reading has shown it last.
    pub(super) registrars: BTreeMap<RoleName, BTreeMap<String, Duration>>,
    /// When that whole reading came that tells of them.
    pub(super) registrars_at: Duration,
    /// Writes under way.
    pub(super) flying: BTreeMap<RoleName, u64>,
    /// Writes that were asked for.
    pub(super) attempts: Vec<Attempt>,
    /// Writes that changed the world.
    pub(super) effects: Vec<Effect>,
    /// When a write was seen to be right last, by ticks.
    pub(super) proven: u64,
    /// When manifests were saved last, by ticks.
    pub(super) saved: u64,
    /// When the bulk reading was begun that is under way, or came last.
    pub(super) reading_begun: Duration,
    pub(super) past: Past,
    /// The documents that were in force in its time.
    pub(super) named: Named,
    /// Policies whose manifest has changed its `policyName` in its time.
    pub(super) former: BTreeMap<Key, Vec<Former>>,
    pub(super) leave: Leave,
}

/// What a process may write at all.
#[derive(Debug, Default)]
pub(super) enum Leave {
    /// What manifests and guards say: it is a daemon, or `apply`.
    #[default]
    Ask,
    /// Nothing: what it was told to carry out is not the plan.
    Nothing,
    /// These, each in place of that document: the plan was approved.
    Plan(BTreeMap<Key, Option<String>>),
}

/// What the controller was shown of a role.
#[derive(Clone)]
pub(super) struct Shown {
    /// Whether the whole reading of that tick showed the tag that has it left alone.
    pub(super) tagged: Option<u64>,
    /// Since when newer readings do not show it any more.
    pub(super) until: Option<Duration>,
    pub(super) path: String,
    /// Where it was until a single call showed another path, and when that was.
    pub(super) path_before: Option<(Duration, String)>,
}

/// What is known of one policy.
#[derive(Default)]
pub(super) struct Known {
    /// When others changed the policy or the role last.
    pub(super) touched: Duration,
    /// Fresh reads since the last write.
    pub(super) fresh: Vec<Fresh>,
    pub(super) written: Option<Written>,
    /// The last fresh read, and by which process.
    pub(super) last: Option<(u64, Fresh)>,
}

/// A fresh read of one policy.
#[derive(Clone)]
pub(super) struct Fresh {
    /// The tick at which it was asked for.
    pub(super) tick: u64,
    pub(super) asked: Duration,
    pub(super) answered: Duration,
    pub(super) shown: Option<String>,
    /// Whether the world held something else by then.
    pub(super) is_stale: bool,
}

/// The last write of one policy.
pub(super) struct Written {
    pub(super) process: u64,
    /// What the read before it showed, and when that was asked for.
    pub(super) fresh: Fresh,
    pub(super) document: String,
    /// When it was said to be done.
    pub(super) done: Option<Duration>,
    /// Whether the controller saw anything else than what it had replaced since then.
    pub(super) was_seen: bool,
}

impl Scene {
    pub(super) fn new(sandbox: Sandbox, mut rng: Rng, roles: Vec<String>, ear: Ear, is_traced: bool) -> Arc<Self> {
        let parse = |text: &str| text.parse::<AccountId>().unwrap();
        let state = State {
            trace: is_traced.then(VecDeque::new),
            violations: Vec::new(),
            tally: Tally::default(),
            authors: Authors::new(rng.fork(), roles),
            in_force: Arc::default(),
            replaced: None,
            standing: BTreeMap::new(),
            touched_roles: BTreeMap::new(),
            tags: BTreeMap::new(),
            keys: BTreeMap::new(),
            process: Process::new(0, None),
            rng,
        };
        let (own, other) = (parse(super::OWN), parse(super::OTHER));
        let scene = Arc::new(Self {
            sandbox,
            own,
            other,
            state: Mutex::new(state),
            killed: Notify::new(),
            looked: Notify::new(),
            ear,
        });
        let told = Arc::downgrade(&scene);
        scene.sandbox.watch(move |change| {
            if let Some(scene) = told.upgrade() {
                scene.took_effect(change);
            }
        });
        scene
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn now(&self) -> Duration {
        self.sandbox.now()
    }

    /// Tells the trace, if somebody reads it.
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(trace) = &mut self.state().trace {
            self.ear.log().take_lines().iter().for_each(|told| trace.push_back(told.in_words(now)));
            trace.push_back(format!("{:>10.3} {}", now.as_secs_f64(), what()));
            while trace.len() > super::LONGEST_TRACE {
                trace.pop_front();
            }
        }
    }

    /// Something happened that must never happen.
    pub(super) fn violated(&self, invariant: &str, what: impl Into<String>) {
        let what = format!("{invariant}: {}", what.into());
        self.say(|| format!("!!! {what}"));
        let now = self.now().as_secs_f64();
        self.state().violations.push(format!("at {now:.3} s, {what}"));
    }

    /// What has gone wrong once leads to more that says nothing.
    pub(super) fn has_gone_wrong(&self) -> bool {
        !self.state().violations.is_empty()
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.state().trace.iter().flatten().cloned().collect()
    }

    /// Takes in what was told meanwhile.
    pub(super) fn listen(&self) {
        let now = self.now();
        let (news, faults) = {
            let mut log = self.ear.log();
            (log.take_news(), log.take_faults())
        };
        for fault in faults {
            self.violated("I9 everything is told once", fault);
        }
        for told in news {
            self.hear(&told);
            let says_found = match told.name.as_str() {
                "role.found" => true,
                "role.not_found" => false,
                _ => continue,
            };
            let Some(role) = told.role.as_deref().and_then(|role| role.parse::<RoleName>().ok()) else { continue };
            let is_there = self.sandbox.path(&self.own, role.as_str()).is_some();
            let touched = self.state().touched_roles.get(&role).copied();
            let may_have_been_otherwise = touched.is_some_and(|at| at + LONGEST_LAG > now.saturating_sub(told.age()));
            if is_there != says_found && !may_have_been_otherwise {
                self.violated("I9 what is told is so", told.message);
            }
        }
    }

    fn hear(&self, told: &Told) {
        match told.name.as_str() {
            "guard.held" => self.state().tally.held += 1,
            "read.degraded" => self.state().process.reads_one_by_one = true,
            "read.restored" => self.state().process.reads_one_by_one = false,
            "policy.orphaned" => {
                self.state().tally.orphans += 1;
                if let Some(fault) = self.orphan_fault(told) {
                    self.violated("I15 orphans are told as they are", fault);
                }
            }
            _ => {}
        }
    }

    pub(super) fn is_told_as_contended(&self, (role, policy): &Key) -> bool {
        self.ear.log().is_contended(self.own.as_str(), &role.folded(), policy.as_str())
    }

    pub(super) fn is_told_as_orphaned(&self, (role, policy): &Key) -> bool {
        self.ear.log().is_orphaned(self.own.as_str(), &role.folded(), policy.as_str())
    }

    /// What of this, which stands, was never told; and the writes that were not.
    pub(super) fn missed(&self, news: &[News]) -> Vec<String> {
        self.ear.log().missed(self.own.as_str(), news)
    }

    /// A write was answered: it has to be told.
    pub(super) fn owes_news(&self, (role, policy): &Key) {
        self.ear.log().owes(&role.folded(), policy.as_str());
    }

    /// Newer manifests are on their way to the controller.
    pub(super) fn manifests_changed(&self) {
        let desired = self.state().in_force.desired(Whose::own(&self.own), None);
        let asked_for = desired.policies.keys().map(|(role, policy)| (role.folded(), policy.to_string())).collect();
        let elsewhere = mismatched(&self.state().in_force, &self.own)
            .into_iter()
            .map(|Step { target: Target { account, role, policy }, .. }| {
                (account.map(|account| account.to_string()), role.folded(), Some(policy.to_string()))
            })
            .collect();
        self.ear.log().manifests_changed(&asked_for, self.own.as_str(), &elsewhere);
    }

    /// A process begins, which knows nothing.
    pub(super) fn started(&self, process: Process) {
        self.say(|| format!("process {} begins, to be killed {:?}", process.number, process.kill_at));
        let mut state = self.state();
        state.process = process;
        state.process.named = Named::of(&state.authors, &state.in_force);
        drop(state);
        self.ear.log().restarted();
    }

    /// Nobody hears what a dead process tells.
    pub(super) fn buried(&self) {
        self.listen();
        self.say(|| "the process is gone".to_owned());
        self.state().tally.kills += 1;
        self.ear.log().is_listening = false;
    }

    /// The process asks for nothing any more, and is told nothing.
    pub(super) fn end_process(&self) {
        self.state().process.dead.cancel();
    }

    /// Kills the process before the controller comes to its next step.
    pub(super) fn kill(&self) {
        self.end_process();
        self.killed.notify_one();
    }

    // What people do. Each is remembered as it is done.

    pub(super) fn plant(&self, account: &AccountId, seed: RoleSeed, since_ever: bool) {
        let role: RoleName = seed.name.parse().unwrap();
        let policies = seed.policies.iter().map(|policy| (policy.name.clone(), policy.document.clone())).collect();
        self.say(|| format!("{account}: role {role} {} with {:?}", seed.path, seed.policies));
        if since_ever {
            self.sandbox.plant(account, seed);
        } else {
            self.sandbox.make_role(account, seed);
        }
        self.state().standing.insert((account.clone(), role.clone()), policies);
        self.touched(account, &role);
    }

    pub(super) fn put(&self, account: &AccountId, role: &RoleName, policy: &str, document: Option<&str>) {
        self.say(|| format!("{account}: {role}/{policy} becomes {document:?}"));
        let exists = match document {
            Some(document) => self.sandbox.write_policy(account, role.as_str(), policy, document),
            None => self.sandbox.remove_policy(account, role.as_str(), policy),
        };
        let mut state = self.state();
        if let Some(policies) = state.standing.get_mut(&(account.clone(), role.clone())).filter(|_| exists) {
            match document {
                Some(document) => policies.insert(policy.to_owned(), document.to_owned()),
                None => policies.remove(policy),
            };
        }
        drop(state);
        self.touched(account, role);
    }

    fn sandbox_has(&self, state: &State, role: &RoleName) -> bool {
        state.standing.contains_key(&(self.own.clone(), role.clone()))
    }

    pub(super) fn remove_role(&self, account: &AccountId, role: &RoleName) {
        self.say(|| format!("{account}: role {role} is removed"));
        self.sandbox.remove_role(account, role.as_str());
        let mut state = self.state();
        state.standing.remove(&(account.clone(), role.clone()));
        if *account == self.own {
            state.tags.remove(role);
        }
        drop(state);
        self.touched(account, role);
    }

    /// Somebody changes something else about a role than its inline policies.
    pub(super) fn change(&self, role: &RoleName, change: &RoleChange) {
        self.say(|| format!("role {role}: {change:?}"));
        self.sandbox.change_role(&self.own, role.as_str(), change);
        self.touched(&self.own, role);
    }

    pub(super) fn tag(&self, role: &RoleName, key: &str, value: Option<&str>) {
        self.say(|| format!("role {role} is tagged {key} {value:?}"));
        self.sandbox.tag(&self.own, role.as_str(), key, value);
        let mut state = self.state();
        if let Some(value) = value
            && self.sandbox_has(&state, role)
        {
            state.tags.insert(role.clone(), [(key.to_owned(), value.to_owned())].into());
        } else {
            state.tags.remove(role);
        }
        drop(state);
        self.touched(&self.own, role);
    }

    /// Somebody changed the role or one of its policies.
    pub(super) fn touched(&self, account: &AccountId, role: &RoleName) {
        let now = self.now();
        if *account == self.own {
            let mut state = self.state();
            state.touched_roles.insert(role.clone(), now);
            state.keys.iter_mut().filter(|(key, _)| key.0 == *role).for_each(|(_, known)| known.touched = now);
        }
    }

    /// A call of the controller's changed a policy: the sandbox tells it in that moment.
    fn took_effect(&self, change: &Change<'_>) {
        let now = self.now();
        self.say(|| format!("  world: {}/{} is {:?} now", change.role, change.policy, change.after));
        let (role, policy): (RoleName, PolicyName) = (change.role.parse().unwrap(), change.policy.parse().unwrap());
        let mut state = self.state();
        state.tally.effects += 1;
        state.tally.removals += u64::from(change.after.is_none());
        let held = state.standing.entry((change.account.clone(), role.clone())).or_default();
        match change.after {
            Some(document) => held.insert(change.policy.to_owned(), document.to_owned()),
            None => held.remove(change.policy),
        };
        state.tally.denies_erased += u64::from(change.before.is_some_and(|text| Plain::of(text) == Plain::Denies));
        if !state.process.flying.contains_key(&role) {
            // Nobody waits for it any more: to the process of now it is a change by somebody else.
            state.keys.entry((role.clone(), policy.clone())).or_default().touched = now;
        }
        let faults = state.count_effect((role, policy), change.after, now);
        drop(state);
        for (invariant, what) in faults {
            self.violated(invariant, what);
        }
    }
}

impl State {
    /// One more thing happens.
    pub(super) fn tick(&mut self) -> u64 {
        self.process.ticks += 1;
        self.process.ticks
    }

    /// The manifests by which a write may be judged now: the newest, and those that were newest a moment ago.
    pub(super) fn sets(&self, now: Duration) -> Vec<Arc<ManifestSet>> {
        let before = self.replaced.iter().filter(|(until, _)| now.saturating_sub(*until) <= GRACE);
        std::iter::once(&self.in_force).chain(before.map(|(_, set)| set)).cloned().collect()
    }

    pub(super) fn put_in_force(&mut self, set: Arc<ManifestSet>, now: Duration) {
        let before = std::mem::replace(&mut self.in_force, set);
        self.manifests_take_over(&before);
        // Two saves in one moment: the oldest of them may still be under way.
        if self.replaced.as_ref().is_none_or(|(until, _)| now.saturating_sub(*until) > GRACE) {
            self.replaced = Some((now, before));
        }
    }
}

impl Process {
    pub(super) fn new(number: u64, kill_at: Option<(u64, Moment)>) -> Self {
        Self {
            number,
            calls: 0,
            minute: (0, 0),
            kill_at,
            dead: CancellationToken::new(),
            ticks: 0,
            pages: None,
            reads_one_by_one: false,
            reading: None,
            shown: BTreeMap::new(),
            registrars: BTreeMap::new(),
            registrars_at: Duration::ZERO,
            flying: BTreeMap::new(),
            attempts: Vec::new(),
            effects: Vec::new(),
            proven: 0,
            saved: 0,
            reading_begun: Duration::ZERO,
            past: Past::default(),
            named: Named::default(),
            former: BTreeMap::new(),
            leave: Leave::Ask,
        }
    }
}
