//! What must be so once all is calm: what may be repaired is as it is wanted, and everything else is untouched.
//!
//! Two judges look at each policy, the program's own and one that knows no more than JSON. What must stay true: they look
//! at the world itself, not at what a reading said.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    judge::{Asked, KEEPS_REGISTERED, another_may_rely, wanted, why_not},
    plain::{Plain, asks_to_be_left_alone},
    scene::{Fresh, Scene},
};
use crate::{
    few::Few,
    iam::InlinePolicy,
    inventory::{
        LiveDocument, ManagedPolicy, Observed, OtherPolicy, OthersDigest, Role, RoleArn, RoleKind, RoleText,
        Surroundings, SurroundingsKind,
    },
    manifest::{Desired, DesiredPolicy, ManifestSet, Whose},
    names::{PolicyName, RoleName},
    plan::{Circumstances, judge},
};

const QUOTA: usize = 10_240;

impl Scene {
    /// The policies that should be repaired and are not.
    /// Second: those that another policy of the role lets be repaired, once that is known to the controller.
    pub(super) fn unsettled(&self) -> (Vec<String>, Vec<String>) {
        let (set, desired, circumstances) = self.asked_for();
        let (mut unsettled, mut pending) = (Vec::new(), Vec::new());
        for ((role, policy), wanted_of_it) in &desired.policies {
            let Some(found) = self.role(role, &desired) else { continue };
            let asked = wanted(&self.state(), &set, &self.own, role, policy);
            let step = judge(wanted_of_it, &Observed::Found(Arc::new(found)), &circumstances, Timestamp::now());
            if step.is_a_write() && self.hinges_on_others(role, policy, asked.as_ref().ok()) {
                pending.push(format!("{role}/{policy}"));
            } else if step.is_a_write() {
                unsettled.push(format!("{role}/{policy} by the program's judgement: {:?}", step.drift));
            }
            if let Ok(asked) = asked
                && self.is_plainly_wrong(role, policy, wanted_of_it, &asked)
                && !self.another_may_rely(&set, role, policy, &asked)
            {
                unsettled.push(format!("{role}/{policy} by a plain judgement"));
            }
        }
        if self.state().process.reads_one_by_one {
            // What only a bulk reading tells may stand in the way of a removal until that is allowed again.
            pending.push("a reading in bulk".to_owned());
        }
        (unsettled, pending)
    }

    /// What the manifests in force ask for in the account of the credentials, and under which circumstances.
    pub(super) fn asked_for(&self) -> (Arc<ManifestSet>, Desired, Circumstances) {
        let set = Arc::clone(&self.state().in_force);
        let desired = set.desired(Whose::own(&self.own), None);
        let circumstances = Circumstances {
            account: Some(self.own.clone()),
            own_roles: super::OWN_ROLE.parse().into_iter().collect(),
            observe_only: false,
            suspended: set.configuration().is_some_and(|settings| settings.suspend),
            stands_by: false,
            limits: set.limits(),
        };
        (set, desired, circumstances)
    }

    /// Whether a repair takes away a registration that only another policy of the role may make up for.
    fn hinges_on_others(&self, role: &RoleName, policy: &PolicyName, asked: Option<&Asked>) -> bool {
        let shown = self.sandbox.document(&self.own, role.as_str(), policy.as_str());
        let fresh = Fresh { tick: 0, asked: self.now(), answered: self.now(), shown, is_stale: false };
        why_not(&fresh, asked).is_some_and(|(rule, _)| rule == KEEPS_REGISTERED)
    }

    fn another_may_rely(&self, set: &ManifestSet, role: &RoleName, policy: &PolicyName, asked: &Asked) -> bool {
        let shown = self.sandbox.document(&self.own, role.as_str(), policy.as_str());
        another_may_rely(&self.state(), set, &self.own, &(role.clone(), policy.clone()), shown.as_deref(), asked)
    }

    /// The role as a reading that looks for everything desired would tell it.
    pub(super) fn role(&self, name: &RoleName, desired: &Desired) -> Option<Role> {
        // Of what AWS's policy says, as much as matters to a session.
        const GRANTED: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssm:UpdateInstanceInformation","ssmmessages:*"],"Resource":"*"}]}"#;
        let detail = self.sandbox.detail(&self.own, name.as_str())?;
        let managed = |arn: &String| {
            Arc::new(ManagedPolicy::new(arn.as_str().into(), Ok(Arc::new(LiveDocument::of_text(GRANTED)))))
        };
        let (mut policies, mut others, mut inline_size) =
            (BTreeMap::new(), BTreeMap::<Arc<str>, OtherPolicy>::new(), 0);
        for InlinePolicy { name: policy, encoded_document } in &detail.inline_policies {
            let live = LiveDocument::new(encoded_document);
            inline_size += live.size();
            match policy.parse::<PolicyName>() {
                Ok(key) if desired.policies.contains_key(&(name.clone(), key.clone())) => {
                    policies.insert(key, Arc::new(live));
                }
                _ => drop(others.insert(policy.as_str().into(), OtherPolicy::new(name, encoded_document))),
            }
        }
        let kind = RoleKind {
            path: detail.path.as_str().into(),
            is_suspended: self.state().tags.get(name).is_some_and(asks_to_be_left_alone),
            tags: Few::default(),
            policies: policies.into_iter().collect(),
        };
        let around = SurroundingsKind {
            arn: RoleArn::new(&detail.arn, &detail.path, name.as_str()),
            trust: Arc::new(LiveDocument::new(&detail.trust)),
            attached: detail.attached.iter().map(managed).collect(),
            boundary: None,
            instance_profiles: detail.instance_profiles.iter().map(|profile| RoleText::new(name, profile)).collect(),
            others: others.into_iter().collect(),
        };
        let surroundings = Surroundings { kind: Arc::new(around), inline_size, others_digest: OthersDigest::default() };
        Some(Role { name: name.clone(), kind: Arc::new(kind), surroundings: Some(surroundings) })
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
