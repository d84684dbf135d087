//! An IAM endpoint inside the process, for the demo, tests, a simulation and benchmarks.
//!
//! One pure world of accounts, roles and policies is served twice: in process behind [`crate::iam::Iam`]
//! ([`Sandbox::iam`]), under whatever clock tokio has, and over HTTP ([`Sandbox::serve`]).
//!
//! ```text
//!  query (form → Request) ─┐                                              ┌─ xml (Answer → XML)
//!  in_process ─────────────┴▶ Request ─▶ faults ─▶ world ─▶ Answer ───────┴─ in_process (Answer → Iam)
//!                                          └─▶ calls (what was asked, what came of it)
//! ```
//!
//! A test in another process steers it through `/_sandbox/`, as `control.rs` lists.
//!
//! It knows nothing of the controller. What must stay true: both sides take every call through `Sandbox::call`, so
//! they cannot give different answers; and the contract tests hold it to what a second emulator and AWS's own client
//! think of IAM, so it cannot drift into a private idea of it.

mod body;
mod calls;
mod control;
pub mod demo;
mod faults;
mod http;
mod in_process;
mod managed;
mod query;
mod role;
mod rules;
mod wire;
mod world;
mod xml;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{iam::SimulatedAction, names::AccountId};

use self::{
    calls::Calls,
    faults::{Faults, Verdict, expired_token, invalid_client_token_id},
    role::Document,
    wire::{Answer, Identity, Refusal, Request},
    world::{Credential, World},
};
pub use self::{
    calls::{Call, Count, Outcome},
    faults::{Effect, Fault, Rate},
    in_process::InProcess,
    role::{PolicySeed, RoleChange, RoleSeed, Tag},
    world::Lag,
};

/// A world of accounts and roles that answers as IAM and STS do. Cheap to clone: all clones share one world.
#[derive(Debug, Clone)]
pub struct Sandbox {
    state: Arc<Mutex<State>>,
    start: Instant,
}

#[derive(Debug)]
struct State {
    world: World,
    faults: Faults,
    calls: Calls,
    /// Access key ids that belong to another account than the first.
    keys: BTreeMap<String, AccountId>,
    first_account: AccountId,
    /// What every call takes.
    delay: Duration,
    watcher: Watcher,
}

/// An inline policy that a caller's write has changed, at the moment in which it took effect.
#[derive(Debug)]
pub struct Change<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The role, as the call spelt it.
    pub role: &'a str,
    /// The inline policy.
    pub policy: &'a str,
    /// The document before, where there was one.
    pub before: Option<&'a str>,
    /// The document after, where there is one.
    pub after: Option<&'a str>,
}

/// What is done with each [`Change`].
type Tell = dyn Fn(&Change<'_>) + Send;

/// Who is told of each [`Change`].
#[derive(Default)]
struct Watcher(Option<Box<Tell>>);

impl std::fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_some() { "Watcher(somebody)" } else { "Watcher(nobody)" })
    }
}

/// What a caller gets to see in place of the plain answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    Hang,
    Reset,
    Cut,
    Html,
}

/// A call's end.
#[derive(Debug)]
struct Reply {
    result: Result<Answer, Refusal>,
    shape: Shape,
    request_id: String,
}

impl Sandbox {
    /// An empty world. Credentials that nobody gave to another account are this account's.
    #[must_use]
    pub fn new(account: AccountId) -> Self {
        let state = State {
            world: World::default(),
            faults: Faults::default(),
            calls: Calls::default(),
            keys: BTreeMap::new(),
            first_account: account,
            delay: Duration::ZERO,
            watcher: Watcher::default(),
        };
        Self { state: Arc::new(Mutex::new(state)), start: Instant::now() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step of the world leaves it half changed, so a panicking test thread spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the world's start, by tokio's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// The account of credentials that nobody gave to another one.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.state().first_account.clone()
    }

    /// Gives an access key id to an account.
    pub fn give_key(&self, access_key_id: &str, account: AccountId) {
        self.state().keys.insert(access_key_id.to_owned(), account);
    }

    /// The account's IAM and STS, in process.
    #[must_use]
    pub fn iam(&self, account: &AccountId) -> InProcess {
        InProcess::new(self.clone(), account)
    }

    /// Plants a role as if it had always been there: nothing of it is checked, and reads do not lag behind it.
    pub fn plant(&self, account: &AccountId, seed: RoleSeed) {
        let now = self.now();
        self.state().world.plant(account, seed, now);
    }

    /// Writes an inline policy as somebody else would, at this moment, without any check (so protected roles and
    /// broken documents can be had); `false` where there is no such role.
    pub fn write_policy(&self, account: &AccountId, role: &str, policy: &str, document: &str) -> bool {
        let now = self.now();
        let change = |held: &role::Role| Some(held.with_policy(policy, Document::new(document)));
        self.state().world.change(account, role, now, change)
    }

    /// Removes an inline policy as somebody else would; `false` where there is no such role.
    pub fn remove_policy(&self, account: &AccountId, role: &str, policy: &str) -> bool {
        let now = self.now();
        self.state().world.change(account, role, now, |held| Some(held.without_policy(policy)))
    }

    /// Removes a role as somebody else would, whatever it holds; `false` where there is none.
    pub fn remove_role(&self, account: &AccountId, role: &str) -> bool {
        let now = self.now();
        self.state().world.change(account, role, now, |_| None)
    }

    /// Makes a role at this moment, as somebody else would: reads that lag do not see it yet.
    pub fn make_role(&self, account: &AccountId, seed: RoleSeed) {
        let now = self.now();
        self.state().world.make(account, seed, now);
    }

    /// Gives a role a tag, or with `None` takes it away, as somebody else would; `false` where there is no such role.
    pub fn tag(&self, account: &AccountId, role: &str, key: &str, value: Option<&str>) -> bool {
        let now = self.now();
        let change = |held: &role::Role| {
            let mut next = held.clone();
            next.tags.retain(|tag| !tag.key.eq_ignore_ascii_case(key));
            next.tags.extend(value.map(|value| Tag { key: key.to_owned(), value: value.to_owned() }));
            Some(next)
        };
        self.state().world.change(account, role, now, change)
    }

    /// Changes what decides over a role beside its inline policies, as somebody else would, without any check; `false` where
    /// there is no such role.
    pub fn change_role(&self, account: &AccountId, role: &str, change: &RoleChange) -> bool {
        let now = self.now();
        self.state().world.change(account, role, now, |held| Some(held.with(change)))
    }

    /// Plants a managed policy by its ARN, or by its name as one of the account's own, as if it had always been there and in
    /// place of any other: its only version is `v1`. The policies of AWS's that the sandbox knows need no planting.
    pub fn plant_policy(&self, account: &AccountId, arn_or_name: &str, document: &str) {
        self.state().world.plant_policy(account, arn_or_name, document);
    }

    /// Gives a planted managed policy a new default version at this moment, as somebody else would; reads that lag do not
    /// see it yet. `false` where there is no such policy.
    pub fn write_managed(&self, account: &AccountId, arn_or_name: &str, document: &str) -> bool {
        let now = self.now();
        self.state().world.change_policy(account, arn_or_name, now, |held| Some(held.with_version(document, now)))
    }

    /// Removes a planted managed policy as somebody else would, attached or not; `false` where there is none.
    pub fn remove_managed(&self, account: &AccountId, arn_or_name: &str) -> bool {
        let now = self.now();
        self.state().world.change_policy(account, arn_or_name, now, |_| None)
    }

    /// Writes down what `SimulatePrincipalPolicy` says of a role: an entry for `*` holds for every resource that has none of
    /// its own, and what has no entry is an implicit deny. Without a table (`None`) the call is answered as by an endpoint
    /// that lacks it, with `NotImplemented` 501.
    pub fn set_simulation(&self, account: &AccountId, role: &str, table: impl Into<Option<Vec<SimulatedAction>>>) {
        self.state().world.set_simulation(account, role, table.into());
    }

    /// Tells `watcher` of every policy that a call changes, in the moment in which it does. It must not come back to the
    /// sandbox.
    pub fn watch(&self, watcher: impl Fn(&Change<'_>) + Send + 'static) {
        self.state().watcher = Watcher(Some(Box::new(watcher)));
    }

    /// The newest text of an inline policy, as it was given.
    #[must_use]
    pub fn document(&self, account: &AccountId, role: &str, policy: &str) -> Option<String> {
        Some(self.state().world.newest(account, role)?.policy(policy)?.1.text().to_owned())
    }

    /// All that a bulk read would tell of a role's newest state.
    #[cfg(test)]
    pub(crate) fn detail(&self, account: &AccountId, role: &str) -> Option<crate::iam::RoleDetail> {
        Some(in_process::whole_detail(self.state().world.newest(account, role)?))
    }

    /// The newest path of a role.
    #[must_use]
    pub fn path(&self, account: &AccountId, role: &str) -> Option<String> {
        Some(self.state().world.newest(account, role)?.path.clone())
    }

    /// The names of a role's inline policies, in the order in which they were put.
    #[must_use]
    pub fn policies(&self, account: &AccountId, role: &str) -> Vec<String> {
        let state = self.state();
        let role = state.world.newest(account, role);
        role.into_iter().flat_map(|role| role.policies.iter().map(|(name, _)| name.clone())).collect()
    }

    /// The names of an account's roles, ordered ignoring case.
    #[must_use]
    pub fn roles(&self, account: &AccountId) -> Vec<String> {
        self.state().world.roles(account).map(|role| role.name.clone()).collect()
    }

    /// Lets reads lag behind writes from now on.
    pub fn set_lag(&self, lag: Lag) {
        self.state().world.lag = lag;
    }

    /// Makes every call take this long.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Bounds the pages of listings, whatever their callers ask for.
    pub fn set_page_cap(&self, cap: Option<usize>) {
        self.state().world.page_cap = cap;
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.add(fault);
    }

    /// Takes back every fault.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// How many faults are in force and not used up.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.state().faults.len()
    }

    /// The newest calls, in the order of arrival; 100,000 are kept unless [`Sandbox::keep_calls`] says otherwise.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.kept().cloned().collect()
    }

    /// How many calls of each operation there were.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, Count> {
        self.state().calls.counts().clone()
    }

    /// Forgets the calls and their counts.
    pub fn clear_calls(&self) {
        self.state().calls.clear();
    }

    /// Keeps so many calls, none for 0. The counts go on.
    pub fn keep_calls(&self, most: usize) {
        self.state().calls.keep(most);
    }

    /// Whose a credential is.
    fn identify(&self, access_key_id: &str) -> Result<Identity, Refusal> {
        let now = self.now();
        let state = self.state();
        match state.world.session(access_key_id, now) {
            Credential::Of(identity) => Ok(identity),
            Credential::Expired => Err(expired_token()),
            // Temporary credentials come from here or from nowhere.
            Credential::Unknown if access_key_id.starts_with("ASIA") => Err(invalid_client_token_id()),
            Credential::Unknown => {
                Ok(identity_in(state.keys.get(access_key_id).unwrap_or(&state.first_account).clone()))
            }
        }
    }

    /// Takes one call from arrival to its end: the one way into the world.
    async fn call(&self, by: &Identity, request: &Request) -> Reply {
        let (number, verdict, delay) = {
            let (now, mut state) = (self.now(), self.state());
            let number = state.calls.begin(now, &by.account, request);
            (number, state.faults.judge(&by.account, request, now), state.delay)
        };
        pause(delay + verdict.delay).await;
        let reply = self.perform(by, request, number, &verdict);
        pause(verdict.late).await;
        reply
    }

    fn perform(&self, by: &Identity, request: &Request, number: u64, verdict: &Verdict) -> Reply {
        let now = self.now();
        let mut state = self.state();
        let effect = verdict.effect.as_ref();
        let refusal = effect.and_then(|(effect, _)| effect.refusal(&by.arn, request));
        let shape = match effect {
            Some((Effect::Hang, _)) => Shape::Hang,
            Some((Effect::Reset, _)) => Shape::Reset,
            Some((Effect::Cut, _)) => Shape::Cut,
            Some((Effect::Html, _)) => Shape::Html,
            _ => Shape::Whole,
        };
        // What hangs, resets or shows a page of its own stands between the caller and IAM.
        let lost = matches!(shape, Shape::Hang | Shape::Reset | Shape::Html);
        let takes_effect = match effect {
            Some((_, done)) => *done || (refusal.is_none() && !lost),
            None => true,
        };
        let result = match (takes_effect, refusal) {
            (true, spoiled) => {
                let result = state.perform(by, request, now);
                let refused = result.as_ref().err().map(|refusal| refusal.code.as_str());
                state.calls.finish(number, request.operation(), refused);
                spoiled.map_or(result, Err)
            }
            (false, Some(refusal)) => {
                state.calls.finish(number, request.operation(), Some(&refusal.code));
                Err(refusal)
            }
            // The caller hears nothing, so it does not matter what is not said.
            (false, None) => Ok(Answer::Done),
        };
        let request_id = calls::request_id(number);
        Reply { result: result.map(|answer| spoil_page(answer, effect, request)), shape, request_id }
    }
}

impl State {
    /// Lets a call take effect, and tells the watcher what it changed.
    fn perform(&mut self, by: &Identity, request: &Request, now: Duration) -> Result<Answer, Refusal> {
        let (role, policy, after) = match request {
            Request::PutRolePolicy { role, policy, document } => (role, policy, Some(document.as_str())),
            Request::DeleteRolePolicy { role, policy } => (role, policy, None),
            _ => return self.world.perform(by, request, now),
        };
        let account = &by.account;
        let before = self.world.newest(account, role).cloned();
        let answer = self.world.perform(by, request, now)?;
        if let Watcher(Some(tell)) = &self.watcher {
            let before = before.as_ref().and_then(|held| Some(held.policy(policy)?.1.text()));
            tell(&Change { account, role, policy, before, after });
        }
        Ok(answer)
    }
}

/// The identity that a key without a session has in an account.
fn identity_in(account: AccountId) -> Identity {
    let arn = format!("arn:aws:sts::{account}:assumed-role/ssm-role-controller/sandbox");
    Identity { account, arn }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn spoil_page(answer: Answer, effect: Option<&(Effect, bool)>, request: &Request) -> Answer {
    let spoil = |is_truncated: &mut bool, marker: &mut Option<String>| match effect {
        Some((Effect::NoMarker, _)) => (*is_truncated, *marker) = (true, None),
        Some((Effect::RepeatMarker, _)) => {
            if let Some(asked) = request.marker() {
                (*is_truncated, *marker) = (true, Some(asked.to_owned()));
            }
        }
        _ => {}
    };
    match answer {
        Answer::Details(mut page) => {
            spoil(&mut page.is_truncated, &mut page.marker);
            Answer::Details(page)
        }
        Answer::PolicyNames(mut page) => {
            spoil(&mut page.is_truncated, &mut page.marker);
            Answer::PolicyNames(page)
        }
        Answer::Simulated(mut page) => {
            spoil(&mut page.is_truncated, &mut page.marker);
            Answer::Simulated(page)
        }
        answer => answer,
    }
}
