//! Keeps asking for the lease, and tells what comes of it.
//!
//! What must stay true: that a tenure is over is said when it is over, also while an answer is waited for; and each change
//! is told once.

use std::{
    future::{Future, pending},
    pin::pin,
};

use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Answer, Ask, Election, Failure, Leadership, Moment, Standing};
use crate::telemetry::{Event, EventName, emit};

/// Where a lease is kept. Two sides stand behind it: Kubernetes, and the store of the tests, under a paused clock.
pub trait Leases: Send + Sync + 'static {
    /// Asks once. How long an answer is waited for is not its business.
    fn ask(&self, ask: &Ask) -> impl Future<Output = Answer> + Send;
}

/// So often in a row the store may fail before that is told, where it may pass by itself.
const QUIET_FAILURES: u32 = 3;

/// Asks for one lease on behalf of this process.
#[derive(Debug)]
pub struct Keeper<L> {
    leases: L,
    desk: Desk,
}

/// What is known, what was said of it, and to whom.
#[derive(Debug)]
struct Desk {
    election: Election,
    /// What the lease is called, for messages: `default/ssm-role-controller`.
    lease: String,
    standing: watch::Sender<Standing>,
    /// For whom it was told that this process stands by.
    stands_by_for: Option<String>,
    failures: u32,
    /// The last failure, where the last question was not answered.
    failure: Option<Failure>,
    is_failure_told: bool,
}

impl<L: Leases> Keeper<L> {
    /// A keeper that has asked nothing yet. `lease` is what messages call the lease.
    pub fn new(leases: L, lease: String, election: Election) -> Self {
        let (standing, _) = watch::channel(Standing::default());
        let desk =
            Desk { election, lease, standing, stands_by_for: None, failures: 0, failure: None, is_failure_told: false };
        Self { leases, desk }
    }

    /// What the rest of the program sees.
    pub fn leadership(&self) -> Leadership {
        Leadership::elected(self.desk.standing.subscribe())
    }

    /// Runs until `stop`, which comes when nothing is written any more; then gives the lease up, where it is held.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.desk.tenure_ends() => self.desk.conclude(),
                () = sleep_until(self.desk.election.due()) => self.ask(&stop).await,
            }
        }
        self.resign().await;
    }

    /// Asks once, and meanwhile sees to it that a tenure ends in time.
    async fn ask(&mut self, stop: &CancellationToken) {
        let Self { leases, desk } = self;
        let sent = Moment::now();
        let ask = desk.election.next(sent);
        let answer_within = desk.election.terms().answer_within;
        let mut asked = pin!(timeout(answer_within, leases.ask(&ask)));
        let answer = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = desk.tenure_ends() => desk.conclude(),
                answer = &mut asked => break answer,
            }
        };
        let answer = answer.unwrap_or_else(|_| {
            Answer::Failed(Failure {
                message: format!("there was no answer within {} s", answer_within.as_secs()),
                hint: "check the way to the API server if it lasts; it is tried again".to_owned(),
                needs_a_person: false,
            })
        });
        match &answer {
            Answer::Failed(failure) => desk.failed(failure),
            Answer::Holds(_) | Answer::HoldsNothing | Answer::Conflict => desk.answered(),
        }
        desk.election.take(&ask, sent, answer, Moment::now());
        desk.conclude();
    }

    async fn resign(mut self) {
        let asked = self.desk.election.resign(Moment::now());
        self.desk.standing.send_replace(Standing::default());
        let within = self.desk.election.terms().answer_within;
        if let Some(ask) = asked
            && let Ok(Answer::Holds(_)) = timeout(within, self.leases.ask(&ask)).await
        {
            let said = format!("{} gives the lease up", self.desk.whose());
            emit(&Event::new(EventName::LeaderResigned, said));
        }
    }
}

impl Desk {
    /// This process and the lease, as the beginning of a sentence.
    fn whose(&self) -> String {
        format!("lease {}: this process ({})", self.lease, self.election.identity())
    }

    /// Waits for the end of a tenure that was said to last; for ever where none was.
    async fn tenure_ends(&self) {
        let standing = *self.standing.borrow();
        match standing.tenure.filter(|_| standing.leads) {
            Some(tenure) => sleep_until(tenure.sent.steady + tenure.length).await,
            None => pending().await,
        }
    }

    /// Says how this process stands now, and tells what is new about it.
    fn conclude(&mut self) {
        let tenure = self.election.tenure();
        let leads = tenure.is_some_and(|tenure| tenure.lasts(Moment::now()));
        let led = self.standing.send_replace(Standing { tenure: tenure.filter(|_| leads), leads }).leads;
        if leads && !led {
            self.stands_by_for = None;
            let said = format!("{} holds it, and writes from now on", self.whose());
            emit(&Event::new(EventName::LeaderElected, said));
        }
        if led && !leads {
            let why = match (self.holder(), &self.failure) {
                (Some(holder), _) => format!("{holder} has it"),
                (None, Some(failure)) => format!("it could not be renewed in time: {}", failure.message),
                (None, None) => "it was not renewed in time".to_owned(),
            };
            let said = format!("{} holds it no more, and writes nothing: {why}", self.whose());
            let hint = self.failure.as_ref().map(|failure| failure.hint.clone());
            emit(&Event { hint, ..Event::new(EventName::LeaderLost, said) });
        }
        if !leads {
            self.tell_standby();
        }
    }

    /// Who else holds the lease, by what was seen last.
    fn holder(&self) -> Option<String> {
        self.election.holder().filter(|holder| *holder != self.election.identity()).map(str::to_owned)
    }

    /// Says for whom this process stands by, when that changes.
    fn tell_standby(&mut self) {
        let holder = self.holder();
        if holder.is_none() || self.stands_by_for == holder {
            return;
        }
        self.stands_by_for = holder;
        let said = format!(
            "{} stands by for {}: it reads and writes nothing, and what it finds is for that one to tell",
            self.whose(),
            self.stands_by_for.as_deref().unwrap_or_default()
        );
        emit(&Event::new(EventName::LeaderStandby, said));
    }

    fn failed(&mut self, failure: &Failure) {
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(failure.clone());
        if !self.is_failure_told && (failure.needs_a_person || self.failures >= QUIET_FAILURES) {
            self.is_failure_told = true;
            let said = format!(
                "{} cannot ask for it: meanwhile it does not take it over, and if it holds it, it stops writing in time: {}",
                self.whose(),
                failure.message
            );
            emit(&Event { hint: Some(failure.hint.clone()), ..Event::new(EventName::LeaderUnreachable, said) });
        }
    }

    fn answered(&mut self) {
        (self.failures, self.failure) = (0, None);
        if std::mem::take(&mut self.is_failure_told) {
            emit(&Event::new(EventName::LeaderReachable, format!("{} can ask for it again", self.whose())));
        }
    }
}
