//! What a whole reading certainly shows, and what fresh looks have shown of roles that it says nothing certain about.
//!
//! A bulk reading may lag behind what the process knows better: what its own write replaced, or what a fresh read said
//! against an earlier reading. Such a role is looked at afresh before anything is concluded, and then it is part of the
//! plan like any other. What must stay true: nothing is called certain that the controller may by right see otherwise.
//! That leaves out, until a later reading, roles whose calls were under way while the reading was made or failed a short
//! while ago, policies in a fight, and what a look has just proved and the guards then held.

use std::{collections::BTreeMap, time::Duration};

use super::{
    pace::{Answer, Attempt, Reading},
    scene::{Key, Process},
};
use crate::{iam::RoleDetail, inventory::LiveDocument, names::RoleName};

/// A reading that shows what was so before may be taken for the old world for so long.
const DOUBTED: Duration = Duration::from_secs(330);

/// The loop may be at a call's answer for so long still, or the call itself may not have been answered.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// For so long after a write of its own a role is only read back, or not looked at.
const READ_BACK: Duration = Duration::from_secs(45);

/// A role that a call has failed for may wait for a person, and a write without an answer may be known as made as late.
const FAILED: Duration = Duration::from_secs(700);

/// So many writes of one policy, and somebody else may be writing it too.
const A_FIGHT: usize = 3;

/// What a reading may show although it is so no more.
#[derive(Debug, Clone)]
struct Old {
    shown: Option<String>,
    at: Duration,
    /// A fresh read has shown it as well: whether the controller doubts it still depends on what it read it for.
    is_proved: bool,
}

/// What a process has done and was told that bears on what its readings are worth.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    /// When a role was looked at afresh last, or written to.
    looked: BTreeMap<RoleName, Duration>,
    failed: BTreeMap<RoleName, Duration>,
    old: BTreeMap<Key, Vec<Old>>,
}

/// What a reading is worth about one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    Certain,
    /// Only a fresh look says whether it is so.
    Doubted,
    Unknown,
}

impl Past {
    pub(super) fn calls(&mut self, role: &RoleName, now: Duration) {
        self.looked.insert(role.clone(), now);
    }

    pub(super) fn failed(&mut self, role: &RoleName, now: Duration) {
        self.failed.insert(role.clone(), now);
    }

    /// From now on this may be the old world.
    pub(super) fn replaced(&mut self, key: &Key, shown: Option<String>, now: Duration) {
        self.old.entry(key.clone()).or_default().push(Old { shown, at: now, is_proved: false });
    }

    /// Whether calls about the role say that nothing certain can be said of it.
    fn is_in_the_way(&self, role: &RoleName, reading: &Reading) -> bool {
        let since = |at: Option<&Duration>, time: Duration, than: Duration| at.is_some_and(|at| *at + time > than);
        since(self.looked.get(role), UNDER_WAY, reading.begun) || since(self.failed.get(role), FAILED, reading.at)
    }
}

impl Attempt {
    /// Whether it may still be read back when this reading comes.
    fn is_recent(&self, reading: &Reading) -> bool {
        match self.answer {
            Some(Answer::Done(at)) => at + READ_BACK > reading.at,
            Some(Answer::Failed) => false,
            None => true,
        }
    }
}

impl Process {
    /// A fresh read of a policy was answered, after the last whole reading or before.
    pub(super) fn looked_at(&mut self, key: &Key, shown: Option<&str>, asked: u64, answered: u64, now: Duration) {
        self.past.calls(&key.0, now);
        for old in self.past.old.get_mut(key).into_iter().flatten() {
            old.is_proved |= old.shown.as_deref() == shown;
        }
        let Some(reading) = &mut self.reading else { return };
        if asked > reading.tick {
            reading.looks.entry(key.clone()).or_insert((answered, shown.map(str::to_owned)));
        }
        let said = reading.role(&key.0).map(|role| live(role, key));
        if let Some(said) = said.filter(|said| said.as_deref() != shown) {
            reading.contradicted.entry(key.clone()).or_insert(answered);
            self.past.replaced(key, said, now);
        }
    }

    /// What the reading is worth about this policy, of which it has shown this.
    pub(super) fn worth(&self, reading: &Reading, key: &Key, shown: Option<&str>) -> Worth {
        let attempts = || self.attempts[..reading.attempts].iter();
        let is_fought_over = attempts().filter(|attempt| attempt.key == *key).count() >= A_FIGHT;
        let is_recent = attempts().any(|attempt| attempt.key.0 == key.0 && attempt.is_recent(reading));
        if is_fought_over || is_recent || reading.past.is_in_the_way(&key.0, reading) {
            return Worth::Unknown;
        }
        let is_the_same = |old: &&Old| old.at + DOUBTED > reading.at && old.shown.as_deref() == shown;
        match reading.past.old.get(key).into_iter().flatten().filter(is_the_same).map(|old| old.is_proved).max() {
            None => Worth::Certain,
            Some(true) => Worth::Unknown,
            // The one under the new name is read for the sake of the old one, too: that is no look at it.
            Some(false) if self.former.keys().any(|former| former.0 == key.0) => Worth::Unknown,
            Some(false) => Worth::Doubted,
        }
    }
}

/// What an answer shows of one policy.
pub(super) fn live(role: &RoleDetail, key: &Key) -> Option<String> {
    let live = role.inline_policies.iter().find(|live| live.name == key.1.as_str());
    live.map(|live| LiveDocument::new(&live.encoded_document).text())
}
