//! Manifests for what an account holds already: from its roles' policies to manifests that change nothing.
//!
//! Pure. What must stay true: what is written here was read back without a fault, and yields for each of its roles a document
//! that means what the role's own document means. What cannot be said so is listed with its reason, never left out silently.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Desired, ManifestSet, parse, write};
use crate::{
    inventory::{Documents, Inventory, LiveDocument, Role},
    names::{AccountId, Partition, PolicyName, RoleName},
    policy::{
        compare::{Change, Direction, Drift, compare},
        limits::Limits,
        session_manager::{Settings, permits_sessions, some_other_account},
    },
    text::counted,
};

/// An account as it was read: each role in full.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The partition that it lies in.
    pub partition: &'a Partition,
    /// Its roles.
    pub inventory: &'a Inventory,
    /// The only role that is asked about, where it is but one.
    pub only: Option<&'a RoleName>,
    /// What manifests want there already: it is left to them.
    pub desired: &'a Desired,
}

/// What came of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The manifests, each a YAML document.
    pub manifests: Vec<String>,
    /// The roles that they name.
    pub roles: BTreeSet<RoleName>,
    /// How many policies they are about.
    pub policies: usize,
    /// How many policies there are that manifests name already.
    pub known: usize,
    /// How many roles were looked at.
    pub looked_at: usize,
    /// The roles that are permitted in ways that no manifest keeps, by the way, in words. A role may be among those above.
    pub listed: BTreeMap<String, BTreeSet<RoleName>>,
    account: Option<AccountId>,
}

/// Roles whose policies of one name can be asked for by the same settings.
struct Alike {
    settings: Settings,
    roles: Vec<RoleName>,
}

/// The settings that yield a document, or how the nearest fall short of it.
type Judged = Result<Settings, String>;

/// The manifests for an account's roles that have Session Manager policies of their own, under the settings of `set`.
#[must_use]
pub fn import(found: Found<'_>, set: &ManifestSet) -> Imported {
    let mut imported = Imported { account: Some(found.account.clone()), ..Imported::default() };
    let mut documents = Documents::default();
    let mut judged: BTreeMap<*const LiveDocument, (Arc<LiveDocument>, Judged)> = BTreeMap::new();
    let mut groups: BTreeMap<(PolicyName, String), Alike> = BTreeMap::new();
    let limits = set.limits();
    for (_, role) in found.inventory.found().filter(|(name, _)| found.only.is_none_or(|only| only == *name)) {
        imported.looked_at += 1;
        let (mut is_permitted, mut list) = (false, Vec::new());
        for (policy, live) in inline_policies(role, &mut documents) {
            match live.parsed() {
                Ok(document) if !permits_sessions(document) => continue,
                Ok(_) => {}
                Err(why) if live.text().to_ascii_lowercase().contains("ssmmessages") => {
                    list.push(format!("the inline policy {policy}, which cannot be read as a policy: {why}"));
                    continue;
                }
                Err(_) => continue,
            }
            is_permitted = true;
            let name = policy.parse::<PolicyName>();
            if let Ok(name) = &name
                && found.desired.policies.contains_key(&(role.name.clone(), name.clone()))
            {
                imported.known += 1;
                continue;
            }
            let (_, settings) = judged
                .entry(Arc::as_ptr(&live))
                .or_insert_with(|| (Arc::clone(&live), judge(&live, found.account, found.partition)));
            match (out_of_reach(role, &limits), name, settings) {
                (Some(why), _, _) => list.push(format!("the inline policy {policy}, but {why}")),
                (None, Err(error), _) => list.push(format!("the inline policy {policy}: {error}")),
                (None, Ok(_), Err(why)) => {
                    list.push(format!("the inline policy {policy}, which says what no manifest can: {why}"));
                }
                (None, Ok(name), Ok(settings)) => {
                    let document = settings.document(found.account, found.partition).as_str().to_owned();
                    let alike = || Alike { settings: settings.clone(), roles: Vec::new() };
                    groups.entry((name, document)).or_insert_with(alike).roles.push(role.name.clone());
                }
            }
        }
        if !is_permitted {
            list.extend(managed(role));
        }
        for way in list {
            imported.listed.entry(comment(&way)).or_default().insert(role.name.clone());
        }
    }
    // Manifests may name no account but those that are configured; what names none is about that of the credentials.
    let is_named = set.accounts().is_empty() || set.accounts().contains_key(found.account);
    for ((policy, _), Alike { settings, roles }) in groups {
        let named: Vec<&RoleName> = roles.iter().collect();
        let text = write::present(found.account, is_named, &policy, &named, &settings);
        match fault_of(&text, found, &settings, set) {
            None => {
                imported.manifests.push(remark(&settings, found.account) + &text);
                imported.policies += roles.len();
                imported.roles.extend(roles);
            }
            Some(why) => {
                let way = format!("the inline policy {policy}, but its manifest would have a fault: {why}");
                imported.listed.entry(comment(&way)).or_default().extend(roles);
            }
        }
    }
    imported
}

/// Every inline policy of a role that may permit sessions, by name.
fn inline_policies(role: &Role, documents: &mut Documents) -> Vec<(String, Arc<LiveDocument>)> {
    let looked_for = role.policies.iter().map(|(name, live)| (name.to_string(), Arc::clone(live)));
    let others = role.surroundings.iter().flat_map(|around| around.others.iter());
    let bearing =
        others.filter_map(|(name, other)| Some((name.to_string(), documents.intern_text(&other.bearing(&role.name)?))));
    looked_for.chain(bearing).collect()
}

/// The managed policies of a role that permit sessions, and those of which nobody knows.
fn managed(role: &Role) -> impl Iterator<Item = String> {
    let attached = role.surroundings.iter().flat_map(|around| &around.attached);
    attached.filter_map(|policy| {
        let arn = &policy.arn;
        let parsed = policy.document.as_ref().map_err(String::as_str).and_then(|document| document.parsed());
        match parsed {
            Ok(document) => permits_sessions(document).then(|| format!("the managed policy {arn}")),
            Err(why) => Some(format!("the managed policy {arn}, perhaps: what it holds is not known ({why})")),
        }
    })
}

/// Why the controller keeps no policy of this role, whatever manifests say.
fn out_of_reach(role: &Role, limits: &Limits) -> Option<String> {
    if role.is_protected() {
        return Some("AWS protects the role".to_owned());
    }
    limits.outside_paths(&role.path).map(|why| format!("{why} (spec.limits of the ControllerConfiguration)"))
}

fn judge(live: &LiveDocument, account: &AccountId, partition: &Partition) -> Judged {
    let document = live.parsed()?;
    let settings = Settings::nearest_to(document, account);
    let comparison = compare(settings.document(account, partition).document(), document);
    match comparison.drift {
        None | Some(Drift::Cosmetic) => Ok(settings),
        Some(_) => Err(differences(&comparison.changes)),
    }
}

/// So many differences are told of a document, and so much of each.
const MOST_DIFFERENCES: usize = 4;
const LONGEST_DIFFERENCE: usize = 160;

/// How a document departs from what the nearest manifest would make of it.
fn differences(changes: &[Change]) -> String {
    let told = changes.iter().take(MOST_DIFFERENCES).map(|change| {
        let side = match change.change {
            Direction::Gained => "more",
            Direction::Lost => "less",
        };
        let summary = change.summary();
        let short: String = summary.chars().take(LONGEST_DIFFERENCE).collect();
        format!("{side}: {short}{}", if short.len() < summary.len() { "…" } else { "" })
    });
    let mut told = told.collect::<Vec<_>>().join("; ");
    if changes.len() > MOST_DIFFERENCES {
        told.push_str(&format!("; and {} more differences", changes.len() - MOST_DIFFERENCES));
    }
    told
}

/// What is wrong with a manifest that was written here; none where reading it yields these very settings.
fn fault_of(text: &str, found: Found<'_>, settings: &Settings, set: &ManifestSet) -> Option<String> {
    let parsed = parse("imported.yaml", text.as_bytes());
    if let Some(fault) = parsed.faults.first() {
        return Some(format!("{}: {}", fault.path, fault.message));
    }
    let [permissions] = &parsed.permissions[..] else { return Some("it is not one manifest".to_owned()) };
    let partition = permissions.partition.as_ref().unwrap_or(found.partition);
    let document = |settings: &Settings, partition| settings.document(found.account, partition);
    if document(&permissions.settings, partition) != document(settings, found.partition) {
        return Some("it would be read as other settings".to_owned());
    }
    set.configuration().and_then(|configuration| {
        let told = configuration.outside(permissions).next().map(|fault| fault.message);
        told.or_else(|| configuration.outside_in(found.account, permissions))
    })
}

/// What a document does not tell, said beside the manifest.
fn remark(settings: &Settings, account: &AccountId) -> String {
    let owner = settings.log_bucket.as_ref().and_then(|bucket| bucket.owner.as_ref());
    let is_stand_in = owner.is_some() && owner == some_other_account(account).as_ref();
    if is_stand_in { OWNER_NOT_TOLD.to_owned() } else { String::new() }
}

const OWNER_NOT_TOLD: &str = "# The bucket is another account's, and the policy does not tell whose: write its id as \
s3BucketOwner.\n# Any account but the role's own yields the same policy.\n";

/// Text that can stand in a comment: one line of printable Latin letters, whoever reads it.
fn comment(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            ' '..='~' | '\u{a1}'..='\u{ff}' => safe.push(character),
            '…' => safe.push_str("..."),
            other => safe.extend(other.escape_unicode()),
        }
    }
    safe
}

/// How wide a comment that lists roles is.
const WIDTH: usize = 100;

/// What came of several accounts as one YAML file: the manifests first, then what they do not keep, in comments.
#[must_use]
pub fn file(accounts: &[Imported]) -> String {
    let mut text = format!("# {}\n", in_words(accounts));
    let manifests: Vec<&str> = accounts.iter().flat_map(|imported| &imported.manifests).map(String::as_str).collect();
    text.push_str(&manifests.join("---\n"));
    text.extend(accounts.iter().map(Imported::remarks));
    text
}

/// What came of several accounts, in one line.
#[must_use]
pub fn in_words(accounts: &[Imported]) -> String {
    let sum = |of: fn(&Imported) -> usize| accounts.iter().map(of).sum();
    let policies = counted(sum(|imported| imported.policies), "inline policy", "inline policies");
    let roles = counted(sum(|imported| imported.roles.len()), "role", "roles");
    let manifests = counted(sum(|imported| imported.manifests.len()), "manifest", "manifests");
    format!("Imported by ssm-role-controller: {policies} of {roles}, in {manifests}.")
}

impl Imported {
    /// The roles that the manifests do not keep, in comments.
    fn remarks(&self) -> String {
        let account = self.account.as_ref().map_or("unknown", AccountId::as_str);
        let mut text = String::new();
        if self.known > 0 {
            let known = counted(
                self.known,
                "policy is left out, since a manifest names it",
                "policies are left out, since manifests name them",
            );
            text.push_str(&format!("# Account {account}: {known} already.\n"));
        }
        if !self.listed.is_empty() {
            let roles: BTreeSet<&RoleName> = self.listed.values().flatten().collect();
            let roles = counted(roles.len(), "role is", "roles are");
            text.push_str(&format!(
                "# Account {account}: {roles} permitted to use Session Manager in ways that no manifest here keeps:\n"
            ));
        }
        for (way, roles) in &self.listed {
            text.push_str(&format!("# - by {way}\n"));
            text.push_str(&wrapped(roles));
        }
        text
    }
}

/// Roles in comments, as many as fit on each line.
fn wrapped(roles: &BTreeSet<RoleName>) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for (index, role) in roles.iter().enumerate() {
        if !line.is_empty() && line.len() + role.as_str().len() > WIDTH {
            lines.push_str(&format!("#  {line}\n"));
            line.clear();
        }
        line.push_str(&format!(" {role}{}", if index + 1 < roles.len() { "," } else { "" }));
    }
    lines + &format!("#  {line}\n")
}
