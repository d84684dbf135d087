//! Which accounts a manifest is about, and how the controller's settings say that each is entered.
//!
//! Knows ids and names, not credentials. What must stay true: a manifest that names no account is about that of the
//! controller's own credentials, and about no other, however many are configured.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{ControllerConfiguration, ManifestSet, Mode, Permissions};
use crate::names::{AccountId, Region, RoleArn};

/// The accounts that the roles of a manifest are in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Accounts {
    /// That of the controller's own credentials: the manifest names none.
    #[default]
    Own,
    /// These.
    Named(BTreeSet<AccountId>),
    /// `"*"`: all that are configured; where none is, that of the controller's own credentials.
    All,
}

impl Accounts {
    /// The accounts by name: none where the manifest leaves it to the settings.
    pub fn named(&self) -> impl Iterator<Item = &AccountId> {
        let named = match self {
            Self::Named(accounts) => Some(accounts),
            Self::Own | Self::All => None,
        };
        named.into_iter().flatten()
    }

    /// The account, where exactly one is named.
    #[must_use]
    pub fn only(&self) -> Option<&AccountId> {
        let mut named = self.named();
        named.next().filter(|_| named.next().is_none())
    }
}

/// One of `spec.accounts`: how an account is entered, and what holds in it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredAccount {
    /// The role that is assumed there; none where the controller's own credentials are of this account.
    pub assume_role: Option<RoleArn>,
    /// The external id that the role asks for.
    pub external_id: Option<String>,
    /// The name of the session, in place of the usual one.
    pub session_name: Option<String>,
    /// The Region whose endpoints are called, in place of the home of the role's partition.
    pub region: Option<Region>,
    /// How often the account is checked, in place of the settings' own; 1 second to 24 hours.
    pub resync_interval: Option<Duration>,
    /// The mode of manifests that name none, in this account; [`Mode::Observe`] holds back the others too.
    pub mode: Option<Mode>,
    /// Whether nothing is written in this account.
    pub suspend: bool,
}

/// An account, and whether the controller's own credentials are of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// Whether manifests that name no account are about this one.
    pub is_own: bool,
}

impl<'a> Whose<'a> {
    /// The account of the controller's own credentials.
    #[must_use]
    pub fn own(account: &'a AccountId) -> Self {
        Self { account, is_own: true }
    }
}

impl ControllerConfiguration {
    /// Whether an account may be named by manifests: any, where none is configured.
    pub(super) fn is_configured(&self, account: &AccountId) -> bool {
        self.accounts.is_empty() || self.accounts.contains_key(account)
    }
}

impl ManifestSet {
    /// The accounts of the controller's settings.
    #[must_use]
    pub fn accounts(&self) -> &BTreeMap<AccountId, ConfiguredAccount> {
        static NONE: BTreeMap<AccountId, ConfiguredAccount> = BTreeMap::new();
        self.configuration().map_or(&NONE, |configuration| &configuration.accounts)
    }

    /// Whether a manifest is about roles of this account.
    pub(super) fn is_about(&self, permissions: &Permissions, whose: Whose<'_>) -> bool {
        match &permissions.accounts {
            Accounts::Own => whose.is_own,
            Accounts::Named(accounts) => accounts.contains(whose.account),
            Accounts::All if self.accounts().is_empty() => whose.is_own,
            Accounts::All => self.accounts().contains_key(whose.account),
        }
    }

    /// The accounts that a manifest is about; `None` is that of the controller's own credentials.
    #[must_use]
    pub fn accounts_of<'a>(&'a self, permissions: &'a Permissions) -> Vec<Option<&'a AccountId>> {
        match &permissions.accounts {
            Accounts::Named(accounts) => accounts.iter().map(Some).collect(),
            Accounts::All if !self.accounts().is_empty() => self.accounts().keys().map(Some).collect(),
            Accounts::Own | Accounts::All => vec![None],
        }
    }

    /// The mode in which a manifest is kept in an account, where it is known in which.
    pub(crate) fn mode(&self, permissions: &Permissions, account: Option<&AccountId>) -> Mode {
        let of_account = || self.accounts().get(account?)?.mode;
        permissions.mode.or_else(of_account).unwrap_or(self.default_mode())
    }

    /// Whether nothing is to be written in this account, whatever manifests say of their mode: its own is to observe.
    #[must_use]
    pub fn only_observes(&self, account: &AccountId) -> bool {
        self.accounts().get(account).is_some_and(|configured| configured.mode == Some(Mode::Observe))
    }

    /// Whether the settings suspend this account alone.
    #[must_use]
    pub fn suspends(&self, account: &AccountId) -> bool {
        self.accounts().get(account).is_some_and(|configured| configured.suspend)
    }

    /// How often an account is checked, where the settings say it.
    #[must_use]
    pub fn resync_interval(&self, account: &AccountId) -> Option<Duration> {
        let of_account = || self.accounts().get(account)?.resync_interval;
        of_account().or(self.configuration()?.resync_interval)
    }
}

#[cfg(test)]
mod tests;
