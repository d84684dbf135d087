//! The files: from a directory of manifests to the newest good ones, once or again and again.
//!
//! Knows files and how they change, not what a manifest means, and nothing of IAM. What must stay true: an event only
//! says *when* to look, never *what* is there (the contents alone decide), nothing outside the directory is read
//! through a link, and what cannot be read is told, never taken for removed.

mod eyes;
mod scan;
mod settling;
mod watcher;

use std::path::Path;

pub use self::{
    scan::ScanError,
    watcher::{Change, Notice, Watcher},
};
use crate::manifest::{Fault, Files, ManifestSet};

/// What one look found: for commands that run once.
#[derive(Debug)]
pub struct Loaded {
    /// Everything that was found, good for nothing but to be looked at while there is a fault.
    pub set: ManifestSet,
    /// All that is wrong, in the order of files and lines.
    pub faults: Vec<Fault>,
}

/// Reads the manifests once.
///
/// # Errors
///
/// If the directory is not there, cannot be read, or holds no manifest at all.
pub fn load(config_dir: &Path, controller_config: Option<&Path>) -> Result<Loaded, ScanError> {
    let files = scan::scan(config_dir, controller_config)?;
    if files.tree.is_empty() {
        return Err(ScanError::Empty(config_dir.to_owned()));
    }
    let (set, faults) = files.judge();
    Ok(Loaded { set, faults })
}

/// Reads the manifests once, of which there may be none yet: no directory, nothing in it, or a file of no bytes, which a
/// shell has just made for what is to be printed.
///
/// # Errors
///
/// If the directory is there, and cannot be read.
pub fn load_any(config_dir: &Path, controller_config: Option<&Path>) -> Result<Loaded, ScanError> {
    let mut files = match scan::scan(config_dir, controller_config) {
        Err(ScanError::Missing(_)) => {
            Files { controller_config: controller_config.map(scan::given_apart), ..Files::default() }
        }
        scanned => scanned?,
    };
    files.tree.retain(|_, content| !content.as_ref().is_ok_and(Vec::is_empty));
    let (set, faults) = files.judge();
    Ok(Loaded { set, faults })
}
