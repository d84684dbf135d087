//! One test's world: an account of moto's that nobody else has, a directory of manifests, and the real program.
//!
//! What stands in the account is made and read back by boto3 and by the AWS CLI, never by code of this project's.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    moto::Moto,
    process::{Daemon, Finished, program},
};

/// The inline policy's customary name.
pub(crate) const POLICY: &str = "SessionManagerPermissions";

/// The key in [`documented`].
pub(crate) const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

static NEXT_ACCOUNT: AtomicU64 = AtomicU64::new(210_000_000_001);

/// A program of the tests' virtual environment.
pub(crate) fn tool(name: &str) -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin").join(name);
    assert!(tool.exists(), "{} is missing: run `tests/setup`", tool.display());
    tool
}

/// Whether the documents meet the JSON Schema, by check-jsonschema.
pub(crate) fn meets_schema(schema: &Path, documents: &[&Path]) -> Result<(), String> {
    let mut check = Command::new(tool("check-jsonschema"));
    let output = check.arg("--schemafile").arg(schema).args(documents).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said.into_owned()) }
}

pub(crate) struct World {
    pub(crate) account: String,
    directory: TempDir,
    moto: Arc<Moto>,
    keys: Vec<(String, String)>,
    boto: RefCell<Boto>,
}

struct Boto {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(&NEXT_ACCOUNT.fetch_add(1, Ordering::Relaxed).to_string())
    }

    pub(crate) fn of(account: &str) -> Self {
        Self::on(Moto::shared(), account)
    }

    /// A world on a server of the test's own.
    pub(crate) fn on(moto: Arc<Moto>, account: &str) -> Self {
        let mut child = Command::new(tool("python"))
            .args(["-c", include_str!("account.py"), &moto.endpoint(), account])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut boto = Boto { child, asks, answers };
        let given = boto.answer();
        let key = |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap().to_owned());
        let keys = given.as_object().unwrap().iter().map(key).collect();
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("config")).unwrap();
        Self { account: account.to_owned(), directory, moto, keys, boto: RefCell::new(boto) }
    }

    /// A place in the test's own directory.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    /// Saves a manifest of that name, `config/NAME.yaml`; `spec` in YAML's flow style.
    pub(crate) fn manifest(&self, name: &str, spec: &str) {
        self.write(&format!("config/{name}.yaml"), &manifest(name, spec));
    }

    /// Saves the controller's settings in the tree.
    pub(crate) fn settings(&self, spec: &str) {
        self.write("config/controller.yaml", &settings(spec));
    }

    /// Makes a role.
    pub(crate) fn role(&self, name: &str) {
        let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
        self.boto("create_role", json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()}));
    }

    /// Makes a role that has the policy.
    pub(crate) fn role_with(&self, name: &str, document: &Value) {
        self.role(name);
        self.put(name, document);
    }

    /// Makes a role with which a node can register: an instance profile holds it, and a policy of its own grants it.
    pub(crate) fn node(&self, name: &str) {
        self.role(name);
        self.boto("create_instance_profile", json!({"InstanceProfileName": name}));
        self.boto("add_role_to_instance_profile", json!({"InstanceProfileName": name, "RoleName": name}));
        let register = json!({"Effect": "Allow", "Action": "ssm:UpdateInstanceInformation", "Resource": "*"});
        self.put_as(name, "Register", &json!({"Version": "2012-10-17", "Statement": register}));
    }

    /// Makes a role with which a node can register, and that has the policy.
    pub(crate) fn node_with(&self, name: &str, document: &Value) {
        self.node(name);
        self.put(name, document);
    }

    /// Puts the policy on a role.
    pub(crate) fn put(&self, role: &str, document: &Value) {
        self.put_as(role, POLICY, document);
    }

    pub(crate) fn put_as(&self, role: &str, policy: &str, document: &Value) {
        let document = serde_json::to_string_pretty(document).unwrap();
        self.boto("put_role_policy", json!({"RoleName": role, "PolicyName": policy, "PolicyDocument": document}));
    }

    /// The policy of a role as boto3 reads it.
    pub(crate) fn document(&self, role: &str) -> Option<Value> {
        let asked = json!({"RoleName": role, "PolicyName": POLICY});
        let mut answer = self.boto.borrow_mut().ask("get_role_policy", &asked);
        match answer["error"].as_str() {
            None => Some(answer["ok"]["PolicyDocument"].take()),
            Some("NoSuchEntity") => None,
            Some(other) => panic!("{role}: {other}"),
        }
    }

    /// Everything in the account.
    pub(crate) fn dump(&self) -> Value {
        let all = ["Role", "User", "Group", "LocalManagedPolicy"];
        let dump = self.boto("get_account_authorization_details", json!({"Filter": all}));
        assert_eq!(dump["IsTruncated"], false);
        dump
    }

    #[track_caller]
    pub(crate) fn boto(&self, operation: &str, parameters: Value) -> Value {
        let mut answer = self.boto.borrow_mut().ask(operation, &parameters);
        assert_eq!(answer["error"], Value::Null, "{operation} {parameters}");
        answer["ok"].take()
    }

    /// The variables by which an AWS client finds the account.
    fn environment(&self) -> Vec<(String, String)> {
        let mut environment = self.keys.clone();
        environment.push(("AWS_ENDPOINT_URL".to_owned(), self.endpoint()));
        environment.push(("AWS_REGION".to_owned(), "us-east-1".to_owned()));
        environment.push(("AWS_DEFAULT_REGION".to_owned(), "us-east-1".to_owned()));
        environment
    }

    pub(crate) fn endpoint(&self) -> String {
        self.moto.endpoint()
    }

    /// The account's credentials: name of the variable, value.
    pub(crate) fn keys(&self) -> &[(String, String)] {
        &self.keys
    }

    /// The program with the account's environment, and its manifests unless other ones are named.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.envs(self.environment()).current_dir(self.directory.path()).args(arguments);
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        Finished::of(&mut self.program(arguments))
    }

    /// `plan -o json` with further arguments; the document is held to its schema.
    #[track_caller]
    pub(crate) fn plan(&self, arguments: &[&str]) -> (Finished, Value) {
        let finished = self.run(&[&["plan", "-o", "json"], arguments].concat());
        let plan = finished.json();
        self.hold_plan_to_schema(&plan);
        (finished, plan)
    }

    /// Asserts that a plan document is as docs/plan.schema.json says.
    #[track_caller]
    pub(crate) fn hold_plan_to_schema(&self, plan: &Value) {
        let schema: Value = serde_json::from_str(include_str!("../../../docs/plan.schema.json")).unwrap();
        let answer = self.boto.borrow_mut().ask("check", &json!({"instance": plan, "schema": schema}));
        assert_eq!(answer, json!({"ok": []}), "{plan}");
    }

    pub(crate) fn daemon(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(&mut self.program(&[&["run"], arguments].concat()))
    }

    /// A line of shell in which `aws` is the AWS CLI, set up for this account.
    #[track_caller]
    pub(crate) fn shell(&self, line: &str) -> Finished {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", tool("aws").parent().unwrap().display());
        let mut bash = Command::new("bash");
        Finished::of(bash.env_clear().env("PATH", path).envs(self.environment()).args(["-c", line]))
    }

    /// The AWS CLI.
    #[track_caller]
    pub(crate) fn aws(&self, arguments: &[&str]) -> Finished {
        let mut aws = Command::new(tool("aws"));
        let path = "/usr/local/bin:/usr/bin:/bin";
        aws.env_clear().env("PATH", path).envs(self.environment());
        Finished::of(aws.args(["--endpoint-url", &self.endpoint()]).args(arguments)).exits(0)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let boto = self.boto.get_mut();
        let _ = boto.child.kill();
        let _ = boto.child.wait();
    }
}

impl Boto {
    fn ask(&mut self, operation: &str, parameters: &Value) -> Value {
        writeln!(self.asks, "{}", json!([operation, parameters])).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("boto3 gave up, see its traceback"))
    }
}

pub(crate) fn manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata:\n  name: {name}\nspec: {{{spec}}}\n"
    )
}

pub(crate) fn settings(spec: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata:\n  name: settings\nspec: {{{spec}}}\n"
    )
}

/// The settings for which AWS documents a policy: one key for session data.
pub(crate) fn with_key(rest: &str) -> String {
    format!("{rest}, sessionPreferences: {{kmsKeyId: \"{KEY}\"}}")
}

/// AWS's documented policy for an existing role, as on its page, with a real key.
pub(crate) fn documented() -> Value {
    let page = include_str!("../../data/policies/a_existing_role.json");
    serde_json::from_str(&page.replace("key-name", KEY)).unwrap()
}

/// [`documented`] without the statement about the key.
pub(crate) fn without_key() -> Value {
    let mut document = documented();
    document["Statement"].as_array_mut().unwrap().pop();
    document
}

/// A document with one more statement.
pub(crate) fn and(mut document: Value, effect: &str, action: &str) -> Value {
    let statement = json!({"Effect": effect, "Action": action, "Resource": "*"});
    document["Statement"].as_array_mut().unwrap().push(statement);
    document
}

/// [`documented`] in other words: one scalar, another case, statements in another order and merged, a Sid.
pub(crate) fn reworded() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Key", "Effect": "Allow", "Action": "kms:decrypt", "Resource": [KEY]},
        {"Effect": "Allow", "Resource": "*", "Action": [
            "s3:GetEncryptionConfiguration", "ssmmessages:OpenDataChannel", "ssmmessages:OpenControlChannel",
            "ssmmessages:CreateDataChannel", "ssmmessages:CreateControlChannel",
        ]},
    ]})
}
