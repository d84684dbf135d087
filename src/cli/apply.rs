//! `apply`: one pass, then the end.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    Ended, FAILED, Filter, Global, OK, plan, print,
    survey::{Survey, survey, tell_failure},
    until_signal,
};
use crate::{
    controller::{Controller, Options, Outcome},
    manifest::Mode,
    plan::Step,
};

/// How long throttling and errors are put up with.
const PATIENCE: Duration = Duration::from_secs(60);

/// Repairs what has drifted. Exit status 0 where nothing that is to be enforced is out of sync at the end.
///
/// # Errors
///
/// Where the command line asks for what no manifest names, or standard output cannot be written.
pub async fn apply(global: &Global, filter: &Filter) -> Ended {
    let deadline = Instant::now() + PATIENCE;
    let shutdown = until_signal()?;
    let surveyed = tokio::select! {
        () = shutdown.cancelled() => return Ok(FAILED),
        surveyed = survey(global, filter, deadline) => surveyed?,
    };
    let Some(Survey { iam, manifests, caller }) = surveyed else { return Ok(FAILED) };
    let manifests = Arc::new(manifests);
    let Outcome { steps, written } = match caller {
        Ok(caller) => {
            let options = Options { observe_only: global.observe, seed: fastrand::u64(..), ..Options::default() };
            // Nobody sends newer manifests: a pass is about one state of them.
            let (_sender, newest) = watch::channel(Arc::clone(&manifests));
            Controller::new(iam, newest, options).once(caller, deadline, shutdown).await
        }
        Err(error) => {
            tell_failure(&error);
            Outcome { steps: plan::unread(&manifests), written: 0 }
        }
    };
    print(&format!("{}{}\n", plan::text(&steps, &manifests), wrote(written)))?;
    Ok(if steps.iter().any(is_amiss) { FAILED } else { OK })
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
