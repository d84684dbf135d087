//! The edge to AWS with a witness at it, who sees every call and knows the whole truth.
//!
//! Passes calls on to the sandbox, each with delays of its own, and kills the process at the call that was chosen. What
//! must stay true: a process that is dead asks for nothing and is told nothing, but what it has sent may go on.

use std::{
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    bound,
    plain::asks_to_be_left_alone,
    scene::{Fresh, Moment, Scene, Shown},
};
use crate::{
    iam::{
        Caller, Entrance, ErrorClass, Iam, IamError, PoliciesPage, PolicyDetail, Put, Removal, RequestId, RoleDetail,
        RolesPage, SimulatedAction,
    },
    inventory::LiveDocument,
    names::{PolicyName, RoleName},
    sandbox::InProcess,
};

/// How long the controller waits for an answer, as with the SDK.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long the world takes a write that nobody waits for any more.
const WIRE: Duration = Duration::from_secs(25);

/// IAM as one process of the controller sees it.
pub(super) struct Witness {
    inner: InProcess,
    scene: Arc<Scene>,
    process: u64,
    dead: CancellationToken,
}

/// A write that was sent. Dropped, it goes on or not, as a coin said.
struct Sent {
    task: JoinHandle<Result<RequestId, IamError>>,
    goes_on: bool,
    _landed: Landed,
}

/// Takes a write off the books of those under way, whatever becomes of it.
struct Landed {
    scene: Arc<Scene>,
    process: u64,
    role: RoleName,
    /// Whether somebody waits for the answer still.
    is_awaited: Arc<AtomicBool>,
}

impl Drop for Landed {
    fn drop(&mut self) {
        self.is_awaited.store(false, Ordering::Relaxed);
        let mut state = self.scene.state();
        if state.process.number == self.process
            && let Some(flying) = state.process.flying.get_mut(&self.role)
        {
            *flying -= 1;
            if *flying == 0 {
                state.process.flying.remove(&self.role);
            }
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        if !self.goes_on {
            self.task.abort();
        }
    }
}

impl Witness {
    pub(super) fn new(scene: &Arc<Scene>, page_size: u16) -> Self {
        let state = scene.state();
        let (process, dead) = (state.process.number, state.process.dead.clone());
        drop(state);
        let inner = scene.sandbox.iam(&scene.own).page_size(page_size);
        Self { inner, scene: Arc::clone(scene), process, dead }
    }

    /// A delay that the wire has now.
    fn delay(&self) -> Duration {
        let rng = &mut self.scene.state().rng;
        Duration::from_millis(match rng.u8(..20) {
            0 => rng.u64(..6_000),
            1..5 => rng.u64(..500),
            5..12 => rng.u64(..20),
            _ => 0,
        })
    }

    /// The moment of death, if this call is the one for it.
    fn arrives(&self, what: impl FnOnce() -> String) -> Option<Moment> {
        if bound::called(&self.scene) {
            return Some(Moment::Arrival);
        }
        let mut state = self.scene.state();
        state.tally.calls += 1;
        state.process.calls += 1;
        let number = state.process.calls;
        let moment = state.process.kill_at.filter(|(at, _)| *at == number).map(|(_, moment)| moment);
        drop(state);
        let what = what();
        if moment.is_none() && what.is_empty() {
            return None;
        }
        self.scene
            .say(|| format!("  #{number} {what}{}", moment.map(|at| format!(" KILLS at {at:?}")).unwrap_or_default()));
        moment
    }

    async fn die<T>(&self) -> T {
        self.scene.kill();
        pending().await
    }

    /// One call, from the process to the world and back.
    async fn pass<T>(
        &self,
        what: impl FnOnce() -> String,
        call: impl Future<Output = Result<T, IamError>>,
    ) -> Result<T, IamError> {
        if self.dead.is_cancelled() {
            return pending().await;
        }
        let moment = self.arrives(what);
        if moment == Some(Moment::Arrival) {
            return self.die().await;
        }
        let (there, back) = (self.delay(), self.delay());
        let travel = async {
            sleep_if(there).await;
            let answer = call.await;
            if moment.is_none() {
                sleep_if(back).await;
            }
            answer
        };
        if moment == Some(Moment::Sent) {
            return self.die().await;
        }
        let answer = tokio::select! {
            biased;
            () = self.dead.cancelled() => return pending().await,
            answer = timeout(PATIENCE, travel) => answer,
        };
        if moment == Some(Moment::Answered) {
            return self.die().await;
        }
        answer.unwrap_or_else(|_| Err(no_answer()))
    }

    /// One write: it is judged as it arrives, and may outlive who sent it.
    async fn write(&self, role: &RoleName, policy: &PolicyName, document: Option<&str>) -> Result<RequestId, IamError> {
        if self.dead.is_cancelled() {
            return pending().await;
        }
        let what = if document.is_some() { "writes" } else { "deletes" };
        let moment = self.arrives(|| format!("{what} {role}/{policy} {}", document.unwrap_or_default()));
        let judged = self.scene.judge_write(role, policy, document);
        *self.scene.state().process.flying.entry(role.clone()).or_default() += 1;
        let is_awaited = Arc::new(AtomicBool::new(true));
        let awaited = Arc::clone(&is_awaited);
        let landed = Landed { scene: Arc::clone(&self.scene), process: self.process, role: role.clone(), is_awaited };
        if moment == Some(Moment::Arrival) {
            return self.die().await;
        }
        let there = self.delay();
        let (back, goes_on) = (self.delay(), self.scene.state().rng.bool());
        let inner = self.inner.clone().patience(WIRE);
        let (name, key, text) = (role.to_string(), policy.to_string(), document.map(str::to_owned));
        let (scene, target) = (Arc::clone(&self.scene), role.clone());
        let call = tokio::spawn(async move {
            sleep_if(there).await;
            let answer = inner.write(name, key, text).await;
            if !awaited.load(Ordering::Relaxed) {
                // To whoever writes now it is a change by somebody else.
                scene.touched(&scene.own, &target);
            }
            answer
        });
        let mut sent = Sent { task: call, goes_on: goes_on || moment.is_some(), _landed: landed };
        if moment == Some(Moment::Sent) {
            return self.die().await;
        }
        let waited = async {
            let answer = (&mut sent.task).await;
            if moment.is_none() {
                sleep_if(back).await;
            }
            answer
        };
        let answer = tokio::select! {
            biased;
            () = self.dead.cancelled() => return pending().await,
            answer = timeout(PATIENCE, waited) => answer,
        };
        if moment == Some(Moment::Answered) {
            return self.die().await;
        }
        let answer = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(no_answer()),
        };
        self.scene.answered(role, policy, &judged, answer.is_ok());
        self.told(|| format!("{what} {role}/{policy}"), &answer);
        drop(sent);
        answer
    }

    fn told<T>(&self, what: impl FnOnce() -> String, answer: &Result<T, IamError>) {
        self.scene.say(|| match answer {
            Ok(_) => format!("    {}: done", what()),
            Err(error) => format!("    {}: {error}", what()),
        });
    }
}

async fn sleep_if(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn no_answer() -> IamError {
    IamError { class: ErrorClass::Transient, operation: "call", code: None, message: "no answer came".to_owned() }
}

impl Iam for Witness {
    async fn within(&self, entrance: &Entrance) -> Self {
        let (inner, dead) = (self.inner.within(entrance).await, self.dead.clone());
        Self { inner, scene: Arc::clone(&self.scene), process: self.process, dead }
    }

    async fn caller(&self) -> Result<Caller, IamError> {
        let answer = self.pass(|| "asks who it is".to_owned(), self.inner.caller()).await;
        self.told(|| "caller".to_owned(), &answer);
        answer
    }

    async fn roles_page(&self, marker: Option<String>) -> Result<RolesPage, IamError> {
        let is_first = marker.is_none();
        if is_first {
            let now = self.scene.now();
            self.scene.state().process.reading_begun = now;
        }
        let answer = self
            .pass(
                || if is_first { "reads in bulk".to_owned() } else { String::new() },
                self.inner.roles_page(marker.clone()),
            )
            .await;
        if is_first || answer.is_err() {
            self.told(|| "page".to_owned(), &answer);
        }
        self.scene.page_answered(is_first, answer.as_ref());
        answer
    }

    async fn role(&self, role: &RoleName) -> Result<RoleDetail, IamError> {
        let answer = self.pass(|| format!("reads the role {role}"), self.inner.role(role)).await;
        self.told(|| format!("role {role}"), &answer);
        if let Ok(detail) = &answer {
            let now = self.scene.now();
            let mut state = self.scene.state();
            // A reading of role by role takes the place of the last whole one, and nobody sees its end.
            state.process.reading = None;
            // What a single call shows counts once all roles were read.
            let before = state.process.shown.get(role).cloned();
            let tagged = before.as_ref().and_then(|shown| shown.tagged).filter(|_| asks_to_be_left_alone(&detail.tags));
            let path_before = before
                .and_then(|shown| if shown.path == detail.path { shown.path_before } else { Some((now, shown.path)) });
            let shown = Shown { tagged, until: None, path: detail.path.clone(), path_before };
            state.process.shown.insert(role.clone(), shown);
        }
        answer
    }

    async fn role_policy(&self, role: &RoleName, policy: &PolicyName) -> Result<String, IamError> {
        let asked = self.scene.now();
        let tick = {
            let mut state = self.scene.state();
            state.process.past.calls(role, asked);
            state.tick()
        };
        self.scene.looked.notify_waiters();
        let answer = self.pass(|| format!("reads {role}/{policy}"), self.inner.role_policy(role, policy)).await;
        self.told(|| format!("{role}/{policy}"), &answer);
        let shown = match &answer {
            Ok(encoded) => Some(LiveDocument::new(encoded).text()),
            Err(error) if error.class == ErrorClass::Gone => None,
            Err(_) => {
                self.scene.state().process.past.failed(role, self.scene.now());
                return answer;
            }
        };
        let truth = self.scene.sandbox.document(&self.scene.own, role.as_str(), policy.as_str());
        let fresh = Fresh { tick, asked, answered: self.scene.now(), is_stale: truth != shown, shown };
        self.scene.read_fresh(role, policy, fresh);
        answer
    }

    async fn policies_page(&self, marker: Option<String>) -> Result<PoliciesPage, IamError> {
        let answer = self.pass(|| "reads managed policies in bulk".to_owned(), self.inner.policies_page(marker)).await;
        self.told(|| "policies".to_owned(), &answer);
        answer
    }

    async fn managed_policy(&self, arn: &str) -> Result<PolicyDetail, IamError> {
        let answer = self.pass(|| format!("reads {arn}"), self.inner.managed_policy(arn)).await;
        self.told(|| arn.to_owned(), &answer);
        answer
    }

    async fn managed_policy_document(&self, arn: &str, version: &str) -> Result<String, IamError> {
        let call = self.inner.managed_policy_document(arn, version);
        let answer = self.pass(|| format!("reads {arn} {version}"), call).await;
        self.told(|| format!("{arn} {version}"), &answer);
        answer
    }

    async fn simulate(
        &self,
        role_arn: &str,
        actions: &[String],
        resources: &[String],
    ) -> Result<Vec<SimulatedAction>, IamError> {
        let call = self.inner.simulate(role_arn, actions, resources);
        let answer = self.pass(|| format!("asks what {role_arn} may do"), call).await;
        self.told(|| format!("what {role_arn} may do"), &answer);
        answer
    }

    async fn put_role_policy(&self, put: &Put<'_>) -> Result<RequestId, IamError> {
        self.write(put.role(), put.policy(), Some(put.document())).await
    }

    async fn delete_role_policy(&self, removal: &Removal<'_>) -> Result<RequestId, IamError> {
        self.write(removal.role(), removal.policy(), None).await
    }
}
