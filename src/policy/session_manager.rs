//! All knowledge of Session Manager: from settings to the policy document that grants exactly them.
//!
//! Pure. What must stay true: [`SessionManagerDocument`] can only be made here, and holds no action outside
//! the Session Manager vocabulary.

use crate::names::{AccountId, KeyArn, Partition};

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
}

impl Settings {
    /// The document for a role of `account` in `partition`.
    #[must_use]
    pub fn document(&self, account: &AccountId, partition: &Partition) -> SessionManagerDocument {
        let _ = (account, partition);
        SessionManagerDocument { text: String::new() }
    }
}

impl SessionManagerDocument {
    /// The document as compact JSON: what is sent to IAM.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
