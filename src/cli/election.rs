//! `run --leader-elect`: several processes stand ready, and only the holder of a lease writes.
//!
//! What must stay true: a build that cannot ask for a lease says so, and does not run as if it held one.

use clap::Args;
#[cfg(feature = "kubernetes")]
use tokio::task::JoinHandle;
#[cfg(feature = "kubernetes")]
use tokio_util::sync::CancellationToken;

use crate::lease::Leadership;

/// What `run` takes for an election.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Write only while holding a Lease of Kubernetes', so that several processes can stand ready: the others read
    #[arg(long, conflicts_with = "shard")]
    pub leader_elect: bool,
    /// The namespace of the Lease (default: that of the pod)
    #[arg(long, value_name = "NAMESPACE", requires = "leader_elect")]
    pub lease_namespace: Option<String>,
    /// The name of the Lease
    #[arg(long, value_name = "NAME", requires = "leader_elect", default_value = "ssm-role-controller")]
    pub lease_name: String,
}

/// An election in which this process takes part, if it does.
#[derive(Debug, Default)]
pub(super) struct Candidacy {
    #[cfg(feature = "kubernetes")]
    keeping: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Candidacy {
    /// Gives the lease up, where it is held. To be called when nothing is written any more.
    pub(super) async fn end(self) {
        #[cfg(feature = "kubernetes")]
        if let Some((keeping, stop)) = self.keeping {
            stop.cancel();
            // It tells what it does; one that has ended early has nothing to give up.
            let _ = keeping.await;
        }
    }
}

/// Stands for election where that is asked for.
///
/// # Errors
///
/// Where there is no cluster to be asked, or this build cannot ask any.
#[cfg(feature = "kubernetes")]
pub(super) async fn stand(arguments: &Arguments, seed: u64) -> anyhow::Result<(Leadership, Candidacy)> {
    use crate::lease::{Election, Keeper, KubernetesLeases, Moment, Terms};
    if !arguments.leader_elect {
        return Ok((Leadership::default(), Candidacy::default()));
    }
    let leases = KubernetesLeases::from_environment(arguments.lease_namespace.as_deref(), &arguments.lease_name).await;
    let leases = leases.map_err(|said| {
        anyhow::anyhow!(
            "there is no cluster to elect a leader in: {said}\nhint: run it in a pod whose service account's token is mounted, or name a kubeconfig in KUBECONFIG"
        )
    })?;
    let title = leases.title();
    let keeper = Keeper::new(leases, title, Election::new(identity(), Terms::default(), seed, Moment::now()));
    let (leadership, stop) = (keeper.leadership(), CancellationToken::new());
    let keeping = Some((tokio::spawn(keeper.run(stop.clone())), stop));
    Ok((leadership, Candidacy { keeping }))
}

/// Stands for election where that is asked for.
///
/// # Errors
///
/// Where it is: this build cannot.
#[cfg(not(feature = "kubernetes"))]
pub(super) async fn stand(arguments: &Arguments, _seed: u64) -> anyhow::Result<(Leadership, Candidacy)> {
    anyhow::ensure!(
        !arguments.leader_elect,
        "this build cannot ask Kubernetes for a Lease, and so cannot tell whether it may write\nhint: build it with `--features kubernetes`, as deploy/container/Containerfile does"
    );
    Ok((Leadership::default(), Candidacy::default()))
}

/// A name that no other process has: an earlier one of the same pod may still have a write on its way.
#[cfg(feature = "kubernetes")]
fn identity() -> String {
    use std::{env, fs};
    let host = || fs::read_to_string("/etc/hostname").ok();
    let name = env::var("POD_NAME").ok().or_else(host);
    let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    format!("{}_{:016x}", name.as_deref().unwrap_or("ssm-role-controller"), fastrand::u64(..))
}
