//! The store of leases that a Kubernetes cluster has: objects of the kind Lease (coordination.k8s.io/v1).
//!
//! Knows the API and nothing of what an election makes of it. What must stay true: an object is replaced only in the version
//! that was asked for, with whatever others have written to its metadata; and its times are for people, since nobody here
//! compares clocks.

use std::{
    error::Error,
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, Config, api::PostParams};

use super::{Answer, Ask, Failure, Leases, Record, Stored, Terms};
use crate::text::printable;

/// Where a pod finds the name of its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// How long a connection may take to come about. Whole questions are bounded by the keeper.
const CONNECT: Duration = Duration::from_secs(3);

/// One Lease of a cluster.
#[derive(Debug)]
pub struct KubernetesLeases {
    api: Api<Lease>,
    namespace: String,
    name: String,
    /// The object as it was answered last, for what in it is not ours.
    last: Mutex<Option<Lease>>,
}

impl KubernetesLeases {
    /// The Lease of this name in this namespace (else in that of the pod, else in that of the kubeconfig), in the cluster that
    /// `KUBECONFIG` names, or that the pod is in. Nothing is asked of it yet.
    ///
    /// # Errors
    ///
    /// Where there is no cluster to be asked, in words.
    pub async fn from_environment(namespace: Option<&str>, name: &str) -> Result<Self, String> {
        let mut config = Config::infer().await.map_err(|error| in_words(&error))?;
        config.connect_timeout = Some(CONNECT);
        // The proxy of the environment leads to AWS; the API server is near.
        config.proxy_url = None;
        let own = || fs::read_to_string(NAMESPACE_FILE).ok().map(|text| text.trim().to_owned());
        let namespace = namespace.map(str::to_owned).or_else(own).unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| in_words(&error))?;
        Ok(Self { api: Api::namespaced(client, &namespace), namespace, name: name.to_owned(), last: Mutex::default() })
    }

    /// Namespace and name, for messages.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn last(&self) -> MutexGuard<'_, Option<Lease>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object that holds this record; made from the one of that version, where that was answered last.
    fn object(&self, record: &Record, version: Option<&str>) -> Lease {
        let known = self.last().clone();
        let known = known.filter(|lease| version.is_some() && lease.metadata.resource_version.as_deref() == version);
        let mut lease = known.unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        lease.metadata.namespace = Some(self.namespace.clone());
        lease.metadata.resource_version = version.map(str::to_owned);
        let now = MicroTime(jiff::Timestamp::now());
        let before = lease.spec.take().unwrap_or_default();
        let is_renewal = before.holder_identity.as_deref() == Some(&record.holder);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(record.holder.clone()),
            lease_duration_seconds: Some(i32::try_from(record.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: before.acquire_time.filter(|_| is_renewal).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(i32::try_from(record.transitions).unwrap_or(i32::MAX)),
            ..LeaseSpec::default()
        });
        lease
    }

    /// What is answered where the object is this one.
    fn holds(&self, lease: Lease) -> Answer {
        let Some(version) = lease.metadata.resource_version.clone().filter(|version| !version.is_empty()) else {
            return Answer::Failed(Failure {
                message: "the answer cannot be used: it holds no resourceVersion".to_owned(),
                hint: "see whether it is Kubernetes that answers there".to_owned(),
                needs_a_person: true,
            });
        };
        let record = record(lease.spec.clone().unwrap_or_default());
        *self.last() = Some(lease);
        Answer::Holds(Stored { record, version })
    }

    fn failed(&self, error: &kube::Error) -> Answer {
        let (code, message) = match error {
            kube::Error::Api(status) => (status.code, printable(&status.message).into_owned()),
            other => (0, in_words(other)),
        };
        let title = self.title();
        let hint = match code {
            401 => "see that the service account's token is mounted and accepted".to_owned(),
            403 => {
                format!("allow the service account to get, create and update the Lease {title}: see deploy/kubernetes")
            }
            404 => format!("see that the namespace of {title} exists"),
            _ => "check the way to the API server if it lasts; it is tried again".to_owned(),
        };
        Answer::Failed(Failure { message, hint, needs_a_person: matches!(code, 400..=428) })
    }
}

/// What the object's spec says. Whatever is missing or makes no sense is read so that the lease is left alone for longer.
fn record(spec: LeaseSpec) -> Record {
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: seconds.filter(|seconds| *seconds > 0).map_or(Terms::default().duration, Duration::from_secs),
        transitions: spec.lease_transitions.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
    }
}

impl Leases for KubernetesLeases {
    async fn ask(&self, ask: &Ask) -> Answer {
        let params = PostParams::default();
        let answered = match ask {
            Ask::Look => match self.api.get_opt(&self.name).await {
                Ok(None) => return Answer::HoldsNothing,
                Ok(Some(lease)) => Ok(lease),
                Err(error) => Err(error),
            },
            Ask::Create(record) => self.api.create(&params, &self.object(record, None)).await,
            Ask::Replace { record, version } => {
                self.api.replace(&self.name, &params, &self.object(record, Some(version))).await
            }
        };
        match answered {
            Ok(lease) => self.holds(lease),
            // Somebody has made it, changed it, or taken it away.
            Err(kube::Error::Api(status)) if status.code == 409 => Answer::Conflict,
            Err(kube::Error::Api(status)) if status.code == 404 && matches!(ask, Ask::Replace { .. }) => {
                Answer::Conflict
            }
            Err(error) => self.failed(&error),
        }
    }
}

/// An error with all that it came from, as one line.
fn in_words(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said = format!("{said}: {cause_said}");
        }
        source = cause.source();
    }
    printable(&said).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_lease_does_not_say_or_says_wrongly_has_it_left_alone_for_as_long_as_any() {
        for seconds in [None, Some(0), Some(-7)] {
            let spec =
                LeaseSpec { lease_duration_seconds: seconds, lease_transitions: Some(-1), ..LeaseSpec::default() };
            let read = record(spec);
            assert_eq!((read.duration, read.transitions), (Terms::default().duration, 0), "{seconds:?}");
            assert_eq!(read.holder, "");
        }
        let spec = LeaseSpec {
            holder_identity: Some("keeper-0_1".to_owned()),
            lease_duration_seconds: Some(60),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        };
        let expected = Record { holder: "keeper-0_1".to_owned(), duration: Duration::from_secs(60), transitions: 3 };
        assert_eq!(record(spec), expected);
    }
}
