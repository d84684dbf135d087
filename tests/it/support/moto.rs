//! A real moto server: the second opinion on IAM that the contract is held to.
//!
//! Tests that run at the same time share one; it ends with the last of them.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use super::world::tool;

/// How long moto may take to answer its first call. Seconds are usual; a busy machine takes longer.
const START: Duration = Duration::from_secs(60);

pub(crate) struct Moto {
    server: Child,
    port: u16,
    log: tempfile::NamedTempFile,
    /// What it was asked, where it keeps that: a request in each line.
    record: Option<tempfile::NamedTempFile>,
}

static SHARED: Mutex<Weak<Moto>> = Mutex::new(Weak::new());

impl Moto {
    /// The server, started if no other test has it running.
    pub(crate) fn shared() -> Arc<Self> {
        // A test that failed to start it poisons the lock: the next one may try again.
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(moto) = shared.upgrade() {
            return moto;
        }
        let moto = Arc::new(Self::start());
        *shared = Arc::downgrade(&moto);
        moto
    }

    /// A server of a test's own, for what would disturb the others.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// The same, with a record of what it is asked.
    pub(crate) fn recording() -> Self {
        Self::start_with(Some(tempfile::NamedTempFile::new().unwrap()))
    }

    fn start_with(record: Option<tempfile::NamedTempFile>) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/moto_server");
        assert!(program.exists(), "this test needs moto, and {} is missing: run `tests/setup`", program.display());
        let log = tempfile::NamedTempFile::new().unwrap();
        let port = {
            let picked = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            picked.local_addr().unwrap().port()
        };
        let output = |file: &File| Stdio::from(file.try_clone().unwrap());
        let recorder = record.iter().flat_map(|file| {
            [("MOTO_ENABLE_RECORDING", "true".into()), ("MOTO_RECORDER_FILEPATH", file.path().as_os_str().to_owned())]
        });
        let server = Command::new(program)
            .envs(recorder)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            // What AWS has published can be attached and read there too.
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            .stdin(Stdio::null())
            .stdout(output(log.as_file()))
            .stderr(output(log.as_file()))
            .spawn()
            .unwrap();
        let mut moto = Self { server, port, log, record };
        let deadline = Instant::now() + START;
        while !moto.answers() {
            let ended = moto.server.try_wait().unwrap();
            let late = Instant::now() > deadline;
            assert!(ended.is_none() && !late, "moto did not start ({ended:?}); it said:\n{}", moto.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    fn answers(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET /moto-api/ HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut head = [0; 15];
            stream.read_exact(&mut head)?;
            Ok(String::from_utf8_lossy(&head).into_owned())
        };
        ask().is_ok_and(|head| head.contains(" 200"))
    }

    /// From now on calls are signed and allowed, or refused; or no longer.
    pub(crate) fn enforce(&self, whether: bool) {
        let (mut stream, mut answer) = (TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap(), String::new());
        let unchecked = if whether { "0" } else { "inf" };
        let head = "POST /moto-api/reset-auth HTTP/1.0\r\nHost: localhost\r\nContent-Type: text/plain";
        write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{unchecked}", unchecked.len()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }

    /// What programs of the AWS SDK for Rust have asked of IAM: operation and role, oldest first.
    pub(crate) fn calls(&self) -> Vec<(String, String)> {
        let record = self.record.as_ref().unwrap();
        let read = Command::new(tool("python")).args(["-c", include_str!("recorded.py")]).arg(record.path()).output();
        let said = String::from_utf8(read.unwrap().stdout).unwrap();
        let calls = said.lines().filter_map(|line| line.split_once(' '));
        calls.map(|(operation, role)| (operation.to_owned(), role.to_owned())).collect()
    }

    /// Its log: a line for each call that it has answered.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if std::thread::panicking() {
            eprintln!("moto said:\n{}", self.said());
        }
    }
}
