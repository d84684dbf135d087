//! `validate`: every fault of every manifest, offline.

use super::{Ended, FAILED, Global, OK, print, tell_faults};
use crate::{text::printable, watch};

/// Prints every fault; exit status 1 where there is one.
///
/// # Errors
///
/// Where standard output cannot be written.
pub fn validate(global: &Global) -> Ended {
    let loaded = watch::load(&global.config, global.controller_config.as_deref())?;
    if !loaded.faults.is_empty() {
        tell_faults(&loaded.faults);
        return Ok(FAILED);
    }
    let (manifests, roles) = (loaded.set.permissions().len(), loaded.set.role_count());
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let selectors = loaded.set.permissions().iter().filter(|manifest| manifest.selector.is_some()).count();
    let (manifests, mut roles) = (count(manifests, "manifest"), count(roles, "role"));
    if selectors > 0 {
        roles.push_str(&format!(
            " and what {} {}",
            count(selectors, "selector"),
            if selectors == 1 { "picks" } else { "pick" }
        ));
    }
    print(&format!("{}: no faults in {manifests} about {roles}", printable(&global.config.to_string_lossy())))?;
    Ok(OK)
}
