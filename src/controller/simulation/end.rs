//! What must be so once all is calm: what may be repaired is as it is wanted, and everything else is untouched.
//!
//! Two judges look at each policy, the program's own and one that knows no more than JSON. What must stay true: they look
//! at the world itself, not at what a reading said.

use std::sync::Arc;

use super::{
    judge::{Asked, wanted, why_not},
    plain::{Plain, asks_to_be_left_alone},
    scene::{Fresh, Scene},
};
use crate::{
    inventory::{Observed, Role},
    manifest::DesiredPolicy,
    names::{PolicyName, RoleName},
    plan::{Circumstances, judge},
};

const QUOTA: usize = 10_240;

impl Scene {
    /// The policies that should be repaired and are not.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let (set, desired) = {
            let state = self.state();
            (Arc::clone(&state.in_force), state.in_force.desired(&self.own, None))
        };
        let circumstances = Circumstances {
            account: Some(self.own.clone()),
            own_role: super::OWN_ROLE.parse().ok(),
            observe_only: false,
            suspended: set.configuration().is_some_and(|settings| settings.suspend),
            limits: set.limits(),
        };
        let mut unsettled = Vec::new();
        for ((role, policy), desired) in &desired.policies {
            let Some(found) = self.role(role, policy) else { continue };
            let step = judge(desired, &Observed::Found(Arc::new(found)), &circumstances);
            if step.is_a_write() {
                unsettled.push(format!("{role}/{policy} by the program's judgement: {:?}", step.drift));
            }
            let asked = wanted(&self.state(), &set, &self.own, role, policy);
            if let Ok(asked) = asked
                && self.is_plainly_wrong(role, policy, desired, &asked)
            {
                unsettled.push(format!("{role}/{policy} by a plain judgement"));
            }
        }
        unsettled
    }

    /// The role as it is.
    fn role(&self, name: &RoleName, policy: &PolicyName) -> Option<Role> {
        let path = self.sandbox.path(&self.own, name.as_str())?;
        let names = self.sandbox.policies(&self.own, name.as_str());
        let text = |policy: &str| self.sandbox.document(&self.own, name.as_str(), policy);
        let live = text(policy.as_str()).map(|text| {
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
            (policy.clone(), Arc::new(crate::inventory::LiveDocument::new(&encoded)))
        });
        Some(Role {
            name: name.clone(),
            path,
            is_suspended: self.state().tags.get(name).is_some_and(asks_to_be_left_alone),
            policies: live.into_iter().collect(),
            inline_size: Some(names.iter().filter_map(|policy| text(policy)).map(|text| size(&text)).sum()),
            surroundings: None,
        })
    }

    fn is_plainly_wrong(&self, role: &RoleName, policy: &PolicyName, desired: &DesiredPolicy, asked: &Asked) -> bool {
        let own = &self.own;
        let path = self.sandbox.path(own, role.as_str()).unwrap_or_default();
        let shown = self.sandbox.document(own, role.as_str(), policy.as_str());
        let others = self.sandbox.policies(own, role.as_str()).into_iter().filter(|name| name != policy.as_str());
        let others: usize =
            others.filter_map(|other| self.sandbox.document(own, role.as_str(), &other)).map(|text| size(&text)).sum();
        let is_clear = shown.as_deref().is_none_or(|text| matches!(Plain::of(text), Plain::Grants(_)));
        let is_tagged = self.state().tags.get(role).is_some_and(asks_to_be_left_alone);
        let fresh = Fresh { tick: 0, asked: self.now(), answered: self.now(), shown, is_stale: false };
        is_clear
            && !path.starts_with("/aws-")
            && !role.as_str().eq_ignore_ascii_case(super::OWN_ROLE)
            && !is_tagged
            && !asked.outside_path(&path)
            && !asked.is_as_it_is(fresh.shown.as_deref())
            && (asked.absent || others + size(desired.document.as_str()) <= QUOTA)
            && why_not(&fresh, Some(asked)).is_none()
    }

    /// Everything in both accounts that is not as the people of the world, and good writes, have left it.
    pub(super) fn touched_by_nobody_known(&self) -> Vec<String> {
        let state = self.state();
        let mut strange = Vec::new();
        for account in [&self.own, &self.other] {
            let known = state.standing.keys().filter(|(whose, _)| whose == account).count();
            let roles = self.sandbox.roles(account);
            if roles.len() != known {
                strange.push(format!("account {account} has {} roles and not {known}", roles.len()));
            }
            for role in roles {
                let Some(held) = role.parse().ok().and_then(|name| state.standing.get(&(account.clone(), name))) else {
                    strange.push(format!("account {account} has a role {role} that nobody made"));
                    continue;
                };
                let policies = self.sandbox.policies(account, &role);
                if policies.len() != held.len() {
                    strange.push(format!("account {account}, role {role} has {policies:?}"));
                }
                for policy in policies {
                    if self.sandbox.document(account, &role, &policy).as_ref() != held.get(&policy) {
                        strange.push(format!("account {account}, role {role}, policy {policy} is another one"));
                    }
                }
            }
        }
        strange
    }
}

fn size(text: &str) -> usize {
    text.chars().filter(|character| !character.is_whitespace()).count()
}
