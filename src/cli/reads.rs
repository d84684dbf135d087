//! How an account was read, and what that took: for `plan --explain-reads`.
//!
//! What must stay true: the calls are those that were sent, counted one by one.

use serde::Serialize;

use crate::{
    iam::{Calls, ReadingPlan},
    names::AccountId,
};

/// How one account was read.
#[derive(Debug, Serialize)]
pub(super) struct Reads {
    /// The choice for this plan.
    pub(super) chosen: ReadingPlan,
    /// What the daemon would choose for its next pass, by what is known now.
    pub(super) next: ReadingPlan,
    /// The calls that were made.
    pub(super) calls: Calls,
}

impl Reads {
    /// The same for a person.
    pub(super) fn text(&self, account: &AccountId) -> String {
        let Self { chosen, next, calls } = self;
        format!(
            "account {account} was to be read {chosen}\n  calls made: {calls}\n  a pass of the daemon that follows, where all is in sync: {next}"
        )
    }
}
