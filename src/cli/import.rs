//! `import`: manifests for what roles carry already. Writes nothing to IAM, ever: it holds no code that could.
//!
//! What must stay true: where an account could not be read nothing is printed as data, so that nobody takes a part for the
//! whole.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Ended, FAILED, Filter, Global, OK, complain, print,
    survey::{Survey, Way, asked_for, each, paced, tell_failure, tell_failure_in},
    tell_faults,
};
use crate::{
    iam::{Caller, ErrorClass, IamError, Manner, Reader},
    inventory::Sought,
    manifest::{
        LARGEST_FILE, Selection,
        import::{self, Found, Imported},
    },
    names::PolicyName,
    plan::{self, Circumstances},
    selector::Selector,
    watch,
};

/// Prints the manifests, and what they leave out as comments; exit status 1 where an account could not be read.
///
/// # Errors
///
/// Where the command line asks for an account that is not looked after or a role that is not there, or standard output
/// cannot be written.
pub async fn import(global: &Global, filter: &Filter) -> Ended {
    let loaded = watch::load_any(&global.config, global.controller_config.as_deref())?;
    if !loaded.faults.is_empty() {
        tell_faults(&loaded.faults);
        return Ok(FAILED);
    }
    let survey = Survey::of(loaded.set, Instant::now()).await;
    let own = match &survey.caller {
        Ok(own) => own,
        Err(error) => {
            tell_failure(error);
            return Ok(FAILED);
        }
    };
    let mut ways = survey.all_ways(own);
    ways.retain(|way| filter.account.as_ref().is_none_or(|asked| *asked == way.account));
    anyhow::ensure!(
        !ways.is_empty(),
        "{} is neither that of the credentials nor in spec.accounts of the ControllerConfiguration",
        filter.in_words()
    );
    let asked = ways.len();
    let mut accounts: Vec<(Way, Imported)> = Vec::new();
    let look_into = |way: Way| read(&survey, own, way, global, filter);
    each(ways, look_into, |read| {
        accounts.extend(read);
        Ok(())
    })
    .await?;
    if accounts.len() < asked {
        complain("nothing is printed, since not all accounts could be read");
        return Ok(FAILED);
    }
    accounts.sort_by(|(one, _), (other, _)| one.account.cmp(&other.account));
    let imported: Vec<Imported> = accounts.into_iter().map(|(_, imported)| imported).collect();
    if let Some(role) = &filter.role {
        anyhow::ensure!(
            imported.iter().any(|imported| imported.looked_at > 0),
            "there is no role {role} in any of the accounts that were read"
        );
    }
    let file = import::file(&imported);
    print(&file)?;
    complain(&import::in_words(&imported));
    if file.len() > LARGEST_FILE {
        complain(
            "warning: this is larger than a file of manifests may be (4 MiB)\n\nhint: split it between its documents, at `---`, into several files",
        );
    }
    Ok(OK)
}

/// Reads all roles of an account; none where that failed, which was told.
async fn read(survey: &Survey, own: &Caller, way: Way, global: &Global, filter: &Filter) -> Option<(Way, Imported)> {
    let (iam, caller) = match way.enter(&survey.iam, own, Instant::now()).await {
        Ok(entered) => entered,
        Err(error) => {
            way.tell_not_entered(&error);
            return None;
        }
    };
    let manifests = &survey.manifests;
    let mut asked = asked_for(&way, manifests, &caller);
    // Every role: a selector without any part matches them all.
    asked.sought.insert(Sought { selector: Arc::new(Selector::default()), policy: PolicyName::customary() });
    let reader = Reader::new(paced(iam, global), caller.account.clone());
    let inventory = match reader.read(&asked, true).await {
        Ok((inventory, Manner::OneByOne(message))) => {
            drop(inventory);
            let operation = "GetAccountAuthorizationDetails";
            tell_failure_in(&caller.account, &IamError { class: ErrorClass::Denied, operation, code: None, message });
            return None;
        }
        Ok((inventory, _)) => inventory,
        Err(error) => {
            tell_failure_in(&caller.account, &error);
            return None;
        }
    };
    let circumstances = Circumstances::of(&caller, manifests, true);
    let selected = plan::select(manifests, way.whose(), &inventory, &circumstances, &Selection::default());
    let partition = caller.partition();
    let desired = manifests.desired_with(way.whose(), partition.as_ref(), &selected.selection);
    let found = Found {
        account: &caller.account,
        partition: &partition.unwrap_or_default(),
        inventory: &inventory,
        only: filter.role.as_ref(),
        desired: &desired,
    };
    let imported = import::import(found, manifests);
    Some((way, imported))
}
