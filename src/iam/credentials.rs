//! Credentials that are of the account that they are taken for.
//!
//! Knows STS and nothing of IAM. What must stay true: no credentials leave here for a call before STS has said, of these very
//! ones, whose they are, and none once it has named another account: whatever changes them (a refresh, a profile that was
//! edited, another role behind the same variable), nothing is read from, or written to, the wrong account.

use std::sync::{Mutex, OnceLock, PoisonError};

use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};

use super::{IamError, whole::WholeAnswers};
use crate::names::AccountId;

/// Hands on the credentials of another provider, once STS has said that they are of the right account.
#[derive(Debug)]
pub(super) struct OfOneAccount {
    inner: SharedCredentialsProvider,
    /// How STS is asked; whatever credentials stand in it are not used.
    sts: aws_sdk_sts::Config,
    /// The account that is meant, or the first one that was seen.
    account: OnceLock<AccountId>,
    /// The access key that STS was asked about last, and found good.
    found_good: Mutex<Option<Credentials>>,
}

impl OfOneAccount {
    /// Credentials of `account`; where none is said, of whichever account the first ones are of.
    pub(super) fn new(inner: SharedCredentialsProvider, config: &SdkConfig, account: Option<AccountId>) -> Self {
        let sts = aws_sdk_sts::config::Builder::from(config)
            .identity_cache(aws_sdk_sts::config::IdentityCache::no_cache())
            .interceptor(WholeAnswers)
            .build();
        let meant = OnceLock::new();
        if let Some(account) = account {
            let _ = meant.set(account);
        }
        Self { inner, sts, account: meant, found_good: Mutex::default() }
    }

    async fn checked(&self) -> provider::Result {
        let given = self.inner.provide_credentials().await?;
        if self.lock().as_ref().is_some_and(|known| is_same_key(known, &given)) {
            return Ok(given);
        }
        let sts = self.sts.to_builder().credentials_provider(given.clone()).build();
        let asked = aws_sdk_sts::Client::from_conf(sts).get_caller_identity().send().await;
        // As an error of ours, so that whoever was in want of credentials is told the class of it too.
        let said =
            asked.map_err(|error| CredentialsError::provider_error(IamError::from_sdk("GetCallerIdentity", &error)))?;
        let said: Option<AccountId> = said.account.and_then(|account| account.parse().ok());
        let said =
            said.ok_or_else(|| CredentialsError::provider_error("STS does not say which account they are of"))?;
        let meant = self.account.get_or_init(|| said.clone());
        if *meant != said {
            let message = format!("they are of account {said}, and not of {meant}: they are not used");
            return Err(CredentialsError::provider_error(message));
        }
        *self.lock() = Some(given.clone());
        Ok(given)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Credentials>> {
        self.found_good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two are one and the same credential, however long each is said to last.
fn is_same_key(one: &Credentials, other: &Credentials) -> bool {
    (one.access_key_id(), one.secret_access_key(), one.session_token())
        == (other.access_key_id(), other.secret_access_key(), other.session_token())
}

impl ProvideCredentials for OfOneAccount {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.checked())
    }
}
