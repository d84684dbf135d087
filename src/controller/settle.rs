//! After a write of our own, IAM's reads may still tell of the world before it.
//!
//! Pure: the time is an argument. What must stay true: a read that equals what a write replaced raises no second
//! alert while the write may not have arrived everywhere, and delays no repair once it was seen to have arrived.
//!
//! Source: IAM User Guide, "Changes that I make are not always immediately visible" (no figure is given; seconds
//! as a rule).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{inventory::LiveDocument, manifest::PolicyKey};

/// How long a write is given to become visible before a fresh read is asked about it.
const QUIET: Duration = Duration::from_secs(20);

/// How long a bulk reading of the old document is doubted: a fresh read is asked before anything is told.
const DOUBT: Duration = Duration::from_secs(320);

/// What a reading that departs from the manifests is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// It is news.
    News,
    /// It may be the old world still: a fresh read decides before anything is told.
    Doubtful,
    /// It is what our own write replaced, and nobody has seen the write yet.
    Stale,
}

/// The policies for which an old document may still be read.
#[derive(Debug, Default)]
pub(super) struct Settling {
    entries: BTreeMap<PolicyKey, Entry>,
}

#[derive(Debug)]
struct Entry {
    stale: Option<Arc<LiveDocument>>,
    quiet_until: Instant,
    doubted_until: Instant,
}

impl Settling {
    /// Our own write replaced `before`.
    pub(super) fn wrote(&mut self, key: &PolicyKey, before: Option<Arc<LiveDocument>>, now: Instant) {
        self.entries.insert(key.clone(), Entry { stale: before, quiet_until: now + QUIET, doubted_until: now + DOUBT });
    }

    /// A fresh read says that what the bulk reading told (`stale`) is not so.
    pub(super) fn contradicted(&mut self, key: &PolicyKey, stale: Option<Arc<LiveDocument>>, now: Instant) {
        self.entries.insert(key.clone(), Entry { stale, quiet_until: now, doubted_until: now + DOUBT });
    }

    /// A reading shows the desired document.
    pub(super) fn seen(&mut self, key: &PolicyKey, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.quiet_until = now;
        }
    }

    /// Forgets what no reading can be too old for any more.
    pub(super) fn expire(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now < entry.doubted_until);
    }

    /// What a reading is worth that shows `live` for a policy, which is not what is desired.
    pub(super) fn worth(&self, key: &PolicyKey, live: Option<&Arc<LiveDocument>>, now: Instant) -> Worth {
        match self.entries.get(key) {
            Some(entry) if entry.stale.as_ref() != live => Worth::News,
            Some(entry) if now < entry.quiet_until => Worth::Stale,
            Some(entry) if now < entry.doubted_until => Worth::Doubtful,
            _ => Worth::News,
        }
    }

    /// Forgets what is no longer managed.
    pub(super) fn retain(&mut self, is_managed: impl Fn(&PolicyKey) -> bool) {
        self.entries.retain(|key, _| is_managed(key));
    }
}
