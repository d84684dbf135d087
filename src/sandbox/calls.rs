//! The record of calls: what was asked, when, and what came of it.
//!
//! Pure. What must stay true: the counters count every call, however few calls are kept.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::Serialize;

use crate::names::AccountId;

use super::{role::fingerprint, wire::Request};

/// One call, in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    /// When it arrived, since the world's start.
    #[serde(serialize_with = "milliseconds", rename = "at_ms")]
    pub at: Duration,
    /// The account that was called.
    pub account: AccountId,
    /// The operation's name in AWS's API.
    pub operation: &'static str,
    /// The role that it named.
    pub role: Option<String>,
    /// The inline policy that it named.
    pub policy: Option<String>,
    /// The id that AWS would give to it.
    pub request_id: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// The request id of the call with this number, in the form of AWS's.
pub(super) fn request_id(number: u64) -> String {
    let (one, other) = (fingerprint(&number.to_string()), fingerprint(&format!("{number}/id")));
    let all = format!("{one:016x}{other:016x}");
    format!("{}-{}-4{}-a{}-{}", &all[..8], &all[8..12], &all[13..16], &all[17..20], &all[20..])
}

/// What came of a call in the world, whatever its caller got to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing yet: it is delayed, or was given up or lost before it took effect.
    Pending,
    /// It took effect.
    Accepted,
    /// It was refused, with this code.
    Refused(String),
}

/// How many calls of one operation there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Count {
    /// Every call that arrived.
    pub calls: u64,
    /// Those that took effect.
    pub accepted: u64,
    /// Those that were refused.
    pub refused: u64,
}

fn milliseconds<S: serde::Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(at.as_millis()).unwrap_or(u64::MAX))
}

/// The newest calls, and the counters of all.
#[derive(Debug)]
pub(super) struct Calls {
    kept: VecDeque<Call>,
    /// The number of the first call that is kept.
    first: u64,
    most: usize,
    counts: BTreeMap<&'static str, Count>,
}

impl Default for Calls {
    fn default() -> Self {
        Self { kept: VecDeque::new(), first: 0, most: 100_000, counts: BTreeMap::new() }
    }
}

impl Calls {
    /// Notes that a call arrived; its number serves [`Calls::finish`].
    pub(super) fn begin(&mut self, at: Duration, account: &AccountId, request: &Request) -> u64 {
        let operation = request.operation();
        self.counts.entry(operation).or_default().calls += 1;
        let number = self.first + self.kept.len() as u64;
        if self.most == 0 {
            self.first += 1;
            return number;
        }
        self.kept.push_back(Call {
            at,
            account: account.clone(),
            operation,
            role: request.role().map(str::to_owned),
            policy: request.policy().map(str::to_owned),
            request_id: request_id(number),
            outcome: Outcome::Pending,
        });
        self.trim();
        number
    }

    /// Notes what came of a call.
    pub(super) fn finish(&mut self, number: u64, operation: &'static str, refused: Option<&str>) {
        let count = self.counts.entry(operation).or_default();
        *(if refused.is_some() { &mut count.refused } else { &mut count.accepted }) += 1;
        let call = number.checked_sub(self.first).and_then(|index| self.kept.get_mut(usize::try_from(index).ok()?));
        if let Some(call) = call {
            call.outcome = refused.map_or(Outcome::Accepted, |code| Outcome::Refused(code.to_owned()));
        }
    }

    pub(super) fn keep(&mut self, most: usize) {
        self.most = most;
        self.trim();
    }

    fn trim(&mut self) {
        while self.kept.len() > self.most {
            self.kept.pop_front();
            self.first += 1;
        }
    }

    /// Forgets every call and every count. A call that is under way is then counted when it ends, and not kept.
    pub(super) fn clear(&mut self) {
        self.first += self.kept.len() as u64;
        self.kept.clear();
        self.counts.clear();
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &Call> {
        self.kept.iter()
    }

    pub(super) fn counts(&self) -> &BTreeMap<&'static str, Count> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_look_like_awss() {
        let id = request_id(1);
        assert_eq!(id.len(), 36);
        assert_ne!(id, request_id(2));
    }

    #[test]
    fn counters_go_on_when_calls_are_forgotten() {
        let (mut calls, account) = (Calls::default(), "111122223333".parse().unwrap());
        calls.keep(2);
        let get = |role: &str| Request::GetRole { role: role.to_owned() };
        let numbers: Vec<u64> = ["a", "b", "c"].map(|role| calls.begin(Duration::ZERO, &account, &get(role))).to_vec();
        calls.finish(numbers[0], "GetRole", None);
        calls.finish(numbers[2], "GetRole", Some("NoSuchEntity"));
        let kept: Vec<_> = calls.kept().map(|call| (call.role.as_deref().unwrap(), call.outcome.clone())).collect();
        assert_eq!(kept, [("b", Outcome::Pending), ("c", Outcome::Refused("NoSuchEntity".into()))]);
        assert_eq!(calls.counts()["GetRole"], Count { calls: 3, accepted: 1, refused: 1 });
        calls.keep(0);
        calls.begin(Duration::ZERO, &account, &get("d"));
        assert_eq!((calls.kept().count(), calls.counts()["GetRole"].calls), (0, 4));
    }
}
