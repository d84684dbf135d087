//! Keeps the SDK from trying again by itself what IAM has throttled: whoever paces the calls has to hear of every throttle,
//! and knows when to try again.
//!
//! Knows no operation. What must stay true: every answer that [`ErrorClass::Throttled`] stands for is sent on at once.

use aws_sdk_iam::config::{
    interceptors::InterceptorContext,
    retry::{ClassifyRetry, RetryAction},
};

use super::ErrorClass;

/// Forbids the SDK's own retry of what was throttled; has no say in anything else.
#[derive(Debug)]
pub(super) struct NoRetryOfThrottles;

impl ClassifyRetry for NoRetryOfThrottles {
    fn name(&self) -> &'static str {
        "NoRetryOfThrottles"
    }

    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        // A success holds no code, and may be a page of megabytes: it is not searched for one.
        let refused = context.response().filter(|response| !response.status().is_success());
        let is_throttled = refused.is_some_and(|response| {
            // The answers used here are read into memory before they are parsed.
            let code = response.body().bytes().and_then(code);
            ErrorClass::of_code(code, response.status().as_u16()) == ErrorClass::Throttled
        });
        if is_throttled { RetryAction::RetryForbidden } else { RetryAction::NoActionIndicated }
    }
}

/// The error code of an answer in XML. The SDK has parsed it by now, but into another type for each operation.
fn code(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code.trim())
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        iam::{Iam, SdkIam},
        sandbox::{Effect, Fault, Sandbox},
    };

    #[test]
    fn the_code_is_that_of_the_answer() {
        let answer = b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code></Error></ErrorResponse>";
        assert_eq!(code(answer), Some("Throttling"));
        for other in ["", "<Code>", "<html>Code</html>"] {
            assert_eq!(code(other.as_bytes()), None);
        }
    }

    #[tokio::test]
    async fn a_throttle_is_heard_of_at_once_and_only_what_else_passes_is_tried_again() {
        let sandbox = Sandbox::new("111122223333".parse().unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let iam = SdkIam::for_endpoint(&format!("http://{}", listener.local_addr().unwrap()));
        let (world, stop) = (sandbox.clone(), CancellationToken::new());
        let _stopped = stop.clone().drop_guard();
        tokio::spawn(async move { world.serve(listener, stop).await });
        let refuse = |status, code: &str| Effect::Refuse { status, code: code.into(), message: "slow down".into() };
        let table = [
            (Effect::Throttle, ErrorClass::Throttled, 1),
            (refuse(503, "RequestLimitExceeded"), ErrorClass::Throttled, 1),
            (refuse(429, "SlowDown"), ErrorClass::Throttled, 1),
            (Effect::Unavailable, ErrorClass::Transient, 3),
        ];
        for (effect, class, sent) in table {
            sandbox.clear_calls();
            sandbox.clear_faults();
            sandbox.fault(Fault::new(effect.clone()));
            assert_eq!(iam.roles_page(None).await.unwrap_err().class, class, "{effect:?}");
            assert_eq!(sandbox.counts()["GetAccountAuthorizationDetails"].calls, sent, "{effect:?}");
        }
    }
}
