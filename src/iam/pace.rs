//! The pace of calls to one account: a budget of requests a second, which a throttle halves and which comes back slowly.
//!
//! ```text
//!  counts.rs   what was called, and what came of it
//!  gate.rs     who goes next                                      (pure)
//!  bucket.rs   how soon                                           (pure)
//! ```
//!
//! Stands between the loop and either side of [`Iam`], so that both behave alike. A read that is throttled is tried again here,
//! with a permit of its own for each try. A write never is: before each try of it there has to be a fresh read. Its permit is
//! a [`WriteTurn`], asked for before that read, so that nothing comes between the two but their calls. What must stay true:
//! whoever waits for a permit gets it or an error within [`LONGEST_WAIT`], and who no longer waits for one holds up nobody.

mod bucket;
mod counts;
mod gate;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use self::gate::{Class, Gate, Kind, Permit, Ticket};
pub use self::{
    bucket::Budget,
    counts::{Calls, Count},
    gate::Budgets,
};
use super::{
    Caller, Entrance, ErrorClass, Iam, IamError, PoliciesPage, PolicyDetail, Put, Removal, RequestId, RoleDetail,
    RolesPage, SimulatedAction,
};
use crate::names::{PolicyName, RoleName};

/// How long a call waits for its permit before it is given up.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often a read is sent that is throttled each time.
const TRIES: u32 = 4;

/// The calls of one account at the pace that the account takes.
#[derive(Debug)]
pub struct Paced<I> {
    iam: Arc<I>,
    budgets: Budgets,
    pace: Arc<Pace>,
    calls: Mutex<Calls>,
}

/// What the calls of one account share.
struct Pace {
    begun: Instant,
    gate: Mutex<Gate>,
    /// The queue has changed: whoever could not go before may go now.
    changed: Notify,
}

/// A place in the queue, which is given up however the waiting ends.
struct Place<'a> {
    pace: &'a Pace,
    ticket: Ticket,
}

/// The turn to write once, of [`Iam::turn_to_write`]. What is not used goes back to whoever comes next.
#[derive(Default)]
pub struct WriteTurn {
    permit: Option<(Arc<Pace>, Permit)>,
    is_used: AtomicBool,
}

impl fmt::Debug for Pace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gate().fmt(formatter)
    }
}

impl fmt::Debug for WriteTurn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permit = self.permit.as_ref().map(|(_, permit)| permit);
        formatter.debug_struct("WriteTurn").field("permit", &permit).field("is_used", &self.is_used).finish()
    }
}

impl Pace {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        lock(&self.gate)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Waits for a permit. Cancel safe: who is dropped has left the queue.
    async fn permit(&self, kind: Kind, class: Class) -> Permit {
        let ticket = self.gate().queue(kind, class, self.now());
        let place = Place { pace: self, ticket };
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let asked = self.gate().ask(place.ticket, self.now());
            match asked {
                Ok(permit) => return permit,
                Err(Some(at)) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(self.begun + at) => {}
                },
                Err(None) => changed.await,
            }
        }
    }

    /// A permit, or after too long the error of a call that was not sent.
    async fn permit_for(&self, operation: &'static str, kind: Kind, class: Class) -> Result<Permit, IamError> {
        let permit = timeout(LONGEST_WAIT, self.permit(kind, class)).await;
        permit.map_err(|_| IamError {
            class: ErrorClass::Throttled,
            operation,
            code: None,
            message: format!(
                "not sent: what IAM takes from this account left no room for it within {} s",
                LONGEST_WAIT.as_secs()
            ),
        })
    }

    /// Takes note of a throttle.
    fn heed<T>(&self, permit: Permit, answer: &Result<T, IamError>) {
        if is_throttled(answer) {
            self.gate().throttled(permit, self.now());
            self.changed.notify_waiters();
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pace.gate().leave(self.ticket);
        self.pace.changed.notify_waiters();
    }
}

impl Drop for WriteTurn {
    fn drop(&mut self) {
        if let Some((pace, permit)) = self.permit.take()
            && !*self.is_used.get_mut()
        {
            pace.gate().put_back(permit);
            pace.changed.notify_waiters();
        }
    }
}

impl WriteTurn {
    /// The permit, which is used up by this; none where nothing paces the calls.
    fn spend(&self) -> Option<Permit> {
        let (pace, permit) = self.permit.as_ref()?;
        self.is_used.store(true, Ordering::Relaxed);
        pace.gate().spend(*permit);
        Some(*permit)
    }
}

impl<I: Iam> Paced<I> {
    /// Calls through `iam` at the pace that these budgets allow, and its answers.
    pub fn new(iam: Arc<I>, budgets: &Budgets) -> Self {
        let pace = Pace { begun: Instant::now(), gate: Mutex::new(Gate::new(budgets)), changed: Notify::new() };
        Self { iam, budgets: *budgets, pace: Arc::new(pace), calls: Mutex::default() }
    }

    /// The calls that were sent so far.
    pub fn calls(&self) -> Calls {
        lock(&self.calls).clone()
    }

    /// Sends a read; where it is throttled, once more with the next permit.
    async fn read<T, F>(
        &self,
        operation: &'static str,
        kind: Kind,
        class: Class,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<T, IamError>
    where
        T: Send,
        F: Future<Output = Result<T, IamError>> + Send,
    {
        let mut tries = 0;
        loop {
            let permit = self.pace.permit_for(operation, kind, class).await?;
            let answer = call().await;
            self.count(operation, &answer);
            self.pace.heed(permit, &answer);
            tries += 1;
            if !is_throttled(&answer) || tries == TRIES {
                return answer;
            }
        }
    }

    /// Sends a write, in its turn.
    async fn write(
        &self,
        operation: &'static str,
        turn: &WriteTurn,
        call: impl Future<Output = Result<RequestId, IamError>> + Send,
    ) -> Result<RequestId, IamError> {
        let permit = turn.spend();
        let answer = call.await;
        if let Some(permit) = permit {
            self.pace.heed(permit, &answer);
        }
        self.count(operation, &answer);
        answer
    }

    fn count<T>(&self, operation: &'static str, answer: &Result<T, IamError>) {
        lock(&self.calls).add(operation, answer);
    }
}

impl<I: Iam> Iam for Paced<I> {
    /// Another account has a pace of its own.
    async fn within(&self, entrance: &Entrance) -> Self {
        Self::new(Arc::new(self.iam.within(entrance).await), &self.budgets)
    }

    /// STS is asked at its own pace: once at the start, as a rule.
    async fn caller(&self) -> Result<Caller, IamError> {
        let answer = self.iam.caller().await;
        self.count("GetCallerIdentity", &answer);
        answer
    }

    async fn roles_page(&self, marker: Option<String>) -> Result<RolesPage, IamError> {
        self.read(BULK, Kind::Bulk, Class::Read, || self.iam.roles_page(marker.clone())).await
    }

    async fn role(&self, role: &RoleName) -> Result<RoleDetail, IamError> {
        self.read("GetRole", Kind::Role, Class::Read, || self.iam.role(role)).await
    }

    async fn role_policy(&self, role: &RoleName, policy: &PolicyName) -> Result<String, IamError> {
        self.read("GetRolePolicy", Kind::Role, Class::Confirm, || self.iam.role_policy(role, policy)).await
    }

    async fn policies_page(&self, marker: Option<String>) -> Result<PoliciesPage, IamError> {
        self.read(BULK, Kind::Bulk, Class::Read, || self.iam.policies_page(marker.clone())).await
    }

    async fn managed_policy(&self, arn: &str) -> Result<PolicyDetail, IamError> {
        self.read("GetPolicy", Kind::ManagedPolicy, Class::Read, || self.iam.managed_policy(arn)).await
    }

    async fn managed_policy_document(&self, arn: &str, version: &str) -> Result<String, IamError> {
        let call = || self.iam.managed_policy_document(arn, version);
        self.read("GetPolicyVersion", Kind::ManagedPolicy, Class::Read, call).await
    }

    /// One permit for all pages of an answer: there is one, as a rule.
    async fn simulate(
        &self,
        role_arn: &str,
        actions: &[String],
        resources: &[String],
    ) -> Result<Vec<SimulatedAction>, IamError> {
        let call = || self.iam.simulate(role_arn, actions, resources);
        self.read("SimulatePrincipalPolicy", Kind::Simulator, Class::Read, call).await
    }

    async fn turn_to_write(&self) -> Result<WriteTurn, IamError> {
        let permit = self.pace.permit_for("a write", Kind::Write, Class::Write).await?;
        Ok(WriteTurn { permit: Some((Arc::clone(&self.pace), permit)), is_used: AtomicBool::new(false) })
    }

    async fn put_role_policy(&self, put: &Put<'_>) -> Result<RequestId, IamError> {
        self.write(Put::OPERATION, put.turn(), self.iam.put_role_policy(put)).await
    }

    async fn delete_role_policy(&self, removal: &Removal<'_>) -> Result<RequestId, IamError> {
        self.write(Removal::OPERATION, removal.turn(), self.iam.delete_role_policy(removal)).await
    }
}

const BULK: &str = "GetAccountAuthorizationDetails";

fn is_throttled<T>(answer: &Result<T, IamError>) -> bool {
    answer.as_ref().is_err_and(|error| error.class == ErrorClass::Throttled)
}

/// A panic elsewhere leaves these values whole: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
