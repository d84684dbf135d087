//! What the account's loop says when it is asked how everything stands.
//!
//! What must stay true: to answer changes nothing, and says nothing that the loop does not know already.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Account, guarding::Held};
use crate::{
    controller::slot::Slot,
    iam::Iam,
    manifest::Mode,
    plan::{Reason, Step},
    status::{AccountReport, AccountState, AccountStatus, Counts, Detail, HeldStatus, Inquiry, RoleStatus, moment},
};

impl<I: Iam> Account<I> {
    pub(super) fn answer(&self, inquiry: Inquiry) {
        // Whoever asked may have gone.
        let _ = inquiry.answer.send(self.report(inquiry.detail));
    }

    fn report(&self, detail: Detail) -> AccountReport {
        let now = Timestamp::now();
        let ago =
            |ago: Duration| SignedDuration::try_from(ago).ok().and_then(|ago| now.checked_sub(ago).ok()).unwrap_or(now);
        let mut counts = Counts::default();
        let usual = if self.circumstances.observe_only { Mode::Observe } else { Mode::Enforce };
        for slot in self.slots.values() {
            let mode = if slot.wanted.mode == Mode::Observe { Mode::Observe } else { usual };
            counts.add(slot.step.as_ref(), mode);
        }
        // Of what rests there is a verdict, and so nobody asks for the mode.
        self.resting.values().for_each(|resting| counts.add(Some(resting.step_of_its_kind()), usual));
        self.mismatched.iter().for_each(|step| counts.add(Some(step), step.mode));

        let failed = self.readings.failed.as_ref().map(|(error, _)| error);
        let last_complete_pass = self.readings.last_complete.map(|at| ago(at.elapsed()));
        let judged = self.slots.values().filter_map(|slot| slot.step.as_ref()).chain(&self.mismatched);
        let roles = match detail {
            Detail::Counts => Vec::new(),
            Detail::Roles => {
                let unjudged = self.slots.values().filter(|slot| slot.step.is_none()).map(unjudged);
                let told = |step: &Step, since: [Option<Duration>; 2]| {
                    let since = since.map(|since| {
                        since.map_or_else(|| ago(self.elapsed()), |since| ago(self.elapsed().saturating_sub(since)))
                    });
                    RoleStatus::of(step, since)
                };
                let judged = judged.map(|step| told(step, self.reporter.standing_since(&step.target)));
                let resting = self.resting.values().map(|resting| told(&resting.step(), resting.standing().since()));
                let mut roles: Vec<RoleStatus> = judged.chain(resting).chain(unjudged).collect();
                roles.sort_by(|one, other| (&one.role, &one.policy).cmp(&(&other.role, &other.policy)));
                roles
            }
        };
        let status = AccountStatus {
            account: self.caller.account.to_string(),
            state: if failed.is_some() { AccountState::ReadFailed } else { AccountState::Kept },
            message: failed.map(ToString::to_string),
            hint: failed.map(|error| Reason::Failed(error.class).hint().to_owned()),
            suspended: self.suspension_told.is_some(),
            last_complete_pass_at: last_complete_pass.map(moment),
            held: self.guarding.held.as_ref().map(held),
            roles,
        };
        let (was_read, was_tried) = (self.readings.have_come, self.readings.have_come || failed.is_some());
        AccountReport {
            status,
            counts,
            calls: self.iam.calls(),
            last_complete_pass,
            resync_interval: Some(self.present_interval(Instant::now())),
            was_tried,
            was_read,
        }
    }
}

fn held(held: &Held) -> HeldStatus {
    HeldStatus { digest: held.digest.to_string(), excess: held.excess.to_string(), hint: held.hint() }
}

/// A policy that no reading has told of so far.
fn unjudged(slot: &Slot) -> RoleStatus {
    let wanted = &slot.wanted;
    RoleStatus {
        role: wanted.role.to_string(),
        policy: wanted.policy.to_string(),
        manifest: wanted.manifest.name.clone(),
        selector: wanted.origin.selector().map(ToString::to_string),
        state: wanted.state.as_str().to_owned(),
        mode: wanted.mode.as_str().to_owned(),
        action: "none".to_owned(),
        drift: None,
        reason: None,
        message: Some("not read so far".to_owned()),
        detail: None,
        hint: None,
        diff: Vec::new(),
        conditions: Vec::new(),
    }
}
