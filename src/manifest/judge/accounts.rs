//! The sense of what is said of accounts: those that a manifest is about, and those that the controller looks after.
//!
//! Knows what ids, ARNs and sessions look like, and nothing of credentials. What must stay true: a role that is assumed
//! for an account lies in that account, and an account is configured once.

use std::collections::{BTreeMap, BTreeSet};

use super::Judge;
use crate::{
    manifest::{
        Accounts, ConfiguredAccount,
        fault::{KeyPath, shown},
        types::{AccountIds, AccountSpec, Digits, PermissionsSpec},
    },
    names::{AccountId, Partition, Region, RoleArn},
};

/// Accounts, each with the place at which it is named.
type Places = Vec<(AccountId, KeyPath)>;

impl Judge<'_> {
    /// The accounts that a manifest is about.
    pub(super) fn accounts(&mut self, written: &PermissionsSpec, spec: &KeyPath) -> (Accounts, Places) {
        let (one, several) = (spec.key("accountId"), spec.key("accountIds"));
        match (&written.account_id, &written.account_ids) {
            (None, None) => (Accounts::Own, Places::new()),
            (Some(id), None) => {
                let account: Option<AccountId> = self.checked(&id.0, &one);
                let accounts = account.iter().cloned().collect();
                (Accounts::Named(accounts), account.into_iter().map(|account| (account, one.clone())).collect())
            }
            (Some(_), Some(_)) => {
                let hint = "keep `accountIds` for several accounts, `accountId` for one";
                self.tell(&several, "the accounts are given twice: there is an `accountId` too", hint);
                (Accounts::Own, Places::new())
            }
            (None, Some(AccountIds::Word(word))) => {
                if word != "*" {
                    let hint =
                        "write `\"*\"` for every configured account, or a list: `accountIds: [\"111122223333\"]`";
                    self.tell(&several, format!("`{}` is not a list of account ids", shown(word)), hint);
                }
                (Accounts::All, Places::new())
            }
            (None, Some(AccountIds::Listed(ids))) => self.listed_accounts(ids, &several),
        }
    }

    fn listed_accounts(&mut self, ids: &[Digits], path: &KeyPath) -> (Accounts, Places) {
        if ids.is_empty() {
            self.tell(path, "no account is named", "name one at least, or leave `accountIds` out");
        }
        let (mut accounts, mut places) = (BTreeSet::new(), Places::new());
        for (index, id) in ids.iter().enumerate() {
            let path = path.index(index);
            let Some(account) = self.checked::<AccountId>(&id.0, &path) else { continue };
            if accounts.insert(account.clone()) {
                places.push((account, path));
            } else {
                self.tell(&path, format!("the account {account} is named twice"), "keep one of the two");
            }
        }
        (Accounts::Named(accounts), places)
    }

    /// The accounts that the controller looks after.
    pub(super) fn configured(
        &mut self,
        written: &[AccountSpec],
        path: &KeyPath,
    ) -> BTreeMap<AccountId, ConfiguredAccount> {
        let mut configured = BTreeMap::new();
        let mut own: Option<AccountId> = None;
        for (index, spec) in written.iter().enumerate() {
            let path = path.index(index);
            let Some(id) = self.checked::<AccountId>(&spec.id.0, &path.key("id")) else { continue };
            let account = self.account(spec, &id, &path);
            if spec.assume_role_arn.is_none() {
                if let Some(other) = &own {
                    let message = format!(
                        "neither this account nor {other} has a role to assume, and the controller's own credentials are of one account"
                    );
                    self.tell(&path.key("id"), message, "add `assumeRoleArn`");
                }
                own = Some(id.clone());
            }
            if configured.insert(id.clone(), account).is_some() {
                self.tell(&path.key("id"), format!("the account {id} is configured twice"), "keep one of the two");
            }
        }
        configured
    }

    fn account(&mut self, spec: &AccountSpec, id: &AccountId, path: &KeyPath) -> ConfiguredAccount {
        let at_role = path.key("assumeRoleArn");
        let role: Option<RoleArn> = spec.assume_role_arn.as_ref().and_then(|arn| self.checked(arn, &at_role));
        if let Some(role) = role.as_ref().filter(|role| role.account() != id) {
            let message = format!("the role is in account {}, not in {id}", role.account());
            self.tell(&at_role, message, "name a role of this very account: nothing is ever written to another one");
        }
        let region: Option<Region> = spec.region.as_ref().and_then(|text| self.checked(text, &path.key("region")));
        let partition: Option<Partition> =
            spec.partition.as_ref().and_then(|text| self.checked(text, &path.key("partition")));
        let partitions = [
            (path.key("assumeRoleArn"), role.as_ref().map(|role| role.partition().clone())),
            (path.key("region"), region.as_ref().map(Region::partition)),
            (path.key("partition"), partition.clone()),
        ];
        let mut said: Option<Partition> = None;
        for (path, partition) in partitions {
            let Some(partition) = partition else { continue };
            match &said {
                Some(other) if *other != partition => {
                    let message = format!("this is in the partition `{partition}`, and the account in `{other}`");
                    self.tell(&path, message, "an account lies in one partition: leave this out, or correct it");
                }
                _ => said = Some(partition),
            }
        }
        if let Some(partition) = partition.filter(|partition| region.is_none() && partition.home().is_none()) {
            let message = format!("it is not known where the partition `{partition}` has its IAM");
            self.tell(&path.key("partition"), message, "say `region` too");
        }
        let no_role = spec.assume_role_arn.is_none();
        for (key, given) in [("externalId", &spec.external_id), ("sessionName", &spec.session_name)] {
            if given.is_some() && no_role {
                let hint = "add `assumeRoleArn`, or leave this out";
                self.tell(&path.key(key), format!("`{key}` has no effect without a role to assume"), hint);
            }
        }
        if let Some(text) = spec.external_id.as_ref().filter(|text| !is_of(text, 2..=1224, "+=,.@:/-_")) {
            let hint = "2 to 1224 letters, digits or any of +=,.@:/-_";
            self.tell(&path.key("externalId"), format!("`{}` is not an external id", shown(text)), hint);
        }
        if let Some(text) = spec.session_name.as_ref().filter(|text| !is_of(text, 2..=64, "+=,.@-_")) {
            let hint = "2 to 64 letters, digits or any of +=,.@-_";
            self.tell(&path.key("sessionName"), format!("`{}` is not the name of a session", shown(text)), hint);
        }
        ConfiguredAccount {
            region: region.or_else(|| said?.home()),
            assume_role: role,
            external_id: spec.external_id.clone(),
            session_name: spec.session_name.clone(),
            resync_interval: self.interval(spec.resync_interval.as_deref(), &path.key("resyncInterval")),
            mode: spec.mode,
            suspend: spec.suspend,
        }
    }
}

/// Whether a text is of letters, digits and these signs (AWS STS API Reference, `AssumeRole`).
fn is_of(text: &str, lengths: std::ops::RangeInclusive<usize>, signs: &str) -> bool {
    lengths.contains(&text.len()) && text.chars().all(|sign| sign.is_ascii_alphanumeric() || signs.contains(sign))
}
