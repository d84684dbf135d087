//! All accounts at once: which ones are looked after, and that each is entered, kept and left.
//!
//! ```text
//!  newest manifests ─▶ which accounts, and how each is entered ─▶ enter (STS) ─▶ the account's own loop
//! ```
//!
//! Knows nothing of roles. What must stay true: no account waits for another one; nothing is done in an account before
//! STS has said that the credentials are of it; and an account has never two loops at once, however often the way to
//! enter it changes.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Options,
    account::{Account, Seat},
    next_manifests,
    report::REMINDER,
    shard,
};
use crate::{
    backoff::Backoff,
    events::{Exchange, Subscription},
    iam::{Caller, Entrance, ErrorClass, Iam, IamError, Together},
    manifest::{ConfiguredAccount, ManifestSet},
    names::AccountId,
    plan::Reason,
    status::{Board, Inquiries},
    telemetry::{Event, EventName, emit},
};

/// So many accounts are read at once: a page of a thousand roles takes tens of megabytes while it is read.
const READINGS_AT_ONCE: usize = 8;

/// So much time is between the entries of two accounts: a hundred a second. STS takes 600 calls a second from all callers of
/// an account together (IAM User Guide, "IAM and AWS STS quotas"). Each is entered at its time whatever becomes of the others.
const BETWEEN_ENTRIES: Duration = Duration::from_millis(10);

/// What a session is called where nobody says.
const SESSION_NAME: &str = "ssm-role-controller";

/// The accounts, and what each is kept by.
pub(super) struct Fleet<I> {
    iam: Arc<I>,
    own: Caller,
    manifests: watch::Receiver<Arc<ManifestSet>>,
    /// What the accounts' loops go by: they hear of newer manifests once the fleet has.
    newest: watch::Sender<Arc<ManifestSet>>,
    options: Options,
    exchange: Exchange,
    board: Board,
    together: Arc<Together>,
    next_entry: Instant,
    members: BTreeMap<AccountId, Member>,
    at_work: FuturesUnordered<Pin<Box<dyn Future<Output = AccountId> + Send>>>,
    is_suspended: bool,
    suspension_told: Instant,
}

/// An account that is looked after.
struct Member {
    entrance: Option<Entrance>,
    stop: CancellationToken,
}

impl<I: Iam> Fleet<I> {
    pub(super) fn new(
        iam: Arc<I>,
        own: Caller,
        mut manifests: watch::Receiver<Arc<ManifestSet>>,
        options: Options,
        exchange: Exchange,
        board: Board,
    ) -> Self {
        let (newest, _) = watch::channel(Arc::clone(&manifests.borrow_and_update()));
        Self {
            iam,
            own,
            manifests,
            newest,
            options,
            exchange,
            board,
            together: Together::new(READINGS_AT_ONCE),
            next_entry: Instant::now(),
            members: BTreeMap::new(),
            at_work: FuturesUnordered::new(),
            is_suspended: false,
            suspension_told: Instant::now(),
        }
    }

    /// Runs until `shutdown`, then lets the writes in flight of every account finish.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        self.take_manifests();
        let mut leadership = self.options.leadership.clone();
        while !shutdown.is_cancelled() {
            let reminder = self.suspension_told + REMINDER;
            let leads = leadership.leads();
            self.listen(leads);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = next_manifests(&mut self.manifests) => {
                    let newest = Arc::clone(&self.manifests.borrow_and_update());
                    self.newest.send_replace(newest);
                    self.take_manifests();
                }
                () = leadership.turns_from(leads) => {}
                Some(left) = self.at_work.next() => self.conclude(&left),
                () = sleep_until(reminder), if self.is_suspended => self.tell_suspended(true),
            }
        }
        for member in self.members.values() {
            member.stop.cancel();
        }
        while self.at_work.next().await.is_some() {}
    }

    /// Enters and leaves accounts as the newest manifests say.
    fn take_manifests(&mut self) {
        let newest = Arc::clone(&self.newest.borrow());
        let is_suspended = newest.configuration().is_some_and(|configuration| configuration.suspend);
        if is_suspended != self.is_suspended {
            self.tell_suspended(is_suspended);
        }
        let wanted = self.entrances(&newest);
        let all = newest.accounts().keys().chain([&self.own.account]);
        let of_others = all.filter(|account| !wanted.contains_key(*account));
        self.exchange.leaves_to_others(of_others.cloned().collect());
        for (account, member) in &self.members {
            if wanted.get(account) != Some(&member.entrance) {
                member.stop.cancel();
            }
        }
        for (account, entrance) in wanted {
            if !self.members.contains_key(&account) {
                self.begin(account, entrance);
            }
        }
        self.board.has_accounts();
    }

    /// Listens to the queue that the newest manifests name, as long as this process leads: a message is for one listener,
    /// and whoever stands by would take it from the one who can do something about it.
    fn listen(&self, leads: bool) {
        // Not before somebody hears for each account: what is heard for nobody is lost.
        let newest = self.newest.borrow();
        let queue = newest.configuration().and_then(|configuration| configuration.queue_url.clone());
        self.exchange.listen_to(queue.filter(|_| leads));
    }

    fn begin(&mut self, account: AccountId, entrance: Option<Entrance>) {
        let stop = CancellationToken::new();
        let mut options = self.options.clone();
        if account != self.own.account {
            // With one and the same jitter all accounts would be read in the same moments.
            options.seed ^= shard::hash(&account);
        }
        let door = Door {
            iam: Arc::clone(&self.iam),
            own: self.own.clone(),
            entrance: entrance.clone().map(|entrance| (entrance, self.time_of_entry())),
            manifests: self.newest.subscribe(),
            options,
            together: Arc::clone(&self.together),
            subscription: self.exchange.subscribe(account.clone()),
            inquiries: self.board.keep(&account),
        };
        let (token, id) = (stop.clone(), account.clone());
        self.at_work.push(Box::pin(async move {
            door.keep(token).await;
            id
        }));
        self.members.insert(account, Member { entrance, stop });
    }

    fn time_of_entry(&mut self) -> Instant {
        let at = self.next_entry.max(Instant::now());
        self.next_entry = at + BETWEEN_ENTRIES;
        at
    }

    /// An account's loop has ended: it is no longer looked after, or is to be entered in another way.
    fn conclude(&mut self, account: &AccountId) {
        self.members.remove(account);
        let wanted = self.entrances(&self.newest.borrow());
        match wanted.into_iter().find(|(id, _)| id == account) {
            Some((account, entrance)) => self.begin(account, entrance),
            None => {
                self.board.leave(account);
                let said = format!("account {account} is not configured any more: its roles are left as they are");
                emit(&Event { account: Some(account.to_string()), ..Event::new(EventName::AccountLeft, said) });
            }
        }
    }

    /// The accounts that are looked after, and how each is entered: the controller's own needs no entrance.
    fn entrances(&self, manifests: &ManifestSet) -> BTreeMap<AccountId, Option<Entrance>> {
        let own = &self.own.account;
        let configured = manifests.accounts().iter().map(|(account, configured)| {
            let needs_none = account == own && configured.assume_role.is_none() && configured.region.is_none();
            (account.clone(), (!needs_none).then(|| entrance(account, configured)))
        });
        let mut entrances: BTreeMap<AccountId, Option<Entrance>> = configured.collect();
        entrances.entry(own.clone()).or_default();
        entrances.retain(|account, _| self.options.shard.is_none_or(|shard| shard.holds(account)));
        entrances
    }

    fn tell_suspended(&mut self, is_suspended: bool) {
        (self.is_suspended, self.suspension_told) = (is_suspended, Instant::now());
        tell_kill_switch(is_suspended);
    }
}

/// Says that the kill switch is on, or off again.
pub(super) fn tell_kill_switch(is_on: bool) {
    emit(&if is_on {
        Event {
            hint: Some("set suspend: false in the ControllerConfiguration to go on".to_owned()),
            ..Event::new(EventName::ControllerSuspended, "the kill switch is on: nothing is written anywhere")
        }
    } else {
        Event::new(EventName::ControllerResumed, "the kill switch is off: drift is repaired again")
    });
}

/// How a configured account is entered.
pub(crate) fn entrance(account: &AccountId, configured: &ConfiguredAccount) -> Entrance {
    Entrance {
        account: account.clone(),
        role: configured.assume_role.clone(),
        external_id: configured.external_id.clone(),
        session_name: configured.session_name.clone().unwrap_or_else(|| SESSION_NAME.to_owned()),
        region: configured.region.clone(),
    }
}

/// The way into one account, and what is needed behind it.
struct Door<I> {
    iam: Arc<I>,
    own: Caller,
    /// And when, where there is one.
    entrance: Option<(Entrance, Instant)>,
    manifests: watch::Receiver<Arc<ManifestSet>>,
    options: Options,
    together: Arc<Together>,
    subscription: Subscription,
    inquiries: Inquiries,
}

impl<I: Iam> Door<I> {
    /// Enters the account, however long that takes, and keeps its roles until `stop`.
    async fn keep(self, stop: CancellationToken) {
        let is_own = self.entrance.as_ref().is_none_or(|(entrance, _)| entrance.account == self.own.account);
        let (iam, caller) = match &self.entrance {
            None => (self.iam, self.own),
            Some((entrance, at)) => {
                if stop.run_until_cancelled(sleep_until(*at)).await.is_none() {
                    return;
                }
                let there = Arc::new(self.iam.within(entrance).await);
                let Some(caller) =
                    identify(there.as_ref(), Some((entrance, &self.inquiries)), self.options.seed, &stop).await
                else {
                    return;
                };
                let said = format!("keeping the roles of account {} as {}", caller.account, caller.arn);
                let account = Some(caller.account.to_string());
                emit(&Event { account, ..Event::new(EventName::AccountEntered, said) });
                (there, caller.entered_by(&self.own))
            }
        };
        let Self { together, subscription, inquiries, .. } = self;
        inquiries.entered();
        let seat = Seat { caller, is_own, together, subscription, inquiries };
        Account::new(iam, seat, self.manifests, self.options).run(stop).await;
    }
}

/// Who the credentials belong to; asked until STS answers, told once where it does not.
pub(super) async fn identify<I: Iam>(
    iam: &I,
    entrance: Option<(&Entrance, &Inquiries)>,
    seed: u64,
    shutdown: &CancellationToken,
) -> Option<Caller> {
    let mut backoff = Backoff::new(seed);
    let mut told = None;
    loop {
        let asked = tokio::select! {
            () = shutdown.cancelled() => return None,
            asked = iam.caller() => asked,
        };
        let meant = entrance.map(|(entrance, _)| &entrance.account);
        let asked = asked.and_then(|caller| match meant {
            Some(meant) if caller.account != *meant => {
                let message = format!("the credentials are of account {}, and not of {meant}", caller.account);
                Err(IamError::contradiction("GetCallerIdentity", message))
            }
            _ => Ok(caller),
        });
        match asked {
            Ok(caller) => {
                if told.is_some() && entrance.is_none() {
                    emit(&Event::new(EventName::ReadRecovered, "STS says again who the credentials belong to"));
                }
                return Some(caller);
            }
            Err(error) => {
                if let Some((entrance, inquiries)) = entrance {
                    inquiries.not_entered(error.to_string(), hint_to_enter(entrance, &error));
                }
                if told.replace(error.class) != Some(error.class) {
                    emit(&match entrance {
                        Some((entrance, _)) => not_entered(entrance, &error),
                        None => super::read_failed(None, &error),
                    });
                }
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

/// What to do about an account that could not be entered.
pub(crate) fn hint_to_enter(entrance: &Entrance, error: &IamError) -> String {
    match &entrance.role {
        Some(role) if !error.class.passes_by_itself() && error.class != ErrorClass::Clock => format!(
            "see that {role} exists, that its trust policy admits the controller's own role{}, and that this one may \
             sts:AssumeRole it",
            match entrance.external_id {
                Some(_) => " with this external id",
                None => " (where it asks for an external id: say it in `externalId`)",
            }
        ),
        None if error.class == ErrorClass::Credentials => format!(
            "say in `assumeRoleArn` which role of account {} is to be assumed, or give the process credentials of that \
             account",
            entrance.account
        ),
        _ => Reason::Failed(error.class).hint().to_owned(),
    }
}

/// The event of an account that could not be entered.
fn not_entered(entrance: &Entrance, error: &IamError) -> Event {
    let account = &entrance.account;
    Event {
        account: Some(account.to_string()),
        reason: Some(Reason::Failed(error.class).as_str()),
        hint: Some(hint_to_enter(entrance, error)),
        ..Event::new(
            EventName::AccountNotEntered,
            format!(
                "account {account} cannot be entered, so nothing is concluded and nothing is written there: {error}"
            ),
        )
    }
}
