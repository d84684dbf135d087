//! The truth about an organisation, and the invariants of each call of each process.
//!
//! Knows the truth and the processes, and none of their verdicts. What must stay true: each process is judged by itself,
//! by what it was shown and what it has written, whoever else keeps the same account.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    claims::{CLAIMED, Claims, Like, Shown},
    hearsay::Carrier,
    people::{self, Kind},
    tally::Tally,
};
use crate::{
    controller::Shard,
    events::Exchange,
    iam::{RoleDetail, RolesPage},
    names::{AccountId, PolicyName, RoleName},
    sandbox::{Change, Lag, Sandbox},
};

/// An account, a role in small letters, and a policy.
pub(super) type Key = (AccountId, String, String);

/// How old the read may be that a write follows from.
const FRESH: Duration = Duration::from_millis(50);
/// After so long every read shows a change, and no call that was sent before it is on its way.
const SEEN: Duration = Duration::from_secs(60);
/// Settings that were changed so lately may not have been taken in.
pub(super) const HEARD: Duration = Duration::from_millis(50);
const HOUR: Duration = Duration::from_secs(3600);
/// So many calls of one process to one account within a minute are no work, but a retry that does not wait.
pub(super) const MOST_CALLS: u64 = 240;

tokio::task_local! {
    /// Which process has sent the write that takes effect now, and into which account it meant to.
    pub(super) static WRITER: (u64, AccountId);
}

/// Accounts, the people in them, and those who keep them.
pub(super) struct Organization {
    pub(super) sandbox: Sandbox,
    /// The own one first.
    pub(super) accounts: Vec<AccountId>,
    state: Mutex<State>,
    /// A process has died, or the manifests are to be edited.
    pub(super) killed: Notify,
    is_traced: bool,
}

pub(super) struct State {
    pub(super) trace: Vec<String>,
    pub(super) violations: Vec<String>,
    pub(super) tally: Tally,
    pub(super) wish: Wish,
    /// What the claimable roles of all accounts are like.
    pub(super) likes: BTreeMap<(AccountId, String), Like>,
    pub(super) carrier: Carrier,
    /// Somebody edits the manifests now, while a process is about to write.
    pub(super) is_to_be_edited: bool,
    pub(super) most_changes: usize,
    pub(super) is_calm: bool,
    pub(super) processes: BTreeMap<u64, Process>,
    /// Ways into one account that lead into another.
    pub(super) misled: BTreeMap<AccountId, AccountId>,
    /// How often somebody has changed a policy, and when last.
    pub(super) changes: BTreeMap<Key, (u32, Duration)>,
    /// Which process has repaired a policy since somebody changed it.
    repaired_by: BTreeMap<Key, u64>,
    /// When a policy was written by a process last, and how far fresh reads lag behind that.
    written: BTreeMap<Key, Duration>,
    lag: Duration,
}

/// What is said of an account that is not enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Observed,
    Suspended,
}

/// What the manifests say that is not always so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) standings: BTreeMap<AccountId, Standing>,
    pub(super) claims: Claims,
}

/// What is known of a process.
pub(super) struct Process {
    pub(super) shard: Shard,
    pub(super) is_dead: bool,
    /// Its queue cannot be read.
    pub(super) is_deaf: bool,
    /// It dies with so many more calls to this account, before or after the last of them arrives.
    pub(super) kill_at: Option<(AccountId, u64, bool)>,
    /// How its queue's events come to it.
    pub(super) exchange: Exchange,
    /// What manifests say as it has heard of it, what they said before, and when it heard.
    wish: Wish,
    wish_before: Wish,
    heard: Duration,
    /// What it was shown of the roles.
    shown: BTreeMap<AccountId, Shown>,
    /// Fresh reads of which nothing was made yet: when, and what they showed.
    fresh: BTreeMap<Key, (Duration, Option<String>)>,
    /// How often it may write a policy: once for what it finds, and once for each cause since.
    credits: BTreeMap<Key, u32>,
    effects: Vec<(AccountId, Duration)>,
    /// Calls of a minute, by account.
    minutes: BTreeMap<AccountId, (u64, u64)>,
    /// When it last read an account's roles.
    pub(super) readings: BTreeMap<AccountId, Duration>,
}

impl Process {
    pub(super) fn new(shard: Shard, kill_at: Option<(AccountId, u64, bool)>, wish: Wish, exchange: Exchange) -> Self {
        Self {
            shard,
            is_dead: false,
            is_deaf: false,
            kill_at,
            exchange,
            wish_before: wish.clone(),
            wish,
            heard: Duration::ZERO,
            shown: BTreeMap::new(),
            fresh: BTreeMap::new(),
            credits: BTreeMap::new(),
            effects: Vec::new(),
            minutes: BTreeMap::new(),
            readings: BTreeMap::new(),
        }
    }

    /// Does what makes another thing of what the process knows of an account or of manifests. Where that asks for something
    /// else of a role, it is a cause to write.
    fn learns(&mut self, accounts: &[AccountId], of: &AccountId, what: impl FnOnce(&mut Self)) {
        let asked = |process: &Self| -> Vec<(Key, Option<String>)> {
            let claims = process.wish.claims;
            let shown = process.shown.get(of);
            let key = |role: &str| (of.clone(), role.to_owned(), CLAIMED.to_owned());
            let ask = |role: &'static str| {
                let key = key(&role.to_ascii_lowercase());
                let like = shown.and_then(|shown| shown.newest(&key.1));
                (key.clone(), claims.ask(accounts, &key, like))
            };
            people::roles().map(ask).collect()
        };
        let before = asked(self);
        what(self);
        for ((key, before), (_, after)) in before.into_iter().zip(asked(self)) {
            if before != after {
                *self.credits.entry(key).or_insert(1) += 1;
            }
        }
    }
}

impl Organization {
    pub(super) fn new(sandbox: Sandbox, accounts: Vec<AccountId>, most_changes: usize, is_traced: bool) -> Arc<Self> {
        let state = State {
            trace: Vec::new(),
            violations: Vec::new(),
            tally: Tally::default(),
            wish: Wish::default(),
            likes: BTreeMap::new(),
            carrier: Carrier::default(),
            is_to_be_edited: false,
            most_changes,
            is_calm: false,
            processes: BTreeMap::new(),
            misled: BTreeMap::new(),
            changes: BTreeMap::new(),
            repaired_by: BTreeMap::new(),
            written: BTreeMap::new(),
            lag: Duration::ZERO,
        };
        let organization =
            Arc::new(Self { sandbox, accounts, state: Mutex::new(state), killed: Notify::new(), is_traced });
        // The sandbox is not to keep alive who keeps it.
        let watcher = Arc::downgrade(&organization);
        organization.sandbox.watch(move |change| {
            if let Some(organization) = watcher.upgrade() {
                organization.takes_effect(change);
            }
        });
        organization
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn now(&self) -> Duration {
        self.sandbox.now()
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:>10.3} {}", self.now().as_secs_f64(), what());
            self.state().trace.push(line);
        }
    }

    pub(super) fn violated(&self, rule: &str, what: impl AsRef<str>) {
        let line = format!("at {:.3} s, {rule}: {}", self.now().as_secs_f64(), what.as_ref());
        self.say(|| format!("VIOLATED {line}"));
        self.state().violations.push(line);
    }

    pub(super) fn has_gone_wrong(&self) -> bool {
        !self.state().violations.is_empty()
    }

    /// Somebody writes a policy, or removes it.
    pub(super) fn put(&self, key: &Key, document: Option<&str>) {
        let (account, role, policy) = key;
        let is_there = match document {
            Some(document) => self.sandbox.write_policy(account, role, policy, document),
            None => self.sandbox.remove_policy(account, role, policy),
        };
        self.say(|| {
            format!("somebody writes {account}/{role}/{policy} ({is_there}) {}", document.unwrap_or("nothing"))
        });
        if is_there {
            self.changed(key);
            let call = if document.is_some() { "PutRolePolicy" } else { "DeleteRolePolicy" };
            self.tell(account, role, (call, Some(policy)), None);
        }
    }

    /// What shall be in a policy now, if anything: by the newest manifests, and as the role is.
    pub(super) fn asked(&self, key: &Key) -> Option<String> {
        let state = self.state();
        let like = state.likes.get(&(key.0.clone(), key.1.clone()));
        people::asked(&self.accounts[1], key).or_else(|| state.wish.claims.ask(&self.accounts, key, like))
    }

    /// Somebody removed a role, or made it.
    pub(super) fn role_changed(&self, account: &AccountId, role: &str) {
        let role = role.to_ascii_lowercase();
        for key in people::all_keys(self).iter().filter(|key| key.0 == *account && key.1 == role) {
            self.changed(key);
        }
        self.tell(account, &role, ("UpdateRole", None), None);
    }

    /// From now on reads lag so. Fresh reads that lag further behind than before show once more what they had shown to be over:
    /// the write that was seen to have arrived is no more there, and that is a cause to make it again.
    pub(super) fn lags(&self, lag: Lag) {
        let now = self.now();
        let mut state = self.state();
        let State { processes, written, lag: before, .. } = &mut *state;
        if std::mem::replace(before, lag.single) < lag.single {
            for (key, _) in written.iter().filter(|(_, at)| **at + lag.single > now) {
                for process in processes.values_mut() {
                    *process.credits.entry(key.clone()).or_insert(1) += 1;
                }
            }
        }
        drop(state);
        self.sandbox.set_lag(lag);
    }

    fn changed(&self, key: &Key) {
        let now = self.now();
        let mut state = self.state();
        state.tally.by_people += 1;
        state.repaired_by.remove(key);
        let change = state.changes.entry(key.clone()).or_default();
        *change = (change.0 + 1, now);
        for process in state.processes.values_mut() {
            *process.credits.entry(key.clone()).or_insert(1) += 1;
        }
    }

    /// A process hears what manifests say now.
    pub(super) fn hears(&self, number: u64, wish: &Wish) {
        let now = self.now();
        if let Some(process) = self.state().processes.get_mut(&number) {
            let before = process.wish.clone();
            for account in &self.accounts {
                process.wish = before.clone();
                process.learns(&self.accounts, account, |process| process.wish = wish.clone());
            }
            (process.wish_before, process.heard) = (before, now);
        }
    }

    /// A process calls an account. Whether it dies of it, and whether the call arrives before that.
    pub(super) fn called(&self, number: u64, account: &AccountId, is_identity: bool) -> Option<bool> {
        let now = self.now();
        let mut faults = Vec::new();
        let mut state = self.state();
        let State { processes, tally, .. } = &mut *state;
        let is_shared = processes
            .iter()
            .any(|(other, process)| *other != number && !process.is_dead && process.shard.holds(account));
        let process = processes.get_mut(&number).unwrap();
        tally.calls += 1;
        tally.shared_calls += u64::from(is_shared);
        let minute = now.as_secs() / 60;
        let counted = process.minutes.entry(account.clone()).or_default();
        *counted = (minute, if counted.0 == minute { counted.1 + 1 } else { 1 });
        tally.most_calls = tally.most_calls.max(counted.1);
        if counted.1 == MOST_CALLS {
            faults.push((
                "O9 no hot loop",
                format!("{MOST_CALLS} calls of process {number} to {account} within a minute"),
            ));
        }
        if !process.shard.holds(account) && !is_identity {
            faults.push((
                "O1 a shard keeps its own accounts",
                format!("process {number}, {}, calls {account}", process.shard),
            ));
        }
        let dies = match &mut process.kill_at {
            Some((of, 1, arrives)) if of == account => Some(*arrives),
            Some((of, left, _)) if of == account => {
                *left -= 1;
                None
            }
            _ => None,
        };
        drop(state);
        faults.iter().for_each(|(rule, what)| self.violated(rule, what));
        dies
    }

    /// A process dies at a call.
    pub(super) fn kill(&self, number: u64) {
        self.say(|| format!("process {number} dies"));
        let mut state = self.state();
        state.tally.deaths += 1;
        if let Some(process) = state.processes.get_mut(&number) {
            process.is_dead = true;
        }
        drop(state);
        self.killed.notify_one();
    }

    /// A page of all roles was answered.
    pub(super) fn was_read(&self, number: u64, account: &AccountId, is_first: bool, page: &RolesPage) {
        let now = self.now();
        let mut state = self.state();
        let State { processes, tally, .. } = &mut *state;
        let Some(process) = processes.get_mut(&number) else { return };
        process.readings.insert(account.clone(), now);
        let mut whole = None;
        process.learns(&self.accounts, account, |process| {
            let shown = process.shown.entry(account.clone()).or_default();
            whole = shown.page(is_first, !page.is_truncated, &page.roles, account, now).cloned();
        });
        let claims = process.wish.claims;
        let disagree = |like: &&Like| claims.disagree(&self.accounts, account, like);
        tally.conflicts += whole.iter().flat_map(|whole| whole.values()).filter(disagree).count() as u64;
    }

    /// A role was answered by itself.
    pub(super) fn was_shown_role(&self, number: u64, account: &AccountId, role: &RoleDetail) {
        let now = self.now();
        if let Some(process) = self.state().processes.get_mut(&number) {
            process.shown.entry(account.clone()).or_default().one(role, now);
        }
    }

    /// A fresh read of a policy was answered, or failed.
    pub(super) fn was_shown(&self, number: u64, key: Key, shown: Option<Option<String>>) {
        let now = self.now();
        let mut state = self.state();
        let Some(process) = state.processes.get_mut(&number) else { return };
        match shown {
            Some(shown) => process.fresh.insert(key, (now, shown)),
            None => process.fresh.remove(&key),
        };
    }

    /// A process asks for a write: none in place of a document removes the policy.
    pub(super) fn asks_to_write(
        &self,
        number: u64,
        account: &AccountId,
        (role, policy): (&RoleName, &PolicyName),
        document: Option<&str>,
    ) -> Key {
        let now = self.now();
        let key: Key = (account.clone(), role.as_str().to_ascii_lowercase(), policy.to_string());
        let what = format!("process {number} writes {account}/{role}/{policy} {}", document.unwrap_or("nothing"));
        self.say(|| what.clone());
        let mut faults = Vec::new();
        let mut asked = people::asked(&self.accounts[1], &key);
        let mut state = self.state();
        state.tally.writes += 1;
        let changed = state.changes.get(&key).map_or(Duration::ZERO, |(_, at)| *at);
        let process = state.processes.get_mut(&number).unwrap();
        let is_heard = now > process.heard + HEARD;
        if key.2 == CLAIMED {
            // By what the process knows: reads may lag behind what a role is like.
            let before = (!is_heard).then_some(process.wish_before.claims);
            let claims = [process.wish.claims].into_iter().chain(before);
            let shown = process.shown.get(account);
            let likes: Vec<&Like> = shown.into_iter().flat_map(|shown| shown.may_be(&key.1, now)).collect();
            let mut asks = Vec::new();
            for claims in claims {
                asks.extend(likes.iter().filter_map(|like| claims.ask(&self.accounts, &key, Some(like))));
            }
            asked = asks.iter().find(|asked| Some(asked.as_str()) == document).or(asks.first()).cloned();
            if document.is_none() || document.map(str::to_owned) != asked {
                faults.push(
                    "O11 nothing is written but what selectors ask for, where one of them does and none disagrees",
                );
            }
        } else if document.is_none() || document.map(str::to_owned) != asked {
            faults.push("O2 nothing is written but the very documents that are asked for, where they are asked for");
        }
        let stands = process.wish.standings.contains_key(account);
        let stood = process.wish_before.standings.contains_key(account);
        if !self.accounts.contains(account) || stands && (is_heard || stood) {
            faults.push("O3 nothing is written where it is only looked at");
        }
        match (process.fresh.remove(&key), &asked) {
            (Some((at, shown)), Some(asked)) if now <= at + FRESH => match people::kind(shown.as_deref(), asked) {
                Kind::Missing | Kind::Drifted => {}
                Kind::Right => faults.push("O5 what is right is not written"),
                Kind::Denies => faults.push("O4 what denies is never replaced"),
                Kind::Foreign => faults.push("O4 what is somebody else's is never replaced"),
            },
            _ => faults.push("O5 no write without a fresh read"),
        }
        let credit = process.credits.entry(key.clone()).or_insert(1);
        if *credit == 0 {
            faults.push("O6 one write of each process for each cause");
        }
        // What happened long ago is known, all of it, and one write is for all of it.
        *credit = if now > changed + SEEN { 0 } else { credit.saturating_sub(1) };
        state.tally.claimed += u64::from(key.2 == CLAIMED);
        drop(state);
        faults.into_iter().for_each(|rule| self.violated(rule, &what));
        key
    }

    /// What a process asked for did not happen, or it does not know.
    pub(super) fn write_failed(&self, number: u64, account: &AccountId, role: &RoleName, policy: &PolicyName) {
        let mut state = self.state();
        state.tally.failed_writes += 1;
        let Some(process) = state.processes.get_mut(&number) else { return };
        *process
            .credits
            .entry((account.clone(), role.as_str().to_ascii_lowercase(), policy.to_string()))
            .or_insert(1) += 1;
    }

    /// A write of some process takes effect.
    fn takes_effect(&self, Change { account, role, policy, before, after }: &Change<'_>) {
        // By the account's time: the sandbox is not to be asked now.
        let Ok((number, meant)) = WRITER.try_with(Clone::clone) else { return };
        let mut faults = Vec::new();
        let key: Key = ((*account).clone(), role.to_ascii_lowercase(), (*policy).to_owned());
        let mut state = self.state();
        let most = state.most_changes;
        state.tally.effects += 1;
        state.tally.in_vain += u64::from(before == after);
        state.tally.deny_in_between +=
            u64::from(after.is_some_and(|asked| people::kind(*before, asked) == Kind::Denies));
        let now = self.now();
        state.written.insert(key.clone(), now);
        // To who knows other manifests, what this one writes is a drift.
        for (_, process) in state.processes.iter_mut().filter(|(other, _)| **other != number) {
            let like = process.shown.get(*account).and_then(|shown| shown.newest(&key.1));
            let ask = process.wish.claims.ask(&self.accounts, &key, like);
            if ask.is_some_and(|asked| people::kind(*after, &asked) != Kind::Right) {
                *process.credits.entry(key.clone()).or_insert(1) += 1;
            }
        }
        if let Some(other) = state.repaired_by.insert(key, number) {
            state.tally.twice += u64::from(other != number);
        }
        let process = state.processes.get_mut(&number).unwrap();
        process.effects.push(((*account).clone(), now));
        let spent = process.effects.iter().filter(|(of, at)| of == *account && *at + HOUR > now).count();
        let is_dead = process.is_dead;
        state.tally.bound += u64::from(spent == most);
        drop(state);
        if **account != meant {
            faults.push((
                "O2 never the wrong account",
                format!("process {number} means {meant} and changes {account}/{role}"),
            ));
        }
        if spent > most && !is_dead {
            faults.push((
                "O7 guards hold",
                format!("process {number}: {spent} changes of {account} in an hour, {most} are allowed"),
            ));
        }
        faults.iter().for_each(|(rule, what)| self.violated(rule, what));
    }

    /// What is not as it is to be, where something is to be written.
    pub(super) fn unsettled(&self) -> Vec<Key> {
        let standings = self.state().wish.standings.clone();
        let is_unsettled = |key: &Key| {
            let (account, role, policy) = key;
            let is_there = self.sandbox.path(account, role).is_some();
            let live = self.sandbox.document(account, role, policy);
            let asked = self.asked(key).unwrap();
            !standings.contains_key(account)
                && is_there
                && matches!(people::kind(live.as_deref(), &asked), Kind::Missing | Kind::Drifted)
        };
        people::keys(self).into_iter().filter(is_unsettled).collect()
    }

    /// How often somebody has changed a policy.
    pub(super) fn times_changed(&self, key: &Key) -> u32 {
        self.state().changes.get(key).map_or(0, |(times, _)| *times)
    }

    /// Accounts that nobody keeps now.
    pub(super) fn kept_by_nobody(&self) -> usize {
        let state = self.state();
        let is_kept = |account: &&AccountId| {
            state.processes.values().any(|process| !process.is_dead && process.shard.holds(account))
        };
        self.accounts.iter().filter(|account| !is_kept(account)).count()
    }
}
