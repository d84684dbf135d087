//! The operator's ceiling over a manifest: what of it a limit can concern, where that stands, and what is outside.
//!
//! Knows the limits, not IAM: where roles lie is judged against IAM. What must stay true: whatever a manifest's
//! document can name is held against its limit here, so that what is outside is told before it is planned.

use super::{ControllerConfiguration, Fault, Permissions, Place};
use crate::{
    names::{AccountId, KeyArn},
    policy::limits::Limits,
};

/// Something in a manifest that a limit can concern, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bounded {
    pub(super) what: Subject,
    pub(super) path: Box<str>,
    pub(super) place: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Subject {
    Account(AccountId),
    Key(KeyArn),
    Bucket(Box<str>),
    LogGroup(Box<str>),
}

impl Subject {
    fn outside(&self, limits: &Limits) -> Option<String> {
        match self {
            Self::Account(account) => limits.outside_accounts(account),
            Self::Key(key) => limits.outside_keys(key.as_str()),
            Self::Bucket(name) => limits.outside_buckets(name),
            Self::LogGroup(name) => limits.outside_log_groups(name),
        }
    }

    /// The limit that concerns it.
    fn limit(&self) -> &'static str {
        match self {
            Self::Account(_) => "accountIds",
            Self::Key(_) => "kmsKeyArns",
            Self::Bucket(_) => "s3BucketNames",
            Self::LogGroup(_) => "cloudWatchLogGroupNames",
        }
    }
}

impl ControllerConfiguration {
    /// A fault for each thing in a manifest that is outside of the limits.
    pub(super) fn outside<'a>(&'a self, permissions: &'a Permissions) -> impl Iterator<Item = Fault> + 'a {
        permissions.bounded.iter().filter_map(|bounded| {
            let why = bounded.what.outside(&self.limits)?;
            let hint = format!(
                "`spec.limits.{}` of the ControllerConfiguration ({}) is a ceiling over all manifests: write what it \
                 admits, or have it raised",
                bounded.what.limit(),
                self.place
            );
            Some(Fault {
                place: bounded.place.clone(),
                path: bounded.path.to_string(),
                message: format!("outside of the limits: {why}"),
                hint: Some(hint),
                stands_for: 1,
            })
        })
    }

    /// Why nothing of a manifest may be written in `account`, which it need not have named itself.
    pub(super) fn outside_in(&self, account: &AccountId, permissions: &Permissions) -> Option<String> {
        let named = || permissions.bounded.iter().find_map(|bounded| bounded.what.outside(&self.limits));
        let why = self.limits.outside_accounts(account).or_else(named)?;
        Some(format!("{why} (spec.limits in {})", self.place))
    }
}
