//! Bad input, by the real process against a sandbox: each with a clear message, and nothing lost or written.

mod answers;
mod conditions;
mod endings;
mod files;
mod hostile;

use std::path::{Path, PathBuf};

use ssm_role_controller::sandbox::{Effect, Fault, RoleSeed};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{
    program::{Ended, Running, finish, program},
    serving::Serving,
};

const ACCOUNT: &str = "111122223333";
const POLICY: &str = "SessionManagerPermissions";
const CHANNELS: &str = r#"{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}"#;
const S3: &str = r#"{"Effect":"Allow","Action":["s3:GetEncryptionConfiguration"],"Resource":"*"}"#;

/// How often the daemon looks in these tests.
const SETTINGS: &str = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: controller}\nspec: {resyncInterval: 1s}\n";

fn document(statements: &[&str]) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","))
}

/// What a manifest without preferences asks for.
fn right() -> String {
    document(&[CHANNELS, S3])
}

fn manifest(name: &str, roles: &[&str]) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: {name}}}\nspec:\n  roles: [{}]\n",
        roles.join(", ")
    )
}

/// A sandbox, and a directory of manifests about its roles.
struct Scene {
    serving: Serving,
    directory: TempDir,
}

impl Scene {
    /// Manifests about these roles, which exist and have no policy yet.
    async fn with(roles: &[&str]) -> Self {
        let scene = Self { serving: Serving::start(ACCOUNT).await, directory: tempfile::tempdir().unwrap() };
        for role in roles {
            scene.plant(RoleSeed::new(role));
        }
        std::fs::create_dir(scene.config()).unwrap();
        scene.save("fleet.yaml", &manifest("fleet", roles));
        scene.save("controller.yaml", SETTINGS);
        scene
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    fn save(&self, file: &str, text: &str) {
        std::fs::write(self.config().join(file), text).unwrap();
    }

    fn plant(&self, seed: RoleSeed) {
        self.serving.sandbox.plant(&self.serving.account, seed);
    }

    fn fault(&self, effect: Effect, operation: &str) {
        self.serving.sandbox.fault(Fault::new(effect).on(operation));
    }

    fn live(&self, role: &str) -> Option<String> {
        self.serving.sandbox.document(&self.serving.account, role, POLICY)
    }

    fn tamper(&self, role: &str) {
        assert!(self.serving.sandbox.remove_policy(&self.serving.account, role, POLICY));
    }

    fn calls(&self, operation: &str) -> u64 {
        self.serving.sandbox.counts().get(operation).map_or(0, |count| count.calls)
    }

    fn writes(&self) -> u64 {
        self.calls("PutRolePolicy") + self.calls("DeleteRolePolicy")
    }

    /// How the program is started here.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(&self.config(), arguments)
    }

    fn command_at(&self, config: &Path, arguments: &[&str]) -> Command {
        program(&self.serving.endpoint(), config, arguments)
    }

    async fn finish(&self, arguments: &[&str]) -> Ended {
        finish(self.command(arguments)).await
    }

    fn run(&self) -> Running {
        Running::start(self.command(&["run"]))
    }
}

/// One that fails with a message for a person: no panic, no debug print, and nothing on standard output.
#[track_caller]
fn assert_refused(ended: &Ended, saying: &[&str]) {
    assert_eq!((ended.code(), ended.out.as_str()), (1, ""), "{}", ended.err);
    assert_said(&ended.err, saying);
}

#[track_caller]
fn assert_said(text: &str, saying: &[&str]) {
    for words in saying {
        assert!(text.contains(words), "`{words}` is not said:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}
