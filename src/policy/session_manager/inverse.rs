//! The inverse of the build: from a live document to the settings that come nearest to it.
//!
//! Pure. What must stay true: settings that yield a document are found again from it, so whatever is found need only be
//! built and compared. Here nothing is trusted that a manifest could not say: a wildcard, a variable or an alias in the
//! document is left out of the settings, and shows as a difference.

use super::{
    super::document::{Clause, Document, Effect, Statement},
    CHANNELS, DECRYPT, GENERATE_DATA_KEY, LogBucket, NodeRegistration, PUT_OBJECT, PUT_OBJECT_ACL,
    READ_BUCKET_ENCRYPTION, REGISTER, Settings, WRITE_LOGS,
};
use crate::names::{AccountId, KeyArn};

/// Whether a document opens a session's channels, or one of them: what nothing but Session Manager needs.
#[must_use]
pub fn permits_sessions(document: &Document) -> bool {
    document.allows_any_of(&CHANNELS)
}

/// The bucket's owner where a document only tells that it is another account than its own: no document names it.
#[must_use]
pub fn some_other_account(than: &AccountId) -> Option<AccountId> {
    ["000000000000", "999999999999"].iter().filter_map(|digits| digits.parse().ok()).find(|other| other != than)
}

impl Settings {
    /// The settings whose document comes nearest to this one, for a role of `account`. Whether they yield it is for the
    /// caller to find out: build theirs, and compare.
    ///
    /// A document does not tell two things. Whether who registers the node is another policy or Default Host Management:
    /// the former is assumed. And who owns a bucket of another account: [`some_other_account`] stands for it.
    #[must_use]
    pub fn nearest_to(document: &Document, account: &AccountId) -> Self {
        let grants: Vec<Grant<'_>> = document.statements.iter().filter_map(Grant::of).collect();
        let on = |action: &'static str| {
            grants.iter().filter(move |grant| grant.allows(action)).flat_map(|grant| grant.resources)
        };
        let on_everything = |action| on(action).any(|resource| &**resource == "*");

        let is_foreign = on(PUT_OBJECT_ACL).next().is_some();
        let log_bucket = on(PUT_OBJECT).find_map(|resource| bucket(resource)).map(|(name, prefix)| LogBucket {
            name,
            prefix,
            owner: is_foreign.then(|| some_other_account(account)).flatten(),
        });
        // A key that data keys are made with is the bucket's; whoever may only decrypt with it decrypts session data.
        let keys = |are_of_bucket: bool| {
            let mut keys: Vec<KeyArn> = Vec::new();
            let of_kind = grants.iter().filter(|grant| grant.allows(GENERATE_DATA_KEY) == are_of_bucket);
            for resource in of_kind.filter(|grant| grant.allows(DECRYPT)).flat_map(|grant| grant.resources) {
                keys.extend(resource.parse::<KeyArn>().ok().filter(|key| !keys.contains(key)));
            }
            keys
        };
        Self {
            node_registration: if on_everything(REGISTER) {
                NodeRegistration::Granted
            } else {
                NodeRegistration::Assumed
            },
            // With a bucket the document asks for it either way, and true is what the preferences say by themselves.
            s3_encryption_enabled: log_bucket.is_some() || on_everything(READ_BUCKET_ENCRYPTION),
            bucket_keys: if log_bucket.is_some() { keys(true) } else { Vec::new() },
            log_bucket,
            session_keys: keys(false),
            log_group: on(WRITE_LOGS[1]).find_map(|resource| log_group(resource, account)),
        }
    }
}

/// A statement that grants named actions on named resources, whatever happens.
struct Grant<'a> {
    actions: &'a [Box<str>],
    resources: &'a [Box<str>],
}

impl<'a> Grant<'a> {
    fn of(statement: &'a Statement) -> Option<Self> {
        match (&statement.action, &statement.resource) {
            (Clause::Only(actions), Some(Clause::Only(resources)))
                if statement.effect == Effect::Allow && statement.conditions.is_empty() =>
            {
                Some(Self { actions, resources })
            }
            _ => None,
        }
    }

    fn allows(&self, action: &str) -> bool {
        self.actions.iter().any(|named| named.eq_ignore_ascii_case(action))
    }
}

/// Whether text means itself in a policy: it holds no wildcard and no variable.
fn is_literal(text: &str) -> bool {
    !text.contains(['*', '?']) && !text.contains("${")
}

/// The bucket and the prefix of `arn:P:s3:::BUCKET/PREFIX/*`.
fn bucket(resource: &str) -> Option<(String, Option<String>)> {
    let ["arn", _, "s3", "", "", objects] = resource.splitn(6, ':').collect::<Vec<_>>()[..] else { return None };
    let (name, key) = objects.split_once('/')?;
    let prefix = match key {
        "*" => None,
        _ => Some(key.strip_suffix("/*")?.to_owned()),
    };
    (is_literal(name) && prefix.as_deref().is_none_or(is_literal)).then(|| (name.to_owned(), prefix))
}

/// The name in `arn:P:logs:*:ACCOUNT:log-group:NAME` and in the same with `:*`.
fn log_group(resource: &str, account: &AccountId) -> Option<String> {
    let ["arn", _, "logs", _, of, "log-group", name] = resource.splitn(7, ':').collect::<Vec<_>>()[..] else {
        return None;
    };
    let name = name.strip_suffix(":*").unwrap_or(name);
    (of == account.as_str() && !name.is_empty() && is_literal(name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        manifest::write::tests::any_settings,
        names::Partition,
        policy::compare::{Drift, compare},
    };

    fn account() -> AccountId {
        "012345678901".parse().unwrap()
    }

    /// How the document of the nearest settings departs from this one.
    fn departs(text: &str) -> Option<Drift> {
        let document = Document::parse(text).unwrap();
        let found = Settings::nearest_to(&document, &account()).document(&account(), &Partition::default());
        compare(found.document(), &document).drift
    }

    fn of(statements: &str) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}},{statements}]}}"#
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn settings_that_yield_a_document_are_found_again_from_it(
            settings in any_settings(),
            partition in prop::sample::select(vec!["aws", "aws-cn", "aws-us-gov"]),
        ) {
            let partition: Partition = partition.parse().unwrap();
            // A manifest cannot name a bucket's keys without the bucket.
            prop_assume!(settings.log_bucket.is_some() || settings.bucket_keys.is_empty());
            let document = settings.document(&account(), &partition);
            let found = Settings::nearest_to(document.document(), &account());
            prop_assert_eq!(found.document(&account(), &partition), document, "{:?}", found);
        }

        #[test]
        fn any_text_that_is_a_document_has_nearest_settings(text in r#"\{"Statement":\[\{"Effect":"Allow","Action":"(s3:PutObject|kms:Decrypt|logs:PutLogEvents)","Resource":"arn:aws:(s3|kms|logs):.{0,30}"\}\]\}"#) {
            if let Ok(document) = Document::parse(&text) {
                let _ = Settings::nearest_to(&document, &account());
            }
        }
    }

    #[test]
    fn a_document_in_other_words_is_found_as_well() {
        let key = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        for statements in [
            r#"{"Effect":"Allow","Action":"S3:getencryptionconfiguration","Resource":["*"],"Sid":"Enc"}"#.to_owned(),
            format!(r#"{{"Effect":"Allow","Action":["KMS:decrypt"],"Resource":["{key}","{key}"]}}"#),
            r#"{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::audit/a/b/*"},{"Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"arn:aws:s3:::audit"}"#.to_owned(),
            r#"{"Effect":"Allow","Action":"logs:DescribeLogGroups","Resource":"*"},{"Effect":"Allow","Action":["logs:PutLogEvents","logs:CreateLogStream","logs:DescribeLogStreams"],"Resource":["arn:aws:logs:*:012345678901:log-group:/ssm:*","arn:aws:logs:*:012345678901:log-group:/ssm"]}"#.to_owned(),
        ] {
            assert!(matches!(departs(&of(&statements)), None | Some(Drift::Cosmetic)), "{statements}");
        }
    }

    #[test]
    fn awss_own_examples_are_found_but_for_the_one_that_asks_for_more_than_is_needed() {
        const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let of = |page: &str| departs(&page.replace("key-name", KEY).replace("DOC-EXAMPLE-BUCKET", "audit-sessions"));
        assert_eq!(of(include_str!("../../../tests/data/policies/a_existing_role.json")), None);
        assert_eq!(of(include_str!("../../../tests/data/policies/b_minimal_custom_role.json")), None);
        assert_eq!(of(include_str!("../../../tests/data/policies/c_s3_cwlogs_kms.json")), Some(Drift::Widened));
    }

    #[test]
    fn what_no_manifest_can_say_shows_as_a_difference() {
        for statements in [
            r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#,
            r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"arn:aws:kms:us-east-1:111122223333:alias/sessions"}"#,
            r#"{"Effect":"Allow","Action":"kms:GenerateDataKey","Resource":"*"}"#,
            r#"{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::audit-*/x/*"}"#,
            r#"{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::audit/${aws:username}/*"}"#,
            r#"{"Effect":"Allow","Action":"s3:PutObject","Resource":["arn:aws:s3:::a/*","arn:aws:s3:::b/*"]}"#,
            r#"{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::audit/web*"}"#,
            r#"{"Effect":"Allow","Action":"logs:PutLogEvents","Resource":"arn:aws:logs:*:*:log-group:/ssm"}"#,
            r#"{"Effect":"Allow","Action":"ssm:StartSession","Resource":"*"}"#,
            r#"{"Effect":"Deny","Action":"ssmmessages:*","Resource":"*"}"#,
            r#"{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}"#,
            r#"{"Effect":"Allow","Action":"s3:GetEncryptionConfiguration","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}"#,
        ] {
            assert!(departs(&of(statements)).is_some_and(|drift| drift != Drift::Cosmetic), "{statements}");
        }
    }

    #[test]
    fn another_account_is_never_the_own_one() {
        for own in ["000000000000", "999999999999", "111122223333"] {
            let own: AccountId = own.parse().unwrap();
            assert!(some_other_account(&own).is_some_and(|other| other != own));
        }
    }
}
