//! What a role's sessions may do beyond what they need, and how much room is left for inline policies: advice, never a
//! verdict.
//!
//! What must stay true: nothing is advised of what is not surely granted.
//!
//! Sources: Systems Manager User Guide, "Configure instance permissions required for Systems Manager" (what
//! `AmazonSSMManagedInstanceCore` lets a node read); IAM User Guide, "IAM and AWS STS quotas".

use super::{
    Standing, Subject,
    checks::{self, Eyes},
    words::Asked,
};
use crate::{
    manifest::Platform,
    policy::{
        evaluate::{Answer, Permissions, Question, Resource},
        session_manager::{ALL_CHANNELS, DECRYPT, INLINE_POLICY_QUOTA, NodeRegistration, READ_PARAMETER},
    },
};

/// What could be taken away, or is about to be used up, each as a sentence.
#[must_use]
pub fn advise(subject: Subject<'_>) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(around) = &subject.role.surroundings {
        let eyes = Eyes::of(subject, around);
        advice.extend(beyond_need(subject, &eyes));
        advice.extend(granted_twice(subject, &eyes));
        advice.extend(eyes.permissions.policies.iter().filter_map(|policy| {
            let moment = policy.document.revokes_sessions_before()?;
            let instead = if checks::is_past(moment, subject.now) {
                "nodes need newer ones, which they fetch within hours, or at once when the agent or the instance is restarted"
            } else {
                "as far as is known there are none that are newer, and there will be none until then"
            };
            Some(format!(
                "{} denies everything to credentials that were issued before {moment}: {instead}",
                policy.name
            ))
        }));
    }
    advice.extend(subject.role.surroundings.as_ref().map(|around| {
        let left = INLINE_POLICY_QUOTA.saturating_sub(around.inline_size);
        format!("room: {left} of the {INLINE_POLICY_QUOTA} characters for inline policies are left")
    }));
    advice
}

fn beyond_need(subject: Subject<'_>, eyes: &Eyes<'_>) -> Vec<String> {
    let (partition, account) = (&eyes.partition, subject.account);
    let parameters = format!("arn:{partition}:ssm:*:{account}:parameter/*");
    let keys = format!("arn:{partition}:kms:*:*:key/*");
    let granted = |action: &str, resource: Resource<'_>| match eyes
        .permissions
        .answer(&Question::new(action, resource), &eyes.context)
    {
        Answer::Allowed { by } => Some(by),
        _ => None,
    };
    let mut advice = Vec::new();
    if let Some(by) = granted(READ_PARAMETER, Resource::Within(&parameters)) {
        let manifest = &subject.wanted.manifest;
        // Tasks do not register, and of the rest only these have another way.
        let has_another_way =
            manifest.platform != Platform::Ecs && manifest.settings.node_registration == NodeRegistration::Assumed;
        let instead = if has_another_way { "grant registration by nodeRegistration: granted, or " } else { "" };
        advice.push(format!(
            "{by} lets the node read every SSM parameter of the account: {instead}bound ssm:GetParameter, where secrets are kept there"
        ));
    }
    if let Some(by) = granted(ALL_CHANNELS, Resource::Unnamed) {
        advice.push(format!("{by} grants ssmmessages:*, and a session needs its four channel actions only"));
    }
    if let Some(by) = granted(DECRYPT, Resource::Within(&keys)) {
        advice.push(format!("{by} lets the node decrypt with every key whose policy agrees: name the keys"));
    }
    advice
}

/// The needs that more than one policy grants, by the policies that do.
fn granted_twice(subject: Subject<'_>, eyes: &Eyes<'_>) -> Vec<String> {
    let mut found: Vec<(Vec<String>, Vec<&'static str>)> = Vec::new();
    for check in checks::all(subject).into_iter().filter(|check| check.standing == Standing::Met) {
        let Asked::Permission(need) = &check.asked else { continue };
        let question = need.question();
        let grants = |policy: &&crate::policy::evaluate::Policy| {
            let alone = Permissions { policies: vec![(*policy).clone()], boundary: None };
            matches!(alone.answer(&question, &eyes.context), Answer::Allowed { .. })
        };
        let by: Vec<String> =
            eyes.permissions.policies.iter().filter(grants).map(|policy| policy.name.to_string()).collect();
        if by.len() < 2 {
            continue;
        }
        match found.iter_mut().find(|(same, _)| *same == by) {
            Some((_, actions)) if actions.contains(&need.action) => {}
            Some((_, actions)) => actions.push(need.action),
            None => found.push((by, vec![need.action])),
        }
    }
    let told = |(by, actions): (Vec<String>, Vec<&str>)| {
        format!("granted twice, by {}: {}", by.join(" and "), actions.join(", "))
    };
    found.into_iter().map(told).collect()
}
