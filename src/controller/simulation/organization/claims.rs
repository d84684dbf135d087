//! What selectors ask for: of roles that change, by manifests that change, and by what a process was shown of both.
//!
//! Two manifests claim one policy of whatever roles their selectors match, for differing documents: one by a tag, everywhere,
//! and one by the path, in some accounts. What must stay true: what they ask for is known here by heart, and follows from
//! what a role is like, never from what the program has picked.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{OWN, OWN_ROLE},
    judge::{HEARD, Key},
    people::{KEEPER, STRANGER, by_path, by_tag},
};
use crate::{iam::RoleDetail, names::AccountId};

/// The policy that both claim.
pub(super) const CLAIMED: &str = "Claimed";
/// The tag by which the one does.
pub(super) const TAG: (&str, &str) = ("sessions", "enabled");
/// The path by which the other one does.
pub(super) const TEAM: &str = "/team/";
/// So long a process may make up its mind about roles that it has asked for one by one.
const ONE_BY_ONE: Duration = Duration::from_secs(120);

/// What a role is like, as far as selectors are about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Like {
    pub(super) path: String,
    pub(super) is_tagged: bool,
}

/// Which of the two manifests there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) by_tag: bool,
    pub(super) by_path: bool,
}

/// The accounts in which roles are claimed by their path.
pub(super) fn of_team(accounts: &[AccountId]) -> &[AccountId] {
    &accounts[..2]
}

impl Claims {
    /// What they ask for of a role that is like this: nothing where they disagree.
    pub(super) fn ask(
        self,
        accounts: &[AccountId],
        (account, role, policy): &Key,
        like: Option<&Like>,
    ) -> Option<String> {
        let like = like.filter(|like| !like.path.starts_with("/aws-") && policy == CLAIMED)?;
        // Nodes cannot use the one, and as the other the controller itself runs.
        if account.as_str() == STRANGER || role == KEEPER || role == OWN_ROLE && account.as_str() == OWN {
            return None;
        }
        match self.claim(accounts, account, like) {
            (true, false) => Some(by_tag()),
            (false, true) => Some(by_path(account)),
            _ => None,
        }
    }

    /// Whether both claim it.
    pub(super) fn disagree(self, accounts: &[AccountId], account: &AccountId, like: &Like) -> bool {
        self.claim(accounts, account, like) == (true, true)
    }

    /// Whether the one claims it, and the other.
    fn claim(self, accounts: &[AccountId], account: &AccountId, like: &Like) -> (bool, bool) {
        let is_of_team = like.path.starts_with(TEAM) && of_team(accounts).contains(account);
        (self.by_tag && like.is_tagged, self.by_path && is_of_team)
    }
}

impl Like {
    fn of(role: &RoleDetail) -> Self {
        let is_tagged = role.tags.get(TAG.0).is_some_and(|value| value == TAG.1);
        Self { path: role.path.clone(), is_tagged }
    }
}

/// By the role's name in small letters.
pub(super) type Likes = BTreeMap<String, Like>;

/// What one process was shown of the roles of one account.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The pages of a reading that is under way; none once it can tell nothing any more.
    pages: Option<Likes>,
    /// The newest whole reading, when it came, and the one before.
    whole: Likes,
    at: Duration,
    before: Likes,
    /// What was asked for by itself, since.
    single: Vec<(Duration, String, Like)>,
}

impl Shown {
    /// A page of a reading was answered. With the last one the process knows all roles anew: these.
    pub(super) fn page(
        &mut self,
        is_first: bool,
        is_last: bool,
        roles: &[RoleDetail],
        account: &AccountId,
        now: Duration,
    ) -> Option<&Likes> {
        if is_first {
            self.pages = Some(Likes::new());
        }
        let is_here = |role: &RoleDetail| role.arn.contains(&format!("::{account}:"));
        if !roles.iter().all(is_here) {
            // The way has led somewhere else: the process is to see that.
            self.pages = None;
        }
        if let Some(pages) = &mut self.pages {
            pages.extend(roles.iter().map(|role| (role.name.to_ascii_lowercase(), Like::of(role))));
        }
        let whole = self.pages.take_if(|_| is_last)?;
        self.before = std::mem::replace(&mut self.whole, whole);
        self.at = now;
        self.single.clear();
        Some(&self.whole)
    }

    /// A role was answered by itself.
    pub(super) fn one(&mut self, role: &RoleDetail, now: Duration) {
        self.single.push((now, role.name.to_ascii_lowercase(), Like::of(role)));
    }

    /// The role as the newest whole reading has shown it.
    pub(super) fn newest(&self, role: &str) -> Option<&Like> {
        self.whole.get(role)
    }

    /// All that the role may be like for the process now: as the newest reading has shown it, or the one before where that
    /// has come in this very moment, and where roles are asked for one by one as one of these answers did.
    pub(super) fn may_be<'a>(&'a self, role: &'a str, now: Duration) -> impl Iterator<Item = &'a Like> {
        let before = self.before.get(role).filter(move |_| now <= self.at + HEARD);
        let is_recent = move |at: &Duration| *at + ONE_BY_ONE > now;
        let singles = self.single.iter().filter(move |(at, name, _)| name == role && is_recent(at));
        let last = self.single.iter().rfind(move |(_, name, _)| name == role);
        self.newest(role).into_iter().chain(before).chain(singles.chain(last).map(|(.., like)| like))
    }
}
