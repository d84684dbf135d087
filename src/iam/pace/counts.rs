//! How many calls were made, by operation and by what came of them.
//!
//! Pure. What must stay true: every call that was sent is counted once, each try of it by itself.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::iam::{ErrorClass, IamError};

/// The calls of one operation that were answered, throttled, or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Count {
    /// IAM has answered, also where the answer is that there is no such thing.
    pub ok: u64,
    /// IAM asked to slow down.
    pub throttled: u64,
    /// All else: refused, broken off, or without an answer.
    pub failed: u64,
}

/// Calls by operation, as AWS names it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Calls(BTreeMap<&'static str, Count>);

impl Calls {
    /// One call that was answered.
    #[cfg(test)]
    pub(crate) fn of_one(operation: &'static str) -> Self {
        Self(BTreeMap::from([(operation, Count { ok: 1, ..Count::default() })]))
    }

    /// Counts a call that was sent.
    pub(super) fn add<T>(&mut self, operation: &'static str, answer: &Result<T, IamError>) {
        let count = self.0.entry(operation).or_default();
        let one_more = match answer.as_ref().map_err(|error| error.class) {
            Ok(_) | Err(ErrorClass::Gone) => &mut count.ok,
            Err(ErrorClass::Throttled) => &mut count.throttled,
            Err(_) => &mut count.failed,
        };
        *one_more += 1;
    }

    /// The calls that were made since an earlier count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let since = self.0.iter().map(|(operation, now)| {
            let then = earlier.of(operation);
            let count = Count {
                ok: now.ok - then.ok.min(now.ok),
                throttled: now.throttled - then.throttled.min(now.throttled),
                failed: now.failed - then.failed.min(now.failed),
            };
            (*operation, count)
        });
        Self(since.filter(|(_, count)| *count != Count::default()).collect())
    }

    /// The calls of one operation.
    #[must_use]
    pub fn of(&self, operation: &str) -> Count {
        self.0.get(operation).copied().unwrap_or_default()
    }

    /// The calls of each operation.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Count)> {
        self.0.iter().map(|(operation, count)| (*operation, *count))
    }

    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().map(|count| count.ok + count.throttled + count.failed).sum()
    }
}

/// `GetRole 12, PutRolePolicy 3 (1 throttled)`.
impl fmt::Display for Calls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        for (position, (operation, Count { ok, throttled, failed })) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(formatter, "{comma}{operation} {}", ok + throttled + failed)?;
            match (throttled, failed) {
                (0, 0) => {}
                (throttled, 0) => write!(formatter, " ({throttled} throttled)")?,
                (0, failed) => write!(formatter, " ({failed} failed)")?,
                (throttled, failed) => write!(formatter, " ({throttled} throttled, {failed} failed)")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass) -> Result<(), IamError> {
        Err(IamError { class, operation: "GetRole", code: None, message: String::new() })
    }

    #[test]
    fn calls_are_told_by_operation_and_by_what_came_of_them() {
        let mut calls = Calls::default();
        assert_eq!(calls.to_string(), "none");
        calls.add("PutRolePolicy", &Ok(()));
        calls.add("GetRole", &error(ErrorClass::Gone));
        calls.add("GetRole", &error(ErrorClass::Throttled));
        let before = calls.clone();
        calls.add("GetRole", &error(ErrorClass::Throttled));
        calls.add("GetRole", &error(ErrorClass::Denied));
        assert_eq!(calls.to_string(), "GetRole 4 (2 throttled, 1 failed), PutRolePolicy 1");
        assert_eq!(calls.of("GetRole"), Count { ok: 1, throttled: 2, failed: 1 });
        let since = calls.since(&before);
        assert_eq!((since.to_string().as_str(), since.total()), ("GetRole 2 (1 throttled, 1 failed)", 2));
        assert_eq!(calls.since(&calls), Calls::default());
    }
}
