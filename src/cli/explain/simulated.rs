//! What IAM's policy simulator says beside our own answers.
//!
//! What must stay true: every permission that was checked is told of, also one that the simulator's answer leaves out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Explained;
use crate::{
    iam::{Decision, Iam, IamError, SimulatedAction},
    inventory::Role,
    readiness::Standing,
    text::printable,
};

/// One permission on both sides.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Simulated {
    action: &'static str,
    resource: String,
    ours: Standing,
    /// `None` where it says nothing of it.
    simulator: Option<&'static str>,
    allowed_by_organizations: Option<bool>,
    missing_context: Vec<String>,
    disagrees: bool,
    #[serde(skip)]
    allows: Option<bool>,
}

impl Simulated {
    fn of(check: &Explained, action: &'static str, resource: &str, answer: Option<&SimulatedAction>) -> Self {
        let is_allowed = answer.map(|answer| answer.decision == Decision::Allowed);
        Self {
            action,
            resource: answer.map_or(resource, |answer| &answer.resource).to_owned(),
            ours: check.standing,
            simulator: answer.map(|answer| answer.decision.as_str()),
            allowed_by_organizations: answer.and_then(|answer| answer.allowed_by_organizations),
            missing_context: answer.map(|answer| answer.missing_context.clone()).unwrap_or_default(),
            disagrees: is_allowed.zip(check.allows).is_some_and(|(theirs, ours)| theirs != ours),
            allows: check.allows,
        }
    }

    pub(super) fn text(&self) -> String {
        let ours = match (self.allows, self.ours) {
            (Some(true), _) => "allowed",
            (Some(false), _) => "denied",
            (None, Standing::Unknown) => "unknown",
            (None, _) => "depends",
        };
        let mut text = format!("  {} on {}: here {ours}, the simulator ", self.action, printable(&self.resource));
        text.push_str(self.simulator.unwrap_or("says nothing of it"));
        if self.allowed_by_organizations == Some(false) {
            text.push_str(", since a policy of the organization does not allow it");
        }
        if !self.missing_context.is_empty() {
            let keys = self.missing_context.join(", ");
            text.push_str(&format!(", not knowing {}", printable(&keys)));
        }
        if self.disagrees {
            text.push_str(": THEY DISAGREE");
        }
        text.push('\n');
        text
    }
}

/// Asks the simulator about every permission that was checked, one call for each resource.
pub(super) async fn side_by_side<I: Iam>(
    iam: &I,
    role: &Role,
    checks: &[Explained],
) -> Result<Vec<Simulated>, IamError> {
    let arn = role.arn().unwrap_or_default();
    let mut asked: BTreeMap<&str, Vec<(&Explained, &'static str)>> = BTreeMap::new();
    for check in checks {
        if let (Some(action), Some(resource)) = (check.action, &check.resource) {
            asked.entry(resource).or_default().push((check, action));
        }
    }
    let mut simulated = Vec::new();
    for (resource, checks) in asked {
        let actions: Vec<String> = checks.iter().map(|(_, action)| (*action).to_owned()).collect();
        let resources = if resource == "*" { Vec::new() } else { vec![resource.to_owned()] };
        let answers = iam.simulate(&arn, &actions, &resources).await?;
        simulated.extend(checks.into_iter().map(|(check, action)| {
            let answer = answers.iter().find(|answer| answer.action.eq_ignore_ascii_case(action));
            Simulated::of(check, action, resource, answer)
        }));
    }
    Ok(simulated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::Cause;

    fn check(standing: Standing, allows: Option<bool>) -> Explained {
        Explained {
            check: "Channels",
            action: Some("ssmmessages:OpenDataChannel"),
            resource: Some("*".to_owned()),
            standing,
            reason: Cause::Ready,
            subject: String::new(),
            allows,
            evidence: String::new(),
            symptom: None,
            remedy: None,
        }
    }

    #[test]
    fn what_the_simulator_leaves_out_is_told_and_it_disagrees_only_where_both_are_sure() {
        let action = "ssmmessages:OpenDataChannel";
        let decided = |decision| SimulatedAction::new(action, "*", decision);
        for (standing, allows, answer, disagrees, told) in [
            (Standing::Met, Some(true), None, false, "here allowed, the simulator says nothing of it"),
            (Standing::Missing, Some(false), Some(Decision::Allowed), true, "here denied, the simulator allowed"),
            (Standing::Met, Some(true), Some(Decision::ImplicitDeny), true, "here allowed, the simulator implicitDeny"),
            // What Default Host Management asks for is that it be denied.
            (
                Standing::Met,
                Some(false),
                Some(Decision::ImplicitDeny),
                false,
                "here denied, the simulator implicitDeny",
            ),
            (Standing::Missing, Some(true), Some(Decision::ExplicitDeny), true, "here allowed, the simulator explicit"),
            (Standing::Conditional, None, Some(Decision::Allowed), false, "here depends, the simulator allowed"),
            (Standing::Unknown, None, Some(Decision::ImplicitDeny), false, "here unknown, the simulator implicitDeny"),
        ] {
            let answer = answer.map(decided);
            let simulated = Simulated::of(&check(standing, allows), action, "*", answer.as_ref());
            assert_eq!(simulated.disagrees, disagrees, "{told}");
            assert!(simulated.text().contains(told), "{}", simulated.text());
            assert_eq!(simulated.text().contains("DISAGREE"), disagrees);
        }
    }
}
