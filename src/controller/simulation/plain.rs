//! Another idea of policy documents, so that the controller's own is not what it is judged by.
//!
//! Knows JSON and nothing of [`crate::policy`]. What must stay true: it is simple enough to be right at a glance, and
//! where it cannot tell it says so.

use std::collections::BTreeSet;

use serde_json::Value;

/// What may ever be written to a role, from the documentation of AWS and not from the program.
pub(super) const ACTIONS: [&str; 14] = [
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "logs:CreateLogStream",
    "logs:DescribeLogGroups",
    "logs:DescribeLogStreams",
    "logs:PutLogEvents",
    "s3:GetEncryptionConfiguration",
    "s3:PutObject",
    "s3:PutObjectAcl",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];

/// Single grants: an action in small letters, and a resource.
pub(super) type Grants = BTreeSet<(String, String)>;

/// What a document says, as far as it can be told simply.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plain {
    /// It is no policy document, or one that needs more than this to be understood.
    Unclear,
    /// It holds a Deny, or seems to.
    Denies,
    /// It only grants, without conditions and exceptions.
    Grants(Grants),
}

impl Plain {
    pub(super) fn of(text: &str) -> Self {
        let seems_to_deny = || text.to_ascii_lowercase().contains("deny");
        let Ok(document) = serde_json::from_str::<Value>(text) else {
            return if seems_to_deny() { Self::Denies } else { Self::Unclear };
        };
        let statements = match &document["Statement"] {
            Value::Array(several) => several.iter().collect(),
            one @ Value::Object(_) => vec![one],
            _ => return if seems_to_deny() { Self::Denies } else { Self::Unclear },
        };
        if statements.iter().any(|statement| statement["Effect"] == "Deny") {
            return Self::Denies;
        }
        let mut grants = Grants::new();
        for statement in statements {
            let known = ["Sid", "Effect", "Action", "Resource"];
            let is_plain = statement
                .as_object()
                .is_some_and(|statement| statement.keys().all(|key| known.contains(&key.as_str())));
            let (Some(actions), Some(resources), true) = (
                texts(&statement["Action"]),
                texts(&statement["Resource"]),
                is_plain && statement["Effect"] == "Allow",
            ) else {
                return Self::Unclear;
            };
            for action in actions {
                grants.extend(resources.iter().map(|resource| (action.to_ascii_lowercase(), (*resource).to_owned())));
            }
        }
        Self::Grants(grants)
    }

    /// Whether the document certainly allows an action that begins so, in small letters.
    pub(super) fn allows(&self, beginning: &str) -> bool {
        matches!(self, Self::Grants(grants) if grants.iter().any(|(action, _)| action.starts_with(beginning)))
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(only) => Some(vec![only]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// What is wrong with a document that is about to be written, whatever it was written for.
pub(super) fn never_to_be_written(text: &str) -> Option<String> {
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => return Some(format!("it is no JSON: {error}")),
    };
    if document["Version"] != "2012-10-17" {
        return Some("its version is another one".to_owned());
    }
    let Plain::Grants(grants) = Plain::of(text) else {
        return Some("it is more than plain grants".to_owned());
    };
    let strange = grants.iter().find(|(action, _)| !ACTIONS.iter().any(|known| known.eq_ignore_ascii_case(action)));
    strange.map(|(action, _)| format!("{action} is no action of Session Manager's"))
}
