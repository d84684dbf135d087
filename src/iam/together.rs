//! What the readers of several accounts have in common: whose turn it is to read in bulk, and the texts of AWS's policies.
//!
//! Knows texts, and of no account what it was told. What must stay true: an account is shown a policy as it was told of it
//! itself: what is shared is the value, and never the answer. And accounts that can be read do not wait for those whose
//! endpoint hangs: these have turns of their own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use crate::inventory::{LiveDocument, ManagedPolicy};

/// To so many turns comes one more for accounts whose last reading was not answered.
const DOUBTFUL: usize = 4;

/// What readers have in common.
#[derive(Debug)]
pub struct Together {
    turns: Semaphore,
    /// For accounts whose last reading was not answered: each may take its turn up for most of a minute, and fail again.
    turns_in_doubt: Semaphore,
    /// Of so many other turns that are free such an account may have one: after an outage all are such.
    spare: usize,
    /// A few dozen policies, each in one version, or two while AWS brings in another.
    managed: Mutex<BTreeMap<Arc<str>, Vec<Weak<ManagedPolicy>>>>,
}

impl Together {
    /// Of readers of which so many at once may read in bulk: each holds a page of a thousand roles meanwhile.
    #[must_use]
    pub fn new(readings_at_once: usize) -> Arc<Self> {
        let turns_in_doubt = Semaphore::new((readings_at_once / DOUBTFUL).max(1));
        let (turns, spare) = (Semaphore::new(readings_at_once), readings_at_once / 2 + 1);
        Arc::new(Self { turns, turns_in_doubt, spare, managed: Mutex::default() })
    }

    /// Waits for a turn to read in bulk, which lasts until the permit is dropped. `is_in_doubt`: whether the account's last
    /// reading was not answered.
    pub(super) async fn turn(&self, is_in_doubt: bool) -> Result<SemaphorePermit<'_>, AcquireError> {
        if !is_in_doubt {
            return self.turns.acquire().await;
        }
        if self.turns.available_permits() >= self.spare
            && let Ok(spare) = self.turns.try_acquire()
        {
            return Ok(spare);
        }
        self.turns_in_doubt.acquire().await
    }

    /// A managed policy of this text: the very value that others keep who were told the same.
    pub(super) fn policy(&self, arn: &Arc<str>, encoded: &str) -> Arc<ManagedPolicy> {
        let mut managed = self.managed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |policy: &Arc<ManagedPolicy>| policy.document.as_ref().is_ok_and(|document| document.is(encoded));
        if let Some(same) = managed.get(arn).and_then(|kept| kept.iter().filter_map(Weak::upgrade).find(is_same)) {
            return same;
        }
        managed.retain(|_, kept| {
            kept.retain(|policy| policy.strong_count() > 0);
            !kept.is_empty()
        });
        let policy = Arc::new(ManagedPolicy::new(Arc::clone(arn), Ok(Arc::new(LiveDocument::new(encoded)))));
        managed.entry(Arc::clone(arn)).or_default().push(Arc::downgrade(&policy));
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_one_text_is_one_value_and_of_another_text_another_one() {
        let together = Together::new(1);
        let arn: Arc<str> = "arn:aws:iam::aws:policy/Core".into();
        let first = together.policy(&arn, "%7B%7D");
        assert!(Arc::ptr_eq(&first, &together.policy(&"arn:aws:iam::aws:policy/Core".into(), "%7B%7D")));
        let newer = together.policy(&arn, "%7B%22Version%22%3A%222012-10-17%22%7D");
        let other = together.policy(&"arn:aws:iam::aws:policy/Other".into(), "%7B%7D");
        assert!(!Arc::ptr_eq(&first, &newer) && !Arc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&first, &together.policy(&arn, "%7B%7D")), "some accounts are told of the older one still");
    }

    #[test]
    fn what_nobody_keeps_any_more_is_dropped() {
        let together = Together::new(1);
        for version in 0..100 {
            let arn: Arc<str> = format!("arn:aws:iam::aws:policy/Core{}", version % 2).into();
            drop(together.policy(&arn, &format!("%7B%22Id%22%3A%22{version}%22%7D")));
        }
        let managed = together.managed.lock().unwrap();
        assert_eq!(managed.values().map(Vec::len).sum::<usize>(), 1, "the one that was made last");
        assert_eq!(managed.len(), 1);
    }
}
