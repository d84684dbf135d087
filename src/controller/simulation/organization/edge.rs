//! The edge to AWS of one process: calls take their time, may be the last ones, and may lead into the wrong account.
//!
//! Passes on what it is asked, and tells the judge. What must stay true: a process that is dead asks for nothing and is told
//! nothing, but what it has sent may go on.

use std::{
    future::{Future, pending},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::time::{sleep, timeout};

use super::{
    claims::CLAIMED,
    judge::{Organization, WRITER},
    people,
};
use crate::{
    iam::{
        Caller, Entrance, ErrorClass, Iam, IamError, PoliciesPage, PolicyDetail, Put, Removal, RequestId, RoleDetail,
        RolesPage, SimulatedAction,
    },
    inventory::LiveDocument,
    names::{AccountId, PolicyName, RoleName},
    sandbox::InProcess,
};

/// How long a call waits for its answer, as with the SDK.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long the world takes a write that nobody waits for any more.
const WIRE: Duration = Duration::from_secs(20);

/// IAM of one account as one process sees it.
pub(super) struct Edge {
    organization: Arc<Organization>,
    process: u64,
    /// The account that is meant.
    account: AccountId,
    /// How it is entered; none for the own one.
    entrance: Option<Entrance>,
    inner: InProcess,
    /// Of this account alone: in one moment accounts may be called in any order.
    rng: Mutex<Rng>,
    seed: u64,
    /// Whether STS has said that the credentials are of the account. From then on only readings may be misled.
    is_entered: AtomicBool,
}

impl Edge {
    pub(super) fn new(organization: &Arc<Organization>, process: u64, page_size: u16, seed: u64) -> Self {
        let account = organization.accounts[0].clone();
        let inner = organization.sandbox.iam(&account).patience(WIRE).page_size(page_size);
        Self {
            organization: Arc::clone(organization),
            process,
            account,
            entrance: None,
            inner,
            rng: Mutex::new(Rng::with_seed(seed)),
            seed,
            is_entered: AtomicBool::new(false),
        }
    }

    fn is_dead(&self) -> bool {
        self.organization.state().processes.get(&self.process).is_none_or(|process| process.is_dead)
    }

    fn delay(&self) -> Duration {
        let mut rng = self.rng.lock().unwrap();
        Duration::from_millis(match rng.u8(..20) {
            0 => rng.u64(..5_000),
            1..5 => rng.u64(..500),
            5..12 => rng.u64(..20),
            _ => 0,
        })
    }

    /// Where calls lead that are made with the credentials that STS was asked about.
    async fn proven_way(&self) -> InProcess {
        if self.is_entered.load(Ordering::Relaxed) { self.inner.clone() } else { self.way().await }
    }

    /// Where the call leads: as a rule to the account that is meant.
    async fn way(&self) -> InProcess {
        let other = self.organization.state().misled.get(&self.account).cloned();
        let (Some(other), Some(entrance)) = (other, &self.entrance) else { return self.inner.clone() };
        self.organization.state().tally.misled += 1;
        let role = entrance.role.as_ref().map(|role| role.to_string().replace(self.account.as_str(), other.as_str()));
        let role = role.map(|role| role.parse().unwrap());
        self.inner.within(&Entrance { account: other, role, ..entrance.clone() }).await
    }

    /// One call, from the process to the world and back.
    async fn pass<T>(
        &self,
        what: impl FnOnce() -> String,
        is_identity: bool,
        call: impl Future<Output = Result<T, IamError>>,
    ) -> Result<T, IamError> {
        if self.is_dead() {
            return pending().await;
        }
        let dies = self.organization.called(self.process, &self.account, is_identity);
        let what = || format!("  {}: {} {}", self.process, self.account, what());
        if dies == Some(false) {
            self.organization.kill(self.process);
            return pending().await;
        }
        let (there, back) = (self.delay(), self.delay());
        let travel = async {
            sleep(there).await;
            let answer = call.await;
            sleep(back).await;
            answer
        };
        let answer = timeout(PATIENCE, travel).await.unwrap_or_else(|_| Err(no_answer()));
        if dies.is_some() {
            self.organization.kill(self.process);
        }
        if self.is_dead() {
            return pending().await;
        }
        self.organization.say(|| match &answer {
            Ok(_) => format!("{}: done", what()),
            Err(error) => format!("{}: {error}", what()),
        });
        answer
    }

    async fn write(&self, role: &RoleName, policy: &PolicyName, document: Option<&str>) -> Result<RequestId, IamError> {
        if self.is_dead() {
            return pending().await;
        }
        let somebody_is_quicker = self.rng.lock().unwrap().u8(..30) == 0;
        let key = self.organization.asks_to_write(self.process, &self.account, (role, policy), document);
        if somebody_is_quicker && !self.organization.state().is_calm {
            people::be_quicker(&self.organization, &key);
        }
        let (there, goes_on) = (self.delay(), self.rng.lock().unwrap().bool());
        let inner = self.proven_way().await;
        let (name, key, text) = (role.to_string(), policy.to_string(), document.map(str::to_owned));
        let writer = (self.process, self.account.clone());
        let sent = tokio::spawn(WRITER.scope(writer, async move {
            sleep(there).await;
            inner.write(name, key, text).await
        }));
        let unless_it_goes_on = Recalled { sent: (!goes_on).then(|| sent.abort_handle()) };
        let mut waiting = Waiting { edge: self, role, policy, is_answered: false };
        let answer = self
            .pass(|| format!("writes {role}/{policy}"), false, async {
                sent.await.unwrap_or_else(|_| Err(no_answer()))
            })
            .await;
        waiting.is_answered = answer.is_ok();
        if let Ok(request) = &answer {
            let call = if document.is_some() { "PutRolePolicy" } else { "DeleteRolePolicy" };
            self.organization.tell(&self.account, role.as_str(), (call, Some(policy.as_str())), Some(request.as_str()));
        }
        drop(unless_it_goes_on);
        answer
    }
}

/// A write that has failed or of which nobody knows, unless it was answered: the controller may give up on it before the call does.
struct Waiting<'a> {
    edge: &'a Edge,
    role: &'a RoleName,
    policy: &'a PolicyName,
    is_answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered && !self.edge.is_dead() {
            self.edge.organization.write_failed(self.edge.process, &self.edge.account, self.role, self.policy);
        }
    }
}

/// A write that goes no further once nobody waits for it.
struct Recalled {
    sent: Option<tokio::task::AbortHandle>,
}

impl Drop for Recalled {
    fn drop(&mut self) {
        if let Some(sent) = &self.sent {
            sent.abort();
        }
    }
}

fn no_answer() -> IamError {
    IamError { class: ErrorClass::Transient, operation: "call", code: None, message: "no answer came".to_owned() }
}

impl Iam for Edge {
    async fn within(&self, entrance: &Entrance) -> Self {
        Self {
            organization: Arc::clone(&self.organization),
            process: self.process,
            account: entrance.account.clone(),
            entrance: Some(entrance.clone()),
            inner: self.inner.within(entrance).await,
            rng: Mutex::new(Rng::with_seed(self.seed ^ entrance.account.as_str().parse::<u64>().unwrap())),
            seed: self.seed,
            is_entered: AtomicBool::new(false),
        }
    }

    async fn caller(&self) -> Result<Caller, IamError> {
        let way = self.way().await;
        let answer = self.pass(|| "asks who it is".to_owned(), self.entrance.is_none(), way.caller()).await;
        if answer.as_ref().is_ok_and(|caller| caller.account == self.account) {
            self.is_entered.store(true, Ordering::Relaxed);
        }
        answer
    }

    async fn roles_page(&self, marker: Option<String>) -> Result<RolesPage, IamError> {
        let way = self.way().await;
        let answer =
            self.pass(|| format!("reads in bulk from {marker:?}"), false, way.roles_page(marker.clone())).await;
        if let Ok(page) = &answer {
            self.organization.was_read(self.process, &self.account, marker.is_none(), page);
        }
        answer
    }

    async fn role(&self, role: &RoleName) -> Result<RoleDetail, IamError> {
        let way = self.way().await;
        let answer = self.pass(|| format!("reads the role {role}"), false, way.role(role)).await;
        if let Ok(role) = &answer {
            self.organization.was_shown_role(self.process, &self.account, role);
        }
        answer
    }

    async fn role_policy(&self, role: &RoleName, policy: &PolicyName) -> Result<String, IamError> {
        let is_interrupted = policy.as_str() == CLAIMED && self.rng.lock().unwrap().u8(..20) == 0;
        if is_interrupted && !self.is_dead() {
            people::edit(&self.organization);
        }
        let way = self.proven_way().await;
        let answer = self.pass(|| format!("reads {role}/{policy}"), false, way.role_policy(role, policy)).await;
        let shown = match &answer {
            Ok(encoded) => Some(Some(LiveDocument::new(encoded).text())),
            Err(error) if error.class == ErrorClass::Gone => Some(None),
            Err(_) => None,
        };
        let key = (self.account.clone(), role.as_str().to_ascii_lowercase(), policy.to_string());
        self.organization.was_shown(self.process, key, shown);
        answer
    }

    async fn policies_page(&self, marker: Option<String>) -> Result<PoliciesPage, IamError> {
        self.pass(|| "reads managed policies in bulk".to_owned(), false, self.inner.policies_page(marker)).await
    }

    async fn managed_policy(&self, arn: &str) -> Result<PolicyDetail, IamError> {
        self.pass(|| format!("reads {arn}"), false, self.inner.managed_policy(arn)).await
    }

    async fn managed_policy_document(&self, arn: &str, version: &str) -> Result<String, IamError> {
        let call = self.inner.managed_policy_document(arn, version);
        self.pass(|| format!("reads {arn} {version}"), false, call).await
    }

    async fn simulate(
        &self,
        role_arn: &str,
        actions: &[String],
        resources: &[String],
    ) -> Result<Vec<SimulatedAction>, IamError> {
        let call = self.inner.simulate(role_arn, actions, resources);
        self.pass(|| format!("asks what {role_arn} may do"), false, call).await
    }

    async fn put_role_policy(&self, put: &Put<'_>) -> Result<RequestId, IamError> {
        self.write(put.role(), put.policy(), Some(put.document())).await
    }

    async fn delete_role_policy(&self, removal: &Removal<'_>) -> Result<RequestId, IamError> {
        self.write(removal.role(), removal.policy(), None).await
    }
}
