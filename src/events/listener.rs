//! Listens to the queue: receives, hands on, deletes, for as long as there is a queue.
//!
//! Knows nothing of accounts but their exchange. What must stay true: nothing waits for the queue (a queue that fails is
//! told once and tried again, ever more slowly); a message is deleted only after it was handed on; and one that cannot be
//! understood holds up no other.
//!
//! What cannot be understood is told and left alone, so that SQS moves it to the queue's dead-letter queue, where a person
//! can look at it; where there is none, it is deleted when it comes for the [`MOST_RECEIVES`]th time.

use std::{future::pending, time::Duration};

use aws_config::SdkConfig;
use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    exchange::{Exchange, Listening},
    heard::{Heard, PassedOver, Worth},
    queue::{BATCH, DELETE, Message, Queue, RECEIVE},
    rejected::Rejected,
    trouble::{Trouble, Troubles},
};
use crate::{
    iam::IamError,
    names::QueueUrl,
    telemetry::{Event, EventName, emit},
    text::printable,
};

/// A message that cannot be understood is deleted when it is handed out so often: a dead-letter queue takes it before.
const MOST_RECEIVES: u32 = 6;

/// An answer without messages that comes sooner than this was not waited for: the next call then waits for it.
const SOON: Duration = Duration::from_secs(1);

/// Listens to the queue that the exchange names ([`Exchange::listen_to`]), and to the next one when that changes; until
/// `shutdown`. Where it names none, it waits. `config` holds the credentials; `seed` is that of the waits' jitter.
pub async fn listen(config: SdkConfig, exchange: Exchange, seed: u64, shutdown: CancellationToken) {
    let mut urls = exchange.queue();
    while !shutdown.is_cancelled() {
        let url = urls.borrow_and_update().clone();
        exchange.is_listening(Listening::Off);
        let listening = async {
            match url.clone() {
                Some(url) => Listener::new(Queue::new(&config, url), exchange.clone(), seed).run().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = another(&mut urls, url.as_ref()) => {}
            () = listening => {}
        }
    }
    exchange.is_listening(Listening::Off);
}

/// Waits until the channel names another queue than this; for ever once nobody can.
async fn another(urls: &mut watch::Receiver<Option<QueueUrl>>, than: Option<&QueueUrl>) {
    if urls.wait_for(|url| url.as_ref() != than).await.is_err() {
        pending().await
    }
}

/// One queue that is listened to.
#[derive(Debug)]
struct Listener {
    queue: Queue,
    exchange: Exchange,
    troubles: Troubles,
    /// Each kind has a budget of its own: what was only misdirected is not to keep what is poisoned from being told.
    poisoned: Rejected,
    misdirected: Rejected,
}

impl Listener {
    fn new(queue: Queue, exchange: Exchange, seed: u64) -> Self {
        Self {
            queue,
            exchange,
            troubles: Troubles::new(seed),
            poisoned: Rejected::default(),
            misdirected: Rejected::default(),
        }
    }

    /// Runs until it is dropped. What was received and not handed on then comes again.
    async fn run(mut self) {
        // Whether the queue can be read at all is asked first, and not found out only when a long poll ends.
        let mut is_up = false;
        loop {
            let (asked, at_once) = (Instant::now(), !is_up);
            match self.queue.receive(at_once).await {
                Ok(messages) => {
                    is_up = true;
                    self.works(RECEIVE);
                    self.troubles.calm();
                    self.exchange.is_listening(Listening::Up);
                    if messages.is_empty() && !at_once {
                        sleep_until(asked + SOON).await;
                    }
                    self.take(messages).await;
                }
                Err(error) => {
                    is_up = false;
                    self.fails(&error);
                    self.exchange.is_listening(Listening::Failed);
                    sleep(self.troubles.wait()).await;
                }
            }
        }
    }

    async fn take(&mut self, messages: Vec<Message>) {
        let now = Timestamp::now();
        let handled: Vec<String> =
            messages.into_iter().filter_map(|message| self.is_done(&message, now).then_some(message.receipt)).collect();
        // More than one call only where a queue hands out more than it was asked for.
        for receipts in handled.chunks(BATCH) {
            match self.queue.delete(receipts).await {
                Ok(()) => self.works(DELETE),
                Err(error) => self.fails(&error),
            }
        }
    }

    /// Hands the message on, or tells why not; whether it is to be deleted.
    fn is_done(&mut self, message: &Message, now: Timestamp) -> bool {
        let heard = Heard::read(&message.body).and_then(|heard| {
            // When it was sent is SQS's word, when the call was made the event's own: what is claimed makes it only older.
            let age = age(message.sent, now).max(age(heard.at, now));
            self.exchange.deliver(heard, age)
        });
        let Err(why) = heard else { return true };
        match why.worth() {
            Worth::Nothing => true,
            Worth::Misdirected => {
                self.reject(message, &why, "and is deleted");
                true
            }
            Worth::Poisoned if message.receives >= MOST_RECEIVES => true,
            Worth::Poisoned => {
                if message.receives <= 1 {
                    self.reject(message, &why, "and is left for the dead-letter queue");
                }
                false
            }
        }
    }

    fn reject(&mut self, message: &Message, why: &PassedOver, so: &str) {
        let budget = if why.worth() == Worth::Poisoned { &mut self.poisoned } else { &mut self.misdirected };
        let Some(untold) = budget.one(Instant::now()) else { return };
        let others = if untold == 0 { String::new() } else { format!("; {untold} more were not told before it") };
        let (id, url) = (printable(&message.id), self.queue.url());
        emit(&Event {
            reason: Some(why.as_str()),
            hint: Some(why.hint().to_owned()),
            ..Event::new(
                EventName::EventsMessageRejected,
                format!("message {id} of {url} is passed over {so}: {why}{others}"),
            )
        });
    }

    fn fails(&mut self, error: &IamError) {
        let Some(Trouble { reason, hint }) = self.troubles.failed(error) else { return };
        let what = if error.operation == RECEIVE {
            "change events cannot be read from"
        } else {
            "messages that were read cannot be deleted from"
        };
        let url = self.queue.url();
        emit(&Event {
            reason: Some(reason),
            hint: Some(hint.to_owned()),
            ..Event::new(
                EventName::EventsQueueFailed,
                format!("{what} {url}, so changes are found at the next resync at the latest: {error}"),
            )
        });
    }

    fn works(&mut self, operation: &'static str) {
        if self.troubles.worked(operation) {
            let message = format!("change events are read from {} again", self.queue.url());
            emit(&Event::new(EventName::EventsQueueRecovered, message));
        }
    }
}

/// How long ago that was; nothing for what lies in the future, or is not known.
fn age(then: Option<Timestamp>, now: Timestamp) -> Duration {
    then.and_then(|then| Duration::try_from(now.duration_since(then)).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
