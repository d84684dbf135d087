//! That nothing which stands is left untold: the other half of "everything is told once".
//!
//! Asked once all has settled, so that every reading has shown what there is. Holds what the world says against what was
//! told, and knows nothing of the reporter. What must stay true: what only a bulk reading can tell is not asked of a
//! controller that may not read in bulk.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    log::{News, Said},
    scene::Scene,
};
use crate::{
    inventory::{Observed, Role},
    plan::{Action, Reason, judge},
    readiness::Status,
};

impl Scene {
    /// Whether the process has read the roles since then, as far as a reading of all tells it; of readings one by one any counts.
    pub(super) fn was_read_since(&self, moment: Duration) -> bool {
        let process = &self.state().process;
        process.reads_one_by_one
            || process.reading.as_ref().map_or(!process.shown.is_empty(), |reading| reading.begun >= moment)
    }

    /// What stands, or was done, and was told by nobody.
    pub(super) fn untold(&self) -> Vec<String> {
        let (_, desired, circumstances) = self.asked_for();
        let reads_in_bulk = !self.state().process.reads_one_by_one;
        let mut news: Vec<News> = Vec::new();
        for ((role, policy), wanted) in &desired.policies {
            let found = self.role(role, &desired).map_or(Observed::NotFound, |role| Observed::Found(Arc::new(role)));
            let step = judge(wanted, &found, &circumstances, Timestamp::now());
            let mut says = |said| news.push((role.folded(), policy.to_string(), said));
            match step.reason {
                Some(Reason::Suspended) => says(Said::Suspended),
                Some(Reason::RoleNotFound) => says(Said::NotFound),
                Some(Reason::SuspendTag) => says(Said::Tagged),
                _ => {}
            }
            if step.has_drifted() {
                says(Said::Drift);
            }
            // Of managed policies nobody here knows what they say.
            let is_known = |role: &Role| role.surroundings.as_ref().is_some_and(|beside| beside.attached.is_empty());
            let is_known = reads_in_bulk && matches!(&found, Observed::Found(role) if is_known(role));
            if is_known && step.session.as_ref().is_some_and(|session| session.status == Status::False) {
                says(Said::NotReady);
            }
            let is_seen_role_by_role =
                !matches!(step.reason, Some(Reason::NoRoom | Reason::NodeRegistrationWouldBeLost));
            let is_told_by_itself = matches!(step.reason, Some(Reason::RoleNotFound | Reason::Suspended));
            match step.reason.filter(|reason| !is_told_by_itself && !reason.is_told_elsewhere()) {
                Some(reason) if step.action == Action::Blocked && (reads_in_bulk || is_seen_role_by_role) => {
                    says(Said::Blocked(reason.as_str()));
                }
                _ => {}
            }
        }
        self.missed(&news)
    }
}
