//! No credential is ever told: not in logs, not as data, not where a call fails, and not by somebody else's crate that
//! `RUST_LOG` made talkative. And the sandbox, which asks nobody for credentials, listens to this machine alone.

use std::{net::SocketAddr, path::Path};

use ssm_role_controller::sandbox::{Effect, Fault, RoleSeed};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinSet,
};

use crate::support::{
    program::{Running, bare, finish},
    serving::Serving,
};

const ACCOUNT: &str = "111122223333";
const POLICY: &str = "SessionManagerPermissions";

/// Not a secret: it names the key.
const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";

/// Found nowhere else, and such as a credential may look like.
const SECRET: &str = "MARKEDsecretACCESSkey/wJalrXUtnFEMI+K7MDENG";
const SESSION: &str = "MARKEDsessionTOKEN//IQoJb3JpZ2luX2VjEXAMPLE==";
const IDENTITY: &str = "MARKEDwebIDENTITYtoken.eyJhbGciOiJSUzI1NiJ9.c2lnbmF0dXJl";
const PROCESS: &str = "MARKEDprocessSECRETkey0123456789abcdefghij";
const PROFILE: &str = "MARKEDprofileSECRETkey0123456789abcdefghij";

/// What is looked for in all that is said: the core of each, however its ends are escaped or cut.
const MARKS: [&str; 5] = [
    "MARKEDsecretACCESSkey",
    "MARKEDsessionTOKEN",
    "MARKEDwebIDENTITYtoken",
    "MARKEDprocessSECRET",
    "MARKEDprofileSECRET",
];

/// A sandbox with a role in drift, and a manifest about it.
struct Scene {
    serving: Serving,
    giver: SocketAddr,
    directory: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let (serving, giver) = (Serving::start(ACCOUNT).await, giver().await);
        let scene = Self { serving, giver, directory: tempfile::tempdir().unwrap() };
        scene.serving.sandbox.plant(&scene.serving.account, RoleSeed::new("web"));
        let head = "apiVersion: ssm-role-controller.dev/v1alpha1\n";
        let fleet = "kind: SessionManagerPermissions\nmetadata: {name: fleet}\nspec: {roles: [web]}\n";
        let settings = "kind: ControllerConfiguration\nmetadata: {name: controller}\nspec: {resyncInterval: 1s}\n";
        std::fs::create_dir(scene.at("config")).unwrap();
        std::fs::write(scene.at("config/fleet.yaml"), format!("{head}{fleet}")).unwrap();
        std::fs::write(scene.at("config/controller.yaml"), format!("{head}{settings}")).unwrap();
        scene
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn tamper(&self) {
        self.serving.sandbox.remove_policy(&self.serving.account, "web", POLICY);
    }

    /// The program, as talkative as its environment can make it.
    fn command(&self, source: Source, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.arg("--config").arg(self.at("config")).env("AWS_ENDPOINT_URL", self.serving.endpoint());
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").env("AWS_REGION", "us-east-1");
        source.set(&mut command, self.directory.path(), self.giver);
        command
    }
}

/// Where the credentials come from.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    Environment,
    /// A token from a file, which STS changes for credentials.
    WebIdentity,
    /// An endpoint that wants a token and answers with credentials, as ECS and EKS have it.
    Container,
    Process,
    Profile,
}

impl Source {
    const ALL: [Self; 5] = [Self::Environment, Self::WebIdentity, Self::Container, Self::Process, Self::Profile];

    fn set(self, command: &mut Command, directory: &Path, giver: SocketAddr) {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        match self {
            Self::Environment => {
                command.env("AWS_ACCESS_KEY_ID", KEY_ID);
                command.env("AWS_SECRET_ACCESS_KEY", SECRET).env("AWS_SESSION_TOKEN", SESSION);
            }
            Self::WebIdentity => {
                command.env("AWS_WEB_IDENTITY_TOKEN_FILE", write("token", IDENTITY.to_owned()));
                command.env("AWS_ROLE_ARN", format!("arn:aws:iam::{ACCOUNT}:role/controller"));
                command.env("AWS_ENDPOINT_URL_STS", format!("http://{giver}"));
            }
            Self::Container => {
                command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{giver}/credentials"));
                command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", IDENTITY);
            }
            Self::Process => {
                let given = format!(
                    r#"{{"Version":1,"AccessKeyId":"{KEY_ID}","SecretAccessKey":"{PROCESS}","SessionToken":"{SESSION}"}}"#
                );
                let given = write("given.json", given);
                let profile = format!("[default]\ncredential_process = /bin/cat {}\n", given.display());
                command.env("AWS_CONFIG_FILE", write("config.ini", profile));
            }
            Self::Profile => {
                let profile = format!(
                    "[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {PROFILE}\naws_session_token = {SESSION}\n"
                );
                command.env("AWS_SHARED_CREDENTIALS_FILE", write("credentials.ini", profile));
            }
        }
    }
}

/// Gives credentials to whoever asks: as a container's endpoint does, and as STS does.
async fn giver() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(give(stream));
        }
    });
    address
}

/// One request and its answer. Whoever asks may go away at any moment.
async fn give(stream: TcpStream) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length, mut asked) = (String::new(), 0, String::new());
    while stream.read_line(&mut line).await.ok()? > 2 {
        asked.push_str(&line);
        length =
            line.to_ascii_lowercase().strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    asked.push_str(&String::from_utf8_lossy(&body));
    let (kind, answer) = if asked.starts_with("GET ") {
        let given = format!(
            r#"{{"AccessKeyId":"{KEY_ID}","SecretAccessKey":"{SECRET}","Token":"{SESSION}","Expiration":"2099-01-01T00:00:00Z"}}"#
        );
        ("application/json", given)
    } else if asked.contains("AssumeRoleWithWebIdentity") {
        let given = format!(
            "<AccessKeyId>{KEY_ID}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{SESSION}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
        );
        ("text/xml", sts("AssumeRoleWithWebIdentity", &format!("<Credentials>{given}</Credentials>")))
    } else {
        let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/controller/web");
        ("text/xml", sts("GetCallerIdentity", &format!("<Arn>{arn}</Arn><Account>{ACCOUNT}</Account>")))
    };
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close", answer.len());
    stream.write_all(format!("{head}\r\n\r\n{answer}").as_bytes()).await.ok()
}

fn sts(operation: &str, result: &str) -> String {
    let inner = format!("<{operation}Result>{result}</{operation}Result>");
    format!(r#"<{operation}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{inner}</{operation}Response>"#)
}

#[track_caller]
fn assert_no_mark(what: &str, said: &str) {
    // Else it would prove nothing: this much is only said where `RUST_LOG` asks for it.
    assert!(said.contains("\"TRACE\""), "{what} is not talkative: {said}");
    for mark in MARKS {
        let line = said.lines().find(|line| line.contains(mark));
        assert_eq!(line, None, "{what} tells {mark}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_is_told_by_any_command_wherever_it_comes_from_and_however_iam_fails() {
    let mut sources: JoinSet<()> = Source::ALL.into_iter().map(no_credential_is_told).collect();
    while let Some(ended) = sources.join_next().await {
        ended.unwrap();
    }
}

async fn no_credential_is_told(source: Source) {
    let scene = Scene::new().await;
    for arguments in [&["plan", "-o", "json"][..], &["apply"]] {
        let ended = finish(scene.command(source, arguments)).await;
        // What has no credentials cannot tell them.
        assert!(ended.code() == if arguments[0] == "plan" { 2 } else { 0 }, "{source:?}: {ended:?}");
        assert_no_mark(&format!("{arguments:?} with credentials of {source:?}"), &(ended.out + &ended.err));
    }
    for effect in [Effect::Deny, Effect::ExpiredToken, Effect::Html, Effect::Cut] {
        scene.tamper();
        for operation in ["GetCallerIdentity", "GetAccountAuthorizationDetails", "PutRolePolicy"] {
            // Not for ever: `apply` puts up with a minute of what may pass.
            scene.serving.sandbox.fault(Fault::new(effect.clone()).on(operation).times(1));
        }
        for arguments in [["plan"], ["apply"]] {
            let ended = finish(scene.command(source, &arguments)).await;
            let what = format!("{arguments:?} with {effect:?} and credentials of {source:?}");
            assert_no_mark(&what, &(ended.out + &ended.err));
        }
        scene.serving.sandbox.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_tells_no_credential_while_all_goes_well_and_while_it_does_not() {
    let scene = Scene::new().await;
    let mut running = Running::start(scene.command(Source::WebIdentity, &["run"]));
    running.event("drift.repaired", 1).await;
    for (nth, effect) in [Effect::Deny, Effect::ExpiredToken, Effect::Html].into_iter().enumerate() {
        scene.serving.sandbox.fault(Fault::new(effect));
        running.event("read.failed", nth + 1).await;
        scene.serving.sandbox.clear_faults();
        running.event("read.recovered", nth + 1).await;
    }
    let ended = running.stop().await;
    assert_no_mark("run", &(ended.out + &ended.err));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_listens_to_this_machine_alone_unless_told() {
    // What its command line says where nobody says anything: the port may be another's while tests run.
    let said = finish(bare(&["sandbox", "--help"])).await.out;
    assert!(said.contains("[default: 127.0.0.1:4566]"), "{said}");
    for (listen, loopback) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
        let mut running = Running::start(bare(&["sandbox", "--listen", listen]));
        running.until("it listens", |running| running.out().contains("listens on http://")).await;
        assert_eq!(address(&running.out()).ip().is_loopback(), loopback, "{}", running.out());
        running.stop().await;
    }
    let mut demo = Running::start(bare(&["demo", "--config", "config"]));
    demo.until("it listens", |demo| demo.out().contains("http://")).await;
    assert!(address(&demo.out()).ip().is_loopback(), "{}", demo.out());
    demo.stop().await;
}

fn address(said: &str) -> SocketAddr {
    let after = said.split("http://").nth(1).unwrap();
    let end = after.find(|character: char| !(character.is_ascii_digit() || ".:[]".contains(character)));
    after[..end.unwrap_or(after.len())].parse().unwrap_or_else(|error| panic!("{error}: {said}"))
}
