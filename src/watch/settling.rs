//! How long to wait after a file was touched before it is read: until whoever writes seems to be done.
//!
//! Knows kinds of events and moments, no files. What must stay true: it never waits longer than [`LONGEST`] in all,
//! however busy the files are.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

/// After something that ends a change: a file closed, renamed, made or removed.
const QUIET: Duration = Duration::from_millis(50);
/// While a file is being written, and nothing says yet that it was closed.
const WRITING: Duration = Duration::from_millis(500);
/// In all.
const LONGEST: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Settling {
    first: Option<Instant>,
    last: Option<Instant>,
    /// Files that were written and not closed since.
    open: BTreeSet<PathBuf>,
}

impl Settling {
    /// Something ended: a file was closed, renamed, made or removed.
    pub(super) fn ended<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>, now: Instant) {
        for path in paths {
            self.open.remove(path);
        }
        self.heard(now);
    }

    /// A file is being written.
    pub(super) fn written<'a>(&mut self, paths: impl IntoIterator<Item = &'a Path>, now: Instant) {
        self.open.extend(paths.into_iter().map(Path::to_owned));
        self.heard(now);
    }

    fn heard(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// When to look, if there is a reason to.
    pub(super) fn due(&self) -> Option<Instant> {
        let quiet = if self.open.is_empty() { QUIET } else { WRITING };
        Some((self.last? + quiet).min(self.first? + LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(settling: &Settling, start: Instant) -> u128 {
        settling.due().map_or(0, |due| (due - start).as_millis())
    }

    #[test]
    fn a_closed_file_is_read_soon_and_an_open_one_later() {
        let (start, file) = (Instant::now(), Path::new("a.yaml"));
        let mut settling = Settling::default();
        assert_eq!(settling.due(), None);
        settling.ended([file], start);
        assert_eq!(after(&settling, start), 50);
        settling.written([file], start + Duration::from_millis(10));
        assert_eq!(after(&settling, start), 510);
        settling.ended([Path::new("b.yaml")], start + Duration::from_millis(20));
        assert_eq!(after(&settling, start), 520);
        settling.ended([file], start + Duration::from_millis(30));
        assert_eq!(after(&settling, start), 80);
    }

    #[test]
    fn however_busy_the_files_are_it_never_waits_longer_than_a_second() {
        let (start, file) = (Instant::now(), Path::new("a.yaml"));
        let mut settling = Settling::default();
        for step in 0..100 {
            settling.written([file], start + Duration::from_millis(step * 20));
        }
        assert_eq!(after(&settling, start), 1000);
    }
}
