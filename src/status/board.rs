//! Who keeps which account, and the way to ask each of them.
//!
//! Knows no roles. What must stay true: an account that does not answer in time is told as silent, and holds up nobody;
//! whoever asks is never answered by a loop that has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
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
    lease::Leadership,
    manifest::{Fault, ManifestSet, Verdict},
    names::AccountId,
    plan::{self, Reason, Step},
    text::counted,
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
    leadership: Leadership,
    manifests: ManifestsStatus,
    in_force: Arc<ManifestSet>,
    /// Why the directory of manifests cannot be read.
    vanished: Option<(String, String)>,
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
                leadership: Leadership::default(),
                manifests: ManifestsStatus::default(),
                in_force: Arc::default(),
                vanished: None,
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
    pub fn set_up(&self, shard: Option<String>, observe_only: bool, leadership: Leadership) {
        let mut known = self.known();
        (known.shard, known.observe_only, known.leadership) = (shard, observe_only, leadership);
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
        known.in_force = Arc::clone(&verdict.set);
        known.manifests = ManifestsStatus {
            in_force: verdict.set.permissions().len(),
            changed_at: known.manifests_changed_at.map(moment),
            fault_count: verdict.faults.iter().map(|fault| fault.stands_for).sum(),
            faults: verdict.faults.iter().take(MOST_FAULTS).map(|fault| told(fault, &verdict.kept)).collect(),
        };
    }

    /// The directory of manifests is gone, for the reason in words, or there again.
    pub fn manifests_vanished(&self, directory: &Path, why: Option<String>) {
        self.known().vanished = why.map(|why| (directory.display().to_string(), why));
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
            is_leader: known.leadership.leads(),
        };
        let mut manifests = known.manifests.clone();
        if let Some((directory, why)) = &known.vanished {
            let fault = FaultStatus {
                file: directory.clone(),
                line: 1,
                column: 1,
                path: String::new(),
                message: why.clone(),
                hint: Some("see whether it is mounted: until it can be read, no merge takes effect".to_owned()),
                last_good_in_force: true,
            };
            manifests.faults.insert(0, fault);
            manifests.fault_count += 1;
        }
        (controller, manifests)
    }

    /// Asks every account, all at once.
    pub async fn accounts(&self, detail: Detail) -> Vec<AccountReport> {
        let (places, in_force, started_at) = {
            let known = self.known();
            let place =
                |(account, place): (&AccountId, &Place)| (account.clone(), place.ask.clone(), place.entered.clone());
            let places: Vec<(AccountId, mpsc::Sender<Inquiry>, Entered)> = known.accounts.iter().map(place).collect();
            (places, Arc::clone(&known.in_force), known.started_at)
        };
        let in_force = in_force.as_ref();
        let asked = places.into_iter().map(|(account, ask, entered)| async move {
            let without = |state, message: String, hint| {
                let steps = unread(in_force, &account, &message);
                AccountReport::unread(account.to_string(), state, (message, hint), &steps, detail, started_at)
            };
            match entered {
                Entered::NotYet => {
                    let message = format!("account {account} is not entered so far");
                    return without(AccountState::Entering, message, None);
                }
                Entered::No { message, hint } => return without(AccountState::NotEntered, message, Some(hint)),
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
                without(AccountState::Silent, message, Some(hint))
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
        let total = reports.iter().map(|report| report.counts.total()).sum::<u64>();
        let total = counted(usize::try_from(total).unwrap_or(usize::MAX), "policy", "policies");
        let mut line = format!("{total} managed in {}", counted(reports.len(), "account", "accounts"));
        for synced in Synced::ALL {
            let count: u64 = reports.iter().map(|report| report.counts.of(synced)).sum();
            if count > 0 {
                line.push_str(&format!(", {count} {}", synced.as_str().replace('_', " ")));
            }
        }
        let off = reports.iter().filter(|report| report.status.state != AccountState::Kept).count();
        if off > 0 {
            line.push_str(&format!("; {} not read", counted(off, "account", "accounts")));
        }
        let faults = self.controller().1.fault_count;
        if faults > 0 {
            line.push_str(&format!("; {} in manifests", counted(faults, "fault", "faults")));
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

/// The managed policies of an account that cannot be asked: nothing is known of any. Those that selectors would pick are
/// not among them, nor those of manifests that name no account.
fn unread(manifests: &ManifestSet, account: &AccountId, why: &str) -> Vec<Step> {
    let here = manifests.permissions().iter().map(AsRef::as_ref).filter_map(|permissions| {
        let named = manifests.accounts_of(permissions).into_iter().flatten().find(|named| *named == account)?;
        Some((permissions, Some(named)))
    });
    plan::unjudged(here, Reason::Unknown, Some(why), manifests.default_mode())
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::manifest::{Files, Standing};

    const MANIFEST: &str = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\n\
        metadata: {name: web}\nspec: {roles: [web, db], accountId: \"444455556666\"}\n";

    fn board() -> (Board, AccountId) {
        let board = Board::default();
        let tree = BTreeMap::from([("web.yaml".to_owned(), Ok(MANIFEST.as_bytes().to_vec()))]);
        let verdict = Standing::default().take(Files { tree, controller_config: None });
        board.take_manifests(&verdict, Timestamp::UNIX_EPOCH);
        (board, "444455556666".parse().unwrap())
    }

    /// The state of the one account, and of each of its roles the reason and what it is about.
    async fn told(board: &Board) -> (AccountState, Vec<(String, Option<String>, Option<String>)>) {
        let account = board.status().await.accounts.remove(0);
        let role = |role: crate::status::RoleStatus| (role.role, role.reason, role.detail);
        (account.state, account.roles.into_iter().map(role).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn the_roles_of_an_account_that_cannot_be_asked_are_unknown_and_it_says_why() {
        let (board, account) = board();
        let inquiries = board.keep(&account);
        let unknown = |why: &str| {
            let of = |role: &str| (role.to_owned(), Some("Unknown".to_owned()), Some(why.to_owned()));
            vec![of("db"), of("web")]
        };
        assert_eq!(told(&board).await, (AccountState::Entering, unknown("account 444455556666 is not entered so far")));
        inquiries.not_entered("AssumeRole: AccessDenied".to_owned(), "see its trust policy".to_owned());
        assert_eq!(told(&board).await, (AccountState::NotEntered, unknown("AssumeRole: AccessDenied")));
        // A loop that does not answer holds up the answer for some seconds, and no longer.
        inquiries.entered();
        let (state, roles) = told(&board).await;
        assert_eq!((state, roles.len()), (AccountState::Silent, 2));
        assert_eq!(board.alive().await, Err("no answer from the loop of account 444455556666".to_owned()));
        board.leave(&account);
        assert_eq!(board.status().await.accounts, []);
        assert_eq!(board.alive().await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_ready_once_every_account_was_tried_and_one_was_read_and_stays_so() {
        let (board, account) = board();
        assert_eq!(board.ready().await, Err("STS has not said yet who the credentials belong to".to_owned()));
        let mut inquiries = board.keep(&account);
        board.has_accounts();
        assert_eq!(board.ready().await, Err("a first pass over 1 account is not done yet".to_owned()));
        inquiries.not_entered(String::new(), String::new());
        assert_eq!(board.ready().await, Err("no account could be read so far".to_owned()));
        inquiries.entered();
        let answering = tokio::spawn(async move {
            let inquiry = inquiries.next().await.unwrap();
            let read = AccountReport { was_tried: true, was_read: true, ..AccountReport::of_nothing("444455556666") };
            inquiry.answer.send(read).unwrap();
        });
        assert_eq!(board.ready().await, Ok(()));
        answering.await.unwrap();
        assert_eq!(board.ready().await, Ok(()), "also once its loop answers no more");
    }
}
