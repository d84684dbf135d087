//! What outlives a process of the writes to an account: those within the hour, and the approvals that are used up.
//!
//! Pure: text and the time (seconds since 1970) are arguments. Does not know where the text is kept. What must stay
//! true: what was counted counts for its whole hour whatever the clock does, and an approval is one process's alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Digest, Excess, Ledger,
    guard::{COUNTS_FOR, Past},
};
use crate::{manifest::Guards, names::RoleName};

/// How long it is known that an approval was used.
const APPROVAL_IS_KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The form of the text. Another one is not guessed at.
const VERSION: u32 = 1;

/// The writes to one account that were counted, whoever made them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    writes: Vec<Counted>,
}

/// A write that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// When, in seconds since 1970.
    pub at: u64,
    /// The role.
    pub role: RoleName,
    /// Whether it removes a policy.
    pub is_delete: bool,
    /// The process that made it, by a number that it drew.
    pub process: u64,
    /// The plan that it was part of, where a person had approved that.
    pub approval: Option<Digest>,
}

/// What a write is counted against.
#[derive(Debug, Clone)]
pub enum Terms {
    /// The guards, with so many managed roles.
    Within(Guards, usize),
    /// A plan that a person has approved: no guards, and no other process.
    Approved(Digest),
}

/// Why a write was not counted, and so must not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It goes beyond the guards: other processes have written too.
    Beyond(Excess),
    /// Another process has carried out the plan that was approved.
    UsedUp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    version: u32,
    writes: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: u64,
    role: String,
    removal: bool,
    process: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<String>,
}

impl Record {
    /// Reads the text.
    ///
    /// # Errors
    ///
    /// In words, where it is not what [`Record::to_text`] writes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let page: Page = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if page.version != VERSION {
            return Err(format!("its version is {}, and this program knows {VERSION}", page.version));
        }
        let writes = page.writes.into_iter().map(|line| {
            Ok(Counted {
                at: line.at,
                role: line.role.parse().map_err(|error: crate::names::NameError| error.to_string())?,
                is_delete: line.removal,
                process: line.process,
                approval: line.approval.map(|digest| digest.parse()).transpose()?,
            })
        });
        Ok(Self { writes: writes.collect::<Result<_, String>>()? })
    }

    /// The text of it.
    ///
    /// # Errors
    ///
    /// What JSON cannot say; there is nothing of that kind in it.
    pub fn to_text(&self) -> Result<String, String> {
        let line = |write: &Counted| Line {
            at: write.at,
            role: write.role.to_string(),
            removal: write.is_delete,
            process: write.process,
            approval: write.approval.as_ref().map(ToString::to_string),
        };
        let page = Page { version: VERSION, writes: self.writes.iter().map(line).collect() };
        serde_json::to_string(&page).map(|text| text + "\n").map_err(|error| error.to_string())
    }

    /// Forgets what no longer matters. What seems to lie in the future (the clock was put back) counts as made now.
    pub fn age(&mut self, now: u64) {
        for write in &mut self.writes {
            write.at = write.at.min(now);
        }
        self.writes.retain(|write| {
            let matters_for = if write.approval.is_some() { APPROVAL_IS_KNOWN_FOR } else { COUNTS_FOR };
            write.age(now) < matters_for
        });
    }

    /// Counts a write, where the terms allow it.
    ///
    /// # Errors
    ///
    /// Why they do not; then nothing is counted.
    pub fn count(&mut self, write: Counted, terms: &Terms) -> Result<(), Refusal> {
        match terms {
            Terms::Within(guards, managed_roles) => {
                let planned = [(&write.role, write.is_delete)];
                let excess = self.ledger(write.at).excess(guards, *managed_roles, planned, Duration::ZERO);
                excess.map_or(Ok(()), |excess| Err(Refusal::Beyond(excess)))?;
            }
            Terms::Approved(digest) if self.is_used_up(digest, write.process) => return Err(Refusal::UsedUp),
            Terms::Approved(_) => {}
        }
        self.writes.push(write);
        Ok(())
    }

    /// Takes back the last write of this process to this role: it was refused for certain.
    pub fn give_back(&mut self, write: &Counted) {
        let is_it = |other: &Counted| {
            (other.process, &other.role, other.is_delete) == (write.process, &write.role, write.is_delete)
        };
        if let Some(at) = self.writes.iter().rposition(is_it) {
            self.writes.remove(at);
        }
    }

    /// Whether another process has begun to carry out this plan.
    #[must_use]
    pub fn is_used_up(&self, digest: &Digest, process: u64) -> bool {
        self.writes.iter().any(|write| write.approval.as_ref() == Some(digest) && write.process != process)
    }

    /// The writes of other processes, for a ledger.
    pub fn of_others(&self, process: u64, now: u64) -> impl Iterator<Item = Past> {
        self.writes.iter().filter(move |write| write.process != process).map(move |write| write.past(now))
    }

    /// All writes as a ledger whose time begins now.
    #[must_use]
    pub fn ledger(&self, now: u64) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.take_others(self.writes.iter().map(|write| write.past(now)), Duration::ZERO);
        ledger
    }
}

impl Counted {
    fn age(&self, now: u64) -> Duration {
        Duration::from_secs(now.saturating_sub(self.at))
    }

    fn past(&self, now: u64) -> Past {
        Past { role: self.role.clone(), is_delete: self.is_delete, age: self.age(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000;
    const HOUR: u64 = 61 * 60;

    fn write(role: &str, at: u64, process: u64) -> Counted {
        Counted { at, role: role.parse().unwrap(), is_delete: false, process, approval: None }
    }

    fn within(most: u32) -> Terms {
        Terms::Within(Guards { max_changes_per_hour: most, ..Guards::default() }, 20)
    }

    fn digest(letter: &str) -> Digest {
        letter.repeat(64).parse().unwrap()
    }

    fn approved(role: &str, process: u64, letter: &str) -> (Counted, Terms) {
        (Counted { approval: Some(digest(letter)), ..write(role, NOON, process) }, Terms::Approved(digest(letter)))
    }

    #[test]
    fn processes_share_one_bound() {
        let mut record = Record::default();
        assert_eq!(record.count(write("a", NOON, 1), &within(2)), Ok(()));
        assert_eq!(record.count(write("b", NOON + 5, 2), &within(2)), Ok(()));
        let refused = record.count(write("c", NOON + 9, 3), &within(2)).unwrap_err();
        let Refusal::Beyond(excess) = refused else { panic!("{refused:?}") };
        assert_eq!(excess.to_string(), "1 changes planned, 2 made within the hour, 2 allowed (maxChangesPerHour)");
        assert_eq!(record.writes.len(), 2, "what was refused is not counted");
    }

    #[test]
    fn a_write_counts_for_its_hour_and_is_forgotten_after_it() {
        for (later, counts) in [(0, true), (HOUR - 1, true), (HOUR, false)] {
            let mut record = Record { writes: vec![write("a", NOON, 1)] };
            record.age(NOON + later);
            assert_eq!(record.count(write("b", NOON + later, 2), &within(1)).is_err(), counts, "{later}");
        }
    }

    #[test]
    fn what_lies_in_the_future_counts_as_made_now_and_ages_from_then_on() {
        let mut record = Record { writes: vec![write("a", NOON + 999_999, 1)] };
        record.age(NOON);
        assert_eq!(record, Record { writes: vec![write("a", NOON, 1)] });
        record.age(NOON + HOUR);
        assert_eq!(record, Record::default());
    }

    #[test]
    fn what_was_refused_for_certain_no_longer_counts_and_no_other_write_is_taken_for_it() {
        let earlier = write("a", NOON, 1);
        let mut record = Record { writes: vec![earlier.clone(), write("b", NOON, 1), write("a", NOON, 2)] };
        let refused = write("A", NOON + 60, 1);
        record.count(refused.clone(), &within(9)).unwrap();
        record.give_back(&refused);
        assert_eq!(record.writes, [earlier, write("b", NOON, 1), write("a", NOON, 2)]);
    }

    #[test]
    fn an_approval_is_one_process_s_alone_for_a_day_and_passes_the_guards() {
        let mut record = Record::default();
        for role in ["a", "b"] {
            let (write, terms) = approved(role, 1, "d");
            assert_eq!(record.count(write, &terms), Ok(()), "a plan is of several writes");
        }
        let (again, terms) = approved("a", 2, "d");
        assert_eq!(record.count(again, &terms), Err(Refusal::UsedUp));
        let (other, terms) = approved("a", 2, "e");
        assert_eq!(record.count(other, &terms), Ok(()));
        assert!(record.count(write("c", NOON, 3), &within(3)).is_err(), "and what it wrote counts");
        for (later, is_known) in [(HOUR, true), (24 * 3_600 - 1, true), (24 * 3_600, false)] {
            let mut record = record.clone();
            record.age(NOON + later);
            assert_eq!(record.is_used_up(&digest("d"), 2), is_known, "{later}");
            assert_eq!(record.count(write("c", NOON + later, 3), &within(1)), Ok(()), "{later}");
        }
    }

    #[test]
    fn an_approval_whose_only_write_was_refused_is_not_used_up() {
        let (mut record, (write, terms)) = (Record::default(), approved("a", 1, "d"));
        record.count(write.clone(), &terms).unwrap();
        record.give_back(&write);
        assert!(!record.is_used_up(&digest("d"), 2));
    }

    #[test]
    fn the_text_says_all_of_it_and_anything_else_is_refused() {
        let (approved, _) = approved("web", 7, "d");
        let record = Record { writes: vec![write("a", NOON, 1), Counted { is_delete: true, ..approved }] };
        assert_eq!(Record::parse(&record.to_text().unwrap()), Ok(record));
        for broken in [
            "",
            "[]",
            "{}",
            r#"{"version":2,"writes":[]}"#,
            r#"{"version":1,"writes":[],"more":1}"#,
            r#"{"version":1,"writes":[{"at":1}]}"#,
            r#"{"version":1,"writes":[{"at":-1,"role":"a","removal":false,"process":1}]}"#,
            r#"{"version":1,"writes":[{"at":1,"role":"a*","removal":false,"process":1}]}"#,
            r#"{"version":1,"writes":[{"at":1,"role":"a","removal":false,"process":1,"approval":"x"}]}"#,
            r#"{"version":1,"writes":[]} "#.trim_end_matches("} "),
        ] {
            assert!(Record::parse(broken).is_err(), "{broken}");
        }
    }
}
