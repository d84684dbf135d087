//! The guards: how much may change in an account within an hour, and which plan it is that goes beyond.
//!
//! Pure: the time is an argument. Does not know how a plan is carried out. What must stay true: a plan is held whole or
//! not at all, and what may have been written counts as written.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{Action, Reason, Step};
use crate::{
    manifest::Guards,
    names::{AccountId, RoleName},
};

/// How long a write counts. A minute more than the hour: a call may take effect after it was given up.
pub(crate) const COUNTS_FOR: Duration = Duration::from_secs(61 * 60);

/// What binds an approval to one plan: the account, and for each write its role, the document before and the one after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// The digest of the writes among these steps, whatever their order; none where nothing is written.
    #[must_use]
    pub fn of<'a>(account: &AccountId, steps: impl IntoIterator<Item = &'a Step>) -> Option<Self> {
        let mut writes: Vec<&Step> = steps.into_iter().filter(|step| step.is_a_write()).collect();
        if writes.is_empty() {
            return None;
        }
        writes.sort_by(|one, other| one.target.cmp(&other.target));
        let mut hash = Sha256::new();
        // Each part with its length, so that no two plans read alike.
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        part("ssm-role-controller plan v1");
        part(account.as_str());
        for step in writes {
            // Roles are the same whatever the case of their letters.
            part(&step.target.role.as_str().to_ascii_lowercase());
            part(step.target.policy.as_str());
            part(match step.action {
                Action::Delete => "delete",
                _ => "put",
            });
            part(if step.live.is_some() { "before" } else { "nothing before" });
            part(&step.live.as_ref().map(|live| compact(&live.text())).unwrap_or_default());
            part(step.document.as_ref().map(|document| document.as_str()).unwrap_or_default());
        }
        Some(Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

/// A document without what may differ between two answers of IAM about the same one: white space, the order of keys.
fn compact(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text).map_or_else(|_| text.to_owned(), |value| value.to_string())
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a digest is 64 digits and letters a to f, as `plan` and the event guard.held tell it")
        }
    }
}

/// What was written in an account within the last hour.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// What other processes wrote, as far as it is known.
    others: Vec<Entry>,
}

/// A write of another process, or of an earlier one.
#[derive(Debug, Clone)]
pub struct Past {
    /// The role.
    pub role: RoleName,
    /// Whether it removed a policy.
    pub is_delete: bool,
    /// How long ago it was made.
    pub age: Duration,
}

#[derive(Debug)]
struct Entry {
    role: RoleName,
    is_delete: bool,
    /// Until when it counts; none while it is under way.
    until: Option<Duration>,
}

/// A bound, and by how much it would be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excess {
    bound: Bound,
    planned: usize,
    spent: usize,
    most: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Changes,
    Deletes,
    Percent(u8),
}

impl Ledger {
    /// Notes a write that begins now: it counts from here on, and until [`Ledger::ended`] says when it was done.
    pub fn begins(&mut self, role: &RoleName, is_delete: bool) {
        self.entries.push(Entry { role: role.clone(), is_delete, until: None });
    }

    /// The end of the write to this role that was under way. `written`: it was made, or may have been.
    pub fn ended(&mut self, role: &RoleName, written: bool, now: Duration) {
        let Some(at) = self.entries.iter().position(|entry| entry.until.is_none() && entry.role == *role) else {
            return;
        };
        if written {
            self.entries[at].until = Some(now + COUNTS_FOR);
        } else {
            self.entries.swap_remove(at);
        }
    }

    /// Takes in what other processes wrote, in place of what was known of that before.
    pub fn take_others(&mut self, others: impl IntoIterator<Item = Past>, now: Duration) {
        let entry = |past: Past| Entry {
            role: past.role,
            is_delete: past.is_delete,
            until: Some(now + COUNTS_FOR.saturating_sub(past.age)),
        };
        self.others = others.into_iter().map(entry).collect();
    }

    /// The bound that these further writes would pass, where they would.
    pub fn excess<'a>(
        &mut self,
        guards: &Guards,
        managed_roles: usize,
        planned: impl IntoIterator<Item = (&'a RoleName, bool)>,
        now: Duration,
    ) -> Option<Excess> {
        for entries in [&mut self.entries, &mut self.others] {
            entries.retain(|entry| entry.until.is_none_or(|until| now < until));
        }
        let spent: Vec<&Entry> = self.entries.iter().chain(&self.others).collect();
        let planned: Vec<(&RoleName, bool)> = planned.into_iter().collect();
        let deletes = planned.iter().filter(|(_, is_delete)| *is_delete).count();
        let deleted = spent.iter().filter(|entry| entry.is_delete).count();
        let touched: BTreeSet<&RoleName> = spent.iter().map(|entry| &entry.role).collect();
        let further: BTreeSet<&RoleName> =
            planned.iter().map(|(role, _)| *role).filter(|role| !touched.contains(role)).collect();
        let most = |bound: u32| usize::try_from(bound).unwrap_or(usize::MAX);
        let percent = guards.max_change_percent.map(|percent| {
            // One role always may be written to: else a small fleet could never be repaired.
            let roles = (managed_roles * usize::from(percent) / 100).max(1);
            (Bound::Percent(percent), further.len(), touched.len(), roles)
        });
        let bounds = [
            Some((Bound::Changes, planned.len(), spent.len(), most(guards.max_changes_per_hour))),
            Some((Bound::Deletes, deletes, deleted, most(guards.max_deletes_per_hour))),
            percent,
        ];
        bounds
            .into_iter()
            .flatten()
            .find(|(_, planned, spent, most)| *planned > 0 && planned + spent > *most)
            .map(|(bound, planned, spent, most)| Excess { bound, planned, spent, most })
    }
}

/// What the guards say of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarded {
    /// It may be carried out.
    Within,
    /// It may, but for the removal of policies under former names: nobody can approve those, since no manifest names
    /// them. They are blocked, and left to whoever writes one.
    WithoutFormer(Excess),
    /// All of it is blocked.
    Held(Excess),
}

/// Holds the whole plan where it goes beyond what the guards allow: its writes become blocked.
pub fn guard(
    steps: &mut [&mut Step],
    ledger: &mut Ledger,
    guards: &Guards,
    managed_roles: usize,
    now: Duration,
) -> Guarded {
    let mut excess_of = |counts: fn(&Step) -> bool| {
        let planned =
            steps.iter().filter(|step| counts(step)).map(|step| (&step.target.role, step.action == Action::Delete));
        ledger.excess(guards, managed_roles, planned, now)
    };
    let Some(excess) = excess_of(Step::is_a_write) else { return Guarded::Within };
    let of_manifests = |step: &Step| step.is_a_write() && !step.is_about_a_former_name();
    let (held, beyond): (fn(&Step) -> bool, _) = match excess_of(of_manifests) {
        None => (Step::is_about_a_former_name, None),
        Some(excess) => (Step::is_a_write, Some(excess)),
    };
    for step in steps.iter_mut().filter(|step| held(step)) {
        **step = step.clone().held_by(Reason::GuardHeld, Some(excess.to_string()));
    }
    beyond.map_or(Guarded::WithoutFormer(excess), Guarded::Held)
}

/// Holds those writes alone that somebody else undoes again and again, where the plan would go beyond the guards with them
/// and would not without them.
pub fn hold_alone(
    steps: &mut [&mut Step],
    is_fought_over: impl Fn(&Step) -> bool,
    ledger: &mut Ledger,
    guards: &Guards,
    managed_roles: usize,
    now: Duration,
) {
    let fought: Vec<bool> = steps.iter().map(|step| step.is_a_write() && is_fought_over(step)).collect();
    let mut excess_of = |counts_fought: bool| {
        let planned =
            steps.iter().zip(&fought).filter(|(step, fought)| step.is_a_write() && (counts_fought || !**fought));
        let planned = planned.map(|(step, _)| (&step.target.role, step.action == Action::Delete));
        ledger.excess(guards, managed_roles, planned, now)
    };
    let (Some(excess), None) = (excess_of(true), excess_of(false)) else { return };
    for (step, _) in steps.iter_mut().zip(&fought).filter(|(_, fought)| **fought) {
        **step = step.clone().held_by(Reason::Contended, Some(format!("beyond the guards: {excess}")));
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { planned, spent, most, .. } = self;
        match self.bound {
            Bound::Changes => write!(
                formatter,
                "{planned} changes planned, {spent} made within the hour, {most} allowed (maxChangesPerHour)"
            ),
            Bound::Deletes => write!(
                formatter,
                "{planned} deletions planned, {spent} made within the hour, {most} allowed (maxDeletesPerHour)"
            ),
            Bound::Percent(percent) => write!(
                formatter,
                "{planned} more roles planned, {spent} changed within the hour, {most} allowed ({percent} % of the managed roles, maxChangePercent)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<RoleName> {
        (0..count).map(|number| format!("role-{number}").parse().unwrap()).collect()
    }

    fn excess(
        ledger: &mut Ledger,
        guards: &Guards,
        roles: &[RoleName],
        is_delete: bool,
        minute: u64,
    ) -> Option<String> {
        let planned = roles.iter().map(|role| (role, is_delete));
        ledger.excess(guards, 20, planned, Duration::from_secs(60 * minute)).map(|excess| excess.to_string())
    }

    fn write(ledger: &mut Ledger, roles: &[RoleName], is_delete: bool, minute: u64) {
        for role in roles {
            ledger.begins(role, is_delete);
            ledger.ended(role, true, Duration::from_secs(60 * minute));
        }
    }

    #[test]
    fn a_plan_may_use_up_the_whole_bound_and_not_one_more() {
        let (mut ledger, roles) = (Ledger::default(), names(4));
        let guards = Guards { max_changes_per_hour: 3, ..Guards::default() };
        assert_eq!(excess(&mut ledger, &guards, &roles[..3], false, 0), None);
        assert_eq!(
            excess(&mut ledger, &guards, &roles, false, 0).unwrap(),
            "4 changes planned, 0 made within the hour, 3 allowed (maxChangesPerHour)"
        );
    }

    #[test]
    fn what_was_written_counts_for_an_hour_and_a_minute_more() {
        let (mut ledger, roles) = (Ledger::default(), names(3));
        let guards = Guards { max_changes_per_hour: 3, ..Guards::default() };
        write(&mut ledger, &roles[..2], false, 10);
        assert_eq!(excess(&mut ledger, &guards, &roles[..1], false, 70), None);
        assert!(excess(&mut ledger, &guards, &roles[..2], false, 70).is_some());
        assert_eq!(excess(&mut ledger, &guards, &roles, false, 71), None);
    }

    #[test]
    fn a_write_under_way_counts_and_one_that_was_refused_does_not() {
        let (mut ledger, roles) = (Ledger::default(), names(2));
        let guards = Guards { max_changes_per_hour: 1, ..Guards::default() };
        ledger.begins(&roles[0], false);
        assert!(excess(&mut ledger, &guards, &roles[1..], false, 600).is_some(), "however long it takes");
        ledger.ended(&roles[0], false, Duration::ZERO);
        assert_eq!(excess(&mut ledger, &guards, &roles[1..], false, 0), None);
    }

    #[test]
    fn what_others_wrote_counts_until_its_own_hour_is_over() {
        let (mut ledger, roles) = (Ledger::default(), names(3));
        let guards = Guards { max_changes_per_hour: 2, max_deletes_per_hour: 1, max_change_percent: None };
        let past =
            |minutes: u64| Past { role: roles[0].clone(), is_delete: true, age: Duration::from_secs(60 * minutes) };
        write(&mut ledger, &roles[..1], false, 100);
        ledger.take_others([past(60), past(61), past(600)], Duration::from_secs(60 * 100));
        assert!(excess(&mut ledger, &guards, &roles[1..2], false, 100).is_some());
        assert!(excess(&mut ledger, &guards, &roles[1..2], true, 100).is_some());
        assert_eq!(excess(&mut ledger, &guards, &roles[1..2], true, 101), None);
        ledger.take_others([past(0)], Duration::from_secs(60 * 101));
        assert!(excess(&mut ledger, &guards, &roles[1..2], true, 101).is_some());
        ledger.take_others([], Duration::from_secs(60 * 102));
        assert_eq!(excess(&mut ledger, &guards, &roles[1..2], true, 102), None, "in place of what was known before");
        assert!(excess(&mut ledger, &guards, &roles[1..], true, 102).is_some(), "and its own still counts");
    }

    #[test]
    fn deletions_have_a_bound_of_their_own_and_count_as_changes_too() {
        let (mut ledger, roles) = (Ledger::default(), names(4));
        let guards = Guards { max_changes_per_hour: 3, max_deletes_per_hour: 1, max_change_percent: None };
        write(&mut ledger, &roles[..1], true, 0);
        assert!(excess(&mut ledger, &guards, &roles[1..2], true, 0).unwrap().contains("maxDeletesPerHour"));
        assert_eq!(excess(&mut ledger, &guards, &roles[1..3], false, 0), None);
        assert!(excess(&mut ledger, &guards, &roles[1..4], false, 0).unwrap().contains("maxChangesPerHour"));
    }

    #[test]
    fn the_share_of_roles_is_rounded_down_and_one_role_always_may_be_repaired() {
        let (mut ledger, roles) = (Ledger::default(), names(4));
        let guards = |percent| Guards { max_change_percent: Some(percent), ..Guards::default() };
        assert_eq!(excess(&mut ledger, &guards(1), &roles[..1], false, 0), None);
        assert_eq!(excess(&mut ledger, &guards(19), &roles[..3], false, 0), None);
        assert!(excess(&mut ledger, &guards(19), &roles, false, 0).unwrap().contains("3 allowed (19 %"));
        write(&mut ledger, &roles[..3], false, 0);
        assert_eq!(excess(&mut ledger, &guards(19), &roles[..3], false, 0), None, "the same roles again are no more");
        assert!(excess(&mut ledger, &guards(19), &roles[3..], false, 0).is_some());
    }

    #[test]
    fn a_bound_of_nothing_holds_everything() {
        let guards = Guards { max_changes_per_hour: 0, ..Guards::default() };
        assert!(excess(&mut Ledger::default(), &guards, &names(1), false, 0).is_some());
        assert_eq!(excess(&mut Ledger::default(), &guards, &[], false, 0), None);
    }
}
