//! The one way to a write: what may never be sent is refused here, whatever led to it.
//!
//! Knows the trait, not which side of it, and nothing of why a write is wanted. What must stay true: a [`Put`] and a
//! [`Removal`] can be made here alone, so no call that changes an account goes past these checks.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{ErrorClass, Iam, IamError, RequestId, WriteTurn};
use crate::{
    inventory::Role,
    lease::Leadership,
    names::{AccountId, PolicyName, RoleName},
    policy::{
        limits::Limits,
        session_manager::{self, SessionManagerDocument},
    },
};

/// A checked `PutRolePolicy`.
#[derive(Debug)]
pub struct Put<'a> {
    turn: &'a WriteTurn,
    role: &'a RoleName,
    policy: &'a PolicyName,
    document: &'a str,
}

/// A checked `DeleteRolePolicy`.
#[derive(Debug)]
pub struct Removal<'a> {
    turn: &'a WriteTurn,
    role: &'a RoleName,
    policy: &'a PolicyName,
}

impl Put<'_> {
    /// The operation's name in AWS's API.
    pub const OPERATION: &'static str = "PutRolePolicy";

    /// The turn in which it is sent.
    pub(super) fn turn(&self) -> &WriteTurn {
        self.turn
    }

    /// The role to be written to.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        self.role
    }

    /// The name of the inline policy.
    #[must_use]
    pub fn policy(&self) -> &PolicyName {
        self.policy
    }

    /// The document, as it is to be sent.
    #[must_use]
    pub fn document(&self) -> &str {
        self.document
    }
}

impl Removal<'_> {
    /// The operation's name in AWS's API.
    pub const OPERATION: &'static str = "DeleteRolePolicy";

    /// The turn in which it is sent.
    pub(super) fn turn(&self) -> &WriteTurn {
        self.turn
    }

    /// The role to be written to.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        self.role
    }

    /// The name of the inline policy.
    #[must_use]
    pub fn policy(&self) -> &PolicyName {
        self.policy
    }
}

/// How long a write may take at most; then what it did is not known. The SDK gives up on an attempt before that, and a
/// process that holds a lease lets no write begin that might not end within it.
pub const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// Writes to the roles of one account.
#[derive(Debug)]
pub struct Writer<I> {
    iam: Arc<I>,
    account: AccountId,
    leadership: Leadership,
}

impl<I: Iam> Writer<I> {
    /// A writer for the account that STS says the credentials belong to.
    pub fn new(iam: Arc<I>, account: AccountId) -> Self {
        Self { iam, account, leadership: Leadership::default() }
    }

    /// The same, for a process that may write only while it leads.
    #[must_use]
    pub fn led_by(self, leadership: Leadership) -> Self {
        Self { leadership, ..self }
    }

    /// The turn to write once: see [`Iam::turn_to_write`].
    ///
    /// # Errors
    ///
    /// Where none comes within the time that a call may wait.
    pub async fn turn(&self) -> Result<WriteTurn, IamError> {
        self.iam.turn_to_write().await
    }

    /// `iam:PutRolePolicy`, once the document and the role were found to be what this program may write: the id of the call.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::NotSent`] where they are not; else what IAM says.
    pub async fn put(
        &self,
        turn: WriteTurn,
        role: &Role,
        policy: &PolicyName,
        document: &SessionManagerDocument,
        limits: &Limits,
    ) -> Result<RequestId, IamError> {
        let text = document.as_str();
        let refused = session_manager::outside_vocabulary(text)
            .or_else(|| limits.outside_resources(text))
            .or_else(|| self.outside(role, limits));
        if let Some(why) = refused {
            return Err(not_sent(Put::OPERATION, &why));
        }
        let put = Put { turn: &turn, role: &role.name, policy, document: text };
        self.send(Put::OPERATION, self.iam.put_role_policy(&put)).await
    }

    /// `iam:DeleteRolePolicy`, once the role was found to be one that this program may write to: the id of the call.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::NotSent`] where it is not; else what IAM says.
    pub async fn remove(
        &self,
        turn: WriteTurn,
        role: &Role,
        policy: &PolicyName,
        limits: &Limits,
    ) -> Result<RequestId, IamError> {
        if let Some(why) = self.outside(role, limits) {
            return Err(not_sent(Removal::OPERATION, &why));
        }
        let removal = Removal { turn: &turn, role: &role.name, policy };
        self.send(Removal::OPERATION, self.iam.delete_role_policy(&removal)).await
    }

    /// Sends a write, where it would end while this process leads, and sees to it that it does end.
    async fn send(
        &self,
        operation: &'static str,
        write: impl Future<Output = Result<RequestId, IamError>>,
    ) -> Result<RequestId, IamError> {
        if !self.leadership.allows(LONGEST_WRITE) {
            return Err(IamError {
                class: ErrorClass::NotLeading,
                operation,
                code: None,
                message: "not sent: the lease may pass to another process before it would have ended".to_owned(),
            });
        }
        timeout(LONGEST_WRITE, write).await.unwrap_or_else(|_| {
            let said = format!("there was no answer within {} s, so nobody knows what it did", LONGEST_WRITE.as_secs());
            Err(IamError { class: ErrorClass::Transient, operation, code: None, message: said })
        })
    }

    /// Why this role must not be written to.
    fn outside(&self, role: &Role, limits: &Limits) -> Option<String> {
        if role.is_protected() {
            return Some(format!("the role {} belongs to AWS", role.name));
        }
        limits.outside_accounts(&self.account).or_else(|| limits.outside_paths(&role.path))
    }
}

/// No path through the program is meant to lead here; what does ends here and not in an account.
fn not_sent(operation: &'static str, why: &str) -> IamError {
    IamError {
        class: ErrorClass::NotSent,
        operation,
        code: None,
        message: format!("not sent, it is outside of what this program may write: {}", crate::text::printable(why)),
    }
}
