//! Errors of AWS calls, sorted by what they mean for the next try, and told in words.
//!
//! Knows the SDK's error types and AWS's error codes. What must stay true: a message is one line without
//! control characters, never a debug print and never a credential.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_iam::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};

use crate::text::printable;

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
    /// The clock here is off: AWS takes what is signed by it for expired, or for not yet current.
    Clock,
    /// IAM refused the request as malformed.
    Invalid,
    /// `LimitExceeded`: no room for the policy.
    Quota,
    /// `UnmodifiableEntity`: AWS protects the role.
    Protected,
    /// `NoSuchEntity`: the role or the policy is not there.
    Gone,
    /// The writer refused to send it.
    NotSent,
    /// It could not be counted in the state directory, so it was not sent.
    NotCounted,
    /// This process may not write so long any more: another one may hold the lease before the write would have ended.
    NotLeading,
}

impl ErrorClass {
    /// Whether the same call may well succeed later with nobody doing anything.
    #[must_use]
    pub fn passes_by_itself(self) -> bool {
        matches!(self, Self::Transient | Self::Throttled | Self::NotLeading)
    }

    /// The word under which logs and plans tell this class.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "Unavailable",
            Self::Throttled => "Throttled",
            Self::Denied => "AccessDenied",
            Self::Credentials => "CredentialsRefused",
            Self::Clock => "ClockOff",
            Self::Invalid => "RefusedByIam",
            Self::Quota => "NoRoom",
            Self::Protected => "ProtectedRole",
            Self::Gone => "RoleNotFound",
            Self::NotSent => "NotSent",
            Self::NotCounted => "NotCounted",
            Self::NotLeading => "NotLeading",
        }
    }

    /// The class of an answer that refuses: that of its code, but for signatures that do not match since the clock is off,
    /// which only the message tells.
    #[must_use]
    pub fn of_answer(code: Option<&str>, message: Option<&str>, status: u16) -> Self {
        let is_about_time =
            |said: &str| said.starts_with("Signature expired") || said.starts_with("Signature not yet current");
        match Self::of_code(code, status) {
            Self::Credentials if message.is_some_and(is_about_time) => Self::Clock,
            class => class,
        }
    }

    /// The class of an error code that IAM or STS answered with, and of the HTTP status where the code is new.
    ///
    /// Source: IAM API Reference, "Common Errors" and each operation's "Errors". `LimitExceeded` (a quota)
    /// is not `LimitExceededException` (which other services use for throttling).
    #[must_use]
    pub fn of_code(code: Option<&str>, status: u16) -> Self {
        if code == Some("LimitExceededException") {
            return Self::Throttled;
        }
        match code.unwrap_or_default().trim_end_matches("Exception") {
            "Throttling"
            | "Throttled"
            | "RequestLimitExceeded"
            | "TooManyRequests"
            | "RequestThrottled"
            | "SlowDown"
            | "BandwidthLimitExceeded"
            | "PriorRequestNotComplete" => Self::Throttled,
            "AccessDenied" | "UnauthorizedOperation" | "OptInRequired" => Self::Denied,
            "ExpiredToken"
            | "InvalidClientTokenId"
            | "UnrecognizedClient"
            | "SignatureDoesNotMatch"
            | "InvalidSignature"
            | "InvalidToken"
            | "MissingAuthenticationToken"
            | "IncompleteSignature"
            | "AuthFailure" => Self::Credentials,
            "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => Self::Clock,
            "NoSuchEntity" => Self::Gone,
            "LimitExceeded" => Self::Quota,
            "UnmodifiableEntity" => Self::Protected,
            "MalformedPolicyDocument"
            | "ValidationError"
            | "InvalidInput"
            | "InvalidParameterValue"
            | "MalformedQueryString"
            // An endpoint that lacks the operation will lack it the next time too.
            | "NotImplemented" => Self::Invalid,
            "ConcurrentModification"
            | "EntityTemporarilyUnmodifiable"
            | "ServiceFailure"
            | "ServiceUnavailable"
            | "InternalFailure"
            | "InternalError"
            | "RequestTimeout" => Self::Transient,
            "" => match status {
                429 => Self::Throttled,
                401 | 403 => Self::Denied,
                _ => Self::Transient,
            },
            _ => match status {
                429 => Self::Throttled,
                401 | 403 => Self::Denied,
                400..=499 => Self::Invalid,
                _ => Self::Transient,
            },
        }
    }
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

impl IamError {
    /// An answer that came, but says what cannot be.
    pub(crate) fn contradiction(operation: &'static str, message: impl AsRef<str>) -> Self {
        Self { class: ErrorClass::Transient, operation, code: None, message: printable(message.as_ref()).into_owned() }
    }

    /// Sorts and words what the SDK reports.
    pub(crate) fn from_sdk<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let Some(asked_before) = layers(error).find_map(|layer| layer.downcast_ref::<Self>())
            && asked_before.operation == operation
        {
            // The credentials' own question was this very one, and its answer is the answer.
            return asked_before.clone();
        }
        let (class, message) = match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = answer.err().code();
                let class = ErrorClass::of_answer(code, answer.err().message(), status);
                let said = match (code, answer.err().message()) {
                    (Some(code), Some(message)) => format!("{code}: {message}"),
                    (Some(code), None) => code.to_owned(),
                    _ => format!("the endpoint answered HTTP {status} with something that is not an answer of AWS"),
                };
                (class, said)
            }
            SdkError::TimeoutError(_) => {
                (ErrorClass::Transient, "no whole answer came within the time allowed".to_owned())
            }
            SdkError::ResponseError(answer) => (
                ErrorClass::Transient,
                format!(
                    "the answer (HTTP {}) broke off or is not one of AWS: {}",
                    answer.raw().status().as_u16(),
                    innermost(error)
                ),
            ),
            _ if let Some(failure) = credentials_failure(error) => failure,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                (ErrorClass::Transient, "the connection could not be made in the time allowed".to_owned())
            }
            SdkError::DispatchFailure(_) => {
                (ErrorClass::Transient, format!("the endpoint cannot be reached: {}", innermost(error)))
            }
            _ => (ErrorClass::Invalid, format!("the request could not be made: {}", innermost(error))),
        };
        Self { class, operation, code: error.code().map(str::to_owned), message: printable(&message).into_owned() }
    }
}

/// An error and what caused it, outermost first.
fn layers<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        error.source()
    })
}

/// The cause at the bottom, on one line: the SDK's outer layers only repeat that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let cause = layers(error).last().map(ToString::to_string).unwrap_or_default();
    cause.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// What kept the call from having credentials, where that is what went wrong; STS may only have been out of reach.
fn credentials_failure(error: &(dyn Error + 'static)) -> Option<(ErrorClass, String)> {
    let lacking = layers(error).find_map(|layer| layer.downcast_ref::<CredentialsError>())?;
    if matches!(lacking, CredentialsError::CredentialsNotLoaded(_)) {
        let nowhere = "there are no AWS credentials: neither in the environment, nor in a profile, nor from web identity, a \
                       container or an instance";
        return Some((ErrorClass::Credentials, nowhere.to_owned()));
    }
    let of_sts = layers(error).find_map(|layer| {
        let ours = || layer.downcast_ref::<IamError>().cloned();
        ours()
            .or_else(|| refused::<AssumeRoleError>("AssumeRole", layer))
            .or_else(|| refused::<AssumeRoleWithWebIdentityError>("AssumeRoleWithWebIdentity", layer))
    });
    let class = of_sts.as_ref().map(|error| error.class);
    let class = class.filter(|class| class.passes_by_itself() || *class == ErrorClass::Clock);
    let why = of_sts.map_or_else(|| innermost(error), |error| error.to_string());
    Some((class.unwrap_or(ErrorClass::Credentials), format!("the AWS credentials cannot be had: {why}")))
}

/// Whether STS was asked for a role's credentials and did not accept those that it was asked with: not where it denies the
/// role to them.
pub(super) fn is_base_refused(error: &(dyn Error + 'static)) -> bool {
    let refusal = layers(error).find_map(|layer| refused::<AssumeRoleError>("AssumeRole", layer));
    refusal.is_some_and(|refusal| refusal.class == ErrorClass::Credentials)
}

/// What STS answered in place of credentials.
fn refused<E: ProvideErrorMetadata + Error + 'static>(
    operation: &'static str,
    layer: &(dyn Error + 'static),
) -> Option<IamError> {
    Some(IamError::from_sdk(operation, layer.downcast_ref::<SdkError<E, HttpResponse>>()?))
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::Credentials;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        iam::{Entrance, Iam, SdkIam},
        names::AccountId,
        sandbox::{Effect, Fault, RoleSeed, Sandbox},
    };

    /// How whoever is asked refuses what is signed by a clock that is off, and one refusal that is not about clocks.
    const OF_CLOCKS: [(&str, &str, ErrorClass); 5] = [
        (
            "SignatureDoesNotMatch",
            "Signature expired: 20261122T094500Z is now earlier than 20261122T100000Z (20261122T100500Z - 5 min.)",
            ErrorClass::Clock,
        ),
        (
            "SignatureDoesNotMatch",
            "Signature not yet current: 20261122T101500Z is still later than 20261122T100500Z (20261122T100000Z + 5 min.)",
            ErrorClass::Clock,
        ),
        (
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            ErrorClass::Clock,
        ),
        ("RequestExpired", "Request has expired.", ErrorClass::Clock),
        (
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
            ErrorClass::Credentials,
        ),
    ];

    #[tokio::test]
    async fn a_clock_that_is_off_is_known_whether_iam_says_so_or_sts() {
        let account: AccountId = "111122223333".parse().unwrap();
        let sandbox = Sandbox::new(account.clone());
        sandbox.plant(&account, RoleSeed::new("keeper").trust(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"sts:AssumeRole"}]}"#,
        ));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "sandbox"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()));
        let over_http = SdkIam::new(&config.load().await);
        let (world, stop) = (sandbox.clone(), CancellationToken::new());
        let _stopped = stop.clone().drop_guard();
        tokio::spawn(async move { world.serve(listener, stop).await });
        let entrance = Entrance {
            account: account.clone(),
            role: Some("arn:aws:iam::111122223333:role/keeper".parse().unwrap()),
            external_id: None,
            session_name: "test".to_owned(),
            region: None,
        };
        for (code, message, class) in OF_CLOCKS {
            let refuse = Effect::Refuse { status: 403, code: code.to_owned(), message: message.to_owned() };
            sandbox.clear_faults();
            sandbox.fault(Fault::new(refuse.clone()).on("GetAccountAuthorizationDetails"));
            sandbox.fault(Fault::new(refuse).on("AssumeRole"));
            let in_process = sandbox.iam(&account);
            for refused in [
                over_http.roles_page(None).await,
                in_process.roles_page(None).await,
                over_http.within(&entrance).await.roles_page(None).await,
                in_process.within(&entrance).await.roles_page(None).await,
            ] {
                assert_eq!(refused.unwrap_err().class, class, "{code}: {message}");
            }
        }
    }

    #[test]
    fn codes_are_sorted_by_what_they_mean_for_the_next_try() {
        let table = [
            (Some("Throttling"), 400, ErrorClass::Throttled),
            (Some("ThrottlingException"), 400, ErrorClass::Throttled),
            (Some("RequestLimitExceeded"), 503, ErrorClass::Throttled),
            (Some("LimitExceeded"), 409, ErrorClass::Quota),
            (Some("LimitExceededException"), 400, ErrorClass::Throttled),
            (Some("AccessDenied"), 403, ErrorClass::Denied),
            (Some("ExpiredToken"), 403, ErrorClass::Credentials),
            (Some("InvalidClientTokenId"), 403, ErrorClass::Credentials),
            (Some("NoSuchEntity"), 404, ErrorClass::Gone),
            (Some("UnmodifiableEntity"), 400, ErrorClass::Protected),
            (Some("MalformedPolicyDocument"), 400, ErrorClass::Invalid),
            (Some("ConcurrentModification"), 409, ErrorClass::Transient),
            (Some("EntityTemporarilyUnmodifiable"), 409, ErrorClass::Transient),
            (Some("ServiceFailure"), 500, ErrorClass::Transient),
            (Some("NotImplemented"), 501, ErrorClass::Invalid),
            (Some("NeverHeardOf"), 400, ErrorClass::Invalid),
            (Some("NeverHeardOf"), 403, ErrorClass::Denied),
            (None, 200, ErrorClass::Transient),
            (None, 502, ErrorClass::Transient),
            (None, 429, ErrorClass::Throttled),
        ];
        for (code, status, class) in table {
            assert_eq!(ErrorClass::of_code(code, status), class, "{code:?} {status}");
        }
    }
}
