//! An account of the sandbox behind [`Iam`], without HTTP: for the loop's tests and a simulation under a paused clock.
//!
//! Knows the trait's types and the world's answers. What must stay true: every fault that HTTP can show has its class
//! here too, the one that the AWS side gives it.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    iam::{
        Caller, ErrorClass, Iam, IamError, InlinePolicy, PoliciesPage, PolicyDetail, Put, Removal, RoleDetail,
        RolesPage, SimulatedAction,
    },
    names::{AccountId, PolicyName, RoleName},
};

use super::{
    Sandbox, Shape, identity_in,
    role::Role,
    wire::{Answer, Identity, Page, Paging, Refusal, Request},
};

/// One account's IAM and STS, in process.
#[derive(Debug, Clone)]
pub struct InProcess {
    sandbox: Sandbox,
    identity: Identity,
    patience: Duration,
    page_size: i64,
}

impl InProcess {
    pub(super) fn new(sandbox: Sandbox, account: &AccountId) -> Self {
        Self { sandbox, identity: identity_in(account.clone()), patience: Duration::from_secs(30), page_size: 1000 }
    }

    /// Gives a call up after this long; 30 s unless it is said.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks for pages of this many roles; 1,000 unless it is said.
    #[must_use]
    pub fn page_size(mut self, page_size: u16) -> Self {
        self.page_size = i64::from(page_size);
        self
    }

    /// A write that goes on whether or not anybody still waits for it. `None` removes the policy.
    #[cfg(test)]
    pub(crate) async fn write(&self, role: String, policy: String, document: Option<String>) -> Result<(), IamError> {
        let request = match document {
            Some(document) => Request::PutRolePolicy { role, policy, document },
            None => Request::DeleteRolePolicy { role, policy },
        };
        self.ask(request).await.map(|_| ())
    }

    async fn ask(&self, request: Request) -> Result<Answer, IamError> {
        let operation = request.operation();
        let transient =
            |message: String| Err(IamError { class: ErrorClass::Transient, operation, code: None, message });
        let answered = async {
            let reply = self.sandbox.call(&self.identity, &request).await;
            if reply.shape == Shape::Hang {
                std::future::pending::<()>().await;
            }
            reply
        };
        let Ok(reply) = timeout(self.patience, answered).await else {
            return transient(format!("no answer within {} s", self.patience.as_secs_f64()));
        };
        match (reply.shape, reply.result) {
            (Shape::Reset, _) => transient("the connection was reset".to_owned()),
            (Shape::Cut, _) => transient("the answer broke off".to_owned()),
            (Shape::Html, _) => transient("the answer is not XML".to_owned()),
            (Shape::Hang | Shape::Whole, Ok(answer)) => Ok(answer),
            (Shape::Hang | Shape::Whole, Err(refusal)) => Err(error(operation, refusal)),
        }
    }
}

fn error(operation: &'static str, refusal: Refusal) -> IamError {
    IamError {
        class: class_of(&refusal),
        operation,
        code: Some(refusal.code),
        message: refusal
            .message
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect(),
    }
}

fn class_of(refusal: &Refusal) -> ErrorClass {
    match refusal.code.as_str() {
        "Throttling" | "ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException" => {
            ErrorClass::Throttled
        }
        "AccessDenied" | "AccessDeniedException" => ErrorClass::Denied,
        "ExpiredToken" | "InvalidClientTokenId" | "MissingAuthenticationToken" | "SignatureDoesNotMatch" => {
            ErrorClass::Credentials
        }
        "LimitExceeded" => ErrorClass::Quota,
        "UnmodifiableEntity" => ErrorClass::Protected,
        "NoSuchEntity" => ErrorClass::Gone,
        "ConcurrentModification" | "EntityTemporarilyUnmodifiable" => ErrorClass::Transient,
        _ if refusal.status >= 500 => ErrorClass::Transient,
        _ => ErrorClass::Invalid,
    }
}

/// An answer of another kind than the question. The world gives none; were it to, that would be a failed read.
fn astray<T>(operation: &'static str) -> Result<T, IamError> {
    let message = "the answer is not one to this call".to_owned();
    Err(IamError { class: ErrorClass::Transient, operation, code: None, message })
}

/// What `GetRole` tells of a role.
fn detail(role: &Role) -> RoleDetail {
    RoleDetail {
        name: role.name.clone(),
        arn: role.arn.clone(),
        path: role.path.clone(),
        tags: role.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        trust: role.trust.encoded().as_ref().to_owned(),
        boundary: role.boundary.clone(),
        ..RoleDetail::default()
    }
}

/// What a bulk read tells of a role.
fn whole_detail(role: &Role) -> RoleDetail {
    let policies = role.policies.iter().map(|(name, document)| InlinePolicy {
        name: name.clone(),
        encoded_document: document.encoded().as_ref().to_owned(),
    });
    RoleDetail {
        inline_policies: policies.collect(),
        attached: role.attached.clone(),
        instance_profiles: role.instance_profiles.clone(),
        ..detail(role)
    }
}

impl Iam for InProcess {
    async fn caller(&self) -> Result<Caller, IamError> {
        match self.ask(Request::GetCallerIdentity).await? {
            Answer::Caller(Identity { account, arn }) => Ok(Caller { account, arn }),
            _ => astray("GetCallerIdentity"),
        }
    }

    async fn roles_page(&self, marker: Option<String>) -> Result<RolesPage, IamError> {
        let paging = Paging { marker, max_items: Some(self.page_size) };
        let request = Request::GetAccountAuthorizationDetails { filters: vec!["Role".to_owned()], paging };
        match self.ask(request).await? {
            Answer::Details(Page { items, is_truncated, marker }) => {
                let roles = items.iter().map(|role| whole_detail(role)).collect();
                Ok(RolesPage { roles, is_truncated, marker })
            }
            _ => astray("GetAccountAuthorizationDetails"),
        }
    }

    async fn role(&self, role: &RoleName) -> Result<RoleDetail, IamError> {
        match self.ask(Request::GetRole { role: role.to_string() }).await? {
            Answer::Role(role) => Ok(detail(&role)),
            _ => astray("GetRole"),
        }
    }

    async fn role_policy(&self, role: &RoleName, policy: &PolicyName) -> Result<String, IamError> {
        let request = Request::GetRolePolicy { role: role.to_string(), policy: policy.to_string() };
        match self.ask(request).await? {
            Answer::Policy { encoded_document, .. } => Ok(encoded_document.as_ref().to_owned()),
            _ => astray("GetRolePolicy"),
        }
    }

    async fn policies_page(&self, _: Option<String>) -> Result<PoliciesPage, IamError> {
        Ok(PoliciesPage::default())
    }

    async fn managed_policy(&self, arn: &str) -> Result<PolicyDetail, IamError> {
        Err(error("GetPolicy", Refusal::new(404, "NoSuchEntity", format!("Policy {arn} was not found."))))
    }

    async fn managed_policy_document(&self, arn: &str, _: &str) -> Result<String, IamError> {
        Err(error("GetPolicyVersion", Refusal::new(404, "NoSuchEntity", format!("Policy {arn} was not found."))))
    }

    async fn simulate(&self, _: &str, _: &[String], _: &[String]) -> Result<Vec<SimulatedAction>, IamError> {
        let message = "the sandbox has no policy simulator";
        Err(error("SimulatePrincipalPolicy", Refusal::new(501, "NotImplemented", message)))
    }

    async fn put_role_policy(&self, put: &Put<'_>) -> Result<(), IamError> {
        let (role, policy) = (put.role().to_string(), put.policy().to_string());
        let request = Request::PutRolePolicy { role, policy, document: put.document().to_owned() };
        self.ask(request).await.map(|_| ())
    }

    async fn delete_role_policy(&self, removal: &Removal<'_>) -> Result<(), IamError> {
        let (role, policy) = (removal.role().to_string(), removal.policy().to_string());
        self.ask(Request::DeleteRolePolicy { role, policy }).await.map(|_| ())
    }
}
