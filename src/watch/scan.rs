//! One look at the directory of manifests.
//!
//! What must stay true: nothing is read but regular files whose real path lies inside the directory, also if somebody
//! swaps them meanwhile; no more of a file is read than a manifest may have, and every directory is visited once, so
//! that no link makes a loop.

use std::{
    collections::{BTreeSet, VecDeque},
    fs, io,
    io::Read as _,
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    manifest::{Content, Fault, Files, LARGEST_FILE, too_large},
    text::printable,
};

/// Why there is nothing to look at.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The directory is not there.
    #[error("there is no directory `{}`", shown(.0))]
    Missing(PathBuf),
    /// It is something else.
    #[error("`{}` is not a directory", shown(.0))]
    NotADirectory(PathBuf),
    /// It cannot be read.
    #[error("the directory `{}` cannot be read: {error}", shown(.path))]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It holds no manifest.
    #[error("there is no manifest in `{}`", shown(.0))]
    Empty(PathBuf),
}

impl ScanError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing(_) | Self::NotADirectory(_) => "name the directory that holds the manifests",
            Self::Unreadable { .. } => "give the user that runs this program the right to read and enter it",
            Self::Empty(_) => {
                "manifests are files that end in .yaml or .yml; names that begin with a dot are passed over"
            }
        }
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// Reads all manifests below `config_dir`, and the file of `--controller-config`.
pub(super) fn scan(config_dir: &Path, controller_config: Option<&Path>) -> Result<Files, ScanError> {
    let root = fs::canonicalize(config_dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ScanError::Missing(config_dir.to_owned()),
        io::ErrorKind::NotADirectory => ScanError::NotADirectory(config_dir.to_owned()),
        _ => ScanError::Unreadable { path: config_dir.to_owned(), error },
    })?;
    if !root.is_dir() {
        return Err(ScanError::NotADirectory(config_dir.to_owned()));
    }
    let mut scan = Scan {
        root: root.clone(),
        files: Files::default(),
        visited: BTreeSet::new(),
        below: Vec::new(),
        links: VecDeque::new(),
    };
    if let Some(path) = controller_config {
        // It may lie inside the directory: then it is read as what it was given for, and not once more.
        scan.visited.extend(fs::canonicalize(path));
        scan.files.controller_config = Some(given_apart(path));
    }
    scan.directory(config_dir, &root).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ScanError::Missing(config_dir.to_owned()),
        _ => ScanError::Unreadable { path: config_dir.to_owned(), error },
    })?;
    loop {
        while let Some((named, real)) = scan.below.pop() {
            scan.enter(&named, &real);
        }
        // Links come last, so that a file is known by its real name where it has one.
        let Some(link) = scan.links.pop_front() else { break };
        scan.link(&link);
    }
    if let Some((name, _)) = &scan.files.controller_config {
        scan.files.tree.remove(name); // whatever is to be told of it is told there
    }
    Ok(scan.files)
}

/// The file of `--controller-config`, with its name.
pub(super) fn given_apart(path: &Path) -> (String, Content) {
    let content = match fs::canonicalize(path) {
        Ok(real) => read(path, &real, None).unwrap_or_else(|| Err(missing(path))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(path)),
        Err(error) => Err(unreadable(path, &error)),
    };
    (path.to_string_lossy().into_owned(), content)
}

struct Scan {
    /// The real path of the directory.
    root: PathBuf,
    files: Files,
    /// Real paths of directories and files that were read.
    visited: BTreeSet<PathBuf>,
    /// Directories that are still to be read, as people know them and as they are: a list, since a tree may be
    /// deeper than the stack.
    below: Vec<(PathBuf, PathBuf)>,
    links: VecDeque<PathBuf>,
}

impl Scan {
    /// Reads a directory whose real path is `real`; `named` is how people know it.
    fn directory(&mut self, named: &Path, real: &Path) -> io::Result<()> {
        if !self.visited.insert(real.to_owned()) {
            return Ok(());
        }
        let mut entries = fs::read_dir(real)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let Ok(is) = entry.file_type() else { continue };
            if name.to_string_lossy().starts_with('.') {
                continue;
            }
            let (named, real) = (named.join(&name), real.join(&name));
            if is.is_symlink() {
                self.links.push_back(named);
            } else if is.is_dir() {
                self.below.push((named, real));
            } else if is_manifest(&named) {
                self.file(&named, real);
            }
        }
        Ok(())
    }

    /// A directory that is not the root: what is wrong with it concerns nothing else.
    fn enter(&mut self, named: &Path, real: &Path) {
        match self.directory(named, real) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.put(named, Err(unreadable(named, &error))),
            _ => {}
        }
    }

    fn file(&mut self, named: &Path, real: PathBuf) {
        if self.visited.contains(&real) {
            return;
        }
        if let Some(content) = read(named, &real, Some(&self.root)) {
            self.visited.insert(real);
            self.put(named, content);
        }
    }

    fn link(&mut self, named: &Path) {
        // A link may be swapped between the two looks at it (ConfigMaps do that): then it is looked at again.
        for _ in 0..3 {
            let real = match fs::canonicalize(named) {
                Ok(real) => real,
                Err(error) => {
                    // It may have led to a directory: what lay below it is unread, not removed.
                    if fs::symlink_metadata(named).is_ok() {
                        let message = match error.kind() {
                            io::ErrorKind::NotFound => "this link leads nowhere".to_owned(),
                            _ => format!("this link cannot be followed: {error}"),
                        };
                        self.put(named, Err(fault(named, &message, "restore what it led to, or remove it")));
                    }
                    return;
                }
            };
            // Known already, be it as the file of `--controller-config`, which may lie anywhere.
            if self.visited.contains(&real) {
                return;
            }
            let Ok(is) = fs::symlink_metadata(&real) else { continue };
            if !is.is_dir() && !is_manifest(named) {
                return;
            }
            if !real.starts_with(&self.root) {
                return self.put(named, Err(leads_out(named)));
            }
            if is.is_dir() {
                return self.below.push((named.to_owned(), real));
            }
            if let Some(content) = read(named, &real, Some(&self.root)) {
                self.visited.insert(real);
                return self.put(named, content);
            }
        }
    }

    fn put(&mut self, named: &Path, content: Content) {
        let name = named.to_string_lossy().into_owned();
        let content = match named.to_str() {
            Some(_) => content,
            None => Err(fault(named, "the file's name is not UTF-8", "give it another name")),
        };
        self.files.tree.insert(name, content);
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

/// The content of the file at the real path `real`, if it lies below `root`; none if it is gone.
fn read(named: &Path, real: &Path, root: Option<&Path>) -> Option<Content> {
    match try_read(named, real, root) {
        Ok(content) => Some(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(unreadable(named, &error))),
    }
}

fn try_read(named: &Path, real: &Path, root: Option<&Path>) -> io::Result<Content> {
    // Looked at before it is opened: opening a device may do anything.
    if !fs::symlink_metadata(real)?.is_file() {
        return Ok(Err(not_regular(named)));
    }
    let file = open(real)?;
    let is = file.metadata()?;
    if !is.is_file() {
        return Ok(Err(not_regular(named)));
    }
    if let Some(root) = root
        && !real_path(&file)?.starts_with(root)
    {
        return Ok(Err(leads_out(named)));
    }
    if is.len() > LARGEST_FILE as u64 {
        return Ok(Err(too_large(&named.to_string_lossy())));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(is.len()).unwrap_or_default());
    // One byte more than is allowed: then it is known to be too large, also if it grew meanwhile.
    file.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

/// Opens what may have been swapped since it was looked at: a link is not followed, a FIFO not waited for.
fn open(real: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(real)
}

/// Where an open file lies, as the kernel knows it: whatever was swapped on the way to it.
fn real_path(file: &fs::File) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        // Not the file is missing, but `/proc`: it must not be taken for removed.
        .map_err(|error| io::Error::other(format!("/proc does not say where it lies: {error}")))
}

fn leads_out(named: &Path) -> Fault {
    let hint = "copy the file into the directory: what lies outside is not read";
    fault(named, "this link leads out of the directory of manifests", hint)
}

fn not_regular(named: &Path) -> Fault {
    fault(named, "this is not a regular file", "manifests are regular files: rename or remove it")
}

fn fault(named: &Path, message: &str, hint: &str) -> Fault {
    Fault::of_file(&named.to_string_lossy(), message, hint)
}

fn missing(named: &Path) -> Fault {
    fault(named, "there is no such file", "name the file with `--controller-config`, or leave the option out")
}

fn unreadable(named: &Path, error: &io::Error) -> Fault {
    let hint = "give the user that runs this program the right to read it";
    fault(named, &format!("it cannot be read: {error}"), hint)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_turns_into_a_link_between_two_looks_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(directory.path()).unwrap();
        let root = top.join("config");
        fs::create_dir_all(top.join("outside")).unwrap();
        fs::create_dir_all(root.join("inside")).unwrap();
        for file in ["outside/a.yaml", "config/inside/a.yaml"] {
            fs::write(top.join(file), "secret").unwrap();
        }
        symlink("../outside", root.join("swapped")).unwrap();
        symlink("inside/a.yaml", root.join("a.yaml")).unwrap();
        let content = |name: &str| read(Path::new(name), &root.join(name), Some(&root)).unwrap();
        assert_eq!(content("inside/a.yaml").unwrap(), b"secret");
        assert!(content("swapped/a.yaml").unwrap_err().message.contains("leads out of the directory"));
        assert!(content("a.yaml").is_err());
        assert!(open(&root.join("a.yaml")).is_err(), "a link is not followed, not even by opening it");
    }
}
