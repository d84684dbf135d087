//! `plan`: reads IAM and shows each drift. Writes nothing, ever: it holds no code that could.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    DRIFT, Ended, FAILED, Filter, Global, NOT_READY, OK, Output, complain, print,
    reads::Reads,
    survey::{Survey, paced, read, survey, tell_failure},
};
use crate::{
    iam::{Caller, Reader, SdkIam},
    inventory::Inventory,
    manifest::{ManifestSet, Mode, State},
    names::AccountId,
    plan::{self, Action, Circumstances, Digest, Excess, Guarded, Ledger, Reason, RoleCondition, Step, Summary},
    policy::compare::{Change, Direction, Drift},
    readiness::Status,
    text::{printable, printable_json},
};

/// Prints the plan. Exit status 0 in sync, 2 drift, 1 error; 1 wins. With `require_ready` 3 where all is in sync, but a
/// session would not surely work with each role. `explain_reads` tells which reading was chosen, and what it took.
///
/// # Errors
///
/// Where the command line asks for what no manifest names, or standard output cannot be written.
pub async fn plan(global: &Global, output: Output, explain_reads: bool, require_ready: bool, filter: &Filter) -> Ended {
    let Some(Survey { iam, manifests, caller }) = survey(global, filter, Instant::now()).await? else {
        return Ok(FAILED);
    };
    let mut planned = match caller {
        Ok(caller) => planned(iam, &manifests, &caller, global.observe).await,
        Err(error) => {
            tell_failure(&error);
            Planned { steps: unread(&manifests), digest: None, held: None, reads: BTreeMap::new() }
        }
    };
    if !explain_reads {
        planned.reads.clear();
    }
    print(&match output {
        Output::Json => printable_json(&serde_json::to_string_pretty(&Report::of(&planned))?),
        Output::Text => text(&planned.steps, &manifests),
    })?;
    if let (Output::Text, Some(excess)) = (output, &planned.held) {
        print(&held(excess, planned.digest.as_ref().filter(|_| filter.is_empty())))?;
    }
    if matches!(output, Output::Text) {
        planned.reads.iter().for_each(|(account, reads)| complain(&reads.text(account)));
    }
    let is_ready = planned.steps.iter().all(Step::is_session_ready);
    Ok(match status(&planned.steps) {
        OK if require_ready && !is_ready => NOT_READY,
        status => status,
    })
}

/// A plan, and what the guards say of it where nothing was written within the hour.
struct Planned {
    steps: Vec<Step>,
    digest: Option<Digest>,
    held: Option<Excess>,
    /// How each account was read.
    reads: BTreeMap<AccountId, Reads>,
}

/// That a plan is held, and how it is carried out all the same.
///
/// Without a digest the command line has narrowed the plan, and only a whole one can be approved.
pub(crate) fn held(excess: &Excess, digest: Option<&Digest>) -> String {
    let approve = match digest {
        Some(digest) => format!("`apply --approve {digest}`"),
        None => "have `plan` without --role and --account tell the digest of the whole plan".to_owned(),
    };
    format!(
        "the plan is beyond the guards, so nothing of it is written: {excess}\n\n\
         hint: if it is meant, {approve}, or raise spec.guards of the ControllerConfiguration\n"
    )
}

/// Reads the account, judges every managed policy, and has the guards look at it.
async fn planned(iam: SdkIam, manifests: &ManifestSet, caller: &Caller, observe_only: bool) -> Planned {
    let circumstances = Circumstances::of(caller, manifests, observe_only);
    let desired = manifests.desired(&caller.account, caller.partition().as_ref());
    let asked = plan::asked_for(&desired);
    let iam = paced(iam);
    let reader = Reader::new(Arc::clone(&iam), caller.account.clone());
    let chosen = reader.reading_plan(&asked, false);
    let inventory = match read(&reader, caller, &asked).await {
        Ok(inventory) => inventory,
        Err(error) => {
            tell_failure(&error);
            Arc::new(Inventory::unknown(&asked))
        }
    };
    let mut steps = plan::plan(&desired, &inventory, &circumstances);
    let digest = Digest::of(&caller.account, &steps);
    let guarded = plan::guard(
        &mut steps.iter_mut().collect::<Vec<_>>(),
        &mut Ledger::default(),
        &manifests.guards(),
        asked.len(),
        Duration::ZERO,
    );
    let held = match guarded {
        Guarded::Held(excess) => Some(excess),
        Guarded::Within | Guarded::WithoutFormer(_) => None,
    };
    steps.extend(plan::mismatched(manifests, &caller.account));
    let reads = Reads { chosen, next: reader.reading_plan(&asked, false), calls: iam.calls() };
    Planned { steps, digest, held, reads: BTreeMap::from([(caller.account.clone(), reads)]) }
}

/// Every managed role is unknown, since nobody knows whose credentials these are.
pub(crate) fn unread(manifests: &ManifestSet) -> Vec<Step> {
    let all = manifests.permissions().iter().map(AsRef::as_ref);
    plan::unjudged(all, Reason::Unknown, None, manifests.default_mode())
}

/// The exit status: an undecided role is an error, a drift is a drift; suspended roles count neither way.
fn status(steps: &[Step]) -> u8 {
    if steps.iter().any(Step::is_undecided) {
        FAILED
    } else if steps.iter().any(|step| step.has_drifted() && !step.is_suspended()) {
        DRIFT
    } else {
        OK
    }
}

/// The stable document of `plan -o json`.
#[derive(Serialize)]
struct Report<'a> {
    steps: Vec<StepReport<'a>>,
    summary: Summary,
    digest: Option<String>,
    held: Option<String>,
    /// Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<&'a BTreeMap<AccountId, Reads>>,
}

#[derive(Serialize)]
struct StepReport<'a> {
    account: Option<&'a AccountId>,
    role: &'a str,
    policy: &'a str,
    state: State,
    mode: Mode,
    action: Action,
    drift: Option<Drift>,
    reason: Option<Reason>,
    diff: &'a [Change],
    conditions: [ConditionReport; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionReport {
    #[serde(flatten)]
    condition: RoleCondition,
    /// The moment of this reading: a plan remembers none before.
    last_transition_time: String,
}

impl<'a> Report<'a> {
    fn of(planned: &'a Planned) -> Self {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let as_of_now = |condition| ConditionReport { condition, last_transition_time: now.clone() };
        let reported = planned.steps.iter().map(|step| StepReport {
            account: step.target.account.as_ref(),
            role: step.target.role.as_str(),
            policy: step.target.policy.as_str(),
            state: step.state,
            mode: step.mode,
            action: step.action,
            drift: step.drift,
            reason: step.reason,
            diff: &step.changes,
            conditions: step.conditions().map(as_of_now),
        });
        Self {
            steps: reported.collect(),
            summary: Summary::of(&planned.steps),
            digest: planned.digest.as_ref().map(ToString::to_string),
            held: planned.held.as_ref().map(ToString::to_string),
            reads: Some(&planned.reads).filter(|reads| !reads.is_empty()),
        }
    }
}

/// So many roles are named that could not be read for one and the same cause.
const MOST_UNREAD: usize = 20;

/// The plan for a person: what is not in sync, and what is only worded differently.
pub(crate) fn text(steps: &[Step], manifests: &ManifestSet) -> String {
    let described = manifests.permissions().iter().filter_map(|permissions| {
        let description = permissions.description.as_deref().filter(|description| !description.is_empty())?;
        Some((permissions.name.as_str(), description))
    });
    let descriptions: BTreeMap<&str, &str> = described.collect();
    let mut text = String::new();
    let (unread, others): (Vec<&Step>, Vec<&Step>) =
        steps.iter().partition(|step| step.reason == Some(Reason::Unknown) && step.detail.is_none());
    let is_worth_telling = |step: &&Step| !step.is_in_sync() || step.drift.is_some() || !step.is_session_ready();
    for step in others.into_iter().filter(is_worth_telling) {
        text.push_str(&paragraph(step, descriptions.get(step.manifest.as_str()).copied()));
        text.push('\n');
    }
    if !unread.is_empty() {
        // They all failed together, and what failed was told.
        let roles: Vec<&str> = unread.iter().map(|step| step.target.role.as_str()).take(MOST_UNREAD).collect();
        let more = unread.len() - roles.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!("not read, so nothing is concluded: {}{more}\n\n", roles.join(", ")));
    }
    text.push_str(&closing(steps));
    text
}

fn paragraph(step: &Step, description: Option<&str>) -> String {
    let account = step.target.account.as_ref().map_or("unknown", AccountId::as_str);
    let drift = match (step.drift, step.action) {
        (Some(Drift::Cosmetic), _) => "cosmetic: the same meaning in other words, in sync".to_owned(),
        (Some(drift), Action::Put) if step.reason.is_some() => format!("{drift}, not repaired"),
        (Some(drift), Action::Put) => format!("{drift}, to be repaired"),
        (Some(_), Action::Delete) => "still there, to be removed".to_owned(),
        (None, Action::Put | Action::Delete) => "to be removed".to_owned(),
        (Some(drift), Action::None) => format!("{drift}, only told"),
        (Some(drift), Action::Blocked) => format!("{drift}, blocked"),
        (None, Action::Blocked) => "blocked".to_owned(),
        (None, _) if step.is_in_sync() => "in sync".to_owned(),
        (None, _) => "left alone".to_owned(),
    };
    let mut text = format!(
        "role {}, policy {} (account {account}, manifest {}): {drift}\n",
        step.target.role, step.target.policy, step.manifest
    );
    if let Some(description) = description {
        text.push_str(&format!("  ({})\n", printable(description)));
    }
    if step.has_drifted() {
        for change in &step.changes {
            let sign = match change.change {
                Direction::Lost => '-',
                Direction::Gained => '+',
            };
            text.push_str(&format!("  {sign} {}\n", printable(&change.summary())));
        }
    }
    if let Some(Err(why)) = step.live.as_ref().map(|live| live.parsed()) {
        text.push_str(&format!("  the live document cannot be read as a policy: {}\n", printable(why)));
    }
    if let Some(reason) = step.reason {
        text.push_str(&format!("  {reason}: {}\n", reason.explanation()));
        if let Some(detail) = &step.detail {
            text.push_str(&format!("  {}\n", printable(detail)));
        }
        text.push_str(&format!("  hint: {}\n", reason.hint()));
    }
    if let Some(session) = step.session.as_ref().filter(|_| !step.is_session_ready()) {
        let what = match session.status {
            Status::False => "sessions would not work as the manifest asks",
            Status::True | Status::Unknown => "it is not sure that sessions would work as the manifest asks",
        };
        text.push_str(&format!("  {what} ({}): {}\n", session.cause, printable(&session.message)));
        text.push_str(&format!("  hint: `explain {}` shows every check\n", step.target.role));
    }
    text
}

fn closing(steps: &[Step]) -> String {
    let summary = Summary::of(steps);
    let mut counts = vec![format!("{} in sync", summary.in_sync)];
    let suspended = steps.iter().filter(|step| step.is_suspended()).count();
    for (count, what) in [
        (summary.cosmetic, "cosmetic"),
        (summary.missing, "missing"),
        (summary.narrowed, "narrowed"),
        (summary.widened, "widened"),
        (summary.altered, "altered"),
        (summary.blocked - summary.unknown, "blocked"),
        (summary.unknown, "unknown"),
        (suspended, "suspended"),
        (summary.not_ready, "where sessions would not work as asked"),
        (summary.readiness_unknown, "where that is not sure"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {what}"));
        }
    }
    let legend = if steps.iter().any(Step::has_drifted) {
        "(- what the role has lost, + what it has gained, against its manifest)\n"
    } else {
        ""
    };
    format!("{legend}{}\n", counts.join(", "))
}
