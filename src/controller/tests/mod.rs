//! The loop in a world of its own, under a paused clock: whole days pass in no time, and no test hopes.

mod alerts;
mod cautions;
mod events;
mod fleet;
mod leadership;
mod pacing;
mod readings;
mod repairs;
mod resting;
mod saves;
mod selectors;
mod sessions;
mod trust;

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Controller, Options};
use crate::{
    events::Exchange,
    manifest::{ManifestSet, parse},
    names::AccountId,
    sandbox::{Effect, Fault, Lag, RoleSeed, Sandbox},
    telemetry::Captured,
};

const POLICY: &str = "SessionManagerPermissions";
const CHANNELS: &str = r#"{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}"#;
const S3: &str = r#"{"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"*"}"#;

/// How long a call may take, as with the SDK's calls for one role.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a manifest without preferences asks for.
fn right() -> String {
    document(&[CHANNELS, S3])
}

fn document(statements: &[&str]) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

fn manifest(roles: &[&str], more: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: fleet}}\nspec:\n  roles: [{}]\n{more}",
        roles.join(", ")
    )
}

const SETTINGS: &str = "---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: controller}\nspec:\n";

fn set(text: &str) -> Arc<ManifestSet> {
    let parsed = parse("fleet.yaml", text.as_bytes());
    assert_eq!(parsed.faults, []);
    let (set, faults) = ManifestSet::of([&parsed], None);
    drop(faults);
    Arc::new(set)
}

/// A controller at work on a sandbox.
struct Life {
    sandbox: Sandbox,
    account: AccountId,
    manifests: watch::Sender<Arc<ManifestSet>>,
    exchange: Exchange,
    log: Captured,
    shutdown: CancellationToken,
    running: Option<JoinHandle<()>>,
    _logging: tracing::subscriber::DefaultGuard,
}

impl Life {
    /// A world with these roles, each with this document; the controller is not started yet.
    fn with(roles: &[(&str, Option<&str>)]) -> Self {
        let account: AccountId = "111122223333".parse().unwrap();
        let sandbox = Sandbox::new(account.clone());
        for (name, document) in roles {
            let seed = RoleSeed::new(name);
            sandbox.plant(
                &account,
                match document {
                    Some(document) => seed.policy(POLICY, document),
                    None => seed,
                },
            );
        }
        let (log, logging) = Captured::on_this_thread();
        let (manifests, _) = watch::channel(Arc::default());
        let exchange = Exchange::default();
        Self {
            sandbox,
            account,
            manifests,
            exchange,
            log,
            shutdown: CancellationToken::new(),
            running: None,
            _logging: logging,
        }
    }

    fn start(mut self, text: &str) -> Self {
        self.start_with(text, Options::default());
        self
    }

    fn start_with(&mut self, text: &str, options: Options) {
        self.manifests.send_replace(set(text));
        let controller =
            Controller::new(self.sandbox.iam(&self.account).patience(PATIENCE), self.manifests.subscribe(), options);
        let controller = controller.woken_by(self.exchange.clone());
        self.running = Some(tokio::spawn(controller.run(self.shutdown.clone())));
    }

    fn save(&self, text: &str) {
        self.manifests.send_replace(set(text));
    }

    /// What a person reads in the log, without the times of day.
    fn read_aloud(&self) -> String {
        let lines = self.events().into_iter().map(|event| {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let mut line = format!("{} {}: {}", text("level"), text("event"), text("message"));
            for key in ["hint", "undo"] {
                if event[key].is_string() {
                    line.push_str(&format!("\n    {key}: {}", text(key)));
                }
            }
            line + "\n"
        });
        lines.collect()
    }

    /// Every event but those about sessions: most of these worlds are no worlds to hold a session in.
    fn events(&self) -> Vec<Value> {
        self.all_events().into_iter().filter(|event| !is_about_sessions(event)).collect()
    }

    fn all_events(&self) -> Vec<Value> {
        self.log.events()
    }

    /// The names of the events so far, with the reason where there is one, but for start and stop.
    fn told(&self) -> Vec<String> {
        let told = self.events().into_iter().filter_map(|event| {
            let name = event["event"].as_str().unwrap().to_owned();
            let reason = event["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
            (!name.starts_with("controller.st")).then(|| format!("{name}{reason}"))
        });
        told.collect()
    }

    fn calls(&self, operation: &str) -> u64 {
        self.sandbox.counts().get(operation).map_or(0, |count| count.calls)
    }

    fn writes(&self) -> u64 {
        self.calls("PutRolePolicy")
    }

    fn live(&self, role: &str) -> Option<String> {
        self.sandbox.document(&self.account, role, POLICY)
    }

    fn write(&self, role: &str, document: &str) {
        assert!(self.sandbox.write_policy(&self.account, role, POLICY, document));
    }
}

fn is_about_sessions(event: &Value) -> bool {
    event["event"].as_str().is_some_and(|name| name.starts_with("session."))
}

async fn minutes(count: u64) {
    sleep(Duration::from_secs(60 * count)).await;
}
