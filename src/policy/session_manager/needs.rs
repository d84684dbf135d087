//! What a session asks of the node's role, one permission after the other: what [`Settings`] imply, as questions.
//!
//! Pure. What must stay true: everything that is needed beside registration is granted by the document of the same
//! settings.
//!
//! Sources: Systems Manager User Guide, "Creating an IAM role with permissions for Session Manager and Amazon S3 and
//! CloudWatch Logs", "Step 3: Create a hybrid activation" (`mi-`); Service Authorization Reference (for the resource
//! types); CloudWatch Logs User Guide, "Overview of managing access permissions to your CloudWatch Logs resources" (a log
//! group's ARN ends with `:*` in a policy). IAM's refusals of what is asked of a group name
//! `log-group:NAME:log-stream:`, and of what is asked of all groups `log-group::log-stream:`.

use super::{
    super::evaluate::{Question, Resource},
    CHANNELS, DECRYPT, GENERATE_DATA_KEY, LIST_LOG_GROUPS, PUT_OBJECT, PUT_OBJECT_ACL, READ_BUCKET_ENCRYPTION,
    REGISTER, Settings, WRITE_LOGS,
};
use crate::names::{AccountId, KeyArn, Partition};

/// One permission that a session asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What it is for.
    pub purpose: Purpose,
    /// The action.
    pub action: &'static str,
    /// The ARN of the resource, or a pattern of ARNs where it is not known which; none for actions without resource
    /// types.
    pub resource: Option<String>,
    /// Whether what stands for a wildcard at the resource's end may hold colons, as an object's key may.
    pub holds_colons: bool,
    /// Whether a policy of the resource's own may grant it where the role's policies are silent: within one account a
    /// bucket's or key's policy is enough.
    pub resource_policy_may_grant: bool,
}

/// What a permission is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The node makes itself known to Systems Manager.
    Registration,
    /// The session's channels.
    Channels,
    /// Session data is encrypted with a key.
    SessionKey,
    /// The agent looks whether the log bucket is encrypted.
    EncryptionCheck,
    /// Session logs go to S3.
    LogsToS3,
    /// Session logs go to CloudWatch Logs.
    LogsToCloudWatch,
}

/// What registers: where a node is, its resource type differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// An EC2 instance.
    Instance,
    /// A managed node outside EC2.
    Managed,
}

impl Need {
    /// The permission to register nodes of this kind.
    #[must_use]
    pub fn registration(kind: NodeKind, account: &AccountId, partition: &Partition) -> Self {
        let resource = match kind {
            NodeKind::Instance => format!("arn:{partition}:ec2:*:{account}:instance/i-*"),
            NodeKind::Managed => format!("arn:{partition}:ssm:*:{account}:managed-instance/mi-*"),
        };
        let (purpose, action) = (Purpose::Registration, REGISTER);
        let resource = Some(resource);
        Self { purpose, action, resource, holds_colons: false, resource_policy_may_grant: false }
    }

    /// The same as a question.
    #[must_use]
    pub fn question(&self) -> Question {
        let resource = match &self.resource {
            None => Resource::Unnamed,
            Some(arn) if self.holds_colons => Resource::Below(arn),
            Some(arn) if arn.contains('*') => Resource::Within(arn),
            Some(arn) => Resource::Exactly(arn),
        };
        Question::new(self.action, resource)
    }
}

impl Settings {
    /// What a session with these settings asks of a role of `account`, registration left aside.
    #[must_use]
    pub fn needs(&self, account: &AccountId, partition: &Partition) -> Vec<Need> {
        let need = |purpose, action, resource, resource_policy_may_grant| Need {
            purpose,
            action,
            resource,
            holds_colons: false,
            resource_policy_may_grant,
        };
        let on_key = |purpose, action, key: &KeyArn| {
            need(purpose, action, Some(key.as_str().to_owned()), key.account() == account.as_str())
        };
        let mut needs: Vec<Need> =
            CHANNELS.into_iter().map(|action| need(Purpose::Channels, action, None, false)).collect();
        needs.extend(self.session_keys.iter().map(|key| on_key(Purpose::SessionKey, DECRYPT, key)));
        match &self.log_bucket {
            Some(bucket) => {
                let is_foreign = bucket.owner.as_ref().is_some_and(|owner| owner != account);
                let on = |purpose, action, resource| need(purpose, action, Some(resource), !is_foreign);
                let on_objects = |action| Need {
                    holds_colons: true,
                    ..on(Purpose::LogsToS3, action, bucket.objects_arn(partition))
                };
                needs.push(on(Purpose::EncryptionCheck, READ_BUCKET_ENCRYPTION, bucket.arn(partition)));
                needs.push(on_objects(PUT_OBJECT));
                if is_foreign {
                    needs.push(on_objects(PUT_OBJECT_ACL));
                }
            }
            None if self.s3_encryption_enabled => {
                let any = Some(format!("arn:{partition}:s3:::*"));
                needs.push(need(Purpose::EncryptionCheck, READ_BUCKET_ENCRYPTION, any, true));
            }
            None => {}
        }
        for key in &self.bucket_keys {
            needs.extend([GENERATE_DATA_KEY, DECRYPT].map(|action| on_key(Purpose::LogsToS3, action, key)));
        }
        if let Some(group) = &self.log_group {
            let on = |action, group: &str| {
                let streams = format!("arn:{partition}:logs:*:{account}:log-group:{group}:log-stream:*");
                need(Purpose::LogsToCloudWatch, action, Some(streams), false)
            };
            needs.push(on(LIST_LOG_GROUPS, "*"));
            needs.extend(WRITE_LOGS.map(|action| on(action, group)));
        }
        needs
    }
}
