//! The operator's ceiling: what may be written at all, whatever manifests ask for.
//!
//! Pure. What must stay true: what is not given is not bounded, what is given and empty admits nothing, and the check
//! of a document relies on nothing but the text that is to be sent.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::{
    document::{Clause, Document},
    pattern::Pattern,
};
use crate::names::AccountId;

/// What `ControllerConfiguration.spec.limits` admits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The accounts that may be written to.
    pub account_ids: Option<BTreeSet<AccountId>>,
    /// The beginnings of the paths of roles that may be written to, each `/` or `/…/`.
    pub role_path_prefixes: Option<Vec<String>>,
    /// The keys that may be named, with `*` and `?`.
    pub kms_key_arns: Option<Wildcards>,
    /// The buckets that may be named, with `*` and `?`.
    pub s3_bucket_names: Option<Wildcards>,
    /// The log groups that may be named, with `*` and `?`.
    pub cloud_watch_log_group_names: Option<Wildcards>,
}

/// Names with `*` (any characters, or none) and `?` (one character), of which one must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wildcards(Vec<(String, Pattern)>);

impl Wildcards {
    /// Whether one of them fits the whole of `name`.
    #[must_use]
    pub fn admit(&self, name: &str) -> bool {
        // What a document names may be a pattern itself, or hold a variable: all that it stands for must fit.
        let name = Pattern::resource(name, true);
        self.0.iter().any(|(_, pattern)| pattern.covers(&name))
    }

    /// Whether any text fits both, where either may hold `*` and `?`.
    #[must_use]
    pub fn overlap(one: &str, other: &str) -> bool {
        Pattern::resource(one, false).intersects(&Pattern::resource(other, false))
    }

    /// The wildcards as they were written.
    pub(crate) fn written(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(text, _)| text.as_str())
    }
}

impl<T: Into<String>> FromIterator<T> for Wildcards {
    fn from_iter<I: IntoIterator<Item = T>>(written: I) -> Self {
        let read = |text: T| {
            let text = text.into();
            let pattern = Pattern::resource(&text, false);
            (text, pattern)
        };
        Self(written.into_iter().map(read).collect())
    }
}

impl Limits {
    /// Why nothing may be written in this account; none where it may.
    #[must_use]
    pub fn outside_accounts(&self, account: &AccountId) -> Option<String> {
        let admitted = self.account_ids.as_ref().filter(|admitted| !admitted.contains(account))?;
        let admitted = listed(admitted.iter().map(AccountId::as_str));
        Some(format!("account {account} is not among `accountIds`{admitted}"))
    }

    /// Why no role of this path may be written to; none where it may.
    #[must_use]
    pub fn outside_paths(&self, path: &str) -> Option<String> {
        let prefixes = self.role_path_prefixes.as_ref()?;
        let is_outside = !prefixes.iter().any(|prefix| path.starts_with(prefix.as_str()));
        is_outside.then(|| {
            let prefixes = listed(prefixes.iter().map(String::as_str));
            format!("the role's path {path} begins with none of `rolePathPrefixes`{prefixes}")
        })
    }

    /// Why this key may not be named; none where it may.
    #[must_use]
    pub fn outside_keys(&self, arn: &str) -> Option<String> {
        outside(self.kms_key_arns.as_ref(), arn, "the key", "kmsKeyArns")
    }

    /// Why this bucket may not be named; none where it may.
    #[must_use]
    pub fn outside_buckets(&self, name: &str) -> Option<String> {
        outside(self.s3_bucket_names.as_ref(), name, "the bucket", "s3BucketNames")
    }

    /// Why this log group may not be named; none where it may.
    #[must_use]
    pub fn outside_log_groups(&self, name: &str) -> Option<String> {
        outside(self.cloud_watch_log_group_names.as_ref(), name, "the log group", "cloudWatchLogGroupNames")
    }

    /// Why a document may not be written; none where all that it names is admitted. It is taken to hold nothing
    /// outside of the Session Manager vocabulary.
    ///
    /// The writer's own last check, of the very text that it sends: it does not rely on where that text came from.
    #[must_use]
    pub fn outside_resources(&self, text: &str) -> Option<String> {
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => return Some(format!("it is not a policy document: {error}")),
        };
        document.statements.iter().find_map(|statement| {
            let (Clause::Only(actions), Some(Clause::Only(resources))) = (&statement.action, &statement.resource)
            else {
                return Some("a statement does not say what it grants on what".to_owned());
            };
            let about = |service: &str| actions.iter().any(|action| action.to_ascii_lowercase().starts_with(service));
            let (keys, buckets, groups) = (about("kms:"), about("s3:"), about("logs:"));
            // On `*` there are only questions that give nothing away.
            let asks_only = actions.iter().all(|action| ASKS_ONLY.iter().any(|asks| action.eq_ignore_ascii_case(asks)));
            resources.iter().filter(|resource| !(asks_only && &***resource == "*")).find_map(|resource| {
                let key = || self.outside_keys(resource).filter(|_| keys);
                let bucket = || self.outside_buckets(bucket_of(resource)).filter(|_| buckets);
                let group = || self.outside_log_groups(log_group_of(resource)).filter(|_| groups);
                key().or_else(bucket).or_else(group)
            })
        })
    }
}

/// What a document may ask of every resource.
const ASKS_ONLY: &[&str] = &["s3:GetEncryptionConfiguration", "logs:DescribeLogGroups"];

/// The bucket of `arn:P:s3:::BUCKET` or `arn:P:s3:::BUCKET/…`. Any other text might mean all of them.
fn bucket_of(resource: &str) -> &str {
    let parts: Vec<&str> = resource.splitn(6, ':').collect();
    match parts[..] {
        ["arn", partition, "s3", "", "", name] if !is_open(partition) => name.split('/').next().unwrap_or(name),
        _ => "*",
    }
}

/// The log group of `arn:P:logs:R:A:log-group:NAME` with or without `:*`. Any other text might mean all of them.
fn log_group_of(resource: &str) -> &str {
    let parts: Vec<&str> = resource.splitn(8, ':').collect();
    match parts[..] {
        ["arn", partition, "logs", _, account, "log-group", name]
        | ["arn", partition, "logs", _, account, "log-group", name, "*"]
            if !is_open(partition) && !is_open(account) =>
        {
            name
        }
        _ => "*",
    }
}

/// Whether a part of an ARN may stand for more than itself, colons included.
fn is_open(part: &str) -> bool {
    part.contains(['*', '?', '$'])
}

fn outside(admitted: Option<&Wildcards>, name: &str, what: &str, key: &str) -> Option<String> {
    let admitted = admitted.filter(|admitted| !admitted.admit(name))?;
    Some(format!("{what} {name} is not among `{key}`{}", listed(admitted.written())))
}

/// What is admitted, to go on after the limit's name: the first few, as nobody reads a hundred.
fn listed<'a>(items: impl Iterator<Item = &'a str>) -> String {
    const NAMED: usize = 5;
    let items: Vec<&str> = items.collect();
    match items.len() {
        0 => ", which admits none".to_owned(),
        count if count > NAMED => format!(": {} and {} more", items[..NAMED].join(", "), count - NAMED),
        _ => format!(": {}", items.join(", ")),
    }
}
