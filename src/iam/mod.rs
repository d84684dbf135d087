//! The one edge to AWS: the few calls that the controller makes, and the classes of their errors.
//!
//! Knows nothing of manifests. What must stay true: a failed or partial read is an error, never an empty answer.

mod credentials;
mod error;
mod managed;
mod pace;
mod pages;
mod read;
mod reading_plan;
mod sdk;
mod throttles;
mod together;
mod whole;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use serde::Deserialize;

pub use self::{
    error::{ErrorClass, IamError},
    pace::{Budget, Budgets, Calls, Count, Paced, WriteTurn},
    read::{Manner, Reader},
    reading_plan::{Choice, ReadingPlan, Why},
    sdk::SdkIam,
    together::Together,
    writer::{LONGEST_WRITE, Put, Removal, Writer},
};

pub(crate) use self::pages::Pages;

use crate::names::{AccountId, Partition, PolicyName, Region, RoleArn, RoleName};

/// Who the credentials belong to, as STS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account of the credentials.
    pub account: AccountId,
    /// The ARN of the caller: a user, or an assumed role's session.
    pub arn: String,
    /// The role that the process itself runs as, where this is its account and was entered by another role.
    pub base_role: Option<RoleName>,
}

impl Caller {
    /// The role that the caller's session was made from, where it is a role's.
    #[must_use]
    pub fn role(&self) -> Option<RoleName> {
        // arn:aws:sts::111122223333:assumed-role/NAME/SESSION (the role's path is not told)
        let resource = self.arn.splitn(6, ':').nth(5)?;
        resource.strip_prefix("assumed-role/")?.split('/').next()?.parse().ok()
    }

    /// The caller of an account that was entered with the credentials of `own`.
    #[must_use]
    pub fn entered_by(self, own: &Self) -> Self {
        let base_role = own.role().filter(|_| own.account == self.account);
        Self { base_role, ..self }
    }

    /// The controller's own roles in the account.
    #[must_use]
    pub fn own_roles(&self) -> BTreeSet<RoleName> {
        self.role().into_iter().chain(self.base_role.clone()).collect()
    }

    /// The partition that the caller lives in.
    #[must_use]
    pub fn partition(&self) -> Option<Partition> {
        self.arn.split(':').nth(1)?.parse().ok()
    }
}

/// How an account is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    /// The account: no other is ever read or written through it.
    pub account: AccountId,
    /// The role that is assumed; none where the credentials at hand are of this account.
    pub role: Option<RoleArn>,
    /// The external id that the role asks for.
    pub external_id: Option<String>,
    /// The name of the session, as CloudTrail shows it.
    pub session_name: String,
    /// The Region whose endpoints are called; none for that of the environment.
    pub region: Option<Region>,
}

/// One inline policy as IAM returned it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlinePolicy {
    /// The policy's name.
    pub name: String,
    /// The document as IAM sent it: percent-encoded (RFC 3986).
    pub encoded_document: String,
}

/// One role: of a bulk read, or read by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoleDetail {
    /// The name as IAM spells it.
    pub name: String,
    /// The role's ARN.
    pub arn: String,
    /// The role's path, `/` or `/…/`.
    pub path: String,
    /// The role's tags.
    pub tags: BTreeMap<String, String>,
    /// The trust policy as IAM sent it: percent-encoded (RFC 3986); empty where IAM does not tell it.
    pub trust: String,
    /// Every inline policy of the role; empty from [`Iam::role`], which does not tell them.
    pub inline_policies: Vec<InlinePolicy>,
    /// ARNs of the attached managed policies, in IAM's order; empty from [`Iam::role`], which does not tell them.
    pub attached: Vec<String>,
    /// The ARN of the permissions boundary, where the role has one.
    pub boundary: Option<String>,
    /// Names of the instance profiles that hold the role; empty from [`Iam::role`], which does not tell them.
    pub instance_profiles: Vec<String>,
}

/// One page of a bulk read of roles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolesPage {
    /// The roles of this page.
    pub roles: Vec<RoleDetail>,
    /// Whether IAM says that there is more.
    pub is_truncated: bool,
    /// Where the next page begins.
    pub marker: Option<String>,
}

/// One managed policy, by its default version: the one that counts wherever the policy is attached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyDetail {
    /// The policy's ARN.
    pub arn: String,
    /// The id of the default version: `v1`.
    pub version: String,
    /// The default version's document as IAM sent it: percent-encoded; `None` where IAM does not tell it, as
    /// [`Iam::managed_policy`] does not.
    pub encoded_document: Option<String>,
}

/// One page of a bulk read of managed policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoliciesPage {
    /// The policies of this page.
    pub policies: Vec<PolicyDetail>,
    /// Whether IAM says that there is more.
    pub is_truncated: bool,
    /// Where the next page begins.
    pub marker: Option<String>,
}

/// What IAM's policy simulator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// `allowed`.
    Allowed,
    /// `explicitDeny`: a statement denies it.
    ExplicitDeny,
    /// `implicitDeny`: nothing allows it.
    ImplicitDeny,
}

impl Decision {
    /// The word that IAM has for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::ExplicitDeny => "explicitDeny",
            Self::ImplicitDeny => "implicitDeny",
        }
    }
}

/// What IAM's policy simulator says of one action on one resource.
///
/// As JSON, for the sandbox: `{"action":"ssmmessages:OpenDataChannel","decision":"allowed"}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedAction {
    /// The action, as it was asked: `ssmmessages:OpenDataChannel`.
    pub action: String,
    /// The resource's ARN, or `*`.
    #[serde(default = "anything")]
    pub resource: String,
    /// What is decided.
    pub decision: Decision,
    /// Whether the organization's policies allow it; `None` where the account is in no organization, or IAM does not say.
    #[serde(default)]
    pub allowed_by_organizations: Option<bool>,
    /// Keys of conditions that the simulation had no value for.
    #[serde(default)]
    pub missing_context: Vec<String>,
    /// The `SourcePolicyId` of the statements that decided.
    #[serde(default)]
    pub matched: Vec<String>,
}

fn anything() -> String {
    "*".to_owned()
}

impl SimulatedAction {
    /// A decision, and nothing more to be said of it.
    #[must_use]
    pub fn new(action: &str, resource: &str, decision: Decision) -> Self {
        Self {
            action: action.to_owned(),
            resource: resource.to_owned(),
            decision,
            allowed_by_organizations: None,
            missing_context: Vec::new(),
            matched: Vec::new(),
        }
    }
}

/// The id that AWS gave to one call: CloudTrail tells of the call by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The id, as AWS answered it.
    #[must_use]
    pub fn new(answered: impl Into<String>) -> Self {
        Self(answered.into())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The calls that the controller makes, for one account. Two sides stand behind it: the AWS SDK, and the
/// sandbox's world served in process (the loop's tests and the simulation, under a paused clock).
pub trait Iam: Sized + Send + Sync + 'static {
    /// The same calls in another account: `sts:AssumeRole` is asked for when the first of them is made, and again long
    /// before the session ends.
    fn within(&self, entrance: &Entrance) -> impl Future<Output = Self> + Send;

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

    /// One page of `iam:GetAccountAuthorizationDetails` with the filter `LocalManagedPolicy` (the account's own managed
    /// policies), up to 1,000 of them, each with the document of its default version.
    fn policies_page(&self, marker: Option<String>) -> impl Future<Output = Result<PoliciesPage, IamError>> + Send;

    /// `iam:GetPolicy`: which version is the default; the document is not told. [`ErrorClass::Gone`] where there is no
    /// such policy.
    fn managed_policy(&self, arn: &str) -> impl Future<Output = Result<PolicyDetail, IamError>> + Send;

    /// `iam:GetPolicyVersion`: the percent-encoded document. [`ErrorClass::Gone`] where there is no such policy or no
    /// such version.
    fn managed_policy_document(
        &self,
        arn: &str,
        version: &str,
    ) -> impl Future<Output = Result<String, IamError>> + Send;

    /// `iam:SimulatePrincipalPolicy`, all pages: each action on each resource, or on `*` where no resource is named.
    fn simulate(
        &self,
        role_arn: &str,
        actions: &[String],
        resources: &[String],
    ) -> impl Future<Output = Result<Vec<SimulatedAction>, IamError>> + Send;

    /// The turn to write once, where something paces the calls: to be asked for before the read that confirms the write, so
    /// that the write follows that read at once.
    fn turn_to_write(&self) -> impl Future<Output = Result<WriteTurn, IamError>> + Send {
        async { Ok(WriteTurn::default()) }
    }

    /// `iam:PutRolePolicy`; only a [`Writer`] can ask for it. Whoever hears of the call later knows it by the answer.
    fn put_role_policy(&self, put: &Put<'_>) -> impl Future<Output = Result<RequestId, IamError>> + Send;

    /// `iam:DeleteRolePolicy`; only a [`Writer`] can ask for it. [`ErrorClass::Gone`] where there is no such policy or
    /// no such role.
    fn delete_role_policy(&self, removal: &Removal<'_>) -> impl Future<Output = Result<RequestId, IamError>> + Send;
}
