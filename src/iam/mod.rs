//! The one edge to AWS: the few calls that the controller makes, and the classes of their errors.
//!
//! Knows nothing of manifests. What must stay true: a failed or partial read is an error, never an empty answer.

use std::future::Future;

use crate::{
    names::{AccountId, PolicyName, RoleName},
    policy::session_manager::SessionManagerDocument,
};

/// Who the credentials belong to, as STS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account of the credentials.
    pub account: AccountId,
    /// The ARN of the caller: a user, or an assumed role's session.
    pub arn: String,
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

/// What kind of failure a call met: decides whether, and how soon, it is worth trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// Timeouts, resets, 5xx, answers that cannot be read: soon again.
    Transient,
    /// IAM asked to slow down.
    Throttled,
    /// `AccessDenied`: a person must act.
    Denied,
    /// No credentials, expired or unknown ones.
    Credentials,
    /// IAM refused the request as malformed.
    Invalid,
    /// `LimitExceeded`: no room for the policy.
    Quota,
    /// `UnmodifiableEntity`: AWS protects the role.
    Protected,
    /// `NoSuchEntity`: the role or the policy is not there.
    Gone,
}

/// A call that failed, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct IamError {
    /// The kind of failure.
    pub class: ErrorClass,
    /// The API operation, as AWS names it: `GetRolePolicy`.
    pub operation: &'static str,
    /// AWS's error code, where an answer held one.
    pub code: Option<String>,
    /// What happened, as one line without control characters.
    pub message: String,
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

    /// `iam:PutRolePolicy`.
    fn put_role_policy(
        &self,
        role: &RoleName,
        policy: &PolicyName,
        document: &SessionManagerDocument,
    ) -> impl Future<Output = Result<(), IamError>> + Send;
}
