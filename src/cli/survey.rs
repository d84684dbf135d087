//! What `plan`, `explain` and `apply` begin with: the faultless manifests, narrowed to what was asked for, who we are, and
//! the accounts that are to be looked into, several at a time.
//!
//! What must stay true: without an answer of STS nothing is read in an account, and every managed role there is unknown.

use std::{
    collections::BTreeMap,
    future::Future,
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::{
    cli::{Filter, Global, complain, faultless_manifests},
    controller::{entrance, hint_to_enter},
    iam::{Caller, Entrance, Iam, IamError, Manner, Paced, Reader, SdkIam},
    inventory::{Asked, Inventory},
    manifest::{Desired, ManifestSet, Selection, Whose},
    names::AccountId,
    plan::{self, Circumstances, Picks, Reason, Step},
    text::printable,
};

/// Between two questions to STS.
const PAUSE: Duration = Duration::from_secs(2);

/// So many accounts are looked into at once.
const ACCOUNTS_AT_ONCE: usize = 8;

/// The ground on which a command stands.
pub(crate) struct Survey {
    /// The calls to AWS, with the controller's own credentials.
    pub(crate) iam: SdkIam,
    /// The manifests, narrowed to what the command line asks for.
    pub(crate) manifests: ManifestSet,
    /// Who the credentials belong to, or why nobody knows.
    pub(crate) caller: Result<Caller, IamError>,
}

/// An account that is to be looked into.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) account: AccountId,
    /// Whether manifests that name no account are about this one.
    pub(crate) is_own: bool,
    entrance: Option<Entrance>,
}

/// Loads and asks; `None` where the manifests have faults, which were told. What may pass by itself is asked
/// again until the deadline.
pub(crate) async fn survey(global: &Global, filter: &Filter, deadline: Instant) -> anyhow::Result<Option<Survey>> {
    let Some(manifests) = faultless_manifests(global)? else { return Ok(None) };
    let mut survey = Survey::of(manifests, deadline).await;
    let account = survey.caller.as_ref().ok().map(|caller| &caller.account);
    let manifests = &mut survey.manifests;
    manifests.narrow(filter.role.as_ref(), filter.account.as_ref(), account);
    anyhow::ensure!(
        manifests.role_count() > 0 || manifests.has_selectors() || filter.is_empty(),
        "no manifest is about {}\nhint: `render` lists the roles that manifests name",
        filter.in_words()
    );
    Ok(Some(survey))
}

/// Who the credentials belong to: asked again until the deadline where it may pass by itself that nobody says so.
async fn identified(iam: &SdkIam, deadline: Instant) -> Result<Caller, IamError> {
    loop {
        match iam.caller().await {
            Err(error) if error.class.passes_by_itself() && Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
            asked => return asked,
        }
    }
}

impl Survey {
    /// These manifests, and who we are.
    pub(crate) async fn of(manifests: ManifestSet, deadline: Instant) -> Self {
        let iam = SdkIam::from_environment().await;
        let caller = identified(&iam, deadline).await;
        Self { iam, manifests, caller }
    }

    /// The accounts that are looked after, and that of the credentials.
    pub(crate) fn all_ways(&self, own: &Caller) -> Vec<Way> {
        let configured = self.manifests.accounts().iter();
        let configured = configured.map(|(account, configured)| (account, Some(entrance(account, configured))));
        let mut entrances: BTreeMap<&AccountId, Option<Entrance>> = configured.collect();
        entrances.entry(&own.account).or_default();
        let ways = entrances.into_iter().map(|(account, entrance)| {
            let is_own = *account == own.account;
            Way { account: account.clone(), is_own, entrance: entrance.filter(|there| !is_own || there.role.is_some()) }
        });
        ways.collect()
    }

    /// The accounts in which something is managed, and that of the credentials where no other one is looked after.
    pub(crate) fn ways(&self, own: &Caller, filter: &Filter) -> Vec<Way> {
        let is_alone = self.manifests.accounts().is_empty();
        let is_asked_for = |way: &Way| {
            let is_managed = || {
                let manifests = &self.manifests;
                manifests.selecting(way.whose()).next().is_some()
                    || !manifests.desired(way.whose(), None).policies.is_empty()
            };
            is_alone || filter.account.as_ref().is_none_or(|asked| *asked == way.account) && is_managed()
        };
        self.all_ways(own).into_iter().filter(is_asked_for).collect()
    }
}

impl Way {
    pub(crate) fn whose(&self) -> Whose<'_> {
        Whose { account: &self.account, is_own: self.is_own }
    }

    /// The calls in this account, and who makes them there.
    pub(crate) async fn enter(
        &self,
        iam: &SdkIam,
        own: &Caller,
        deadline: Instant,
    ) -> Result<(SdkIam, Caller), IamError> {
        let Some(entrance) = &self.entrance else { return Ok((iam.clone(), own.clone())) };
        let there = iam.within(entrance).await;
        let caller = identified(&there, deadline).await?;
        Ok((there, caller.entered_by(own)))
    }

    /// Tells that the account could not be entered, with what to do.
    pub(crate) fn tell_not_entered(&self, error: &IamError) {
        let hint = match &self.entrance {
            Some(entrance) => hint_to_enter(entrance, error),
            None => Reason::Failed(error.class).hint().to_owned(),
        };
        let said = format!("account {} cannot be entered: {error}", self.account);
        complain(&format!("error: {}\n\nhint: {}", printable(&said), printable(&hint)));
    }

    /// That it is not known what selectors pick in the account; nothing where there are none.
    pub(crate) fn unresolved(&self, manifests: &ManifestSet, why: &str) -> Option<String> {
        manifests.selecting(self.whose()).next()?;
        Some(format!("in account {} it is not known what selectors pick: {why}", self.account))
    }

    /// Every managed role of the account is unknown, since it was not entered.
    pub(crate) fn unread(&self, manifests: &ManifestSet, error: &IamError) -> Vec<Step> {
        let desired = manifests.desired(self.whose(), None);
        let manifests_here: BTreeMap<&str, _> = desired
            .policies
            .values()
            .map(|wanted| (wanted.manifest.name.as_str(), (wanted.manifest.as_ref(), Some(&self.account))))
            .collect();
        let why = format!("the account cannot be entered: {error}");
        plan::unjudged(manifests_here.into_values(), Reason::Unknown, Some(&why), manifests.default_mode())
    }
}

/// Looks into several accounts, some at a time; hands each result on as it comes, and tells a person how far it is.
pub(crate) async fn each<T, F: Future<Output = T>>(
    ways: Vec<Way>,
    look: impl Fn(Way) -> F,
    mut take: impl FnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (all, mut done) = (ways.len(), 0_usize);
    let mut results = stream::iter(ways).map(look).buffer_unordered(ACCOUNTS_AT_ONCE);
    tell_progress(done, all);
    while let Some(result) = results.next().await {
        done += 1;
        tell_progress(all, all);
        take(result)?;
        tell_progress(done, all);
    }
    Ok(())
}

/// Shows how many accounts are done, on a terminal and where there are several; takes the line away once all are.
fn tell_progress(done: usize, all: usize) {
    let mut err = io::stderr().lock();
    if all < 2 || !err.is_terminal() {
        return;
    }
    // Where standard error is closed there is nobody left to tell.
    let _ = if done == all { write!(err, "\r\x1b[K") } else { write!(err, "\r\x1b[K{done} of {all} accounts") };
    let _ = err.flush();
}

/// The calls to one account, at the pace that it takes.
pub(crate) fn paced(iam: SdkIam, global: &Global) -> Arc<Paced<SdkIam>> {
    Arc::new(Paced::new(Arc::new(iam), &global.budgets()))
}

/// An account as it was read, and what is desired in it.
pub(crate) struct Looked {
    pub(crate) desired: Desired,
    pub(crate) inventory: Arc<Inventory>,
    /// What came of each selector.
    pub(crate) picks: Vec<Picks>,
    /// Why it is not known what selectors pick; empty where it is.
    pub(crate) unresolved: Vec<String>,
}

impl Looked {
    /// Where the account could not be read: all that is named in it is unknown.
    pub(crate) fn nothing(way: &Way, manifests: &ManifestSet, caller: &Caller, error: &IamError) -> Self {
        let desired = manifests.desired(way.whose(), caller.partition().as_ref());
        let inventory = Arc::new(Inventory::unknown(&plan::asked_for(&desired, manifests, way.whose())));
        let unresolved = way.unresolved(manifests, &error.to_string()).into_iter().collect();
        Self { desired, inventory, picks: Vec::new(), unresolved }
    }
}

/// What a reading of the account asks for.
pub(crate) fn asked_for(way: &Way, manifests: &ManifestSet, caller: &Caller) -> Asked {
    let named = manifests.desired(way.whose(), caller.partition().as_ref());
    plan::asked_for(&named, manifests, way.whose())
}

/// Reads an account, and finds out what is desired in it.
pub(crate) async fn look<I: Iam>(
    reader: &Reader<I>,
    caller: &Caller,
    way: &Way,
    manifests: &ManifestSet,
    circumstances: &Circumstances,
) -> Result<Looked, IamError> {
    let (inventory, is_bulk_denied) = read(reader, caller, &asked_for(way, manifests, caller)).await?;
    let selected = plan::select(manifests, way.whose(), &inventory, circumstances, &Selection::default());
    let desired = manifests.desired_with(way.whose(), caller.partition().as_ref(), &selected.selection);
    let why = "the bulk read is denied, and no other call finds roles";
    let unresolved = is_bulk_denied.then(|| way.unresolved(manifests, why)).flatten().into_iter().collect();
    Ok(Looked { desired, inventory, picks: selected.picks, unresolved })
}

/// Reads what is asked for; says so where that could not be done in bulk.
async fn read<I: Iam>(reader: &Reader<I>, caller: &Caller, asked: &Asked) -> Result<(Arc<Inventory>, bool), IamError> {
    if asked.is_empty() {
        return Ok(Default::default());
    }
    let (inventory, manner) = reader.read(asked, false).await?;
    let is_bulk_denied = matches!(manner, Manner::OneByOne(_));
    if let Manner::OneByOne(said) = manner {
        complain(&format!(
            "warning: account {} cannot be read in bulk, so its roles are read one by one: {said}\n\n\
             hint: allow iam:GetAccountAuthorizationDetails on *: see deploy/iam",
            caller.account
        ));
    }
    Ok((inventory, is_bulk_denied))
}

/// Tells a call that failed in an account, with what to do.
pub(crate) fn tell_failure_in(account: &AccountId, error: &IamError) {
    let hint = Reason::Failed(error.class).hint();
    complain(&format!("error: account {account}: {}\n\nhint: {hint}", printable(&error.to_string())));
}

/// Tells a call that failed, with what to do.
pub(crate) fn tell_failure(error: &IamError) {
    complain(&format!("error: {}\n\nhint: {}", printable(&error.to_string()), Reason::Failed(error.class).hint()));
}
