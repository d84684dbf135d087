//! The manifests: from the bytes of files to what is desired of each role, or to faults that say where and why.
//!
//! ```text
//! bytes ─▶ source ─▶ tree ─▶ shape ─▶ types (serde_yaml) ─▶ judge ─▶ Permissions ─▶ set ─▶ Desired
//!          text?     YAML,   keys,    plain structs         sense                   between files
//!                    places  types
//! ```
//!
//! Pure: no files, no clock, no logging, and nothing of AWS but its names. What must stay true: every fault of a file
//! is found in one go and carries its place, and a file with any fault yields nothing that could be put in force.

mod accounts;
mod ceiling;
mod fault;
pub mod import;
mod judge;
#[cfg(test)]
mod reference;
mod selection;
mod set;
mod shape;
mod source;
mod standing;
mod tree;
mod types;
pub mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    accounts::{Accounts, ConfiguredAccount, Whose},
    fault::{Fault, Place},
    selection::Selection,
    set::{Desired, DesiredPolicy, ManifestSet, Origin, PolicyKey, PolicyTerms, Successor},
    source::{LARGEST_FILE, too_large},
    standing::{Content, Files, Rejected, Standing, Verdict},
    types::schema,
};
use self::{
    ceiling::Bounded,
    fault::{Faults, KeyPath},
    judge::Judge,
    shape::{Shape, nearest},
    source::Source,
    tree::{Node, Value},
    types::{API_VERSION, CONFIGURATION, ConfigurationManifest, PERMISSIONS, PermissionsManifest, schema_of},
};
use crate::{
    names::{AccountId, Partition, PolicyName, QueueUrl, RoleName},
    policy::{limits::Limits, session_manager::Settings},
    selector::Selector,
};

/// How often everything is checked where no manifest says otherwise.
pub const USUAL_RESYNC_INTERVAL: Duration = Duration::from_secs(60);

/// What to do about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Repair it.
    #[default]
    Enforce,
    /// Only tell it.
    Observe,
}

impl Mode {
    /// The word for it, as in manifests and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// Whether the policy shall be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is put there, and kept.
    #[default]
    Present,
    /// It is removed, where the whole live document is one that these very settings yield.
    Absent,
}

impl State {
    /// The word for it, as in manifests and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "absent",
        }
    }
}

/// How much may change in an account within any hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guards {
    /// Writes of either kind.
    pub max_changes_per_hour: u32,
    /// Policies removed.
    pub max_deletes_per_hour: u32,
    /// The share of the managed roles that may be written to, in percent; one role always may. None: no such bound.
    pub max_change_percent: Option<u8>,
}

impl Default for Guards {
    fn default() -> Self {
        Self { max_changes_per_hour: 100, max_deletes_per_hour: 5, max_change_percent: None }
    }
}

/// What kind of node uses a role: what readiness asks of its trust policy and instance profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// An EC2 instance.
    #[default]
    Ec2,
    /// A machine outside AWS, with a hybrid activation.
    Hybrid,
    /// An ECS task.
    Ecs,
}

/// One `kind: SessionManagerPermissions`, checked: which roles, and what their policy shall grant.
#[derive(Debug, Clone, PartialEq)]
pub struct Permissions {
    /// `metadata.name`: unique in the whole tree.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// For people. It may hold anything: it is escaped before it is shown.
    pub description: Option<String>,
    /// The accounts of the roles.
    pub accounts: Accounts,
    /// The roles, as they were written, each once.
    pub roles: Vec<RoleName>,
    /// What further roles are like.
    pub selector: Option<Arc<Selector>>,
    /// The mode, where the manifest names one.
    pub mode: Option<Mode>,
    /// Whether the roles are to be left alone.
    pub suspend: bool,
    /// Whether the policy shall be there.
    pub state: State,
    /// The name of the inline policy.
    pub policy_name: PolicyName,
    /// What kind of node uses the roles.
    pub platform: Platform,
    /// The partition that the keys' ARNs name.
    pub partition: Option<Partition>,
    /// What the policy shall grant.
    pub settings: Settings,
    /// What in it a limit can concern.
    bounded: Box<[Bounded]>,
}

/// The `kind: ControllerConfiguration`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerConfiguration {
    /// Where its name stands.
    pub place: Place,
    /// The kill switch: nothing is written anywhere.
    pub suspend: bool,
    /// How often everything is checked, at the latest; 1 second to 24 hours.
    pub resync_interval: Option<Duration>,
    /// The same while change events are seen to arrive; never less than without them.
    pub resync_interval_with_events: Option<Duration>,
    /// The queue that changes in IAM are heard of by.
    pub queue_url: Option<QueueUrl>,
    /// The mode of manifests that name none.
    pub default_mode: Mode,
    /// How much may change within an hour.
    pub guards: Guards,
    /// The ceiling over all manifests.
    pub limits: Arc<Limits>,
    /// The accounts that are looked after beside that of the controller's own credentials; where there are any, no
    /// manifest may name another one.
    pub accounts: BTreeMap<AccountId, ConfiguredAccount>,
}

/// What one file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The good documents that name roles. They are of no use while the file has a fault.
    pub permissions: Vec<Arc<Permissions>>,
    /// The good documents that hold the controller's settings: more than one is a fault of the set.
    pub configurations: Vec<ControllerConfiguration>,
    /// Whether the file says `kind: ControllerConfiguration` anywhere, good or not. A broken file that so much as
    /// mentions the kind means it: whoever wrote it may have pulled the kill switch.
    pub means_configuration: bool,
    /// All documents that have a sound name, good or not: what no fault may hide from other files.
    named: Vec<Named>,
    /// Everything that is wrong in the file, in the order of the text.
    pub faults: Vec<Fault>,
}

/// The name of a document, whatever else is in it.
#[derive(Debug, Clone, PartialEq)]
struct Named {
    name: String,
    place: Place,
    is_configuration: bool,
}

/// Reads one file. `file` is its name for people; nothing is opened.
#[must_use]
pub fn parse(file: &str, bytes: &[u8]) -> Parsed {
    let (mut parsed, mut faults) = (Parsed::default(), Faults::default());
    match Source::read(file, bytes) {
        Ok(source) => read(&source, &mut parsed, &mut faults),
        Err(fault) => faults.tell(|| *fault),
    }
    parsed.faults = faults.into_told();
    let mention = b"ControllerConfig";
    parsed.means_configuration |= !parsed.faults.is_empty()
        && parsed.configurations.is_empty()
        && bytes.windows(mention.len()).any(|window| window == mention);
    parsed
}

/// Reads the file of `--controller-config`: it holds one `ControllerConfiguration`, and nothing else.
#[must_use]
pub fn parse_controller_configuration(file: &str, bytes: &[u8]) -> Parsed {
    let mut parsed = parse(file, bytes);
    parsed.means_configuration = true;
    let only = "the file of `--controller-config` holds one `ControllerConfiguration`, and nothing else";
    let mut surplus: Vec<Place> = parsed.permissions.iter().map(|permissions| permissions.place.clone()).collect();
    surplus.extend(parsed.configurations.iter().skip(1).map(|configuration| configuration.place.clone()));
    for place in surplus {
        let hint = Some("move this document into the directory of manifests, or remove it".to_owned());
        parsed.faults.push(Fault {
            place,
            path: "metadata.name".to_owned(),
            message: only.to_owned(),
            hint,
            stands_for: 1,
        });
    }
    if parsed.configurations.is_empty() && parsed.faults.is_empty() {
        parsed.faults.push(Fault::of_file(
            file,
            only,
            format!("write `kind: {CONFIGURATION}`, or leave the option out"),
        ));
    }
    parsed.faults.sort();
    parsed
}

fn read(source: &Source<'_>, parsed: &mut Parsed, faults: &mut Faults) {
    for document in tree::read(source, faults) {
        let before = faults.count();
        tree::check(source, &document, &KeyPath::default(), faults);
        let known = faults.count();
        let kind = kind_of(source, &document, faults);
        parsed.means_configuration |= kind == Some(CONFIGURATION);
        parsed.named.extend(kind.and_then(|kind| named(source, &document, kind)));
        let (Some(schema), true) = (kind.and_then(schema_of), faults.count() == known) else { continue };

        let mut shape = Shape { source, faults: &mut *faults, stand_ins: BTreeSet::new() };
        let Some(sound) = shape.check(&document, document.mark, schema, &KeyPath::default()) else { continue };
        let stand_ins = shape.stand_ins;

        let mut judge = Judge::new(source, &document, &stand_ins, faults);
        let (mut permissions, mut configuration) = (None, None);
        let read = if kind == Some(CONFIGURATION) {
            serde_yaml::from_value::<ConfigurationManifest>(sound)
                .map(|manifest| configuration = judge.configuration(&manifest))
        } else {
            serde_yaml::from_value::<PermissionsManifest>(sound)
                .map(|manifest| permissions = judge.permissions(manifest).map(Arc::new))
        };
        if let Err(error) = read {
            // What the schema and the types do not agree about.
            let hint = "write it in the plainest form of YAML".to_owned();
            faults.tell(|| source.fault(document.mark, &KeyPath::default(), error.to_string(), Some(hint)));
        }
        if faults.count() == before {
            parsed.permissions.extend(permissions);
            parsed.configurations.extend(configuration);
        }
    }
}

fn named(source: &Source<'_>, document: &Node, kind: &str) -> Option<Named> {
    let Value::Text(name) = &*document.entry("metadata")?.value.entry("name")?.value.value else { return None };
    let place = || source.place(document.mark_at(&KeyPath::default().key("metadata").key("name")));
    judge::is_name(name).then(|| Named { name: name.clone(), place: place(), is_configuration: kind == CONFIGURATION })
}

/// The kind of a document, if it is one of ours and of our version.
fn kind_of(source: &Source<'_>, document: &Node, faults: &mut Faults) -> Option<&'static str> {
    let root = KeyPath::default();
    let mut tell = |mark, path: &KeyPath, message: String, hint: String| {
        faults.tell(|| source.fault(mark, path, message, Some(hint)));
    };
    if !matches!(*document.value, Value::Map(_)) {
        let hint = format!("a manifest begins with `apiVersion: {API_VERSION}` and `kind:`");
        tell(document.mark, &root, "this document is not a manifest: expected `key: value` lines".to_owned(), hint);
        return None;
    }
    let text = |key: &str| match document.entry(key).map(|entry| &*entry.value.value) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let kinds = [PERMISSIONS, CONFIGURATION];
    let kind = match text("kind") {
        Some(written) => {
            let kind = kinds.into_iter().find(|kind| *kind == written);
            if kind.is_none() {
                let hint = match nearest(written, &kinds) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the kinds are {}; keep other files out of this directory", kinds.join(" and ")),
                };
                let path = root.key("kind");
                tell(document.mark_at(&path), &path, format!("unknown kind `{}`", fault::shown(written)), hint);
            }
            kind
        }
        None => {
            let message = "this document has no `kind`".to_owned();
            tell(document.mark, &root, message, format!("write `kind: {PERMISSIONS}` or `kind: {CONFIGURATION}`"));
            None
        }
    };
    match text("apiVersion") {
        Some(API_VERSION) => kind,
        Some(written) => {
            let path = root.key("apiVersion");
            let message = format!("unknown apiVersion `{}`", fault::shown(written));
            tell(document.mark_at(&path), &path, message, format!("write `apiVersion: {API_VERSION}`"));
            kind
        }
        None => kind, // the shape tells it
    }
}

#[cfg(test)]
mod tests;
