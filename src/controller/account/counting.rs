//! What other processes wrote, by the file in the state directory.
//!
//! Without a state directory there is nothing here: the hour is this process's own. What must stay true: the guards
//! see what is known of other processes, and a file that cannot be used is told once.

use tokio::time::Instant;

use super::Account;
use crate::{
    controller::{
        approval::Approval,
        ledger_file::Counting,
        repair::{Leave, Tools},
    },
    iam::{ErrorClass, Iam, Paced},
    plan::{Reason, Terms},
    telemetry::{Event, EventName, emit},
};

impl<I: Iam> Account<I> {
    /// Reads the file before anything is begun.
    pub(super) async fn remember(&mut self) {
        let Some(file) = &self.guarding.ledger_file else { return };
        file.refresh().await;
        if self.options.approve.as_ref().is_some_and(|digest| file.is_used_up(digest)) {
            self.guarding.approval = Approval::UsedUp;
        }
        self.take_others();
    }

    /// Takes in what was read of the file last.
    pub(super) fn take_others(&mut self) {
        let Some(file) = &self.guarding.ledger_file else { return };
        self.guarding.ledger.take_others(file.of_others(), self.started.elapsed());
        let trouble = file.trouble();
        let was_told = std::mem::replace(&mut self.guarding.uncounted_told, trouble.is_some());
        let reason = Reason::Failed(ErrorClass::NotCounted);
        match trouble {
            Some(trouble) if !was_told => emit(&Event {
                reason: Some(reason.as_str()),
                hint: Some(reason.hint().to_owned()),
                ..self.about_account(
                    EventName::LedgerFailed,
                    &format!("has no count of its writes, and nothing is written meanwhile: {trouble}"),
                )
            }),
            None if was_told => {
                self.retry_uncounted(Instant::now());
                emit(&self.about_account(EventName::LedgerRecovered, "has a count of its writes again"));
            }
            _ => {}
        }
    }

    /// What could not be counted need not wait any longer.
    fn retry_uncounted(&mut self, now: Instant) {
        let uncounted = Some(Reason::Failed(ErrorClass::NotCounted));
        for slot in
            self.slots.values_mut().filter(|slot| slot.step.as_ref().is_some_and(|step| step.reason == uncounted))
        {
            if let Some(retry) = &mut slot.retry {
                retry.due = now;
            }
        }
    }

    /// The tools of a repair with this leave.
    pub(super) fn tools_for(&self, leave: &Leave) -> Tools<Paced<I>> {
        let terms = match (leave, &self.options.approve) {
            (Leave::WriteInPlaceOf(_), Some(digest)) => Terms::Approved(digest.clone()),
            _ => Terms::Within(self.guarding.guards, self.role_count()),
        };
        let counting = self.guarding.ledger_file.clone().map(|file| Counting { file, terms });
        Tools { counting, ..self.tools.clone() }
    }
}
