//! Which roles selectors pick by a reading, and what is told of that.
//!
//! What must stay true: selectors are resolved by a reading that has looked for what they seek; what a reading cannot tell
//! stays as the reading before has told; and each standing fact is told once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::Account;
use crate::{
    controller::slot::Slot,
    iam::{ErrorClass, Iam, Manner},
    manifest::{ManifestSet, PolicyKey, Selection, Whose},
    names::RoleName,
    plan::{self, PassedOver, Picks, Reason},
    telemetry::{Event, EventName, emit},
};

/// What was told of selectors, and still stands.
#[derive(Debug, Default)]
pub(super) struct SelectorsTold {
    /// Why nobody knows what they pick.
    unresolved: Option<String>,
    /// Manifests whose selectors pick nothing, and which selectors these were: one that was corrected is another one.
    empty: BTreeMap<String, String>,
    /// Manifests about other accounts, which nobody enters.
    elsewhere: BTreeSet<String>,
    /// Roles that are not picked since it is not sure that nodes can use them.
    passed_over: BTreeMap<String, BTreeSet<RoleName>>,
}

/// What selectors pick, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Selecting {
    /// What they have picked by the last reading.
    pub(super) selection: Selection,
    /// What came of each by the last reading that could tell.
    pub(super) picks: Vec<Picks>,
    pub(super) told: SelectorsTold,
    /// What was asked for before, until it was told that it no longer is. Where selectors may turn out to ask for it still,
    /// that waits for a reading.
    pub(super) departed: BTreeMap<PolicyKey, Slot>,
    /// Whether it does.
    pub(super) awaits_reading: bool,
}

impl<I: Iam> Account<I> {
    /// Finds out what the selectors pick by the newest reading, and has that wanted.
    pub(super) fn take_selectors(&mut self, manner: &Manner) {
        if self.asked.sought.is_empty() {
            return;
        }
        let manifests = Arc::clone(&self.manifests.borrow());
        let whose = Whose { account: &self.caller.account, is_own: self.is_own };
        let selected =
            plan::select(&manifests, whose, &self.seen.inventory, &self.circumstances, &self.selecting.selection);
        let is_news = selected.selection != self.selecting.selection;
        if is_news || self.selecting.awaits_reading {
            self.selecting.selection = selected.selection;
            self.want(&manifests, true, true);
            self.selecting.awaits_reading = false;
            self.release();
            // What is wanted of a role that was found by what it is like was looked for there; what its manifest called
            // the policy before was not.
            let was_looked_for = |(key, slot): (&PolicyKey, &Slot)| {
                slot.wanted.successor.is_none() || self.seen.looked_for.names(&key.0, &key.1)
            };
            if self.slots.iter().all(was_looked_for) {
                self.seen.looked_for = Arc::clone(&self.asked);
            } else {
                self.readings.next = Instant::now();
            }
        }
        // What selectors make of an account is for whoever leads to tell.
        if !self.circumstances.stands_by {
            self.tell_unresolved(manner);
            if matches!(manner, Manner::InBulk) {
                self.tell_picks(&selected.picks);
            }
        }
        self.selecting.picks = selected.picks;
    }

    /// Says that roles by selector cannot be found, when it begins to be so, and that they can be again.
    fn tell_unresolved(&mut self, manner: &Manner) {
        let why = match manner {
            Manner::OneByOne(said) => Some(format!("the bulk read is denied ({said}), and no other call finds roles")),
            Manner::InBulk | Manner::ByRole { .. } => None,
        };
        let was_told = std::mem::replace(&mut self.selecting.told.unresolved, why);
        match (&self.selecting.told.unresolved, was_told) {
            (Some(why), None) => emit(&Event {
                reason: Some(Reason::Failed(ErrorClass::Denied).as_str()),
                hint: Some("allow iam:GetAccountAuthorizationDetails on *: see deploy/iam".to_owned()),
                ..self.about_account(
                    EventName::SelectorUnresolved,
                    &format!("has roles that selectors would pick, and they cannot be found: {why}; those that were picked before are kept"),
                )
            }),
            (None, Some(_)) => emit(&self.about_account(
                EventName::SelectorResolved,
                "can be searched again for the roles that selectors pick",
            )),
            _ => {}
        }
    }

    fn tell_picks(&mut self, picks: &[Picks]) {
        let told = std::mem::take(&mut self.selecting.told.empty);
        let mut empty = BTreeMap::new();
        for pick in picks.iter().filter(|pick| pick.picked == 0) {
            if told.get(&pick.manifest) != Some(&pick.selector) {
                let over = pick.passed_over_in_words();
                let over = if over.is_empty() { over } else { format!("; it passes over {over}") };
                emit(&Event {
                    manifest: Some(pick.manifest.clone()),
                    hint: Some("compare it with the roles' paths, names and tags: `explain ROLE` says of a role why it is not picked".to_owned()),
                    ..self.about_account(
                        EventName::SelectorEmpty,
                        &format!("has no role that the selector of manifest {} picks ({}){over}", pick.manifest, pick.selector),
                    )
                });
            }
            empty.insert(pick.manifest.clone(), pick.selector.clone());
        }
        for pick in picks.iter().filter(|pick| pick.picked > 0 && told.contains_key(&pick.manifest)) {
            let roles = if pick.picked == 1 { "1 role".to_owned() } else { format!("{} roles", pick.picked) };
            emit(&Event {
                manifest: Some(pick.manifest.clone()),
                ..self.about_account(
                    EventName::SelectorPicks,
                    &format!("has {roles} now that the selector of manifest {} picks", pick.manifest),
                )
            });
        }
        self.selecting.told.empty = empty;
        self.tell_passed_over(picks);
    }

    fn tell_passed_over(&mut self, picks: &[Picks]) {
        let told = std::mem::take(&mut self.selecting.told.passed_over);
        for pick in picks {
            let doubtful = pick.passed_over.iter().filter(|(_, why)| matches!(why, PassedOver::TrustNotSure(_)));
            for (role, why) in doubtful {
                if !told.get(&pick.manifest).is_some_and(|told| told.contains(role)) {
                    emit(&Event {
                        account: Some(self.caller.account.to_string()),
                        role: Some(role.to_string()),
                        manifest: Some(pick.manifest.clone()),
                        hint: Some(format!(
                            "if it is meant, name {role} under `roles`, or have its trust policy admit the service plainly"
                        )),
                        ..Event::new(
                            EventName::SelectorPassedOver,
                            format!(
                                "role {role} in account {} is matched by the selector of manifest {}, and not picked: {why}",
                                self.caller.account, pick.manifest
                            ),
                        )
                    });
                }
                self.selecting.told.passed_over.entry(pick.manifest.clone()).or_default().insert(role.clone());
            }
        }
    }

    /// Why it is not known what selectors pick; nothing where it is.
    pub(super) fn unresolved(&self) -> Vec<String> {
        let account = &self.caller.account;
        let unread = || match &self.readings.failed {
            Some((error, _)) => error.to_string(),
            None => "it was not read in time".to_owned(),
        };
        let why = self.selecting.told.unresolved.clone().or_else(|| self.selecting.awaits_reading.then(unread));
        let here = why.map(|why| format!("in account {account} it is not known what selectors pick: {why}"));
        let elsewhere = self.is_own.then(|| plan::selectors_elsewhere(&self.manifests.borrow(), account));
        here.into_iter().chain(elsewhere.into_iter().flatten()).collect()
    }

    /// Forgets what was told of selectors where there are none any more.
    pub(super) fn tell_selectors_gone(&mut self) {
        let elsewhere = std::mem::take(&mut self.selecting.told.elsewhere);
        self.selecting.told = SelectorsTold { elsewhere, ..SelectorsTold::default() };
    }

    /// Says of selectors for other accounts that nobody enters those, once for each manifest.
    pub(super) fn tell_selectors_elsewhere(&mut self, manifests: &ManifestSet) {
        let told = std::mem::take(&mut self.selecting.told.elsewhere);
        if !self.is_own || self.circumstances.stands_by {
            return;
        }
        for (manifest, account) in manifests.elsewhere(&self.caller.account) {
            if manifest.selector.is_none() || !self.selecting.told.elsewhere.insert(manifest.name.clone()) {
                continue;
            }
            if !told.contains(&manifest.name) {
                let own = &self.caller.account;
                emit(&Event {
                    account: Some(account.to_string()),
                    manifest: Some(manifest.name.clone()),
                    reason: Some(Reason::AccountMismatch.as_str()),
                    hint: Some(Reason::AccountMismatch.hint().to_owned()),
                    ..Event::new(
                        EventName::SelectorUnresolved,
                        format!(
                            "nobody knows what the selector of manifest {} picks in account {account}: the credentials belong to account {own}",
                            manifest.name
                        ),
                    )
                });
            }
        }
    }
}
