//! All knowledge of Session Manager: from settings to the policy document that grants exactly them.
//!
//! Pure. What must stay true: [`SessionManagerDocument`] can only be made here, and holds no action outside
//! the Session Manager vocabulary.
//!
//! Sources: Systems Manager User Guide, "Add Session Manager permissions to an existing IAM role", "Create a custom IAM
//! role for Session Manager", "Creating an IAM role with permissions for Session Manager and Amazon S3 and CloudWatch
//! Logs", "Session document schema".

mod inverse;
mod needs;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;

pub use self::{
    inverse::{permits_sessions, some_other_account},
    needs::{Need, NodeKind, Purpose},
};

use super::document::{Clause, Document, Effect, Elements, Statement, Texts, Version};
use crate::names::{AccountId, KeyArn, Partition};

/// The longest that all inline policies of a role may be together, in characters without white space
/// (IAM User Guide, "IAM and AWS STS quotas").
pub const INLINE_POLICY_QUOTA: usize = 10_240;

/// The action by which a node makes itself known to Systems Manager.
pub const REGISTER: &str = "ssm:UpdateInstanceInformation";
const CHANNELS: [&str; 4] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];
const READ_BUCKET_ENCRYPTION: &str = "s3:GetEncryptionConfiguration";
const PUT_OBJECT: &str = "s3:PutObject";
const PUT_OBJECT_ACL: &str = "s3:PutObjectAcl";
/// What decrypts with a key.
pub const DECRYPT: &str = "kms:Decrypt";
const GENERATE_DATA_KEY: &str = "kms:GenerateDataKey";
const LIST_LOG_GROUPS: &str = "logs:DescribeLogGroups";
const WRITE_LOGS: [&str; 3] = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"];

/// Every action that can ever be written to a role.
pub const VOCABULARY: &[&str] = &[
    REGISTER,
    CHANNELS[0],
    CHANNELS[1],
    CHANNELS[2],
    CHANNELS[3],
    READ_BUCKET_ENCRYPTION,
    PUT_OBJECT,
    PUT_OBJECT_ACL,
    DECRYPT,
    GENERATE_DATA_KEY,
    LIST_LOG_GROUPS,
    WRITE_LOGS[0],
    WRITE_LOGS[1],
    WRITE_LOGS[2],
];

/// Every action that is asked about: what sessions need, and what they had better not have. What names none of them makes no
/// difference to any verdict or advice.
pub const ASKED_ABOUT: &[&str] = &[
    REGISTER,
    CHANNELS[0],
    CHANNELS[1],
    CHANNELS[2],
    CHANNELS[3],
    READ_BUCKET_ENCRYPTION,
    PUT_OBJECT,
    PUT_OBJECT_ACL,
    DECRYPT,
    GENERATE_DATA_KEY,
    LIST_LOG_GROUPS,
    WRITE_LOGS[0],
    WRITE_LOGS[1],
    WRITE_LOGS[2],
    READ_PARAMETER,
    ALL_CHANNELS,
];

/// What reads secrets that are kept as parameters.
pub const READ_PARAMETER: &str = "ssm:GetParameter";

/// No action is called so: only a wildcard grants it.
pub const ALL_CHANNELS: &str = "ssmmessages:*";

/// What the controller knows of how the node registers with Systems Manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeRegistration {
    /// Another policy of the role grants `ssm:UpdateInstanceInformation`.
    #[default]
    Assumed,
    /// This policy grants it too.
    Granted,
    /// Default Host Management registers the node: the role must not.
    DefaultHostManagement,
}

/// The bucket that session logs go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBucket {
    /// The bucket's name.
    pub name: String,
    /// The prefix of the log objects, without leading or trailing slash.
    pub prefix: Option<String>,
    /// The account that owns the bucket, where it is said.
    pub owner: Option<AccountId>,
}

/// What a manifest asks for, checked and complete: everything that the document depends on but the account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Whether the document grants registration.
    pub node_registration: NodeRegistration,
    /// Whether the agent checks that the bucket is encrypted (`s3EncryptionEnabled`).
    pub s3_encryption_enabled: bool,
    /// Where session logs go in S3.
    pub log_bucket: Option<LogBucket>,
    /// The keys that encrypt session data, in the order in which they were written, without duplicates.
    pub session_keys: Vec<KeyArn>,
    /// The keys that encrypt the log bucket.
    pub bucket_keys: Vec<KeyArn>,
    /// The CloudWatch log group of session logs.
    pub log_group: Option<String>,
}

/// A policy document that grants what Session Manager needs, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionManagerDocument {
    text: String,
    document: Document,
}

impl Settings {
    /// The document for a role of `account` in `partition`.
    ///
    /// With a session key and the encryption check alone it is AWS's documented policy, statement for statement.
    #[must_use]
    pub fn document(&self, account: &AccountId, partition: &Partition) -> SessionManagerDocument {
        self.document_in(account.as_str(), partition)
    }

    /// The document where nobody may have said which account it is for; `None` where it depends on that.
    #[must_use]
    pub fn document_offline(
        &self,
        account: Option<&AccountId>,
        partition: &Partition,
    ) -> Option<SessionManagerDocument> {
        let names_the_account =
            self.log_group.is_some() || self.log_bucket.as_ref().is_some_and(|bucket| bucket.owner.is_some());
        match account {
            Some(account) => Some(self.document(account, partition)),
            None => (!names_the_account).then(|| self.document_in("", partition)),
        }
    }

    fn document_in(&self, account: &str, partition: &Partition) -> SessionManagerDocument {
        let mut statements = Vec::new();
        let mut allow = |actions: &[&str], resources: Texts| {
            statements.push(Statement {
                sid: None,
                effect: Effect::Allow,
                action: Clause::Only(actions.iter().map(|action| (*action).into()).collect()),
                resource: Some(Clause::Only(resources)),
                conditions: Box::default(),
                unknown: Elements::default(),
            });
        };
        let everything = || only("*");

        match self.node_registration {
            NodeRegistration::Granted => allow(&[&[REGISTER], &CHANNELS[..]].concat(), everything()),
            NodeRegistration::Assumed | NodeRegistration::DefaultHostManagement => allow(&CHANNELS, everything()),
        }
        // The agent asks for the bucket's encryption before each upload, so a bucket always needs it.
        match &self.log_bucket {
            Some(bucket) => allow(&[READ_BUCKET_ENCRYPTION], only(&bucket.arn(partition))),
            None if self.s3_encryption_enabled => allow(&[READ_BUCKET_ENCRYPTION], everything()),
            None => {}
        }
        if !self.session_keys.is_empty() {
            allow(&[DECRYPT], arns(&self.session_keys));
        }
        if let Some(bucket) = &self.log_bucket {
            let foreign = bucket.owner.as_ref().is_some_and(|owner| owner.as_str() != account);
            let actions: &[&str] = if foreign { &[PUT_OBJECT, PUT_OBJECT_ACL] } else { &[PUT_OBJECT] };
            allow(actions, only(&bucket.objects_arn(partition)));
        }
        if let Some(group) = &self.log_group {
            allow(&[LIST_LOG_GROUPS], everything());
            // Keys and log groups are regional, a role is global: any Region's group of that name.
            let group = format!("arn:{partition}:logs:*:{account}:log-group:{group}");
            let streams = format!("{group}:*");
            allow(&WRITE_LOGS, Box::new([group.into(), streams.into()]));
        }
        if !self.bucket_keys.is_empty() {
            allow(&[GENERATE_DATA_KEY, DECRYPT], arns(&self.bucket_keys));
        }

        let statements = statements.into();
        let document = Document { version: Version::V2012, id: None, statements, unknown: Elements::default() };
        SessionManagerDocument { text: document.to_string(), document }
    }
}

impl LogBucket {
    fn arn(&self, partition: &Partition) -> String {
        format!("arn:{partition}:s3:::{}", self.name)
    }

    fn objects_arn(&self, partition: &Partition) -> String {
        let bucket = self.arn(partition);
        match self.prefix.as_deref() {
            None | Some("") => format!("{bucket}/*"),
            Some(prefix) => format!("{bucket}/{prefix}/*"),
        }
    }
}

fn only(resource: &str) -> Texts {
    Box::new([resource.into()])
}

fn arns(keys: &[KeyArn]) -> Texts {
    keys.iter().map(|key| key.as_str().into()).collect()
}

impl SessionManagerDocument {
    /// The document as compact JSON: what is sent to IAM.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same document as a value, to compare with.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }
}

/// Whether a document is about Session Manager at all: whether it allows an action that nothing else needs. Half of
/// the vocabulary (`s3:PutObject`, `kms:Decrypt`, `logs:…`) stands in the policies of any application.
#[must_use]
pub fn is_session_manager_policy(document: &Document) -> bool {
    document.allows_any_of(&CHANNELS) || document.allows_any_of(&[REGISTER])
}

/// How many characters of a document count towards [`INLINE_POLICY_QUOTA`]: IAM does not count white space.
/// White space beyond ASCII is counted, lest the sum be too small.
#[must_use]
pub fn size(text: &str) -> usize {
    text.chars().filter(|character| !character.is_ascii_whitespace()).count()
}

/// Why a document must not be written, in words; none where it holds nothing but plain grants of the vocabulary.
///
/// The writer's own last check, of the very text that it sends: it does not rely on where that text came from.
#[must_use]
pub fn outside_vocabulary(text: &str) -> Option<String> {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => return Some(format!("it is not a policy document: {error}")),
    };
    if !document.unknown.is_empty() {
        return Some("it holds elements beside Version, Id and Statement".to_owned());
    }
    let allowed: BTreeSet<String> = VOCABULARY.iter().map(|action| action.to_ascii_lowercase()).collect();
    document.statements.iter().enumerate().find_map(|(index, statement)| {
        fault_of(statement, &allowed).map(|fault| format!("statement {}: {fault}", index + 1))
    })
}

fn fault_of(statement: &Statement, allowed: &BTreeSet<String>) -> Option<String> {
    if statement.effect == Effect::Deny {
        return Some("it is a Deny".to_owned());
    }
    let Clause::Only(actions) = &statement.action else {
        return Some("it has a NotAction".to_owned());
    };
    if let Some(action) = actions.iter().find(|action| !allowed.contains(&action.to_ascii_lowercase())) {
        return Some(format!("{} is not a Session Manager action", action.escape_debug()));
    }
    match &statement.resource {
        Some(Clause::Only(_)) => {}
        Some(Clause::Except(_)) => return Some("it has a NotResource".to_owned()),
        None => return Some("it has no Resource".to_owned()),
    }
    if !statement.conditions.is_empty() {
        return Some("it has a Condition".to_owned());
    }
    (!statement.unknown.is_empty()).then(|| "it holds elements that a grant does not have".to_owned())
}
