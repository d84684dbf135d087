//! The real program: started with a clean environment, listened to in the background, and ended by its own id.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything may take that a test waits for. A busy machine takes its time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The program, with none of the environment of whoever runs the tests.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ssm-role-controller"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            status: output.status.code().expect("it was ended by a signal"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Asserts the exit status, showing all that was said where it is another.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in stdout:\n{}", self.stdout))
    }
}

/// A daemon at work, with JSON logs.
pub(crate) struct Daemon {
    child: Child,
    heard: Arc<Heard>,
    listeners: Vec<JoinHandle<()>>,
    stdout: Arc<Mutex<String>>,
}

#[derive(Default)]
struct Heard {
    log: Mutex<Log>,
    news: Condvar,
}

#[derive(Default)]
struct Log {
    events: Vec<Value>,
    /// Lines that are no event; there should be none.
    strange: Vec<String>,
    taken: BTreeSet<usize>,
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (heard, stdout) = (Arc::<Heard>::default(), Arc::<Mutex<String>>::default());
        let (mut out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let listeners = vec![
            thread::spawn({
                let heard = Arc::clone(&heard);
                move || heard.listen(BufReader::new(err))
            }),
            thread::spawn({
                let stdout = Arc::clone(&stdout);
                move || {
                    let mut text = String::new();
                    let _ = out.read_to_string(&mut text);
                    *lock(&stdout) = text;
                }
            }),
        ];
        Self { child, heard, listeners, stdout }
    }

    /// Waits for an event about a role or a file, and takes it: the next call waits for the next one.
    #[track_caller]
    pub(crate) fn take(&self, event: &str, about: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        let mut log = lock(&self.heard.log);
        loop {
            let found = log
                .events
                .iter()
                .enumerate()
                .find(|(index, said)| !log.taken.contains(index) && is(said, event, about));
            if let Some((index, said)) = found.map(|(index, said)| (index, said.clone())) {
                log.taken.insert(index);
                return said;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!log.ended && !left.is_zero(), "no {event} about {about:?}; it said:\n{}", log.shown());
            log = self.heard.news.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How often an event was told about a role or a file so far.
    pub(crate) fn count(&self, event: &str, about: &str) -> usize {
        lock(&self.heard.log).events.iter().filter(|said| is(said, event, about)).count()
    }

    pub(crate) fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("bash").args(["-c", &line]).status().unwrap().success());
    }

    /// Ends it with a signal, holds it to the promise that it ends cleanly within ten seconds, and returns all that it
    /// told: JSON lines, each an event of the catalogue, and nothing on standard output.
    #[track_caller]
    pub(crate) fn stop(mut self, signal: &str) -> Vec<Value> {
        self.signal(signal);
        let status = self.ends_within(Duration::from_secs(10));
        for listener in std::mem::take(&mut self.listeners) {
            listener.join().unwrap();
        }
        let log = lock(&self.heard.log);
        assert_eq!(status.and_then(|status| status.code()), Some(0), "after SIG{signal}; it said:\n{}", log.shown());
        assert_eq!(log.strange, Vec::<String>::new());
        assert_eq!(*lock(&self.stdout), "", "data without a question");
        let catalogue = catalogue();
        for said in &log.events {
            let name = said["event"].as_str().unwrap_or_else(|| panic!("no name: {said}"));
            assert_eq!(said["level"], catalogue[name], "{said}");
            assert!(said["timestamp"].is_string() && said["message"].is_string(), "{said}");
            let is_flat = |fields: &Value| {
                fields.as_object().unwrap().values().all(|field| !field.is_object() && !field.is_array())
            };
            let mut top = said.clone();
            // The one list there is: of the two conditions of a role.
            if let Some(conditions) = top.as_object_mut().unwrap().remove("conditions") {
                assert!(conditions.as_array().unwrap().iter().all(is_flat), "{said}");
            }
            assert!(is_flat(&top), "{said}");
        }
        log.events.clone()
    }

    fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Heard {
    fn listen(&self, lines: impl BufRead) {
        for line in lines.lines().map_while(Result::ok) {
            let mut log = lock(&self.log);
            match serde_json::from_str(&line) {
                Ok(event) => log.events.push(event),
                Err(_) => log.strange.push(line),
            }
            self.news.notify_all();
        }
        lock(&self.log).ended = true;
        self.news.notify_all();
    }
}

impl Log {
    fn shown(&self) -> String {
        let events = self.events.iter().map(Value::to_string);
        events.chain(self.strange.iter().cloned()).collect::<Vec<_>>().join("\n")
    }
}

/// Whether it is this event about this role; or about this file, where it is about no role; or whatever it is about.
fn is(said: &Value, event: &str, about: &str) -> bool {
    let subject = said.get("role").or(said.get("manifest"));
    said["event"] == event && (about.is_empty() || subject.is_some_and(|subject| subject == about))
}

/// The documented events and their levels.
fn catalogue() -> Value {
    let page = include_str!("../../../docs/log-events.md");
    let table = page.lines().skip_while(|line| !line.contains("events: begin")).skip(3);
    table
        .take_while(|line| line.starts_with('|'))
        .map(|row| {
            let mut cells = row.split('|').skip(1).map(|cell| cell.trim().trim_matches('`'));
            (cells.next().unwrap().to_owned(), Value::from(cells.next().unwrap()))
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}
