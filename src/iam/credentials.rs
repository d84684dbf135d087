//! Credentials that are of the account that they are taken for, and that are good for a while.
//!
//! Knows STS and nothing of IAM. What must stay true: no credentials leave here for a call before STS has said, of these very
//! ones, whose they are, and none once it has named another account: whatever changes them (a refresh, a profile that was
//! edited, another role behind the same variable), nothing is read from, or written to, the wrong account.
//!
//! They are kept here and not in the SDK's cache, which cannot be told that AWS no longer accepts a session: an account whose
//! role was made anew would stay unread for an hour.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use tokio::{
    sync::OwnedMutexGuard,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{ErrorClass, IamError, error::is_base_refused, whole::WholeAnswers};
use crate::names::AccountId;

/// Credentials are renewed this long before they end: a clock may be wrong by minutes, and STS out of reach for as long. Where
/// they last no more than twice this, half-way.
const RENEWED_BEFORE: Duration = Duration::from_secs(600);

/// Where they cannot be renewed they are used for as long as they last, but for so much.
const LAST_USED_BEFORE: Duration = Duration::from_secs(60);

/// And that long passes until it is tried again.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Credentials that name no end are looked up again after this time: somebody may have changed what gives them.
const LOOKED_UP_AFTER: Duration = Duration::from_secs(900);

/// Each attempt of STS is bounded; this is for all that it takes to have credentials.
const LONGEST_RENEWAL: Duration = Duration::from_secs(16);

/// Credentials that AWS does not accept are given up, but for those that were had only just now: others would be no better.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(10);

/// A session whose calls are denied is renewed once it is so old. To be denied is what it looks like, too, where somebody has
/// revoked the role's older sessions (IAM User Guide, "Revoke IAM role temporary security credentials").
const RENEWED_ON_DENIAL_AFTER: Duration = Duration::from_secs(600);

/// Hands on the credentials of another provider, once STS has said that they are of the right account. All clones are one.
#[derive(Debug, Clone)]
pub(super) struct OfOneAccount(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: SharedCredentialsProvider,
    /// Those that the source asks STS with.
    base: Option<OfOneAccount>,
    /// How STS is asked; whatever credentials stand in it are not used.
    sts: aws_sdk_sts::Config,
    /// The account that is meant, or the first one that was seen.
    account: OnceLock<AccountId>,
    /// What is used.
    kept: Mutex<Option<Kept>>,
    /// What STS was asked about last, and found to be of the account: that never changes.
    of_account: Mutex<Option<Credentials>>,
    /// Held by whoever renews them: those who have none wait for what comes of it.
    renewal: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone)]
struct Kept {
    credentials: Credentials,
    since: Instant,
    renewed_at: Instant,
}

impl Kept {
    fn new(credentials: Credentials) -> Self {
        let now = Instant::now();
        let left = left(&credentials).map(|left| left.saturating_sub(RENEWED_BEFORE).max(left / 2));
        Self { renewed_at: now + left.unwrap_or(LOOKED_UP_AFTER), since: now, credentials }
    }

    fn standing(&self) -> Standing {
        let is_due = Instant::now() >= self.renewed_at;
        match left(&self.credentials) {
            // By both clocks: a machine that was asleep has counted nothing meanwhile.
            Some(left) if left <= LAST_USED_BEFORE => Standing::Ended,
            Some(_) if is_due => Standing::Due,
            None if is_due => Standing::Ended,
            _ => Standing::Good,
        }
    }
}

/// How what is kept stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    /// Good, and to be renewed.
    Due,
    /// Not known to be good.
    Ended,
}

/// How long these last; nothing where they name no end.
fn left(credentials: &Credentials) -> Option<Duration> {
    credentials.expiry().map(|end| end.duration_since(SystemTime::now()).unwrap_or_default())
}

impl OfOneAccount {
    /// Credentials of `account`; where none is said, of whichever account the first ones are of.
    /// `base` are those that `source` asks STS with, if it does.
    pub(super) fn new(
        source: SharedCredentialsProvider,
        base: Option<OfOneAccount>,
        config: &SdkConfig,
        account: Option<AccountId>,
    ) -> Self {
        let sts = aws_sdk_sts::config::Builder::from(config)
            .identity_cache(aws_sdk_sts::config::IdentityCache::no_cache())
            .interceptor(WholeAnswers)
            .build();
        let meant = OnceLock::new();
        if let Some(account) = account {
            let _ = meant.set(account);
        }
        Self(Arc::new(Inner {
            source,
            base,
            sts,
            account: meant,
            kept: Mutex::default(),
            of_account: Mutex::default(),
            renewal: Arc::default(),
        }))
    }

    /// Heeds that AWS has answered a call that was signed with these by an error of this class.
    pub(super) fn heed(&self, class: ErrorClass) {
        match class {
            ErrorClass::Credentials => self.give_up(),
            ErrorClass::Denied => self.doubt(),
            _ => {}
        }
    }

    /// AWS does not accept them.
    fn give_up(&self) {
        let refused = self.0.kept().take_if(|kept| kept.since.elapsed() >= GIVEN_UP_AFTER);
        let (Some(refused), Some(base)) = (refused, &self.0.base) else { return };
        // Where no role is assumed they are those of the base.
        let are_the_bases =
            base.0.kept().as_ref().is_some_and(|kept| is_same_key(&kept.credentials, &refused.credentials));
        if are_the_bases {
            base.give_up();
        }
    }

    /// They may have been revoked. Until others are had they are used, since most that is denied is denied for other causes.
    fn doubt(&self) {
        if let Some(kept) = &mut *self.0.kept()
            && left(&kept.credentials).is_some()
            && kept.since.elapsed() >= RENEWED_ON_DENIAL_AFTER
        {
            kept.renewed_at = kept.renewed_at.min(Instant::now());
        }
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_account(&self) -> MutexGuard<'_, Option<Credentials>> {
        self.of_account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are good still, and whether they are to be renewed.
    fn at_hand(&self) -> Option<(Credentials, bool)> {
        let kept = self.kept();
        let kept = kept.as_ref().filter(|kept| kept.standing() != Standing::Ended)?;
        Some((kept.credentials.clone(), kept.standing() == Standing::Due))
    }

    async fn credentials(self: &Arc<Self>) -> provider::Result {
        if let Some((at_hand, is_due)) = self.at_hand() {
            // Nobody waits for STS while those at hand are good.
            if is_due && let Ok(turn) = Arc::clone(&self.renewal).try_lock_owned() {
                self.begin_renewal(turn);
            }
            return Ok(at_hand);
        }
        let turn = Arc::clone(&self.renewal).lock_owned().await;
        // Somebody else may have had them meanwhile.
        match self.at_hand() {
            Some((at_hand, _)) => Ok(at_hand),
            None => self.begin_renewal(turn).await.unwrap_or_else(|ended| Err(CredentialsError::unhandled(ended))),
        }
    }

    /// Goes on whether or not somebody waits for it: calls that are given up after seconds would begin it again and again.
    fn begin_renewal(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> JoinHandle<provider::Result> {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let had = inner.renewed().await;
            drop(turn);
            had
        })
    }

    /// Keeps the newest credentials. Where there are none, those that are good still are tried to be renewed again later.
    async fn renewed(&self) -> provider::Result {
        let had = timeout(LONGEST_RENEWAL, self.had()).await;
        let had = had.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(LONGEST_RENEWAL)));
        let mut kept = self.kept();
        match (&had, &mut *kept) {
            (Ok(credentials), _) => *kept = Some(Kept::new(credentials.clone())),
            (Err(_), Some(good)) if good.standing() != Standing::Ended => {
                good.renewed_at = Instant::now() + TRIED_AGAIN_AFTER;
            }
            (Err(_), _) => *kept = None,
        }
        drop(kept);
        // Nobody else may call with those that STS was asked with, and learn that they are not accepted.
        if let (Err(error), Some(base)) = (&had, &self.base)
            && is_base_refused(error)
        {
            base.give_up();
        }
        had
    }

    /// Has the newest credentials, and STS say whose they are.
    async fn had(&self) -> provider::Result {
        let given = self.source.provide_credentials().await?;
        if self.of_account().as_ref().is_some_and(|known| is_same_key(known, &given)) {
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
            // Whatever was kept: somebody means these credentials to be another account's from now on.
            *self.kept() = None;
            let message = format!("they are of account {said}, and not of {meant}: they are not used");
            return Err(CredentialsError::provider_error(message));
        }
        *self.of_account() = Some(given.clone());
        Ok(given)
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
        future::ProvideCredentials::new(self.0.credentials())
    }
}

#[cfg(test)]
mod tests;
