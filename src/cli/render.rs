//! `render`: the policy documents as JSON, offline.

use std::sync::Arc;

use anyhow::Context;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Ended, FAILED, Filter, Global, OK, faultless_manifests, print};
use crate::{
    names::{AccountId, PolicyName, RoleName},
    selector::Selector,
};

/// One policy as it would be written.
#[derive(Serialize)]
struct Rendered {
    account: Option<AccountId>,
    /// `None` for the roles that the manifest's selector picks.
    role: Option<RoleName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Selector>,
    policy: PolicyName,
    document: Box<RawValue>,
}

/// Prints a list of every managed role's policy document, as it would be sent to IAM.
///
/// # Errors
///
/// Where a document depends on an account that nobody names, or the command line asks for what no manifest is about.
pub fn render(global: &Global, filter: &Filter) -> Ended {
    let Some(mut manifests) = faultless_manifests(global)? else { return Ok(FAILED) };
    manifests.narrow(filter.role.as_ref(), filter.account.as_ref(), filter.account.as_ref());
    anyhow::ensure!(
        manifests.role_count() > 0 || manifests.has_selectors() || filter.is_empty(),
        "no manifest is about {}\nhint: `render` without a filter lists the roles that manifests name",
        filter.in_words()
    );
    let mut rendered = Vec::new();
    for manifest in manifests.permissions() {
        let partition = manifest.partition.clone().unwrap_or_default();
        let asked = filter.account.as_ref();
        let of_manifest = manifests.accounts_of(manifest).into_iter().map(|account| account.or(asked));
        for account in of_manifest.filter(|account| asked.is_none() || *account == asked) {
            let document = manifest.settings.document_offline(account, &partition).with_context(|| {
                format!(
                    "the document of {} ({}) depends on the account, and none is named\n\
                     hint: say accountId in the manifest, or --account on the command line",
                    manifest.name, manifest.place
                )
            })?;
            let named = manifest.roles.iter().map(|role| (Some(role.clone()), None));
            let may_pick =
                |selector: &&Arc<Selector>| filter.role.as_ref().is_none_or(|role| selector.admits_name(role.as_str()));
            let selected =
                manifest.selector.iter().filter(may_pick).map(|selector| (None, Some(selector.as_ref().clone())));
            for (role, selector) in named.chain(selected) {
                rendered.push(Rendered {
                    account: account.cloned(),
                    role,
                    selector,
                    policy: manifest.policy_name.clone(),
                    document: RawValue::from_string(document.as_str().to_owned())?,
                });
            }
        }
    }
    rendered.sort_by(|one, other| {
        (&one.account, one.role.is_none(), &one.role, &one.selector, &one.policy).cmp(&(
            &other.account,
            other.role.is_none(),
            &other.role,
            &other.selector,
            &other.policy,
        ))
    });
    rendered.dedup_by(|one, other| {
        one.role.is_some() && (&one.account, &one.role, &one.policy) == (&other.account, &other.role, &other.policy)
    });
    print(&serde_json::to_string_pretty(&rendered)?)?;
    Ok(OK)
}
