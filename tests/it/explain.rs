//! `explain`, by the real process against a sandbox that is served over HTTP: every row of the table of symptoms
//! reproduced, and explained by the policy and the statement that decide.

mod platforms;
mod simulated;
mod symptoms;
mod unreadable;
mod words;

use std::cell::{Cell, RefCell};

use serde_json::{Value, json};
use ssm_role_controller::sandbox::RoleSeed;
use tempfile::TempDir;

use crate::support::{
    program::{Ended, finish, program},
    serving::Serving,
    world::{KEY, POLICY, manifest, meets_schema},
};

const ACCOUNT: &str = "111122223333";
const CORE: &str = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore";
const REGISTER: &str = "ssm:UpdateInstanceInformation";
const CHANNELS: [&str; 4] = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
];

/// A sandbox, manifests about its roles, and every document that `explain -o json` gave.
struct Scene {
    serving: Serving,
    directory: TempDir,
    given: Cell<usize>,
    manifests: RefCell<Vec<String>>,
}

/// What is to be seen of one check.
struct Seen<'a> {
    verdict: &'a str,
    /// The action or the name of the check.
    check: &'a str,
    reason: &'a str,
    evidence: &'a str,
    symptom: &'a str,
    remedy: &'a str,
}

impl Scene {
    async fn new() -> Self {
        let serving = Serving::start(ACCOUNT).await;
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("config")).unwrap();
        Self { serving, directory, given: Cell::default(), manifests: RefCell::default() }
    }

    /// Plants a role, and a manifest of its name about it.
    fn role(&self, seed: RoleSeed, spec: &str) {
        self.manifest(&seed.name.to_lowercase(), &format!("roles: [{}], {spec}", seed.name));
        self.plant(seed);
    }

    fn manifest(&self, name: &str, spec: &str) {
        let file = self.directory.path().join("config").join(format!("{name}.yaml"));
        std::fs::write(file, manifest(name, spec.trim_end_matches(", "))).unwrap();
        self.manifests.borrow_mut().push(name.to_owned());
    }

    fn plant(&self, seed: RoleSeed) {
        self.serving.sandbox.plant(&self.serving.account, seed);
    }

    /// Plants a managed policy of the account's own, and tells its ARN.
    fn managed(&self, name: &str, statements: &[Value]) -> String {
        self.serving.sandbox.plant_policy(&self.serving.account, name, &document(statements));
        format!("arn:aws:iam::{ACCOUNT}:policy/{name}")
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        let config = self.directory.path().join("config");
        let ended = finish(program(&self.serving.endpoint(), &config, arguments)).await;
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
        ended
    }

    /// What is said of a role under its one manifest. The exit status is 0 whatever the verdict is.
    async fn explain(&self, role: &str) -> Value {
        let (ended, explained) = self.explain_with(role, &[]).await;
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""), "{explained}");
        explained
    }

    /// The same with further arguments, however it ended.
    async fn explain_with(&self, role: &str, arguments: &[&str]) -> (Ended, Value) {
        let ended = self.run(&[&["explain", role, "-o", "json"], arguments].concat()).await;
        let file = self.directory.path().join(format!("{}.json", self.given.replace(self.given.get() + 1)));
        std::fs::write(file, &ended.out).unwrap();
        let mut explained: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        assert_eq!(explained.as_array().map(Vec::len), Some(1), "{explained}");
        (ended, explained[0].take())
    }

    /// Explains a role, and holds one check of it to what is expected, in JSON and in the text for people.
    async fn shows(&self, role: &str, expected: Seen<'_>) -> Value {
        let Seen { verdict, check: name, reason, evidence, symptom, remedy } = expected;
        let explained = self.explain(role).await;
        let found = check(&explained, name);
        assert_eq!((&explained["verdict"], &found["reason"]), (&json!(verdict), &json!(reason)), "{role}: {explained}");
        let text = self.run(&["explain", role]).await.out;
        for (key, words) in [("evidence", evidence), ("symptom", symptom), ("remedy", remedy)] {
            let said = found[key].as_str().unwrap_or_default();
            assert!(!words.is_empty() && said.contains(words), "{role}, {key}: `{words}` is not said in `{said}`");
            assert!(text.contains(said), "{role}: `{said}` is not in\n{text}");
        }
        let condition = &explained["conditions"][1];
        assert_eq!(condition["type"], "SessionReady");
        let status = if verdict == "NotReady" { "False" } else { "Unknown" };
        assert_eq!(condition["status"], status, "{condition}");
        explained
    }

    /// Every document that was given is as docs/explain.schema.json says.
    fn end(self) {
        let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/explain.schema.json");
        let given: Vec<_> =
            (0..self.given.get()).map(|number| self.directory.path().join(format!("{number}.json"))).collect();
        assert!(!given.is_empty());
        meets_schema(&schema, &given.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap();
        assert_eq!(self.serving.sandbox.counts().get("PutRolePolicy").map(|count| count.calls), None, "explain wrote");
    }
}

/// The check of this name, or about this action.
#[track_caller]
fn check<'a>(explained: &'a Value, name: &str) -> &'a Value {
    let checks = explained["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == name || check["action"] == name);
    found.unwrap_or_else(|| panic!("no check {name}: {explained}"))
}

/// The reasons of all checks that are not met, without repetition.
fn reasons(explained: &Value) -> Vec<&str> {
    let checks = explained["checks"].as_array().unwrap().iter().filter(|check| check["standing"] != "Met");
    let mut reasons: Vec<&str> = checks.map(|check| check["reason"].as_str().unwrap()).collect();
    reasons.dedup();
    reasons
}

fn statement(effect: &str, actions: &[&str], resource: &str) -> Value {
    json!({"Effect": effect, "Action": actions, "Resource": resource})
}

fn allow(actions: &[&str], resource: &str) -> Value {
    statement("Allow", actions, resource)
}

fn deny(sid: &str, actions: &[&str], resource: &str) -> Value {
    let mut denied = statement("Deny", actions, resource);
    denied["Sid"] = json!(sid);
    denied
}

fn document(statements: &[Value]) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// What a manifest with [`KEY`] asks for.
fn right() -> [Value; 3] {
    [allow(&CHANNELS, "*"), allow(&["s3:GetEncryptionConfiguration"], "*"), allow(&["kms:Decrypt"], KEY)]
}

/// A role that registers by an inline policy of its own, is held by a profile, and has these statements under our name.
fn node(name: &str, statements: &[Value]) -> RoleSeed {
    RoleSeed::new(name)
        .policy(POLICY, &document(statements))
        .policy("Register", &document(&[allow(&[REGISTER], "*")]))
        .instance_profile(name)
}
