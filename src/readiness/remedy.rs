//! What would mend a check that is not met: one change, chosen by what decides it.
//!
//! What must stay true: what is said mends it. A grant mends no Deny and no boundary, and what is there already is not
//! asked for.

use std::fmt;

use crate::{
    manifest::DesiredPolicy,
    names::{self, AccountId},
    policy::{
        evaluate::{Answer, Denial, Dependence, Doubt, Effect, Kind, Place, PolicyName},
        session_manager::{Need, NodeRegistration, Purpose},
    },
};

/// What would mend a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// The policy that the manifest asks for grants it: to have that written.
    Write {
        /// The inline policy.
        policy: names::PolicyName,
        /// The manifest's `metadata.name`.
        manifest: String,
    },
    /// Another change, in words.
    Change(String),
}

impl fmt::Display for Remedy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { policy, manifest } => {
                write!(formatter, "have the policy {policy} written as manifest {manifest} asks: it grants this")
            }
            Self::Change(change) => formatter.write_str(change),
        }
    }
}

/// The change that would mend a permission.
pub(super) fn of_permission(answer: &Answer, need: &Need, wanted: &DesiredPolicy) -> Option<Remedy> {
    let (action, manifest) = (need.action, &wanted.manifest.name);
    let is_granted_elsewhere = need.purpose == Purpose::Registration
        && wanted.manifest.settings.node_registration != NodeRegistration::Granted;
    Some(Remedy::Change(match answer {
        Answer::Allowed { .. } => return None,
        Answer::Denied(Denial::Explicitly { by }) => undeny(by, action),
        Answer::Denied(Denial::NotByBoundary { boundary }) => {
            mend(boundary, format!("have the {boundary} allow {action}"))
        }
        Answer::Denied(Denial::NotGranted) if is_granted_elsewhere => {
            format!(
                "attach AmazonSSMManagedInstanceCore to the role, or say nodeRegistration: granted in manifest {manifest}"
            )
        }
        Answer::Denied(Denial::NotGranted) => {
            return Some(Remedy::Write { policy: wanted.policy.clone(), manifest: manifest.clone() });
        }
        Answer::Conditional { on } => each(on.iter().map(|dependence| settle(dependence, need))),
        Answer::Unknown { why } => why.first().map_or_else(String::new, clear_up),
    }))
}

/// The change that would have a service admitted.
pub(super) fn of_trust(answer: &Answer, nearest: Option<&Place>, service: &str, account: &AccountId) -> Option<Remedy> {
    let admit = || format!("have the trust policy allow sts:AssumeRole to the service {service}");
    Some(Remedy::Change(match (answer, nearest) {
        (Answer::Allowed { .. }, _) => return None,
        (Answer::Denied(Denial::Explicitly { by }), _) => format!("change {by} so that it does not deny {service}"),
        (Answer::Conditional { on }, _) => each(on.iter().map(|dependence| match dependence.effect {
            Effect::Allow => {
                format!("see whether the requests of {service} meet it, or admit it by a statement without a condition")
            }
            Effect::Deny => format!(
                "see whether it denies the requests of {service}, or change {} so that it does not deny {service}",
                dependence.at
            ),
        })),
        (Answer::Unknown { why }, _) => each(why.iter().map(|doubt| match (doubt.effect, doubt.statement) {
            (Some(Effect::Deny), Some(statement)) => {
                let number = statement + 1;
                format!("write statement {number} of {} so that it surely does not deny {service}", doubt.policy)
            }
            _ => admit(),
        })),
        (Answer::Denied(_), Some(nearest)) => {
            format!("have the conditions of {nearest} admit the requests of {service} for account {account}")
        }
        (Answer::Denied(_), None) => admit(),
    }))
}

/// The change that takes a permission away.
pub(super) fn ungrant(action: &str, by: &Place) -> String {
    mend(&by.policy, format!("change {by} so that it does not allow {action}"))
}

/// What makes a statement sure that hangs on a condition, or on which of the resources it is.
fn settle(dependence: &Dependence, need: &Need) -> String {
    let Dependence { at, keys, effect, .. } = dependence;
    let all = match &need.resource {
        Some(resource) => format!("{} on {resource}", need.action),
        None => need.action.to_owned(),
    };
    let (see, without) = match effect {
        _ if keys.is_empty() => ("", ""),
        Effect::Deny => ("see whether it denies the node's requests, or ", ""),
        Effect::Allow => ("see whether the node's requests meet it, or ", " without a condition"),
    };
    let change = match (effect, at.policy.kind) {
        (Effect::Deny, _) if keys.is_empty() => undeny(at, &all),
        (Effect::Deny, _) => undeny(at, need.action),
        (Effect::Allow, Kind::Boundary) => mend(&at.policy, format!("have the {} allow {all}{without}", at.policy)),
        (Effect::Allow, _) => format!("have a policy of the role grant {all}{without}"),
    };
    format!("{see}{change}")
}

fn undeny(by: &Place, action: &str) -> String {
    mend(&by.policy, format!("change {by} so that it does not deny {action} to this role"))
}

/// This change of a policy; or where that is one of AWS's own, which nobody else can change, to do without it.
fn mend(policy: &PolicyName, change: String) -> String {
    let is_of_aws = policy.name.split(':').nth(4) == Some("aws");
    match policy.kind {
        Kind::Boundary if is_of_aws => format!("give the role another permissions boundary than {}", policy.name),
        Kind::Managed if is_of_aws => format!("detach {policy} from the role"),
        _ => change,
    }
}

fn clear_up(doubt: &Doubt) -> String {
    let policy = &doubt.policy;
    match (doubt.statement, policy.kind) {
        (Some(statement), _) => mend(policy, format!("write statement {} of {policy} without that", statement + 1)),
        (None, Kind::Managed | Kind::Boundary) => format!(
            "see that {policy} exists and is well-formed, and that the controller may read it (iam:GetPolicy, iam:GetPolicyVersion)"
        ),
        (None, Kind::Inline | Kind::Trust) => format!("replace {policy} by one that can be read, or remove it"),
    }
}

/// All of these changes, each once.
fn each(changes: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for change in changes {
        if !all.contains(&change) {
            all.push(change);
        }
    }
    all.join("; and ")
}
