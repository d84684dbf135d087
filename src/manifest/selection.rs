//! Which roles of an account the manifests' selectors have picked, as of the last reading of it.
//!
//! Pure. Knows who has picked what, and not how that is found out. What must stay true: what is kept from one state of the
//! manifests to the next is what the very same selector has picked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{ManifestSet, Permissions, Platform, Whose};
use crate::{inventory::Sought, names::RoleName, selector::Selector};

/// The roles that selectors have picked, by the names of the manifests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    by_manifest: BTreeMap<String, Picked>,
}

#[derive(Debug, Clone, PartialEq)]
struct Picked {
    selector: Arc<Selector>,
    platform: Platform,
    roles: BTreeSet<RoleName>,
}

impl Selection {
    /// Takes in what the selector of a manifest has picked. A manifest without one picks nothing.
    pub fn insert(&mut self, manifest: &Permissions, roles: BTreeSet<RoleName>) {
        if let Some(selector) = &manifest.selector {
            // Made at once a set leaves no room in its nodes.
            let roles = roles.into_iter().collect();
            let picked = Picked { selector: Arc::clone(selector), platform: manifest.platform, roles };
            self.by_manifest.insert(manifest.name.clone(), picked);
        }
    }

    /// The roles that the selector of this manifest has picked.
    pub fn roles_of(&self, manifest: &str) -> impl Iterator<Item = &RoleName> {
        self.by_manifest.get(manifest).into_iter().flat_map(|picked| &picked.roles)
    }

    /// Whether the selector of this manifest has picked this role.
    #[must_use]
    pub fn holds(&self, manifest: &str, role: &RoleName) -> bool {
        self.by_manifest.get(manifest).is_some_and(|picked| picked.roles.contains(role))
    }

    /// Forgets what was picked by selectors that newer manifests do not have, or have changed.
    pub fn keep_only(&mut self, manifests: &ManifestSet, whose: Whose<'_>) {
        let newest: BTreeMap<&str, &Permissions> =
            manifests.selecting(whose).map(|manifest| (manifest.name.as_str(), manifest)).collect();
        self.by_manifest.retain(|name, picked| {
            newest.get(name.as_str()).is_some_and(|manifest| {
                manifest.platform == picked.platform && manifest.selector.as_ref() == Some(&picked.selector)
            })
        });
    }
}

impl ManifestSet {
    /// The manifests about this account that have a selector.
    pub fn selecting<'a>(&'a self, whose: Whose<'a>) -> impl Iterator<Item = &'a Permissions> {
        let selecting = self.permissions().iter().filter(|manifest| manifest.selector.is_some());
        selecting.filter(move |manifest| self.is_about(manifest, whose)).map(Arc::as_ref)
    }

    /// What a reading of this account is to look for, beside the roles that are named.
    #[must_use]
    pub fn sought(&self, whose: Whose<'_>) -> BTreeSet<Sought> {
        let sought = |manifest: &Permissions| {
            let selector = Arc::clone(manifest.selector.as_ref()?);
            Some(Sought { selector, policy: manifest.policy_name.clone() })
        };
        self.selecting(whose).filter_map(sought).collect()
    }
}
