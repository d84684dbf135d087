//! Whether change events are seen to arrive, and for how long that lets a resync be late.
//!
//! Pure: the time is an argument. What must stay true: without evidence that is recent enough the resync interval is the
//! usual one, and the end of evidence is told once.
//!
//! Evidence lasts as long as the stretched interval (and a fifth more, for the jitter of resyncs) and the time that an event
//! may take. So a resync that is late because events were seen is never further from the last of them than that, and an
//! account in which nothing at all happens falls back to the usual interval, unless each resync's own reading is itself seen
//! as an event.
//!
//! Whoever waits for [`Flow::next`] asks [`Flow::turn`] then: it is what lets evidence end.

use std::time::Duration;

use tokio::time::Instant;

/// So long may an event take from the call to the queue's end; what is older proves nothing of the present.
const GRACE: Duration = Duration::from_secs(15 * 60);

/// How long evidence lasts where no interval is stretched by it: it is only told.
const TOLD_FOR: Duration = Duration::from_secs(24 * 3600);

/// What is known of one account's events.
#[derive(Debug, Default)]
pub struct Flow {
    /// `resyncIntervalWithEvents`.
    stretched: Option<Duration>,
    /// When the last event came that was not old.
    evidence: Option<Instant>,
    /// The earliest write of ours whose event has not come.
    unheard: Option<Instant>,
    /// Whether the queue can be read.
    is_listening: bool,
    told: Told,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Told {
    #[default]
    Nothing,
    Flowing,
    Stopped,
}

/// A change that is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Events are seen to arrive.
    Began,
    /// They are not, or not any more.
    Stopped(Silence),
}

/// Why events do not count as arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// The queue cannot be read.
    QueueFailed,
    /// A write of our own was to be heard of, and was not.
    OwnWriteUnheard,
    /// None came for so long. Perhaps nothing was changed.
    Nothing(Duration),
}

impl Flow {
    /// Takes in `resyncIntervalWithEvents`.
    pub fn configure(&mut self, stretched: Option<Duration>) {
        self.stretched = stretched;
    }

    /// The queue can be read now, or no longer.
    pub fn listening(&mut self, is_listening: bool) {
        self.is_listening = is_listening;
        if !is_listening {
            // An event may lie in the queue, or may have been lost with it: neither is awaited.
            (self.evidence, self.unheard) = (None, None);
        }
    }

    /// Nobody listens, and nobody shall: all that was known is forgotten.
    pub fn rest(&mut self) {
        *self = Self { stretched: self.stretched, ..Self::default() };
    }

    /// A write of ours was made: its event will show that the whole way works.
    pub fn wrote(&mut self, now: Instant) {
        if self.is_listening {
            self.unheard.get_or_insert(now);
        }
    }

    /// An event of the account came that is so old; that of a write of our own, or another one.
    pub fn heard(&mut self, is_own_write: bool, age: Duration, now: Instant) {
        if is_own_write {
            self.unheard = None;
        }
        // What lay in the queue for long only says that events once came.
        if age <= GRACE {
            self.evidence = Some(now);
        }
    }

    /// Whether events are seen to arrive.
    #[must_use]
    pub fn is_seen(&self, now: Instant) -> bool {
        self.is_listening
            && !self.is_overdue(now)
            && self.evidence.is_some_and(|seen| now.saturating_duration_since(seen) < self.lasts())
    }

    /// How long to wait between two readings, in place of `usual`.
    #[must_use]
    pub fn interval(&self, usual: Duration, now: Instant) -> Duration {
        let stretched = self.stretched.filter(|_| self.is_seen(now));
        stretched.map_or(usual, |stretched| stretched.max(usual))
    }

    /// What has turned since it was asked last, and is to be told.
    pub fn turn(&mut self, now: Instant) -> Option<Turn> {
        let why = if !self.is_listening {
            Silence::QueueFailed
        } else if self.is_overdue(now) {
            Silence::OwnWriteUnheard
        } else {
            Silence::Nothing(self.lasts())
        };
        if self.is_seen(now) {
            return (std::mem::replace(&mut self.told, Told::Flowing) != Told::Flowing).then_some(Turn::Began);
        }
        // Whatever came before, only what comes from now on is evidence again.
        self.evidence = None;
        let is_news = match why {
            Silence::OwnWriteUnheard => self.told != Told::Stopped,
            Silence::QueueFailed | Silence::Nothing(_) => self.told == Told::Flowing,
        };
        if why == Silence::OwnWriteUnheard {
            self.unheard = None;
        }
        is_news.then(|| {
            self.told = Told::Stopped;
            Turn::Stopped(why)
        })
    }

    /// When something may turn by time alone.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let fades = self.evidence.map(|seen| seen + self.lasts());
        let overdue = self.unheard.map(|written| written + GRACE);
        fades.into_iter().chain(overdue).min()
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.unheard.is_some_and(|written| now.saturating_duration_since(written) >= GRACE)
    }

    fn lasts(&self) -> Duration {
        let interval = self.stretched.unwrap_or(TOLD_FOR);
        interval + interval / 5 + GRACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const STRETCHED: Duration = Duration::from_secs(1800);

    fn flow() -> (Flow, Instant) {
        let mut flow = Flow::default();
        flow.configure(Some(STRETCHED));
        flow.listening(true);
        (flow, Instant::now())
    }

    #[test]
    fn the_interval_is_stretched_only_while_events_are_seen() {
        let (mut flow, now) = flow();
        assert_eq!((flow.interval(MINUTE, now), flow.turn(now)), (MINUTE, None));
        flow.heard(false, MINUTE, now);
        assert_eq!((flow.interval(MINUTE, now), flow.turn(now)), (STRETCHED, Some(Turn::Began)));
        assert_eq!(flow.turn(now), None);
        let ends = flow.next().unwrap();
        let lasts = Duration::from_secs(1800 + 360 + 900);
        assert_eq!(ends, now + lasts);
        assert_eq!(flow.interval(MINUTE, ends - MINUTE), STRETCHED);
        assert_eq!(flow.turn(ends), Some(Turn::Stopped(Silence::Nothing(lasts))));
        assert_eq!((flow.interval(MINUTE, ends), flow.turn(ends), flow.next()), (MINUTE, None, None));
        flow.heard(false, Duration::ZERO, ends);
        assert_eq!(flow.turn(ends), Some(Turn::Began));
    }

    #[test]
    fn what_lay_in_the_queue_for_long_is_no_evidence() {
        let (mut flow, now) = flow();
        flow.heard(false, GRACE + Duration::from_secs(1), now);
        assert!(!flow.is_seen(now));
        flow.heard(true, GRACE + Duration::from_secs(1), now);
        assert!(!flow.is_seen(now));
        flow.heard(false, GRACE, now);
        assert!(flow.is_seen(now));
    }

    #[test]
    fn an_interval_that_is_longer_already_is_not_made_shorter() {
        let (mut flow, now) = flow();
        flow.heard(false, Duration::ZERO, now);
        assert_eq!(flow.interval(2 * STRETCHED, now), 2 * STRETCHED);
        flow.configure(None);
        assert_eq!(flow.interval(MINUTE, now), MINUTE);
    }

    #[test]
    fn a_queue_that_fails_stops_it_at_once_and_evidence_begins_anew() {
        let (mut flow, now) = flow();
        flow.heard(true, Duration::ZERO, now);
        assert_eq!(flow.turn(now), Some(Turn::Began));
        flow.listening(false);
        assert_eq!(flow.interval(MINUTE, now), MINUTE);
        assert_eq!(flow.turn(now), Some(Turn::Stopped(Silence::QueueFailed)));
        flow.listening(true);
        assert_eq!((flow.turn(now), flow.is_seen(now)), (None, false));
    }

    #[test]
    fn a_queue_that_fails_before_anything_was_seen_stops_nothing() {
        let (mut flow, now) = flow();
        flow.listening(false);
        assert_eq!(flow.turn(now), None);
    }

    #[test]
    fn a_write_of_our_own_that_is_not_heard_of_stops_it_whatever_else_is_heard() {
        let (mut flow, now) = flow();
        flow.wrote(now);
        flow.wrote(now + MINUTE);
        flow.heard(false, Duration::ZERO, now + MINUTE);
        assert_eq!(flow.turn(now + MINUTE), Some(Turn::Began));
        assert_eq!(flow.next(), Some(now + GRACE));
        assert_eq!(flow.interval(MINUTE, now + GRACE), MINUTE);
        assert_eq!(flow.turn(now + GRACE), Some(Turn::Stopped(Silence::OwnWriteUnheard)));
        assert_eq!(flow.turn(now + GRACE), None);
        // It is told once; what comes later is evidence again.
        flow.heard(false, Duration::ZERO, now + GRACE);
        assert_eq!(flow.turn(now + GRACE), Some(Turn::Began));
    }

    #[test]
    fn a_first_write_that_is_not_heard_of_is_told_although_nothing_was_seen_before() {
        let (mut flow, now) = flow();
        flow.wrote(now);
        assert_eq!(flow.turn(now + GRACE), Some(Turn::Stopped(Silence::OwnWriteUnheard)));
        flow.wrote(now + 2 * GRACE);
        assert_eq!(flow.turn(now + 3 * GRACE), None);
    }

    #[test]
    fn a_write_that_is_heard_of_is_waited_for_no_longer() {
        let (mut flow, now) = flow();
        flow.wrote(now);
        flow.heard(true, MINUTE, now + MINUTE);
        assert_eq!(flow.turn(now + MINUTE), Some(Turn::Began));
        assert!(flow.is_seen(now + GRACE));
    }

    #[test]
    fn while_nobody_listens_no_write_is_waited_for() {
        let (mut flow, now) = flow();
        flow.wrote(now);
        flow.listening(false);
        flow.wrote(now);
        flow.listening(true);
        assert_eq!((flow.next(), flow.turn(now + GRACE)), (None, None));
    }
}
