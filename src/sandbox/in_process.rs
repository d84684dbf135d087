//! An account of the sandbox behind [`Iam`], without HTTP: for the loop's tests and a simulation under a paused clock.
//!
//! Knows the trait's types and the world's answers. What must stay true: every fault that HTTP can show has its class
//! here too, the one that the AWS side gives it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    iam::{
        Caller, Entrance, ErrorClass, Iam, IamError, InlinePolicy, Pages, PoliciesPage, PolicyDetail, Put, Removal,
        RequestId, RoleDetail, RolesPage, SimulatedAction,
    },
    names::{AccountId, PolicyName, RoleName},
};

use super::{
    Sandbox, Shape, identity_in,
    managed::{Managed, Version},
    role::Role,
    wire::{Answer, Detail, Identity, Page, Paging, Refusal, Request},
};

/// One account's IAM and STS, in process.
#[derive(Debug, Clone)]
pub struct InProcess {
    sandbox: Sandbox,
    identity: Identity,
    /// The session in which the calls are made, where it is not the identity's own.
    session: Option<Arc<Session>>,
    patience: Duration,
    page_size: i64,
}

/// A role that is assumed before calls are made, and again before its session ends.
#[derive(Debug)]
struct Session {
    entrance: Entrance,
    /// Who it is, and until when.
    current: Mutex<Option<(Identity, Duration)>>,
}

/// A session is renewed this long before it ends, as by the SDK's side.
const RENEWED_BEFORE: Duration = Duration::from_secs(600);

impl InProcess {
    pub(super) fn new(sandbox: Sandbox, account: &AccountId) -> Self {
        Self {
            sandbox,
            identity: identity_in(account.clone()),
            session: None,
            patience: Duration::from_secs(30),
            page_size: 1000,
        }
    }

    /// Gives a call up after this long; 30 s unless it is said.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks for pages of this many roles or policies; 1,000 unless it is said.
    #[must_use]
    pub fn page_size(mut self, page_size: u16) -> Self {
        self.page_size = i64::from(page_size);
        self
    }

    /// A write that goes on whether or not anybody still waits for it. `None` removes the policy.
    #[cfg(test)]
    pub(crate) async fn write(
        &self,
        role: String,
        policy: String,
        document: Option<String>,
    ) -> Result<RequestId, IamError> {
        let request = match document {
            Some(document) => Request::PutRolePolicy { role, policy, document },
            None => Request::DeleteRolePolicy { role, policy },
        };
        self.call(request).await.map(|(_, id)| id)
    }

    /// One page of a bulk read of one kind.
    async fn details(&self, kind: &str, marker: Option<String>) -> Result<Page<Detail>, IamError> {
        let paging = Paging { marker, max_items: Some(self.page_size) };
        let request = Request::GetAccountAuthorizationDetails { filters: vec![kind.to_owned()], paging };
        match self.ask(request).await? {
            Answer::Details(page) => Ok(page),
            _ => astray("GetAccountAuthorizationDetails"),
        }
    }

    async fn ask(&self, request: Request) -> Result<Answer, IamError> {
        self.call(request).await.map(|(answer, _)| answer)
    }

    async fn call(&self, request: Request) -> Result<(Answer, RequestId), IamError> {
        match &self.session {
            Some(session) => self.ask_as(&self.entered(session).await?, request).await,
            None => self.ask_as(&self.identity, request).await,
        }
    }

    /// Who this is once the role is assumed. What is refused is a lack of credentials for the call that was to be made.
    async fn entered(&self, session: &Session) -> Result<Identity, IamError> {
        let now = self.sandbox.now();
        if let Some((identity, until)) = &*session.lock()
            && now + RENEWED_BEFORE < *until
        {
            return Ok(identity.clone());
        }
        let Entrance { account, role, external_id, session_name, .. } = &session.entrance;
        let lacking = |class: ErrorClass, why: String| IamError {
            class: if class.passes_by_itself() || class == ErrorClass::Clock { class } else { ErrorClass::Credentials },
            operation: "AssumeRole",
            code: None,
            message: format!("the AWS credentials cannot be had: {why}"),
        };
        let identity = match role {
            None => self.identity.clone(),
            Some(role) => {
                let request = Request::AssumeRole {
                    role_arn: role.to_string(),
                    session: session_name.clone(),
                    external_id: external_id.clone(),
                    seconds: None,
                };
                match self.ask_as(&self.identity, request).await {
                    Ok((Answer::Session { identity, expires, .. }, _)) => {
                        *session.lock() = Some((identity.clone(), expires));
                        identity
                    }
                    Ok(_) => return astray("AssumeRole"),
                    Err(error) => return Err(lacking(error.class, error.to_string())),
                }
            }
        };
        if identity.account != *account {
            let why = format!("they are of account {}, and not of {account}: they are not used", identity.account);
            return Err(lacking(ErrorClass::Credentials, why));
        }
        Ok(identity)
    }

    async fn ask_as(&self, identity: &Identity, request: Request) -> Result<(Answer, RequestId), IamError> {
        let operation = request.operation();
        let transient =
            |message: String| Err(IamError { class: ErrorClass::Transient, operation, code: None, message });
        let answered = async {
            let reply = self.sandbox.call(identity, &request).await;
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
            (Shape::Hang | Shape::Whole, Ok(answer)) => Ok((answer, RequestId::new(reply.request_id))),
            (Shape::Hang | Shape::Whole, Err(refusal)) => Err(error(operation, refusal)),
        }
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, Option<(Identity, Duration)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
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
        "RequestTimeTooSkewed" | "RequestExpired" => ErrorClass::Clock,
        "SignatureDoesNotMatch" if refusal.message.starts_with("Signature ") => ErrorClass::Clock,
        "ExpiredToken" | "InvalidClientTokenId" | "MissingAuthenticationToken" | "SignatureDoesNotMatch" => {
            ErrorClass::Credentials
        }
        "LimitExceeded" => ErrorClass::Quota,
        "UnmodifiableEntity" => ErrorClass::Protected,
        "NoSuchEntity" => ErrorClass::Gone,
        "NotImplemented" => ErrorClass::Invalid,
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
pub(super) fn whole_detail(role: &Role) -> RoleDetail {
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

fn policy_detail(policy: &Managed, with_document: bool) -> PolicyDetail {
    let default = policy.default_version();
    let document = default.filter(|_| with_document).map(|version| version.document.encoded().as_ref().to_owned());
    let version = default.map(Version::id).unwrap_or_default();
    PolicyDetail { arn: policy.arn.clone(), version, encoded_document: document }
}

impl Iam for InProcess {
    async fn within(&self, entrance: &Entrance) -> Self {
        let session = Session { entrance: entrance.clone(), current: Mutex::default() };
        Self { session: Some(Arc::new(session)), ..self.clone() }
    }

    async fn caller(&self) -> Result<Caller, IamError> {
        match self.ask(Request::GetCallerIdentity).await? {
            Answer::Caller(Identity { account, arn }) => Ok(Caller { account, arn, base_role: None }),
            _ => astray("GetCallerIdentity"),
        }
    }

    async fn roles_page(&self, marker: Option<String>) -> Result<RolesPage, IamError> {
        let Page { items, is_truncated, marker } = self.details("Role", marker).await?;
        let roles = items.iter().filter_map(|detail| match detail {
            Detail::Role(role) => Some(whole_detail(role)),
            Detail::Policy(_) => None,
        });
        Ok(RolesPage { roles: roles.collect(), is_truncated, marker })
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

    async fn policies_page(&self, marker: Option<String>) -> Result<PoliciesPage, IamError> {
        let Page { items, is_truncated, marker } = self.details("LocalManagedPolicy", marker).await?;
        let policies = items.iter().filter_map(|detail| match detail {
            Detail::Role(_) => None,
            Detail::Policy(policy) => Some(policy_detail(policy, true)),
        });
        Ok(PoliciesPage { policies: policies.collect(), is_truncated, marker })
    }

    async fn managed_policy(&self, arn: &str) -> Result<PolicyDetail, IamError> {
        match self.ask(Request::GetPolicy { arn: arn.to_owned() }).await? {
            Answer::Managed(policy) => Ok(policy_detail(&policy, false)),
            _ => astray("GetPolicy"),
        }
    }

    async fn managed_policy_document(&self, arn: &str, version: &str) -> Result<String, IamError> {
        let request = Request::GetPolicyVersion { arn: arn.to_owned(), version: version.to_owned() };
        match self.ask(request).await? {
            Answer::ManagedVersion { version, .. } => Ok(version.document.encoded().as_ref().to_owned()),
            _ => astray("GetPolicyVersion"),
        }
    }

    async fn simulate(
        &self,
        role_arn: &str,
        actions: &[String],
        resources: &[String],
    ) -> Result<Vec<SimulatedAction>, IamError> {
        const OPERATION: &str = "SimulatePrincipalPolicy";
        let (mut all, mut pages, mut marker) = (Vec::new(), Pages::of(OPERATION), None);
        loop {
            let paging = Paging { marker, max_items: None };
            let (actions, resources) = (actions.to_vec(), resources.to_vec());
            let role_arn = role_arn.to_owned();
            let request = Request::SimulatePrincipalPolicy { role_arn, actions, resources, paging };
            let Answer::Simulated(page) = self.ask(request).await? else { return astray(OPERATION) };
            all.extend(page.items);
            marker = pages.next(page.is_truncated, page.marker)?;
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    async fn put_role_policy(&self, put: &Put<'_>) -> Result<RequestId, IamError> {
        let (role, policy) = (put.role().to_string(), put.policy().to_string());
        let request = Request::PutRolePolicy { role, policy, document: put.document().to_owned() };
        self.call(request).await.map(|(_, id)| id)
    }

    async fn delete_role_policy(&self, removal: &Removal<'_>) -> Result<RequestId, IamError> {
        let (role, policy) = (removal.role().to_string(), removal.policy().to_string());
        self.call(Request::DeleteRolePolicy { role, policy }).await.map(|(_, id)| id)
    }
}
