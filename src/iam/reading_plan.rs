//! Which reading costs fewer calls: the whole account in bulk, or each managed role by calls of its own.
//!
//! Pure: the time is an argument. What must stay true: where nothing is known, or as much speaks for both, it is the bulk
//! reading, which tells more.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::inventory::Asked;

/// What only a bulk reading tells (attached policies, instance profiles, the account's size) is never older than this.
pub(super) const BULK_AT_LEAST_EVERY: Duration = Duration::from_secs(60 * 60);

/// What the last bulk reading has shown of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// How many roles there are, managed or not.
    pub(super) roles: usize,
    /// How many pages they took. That is one for every thousand roles, but a page may be short.
    pub(super) pages: usize,
}

/// How an account is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// By pages of a thousand roles.
    Bulk,
    /// By `GetRole` for each managed role, and `GetRolePolicy` for each policy that is looked for.
    ByRole,
}

/// What has decided for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// No bulk reading has shown the account's size so far.
    SizeUnknown,
    /// Selectors look for roles, and no call for a single role finds any.
    Selectors,
    /// Something is to be decided for which a few roles are not enough, or not all that bears on them is told by role.
    NeedsAllRoles,
    /// The last bulk reading is an hour old.
    BulkIsDue,
    /// Roles could not be read one by one lately.
    RoleReadsFailed,
    /// It costs fewer calls.
    FewerCalls,
    /// It costs no more calls, and tells more.
    NoMoreCalls,
}

/// Which reading is the cheaper one, by what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadingPlan {
    /// How the account is to be read.
    pub choice: Choice,
    /// What has decided for it.
    pub why: Why,
    /// What a bulk reading costs, where that is known.
    pub bulk_calls: Option<usize>,
    /// What reading each managed role costs.
    pub role_calls: usize,
    /// How many roles are managed.
    pub managed_roles: usize,
    /// How many roles the account holds, where that is known.
    pub account_roles: Option<usize>,
}

impl ReadingPlan {
    /// Chooses. `since_bulk` is the age of the last bulk reading; `needs_all_roles` says that nothing less will do.
    pub(super) fn choose(asked: &Asked, size: Option<Size>, since_bulk: Duration, needs_all_roles: bool) -> Self {
        let role_calls = role_calls(asked);
        let (choice, why) = match size {
            None => (Choice::Bulk, Why::SizeUnknown),
            Some(_) if !asked.sought.is_empty() => (Choice::Bulk, Why::Selectors),
            Some(size) if size.pages <= role_calls => {
                (Choice::Bulk, if size.pages < role_calls { Why::FewerCalls } else { Why::NoMoreCalls })
            }
            Some(_) if needs_all_roles => (Choice::Bulk, Why::NeedsAllRoles),
            Some(_) if since_bulk >= BULK_AT_LEAST_EVERY => (Choice::Bulk, Why::BulkIsDue),
            Some(_) => (Choice::ByRole, Why::FewerCalls),
        };
        Self {
            choice,
            why,
            bulk_calls: size.map(|size| size.pages),
            role_calls,
            managed_roles: asked.roles.len(),
            account_roles: size.map(|size| size.roles),
        }
    }

    /// The same account, where reading role by role has failed lately.
    pub(super) fn without_role_reads(self) -> Self {
        match self.choice {
            Choice::Bulk => self,
            Choice::ByRole => Self { choice: Choice::Bulk, why: Why::RoleReadsFailed, ..self },
        }
    }
}

/// One call for each role, and one for each policy that is looked for on it.
pub(super) fn role_calls(asked: &Asked) -> usize {
    asked.roles.values().map(|policies| 1 + policies.len()).sum()
}

/// `role by role, 2 calls against 5 in bulk (1 managed role of 5000)`.
impl fmt::Display for ReadingPlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = |calls: usize| if calls == 1 { "1 call".to_owned() } else { format!("{calls} calls") };
        let roles = if self.managed_roles == 1 { "role" } else { "roles" };
        let of = self.account_roles.map(|all| format!(" of {all}")).unwrap_or_default();
        let whose = format!("({} managed {roles}{of})", self.managed_roles);
        let by_role = calls(self.role_calls);
        let (Choice::Bulk, Some(bulk)) = (self.choice, self.bulk_calls) else {
            return match self.bulk_calls {
                Some(bulk) => write!(formatter, "role by role, {by_role} against {bulk} in bulk {whose}"),
                None => write!(
                    formatter,
                    "in bulk, since no reading has shown the account's size so far; role by role it is {by_role} {whose}"
                ),
            };
        };
        let because = match self.why {
            Why::Selectors => ", since selectors look for roles",
            Why::NeedsAllRoles => ", since something is to be decided that needs all of them",
            Why::BulkIsDue => ", since the last bulk reading is an hour old",
            Why::RoleReadsFailed => ", since roles could not be read one by one",
            Why::SizeUnknown | Why::FewerCalls | Why::NoMoreCalls => "",
        };
        write!(formatter, "in bulk, {} against {} role by role{because} {whose}", calls(bulk), self.role_calls)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::inventory::Sought;

    fn asked(roles: usize, policies: usize) -> Asked {
        let policies: BTreeSet<_> = (0..policies).map(|number| format!("P{number}").parse().unwrap()).collect();
        (0..roles).map(|number| (format!("role-{number}").parse().unwrap(), policies.clone())).collect()
    }

    fn size(roles: usize) -> Size {
        Size { roles, pages: roles.div_ceil(1000) }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_reading_of_fewer_calls_is_chosen_and_a_tie_goes_to_bulk() {
        use Choice::{Bulk, ByRole};
        use Why::{BulkIsDue, FewerCalls, NeedsAllRoles, NoMoreCalls, SizeUnknown};
        // managed roles, policies on each, roles of the account, age of the last bulk reading in minutes, needs all
        let table = [
            (
                1,
                1,
                Some(5_000),
                1,
                false,
                ByRole,
                FewerCalls,
                "role by role, 2 calls against 5 in bulk (1 managed role of 5000)",
            ),
            (
                1,
                1,
                Some(2_001),
                1,
                false,
                ByRole,
                FewerCalls,
                "role by role, 2 calls against 3 in bulk (1 managed role of 2001)",
            ),
            (
                1,
                1,
                Some(2_000),
                1,
                false,
                Bulk,
                NoMoreCalls,
                "in bulk, 2 calls against 2 role by role (1 managed role of 2000)",
            ),
            (
                1,
                1,
                Some(1_000),
                1,
                false,
                Bulk,
                FewerCalls,
                "in bulk, 1 call against 2 role by role (1 managed role of 1000)",
            ),
            (
                1,
                4,
                Some(5_000),
                1,
                false,
                Bulk,
                NoMoreCalls,
                "in bulk, 5 calls against 5 role by role (1 managed role of 5000)",
            ),
            (
                2,
                1,
                Some(5_000),
                1,
                false,
                ByRole,
                FewerCalls,
                "role by role, 4 calls against 5 in bulk (2 managed roles of 5000)",
            ),
            (
                3,
                1,
                Some(5_000),
                1,
                false,
                Bulk,
                FewerCalls,
                "in bulk, 5 calls against 6 role by role (3 managed roles of 5000)",
            ),
            (
                1,
                1,
                Some(5_000),
                60,
                false,
                Bulk,
                BulkIsDue,
                "in bulk, 5 calls against 2 role by role, since the last bulk reading is an hour old (1 managed role of 5000)",
            ),
            (
                1,
                1,
                Some(5_000),
                59,
                false,
                ByRole,
                FewerCalls,
                "role by role, 2 calls against 5 in bulk (1 managed role of 5000)",
            ),
            (
                1,
                1,
                Some(5_000),
                1,
                true,
                Bulk,
                NeedsAllRoles,
                "in bulk, 5 calls against 2 role by role, since something is to be decided that needs all of them (1 managed role of 5000)",
            ),
            (
                1,
                1,
                None,
                0,
                false,
                Bulk,
                SizeUnknown,
                "in bulk, since no reading has shown the account's size so far; role by role it is 2 calls (1 managed role)",
            ),
            (
                0,
                1,
                Some(5_000),
                1,
                false,
                ByRole,
                FewerCalls,
                "role by role, 0 calls against 5 in bulk (0 managed roles of 5000)",
            ),
        ];
        for (managed, policies, all, minutes, needs_all, choice, why, said) in table {
            let plan = ReadingPlan::choose(&asked(managed, policies), all.map(size), MINUTE * minutes, needs_all);
            assert_eq!((plan.choice, plan.why, plan.to_string().as_str()), (choice, why, said));
        }
    }

    #[test]
    fn where_selectors_look_for_roles_it_is_the_bulk_reading() {
        let sought = Sought { selector: Default::default(), policy: "P".parse().unwrap() };
        let asked = Asked { sought: [sought].into(), ..asked(1, 1) };
        let plan = ReadingPlan::choose(&asked, Some(size(5_000)), MINUTE, false);
        assert_eq!((plan.choice, plan.why), (Choice::Bulk, Why::Selectors));
        let said = "in bulk, 5 calls against 2 role by role, since selectors look for roles (1 managed role of 5000)";
        assert_eq!(plan.to_string(), said);
    }

    #[test]
    fn where_roles_cannot_be_read_one_by_one_it_is_the_bulk_reading() {
        let plan = ReadingPlan::choose(&asked(1, 1), Some(size(5_000)), MINUTE, false).without_role_reads();
        assert_eq!((plan.choice, plan.why), (Choice::Bulk, Why::RoleReadsFailed));
        assert!(plan.to_string().contains("could not be read one by one"));
    }

    proptest! {
        #[test]
        fn no_choice_costs_more_than_the_other_one_would(managed in 0_usize..20, policies in 1_usize..4, all in 0_usize..30_000) {
            let size = size(all);
            let plan = ReadingPlan::choose(&asked(managed, policies), Some(size), MINUTE, false);
            let cost = match plan.choice {
                Choice::Bulk => size.pages,
                Choice::ByRole => managed * (1 + policies),
            };
            prop_assert_eq!(cost, size.pages.min(managed * (1 + policies)));
        }
    }
}
