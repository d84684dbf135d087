//! What the rest of the program sees of an election: whether this process leads, and whether a write may begin now.
//!
//! What must stay true: the answer to the second is found by the clock when it is asked for, whatever anybody was told
//! before, so that no task that comes late lets a write go.

use std::{future::pending, time::Duration};

use tokio::sync::watch;

use super::Moment;

/// The time in which a process that holds a lease may write.
#[derive(Debug, Clone, Copy)]
pub struct Tenure {
    /// When the last renewal that succeeded was sent.
    pub sent: Moment,
    /// How long it lasts from then on.
    pub length: Duration,
}

impl Tenure {
    /// Whether what takes `longest` at most would end in it.
    #[must_use]
    pub fn allows(self, now: Moment, longest: Duration) -> bool {
        now.at_most_since(self.sent).saturating_add(longest) <= self.length
    }

    /// Whether it is not over.
    #[must_use]
    pub fn lasts(self, now: Moment) -> bool {
        now.at_most_since(self.sent) < self.length
    }
}

/// How a process stands in the election, as its keeper tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// The last tenure; none where there was none, or it was given up.
    pub tenure: Option<Tenure>,
    /// Whether the process was said to lead.
    pub leads: bool,
}

/// Whether this process may write. Where there is no election it always may.
#[derive(Debug, Clone, Default)]
pub struct Leadership(Option<watch::Receiver<Standing>>);

impl Leadership {
    /// That of a process that takes part in an election.
    #[must_use]
    pub fn elected(standing: watch::Receiver<Standing>) -> Self {
        Self(Some(standing))
    }

    /// Whether a write that takes `longest` at most would end before the lease can pass to another process. To be asked
    /// immediately before it is sent.
    #[must_use]
    pub fn allows(&self, longest: Duration) -> bool {
        match &self.0 {
            Some(standing) => standing.borrow().tenure.is_some_and(|tenure| tenure.allows(Moment::now(), longest)),
            None => true,
        }
    }

    /// Whether this process leads: it plans to write, and tells what it finds.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.0.as_ref().is_none_or(|standing| standing.borrow().leads)
    }

    /// Waits until [`Leadership::leads`] is another one than that. Cancel safe.
    pub async fn turns_from(&mut self, leads: bool) {
        let Some(standing) = &mut self.0 else { return pending().await };
        if standing.wait_for(|standing| standing.leads != leads).await.is_err() {
            // Nobody is left to say so; what was allowed runs out by the clock.
            pending().await
        }
    }
}
