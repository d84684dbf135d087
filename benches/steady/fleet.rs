//! An account full of managed roles, the manifests that they are in sync with, and an endpoint that serves them.

use std::{
    fmt::{self, Write as _},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde_json::Value;
use ssm_role_controller::{
    names::AccountId,
    sandbox::{RoleChange, RoleSeed, Sandbox},
    watch,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// The managed policy of every role.
pub(crate) const POLICY: &str = "SessionManagerPermissions";

/// The account that all of it is in.
pub(crate) const ACCOUNT: &str = "111122223333";

/// The key of session data: in an account of its own, as where one key serves an organisation.
const KEY: &str = "arn:aws:kms:us-east-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// A managed policy of the account's own.
const OWN: &str = "arn:aws:iam::111122223333:policy/platform/BaselineForEveryServer";

/// The tag that says which of the five documents a role has.
const KIND: &str = "session-manager";

/// The trust policy of a role that EC2 and a pipeline use.
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"},{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/ci/deploy-pipeline"},"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}}]}"#;

/// How the managed documents differ among the roles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Documents {
    /// Five manifests, each for a fifth of the roles. One fifth was written by hand: it means the same as its manifest
    /// and is written in another order, with names for its statements.
    Five,
    /// The same five documents, for so many roles a manifest.
    FiveOf(usize),
    /// A manifest for every role, each with a document of its own.
    Distinct,
}

/// How many documents the first two are.
pub(crate) const FIVE: usize = 5;

impl fmt::Display for Documents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Five => formatter.write_str("5 documents"),
            Self::FiveOf(roles) => write!(formatter, "a manifest for each {roles}"),
            Self::Distinct => formatter.write_str("each its own"),
        }
    }
}

/// The name of a role, by its number: no other account has one of that name.
pub(crate) fn role(number: usize) -> String {
    format!("app-{ACCOUNT}-server-{number:05}")
}

/// The account, its manifests and its endpoint, for as long as it is held.
pub(crate) struct Fleet {
    pub(crate) sandbox: Sandbox,
    pub(crate) account: AccountId,
    config: PathBuf,
    _directory: TempDir,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
}

impl Fleet {
    /// An account of so many roles, all as their manifests want them.
    pub(crate) async fn start(roles: usize, documents: Documents, resync: &str) -> anyhow::Result<Self> {
        let account: AccountId = ACCOUNT.parse()?;
        // One deeper than the temporary directory: what else happens there is nobody's business here, and the parent of
        // the manifests is watched too.
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("config");
        fs::create_dir(&config)?;
        fs::write(config.join("controller.yaml"), controller(&format!("resyncInterval: {resync}")))?;
        fs::write(config.join("fleet.yaml"), manifests(roles, documents))?;
        let sandbox = Sandbox::new(account.clone());
        plant(&sandbox, &config, documents)?;

        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        tokio::spawn(sandbox.clone().serve(listener, stop.clone()));
        Ok(Self { sandbox, account, config, _directory: directory, address, stop })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn config_dir(&self) -> &Path {
        &self.config
    }

    /// In place of the manifests that name roles: five that pick the same ones by a tag, in every one of these accounts.
    pub(crate) fn select(&self, accounts: &[String], resync: &str) -> anyhow::Result<()> {
        let mut entries = String::new();
        for id in accounts {
            let _ =
                write!(entries, "{{id: \"{id}\", assumeRoleArn: \"arn:aws:iam::{id}:role/ssm-role-controller\"}}, ");
        }
        let spec = format!("resyncInterval: {resync}, accounts: [{entries}]");
        fs::write(self.config.join("controller.yaml"), controller(&spec))?;
        let selecting = |(index, preferences): (usize, &String)| {
            let mut text = head(&format!("fleet-{index}"), "accountIds: \"*\"", preferences);
            let _ = writeln!(text, "  selector: {{tags: {{{KIND}: \"{index}\"}}}}");
            text
        };
        fs::write(self.config.join("fleet.yaml"), five().iter().enumerate().map(selecting).collect::<String>())?;
        Ok(())
    }

    /// Lets every role be repaired within the hour.
    pub(crate) fn raise_guards(&self, resync: &str) -> anyhow::Result<()> {
        let spec = format!("resyncInterval: {resync}, guards: {{maxChangesPerHour: 100000}}");
        Ok(fs::write(self.config.join("controller.yaml"), controller(&spec))?)
    }

    /// Attaches a policy of the account's own to every role.
    pub(crate) fn attach_own(&self) {
        self.sandbox.plant_policy(&self.account, OWN, &own_policy(0));
        let change = RoleChange::default().attach(OWN);
        for role in self.sandbox.roles(&self.account) {
            self.sandbox.change_role(&self.account, &role, &change);
        }
    }

    /// Gives the policy of [`Fleet::attach_own`] a new version.
    pub(crate) fn change_own(&self, version: usize) {
        self.sandbox.write_managed(&self.account, OWN, &own_policy(version));
    }

    /// Adds a role that has no policy, and no manifest names yet.
    pub(crate) fn add_bare(&self, role: &str) {
        self.sandbox.plant(&self.account, RoleSeed::new(role));
    }

    /// How large the first page of a bulk read is.
    pub(crate) async fn page_bytes(&self) -> anyhow::Result<usize> {
        const FORM: &str =
            "Action=GetAccountAuthorizationDetails&Version=2010-05-08&Filter.member.1=Role&MaxItems=1000";
        let answer = ask(self.address, FORM).await?;
        Ok(answer.len())
    }
}

/// What an endpoint says to a form of the first account's, head and body.
pub(crate) async fn ask(address: SocketAddr, form: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261101/us-east-1/iam/aws4_request\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "to {form}: {answer}");
    Ok(answer)
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The controller's own settings.
fn controller(spec: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\n\
         metadata: {{name: controller}}\nspec: {{{spec}}}\n"
    )
}

/// The manifest of a single role that wants something else after each save.
pub(crate) fn flipped(role: &str, save: usize) -> String {
    manifest("flipped", &[role.to_owned()], &format!("{{s3EncryptionEnabled: {}}}", save.is_multiple_of(2)))
}

fn manifest(name: &str, roles: &[String], preferences: &str) -> String {
    let mut text = head(name, &format!("accountId: \"{ACCOUNT}\""), preferences);
    text.push_str("  roles:\n");
    for role in roles {
        let _ = writeln!(text, "    - {role}");
    }
    text
}

fn head(name: &str, accounts: &str, preferences: &str) -> String {
    format!(
        "---\napiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata:\n  name: {name}\n\
         spec:\n  {accounts}\n  sessionPreferences: {preferences}\n"
    )
}

/// What the five manifests want.
fn five() -> [String; FIVE] {
    [
        "{}".to_owned(),
        format!("{{kmsKeyId: {KEY}}}"),
        "{s3BucketName: audit-sessions, s3KeyPrefix: servers}".to_owned(),
        "{cloudWatchLogGroupName: /ssm/sessions, s3EncryptionEnabled: false}".to_owned(),
        format!("{{kmsKeyId: {KEY}, s3BucketName: audit-sessions, cloudWatchLogGroupName: /ssm/sessions}}"),
    ]
}

fn manifests(roles: usize, documents: Documents) -> String {
    match documents {
        Documents::Five => manifests(roles, Documents::FiveOf(roles)),
        Documents::FiveOf(most) => {
            let mut text = String::new();
            for (index, preferences) in five().iter().enumerate() {
                let fifth: Vec<String> = (index..roles).step_by(FIVE).map(role).collect();
                for (part, roles) in fifth.chunks(most).enumerate() {
                    text.push_str(&manifest(&format!("fleet-{index}-{part}"), roles, preferences));
                }
            }
            text
        }
        Documents::Distinct => (0..roles)
            .map(|number| {
                let name = role(number);
                let preferences =
                    format!("{{kmsKeyId: {KEY}, s3BucketName: audit-sessions, s3KeyPrefix: {name}, cloudWatchLogGroupName: /ssm/{name}}}");
                manifest(&name, std::slice::from_ref(&name), &preferences)
            })
            .collect(),
    }
}

/// Plants the roles that the manifests name, each with what it shall have and with what else such roles have.
fn plant(sandbox: &Sandbox, config: &Path, documents: Documents) -> anyhow::Result<()> {
    let loaded = watch::load(config, None)?;
    ensure!(loaded.faults.is_empty(), "the benchmark's own manifests: {}", loaded.faults[0]);
    let account = sandbox.account();
    for wanted in loaded.set.desired(ssm_role_controller::manifest::Whose::own(&account), None).policies.values() {
        let name = wanted.role.as_str();
        let kind = wanted.manifest.name.split('-').nth(1).unwrap_or_default();
        let by_hand = documents != Documents::Distinct && wanted.manifest.name.starts_with("fleet-4");
        let document = wanted.document.as_str();
        let document = if by_hand { rewritten(document)? } else { document.to_owned() };
        let seed = RoleSeed { trust: TRUST.to_owned(), ..RoleSeed::new(name) };
        let seed = seed
            .policy("ApplicationAccess", &application_policy(name))
            .policy(POLICY, &document)
            .attached("arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore")
            .attached("arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy")
            .attached("arn:aws:iam::aws:policy/AmazonSSMPatchAssociation")
            .instance_profile(name)
            .tag("Name", name)
            .tag("team", "platform")
            .tag("environment", "production")
            .tag(KIND, kind)
            .tag("managed-by", "infrastructure-as-code");
        sandbox.plant(&account, seed);
    }
    Ok(())
}

/// The same document as a person may have written it.
fn rewritten(document: &str) -> anyhow::Result<String> {
    let mut document: Value = serde_json::from_str(document)?;
    let statements = document["Statement"].as_array_mut().context("a list of statements")?;
    statements.reverse();
    for (index, statement) in statements.iter_mut().enumerate() {
        statement["Sid"] = format!("Statement{index}").into();
    }
    Ok(format!("{document:#}"))
}

/// What every server may do, in one version or another.
fn own_policy(version: usize) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"Describe","Effect":"Allow","Action":["ec2:DescribeTags","ec2:DescribeInstances"],"Resource":"*"}},{{"Sid":"Version{version}","Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::private-{version}/*"}}]}}"#
    )
}

/// What the application on the server needs: nobody's business here, and in every page.
fn application_policy(role: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"ReadConfiguration","Effect":"Allow","Action":["ssm:GetParameter","ssm:GetParametersByPath"],"Resource":"arn:aws:ssm:*:111122223333:parameter/{role}/*"}},{{"Sid":"ReadSecrets","Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],"Resource":"arn:aws:secretsmanager:*:111122223333:secret:{role}-*"}},{{"Sid":"Queue","Effect":"Allow","Action":["sqs:ReceiveMessage","sqs:DeleteMessage","sqs:GetQueueAttributes"],"Resource":"arn:aws:sqs:*:111122223333:{role}"}},{{"Sid":"Assets","Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::example-assets/{role}/*"}}]}}"#
    )
}
