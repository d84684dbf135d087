//! Another idea of policy documents, limits and tags, so that the controller's own is not what it is judged by.
//!
//! Knows JSON and nothing of [`crate::policy`]. What must stay true: it is simple enough to be right at a glance, and
//! where it cannot tell it says so.

use std::collections::{BTreeMap, BTreeSet};

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

    pub(super) fn grants(&self) -> Option<&Grants> {
        match self {
            Self::Grants(grants) => Some(grants),
            Self::Unclear | Self::Denies => None,
        }
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

/// Whether somebody has tagged a role to be left alone.
pub(super) fn asks_to_be_left_alone(tags: &BTreeMap<String, String>) -> bool {
    let small = |text: &str| text.to_ascii_lowercase();
    tags.iter().any(|(key, value)| small(key) == "ssm-role-controller.dev/suspend" && small(value) != "false")
}

/// The operator's limits, as they are meant: nothing given is no limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Ceiling {
    pub(super) accounts: Option<Vec<&'static str>>,
    pub(super) paths: Option<Vec<&'static str>>,
    pub(super) keys: Option<Vec<&'static str>>,
    pub(super) buckets: Option<Vec<&'static str>>,
    pub(super) groups: Option<Vec<&'static str>>,
}

impl Ceiling {
    /// What of a write lies outside.
    pub(super) fn outside(&self, account: &str, path: &str, grants: &Grants) -> Option<String> {
        if let Some(outside) = self.outside_account(account) {
            return Some(outside);
        }
        if self.paths.as_ref().is_some_and(|admitted| !admitted.iter().any(|prefix| path.starts_with(prefix))) {
            return Some(format!("path {path}"));
        }
        self.outside_names(grants)
    }

    pub(super) fn outside_account(&self, account: &str) -> Option<String> {
        let is_outside = self.accounts.as_ref().is_some_and(|admitted| !admitted.contains(&account));
        is_outside.then(|| format!("account {account}"))
    }

    /// What of the names in a document lies outside.
    pub(super) fn outside_names(&self, grants: &Grants) -> Option<String> {
        let named = grants.iter().find(|(action, resource)| {
            let (admitted, name) = if action.starts_with("kms:") {
                (&self.keys, resource.as_str())
            } else if action.starts_with("s3:") {
                (&self.buckets, resource.strip_prefix("arn:aws:s3:::").unwrap_or("*").split('/').next().unwrap_or("*"))
            } else if action.starts_with("logs:") {
                let name = resource.split_once(":log-group:").map_or("*", |(_, name)| name);
                (&self.groups, name.strip_suffix(":*").unwrap_or(name))
            } else {
                (&None, "")
            };
            let asks_only = ["s3:getencryptionconfiguration", "logs:describeloggroups"].contains(&action.as_str());
            let is_inside = |admitted: &Vec<&str>| admitted.iter().any(|pattern| fits_all(pattern, name));
            !(asks_only && resource == "*" || admitted.as_ref().is_none_or(is_inside))
        });
        named.map(|(action, resource)| format!("{action} on {resource}"))
    }
}

/// Whether a pattern fits a name, whatever the wildcards in the name itself stand for.
pub(super) fn fits_all(pattern: &str, name: &str) -> bool {
    ["", "z", "zz", "-1", "*"].iter().all(|stand_in| {
        let single = stand_in.chars().next().unwrap_or('q').to_string();
        fits(pattern.as_bytes(), name.replace('*', stand_in).replace('?', &single).as_bytes())
    })
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => fits(rest, name) || name.split_first().is_some_and(|(_, name)| fits(pattern, name)),
        (Some((b'?', rest)), Some((_, name))) => fits(rest, name),
        (Some((one, rest)), Some((other, name))) => one == other && fits(rest, name),
        _ => false,
    }
}
