//! `plan`: reads IAM and shows each drift. Writes nothing, ever: it holds no code that could.

mod markdown;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    DRIFT, Ended, FAILED, Filter, Global, NOT_READY, OK, complain, print,
    reads::Reads,
    survey::{Looked, Way, asked_for, each, look, paced, survey, tell_failure, tell_failure_in},
};
use crate::{
    controller,
    iam::{Caller, Reader, SdkIam},
    manifest::{ManifestSet, Mode, State},
    names::{AccountId, RoleName},
    plan::{self, Action, Circumstances, Digest, Excess, Guarded, Ledger, Picks, Reason, RoleCondition, Step, Summary},
    policy::compare::{Change, Direction, Drift},
    readiness::Status,
    selector::Selector,
    text::{counted, printable, printable_json},
};

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// The stable document.
    Json,
    /// As a comment on a pull request.
    Markdown,
}

/// Prints the plan. Exit status 0 in sync, 2 drift, 1 error; 1 wins. With `require_ready` 3 where all is in sync, but a
/// session would not surely work with each role. `explain_reads` tells which reading was chosen, and what it took.
///
/// # Errors
///
/// Where the command line asks for what no manifest names, or standard output cannot be written.
pub async fn plan(global: &Global, output: Output, explain_reads: bool, require_ready: bool, filter: &Filter) -> Ended {
    let Some(survey) = survey(global, filter, Instant::now()).await? else {
        return Ok(FAILED);
    };
    let manifests = &survey.manifests;
    let mut plans: Vec<Planned> = Vec::new();
    match &survey.caller {
        Ok(own) => {
            let ways = survey.ways(own, filter);
            let are_several = ways.len() > 1;
            let look_into = |way: Way| planned(&survey.iam, manifests, own, way, global);
            each(ways, look_into, |mut planned| {
                planned.reads = planned.reads.filter(|_| explain_reads);
                planned.digest = planned.digest.filter(|_| filter.is_whole_account());
                if output == Output::Text {
                    print(&told(&planned, manifests, are_several, filter))?;
                }
                if let (Some(account), Some(reads)) = (&planned.account, &planned.reads)
                    && output != Output::Json
                {
                    complain(&reads.text(account));
                }
                plans.push(planned);
                Ok(())
            })
            .await?;
            if output == Output::Text && (are_several || plans.is_empty()) {
                let steps: Vec<&Step> = plans.iter().flat_map(|planned| &planned.steps).collect();
                let accounts = if are_several { format!("{} accounts: ", plans.len()) } else { String::new() };
                print(&format!("{accounts}{}\n", counts(&steps)))?;
            }
        }
        Err(error) => {
            tell_failure(error);
            let steps = unread(manifests);
            if output == Output::Text {
                print(&text(&steps, manifests))?;
            }
            plans.push(Planned { steps, unresolved: unresolved(manifests), ..Planned::default() });
        }
    }
    plans.sort_by(|one, other| one.account.cmp(&other.account));
    match output {
        Output::Text => {}
        Output::Json => print(&printable_json(&serde_json::to_string_pretty(&Report::of(&plans))?))?,
        Output::Markdown => print(&markdown::page(&plans, manifests, filter.role.as_ref()))?,
    }
    let steps = || plans.iter().flat_map(|planned| &planned.steps);
    let is_ready = steps().all(Step::is_session_ready);
    if plans.iter().any(|planned| !planned.unresolved.is_empty()) {
        return Ok(FAILED);
    }
    anyhow::ensure!(filter.role.is_none() || steps().next().is_some(), not_picked(filter));
    Ok(match status(plans.iter().flat_map(|planned| &planned.steps)) {
        OK if require_ready && !is_ready => NOT_READY,
        status => status,
    })
}

/// Where the command line asks for a role that no manifest names and no selector picks.
pub(crate) fn not_picked(filter: &Filter) -> String {
    let role = filter.role.as_ref().map(RoleName::as_str).unwrap_or_default();
    format!("no manifest is about {}\nhint: `explain {role}` says why no selector picks it", filter.in_words())
}

/// A plan of one account, and what the guards say of it: by the writes that the state directory tells of, if there is one.
#[derive(Default)]
struct Planned {
    account: Option<AccountId>,
    steps: Vec<Step>,
    /// What came of each selector.
    picks: Vec<Picks>,
    /// Why it is not known what selectors pick; empty where it is.
    unresolved: Vec<String>,
    /// By which the plan is approved: none of a part of an account's plan, or where there is nothing to be carried out.
    digest: Option<Digest>,
    held: Option<Excess>,
    /// How the account was read, where it was entered.
    reads: Option<Reads>,
}

/// A plan for a person.
fn told(planned: &Planned, manifests: &ManifestSet, are_several: bool, filter: &Filter) -> String {
    let mut told = String::new();
    if let Some(account) = planned.account.as_ref().filter(|_| are_several) {
        told.push_str(&format!("account {account}\n\n"));
    }
    told.push_str(&text(&planned.steps, manifests));
    told.push_str(&picked(&planned.picks, &planned.unresolved, filter.role.as_ref()));
    if let Some(excess) = &planned.held {
        told.push_str(&held(excess, planned.digest.as_ref()));
    }
    if are_several {
        told.push('\n');
    }
    told
}

/// That a plan is held, and how it is carried out all the same.
///
/// Without a digest the command line has asked for a role, and only an account's whole plan can be approved.
pub(crate) fn held(excess: &Excess, digest: Option<&Digest>) -> String {
    let approve = match digest {
        Some(digest) => format!("`apply --approve {digest}`"),
        None => "have `plan` without --role tell the digest of the account's whole plan".to_owned(),
    };
    format!(
        "the plan is beyond the guards, so nothing of it is written: {excess}\n\n\
         hint: if it is meant, {approve}, or raise spec.guards of the ControllerConfiguration\n"
    )
}

/// Enters the account, reads it, judges every managed policy, and has the guards look at it.
async fn planned(iam: &SdkIam, manifests: &ManifestSet, own: &Caller, way: Way, global: &Global) -> Planned {
    let (iam, caller) = match way.enter(iam, own, Instant::now()).await {
        Ok(entered) => entered,
        Err(error) => {
            way.tell_not_entered(&error);
            let steps = way.unread(manifests, &error);
            let unresolved = way.unresolved(manifests, &error.to_string()).into_iter().collect();
            return Planned { account: Some(way.account), steps, unresolved, ..Planned::default() };
        }
    };
    let circumstances = Circumstances::of(&caller, manifests, global.observe);
    let asked = asked_for(&way, manifests, &caller);
    let iam = paced(iam, global);
    let reader = Reader::new(Arc::clone(&iam), caller.account.clone());
    let chosen = reader.reading_plan(&asked, false);
    let looked = look(&reader, &caller, &way, manifests, &circumstances).await.unwrap_or_else(|error| {
        tell_failure_in(&caller.account, &error);
        Looked::nothing(&way, manifests, &caller, &error)
    });
    let Looked { desired, inventory, picks, mut unresolved } = looked;
    let mut steps = plan::plan(&desired, &inventory, &circumstances, Timestamp::now());
    let digest = Digest::of(&caller.account, &steps);
    let guarded = plan::guard(
        &mut steps.iter_mut().collect::<Vec<_>>(),
        &mut ledger(global, &caller),
        &manifests.guards(),
        plan::managed_roles(desired.policies.values(), &inventory),
        Duration::ZERO,
    );
    let held = match guarded {
        Guarded::Held(excess) => Some(excess),
        Guarded::Within | Guarded::WithoutFormer(_) => None,
    };
    if way.is_own {
        steps.extend(plan::mismatched(manifests, &caller.account));
        unresolved.extend(plan::selectors_elsewhere(manifests, &caller.account));
    }
    let reads = Reads { chosen, next: reader.reading_plan(&asked, false), calls: iam.calls() };
    Planned { account: Some(caller.account), steps, picks, unresolved, digest, held, reads: Some(reads) }
}

/// What was written within the hour.
fn ledger(global: &Global, caller: &Caller) -> Ledger {
    let spent = global.state_dir().map(|directory| controller::spent(&directory, &caller.account));
    spent.transpose().map(Option::unwrap_or_default).unwrap_or_else(|trouble| {
        complain(&format!(
            "warning: the writes of the last hour are not known, so the guards are not judged by them: {trouble}"
        ));
        Ledger::default()
    })
}

/// Every managed role is unknown, since nobody knows whose credentials these are.
pub(crate) fn unread(manifests: &ManifestSet) -> Vec<Step> {
    let all = manifests.permissions().iter().flat_map(|permissions| {
        manifests.accounts_of(permissions).into_iter().map(|account| (permissions.as_ref(), account))
    });
    plan::unjudged(all, Reason::Unknown, None, manifests.default_mode())
}

/// That nobody knows what selectors pick, since nobody knows whose credentials these are.
pub(crate) fn unresolved(manifests: &ManifestSet) -> Vec<String> {
    let selecting = manifests.permissions().iter().filter(|manifest| manifest.selector.is_some());
    selecting.map(|manifest| format!("what the selector of manifest {} picks is not known", manifest.name)).collect()
}

/// The exit status: an undecided role is an error, a drift is a drift; suspended roles count neither way.
fn status<'a>(steps: impl Iterator<Item = &'a Step> + Clone) -> u8 {
    if steps.clone().any(Step::is_undecided) {
        FAILED
    } else if steps.clone().any(|step| step.has_drifted() && !step.is_suspended()) {
        DRIFT
    } else {
        OK
    }
}

/// The stable document of `plan -o json`.
#[derive(Serialize)]
struct Report<'a> {
    steps: Vec<StepReport<'a>>,
    selectors: Vec<SelectorReport<'a>>,
    /// Why it is not known what selectors pick.
    unresolved: Vec<&'a str>,
    summary: Summary,
    /// Of the one account, where there is but one.
    digest: Option<String>,
    held: Option<String>,
    accounts: Vec<AccountReport<'a>>,
    /// How each account was read; only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<BTreeMap<&'a AccountId, &'a Reads>>,
}

#[derive(Serialize)]
struct AccountReport<'a> {
    account: Option<&'a AccountId>,
    summary: Summary,
    digest: Option<String>,
    held: Option<String>,
}

/// What came of a selector in an account.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SelectorReport<'a> {
    account: Option<&'a AccountId>,
    manifest: &'a str,
    picked: usize,
    passed_over: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct StepReport<'a> {
    account: Option<&'a AccountId>,
    role: &'a str,
    policy: &'a str,
    manifest: &'a str,
    /// The manifest's selector, where the manifest does not name the role: every part of it matches.
    selector: Option<&'a Selector>,
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
    fn of(plans: &'a [Planned]) -> Self {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let as_of_now = |condition| ConditionReport { condition, last_transition_time: now.clone() };
        let reported = plans.iter().flat_map(|planned| &planned.steps).map(|step| StepReport {
            account: step.target.account.as_ref(),
            role: step.target.role.as_str(),
            policy: step.target.policy.as_str(),
            manifest: &step.manifest,
            selector: step.origin.selector(),
            state: step.state,
            mode: step.mode,
            action: step.action,
            drift: step.drift,
            reason: step.reason,
            diff: &step.changes,
            conditions: step.conditions().map(as_of_now),
        });
        let accounts: Vec<AccountReport<'_>> = plans
            .iter()
            .map(|planned| AccountReport {
                account: planned.account.as_ref(),
                summary: Summary::of(&planned.steps),
                digest: planned.digest.as_ref().map(ToString::to_string),
                held: planned.held.as_ref().map(ToString::to_string),
            })
            .collect();
        let (digest, held) = match &accounts[..] {
            [only] => (only.digest.clone(), only.held.clone()),
            _ => (None, None),
        };
        let summary = Summary::of(plans.iter().flat_map(|planned| &planned.steps));
        let reads = plans.iter().filter_map(|planned| Some((planned.account.as_ref()?, planned.reads.as_ref()?)));
        let reads = Some(reads.collect::<BTreeMap<_, _>>()).filter(|reads| !reads.is_empty());
        let picks =
            plans.iter().flat_map(|planned| planned.picks.iter().map(move |pick| (planned.account.as_ref(), pick)));
        let selectors = picks.map(|(account, pick)| SelectorReport {
            account,
            manifest: &pick.manifest,
            picked: pick.picked,
            passed_over: pick.passed_over.iter().map(|(role, why)| (role.as_str(), why.to_string())).collect(),
        });
        let unresolved = plans.iter().flat_map(|planned| planned.unresolved.iter().map(String::as_str));
        Self {
            steps: reported.collect(),
            selectors: selectors.collect(),
            unresolved: unresolved.collect(),
            summary,
            digest,
            held,
            accounts,
            reads,
        }
    }
}

/// So many roles are named that could not be read for one and the same cause.
const MOST_UNREAD: usize = 20;

/// The plan for a person: what is not in sync, and what is only worded differently.
pub(crate) fn text(steps: &[Step], manifests: &ManifestSet) -> String {
    let descriptions = descriptions(manifests);
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
    text.push_str(&closing(&steps.iter().collect::<Vec<_>>()));
    text
}

/// What manifests say of themselves, by their names.
fn descriptions(manifests: &ManifestSet) -> BTreeMap<&str, &str> {
    let described = manifests.permissions().iter().filter_map(|permissions| {
        let description = permissions.description.as_deref().filter(|description| !description.is_empty())?;
        Some((permissions.name.as_str(), description))
    });
    described.collect()
}

/// What came of the selectors, for a person.
fn picked(picks: &[Picks], unresolved: &[String], only: Option<&RoleName>) -> String {
    let mut text = String::new();
    for pick in picks {
        let Some(came) = came_of(pick, only.map(RoleName::as_str)) else { continue };
        let (manifest, selector) = (&pick.manifest, printable(&pick.selector));
        text.push_str(&format!("the selector of manifest {manifest} ({selector}) {came}\n"));
    }
    for why in unresolved {
        text.push_str(&format!("{}\n", printable(why)));
    }
    text
}

/// What a selector picks and passes over. Nothing where only one role was asked for and it does neither: that says nothing
/// of the selector.
fn came_of(pick: &Picks, only: Option<&str>) -> Option<String> {
    let over = pick.passed_over_in_words();
    let picked = match (pick.picked, only) {
        (0, Some(_)) if over.is_empty() => return None,
        (0, Some(role)) => format!("does not pick {role}"),
        (_, Some(role)) => format!("picks {role}"),
        (0, None) => "picks no role".to_owned(),
        (count, None) => format!("picks {}", counted(count, "role", "roles")),
    };
    Some(if over.is_empty() { picked } else { format!("{picked}; it passes over {over}") })
}

/// What became of a policy and what is to be done, in a few words.
fn verdict(step: &Step) -> String {
    match (step.drift, step.action) {
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
    }
}

fn paragraph(step: &Step, description: Option<&str>) -> String {
    let account = step.target.account.as_ref().map_or("unknown", AccountId::as_str);
    let mut text = format!(
        "role {}, policy {} (account {account}, manifest {}): {}\n",
        step.target.role,
        step.target.policy,
        step.manifest,
        verdict(step)
    );
    if let Some(selector) = step.origin.selector() {
        text.push_str(&format!("  picked by the manifest's selector: {}\n", printable(&selector.to_string())));
    }
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
        text.push_str(&format!("  {what} ({}): {}\n", session.cause, printable(&session.message())));
        text.push_str(&format!("  hint: `explain {}` shows every check\n", step.target.role));
    }
    text
}

fn closing(steps: &[&Step]) -> String {
    let legend = if steps.iter().any(|step| step.has_drifted()) {
        "(- what the role has lost, + what it has gained, against its manifest)\n"
    } else {
        ""
    };
    format!("{legend}{}\n", counts(steps))
}

fn counts(steps: &[&Step]) -> String {
    let summary = Summary::of(steps.iter().copied());
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
    counts.join(", ")
}
