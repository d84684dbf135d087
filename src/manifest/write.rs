//! Writing manifests: the inverse of judging them.
//!
//! Knows what was checked, not where it came from. What must stay true: reading what is written here finds no fault,
//! and yields settings with the very same document, whatever the defaults are where it is read.

mod yaml;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Permissions, Platform, State,
    judge::LONGEST_NAME,
    types::{API_VERSION, PERMISSIONS},
};
use crate::{
    names::{AccountId, KeyArn, PolicyName, RoleName},
    policy::session_manager::{NodeRegistration, Settings},
};

/// The manifest that removes `policy` from these roles of `account`, where it is as `permissions` wanted it: one line,
/// named after the manifest. `roles` must not be empty.
#[must_use]
pub fn absent(permissions: &Permissions, policy: &PolicyName, account: &AccountId, roles: &[&RoleName]) -> String {
    // One of its own for each policy of each role: several of them may be added.
    let what = format!("{}/{policy}", roles.first().map(|role| role.as_str().to_ascii_lowercase()).unwrap_or_default());
    let name = with_suffix(&permissions.name, &format!("-absent-{}", mark(&what)));
    let of = Of { policy, account: Some(account), roles, platform: permissions.platform, state: State::Absent };
    line(&name, &of, &permissions.settings)
}

/// A manifest that asks for what its roles have already, in YAML as people write it. Named after the account and after what
/// it says, so that another one has another name. `is_named`: whether it says `accountId`. `roles` must not be empty.
pub(super) fn present(
    account: &AccountId,
    is_named: bool,
    policy: &PolicyName,
    roles: &[&RoleName],
    settings: &Settings,
) -> String {
    let of = Of {
        policy,
        account: is_named.then_some(account),
        roles,
        platform: Platform::default(),
        state: State::Present,
    };
    let name = format!("imported-{account}-{}", mark(&line("", &of, settings)));
    // Nothing in it can fail to be a value: it is text, truth and lists of text.
    serde_yaml::to_value(manifest(&name, &of, settings)).map(|value| yaml::block(&value)).unwrap_or_default()
}

/// A few letters that other text hardly has as well.
fn mark(text: &str) -> String {
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What a manifest says beside its settings.
struct Of<'a> {
    policy: &'a PolicyName,
    account: Option<&'a AccountId>,
    roles: &'a [&'a RoleName],
    platform: Platform,
    state: State,
}

/// A manifest in one line: JSON, which is YAML.
fn line(name: &str, of: &Of<'_>, settings: &Settings) -> String {
    // Nothing in it can fail to be JSON: it is text, truth and lists of text.
    serde_json::to_string(&manifest(name, of, settings)).unwrap_or_default()
}

/// Every value is given for which there is a default.
fn manifest<'a>(name: &'a str, of: &Of<'a>, settings: &'a Settings) -> Manifest<'a> {
    let (first_key, further_keys) = match settings.session_keys.split_first() {
        Some((first, further)) => (Some(first), further),
        None => (None, &[][..]),
    };
    let bucket = settings.log_bucket.as_ref();
    Manifest {
        api_version: API_VERSION,
        kind: PERMISSIONS,
        metadata: Metadata { name },
        spec: Spec {
            account_id: of.account,
            roles: of.roles,
            state: of.state,
            policy_name: of.policy,
            node_registration: match settings.node_registration {
                NodeRegistration::Assumed => "assumed",
                NodeRegistration::Granted => "granted",
                NodeRegistration::DefaultHostManagement => "defaultHostManagement",
            },
            platform: of.platform,
            session_preferences: SessionPreferences {
                kms_key_id: first_key.map(KeyArn::as_str),
                s3_bucket_name: bucket.map(|bucket| bucket.name.as_str()),
                s3_key_prefix: bucket.and_then(|bucket| bucket.prefix.as_deref()),
                s3_encryption_enabled: settings.s3_encryption_enabled,
                cloud_watch_log_group_name: settings.log_group.as_deref(),
            },
            kms_key_arns: further_keys.iter().map(KeyArn::as_str).collect(),
            log_delivery: LogDelivery {
                s3_kms_key_arns: settings.bucket_keys.iter().map(KeyArn::as_str).collect(),
                s3_bucket_owner: bucket.and_then(|bucket| bucket.owner.as_ref()),
            },
        },
    }
}

/// `name` with a suffix, cut where it would become too long for a name.
fn with_suffix(name: &str, suffix: &str) -> String {
    let room = LONGEST_NAME - suffix.len();
    let kept: String = name.chars().take(room).collect();
    // What is cut off may leave a sign at the end, that no part of a name ends with.
    format!("{}{suffix}", kept.trim_end_matches(['-', '.']))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a AccountId>,
    roles: &'a [&'a RoleName],
    state: State,
    policy_name: &'a PolicyName,
    node_registration: &'a str,
    platform: Platform,
    session_preferences: SessionPreferences<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kms_key_arns: Vec<&'a str>,
    #[serde(skip_serializing_if = "LogDelivery::is_empty")]
    log_delivery: LogDelivery<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionPreferences<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s3_bucket_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s3_key_prefix: Option<&'a str>,
    s3_encryption_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_watch_log_group_name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogDelivery<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    s3_kms_key_arns: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s3_bucket_owner: Option<&'a AccountId>,
}

impl LogDelivery<'_> {
    fn is_empty(&self) -> bool {
        self.s3_kms_key_arns.is_empty() && self.s3_bucket_owner.is_none()
    }
}

#[cfg(test)]
pub(crate) mod tests;
