//! What processes hear of changes: each has a queue of its own, and hears of all accounts.
//!
//! Events are lost, come late, twice and in any order; some are forged, of accounts that the process keeps and of others. Now
//! and then a queue cannot be read for a while.
//! What must stay true: who hears what and when follows from the moment and the change, so that the same seed is the same
//! life whoever is called first.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use fastrand::Rng;
use tokio::time::sleep;

use super::{
    claims::CLAIMED,
    judge::Organization,
    people::{self, LOGGED, STRANGER, id},
};
use crate::{
    events::{Change, Claimed, Exchange, Heard, Listening, Subject, What},
    names::AccountId,
};

/// How well events are carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Carrier {
    /// Nothing arrives.
    #[default]
    None,
    /// Much is lost, late or told twice.
    Bad,
    /// Everything arrives within a second.
    Good,
}

impl Organization {
    /// Something has changed in an account: each process hears of it, as well as events are carried.
    pub(super) fn tell(
        &self,
        account: &AccountId,
        role: &str,
        (call, policy): (&str, Option<&str>),
        request: Option<&str>,
    ) {
        let mut state = self.state();
        let (now, carrier) = (self.now(), state.carrier);
        let ears: Vec<(u64, Exchange)> = state
            .processes
            .iter()
            .filter(|(_, of)| !of.is_dead && !of.is_deaf)
            .map(|(number, of)| (*number, of.exchange.clone()))
            .collect();
        for (number, exchange) in ears {
            let mut hash = DefaultHasher::new();
            (now, account.as_str(), role, call, policy, number).hash(&mut hash);
            let mut rng = Rng::with_seed(hash.finish());
            let times = match carrier {
                Carrier::None => 0,
                Carrier::Bad => rng.choice([0, 0, 1, 1, 1, 2]).unwrap_or_default(),
                Carrier::Good => 1,
            };
            state.tally.events += times;
            for _ in 0..times {
                let delay = Duration::from_millis(match carrier {
                    Carrier::Bad if rng.u8(..3) == 0 => rng.u64(..300_000),
                    Carrier::Bad => rng.u64(..20_000),
                    _ => rng.u64(..1_000),
                });
                let heard = heard(account, role, (call, policy), request);
                deliver(exchange.clone(), heard, delay, delay);
            }
        }
    }
}

/// The queue of a process cannot be read any more, or again: what was told meanwhile is lost.
pub(super) fn deafen(organization: &Organization, number: u64) {
    let mut state = organization.state();
    let Some(process) = state.processes.get_mut(&number) else { return };
    process.is_deaf ^= true;
    let is_deaf = process.is_deaf;
    process.exchange.is_listening(if is_deaf { Listening::Failed } else { Listening::Up });
    state.tally.deafened += u64::from(is_deaf);
    drop(state);
    organization.say(|| format!("process {number} cannot read its queue: {is_deaf}"));
}

/// Somebody who may send to the queues tells of what has not happened, or not now.
pub(super) fn forge(organization: &Organization, rng: &mut Rng) {
    let everywhere: Vec<AccountId> = organization.accounts.iter().cloned().chain([id(STRANGER)]).collect();
    let count = if rng.u8(..4) == 0 { rng.usize(1..300) } else { rng.usize(1..6) };
    organization.say(|| format!("{count} events are forged"));
    let mut state = organization.state();
    state.tally.forged += count as u64;
    for _ in 0..count {
        let (account, role) = (&everywhere[rng.usize(..everywhere.len())], people::any_role(rng));
        let call = rng.choice([
            ("PutRolePolicy", Some(LOGGED)),
            ("DeleteRolePolicy", Some(CLAIMED)),
            ("TagRole", None),
            ("CreateRole", None),
            ("GetRole", None),
        ]);
        let call = call.unwrap_or(("GetRole", None));
        let heard = heard(account, role, call, None);
        let age = Duration::from_secs(if rng.bool() { rng.u64(..5) } else { rng.u64(..7_200) });
        for process in state.processes.values().filter(|process| !process.is_dead) {
            deliver(process.exchange.clone(), heard.clone(), Duration::from_millis(rng.u64(..5_000)), age);
        }
    }
}

fn deliver(exchange: Exchange, heard: Heard, delay: Duration, age: Duration) {
    tokio::spawn(async move {
        sleep(delay).await;
        // Whoever does not keep the account hands it back, and nobody else wants it.
        drop(exchange.deliver(heard, age));
    });
}

fn heard(account: &AccountId, role: &str, (call, policy): (&str, Option<&str>), request: Option<&str>) -> Heard {
    let change = || {
        let subject = Subject::Role(role.parse().unwrap());
        Change { subject, call: call.to_owned(), policy: policy.map(str::to_owned), claimed: Claimed::default() }
    };
    let what = if call == "GetRole" { What::Read } else { What::Changed(change()) };
    Heard { account: account.clone(), request_id: request.map(str::to_owned), at: None, what }
}
