//! What one message means: an event of CloudTrail's about IAM, as EventBridge puts it on a queue.
//!
//! Pure. What must stay true: whatever the bytes are, there is an answer (never a panic), and all text in it is short and
//! printable: a message is written by whoever may send to the queue.
//!
//! Sources: EventBridge User Guide, "AWS service events delivered via CloudTrail"; CloudTrail User Guide, "CloudTrail
//! record contents" and "CloudTrail userIdentity element".

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    names::{AccountId, RoleName},
    text::printable,
};

/// EventBridge's events are no larger.
pub const LARGEST_BODY: usize = 256 * 1024;

/// The longest text that is taken over from an event.
const LONGEST: usize = 256;

/// One event that could be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The account that it is about.
    pub account: AccountId,
    /// The id of the request that the event tells of: our own calls are known by it.
    pub request_id: Option<String>,
    /// When the call was made, as the event says.
    pub at: Option<Timestamp>,
    /// What was done.
    pub what: What,
}

/// What an event tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Somebody has changed something.
    Changed(Change),
    /// Somebody has read: it wakes nobody, and shows that events arrive.
    Read,
}

/// A change that an event tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What was changed.
    pub subject: Subject,
    /// IAM's name for the call: `PutRolePolicy`.
    pub call: String,
    /// The inline policy that the call names.
    pub policy: Option<String>,
    /// Who made it.
    pub claimed: Claimed,
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Something about this role.
    Role(RoleName),
    /// The managed policy with this ARN: it concerns the roles that carry it, as policy or as boundary.
    ManagedPolicy(String),
}

/// Who made a change, from where and when: the event claims it, and nothing vouches for the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The ARN of whoever made the call; a service's name where there is none.
    pub who: Option<String>,
    /// The kind of identity: `AssumedRole`, `IAMUser`, `Root`.
    pub kind: Option<String>,
    /// The role that the session was made from.
    pub issuer: Option<String>,
    /// The address that the call came from.
    pub from: Option<String>,
    /// When the call was made.
    pub at: Option<Timestamp>,
}

impl fmt::Display for Claimed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.who.as_deref().or(self.kind.as_deref()).unwrap_or("nobody that it names"))?;
        if let Some(from) = &self.from {
            write!(formatter, " from {from}")?;
        }
        if let Some(at) = self.at {
            write!(formatter, " at {at:.0}")?;
        }
        Ok(())
    }
}

/// Why a message says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassedOver {
    /// It is larger than any event.
    #[error("it has {0} bytes, more than an event can have")]
    TooLarge(usize),
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// SNS stands between the rule and the queue.
    #[error("it is a notification of SNS's, with the event as text within")]
    Enveloped,
    /// It is JSON, but not an event of EventBridge's.
    #[error("it is not an event of EventBridge's: {0}")]
    NotAnEvent(&'static str),
    /// The event says nothing of which account it is about.
    #[error("the event {0} names no account")]
    NoAccount(String),
    /// A call about a role that does not say which.
    #[error("the event {0} names no role")]
    NoRole(String),
    /// What stands in the place of a role's name cannot be one.
    #[error("the event {call} is about `{role}`, which is no role's name")]
    BadRole {
        /// IAM's name for the call.
        call: String,
        /// What stands there.
        role: String,
    },
    /// What stands in the place of a policy's ARN cannot be one.
    #[error("the event {call} is about `{policy}`, which is no ARN of a policy")]
    BadPolicy {
        /// IAM's name for the call.
        call: String,
        /// What stands there.
        policy: String,
    },
    /// An event of another service.
    #[error("it is an event of `{0}`, not of aws.iam")]
    OtherSource(String),
    /// An event that does not tell of a call.
    #[error("it is `{0}`, not a call that CloudTrail saw")]
    OtherKind(String),
    /// No account of this id is configured here.
    #[error("it is about account {0}, which is not configured here")]
    OtherAccount(AccountId),
    /// The account is configured, and another process keeps it.
    #[error("it is about account {0}, which another shard keeps")]
    OtherShard(AccountId),
    /// The call failed: nothing was changed.
    #[error("{call} failed ({code}): nothing was changed")]
    Failed {
        /// IAM's name for the call.
        call: String,
        /// IAM's error code.
        code: String,
    },
    /// A change of a user, a group, or something else that no role has.
    #[error("{0} is not about a role")]
    NotAboutRoles(String),
}

/// What is to be done about a message that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Somebody should look at it: it is told, and left for the dead-letter queue.
    Poisoned,
    /// It is sound, but should not have come here: that is told, and it is deleted.
    Misdirected,
    /// It is an event like any other that does not matter here: it is deleted.
    Nothing,
}

impl PassedOver {
    /// What is to be done about it.
    #[must_use]
    pub fn worth(&self) -> Worth {
        match self {
            Self::TooLarge(_)
            | Self::NotJson(_)
            | Self::Enveloped
            | Self::NotAnEvent(_)
            | Self::NoAccount(_)
            | Self::NoRole(_)
            | Self::BadRole { .. }
            | Self::BadPolicy { .. } => Worth::Poisoned,
            Self::OtherSource(_) | Self::OtherKind(_) | Self::OtherAccount(_) => Worth::Misdirected,
            Self::OtherShard(_) | Self::Failed { .. } | Self::NotAboutRoles(_) => Worth::Nothing,
        }
    }

    /// The word under which logs tell it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "TooLarge",
            Self::NotJson(_) => "NotJson",
            Self::Enveloped => "Enveloped",
            Self::NotAnEvent(_) => "NotAnEvent",
            Self::NoAccount(_) => "NoAccount",
            Self::NoRole(_) => "NoRole",
            Self::BadRole { .. } => "BadRole",
            Self::BadPolicy { .. } => "BadPolicy",
            Self::OtherSource(_) => "OtherSource",
            Self::OtherKind(_) => "OtherKind",
            Self::OtherAccount(_) => "OtherAccount",
            Self::OtherShard(_) => "OtherShard",
            Self::Failed { .. } => "Failed",
            Self::NotAboutRoles(_) => "NotAboutRoles",
        }
    }

    /// The next step.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Enveloped => {
                "let the rule send to the queue itself, or switch on raw message delivery for the SNS subscription"
            }
            Self::OtherSource(_) | Self::OtherKind(_) => {
                "narrow the rule's pattern to source aws.iam and detail-type \"AWS API Call via CloudTrail\", as in deploy/events"
            }
            Self::OtherAccount(_) => "configure the account, or stop forwarding its events",
            _ => {
                "nothing but the rule of deploy/events should send to this queue: see who may by its queue policy, and look at the message in the dead-letter queue"
            }
        }
    }
}

/// Calls that are about a role and nothing else: without its name they are no calls at all.
const ABOUT_A_ROLE: [&str; 13] = [
    "PutRolePolicy",
    "DeleteRolePolicy",
    "AttachRolePolicy",
    "DetachRolePolicy",
    "UpdateAssumeRolePolicy",
    "PutRolePermissionsBoundary",
    "DeleteRolePermissionsBoundary",
    "CreateRole",
    "DeleteRole",
    "TagRole",
    "UntagRole",
    "AddRoleToInstanceProfile",
    "RemoveRoleFromInstanceProfile",
];

impl Heard {
    /// What the body of a message says.
    ///
    /// # Errors
    ///
    /// Why it says nothing.
    pub fn read(body: &str) -> Result<Self, PassedOver> {
        if body.len() > LARGEST_BODY {
            return Err(PassedOver::TooLarge(body.len()));
        }
        let event: Value =
            serde_json::from_str(body).map_err(|error| PassedOver::NotJson(shown(&error.to_string())))?;
        let text = |pointer| text(&event, pointer);
        let Some(source) = text("/source") else {
            let of_sns = text("/Type") == Some("Notification") && text("/Message").is_some();
            return Err(if of_sns { PassedOver::Enveloped } else { PassedOver::NotAnEvent("it has no `source`") });
        };
        if source != "aws.iam" {
            return Err(PassedOver::OtherSource(shown(source)));
        }
        match text("/detail-type") {
            Some("AWS API Call via CloudTrail") => {}
            Some(other) => return Err(PassedOver::OtherKind(shown(other))),
            None => return Err(PassedOver::NotAnEvent("it has no `detail-type`")),
        }
        let call =
            text("/detail/eventName").map(shown).ok_or(PassedOver::NotAnEvent("it has no `detail.eventName`"))?;
        if let Some(code) = text("/detail/errorCode").map(shown) {
            return Err(PassedOver::Failed { call, code });
        }
        // Emulators leave the first one out.
        let accounts = ["/account", "/detail/recipientAccountId", "/detail/userIdentity/accountId"];
        let Some(account) = accounts.into_iter().find_map(|pointer| text(pointer)?.parse().ok()) else {
            return Err(PassedOver::NoAccount(call));
        };
        let at = text("/detail/eventTime").or_else(|| text("/time")).and_then(|time| time.parse().ok());
        let what = if is_read(&event, &call) { What::Read } else { What::Changed(change(&event, call, at)?) };
        Ok(Self { account, request_id: text("/detail/requestID").map(shown), at, what })
    }
}

/// Whether the call changed nothing. Reads are let through by some rules, and ours must not wake us.
fn is_read(event: &Value, call: &str) -> bool {
    match event.pointer("/detail/readOnly") {
        Some(Value::Bool(read_only)) => *read_only,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => ["Get", "List", "Simulate", "Generate"].iter().any(|verb| call.starts_with(verb)),
    }
}

fn change(event: &Value, call: String, at: Option<Timestamp>) -> Result<Change, PassedOver> {
    let of = |name: &str| text(event, &format!("/detail/requestParameters/{name}"));
    let subject = if let Some(role) = of("roleName") {
        match role.parse() {
            Ok(role) => Subject::Role(role),
            Err(_) => return Err(PassedOver::BadRole { call, role: shown(role) }),
        }
    } else if ABOUT_A_ROLE.contains(&call.as_str()) {
        return Err(PassedOver::NoRole(call));
    } else if let Some(arn) = of("policyArn").filter(|_| of("userName").or(of("groupName")).is_none()) {
        if !is_arn(arn) {
            return Err(PassedOver::BadPolicy { call, policy: shown(arn) });
        }
        Subject::ManagedPolicy(arn.to_owned())
    } else {
        return Err(PassedOver::NotAboutRoles(call));
    };
    let who = |name: &str| text(event, &format!("/detail/userIdentity/{name}")).map(shown);
    let claimed = Claimed {
        // A service that acts for itself has no ARN.
        who: who("arn").or_else(|| who("invokedBy")),
        kind: who("type"),
        issuer: who("sessionContext/sessionIssuer/arn"),
        from: text(event, "/detail/sourceIPAddress").map(shown),
        at,
    };
    Ok(Change { subject, call, policy: of("policyName").map(shown), claimed })
}

/// Whether this can be the ARN of a managed policy, by which the roles that carry it are found.
fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The text that stands there, where it is text and says something.
fn text<'a>(event: &'a Value, pointer: &str) -> Option<&'a str> {
    event.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

/// What is taken over from an event: harmless, and not long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => printable(text).into_owned(),
        Some((end, _)) => format!("{}…", printable(&text[..end])),
    }
}

#[cfg(test)]
mod tests;
