//! Selectors × Inventory → which roles are picked, and which are passed over although they match.
//!
//! Pure. Once for a reading, and everywhere by the same rules. What must stay true: nothing is picked that AWS protects,
//! that the controller itself runs as, that lies outside of the operator's limits, or of which it is not sure that nodes
//! can use it; and what could not be read stays as it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::Serialize;

use super::Circumstances;
use crate::{
    inventory::{Inventory, LiveDocument, Observed, Role},
    manifest::{ManifestSet, Permissions, Platform, Selection, Whose},
    names::{AccountId, RoleName},
    readiness::{self, Standing},
};

/// What came of all selectors of an account.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    /// The roles that are picked.
    pub selection: Selection,
    /// The same in numbers, with what was passed over; by manifest.
    pub picks: Vec<Picks>,
}

/// What came of one selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picks {
    /// The `metadata.name` of the manifest.
    pub manifest: String,
    /// The selector in words.
    pub selector: String,
    /// How many roles are picked.
    pub picked: usize,
    /// The roles that match, and are not picked.
    pub passed_over: BTreeMap<RoleName, PassedOver>,
}

/// Why a role is not picked that a selector matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PassedOver {
    /// AWS protects it.
    Protected,
    /// The controller itself runs as it.
    OwnRole,
    /// It lies outside of the operator's limits.
    OutsideLimits,
    /// Its trust policy does not admit the service of the platform.
    TrustRefuses,
    /// Whether it does is not sure. Why, in words.
    TrustNotSure(String),
}

/// Which roles the selectors of an account's manifests pick. `before` is what they had picked by the reading before: where
/// a role could not be read, or not in full, what was known of it still holds.
#[must_use]
pub fn select(
    manifests: &ManifestSet,
    whose: Whose<'_>,
    inventory: &Inventory,
    circumstances: &Circumstances,
    before: &Selection,
) -> Selected {
    let mut selected = Selected::default();
    let mut trusts = Trusts::new();
    for manifest in manifests.selecting(whose) {
        let (mut picked, mut passed_over) = (BTreeSet::new(), BTreeMap::new());
        for (name, observed) in inventory.iter() {
            if manifests.only_role().is_some_and(|only| only != name) {
                continue;
            }
            // Looked up only for what the selector matches.
            let was_picked = || before.holds(&manifest.name, name);
            match observed {
                Observed::Found(role) => {
                    match judge(manifest, role, was_picked, whose.account, circumstances, &mut trusts) {
                        Some(Ok(())) => _ = picked.insert(role.name.clone()),
                        Some(Err(why)) => _ = passed_over.insert(role.name.clone(), why),
                        None => {}
                    }
                }
                Observed::Unknown(_) if was_picked() => _ = picked.insert(name.clone()),
                Observed::Unknown(_) | Observed::NotFound => {}
            }
        }
        let selector = manifest.selector.as_ref().map(ToString::to_string).unwrap_or_default();
        selected.picks.push(Picks { manifest: manifest.name.clone(), selector, picked: picked.len(), passed_over });
        selected.selection.insert(manifest, picked);
    }
    selected
}

/// That nobody knows what the selectors of manifests pick that are about another account than that of the credentials.
#[must_use]
pub fn selectors_elsewhere(manifests: &ManifestSet, own: &AccountId) -> Vec<String> {
    let elsewhere = manifests.elsewhere(own).filter(|(manifest, _)| manifest.selector.is_some());
    let told = elsewhere.map(|(manifest, account)| {
        let name = &manifest.name;
        format!("what the selector of manifest {name} picks in account {account} is not known: the credentials belong to account {own}")
    });
    told.collect()
}

/// Why the selector of this manifest does not pick a role, as the rest of a sentence about the role; none where it does.
#[must_use]
pub fn why_not(
    manifest: &Permissions,
    role: &Role,
    account: &AccountId,
    circumstances: &Circumstances,
) -> Option<String> {
    let selector = manifest.selector.as_ref()?;
    if let Some(mismatch) = selector.mismatch(role.name.as_str(), &role.path, |key| role.tag(key)) {
        return Some(mismatch.to_string());
    }
    match judge(manifest, role, || false, account, circumstances, &mut Trusts::new()) {
        Some(Err(why)) => Some(format!("the selector matches, and passes it over: {why}")),
        _ => None,
    }
}

/// Whether trust policies admit the services of platforms: few texts are shared by many roles of an account.
type Trusts = BTreeMap<(*const LiveDocument, Platform), Result<(), PassedOver>>;

/// Whether a role is picked; none where it is not even meant.
fn judge(
    manifest: &Permissions,
    role: &Role,
    was_picked: impl Fn() -> bool,
    account: &AccountId,
    circumstances: &Circumstances,
    trusts: &mut Trusts,
) -> Option<Result<(), PassedOver>> {
    let selector = manifest.selector.as_ref()?;
    if selector.mismatch(role.name.as_str(), &role.path, |key| role.tag(key)).is_some() {
        return None;
    }
    if role.is_protected() {
        return Some(Err(PassedOver::Protected));
    }
    if circumstances.own_roles.contains(&role.name) {
        return Some(Err(PassedOver::OwnRole));
    }
    if circumstances.limits.outside_paths(&role.path).is_some() {
        return Some(Err(PassedOver::OutsideLimits));
    }
    let Some(around) = &role.surroundings else {
        let why = "it was not read, since the bulk read is denied".to_owned();
        return Some(if was_picked() { Ok(()) } else { Err(PassedOver::TrustNotSure(why)) });
    };
    let trust = trusts.entry((Arc::as_ptr(&around.trust), manifest.platform)).or_insert_with(|| {
        let check = readiness::admits(account, around, manifest.platform);
        match check.standing {
            Standing::Met => Ok(()),
            Standing::Missing => Err(PassedOver::TrustRefuses),
            Standing::Conditional | Standing::Unknown => Err(PassedOver::TrustNotSure(check.evidence)),
        }
    });
    Some(trust.clone())
}

impl Picks {
    /// How many roles match and are not picked, by the cause: `2 protected by AWS, 1 outside of spec.limits`. Empty where
    /// there are none.
    #[must_use]
    pub fn passed_over_in_words(&self) -> String {
        let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
        for why in self.passed_over.values() {
            *counts.entry(why.as_str()).or_default() += 1;
        }
        counts.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", ")
    }
}

impl PassedOver {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Protected => "protected by AWS",
            Self::OwnRole => "that the controller itself runs as",
            Self::OutsideLimits => "outside of spec.limits",
            Self::TrustRefuses => "whose trust policy does not admit the platform's service",
            Self::TrustNotSure(_) => "whose trust policy leaves it open whether it admits the platform's service",
        }
    }
}

/// As the end of a sentence about the role.
impl fmt::Display for PassedOver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protected => formatter.write_str("AWS protects it"),
            Self::OwnRole => formatter.write_str("the controller itself runs as it"),
            Self::OutsideLimits => formatter.write_str("it lies outside of spec.limits of the ControllerConfiguration"),
            Self::TrustRefuses => formatter.write_str("its trust policy does not admit the platform's service"),
            Self::TrustNotSure(why) => {
                write!(formatter, "it is not sure that its trust policy admits the platform's service: {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
