//! From the one queue to the loops of the accounts.
//!
//! Knows who listens, not what for. What must stay true: delivering never waits, so that no account holds up another or the
//! queue; and what an account has no room for is told to it as lost, never dropped in silence.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, mpsc, mpsc::error::TrySendError, watch};

use super::heard::{Heard, PassedOver};
use crate::names::{AccountId, QueueUrl};

/// So many events may wait for an account's loop: if there are more, it reads everything anyway.
const MOST_EVENTS: usize = 1024;

/// Whether the queue is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Listening {
    /// No queue is configured, or none was reached yet.
    #[default]
    Off,
    /// The queue is read.
    Up,
    /// The queue cannot be read.
    Failed,
}

/// What an account's loop is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// An event of this account, and how old it is.
    Heard(Box<Heard>, Duration),
    /// More events came than there was room for: anything may have changed.
    Lost,
    /// The queue is read now, or no longer.
    Listening(Listening),
}

/// Hands each event to its account. Cheap to clone: all clones are the same exchange.
#[derive(Debug, Clone, Default)]
pub struct Exchange {
    lines: Arc<Mutex<BTreeMap<AccountId, Line>>>,
    /// The accounts that other processes keep.
    elsewhere: Arc<Mutex<BTreeSet<AccountId>>>,
    queue: watch::Sender<Option<QueueUrl>>,
    listening: watch::Sender<Listening>,
}

/// The way to one account's loop.
#[derive(Debug)]
struct Line {
    events: mpsc::Sender<(Box<Heard>, Duration)>,
    lost: Arc<Notify>,
}

/// An account's end of the exchange.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::Receiver<(Box<Heard>, Duration)>,
    lost: Arc<Notify>,
    listening: watch::Receiver<Listening>,
}

impl Exchange {
    /// From now on the events of this account are handed to the subscription, until it is dropped; one that the account
    /// had before hears nothing any more.
    #[must_use]
    pub fn subscribe(&self, account: AccountId) -> Subscription {
        let (tell, events) = mpsc::channel(MOST_EVENTS);
        let lost = Arc::new(Notify::new());
        let line = Line { events: tell, lost: Arc::clone(&lost) };
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).insert(account, line);
        let mut listening = self.listening.subscribe();
        listening.mark_changed();
        Subscription { events, lost, listening }
    }

    /// Names the queue whose events are handed on from now on; none, and nothing is listened to.
    pub fn listen_to(&self, queue: Option<QueueUrl>) {
        self.queue.send_if_modified(|known| {
            *known != queue && {
                *known = queue;
                true
            }
        });
    }

    /// The queue that is to be listened to, as it changes.
    pub(crate) fn queue(&self) -> watch::Receiver<Option<QueueUrl>> {
        self.queue.subscribe()
    }

    /// Names the accounts that are configured, and that other processes keep: their events are nothing to be told of here,
    /// since one rule fills the queues of all.
    pub fn leaves_to_others(&self, accounts: BTreeSet<AccountId>) {
        *self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner) = accounts;
    }

    /// Hands on an event that is so old.
    ///
    /// # Errors
    ///
    /// Where no loop keeps the event's account.
    pub fn deliver(&self, heard: Heard, age: Duration) -> Result<(), PassedOver> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let account = heard.account.clone();
        let Some(line) = lines.get(&account) else { return Err(self.not_kept(account)) };
        match line.events.try_send((Box::new(heard), age)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                line.lost.notify_one();
                Ok(())
            }
            Err(TrySendError::Closed(_)) => {
                lines.remove(&account);
                Err(self.not_kept(account))
            }
        }
    }

    fn not_kept(&self, account: AccountId) -> PassedOver {
        if self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).contains(&account) {
            PassedOver::OtherShard(account)
        } else {
            PassedOver::OtherAccount(account)
        }
    }

    /// Tells all accounts whether the queue is read.
    pub fn is_listening(&self, listening: Listening) {
        self.listening.send_if_modified(|known| std::mem::replace(known, listening) != listening);
    }
}

impl Subscription {
    /// The next thing to be told. It may be dropped at any await and asked again, and loses nothing; without an exchange
    /// it waits for ever.
    pub async fn next(&mut self) -> News {
        tokio::select! {
            biased;
            Ok(()) = self.listening.changed() => News::Listening(*self.listening.borrow_and_update()),
            () = self.lost.notified() => News::Lost,
            Some((heard, age)) = self.events.recv() => News::Heard(heard, age),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::events::What;

    const AGE: Duration = Duration::from_secs(3);

    fn heard(account: &str, request_id: usize) -> Heard {
        Heard {
            account: account.parse().unwrap(),
            request_id: Some(request_id.to_string()),
            at: None,
            what: What::Read,
        }
    }

    /// Nothing is told within a minute of the paused clock.
    async fn is_silent(subscription: &mut Subscription) -> bool {
        timeout(Duration::from_secs(60), subscription.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn each_account_hears_its_own_events_and_whether_the_queue_is_read() {
        let exchange = Exchange::default();
        let mut one = exchange.subscribe("111111111111".parse().unwrap());
        let mut two = exchange.subscribe("222222222222".parse().unwrap());
        assert_eq!(one.next().await, News::Listening(Listening::Off));
        exchange.is_listening(Listening::Up);
        exchange.is_listening(Listening::Up);
        exchange.deliver(heard("111111111111", 1), AGE).unwrap();
        assert_eq!(one.next().await, News::Listening(Listening::Up));
        assert_eq!(one.next().await, News::Heard(Box::new(heard("111111111111", 1)), AGE));
        assert!(is_silent(&mut one).await);
        assert_eq!(two.next().await, News::Listening(Listening::Up));
        assert!(is_silent(&mut two).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_of_an_account_that_another_process_keeps_is_handed_back_as_such() {
        let exchange = Exchange::default();
        let account: AccountId = "111111111111".parse().unwrap();
        let mut kept = exchange.subscribe("222222222222".parse().unwrap());
        exchange.leaves_to_others([account.clone()].into());
        assert_eq!(exchange.deliver(heard("111111111111", 1), AGE), Err(PassedOver::OtherShard(account.clone())));
        assert_eq!(kept.next().await, News::Listening(Listening::Off));
        exchange.leaves_to_others(BTreeSet::new());
        assert_eq!(exchange.deliver(heard("111111111111", 1), AGE), Err(PassedOver::OtherAccount(account)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_of_an_account_that_nobody_keeps_is_handed_back() {
        let exchange = Exchange::default();
        let account: AccountId = "111111111111".parse().unwrap();
        let other = Err(PassedOver::OtherAccount(account.clone()));
        assert_eq!(exchange.deliver(heard("111111111111", 1), AGE), other);
        let subscription = exchange.subscribe(account.clone());
        assert_eq!(exchange.deliver(heard("111111111111", 1), AGE), Ok(()));
        drop(subscription);
        assert_eq!(exchange.deliver(heard("111111111111", 1), AGE), other);
        // Whoever subscribes anew takes the place of the one before.
        let _before = exchange.subscribe(account.clone());
        let mut now = exchange.subscribe(account);
        exchange.deliver(heard("111111111111", 2), AGE).unwrap();
        assert_eq!(now.next().await, News::Listening(Listening::Off));
        assert_eq!(now.next().await, News::Heard(Box::new(heard("111111111111", 2)), AGE));
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_does_not_listen_holds_up_nobody_and_learns_that_something_was_lost() {
        let exchange = Exchange::default();
        let mut subscription = exchange.subscribe("111111111111".parse().unwrap());
        assert_eq!(subscription.next().await, News::Listening(Listening::Off));
        for number in 0..2 * MOST_EVENTS {
            exchange.deliver(heard("111111111111", number), AGE).unwrap();
        }
        assert_eq!(subscription.next().await, News::Lost);
        for number in 0..MOST_EVENTS {
            assert_eq!(subscription.next().await, News::Heard(Box::new(heard("111111111111", number)), AGE));
        }
        assert!(is_silent(&mut subscription).await);
    }
}
