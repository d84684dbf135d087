//! What is asked of the sandbox and what it answers, without HTTP: one vocabulary for both of its sides.
//!
//! Knows no world and no XML. What must stay true: a request that is known here can be asked in process and over
//! HTTP alike.

use std::{sync::Arc, time::Duration};

use crate::{iam::SimulatedAction, names::AccountId};

use super::{
    managed::{Managed, Version},
    role::{Role, Tag},
};

/// Who asks: the account and ARN behind a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) account: AccountId,
    pub(super) arn: String,
}

/// Where a listing begins and how long it may be.
#[derive(Debug, Clone, Default)]
pub(super) struct Paging {
    pub(super) marker: Option<String>,
    pub(super) max_items: Option<i64>,
}

/// One call, as its caller meant it; nothing in it was checked yet.
#[derive(Debug, Clone)]
pub(super) enum Request {
    CreateRole { role: String, path: String, trust: String, description: Option<String>, tags: Vec<Tag> },
    DeleteRole { role: String },
    GetRole { role: String },
    ListRolePolicies { role: String, paging: Paging },
    GetRolePolicy { role: String, policy: String },
    PutRolePolicy { role: String, policy: String, document: String },
    DeleteRolePolicy { role: String, policy: String },
    GetAccountAuthorizationDetails { filters: Vec<String>, paging: Paging },
    TagRole { role: String, tags: Vec<Tag> },
    UntagRole { role: String, keys: Vec<String> },
    AttachRolePolicy { role: String, arn: String },
    DetachRolePolicy { role: String, arn: String },
    PutRolePermissionsBoundary { role: String, arn: String },
    DeleteRolePermissionsBoundary { role: String },
    GetPolicy { arn: String },
    GetPolicyVersion { arn: String, version: String },
    SimulatePrincipalPolicy { role_arn: String, actions: Vec<String>, resources: Vec<String>, paging: Paging },
    GetCallerIdentity,
    AssumeRole { role_arn: String, session: String, external_id: Option<String>, seconds: Option<i64> },
}

impl Request {
    /// The operation's name in AWS's API.
    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::CreateRole { .. } => "CreateRole",
            Self::DeleteRole { .. } => "DeleteRole",
            Self::GetRole { .. } => "GetRole",
            Self::ListRolePolicies { .. } => "ListRolePolicies",
            Self::GetRolePolicy { .. } => "GetRolePolicy",
            Self::PutRolePolicy { .. } => "PutRolePolicy",
            Self::DeleteRolePolicy { .. } => "DeleteRolePolicy",
            Self::GetAccountAuthorizationDetails { .. } => "GetAccountAuthorizationDetails",
            Self::TagRole { .. } => "TagRole",
            Self::UntagRole { .. } => "UntagRole",
            Self::AttachRolePolicy { .. } => "AttachRolePolicy",
            Self::DetachRolePolicy { .. } => "DetachRolePolicy",
            Self::PutRolePermissionsBoundary { .. } => "PutRolePermissionsBoundary",
            Self::DeleteRolePermissionsBoundary { .. } => "DeleteRolePermissionsBoundary",
            Self::GetPolicy { .. } => "GetPolicy",
            Self::GetPolicyVersion { .. } => "GetPolicyVersion",
            Self::SimulatePrincipalPolicy { .. } => "SimulatePrincipalPolicy",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::AssumeRole { .. } => "AssumeRole",
        }
    }

    /// The role that the call names, if it names one.
    pub(super) fn role(&self) -> Option<&str> {
        match self {
            Self::CreateRole { role, .. }
            | Self::DeleteRole { role }
            | Self::GetRole { role }
            | Self::ListRolePolicies { role, .. }
            | Self::GetRolePolicy { role, .. }
            | Self::PutRolePolicy { role, .. }
            | Self::DeleteRolePolicy { role, .. }
            | Self::TagRole { role, .. }
            | Self::UntagRole { role, .. }
            | Self::AttachRolePolicy { role, .. }
            | Self::DetachRolePolicy { role, .. }
            | Self::PutRolePermissionsBoundary { role, .. }
            | Self::DeleteRolePermissionsBoundary { role } => Some(role),
            Self::AssumeRole { role_arn, .. } | Self::SimulatePrincipalPolicy { role_arn, .. } => {
                role_arn.rsplit('/').next()
            }
            Self::GetAccountAuthorizationDetails { .. }
            | Self::GetPolicy { .. }
            | Self::GetPolicyVersion { .. }
            | Self::GetCallerIdentity => None,
        }
    }

    /// The inline policy that the call names, if it names one.
    pub(super) fn policy(&self) -> Option<&str> {
        match self {
            Self::GetRolePolicy { policy, .. }
            | Self::PutRolePolicy { policy, .. }
            | Self::DeleteRolePolicy { policy, .. } => Some(policy),
            _ => None,
        }
    }

    /// The marker that the call sent, if it sent one.
    pub(super) fn marker(&self) -> Option<&str> {
        match self {
            Self::ListRolePolicies { paging, .. }
            | Self::GetAccountAuthorizationDetails { paging, .. }
            | Self::SimulatePrincipalPolicy { paging, .. } => paging.marker.as_deref(),
            _ => None,
        }
    }
}

/// One page of a listing.
#[derive(Debug, Clone)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) is_truncated: bool,
    pub(super) marker: Option<String>,
}

impl<T> Page<T> {
    /// The page with something else in place of each item.
    pub(super) fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, is_truncated, marker } = self;
        Page { items: items.into_iter().map(change).collect(), is_truncated, marker }
    }
}

/// One thing that a bulk read tells of.
#[derive(Debug, Clone)]
pub(super) enum Detail {
    Role(Arc<Role>),
    Policy(Arc<Managed>),
}

/// The answer to a call that was accepted.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// Nothing but "done".
    Done,
    Role(Arc<Role>),
    RoleCreated(Arc<Role>),
    PolicyNames(Page<String>),
    Policy {
        role: String,
        policy: String,
        encoded_document: Arc<str>,
    },
    Details(Page<Detail>),
    Managed(Arc<Managed>),
    ManagedVersion {
        version: Version,
        is_default: bool,
    },
    Simulated(Page<SimulatedAction>),
    Caller(Identity),
    Session {
        access_key_id: String,
        secret: String,
        token: String,
        /// Since the world's start.
        expires: Duration,
        lasts: Duration,
        identity: Identity,
        id: String,
    },
}

/// The answer to a call that was refused: status, code and message as AWS words them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationError", message)
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, "MalformedPolicyDocument", message)
    }
}
