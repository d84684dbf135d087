//! One repair: read the one policy afresh (and the role, where limits hang on it or the last reading is old), judge again,
//! count the write where that outlives the process, write.
//!
//! What must stay true: the write follows from the fresh read, by the same verdict as in the plan, none begins without
//! leave, none goes uncounted, and none is made once newer manifests or a stop have overtaken it.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{contention::Contention, ledger_file::Counting};
use crate::{
    iam::{ErrorClass, Iam, IamError, Reader, RequestId, Writer},
    inventory::{LiveDocument, Observed, Role},
    manifest::DesiredPolicy,
    names::RoleName,
    plan::{Action, Circumstances, Counted, Reason, Refusal, Step, judge},
};

/// How long a write is given to show when it is read back.
const SHOWS_WITHIN: Duration = Duration::from_secs(20);

/// Why an approval is void although the plan is the one that was approved.
pub(super) const USED_UP: &str = "the plan that was approved was carried out before, and an approval is for once";

/// Whether a repair may end in a write.
#[derive(Debug, Clone)]
pub(super) enum Leave {
    /// It may.
    Write,
    /// It may, where the live document is still this one: the plan that was approved says so.
    WriteInPlaceOf(Option<Arc<LiveDocument>>),
    /// It may only look: the guards have not seen the write as part of a plan.
    Look,
    /// It may only look, for this reason.
    Held(Reason, Option<String>),
}

/// How long what a reading said of a role's account, path and tags is believed before a write.
pub(super) const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// How a repair ended.
#[derive(Debug)]
pub(super) enum Repaired {
    /// The fresh read showed that there is nothing to write, or that nothing may be written.
    NotNeeded(Step),
    /// The fresh read showed that a write is needed, and there was no leave for it.
    Proved(Step),
    /// Newer manifests, or a stop, came before the write, or the role is no longer like its selector: nothing was sent.
    Overtaken,
    /// What the step says was done in place of `before`.
    Written {
        /// The verdict of the fresh read.
        step: Step,
        /// What was replaced or removed.
        before: Option<Arc<LiveDocument>>,
        /// What the write is known by, should it be heard of.
        request_id: RequestId,
    },
    /// The read before the write failed: nothing was sent.
    ReadFailed(IamError),
    /// The write failed, or its answer was lost: what it did is not known.
    WriteFailed {
        /// The verdict of the fresh read.
        step: Step,
        /// What the write was to replace or remove.
        before: Option<Arc<LiveDocument>>,
        /// What went wrong.
        error: IamError,
    },
}

/// What a repair works with.
#[derive(Debug)]
pub(super) struct Tools<I> {
    pub(super) reader: Arc<Reader<I>>,
    pub(super) writer: Arc<Writer<I>>,
    /// Where a write is counted before it is sent, so that other processes know of it.
    pub(super) counting: Option<Counting>,
}

impl<I> Clone for Tools<I> {
    fn clone(&self) -> Self {
        Self { reader: Arc::clone(&self.reader), writer: Arc::clone(&self.writer), counting: self.counting.clone() }
    }
}

impl<I: Iam> Tools<I> {
    /// Repairs one policy of one role, as it was read then; with no such moment it is to be read afresh. With the role, where it
    /// was.
    pub(super) async fn repair(
        &self,
        wanted: &DesiredPolicy,
        (role, read_at): (&Role, Option<Instant>),
        circumstances: &Circumstances,
        leave: Leave,
        contention: &Contention,
        overtaken: &CancellationToken,
    ) -> (Repaired, Option<Role>) {
        let limits = &circumstances.limits;
        let is_bounded = limits.role_path_prefixes.is_some() || limits.account_ids.is_some();
        if !is_bounded && read_at.is_some_and(|at| at.elapsed() < BELIEVED_FOR) {
            return (self.repair_known(wanted, role, circumstances, leave, contention, overtaken).await, None);
        }
        let afresh = match self.reader.role_afresh(role).await {
            Ok(Some(afresh)) => afresh,
            Ok(None) => {
                let step = judge(wanted, &Observed::NotFound, circumstances, Timestamp::now());
                return (Repaired::NotNeeded(step), None);
            }
            Err(error) => return (Repaired::ReadFailed(error), None),
        };
        let repaired = match wanted.origin.selector() {
            // The next reading says what becomes of it.
            Some(selector)
                if selector.mismatch(afresh.name.as_str(), &afresh.path, |key| afresh.tag(key)).is_some() =>
            {
                Repaired::Overtaken
            }
            _ => self.repair_known(wanted, &afresh, circumstances, leave, contention, overtaken).await,
        };
        (repaired, Some(afresh))
    }

    /// Repairs one policy of a role of which enough is known.
    async fn repair_known(
        &self,
        wanted: &DesiredPolicy,
        role: &Role,
        circumstances: &Circumstances,
        leave: Leave,
        contention: &Contention,
        overtaken: &CancellationToken,
    ) -> Repaired {
        let limits = &circumstances.limits;
        let turn = match leave {
            // It comes before the read, so that nothing but their calls lies between the read and the write.
            Leave::Write | Leave::WriteInPlaceOf(_) => tokio::select! {
                biased;
                () = overtaken.cancelled() => return Repaired::Overtaken,
                turn = self.writer.turn() => match turn {
                    Ok(turn) => Some(turn),
                    Err(error) => return Repaired::ReadFailed(error),
                },
            },
            Leave::Look | Leave::Held(..) => None,
        };
        let (step, live) = match self.judge_afresh(wanted, role, circumstances).await {
            Ok(judged) => judged,
            Err(error) => return Repaired::ReadFailed(error),
        };
        if !step.is_a_write() {
            return Repaired::NotNeeded(step);
        }
        match leave {
            Leave::Held(reason, detail) => return Repaired::NotNeeded(step.held_by(reason, detail)),
            Leave::WriteInPlaceOf(approved) if text(approved.as_deref()) != text(live.as_deref()) => {
                return Repaired::NotNeeded(step.held_by(Reason::ApprovalVoid, None));
            }
            Leave::Look | Leave::Write | Leave::WriteInPlaceOf(_) => {}
        }
        let Some(turn) = turn else { return Repaired::Proved(step) };
        let now = Instant::now();
        if let Some(due) = contention.holds(step.drift, now) {
            let how_often = contention.in_words(due, now);
            return Repaired::NotNeeded(step.held_by(Reason::Contended, Some(how_often)));
        }
        if overtaken.is_cancelled() {
            return Repaired::Overtaken;
        }
        let counted = match self.count(&role.name, step.action == Action::Delete).await {
            Ok(Ok(counted)) => counted,
            Ok(Err(refusal)) => return Repaired::NotNeeded(refused(step, &refusal)),
            Err(error) => return Repaired::WriteFailed { step, before: live, error },
        };
        if counted.is_some() && overtaken.is_cancelled() {
            // The disk took its time.
            self.give_back(counted).await;
            return Repaired::Overtaken;
        }
        let policy = &wanted.policy;
        let written = match step.action {
            Action::Delete => self.writer.remove(turn, role, policy, limits).await,
            _ => self.writer.put(turn, role, policy, &wanted.document, limits).await,
        };
        if written.as_ref().is_err_and(|error| error.class != ErrorClass::Transient) {
            // A refusal is certain: nothing was written.
            self.give_back(counted).await;
        }
        match written {
            Ok(request_id) => Repaired::Written { step, before: live, request_id },
            Err(error) if error.class == ErrorClass::Gone && step.action == Action::Delete => {
                // Somebody else was quicker.
                let fresh = role.with_fresh(policy, None);
                Repaired::NotNeeded(judge(wanted, &Observed::Found(Arc::new(fresh)), circumstances, Timestamp::now()))
            }
            Err(error) => Repaired::WriteFailed { step, before: live, error },
        }
    }

    /// Counts a write where other processes see it, before it is sent.
    async fn count(&self, role: &RoleName, is_delete: bool) -> Result<Result<Option<Counted>, Refusal>, IamError> {
        match &self.counting {
            Some(counting) => Ok(counting.count(role, is_delete).await?.map(Some)),
            None => Ok(Ok(None)),
        }
    }

    async fn give_back(&self, counted: Option<Counted>) {
        if let (Some(counting), Some(counted)) = (&self.counting, counted) {
            counting.give_back(counted).await;
        }
    }

    /// The verdict on a policy from a fresh read of it, and what was read.
    async fn judge_afresh(
        &self,
        wanted: &DesiredPolicy,
        role: &Role,
        circumstances: &Circumstances,
    ) -> Result<(Step, Option<Arc<LiveDocument>>), IamError> {
        let mut fresh = role.clone();
        if let Some(successor) = &wanted.successor {
            // Nothing goes before what takes its place was seen to be there.
            let live = self.reader.confirm(&role.name, &successor.policy).await?;
            fresh = fresh.with_fresh(&successor.policy, live);
        }
        let live = self.reader.confirm(&role.name, &wanted.policy).await?;
        let fresh = fresh.with_fresh(&wanted.policy, live.clone());
        Ok((judge(wanted, &Observed::Found(Arc::new(fresh)), circumstances, Timestamp::now()), live))
    }

    /// Reads a policy back after it was written, until it is found right or has had the time to show.
    pub(super) async fn reads_back(
        &self,
        wanted: &DesiredPolicy,
        role: &Role,
        circumstances: &Circumstances,
        overtaken: &CancellationToken,
    ) -> bool {
        let deadline = Instant::now() + SHOWS_WITHIN;
        let mut pause = Duration::from_millis(250);
        loop {
            if let Ok((step, _)) = self.judge_afresh(wanted, role, circumstances).await
                && step.is_in_sync()
            {
                return true;
            }
            if Instant::now() + pause >= deadline || overtaken.is_cancelled() {
                return false;
            }
            sleep(pause).await;
            pause *= 2;
        }
    }
}

/// A step that other processes leave no room for.
fn refused(step: Step, refusal: &Refusal) -> Step {
    match refusal {
        Refusal::Beyond(excess) => step.held_by(Reason::GuardHeld, Some(excess.to_string())),
        Refusal::UsedUp => step.held_by(Reason::ApprovalVoid, Some(USED_UP.to_owned())),
    }
}

/// A document's text: the percent-encoding may differ between two kinds of answers.
fn text(document: Option<&LiveDocument>) -> Option<String> {
    document.map(LiveDocument::text)
}
