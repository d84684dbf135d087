//! What several test modules share: servers to talk to, and clients that talk to them.

pub(crate) mod moto;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod serving;
pub(crate) mod world;

use aws_sdk_iam::config::{
    BehaviorVersion, Credentials, Region, http::HttpResponse, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use std::time::Duration;

/// AWS's own clients, for one endpoint and one credential. They try once: a test wants to see what was answered.
pub(crate) struct Clients {
    pub(crate) iam: aws_sdk_iam::Client,
    pub(crate) sts: aws_sdk_sts::Client,
}

impl Clients {
    pub(crate) fn new(endpoint: &str) -> Self {
        Self::with(endpoint, Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "tests"))
    }

    pub(crate) fn with(endpoint: &str, credentials: Credentials) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_secs(10)).build();
        let iam = aws_sdk_iam::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.clone())
            .credentials_provider(credentials.clone())
            .build();
        let sts = aws_sdk_sts::Config::builder()
            .behavior_version(aws_sdk_sts::config::BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .credentials_provider(credentials)
            .build();
        Self { iam: aws_sdk_iam::Client::from_conf(iam), sts: aws_sdk_sts::Client::from_conf(sts) }
    }
}

/// How a call was refused: status, code, message.
pub(crate) fn refusal<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> (u16, String, String)
where
    T: std::fmt::Debug,
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = result.expect_err("the call was accepted");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (status, text(error.code()), text(error.message()))
}

/// Status and code of a refusal.
pub(crate) fn code<T, E>(result: Result<T, SdkError<E, HttpResponse>>) -> (u16, String)
where
    T: std::fmt::Debug,
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (status, code, _) = refusal(result);
    (status, code)
}
