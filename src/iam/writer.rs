//! The one way to a write: what may never be sent is refused here, whatever led to it.
//!
//! Knows the trait, not which side of it, and nothing of why a write is wanted. What must stay true: a [`Put`] and a
//! [`Removal`] can be made here alone, so no call that changes an account goes past these checks.

use std::sync::Arc;

use super::{ErrorClass, Iam, IamError, RequestId, WriteTurn};
use crate::{
    inventory::Role,
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

/// Writes to the roles of one account.
#[derive(Debug)]
pub struct Writer<I> {
    iam: Arc<I>,
    account: AccountId,
}

impl<I: Iam> Writer<I> {
    /// A writer for the account that STS says the credentials belong to.
    pub fn new(iam: Arc<I>, account: AccountId) -> Self {
        Self { iam, account }
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
        self.iam.put_role_policy(&Put { turn: &turn, role: &role.name, policy, document: text }).await
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
        self.iam.delete_role_policy(&Removal { turn: &turn, role: &role.name, policy }).await
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
