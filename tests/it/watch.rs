//! The watcher, on real directories: every way in which people and tools replace files.
//!
//! But for one test the tick is an hour, so that nothing but events can bring the news.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ssm_role_controller::{
    manifest::{Fault, ManifestSet},
    watch::{Change, Notice, ScanError, Watcher, load},
};
use tempfile::TempDir;
use tokio::time::timeout;

const HOUR: Duration = Duration::from_secs(3600);
const DEADLINE: Duration = Duration::from_secs(30);

fn manifest(name: &str, role: &str) -> String {
    format!(
        "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: SessionManagerPermissions\nmetadata: {{name: {name}}}\nspec: {{roles: [{role}]}}\n"
    )
}

fn roles(set: &ManifestSet) -> BTreeSet<String> {
    set.permissions().iter().flat_map(|permissions| permissions.roles.iter().map(ToString::to_string)).collect()
}

/// A directory of manifests under watch, and all that was heard of it.
struct World {
    directory: TempDir,
    watcher: Watcher,
    roles: BTreeSet<String>,
    rejected: Vec<(String, Vec<Fault>)>,
    notices: Vec<Notice>,
}

impl World {
    /// `config/web.yaml` names the role `one`.
    async fn new() -> Self {
        Self::with(HOUR, "config", |at| {
            fs::create_dir(at("config")).unwrap();
            fs::write(at("config/web.yaml"), manifest("web", "one")).unwrap();
        })
        .await
    }

    async fn with(tick: Duration, config: &str, prepare: impl Fn(&dyn Fn(&str) -> PathBuf)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(&|name| directory.path().join(name));
        let (watcher, change) = Watcher::start(&directory.path().join(config), None, tick).await.unwrap();
        let mut world = Self { directory, watcher, roles: BTreeSet::new(), rejected: Vec::new(), notices: Vec::new() };
        world.take(change);
        assert_eq!(world.roles, BTreeSet::from(["one".to_owned()]));
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn take(&mut self, change: Change) {
        self.notices.extend(change.notices);
        if let Some(verdict) = change.verdict {
            self.roles = roles(&verdict.set);
            self.rejected.extend(verdict.rejected.into_iter().map(|rejected| (rejected.file, rejected.faults)));
        }
    }

    async fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !reached(self) {
            let left = DEADLINE.saturating_sub(begun.elapsed());
            match timeout(left, self.watcher.changed()).await {
                Ok(change) => self.take(change),
                Err(_) => panic!("{what} was not seen in time; in force: {:?}, {:?}", self.roles, self.notices),
            }
        }
    }

    async fn until_roles(&mut self, what: &str, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|role| (*role).to_owned()).collect();
        self.until(what, |world| world.roles == wanted).await;
    }
}

#[tokio::test]
async fn a_plain_save_is_seen() {
    let mut world = World::new().await;
    fs::write(world.at("config/web.yaml"), manifest("web", "two")).unwrap();
    world.until_roles("the save", &["two"]).await;
    assert!(world.rejected.is_empty(), "{:?}", world.rejected);
}

#[tokio::test]
async fn a_file_renamed_over_another_is_seen() {
    let mut world = World::new().await;
    fs::write(world.at("new"), manifest("web", "two")).unwrap();
    fs::rename(world.at("new"), world.at("config/web.yaml")).unwrap();
    world.until_roles("the rename", &["two"]).await;
}

#[tokio::test]
async fn a_save_in_the_manner_of_vim_is_seen() {
    let mut world = World::new().await;
    for role in ["two", "three"] {
        fs::rename(world.at("config/web.yaml"), world.at("config/web.yaml~")).unwrap();
        fs::write(world.at("config/web.yaml"), manifest("web", role)).unwrap();
        fs::remove_file(world.at("config/web.yaml~")).unwrap();
        world.until_roles("the save", &[role]).await;
    }
}

fn git(directory: &Path, arguments: &[&str]) {
    let status = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .current_dir(directory)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "git {arguments:?}");
}

#[tokio::test]
async fn a_checkout_of_git_is_seen() {
    let mut world = World::new().await;
    let config = world.at("config");
    git(&config, &["init", "-q"]);
    git(&config, &["add", "."]);
    git(&config, &["commit", "-qm", "one"]);
    git(&config, &["checkout", "-qb", "two"]);
    fs::write(config.join("web.yaml"), manifest("web", "two")).unwrap();
    fs::create_dir(config.join("more")).unwrap();
    fs::write(config.join("more/other.yaml"), manifest("other", "three")).unwrap();
    git(&config, &["add", "."]);
    git(&config, &["commit", "-qm", "two"]);
    world.until_roles("the commit", &["two", "three"]).await;
    git(&config, &["checkout", "-q", "main"]);
    world.until_roles("the checkout back", &["one"]).await;
    git(&config, &["checkout", "-q", "two"]);
    world.until_roles("the checkout", &["two", "three"]).await;
}

#[tokio::test]
async fn the_swap_of_a_config_map_is_seen() {
    let mut world = World::with(HOUR, "config", |at| {
        fs::create_dir_all(at("config/..2026_01")).unwrap();
        fs::write(at("config/..2026_01/web.yaml"), manifest("web", "one")).unwrap();
        symlink("..2026_01", at("config/..data")).unwrap();
        symlink("..data/web.yaml", at("config/web.yaml")).unwrap();
    })
    .await;
    for (old, new, role) in [("..2026_01", "..2026_02", "two"), ("..2026_02", "..2026_03", "three")] {
        fs::create_dir(world.at("config").join(new)).unwrap();
        fs::write(world.at("config").join(new).join("web.yaml"), manifest("web", role)).unwrap();
        symlink(new, world.at("config/..data_tmp")).unwrap();
        fs::rename(world.at("config/..data_tmp"), world.at("config/..data")).unwrap();
        fs::remove_dir_all(world.at("config").join(old)).unwrap();
        world.until_roles("the swap", &[role]).await;
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_and_made_again_is_seen_both_times() {
    let mut world = World::new().await;
    fs::remove_file(world.at("config/web.yaml")).unwrap();
    world.until_roles("the removal", &[]).await;
    assert_eq!(world.notices, [Notice::Empty]);
    fs::write(world.at("config/web.yaml"), manifest("web", "two")).unwrap();
    world.until_roles("the new file", &["two"]).await;
}

#[tokio::test]
async fn a_directory_that_is_moved_away_and_replaced_is_seen() {
    let mut world = World::new().await;
    fs::create_dir(world.at("next")).unwrap();
    fs::write(world.at("next/web.yaml"), manifest("web", "two")).unwrap();
    fs::rename(world.at("config"), world.at("old")).unwrap();
    fs::rename(world.at("next"), world.at("config")).unwrap();
    world.until_roles("the replacement", &["two"]).await;
    fs::write(world.at("config/web.yaml"), manifest("web", "three")).unwrap();
    world.until_roles("a save in the replacement", &["three"]).await;
}

#[tokio::test]
async fn a_directory_that_is_removed_and_made_again_is_seen() {
    let mut world = World::new().await;
    for role in ["two", "three"] {
        fs::remove_dir_all(world.at("config")).unwrap();
        fs::create_dir(world.at("config")).unwrap();
        fs::write(world.at("config/web.yaml"), manifest("web", role)).unwrap();
        world.until_roles("the new directory", &[role]).await;
    }
    fs::write(world.at("config/web.yaml"), manifest("web", "four")).unwrap();
    world.until_roles("a save in the new directory", &["four"]).await;
}

#[tokio::test]
async fn a_link_that_is_swapped_to_another_tree_is_seen_wherever_it_stands_in_the_path() {
    for config in ["current", "current/config"] {
        let below = config.strip_prefix("current").unwrap().trim_start_matches('/');
        let tree = |at: &dyn Fn(&str) -> PathBuf, name: &str, role: &str| {
            let directory = at(name).join(below);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("web.yaml"), manifest("web", role)).unwrap();
        };
        let mut world = World::with(HOUR, config, |at| {
            tree(at, "trees/1", "one");
            symlink("trees/1", at("current")).unwrap();
        })
        .await;
        for (name, role) in [("trees/2", "two"), ("trees/3", "three")] {
            tree(&|name| world.at(name), name, role);
            symlink(name, world.at("link")).unwrap();
            fs::rename(world.at("link"), world.at("current")).unwrap();
            world.until_roles("the swap", &[role]).await;
        }
        fs::write(world.at(config).join("web.yaml"), manifest("web", "four")).unwrap();
        world.until_roles("a save behind the new link", &["four"]).await;
    }
}

#[tokio::test]
async fn a_change_that_keeps_size_and_time_is_seen() {
    let mut world = World::new().await;
    let file = world.at("config/web.yaml");
    let before = fs::metadata(&file).unwrap();
    fs::write(&file, manifest("web", "two")).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), before.len());
    world.until_roles("the save", &["two"]).await;
}

#[tokio::test]
async fn a_file_in_a_new_directory_is_seen() {
    let mut world = World::new().await;
    fs::create_dir_all(world.at("config/team/deep")).unwrap();
    fs::write(world.at("config/team/deep/other.yml"), manifest("other", "two")).unwrap();
    world.until_roles("the new file", &["one", "two"]).await;
    fs::write(world.at("config/team/deep/other.yml"), manifest("other", "three")).unwrap();
    world.until_roles("a save in the new directory", &["one", "three"]).await;
}

#[tokio::test]
async fn a_directory_that_vanishes_leaves_everything_in_force_and_is_read_again_when_it_returns() {
    let mut world = World::new().await;
    fs::rename(world.at("config"), world.at("away")).unwrap();
    world.until("the loss", |world| matches!(world.notices[..], [Notice::Vanished(_)])).await;
    assert_eq!(world.roles, BTreeSet::from(["one".to_owned()]));
    fs::write(world.at("away/web.yaml"), manifest("web", "two")).unwrap();
    fs::rename(world.at("away"), world.at("config")).unwrap();
    world.until_roles("the return", &["two"]).await;
    assert!(matches!(world.notices[..], [Notice::Vanished(_), Notice::Returned]), "{:?}", world.notices);
}

#[tokio::test]
async fn a_broken_save_is_told_once_and_leaves_the_last_good_version_in_force() {
    let mut world = World::new().await;
    fs::write(world.at("config/web.yaml"), manifest("web", "a/b")).unwrap();
    world.until("the broken save", |world| !world.rejected.is_empty()).await;
    fs::write(world.at("config/other.yaml"), manifest("other", "two")).unwrap();
    world.until_roles("another file", &["one", "two"]).await;
    assert_eq!(world.rejected.len(), 1, "{:?}", world.rejected);
    fs::write(world.at("config/web.yaml"), manifest("web", "three")).unwrap();
    world.until_roles("the good save", &["two", "three"]).await;
    assert_eq!(world.rejected.len(), 1);
}

#[tokio::test]
async fn a_file_that_is_written_piece_by_piece_is_read_when_it_is_closed() {
    use std::io::Write as _;
    let mut world = World::new().await;
    let text = manifest("web", "two");
    let path = world.at("config/web.yaml");
    let writer = std::thread::spawn(move || {
        let mut file = fs::File::create(path).unwrap();
        for piece in text.as_bytes().chunks(20) {
            file.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
    });
    world.until_roles("the save", &["two"]).await;
    writer.join().unwrap();
    assert!(world.rejected.is_empty(), "{:?}", world.rejected);
}

#[tokio::test]
async fn the_tick_waits_for_whoever_is_writing() {
    use std::io::Write as _;
    let mut world = World::with(Duration::from_millis(300), "config", |at| {
        fs::create_dir(at("config")).unwrap();
        fs::write(at("config/web.yaml"), manifest("web", "one")).unwrap();
    })
    .await;
    let text = manifest("web", "two");
    let path = world.at("config/web.yaml");
    let writer = std::thread::spawn(move || {
        let mut file = fs::File::create(path).unwrap();
        for piece in text.as_bytes().chunks(20) {
            file.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
    });
    world.until_roles("the save", &["two"]).await;
    writer.join().unwrap();
    assert!(world.rejected.is_empty(), "{:?}", world.rejected);
}

#[tokio::test]
async fn without_events_the_tick_alone_finds_the_change() {
    // A second name of the same file, outside: writing through it makes no event in the directory.
    let mut world = World::with(Duration::from_millis(100), "config", |at| {
        fs::create_dir_all(at("config")).unwrap();
        fs::create_dir_all(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/web.yaml"), manifest("web", "one")).unwrap();
        fs::hard_link(at("elsewhere/web.yaml"), at("config/web.yaml")).unwrap();
    })
    .await;
    fs::write(world.at("elsewhere/web.yaml"), manifest("web", "two")).unwrap();
    world.until_roles("the change", &["two"]).await;
}

#[tokio::test]
async fn the_settings_outside_the_tree_are_watched_too() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let settings = |suspend| {
        format!(
            "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {{name: c}}\nspec: {{suspend: {suspend}}}\n"
        )
    };
    fs::create_dir_all(at("config")).unwrap();
    fs::create_dir_all(at("etc")).unwrap();
    fs::write(at("config/web.yaml"), manifest("web", "one")).unwrap();
    fs::write(at("etc/controller.yaml"), settings(false)).unwrap();
    let (mut watcher, change) = Watcher::start(&at("config"), Some(&at("etc/controller.yaml")), HOUR).await.unwrap();
    assert!(!change.verdict.unwrap().set.configuration().unwrap().suspend);
    fs::write(at("etc/new"), settings(true)).unwrap();
    fs::rename(at("etc/new"), at("etc/controller.yaml")).unwrap();
    let change = timeout(DEADLINE, watcher.changed()).await.unwrap();
    assert!(change.verdict.unwrap().set.configuration().unwrap().suspend);
}

#[tokio::test]
async fn changed_may_be_dropped_at_any_moment_and_loses_nothing() {
    let mut world = World::new().await;
    fs::write(world.at("config/web.yaml"), manifest("web", "two")).unwrap();
    let begun = Instant::now();
    while world.roles.contains("one") {
        assert!(begun.elapsed() < DEADLINE);
        if let Ok(change) = timeout(Duration::from_millis(1), world.watcher.changed()).await {
            world.take(change);
        }
    }
}

#[tokio::test]
async fn a_directory_that_was_never_there_keeps_the_watcher_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let error = Watcher::start(&directory.path().join("none"), None, HOUR).await.unwrap_err();
    assert!(matches!(error, ScanError::Missing(_)));
}

fn faults(directory: &Path) -> Vec<String> {
    let loaded = load(directory, None).unwrap();
    loaded
        .faults
        .iter()
        .map(|fault| {
            let file = fault.place.file.strip_prefix(&*directory.to_string_lossy()).unwrap();
            format!("{file}:{}:{}: {}", fault.place.line, fault.place.column, fault.message)
        })
        .collect()
}

#[test]
fn what_lies_outside_is_never_read_and_what_is_no_file_never_opened() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("config/real")).unwrap();
    fs::create_dir_all(at("outside")).unwrap();
    fs::write(at("outside/secret.yaml"), "password: hunter2\n").unwrap();
    symlink("../outside/secret.yaml", at("config/a-link.yaml")).unwrap();
    symlink("../outside", at("config/b-directory")).unwrap();
    symlink("nowhere.yaml", at("config/c-dangling.yaml")).unwrap();
    symlink("d-loop.yaml", at("config/d-loop.yaml")).unwrap();
    symlink(".", at("config/real/e-loop")).unwrap();
    symlink("../..", at("config/real/f-out")).unwrap();
    std::process::Command::new("mkfifo").arg(at("config/g-fifo.yaml")).status().unwrap();
    fs::create_dir(at("config/h-directory.yaml")).unwrap();
    fs::write(at("config/i-large.yaml"), vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
    fs::write(at("config/.hidden.yaml"), "not a manifest").unwrap();
    fs::write(at("config/j.txt"), "not a manifest").unwrap();
    fs::write(at("config/real/web.yaml"), manifest("web", "one")).unwrap();
    symlink("real/web.yaml", at("config/k-inside.yaml")).unwrap();
    symlink("../outside/notes.txt", at("config/l-notes.txt")).unwrap();
    insta::assert_snapshot!(faults(&at("config")).join("\n"), @r"
    /a-link.yaml:1:1: this link leads out of the directory of manifests
    /b-directory:1:1: this link leads out of the directory of manifests
    /c-dangling.yaml:1:1: this link leads nowhere
    /d-loop.yaml:1:1: this link cannot be followed: Too many levels of symbolic links (os error 40)
    /g-fifo.yaml:1:1: this is not a regular file
    /i-large.yaml:1:1: the file is larger than 4 MiB
    /l-notes.txt:1:1: this link leads nowhere
    /real/f-out:1:1: this link leads out of the directory of manifests
    ");
    let loaded = load(&at("config"), None).unwrap();
    assert_eq!(roles(&loaded.set), BTreeSet::from(["one".to_owned()]));
    assert!(!loaded.faults.iter().any(|fault| fault.to_string().contains("hunter2")));
}

#[test]
fn a_directory_without_manifests_or_without_being_one_is_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.txt"), "").unwrap();
    assert!(matches!(load(directory.path(), None), Err(ScanError::Empty(_))));
    assert!(matches!(load(&directory.path().join("none"), None), Err(ScanError::Missing(_))));
    assert!(matches!(load(&directory.path().join("a.txt"), None), Err(ScanError::NotADirectory(_))));
}

#[test]
fn a_tree_may_be_deeper_than_the_stack() {
    // Made and removed step by step: nothing else here bears such a depth.
    let directory = tempfile::tempdir().unwrap();
    let mut deep = directory.path().to_owned();
    for _ in 0..1900 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    fs::write(deep.join("web.yaml"), manifest("web", "one")).unwrap();
    let small_stack = std::thread::Builder::new().stack_size(256 * 1024);
    let top = directory.path().to_owned();
    let loaded = small_stack.spawn(move || load(&top, None).unwrap()).unwrap().join().unwrap();
    assert_eq!(roles(&loaded.set), BTreeSet::from(["one".to_owned()]));
    fs::remove_file(deep.join("web.yaml")).unwrap();
    while deep != directory.path() {
        fs::remove_dir(&deep).unwrap();
        deep.pop();
    }
}

#[tokio::test]
async fn settings_that_are_linked_into_the_tree_are_read_as_settings_and_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("config")).unwrap();
    fs::create_dir_all(at("etc")).unwrap();
    fs::write(at("config/web.yaml"), manifest("web", "one")).unwrap();
    let settings = "apiVersion: ssm-role-controller.dev/v1alpha1\nkind: ControllerConfiguration\nmetadata: {name: c}\n";
    fs::write(at("etc/c.yaml"), settings).unwrap();
    symlink("../etc/c.yaml", at("config/c.yaml")).unwrap();
    let loaded = load(&at("config"), Some(&at("config/c.yaml"))).unwrap();
    assert!(loaded.faults.is_empty(), "{:?}", loaded.faults);
    fs::remove_file(at("etc/c.yaml")).unwrap();
    let loaded = load(&at("config"), Some(&at("config/c.yaml"))).unwrap();
    assert_eq!(loaded.faults.len(), 1, "{:?}", loaded.faults);
}

#[tokio::test]
async fn what_lay_below_a_link_that_leads_nowhere_stays_in_force() {
    let mut world = World::with(HOUR, "config", |at| {
        fs::create_dir_all(at("config/.teams/1")).unwrap();
        fs::write(at("config/.teams/1/web.yaml"), manifest("web", "one")).unwrap();
        symlink(".teams/1", at("config/team")).unwrap();
    })
    .await;
    fs::rename(world.at("config/.teams/1"), world.at("config/.teams/2")).unwrap();
    fs::write(world.at("config/other.yaml"), manifest("other", "two")).unwrap();
    world.until_roles("the other file", &["one", "two"]).await;
    assert_eq!(world.rejected.len(), 1, "{:?}", world.rejected);
}
