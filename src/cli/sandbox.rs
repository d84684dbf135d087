//! `sandbox`: the demo's IAM endpoint alone, for trying things against it.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use super::{Ended, OK, print, until_signal};
use crate::{names::AccountId, sandbox::demo};

/// The account of the demo's manifests in `config/`.
const ACCOUNT: &str = "111122223333";

/// What the AWS CLI needs to talk to the sandbox, which checks no signature.
const CREDENTIALS: &str = "AWS_ACCESS_KEY_ID=sandbox AWS_SECRET_ACCESS_KEY=sandbox AWS_DEFAULT_REGION=us-east-1";

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// Where the address cannot be listened on.
pub async fn sandbox(listen: SocketAddr) -> Ended {
    let shutdown = until_signal()?;
    let sandbox = demo::sandbox(account()?);
    let (listener, url) = bind(listen).await?;
    print(&format!(
        "An IAM endpoint with the demo's account {ACCOUNT} listens on {url} (Ctrl-C ends it). For example:\n\n  \
         {CREDENTIALS} AWS_ENDPOINT_URL={url} ssm-role-controller plan\n"
    ))?;
    sandbox.serve(listener, shutdown).await?;
    Ok(OK)
}

pub(super) fn account() -> anyhow::Result<AccountId> {
    Ok(ACCOUNT.parse()?)
}

/// The one line by which a person tampers with a role of the sandbox.
pub(super) fn tamper_line(url: &str) -> String {
    format!(
        "{CREDENTIALS} aws --endpoint-url {url} iam delete-role-policy --role-name bastion --policy-name SessionManagerPermissions"
    )
}

pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("{address} cannot be listened on\nhint: name another with --listen, or port 0 for a free one")
    })?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}
