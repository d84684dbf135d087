//! What the world does with managed policies and boundaries, and what its simulator says.
//!
//! Pure. What must stay true: the simulator decides nothing by itself; it says what a test has written down for it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    iam::{Decision, SimulatedAction},
    names::AccountId,
};

use super::{History, State, World, no_such_role, open_marker, page};
use crate::sandbox::{
    managed::{self, Managed, Version},
    role::Role,
    wire::{Answer, Paging, Refusal},
};

/// How many managed policies a role may have, unless AWS was asked for more.
const ATTACHED_MOST: usize = 10;

impl World {
    /// Puts a managed policy into the world as if it had always been there, in place of any other of its ARN.
    pub(in crate::sandbox) fn plant_policy(&mut self, account: &AccountId, arn_or_name: &str, document: &str) {
        let arn = managed::arn_of(account, arn_or_name);
        let held = Some(Arc::new(Managed::new(arn.clone(), document, Duration::ZERO)));
        let history = History(VecDeque::from([State { since: None, held }]));
        self.policies.entry(account.clone()).or_default().insert(arn, history);
    }

    /// Changes a managed policy at a moment; `false` where there is none.
    pub(in crate::sandbox) fn change_policy(
        &mut self,
        account: &AccountId,
        arn_or_name: &str,
        now: Duration,
        change: impl FnOnce(&Managed) -> Option<Managed>,
    ) -> bool {
        let arn = managed::arn_of(account, arn_or_name);
        let history = self.policies.get_mut(account).and_then(|policies| policies.get_mut(&arn));
        let Some((history, held)) =
            history.and_then(|history| Some(history.newest()?.clone()).map(|held| (history, held)))
        else {
            return false;
        };
        history.push(State { since: Some(now), held: change(&held).map(Arc::new) });
        true
    }

    /// A managed policy as it was at a moment: the account's own, or one of AWS's.
    fn managed(&self, account: &AccountId, arn: &str, at: Option<Duration>) -> Result<&Arc<Managed>, Refusal> {
        if !(arn.starts_with("arn:") && arn.contains(":policy/")) {
            return Err(Refusal::new(400, "InvalidInput", format!("ARN {arn} is not valid.")));
        }
        let own = self.policies.get(account).and_then(|policies| policies.get(arn)).and_then(|history| history.at(at));
        own.or_else(|| managed::of_aws(arn)).ok_or_else(|| no_such(format!("Policy {arn} was not found.")))
    }

    pub(super) fn get_policy(&self, account: &AccountId, arn: &str, now: Duration) -> Result<Answer, Refusal> {
        Ok(Answer::Managed(self.managed(account, arn, now.checked_sub(self.lag.single))?.clone()))
    }

    pub(super) fn get_policy_version(
        &self,
        account: &AccountId,
        arn: &str,
        version: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let policy = self.managed(account, arn, now.checked_sub(self.lag.single))?;
        let missing = || no_such(format!("Policy {arn} version {version} does not exist or is not attachable."));
        let found: &Version = policy.version(version).ok_or_else(missing)?;
        let is_default = policy.default_version().is_some_and(|default| default.number == found.number);
        Ok(Answer::ManagedVersion { version: found.clone(), is_default })
    }

    pub(super) fn attach(
        &mut self,
        account: &AccountId,
        role: &str,
        arn: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let mut next = Role::clone(self.writable(account, role)?);
        self.managed(account, arn, Some(now)).map_err(|refusal| not_attachable(refusal, "Policy", arn))?;
        if !next.attached.iter().any(|known| known == arn) {
            if next.attached.len() >= ATTACHED_MOST {
                let message = format!("Cannot exceed quota for PoliciesPerRole: {ATTACHED_MOST}");
                return Err(Refusal::new(409, "LimitExceeded", message));
            }
            next.attached.push(arn.to_owned());
        }
        self.record(role, account, now, Some(Arc::new(next)));
        Ok(Answer::Done)
    }

    pub(super) fn detach(
        &mut self,
        account: &AccountId,
        role: &str,
        arn: &str,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let mut next = Role::clone(self.writable(account, role)?);
        let before = next.attached.len();
        next.attached.retain(|known| known != arn);
        if next.attached.len() == before {
            return Err(no_such(format!("Policy {arn} was not found.")));
        }
        self.record(role, account, now, Some(Arc::new(next)));
        Ok(Answer::Done)
    }

    /// Sets a role's boundary, or with `None` takes it away.
    pub(super) fn bound(
        &mut self,
        account: &AccountId,
        role: &str,
        boundary: Option<&String>,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let mut next = Role::clone(self.writable(account, role)?);
        if let Some(arn) = boundary {
            self.managed(account, arn, Some(now)).map_err(|refusal| not_attachable(refusal, "Scope ARN:", arn))?;
        }
        next.boundary = boundary.cloned();
        self.record(role, account, now, Some(Arc::new(next)));
        Ok(Answer::Done)
    }

    /// Writes down what the simulator says of a role, or with `None` that there is no simulator for it.
    pub(in crate::sandbox) fn set_simulation(
        &mut self,
        account: &AccountId,
        role: &str,
        table: Option<Vec<SimulatedAction>>,
    ) {
        let key = (account.clone(), role.to_ascii_lowercase());
        match table {
            Some(table) => self.simulations.insert(key, table),
            None => self.simulations.remove(&key),
        };
    }

    pub(super) fn simulate(
        &self,
        account: &AccountId,
        role_arn: &str,
        actions: &[String],
        resources: &[String],
        paging: &Paging,
        now: Duration,
    ) -> Result<Answer, Refusal> {
        let size = self.page_size(paging)?;
        let name = role_arn.rsplit('/').next().unwrap_or(role_arn);
        let role = Some(self.read(account, name, now)?).filter(|role| role.arn == role_arn);
        let role = role.ok_or_else(|| no_such_role(name))?;
        let table = self.simulations.get(&(account.clone(), role.name.to_ascii_lowercase())).ok_or_else(|| {
            Refusal::new(501, "NotImplemented", format!("This endpoint has no policy simulator for the role {name}."))
        })?;
        let everything = ["*".to_owned()];
        let resources = if resources.is_empty() { &everything[..] } else { resources };
        let all = actions.iter().flat_map(|action| resources.iter().map(move |resource| said(table, action, resource)));
        // Of equal questions one after another the position tells them apart.
        let all = all.enumerate().map(|(position, said)| (format!("{position:06}"), said));
        let context = format!("SimulatePrincipalPolicy/{role_arn}");
        let after = paging.marker.as_deref().map(|marker| open_marker(&context, marker)).transpose()?;
        let rest = all.filter(|(position, _)| after.as_ref().is_none_or(|after| position > after));
        Ok(Answer::Simulated(page(rest, size, &context, |(position, _)| position).map(|(_, said)| said)))
    }
}

/// What the table says of an action on a resource: its own entry, that of the action on `*`, or else that nothing allows it.
fn said(table: &[SimulatedAction], action: &str, resource: &str) -> SimulatedAction {
    let of = |resource: &str| {
        table.iter().find(|entry| entry.action.eq_ignore_ascii_case(action) && entry.resource == resource)
    };
    match of(resource).or_else(|| of("*")) {
        Some(entry) => SimulatedAction { action: action.to_owned(), resource: resource.to_owned(), ..entry.clone() },
        None => SimulatedAction::new(action, resource, Decision::ImplicitDeny),
    }
}

fn no_such(message: String) -> Refusal {
    Refusal::new(404, "NoSuchEntity", message)
}

/// IAM has words of its own for a policy that is to be attached and is not there.
fn not_attachable(refusal: Refusal, what: &str, arn: &str) -> Refusal {
    if refusal.status == 404 { no_such(format!("{what} {arn} does not exist or is not attachable.")) } else { refusal }
}

#[cfg(test)]
mod tests;
