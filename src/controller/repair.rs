//! One repair: read the one policy afresh, judge again, write.
//!
//! What must stay true: the write follows from the fresh read alone, by the same verdict as in the plan, and none
//! begins once newer manifests or a stop have overtaken it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    iam::{Iam, IamError, Reader, Writer},
    inventory::{LiveDocument, Observed, Role},
    manifest::DesiredPolicy,
    plan::{Action, Circumstances, Step, judge},
    policy::session_manager::SessionManagerDocument,
};

/// How a repair ended.
#[derive(Debug)]
pub(super) enum Repaired {
    /// The fresh read showed that there is nothing to write, or that nothing may be written.
    NotNeeded(Step),
    /// Newer manifests, or a stop, came before the write: nothing was sent.
    Overtaken,
    /// The desired document stands in place of `before`.
    Written {
        /// The verdict of the fresh read.
        step: Step,
        /// What was replaced.
        before: Option<Arc<LiveDocument>>,
    },
    /// The read before the write failed: nothing was sent.
    ReadFailed(IamError),
    /// The write failed, or its answer was lost: what it did is not known.
    WriteFailed {
        /// The verdict of the fresh read.
        step: Step,
        /// What the write was to replace.
        before: Option<Arc<LiveDocument>>,
        /// What was sent.
        document: Arc<SessionManagerDocument>,
        /// What went wrong.
        error: IamError,
    },
}

/// Repairs one policy of one role.
pub(super) async fn repair<I: Iam>(
    writer: &Writer<I>,
    reader: &Reader<I>,
    wanted: &DesiredPolicy,
    role: &Role,
    circumstances: &Circumstances,
    overtaken: &CancellationToken,
) -> Repaired {
    let live = match reader.confirm(&role.name, &wanted.policy).await {
        Ok(live) => live,
        Err(error) => return Repaired::ReadFailed(error),
    };
    let fresh = role.with_fresh(&wanted.policy, live.clone());
    let step = judge(wanted, &Observed::Found(Arc::new(fresh)), circumstances);
    if step.action != Action::Put {
        return Repaired::NotNeeded(step);
    }
    if overtaken.is_cancelled() {
        return Repaired::Overtaken;
    }
    match writer.put(role, &wanted.policy, &wanted.document, &circumstances.limits).await {
        Ok(()) => Repaired::Written { step, before: live },
        Err(error) => Repaired::WriteFailed { step, before: live, document: Arc::clone(&wanted.document), error },
    }
}
