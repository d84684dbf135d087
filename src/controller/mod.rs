//! The loop: what wakes it, what a pass does, when a failed thing is tried again.
//!
//! A pass is observe → plan → guard → apply → report for one account. Whatever wakes the loop (a saved file, the resync
//! timer, a retry that is due, a change event) says only *when*, and for *which* roles, never *what*: every pass takes the newest
//! manifests and reads IAM. A lost or doubled wake-up costs time, never truth.
//!
//! Does not know how YAML or HTTP look. What must stay true: no two writes to one role at once, and none that was
//! not confirmed by a fresh read of that one policy.

mod account;
mod approval;
mod canary;
mod contention;
mod fleet;
mod ledger_file;
mod repair;
mod report;
mod shard;
#[cfg(test)]
mod simulation;
mod slot;
#[cfg(test)]
mod tests;

use std::{future::pending, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::shard::Shard;
use self::{
    account::{Account, Seat},
    fleet::{Fleet, identify, tell_kill_switch},
};
pub(crate) use self::{
    fleet::{entrance, hint_to_enter},
    ledger_file::spent,
};
use crate::{
    events::Exchange,
    iam::{Budgets, Caller, Iam, IamError, Together},
    lease::Leadership,
    manifest::ManifestSet,
    names::AccountId,
    plan::{Digest, Excess, Picks, Step},
    status::{Board, Inquiries},
    telemetry::{Event, EventName, emit},
};

/// What the command line says beside the manifests.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Nothing is written whatever the manifests say.
    pub observe_only: bool,
    /// In place of the manifests' `resyncInterval` (the demo's is short).
    pub resync_interval: Option<Duration>,
    /// The digest of the only plan that may be carried out, whatever the guards say. For [`Controller::once`].
    pub approve: Option<Digest>,
    /// The directory in which the hour's writes are kept for other processes. Without one the guards count this
    /// process's writes alone.
    pub state_dir: Option<PathBuf>,
    /// The seed of all jitter: equal seeds give equal waits.
    pub seed: u64,
    /// How many requests a second an account is asked.
    pub budgets: Budgets,
    /// The share of the accounts that this process keeps; all of them where nobody says. For [`Controller::run`].
    pub shard: Option<Shard>,
    /// Whether this process may write. For [`Controller::run`].
    pub leadership: Leadership,
}

/// Keeps the roles of all accounts that the newest manifests name as they want them.
#[derive(Debug)]
pub struct Controller<I> {
    iam: Arc<I>,
    manifests: watch::Receiver<Arc<ManifestSet>>,
    options: Options,
    exchange: Exchange,
    board: Board,
}

/// How one pass over an account ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The last verdict on every managed policy.
    pub steps: Vec<Step>,
    /// What came of each selector.
    pub picks: Vec<Picks>,
    /// Why it is not known what selectors pick; empty where it is.
    pub unresolved: Vec<String>,
    /// How many policies were written or removed.
    pub written: usize,
    /// The digest of the plan that the last reading led to; none where nothing was to be written.
    pub digest: Option<Digest>,
    /// Which guard the plan goes beyond: then nothing of it was written.
    pub held: Option<Excess>,
    /// Whether the plan was not the one that was approved: then nothing was written.
    pub approval_is_void: bool,
    /// Whether that is because it was carried out before.
    pub approval_is_used_up: bool,
}

impl<I: Iam> Controller<I> {
    /// A controller that reads and writes through `iam` what the manifests in the channel ask for.
    pub fn new(iam: I, manifests: watch::Receiver<Arc<ManifestSet>>, options: Options) -> Self {
        Self { iam: Arc::new(iam), manifests, options, exchange: Exchange::default(), board: Board::default() }
    }

    /// The same, woken by the change events of this exchange: [`Controller::run`] names the queue to it.
    #[must_use]
    pub fn woken_by(self, exchange: Exchange) -> Self {
        Self { exchange, ..self }
    }

    /// The same, asked by way of this board how everything stands: [`Controller::run`] names its accounts to it.
    #[must_use]
    pub fn seen_on(self, board: Board) -> Self {
        Self { board, ..self }
    }

    /// The daemon: runs until `shutdown`, then finishes the writes in flight (each call is bounded in time).
    pub async fn run(self, shutdown: CancellationToken) {
        let Some(own) = identify(self.iam.as_ref(), None, self.options.seed, &shutdown).await else { return };
        let account = own.account.clone();
        let keeping = match self.options.shard {
            None => format!("keeping the roles of account {account}"),
            Some(shard) => {
                let is_ours = if shard.holds(&account) { "is" } else { "is not" };
                format!(
                    "keeping shard {shard} of the accounts; {account}, that of the credentials, {is_ours} among them"
                )
            }
        };
        let mut started = Event::new(EventName::ControllerStarted, keeping);
        started.account = Some(account.to_string());
        emit(&started);
        Fleet::new(self.iam, own, self.manifests, self.options, self.exchange, self.board).run(shutdown).await;
        let mut stopped =
            Event::new(EventName::ControllerStopped, format!("stopped; account {account} is left as it is"));
        stopped.account = Some(account.to_string());
        emit(&stopped);
    }

    /// One pass over one account: ends when everything was tried and nothing that may pass by itself is left, or at the
    /// deadline, or at `shutdown`. `is_own` says whether the account is that of the controller's own credentials. Returns
    /// the last verdict on every managed policy; what was not read is unknown.
    pub async fn once(self, caller: Caller, is_own: bool, deadline: Instant, shutdown: CancellationToken) -> Outcome {
        if self.manifests.borrow().configuration().is_some_and(|configuration| configuration.suspend) {
            tell_kill_switch(true);
        }
        let subscription = self.exchange.subscribe(caller.account.clone());
        let seat = Seat { caller, is_own, together: Together::new(1), subscription, inquiries: Inquiries::none() };
        Account::new(self.iam, seat, self.manifests, self.options).once(deadline, shutdown).await
    }
}

/// Waits for newer manifests; for ever once nobody can send any.
async fn next_manifests(manifests: &mut watch::Receiver<Arc<ManifestSet>>) {
    if manifests.changed().await.is_err() {
        pending().await
    }
}

/// The event of a reading that failed for a whole account.
fn read_failed(account: Option<&AccountId>, error: &IamError) -> Event {
    let reason = crate::plan::Reason::Failed(error.class);
    let whose = account.map_or_else(|| "the account of the credentials".to_owned(), |id| format!("account {id}"));
    Event {
        account: account.map(ToString::to_string),
        reason: Some(reason.as_str()),
        hint: Some(reason.hint().to_owned()),
        ..Event::new(
            EventName::ReadFailed,
            format!("{whose} cannot be read, so nothing is concluded and nothing is written: {error}"),
        )
    }
}
