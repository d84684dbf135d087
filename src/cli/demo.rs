//! `demo`: the whole of it with no AWS account. An IAM endpoint in the process, the daemon against it over HTTP, and
//! somebody who tampers with a role every few seconds.

use std::{net::SocketAddr, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Ended, Global, OK, print, run, sandbox, until_signal};
use crate::{
    controller::Options,
    events::Exchange,
    iam::SdkIam,
    sandbox::{Sandbox, demo},
    server::Endpoints,
};

/// Long enough to read what the repair before was about.
const BETWEEN_ACTS: Duration = Duration::from_secs(6);

/// IAM is read far more often than anybody would in earnest, so that drift is seen as soon as it is made.
const RESYNC: Duration = Duration::from_secs(1);

/// Shows the main job until Ctrl-C.
///
/// # Errors
///
/// As the daemon's, and where no port is free.
pub async fn demo(global: &Global, endpoints: &Endpoints) -> Ended {
    endpoints.check().map_err(anyhow::Error::msg)?;
    let shutdown = until_signal()?;
    let sandbox = demo::sandbox(sandbox::account()?);
    let (listener, url) = sandbox::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let (world, stop) = (sandbox.clone(), CancellationToken::new());
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { world.serve(listener, stop).await }
    });
    print(&welcome(&url, global))?;

    let acting = tokio::spawn(play(sandbox));
    let options =
        Options { observe_only: global.observe, resync_interval: Some(RESYNC), seed: 1, ..Options::default() };
    let (iam, exchange) = (SdkIam::for_endpoint(&url), Exchange::default());
    let kept = run::keep(iam, exchange, global, options, endpoints, shutdown).await;
    acting.abort();
    // The endpoint outlives the daemon, whose last writes it answers.
    stop.cancel();
    let _ = serving.await;
    kept?;
    print("\nThe demo has ended; nothing is left behind.")?;
    Ok(OK)
}

fn welcome(url: &str, global: &Global) -> String {
    format!(
        "This is ssm-role-controller against an IAM of its own: no AWS account is involved.\n\
         The account holds roles in every state; the manifests are those in {config}/. Below are the daemon's log lines,\n\
         and, marked with >>, what somebody does to a role every few seconds.\n\n\
         Tamper with a role yourself (the AWS CLI talks to the demo's endpoint):\n\n  {tamper}\n\n\
         Change a manifest and see it take effect at once: edit {config}/web-fleet.yaml, for example\n\
         add `mode: observe` below `spec:`. Ctrl-C ends the demo.\n",
        config = global.config.display(),
        tamper = sandbox::tamper_line(url),
    )
}

/// Somebody does something to a role, again and again.
async fn play(sandbox: Sandbox) {
    let mut step = 0;
    loop {
        sleep(BETWEEN_ACTS).await;
        let did = demo::tamper(&sandbox, step);
        if print(&format!("\n>> {did}")).is_err() {
            return;
        }
        step += 1;
    }
}
