//! The calls that this process made, by the ids that IAM gave them: their events are known as its own.
//!
//! Pure: the time is an argument. What must stay true: only what IAM answered to this very process counts as its own, never
//! what an event says of who made it; and the memory is bounded in size and in time.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// So long may an event take. CloudTrail promises nothing; minutes are usual.
const KEPT: Duration = Duration::from_secs(3600);

/// So many ids are kept: more than IAM would take as writes within the hour.
const MOST: usize = 10_000;

/// The ids of one account's calls of the last hour.
#[derive(Debug, Default)]
pub struct OwnCalls {
    ids: BTreeSet<String>,
    by_age: VecDeque<(Instant, String)>,
}

impl OwnCalls {
    /// IAM answered a call of ours with this request id.
    pub fn made(&mut self, request_id: &str, now: Instant) {
        self.forget(now);
        if request_id.is_empty() || !self.ids.insert(request_id.to_owned()) {
            return;
        }
        self.by_age.push_back((now, request_id.to_owned()));
        if self.by_age.len() > MOST
            && let Some((_, oldest)) = self.by_age.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    /// Whether an event with this id tells of a call of ours. Asked twice it says the same: events may come doubled.
    pub fn is_own(&mut self, request_id: &str, now: Instant) -> bool {
        self.forget(now);
        self.ids.contains(request_id)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((_, id)) = self.by_age.pop_front_if(|(made, _)| now.saturating_duration_since(*made) >= KEPT) {
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_id_for_an_hour_however_often_it_is_asked_for() {
        let (mut own, now) = (OwnCalls::default(), Instant::now());
        own.made("one", now);
        own.made("one", now + KEPT / 2);
        own.made("", now);
        assert!(own.is_own("one", now) && own.is_own("one", now + KEPT - Duration::from_secs(1)));
        assert!(!own.is_own("two", now) && !own.is_own("", now));
        assert!(!own.is_own("one", now + KEPT));
        assert!(own.by_age.is_empty() && own.ids.is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten_first_when_there_are_too_many() {
        let (mut own, now) = (OwnCalls::default(), Instant::now());
        for number in 0..=MOST {
            own.made(&number.to_string(), now);
        }
        assert!(!own.is_own("0", now) && own.is_own("1", now) && own.is_own(&MOST.to_string(), now));
        assert_eq!((own.by_age.len(), own.ids.len()), (MOST, MOST));
    }
}
