//! What `plan`, `explain` and `apply` begin with: the faultless manifests, narrowed to what was asked for, and who we are.
//!
//! What must stay true: without an answer of STS nothing is read, and every managed role is unknown.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    cli::{Filter, Global, complain, faultless_manifests},
    iam::{Budgets, Caller, Iam, IamError, Manner, Paced, Reader, SdkIam},
    inventory::{Asked, Inventory},
    manifest::ManifestSet,
    plan::Reason,
    text::printable,
};

/// Between two questions to STS.
const PAUSE: Duration = Duration::from_secs(2);

/// The ground on which a command stands.
pub(crate) struct Survey {
    /// The calls to AWS.
    pub(crate) iam: SdkIam,
    /// The manifests, narrowed to what the command line asks for.
    pub(crate) manifests: ManifestSet,
    /// Who the credentials belong to, or why nobody knows.
    pub(crate) caller: Result<Caller, IamError>,
}

/// Loads and asks; `None` where the manifests have faults, which were told. What may pass by itself is asked
/// again until the deadline.
pub(crate) async fn survey(global: &Global, filter: &Filter, deadline: Instant) -> anyhow::Result<Option<Survey>> {
    let Some(mut manifests) = faultless_manifests(global)? else { return Ok(None) };
    let iam = SdkIam::from_environment().await;
    let mut caller = iam.caller().await;
    while matches!(&caller, Err(error) if error.class.passes_by_itself()) && Instant::now() + PAUSE < deadline {
        sleep(PAUSE).await;
        caller = iam.caller().await;
    }
    let account = caller.as_ref().ok().map(|caller| &caller.account);
    manifests.narrow(filter.role.as_ref(), filter.account.as_ref(), account);
    anyhow::ensure!(
        manifests.role_count() > 0 || filter.is_empty(),
        "no manifest is about {}\nhint: `render` lists the roles that manifests name",
        filter.in_words()
    );
    Ok(Some(Survey { iam, manifests, caller }))
}

/// The calls to one account, at the pace that it takes.
pub(crate) fn paced(iam: SdkIam) -> Arc<Paced<SdkIam>> {
    Arc::new(Paced::new(Arc::new(iam), &Budgets::default()))
}

/// Reads what is asked for; says so where that could not be done in bulk.
pub(crate) async fn read<I: Iam>(
    reader: &Reader<I>,
    caller: &Caller,
    asked: &Asked,
) -> Result<Arc<Inventory>, IamError> {
    if asked.is_empty() {
        return Ok(Arc::default());
    }
    let (inventory, manner) = reader.read(asked, false).await?;
    if let Manner::OneByOne(said) = manner {
        complain(&format!(
            "warning: account {} cannot be read in bulk, so its roles are read one by one: {said}\n\n\
             hint: allow iam:GetAccountAuthorizationDetails on *: see deploy/iam",
            caller.account
        ));
    }
    Ok(inventory)
}

/// Tells a call that failed, with what to do.
pub(crate) fn tell_failure(error: &IamError) {
    complain(&format!("error: {}\n\nhint: {}", printable(&error.to_string()), Reason::Failed(error.class).hint()));
}
