//! What is watched, and what an event means.
//!
//! A directory that is watched by itself goes unseen once it is moved, made anew or reached through a link that is
//! swapped. So every *hinge* is watched as well: each path whose change puts something else where the manifests were.
//! What must stay true: a failure to watch is told, and costs seconds, not truth: the tick looks as well.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};

/// What an event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing: it is about something else, or about our own reading.
    Nothing,
    /// A file is being written.
    Written,
    /// A change came to its end.
    Ended,
    /// What is watched may be somewhere else now, or events were lost: watch anew, and look.
    WatchAnew,
}

/// The watches, and what they were made for.
#[derive(Debug)]
pub(super) struct Eyes {
    _watcher: Option<RecommendedWatcher>,
    sight: Sight,
    /// Why nothing is seen, if so.
    pub(super) blind: Option<String>,
}

/// What the paths lead to at a moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    /// The real path of the directory, with its device and inode.
    root: Option<(PathBuf, u64, u64)>,
    hinges: BTreeSet<PathBuf>,
}

impl Sight {
    pub(super) fn of(config_dir: &Path, controller_config: Option<&Path>) -> Self {
        let mut hinges = BTreeSet::new();
        add_hinges(config_dir, 0, &mut hinges);
        if let Some(path) = controller_config {
            add_hinges(path, 0, &mut hinges);
        }
        let root = fs::canonicalize(config_dir)
            .ok()
            .and_then(|real| fs::metadata(&real).ok().map(|is| (real, is.dev(), is.ino())));
        Self { root, hinges }
    }

    fn is_below_root(&self, path: &Path) -> bool {
        let below = self.root.as_ref().and_then(|(root, ..)| path.strip_prefix(root).ok());
        // A checkout's own bookkeeping changes all the time, and holds no manifest.
        below.is_some_and(|below| below.components().all(|part| part.as_os_str() != ".git"))
    }

    /// What the event asks for.
    pub(super) fn meaning(&self, event: &notify::Result<Event>) -> Meaning {
        let Ok(event) = event else { return Meaning::WatchAnew };
        if event.need_rescan() {
            return Meaning::WatchAnew;
        }
        let is_hinge =
            |path: &PathBuf| self.hinges.contains(path) || self.hinges.iter().any(|hinge| hinge.parent() == Some(path));
        let (hinge, below) =
            (event.paths.iter().any(is_hinge), event.paths.iter().any(|path| self.is_below_root(path)));
        if !hinge && !below {
            return Meaning::Nothing;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Meaning::Ended,
            EventKind::Access(_) => Meaning::Nothing,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) if hinge => {
                Meaning::WatchAnew
            }
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other) => Meaning::Written,
            _ => Meaning::Ended,
        }
    }
}

/// Every path whose change puts something else at `path`: itself, and each link on the way to where it leads.
fn add_hinges(path: &Path, depth: usize, hinges: &mut BTreeSet<PathBuf>) {
    const MOST_LINKS: usize = 16;
    let Ok(path) = std::path::absolute(path) else { return };
    if depth > MOST_LINKS || !hinges.insert(path.clone()) {
        return;
    }
    for part in path.ancestors() {
        if let (Ok(target), Some(parent), Ok(rest)) = (fs::read_link(part), part.parent(), path.strip_prefix(part)) {
            hinges.insert(part.to_owned());
            // The links above this one have their own turn; `..` in its target is meant from where it really stands.
            let mut led = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
            for step in target.join(rest).components() {
                match step {
                    Component::ParentDir => {
                        led.pop();
                    }
                    step => led.push(step),
                }
            }
            add_hinges(&led, depth + 1, hinges);
        }
    }
}

impl Eyes {
    /// Watches what there is to be watched now.
    pub(super) fn open(
        config_dir: &Path,
        controller_config: Option<&Path>,
        tell: &(impl Fn(notify::Result<Event>) + Clone + Send + 'static),
    ) -> Self {
        let mut sight = Sight::of(config_dir, controller_config);
        let (mut watcher, mut blind) = (None, None);
        // What was put elsewhere while the watches were made would go unseen: then they are made again. Whoever
        // swaps directories without end is left to the next look.
        for _ in 0..3 {
            match watch(&sight, tell.clone()) {
                Ok(watching) => watcher = Some(watching),
                Err(error) => blind = Some(error.to_string()),
            }
            let now = Sight::of(config_dir, controller_config);
            if now == sight || blind.is_some() {
                break;
            }
            sight = now;
        }
        Self { _watcher: watcher, sight, blind }
    }

    /// Whether the watches still are where they should be.
    pub(super) fn is_open_on(&self, sight: &Sight) -> bool {
        self.blind.is_none() && self.sight == *sight
    }

    pub(super) fn meaning(&self, event: &notify::Result<Event>) -> Meaning {
        self.sight.meaning(event)
    }
}

fn watch(sight: &Sight, tell: impl Fn(notify::Result<Event>) + Send + 'static) -> notify::Result<RecommendedWatcher> {
    // A link out of the tree must not have the world watched.
    let config = Config::default().with_follow_symlinks(false);
    let heard = move |event: notify::Result<Event>| {
        // Our own reading would wake us: it makes events too.
        let reading = matches!(&event, Ok(Event { kind: EventKind::Access(kind), .. })
            if *kind != AccessKind::Close(AccessMode::Write));
        if !reading {
            tell(event);
        }
    };
    let mut watcher = RecommendedWatcher::new(heard, config)?;
    let root = sight.root.as_ref().map(|(root, ..)| root.as_path());
    let around: BTreeSet<&Path> = sight.hinges.iter().filter_map(|hinge| hinge.parent()).collect();
    let mut watched = 0_usize;
    for directory in around {
        if root.is_some_and(|root| directory.starts_with(root)) {
            watched += 1;
            continue;
        }
        match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => watched += 1,
            Err(error) if !directory.exists() => tracing::debug!(%error, "not there to be watched"),
            Err(error) => return Err(error),
        }
    }
    match root {
        Some(root) => watcher.watch(root, RecursiveMode::Recursive)?,
        None if watched == 0 => return Err(notify::Error::path_not_found()),
        None => {}
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, RenameMode};

    use super::*;

    fn meaning(kind: EventKind, path: &str) -> Meaning {
        let sight = Sight {
            root: Some(("/srv/config".into(), 1, 1)),
            hinges: ["/srv/config".into(), "/etc/controller.yaml".into()].into(),
        };
        sight.meaning(&Ok(Event::new(kind).add_path(path.into())))
    }

    #[test]
    fn events_say_only_when_to_look() {
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert_eq!(meaning(closed, "/srv/config/a.yaml"), Meaning::Ended);
        assert_eq!(meaning(written, "/srv/config/sub/a.yaml"), Meaning::Written);
        assert_eq!(meaning(renamed, "/srv/config/..data"), Meaning::Ended);
        assert_eq!(meaning(renamed, "/srv/config"), Meaning::WatchAnew);
        assert_eq!(meaning(EventKind::Create(CreateKind::Folder), "/srv/config"), Meaning::WatchAnew);
        assert_eq!(meaning(renamed, "/etc/controller.yaml"), Meaning::WatchAnew);
        assert_eq!(meaning(written, "/etc/controller.yaml"), Meaning::Written);
    }

    #[test]
    fn what_concerns_nobody_is_not_heard() {
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(meaning(opened, "/srv/config/a.yaml"), Meaning::Nothing);
        assert_eq!(meaning(read, "/srv/config/a.yaml"), Meaning::Nothing);
        assert_eq!(meaning(written, "/srv/other.yaml"), Meaning::Nothing);
        assert_eq!(meaning(written, "/srv/config/.git/index"), Meaning::Nothing);
    }

    #[test]
    fn lost_events_and_errors_have_everything_looked_at_again() {
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(Sight::default().meaning(&Ok(lost)), Meaning::WatchAnew);
        let error = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
        assert_eq!(Sight::default().meaning(&Err(error)), Meaning::WatchAnew);
    }

    #[test]
    fn every_link_on_the_way_is_a_hinge() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("trees/1/config")).unwrap();
        std::os::unix::fs::symlink("trees/1", at("current")).unwrap();
        std::os::unix::fs::symlink("current", at("alias")).unwrap();
        let hinges = Sight::of(&at("alias/config"), None).hinges;
        for hinge in ["alias/config", "alias", "current", "trees/1/config"] {
            assert!(hinges.contains(&at(hinge)), "{hinge}: {hinges:?}");
        }
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        Sight::of(&at("loop"), None);
    }
}
