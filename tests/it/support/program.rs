//! The program as a process of its own, in an environment that holds nothing but what a test gives it.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// How long anything may take that is waited for. Far longer than it does: machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these arguments, and an environment without AWS settings.
pub(crate) fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssm-role-controller"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The program against an endpoint, with credentials and the manifests in `config`.
pub(crate) fn program(endpoint: &str, config: &Path, arguments: &[&str]) -> Command {
    let mut command = bare(arguments);
    command.arg("--config").arg(config).env("AWS_ENDPOINT_URL", endpoint);
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// Runs a command to its end, which must come within [`PATIENCE`].
pub(crate) async fn finish(command: Command) -> Ended {
    Running::start(command).end().await
}

/// A process at work; it dies with this value.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: Text,
    err: Text,
    readers: Vec<JoinHandle<()>>,
}

type Text = Arc<Mutex<String>>;

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (out, err) = (Text::default(), Text::default());
        let readers = vec![
            collect(child.stdout.take().unwrap(), Arc::clone(&out)),
            collect(child.stderr.take().unwrap(), Arc::clone(&err)),
        ];
        Self { child, out, err, readers }
    }

    /// What it printed as data so far.
    pub(crate) fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// What it said so far.
    pub(crate) fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// The events of its JSON log so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.err().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many events of this name were told so far.
    pub(crate) fn told(&self, name: &str) -> usize {
        self.events().iter().filter(|event| event["event"] == name).count()
    }

    /// Waits until something is so.
    pub(crate) async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            let ended = self.child.try_wait().unwrap();
            // What a process said last is still on its way when it is gone.
            if ended.is_some() {
                sleep(Duration::from_millis(200)).await;
            }
            let may_wait = Instant::now() < deadline && (ended.is_none() || is_so(self));
            assert!(may_wait, "{what}: not so ({ended:?})\nstdout: {}\nstderr: {}", self.out(), self.err());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the `nth` event (counted from 1) of this name.
    pub(crate) async fn event(&mut self, name: &str, nth: usize) -> Value {
        self.until(name, |running| running.told(name) >= nth).await;
        self.events().into_iter().filter(|event| event["event"] == name).nth(nth - 1).unwrap()
    }

    /// Sends a signal: `TERM`, `INT`, `KILL`.
    pub(crate) fn signal(&self, signal: &str) {
        let Some(id) = self.child.id() else { return };
        let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks it to stop, as systemd does, and waits for its end, which must come within the promised ten seconds.
    pub(crate) async fn stop(self) -> Ended {
        let asked = Instant::now();
        self.signal("TERM");
        let ended = self.end().await;
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}: {ended:?}", asked.elapsed());
        ended
    }

    /// Waits for the end.
    pub(crate) async fn end(self) -> Ended {
        self.end_within(PATIENCE).await
    }

    pub(crate) async fn end_within(mut self, patience: Duration) -> Ended {
        let status = match timeout(patience, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("it did not end\nstdout: {}\nstderr: {}", self.out(), self.err()),
        };
        for reader in std::mem::take(&mut self.readers) {
            reader.await.unwrap();
        }
        Ended { status, out: self.out(), err: self.err() }
    }
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, text: Text) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut stream, mut line) = (BufReader::new(stream), Vec::new());
        while stream.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
            text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}
