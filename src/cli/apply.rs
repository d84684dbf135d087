//! `apply`: one pass, then the end.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    Ended, FAILED, Filter, Global, OK, complain, plan, print,
    survey::{Way, each, survey, tell_failure},
    until_signal,
};
use crate::{
    controller::{Controller, Options, Outcome},
    manifest::Mode,
    plan::{Digest, Step},
    text::printable,
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
    let Some(survey) = surveyed else { return Ok(FAILED) };
    let manifests = Arc::new(survey.manifests.clone());
    let own = match &survey.caller {
        Ok(own) => own,
        Err(error) => {
            tell_failure(error);
            let steps = plan::unread(&manifests);
            plan::unresolved(&manifests).iter().for_each(|why| complain(&unresolved(why)));
            print(&format!("{}{}\n", plan::text(&steps, &manifests), wrote(0)))?;
            return Ok(FAILED);
        }
    };
    let options = Options {
        observe_only: global.observe,
        approve: approve.cloned(),
        state_dir: global.state_dir(),
        seed: fastrand::u64(..),
        budgets: global.budgets(),
        ..Options::default()
    };
    let ways = survey.ways(own, filter);
    let are_several = ways.len() > 1;
    let carry_out = |way: Way| {
        let (iam, newest, options, shutdown) = (&survey.iam, Arc::clone(&manifests), options.clone(), shutdown.clone());
        async move {
            // Each account has its own: those that come late had to wait for others.
            let deadline = Instant::now() + PATIENCE;
            let outcome = match way.enter(iam, own, deadline).await {
                // Nobody sends newer manifests: a pass is about one state of them.
                Ok((iam, caller)) => {
                    let (_sender, newest) = watch::channel(newest);
                    Controller::new(iam, newest, options).once(caller, way.is_own, deadline, shutdown).await
                }
                Err(error) => {
                    way.tell_not_entered(&error);
                    Outcome {
                        steps: way.unread(&newest, &error),
                        unresolved: way.unresolved(&newest, &error.to_string()).into_iter().collect(),
                        ..Outcome::default()
                    }
                }
            };
            (way.account, outcome)
        }
    };
    let (mut is_right, mut void_in, mut carried_out, mut written) = (true, Vec::new(), false, 0);
    let mut is_about_anything = filter.role.is_none();
    each(ways, carry_out, |(account, outcome)| {
        if outcome.approval_is_void && !outcome.approval_is_used_up && are_several {
            // It may be meant for another account: nothing was written in this one.
            void_in.push(outcome.digest);
            return Ok(());
        }
        carried_out |= !outcome.approval_is_void;
        written += outcome.written;
        if are_several {
            print(&format!("account {account}\n"))?;
        }
        let digest = outcome.digest.as_ref();
        print(&format!("{}{}\n", plan::text(&outcome.steps, &manifests), wrote(outcome.written)))?;
        match &outcome.held {
            Some(excess) => complain(&plan::held(excess, digest.filter(|_| filter.is_whole_account()))),
            _ if outcome.approval_is_used_up => complain(USED_UP),
            _ if outcome.approval_is_void => complain(&void(digest)),
            _ => {}
        }
        outcome.unresolved.iter().for_each(|why| complain(&unresolved(why)));
        is_about_anything |= !outcome.steps.is_empty() || !outcome.unresolved.is_empty();
        is_right &= !outcome.approval_is_void && outcome.unresolved.is_empty() && !outcome.steps.iter().any(is_amiss);
        Ok(())
    })
    .await?;
    anyhow::ensure!(is_about_anything, plan::not_picked(filter));
    if are_several && approve.is_none() {
        print(&format!("all accounts: {}\n", wrote(written)))?;
    }
    if !void_in.is_empty() && !carried_out {
        complain(&void(None));
        is_right = false;
    }
    Ok(if is_right { OK } else { FAILED })
}

/// That it is not known what selectors pick.
fn unresolved(why: &str) -> String {
    let hint = "roles by selector are found by the bulk read alone: see that the account can be entered, and that \
                iam:GetAccountAuthorizationDetails is allowed there";
    format!("error: {}\n\nhint: {hint}", printable(why))
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
