//! The one edge to AWS: the few calls that the controller makes, and the classes of their errors.
//!
//! Knows nothing of manifests. What must stay true: a failed or partial read is an error, never an empty answer.

mod error;
mod read;
mod sdk;
mod whole;
mod writer;

use std::{collections::BTreeMap, future::Future};

pub use self::{
    error::{ErrorClass, IamError},
    read::{Manner, Reader},
    sdk::SdkIam,
    writer::{Put, Removal, Writer},
};

use crate::names::{AccountId, Partition, PolicyName, RoleName};

/// Who the credentials belong to, as STS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account of the credentials.
    pub account: AccountId,
    /// The ARN of the caller: a user, or an assumed role's session.
    pub arn: String,
}

impl Caller {
    /// The role that the caller's session was made from, where it is a role's.
    #[must_use]
    pub fn role(&self) -> Option<RoleName> {
        // arn:aws:sts::111122223333:assumed-role/NAME/SESSION (the role's path is not told)
        let resource = self.arn.splitn(6, ':').nth(5)?;
        resource.strip_prefix("assumed-role/")?.split('/').next()?.parse().ok()
    }

    /// The partition that the caller lives in.
    #[must_use]
    pub fn partition(&self) -> Option<Partition> {
        self.arn.split(':').nth(1)?.parse().ok()
    }
}

/// One inline policy as IAM returned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlinePolicy {
    /// The policy's name.
    pub name: String,
    /// The document as IAM sent it: percent-encoded (RFC 3986).
    pub encoded_document: String,
}

/// One role of a bulk read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleDetail {
    /// The name as IAM spells it.
    pub name: String,
    /// The role's ARN.
    pub arn: String,
    /// The role's path, `/` or `/…/`.
    pub path: String,
    /// The role's tags.
    pub tags: BTreeMap<String, String>,
    /// Every inline policy of the role; empty from [`Iam::role`], which does not tell them.
    pub inline_policies: Vec<InlinePolicy>,
}

/// One page of a bulk read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolesPage {
    /// The roles of this page.
    pub roles: Vec<RoleDetail>,
    /// Whether IAM says that there is more.
    pub is_truncated: bool,
    /// Where the next page begins.
    pub marker: Option<String>,
}

/// The calls that the controller makes, for one account. Two sides stand behind it: the AWS SDK, and the
/// sandbox's world served in process (the loop's tests and the simulation, under a paused clock).
pub trait Iam: Send + Sync + 'static {
    /// `sts:GetCallerIdentity`.
    fn caller(&self) -> impl Future<Output = Result<Caller, IamError>> + Send;

    /// One page of `iam:GetAccountAuthorizationDetails` with the filter `Role`, up to 1,000 roles.
    fn roles_page(&self, marker: Option<String>) -> impl Future<Output = Result<RolesPage, IamError>> + Send;

    /// `iam:GetRole`. [`ErrorClass::Gone`] where there is none.
    fn role(&self, role: &RoleName) -> impl Future<Output = Result<RoleDetail, IamError>> + Send;

    /// `iam:GetRolePolicy`: the percent-encoded document. [`ErrorClass::Gone`] where the role has no policy of
    /// this name, or where there is no such role.
    fn role_policy(
        &self,
        role: &RoleName,
        policy: &PolicyName,
    ) -> impl Future<Output = Result<String, IamError>> + Send;

    /// `iam:PutRolePolicy`; only a [`Writer`] can ask for it.
    fn put_role_policy(&self, put: &Put<'_>) -> impl Future<Output = Result<(), IamError>> + Send;

    /// `iam:DeleteRolePolicy`; only a [`Writer`] can ask for it. [`ErrorClass::Gone`] where there is no such policy or
    /// no such role.
    fn delete_role_policy(&self, removal: &Removal<'_>) -> impl Future<Output = Result<(), IamError>> + Send;
}
