//! The last good version of each file: what stays in force while somebody saves something broken.
//!
//! Knows contents, not where they come from or when. What must stay true: a file counts whole or not at all, what is
//! in force never contradicts itself, what could not be read is not what was removed, a `ControllerConfiguration`
//! gives way to another one only, and no manifest keeps its limits from being lowered.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Fault, ManifestSet, Parsed, parse, parse_controller_configuration,
    set::{between_files, configuration},
};

/// What is wrong, by file.
type Told = BTreeMap<String, Vec<Fault>>;

/// What a file holds, or why it cannot be said.
pub type Content = Result<Vec<u8>, Fault>;

/// One look at the files.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The manifests of the tree, by name. A directory that could not be read stands here too, with its fault.
    pub tree: BTreeMap<String, Content>,
    /// The file of `--controller-config`, with its name.
    pub controller_config: Option<(String, Content)>,
}

impl Files {
    /// Everything in these files, and all that is wrong in and between them.
    #[must_use]
    pub fn judge(&self) -> (ManifestSet, Vec<Fault>) {
        let tree: Vec<Parsed> = self.tree.iter().map(|(name, content)| File::read(name, content, false)).collect();
        let controller_config = self.controller_config.as_ref().map(|(name, content)| File::read(name, content, true));
        ManifestSet::of(&tree, controller_config.as_ref())
    }
}

/// A file whose newest version is not in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// Its name, as the file system has it: to be escaped before it is shown.
    pub file: String,
    /// What is wrong with it.
    pub faults: Vec<Fault>,
    /// Whether its last good version is in force instead.
    pub in_force: bool,
    /// Whether it is about the controller's own settings.
    pub is_configuration: bool,
}

/// What came of a look at the files.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What is in force.
    pub set: Arc<ManifestSet>,
    /// All that is wrong now, told before or not.
    pub faults: Vec<Fault>,
    /// The files whose newest version is not in force, and whose last good one is.
    pub kept: BTreeSet<String>,
    /// Files whose newest version was refused: once for each version and reason.
    pub rejected: Vec<Rejected>,
    /// Files whose newest version is in force from now on.
    pub accepted: Vec<String>,
    /// Files that are there no more.
    pub removed: Vec<String>,
    /// Whether the last `ControllerConfiguration` went away with this look: it stays in force until another one
    /// counts, so that no deletion turns the kill switch off.
    pub configuration_kept: bool,
}

impl Verdict {
    /// Whether there is anything to tell or to do.
    #[must_use]
    pub fn is_news(&self) -> bool {
        !(self.rejected.is_empty() && self.accepted.is_empty() && self.removed.is_empty())
    }
}

/// What stands, from one look at the files to the next.
#[derive(Debug, Default)]
pub struct Standing {
    files: BTreeMap<String, File>,
    set: Arc<ManifestSet>,
    /// Whether the configuration in force stands in no file any more.
    orphaned: bool,
    /// What is told of the set while it is in force: the manifests that are held.
    held: Vec<Fault>,
}

#[derive(Debug)]
struct File {
    content: Content,
    newest: Arc<Parsed>,
    good: Option<Arc<Parsed>>,
    /// What was told of this content.
    told: Option<Vec<Fault>>,
    is_controller_config: bool,
}

impl File {
    fn read(name: &str, content: &Content, is_controller_config: bool) -> Parsed {
        match content {
            Ok(bytes) if is_controller_config => parse_controller_configuration(name, bytes),
            Ok(bytes) => parse(name, bytes),
            Err(fault) => {
                Parsed { faults: vec![fault.clone()], means_configuration: is_controller_config, ..Parsed::default() }
            }
        }
    }

    /// Whether the newest version is not the one that counted last.
    fn is_new(&self) -> bool {
        !self.good.as_ref().is_some_and(|good| Arc::ptr_eq(good, &self.newest))
    }

    /// The version that counts if `newest` does or does not.
    fn version(&self, newest: bool) -> Option<&Parsed> {
        if newest { Some(&self.newest) } else { self.good.as_deref() }
    }
}

impl Standing {
    /// Takes a look at the files, and says what is in force now.
    pub fn take(&mut self, files: Files) -> Verdict {
        let removed = self.renew(files);
        let (counting, mut refused) = self.choose();

        let mut verdict = Verdict {
            set: Arc::clone(&self.set),
            faults: refused.values().flatten().cloned().collect(),
            kept: BTreeSet::new(),
            rejected: Vec::new(),
            accepted: Vec::new(),
            removed,
            configuration_kept: false,
        };
        for (name, file) in &mut self.files {
            if counting.contains(name) {
                file.told = None;
                if file.is_new() {
                    file.good = Some(Arc::clone(&file.newest));
                    verdict.accepted.push(name.clone());
                }
                continue;
            }
            if file.good.is_some() {
                verdict.kept.insert(name.clone());
            }
            let faults = refused.remove(name).unwrap_or_default();
            if file.told.as_ref() != Some(&faults) {
                file.told = Some(faults.clone());
                verdict.rejected.push(Rejected {
                    file: name.clone(),
                    faults,
                    in_force: file.good.is_some(),
                    is_configuration: file.newest.means_configuration
                        || file.good.as_ref().is_some_and(|good| good.means_configuration),
                });
            }
        }
        if !(verdict.accepted.is_empty() && verdict.removed.is_empty()) {
            let in_force = |wanted| {
                let chosen = self.files.values().filter(move |file| file.is_controller_config == wanted);
                chosen.filter_map(|file| file.good.as_deref())
            };
            let mut set = ManifestSet::in_force(in_force(false), in_force(true).next());
            let orphaned = set.configuration().is_none() && self.set.configuration().is_some();
            if orphaned {
                set.keep_configuration(&self.set);
            }
            verdict.configuration_kept = orphaned && !self.orphaned;
            self.orphaned = orphaned;
            self.set = Arc::new(set);
            self.held = self.set.faults();
            verdict.set = Arc::clone(&self.set);
        }
        verdict.faults.extend(self.held.iter().cloned());
        verdict.faults.sort();
        // A version that is held and its refused successor may be told of the same line.
        verdict.faults.dedup();
        verdict
    }

    /// Takes in the new contents; says which files are gone.
    fn renew(&mut self, files: Files) -> Vec<String> {
        let unread: Vec<String> =
            files.tree.iter().filter(|(_, content)| content.is_err()).map(|(name, _)| format!("{name}/")).collect();
        let tree = files.tree.into_iter().map(|(name, content)| (name, content, false));
        let controller_config = files.controller_config.map(|(name, content)| (name, content, true));
        let mut seen = BTreeSet::new();
        for (name, content, is_controller_config) in tree.chain(controller_config) {
            seen.insert(name.clone());
            let before = self.files.remove(&name);
            let file = match before {
                Some(file) if file.content == content => file,
                before => File {
                    newest: Arc::new(File::read(&name, &content, is_controller_config)),
                    good: before.and_then(|file| file.good),
                    content,
                    told: None,
                    is_controller_config,
                },
            };
            self.files.insert(name, file);
        }
        let gone = |name: &String| !seen.contains(name) && !unread.iter().any(|above| name.starts_with(above));
        let removed: Vec<String> = self.files.keys().filter(|name| gone(name)).cloned().collect();
        for name in &removed {
            self.files.remove(name);
        }
        removed
    }

    /// Which files count in their newest version, and what is wrong with the others.
    ///
    /// What contradicts itself between files falls back to the last good version, until nothing does: first the
    /// newcomers, whose good version does not hold what is contradicted, so that a file that was never accepted keeps
    /// nobody from changing one that was. Once nothing is contradicted, so does what is outside of the limits. This
    /// ends: every round has fewer new versions, and the good versions alone agree, as they were in force together.
    fn choose(&self) -> (BTreeSet<String>, Told) {
        let (mut counting, mut refused) = (BTreeSet::new(), Told::new());
        for (name, file) in &self.files {
            if file.newest.faults.is_empty() {
                counting.insert(name.clone());
            } else {
                refused.insert(name.clone(), file.newest.faults.clone());
            }
        }
        let given = self.files.values().any(|file| file.is_controller_config);
        loop {
            let tree: Vec<&Parsed> = self
                .files
                .iter()
                .filter(|(_, file)| !file.is_controller_config)
                .filter_map(|(name, file)| file.version(counting.contains(name)))
                .collect();
            let (mut newcomers, mut incumbents): (Told, Told) = Default::default();
            for (about, fault) in between_files(&tree, given) {
                let name = fault.place.file.to_string();
                let Some(file) = self.files.get(&name).filter(|file| file.is_new() && counting.contains(&name)) else {
                    continue;
                };
                let held = file.good.as_ref().is_some_and(|good| about.is_held_by(good));
                let side = if held { &mut incumbents } else { &mut newcomers };
                side.entry(name).or_default().push(fault);
            }
            let mut fallen = if newcomers.is_empty() { incumbents } else { newcomers };
            if fallen.is_empty() {
                fallen = self.outside(&counting, &tree);
            }
            counting.retain(|name| !fallen.contains_key(name));
            if fallen.is_empty() {
                return (counting, refused);
            }
            refused.extend(fallen);
        }
    }

    /// The new versions with a manifest outside of the limits, if `tree` is to be in force. Not among them are files
    /// with settings of their own: what is outside in them is held, as it is in good versions, lest a manifest keep
    /// its ceiling from being lowered, or the kill switch from being used.
    fn outside(&self, counting: &BTreeSet<String>, tree: &[&Parsed]) -> Told {
        let apart = self.files.iter().find(|(_, file)| file.is_controller_config);
        let apart = apart.and_then(|(name, file)| file.version(counting.contains(name)));
        let Some(settings) = configuration(tree.iter().copied(), apart).or(self.set.configuration()) else {
            return Told::new();
        };
        let new = self.files.iter().filter(|(name, file)| counting.contains(*name) && file.is_new());
        new.filter(|(_, file)| file.newest.configurations.is_empty())
            .map(|(name, file)| {
                let faults = file.newest.permissions.iter().flat_map(|permissions| settings.outside(permissions));
                (name.clone(), faults.collect::<Vec<_>>())
            })
            .filter(|(_, faults)| !faults.is_empty())
            .collect()
    }
}
