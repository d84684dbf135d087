//! Who keeps which account, and the way to ask each of them.
//!
//! Knows no roles. What must stay true: an account that does not answer in time is told as silent, and holds up nobody;
//! whoever asks is never answered by a loop that has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    AccountReport, AccountState, ControllerStatus, FaultStatus, ManifestsStatus, Status, Synced, document::VERSION,
    moment,
};
use crate::{
    manifest::{Fault, Verdict},
    names::AccountId,
};

/// So long an account's loop may take to answer: it does nothing that takes as long between two awaits.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many may ask an account at once.
const MOST_INQUIRIES: usize = 64;

/// So many faults are listed: more help nobody.
const MOST_FAULTS: usize = 1_000;

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Numbers alone.
    Counts,
    /// Every role.
    Roles,
}

/// Where everything that can be asked is known. Cheap to clone: all clones are the same board.
#[derive(Debug, Clone)]
pub struct Board(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    /// Whether a first pass was done: once it was, it was.
    was_ready: AtomicBool,
}

#[derive(Debug)]
struct Known {
    started_at: Timestamp,
    shard: Option<String>,
    observe_only: bool,
    is_suspended: bool,
    is_leader: bool,
    manifests: ManifestsStatus,
    manifests_changed_at: Option<Timestamp>,
    accounts: BTreeMap<AccountId, Place>,
    /// Whether it is known which accounts there are.
    has_accounts: bool,
}

/// One account: the way to ask its loop.
#[derive(Debug)]
struct Place {
    ask: mpsc::Sender<Inquiry>,
    entered: Entered,
}

#[derive(Debug, Clone)]
enum Entered {
    NotYet,
    No { message: String, hint: String },
    Yes,
}

/// A question to an account's loop.
#[derive(Debug)]
pub(crate) struct Inquiry {
    pub(crate) detail: Detail,
    pub(crate) answer: oneshot::Sender<AccountReport>,
}

/// An account's end of the board.
#[derive(Debug)]
pub(crate) struct Inquiries {
    account: Option<(Board, AccountId)>,
    asked: mpsc::Receiver<Inquiry>,
}

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(Shared {
            known: Mutex::new(Known {
                started_at: Timestamp::now(),
                shard: None,
                observe_only: false,
                is_suspended: false,
                is_leader: true,
                manifests: ManifestsStatus::default(),
                manifests_changed_at: None,
                accounts: BTreeMap::new(),
                has_accounts: false,
            }),
            was_ready: AtomicBool::new(false),
        }))
    }
}

impl Board {
    fn known(&self) -> MutexGuard<'_, Known> {
        // What a panic left behind is whole: nothing is changed in more than one step.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what the command line said.
    pub fn set_up(&self, shard: Option<String>, observe_only: bool) {
        let mut known = self.known();
        (known.shard, known.observe_only) = (shard, observe_only);
    }

    /// Whether this process may write, of several.
    pub fn lead(&self, is_leader: bool) {
        self.known().is_leader = is_leader;
    }

    /// Takes in what came of a look at the files.
    pub fn take_manifests(&self, verdict: &Verdict, now: Timestamp) {
        let mut known = self.known();
        let is_new =
            known.manifests_changed_at.is_none() || !(verdict.accepted.is_empty() && verdict.removed.is_empty());
        if is_new {
            known.manifests_changed_at = Some(now);
        }
        known.is_suspended = verdict.set.configuration().is_some_and(|configuration| configuration.suspend);
        known.manifests = ManifestsStatus {
            in_force: verdict.set.permissions().len(),
            changed_at: known.manifests_changed_at.map(moment),
            fault_count: verdict.faults.iter().map(|fault| fault.stands_for).sum(),
            faults: verdict.faults.iter().take(MOST_FAULTS).map(|fault| told(fault, &verdict.kept)).collect(),
        };
    }

    /// An account is looked after from now on: its loop answers what comes out of this.
    pub(crate) fn keep(&self, account: &AccountId) -> Inquiries {
        let (ask, asked) = mpsc::channel(MOST_INQUIRIES);
        let mut known = self.known();
        known.accounts.insert(account.clone(), Place { ask, entered: Entered::NotYet });
        Inquiries { account: Some((self.clone(), account.clone())), asked }
    }

    /// An account is looked after no more.
    pub(crate) fn leave(&self, account: &AccountId) {
        self.known().accounts.remove(account);
    }

    /// It is known now which accounts are looked after.
    pub(crate) fn has_accounts(&self) {
        self.known().has_accounts = true;
    }

    /// When what is in force last changed.
    pub(crate) fn manifests_changed_at(&self) -> Option<Timestamp> {
        self.known().manifests_changed_at
    }

    /// What the process says of itself, and of the manifests.
    pub(crate) fn controller(&self) -> (ControllerStatus, ManifestsStatus) {
        let known = self.known();
        let controller = ControllerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: moment(known.started_at),
            shard: known.shard.clone(),
            observe_only: known.observe_only,
            suspended: known.is_suspended,
            is_leader: known.is_leader,
        };
        (controller, known.manifests.clone())
    }

    /// Asks every account, all at once.
    pub async fn accounts(&self, detail: Detail) -> Vec<AccountReport> {
        let places: Vec<(AccountId, mpsc::Sender<Inquiry>, Entered)> = {
            let known = self.known();
            let place =
                |(account, place): (&AccountId, &Place)| (account.clone(), place.ask.clone(), place.entered.clone());
            known.accounts.iter().map(place).collect()
        };
        let asked = places.into_iter().map(|(account, ask, entered)| async move {
            let without = |state, why| AccountReport::without_roles(account.to_string(), state, why);
            match entered {
                Entered::NotYet => return without(AccountState::Entering, None),
                Entered::No { message, hint } => return without(AccountState::NotEntered, Some((message, hint))),
                Entered::Yes => {}
            }
            let (answer, answered) = oneshot::channel();
            let exchange = async {
                ask.send(Inquiry { detail, answer }).await.ok()?;
                answered.await.ok()
            };
            timeout(PATIENCE, exchange).await.ok().flatten().unwrap_or_else(|| {
                let message = format!("the loop of account {account} has not answered within {} s", PATIENCE.as_secs());
                let hint = "if it stays so, restart the process, and report it".to_owned();
                without(AccountState::Silent, Some((message, hint)))
            })
        });
        let reports = join_all(asked).await;
        // What cannot be read holds up nobody, as long as anything can.
        if reports.iter().all(|report| report.was_tried) && reports.iter().any(|report| report.was_read) {
            self.0.was_ready.store(true, Ordering::Relaxed);
        }
        reports
    }

    /// The whole document.
    pub async fn status(&self) -> Status {
        let accounts = self.accounts(Detail::Roles).await.into_iter().map(|report| report.status).collect();
        let (controller, manifests) = self.controller();
        Status { version: VERSION, taken_at: moment(Timestamp::now()), controller, manifests, accounts }
    }

    /// In one line how the roles stand, for the service manager.
    pub async fn line(&self) -> String {
        let reports = self.accounts(Detail::Counts).await;
        let total: u64 = reports.iter().map(|report| report.counts.total()).sum();
        let mut line = match reports.len() {
            1 => format!("{total} policies managed in 1 account"),
            several => format!("{total} policies managed in {several} accounts"),
        };
        for synced in Synced::ALL {
            let count: u64 = reports.iter().map(|report| report.counts.of(synced)).sum();
            if count > 0 {
                line.push_str(&format!(", {count} {}", synced.as_str().replace('_', " ")));
            }
        }
        let off = reports.iter().filter(|report| report.status.state != AccountState::Kept).count();
        if off > 0 {
            line.push_str(&format!("; {off} accounts not read"));
        }
        let faults = self.known().manifests.fault_count;
        if faults > 0 {
            line.push_str(&format!("; {faults} faults in manifests"));
        }
        line
    }

    /// Why the process is not ready: its manifests are not in force, or no first pass is done. Once it was ready it stays
    /// so, whatever AWS does.
    ///
    /// # Errors
    ///
    /// In words, while it is not.
    pub async fn ready(&self) -> Result<(), String> {
        if self.0.was_ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (has_manifests, has_accounts, count) = {
            let known = self.known();
            (known.manifests_changed_at.is_some(), known.has_accounts, known.accounts.len())
        };
        if !has_manifests {
            return Err("no manifests are in force".to_owned());
        }
        if !has_accounts {
            return Err("STS has not said yet who the credentials belong to".to_owned());
        }
        if count == 0 {
            return Ok(());
        }
        let reports = self.accounts(Detail::Counts).await;
        if self.0.was_ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        let untried = reports.iter().filter(|report| !report.was_tried).count();
        Err(match untried {
            0 => "no account could be read so far".to_owned(),
            1 => "a first pass over 1 account is not done yet".to_owned(),
            several => format!("a first pass over {several} accounts is not done yet"),
        })
    }

    /// Which loops do not answer any more.
    ///
    /// # Errors
    ///
    /// In words, where there are any.
    pub async fn alive(&self) -> Result<(), String> {
        let reports = self.accounts(Detail::Counts).await;
        let silent: Vec<&str> = reports
            .iter()
            .filter(|report| report.status.state == AccountState::Silent)
            .map(|report| report.status.account.as_str())
            .collect();
        match silent[..] {
            [] => Ok(()),
            _ => Err(format!("no answer from the loop of account {}", silent.join(", "))),
        }
    }
}

impl Inquiries {
    /// Of a loop that nobody asks.
    pub(crate) fn none() -> Self {
        Self { account: None, asked: mpsc::channel(1).1 }
    }

    /// The account was entered: its loop answers from now on.
    pub(crate) fn entered(&self) {
        self.set(Entered::Yes);
    }

    /// The account could not be entered so far.
    pub(crate) fn not_entered(&self, message: String, hint: String) {
        self.set(Entered::No { message, hint });
    }

    fn set(&self, entered: Entered) {
        if let Some((board, account)) = &self.account
            && let Some(place) = board.known().accounts.get_mut(account)
        {
            place.entered = entered;
        }
    }

    /// The next question; none where nobody can ask any. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Inquiry> {
        self.asked.recv().await
    }
}

fn told(fault: &Fault, kept: &BTreeSet<String>) -> FaultStatus {
    FaultStatus {
        file: fault.place.file.to_string(),
        line: fault.place.line,
        column: fault.place.column,
        path: fault.path.clone(),
        message: fault.message.clone(),
        hint: fault.hint.clone(),
        last_good_in_force: kept.contains(fault.place.file.as_ref()),
    }
}
