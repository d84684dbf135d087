//! The file that keeps an account's writes across processes: `guards-<account>.json` in the state directory.
//!
//! Knows files and the clock of the wall; what counts and for how long is [`Record`]'s business. What must stay true: a
//! write is in the file before it is sent, a file that cannot be read or written lets nothing be sent, and nobody waits
//! for the disk for longer than a few seconds.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::{task, time::timeout};

use crate::{
    iam::{ErrorClass, IamError},
    names::{AccountId, RoleName},
    plan::{COUNTS_FOR, Counted, Digest, Ledger, Past, Record, Refusal, Terms},
    text::printable,
};

/// How long the disk, and whoever holds the lock, is waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);
const LOCKED_WITHIN: Duration = Duration::from_secs(3);

/// Far more than an hour's writes, and a day's approved ones, come to.
const LARGEST: u64 = 64 * 1024 * 1024;

/// One account's file, and what was read of it last.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    /// The number by which this process knows its own writes in the file.
    process: u64,
    known: Mutex<Known>,
}

/// What is known of the file.
#[derive(Debug, Default)]
struct Known {
    record: Record,
    /// Why it cannot be used, in words.
    trouble: Option<String>,
}

/// A write's place in the file: against what it is counted, and where.
#[derive(Debug, Clone)]
pub(super) struct Counting {
    pub(super) file: Arc<LedgerFile>,
    pub(super) terms: Terms,
}

impl Counting {
    /// Counts a write before it is sent.
    pub(super) async fn count(&self, role: &RoleName, is_delete: bool) -> Result<Result<Counted, Refusal>, IamError> {
        let (process, role, terms) = (self.file.process, role.clone(), self.terms.clone());
        let counting = move |record: &mut Record, now| {
            let approval = match &terms {
                Terms::Approved(digest) => Some(digest.clone()),
                Terms::Within(..) => None,
            };
            let write = Counted { at: now, role, is_delete, process, approval };
            record.count(write.clone(), &terms).map(|()| write)
        };
        self.file.change(counting).await.map_err(|trouble| IamError {
            class: ErrorClass::NotCounted,
            operation: "the state directory",
            code: None,
            message: format!("{trouble}; a write that cannot be counted is not sent"),
        })
    }

    /// Takes a write back that was refused for certain. Where that fails it goes on counting, which does no harm.
    pub(super) async fn give_back(&self, write: Counted) {
        let _ = self.file.change(move |record, _| record.give_back(&write)).await;
    }
}

impl LedgerFile {
    pub(super) fn new(directory: &Path, account: &AccountId) -> Self {
        Self { path: path(directory, account), process: fastrand::u64(..), known: Mutex::default() }
    }

    /// Reads the file anew.
    pub(super) async fn refresh(self: &Arc<Self>) {
        // What is wrong with it stays known.
        let _ = self.change(|_, _| ()).await;
    }

    /// What other processes wrote, when the file was read last.
    pub(super) fn of_others(&self) -> Vec<Past> {
        self.known().record.of_others(self.process, now()).collect()
    }

    /// Whether another process has carried out this plan.
    pub(super) fn is_used_up(&self, digest: &Digest) -> bool {
        self.known().record.is_used_up(digest, self.process)
    }

    /// Why nothing can be counted, where that was so the last time.
    pub(super) fn trouble(&self) -> Option<String> {
        self.known().trouble.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the file, with nobody else at it.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Record, u64) -> T + Send + 'static,
    ) -> Result<T, String> {
        let file = Arc::clone(self);
        let changed = timeout(ANSWERS_WITHIN, task::spawn_blocking(move || file.change_locked(change))).await;
        let changed = match changed {
            Ok(Ok(changed)) => changed,
            Ok(Err(ended_early)) => Err(format!("{}: the work on it ended early ({ended_early})", shown(&self.path))),
            // The work may still end, and then the write counts although it was not sent.
            Err(_) => Err(format!("{} is not read and written within {ANSWERS_WITHIN:?}", shown(&self.path))),
        };
        self.known().trouble = changed.as_ref().err().cloned();
        changed
    }

    fn change_locked<T>(&self, change: impl FnOnce(&mut Record, u64) -> T) -> Result<T, String> {
        let _lock = lock(&self.path.with_extension("lock"))?;
        let now = now();
        let found = read(&self.path)?;
        let mut record = found.clone();
        record.age(now);
        let told = change(&mut record, now);
        if record != found {
            replace(&self.path, &record.to_text()?)
                .map_err(|error| format!("{} cannot be written: {error}", shown(&self.path)))?;
        }
        self.known().record = record;
        Ok(told)
    }
}

/// What was written in the account within the hour, for a plan that is only looked at.
///
/// # Errors
///
/// In words, where the file cannot be read.
pub(crate) fn spent(directory: &Path, account: &AccountId) -> Result<Ledger, String> {
    let (mut record, now) = (read(&path(directory, account))?, now());
    record.age(now);
    Ok(record.ledger(now))
}

fn path(directory: &Path, account: &AccountId) -> PathBuf {
    directory.join(format!("guards-{account}.json"))
}

/// The seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// Opens the file that is locked in place of the record: that one is another file after each change.
fn lock(path: &Path) -> Result<File, String> {
    let cannot = |error: io::Error| format!("{} cannot be locked: {error}", shown(path));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(cannot)?;
    belong_to_directory(&file, path);
    let deadline = Instant::now() + LOCKED_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => {
                return Err(format!("{} is locked by another process", shown(path)));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
    }
}

/// The record; empty where there is no file yet.
fn read(path: &Path) -> Result<Record, String> {
    let cannot = |error: io::Error| format!("{} cannot be read: {error}", shown(path));
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        // Without its directory there is no state directory, and not an hour without writes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return fs::metadata(path.parent().unwrap_or(path)).map(|_| Record::default()).map_err(cannot);
        }
        Err(error) => return Err(cannot(error)),
    };
    let is = file.metadata().map_err(cannot)?;
    if !is.is_file() {
        return Err(format!("{} is not a file", shown(path)));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(cannot)?;
    let parsed = if bytes.len() as u64 > LARGEST {
        Err("it is too large".to_owned())
    } else {
        std::str::from_utf8(&bytes).map_err(|error| error.to_string()).and_then(Record::parse)
    };
    parsed.or_else(|broken| {
        // Whatever it held, nothing of it counts any more.
        let is_over = is.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|age| age >= COUNTS_FOR);
        if is_over { Ok(Record::default()) } else { Err(format!("{} is broken ({broken})", shown(path))) }
    })
}

/// Puts a new file in place of the old one: whoever looks, or is killed, sees the one or the other.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    // Left behind by a kill. Nothing that lies there is written through.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    belong_to_directory(&file, &new);
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Gives a file to the owner of its directory: an `apply` by root must not shut the daemon out. Others cannot, and need not.
fn belong_to_directory(file: &File, path: &Path) {
    let owners = file.metadata().and_then(|is| Ok((is, fs::metadata(path.parent().unwrap_or(path))?)));
    if let Ok((is, directory)) = owners
        && (is.uid(), is.gid()) != (directory.uid(), directory.gid())
    {
        let _ = fchown(file, Some(directory.uid()), Some(directory.gid()));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::manifest::Guards;

    fn counting(directory: &Path, most: u32) -> Counting {
        let file = LedgerFile::new(directory, &"111122223333".parse().unwrap());
        let guards = Guards { max_changes_per_hour: most, ..Guards::default() };
        Counting { file: Arc::new(file), terms: Terms::Within(guards, 20) }
    }

    fn role(number: usize) -> RoleName {
        format!("role-{number}").parse().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_processes_at_once_no_more_are_let_through_than_the_guards_allow() {
        let directory = tempfile::tempdir().unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let counting = counting(directory.path(), 7);
                tokio::spawn(async move { counting.count(&role(number), false).await.unwrap().is_ok() })
            })
            .collect();
        let mut let_through = 0;
        for task in tasks {
            let_through += usize::from(task.await.unwrap());
        }
        assert_eq!(let_through, 7);
        let late = counting(directory.path(), 7);
        late.file.refresh().await;
        assert_eq!((late.file.of_others().len(), late.file.trouble()), (7, None));
    }

    #[tokio::test]
    async fn the_file_is_its_owners_alone_and_no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let counting = counting(directory.path(), 7);
        let elsewhere = directory.path().join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        symlink(&elsewhere, counting.file.path.with_extension("new")).unwrap();
        counting.count(&role(1), false).await.unwrap().unwrap();
        let is = fs::symlink_metadata(&counting.file.path).unwrap();
        assert!(is.is_file() && is.permissions().mode() & 0o777 == 0o600, "{is:?}");

        for linked in ["json", "lock"] {
            let path = counting.file.path.with_extension(linked);
            fs::remove_file(&path).unwrap();
            symlink(&elsewhere, &path).unwrap();
            let error = counting.count(&role(2), false).await.unwrap_err();
            assert_eq!(error.class, ErrorClass::NotCounted);
            assert!(counting.file.trouble().is_some());
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
    }

    #[tokio::test]
    async fn a_broken_file_stands_for_an_hour_that_is_spent_and_for_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        let counting = counting(directory.path(), 7);
        fs::write(&counting.file.path, "{").unwrap();
        let error = counting.count(&role(1), false).await.unwrap_err().to_string();
        assert!(error.contains("guards-111122223333.json is broken ("), "{error}");
        assert_eq!(fs::read_to_string(&counting.file.path).unwrap(), "{", "it is left as evidence");
        let aged = |age| {
            let file = File::options().write(true).open(&counting.file.path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        aged(COUNTS_FOR - Duration::from_secs(60));
        assert!(counting.count(&role(1), false).await.is_err());
        aged(COUNTS_FOR);
        counting.count(&role(1), false).await.unwrap().unwrap();
        assert_eq!(counting.file.trouble(), None);
    }

    #[tokio::test]
    async fn without_its_directory_or_the_lock_nothing_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let gone = counting(&directory.path().join("gone"), 7);
        assert!(gone.count(&role(1), false).await.is_err());
        assert!(spent(&directory.path().join("gone"), &"111122223333".parse().unwrap()).is_err());

        let counting = counting(directory.path(), 7);
        let held = lock(&counting.file.path.with_extension("lock")).unwrap();
        let error = counting.count(&role(1), false).await.unwrap_err().to_string();
        assert!(error.contains("is locked by another process"), "{error}");
        drop(held);
        counting.count(&role(1), false).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_was_given_back_counts_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let counting = counting(directory.path(), 1);
        let write = counting.count(&role(1), false).await.unwrap().unwrap();
        assert!(counting.count(&role(2), false).await.unwrap().is_err());
        counting.give_back(write).await;
        counting.count(&role(2), false).await.unwrap().unwrap();
    }
}
