//! What the controller hears of changes: events that come by chance, and so are true, late, doubled, out of order or forged;
//! most changes are never told. Now and then the queue cannot be read.
//!
//! Knows the names of the world, and nothing of what happens in it. What must stay true: everything follows from the random
//! numbers that it is given, and none of them is taken from those of the life: without events it would be the same.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::{OWN, authors::CUSTOMARY, people::CORE};
use crate::{
    events::{Change, Claimed, Exchange, Heard, Listening, Subject, What},
    names::RoleName,
};

/// Tells of changes until it is dropped.
pub(super) async fn spread(exchange: Exchange, names: Vec<String>, mut rng: Rng) {
    exchange.is_listening(Listening::Up);
    let mut last = None;
    loop {
        sleep(Duration::from_millis(if rng.bool() { rng.u64(1..2_000) } else { rng.u64(1..90_000) })).await;
        if rng.u8(..30) == 0 {
            // Another queue, which is news of its own, is the operator's: there is none in these lives.
            exchange.is_listening(if rng.bool() { Listening::Up } else { Listening::Failed });
        }
        let storm = if rng.u8(..40) == 0 { rng.usize(1..2_000) } else { 1 };
        for _ in 0..storm {
            // One that was heard before comes again, or another one.
            let again = last.take().filter(|_| rng.u8(..5) == 0);
            let Some(heard) = again.or_else(|| event(&mut rng, &names)) else { continue };
            let age = Duration::from_secs(if rng.bool() { rng.u64(..10) } else { rng.u64(..7_200) });
            for _ in 0..rng.u8(1..3) {
                // Where no process is at work nobody hears it.
                let _ = exchange.deliver(heard.clone(), age);
            }
            last = Some(heard);
        }
    }
}

fn event(rng: &mut Rng, names: &[String]) -> Option<Heard> {
    let role: RoleName = rng.choice(names)?.parse().ok()?;
    let policy = rng.choice([CUSTOMARY, CUSTOMARY, "Sessions", "Application"])?;
    let (call, policy) = match rng.u8(..10) {
        0..5 => ("PutRolePolicy", Some(policy)),
        5..7 => ("DeleteRolePolicy", Some(policy)),
        7 => (rng.choice(["TagRole", "AttachRolePolicy", "CreateRole", "DeleteRole", "UpdateAssumeRolePolicy"])?, None),
        8 => ("CreatePolicyVersion", None),
        _ => ("GetRole", None),
    };
    let subject =
        if call == "CreatePolicyVersion" { Subject::ManagedPolicy(CORE.to_owned()) } else { Subject::Role(role) };
    let change = || Change {
        subject,
        call: call.to_owned(),
        policy: policy.map(str::to_owned),
        claimed: Claimed { who: Some(format!("somebody-{}", rng.u32(..))), ..Claimed::default() },
    };
    let what = if call == "GetRole" { What::Read } else { What::Changed(change()) };
    Some(Heard { account: OWN.parse().ok()?, request_id: Some(rng.u64(..).to_string()), at: None, what })
}
