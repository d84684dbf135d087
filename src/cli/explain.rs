//! `explain`: would a session work with this role, and if not, which fact stands in the way? Writes nothing, ever: it
//! holds no code that could.

mod simulated;

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use self::simulated::{Simulated, side_by_side};
use super::{
    Ended, FAILED, Filter, Global, OK, Output, complain, print,
    survey::{Looked, Survey, Way, each, look, paced, survey, tell_failure, tell_failure_in},
};
use crate::{
    iam::{Caller, IamError, Reader},
    inventory::Observed,
    manifest::{DesiredPolicy, Mode, Permissions, State},
    names::{AccountId, RoleName},
    plan::{self, Action, Circumstances, Reason, RoleCondition, Step},
    readiness::{self, Cause, Check, NOT_CHECKED, Remedy, Standing, Status, Subject, Verdict},
    selector::Selector,
    text::{printable, printable_json},
};

/// Prints the verdict on the role under each manifest that names it, and every check. Exit status 0 where it could be
/// read, whatever the verdict is, and 1 where not.
///
/// # Errors
///
/// Where no manifest names the role, or standard output cannot be written.
pub async fn explain(
    global: &Global,
    output: Output,
    simulate: bool,
    role: &RoleName,
    account: Option<&AccountId>,
) -> Ended {
    let filter = Filter { role: Some(role.clone()), account: account.cloned() };
    let Some(survey) = survey(global, &filter, Instant::now()).await? else {
        return Ok(FAILED);
    };
    let own = match &survey.caller {
        Ok(caller) => caller,
        Err(error) => {
            tell_failure(error);
            return Ok(FAILED);
        }
    };
    let ways = survey.ways(own, &filter);
    anyhow::ensure!(
        ways.iter().any(|way| {
            survey.manifests.selecting(way.whose()).next().is_some()
                || !survey.manifests.desired(way.whose(), None).policies.is_empty()
        }),
        "the manifests that name the role {role} are about another account than {}, whose credentials these are\n\
         hint: use credentials of that account",
        own.account
    );
    let (mut explanations, mut is_whole) = (Vec::new(), true);
    let look_into = |way: Way| explained(&survey, own, way, role, global, simulate);
    each(ways, look_into, |looked_into| {
        match looked_into {
            Ok((of_account, was_whole)) => {
                is_whole &= was_whole;
                explanations.extend(of_account);
            }
            Err((account, error)) => {
                tell_failure_in(&account, &error);
                is_whole = false;
            }
        }
        Ok(())
    })
    .await?;
    explanations.sort_by(|one, other| one.account.cmp(&other.account));
    if explanations.is_empty() {
        return Ok(FAILED);
    }
    print(&match output {
        Output::Json => printable_json(&serde_json::to_string_pretty(&explanations)?),
        Output::Text => explanations.iter().map(Explanation::text).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(if is_whole { OK } else { FAILED })
}

/// What there is to say of the role in one account, and whether all that was asked for could be had.
async fn explained(
    survey: &Survey,
    own: &Caller,
    way: Way,
    role: &RoleName,
    global: &Global,
    simulate: bool,
) -> Result<(Vec<Explanation>, bool), (AccountId, IamError)> {
    let entered = way.enter(&survey.iam, own, Instant::now()).await;
    let (iam, caller) = entered.map_err(|error| (way.account.clone(), error))?;
    let iam = paced(iam, global);
    let reader = Reader::new(Arc::clone(&iam), caller.account.clone());
    let circumstances = Circumstances::of(&caller, &survey.manifests, global.observe);
    let looked = look(&reader, &caller, &way, &survey.manifests, &circumstances).await;
    let Looked { desired, inventory, unresolved, .. } = looked.map_err(|error| (way.account.clone(), error))?;
    let (mut explanations, mut is_whole) = (Vec::new(), unresolved.is_empty());
    let passed_by = |manifest: &Permissions| {
        let is_about_it = |wanted: &DesiredPolicy| wanted.manifest.name == manifest.name;
        let why = match inventory.get(role) {
            _ if desired.policies.values().any(is_about_it) || manifest.roles.contains(role) => return None,
            Some(Observed::Found(role)) => plan::why_not(manifest, role, &caller.account, &circumstances)?,
            Some(Observed::NotFound) => "there is no role of this name in the account".to_owned(),
            Some(Observed::Unknown(_)) | None => "the role could not be read".to_owned(),
        };
        let selector = manifest.selector.as_ref().map(ToString::to_string).unwrap_or_default();
        Some(NotPicked { manifest: manifest.name.clone(), selector, why })
    };
    let not_picked_by: Vec<NotPicked> = survey.manifests.selecting(way.whose()).filter_map(passed_by).collect();
    if desired.policies.is_empty() && !not_picked_by.is_empty() {
        explanations.push(Explanation::of_unmanaged(&caller.account, role));
    }
    let now = Timestamp::now();
    for wanted in desired.policies.values() {
        let Some(observed) = inventory.get(&wanted.role) else { continue };
        let step = plan::judge(wanted, observed, &circumstances, now);
        let mut explanation = Explanation::of(&step, wanted);
        if let (Observed::Found(role), State::Present, None) = (observed, wanted.state, &wanted.conflict) {
            explanation.look_into(Subject { account: &caller.account, role, wanted, now }, &step);
            if simulate {
                match side_by_side(iam.as_ref(), role, &explanation.checks).await {
                    Ok(answers) => explanation.simulated = Some(answers),
                    Err(error) => {
                        complain(&not_simulated(&error));
                        is_whole = false;
                    }
                }
            }
        }
        is_whole &= explanation.was_read;
        explanations.push(explanation);
    }
    for explanation in &mut explanations {
        explanation.not_picked_by.clone_from(&not_picked_by);
    }
    Ok((explanations, is_whole))
}

/// What there is to say of one role under one manifest: the stable document of `explain -o json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    account: Option<AccountId>,
    role: String,
    /// `None` where no manifest asks for anything.
    policy: Option<String>,
    manifest: Option<String>,
    /// The manifest's selector, where the manifest does not name the role: every part of it matches.
    selector: Option<Selector>,
    /// The manifests whose selectors do not pick the role.
    not_picked_by: Vec<NotPicked>,
    verdict: Option<Verdict>,
    conditions: [RoleCondition; 2],
    checks: Vec<Explained>,
    advice: Vec<String>,
    not_checked: &'static [&'static str],
    /// `None` where it was not asked for, or could not be had.
    simulated: Option<Vec<Simulated>>,
    #[serde(skip)]
    was_read: bool,
    #[serde(skip)]
    hint: Option<&'static str>,
}

/// Why a selector does not pick the role.
#[derive(Clone, Serialize)]
struct NotPicked {
    manifest: String,
    selector: String,
    why: String,
}

/// One check.
#[derive(Serialize)]
struct Explained {
    check: &'static str,
    action: Option<&'static str>,
    resource: Option<String>,
    standing: Standing,
    reason: Cause,
    #[serde(skip)]
    subject: String,
    #[serde(skip)]
    allows: Option<bool>,
    evidence: String,
    /// What people see where it fails; none where it is met.
    symptom: Option<&'static str>,
    remedy: Option<String>,
}

impl Explanation {
    fn of(step: &Step, wanted: &DesiredPolicy) -> Self {
        Self {
            account: step.target.account.clone(),
            role: step.target.role.to_string(),
            policy: Some(step.target.policy.to_string()),
            manifest: Some(step.manifest.clone()),
            selector: step.origin.selector().cloned(),
            not_picked_by: Vec::new(),
            verdict: None,
            conditions: step.conditions(),
            checks: Vec::new(),
            advice: Vec::new(),
            not_checked: NOT_CHECKED,
            simulated: None,
            was_read: !step.is_undecided() || step.session.is_some(),
            hint: step.reason.map(|reason| match (reason, wanted.mode) {
                (Reason::ObserveMode, Mode::Enforce) => "leave --observe out to have it repaired",
                (reason, _) => reason.hint(),
            }),
        }
    }

    /// Of a role that no manifest names and no selector picks.
    fn of_unmanaged(account: &AccountId, role: &RoleName) -> Self {
        let unknown = |r#type| RoleCondition {
            r#type,
            status: Status::Unknown,
            reason: "NotManaged",
            message: "no manifest names the role, and no selector picks it".to_owned(),
        };
        Self {
            account: Some(account.clone()),
            role: role.to_string(),
            policy: None,
            manifest: None,
            selector: None,
            not_picked_by: Vec::new(),
            verdict: None,
            conditions: [unknown("Synced"), unknown("SessionReady")],
            checks: Vec::new(),
            advice: Vec::new(),
            not_checked: NOT_CHECKED,
            simulated: None,
            was_read: true,
            hint: None,
        }
    }

    fn look_into(&mut self, subject: Subject<'_>, step: &Step) {
        let readiness = readiness::assess(subject);
        // A plan does not look into what is suspended; who asks is told.
        self.conditions[1] = RoleCondition::session_ready(&readiness.condition());
        self.verdict = Some(readiness.verdict);
        let hint = self.hint.unwrap_or_default();
        let mended = |remedy: &Remedy| match (remedy, step.action, step.reason) {
            (Remedy::Write { .. }, Action::Put, _) => format!("{remedy} (`apply` writes it)"),
            // Nobody is to be sent to a command that changes nothing.
            (Remedy::Write { .. }, _, Some(reason)) => {
                format!("{remedy}; `apply` does not write it as things are ({reason}): {hint}")
            }
            _ => remedy.to_string(),
        };
        let explained = |check: Check| Explained { remedy: check.remedy.as_ref().map(mended), ..Explained::of(check) };
        self.checks = readiness.checks.into_iter().map(explained).collect();
        self.advice = readiness::advise(subject);
    }

    fn text(&self) -> String {
        let account = self.account.as_ref().map_or("unknown", AccountId::as_str);
        let mut text = match (&self.policy, &self.manifest) {
            (Some(policy), Some(manifest)) => {
                format!("role {}, policy {policy} (account {account}, manifest {})\n", self.role, printable(manifest))
            }
            _ => format!("role {} (account {account})\n", self.role),
        };
        if let Some(selector) = &self.selector {
            text.push_str(&format!("  picked by the manifest's selector: {}\n", printable(&selector.to_string())));
        }
        for NotPicked { manifest, selector, why } in &self.not_picked_by {
            let (selector, why) = (printable(selector), printable(why));
            text.push_str(&format!("  not picked by the selector of manifest {manifest} ({selector}): {why}\n"));
        }
        for condition in &self.conditions {
            text.push_str(&format!(
                "  {:<13} {:<8} {}: {}\n",
                condition.r#type,
                condition.status.as_str(),
                condition.reason,
                printable(&condition.message)
            ));
        }
        if let Some(hint) = self.hint {
            text.push_str(&format!("  hint: {hint}\n"));
        }
        if !self.checks.is_empty() {
            text.push_str("\nchecks\n");
        }
        for check in &self.checks {
            text.push_str(&check.text());
        }
        if let Some(answers) = &self.simulated {
            text.push_str("\nIAM's policy simulator, which knows service control policies\n");
            answers.iter().for_each(|answer| text.push_str(&answer.text()));
            if answers.is_empty() {
                text.push_str("  was not asked: there is no permission to ask about\n");
            }
        }
        if !self.advice.is_empty() {
            text.push_str("\nadvice\n");
        }
        for advice in &self.advice {
            text.push_str(&format!("  - {}\n", printable(advice)));
        }
        text.push_str(&format!("\nnot checked, since IAM does not tell it: {}\n", self.not_checked.join("; ")));
        text
    }
}

impl Explained {
    fn of(check: Check) -> Self {
        let is_met = check.standing == Standing::Met;
        Self {
            check: check.asked.name(),
            action: check.asked.action(),
            resource: check.asked.resource().map(str::to_owned),
            standing: check.standing,
            reason: check.cause,
            subject: check.subject_in_words(),
            allows: check.allows,
            symptom: (!is_met).then(|| check.asked.symptom()),
            evidence: check.evidence,
            remedy: check.remedy.map(|remedy| remedy.to_string()),
        }
    }

    fn text(&self) -> String {
        let mark = match self.standing {
            Standing::Met => "yes",
            Standing::Missing => "NO",
            Standing::Conditional => "depends",
            Standing::Unknown => "unknown",
        };
        let mut text = format!("  {mark:<8} {}: {}\n", printable(&self.subject), printable(&self.evidence));
        if let Some(symptom) = self.symptom {
            text.push_str(&format!("           where it fails: {symptom}\n"));
        }
        if let Some(remedy) = &self.remedy {
            text.push_str(&format!("           to mend it: {}\n", printable(remedy)));
        }
        text
    }
}

fn not_simulated(error: &IamError) -> String {
    format!(
        "error: IAM's policy simulator gave no answer: {}\n\n\
         hint: allow iam:SimulatePrincipalPolicy on the role; an endpoint that is not AWS's may lack it: leave --simulate out there",
        printable(&error.to_string())
    )
}
