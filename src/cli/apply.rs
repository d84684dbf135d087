//! `apply`: one pass, then the end.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    Ended, FAILED, Filter, Global, OK, complain, plan, print,
    survey::{Survey, survey, tell_failure},
    until_signal,
};
use crate::{
    controller::{Controller, Options, Outcome},
    manifest::Mode,
    plan::{Digest, Step},
};

/// How long throttling and errors are put up with.
const PATIENCE: Duration = Duration::from_secs(60);

/// Repairs what has drifted, or carries out exactly the plan that was approved. Exit status 0 where nothing that is to be
/// enforced is out of sync at the end.
///
/// # Errors
///
/// Where the command line asks for what no manifest names, or standard output cannot be written.
pub async fn apply(global: &Global, approve: Option<&Digest>, filter: &Filter) -> Ended {
    let deadline = Instant::now() + PATIENCE;
    let shutdown = until_signal()?;
    let surveyed = tokio::select! {
        () = shutdown.cancelled() => return Ok(FAILED),
        surveyed = survey(global, filter, deadline) => surveyed?,
    };
    let Some(Survey { iam, manifests, caller }) = surveyed else { return Ok(FAILED) };
    let manifests = Arc::new(manifests);
    let outcome = match caller {
        Ok(caller) => {
            let options = Options {
                observe_only: global.observe,
                approve: approve.cloned(),
                state_dir: global.state_dir(),
                seed: fastrand::u64(..),
                ..Options::default()
            };
            // Nobody sends newer manifests: a pass is about one state of them.
            let (_sender, newest) = watch::channel(Arc::clone(&manifests));
            Controller::new(iam, newest, options).once(caller, deadline, shutdown).await
        }
        Err(error) => {
            tell_failure(&error);
            Outcome { steps: plan::unread(&manifests), ..Outcome::default() }
        }
    };
    print(&format!("{}{}\n", plan::text(&outcome.steps, &manifests), wrote(outcome.written)))?;
    match &outcome.held {
        Some(excess) => complain(&plan::held(excess, outcome.digest.as_ref().filter(|_| filter.is_empty()))),
        _ if outcome.approval_is_used_up => complain(USED_UP),
        _ if outcome.approval_is_void => complain(&void(outcome.digest.as_ref())),
        _ => {}
    }
    Ok(if outcome.approval_is_void || outcome.steps.iter().any(is_amiss) { FAILED } else { OK })
}

/// What became of an approval that was used before.
const USED_UP: &str = "error: the approval is used up, and nothing was written: a plan of this digest was carried out within the last day\n\n\
     hint: an approval is for once, also where somebody has put the account back as it was before: see who did. If the \
     plan is meant once more, raise spec.guards, or let it wait for a day";

/// What became of an approval of another plan than the present one.
fn void(now: Option<&Digest>) -> String {
    let now = match now {
        Some(digest) => format!("the digest is {digest} now"),
        None => "there is nothing to write now".to_owned(),
    };
    format!(
        "error: the approval is void, and nothing was written: the plan is not the one that was approved ({now})\n\n\
         hint: look at it with `plan`; the roles, their policies or the manifests have changed since"
    )
}

/// Whether a step stands in the way of success: what is to be enforced and is not, or what nobody could judge.
fn is_amiss(step: &Step) -> bool {
    step.is_undecided() || step.has_drifted() && step.mode == Mode::Enforce && !step.is_suspended()
}

fn wrote(policies: usize) -> String {
    match policies {
        0 => "nothing was written".to_owned(),
        1 => "1 policy was written".to_owned(),
        several => format!("{several} policies were written"),
    }
}
