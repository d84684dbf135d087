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
    /// A fault for each thing in a manifest that is outside of the limits, or of the accounts that are looked after.
    pub(super) fn outside<'a>(&'a self, permissions: &'a Permissions) -> impl Iterator<Item = Fault> + 'a {
        permissions.bounded.iter().filter_map(|bounded| {
            if let Subject::Account(account) = &bounded.what
                && !self.is_configured(account)
            {
                return Some(self.unconfigured(account, bounded));
            }
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

    fn unconfigured(&self, account: &AccountId, bounded: &Bounded) -> Fault {
        let hint = format!(
            "add it to `spec.accounts` of the ControllerConfiguration ({}), or take it out: nobody enters it",
            self.place
        );
        Fault {
            place: bounded.place.clone(),
            path: bounded.path.to_string(),
            message: format!("account {account} is not configured"),
            hint: Some(hint),
            stands_for: 1,
        }
    }

    /// Why nothing of a manifest may be written in `account`, which it need not have named itself.
    pub(super) fn outside_in(&self, account: &AccountId, permissions: &Permissions) -> Option<String> {
        // Other accounts that it names are no matter of this one.
        let here = permissions.bounded.iter().filter(|bounded| !matches!(bounded.what, Subject::Account(_)));
        let named = || here.clone().find_map(|bounded| bounded.what.outside(&self.limits));
        let why = self.limits.outside_accounts(account).or_else(named)?;
        Some(format!("{why} (spec.limits in {})", self.place))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        manifest::{
            State, parse,
            write::tests::{any_settings, wanting},
        },
        names::Partition,
    };

    fn configuration(limits: &str) -> ControllerConfiguration {
        let text = format!(
            "{{apiVersion: ssm-role-controller.dev/v1alpha1, kind: ControllerConfiguration, metadata: {{name: c}}, \
             spec: {{limits: {limits}}}}}"
        );
        let parsed = parse("c.yaml", text.as_bytes());
        assert!(parsed.faults.is_empty(), "{:?}", parsed.faults);
        parsed.configurations[0].clone()
    }

    fn any_limits() -> impl Strategy<Value = String> {
        let limit = |key: &'static str, patterns: [&'static str; 3]| {
            prop::sample::select(vec![
                String::new(),
                format!("{key}: [], "),
                format!("{key}: [\"{}\"], ", patterns[0]),
                format!("{key}: [\"{}\", \"{}\"], ", patterns[1], patterns[2]),
            ])
        };
        (
            limit("kmsKeyArns", ["arn:*:kms:*:*:key/*", "arn:aws-cn:kms:*:*:key/*", "arn:aws:kms:*:*:key/1*"]),
            limit("s3BucketNames", ["*", "a*", "*-?*"]),
            limit("cloudWatchLogGroupNames", ["*", "/*", "A*"]),
        )
            .prop_map(|(keys, buckets, groups)| format!("{{{keys}{buckets}{groups}}}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_told_of_a_manifest_is_what_the_writer_would_refuse_of_its_document(
            settings in any_settings(),
            limits in any_limits(),
        ) {
            let configuration = configuration(&limits);
            let account: AccountId = "111122223333".parse().unwrap();
            let document = settings.document(&account, &Partition::default());
            let is_refused = configuration.limits.outside_resources(document.as_str()).is_some();
            for (state, is_outside) in [(State::Present, is_refused), (State::Absent, false)] {
                let parsed = parse("x.yaml", wanting(&settings, state).as_bytes());
                let permissions = &parsed.permissions[0];
                prop_assert_eq!(configuration.outside(permissions).count() > 0, is_outside);
                prop_assert_eq!(configuration.outside_in(&account, permissions).is_some(), is_outside);
            }
        }
    }
}
