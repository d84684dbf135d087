//! Looks at the files whenever there is a reason to: an event that has settled, or the tick.
//!
//! What must stay true: [`Watcher::changed`] may be dropped at any await and called again, and loses nothing; the
//! files are read and judged off the runtime's own threads.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use notify::Event;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    eyes::{Eyes, Meaning, Sight},
    scan::{ScanError, scan},
    settling::Settling,
};
use crate::{
    manifest::{Standing, Verdict},
    text::printable,
};

/// How often is looked where nothing can be watched.
const BLIND_TICK: Duration = Duration::from_secs(2);
/// So many events may wait: if there are more, everything is looked at anyway.
const MOST_EVENTS: usize = 1024;

/// What happened to the watching itself, told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The directory cannot be read any more: what was in force stays in force.
    Vanished(String),
    /// The directory can be read again.
    Returned,
    /// There is no manifest in the directory.
    Empty,
    /// Files cannot be watched: they are read every two seconds instead.
    Polling(String),
    /// Files can be watched again.
    Watching,
}

impl fmt::Display for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vanished(why) => write!(formatter, "{why}; what was in force stays in force"),
            Self::Returned => formatter.write_str("the directory of manifests is there again"),
            Self::Empty => formatter.write_str("there is no manifest in the directory: nothing is managed"),
            Self::Polling(why) => write!(
                formatter,
                "files cannot be watched ({}); they are read every {} seconds instead",
                printable(why),
                BLIND_TICK.as_secs()
            ),
            Self::Watching => formatter.write_str("files are watched again"),
        }
    }
}

/// News of the files.
#[derive(Debug, Clone)]
pub struct Change {
    /// What is in force now, and what was accepted, rejected or removed; none if only the watching changed.
    pub verdict: Option<Verdict>,
    /// What happened to the watching.
    pub notices: Vec<Notice>,
}

/// Watches a directory of manifests and the file of `--controller-config`.
#[derive(Debug)]
pub struct Watcher {
    /// None while a look is under way: it is with the thread that looks.
    looker: Option<Looker>,
    looking: Option<JoinHandle<(Looker, Result<Change, ScanError>)>>,
    heard: mpsc::Receiver<notify::Result<Event>>,
    settling: Settling,
    watch_anew: bool,
    tick: Duration,
    next_tick: Instant,
}

impl Watcher {
    /// Reads the files for the first time, and begins to watch them. `tick` is how often they are read without a
    /// reason.
    ///
    /// # Errors
    ///
    /// If the directory is not there or cannot be read.
    pub async fn start(
        config_dir: &Path,
        controller_config: Option<&Path>,
        tick: Duration,
    ) -> Result<(Self, Change), ScanError> {
        let (tell, heard) = mpsc::channel(MOST_EVENTS);
        let looker = Looker {
            config_dir: config_dir.to_owned(),
            controller_config: controller_config.map(Path::to_owned),
            eyes: None,
            ear: Ear { tell, lost: Arc::default() },
            standing: Standing::default(),
            state: State::default(),
        };
        let mut watcher = Self {
            looker: Some(looker),
            looking: None,
            heard,
            settling: Settling::default(),
            watch_anew: false,
            tick,
            next_tick: Instant::now(),
        };
        watcher.look();
        let change = watcher.seen().await?;
        Ok((watcher, change))
    }

    /// Waits for the next news. Cancel safe.
    pub async fn changed(&mut self) -> Change {
        loop {
            if self.looking.is_none() {
                self.reason().await;
                self.look();
            }
            // Whatever kept a look from succeeding is among the notices.
            if let Ok(change) = self.seen().await
                && (!change.notices.is_empty() || change.verdict.is_some())
            {
                return change;
            }
        }
    }

    /// Waits until there is a reason to look.
    async fn reason(&mut self) {
        loop {
            if self.looker.as_ref().is_some_and(|looker| looker.ear.lost.swap(false, Ordering::Relaxed)) {
                self.watch_anew = true;
                self.settling.ended([], Instant::now());
            }
            // The tick waits for whoever is writing: settling takes a second at most.
            let due = self.settling.due().unwrap_or(self.next_tick);
            if Instant::now() >= due {
                return;
            }
            tokio::select! {
                biased;
                Some(event) = self.heard.recv() => self.hear(&event),
                () = sleep_until(due) => return,
            }
        }
    }

    fn hear(&mut self, event: &notify::Result<Event>) {
        let Some(eyes) = self.looker.as_ref().and_then(|looker| looker.eyes.as_ref()) else { return };
        let meaning = eyes.meaning(event);
        let paths = event.iter().flat_map(|event| event.paths.iter().map(PathBuf::as_path));
        match meaning {
            Meaning::Nothing => {}
            Meaning::Written => self.settling.written(paths, Instant::now()),
            Meaning::Ended => self.settling.ended(paths, Instant::now()),
            Meaning::WatchAnew => {
                self.watch_anew = true;
                self.settling.ended(paths, Instant::now());
            }
        }
    }

    /// Begins a look.
    fn look(&mut self) {
        let Some(mut looker) = self.looker.take() else { return };
        self.settling = Settling::default();
        let watch_anew = std::mem::take(&mut self.watch_anew);
        self.looking = Some(tokio::task::spawn_blocking(move || {
            let change = looker.look(watch_anew);
            (looker, change)
        }));
    }

    /// Waits for the look that is under way.
    async fn seen(&mut self) -> Result<Change, ScanError> {
        let Some(looking) = &mut self.looking else { return std::future::pending().await };
        let outcome = looking.await;
        self.looking = None;
        match outcome {
            Ok((looker, change)) => {
                let blind = looker.eyes.as_ref().is_none_or(|eyes| eyes.blind.is_some());
                let pause = if blind { self.tick.min(BLIND_TICK) } else { self.tick };
                self.next_tick = Instant::now() + pause;
                self.looker = Some(looker);
                change
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down: nobody will ask again.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Where events arrive, on a thread of their own.
#[derive(Debug, Clone)]
struct Ear {
    tell: mpsc::Sender<notify::Result<Event>>,
    lost: Arc<AtomicBool>,
}

/// Does the looking, off the runtime's own threads.
#[derive(Debug)]
struct Looker {
    config_dir: PathBuf,
    controller_config: Option<PathBuf>,
    eyes: Option<Eyes>,
    ear: Ear,
    standing: Standing,
    state: State,
}

/// What was told of the watching last.
#[derive(Debug, Default)]
struct State {
    begun: bool,
    vanished: bool,
    empty: bool,
    polling: bool,
}

impl Looker {
    fn look(&mut self, watch_anew: bool) -> Result<Change, ScanError> {
        let mut notices = Vec::new();
        // Watched first, then read: what changes in between is heard.
        self.open_eyes(watch_anew, &mut notices);
        let verdict = match scan(&self.config_dir, self.controller_config.as_deref()) {
            Ok(files) => {
                if std::mem::take(&mut self.state.vanished) {
                    notices.push(Notice::Returned);
                }
                let empty = files.tree.is_empty();
                if empty && !self.state.empty {
                    notices.push(Notice::Empty);
                }
                self.state.empty = empty;
                let first = !std::mem::replace(&mut self.state.begun, true);
                Some(self.standing.take(files)).filter(|verdict| first || verdict.is_news())
            }
            Err(error) => {
                if self.state.vanished || !self.state.begun {
                    return Err(error);
                }
                self.state.vanished = true;
                notices.push(Notice::Vanished(error.to_string()));
                None
            }
        };
        Ok(Change { verdict, notices })
    }

    fn open_eyes(&mut self, watch_anew: bool, notices: &mut Vec<Notice>) {
        let (config_dir, controller_config) = (&self.config_dir, self.controller_config.as_deref());
        let sight = Sight::of(config_dir, controller_config);
        if !watch_anew && self.eyes.as_ref().is_some_and(|eyes| eyes.is_open_on(&sight)) {
            return;
        }
        let Ear { tell, lost } = self.ear.clone();
        let eyes = Eyes::open(config_dir, controller_config, &move |event| {
            if tell.try_send(event).is_err() {
                lost.store(true, Ordering::Relaxed);
            }
        });
        match &eyes.blind {
            Some(why) if !self.state.polling => notices.push(Notice::Polling(why.clone())),
            None if self.state.polling => notices.push(Notice::Watching),
            _ => {}
        }
        self.state.polling = eyes.blind.is_some();
        self.eyes = Some(eyes);
    }
}
